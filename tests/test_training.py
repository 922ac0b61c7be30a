"""The loop: the same to the bit however often it was killed, and quick to say what went wrong."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import nn

from speechlib import runs, training
from speechlib.errors import BadFile, SpeechlibError, UnknownName
from speechlib.runs import load_tensors
from speechlib.training import TrainingConfig


@dataclass(frozen=True)
class LineConfig:
    noise: float = 0.1


class Line(nn.Module):
    """y = x W with noise in training, and a buffer that follows the inputs: everything that has to be kept."""

    def __init__(self, config: LineConfig, n_features: int):
        super().__init__()
        self.config, self.sizes = config, {"n_features": n_features}
        self.weight = nn.Parameter(torch.randn(n_features, 1))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        if self.training:
            self.seen.lerp_(x.mean(), 0.1)
            self.count += 1
            x = x + self.config.noise * torch.randn_like(x)
        return x @ self.weight


class Batch(NamedTuple):
    inputs: torch.Tensor
    utterance: torch.Tensor


class Batches:
    """y = sum of x; batch n is a function of n. `bad` is a batch with a NaN in it."""

    pack = SimpleNamespace(utterances=[f"utterance {i}" for i in range(100)])

    def __init__(self, seed=0, bad=None):
        self.seed, self.bad = seed, bad

    def __len__(self):
        return 5

    def batch(self, n):
        generator = torch.Generator().manual_seed(1000 * self.seed + n)
        x = torch.randn(8, 4, generator=generator)
        return Batch(x * (float("nan") if n == self.bad else 1.0), torch.arange(n, n + 8) % 100)


def squares(model, batch):
    error = (model(batch.inputs) - batch.inputs.sum(1, keepdim=True)) ** 2
    return {"loss": error.mean() + 0.01 * model.weight.abs().sum(), "square": error.mean()}


@dataclass(frozen=True)
class Experiment:
    training: TrainingConfig
    system: str = "line"
    preset: str = "test"
    seed: int = 3


CONFIG = TrainingConfig(
    steps=12, learning_rate=0.05, schedule="cosine", warmup=3, amsgrad=True, grad_clip=1.0, ema_decay=0.9, log_every=1,
    precision="fp32", validate_every=4, checkpoint_every=5, record_gradients=True, record_codebook=True, record_every=4,
)  # fmt: skip


def line(noise=0.1):
    torch.manual_seed(7)
    return Line(LineConfig(noise), 4)


def descend(config=CONFIG, bad=None, progress=None, model=None, **changes):
    run = runs.create(Experiment(replace(config, **changes)))
    model = line() if model is None else model
    snapshot = lambda model: {"codebook": model.weight}  # noqa: E731
    trained = training.descend(
        model, squares, Batches(bad=bad), replace(config, **changes), run, Batches(seed=1), snapshot, progress
    )
    return run, trained


def content(run):
    """Everything a run wrote, without the seconds."""
    lines = [{k: v for k, v in line.items() if k != "seconds"} for line in runs.read_lines(run.path / "metrics.jsonl")]
    tensors = {path.name: load_tensors(path)[0] for path in (run.checkpoint, run.training_state, *run.codebooks())}
    return lines, run.gradients(), tensors


def assert_same(a, b):
    assert a[:2] == b[:2]
    assert a[2].keys() == b[2].keys()
    for name, tensors in a[2].items():
        assert tensors.keys() == b[2][name].keys()
        assert all(torch.equal(tensors[key], b[2][name][key]) for key in tensors), name


def assert_resumes(workspace, monkeypatch, step: int, **settings):
    """A training with these settings, stopped at a step and continued, leaves what an uninterrupted one leaves."""
    whole, _ = descend(**settings)
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(workspace / "other"))
    with pytest.raises(KeyboardInterrupt):
        descend(progress=stop_at(step), **settings)
    resumed, _ = descend(**settings)
    assert_same(content(whole), content(resumed))


def stop_at(step):
    def progress(done, total, text):
        if done == step:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("step", [1, 4, 5, 7, 11])
def test_a_resumed_training_equals_an_uninterrupted_one_to_the_bit(workspace, monkeypatch, step):
    whole, _ = descend()
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(workspace / "other"))
    with pytest.raises(KeyboardInterrupt):
        descend(progress=stop_at(step))
    stopped = runs.find(Experiment(CONFIG))
    assert (stopped.status, stopped.step) == ("interrupted", 5 * (step // 5))
    torch.rand(17)  # whatever else drew random numbers meanwhile
    resumed, _ = descend()
    assert whole.path != resumed.path
    assert_same(content(whole), content(resumed))


def waver(model, batch):
    """A loss that is lowest somewhere on the way, as an overfitted one is."""
    terms = squares(model, batch)
    return terms | {"distance": (model.weight.sum() - 0.8).abs()}


def validated_by_distance(progress=None, steps=12, **changes):
    config = replace(CONFIG, best_by="distance", validate_every=1, steps=steps, record_gradients=False, **changes)
    config = replace(config, record_codebook=False)
    run = runs.create(Experiment(config))
    return run, training.descend(line(), waver, Batches(), config, run, Batches(seed=1), progress=progress)


def test_the_best_weights_stay_beside_the_last_ones(workspace):
    run, model = validated_by_distance()
    seen = run.metrics("validation")
    best, about = load_tensors(run.best)
    chosen = seen["distance"].idxmin()
    assert 0 < chosen < len(seen) - 1  # neither the first nor the last
    assert about["step"] == seen["step"][chosen]
    assert about["distance"] == seen["distance"].min()
    assert abs(best["weight"].sum().item() - 0.8) == pytest.approx(seen["distance"].min(), abs=1e-6)
    assert torch.equal(model.weight, best["weight"])  # those that are used
    assert not torch.equal(load_tensors(run.checkpoint)[0]["weight"], best["weight"])


@pytest.mark.parametrize("step", [4, 5, 6, 9, 11])
def test_a_resumed_training_has_the_best_weights_of_an_uninterrupted_one(workspace, monkeypatch, step):
    whole, model = validated_by_distance()
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(workspace / "other"))
    with pytest.raises(KeyboardInterrupt):
        validated_by_distance(stop_at(step))
    resumed, again = validated_by_distance()
    for name in ("best", "checkpoint", "training_state"):
        (a, about_a), (b, about_b) = (load_tensors(getattr(run, name)) for run in (whole, resumed))
        assert all(torch.equal(a[key], b[key]) for key in a), name
        assert about_a.get("step") == about_b.get("step")
        assert about_a.get("best") == about_b.get("best")
    assert torch.equal(model.weight, again.weight)


def test_a_term_that_no_validation_has_is_refused(workspace):
    with pytest.raises(UnknownName, match="best_by.*'los'.*Did you mean 'loss'"):
        descend(best_by="los")


@pytest.mark.parametrize("step", [3, 5, 8])
def test_sgd_resumes_to_the_bit_too(workspace, monkeypatch, step):
    settings = {"optimizer": "sgd", "weight_decay": 1e-4, "grad_clip": 0.25}
    settings |= {"schedule": "constant", "learning_rates": ((4, 0.025), (8, 0.0125))}
    assert_resumes(workspace, monkeypatch, step, **settings)


def test_sgd_takes_nesterovs_step_by_hand():
    """Two steps of v = 0.9 v + g, w -= rate (g + 0.9 v), with g = 2 w of w^2 and the decay's share added."""
    parameter = nn.Parameter(torch.tensor([1.0]))
    model = nn.ParameterList([parameter])
    optimizer = training.make_optimizer(model, TrainingConfig(optimizer="sgd", learning_rate=0.1, weight_decay=0.5))
    w, v = 1.0, 0.0
    for _ in range(2):
        g = 2 * w + 0.5 * w
        v = 0.9 * v + g
        w -= 0.1 * (g + 0.9 * v)
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
        assert parameter.item() == pytest.approx(w)


