"""Outputs of WaveNet against torch.distributions, numerical integration, and sums over everything there is."""

import math

import pytest
import torch
from torch import distributions as D

from speechlib import mu_law
from speechlib._torchaudio import torchaudio
from speechlib.models.distributions import Gaussian, LogisticMixture, MuLaw, choose

SEED = 0


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def logistic(mean, scale) -> D.Distribution:
    base = D.TransformedDistribution(D.Uniform(torch.zeros_like(mean), torch.ones_like(mean)), D.SigmoidTransform().inv)
    return D.TransformedDistribution(base, D.AffineTransform(mean, scale))


# -- mu-law ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [256, 16])
def test_mu_law_is_torchaudios(channels):
    wave = torch.linspace(-1, 1, 4001)
    classes = mu_law.encode(wave, channels)
    assert torch.equal(classes, torchaudio.functional.mu_law_encoding(wave, channels))
    decoded = mu_law.decode(classes, channels)
    torch.testing.assert_close(decoded, torchaudio.functional.mu_law_decoding(classes, channels))
    assert classes.min() == 0
    assert classes.max() == channels - 1
    assert torch.equal(mu_law.encode(decoded, channels), classes)


def test_mu_law_round_trip_is_within_half_a_step_of_the_companded_value():
    wave = torch.linspace(-1, 1, 4001)

    def companded(x):
        return x.sign() * torch.log1p(255 * x.abs()) / math.log(256)

    assert (companded(mu_law.decode(mu_law.encode(wave))) - companded(wave)).abs().max() <= 1 / 255 + 1e-6


def test_mu_law_nll_is_that_of_a_categorical(random):
    logits, wave = torch.randn(2, 256, 50, generator=random) * 3, torch.rand(2, 50, generator=random) * 2 - 1
    expected = -D.Categorical(logits=logits.transpose(1, 2)).log_prob(mu_law.encode(wave))
    torch.testing.assert_close(MuLaw().nll(logits, wave), expected)


# -- mixture of logistics ----------------------------------------------------------------------------------------------


def test_logistic_mixture_is_the_integral_of_the_density_over_a_cell(random):
    mixture = LogisticMixture(n_mixtures=3, n_levels=64)
    logits, mean = torch.randn(3, generator=random), torch.randn(3, generator=random) * 0.5
    log_scale = torch.tensor([-1.0, -2.0, -3.0])
    parameters = torch.cat([logits, mean, log_scale])[None, :, None]
    levels = torch.linspace(-1, 1, 64)
    mass = (-mixture.nll(parameters.expand(1, 9, 64), levels[None])).exp()[0]
    density = D.MixtureSameFamily(
        D.Categorical(logits=logits.double()), logistic(mean.double(), log_scale.double().exp())
    )
    for i in (1, 20, 40, 62):
        points = torch.linspace(levels[i] - 1 / 63, levels[i] + 1 / 63, 2001, dtype=torch.float64)
        integral = torch.trapezoid(density.log_prob(points).exp(), points)
        assert mass[i].item() == pytest.approx(integral.item(), rel=1e-4)


@pytest.mark.parametrize("n_levels", [2, 256, 65_536])
def test_logistic_masses_of_all_levels_sum_to_one(random, n_levels):
    mixture = LogisticMixture(n_mixtures=4, n_levels=n_levels)
    parameters = torch.randn(1, 12, 1, generator=random)
    parameters[:, 8:] = torch.tensor([-8.5, -5.0, -1.0, 2.0])[
        None, :, None
    ]  # from narrower than a cell to wider than all
    levels = torch.linspace(-1, 1, n_levels, dtype=torch.float64).float()[None]
    total = (-mixture.nll(parameters.expand(-1, -1, n_levels), levels)).double().exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-4)


def test_logistic_mixture_stays_finite_far_from_its_means(random):
    parameters = torch.zeros(1, 3, 3)
    parameters[:, 1], parameters[:, 2] = -40.0, -30.0
    parameters.requires_grad_()
    nll = LogisticMixture(n_mixtures=1).nll(parameters, torch.tensor([[-1.0, 0.3, 1.0]]))
    nll.sum().backward()
    assert nll.isfinite().all()
    assert parameters.grad.isfinite().all()
    assert nll[0, 1] > 1e5  # and it is not capped: the mean still feels a pull
    assert parameters.grad[0, 1, 1] < 0


