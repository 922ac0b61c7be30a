"""Configs as plain values, files that are whole or absent, and errors that say what to do."""

import json
import os
import pickle
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechlib import configs, files
from speechlib.errors import BadFile, SpeechlibError, UnknownName


class DiskFull(OSError):
    pass


@dataclass(frozen=True)
class Inner:
    size: int = 4
    rate: float = 0.5
    shape: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Outer:
    name: str = "a"
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = (Inner(), Inner(7))
    parts: dict[str, float] = field(default_factory=lambda: {"train": 0.8})
    limit: float | None = None
    flag: bool = False
    pair: tuple[int, str] = (1, "x")
    free: Any = None


@given(
    st.builds(
        Outer,
        name=st.text(),
        inner=st.builds(Inner, st.integers(), st.floats(allow_nan=False), st.lists(st.integers()).map(tuple)),
        parts=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
        limit=st.none() | st.floats(allow_nan=False),
        flag=st.booleans(),
    )
)
def test_a_config_survives_json(config):
    assert configs.from_dict(Outer, json.loads(json.dumps(configs.to_dict(config)))) == config


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"nmae": "b"}, UnknownName, ("nmae", "Outer", "Did you mean 'name'")),
        ({"inner": {"sise": 1}}, UnknownName, ("sise", "Inner", "size")),
        ({"inners": [{"size": 1}, {"sise": 1}]}, UnknownName, ("sise", "Inner")),
        ({"inner": {"size": 1.5}}, SpeechlibError, ("Inner.size", "int", "1.5")),
        ({"inner": {"size": True}}, SpeechlibError, ("Inner.size", "int", "True")),
        ({"inner": {"shape": 3}}, SpeechlibError, ("Inner.shape", "list", "3")),
        ({"inner": {"shape": [1, "2"]}}, SpeechlibError, ("Inner.shape[1]", "int", "'2'")),
        ({"inner": 3}, SpeechlibError, ("Inner", "mapping", "3")),
        ({"parts": ["train"]}, SpeechlibError, ("parts", "mapping")),
        ({"limit": "high"}, SpeechlibError, ("limit", "float", "'high'")),
        ({"flag": 1}, SpeechlibError, ("flag", "bool", "1")),
        ({"pair": [1]}, SpeechlibError, ("pair", "2 values", "got 1")),
        (["name"], SpeechlibError, ("Outer", "mapping")),
    ],
)
def test_what_does_not_fit_is_named(values, error, words):
    with pytest.raises(error) as caught:
        configs.from_dict(Outer, values)
    assert all(word in str(caught.value) for word in words), caught.value


def test_numbers_are_taken_as_they_are_meant():
    inner = configs.from_dict(Inner, {"size": 3.0, "rate": 2})
    assert (inner.size, inner.rate) == (3, 2.0)
    assert (type(inner.size), type(inner.rate)) == (int, float)


def test_dotted_names_reach_every_field_and_nothing_else():
    config = configs.override(Outer(), {"inner.size": 9, "name": "b", "inner.shape": [5]})
    assert config == Outer(name="b", inner=Inner(9, 0.5, (5,)))
    assert Outer().inner.size == 4  # the original stays
    whole = {"size": 7, "rate": 0.25}
    assert configs.override(Outer(), {"inner.size": 9, "inner": whole}) == Outer(inner=Inner(7, 0.25))  # the later one
    assert configs.override(Outer(), {"inner": whole, "inner.size": 9}) == Outer(inner=Inner(9, 0.25))
    for name in ("inner.sise", "iner.size", "inner.size.more", "name.size", ""):
        with pytest.raises(UnknownName):
            configs.override(Outer(), {name: 1})
    with pytest.raises(SpeechlibError, match=r"inner\.size needs int"):
        configs.override(Outer(), {"inner.size": "big"})


def test_flatten_names_every_leaf_once():
    flat = configs.flatten(Outer())
    assert flat["inner.size"] == 4
    assert flat["parts"] == {"train": 0.8}
    rebuilt = configs.override(Outer(name="z", inner=Inner(0)), flat)
    assert rebuilt == Outer()


def test_fingerprints_know_values_not_their_order():
    assert files.fingerprint({"a": 1, "b": 2}) == files.fingerprint({"b": 2, "a": 1})
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": 2})
    assert files.fingerprint("ab", "c") != files.fingerprint("a", "bc")


def test_an_atomic_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with files.atomic(path) as part:
        part.write_text("first")
    with suppress(DiskFull), files.atomic(path) as part:
        part.write_text("half of the sec")
        raise DiskFull
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["file.txt"]


def test_an_atomic_folder_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "folder"
    for text in ("first", "second"):
        with files.atomic_folder(path) as part:
            (part / "file").write_text(text)
    with suppress(DiskFull), files.atomic_folder(path) as part:
        (part / "file").write_text("third")
        raise DiskFull
    assert (path / "file").read_text() == "second"
    assert os.listdir(tmp_path) == ["folder"]


def test_paths_hang_on_the_root_and_not_on_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("SPEECHLIB_DATA", raising=False)
    monkeypatch.delenv("SPEECHLIB_OUTPUTS", raising=False)
    monkeypatch.setenv("CORPORA", "/somewhere")
    before = files.data_dir(), files.outputs_dir()
    monkeypatch.chdir(tmp_path)
    assert (files.data_dir(), files.outputs_dir()) == before == (files.ROOT / "data", files.ROOT / "outputs")
    assert files.resolve("corpora/mine") == files.ROOT / "corpora/mine"
    assert files.resolve("$CORPORA/mine").as_posix() == "/somewhere/mine"
    assert files.resolve("~/mine").is_absolute()


def test_damaged_json_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(BadFile, match="does not exist"):
        files.read_json(path)
    files.write_json(path, {"name": "Zoë", "values": [1, 2.5, None]})
    assert files.read_json(path) == {"name": "Zoë", "values": [1, 2.5, None]}
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BadFile, match=r"x\.json: is not JSON .*Delete it"):
        files.read_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="is not JSON"):
        files.read_json(path)


def test_errors_travel_between_processes():
    for error in (
        BadFile("a.wav", "is empty", "line 3"),
        UnknownName("preset", "demmo", ["demo"]),
        SpeechlibError("x"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy)) == (type(error), str(error))
    assert str(BadFile("a.wav", "is empty", "line 3")) == "a.wav (line 3): is empty"
    assert "Did you mean 'demo'" in str(UnknownName("preset", "demmo", ["demo", "paper"]))
    assert str(UnknownName("preset", "x", [])).endswith("There are: none.")