SLOWLY = """
import time
import test_training
test_training.descend(progress=lambda done, total, text: time.sleep(0.05))
"""


@pytest.mark.parametrize("after", [1, 5])
def test_killed_at_any_moment_and_resumed_is_the_same_to_the_bit(workspace, monkeypatch, after):
    whole, _ = descend()
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(workspace / "killed"))
    process = subprocess.Popen([sys.executable, "-c", SLOWLY], cwd=os.path.dirname(__file__), env=dict(os.environ))
    while (run := runs.find(Experiment(CONFIG))) is None or len(run.metrics()) < after:
        assert process.poll() is None
        time.sleep(0.01)
    assert run.status in ("running", "interrupted")  # descend alone holds no lock: systems.train does
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert run.status == "interrupted"
    resumed, _ = descend()
    assert_same(content(whole), content(resumed))


def test_the_random_numbers_outside_are_left_alone(workspace):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with torch.random.fork_rng():
        model = line()
    descend(model=model)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_it_lowers_the_loss_and_writes_every_term(workspace):
    run, model = descend(steps=60, learning_rate=0.1, ema_decay=0.0)
    train, validation = run.metrics(), run.metrics("validation")
    assert list(train["step"]) == list(range(1, 61))
    assert list(validation["step"]) == [1, *range(4, 61, 4)]
    assert {"loss", "square", "gradient_norm", "learning_rate", "seconds"} <= set(train)
    assert train["square"].iloc[-1] < 0.05 * train["square"].iloc[0]
    assert torch.allclose(model.weight, torch.ones(4, 1), atol=0.1)
    assert not model.training
    assert [entry["step"] for entry in run.gradients()] == [1, *range(4, 61, 4)]
    assert [path.name for path in run.codebooks()[:2]] == [
        "codebook-00000001.safetensors",
        "codebook-00000004.safetensors",
    ]
    assert any((run.path / "tensorboard").iterdir())


