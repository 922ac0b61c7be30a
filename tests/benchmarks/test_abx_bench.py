"""ABX across speakers, all triples of 2,715 tokens, and the interval of its result; on two threads.

Twelve contexts make the work by which the target was set: for tokens like these, drawn in the same way, fastabx 0.9.0
takes 4.4 s of one core, and 77 s in any context.
"""

import numpy as np
import pandas as pd
import pytest

from speechlib.evaluation.abx import score
from speechlib.evaluation.abx_averages import interval
from speechlib.evaluation.abx_items import Units

TOKENS, PHONES, SPEAKERS, N_CONTEXTS, DIM, THREADS = 2715, 40, 10, 12, 64, 2


@pytest.fixture(scope="module")
def units() -> Units:
    """Lengths as of phones at 100 rows per second in wide windows: gamma, mean 15, 3 to 60."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.gamma(4, 15 / 4, TOKENS).round().astype(np.int64), 3, 60)
    phone, speaker, context = (rng.integers(n, size=TOKENS) for n in (PHONES, SPEAKERS, N_CONTEXTS))
    items = pd.DataFrame({"phone": phone, "previous": context, "next": 0, "speaker": speaker})
    centres = rng.normal(size=(PHONES, DIM))[np.repeat(phone, lengths)]
    rows = 0.5 * centres + rng.normal(size=(lengths.sum(), DIM))
    return Units(items, rows.astype(np.float32), lengths, {"items": TOKENS})


def tell(benchmark, name, target=None):
    """The best round in seconds; there are no figures where benchmarks are disabled."""
    if benchmark.stats is not None:
        best, size = benchmark.stats.stats.min, f"{TOKENS:,} tokens x 15 x {DIM}, {THREADS} threads"
        benchmark.extra_info.update(name=f"{name}, {size}", figure=best, unit="s", target=target, direction="lower")


@pytest.mark.parametrize(("context", "target"), [("within", 1.2), ("any", None)])
def test_across_speakers(benchmark, units, context, target):
    arguments = {"context": context, "threads": THREADS}
    cells = benchmark.pedantic(score, (units,), arguments, rounds=3, warmup_rounds=1)
    assert 0 < cells["error"].mean() < 50
    tell(benchmark, f"ABX across speakers, context {context}", target)


def test_interval(benchmark, units):
    cells = score(units, threads=THREADS)
    found = benchmark.pedantic(interval, (cells,), rounds=3)
    assert found.low < found.high
    tell(benchmark, "interval from 500 draws of speakers")
