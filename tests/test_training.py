"""The loop: the same to the bit however often it was killed, and quick to say what went wrong."""

import json
import os
import signal
import subprocess
import sys
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


def line():
    torch.manual_seed(7)
    return Line(LineConfig(), 4)


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
    torch.rand(17)  # whatever else drew random numbers meanwhile
    resumed, _ = descend()
    assert whole.path != resumed.path
    assert_same(content(whole), content(resumed))
