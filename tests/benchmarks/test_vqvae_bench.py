"""Seconds of audio that training goes through in a second: the source's model, and the demo's."""

import pytest
import torch

from speechlib import objectives, presets
from speechlib.batches import Batch
from speechlib.models.vqvae import VQVAE, VQVAEConfig


def _step(config, n_features, n_targets, batch_size, n_frames, bf16):
    torch.manual_seed(0)
    model = VQVAE(config, n_features, n_targets, 10)
    optimiser = torch.optim.Adam(model.parameters(), 2e-4, amsgrad=True, fused=True)
    nobody, length = torch.zeros(batch_size, dtype=torch.long), torch.full((batch_size,), n_frames)
    inputs, targets = torch.randn(batch_size, n_features, n_frames), torch.randn(batch_size, n_targets, n_frames)
    batch = Batch(inputs, targets, nobody, nobody, nobody, None, length)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = objectives.vqvae(model, batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def tell(benchmark, name, seconds, target=None):
    """`seconds` of audio per step, as audio per second in the best round."""
    speed = seconds / benchmark.stats.stats.min
    benchmark.extra_info.update(name=name, figure=speed, unit="s of audio / s", target=target, direction="higher")


@pytest.mark.timeout(600)
def test_training_step_of_the_source_model(benchmark):
    """768 channels, batch of 32 crops of 7,680 samples (47 frames, 0.48 s), bf16 autocast, fused Adam with amsgrad."""
    if benchmark.disabled:
        pytest.skip("a step of 21 million parameters is work for a benchmark, not for a test")
    step = _step(VQVAEConfig(), 39, 39, batch_size=32, n_frames=47, bf16=True)
    benchmark.pedantic(step, rounds=8, warmup_rounds=2)
    tell(benchmark, "VQ-VAE training, 768 channels, bf16, 2 threads", 32 * 7680 / 16000, target=25)


def test_training_step_of_the_demo(benchmark):
    demo = presets.get("vqvae", "demo")
    size, frames = demo.training.batch_size, demo.training.n_frames
    step = _step(demo.model, 39, 80, size, frames, bf16=False)
    benchmark.pedantic(step, rounds=20, warmup_rounds=3)
    if benchmark.stats is not None:
        tell(benchmark, "VQ-VAE training, demo preset, fp32, 2 threads", size * frames / 100)
