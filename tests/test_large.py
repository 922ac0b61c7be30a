"""Corpora of many utterances, recordings of hours, folders of many runs: counted here, timed in benchmarks."""

import io
import json
import sys
import threading
from collections import Counter
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import large
import numpy as np
import pytest
import torch

from speechlib import audio, configs, features, files, index_page, packs, presets, runs
from speechlib.__main__ import main

_watched: list[Counter] = []


def _watch(event: str, arguments: tuple) -> None:
    if event == "open" and _watched and isinstance(arguments[0], (str, Path)):
        _watched[-1][Path(arguments[0]).name] += 1


sys.addaudithook(_watch)  # for good: Python knows no way to take one off


@contextmanager
def opened():
    """Counter of the names of files that are opened meanwhile."""
    _watched.append(Counter())
    try:
        yield _watched[-1]
    finally:
        _watched.pop()


def counted(stages) -> dict[str, int]:
    """How many functions are called in each stage, in all threads: work, whatever else the machine does."""
    calls, found = 0, {}

    def note(_frame, event, _argument) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        for stage in stages:
            found[stage], calls = calls, 0
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return found


def test_four_times_the_utterances_are_four_times_the_work(tmp_path):
    def passing(n: int) -> dict[str, int]:
        return counted(large.travel(tmp_path / str(n), large.utterances(tmp_path / str(n) / "corpus", n), large.SHORT))

    passing(50)  # imports
    few, many = passing(500), passing(2_000)
    for stage, calls in few.items():
        assert many[stage] < 4.2 * calls, (stage, calls, many[stage])


def test_a_recording_lies_in_memory_once_and_a_half(tmp_path):
    """Its samples as float32, and as int16 beside them or the features in their place: never a second copy."""
    short, long = large.measured(tmp_path, "hours", 0.1, 0.4)
    more = (long["peak"]["windows"] - short["peak"]["windows"]) / (0.3 * 3600 * 16_000 * 4)
    assert more < 1.8


def test_a_recording_in_pieces_is_what_it_is_at_once(monkeypatch):
    wave = np.random.default_rng(0).standard_normal(5_000).astype(np.float32)
    whole = audio.high_pass(wave, 16_000, 70.0)
    frames = torch.randn(3, 1_000) * 4 + 5
    statistics = features.measure([frames, frames[:, :10]])
    monkeypatch.setattr(audio, "_BLOCK", 600)
    monkeypatch.setattr(features, "_MEASURED", 64)
    np.testing.assert_allclose(audio.high_pass(wave, 16_000, 70.0), whole, atol=1e-6)
    for one, other in zip(features.measure([frames, frames[:, :10]]), statistics):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    assert audio.high_pass(wave, 16_000, 70.0, out=wave) is wave
    np.testing.assert_allclose(wave, whole, atol=1e-6)


@pytest.mark.parametrize("config", [features.LOG_MEL, features.MFCC39, features.PSF_MFCC39])
def test_features_of_packed_samples_are_those_of_their_wave(config):
    samples = torch.from_numpy(np.random.default_rng(0).integers(-32_768, 32_768, 200_000, dtype=np.int16))
    assert torch.equal(features.extract(samples, config), features.extract(samples.float() / 32_768, config))


def test_a_fingerprint_needs_no_list():
    """And stays what it was: packs and runs are found by it."""
    items = [[1, "a"], {"b": None, "a": 2.5}, "Zoë"]
    assert files.fingerprint(1, {"x": 2}, iter(items)) == files.fingerprint(1, {"x": 2}, items)
    assert files.fingerprint(iter(())) == files.fingerprint([])
    assert files.fingerprint(1, "a") == "4a72386a0277"


def test_voices_of_many_speakers_have_the_gender_that_all_of_them_have(one_voice, tmp_path):
    pack = packs.build(one_voice, packs.PackConfig(features=(features.LOG_MEL,)), tmp_path)
    several = object.__new__(packs.Pack)
    several.__dict__ = pack.__dict__ | {
        "speakers": ["a", "b", "c"],
        "genders": ["F", "F", "M"],
        "speaker": np.arange(len(pack)) % 3,
    }
    grouped = several.voiced([("south", "south", "north")[i % 3] for i in range(len(pack))])
    assert (grouped.speakers, grouped.genders) == (["north", "south"], ["M", "F"])
    mixed = several.voiced(["everywhere"] * len(pack))
    assert (mixed.genders, set(mixed.speaker)) == ([None], {0})


def some_runs(n: int) -> list[runs.Run]:
    made = []
    for seed in range(n):
        run = runs.create(presets.get("vqvae", "smoke", seed=seed))
        run.mark("done", step=120)
        run.write_summary({f"score_{k}": seed / (k + 1) for k in range(12)})
        for step in range(20):
            runs.append_line(run.path / "metrics.jsonl", {"step": step, "part": "train", "loss": 1.0})
        made.append(run)
    return made


def test_a_list_of_runs_opens_a_few_small_files_of_each(workspace):
    some_runs(20)
    with opened() as names, redirect_stdout(io.StringIO()) as told:
        assert main(["list"]) == 0
    assert told.getvalue().count("done\n") == 20
    assert names["metrics.jsonl"] == 0
    assert names["config.json"] == 20
    assert names["status.json"] + names["summary.json"] <= 6 * 20


def test_the_index_page_opens_a_few_small_files_of_each_run(workspace):
    some_runs(20)
    manifest = {"format": 1, "name": "smoke", "started": "2026-11-20T10:00:00+00:00", "finished": None, "git": None}
    manifest |= {"versions": {"speechlib": "1", "python": "3", "torch": "2"}, "notebooks": {}}
    files.write_json(workspace / "outputs" / "batches" / "smoke" / "manifest.json", manifest)
    with opened() as names:
        page = index_page.write("smoke").read_text()
    assert page.count("vqvae-smoke-") >= 20
    assert "score_11" in page
    assert names["metrics.jsonl"] == 0
    assert sum(names[f"{name}.json"] for name in ("config", "status", "summary")) <= 7 * 20


def test_whether_a_run_is_there_is_read_once(workspace):
    """A sweep asks it of each of its trainings, beside those that there are."""
    made = some_runs(20)
    assert runs.find(presets.get("vqvae", "smoke", seed=100)) is None
    with opened() as names:
        assert runs.find(presets.get("vqvae", "smoke", seed=101)) is None
        assert runs.find(presets.get("vqvae", "smoke", seed=7)).path == made[7].path
    assert names["config.json"] == 1
    old = json.loads((made[3].path / "config.json").read_text())
    del old["experiment"]["seed"]  # a file that changes is read again
    files.write_json(made[3].path / "config.json", old)
    made[3].path.rename(made[3].path.with_name("vqvae-smoke-3-0123456789ab"))
    with opened() as names:
        found = runs.find(presets.get("vqvae", "smoke", seed=0))
    assert found.path == made[0].path
    assert runs.find(configs.override(presets.get("vqvae", "smoke"), {"seed": 3})) is None
