"""The VAE on pictures of digits: their batches, their bits, and that the model of speech learns them."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from speechlib import objectives
from speechlib.errors import UnknownName
from speechlib.evaluation import neighbours
from speechlib.models.vae import VAE
from speechlib.systems import digits
from speechlib.systems.digits import Digits


@pytest.fixture(scope="module")
def parts() -> tuple[Digits, Digits]:
    return Digits("train"), Digits("val")


def test_every_picture_is_in_one_part_with_its_digit(parts):
    found = load_digits()
    both = np.concatenate([np.concatenate([p.levels.flatten(1), p.digit[:, None]], 1) for p in parts])
    expected = np.concatenate([found.data, found.target[:, None]], 1)
    assert sorted(map(tuple, both)) == sorted(map(tuple, expected))
    with pytest.raises(UnknownName, match="train"):
        Digits("test")


def test_batches_are_a_function_of_seed_and_number(parts):
    train, _ = parts
    first, again, other = train.batch(3), Digits("train").batch(3), Digits("train", seed=1).batch(3)
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)
    index = train.order.batch(3)
    noise = first.inputs - train.levels[index]
    assert first.inputs.shape == (128, 8, 8)
    assert (noise >= 0).all()
    assert noise.max() <= 1
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(first.digit, train.digit[index])


def test_bits_of_densities_that_are_known(parts):
    """Levels that all come alike cost log2 17 bits; what is standardised twice as narrow costs as much."""
    model = VAE(digits.settings("smoke")[0], 8, 8)
    for std in (1.0, 5.0):
        model.inputs.fit(torch.zeros(8), torch.full((8,), std))
        nats = 64 * -math.log(digits.LEVELS / std)  # uniform over 17 levels, in units of std
        assert digits.bits_per_pixel(nats, model) == pytest.approx(math.log2(17), rel=1e-5)


def test_bits_of_each_pixel_alone_equal_a_count_by_hand(parts):
    train, val = parts
    total = 0.0
    for row in range(8):
        for column in range(8):
            counts = np.bincount(train.levels[:, row, column].int().numpy(), minlength=17) + 1
            told = counts[val.levels[:, row, column].int().numpy()] / counts.sum()
            total -= np.log2(told).sum()
    assert digits.bits_of_each_alone(train, val) == pytest.approx(total / val.levels.numel(), rel=1e-5)


def test_the_model_of_speech_learns_digits(parts, monkeypatch):
    monkeypatch.setitem(digits.STEPS, "smoke", 120)
    learned, again = (digits.train("smoke", seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(learned.model.parameters(), again.model.parameters()))
    log = learned.metrics["validation"]
    assert log["elbo"].iloc[-1] > log["elbo"].iloc[0] + 10
    val = parts[1].everything()
    with torch.inference_mode():
        torch.manual_seed(0)
        terms = objectives.vae(learned.model, val)
        likelihood = float(learned.model.log_likelihood(val.inputs, 20).mean())
        latents = learned.model.latents(val.inputs)
        drawn = learned.model.sample(50)
    assert terms["squared_error"] < 0.45
    assert terms["elbo"] < likelihood
    assert digits.bits_per_pixel(likelihood, learned.model) < math.log2(17) - 0.5
    labels = val.digit.numpy().astype(str)
    assert neighbours.knn_accuracy(latents.numpy(), labels, np.arange(len(latents))).accuracy > 0.5
    assert drawn.shape == (50, 8, 8)
    assert drawn[:, :, 0].std() < drawn[:, :, 3:5].std()  # the left edge is empty paper, the middle is not


def test_unknown_presets_are_named():
    with pytest.raises(UnknownName, match="demo"):
        digits.train("deom")
