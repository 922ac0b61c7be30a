"""A hundred thousand utterances, three hours in one recording, a thousand runs: time for each, and memory."""

import os
import statistics
import subprocess
import sys
import time

import large
import pytest
from test_large import some_runs

from speechlib import files, index_page


def told(benchmark, name: str, figure: float, unit: str, target: float | None) -> None:
    benchmark.extra_info |= {"name": name, "figure": figure, "unit": unit, "target": target, "direction": "lower"}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory, request):
    """Corpora of a thousand and of a hundred thousand utterances, one after the other in a process of its own; the
    small ones before and after the large one, as what else a machine does comes and goes."""
    few, many = (1_000, 100_000) if request.config.getoption("benchmark_enable") else (20, 40)
    return large.measured(tmp_path_factory.mktemp("crowd"), "utterances", few, few, many, few, few)


def each(crowd: list[dict], stage: str = "") -> tuple[float, float, int]:
    """Seconds of the processor for an utterance of the few (the median) and of the many, in one stage or in all; and
    how many the many are. They do not know what else the machine does."""
    found: dict[int, list[float]] = {}
    for one in crowd:
        seconds = one["seconds"][stage] if stage else sum(one["seconds"].values())
        found.setdefault(int(one["size"]), []).append(seconds / one["size"])
    return statistics.median(found[min(found)]), found[max(found)][0], max(found)


@pytest.mark.parametrize("stage", ["load", "pack", "open", "split", "statistics", "crops", "windows", ""])
def test_time_per_utterance(benchmark, crowd, stage):
    benchmark.pedantic(lambda: None, rounds=1)
    few, many, n = each(crowd, stage)
    told(
        benchmark,
        f"large: {stage or 'all stages'}, {1e6 * many:,.0f} us for each of {n:,}",
        many / few,
        "of a few",
        1.2,
    )


def test_memory_of_a_crowd(benchmark, crowd):
    benchmark.pedantic(lambda: None, rounds=1)
    peak = max(max(one["peak"].values()) for one in crowd)
    told(benchmark, f"large: {each(crowd)[2]:,} utterances of 0.3 s", peak / 1e9, "GB", 2)


def test_memory_of_a_long_recording(benchmark, tmp_path):
    hours = 0.02 if benchmark.disabled else 3
    (found,) = benchmark.pedantic(lambda: large.measured(tmp_path, "hours", hours), rounds=1)
    told(benchmark, f"large: a recording of {hours} hours", max(found["peak"].values()) / 1e9, "GB", 2)


def test_a_list_of_a_thousand_runs(benchmark, workspace):
    n = 3 if benchmark.disabled else 1_000
    some_runs(n)
    seconds = []

    def listed() -> None:
        began = time.perf_counter()
        command = [sys.executable, "-m", "speechlib", "list"]
        lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ).stdout
        seconds.append(time.perf_counter() - began)
        assert lines.count("done") == n

    benchmark.pedantic(listed, rounds=3)
    told(benchmark, f"large: `list` of {n:,} runs, from a cold start", min(seconds), "s", 5)


def test_an_index_page_of_a_thousand_runs(benchmark, workspace):
    some_runs(3 if benchmark.disabled else 1_000)
    manifest = {"format": 1, "name": "smoke", "started": "2026-11-20T10:00:00+00:00", "finished": None, "git": None}
    manifest |= {"versions": {"speechlib": "1", "python": "3", "torch": "2"}, "notebooks": {}}
    files.write_json(workspace / "outputs" / "batches" / "smoke" / "manifest.json", manifest)
    benchmark(index_page.write, "smoke")
    if not benchmark.disabled:
        told(benchmark, "large: the index page with 1,000 runs", benchmark.stats.stats.min, "s", 1)
