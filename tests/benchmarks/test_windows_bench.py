"""Windows that training goes through in a second: VAEs of the demo's size, and WGAN-GP's turns."""

import time

import pytest
import torch

from speechlib import objectives, presets
from speechlib.models.vae import VAE
from speechlib.models.wgan import WGAN
from speechlib.windows import WindowBatch

pytestmark = pytest.mark.usefixtures("one_thread")


def _batch(size: int, n_frames: int) -> WindowBatch:
    nobody = torch.zeros(size, dtype=torch.long)
    return WindowBatch(torch.randn(size, 80, n_frames), nobody, nobody, nobody, nobody)


def _tell(benchmark, name, windows, target=None):
    if benchmark.stats is not None:
        speed = windows / benchmark.stats.stats.min
        benchmark.extra_info.update(name=name, figure=speed, unit="windows / s", target=target, direction="higher")


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("preset", ["demo", "gated"])
def test_training_step_of_the_vae(benchmark, preset):
    """Batches of 512 windows of 20 frames and 80 bands, bf16 autocast, fused AdamW; batches are at hand. Seconds of the
    processor: with two threads on a busy machine each waits for the other. 8,000 on two cores are 4,000 on each."""
    torch.manual_seed(0)
    model, batch = VAE(presets.get("vae", preset).model, 80, 20), _batch(512, 20)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)

    def step():
        with torch.autocast("cpu", torch.bfloat16):
            loss = objectives.vae(model, batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    benchmark.pedantic(step, rounds=15, warmup_rounds=3)
    _tell(benchmark, f"VAE on windows ({preset}), training, bf16, one core", 512, target=4000)


@pytest.mark.benchmark(timer=time.process_time)
def test_turns_of_wgan(benchmark):
    """Updates of the critic and one of the generator, demo preset, fp32; every window that the critic sees counts."""
    torch.manual_seed(0)
    demo = presets.get("wgan", "demo")
    model, batch = WGAN(demo.model, 80, 20), _batch(demo.training.batch_size, 20)

    def turn():
        for _ in range(demo.model.n_critic):
            model.zero_grad()
            objectives.wgan_critic(model, batch)["loss"].backward()
        objectives.wgan_generator(model, batch)["loss"].backward()

    benchmark.pedantic(turn, rounds=6, warmup_rounds=1)
    _tell(
        benchmark, "WGAN-GP on windows, turns of both players, one core", demo.model.n_critic * demo.training.batch_size
    )
