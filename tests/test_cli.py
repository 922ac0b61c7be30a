"""python -m speechlib: what it prints, its exit codes, and errors in one line."""

import json
import subprocess
import sys

import numpy as np
import pytest

from speechlib import audio, presets, runs, systems, workbook
from speechlib.__main__ import _Console, main
from speechlib.corpora import items

SMALL = {"training.steps": 2, "training.validate_every": 2, "training.checkpoint_every": 2}


@pytest.fixture
def tones(workspace):
    """A corpus of eight half-second sounds of two speakers, and one file that is none."""
    generator = np.random.default_rng(0)
    for i in range(8):
        wave = 0.3 * np.sin(np.arange(8000) * 0.03 * (i + 1)) + 0.02 * generator.standard_normal(8000)
        path = workspace / "tones" / f"speaker{i % 2}" / f"tone {i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, wave.astype(np.float32), 16_000)
    (workspace / "tones" / "speaker0" / "broken.wav").write_bytes(b"not a sound")
    return workspace / "tones"


def test_errors_are_one_line_without_a_traceback(workspace):
    command = [sys.executable, "-m", "speechlib", "run", "--only", "99"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("speechlib: unknown notebook '99'. There are: 00_start_here, ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["run", "--preset", "dem"], "unknown preset 'dem'"),
        (["run", "-p", "sed", "1"], "unknown parameter of these notebooks 'sed'. Did you mean 'seed'?"),
        (["run", "--params", "none.yml"], "none.yml: does not exist"),
        (["run", "--name", "a/b"], "batch name 'a/b'"),
        (["run", "--jobs", "0"], "jobs and timeout start at 1, got 0"),
        (["train", "vqve"], "unknown system 'vqve'. Did you mean 'vqvae'?"),
        (["train", "vqvae", "--set", "model.codebok_size=3"], "Did you mean 'codebook_size'?"),
        (["train", "vqvae", "--set", "model.codebook_size=many"], "model.codebook_size needs int, got 'many'"),
        (["train", "vqvae", "--set", "x"], "--set wants NAME=VALUE, got 'x'"),
        (["sweep", "vq44"], "no sweep 'vq44': give a .yml file or one of vq44-mfcc39, "),
        (["sweep", "none.yml"], "none.yml: does not exist"),
        (["corpus", "vctkk"], "unknown corpus 'vctkk'. Did you mean 'vctk'?"),
        (["index"], "no batch in"),
    ],
)
def test_mistakes_in_a_call(workspace, capsys, arguments, error):
    assert main(arguments) == 2
    out, told = capsys.readouterr()
    assert error in told
    assert told.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    ("text", "error"),
    [("- 1", "wants a `name: value` per line"), ("a: [", "is not YAML"), ("seed: many", "seed needs int")],
)
def test_parameter_files(workspace, capsys, text, error):
    (workspace / "params.yml").write_text(text)
    assert main(["run", "--params", str(workspace / "params.yml")]) == 2
    assert error in capsys.readouterr().err