def test_what_is_recorded_is_what_torch_computes(workspace):
    """One step by hand: terms, gradient, its norm, clipping and Adam's first step."""
    run, model = descend(steps=1, grad_clip=0.1, ema_decay=0.0, schedule="constant", warmup=0, learning_rate=0.5)
    reference = line().train()
    training.seed_step(3, 0)
    terms = squares(reference, Batches().batch(0))
    terms["loss"].backward()
    gradient = reference.weight.grad
    (logged,) = run.metrics().to_dict("records")
    assert logged["loss"] == pytest.approx(terms["loss"].item())
    assert logged["gradient_norm"] == pytest.approx(gradient.norm().item())
    largest, mean = run.gradients()[0]["layers"]["weight"]
    assert (largest, mean) == (pytest.approx(gradient.abs().max().item()), pytest.approx(gradient.abs().mean().item()))
    clipped = gradient * 0.1 / gradient.norm()
    expected = reference.weight - 0.5 * clipped / (clipped.abs() + 1e-8)  # Adam's first step: lr * sign
    assert torch.allclose(model.weight, expected, atol=1e-4)


def test_validation_sees_the_mean_over_its_batches_with_the_averaged_weights(workspace):
    run, model = descend()
    model.eval()
    batches = [Batches(seed=1).batch(n) for n in range(CONFIG.validate_batches)]
    expected = sum(squares(model, batch)["square"].item() for batch in batches) / len(batches)
    assert run.metrics("validation")["square"].iloc[-1] == pytest.approx(expected, rel=1e-6)


def test_the_average_follows_its_recursion():
    model = line()
    average = training.Average(model, 0.9)
    expected = model.weight.detach().clone()
    for step in range(1, 30):
        with torch.no_grad():
            model.weight.add_(step)
            model.count += 1
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        average.update(step)
    assert torch.allclose(average.weights()["weight"], expected, rtol=1e-5)
    assert average.weights()["count"] == 29  # integers are taken as they are
    raw = model.weight.detach().clone()
    with average.in_place():
        assert torch.equal(model.weight, average.weights()["weight"])
        assert not model.training
    assert torch.equal(model.weight, raw)
    assert model.training


