"""Samples per second of FloWaveNet on one core, at the source's size (182 M parameters) and at that of `demo`.

Beside them the same pass with weight norm left in, as public code runs it when it is not taken out: all weights are
made again for every utterance. Seconds are those of the processor, so that busy neighbours count less. Weights are
random: what a pass costs does not depend on them.
"""

import time

import pytest
import torch

from speechlib.generation.flowavenet import folded, generate
from speechlib.models.flowavenet import FloWaveNet, noise
from speechlib.presets.flowavenet import PRESETS

pytestmark = pytest.mark.usefixtures("one_thread")
FRAMES = 62  # 15,872 samples: the crop of the source
PUBLIC = 4_555  # samples/s per core of the public code on such a machine


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    return FloWaveNet(PRESETS["paper"].model, 80).eval()


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return FloWaveNet(PRESETS["demo"].model, 60).eval()


def rate(benchmark, work, n_samples: int, rounds: int) -> float:
    """The best round's samples per second."""
    seconds = []

    def timed():
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)

    benchmark.pedantic(timed, rounds=1 if benchmark.disabled else rounds, warmup_rounds=0 if benchmark.disabled else 1)
    return n_samples / min(seconds)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_source_size(benchmark, source, precision):
    frames = 4 if benchmark.disabled else FRAMES
    model, condition = folded(source, precision), torch.randn(1, 80, frames)
    figure = rate(benchmark, lambda: generate(model, condition, precision=precision), frames * 256, 4)
    target = 2 * PUBLIC if precision == "bfloat16" else None
    told(benchmark, f"FloWaveNet, source size, folded, {precision}, one core", figure, target)


def test_source_size_with_weight_norm(benchmark, source):
    frames = 4 if benchmark.disabled else FRAMES
    condition, latents = torch.randn(1, 80, frames), source.cut(noise(frames * 256))

    @torch.inference_mode()
    def work():
        source.reverse(latents, condition)

    told(
        benchmark,
        "FloWaveNet, source size, weight norm left in, one core",
        rate(benchmark, work, frames * 256, 3),
        None,
    )


@pytest.mark.parametrize(("precision", "n"), [("float32", 1), ("bfloat16", 1), ("bfloat16", 8)])
def test_demo_size(benchmark, small, precision, n):
    model, condition = folded(small, precision), torch.randn(n, 60, 200)
    figure = rate(benchmark, lambda: generate(model, condition, precision=precision), n * 16_000, 10)
    told(benchmark, f"FloWaveNet, demo size, {n} at once, {precision}, one core", figure, 8_000 if n == 1 else None)


def test_demo_size_in_pieces(benchmark, small):
    """What the surroundings of pieces of half a second cost."""
    model, condition = folded(small), torch.randn(1, 60, 800)
    figure = rate(benchmark, lambda: generate(model, condition, chunk=4_000), 64_000, 5)
    told(benchmark, "FloWaveNet, demo size, pieces of 4,000 samples, one core", figure, 8_000)


def told(benchmark, name: str, figure: float, target: float | None) -> None:
    benchmark.extra_info |= {
        "name": name,
        "figure": figure,
        "unit": "samples/s",
        "target": target,
        "direction": "higher",
    }
