"""How whole systems are trained: in two stages, with averaged weights, without codes; and that every term is told."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from speechlib import files, presets, runs, systems
from speechlib.errors import SpeechlibError
from speechlib.models.quantizers import make_quantizer
from speechlib.runs import load_tensors


@pytest.fixture
def workspace(voices, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path


def smoke(**changes):
    changes = {"training.steps": 6, "training.precision": "fp32", "model.channels": 8} | changes
    return presets.get("vqvae", "smoke", "folder", changes=changes)


@pytest.fixture(scope="module")
def run(voices, tmp_path_factory):
    """A finished run with averaged weights and histograms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        changes = {"training.ema_decay": 0.9, "training.record_histograms": True, "training.record_codebook": False}
        return systems.train(smoke(**changes))


def two_stages(**changes):
    """The second stage: encoder and codebook of the first stay, a decoder of another width begins anew."""
    frozen = {"training.frozen": ("encoder", "quantizer", "inputs"), "model.decoder": "deconv"}
    return replace(smoke(**frozen | changes), source=smoke())


def test_the_second_stage_keeps_encoder_and_codes_of_the_first(workspace):
    """VW-21: the first stage is trained where it is missing, the second moves its decoder only."""
    second = systems.train(two_stages())
    first = runs.require(smoke(), "systems.train")
    before, after = load_tensors(first.checkpoint)[0], load_tensors(second.checkpoint)[0]
    for name in before:
        if name.startswith(("encoder.", "quantizer.", "inputs.")):
            assert torch.equal(before[name], after[name]), name
    start = files.read_json(second.path / "start.json")
    assert {name.split(".")[0] for name in start["new_here"]} == {"decoder"}
    one, other = systems.load(first), systems.load(second)
    index = one.data.split["val"][0]
    assert (systems.encode(one, [index])[0][index] == systems.encode(other, [index])[0][index]).all()
    loss = second.metrics("validation")["reconstruction"]
    assert loss.iloc[-1] < loss.iloc[0]


def test_a_stage_goes_on_from_the_one_before_with_nothing_frozen(workspace):
    second = systems.train(replace(smoke(**{"training.learning_rate": 1e-9}), source=smoke()))
    first = runs.require(smoke(), "systems.train")
    start = files.read_json(second.path / "start.json")
    assert start["from"] == str(first.checkpoint)
    assert not start["new_here"] | start["left_there"]
    before, after = load_tensors(first.checkpoint)[0], load_tensors(second.checkpoint)[0]
    torch.testing.assert_close(after["encoder.conv_1.weight"], before["encoder.conv_1.weight"], rtol=0, atol=1e-6)


def test_a_second_stage_of_another_encoder_is_refused(workspace):
    """What is frozen would else stay as it was drawn, and nobody would notice."""
    with pytest.raises(SpeechlibError, match=r"would keep encoder\..* Are encoder and quantizer those of the other"):
        systems.train(two_stages(**{"model.channels": 12}))


def test_the_two_stages_of_the_paper_fit_into_each_other():
    """Encoder and codes of the same shapes, under a decoder that cannot hear what lasts longer than 4 ms."""
    second = presets.get("vqvae_wavenet", "paper_two_stage")
    assert second.training.frozen == ("encoder", "quantizer")
    with torch.device("meta"):
        models = [systems.blank(experiment) for experiment in (second.source, second)]
    shapes = [{name: t.shape for name, t in m.state_dict().items() if name.split(".")[0] != "decoder"} for m in models]
    assert shapes[0] == shapes[1]
    assert any(name.startswith("quantizer.") for name in shapes[0])
    assert second.source.model.decoder.receptive_field == 64
    assert second.source == presets.get("vqvae_wavenet", "paper_first_stage")


@pytest.mark.parametrize("preset", ["paper_joint", "paper_softmax", "paper_plain"])
def test_what_the_readme_of_vqvae_wavenet_speaks_of_can_be_chosen(preset):
    experiment = presets.get("vqvae_wavenet", preset)
    with torch.device("meta"):
        systems.blank(experiment)
    quantized = make_quantizer(experiment.model)(torch.randn(1, experiment.model.encoder_channels, 5))
    assert quantized.z_q.shape == (1, 64, 5)
    assert quantized.losses.keys() == {"paper_joint": {"joint"}, "paper_softmax": {"kl"}, "paper_plain": set()}[preset]


def test_a_run_can_be_judged_with_raw_and_with_averaged_weights(run, workspace):
    averaged, raw = systems.load(run), systems.load(run, averaged=False)
    kept, state = load_tensors(run.checkpoint)[0], load_tensors(run.training_state)[0]
    for name, weight in averaged.model.state_dict().items():
        assert torch.equal(weight, kept[name])
    for name, weight in raw.model.state_dict().items():
        assert torch.equal(weight, state[f"model.{name}"])
    assert not torch.equal(raw.model.decoder.draw.weight, averaged.model.decoder.draw.weight)
    assert not raw.model.training


