"""Work on a Dask cluster: a scheduler and two workers on this machine, started by Dask's own commands."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import distributed
import numpy as np
import pandas as pd
import pytest
import torch
from test_workbook import make, wait_for

from speechlib import cluster, packs, presets, systems, workbook
from speechlib.errors import SpeechlibError
from speechlib.features import FeatureConfig
from speechlib.systems import abx

dask = [sys.executable, "-m", "dask"]


@pytest.fixture(scope="module")
def here(voices, tmp_path_factory):
    """A project with outputs of its own for all that happens in this file."""
    root = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(root / "outputs"))
        yield root


@contextmanager
def running_scheduler(folder: Path):
    """Its address."""
    description = folder / "scheduler.json"
    command = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"]
    with (folder / "scheduler.log").open("w") as log:
        process = subprocess.Popen([*command, "--scheduler-file", description], stdout=log, stderr=log)
    try:
        wait_for(lambda: description.exists() and description.read_text().endswith("}"))
        yield json.loads(description.read_text())["address"]
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def scheduler(here):
    with running_scheduler(here) as address:
        yield address


def start_worker(address: str, folder: Path, name: str) -> subprocess.Popen:
    """One that tells its kernels who it is."""
    command = [*dask, "worker", address, "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    command += ["--host", "127.0.0.1", "--local-directory", str(folder / name), "--memory-limit", "0"]
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"SPEECHLIB_WORKER": name})


@pytest.fixture(scope="module")
def pool(here):
    """Workers under way: name -> process."""
    found = {}
    yield found
    for process in found.values():
        process.kill()
        process.wait()


@pytest.fixture
def workers(here, scheduler, pool):
    """Two of them, new ones in the place of those that a test before has killed."""
    for name in [name for name, process in pool.items() if process.poll() is not None]:
        del pool[name]
    while len(pool) < 2:
        name = f"worker-{time.monotonic_ns()}"
        pool[name] = start_worker(scheduler, here, name)
    with distributed.Client(scheduler) as client:
        wait_for(lambda: len(client.nthreads()) == 2, 200)
    return pool


@pytest.fixture
def connected(scheduler, workers):
    with cluster.Cluster(scheduler) as connection:
        yield connection


def test_a_batch_on_two_workers_is_what_it_is_here(here, connected):
    folder = here / "notebooks"
    error = make(folder, "10_error", "1 / 0")
    notebooks = [
        make(folder, "00_fine", "seed + 40", "import os; print(os.getppid())"),
        error,
        make(folder, "20_needs_error", "1", needs=[error]),
        make(folder, "30_fine", "import speechlib; print(speechlib.__version__)"),
    ]
    there = workbook.run("there", notebooks, {"seed": 2}, jobs=connected.n_tasks, cluster=connected)
    alone = workbook.run("alone", notebooks, {"seed": 2})
    assert [entry["status"] for entry in there.values()] == ["done", "failed", "not run", "done"]
    for name, entry in there.items():
        assert entry.keys() == alone[name].keys()
        same = ("status", "parameters", "exception", "cell", "cells", "fingerprint")
        assert {k: entry.get(k) for k in same} == {k: alone[name].get(k) for k in same}
    executed = json.loads((workbook.folder("there") / "00_fine.ipynb").read_text())
    assert "42" in json.dumps(executed["cells"])
    again = workbook.run("there", notebooks[:1], {"seed": 2}, cluster=connected)
    assert again["00_fine"]["status"] == "cached"


def test_a_killed_worker_costs_a_notebook_one_more_try(here, connected, workers):
    """The kernel it had does not outlive it."""
    mark, release = here / "begun.txt", here / "release"
    code = f"""
