"""The mixture of Gaussians against torch.distributions, against its own moments, and where floats end."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from speechlib.models.mixtures import GaussianMixture, Pairs


def parameters(*shape, K=5, seed=0) -> torch.Tensor:
    return torch.randn(*shape, 3 * K, generator=torch.Generator().manual_seed(seed))


def oracle(p: torch.Tensor) -> MixtureSameFamily:
    logits, mean, log_sigma = p.double().chunk(3, dim=-1)
    return MixtureSameFamily(Categorical(logits=logits), Normal(mean, log_sigma.exp()))


def test_nll_is_that_of_torch_distributions():
    mixture, p, x = GaussianMixture(5), parameters(4, 7), torch.randn(4, 7)
    torch.testing.assert_close(mixture.nll(p, x).double(), -oracle(p).log_prob(x.double()), rtol=0, atol=1e-5)


def test_nll_and_its_gradient_are_finite_where_no_density_is():
    """60 deviations away the density is below the least float: its logarithm must come without it."""
    p = torch.tensor([[0.0, 0.0, 60.0, 61.0, 0.0, 0.0]], requires_grad=True)
    nll = GaussianMixture(2).nll(p, torch.zeros(1))
    assert nll.item() == pytest.approx(1800 + 0.5 * math.log(2 * math.pi) + math.log(2), abs=0.01)
    nll.sum().backward()
    assert p.grad.isfinite().all()


def test_one_deviation_is_never_less_than_its_floor_in_the_loss_and_in_samples():
    """Mistake 6 of the source system: its floor held in the loss only."""
    mixture, p = GaussianMixture(1, min_sigma=0.01), torch.tensor([[0.0, 0.0, -50.0]])
    assert mixture.nll(p, torch.zeros(1)).item() == pytest.approx(
        math.log(0.01) + 0.5 * math.log(2 * math.pi), abs=1e-5
    )
    drawn = mixture.sample(p.expand(4000, -1), torch.rand(4000, 2, generator=torch.Generator().manual_seed(0)))
    assert drawn.std().item() == pytest.approx(0.01, rel=0.05)


def test_moments_of_samples_are_those_of_the_mixture():
    p = parameters(1, seed=1).expand(60_000, -1)
    drawn = GaussianMixture(5).sample(p, torch.rand(60_000, 2, generator=torch.Generator().manual_seed(2)))
    expected = oracle(p[:1])
    deviation = expected.variance.sqrt().item()
    assert drawn.mean().item() == pytest.approx(expected.mean.item(), abs=4 * deviation / math.sqrt(60_000))
    assert drawn.std().item() == pytest.approx(deviation, rel=0.02)


def test_temperatures_narrow_components_and_weights():
    p = torch.tensor([[1.0, 0.0, -3.0, 3.0, 0.0, 0.0]]).expand(2000, -1)
    uniform = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0))
    means = GaussianMixture(2).sample(p, uniform, temperature=0)
    assert set(means.tolist()) == {-3.0, 3.0}
    assert (means < 0).float().mean().item() == pytest.approx(1 / (1 + math.exp(-1)), abs=0.04)
    assert (GaussianMixture(2).sample(p, uniform, weight_temperature=0) < 0).float().mean() > 0.99
    sure = (GaussianMixture(2).sample(p, uniform, temperature=0, weight_temperature=0.25) < 0).float().mean().item()
    assert sure == pytest.approx(1 / (1 + math.exp(-4)), abs=0.02)
    narrow = GaussianMixture(2).sample(p, uniform, temperature=0.5, weight_temperature=0)
    assert narrow.std().item() == pytest.approx(0.5, rel=0.06)


def test_uniforms_at_the_ends_give_finite_samples():
    ends = torch.tensor([[0.0, 0.0], [1 - 2**-24, 1.0]])
    assert GaussianMixture(5).sample(parameters(2), ends).isfinite().all()


def test_two_numbers_one_after_the_other_are_a_density_and_its_samples_lie_in_it():
    torch.manual_seed(0)
    pairs = Pairs(3, hidden=8)
    place = torch.linspace(-8, 8, 320)
    everywhere = torch.stack(torch.meshgrid(place, place, indexing="ij"), -1).reshape(-1, 2)
    with torch.no_grad():
        mass = (-pairs.nll(everywhere)).exp() * (16 / 319) ** 2
    assert mass.sum().item() == pytest.approx(1, abs=1e-3)
    drawn = pairs.sample(torch.rand(20_000, 4))
    torch.testing.assert_close(drawn.mean(0), (mass[:, None] * everywhere).sum(0), rtol=0, atol=0.05)


def test_a_circle_has_two_second_numbers_for_a_first_and_draws_neither_their_middle():
    torch.manual_seed(0)
    angle = 2 * torch.pi * torch.rand(1500)
    circle, pairs = 1.5 * torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(1500, 2), Pairs()
    optimizer = torch.optim.Adam(pairs.parameters(), lr=5e-3)
    for _ in range(200):
        loss = pairs.nll(circle[torch.randint(1500, (200,))]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    radius = pairs.sample(torch.rand(1000, 4)).norm(dim=1)
    assert ((radius - 1.5).abs() < 0.4).float().mean() > 0.9
