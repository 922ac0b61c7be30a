"""Checkpoints that ship: small, whole, told by their cards; and trainings that start from one."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from speechlib import configs, files, presets, pretrained, runs, systems
from speechlib.__main__ import _experiments, _parser, main
from speechlib.errors import BadFile, SpeechlibError, UnknownName

TINY = {
    "model.n_layers": 4,
    "model.residual_channels": 8,
    "model.gate_channels": 16,
    "model.skip_channels": 8,
    "training.steps": 4,
    "training.batch_size": 2,
    "training.n_frames": 8,
    "training.validate_every": 2,
    "training.checkpoint_every": 2,
    "training.precision": "fp32",
}


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """A folder corpus of one voice, packed once for all tests."""
    root = tmp_path_factory.mktemp("data")
    (root / "folder").mkdir()
    code = "import sys; from speechlib.corpora import toy; toy.speak('adam', sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(root / "folder")], check=True)
    return root


@pytest.fixture
def workspace(voices, tmp_path, monkeypatch):
    """Corpus, outputs and a folder for checkpoints of this test's own."""
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "pretrained")
    (tmp_path / "pretrained").mkdir()
    return tmp_path


def tiny(seed=0, **changes):
    return presets.get("wavenet", "smoke", "folder", seed=seed, changes=TINY | changes)


def test_what_ships_is_small_whole_and_told():
    """Every checkpoint of the package: loads, is below 2 MB, and the README is what the cards say."""
    for name in pretrained.names():
        card = pretrained.card(name)
        assert card["bytes"] < 2_000_000
        assert card["parameters"] == sum(p.numel() for p in runs.load_model(pretrained.path(name)).parameters())
        assert card["experiment"]["corpus"]["name"] == "toy"  # nobody's voice
        assert card["command"].startswith(f"python -m speechlib train {card['system']} ")
        assert card["validation"]
    assert (pretrained.FOLDER / "README.md").read_text() == pretrained.readme()


def test_what_ships_is_made_by_the_command_on_its_card():
    for name in pretrained.names():
        card = pretrained.card(name)
        (told,) = _experiments(_parser().parse_args(shlex.split(card["command"])[3:]))
        assert told == configs.from_dict(presets.Experiment, card["experiment"])


def test_a_run_is_released_and_loaded_again(workspace, capsys):
    run = systems.train(tiny())
    assert main(["release", run.name, "tiny-voice"]) == 0
    assert "tiny-voice" in capsys.readouterr().out
    assert pretrained.names() == ("tiny-voice",)
    card = pretrained.card("tiny-voice")
    assert (card["system"], card["step"], card["steps"]) == ("wavenet", 4, 4)
    assert card["parameters"] == run.summary["parameters"]
    assert card["validation"]["bits"] == run.metrics("validation")["bits"].iloc[-1]
    assert "| tiny-voice | wavenet |" in (pretrained.FOLDER / "README.md").read_text()

    trained = systems.load_pretrained("tiny-voice")
    assert trained.run is None
    assert trained.experiment == tiny()
    before, after = runs.load_model(run.checkpoint).state_dict(), trained.model.state_dict()
    for key, value in before.items():
        assert torch.allclose(value, after[key], rtol=1e-3, atol=1e-6)
    assert torch.equal(before["inputs.std"], after["inputs.std"])  # statistics keep all their bits


def test_the_command_on_the_card_makes_the_same_run(workspace):
    run = systems.train(tiny(seed=3))
    command = presets.command(tiny(seed=3))
    assert command.startswith("python -m speechlib train wavenet --preset smoke --corpus folder --seed 3 --set ")
    assert main(shlex.split(command)[3:]) == 0
    assert [found.name for found in runs.list_runs()] == [run.name]


def test_a_running_run_is_released_with_what_it_has(workspace):
    run = systems.train(tiny())
    run.mark("running", step=2)
    with (run.path / "metrics.jsonl").open("a") as log:  # validated again, not yet kept
        log.write(json.dumps({"step": 6, "part": "validation", "loss": 0.0, "bits": 0.0, "seconds": 9.0}) + "\n")
    pretrained.release(run, "early", "command")
    assert pretrained.card("early")["validation"]["bits"] > 0


def test_what_cannot_be_released_says_why(workspace, monkeypatch):
    run = runs.create(tiny())
    with pytest.raises(BadFile, match="has this run reached its first checkpoint"):
        pretrained.release(run, "none", "command")
    run = systems.train(tiny())
    with pytest.raises(SpeechlibError, match="'../x' is no name"):
        pretrained.release(run, "../x", "command")
    monkeypatch.setattr(pretrained, "MAX_BYTES", 1000)
    with pytest.raises(SpeechlibError, match=r"would have [0-9,]+ bytes, at most 1,000 ship"):
        pretrained.release(run, "large", "command")
    assert pretrained.names() == ()
    weights, metadata = runs.load_tensors(run.checkpoint)
    weights["post_2.bias"][0] = 1e6  # float16 ends at 65,504
    runs.save_tensors(run.checkpoint, weights, metadata)
    with pytest.raises(SpeechlibError, match="post_2.bias is not finite in float16"):
        pretrained.release(run, "broken", "command")


def test_an_unknown_checkpoint_names_those_that_exist(workspace):
    pretrained.release(systems.train(tiny()), "tiny", "command")
    with pytest.raises(UnknownName, match="unknown pretrained checkpoint 'tony'. Did you mean 'tiny'"):
        systems.load_pretrained("tony")
    with pytest.raises(UnknownName, match="There are: tiny"):
        systems.train(tiny(**{"training.start_from": "nothing"}))


