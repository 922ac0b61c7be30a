"""Killed at any moment and started again: the end is that of a run that nobody killed.

To the bit; of executed notebooks, which print what the clock says, only their outcome and the runs that they leave.

`make test` kills the first three activities once; `make soak` all of them, fifty times together (SPEECHLIB_KILLS), at
random moments of seed SPEECHLIB_SEED.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas
import pytest
import safetensors.torch

KILLS, SEED = int(os.environ.get("SPEECHLIB_KILLS", 3)), int(os.environ.get("SPEECHLIB_SEED", 0))
NOT_COMPARED = (".lock", ".log", ".html", ".part")  # a kill leaves hidden parts, which nobody reads
OF_THE_CLOCK = ("seconds", "started", "finished", "date", "peak_memory", "time")
PACK = """
from speechlib import corpora, packs
from speechlib.features import FeatureConfig
packs._SHARD_UTTERANCES = 10
config = packs.PackConfig(sample_rate=8_000, features=(FeatureConfig("log_mel", 8_000, 256, 256, 80),))
if __name__ == "__main__":
    packs.build(corpora.load("folder"), config, "{outputs}/packs", jobs=2)
"""
SMALL = ["--corpus", "folder", "--set", "training.checkpoint_every=3", "--set", "training.precision=fp32"]
SWEEP = "system: vqvae\npreset: smoke\ncorpus: folder\nseeds: [0, 1]\nchanges: {training.checkpoint_every: 4}\n"
ACTIVITIES = ("pack", "train", "alternate", "sweep", "draw", "batch")


def command(activity: str, root: Path) -> list[str]:
    speechlib = [sys.executable, "-m", "speechlib"]
    if activity == "pack":
        (root / "pack.py").write_text(PACK.replace("{outputs}", str(root / "outputs")))
        return [sys.executable, str(root / "pack.py")]
    if activity == "train":
        return [*speechlib, "train", "vqvae", "--preset", "smoke", *SMALL]
    if activity == "alternate":
        return [*speechlib, "train", "wgan", "--preset", "smoke", *SMALL]
    if activity == "sweep":
        (root / "sweep.yml").write_text(SWEEP)
        return [*speechlib, "sweep", str(root / "sweep.yml"), "--jobs", "2"]
    if activity == "draw":
        return [
            *speechlib,
            "generate",
            "melnet",
            "--frames",
            "60",
            "--clips",
            "2",
            "--out",
            str(root / "outputs/drawn"),
        ]
    return [*speechlib, "run", "--preset", "smoke", "--only", "14", "--name", "killed"]


@pytest.fixture(scope="module")
def whole(voices, tmp_path_factory):
    """activity -> (digests, seconds) of a run that nobody killed."""
    found = {}

    def of(activity: str) -> tuple[dict[str, str], float]:
        if activity not in found:
            root = tmp_path_factory.mktemp(f"whole-{activity}")
            began = time.monotonic()
            assert finish(activity, root, voices) == 0
            found[activity] = digests(root / "outputs"), time.monotonic() - began
        return found[activity]

    return of


def start(activity: str, root: Path, data: Path) -> subprocess.Popen:
    environment = os.environ | {"SPEECHLIB_DATA": str(data), "SPEECHLIB_OUTPUTS": str(root / "outputs")}
    with (root / "told.txt").open("a") as told:
        return subprocess.Popen(
            command(activity, root), env=environment, stdout=told, stderr=told, start_new_session=True
        )


def finish(activity: str, root: Path, data: Path) -> int:
    code = start(activity, root, data).wait()
    assert code == 0, (root / "told.txt").read_text()[-3000:]
    return code


def digests(outputs: Path) -> dict[str, str]:
    """What is left behind, file by file: bytes, but for what the clock says in JSON, and journals and logs."""
    kept = {}
    for path in sorted(outputs.rglob("*")):
        name = path.relative_to(outputs).as_posix()
        if (
            not path.is_file()
            or path.suffix in (".lock", ".log", ".html", ".part")
            or "tensorboard" in name
            or "/logs/" in name
        ):
            continue
        content = path.read_bytes()
        if name.startswith("batches/"):
            if path.name != "manifest.json":
                continue  # executed notebooks print what the clock says
            entries = json.loads(content)["notebooks"]
            content = json.dumps(
                {key: [entry["status"], entry["parameters"]] for key, entry in entries.items()}
            ).encode()
        elif path.suffix == ".jsonl":
            lines = [_timeless(json.loads(line)) for line in content.decode().splitlines()]
            content = json.dumps(lines, sort_keys=True).encode()
        elif path.suffix == ".safetensors":
            tensors = safetensors.torch.load(content)  # beside them, what they were made by and when
            content = repr(sorted((key, str(t.dtype), t.tolist()) for key, t in tensors.items())).encode()
        elif path.suffix == ".csv":  # the table of a sweep
            content = pandas.read_csv(path).drop(columns=list(OF_THE_CLOCK), errors="ignore").to_csv().encode()
        elif path.suffix == ".json":
            content = json.dumps(_timeless(json.loads(content)), sort_keys=True).encode()
        kept[name] = hashlib.sha256(content).hexdigest()
    return kept


def _timeless(values):
    if isinstance(values, dict):
        return {key: _timeless(value) for key, value in values.items() if key not in OF_THE_CLOCK}
    return [_timeless(value) for value in values] if isinstance(values, list) else values


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kill", range(KILLS))
def test_killed_and_started_again(whole, voices, tmp_path, kill):
    activity = ACTIVITIES[kill % len(ACTIVITIES)]
    expected, seconds = whole(activity)
    process = start(activity, tmp_path, voices)
    time.sleep(random.Random(f"{SEED}-{kill}").uniform(0.15, 1) * seconds)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # quicker than the one before
    process.wait()
    finish(activity, tmp_path, voices)
    assert digests(tmp_path / "outputs") == expected
