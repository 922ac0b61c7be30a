"""Samples per second of WaveNet on one core, sample by sample, beside the plain eager step of the same run; and on two.

A: a vocoder on 80 mel bands, mixture of ten logistics, 22.05 kHz. B: mu-law, 16 kHz. C: the decoder of an autoencoder.
The ratio to the eager step is what survives a change of machine. On one core the seconds are those of the processor, so
that busy neighbours count less; on two they are those of the clock.
"""

import time

import pytest
import torch

from speechlib.generation.eager_wavenet import EagerWaveNet
from speechlib.generation.graph_wavenet import GraphWaveNet
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


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("n_streams", [1, 32, 1024, 4096])
def test_graph_of_many_streams(benchmark, n_streams):
    torch.manual_seed(0)
    running = GraphWaveNet(WaveNet(CONFIGS["B"]).eval().cuda(), n_streams=n_streams)
    uniform = torch.rand(n_streams, SAMPLES, 2, device="cuda")
    seconds = []

    def work():
        torch.cuda.synchronize()
        began = time.perf_counter()
        running.sample(uniform)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)

    benchmark.pedantic(work, rounds=1 if benchmark.disabled else 5, warmup_rounds=1)
    target = {1: 7_000, 32: 200_000, 1024: 5e6, 4096: 10e6}[n_streams]
    told(benchmark, f"WaveNet B, CUDA graph, {n_streams} streams", n_streams * SAMPLES / min(seconds), target)


def told(benchmark, name: str, figure: float, target: float | None) -> None:
    benchmark.extra_info |= {
        "name": name, "figure": figure, "unit": "samples/s", "target": target, "direction": "higher",
    }  # fmt: skip