import os, time, pathlib
with open({str(mark)!r}, "a") as file: print(os.getpid(), os.environ["SPEECHLIB_WORKER"], file=file)
while not pathlib.Path({str(release)!r}).exists(): time.sleep(0.05)
print("tries", len(open({str(mark)!r}).readlines()))
"""
    notebook = make(here / "killed", "00_long", code)

    def kill_once(event, name, entry):
        if mark.exists() and mark.read_text().endswith("\n") and not release.exists():
            pid, worker = mark.read_text().split()
            workers[worker].kill()
            release.touch()
            wait_for(lambda: not _alive(int(pid)))

    entry = workbook.run("killed", [notebook], cluster=connected, report=kill_once)["00_long"]
    assert entry["status"] == "done"
    assert len(mark.read_text().splitlines()) == 2
    assert "tries 2" in (workbook.folder("killed") / "00_long.ipynb").read_text()


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_an_interrupted_batch_stops_what_its_workers_do(here, connected):
    mark = here / "pid.txt"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    notebook = make(here / "interrupted", "00_endless", code)

    def interrupt(event, name, entry):
        if mark.exists() and mark.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workbook.run("interrupted", [notebook], cluster=connected, report=interrupt)
    wait_for(lambda: not _alive(int(mark.read_text())))
    assert connected.submit(os.getpid).result(timeout=20)  # its worker is free again


def smoke(seed: int = 0, steps: int = 6):
    changes = {"training.steps": steps, "training.validate_every": steps, "training.checkpoint_every": 2}
    return presets.get("vqvae", "smoke", "folder", seed=seed, changes=changes)


def test_a_sweep_on_a_cluster_gives_the_runs_of_one_process(here, connected, monkeypatch):
    broken = replace(smoke(1), training=replace(smoke(1).training, learning_rate=1e30))
    told = []
    found = systems.sweep([smoke(), broken], progress=lambda *t: told.append(t), workers=connected)
    assert [run.status for run in found] == ["done", "failed"]
    assert "is nan" in found[1].reason or "is inf" in found[1].reason
    assert told[-1][:2] == (12, 12)
    assert any("1/2" in text and done < 12 for done, _, text in told)
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(here / "alone"))
    torch.set_num_threads(1)
    alone = systems.train(smoke())
    assert alone.path != found[0].path
    assert {**alone.summary, "seconds": 0} == {**found[0].summary, "seconds": 0}


def test_a_training_goes_on_where_a_killed_worker_left_it(here, connected, workers, monkeypatch):
    half = threading.Event()

    def kill_once() -> None:
        assert half.wait(60)
        (busy,) = (worker for worker, tasks in connected.client.processing().items() if tasks)
        os.kill(connected.client.run(os.getpid, workers=[busy])[busy], signal.SIGKILL)

    def tell(done, of, text=""):
        if done >= 60:
            half.set()

    killer = threading.Thread(target=kill_once, daemon=True)
    killer.start()
    (run,) = systems.sweep([smoke(7, steps=400)], progress=tell, workers=connected)
    killer.join()
    assert sum(process.wait(5) == -signal.SIGKILL for process in workers.values() if process.poll() is not None) == 1
    assert run.status == "done", run.reason
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(here / "whole"))
    torch.set_num_threads(1)
    whole = systems.train(smoke(7, steps=400))
    assert {**whole.summary, "seconds": 0} == {**run.summary, "seconds": 0}


def test_trainings_that_nobody_waits_for_end_and_leave_their_workers(here, scheduler, connected, workers):
    heard = threading.Event()
    with cluster.Cluster(scheduler) as other, other.listening(lambda told: heard.set()) as topic:
        asked = [other.submit(systems.sweeps._train_there, smoke(seed, steps=100_000), topic) for seed in (50, 51)]
        assert heard.wait(100)
        assert not any(future.done() for future in asked)
    wait_for(lambda: not any(connected.client.processing().values()), 200)
    assert len(connected.client.nthreads()) == 2  # neither ended with its task
    assert all(process.poll() is None for process in workers.values())


def test_a_worker_that_comes_later_is_looked_at(here, connected):
    def change(digest: str | None) -> None:
        from speechlib import cluster

        digests = vars(cluster).setdefault("_digests", [cluster._digest])
        cluster._digest = (lambda: digest) if digest else digests[0]

    connected.client.run(change, "of another day")
    try:
        with pytest.raises(SpeechlibError, match="the code of worker .* is of another day"):
            cluster.outcome(connected.submit(os.getpid))
    finally:
        connected.client.run(change, None)
    assert cluster.outcome(connected.submit(os.getpid))


def test_a_pack_made_by_a_cluster_has_the_same_bytes(here, connected, one_voice, monkeypatch):
    config = packs.PackConfig(sample_rate=8_000, features=(FeatureConfig("log_mel", 8_000, 256, 256, 80),))
    monkeypatch.setattr(packs, "_SHARD_UTTERANCES", 20)
    there = packs.build(one_voice, config, here / "there", executor=connected.executor())
    alone = packs.build(one_voice, config, here / "alone")
    names = sorted(p.name for p in there.path.iterdir() if p.is_file())
    assert names == sorted(p.name for p in alone.path.iterdir() if p.is_file())
    assert all((there.path / name).read_bytes() == (alone.path / name).read_bytes() for name in names)


def test_abx_on_a_cluster_gives_the_numbers_of_one_process(scheduler, workers):
    """To the bit, those of missing triples too; whoever waits here only waits."""
    rng = np.random.default_rng(0)
    items = pd.DataFrame(
        [(f"u{k % 6}", k // 6 / 10, k // 6 / 10 + 0.1, rng.choice([*"abc"]), "x", "y", "st"[k % 2]) for k in range(90)],
        columns=["file", "onset", "offset", "phone", "previous", "next", "speaker"],
    )
    vectors = {f"u{k}": rng.standard_normal((151, 4)).astype(np.float32) for k in range(6)}
    codes = {name: rng.integers(5, size=151) for name in vectors}
    stages = {"z": abx.Stage(vectors, 100.0, 0.005, "angular"), "codes": abx.Stage(codes, 100.0, 0.005, "identical")}
    one_voice = items[items["speaker"] == "s"]
    for some in (items, one_voice):
        alone = abx._compare(some, stages, "within", "zerospeech", 0, {})
        with cluster.executor(scheduler) as executor:
            there = abx._compare(some, stages, "within", "zerospeech", 0, {}, executor)
        assert there.missing == alone.missing
        pd.testing.assert_frame_equal(there.table, alone.table, check_exact=True)
        for name, cells in alone.cells.items():
            assert cells.keys() == there.cells[name].keys()
            assert all(there.cells[name][mode].equals(cells[mode]) for mode in cells)
    assert set(alone.missing) == {"across"}
    with cluster.executor("") as executor:
        assert executor is None


def test_what_is_no_cluster_says_what_to_do(here, tmp_path):
    with pytest.raises(SpeechlibError, match="no Dask scheduler answers at tcp://127.0.0.1:9.*`dask scheduler`"):
        cluster.Cluster("tcp://127.0.0.1:9", timeout=1)
    with pytest.raises(SpeechlibError, match="no Dask scheduler answers at nonsense"):
        cluster.Cluster("nonsense", timeout=1)
    with running_scheduler(tmp_path) as address:
        with pytest.raises(SpeechlibError, match=f"the scheduler at {address} has no workers: `dask worker"):
            cluster.Cluster(address, timeout=1)


def test_workers_with_other_folders_are_refused(here, scheduler, workers, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(here / "elsewhere"))
    told = r"the outputs folder of worker .* is .*outputs, where we are it is .*elsewhere"
    with pytest.raises(SpeechlibError, match=told):
        cluster.Cluster(scheduler)
    assert not list((here / "elsewhere").iterdir())


def test_what_the_command_line_says(here, scheduler, workers, capsys):
    from speechlib.__main__ import main

    sweep = here / "sweep.yml"
    sweep.write_text("system: vqvae\npreset: smoke\ncorpus: folder\nchanges: {training.steps: 4}\nseeds: [3, 4]\n")
    assert main(["sweep", str(sweep), "--cluster", scheduler]) == 0
    told = capsys.readouterr().out
    assert f"2 at a time on {scheduler}" in told
    assert told.count(": done") == 2
    assert main(["sweep", str(sweep), "--cluster", "tcp://127.0.0.1:9"]) == 2
    assert main(["sweep", str(sweep), "--cluster", scheduler, "--jobs", "3"]) == 2
    assert "--jobs 3 is of this machine" in capsys.readouterr().err
