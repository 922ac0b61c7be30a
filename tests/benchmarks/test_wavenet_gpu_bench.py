"""WaveNet on a GPU: samples per second of many streams that replay one recorded step, seconds of audio per second of
training. Config B of test_wavenet_bench.py generates, the one of the paper's recipe trains.
"""

import time

import pytest
import torch

from speechlib.generation.eager_wavenet import EagerWaveNet
from speechlib.generation.graph_wavenet import GraphWaveNet
from speechlib.models.wavenet import WaveNet, WaveNetConfig
from speechlib.presets import wavenet as presets

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CONFIG = WaveNetConfig(
    n_layers=20, n_stacks=2, kernel_size=2, residual_channels=64, gate_channels=128, skip_channels=128
)
TARGETS = {1: 7_000, 32: 200_000, 1024: 5e6, 4096: 10e6}  # samples/s, all streams together
SAMPLES = 256


def best(benchmark, work, rounds: int) -> float:
    """Seconds of the best round, the device's work included."""
    seconds = []

    def timed():
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)

    benchmark.pedantic(timed, rounds=1 if benchmark.disabled else rounds, warmup_rounds=1)
    return min(seconds)


@pytest.mark.parametrize("n_streams", TARGETS)
def test_graph(benchmark, n_streams):
    torch.manual_seed(0)
    running = GraphWaveNet(WaveNet(CONFIG).eval().cuda(), n_streams=n_streams)
    uniform = torch.rand(n_streams, SAMPLES, 2, device="cuda")
    seconds = best(benchmark, lambda: running.sample(uniform), 5)
    told(benchmark, f"CUDA graph, {n_streams} streams", n_streams * SAMPLES / seconds, "samples/s", TARGETS[n_streams])


def test_eager_step(benchmark):
    torch.manual_seed(0)
    running = EagerWaveNet(WaveNet(CONFIG).eval().cuda(), n_streams=1024)
    uniform = torch.rand(1024, 16, 2, device="cuda")
    seconds = best(benchmark, lambda: running.sample(uniform), 5)
    told(benchmark, "eager on the GPU, 1024 streams", 1024 * 16 / seconds, "samples/s", None)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_training(benchmark, precision):
    torch.manual_seed(0)
    experiment = presets.PRESETS["paper"]
    rate, n_mels = experiment.pack.sample_rate, 80
    model = WaveNet(experiment.model, n_mels).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    B, T = experiment.training.batch_size, experiment.training.n_frames
    condition = torch.randn(B, n_mels, T, device="cuda")
    wave = torch.rand(B, T * model.config.hop, device="cuda") * 2 - 1

    def step():
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            loss = model.nll(wave, condition).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    seconds = best(benchmark, step, 20)
    told(benchmark, f"training in {precision}", wave.numel() / rate / seconds, "s of audio/s", None)


def told(benchmark, what: str, figure: float, unit: str, target: float | None) -> None:
    benchmark.extra_info |= {
        "name": f"WaveNet, {what}", "figure": figure, "unit": unit, "target": target, "direction": "higher",
    }  # fmt: skip
