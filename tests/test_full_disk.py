"""A disk that is full at any write: it is said which file and what to do, nothing half-written is read or lies about,
and where there is room again the same command ends as if nothing had been.

A limit on the size of files (RLIMIT_FSIZE) stops real writes in the middle, of Python, NumPy, libsndfile, safetensors
and TensorBoard alike, without a disk of one's own; a small one is filled where this machine lets us mount it.
"""

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

import bad_files
import numpy as np
import pytest
import test_alternation
import test_training
import torch
from bad_files import notebook, tone
from test_bad_files import PACK, Executed, contents
from test_cli import SMALL
from test_workbook import make

from speechlib import audio, corpora, execution, files, index_page, packs, presets, runs, systems, workbook
from speechlib.__main__ import main
from speechlib.corpora import fetch, items
from speechlib.errors import FullDisk, SpeechlibError

FULL = "could not be written, the disk is full .*: make room there, .*SPEECHLIB_DATA and SPEECHLIB_OUTPUTS, and run"


@contextmanager
def room(n_bytes: int):
    """No file can grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def litter(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if ".part" in path.name]


# -- single files ------------------------------------------------------------------------------------------------------

WRITERS = {
    "x.wav": lambda path: audio.write(path, tone(), 16_000),
    "x.flac": lambda path: audio.write(path, np.random.default_rng(0).uniform(-1, 1, 8000), 16_000),
    "x.json": lambda path: files.write_json(path, [*range(2000)]),
    "x.safetensors": lambda path: runs.save_tensors(path, {"w": torch.arange(2000.0)}, {"step": 3}),
    "m.safetensors": bad_files.saved,
    "x.item": lambda path: items.write_items(
        items.pd.DataFrame([("u", 0.1, 0.2, "a", "b", "c", "s")] * 200, columns=items.COLUMNS), path
    ),
}


@pytest.mark.parametrize("n_bytes", [0, 500, 1500])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_whole_or_as_it_was(tmp_path, name, n_bytes):
    path = tmp_path / name
    path.write_text("as it was")
    with room(n_bytes), pytest.raises(FullDisk, match=f"{name} {FULL}"):
        WRITERS[name](path)
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]
    WRITERS[name](path)
    assert path.stat().st_size > 1500


def test_a_folder_is_whole_or_as_it_was(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/old").write_text("as it was")

    def write() -> None:
        with files.atomic_folder(tmp_path / "x") as part:
            (part / "small").write_text("fits")
            np.save(part / "large.npy", np.zeros(1000))  # NumPy says no more than "1000 requested and 12 written"

    with room(100), pytest.raises(FullDisk, match=f"x {FULL}"):
        write()
    assert [path.name for path in tmp_path.rglob("*")] == ["x", "old"]


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), files.full_disk_told(tmp_path):
        (tmp_path / "file" / "below").touch()
    with pytest.raises(OSError, match="requested"), files.full_disk_told(tmp_path):
        raise OSError("10 requested and refused")


SMALL_DISK = """
import json, sys
from contextlib import suppress
from pathlib import Path
import numpy as np
import torch
from speechlib import audio, files, runs
from speechlib.errors import FullDisk
disk, told = Path(sys.argv[1]), {}
writers = {
    "x.wav": lambda path: audio.write(path, np.zeros(9000), 16_000),
    "x.json": lambda path: files.write_json(path, [*range(2000)]),
    "x.safetensors": lambda path: runs.save_tensors(path, {"w": torch.arange(2000.0)}, {"step": 3}),
}
filler = disk / "filler"
with filler.open("wb", buffering=0) as file, suppress(OSError):
    while file.write(bytes(4096)):
        pass
for name, write in writers.items():
    try:
        write(disk / name)
    except FullDisk as error:
        told[name] = str(error)
left = sorted(path.name for path in disk.iterdir())
filler.unlink()
for name, write in writers.items():
    write(disk / name)