def test_logistic_samples_are_spread_as_the_mixture_says(random):
    mixture = LogisticMixture(n_mixtures=2)
    parameters = torch.tensor([0.0, 1.0, -0.4, 0.3, -3.5, -3.0])
    n = 20_000
    drawn = mixture.sample(parameters.expand(n, -1), torch.rand(n, 2, generator=random, dtype=torch.float64))
    cumulative = D.MixtureSameFamily(
        D.Categorical(logits=parameters[:2]), logistic(parameters[2:4], parameters[4:].exp())
    )
    for point in (-0.5, -0.4, 0.0, 0.25, 0.4):
        weights = cumulative.mixture_distribution.probs
        expected = (weights * ((point - parameters[2:4]) / parameters[4:].exp()).sigmoid()).sum()
        assert (drawn <= point).float().mean().item() == pytest.approx(expected.item(), abs=0.015)


def test_greedy_logistic_is_the_mean_of_the_likeliest_component():
    parameters = torch.tensor([[0.0, 1.0, -0.4, 0.3, -3.5, -3.0]])
    drawn = LogisticMixture(n_mixtures=2).sample(parameters, torch.tensor([[0.01, 0.99]]), temperature=0)
    assert drawn.item() == pytest.approx(0.3)


# -- Gaussian ----------------------------------------------------------------------------------------------------------


def test_gaussian_nll_is_that_of_a_normal(random):
    parameters, wave = torch.randn(2, 2, 50, generator=random), torch.rand(2, 50, generator=random) * 2 - 1
    expected = -D.Normal(parameters[:, 0], parameters[:, 1].exp()).log_prob(wave)
    torch.testing.assert_close(Gaussian().nll(parameters, wave), expected)


def test_log_scale_has_the_same_floor_in_the_loss_and_in_sampling():
    parameters, uniform = torch.tensor([[0.1, -20.0]]), torch.tensor([[0.5, D.Normal(0.0, 1.0).cdf(torch.tensor(2.0))]])
    gaussian = Gaussian(min_log_scale=-7)
    assert gaussian.sample(parameters, uniform).item() == pytest.approx(0.1 + 2 * math.exp(-7), abs=1e-6)
    wave = torch.tensor([[0.1 + 2 * math.exp(-7)]])
    expected = -D.Normal(0.1, math.exp(-7)).log_prob(wave)
    torch.testing.assert_close(gaussian.nll(parameters[:, :, None], wave), expected, rtol=1e-3, atol=1e-3)


def test_gaussian_nucleus_is_the_central_interval_and_temperature_widens():
    uniform = torch.stack([torch.full((999,), 0.5), torch.linspace(0, 1, 999)], dim=1).double()
    parameters = torch.tensor([[0.0, -4.0]]).expand(999, -1)
    bound = D.Normal(0.0, math.exp(-4)).icdf(torch.tensor(0.95)).item()  # half of 90 % to each side
    drawn = Gaussian().sample(parameters, uniform, top_p=0.9)
    assert drawn.abs().max().item() == pytest.approx(bound, rel=1e-4)
    inner = slice(1, -1)
    torch.testing.assert_close(
        Gaussian().sample(parameters, uniform, temperature=0.5)[inner],
        Gaussian().sample(parameters, uniform)[inner] / 2,
    )


# -- choosing a class --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_choice_divides_the_unit_interval_as_softmax_does(random, temperature):
    logits, n = torch.randn(7, generator=random) * 2, 100_000
    uniform = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    drawn = choose(logits.expand(n, -1), uniform, temperature)
    share = torch.bincount(drawn, minlength=7) / n
    torch.testing.assert_close(share, (logits / temperature).softmax(0), atol=2e-5, rtol=0)
    assert (drawn.diff() >= 0).all()


def test_choice_stays_in_the_table_whatever_rounding_does(random):
    uniform = torch.tensor([0.0, 1 - 2**-53, 1.0, 0.999999], dtype=torch.float64)
    for logits in (torch.randn(256, generator=random) * 20, torch.zeros(256), torch.linspace(0, -200, 256)):
        drawn = choose(logits.expand(4, -1), uniform)
        assert (drawn < 256).all()
        assert (logits.softmax(0)[drawn] > 0).all()


def test_nucleus_is_the_smallest_set_of_that_mass(random):
    for _ in range(20):
        logits = torch.randn(12, generator=random) * 2
        top_p = torch.rand((), generator=random).item() * 0.98 + 0.01
        probability = logits.softmax(0)
        kept, mass = set(), 0.0
        for j in probability.argsort(descending=True).tolist():  # by definition
            if mass >= top_p:
                break
            kept.add(j)
            mass += probability[j].item()
        uniform = torch.linspace(0, 1 - 1e-9, 4000, dtype=torch.float64)
        drawn = choose(logits.expand(4000, -1), uniform, top_p=top_p)
        seen = {j for j in kept if probability[j] / mass > 1e-3}  # the rarest may fall between the grid's points
        assert seen <= set(drawn.tolist()) <= kept


def test_greedy_is_argmax(random):
    logits = torch.randn(9, 256, generator=random)
    assert torch.equal(choose(logits, torch.rand(9, generator=random), temperature=0), logits.argmax(1))
