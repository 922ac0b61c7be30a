"""MelNet from preset to likelihoods: what it learns from, its tiers alone and together, every source preset a step."""

from dataclasses import replace

import pytest
import torch

from speechlib import batches, configs, objectives, presets, runs, systems, training
from speechlib.errors import SpeechlibError
from speechlib.models.melnet import MelNet
from speechlib.presets.melnet import PRESETS


def experiment(**changes):
    few = {"training.steps": 6, "training.precision": "fp32", "training.batch_size": 2, "training.validate_batches": 1}
    few |= {"training.checkpoint_every": 3, "model.hidden": 8, "model.n_mixtures": 3}
    return presets.get("melnet", "smoke", "folder", changes=few | changes)


@pytest.fixture(scope="module")
def trained(voices, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        yield systems.load(systems.train(experiment()))


def batch(model, T=12, length=(12, 9), **changes) -> batches.Batch:
    torch.manual_seed(1)
    x, n = torch.randn(2, model.sizes["n_features"], T), torch.tensor(length)
    plain = batches.Batch(x, x, torch.tensor([0, 1]), torch.arange(2), torch.zeros(2, dtype=torch.long), None, n)
    return plain._replace(**changes)


def small(**changes) -> MelNet:
    torch.manual_seed(0)
    return MelNet(replace(PRESETS["smoke"].model, hidden=6, dither=0.0, **changes), 8, 2).train()


def test_the_loss_is_the_cost_of_all_values_divided_by_their_number():
    """Nats per value: tiers can be compared. The source system logs sums over bins, which cannot."""
    model = small()
    terms = objectives.melnet(model, batch(model))
    grids = model.grids(model.inputs(batch(model).inputs), batch(model).length)
    costs = [tier.nll(grid, torch.tensor([0, 1])).sum() for tier, grid in zip(model.tiers, grids)]
    torch.testing.assert_close(terms["loss"], sum(costs) / (8 * 21))
    for number, (cost, grid) in enumerate(zip(costs, grids), 1):
        torch.testing.assert_close(terms[f"tier_{number}"], cost / grid.n_values)
        torch.testing.assert_close(terms[f"tier_{number}_frame"] / grid.target.shape[1], terms[f"tier_{number}"])


def test_what_lies_behind_the_last_frame_does_not_change_the_loss():
    """Mistake 5, end to end."""
    model = small()
    one = batch(model)
    noise = one.inputs.clone()
    noise[1, :, 9:] = 50.0
    torch.testing.assert_close(
        objectives.melnet(model, one)["loss"], objectives.melnet(model, one._replace(inputs=noise))["loss"]
    )


def test_a_tier_alone_learns_and_the_others_cost_nothing():
    model = small()
    model.tiers[0].requires_grad_(False)
    model.tiers[2].requires_grad_(False)
    terms = objectives.melnet(model, batch(model))
    assert set(terms) == {"loss", "tier_2", "tier_2_frame"}
    torch.testing.assert_close(terms["loss"], terms["tier_2"])
    assert set(objectives.melnet(model.eval(), batch(model))) == set(terms)  # validation asks what training asks
    assert set(objectives.melnet(model.requires_grad_(False), batch(model))) > {"tier_1", "tier_3"}


def test_dither_is_added_once_for_all_tiers():
    model, plain = small(), small()
    model.config = replace(model.config, dither=0.1)
    clean = batch(model)
    torch.manual_seed(3)
    loss = objectives.melnet(model, clean)["loss"]
    torch.manual_seed(3)
    noisy = clean._replace(inputs=clean.inputs + 0.1 * torch.randn_like(clean.inputs))
    torch.testing.assert_close(objectives.melnet(plain, noisy)["loss"], loss)


def test_the_model_knows_the_training_part_and_no_other(trained):
    pack, split = trained.data.pack, trained.data.split
    x = torch.cat([trained.model.inputs(pack.features(i, "log_mel")) for i in split["train"]], dim=1)
    torch.testing.assert_close(x.mean(1), torch.zeros(32), rtol=0, atol=1e-3)
    torch.testing.assert_close(trained.model.limits, torch.stack([x.min(), x.max()]), rtol=0, atol=1e-4)


def test_the_baseline_may_be_as_sure_as_the_model(trained, monkeypatch):
    """With a wider floor it would lose wherever a value is repeated, and nothing would have been learned."""
    asked = []
    monkeypatch.setattr(systems.melnet.bin_mixtures, "fit", lambda x, n, min_sigma: asked.append((n, min_sigma)))
    monkeypatch.setattr(systems.melnet, "_baselines", {})
    systems.melnet.baseline(trained)
    config = trained.experiment.model
    assert asked == [(config.n_mixtures, config.min_sigma)]


def test_a_baseline_is_fitted_once_and_never_taken_for_another(trained, monkeypatch):
    asked = []
    monkeypatch.setattr(systems.melnet.bin_mixtures, "fit", lambda x, n, min_sigma: asked.append(x) or len(asked))
    monkeypatch.setattr(systems.melnet, "_baselines", {})
    others = ({"model.hidden": 9}, {"model.dither": 0.2}, {"model.n_mixtures": 4}, {"seed": 1})
    changed = [trained._replace(experiment=configs.override(trained.experiment, change)) for change in others]
    assert [systems.melnet.baseline(one) for one in (trained, *changed)] == [1, 1, 2, 3, 4]


def test_summary_has_every_tier_beside_the_baseline(trained):
    summary = trained.run.summary
    for name in ("nll", "tier_1_nll", "tier_2_nll", "tier_3_nll"):
        assert {name, f"bins_{name}"} <= set(summary)
    table = systems.melnet.likelihoods(trained)
    n_values = table["values"].drop("all")
    for column in ("melnet", "bins"):
        mean = (table[column].drop("all") * n_values).sum() / n_values.sum()
        assert table.loc["all", column] == pytest.approx(mean)
    assert table.loc["all", "values"] == n_values.sum()
    assert table.loc[1, "frame"] == pytest.approx(16 * table.loc[1, "melnet"])
    assert summary["nll"] == pytest.approx(table.loc["all", "melnet"])


def test_a_clip_is_said_from_its_outline_drawn_or_by_straight_lines(trained):
    """Of all tiers the recording's own bands are left: both ways say them alike."""
    clip = systems.melnet.judging.clips(trained.data, "log_mel", 1, 0.4)[0]
    spoken = systems.melnet.speak(trained, clip.features)
    whole = systems.melnet.upsampler(trained, 3)(clip)
    torch.testing.assert_close(whole, spoken, rtol=0, atol=1e-3)
    torch.testing.assert_close(systems.melnet.stretcher(trained, 3)(clip), spoken, rtol=0, atol=1e-3)
    drawn = systems.melnet.upsampler(trained, 1, seed=2, temperature=0.5)(clip)
    assert drawn.shape == spoken.shape
    assert drawn.isfinite().all()
    assert not torch.allclose(drawn, spoken, atol=1e-2)
    assert systems.melnet.speaker_of(trained, 1, 2).tolist() == [1, 1]


def test_units_of_100_db_are_those_of_the_source_system(trained):
    """Its features run from 0 to 1 over 100 dB: the density of such a value is that of ours times its slope."""
    table = systems.melnet.likelihoods(trained)
    width = trained.model.inputs.std * 10 / torch.tensor(10.0).log() / 100  # of our unit: 10 dB are a factor of 10
    shift = width.log()
    by_tier = trained.model.grids(shift[None, :, None].expand(1, -1, 48))
    for number, grid in enumerate(by_tier, 1):
        difference = table.loc[number, "per_100_db"] - table.loc[number, "melnet"]
        assert difference == pytest.approx(grid.target.mean().item(), abs=1e-4)


def test_a_run_of_one_tier_leaves_the_others_as_they_begin(trained):
    """Tier after tier: the second run starts from the first one's weights."""
    alone = experiment(**{"training.frozen": ["tiers.0", "tiers.2"]})
    run = systems.train(replace(alone, training=replace(alone.training, start_from=str(trained.run.checkpoint))))
    assert {name for name in run.summary if name.endswith("_nll")} == {"bins_nll", "tier_2_nll", "bins_tier_2_nll"}
    own, before = runs.load_model(run.checkpoint).tiers, trained.model.tiers
    for number, (tier, old) in enumerate(zip(own, before), 1):
        same = all(torch.equal(p, q) for p, q in zip(tier.parameters(), old.parameters()))
        assert same == (number != 2)


def test_tiers_of_another_architecture_are_refused(trained):
    """Mistake 7: only a different tier was an error there."""
    other = experiment(**{"model.hidden": 9, "training.frozen": ["tiers.0", "tiers.2"]})
    with pytest.raises(SpeechlibError, match=r"would keep tiers\.\d\.\S+ as it was drawn: it is .* and .* here"):
        systems.train(replace(other, training=replace(other.training, start_from=str(trained.run.checkpoint))))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_model_that_can_be_trained(name):
    """Mistake 8: the documented template could not be trained. Tiers, layers and bins are the preset's."""
    preset = PRESETS[name]
    torch.manual_seed(0)
    n_speakers = 2 if preset.model.speaker_dim else 0
    model = MelNet(replace(preset.model, hidden=4), preset.pack.features[0].n_mels, n_speakers).train()
    optimizer = training.make_optimizer(model, preset.training)
    found = batch(model, T=24, length=(24, 17))
    before = objectives.melnet(model, found)["loss"]
    before.backward()
    optimizer.step()
    assert objectives.melnet(model, found)["loss"] != before
    assert all(p.grad is not None for p in model.parameters())


def test_presets_of_the_source_system_have_its_sizes():
    sizes = {"source": 55_230_580, "source_small": 283_508, "ljspeech_v1": 40_746_580}
    with torch.device("meta"):
        found = {name: sum(p.numel() for p in MelNet(PRESETS[name].model, 256).parameters()) for name in sizes}
    assert found == sizes
    its = PRESETS["ljspeech_v1"].training
    assert (its.optimizer, its.betas[0], its.accumulate, its.grad_clip) == ("rmsprop", 0.9, 8, 2200)


def test_silence_only_is_told(workspace):
    import numpy as np
    import soundfile

    (workspace / "data" / "folder").mkdir(parents=True)
    for i in range(3):
        soundfile.write(workspace / "data" / "folder" / f"{i}.wav", np.zeros(8000), 8000)
    with pytest.raises(SpeechlibError, match="none of the 3 utterances"):
        systems.train(experiment())


def test_waves_are_refused_as_what_a_melnet_learns():
    with pytest.raises(SpeechlibError, match="learns features, not 'wave'"):
        systems.blank(experiment(inputs="wave"))
