"""What a cluster costs and brings: a sweep on two workers beside one process, a notebook there beside one here."""

import os
import time

import pytest
from test_cluster import running_scheduler, start_worker
from test_workbook import make

from speechlib import presets, systems, workbook
from speechlib.cluster import Cluster


@pytest.fixture
def workers(voices, tmp_path, monkeypatch):
    """Two workers with one thread each, that have been asked something before."""
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "outputs"))
    with running_scheduler(tmp_path) as address:
        processes = [start_worker(address, tmp_path, name) for name in ("one", "two")]
        with Cluster(address, timeout=60) as cluster:
            cluster.client.wait_for_workers(2, timeout=60)
            systems.sweep(sweep(2, seed=100), workers=cluster)
            yield cluster
        for process in processes:
            process.kill()
            process.wait()


def sweep(n: int, seed: int = 0) -> list:
    changes = {"training.steps": 300, "training.checkpoint_every": 300}
    return [presets.get("vqvae", "smoke", "folder", seed=seed + i, changes=changes) for i in range(n)]


@pytest.mark.usefixtures("one_thread")
def test_a_sweep_of_eight(benchmark, workers, tmp_path, monkeypatch):
    n = 2 if benchmark.disabled else 8
    began = time.perf_counter()
    benchmark.pedantic(lambda: systems.sweep(sweep(n), workers=workers), rounds=1)
    there = time.perf_counter() - began
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "alone"))
    began = time.perf_counter()
    found = systems.sweep(sweep(n))
    alone = time.perf_counter() - began
    assert all(run.status == "done" for run in found)
    told(benchmark, f"a sweep of {n} trainings, two workers on {os.cpu_count()} cores", there / alone, 0.6, "of one")


def test_a_notebook(benchmark, workers, tmp_path):
    notebooks = [make(tmp_path / "notebooks", f"{i:02d}_short", "seed") for i in range(2 if benchmark.disabled else 6)]
    seconds = {}
    for name, where in {"alone": None, "there": workers}.items():
        began = time.perf_counter()
        entries = workbook.run(name, notebooks, jobs=2, cluster=where)
        seconds[name] = time.perf_counter() - began
        assert all(entry["status"] == "done" for entry in entries.values())
    benchmark.pedantic(lambda: None, rounds=1)
    more = 2 * (seconds["there"] - seconds["alone"]) / len(notebooks)  # two run at a time
    told(benchmark, "a notebook on a cluster, beyond one here", more, 2, "s")


def told(benchmark, name: str, figure: float, target: float, unit: str) -> None:
    benchmark.extra_info |= {"name": name, "figure": figure, "unit": unit, "target": target, "direction": "lower"}