def test_codes_are_counted_in_every_epoch_of_a_run(run, workspace):
    experiment, (line,) = systems.experiment_of(run), run.usage()
    config, steps = experiment.training, experiment.training.steps
    assert sum(line["codebooks"]["quantizer"]) == steps * config.batch_size * (config.n_frames // 2 + 1)
    assert line["epochs"] == pytest.approx(steps / len(systems.crops(experiment, systems.load(run).data)))
    row = run.metrics("epoch").iloc[-1]
    assert row["codes_used"] + row["dead_codes"] == experiment.model.codebook_size


def test_histograms_of_a_system_hold_its_speakers_too(run):
    assert {f"{name}_{moment}" for name in ("z_e", "codebook", "speaker_vectors", "distances")
            for moment in ("mean", "variance")} <= set(run.metrics("histograms"))  # fmt: skip
    assert run.codebooks() == []


def test_a_plain_autoencoder_is_trained_and_judged_without_codes(workspace):
    """VW-09: whoever asks it for codes is told that there are none."""
    with pytest.raises(SpeechlibError, match="record_codebook records one codebook, model.quantizer is 'none'"):
        systems.train(smoke(**{"model.quantizer": "none"}))
    run = systems.train(smoke(**{"model.quantizer": "none", "training.record_codebook": False}))
    assert "reconstruction" in run.summary
    assert not {"nmi", "perplexity", "codes_used"} & run.summary.keys()
    assert run.usage() == []
    trained = systems.load(run)
    assert systems.reconstruct(trained, trained.data.split["val"][0]).isfinite().all()
    with pytest.raises(SpeechlibError, match="model.quantizer 'none' has no codes"):
        systems.tokens(trained)


@pytest.mark.parametrize("quantizer", ["joint", "softmax"])
def test_other_quantizers_go_all_the_way(quantizer, workspace):
    run = systems.train(smoke(**{"model.codebook_init": "orthogonal", "model.quantizer": quantizer}))
    assert 1 <= run.summary["codes_used"] <= 44
    assert run.codebooks()


# --- every term of a loss is told, and they sum to it (mistake 6 of VQ-VAE-WaveNet) ---

WEIGHTED = {  # losses that are no plain sum of what is told: by which weights of the config they are one
    "adversarial_autoencoder": lambda terms, config: (
        terms["nll"] + terms["drawn"] - config.adversarial_weight * terms["speaker_entropy"]
    ),
    "melnet": lambda terms, config: (  # a tier has as many values as all coarser ones together
        sum(terms[f"tier_{n}"] * max(1, 2 ** (n - 2)) for n in range(1, config.n_tiers + 1)) / 2 ** (config.n_tiers - 1)
    ),
    "vae": lambda terms, config: (
        config.reconstruction_weight * terms["reconstruction"] + config.kl_weight * terms["kl"]
    ),
    "wae": lambda terms, config: terms["reconstruction"] + config.penalty_weight * terms["mmd"],
    "wae_gan": lambda terms, config: terms["reconstruction"] + config.penalty_weight * terms["fooling"],
    "recogniser": lambda terms, config: math.log(2) * terms["bits"],
    "flowavenet": lambda terms, config: 2 * terms["prior"] - sum(terms.values()),
    "wavenet": lambda terms, config: math.log(2) * terms["bits"],
    "wgan": lambda terms, config: -terms["wasserstein"],
}


# a prior has one term, and would have its codec trained first
@pytest.mark.parametrize("system", [name for name in systems.SYSTEMS if not presets.get(name, "smoke").source])
def test_the_loss_is_the_sum_of_terms_told_beside_it(system, workspace):
    """Of some of them: others are told before they are weighted, or in another unit."""
    experiment = presets.get(system, "smoke", "folder")
    data, module = systems.prepare(experiment), systems.SYSTEMS[system]
    model = systems.build(experiment, data)
    batch = getattr(module, "batches_of", systems.crops)(experiment, data).batch(0)
    with torch.inference_mode():
        terms = {name: term.item() for name, term in module.objective(model, batch).items()}
    loss = terms.pop("loss")
    if system in WEIGHTED:
        assert WEIGHTED[system](terms, model.config) == pytest.approx(loss, rel=1e-5)
    else:
        some = (c for n in range(1, len(terms) + 1) for c in itertools.combinations(terms.values(), n))
        assert any(sum(chosen) == pytest.approx(loss, rel=1e-5) for chosen in some), terms


def test_a_codebook_asked_of_a_system_without_one(workspace):
    with pytest.raises(SpeechlibError, match="training.record_codebook is on, and a wavenet has no codebook"):
        systems.train(presets.get("wavenet", "smoke", "folder", changes={"training.record_codebook": True}))
