"""A mixture of K Gaussians for one number: parameters (..., 3 K) of a network -> NLL in nats, or samples.

Vasquez & Lewis 2019, arXiv 1906.01083: means as they come, deviations through exp, weights through softmax.
The density of a continuous value: its NLL may be negative, and changes with the unit by the logarithm of the scale.

A deviation is never less than `min_sigma`, in the loss and in sampling alike. Samples are a function of the parameters
and of two uniform numbers: the first chooses the component, the second gives the place within it.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distributions import choose

_EDGE = 1e-7  # uniforms are kept this far from 0 and 1: a deviate is finite


class Components(NamedTuple):
    """Of each mixture (..., K): log pi, mu, log sigma."""

    log_weight: Tensor
    mean: Tensor
    log_sigma: Tensor


@dataclass(frozen=True)
class GaussianMixture:
    """Parameters (..., 3K) are logits, means and log-deviations of K components."""

    n_mixtures: int = 10
    min_sigma: float = 1e-5

    @property
    def n_parameters(self) -> int:
        return 3 * self.n_mixtures

    def components(self, parameters: Tensor) -> Components:
        logits, mean, log_sigma = parameters.float().chunk(3, dim=-1)
        return Components(F.log_softmax(logits, dim=-1), mean, log_sigma.clamp(min=math.log(self.min_sigma)))

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Parameters (..., 3K), x (...) -> -log density (...), by log-sum-exp: no density is ever formed."""
        log_weight, mean, log_sigma = self.components(parameters)
        squared = ((x[..., None] - mean) * (-log_sigma).exp()).square()
        return -torch.logsumexp(log_weight - log_sigma - 0.5 * (squared + math.log(2 * math.pi)), dim=-1)

    def sample(
        self, parameters: Tensor, uniform: Tensor, temperature: float = 1.0, weight_temperature: float = 1.0
    ) -> Tensor:
        """Parameters (B, 3K), uniform (B, 2) -> x (B,).

        `temperature` multiplies the deviation (0: the mean), `weight_temperature` divides the logits of the weights
        (0: the most probable component).
        """
        deviate = self.deviate(uniform[:, 1])
        return self.draw(parameters, uniform[:, 0], deviate, temperature, weight_temperature)

    def draw(
        self, parameters: Tensor, uniform: Tensor, deviate: Tensor, temperature: float, weight_temperature: float
    ) -> Tensor:
        """`sample`, where the second uniform number has become a deviate (B,) already."""
        logits, mean, log_sigma = parameters.float().chunk(3, dim=-1)
        component = choose(logits, uniform, weight_temperature)[:, None]
        sigma = log_sigma.gather(1, component)[:, 0].exp().clamp(min=self.min_sigma)
        return mean.gather(1, component)[:, 0] + temperature * sigma * deviate

    @staticmethod
    def deviate(uniform: Tensor) -> Tensor:
        """Standard normal deviates of uniforms (any shape)."""
        return torch.special.ndtri(uniform.double().clamp(_EDGE, 1 - _EDGE)).float()


class Pairs(nn.Module):
    """Two numbers, one after the other: p(x) p(y | x), a mixture each. The smallest model that works as MelNet does."""

    def __init__(self, n_mixtures: int = 24, hidden: int = 64):
        super().__init__()
        self.mixture = GaussianMixture(n_mixtures, min_sigma=1e-2)
        self.first = nn.Parameter(self._spread(torch.zeros(3 * n_mixtures)))
        self.second = nn.Sequential(
            nn.Linear(1, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 3 * n_mixtures)
        )
        self._spread(self.second[-1].bias.data)

    @staticmethod
    def _spread(parameters: Tensor) -> Tensor:
        """Components that begin in one place would stay together."""
        _, mean, log_sigma = parameters.chunk(3)
        mean.copy_(torch.linspace(-2, 2, len(mean)))
        log_sigma.fill_(-1)
        return parameters

    def nll(self, points: Tensor) -> Tensor:
        """Points (N, 2) -> -log density (N,) in nats."""
        x, y = points.unbind(1)
        return self.mixture.nll(self.first.expand(len(x), -1), x) + self.mixture.nll(self.second(x[:, None]), y)

    @torch.no_grad()
    def sample(self, uniform: Tensor) -> Tensor:
        """uniform (N, 4) -> points (N, 2): x is drawn, then y, by the mixture that x calls for."""
        x = self.mixture.sample(self.first.expand(len(uniform), -1), uniform[:, :2])
        return torch.stack([x, self.mixture.sample(self.second(x[:, None]), uniform[:, 2:])], dim=1)
