"""Files that somebody put on the internet to do harm: nothing in them is executed, fills a disk, leaves its folder."""

import ast
import gzip
import hashlib
import io
import json
import os
import pickle
import re
import stat
import tarfile
import threading
import zipfile
from contextlib import nullcontext
from functools import cache
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import bad_files
import numpy as np
import pytest
import soundfile
import test_widgets
import torch
from bad_files import notebook, tone
from scipy.io import savemat

import speechlib
from speechlib import corpora, files, index_page, matlab, presets, runs, widgets, workbook
from speechlib.challenge import validation
from speechlib.corpora import fetch
from speechlib.errors import BadFile, SpeechlibError
from speechlib.evaluation import alignments

PACKAGE = Path(speechlib.__file__).parent


class Harm:
    """What is unpickled makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


# -- the package itself ------------------------------------------------------------------------------------------------

ALLOWED = {
    ("files.py", "yaml.load"): "by a loader of its own, a SafeLoader without aliases",
    ("workbook.py", "ast.literal_eval"): "of the parameters cell: literals, no calls",
}
DANGEROUS = re.compile(
    r"(torch\.load|(c?[pP]ickle|dill|joblib|shelve|marshal)\.loads?|jsonpickle\..*|yaml\.(unsafe_|full_)?load(_all)?"
    r"|eval|exec|compile|__import__|os\.(system|popen)|ast\.literal_eval|.*\.extractall|shutil\.unpack_archive)"
)


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


@cache
def calls() -> list[tuple[str, ast.Call]]:
    """(file, call) of every call in the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [(path.relative_to(PACKAGE).as_posix(), n) for n in ast.walk(tree) if isinstance(n, ast.Call)]
    return found


def test_nothing_that_executes_what_it_reads_is_called():
    found = {(file, name_of(call.func)) for file, call in calls() if DANGEROUS.fullmatch(name_of(call.func))}
    assert found == ALLOWED.keys()


def test_no_shell_and_no_pickles_in_arrays():
    for file, call in calls():
        given = {word.arg: word.value for word in call.keywords}
        for name in ("shell", "allow_pickle", "weights_only"):
            assert name not in given or ast.literal_eval(given[name]) in (False, name == "weights_only"), (file, name)


def test_nothing_imports_pickle():
    for path in PACKAGE.rglob("*.py"):
        assert not re.search(r"^\s*(import|from) (pickle|dill|joblib|shelve|marshal)\b", path.read_text(), re.M), path


# -- what is unpickled elsewhere ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "save", [lambda harm, p: p.write_bytes(pickle.dumps(harm)), torch.save], ids=["pickle", "torch"]
)
def test_a_pickle_with_the_name_of_a_checkpoint(tmp_path, save):
    for name in ("model.safetensors", "training.safetensors"):
        save(Harm(tmp_path / "harm"), tmp_path / name)
        for read in (runs.load_model, runs.load_tensors):
            with pytest.raises(BadFile, match=f"{name}: is truncated or no safetensors file"):
                read(tmp_path / name)
    with pytest.raises(SpeechlibError, match="no run at|does not exist"):
        runs.open(tmp_path)
    assert not (tmp_path / "harm").exists()


def test_arrays_of_objects(tmp_path):
    harm = np.array([Harm(tmp_path / "harm")], object)
    np.savez(tmp_path / "codes_20ms.npz", step_seconds=0.02, codes=harm, allow_pickle=True)
    with pytest.raises(BadFile, match="codes_20ms.npz: holds no saved arrays .*allow_pickle=False"):
        alignments.load(tmp_path / "codes_20ms.npz")
    assert not (tmp_path / "harm").exists()


