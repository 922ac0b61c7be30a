"""Every kind of the catalogue (bad_files.py) where such files lie: it is told with file, place, reason and what to do,
and costs nothing but itself."""

import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import bad_files
import numpy as np
import pytest
from bad_files import HEADER, RATE, ROWS, Kind, notebook, put, sound, tone

from speechlib import audio, corpora, execution, files, index_page, packs, presets, runs, timit_mat, workbook
from speechlib.__main__ import main
from speechlib.challenge import embeddings, submission, validation
from speechlib.corpora import items, splits, zerospeech
from speechlib.errors import BadFile, SpeechlibError
from speechlib.evaluation import abx_items, alignments


def kinds(table: dict[str, Kind]):
    return pytest.mark.parametrize("kind", table.values(), ids=table.keys())


def refused(read, path: Path, told: str | None) -> None:
    """`read` raises an error of ours that says so, in a line that can be read; or nothing where nothing is wrong."""
    if told is None:
        read(path)
        return
    with pytest.raises(SpeechlibError, match=told) as caught:
        read(path)
    assert len(str(caught.value)) < 1500
    assert not isinstance(caught.value, BadFile) or path.name in str(caught.value)


def test_there_are_many_kinds():
    tables = [value for value in vars(bad_files).values() if isinstance(value, dict) and value]
    found = [kind for table in tables for kind in table.values() if isinstance(kind, Kind)]
    assert len(found) >= 40
    assert sum(kind.told is None for kind in found) >= 8  # and some that must work


# -- corpora -----------------------------------------------------------------------------------------------------------