def test_run_passes_everything_on(workspace, capsys, monkeypatch):
    asked = []

    def run(name, notebooks, values, jobs, force, timeout, report, cluster):
        assert cluster is None
        asked.append((name, [notebook.name for notebook in notebooks], values, jobs, force, timeout))
        report("started", "01_corpora", {})
        report("progress", "01_corpora", {"cell": 2, "cells": 9, "seconds": 3})
        done = {"status": "done", "seconds": 75.3, "peak_memory": 300 * 2**20}
        failed = {"status": "failed", "cell": 3, "exception": "ValueError: no", "log": "logs/02.log"}
        report("finished", "01_corpora", done)
        report("finished", "02_features_and_back", failed)
        return {"01_corpora": done, "02_features_and_back": failed}

    monkeypatch.setattr(workbook, "run", run)
    (workspace / "params.yml").write_text("seed: 3\ncorpus: folder")
    arguments = (
        f"run --only 02 01 --params {workspace}/params.yml -p seed 4 --preset smoke --jobs 2 --force --timeout 9"
    )
    assert main(arguments.split()) == 1
    values = {"seed": "4", "corpus": "folder", "preset": "smoke"}
    assert asked == [("smoke", ["01_corpora", "02_features_and_back"], values, 2, True, 9)]
    started, done, failed, summary = capsys.readouterr().out.splitlines()
    assert started.split() == ["01_corpora", "started"]
    assert done.split() == ["01_corpora", "done", "1:15", "300", "MB"]
    assert failed.split(maxsplit=2)[2].startswith("In [3]: ValueError: no -> ")
    assert failed.endswith("outputs/batches/smoke/logs/02.log")
    assert summary.startswith("1 of 2 notebooks up to date: ")
    main(["run", "--from", "42", "--name", "mine"])
    assert asked[1] == (
        "mine",
        ["42_clustering", "43_voices", "44_sweeps", "45_side_by_side", "46_zerospeech"],
        {},
        1,
        False,
        1800,
    )


def test_a_terminal_shows_what_is_under_way(workspace, capsys):
    console = _Console(workspace)
    console.live = True
    console.report("started", "00_start_here", {})
    console.report("progress", "00_start_here", {"cell": 2, "cells": 9, "seconds": 61})
    console.report("progress", "00_start_here", {"cell": 2, "cells": 9, "seconds": 61.2})  # nothing new to show
    console.report("finished", "00_start_here", {"status": "done", "seconds": 65, "peak_memory": 2**20})
    lines = [line.strip() for line in capsys.readouterr().out.replace("\n", "\r\033[K").split("\r\033[K")]
    assert lines[1:3] == ["00_start_here cell 0/? 0:00", "00_start_here cell 2/9 1:01"]
    assert lines[3].split() == ["00_start_here", "done", "1:05", "1", "MB"]


def test_the_phones_of_a_corpus_are_written_as_items(voices, tones, tmp_path, capsys):
    wanted = ["corpus", "folder", "--items", str(tmp_path / "mine.item"), "--root"]
    assert main([*wanted, str(voices / "folder")]) == 0
    found = items.read_items(tmp_path / "mine.item")
    assert f"{len(found):,} items: {tmp_path / 'mine.item'}" in capsys.readouterr().out
    assert set(found["speaker"]) == {"adam", "anika"}
    assert main([*wanted, str(tones)]) == 2
    assert "has three phones in a row" in capsys.readouterr().err


def test_corpus_lists_speakers_and_what_was_left_out(tones, capsys):
    assert main(["corpus", "folder", "--root", str(tones)]) == 0
    out = capsys.readouterr().out
    assert "8 utterances; 1 files or labels left out" in out
    assert "broken.wav" in out
    assert "speaker1" in out
    assert main(["corpus", "folder", "--root", str(tones / "none")]) == 2
    assert main(["corpus", "folder", "--root", str(tones), "--download"]) == 2


def test_train_list_and_sweep(tones, capsys):
    """One small training by each command, listed as text and as JSON; what is finished is not trained again."""
    changes = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    train = ["train", "vqvae", "--preset", "smoke", "--corpus", "folder", "--corpus-root", str(tones), "--seed", "5"]
    assert main(train + changes) == 0
    assert "done" in capsys.readouterr().out
    sweep = {"preset": "smoke", "corpus": "folder", "corpus_root": str(tones), "seeds": [5, 6], "changes": SMALL}
    (tones.parent / "seeds.yml").write_text(json.dumps(sweep))  # JSON is YAML
    assert main(["sweep", str(tones.parent / "seeds.yml")]) == 0
    capsys.readouterr()
    experiment = presets.get("vqvae", "smoke", "folder", str(tones), seed=7, changes=SMALL)
    runs.create(experiment).mark("failed", reason="power cut")
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["system"], row["preset"], row["seed"], row["status"]) for row in rows] == [
        ("vqvae", "smoke", 5, "done"), ("vqvae", "smoke", 6, "done"), ("vqvae", "smoke", 7, "failed")
    ]  # fmt: skip
    assert {"codes_used", "perplexity"} <= rows[0]["summary"].keys()
    (runs.folder() / "vqvae-smoke-8-000000000000").mkdir()
    assert main(["list"]) == 0
    done, _, failed, unreadable = capsys.readouterr().out.splitlines()
    assert "codes_used" in done
    assert failed.endswith("power cut")
    assert "unreadable" in unreadable
    assert (
        main(["sweep", "vq44-mfcc39", "--preset", "smoke", "--corpus", "folder", "--corpus-root", str(tones / "none")])
        == 1
    )