def test_matlab_sends_arrays_and_nothing_else(tmp_path, monkeypatch):
    """Structs and cells are left out; and if a damaged file made the process that reads it send a pickle, it would not
    be opened here."""
    cells = np.array([{"a": 1}, "b"], object)
    savemat(
        tmp_path / "x.mat", {"a": np.eye(2), "file": np.arange(3), "words": "hello", "cells": cells, "struct": {"a": 1}}
    )
    found = matlab.read(tmp_path / "x.mat")
    assert {"a", "file", "words"} <= found.keys()
    assert not {"cells", "struct"} & found.keys()
    assert (found["a"] == np.eye(2)).all()
    sent = io.BytesIO()
    np.savez(sent, a=np.array([Harm(tmp_path / "harm")], object), allow_pickle=True)
    plain = io.BytesIO()
    np.save(plain, np.eye(2))
    for content in (sent.getvalue(), pickle.dumps(Harm(tmp_path / "harm")), b"", b"PK\x03\x04x", plain.getvalue()):

        def run(_command, stdout, content=content, **_options):
            stdout.write(content)
            return SimpleNamespace(returncode=0, stderr=b"")

        monkeypatch.setattr(matlab.subprocess, "run", run)
        with pytest.raises(BadFile, match="x.mat: is no MATLAB file"):
            matlab.read(tmp_path / "x.mat")
    assert not (tmp_path / "harm").exists()


# -- YAML --------------------------------------------------------------------------------------------------------------

OBJECTS = (
    "!!python/object/apply:os.mkdir ['{}']",
    "!!python/object/new:os.mkdir ['{}']",
    "a: !!python/name:os.system\nb: !!python/module:os",
)
MERGED = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}\n" for k in range(1, 30)
)


@pytest.mark.parametrize("text", [*OBJECTS, bad_files.LAUGHS, MERGED, "a: &a [*a]"])
def test_yaml_makes_nothing_and_holds_what_it_says(tmp_path, workspace, text):
    """Two ways of a billion values in a kilobyte, one of endlessly many, and objects to be made on the way."""
    for name in ("s.yml", "metadata.yaml"):
        (tmp_path / name).write_text(text.format(tmp_path / "harm") if "python" in text else text)
    for read in (presets.read_sweep, presets.read_melnet_yaml, lambda path: files.read_mapping(path, "")):
        with pytest.raises(BadFile, match="s.yml: is not YAML: .*(could not determine a constructor|write it out)"):
            read(tmp_path / "s.yml")
    assert "is not YAML" in str(validation.validate(tmp_path))
    with pytest.raises(SpeechlibError):
        workbook.assign([_notebook(tmp_path)], {"values": text})
    assert not (tmp_path / "harm").exists()


def _notebook(folder: Path) -> workbook.Notebook:
    (folder / "00_a.ipynb").write_text(notebook("values: list = []  # of anything"))
    return workbook.Notebook("00_a", folder=folder)


def test_parameters_of_a_notebook_are_literals(tmp_path):
    (tmp_path / "00_a.ipynb").write_text(notebook(f"x: int = __import__('os').mkdir('{tmp_path}/harm')"))
    with pytest.raises(BadFile, match="the parameters cell holds lines like"):
        workbook.parameters(workbook.Notebook("00_a", folder=tmp_path))
    assert not (tmp_path / "harm").exists()


# -- archives ----------------------------------------------------------------------------------------------------------


def tarred(path: Path, *members: tarfile.TarInfo, content: bytes = b"x") -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as file:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            file.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode = kind, link, 0o6777
    return found