PACK = packs.PackConfig(features=(packs.MFCC39,))


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Two recordings with phones."""
    root = tmp_path / "corpus"
    root.mkdir()
    for name in "ab":
        (root / f"{name}.wav").write_bytes(bad_files.WAV)
        (root / f"{name}.phn").write_text("0 4000 sil\n4000 8000 aa\n")
    return root


def used(root: Path) -> tuple[list[str], dict[str, str], corpora.Corpus]:
    """(utterances of the pack, file -> why it was left out by reader or pack, the corpus)."""
    found = corpora.load("folder", root)
    pack = packs.build(found, PACK, root.parent / "packs")
    told = {}
    for path, reason in (*found.skipped, *pack.skipped):
        told[os.path.relpath(path, root)] = reason
    for i in range(2):
        assert [(phone.symbol, phone.end) for phone in pack.phones(i)] == [("sil", 0.25), ("aa", 0.5)]
    return pack.utterances, told, found


@kinds(bad_files.AUDIO)
def test_audio(corpus, kind):
    path = put(kind, corpus)
    utterances, told, _ = used(corpus)
    if kind.told is None:
        assert (utterances, told) == (["a", "b", path.stem], {})
        return
    assert utterances == ["a", "b"]
    assert told.keys() == {kind.file}
    assert re.search(kind.told, told[kind.file])
    if not re.search("constant|short", kind.told):
        with pytest.raises(BadFile, match=re.escape(str(path))):
            audio.read(path, RATE)


@kinds(bad_files.LABELS)
def test_labels(corpus, kind):
    put(kind, corpus)
    (corpus / "c.wav").write_bytes(bad_files.WAV)
    utterances, told, found = used(corpus)
    assert utterances == ["a", "b", "c"]
    if kind.told is None:
        assert told == {}
        assert [phone.symbol for phone in corpora.intervals(found.cuts["c"])] != []
    else:
        assert told.keys() == {kind.file}
        assert re.search(kind.told, told[kind.file])


@kinds(bad_files.TABLES)
def test_tables(corpus, kind):
    put(kind, corpus)
    (corpus / "c.wav").write_bytes(bad_files.WAV)
    utterances, told, found = used(corpus)
    assert utterances == ["a", "b", "c"]
    said = {cut.id: (cut.supervisions[0].speaker, cut.supervisions[0].text) for cut in found.cuts}
    if kind.told is None:
        assert told == {}
        assert said["b"] == ("bob", "two")
    else:
        assert len(told) == 1
        assert re.search(kind.told, ": ".join(*told.items()))
        if "left out" not in kind.told and "quote mark that" not in kind.told:  # a line is wrong, not all of it
            assert said["b"] == ("bob", "two")
            assert said["c"] == ("ann", "three")


@contextmanager
def nobody():
    """Files that only their owner may read cannot be read here, whoever runs the tests."""
    if os.geteuid():
        yield
        return
    try:
        os.seteuid(65534)
    except OSError as error:  # a container that knows root and nobody else
        pytest.skip(f"cannot become nobody here ({error})")
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read():
    """Recording, labels, transcript, table; settings, checkpoints, run folders: each by its name."""
    root = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    try:
        for name in "abc":
            (root / f"{name}.wav").write_bytes(bad_files.WAV)
        others = {"b.phn": "0 8000 aa\n", "b.lab": "0 1 aa\n", "b.txt": "hello", "metadata.csv": ROWS}
        for name, content in others.items():
            (root / name).write_text(content)
        singles = {"s.yml": presets.read_sweep, "m.safetensors": runs.load_model, "x.item": items.read_items}
        singles |= {"split.json": splits.load, "x.txt": embeddings.read}
        for name in singles:
            (root / name).write_text("")
        for name in ("c.wav", *others, *singles):
            (root / name).chmod(0)
        root.chmod(0o755)
        with nobody():
            found = corpora.load("folder", root)
            told = {Path(path).name: reason for path, reason in found.skipped}
            assert [cut.id for cut in found.cuts] == ["a", "b"]
            assert told.keys() == {"c.wav", "b.phn", "b.lab", "metadata.csv"}
            assert all(re.search("Permission denied|System error|cannot be opened", why) for why in told.values()), told
            for name, read in singles.items():
                with pytest.raises(BadFile, match=f"{name}.*[Pp]ermission denied"):
                    read(root / name)
    finally:
        shutil.rmtree(root)


def test_a_manifest_with_half_a_line(corpus):
    """The others of its folder are there."""
    corpora.load("folder", corpus).cuts.to_file(corpus / "whole_cuts.jsonl")
    (corpus / "cuts.jsonl").write_text('{"id": "c", "start": ')
    found = corpora.load("manifest", corpus)
    assert [cut.id for cut in found.cuts] == ["a", "b"]
    ((path, reason),) = found.skipped
    assert (path, reason[:30]) == (str(corpus / "cuts.jsonl"), "is not a lhotse manifest that ")


ITEM_FILES = {k: v for k, v in bad_files.ITEM_FILES.items() if not re.search("repres|rows", v.told)}


@kinds({name: kind for name, kind in ITEM_FILES.items() if name != "not there"})
def test_items_of_a_corpus(tmp_path, kind):
    """The recordings are there, without phones."""
    for name in ("S001_1", "S001_2"):
        path = tmp_path / "2019/english/test" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bad_files.WAV)
    put(kind._replace(file="2019/ABXTasks/english.item"), tmp_path)
    found = corpora.load("zerospeech", tmp_path / "2019/english/test")
    assert [cut.id for cut in found.cuts] == ["S001_1", "S001_2"]
    assert re.search("english.item.*items left out, recordings kept without phones", str(found.skipped))


# -- files that are read by themselves ---------------------------------------------------------------------------------


@kinds(bad_files.YAML)
def test_sweeps(tmp_path, kind, capsys, workspace):
    path = put(kind, tmp_path)
    refused(presets.read_sweep, path, kind.told)
    assert main(["sweep", str(path)]) == 2  # before anything is trained, and in a line
    assert capsys.readouterr().err.count("\n") == 1
    assert not runs.folder().exists()


@kinds({name: kind for name, kind in bad_files.YAML.items() if kind.file in kind.told})
def test_parameters_and_trainings_of_melnet(tmp_path, kind, capsys, workspace):
    """Other files in YAML, read by the same function."""
    path = put(kind, tmp_path)
    if not path.is_dir():
        refused(presets.read_melnet_yaml, path, "s.yml: (is not YAML|does not exist|needs the keys name, audio)")
    assert main(["run", "--params", str(path)]) == 2
    assert "s.yml" in capsys.readouterr().err


@kinds(bad_files.CHECKPOINTS)
def test_checkpoints(tmp_path, kind):
    refused(runs.load_model, put(kind, tmp_path), kind.told)


@kinds(bad_files.ITEM_FILES)
def test_items(tmp_path, kind):
    def compare(path: Path) -> None:
        read = items.read_items(path)
        abx_items.cut(read, {"u": np.zeros((10, 2))}, rate=50)

    refused(compare, put(kind, tmp_path), kind.told)


@kinds(bad_files.JOURNALS)
def test_journals(tmp_path, kind):
    def lines(path: Path) -> None:
        assert runs.read_lines(path) == [json.loads(bad_files.LINE)]

    refused(lines, put(kind, tmp_path), kind.told)


@kinds(bad_files.TOKENS)
def test_token_tables(tmp_path, kind):
    refused(alignments.load, put(kind, tmp_path), kind.told)


@kinds(bad_files.MATLAB)
def test_matlab(tmp_path, kind):
    refused(timit_mat.load, put(kind, tmp_path), kind.told)


@kinds(bad_files.SPLITS)
def test_splits(tmp_path, kind):
    refused(splits.load, put(kind, tmp_path), kind.told)


# -- runs, batches and notebooks ---------------------------------------------------------------------------------------


@pytest.fixture
def batch(workspace) -> Path:
    """A batch of two executed notebooks, and two runs; a third folder, `bad`, among the runs."""
    for name in ("good-1", "good-2", "bad"):
        folder = runs.folder() / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(bad_files.WHOLE))
        (folder / "summary.json").write_text('{"nmi": 0.5}')
    folder = workbook.folder("mine")
    folder.mkdir(parents=True)
    entries = {}
    for name in ("00_first", "10_second"):
        (folder / f"{name}.ipynb").write_text(notebook("seed: int = 0"))
        entries[name] = {"status": "done", "seconds": 1}
    manifest = {"name": "mine", "started": "2026-01-02T03:04:05+00:00", "git": None, "notebooks": entries}
    versions = {"speechlib": "1", "python": "3", "torch": "2"}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"versions": versions}))
    return folder


@kinds(bad_files.RUNS)
def test_runs(batch, kind, capsys):
    """`list` and the index page show the others."""
    bad = runs.folder() / "bad"
    if kind.file == "config.json":
        (bad / kind.file).unlink()
    put(kind, bad)
    listed = {run.path.name: run for run in runs.list_runs()}
    assert {name for name, run in listed.items() if isinstance(run, runs.Run)} == {"good-1", "good-2"}
    assert re.search(kind.told, listed["bad"].reason)
    assert main(["list"]) == 0
    assert re.search(rf"^bad .* unreadable .*{kind.told}", capsys.readouterr().out, re.MULTILINE)
    page = index_page.write("mine").read_text()
    assert page.count("<td>good-") == 2
    assert "<td>bad<" not in page


@kinds(bad_files.MANIFESTS)
def test_manifests(batch, kind, workspace):
    """The page of another batch is written, without the one that cannot be read."""
    path = put(kind, workbook.folder("bad"))
    refused(index_page.manifest_of, path, kind.told)
    assert index_page.latest() == "mine"
    assert "00_first" in index_page.write("mine").read_text()
    assert main(["pictures", "bad", "--out", str(workspace / "pictures")]) == 2
    (workspace / "00_a.ipynb").write_text(notebook("seed: int = 0"))
    with pytest.raises(BadFile, match=kind.told):
        workbook.run("bad", [workbook.Notebook("00_a", folder=workspace)])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cells": [{}]}', b"\xff", bad_files.DEEP.encode()])
def test_executed_notebooks(batch, content):
    """The cards of the others are there, and the one says what is wrong."""
    (batch / "00_first.ipynb").write_bytes(content)
    page = index_page.write("mine").read_text()
    assert re.search('class="wrong">[^<]*00_first.ipynb is no', page)
    assert page.count("<article") == 2
    assert page.count('class="wrong"') == 1


class Executed:
    """In the place of a process: a notebook that was executed at once."""

    def __init__(self, job, log, threads):
        for path in (job.output, job.page):
            Path(path).write_text(notebook("seed: int = 0"))

    def poll(self) -> dict:
        return {"status": "done", "cell": 1, "cells": 1, "exception": None, "seconds": 0.1, "peak_memory": 1}


@kinds(bad_files.NOTEBOOKS)
def test_notebooks(workspace, monkeypatch, kind):
    """It costs itself and what needs it; what comes after it, and all others, are executed."""
    monkeypatch.setattr(execution, "Process", Executed)
    monkeypatch.setattr(workbook, "PACKAGE", workspace / "package")
    bad = workbook.Notebook("10_bad", folder=workspace)
    good, needs, after = (
        workbook.Notebook("00_good", folder=workspace),
        workbook.Notebook("20_needs", (bad,), folder=workspace),
        workbook.Notebook("30_after", after=(bad,), folder=workspace),
    )
    for one in (good, needs, after):
        one.path.write_text(notebook("seed: int = 0  # of everything"))
    put(kind, workspace)
    entries = workbook.run("b", [good, bad, needs, after], {"seed": 3})
    states = {name: entry["status"] for name, entry in entries.items()}
    if kind.told is None:
        assert set(states.values()) == {"done"}
        return
    assert states == {"00_good": "done", "10_bad": "not run", "20_needs": "not run", "30_after": "done"}
    assert re.search(kind.told, entries["10_bad"]["exception"])
    assert entries["20_needs"]["exception"] == "needs 10_bad: not run"
    again = workbook.run("b", [good, bad, needs, after], {"seed": 3})
    assert [entry["status"] for entry in again.values()] == ["cached", "not run", "not run", "cached"]
    page = index_page.path().read_text()
    assert page.count("<article") == 4
    with pytest.raises(SpeechlibError, match="unknown parameter of these notebooks 'sede'.* 10_bad|sede.*10_bad.ipynb"):
        workbook.run("b", [good, bad], {"sede": 3})  # it might have been one of the notebook that cannot be read


# -- submissions -------------------------------------------------------------------------------------------------------


@kinds(bad_files.EMBEDDINGS)
def test_submissions(tmp_path, kind):
    """All else that is wrong is found as well: here, another file with a word in it."""
    test = tmp_path / "2019/english/test"
    for k in range(1, 5):
        embeddings.write(test / f"S002_{k}.txt", [[1, 2], [3, 4]])
    for k in (1, 2):
        (test / f"V001_{k}.wav").write_bytes(sound(tone()))
    submission.write_metadata(tmp_path, submission.Metadata("of tones"))
    before = validation.validate(tmp_path)
    assert validation.is_valid(before)
    (test / "S002_4.txt").write_text("1 two\n")
    (test / kind.file).resolve().unlink()
    put(kind, test)
    found = [finding for finding in validation.validate(tmp_path) if finding not in before]
    name = os.path.relpath(test / kind.file, tmp_path)
    (other,) = (finding for finding in found if finding.path == "2019/english/test/S002_4.txt")
    assert "'two', which is no number" in other.problem
    (told,) = (finding for finding in found if finding is not other and re.search(kind.told, finding.problem))
    assert told.path == name
    assert told.advice


# -- packs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(corpus, folder of its pack, its files by name)."""
    root = tmp_path_factory.mktemp("packed")
    (root / "corpus").mkdir()
    for name in "abcd":
        (root / "corpus" / f"{name}.wav").write_bytes(bad_files.WAV)
    corpus = corpora.load("folder", root / "corpus")
    return corpus, packs.build(corpus, PACK, root).path, root


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@kinds(bad_files.PACKS)
def test_packs(whole, kind):
    """One that is damaged is refused, and made again to the byte."""
    corpus, folder, root = whole
    before = contents(folder)
    put(kind, folder)
    refused(packs.open, folder, kind.told)
    assert contents(packs.build(corpus, PACK, root).path) == before


