"""MelNet on a GPU: values per second of many clips that replay one recorded frame, and of training in bfloat16.

The configurations are those of test_melnet_bench.py. Every grid is drawn whole, recording included; the conditioning
network of a tier has its part in the clip of six tiers.
"""

import time

import pytest
import torch

from speechlib.generation.melnet import draw_tier, generate
from speechlib.models.melnet import MelNet, MelNetConfig, Tier

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
TARGETS = {1: 5_000, 32: 150_000, 256: 1_000_000}  # values/s, all clips together


def seconds(work) -> float:
    """Seconds on the clock, the device's work included."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


@pytest.mark.parametrize("n_clips", TARGETS)
def test_drawing(benchmark, n_clips):
    torch.manual_seed(0)
    tier = Tier(MelNetConfig((4,), 64), 4, 80).eval().cuda()
    uniform, found = torch.rand(n_clips, 80, 200, 2, dtype=torch.double), []
    draw_tier(tier, uniform[:, :, :2])  # libraries set themselves up
    benchmark.pedantic(lambda: found.append(seconds(lambda: draw_tier(tier, uniform))), rounds=1)
    rate = uniform.numel() / 2 / min(found)
    told(benchmark, f"D64 L4 80x200, {n_clips} at once", rate, TARGETS[n_clips])


@pytest.mark.parametrize("n_clips", [1, 8])
def test_a_clip_of_six_tiers(benchmark, n_clips):
    """256 x 300, 3.5 s: hidden 200, the layers of the source system's first preset."""
    torch.manual_seed(0)
    model, found = MelNet(MelNetConfig((11, 4, 3, 2, 1, 1), 200), 256).eval().cuda(), []
    model.limits.copy_(torch.tensor([-3.0, 3.0]))
    work = lambda: generate(model, 300, n_clips=n_clips)  # noqa: E731
    benchmark.pedantic(lambda: found.append(seconds(work)), rounds=1)
    told(benchmark, f"256x300 of six tiers, {n_clips} at once", min(found), 10 if n_clips == 1 else None, "s", "lower")


def test_training(benchmark):
    torch.manual_seed(0)
    config = MelNetConfig((11,), 200)
    tier = Tier(config, 11, 32).cuda()
    optimizer, x, found = torch.optim.Adam(tier.parameters(), fused=True), torch.randn(16, 32, 75, device="cuda"), []

    def step():
        with torch.autocast("cuda", torch.bfloat16):
            loss = tier.distribution.nll(tier(x), x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    benchmark.pedantic(lambda: found.append(seconds(step)), rounds=10, warmup_rounds=2)
    told(benchmark, "D200 L11 32x75, training in bf16", x.numel() / min(found), None)


def told(benchmark, what, figure, target, unit="values/s", direction="higher") -> None:
    benchmark.extra_info |= {
        "name": f"MelNet on the GPU, {what}", "figure": figure, "unit": unit, "target": target, "direction": direction,
    }  # fmt: skip
