"""MelNet tier by tier: one run with a folder for each, resumed, put together, and the same as trained in company."""

import json
import shlex
import shutil
from dataclasses import replace

import pytest
import torch

from speechlib import objectives, presets, pretrained, runs, systems, training
from speechlib.__main__ import _experiments, _parser, main
from speechlib.errors import BadFile, SpeechlibError
from speechlib.generation.melnet import generate
from speechlib.models.melnet import MelNet
from speechlib.presets.melnet import PRESETS, architecture

FEW = {"training.steps": 6, "training.precision": "fp32", "training.batch_size": 2, "training.validate_batches": 1}
FEW |= {"training.checkpoint_every": 2, "training.grad_clip": 0.0, "model.hidden": 6, "model.n_mixtures": 3}
EACH = {"training.part": "each"}


def experiment(**changes):
    return presets.get("melnet", "smoke", "folder", changes=FEW | changes)


@pytest.fixture
def place(voices, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setattr(systems.melnet, "_FRAMES", 200)
    return tmp_path


@pytest.fixture(scope="module")
def whole(voices, tmp_path_factory):
    """A MelNet trained tier by tier, and where its runs are."""
    root = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(root))
        patch.setattr(systems.melnet, "_FRAMES", 200)  # the baseline need not be good here
        yield systems.load(systems.train(experiment(**EACH)))


def test_a_run_has_a_folder_per_tier_with_all_that_a_training_leaves(whole):
    assert [run.name for run in whole.run.parts()] == ["tier_1", "tier_2", "tier_3"]
    for number, run in enumerate(whole.run.parts(), 1):
        assert (run.status, run.step) == ("done", 6)
        assert run.experiment["training"]["part"] == f"tier_{number}"
        assert {"loss", f"tier_{number}"} <= set(run.metrics())
        assert f"tier_{number}_nll" in run.summary
        tensors, about = runs.load_tensors(run.training_state)
        assert about["step"] == 6
        assert any(name.startswith("optimizer.") for name in tensors)
        of_tiers = {name.split(".")[1] for name in runs.load_tensors(run.checkpoint)[0] if name.startswith("tiers.")}
        assert of_tiers == {str(number - 1)}  # its own weights, and no others
    assert whole.run.step == 18
    assert {"nll", "tier_1_nll", "tier_3_nll"} <= set(whole.run.summary)
    assert whole.run.summary["seconds"] == sum(run.summary["seconds"] for run in whole.run.parts())


def test_a_tier_alone_learns_what_it_learns_in_company(whole, place):
    """To the bit, where Adam's eps is too small to be seen and crops are whole: then the loss in company is that of the
    tier times a power of two, which Adam divides out. Same beginning, same crops, same noise."""
    exact = {"training.eps": 1e-30}
    together = systems.load(systems.train(experiment(**exact)), whole.data)
    alone = systems.load(systems.train(experiment(**exact, **EACH)), whole.data)
    lengths = systems.crops(together.experiment, whole.data).batch(0).length
    assert set(lengths.tolist()) == {together.experiment.training.n_frames}
    for name, weight in together.model.state_dict().items():
        assert torch.equal(alone.model.state_dict()[name], weight), name
    log = together.run.metrics()
    for number, part in enumerate(alone.run.parts(), 1):
        assert part.metrics()[f"tier_{number}"].tolist() == log[f"tier_{number}"].tolist()


def test_a_run_of_parts_is_released_once_all_are_done(whole, place, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "FOLDER", place)
    assert main(["release", str(whole.run.path), "tiers"]) == 0
    card = pretrained.card("tiers")
    assert (card["step"], card["steps"]) == (18, 18)
    last = [part.metrics("validation").iloc[-1] for part in whole.run.parts()]
    assert card["seconds"] == sum(terms["seconds"] for terms in last)
    assert "loss" not in card["validation"]  # which each has, and means another thing
    for k, terms in enumerate(last, 1):
        assert card["validation"][f"tier_{k}"] == terms[f"tier_{k}"]
    loaded = runs.load_model(pretrained.path("tiers")).state_dict()
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(loaded[name], weight, atol=1e-3, rtol=1e-3)
    (told,) = _experiments(_parser().parse_args(shlex.split(card["command"])[3:]))
    assert told == experiment(**EACH)
    part = systems.train_part(experiment(**EACH, **{"training.steps": 2}), "tier_1", data=whole.data)
    with pytest.raises(SpeechlibError, match=r"once all its parts are done \(tier_1 done\): train on"):
        pretrained.release(runs.open(part.path.parent), "early", "command")


