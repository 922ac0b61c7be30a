"""Systems from preset to summary: trained once, resumed to the bit, judged beside k-means, swept to the end."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechlib import batches, configs, files, objectives, presets, runs, systems
from speechlib.errors import BadFile, SpeechlibError
from speechlib.runs import load_tensors


@pytest.fixture
def workspace(voices, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path


def smoke(seed=0, **changes):
    changes = {"training.steps": 6, "training.checkpoint_every": 2, "training.precision": "fp32"} | changes
    return presets.get("vqvae", "smoke", "folder", seed=seed, changes=changes)


@pytest.fixture(scope="module")
def trained(voices, tmp_path_factory):
    """A finished run of the smoke preset."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        return systems.load(systems.train(presets.get("vqvae", "smoke", "folder")))


def test_a_run_is_whole_when_it_is_done(trained):
    run, summary = trained.run, trained.run.summary
    assert run.status == "done"
    assert {
        "nmi", "ami", "v_measure", "bigram_diagonal", "codes_used", "perplexity", "kmeans_nmi", "kmeans_ami",
        "reconstruction", "parameters", "steps", "audio_seconds", "seconds",
    } <= summary.keys()  # fmt: skip
    config = trained.experiment.training
    assert summary["steps"] == config.steps
    assert summary["audio_seconds"] == pytest.approx(config.steps * config.batch_size * config.n_frames / 100)
    assert summary["parameters"] == sum(p.numel() for p in trained.model.parameters())
    assert systems.experiment_of(run) == trained.experiment == presets.get("vqvae", "smoke", "folder")
    assert {"loss", "reconstruction", "vq", "commitment", "commitment_weighted", "perplexity"} <= set(run.metrics())
    assert len(run.metrics()) == config.steps  # every iteration
    assert len(run.codebooks()) == config.steps // config.record_every + 1  # the first step as well


def test_a_finished_run_is_returned_untouched(trained, workspace, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(trained.run.path.parent.parent))
    before = {path: path.stat().st_mtime_ns for path in trained.run.path.rglob("*")}
    assert systems.train(trained.experiment).path == trained.run.path
    assert {path: path.stat().st_mtime_ns for path in trained.run.path.rglob("*")} == before


def test_statistics_are_those_of_the_training_part_and_of_each_kind(trained):
    pack, split = trained.data.pack, trained.data.split
    assert set(split["train"]).isdisjoint(split["val"])
    assert len(split["train"]) == round(0.8 * len(pack))
    for part, kind in ((trained.model.inputs, "mfcc"), (trained.model.targets, "log_mel")):
        frames = part(torch.cat([pack.features(i, kind) for i in split["train"]], 1))
        assert frames.mean(1).abs().max() < 0.01
        assert (frames.std(1) - 1).abs().max() < 0.01


def test_the_summary_is_what_its_parts_say(trained):
    from sklearn.metrics import normalized_mutual_info_score

    table = systems.tokens(trained)
    labelled = table[table["phone"].notna()]
    summary = trained.run.summary
    assert summary["nmi"] == pytest.approx(normalized_mutual_info_score(labelled["phone"], labelled["code"]))
    assert summary["codes_used"] == table["code"].nunique()
    beside = systems.baseline(trained)[table["phone"].notna().to_numpy()]
    assert summary["kmeans_nmi"] == pytest.approx(normalized_mutual_info_score(labelled["phone"], beside))


def test_codes_come_with_the_times_of_their_centres(trained):
    index = trained.data.split["val"][3]
    codes, times = systems.encode(trained, [index])
    n_frames = int(trained.data.pack.n_frames[index])
    assert len(codes[index]) == len(times[index]) == n_frames // 2 + 1
    assert times[index][:3] == pytest.approx([-0.005, 0.015, 0.035])
    expected = trained.model.codes(trained.data.pack.features(index, "mfcc")[None])[0]
    assert np.array_equal(codes[index], expected)


def test_the_baseline_sees_the_frames_of_the_codes(trained):
    index = trained.data.split["val"][0]
    frames = systems.codes._frames(trained, [index], trained.model.inputs)
    x = trained.model.inputs(trained.data.pack.features(index, "mfcc"))
    assert frames[5] == pytest.approx((0.5 * (x[:, 9] + x[:, 10])).numpy(), abs=1e-5)  # code 5: frames 8 to 11


def test_a_reconstruction_is_in_units_of_the_targets_and_takes_another_voice(trained):
    pack, index = trained.data.pack, trained.data.split["val"][0]
    original, own = pack.features(index, "log_mel"), systems.reconstruct(trained, index)
    assert own.shape == original.shape
    speaker = int(pack.speaker[index])
    assert torch.equal(systems.reconstruct(trained, index, speaker), own)
    assert not torch.equal(systems.reconstruct(trained, index, (speaker + 1) % len(pack.speakers)), own)
    assert abs(own.mean() - original.mean()) < 0.3 * original.std()


