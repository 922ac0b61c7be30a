"""What a training leaves alone (frozen parts), how its rate falls, and what it writes of codes."""

from dataclasses import dataclass, replace

import pytest
import torch
from test_training import CONFIG, Batches, Experiment, assert_same, content, stop_at
from torch import nn

from speechlib import runs, training
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.journal import CodeUsage
from speechlib.models.quantizers import EMAQuantizer, GradientQuantizer, SlicedQuantizer
from speechlib.runs import load_tensors
from speechlib.training import TrainingConfig

K = 6
EPOCH = len(Batches())


@dataclass(frozen=True)
class CoderConfig:
    sliced: bool = False


class Coder(nn.Module):
    """(B, 4) -> encoder with statistics that move -> codes of an EMA codebook -> decoder -> (B, 1)."""

    def __init__(self, config=CoderConfig(), seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.config, self.sizes = config, {}
        self.encoder = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        kinds = [GradientQuantizer(K, 1, "normal"), GradientQuantizer(K, 3, "normal")]
        self.quantizer = SlicedQuantizer(kinds) if config.sliced else EMAQuantizer(K, 4, decay=0.8)
        self.decoder = nn.Linear(4, 1)
        self.seen = []  # codes of every pass, with whether it was one of training

    def forward(self, x):
        quantized = self.quantizer(self.encoder(x)[:, :, None])  # an item of the batch is one step
        self.seen.append((torch.is_grad_enabled(), quantized.codes.clone()))
        return self.decoder(quantized.z_q[:, :, 0]), quantized


def error(model, batch):
    found, quantized = model(batch.inputs)
    return {"loss": (found - batch.inputs.sum(1, keepdim=True)).square().mean() + sum(quantized.losses.values())}


def snapshot(model):
    with torch.inference_mode():
        z_e = model.encoder(Batches(seed=1).batch(0).inputs)
        codes = model.quantizer(z_e[:, :, None]).codes.flatten()
    return {"codebook": model.quantizer.codebook, "z_e": z_e, "codes": codes}


def descend(model=None, recorder=None, progress=None, **changes):
    config = replace(CONFIG, **changes)
    run = runs.create(Experiment(config))
    model = Coder() if model is None else model
    return run, training.descend(model, error, Batches(), config, run, Batches(seed=1), recorder, progress)


# --- frozen submodules (VW-21) ---


def test_what_is_frozen_stays_to_the_bit_and_the_rest_learns(workspace):
    """Weights, the statistics of BatchNorm, and a codebook that moves without gradients; through validation, too."""
    before = {name: value.clone() for name, value in Coder().state_dict().items()}
    _, model = descend(frozen=("encoder", "quantizer"), steps=30, learning_rate=0.1)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"decoder.weight", "decoder.bias"}
    _, free = descend(steps=30, learning_rate=0.1)
    moved = {name for name, value in free.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == before.keys() - {"quantizer.started"}


def test_frozen_parts_stay_in_eval_mode_while_the_others_train(workspace):
    modes = []

    def watching(model, batch):
        modes.append((torch.is_grad_enabled(), model.encoder[1].training, model.decoder.training))
        return error(model, batch)

    config = replace(CONFIG, frozen=("encoder",), validate_every=1)
    training.descend(Coder(), watching, Batches(), config, runs.create(Experiment(config)), Batches(seed=1))
    assert set(modes) == {(True, False, True), (False, False, False)}  # training steps; validation


def test_a_frozen_name_that_is_none_or_all_is_refused(workspace):
    with pytest.raises(UnknownName, match=r"submodule in training.frozen 'encodr'. Did you mean 'encoder'"):
        descend(frozen=("encodr",))
    with pytest.raises(SpeechlibError, match="leaves nothing to train"):
        descend(frozen=("encoder", "quantizer", "decoder"))


# --- learning rates in stairs, averages, resuming with all of it (VW-14) ---

STAIRS = ((4, 0.05), (9, 0.01))


def test_stairs_begin_at_their_step_and_the_last_one_stays():
    config = TrainingConfig(steps=12, learning_rate=0.1, learning_rates=STAIRS)
    rates = [training.learning_rate(config, step) for step in range(1, 15)]
    assert rates == [0.1] * 3 + [0.05] * 5 + [0.01] * 6
    risen = replace(config, warmup=4)
    assert [training.learning_rate(risen, step) for step in (1, 3, 4, 9)] == pytest.approx([0.025, 0.075, 0.05, 0.01])
    paper = TrainingConfig(learning_rate=8e-5, learning_rates=((80_000, 6e-5), (400_000, 8e-6)))
    steps = (1, 79_999, 80_000, 399_999, 400_000, 1_000_000)
    assert [training.learning_rate(paper, step) for step in steps] == [8e-5, 8e-5, 6e-5, 6e-5, 8e-6, 8e-6]
    for bad in (((9, 0.1), (4, 0.1)), ((4, 0.0),)):
        with pytest.raises(SpeechlibError, match="rising steps, each with a rate above 0"):
            TrainingConfig(learning_rates=bad)


def test_the_logged_rate_is_the_one_that_moved_the_weights(workspace):
    """One weight under a constant gradient: Adam's step is the learning rate."""

    def slope(model, batch):
        return {"loss": model.decoder.weight[0, 0]}

    places = []
    config = replace(CONFIG, schedule="constant", warmup=0, learning_rate=0.1, learning_rates=STAIRS, ema_decay=0.0)
    config = replace(config, grad_clip=0.0, amsgrad=False)
    run, model = runs.create(Experiment(config)), Coder()
    start = model.decoder.weight[0, 0].item()

    def place(done, total, text):
        places.append(model.decoder.weight[0, 0].item())

    training.descend(model, slope, Batches(), config, run, progress=place)
    taken = [a - b for a, b in zip([start, *places], places)]
    assert taken == pytest.approx(run.metrics()["learning_rate"].tolist(), rel=1e-4)


@pytest.mark.parametrize("step", [3, 5, 8, 11])
def test_resumed_with_stairs_averages_frozen_parts_and_codes_it_is_the_same_to_the_bit(workspace, monkeypatch, step):
    """Killed before and behind a stair, in the middle of an epoch and at its end."""
    changes = {"schedule": "constant", "learning_rates": STAIRS, "frozen": ("encoder",), "record_histograms": True}
    changes |= {"recorder": snapshot, "checkpoint_every": 1}
    whole, _ = descend(**changes)
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(workspace / "other"))
    with pytest.raises(KeyboardInterrupt):
        descend(progress=stop_at(step), **changes)
    resumed, _ = descend(**changes)
    assert whole.path != resumed.path
    assert_same(content(whole), content(resumed))
    assert whole.usage() == resumed.usage()
    assert [line["step"] for line in whole.usage()] == [5, 10, 12]