TARRED = {
    "above": [member("../escaped")],
    "above, on a way down": [member("a/../../escaped")],
    "at an absolute place": [member("/x")],
    "a link to above": [member("link", tarfile.SYMTYPE, ".."), member("link/escaped")],
    "a link to an absolute place": [member("link", tarfile.SYMTYPE, "/etc")],
    "a hard link to above": [member("link", tarfile.LNKTYPE, "../secret")],
    "a device": [member("null", tarfile.CHRTYPE)],
    "a pipe": [member("pipe", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("members", TARRED.values(), ids=TARRED.keys())
def test_a_tar_writes_files_and_inside_only(tmp_path, members):
    (tmp_path / "secret").write_text("secret")
    path = tarred(tmp_path / "evil.tar.gz", member("fine.txt"), *members)
    before = {*tmp_path.rglob("*")}
    inside = members[0].name == "/x"  # taken for x
    told = "evil.tar.gz: would write outside .*into, or what is no file"
    with nullcontext() if inside else pytest.raises(BadFile, match=told):
        fetch.unpack(path, tmp_path / "into")
    made = {*tmp_path.rglob("*")} - before - {tmp_path / "into"}
    assert all(one.is_relative_to(tmp_path / "into") for one in made)
    assert {one.name for one in made if one.is_file()} <= {"fine.txt", "x"}
    for one in made:
        assert not one.is_symlink()
        assert not one.stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH)


@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "/escaped", "link"])
def test_a_zip_writes_files_and_inside_only(tmp_path, name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16 if name == "link" else 0
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr(info, "/etc" if name == "link" else "x")
    if name == "link":  # written as the text that it holds
        fetch.unpack(tmp_path / "evil.zip", tmp_path / "into")
        assert (tmp_path / "into/link").read_text() == "/etc"
        assert not (tmp_path / "into/link").is_symlink()
        return
    with pytest.raises(BadFile, match="evil.zip .*: would write outside"):
        fetch.unpack(tmp_path / "evil.zip", tmp_path / "into")
    assert not (tmp_path / "escaped").exists()
    assert not Path("/escaped").exists()


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_bomb_is_put_out(tmp_path, monkeypatch, kind):
    """Megabytes of zeros in kilobytes; stopped before they are written."""
    monkeypatch.setattr(fetch, "_SMALL", 1 << 20)
    path, zeros = tmp_path / f"bomb.{kind}", bytes(8 << 20)
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("zeros", zeros)
    else:
        tarred(path, member("zeros"), content=zeros)
    with pytest.raises(BadFile, match=rf"bomb.{kind}: is a bomb: [\d,]+ bytes that would unpack to 8,388,608 or more"):
        fetch.unpack(path, tmp_path / "into")
    assert [*(tmp_path / "into").iterdir()] == []


def test_a_zip_that_lies_about_its_sizes(tmp_path):
    """No more is written than it says, and what is written is not taken for whole."""
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(1 << 20))
    size, lie = (1 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, lie))
    with pytest.raises(BadFile, match="liar.zip: is not a whole archive .*CRC"):
        fetch.unpack(path, tmp_path / "into")
    assert [*(tmp_path / "into").iterdir()] == []


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_a_tar_with_a_damaged_header_is_not_taken_for_a_shorter_one(tmp_path, kind):
    """tarfile ends there, as if it were the end; and what was there before stays as it was."""
    path = tarred(tmp_path / "x.tar", *map(member, "abcde"))
    blocks = bytearray(path.read_bytes())
    third = 2 * 2 * tarfile.BLOCKSIZE
    assert blocks[third : third + 1] == b"c"
    blocks[third + 148 : third + 156] = b"\xff" * 8  # its checksum
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(gzip.compress(blocks) if kind == "tar.gz" else blocks)
    (tmp_path / "into").mkdir()
    (tmp_path / "into/a").write_text("before")
    with pytest.raises(BadFile, match="is damaged: no member follows the first 2"):
        fetch.unpack(path, tmp_path / "into")
    assert [(one.name, one.read_text()) for one in (tmp_path / "into").iterdir()] == [("a", "before")]


def test_an_archive_is_unpacked_over_what_is_there(tmp_path):
    into = tmp_path / "into"
    (into / "deep").mkdir(parents=True)
    (into / "deep/kept").write_text("kept")
    (into / "deep/a").write_text("old")
    path = tarred(tmp_path / "x.tar", member("deep", tarfile.DIRTYPE), member("deep/a"), content=b"new")
    fetch.unpack(path, into)
    assert (into / "deep/kept").read_text() == "kept"
    assert (into / "deep/a").read_text() == "new"
    assert [one.name for one in into.iterdir()] == ["deep"]