def test_clipping_is_what_company_changes(place, whole):
    """The norm of all tiers is more than that of one."""
    clipped = {"training.grad_clip": 0.05, "training.optimizer": "sgd", "training.betas": [0.0, 0.99]}
    together = systems.load(systems.train(experiment(**clipped)), whole.data).model
    alone = systems.load(systems.train(experiment(**clipped, **EACH)), whole.data).model
    assert not torch.allclose(together.tiers[0].head.bias, alone.tiers[0].head.bias)


@pytest.mark.parametrize("killed", [2, 3])
def test_any_tier_resumes_where_it_was_killed(whole, place, killed, monkeypatch):
    """The step count goes on, and the weights are those of an uninterrupted training, to the bit."""

    def dies(run, *args):
        keep(run, *args)
        if run.name == f"tier_{killed}" and args[-2] == 4:
            raise KeyboardInterrupt

    keep = training.keep
    monkeypatch.setattr(training, "keep", dies)
    with pytest.raises(KeyboardInterrupt):
        systems.train(experiment(**EACH), data=whole.data)
    run = runs.find(experiment(**EACH))
    assert run.status == "interrupted"
    assert [(part.name, part.step) for part in run.parts()][-1] == (f"tier_{killed}", 4)
    began = []
    monkeypatch.setattr(training, "keep", keep)
    resume = training.resume
    monkeypatch.setattr(training, "resume", lambda run, *a: began.append((run.name, resume(run, *a)[0])) or (4, 0.0))
    systems.train_part(experiment(**EACH), f"tier_{killed}", data=whole.data)
    assert began == [(f"tier_{killed}", 4)]
    monkeypatch.setattr(training, "resume", resume)
    model = systems.load(systems.train(experiment(**EACH), data=whole.data), whole.data).model
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), whole.model.parameters()))
    assert run.parts()[killed - 1].metrics()["step"].tolist() == [1, 2, 3, 4, 5, 6]


