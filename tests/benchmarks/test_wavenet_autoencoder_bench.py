"""IN-WAE on one core: seconds of audio that training goes through per second, and samples per second of a conversion.

At the demo's size, where the decoder is frozen and only what draws its bands learns, and at the source's (`in_wae`, 19
million weights, 25 codes per second, 16 kHz), both with random weights. A conversion is all that it takes: the encoder,
the voice read off a reference as long, AdaIN, and the numba WaveNet. Seconds are those of the processor, so that busy
neighbours count less.
"""

import time

import pytest
import torch

from speechlib import objectives, presets
from speechlib.batches import Batch
from speechlib.features import n_features
from speechlib.generation.wavenet import generate
from speechlib.systems import vqvae_wavenet, wavenet, wavenet_autoencoder

# preset, crops of a training step, target of bf16 training (s of audio/s), of a conversion (samples/s)
SIZES = {"demo": ("demo", None, None, 8_000), "source": ("in_wae", 2, 0.26, 1_450)}
SPEAKERS, SECONDS = 12, 0.32  # of a conversion: eight codes at 25 per second

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.timeout(900)]  # with what numba has to compile


def built(benchmark, size: str):
    """(experiment, model with random weights, what of it is frozen being frozen, its read and its drawn features)."""
    if size == "source" and benchmark.disabled:
        pytest.skip("a step of 19 million weights is work for a benchmark, not for a test")
    experiment = presets.get("wavenet_autoencoder", SIZES[size][0])
    torch.manual_seed(0)
    model = wavenet_autoencoder.new(experiment, SPEAKERS)
    for name in experiment.training.frozen:
        model.get_submodule(name).requires_grad_(False)
    read, drawn = vqvae_wavenet.whole_crops(experiment), vqvae_wavenet.bands_of(experiment)
    wavenet.fit_envelope(model.decoder, drawn if experiment.model.draw_channels else None)
    return experiment, model, read, drawn


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("size", SIZES)
def test_training(benchmark, size, precision):
    experiment, model, read, drawn = built(benchmark, size)
    B, T = SIZES[size][1] or experiment.training.batch_size, experiment.training.n_frames
    number, length = torch.arange(B) % SPEAKERS, torch.full((B,), T)
    inputs, targets = torch.randn(B, n_features(read), T), torch.randn(B, n_features(drawn), T)
    audio = 0.1 * torch.randn(B, T * read.hop_length)
    batch = Batch(inputs, targets, number, number, number, audio, length)
    learned = [weight for weight in model.train().parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=experiment.training.learning_rate, fused=True)
    seconds = []

    def step():
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = objectives.vqvae_wavenet(model, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - began)

    benchmark.pedantic(step, rounds=1 if benchmark.disabled else 5, warmup_rounds=1)
    n_learned = sum(weight.numel() for weight in learned)
    name = f"IN-WAE {size}, {n_learned / 1e6:.1f} M weights learn, {B} crops of {T} frames, {precision}, one core"
    figure = audio.numel() / read.sample_rate / min(seconds)
    told(benchmark, name, figure, SIZES[size][2] if precision == "bf16" else None, "s of audio/s")


@pytest.mark.parametrize("size", SIZES)
def test_conversion(benchmark, size):
    _, model, read, _ = built(benchmark, size)
    model.eval()
    source, reference = (torch.randn(1, n_features(read), round(SECONDS * read.frame_rate)) for _ in range(2))
    seconds, said = [], []

    @torch.inference_mode()
    def work():
        began = time.process_time()
        voice, codes = model.voice_of(reference), model.codes(source)
        condition = model.condition(codes, torch.tensor([0]), voice)
        said.append(generate(model.decoder, *condition, path="numba", threads=1))
        seconds.append(time.process_time() - began)

    benchmark.pedantic(work, rounds=1 if benchmark.disabled else 5, warmup_rounds=1)
    assert said[-1].isfinite().all()
    name = f"IN-WAE {size}, conversion of {SECONDS:g} s by a reference at {read.sample_rate:,} Hz, one core"
    told(benchmark, name, said[-1].numel() / min(seconds), SIZES[size][3], "samples/s")


def told(benchmark, name: str, figure: float, target: float | None, unit: str) -> None:
    benchmark.extra_info |= {"name": name, "figure": figure, "unit": unit, "target": target, "direction": "higher"}