# -- downloads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def server():
    """Answers /x.zip with what is put into `answers`: (status, headers, body)."""
    answers = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = answers[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield answers, f"http://127.0.0.1:{found.server_port}/x.zip"
    found.shutdown()
    found.server_close()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", "x")
    return buffer.getvalue()


def test_a_download_is_what_was_promised_or_is_gone(tmp_path, server):
    answers, url = server
    promised = hashlib.sha256(zipped()).hexdigest()
    other = zipped() + b"more"
    answers[:] = [(200, {"Content-Length": str(len(other))}, other)]
    with pytest.raises(BadFile, match=r"x.zip.* is not the archive expected \(SHA-256 .*; deleted\)"):
        fetch.fetch(url, promised, tmp_path, into=tmp_path / "into")
    assert list(tmp_path.iterdir()) == []
    answers[:] = [(200, {"Content-Length": str(len(zipped()))}, zipped())]
    fetch.fetch(url, promised, tmp_path, into=tmp_path / "into")
    assert (tmp_path / "into/a.txt").read_text() == "x"


def test_a_server_cannot_lead_to_files_of_this_machine(tmp_path, server):
    """The archive expected lies there: by another way than the server's it is not taken."""
    answers, url = server
    (tmp_path / "here.zip").write_bytes(zipped())
    answers[:] = [(302, {"Location": (tmp_path / "here.zip").as_uri()}, b"")]
    with pytest.raises(SpeechlibError, match=r"x.zip: the server answers 302 .*file:"):
        fetch.fetch(url, hashlib.sha256(zipped()).hexdigest(), tmp_path / "root", into=tmp_path / "into")
    assert not (tmp_path / "into").exists()


# -- pages -------------------------------------------------------------------------------------------------------------

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>"


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def harmless(page: str, scripts: int = 0) -> None:
    """No tag and no attribute of it is of EVIL, and no link leads to a script."""
    tags = Tags(page).found
    assert [tag for tag, _ in tags].count("script") == scripts
    for tag, attributes in tags:
        assert tag != "svg"
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            assert not re.match(r"\s*(javascript:|vbscript:|data:text/html)", attributes.get(name) or "", re.I), (
                attributes
            )
        assert attributes.get("src") != "x"


def test_the_index_page_shows_text_as_text(workspace):
    """Names of runs, notebooks and batches, titles, numbers, errors, sounds and figures: of somebody's outputs."""
    run = runs.folder() / EVIL.replace("/", "")
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(bad_files.WHOLE))
    (run / "status.json").write_text(json.dumps({"state": EVIL, "step": 0, "reason": EVIL}))
    (run / "summary.json").write_text(json.dumps({EVIL: 0.5}))
    folder = workbook.folder("mine")
    linked = "javascript:alert(4)"
    entries = {name: {"status": "done", "exception": EVIL, "seconds": 1, "cell": EVIL} for name in ("00_a", linked)}
    player = f'<audio src="data:audio/wav;base64,A" title="{EVIL}"></audio><audio src="javascript:alert(5)"></audio>'
    data = {"text/html": player, "text/plain": EVIL, "image/png": f'"{EVIL}', index_page.NUMBERS_MIME: {EVIL: EVIL}}
    cells = [{"cell_type": "markdown", "metadata": {}, "source": [f"# {EVIL}"]}]
    for tag in ("key-numbers", "key-figure", "key-player"):
        cells.append({"cell_type": "code", "metadata": {"tags": [tag]}, "source": [], "outputs": [{"data": data}]})
    folder.mkdir(parents=True)
    for name in entries:
        for suffix in ("ipynb", "html"):
            (folder / f"{name}.{suffix}").write_text(json.dumps({"cells": cells}))
    manifest = {"name": EVIL, "started": "2026-01-02T03:04:05+00:00", "git": EVIL, "notebooks": entries}
    versions = {"speechlib": EVIL, "python": EVIL, "torch": EVIL}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"versions": versions}))
    page = index_page.write(index_page.latest()).read_text()
    for text in (page, (folder / "index.html").read_text()):
        harmless(text, scripts=1)  # ours
        assert text.count("alert(1)") > 10  # it is there to be read
        assert "alert(5)" not in text