@pytest.mark.parametrize("spoil", bad_files.SHARDS.values(), ids=bad_files.SHARDS.keys())
def test_shards_of_a_pack(whole, tmp_path, monkeypatch, spoil):
    """A build that goes on does not take what was spoilt since."""
    corpus, folder, _ = whole
    monkeypatch.setattr(packs, "_SHARD_UTTERANCES", 2)
    with monkeypatch.context() as patch:
        patch.setattr(packs, "_assemble", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            packs.build(corpus, PACK, tmp_path)
    shards = sorted(tmp_path.glob(".*.building/*.npz"))
    assert len(shards) == 2
    spoil(shards[1])
    made = []
    pack = packs.build(corpus, PACK, tmp_path, progress=lambda done, total, text: made.append(done))
    assert made == [4]
    assert contents(pack.path) == contents(folder)


def test_lists_of_a_challenge_say_which_line(tmp_path):
    path = tmp_path / "synthesis.txt"
    path.write_text("a/b target\nonly/a/path\n")
    refused(zerospeech.read_synthesis, path, r"synthesis.txt \(line 2\): expected `path target`")


def test_a_table_without_names_is_read_by_its_order(corpus):
    (corpus / "metadata.csv").write_text(ROWS.removeprefix(HEADER).replace(",", "|"))
    assert {cut.supervisions[0].text for cut in corpora.load("folder", corpus).cuts} == {"ann", "bob"}


def test_the_readme_counts_them():
    tables = [value for name, value in vars(bad_files).items() if name.isupper() and isinstance(value, dict)]
    n = sum(isinstance(kind, Kind) for table in tables for kind in table.values())
    assert f"lists {n} kinds" in (files.ROOT / "README.md").read_text()