def test_sweep_refuses_unknown_keys(workspace, capsys):
    (workspace / "sweep.yml").write_text("presett: smoke")
    assert main(["sweep", str(workspace / "sweep.yml")]) == 2
    assert "Did you mean 'preset'?" in capsys.readouterr().err


TINY = {"model.n_layers": 2, "model.residual_channels": 4, "model.gate_channels": 8, "model.skip_channels": 4}
TINY |= SMALL | {"training.batch_size": 2, "training.n_frames": 5, "training.validate_batches": 1}


@pytest.fixture
def vocoders(tones):
    """Two tiny WaveNets, run names: one that knows no speakers, one that does."""
    plain = presets.get("wavenet", "smoke", "folder", str(tones), changes=TINY)
    knows = presets.get("wavenet", "smoke", "folder", str(tones), changes=TINY | {"model.speaker_dim": 2})
    return [systems.train(experiment).name for experiment in (plain, knows)]


def test_generate_says_a_file_of_any_rate(vocoders, tones, workspace, capsys):
    audio.write(workspace / "high.flac", 0.2 * np.sin(np.arange(44_100) * 0.02), 44_100)
    out = workspace / "out"
    call = ["generate", vocoders[0], str(workspace / "high.flac"), "--seconds", "0.25", "--out", str(out)]
    assert main(call) == 0
    assert "high.flac: resampled from 44,100 to 8,000 Hz" in capsys.readouterr().out
    wave, rate = audio.read(out / "high_wavenet.wav")
    assert (rate, len(wave)) == (8000, 2000)
    assert main([*call, "--seed", "1"]) == 0
    assert not np.array_equal(audio.read(out / "high_wavenet.wav")[0], wave)
    greedy = []
    for seed in "01":
        assert main([*call, "--mode", "greedy", "--seed", seed]) == 0
        greedy.append(audio.read(out / "high_wavenet.wav")[0])
    assert np.array_equal(*greedy)  # nothing is drawn


def test_generate_in_several_voices_and_nobodys(vocoders, tones, workspace, capsys):
    file, out = next(tones.glob("*/tone 0.wav")), workspace / "out"
    call = ["generate", str(runs.folder() / vocoders[1]), str(file), "--seconds", "0.2", "--out", str(out)]
    assert main([*call, "--speakers", "speaker0", "speaker1", "none"]) == 0
    names = ["tone 0_no_speaker.wav", "tone 0_speaker0.wav", "tone 0_speaker1.wav"]
    assert sorted(path.name for path in out.iterdir()) == names
    first, second, third = (audio.read(out / name)[0] for name in names)
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


