"""Samples per second of ClariNet's student on one core, block by block, beside the plain pass of the same module.

Source: 6 flows of 10 layers on 80 bands, 22.05 kHz. Demo: 4 flows of 7 layers under an envelope, 8 kHz. Plain: the
module as it is trained, weight norm not folded, the whole utterance at once. The ratio to it is what survives a change
of machine. Seconds are those of the processor, so that busy neighbours count less.
"""

import time

import pytest
import torch

from speechlib import presets
from speechlib.generation.clarinet import stream
from speechlib.models.clarinet import ClariNet

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = {"source": ("paper", 80, 62), "demo": ("demo", 60, 200)}  # preset, bands, frames
PUBLIC = 4_285  # samples/s of public eager code at the source's size, on another machine


def student(name: str) -> tuple[ClariNet, torch.Tensor]:
    preset, n_bands, n_frames = SIZES[name]
    torch.manual_seed(0)
    model = ClariNet(presets.get("clarinet", preset).model, n_bands).eval()
    return model, torch.randn(1, n_bands, n_frames) - 5


def rate(benchmark, work, n_samples: int) -> float:
    """The best round's samples per second."""
    seconds = []

    def timed():
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)

    benchmark.pedantic(timed, rounds=1 if benchmark.disabled else 5, warmup_rounds=1)
    return n_samples / min(seconds)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_student(benchmark, name, precision):
    model, condition = student(name)
    n_samples = condition.shape[2] * model.hop
    figure = rate(benchmark, lambda: list(stream(model, condition, precision=precision)), n_samples)
    target = {"source": 2 * PUBLIC, "demo": 8_000}[name]
    told(benchmark, f"ClariNet, {name}, {precision}, one core", figure, target)


@pytest.mark.parametrize("name", SIZES)
def test_plain_pass(benchmark, name):
    model, condition = student(name)
    z = torch.randn(1, condition.shape[2] * model.hop)
    with torch.inference_mode():
        figure = rate(benchmark, lambda: model(z, condition), z.shape[1])
    told(benchmark, f"ClariNet, {name}, plain pass, one core", figure, None)


def told(benchmark, name: str, figure: float, target: float | None) -> None:
    benchmark.extra_info |= {
        "name": name, "figure": figure, "unit": "samples/s", "target": target, "direction": "higher"
    }  # fmt: skip
