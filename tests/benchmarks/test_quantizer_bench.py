"""The EMA quantizer in training, and nearest codes beside the plainest way to find them; on one thread."""

import pytest
import torch

from speechlib.models.codebooks import nearest
from speechlib.models.quantizers import EMAQuantizer

ROWS, CODES, DIM = 16_384, 512, 64
SIZE = f"{ROWS:,} x {CODES} x {DIM}, 1 thread"


pytestmark = pytest.mark.usefixtures("one_thread")


def tell(benchmark, name, target=None):
    """The best round in milliseconds; there are no figures where benchmarks are disabled."""
    if benchmark.stats is not None:
        best = benchmark.stats.stats.min * 1e3
        benchmark.extra_info.update(name=f"{name}, {SIZE}", figure=best, unit="ms", target=target, direction="lower")


def test_ema_training_forward(benchmark):
    torch.manual_seed(0)
    quantizer, z_e = EMAQuantizer(CODES, DIM), torch.randn(32, DIM, ROWS // 32)
    benchmark.pedantic(quantizer, (z_e,), rounds=20, warmup_rounds=3)
    tell(benchmark, "EMA quantizer, training forward", target=45)


@pytest.mark.parametrize("way", ["ours", "torch.cdist and argmin"])
def test_nearest_codes(benchmark, way):
    torch.manual_seed(0)
    rows, codebook = torch.randn(ROWS, DIM), torch.randn(CODES, DIM)
    search = nearest if way == "ours" else lambda rows, codebook: torch.cdist(rows, codebook).argmin(1)
    found = benchmark.pedantic(search, (rows, codebook), rounds=20, warmup_rounds=3)
    # float32 rounding may decide between two codes at the same distance
    assert (found == torch.cdist(rows.double(), codebook.double()).argmin(1)).float().mean() > 0.999
    tell(benchmark, f"nearest codes, {way}")