def test_the_recorded_codebook_is_that_of_the_checkpoint_at_the_end(trained):
    recorded, metadata = load_tensors(trained.run.codebooks()[-1])
    assert metadata["step"] == trained.experiment.training.steps
    assert torch.equal(recorded["codebook"], trained.model.quantizer.codebook)
    nearest = torch.cdist(recorded["z_e"], recorded["codebook"]).argmin(1)
    assert (nearest == recorded["codes"]).float().mean() > 0.99
    assert len(recorded["speaker"]) == len(recorded["codes"]) == len(recorded["z_e"])


def test_validation_runs_on_the_validation_part_only(trained):
    experiment, data = trained.experiment, trained.data
    crops = systems.crops(experiment, data, "val")
    losses = [objectives.vqvae(trained.model, crops.batch(n))["reconstruction"].item() for n in range(4)]
    assert trained.run.metrics("validation")["reconstruction"].iloc[-1] == pytest.approx(np.mean(losses), rel=0.02)
    seen = {int(i) for n in range(8) for i in crops.batch(n).utterance}
    assert seen <= set(data.split["val"])


AS_IT_COMES = {"model.jitter": 0.3, "training.precision": "auto", "training.ema_decay": 0.9}


TRAIN = """
import time
import test_systems
from speechlib import systems
systems.train(test_systems.smoke(**test_systems.AS_IT_COMES), lambda done, total, text: time.sleep(0.2))
"""


def test_killed_and_trained_again_it_is_the_same_to_the_bit(workspace, monkeypatch):
    """With everything that could differ: k-means start, re-seeded codes, jitter, moments, averages, bf16."""
    experiment = smoke(**AS_IT_COMES)
    whole = systems.train(experiment)
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(workspace / "killed"))
    process = subprocess.Popen([sys.executable, "-c", TRAIN], cwd=os.path.dirname(__file__))
    while (run := runs.find(experiment)) is None or len(run.metrics()) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    assert run.status == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (run.status, run.step) == ("interrupted", 2)
    resumed = systems.train(experiment)
    assert resumed.path == run.path != whole.path
    for one, other in ((whole.checkpoint, resumed.checkpoint), (whole.training_state, resumed.training_state)):
        one, other = load_tensors(one)[0], load_tensors(other)[0]
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert {**whole.summary, "seconds": 0} == {**resumed.summary, "seconds": 0}
    for part in ("train", "validation"):
        assert whole.metrics(part).drop(columns="seconds").equals(resumed.metrics(part).drop(columns="seconds"))


def test_a_second_process_waits_for_the_first(workspace):
    experiment = smoke()
    command = "import test_systems\nfrom speechlib import systems\nsystems.train(test_systems.smoke())"
    process = subprocess.Popen([sys.executable, "-c", command], cwd=os.path.dirname(__file__))
    run = systems.train(experiment)
    assert process.wait() == 0
    assert run.status == "done"
    assert list(run.metrics()["step"]) == [1, 2, 3, 4, 5, 6]  # trained once


@pytest.mark.parametrize("name", presets.SETS)
def test_the_nine_sets_take_a_step(name, workspace):
    """Every member with the source's features, codebook, batch and length, in few channels."""
    members = presets.named_set(name, "smoke", "folder")
    found = systems.sweep([configs.override(member, {"training.steps": 1}) for member in members.values()])
    assert [(run.status, run.reason) for run in found] == [("done", "")] * len(members)
    assert len({run.path for run in found}) == len(members)
    first = next(iter(members.values())).training
    assert bool(found[0].gradients()) == first.record_gradients
    assert bool(found[0].codebooks()) == first.record_codebook


def test_paper_takes_a_step_on_another_corpus(workspace):
    """The source's features and sizes, but for the width of the model."""
    experiment = presets.get("vqvae", "paper", "folder", changes={"training.steps": 1, "model.channels": 8})
    run = systems.train(experiment)
    assert run.summary["audio_seconds"] == pytest.approx(0.94)
    trained = systems.load(run)
    codes, times = systems.encode(trained, trained.data.split["val"][:1])
    assert next(iter(times.values()))[1] == pytest.approx(
        0.0125 + 1.5 / 100
    )  # psf frames begin where others have centres


def test_a_failing_run_stops_no_other(workspace):
    bad = smoke(**{"training.learning_rate": 1e30})
    missing = presets.get("vqvae", "smoke", "folder", str(workspace / "nothing"))
    told = []
    found = systems.sweep([bad, missing, smoke()], progress=lambda *values: told.append(values))
    assert [run.status for run in found] == ["failed", "failed", "done"]
    assert "training.learning_rate" in found[0].reason
    assert "nothing" in found[1].reason
    assert told[-1][0] == told[-1][1] == 6 + missing.training.steps + 6
    assert [run.path for run in systems.sweep([bad, missing, smoke()])] == [run.path for run in found]


def test_a_sweep_in_two_processes_gives_the_same_runs(workspace, monkeypatch):
    experiments = [smoke(), smoke(1, **{"training.learning_rate": 1e30})]
    told = []
    found = systems.sweep(experiments, jobs=2, progress=lambda *values: told.append(values))
    assert [run.status for run in found] == ["done", "failed"]
    assert "is nan" in found[1].reason or "is inf" in found[1].reason
    assert told[-1][:2] == (12, 12)
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(workspace / "alone"))
    torch.set_num_threads(1)
    alone = systems.train(experiments[0])
    assert alone.path != found[0].path
    assert {**alone.summary, "seconds": 0} == {**found[0].summary, "seconds": 0}