def test_a_checkpoint_takes_data_that_is_packed_as_its_own_was(workspace):
    pretrained.release(systems.train(tiny()), "tiny", "command")
    data = systems.prepare(tiny())
    assert systems.load_pretrained("tiny", data).data is data
    other = systems.prepare(presets.get("vqvae", "smoke", "folder"))  # of another rate, with other features
    assert systems.load_pretrained("tiny", other).data.pack.config == data.pack.config


def test_a_training_starts_from_a_checkpoint(workspace):
    """No step taken with a learning rate of next to nothing: the weights are those that were released."""
    run = systems.train(tiny())
    pretrained.release(run, "tiny", "command")
    experiment = tiny(seed=9, **{"training.start_from": "tiny", "training.learning_rate": 1e-30, "training.steps": 1})
    started = systems.train(experiment)
    weights, there = runs.load_tensors(started.checkpoint)[0], runs.load_tensors(pretrained.path("tiny"))[0]
    assert all(torch.equal(weights[name], there[name].float()) for name in weights)
    report = files.read_json(started.path / "start.json")
    assert set(report["taken"]) == set(weights)
    assert report["left_there"] == report["new_here"] == {}
    assert started.metrics()["bits"].iloc[0] < run.metrics()["bits"].iloc[0]  # it goes on from there


def test_a_start_is_part_of_what_a_run_is(workspace):
    pretrained.release(systems.train(tiny()), "tiny", "command")
    here = runs.create(tiny(**{"training.start_from": "tiny"}))
    by_path = runs.create(tiny(**{"training.start_from": str(pretrained.path("tiny"))}))
    assert len({here.name, by_path.name, runs.create(tiny()).name}) == 3
    weights = [runs.load_tensors(systems.train(systems.experiment_of(run)).checkpoint)[0] for run in (here, by_path)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_only_what_fits_is_taken_and_the_rest_is_told(workspace):
    pretrained.release(systems.train(tiny()), "tiny", "command")
    run = systems.train(tiny(**{"training.start_from": "tiny", "model.n_layers": 6, "model.skip_channels": 4}))
    report = files.read_json(run.path / "start.json")
    assert "layers.0.gate.weight" in report["taken"]
    assert report["left_there"]["post_1.weight"] == [8, 8, 1]
    assert report["new_here"]["post_1.weight"] == [4, 4, 1]
    assert "layers.5.gate.weight" in report["new_here"]
    assert "layers.5.gate.weight" not in report["left_there"]


def test_a_checkpoint_of_another_system_is_refused(workspace):
    pretrained.release(systems.train(tiny()), "tiny", "command")
    changes = {"training.steps": 1, "training.start_from": "tiny", "model.quantizer": "gradient"}
    stranger = presets.get("vqvae", "smoke", "folder", changes=changes)
    with pytest.raises(SpeechlibError, match="is a wavenet of which nothing has a place in this vqvae"):
        systems.train(replace(stranger, model=replace(stranger.model, speaker_dim=0)))
    assert runs.find(replace(stranger, model=replace(stranger.model, speaker_dim=0))).status == "failed"


def test_a_resumed_training_does_not_start_again(workspace, monkeypatch):
    """Interrupted after two steps, with the checkpoint gone: it goes on with its own weights, to the same bits."""
    pretrained.release(systems.train(tiny()), "tiny", "command")
    experiment = tiny(**{"training.start_from": "tiny", "training.steps": 4})
    whole = runs.load_tensors(systems.train(experiment).checkpoint)[0]
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(workspace / "again"))

    def stop(done, total, text):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        systems.train(experiment, progress=stop)
    assert runs.find(experiment).step == 2
    pretrained.path("tiny").unlink()
    resumed = runs.load_tensors(systems.train(experiment).checkpoint)[0]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_stands_for_longer_training_on_the_same_and_for_nothing_else():
    shipped = systems.shipped_for
    assert shipped(presets.get("wavenet", "demo")) == "wavenet"
    assert shipped(presets.get("wavenet", "demo", seed=3)) == "wavenet"
    assert shipped(presets.get("prior", "demo")) == "prior"
    assert shipped(presets.get("melnet", "demo")) == "melnet"
    assert shipped(presets.get("vqvae_wavenet", "demo")) == "vqvae_wavenet"
    for other in (
        presets.get("wavenet", "demo", "folder"),  # whose speakers are others
        presets.get("vqvae_wavenet", "demo", corpus_root="elsewhere"),
        presets.get("wavenet", "paper"),  # with bands of another kind
        presets.get("wavenet", "codes"),
        presets.get("prior", "smoke"),  # of another codec's codes
        presets.get("flowavenet", "demo"),
    ):
        assert shipped(other) == ""


def test_a_checkpoint_is_not_told_the_speakers_of_others(monkeypatch):
    """Speaker 3 of one corpus is not speaker 3 of another; a vocoder that knows none takes any."""
    own = SimpleNamespace(speakers=("only me",), config=pretrained_pack("melnet"))
    monkeypatch.setattr(systems.lifecycle, "prepare", lambda experiment: "its own")
    assert systems.load_pretrained("melnet", systems.Data(None, own, {})).data == "its own"
    own = SimpleNamespace(speakers=("only me",), config=pretrained_pack("wavenet"))
    assert systems.load_pretrained("wavenet", systems.Data(None, own, {})).data.pack is own


def pretrained_pack(name: str):
    return systems.lifecycle.shipped(name).pack
