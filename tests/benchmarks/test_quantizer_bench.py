"""The quantizer in training, beside the plainest way to find nearest codes."""

import pytest
import torch

from speechlib.models.quantizers import EMAQuantizer, nearest

ROWS, CODES, DIM = 16_384, 512, 64


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_ema_training_forward(benchmark, tell, one_thread):
    torch.manual_seed(0)
    quantizer, z_e = EMAQuantizer(CODES, DIM), torch.randn(32, DIM, ROWS // 32)
    benchmark.pedantic(quantizer, (z_e,), rounds=20, warmup_rounds=3)
    if benchmark.stats is not None:
        best = benchmark.stats.stats.min * 1e3
        tell("EMA quantizer, training forward, 16,384 x 512 x 64, 1 thread", best, "ms", 45, "at most")


@pytest.mark.parametrize("way", ["ours", "torch.cdist and argmin"])
def test_nearest_codes(benchmark, way, one_thread):
    rows, codebook = torch.randn(ROWS, DIM), torch.randn(CODES, DIM)
    search = nearest if way == "ours" else lambda rows, codebook: torch.cdist(rows, codebook).argmin(1)
    benchmark.extra_info["way"] = way
    found = benchmark.pedantic(search, (rows, codebook), rounds=20, warmup_rounds=3)
    assert (found == torch.cdist(rows.double(), codebook.double()).argmin(1)).float().mean() > 0.999