def test_what_kills_a_process_of_a_sweep_is_that_runs_reason(workspace, monkeypatch):
    # whatever python is spawned from here on kills itself as it starts: a crash, or a machine out of memory
    folder = workspace / "code"
    folder.mkdir()
    crash = "import os, sys\nif 'spawn_main' in ' '.join(sys.orig_argv): os.kill(os.getpid(), 9)"
    (folder / "sitecustomize.py").write_text(crash)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    (run,) = systems.sweep([smoke(9)], jobs=2)
    assert run.status == "failed"
    assert "exit code -9" in run.reason


def test_a_run_of_another_version_says_so_and_is_listed(workspace):
    run = runs.create(smoke())
    config = run.config | {"experiment": run.experiment | {"modle": {}}, "versions": {"speechlib": "9.9"}}
    files.write_json(run.path / "config.json", config)
    with pytest.raises(BadFile, match=r"speechlib 9.9 with settings unknown here .*modle.*Did you mean 'model'"):
        systems.load(runs.open(run.path))
    (listed,) = runs.list_runs(systems.experiment_of)
    assert "settings unknown here" in listed.reason


def test_a_truncated_checkpoint_is_named(trained, workspace, monkeypatch):
    outputs = workspace / "outputs" / "runs" / trained.run.name
    outputs.mkdir(parents=True)
    for path in trained.run.path.glob("*.*"):
        if path.is_file():
            (outputs / path.name).write_bytes(path.read_bytes())
    copy = runs.open(outputs)
    copy.checkpoint.write_bytes(copy.checkpoint.read_bytes()[:-100])
    with pytest.raises(BadFile, match=r"checkpoint.safetensors: is truncated .*train again"):
        systems.load(copy)


def test_an_impossible_split_or_recording_says_what_to_do(workspace):
    with pytest.raises(SpeechlibError, match="sum to 1"):
        systems.train(configs.override(smoke(), {"split.parts": {"train": 0.5}}))
    with pytest.raises(SpeechlibError, match="model.slices has"):
        systems.train(smoke(**{"model.slices": [10, 6]}))
    unrecorded = smoke(**{"model.slices": [10, 6], "training.record_codebook": False})
    assert systems.train(unrecorded).summary["codes_used"] > 44  # pairs of codes


def test_batches_of_two_parts_share_no_utterance_at_any_seed(trained):
    data = trained.data
    for seed in (0, 1):
        train = systems.crops(replace(trained.experiment, seed=seed), data)
        again = systems.crops(replace(trained.experiment, seed=seed), data)
        assert all(torch.equal(a, b) for a, b in zip(train.batch(5)[:5], again.batch(5)[:5]))
        assert {int(i) for n in range(30) for i in train.batch(n).utterance}.isdisjoint(data.split["val"])
    assert isinstance(train, batches.Crops)


def test_the_summary_of_the_paper_is_the_table_of_the_source():
    """Reference section 3.1: 47 frames become 24 codes of 64 channels, and 51 frames of which 47 are kept."""
    table = systems.summary(presets.get("vqvae", "paper"))
    assert table["parameters"].sum() == 21_097_575
    assert table.loc["encoder.conv_1"].tolist() == ["Conv1d", (1, 768, 47), 90_624]
    assert table.loc["encoder.project", "output"] == (1, 64, 24)
    assert table.loc["decoder.conv_4"].tolist() == ["ConvTranspose1d", (1, 39, 51), 59_943]


def test_features_that_the_pack_does_not_hold_are_named():
    with pytest.raises(SpeechlibError, match=r"unknown inputs 'mfc'. Did you mean 'mfcc'"):
        systems.summary(presets.get("vqvae", "smoke", changes={"inputs": "mfc"}))


@pytest.mark.real
def test_a_few_seconds_on_real_speech(real_data, tmp_path, monkeypatch):
    """Three readers of CMU ARCTIC: a short training leaves chance far behind, and knows what it was made of."""
    monkeypatch.setenv("SPEECHLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "outputs"))
    changes = {"training.steps": 150, "training.record_gradients": False, "training.record_codebook": False}
    run = systems.train(presets.get("vqvae", "demo", "folder", str(real_data / "arctic16k"), changes=changes))
    summary = run.summary
    assert summary["nmi"] > 0.1
    assert summary["codes_used"] > 0.75 * 44
    assert summary["reconstruction"] < 0.7
    assert summary["kmeans_nmi"] > 0.2
    trained = systems.load(run)
    assert {speaker.split("/")[-1] for speaker in trained.data.pack.speakers} == {"bdl", "slt", "kathleen"}
    assert set(systems.tokens(trained)["phone"].dropna()) <= set(
        "aa ae ah ao aw ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow "
        "oy p r s sh t th uh uw v w y z zh sil".split()
    )
