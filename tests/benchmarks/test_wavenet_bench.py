"""Samples per second of WaveNet on one core, sample by sample, beside the plain eager step of the same run; and on two.
Seconds of audio per second of training.

A: a vocoder on 80 mel bands, mixture of ten logistics, 22.05 kHz. B: mu-law, 16 kHz. C: the decoder of an autoencoder.
The ratio to the eager step is what survives a change of machine. On one core the seconds are those of the processor, so
that busy neighbours count less; on two they are those of the clock.
"""

import time
from dataclasses import replace

import pytest
import torch

from speechlib.generation.eager_wavenet import EagerWaveNet
from speechlib.generation.numba_wavenet import NumbaWaveNet, usable_cores
from speechlib.models.wavenet import WaveNet, WaveNetConfig

CONFIGS = {
    "A": WaveNetConfig(
        output="logistic", n_layers=24, n_stacks=4, kernel_size=3, residual_channels=128, gate_channels=256,
        skip_channels=128, upsampling="smoothed", condition_kernel=5,
    ),
    "B": WaveNetConfig(
        n_layers=20, n_stacks=2, kernel_size=2, residual_channels=64, gate_channels=128, skip_channels=128
    ),
    "C": WaveNetConfig(
        n_layers=20, n_stacks=2, kernel_size=3, residual_channels=256, gate_channels=256, skip_channels=256
    ),
}  # fmt: skip
BANDS = {"A": 80}
TARGETS = {"A": 3_000, "B": 15_000, "C": 1_450}  # samples/s on one core with numba alone
SAMPLES, ROUNDS = 256, 25


pytestmark = pytest.mark.usefixtures("one_thread")


def engine(path, name: str, n_streams: int = 1, **options):
    torch.manual_seed(0)
    model = WaveNet(CONFIGS[name], BANDS.get(name, 0)).eval()
    condition = torch.randn(1, BANDS[name], 1 + SAMPLES * (ROUNDS + 4) // model.config.hop) if name in BANDS else None
    return path(model, condition, None, n_streams, **options)


def rate(benchmark, path, name: str, n_samples: int, clock=time.process_time, n_streams: int = 1, **options) -> float:
    """The best round's samples per second, all streams together."""
    running = engine(path, name, n_streams, **options)
    uniform = torch.rand(n_streams, n_samples, 2)
    seconds = []

    def work():
        began = clock()
        running.sample(uniform)
        seconds.append(clock() - began)

    benchmark.pedantic(work, rounds=1 if benchmark.disabled else ROUNDS, warmup_rounds=1)
    return n_streams * n_samples / min(seconds)


@pytest.mark.parametrize("name", CONFIGS)
def test_numba(benchmark, name):
    figure = rate(benchmark, NumbaWaveNet, name, SAMPLES)
    told(benchmark, f"WaveNet {name}, numba, one core", figure, TARGETS[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_numba_in_int8(benchmark, name):
    figure = rate(benchmark, NumbaWaveNet, name, SAMPLES, precision="int8")
    told(benchmark, f"WaveNet {name}, numba int8, one core", figure, {"A": 22_050, "B": 60_000, "C": 7_000}[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_plain_eager_step(benchmark, name):
    figure = rate(benchmark, EagerWaveNet, name, 16)
    told(benchmark, f"WaveNet {name}, eager, one core", figure, None)


@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
@pytest.mark.parametrize("name", CONFIGS)
def test_two_streams_on_two_cores(benchmark, name):
    figure = rate(benchmark, NumbaWaveNet, name, SAMPLES, time.perf_counter, n_streams=2, threads=2)
    told(benchmark, f"WaveNet {name}, numba, two cores", figure, 1.7 * TARGETS[name])


@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
def test_two_int8_streams_on_two_cores(benchmark):
    options = {"n_streams": 2, "threads": 2, "precision": "int8"}
    figure = rate(benchmark, NumbaWaveNet, "B", SAMPLES, time.perf_counter, **options)
    told(benchmark, "WaveNet B, numba int8, two cores", figure, 8 * 16_000)


@pytest.mark.parametrize(("threads", "precision"), [(1, "fp32"), (1, "bf16"), (2, "bf16")])
def test_training(benchmark, threads, precision):
    """Crops of 5,120 samples, a code of 64 numbers for every 640: what the autoencoders of ZeroSpeech train on."""
    if threads > usable_cores():
        pytest.skip(f"needs {threads} cores")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = WaveNet(replace(CONFIGS["C"], upsampling="smoothed", scales=(4, 4, 8, 5)), n_condition=64)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-4, fused=True)
    wave, condition = torch.rand(2, 5120) * 2 - 1, torch.randn(2, 64, 8)
    clock, seconds = time.process_time if threads == 1 else time.perf_counter, []

    def step():
        began = clock()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model.nll(wave, condition).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(clock() - began)

    benchmark.pedantic(step, rounds=1 if benchmark.disabled else 5, warmup_rounds=1)
    cores = "one core" if threads == 1 else "two cores"
    target = 0.4 if (threads, precision) == (2, "bf16") else None
    figure = wave.numel() / 16_000 / min(seconds)
    told(benchmark, f"WaveNet C, training in {precision}, {cores}", figure, target, "s of audio/s")


def told(benchmark, name: str, figure: float, target: float | None, unit: str = "samples/s") -> None:
    benchmark.extra_info |= {"name": name, "figure": figure, "unit": unit, "target": target, "direction": "higher"}