def test_generate_with_a_codec_leaves_its_codes(tones, workspace):
    run = systems.train(presets.get("vqvae", "smoke", "folder", str(tones), changes=SMALL))
    file, out = next(tones.glob("*/tone 0.wav")), workspace / "out"
    assert main(["generate", run.name, str(file), "--speakers", "speaker1", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["tone 0_codes.npy", "tone 0_speaker1.wav"]
    assert np.load(out / "tone 0_codes.npy").ndim == 1


def test_generate_with_the_codec_that_ships(workspace, capsys):
    """From nothing: its corpus is made first. Then 0.3 s of anything are said again, by two voices and nobody."""
    audio.write(workspace / "hum.wav", 0.3 * np.sin(np.arange(16_000) * 0.06), 16_000)
    out, speakers = workspace / "out", systems.load_pretrained("vqvae_wavenet").data.pack.speakers
    call = ["generate", "vqvae_wavenet", str(workspace / "hum.wav"), "--seconds", "0.3", "--out", str(out)]
    assert main([*call, "--speakers", *speakers[:2], "none", "--temperature", "0.8"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith("hum.wav: resampled from 16,000 to 8,000 Hz")
    names = [f"hum_{name}.wav" for name in (*speakers[:2], "no_speaker")]
    assert [line.rpartition("/")[2] for line in told[1:]] == names
    codes = np.load(out / "hum_codes.npy")
    assert codes.shape == (15,)  # 50 per second
    waves = [audio.read(out / name)[0] for name in names]
    assert {len(wave) for wave in waves} == {2400}
    assert all(np.abs(wave).max() > 0.01 for wave in waves)
    assert not any(np.array_equal(one, other) for one, other in zip(waves, waves[1:]))
    for wrong, message in (
        (["--speakers", "nobody"], "unknown speaker 'nobody'"),
        (["--seconds", "0.005"], "too short: a code stands for 2"),
    ):
        assert main([*call, *wrong]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("system", "told"),
    [
        ("vqvae", "a code sees 28 frames"),
        ("wavenet", "predicted from the last"),
        ("prior", "parameters"),
        ("vae", "shapes for one crop"),
    ],
)
def test_summary_of_any_system(workspace, capsys, system, told):
    assert main(["summary", system]) == 0
    *layers, last = capsys.readouterr().out.splitlines()
    assert any("Conv1d" in line for line in layers)
    assert told in last


def test_generate_says_what_is_wrong(vocoders, tones, workspace, capsys):
    good, out = str(next(tones.glob("*/tone 0.wav"))), ["--out", str(workspace / "out")]
    audio.write(workspace / "empty.wav", np.zeros(0), 8000)
    broken = runs.open(vocoders[0])
    weights, metadata = runs.load_tensors(broken.checkpoint)

    def complaint(*call: str) -> str:
        assert main(["generate", *call, *out]) == 2
        return capsys.readouterr().err

    assert "unknown run or checkpoint 'wavenett'" in complaint("wavenett", good)
    assert vocoders[0] in complaint("nothing", good)
    assert "does not exist" in complaint(vocoders[0], str(workspace / "none.wav"))
    assert "is it audio, and whole?" in complaint(vocoders[0], str(tones / "speaker0" / "broken.wav"))
    assert "holds no samples" in complaint(vocoders[0], str(workspace / "empty.wav"))
    assert "leave nothing to say" in complaint(vocoders[0], good, "--seconds", "0")
    assert "temperature -1" in complaint(vocoders[0], good, "--temperature", "-1")
    assert "temperature nan" in complaint(vocoders[0], good, "--temperature", "nan")
    assert "top_p 1.5" in complaint(vocoders[0], good, "--top-p", "1.5")
    assert "seed is -1: at least 0" in complaint(vocoders[0], good, "--seed", "-1")
    assert "unknown speaker 'speaker7'. Did you mean" in complaint(vocoders[1], good, "--speakers", "speaker7")
    assert "There are: none, speaker0, speaker1" in complaint(vocoders[1], good, "--speakers", "x")
    assert "was trained without speakers" in complaint(vocoders[0], good, "--speakers", "speaker0")
    weights["post_2.bias"][3] = float("nan")
    runs.save_tensors(broken.checkpoint, weights, metadata)
    assert "finite" in complaint(vocoders[0], good)
    assert not (workspace / "out").exists() or not list((workspace / "out").iterdir())