def test_averaged_and_raw_weights_can_both_be_had(workspace):
    run, model = descend(ema_decay=0.9)
    raw, averaged = training.raw_weights(run), load_tensors(run.checkpoint)[0]
    assert raw.keys() == averaged.keys()
    assert all(torch.equal(averaged[name], value) for name, value in model.state_dict().items())
    assert not torch.equal(raw["decoder.weight"], averaged["decoder.weight"])
    without, model = descend(ema_decay=0.0)  # the same steps, and no average of them
    assert all(torch.equal(training.raw_weights(without)[name], value) for name, value in raw.items())


# --- codes per epoch (VW-10) ---


def test_codes_of_an_epoch_are_all_codes_of_its_batches_and_no_others(workspace):
    """Counted beside the training, validation left out; the last epoch may be a part of one."""
    run, model = descend(validate_every=2)
    steps = torch.stack([codes.flatten() for training_step, codes in model.seen if training_step])  # (steps, B)
    assert len(steps) == CONFIG.steps
    table, lines = run.metrics("epoch"), run.usage()
    assert table["step"].tolist() == [5, 10, 12]
    assert table["epochs"].tolist() == pytest.approx([1, 2, 2.4])
    for row, line, first in zip(table.to_dict("records"), lines, (0, 5, 10)):
        counts = torch.bincount(steps[first : row["step"]].flatten(), minlength=K)
        assert line["codebooks"] == {"quantizer": counts.tolist()}
        share = counts / counts.sum()
        assert row["codes_used"] == (counts > 0).sum()
        assert row["dead_codes"] == (counts == 0).sum()
        assert row["perplexity"] == pytest.approx(torch.special.entr(share).sum().exp().item(), rel=1e-5)


def test_every_slice_is_counted_and_their_mean_is_reported(workspace):
    run, model = descend(Coder(CoderConfig(sliced=True)), steps=5)
    (line,) = run.usage()
    assert list(line["codebooks"]) == ["quantizer.slices.0", "quantizer.slices.1"]
    counts = torch.tensor(list(line["codebooks"].values()))
    assert counts.sum(1).tolist() == [5 * 8] * 2
    assert run.metrics("epoch")["codes_used"].item() == (counts > 0).sum().item() / 2


def test_a_frozen_quantizer_is_still_counted(workspace):
    run, _ = descend(frozen=("quantizer",))
    assert [sum(line["codebooks"]["quantizer"]) for line in run.usage()] == [40, 40, 16]


def test_a_model_without_codes_writes_no_epochs(workspace):
    from test_training import descend as plain

    run, _ = plain()
    assert run.usage() == []
    assert run.metrics("epoch").empty


def test_when_a_training_ends_nobody_listens_any_more():
    model = Coder()
    usage = CodeUsage(model)
    model(torch.randn(8, 4))
    usage.close()
    model(torch.randn(8, 4))
    assert usage.counts["quantizer"].sum() == 8


# --- histograms (VW-15) ---


def board(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"histograms": 0, "scalars": 0})
    found.Reload()
    return found


def test_histograms_of_everything_that_the_source_drew(workspace):
    run, model = descend(recorder=snapshot, record_histograms=True, ema_decay=0.0)
    found = board(run)
    assert set(found.Tags()["histograms"]) == {
        *(f"codes/{name}" for name in ("z_e", "codebook", "codes", "distances")),
        *(f"{what}/{name}" for what in ("weights", "gradients") for name, _ in model.named_parameters()),
    }
    assert [event.step for event in found.Histograms("codes/z_e")] == [1, 4, 8, 12]
    assert found.Histograms("codes/distances")[0].histogram_value.num == 8 * K
    assert found.Histograms("gradients/decoder.weight")[0].histogram_value.num == 4
    last = snapshot(model)
    row = run.metrics("histograms").iloc[-1]
    for name in ("z_e", "codebook"):
        assert row[f"{name}_mean"] == pytest.approx(last[name].mean().item(), abs=1e-6)
        assert row[f"{name}_variance"] == pytest.approx(last[name].var().item(), rel=1e-5)
    codes = found.Histograms("codes/codes")[-1].histogram_value
    assert codes.sum == last["codes"].sum()


def test_histograms_are_off_unless_asked_for(workspace):
    run, _ = descend(recorder=snapshot)
    assert board(run).Tags()["histograms"] == []
    assert run.metrics("histograms").empty
    assert {"codes_used/epoch", "dead_codes/epoch", "perplexity/epoch"} <= set(board(run).Tags()["scalars"])