def test_players_and_explorers_show_text_as_text(tmp_path, monkeypatch):
    """Titles, captions, speakers, transcripts, phones, names of files."""
    wave = np.zeros(5000, np.float32)
    shown = [
        widgets.player(wave, 16_000, EVIL).data,
        widgets.players({EVIL: wave, "other": wave}, 16_000, captions={EVIL: EVIL}).data,
        widgets.player_grid({EVIL: {EVIL: (wave, 16_000)}}).data,
        widgets.key_numbers({EVIL: 0.5, "text": EVIL})._repr_mimebundle_()["text/html"],
    ]
    name = EVIL.replace("/", "")
    (tmp_path / name).mkdir()
    for stem in (name, "b"):
        soundfile.write(tmp_path / name / f"{stem}.wav", tone(), 16_000)
        (tmp_path / name / f"{stem}.phn").write_text(f"0 8000 {EVIL}\n")
        (tmp_path / name / f"{stem}.txt").write_text(EVIL)
    (tmp_path / "rest.wav").write_text("")
    browser = widgets.corpus_browser(corpora.load("folder", tmp_path))
    monkeypatch.setattr(test_widgets, "PHONES", ("<img src=x>", "<svg onload=alert(1)>", "2", "3"))
    monkeypatch.setattr(test_widgets.TonePack, "speakers", [EVIL, "b"])
    monkeypatch.setattr(test_widgets.TonePack, "text", [EVIL] * 3)
    pack = test_widgets.TonePack()
    tokens, trained = test_widgets.tone_tokens(pack), test_widgets.tone_trained(pack)
    explorers = [
        browser,
        widgets.alignment_explorer(pack, tokens),
        widgets.codebook_explorer(trained, tokens, np.random.default_rng(0).normal(size=(5, 2))),
    ]
    for explorer in explorers:
        shown += [view.value for view in explorer.views.values()]
        shown.append(explorer._repr_mimebundle_()["text/html"])
    for page in shown:
        harmless(page)
    assert "alert(1)" in "".join(shown)


def test_tables_that_notebooks_make_into_pages_are_escaped():
    """pandas' Styler leaves what a table holds as it is, unless told: names of files and words of others in them."""
    for path in (PACKAGE.parent / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            for line in cell["source"] if cell["cell_type"] == "code" else ():
                if re.search(r"\.style\..*to_html", line) and "corpora.catalogue()" not in line:  # the latter is ours
                    assert 'escape="html"' in line, f"{path.name}: {line}"
                assert "escape=False" not in line
                assert not re.search(r"Markdown\(", line), f"{path.name}: {line}: text of others could be in it"


def test_jupyterlab_is_started_with_its_token():
    """tests/test_browser.py asks a running one without."""
    makefile = (PACKAGE.parent / "Makefile").read_text()
    (started,) = re.findall(r"^\t.*-m jupyterlab.*$", makefile, re.M)
    assert not re.search("token|password|disable_check_xsrf|allow_origin|--ip|allow_remote", started)


@pytest.mark.parametrize("kind", ["command", "url"])
def test_a_manifest_runs_no_command_and_fetches_nothing(tmp_path, kind):
    """lhotse would give the text to a shell, or open it, as soon as somebody asks for the wave."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.wav").write_bytes(bad_files.WAV)
    lines = [json.dumps(cut.to_dict()) for cut in corpora.load("folder", tmp_path).cuts]
    hostile = json.loads(lines[1])
    (source,) = hostile["recording"]["sources"]
    source |= {"type": kind, "source": f"touch {tmp_path}/harm"}
    (tmp_path / "cuts.jsonl").write_text("\n".join([lines[0], json.dumps(hostile)]))
    found = corpora.load("manifest", tmp_path / "cuts.jsonl")
    assert [cut.id for cut in found.cuts] == ["a"]
    assert f"has a source of type '{kind}': only files are read" in str(found.skipped)
    assert not (tmp_path / "harm").exists()


def test_an_archive_with_a_password(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a.txt", "hello")
    content = (tmp_path / "x.zip").read_bytes()
    for mark, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the bit of encryption, in both headers
        at = content.index(mark) + flag
        content = content[:at] + bytes([content[at] | 1]) + content[at + 1 :]
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(BadFile, match="x.zip: cannot be unpacked .*password required"):
        fetch.unpack(tmp_path / "x.zip", tmp_path / "into")
