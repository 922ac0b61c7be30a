"""Values per second of MelNet: drawn one by one beside the whole pass for every value, and trained.

What the whole passes cost is measured in the same run, one pass at each of several lengths of the grid, and summed up
over all of its values: hours are not waited for. One core; the seconds are those of the processor.
"""

import time

import pytest
import torch

from speechlib.generation.melnet import cached_parameters, draw_tier, generate
from speechlib.models.melnet import MelNet, MelNetConfig, Tier

CONFIGS = {  # hidden, layers, bins, frames; how many times as quick as the whole passes it should be
    "D64 L4 32x64": (64, 4, 32, 64, 500),
    "D64 L4 80x200": (64, 4, 80, 200, 3_000),
    "D200 L12 32x75": (200, 12, 32, 75, 500),
}


pytestmark = pytest.mark.usefixtures("one_thread")


def first_tier(name: str) -> tuple[Tier, int, int, int]:
    hidden, layers, F, T, target = CONFIGS[name]
    torch.manual_seed(0)
    return Tier(MelNetConfig((layers,), hidden), layers, F).eval(), F, T, target


def seconds(work, rounds: int) -> float:
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


@torch.inference_mode()
def whole_passes(tier: Tier, F: int, T: int) -> float:
    """Seconds of one pass for every value: passes of four lengths, and straight lines between them."""
    lengths = sorted({1, T // 4, T // 2, T})
    costs = [seconds(lambda n=n: tier(torch.randn(1, F, n)), 2) for n in lengths]
    total = 0.0
    for left, right, a, b in zip(lengths, lengths[1:], costs, costs[1:]):
        total += sum(a + (b - a) * (n - left) / (right - left) for n in range(left, right)) * F
    return total + costs[-1] * F


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("n_clips", [1, 8])
@pytest.mark.parametrize("name", CONFIGS)
def test_drawing(benchmark, name, n_clips, precision):
    tier, F, T, target = first_tier(name)
    uniform = torch.rand(n_clips, F, T, 2, dtype=torch.double)
    drawn, rounds = [], 1 if benchmark.disabled else 3

    def work():
        drawn.append(seconds(lambda: draw_tier(tier, uniform, precision=precision), 1))

    benchmark.pedantic(work, rounds=rounds, warmup_rounds=1)
    rate, config = n_clips * F * T / min(drawn), f"MelNet {name}, {precision}"
    told(benchmark, f"{config}, {n_clips} clips, one core", rate, None)
    if n_clips == 1:
        ratio = whole_passes(tier, F, T) / min(drawn)
        told(benchmark, f"{config}, {rate:,.0f} values/s, times a pass per value", ratio, target, "times")


def test_a_clip_of_six_tiers(benchmark):
    """256 x 300, 3.5 s: hidden 200, the layers of the source system's first preset."""
    torch.manual_seed(0)
    model, drawn = MelNet(MelNetConfig((11, 4, 3, 2, 1, 1), 200), 256).eval(), []
    model.limits.copy_(torch.tensor([-3.0, 3.0]))
    benchmark.pedantic(lambda: drawn.append(seconds(lambda: generate(model, 300), 1)), rounds=1)
    told(benchmark, "MelNet 256x300 of six tiers, one core", min(drawn), 20, "s", "lower")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training(benchmark, precision):
    tier, F, T, _ = first_tier("D64 L4 32x64")
    optimizer, x, found = torch.optim.Adam(tier.parameters(), fused=True), torch.randn(8, F, T), []

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = tier.distribution.nll(tier(x), x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    benchmark.pedantic(lambda: found.append(seconds(step, 1)), rounds=1 if benchmark.disabled else 4, warmup_rounds=1)
    target = 1.5 * 20_000 if precision == "bf16" else None
    told(benchmark, f"MelNet D64 L4 32x64, training in {precision}, one core", x.numel() / min(found), target)


def test_cached_is_what_the_whole_pass_gives():
    tier, F, T, _ = first_tier("D200 L12 32x75")
    x = torch.randn(1, F, 12)
    with torch.no_grad():
        torch.testing.assert_close(cached_parameters(tier, x), tier(x), rtol=0, atol=1e-5)


def told(benchmark, name, figure, target, unit="values/s", direction="higher") -> None:
    benchmark.extra_info |= {"name": name, "figure": figure, "unit": unit, "target": target, "direction": direction}