print(json.dumps([told, left, sorted(path.name for path in disk.iterdir())]))
"""


def test_a_small_disk_that_is_full(tmp_path):
    """ENOSPC as a kernel gives it."""
    mounted = f"mount -t tmpfs -o size=256k none {tmp_path} && exec " + '"$@"'
    alone = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*alone, mounted, "sh", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets us mount no disk of our own")
    command = [sys.executable, "-c", SMALL_DISK, str(tmp_path)]
    done = subprocess.run([*alone, mounted, "sh", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told, left, after = json.loads(done.stdout)
    for name, reason in told.items():
        assert reason.startswith(f"{tmp_path / name} could not be written, the disk is full (No space l")
    assert left == ["filler"]
    assert after == sorted(told) == ["x.json", "x.safetensors", "x.wav"]


# -- packs and downloads -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """(corpus of six sounds, the files of its pack)."""
    root = tmp_path_factory.mktemp("spoken")
    (root / "corpus").mkdir()
    for k in range(6):
        audio.write(root / "corpus" / f"{k}.wav", tone(0.3 + 0.1 * k), 16_000)
    corpus = corpora.load("folder", root / "corpus")
    return corpus, contents(packs.build(corpus, PACK, root).path)


@pytest.mark.parametrize(("n_bytes", "shards"), [(0, 0), (1000, 0), (23_000, 2), (60_000, 6)])
def test_a_pack(spoken, tmp_path, monkeypatch, n_bytes, shards):
    """At the first shard, in a later one, and where shards become one pack."""
    monkeypatch.setattr(packs, "_SHARD_UTTERANCES", 1)
    corpus, whole = spoken
    told = rf"the disk is full \(.*\). {shards} whole shards are kept in .*: make room there .*SPEECHLIB_DATA"
    for _ in range(2):  # the second time it goes on, and stops at the same place
        with room(n_bytes), pytest.raises(SpeechlibError, match=told):
            packs.build(corpus, PACK, tmp_path)
        assert litter(tmp_path) == []
        assert not list(tmp_path.glob("*.building/whole"))
    done = []
    pack = packs.build(corpus, PACK, tmp_path, progress=lambda *told: done.append(told))
    assert len(done) == 6 - shards
    assert contents(pack.path) == whole


def test_a_download_and_what_is_in_it(tmp_path):
    (tmp_path / "server").mkdir()
    source = tmp_path / "server" / "x.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(5000))
        file.writestr("noise", np.random.default_rng(0).bytes(1000))
    arguments = (source.as_uri(), hashlib.sha256(source.read_bytes()).hexdigest(), tmp_path, tmp_path / "into")
    with room(500), pytest.raises(FullDisk, match=f"x.zip.part {FULL}"):
        fetch.fetch(*arguments)
    with room(4000), pytest.raises(FullDisk, match=f"into {FULL}"):
        fetch.fetch(*arguments)
    fetch.fetch(*arguments)
    assert (tmp_path / "into" / "zeros").read_bytes() == bytes(5000)
    assert (tmp_path / "into" / "noise").stat().st_size == 1000
    assert litter(tmp_path) == []


# -- trainings, and what they are for ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own
@pytest.mark.parametrize(("learn", "at"), [(test_training, (100, 700, 1200, 2500)), (test_alternation, (1500, 3500))])
def test_a_training_goes_on_from_its_last_checkpoint(workspace, monkeypatch, learn, at):
    """Stopped several times, each time somewhat later, it ends as one that had room."""
    descend = learn.descend if learn is test_training else learn.duel
    whole, _ = descend()
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(workspace / "other"))
    steps = []
    for n_bytes in at:
        with room(n_bytes), pytest.raises(FullDisk, match=FULL):
            descend()
        assert litter(workspace / "other") == []
        found = [run for run in runs.list_runs() if isinstance(run, runs.Run)]
        assert len(found) == len(list((workspace / "other/runs").glob("[!.]*")))  # each can be read
        steps += [run.step for run in found]
        assert all(run.status in ("new", "interrupted", "failed") for run in found)
    assert steps == sorted(steps)
    resumed, _ = descend()
    test_training.assert_same(test_training.content(whole), test_training.content(resumed))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_commands_say_it_in_a_line_and_go_on(workspace, monkeypatch, capsys):
    """`train`, then `generate`: exit code 2, and the same files as without a full disk."""
    for k in range(8):
        audio.write(workspace / "tones" / f"speaker{k % 2}" / f"tone {k}.wav", tone() + 0.01 * k, 16_000)
    changes = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    train = ["train", "vqvae", "--preset", "smoke", "--corpus", "folder", "--corpus-root", str(workspace / "tones")]
    for n_bytes in (0, 20_000, 100_000):
        with room(n_bytes):
            assert main([*train, *changes]) == 2
        told = capsys.readouterr().err
        assert "Traceback" not in told
        assert re.search("speechlib: .*the disk is full", told)
        assert litter(workspace) == []
    assert main([*train, *changes]) == 0
    (run,) = runs.list_runs()
    assert run.status == "done"
    again = {"SPEECHLIB_OUTPUTS": str(workspace / "again"), "SPEECHLIB_DATA": str(workspace / "again")}
    with monkeypatch.context() as patch:
        for name, value in again.items():
            patch.setenv(name, value)
        other = systems.train(presets.get("vqvae", "smoke", "folder", str(workspace / "tones"), changes=SMALL))
        ours, theirs = (runs.load_tensors(one.checkpoint)[0] for one in (run, other))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours.keys() | theirs.keys())
    out, file = workspace / "out", str(workspace / "tones/speaker0/tone 0.wav")
    generate = ["generate", run.name, file, "--speakers", "speaker1", "--seconds", "0.2", "--out", str(out)]
    with room(1000):
        assert main(generate) == 2
    assert "tone 0_speaker1.wav could not be written, the disk is full" in capsys.readouterr().err
    assert litter(out) == []
    assert main(generate) == 0
    assert sorted(path.name for path in out.iterdir()) == ["tone 0_codes.npy", "tone 0_speaker1.wav"]


# -- batches of notebooks ----------------------------------------------------------------------------------------------


@pytest.fixture
def package(workspace, monkeypatch) -> None:
    monkeypatch.setattr(workbook, "PACKAGE", workspace / "package")


@pytest.mark.parametrize("n_bytes", [0, 300, 1000, 2000])
def test_the_runner_of_a_batch(workspace, package, monkeypatch, n_bytes):
    """Its manifest or its page does not fit: it stops, and the next one goes on with what is whole."""
    monkeypatch.setattr(execution, "Process", Executed)
    notebooks = [workbook.Notebook(f"{k}0_{name}", folder=workspace) for k, name in enumerate(("one", "two"))]
    for one in notebooks:
        one.path.write_text(notebook("seed: int = 0  # of everything"))
    with room(n_bytes), pytest.raises(FullDisk, match=f"(manifest.json|index.html) {FULL}"):
        workbook.run("b", notebooks)
    assert litter(workspace) == []
    entries = workbook.run("b", notebooks)
    assert {entry["status"] for entry in entries.values()} <= {"done", "cached"}
    page = index_page.path().read_text()
    with room(n_bytes), pytest.raises(FullDisk, match=f"index.html {FULL}"):
        index_page.write("b")
    assert index_page.path().read_text() == page
    assert litter(workspace) == []


def test_a_notebook_that_does_not_fit(workspace, package, monkeypatch):
    """It fails with the reason, and leaves no half of itself."""
    monkeypatch.setenv("IPYTHONDIR", str(workspace / "ipython"))  # history is a file that grows, too
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(workspace / "jupyter"))
    long = make(workspace / "notebooks", "00_long", "print('x\\n' * 600_000)")
    (workbook.folder("b") / "00_long.html").parent.mkdir(parents=True)
    (workbook.folder("b") / "00_long.html").write_text("of a run before")
    with room(1_000_000):
        (entry,) = workbook.run("b", [long]).values()
    assert not (workbook.folder("b") / "00_long.html").exists()
    assert entry["status"] == "failed"
    assert "00_long.ipynb could not be written, the disk is full" in entry["exception"]
    folder = workbook.folder("b")
    assert not (folder / "00_long.ipynb").exists()
    assert litter(workspace / "outputs") == []
    (entry,) = workbook.run("b", [long]).values()
    assert entry["status"] == "done"
    assert os.stat(folder / "00_long.ipynb").st_size > 1_200_000
