"""Every parser of ours, given anything: it reads it, or raises an error of ours that names the file.

`make test` tries the same examples each time, so that it never depends on luck; `make soak` draws others, and more of
them (SPEECHLIB_EXAMPLES).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, writes
from scipy.io import savemat
from test_melnet_yaml import text as melnet_yaml
from test_timit_mat import arrays as timit_arrays

from speechlib import audio, configs, files, presets, runs, timit_mat, workbook
from speechlib.challenge import embeddings
from speechlib.corpora import folder, labels, zerospeech
from speechlib.errors import BadFile, SpeechlibError
from speechlib.evaluation import alignments
from speechlib.models.vqvae import VQVAE, VQVAEConfig


@dataclass(frozen=True)
class Parser:
    name: str  # of the file it is given
    read: Callable[[Path], object]
    example: bytes  # one that it reads

    def __str__(self) -> str:
        return self.name


def made(write: Callable[[Path], object], name: str, folder: Path) -> bytes:
    """The bytes of a file that is written by a library."""
    write(folder / name)
    return (folder / name).read_bytes()


TEXTGRID = labels.Labels({"phone": [labels.Interval("a", 0.0, 0.5), labels.Interval("sil", 0.5, 1.0)]})
NOTEBOOK = new_notebook(cells=[new_code_cell("seed: int = 0  # seed", metadata={"tags": ["parameters"]})])
POCKETSPHINX = '{"b": 0, "d": 1, "t": "", "w": [{"t": "ab", "b": 0, "d": 1, "w": [{"t": "a", "b": 0, "d": 1}]}]}'
SWEEP = "system: vqvae\npreset: smoke\nseeds: [0, 1]\nchanges: {model.codebook_size: 8}\n"


def _matlab(path: Path) -> None:
    with open(path, "wb") as file:
        savemat(file, timit_arrays())


def _tokens(path: Path) -> None:
    alignments.save(path.parent, "codes", 0.02, codes=np.arange(5)).rename(path)


def parsers(scratch: Path) -> list[Parser]:
    wave = np.sin(np.arange(800) / 9).astype(np.float32) / 2
    model = VQVAE(VQVAEConfig(channels=4, code_dim=2, codebook_size=3), n_features=2, n_targets=2, n_speakers=0)
    tensors = {"weight": torch.arange(6.0).reshape(2, 3)}
    return [
        Parser("a.phn", lambda p: labels.read(p, 16_000), b"0 800 sil\n800 1600 aa\n"),
        Parser("a.lab", lambda p: labels.read(p, 16_000), b"0 5000000 x^x-sil+a=b\n5000000 9000000 x^sil-a+b=c\n"),
        Parser(
            "a.phone.json",
            lambda p: labels.read(p, 16_000),
            b'{"b": 0, "d": 1, "t": "", "w": [{"t": "ab", "b": 0, "d": 1, "w": [{"t": "a", "b": 0, "d": 1}]}]}',
        ),
        Parser(
            "a.TextGrid",
            lambda p: labels.read(p, 16_000),
            made(lambda p: labels.write_textgrid(p, TEXTGRID, 1.0), "a.TextGrid", scratch),
        ),
        Parser("table.csv", folder.read_table, b"id,text,speaker,gender\na,hello there,ann,f\nb,\xc3\xa4,bob,m\n"),
        Parser("synthesis.txt", zerospeech.read_synthesis, b"test/S002_0379088085.wav V002\ntest/S005_1.wav V001\n"),
        Parser("rows.txt", embeddings.read, b"0.5 1.0 -2\n1.0 2e-3 7\n"),
        Parser("sweep.yml", lambda p: presets.expand(presets.read_sweep(p)), SWEEP.encode()),
        Parser("template.yml", presets.read_melnet_yaml, melnet_yaml("template_training").encode()),
        Parser("a.wav", audio.read, made(lambda p: soundfile.write(p, wave, 8_000), "a.wav", scratch)),
        Parser("a.flac", audio.read, made(lambda p: soundfile.write(p, wave, 8_000), "a.flac", scratch)),
        Parser("w.safetensors", runs.load_tensors, made(lambda p: runs.save_tensors(p, tensors, {}), "w", scratch)),
        Parser("m.safetensors", runs.load_model, made(lambda p: runs.save_model(p, model, "vqvae"), "m", scratch)),
        Parser("x.json", files.read_json, b'{"a": [1, 2, {"b": null}]}'),
        Parser(
            "n.ipynb",
            lambda p: workbook.parameters(workbook.Notebook(p.stem, folder=p.parent)),
            writes(NOTEBOOK).encode(),
        ),
        Parser("frames.mat", timit_mat.load, made(_matlab, "frames.mat", scratch)),
        Parser("codes_20ms.npz", alignments.load, made(_tokens, "codes_20ms.npz", scratch)),
    ]


NAMES = ("a.phn", "a.lab", "a.phone.json", "a.TextGrid", "table.csv", "synthesis.txt", "rows.txt", "sweep.yml")
NAMES += ("template.yml", "a.wav", "a.flac", "w.safetensors", "m.safetensors", "x.json", "n.ipynb", "frames.mat")
NAMES += ("codes_20ms.npz",)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> dict[str, Parser]:
    found = {parser.name: parser for parser in parsers(tmp_path_factory.mktemp("examples"))}
    assert tuple(found) == NAMES
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("parsed")


def tried(name: str, test: Callable) -> None:
    """Draws examples for `test`: fewer where a parser is slow."""
    settings(max_examples=EXAMPLES // SLOW.get(name, 1))(test)()


def attempt(parser: Parser, place: Path, content: bytes) -> None:
    """Nothing but a result or an error of ours, and one of a file names it."""
    path, told = place / parser.name, parser.name
    path.write_bytes(content)
    try:
        parser.read(path)
    except BadFile as error:
        told = str(error)
    except SpeechlibError:
        pass
    assert parser.name.split(".")[0] in told


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_read(known, place, name):
    path = place / name
    path.write_bytes(known[name].example)
    known[name].read(path)


EXAMPLES = int(os.environ.get("SPEECHLIB_EXAMPLES", 150))
SLOW = {"frames.mat": 10}  # times as long as others take: a process is started for each
texts = st.text(st.sampled_from("0123456789.,:;- \t\n{}[]\"'#&*!|>%aeinotw=_\\\x00é"), max_size=200)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_in_a_file(known, place, name):
    @given(content=st.one_of(st.binary(max_size=300), texts.map(str.encode)))
    def anything(content):
        attempt(known[name], place, content)

    tried(name, anything)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_something_happened_to(known, place, name):
    """Cut off, a piece missing, repeated, or written over: as disks, editors and transfers do."""

    @given(data=st.data())
    def damaged(data):
        content = known[name].example
        for _ in range(data.draw(st.integers(1, 3))):
            a, b = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
            piece = data.draw(
                st.one_of(st.just(b""), st.just(content[a:b] * 2), st.binary(max_size=8), texts.map(str.encode))
            )
            content = content[:a] + piece + content[b if data.draw(st.booleans()) else a + len(piece) :]
        attempt(known[name], place, content)

    tried(name, damaged)


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("m.safetensors", b'"sizes"', b'" izes"', "says no sizes"),
        ("m.safetensors", b"n_targets", b"n_ta#gets", "names sizes that VQVAE does not have"),
        ("n.ipynb", b'"source"', b'"sauce"', "a cell has no source"),
        ("a.flac", b"\x01\xf4\x00\xf0\x00\x00\x03\x20", b"\x01\xf4\x00\xf7\x00\x00\x03\x20", "30,064,771,872 samples"),
        ("frames.mat", b"\x01IM", b"\x00\x00\x00\x00\x00\x01IM", "no MATLAB file"),  # scipy: bus error, read in place
    ],
)
def test_what_chance_found(known, place, name, old, new, told):
    path = place / name
    assert old in known[name].example
    path.write_bytes(known[name].example.replace(old, new, 1))
    with pytest.raises(BadFile, match=told):
        known[name].read(path)


@settings(max_examples=EXAMPLES)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_a_config_holds(values):
    """Of the right names and wrong values: as JSON brings them."""
    for wrong in ({"model": values}, {"training": {"steps": values}}, {"split": {"parts": values}}, values):
        try:
            configs.from_dict(presets.Experiment, wrong)
        except SpeechlibError:
            pass