def test_without_averaging_the_checkpoint_holds_the_weights_themselves(workspace):
    run, model = descend(ema_decay=0.0)
    kept, metadata = load_tensors(run.checkpoint)
    state, _ = load_tensors(run.training_state)
    assert torch.equal(kept["weight"], state["model.weight"])
    assert torch.equal(kept["weight"], model.weight)
    assert (metadata["step"], metadata["system"], metadata["sizes"]) == (12, "line", {"n_features": 4})


@pytest.mark.parametrize(("schedule", "end"), [("constant", 1.0), ("cosine", 0.0)])
def test_learning_rates(schedule, end):
    config = TrainingConfig(steps=100, learning_rate=1.0, schedule=schedule, warmup=10)
    rates = [training.learning_rate(config, step) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[-1] == pytest.approx(end, abs=1e-12)
    middle = 1.0 if schedule == "constant" else (1 + math.cos(math.pi / 2)) / 2
    assert rates[54] == pytest.approx(middle)


@pytest.mark.parametrize("bad", [0, 6])
def test_a_nan_stops_it_and_names_term_step_and_utterances(workspace, bad):
    with pytest.raises(SpeechlibError) as caught:
        descend(bad=bad, log_every=4)
    message = str(caught.value)
    assert f"step {bad + 1}: the term 'loss' is nan" in message
    assert f"utterance {bad}, utterance {bad + 1}" in message
    assert "learning_rate" in message
    run = runs.find(Experiment(replace(CONFIG, log_every=4)))
    assert (run.status, run.reason) == ("failed", message)
    if bad:  # what was kept before is whole and finite
        tensors, metadata = load_tensors(run.training_state)
        assert metadata["step"] == 5
        assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_gradient_that_is_not_finite_is_named_too(workspace):
    def steep(model, batch):
        return {"loss": (model.weight - model.weight.detach()).abs().sqrt().sum()}

    run = runs.create(Experiment(CONFIG))
    with pytest.raises(SpeechlibError, match=r"step 1: the term 'gradient_norm' is (nan|inf)"):
        training.descend(line(), steep, Batches(), CONFIG, run)


def test_any_other_error_marks_the_run_failed(workspace):
    with pytest.raises(RuntimeError):
        descend(model=Line(LineConfig(), 5))
    assert runs.find(Experiment(CONFIG)).status == "failed"
    run, _ = descend()  # and a mended one goes on
    assert run.step == 12


def test_a_state_of_another_experiment_or_cut_short_is_refused(workspace):
    run, _ = descend()
    other = runs.create(Experiment(replace(CONFIG, steps=20)))
    other.training_state.write_bytes(run.training_state.read_bytes())
    with pytest.raises(BadFile, match=r"training\.safetensors: belongs to another experiment"):
        descend(steps=20)
    whole = run.training_state.read_bytes()
    for cut in (0, 7, len(whole) // 2, len(whole) - 1):
        run.training_state.write_bytes(whole[:cut])
        with pytest.raises(BadFile, match="truncated"):
            descend()


def test_flags_record_on_their_own(workspace):
    """The source recorded gradients only where codebooks were recorded as well (reference section 8, no. 5)."""
    gradients, _ = descend(record_codebook=False)
    assert gradients.gradients()
    assert not gradients.codebooks()
    codebooks, _ = descend(record_gradients=False)
    assert codebooks.codebooks()
    assert not codebooks.gradients()


def test_the_config_decides_on_the_device_from_the_first_run(workspace):
    _, model = descend(device="cpu")
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    if not torch.cuda.is_available():
        with pytest.raises(SpeechlibError, match="training.device is 'cuda'"):
            descend(device="cuda")
    with pytest.raises(SpeechlibError, match="training.device is 'gpu'"):
        descend(device="gpu")


def test_bf16_computes_in_bf16_and_keeps_float32(workspace):
    seen = []

    def watching(model, batch):
        terms = squares(model, batch)
        seen.append(model(batch.inputs).dtype)
        return terms

    config = replace(CONFIG, precision="bf16")
    model = training.descend(line(), watching, Batches(), config, runs.create(Experiment(config)))
    assert set(seen) == {torch.bfloat16}
    assert model.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": "adma"}, "Did you mean 'adam'"),
        ({"schedule": "cosin"}, "cosine"),
        ({"precision": "fp16"}, "bf16"),
        ({"steps": 0}, "training.steps is 0"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"ema_decay": 1.0}, "ema_decay"),
    ],
)
def test_values_that_cannot_be(changes, words):
    with pytest.raises((SpeechlibError, UnknownName), match=words):
        TrainingConfig(**changes)