def test_one_tier_is_trained_by_itself_and_the_last_one_completes_the_whole(place, capsys):
    words = [word for name, value in FEW.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    train = ["train", "melnet", "--preset", "smoke", "--corpus", "folder", *words]
    assert main([*train, "--tier", "3"]) == 0
    assert "tier_3: done" in capsys.readouterr().out
    run = runs.find(experiment(**EACH))
    assert [part.name for part in run.parts()] == ["tier_3"]
    assert main(["list"]) == 0
    assert "dfolder_t3_l3.2.2_hd6_gmm3  tier_3 done at 6" in capsys.readouterr().out
    assert main([*train, "--tier", "1", "2"]) == 0
    assert run.status == "done"
    assert main([*train, "--tiers-in-order"]) == 0  # nothing is left to do
    assert capsys.readouterr().out.count(f"{run.name}: done") == 2
    assert main([*train, "--tier", "4"]) == 2
    assert "unknown part of this melnet 'tier_4'" in capsys.readouterr().err
    assert main(["train", "vqvae", "--tier", "1"]) == 2
    assert "a vqvae is trained as one" in capsys.readouterr().err


def test_a_tier_of_another_architecture_is_refused_and_both_are_named(whole, place):
    """Mistake 7: only a different tier was an error there."""
    wider, run = experiment(**EACH, **{"model.hidden": 7}), runs.create(experiment(**EACH))
    theirs = systems.train_part(wider, "tier_2", data=whole.data)
    shutil.copytree(theirs.path, run.path / "tier_2")
    names = r"tier_2 of dfolder_t3_l3\.2\.2_hd7_gmm3, this run needs tier_2 of dfolder_t3_l3\.2\.2_hd6_gmm3"
    with pytest.raises(BadFile, match=names + r": model\.hidden 7 there, 6 here"):
        systems.train(experiment(**EACH), data=whole.data)
    assert runs.find(experiment(**EACH)).status == "failed"
    shutil.rmtree(run.path / "tier_2")
    shutil.copytree(whole.run.path / "tier_3", run.path / "tier_2")
    with pytest.raises(BadFile, match="is tier_3 of .*, this run needs tier_2 of "):
        systems.train_part(experiment(**EACH), "tier_2", data=whole.data)


def test_a_checkpoint_that_was_exchanged_is_refused(whole, place):
    run = runs.create(experiment(**EACH))
    shutil.copytree(whole.run.path, run.path, dirs_exist_ok=True)
    other = systems.train_part(experiment(**EACH, **{"model.n_mixtures": 4}), "tier_2", data=whole.data)
    shutil.copy(other.checkpoint, run.path / "tier_2")
    run.mark("interrupted")
    with pytest.raises(BadFile, match=r"of dfolder_\w+\.2\.2_hd6_gmm4, this run is dfolder_\w+\.2\.2_hd6_gmm3"):
        systems.train(experiment(**EACH), data=whole.data)


def test_a_checkpoint_to_begin_with_must_have_the_tier(whole, place):
    """What does not fit would begin at random, and nobody would know."""
    begin = {"training.start_from": str(whole.run.path / "tier_2" / "checkpoint.safetensors")}
    wider = experiment(**begin, **{"training.part": "tier_2", "model.hidden": 7})
    with pytest.raises(BadFile, match=r"is of dfolder_t3_l3\.2\.2_hd6_gmm3, tier_2 of dfolder_t3_l3\.2\.2_hd7_gmm3 "):
        systems.train(wider, data=whole.data)
    with pytest.raises(BadFile, match=r"tiers\.0\.\S+ is missing there"):
        systems.train(experiment(**begin, **{"training.part": "tier_1"}), data=whole.data)
    run = systems.train(experiment(**begin, **{"training.part": "tier_2"}), data=whole.data)
    assert json.loads((run.path / "start.json").read_text())["new_here"] == {}


def test_averages_and_best_weights_are_those_of_the_tiers(whole, place):
    kept = {"training.ema_decay": 0.9, "training.best_by": "loss", "training.validate_every": 1}
    run = systems.train(experiment(**EACH, **kept), data=whole.data)
    ways = {"best": {}, "last": {"best": False}, "raw": {"averaged": False}}
    for name, how in ways.items():
        model = systems.load(run, whole.data, **how).model
        for number, part in enumerate(run.parts(), 1):
            own = systems.load(part, whole.data, **how).model.tiers[number - 1]
            same = all(torch.equal(p, q) for p, q in zip(model.tiers[number - 1].parameters(), own.parameters()))
            assert same, (name, part.name)


def test_a_loss_that_is_no_number_names_term_and_utterances(whole, place):
    wild = experiment(**EACH, **{"training.learning_rate": 1e30})
    with pytest.raises(
        SpeechlibError, match=r"the term '(loss|tier_1|tier_1_frame)' is (nan|inf|-inf)\. The batch held"
    ):
        systems.train(wild, data=whole.data)
    run = runs.find(wild)
    assert run.status == run.parts()[0].status == "failed"
    assert any(name in run.reason for name in whole.data.pack.utterances)


def test_a_tier_alone_is_the_one_that_begins_in_company():
    config = replace(PRESETS["smoke"].model, hidden=4)
    models = []
    for tier in (0, 2):
        torch.manual_seed(0)
        models.append(MelNet(config, 8, 2, tier))
    company, alone = models
    assert all(torch.equal(p, q) for p, q in zip(company.tiers[1].parameters(), alone.parameters()))
    assert sum(p.numel() for p in alone.parameters()) < sum(p.numel() for p in company.parameters())
    with pytest.raises(SpeechlibError, match="one tier only"):
        alone(torch.randn(1, 8, 8), None, torch.tensor([0]))
    with pytest.raises(SpeechlibError, match="one of its tiers alone, and a clip takes all"):
        generate(alone.eval(), 8, speaker=torch.tensor([0]))
    with pytest.raises(SpeechlibError, match="tier 4 of a MelNet of 3"):
        MelNet(config, 8, 2, 4)
    with pytest.raises(SpeechlibError, match="unknown part of this melnet 'tier_9'"):
        systems.blank(experiment(**{"training.part": "tier_9"}))


def test_names_are_those_of_the_source_system(capsys):
    """Its folder of figure 6.1, and of 6.6: layers as it counts them."""
    v1 = architecture(PRESETS["ljspeech_v1"])
    assert v1 == "dljspeech_t6_l12.5.4.3.2.2_hd200_gmm10"
    assert architecture(PRESETS["source"]) == "dljspeech_t6_l12.7.6.5.4.4_hd200_gmm10"
    assert systems.describe(PRESETS["ljspeech_v1"]) == v1
    assert systems.describe(presets.get("vqvae", "smoke")) == ""
    assert main(["summary", "melnet", "--preset", "smoke"]) == 0
    assert capsys.readouterr().out.endswith("parameters\ndtoy_t3_l3.2.2_hd24_gmm5\n")


def test_what_is_absent_costs_nothing(whole):
    """Also when nothing is to be learned: the terms are those of the tier that is there."""
    (part,) = (run for run in whole.run.parts() if run.name == "tier_2")
    trained = systems.load(part, whole.data)
    batch = systems.crops(trained.experiment, whole.data).batch(0)
    terms = objectives.melnet(trained.model.requires_grad_(False), batch)
    assert set(terms) == {"loss", "tier_2", "tier_2_frame"}
    assert list(systems.melnet.likelihoods(trained).index) == [2, "all"]