def test_progress_tells_every_step_and_the_bar_takes_it(workspace, capsys):
    told = []
    descend(progress=lambda *values: told.append(values))
    assert [value[:2] for value in told] == [(n, 12) for n in range(1, 13)]
    assert "loss" in told[-1][2]
    assert capsys.readouterr().out == ""


# --- several batches in one step, RMSprop ---


class Joined(Batches):
    """Pairs of batches as one."""

    def batch(self, n):
        two = [super(Joined, self).batch(2 * n + k) for k in range(2)]
        return Batch(*(torch.cat(parts) for parts in zip(*two)))


def squared(model, batch):
    return {"loss": ((model(batch.inputs) - batch.inputs.sum(1, keepdim=True)) ** 2).mean()}


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_accumulated_gradients_are_those_of_a_big_batch(workspace, optimizer):
    config = TrainingConfig(
        steps=6, learning_rate=0.01, optimizer=optimizer, precision="fp32", log_every=1, grad_clip=1.0
    )
    models, lines = {}, {}
    for accumulate, batches in ((1, Joined()), (2, Batches())):
        changed = replace(config, accumulate=accumulate)
        run = runs.create(Experiment(changed))
        models[accumulate] = training.descend(line(noise=0.0), squared, batches, changed, run)
        lines[accumulate] = [entry["loss"] for entry in runs.read_lines(run.path / "metrics.jsonl")]
    torch.testing.assert_close(models[2].weight, models[1].weight, rtol=0, atol=1e-5)
    assert lines[2] == pytest.approx(lines[1], abs=1e-5)


def test_rmsprop_moves_by_the_running_square_and_a_momentum_of_09(workspace):
    run, model = descend(
        steps=2, optimizer="rmsprop", betas=(0.9, 0.99), schedule="constant", warmup=0, amsgrad=False, ema_decay=0.0,
        grad_clip=0.0, checkpoint_every=2,
    )  # fmt: skip
    weight, square, momentum = line().weight.detach().clone(), 0.0, 0.0
    for n in range(2):
        reference = line().train()
        reference.weight.data.copy_(weight)
        with torch.random.fork_rng():
            training.seed_step(3, n)
            squares(reference, Batches().batch(n))["loss"].backward()
        square = 0.99 * square + 0.01 * reference.weight.grad.square()
        momentum = 0.9 * momentum + reference.weight.grad / (square.sqrt() + 1e-8)
        weight = weight - 0.05 * momentum
    torch.testing.assert_close(model.weight.detach(), weight)


@pytest.mark.parametrize("step", [4, 7])
def test_a_resumed_training_with_accumulation_and_rmsprop_equals_an_uninterrupted_one(workspace, monkeypatch, step):
    changes = {"accumulate": 3, "optimizer": "rmsprop", "amsgrad": False, "learning_rate": 0.01}
    assert_resumes(workspace, monkeypatch, step, **changes)


def test_what_is_not_finite_in_any_of_a_steps_batches_is_told_with_its_utterances(workspace):
    with pytest.raises(SpeechlibError, match=r"step 2: the term 'loss' is nan.*utterance 4,.*and 2 more"):
        descend(accumulate=3, bad=4)
