"""Distributions of the next sample: parameters (B, P, S) of a network -> NLL (B, S) in nats, or samples.

| sibling         | P   | what                                                                                     |
|-----------------|-----|------------------------------------------------------------------------------------------|
| MuLaw           | Q   | softmax over mu-law classes (van den Oord et al. 2016, arXiv 1609.03499, section 2.2)    |
| LogisticMixture | 3 K | mass of a 16-bit level under K logistics (Salimans et al. 2017, arXiv 1701.05517, eq. 2) |
| Gaussian        | 2   | density of one Gaussian (Ping et al. 2018, arXiv 1807.07281, section 3.1)                |

MuLaw and LogisticMixture give the probability of a level, Gaussian a density: its NLL may be negative.

Samples are a function of the parameters and of two uniform numbers, the same whatever computes it: the first chooses a
class or component from the cumulative sum, the second gives the sample's place within it. `temperature` divides the
logits and widens or narrows the deviation, 0 takes the most probable class or the mean (greedy); `top_p` keeps the
nucleus (Holtzman et al. 2019, arXiv 1904.09751): the fewest classes, or the central part of a component, of that mass.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import mu_law
from ..errors import SpeechlibError

_EDGE = 1e-7  # uniforms are kept this far from 0 and 1: a logistic or Gaussian deviate is finite


@dataclass(frozen=True)
class MuLaw:
    """Softmax over mu-law classes: parameters are logits (B, Q, S)."""

    quantization_channels: int = 256

    @property
    def n_parameters(self) -> int:
        return self.quantization_channels

    def nll(self, parameters: Tensor, wave: Tensor) -> Tensor:
        """Logits (B, Q, S), wave (B, S) in [-1, 1] -> -log p of its class (B, S)."""
        rows = parameters.float().transpose(1, 2).flatten(0, 1)  # (B S, Q), as they lie in memory
        classes = mu_law.encode(wave, self.quantization_channels)
        return F.cross_entropy(rows, classes.flatten(), reduction="none").view(classes.shape)

    def step(self, wave: Tensor) -> Tensor:
        """Width of a class at wave (any shape): a step of 2 / (Q - 1) through the slope of the expansion."""
        mu = self.quantization_channels - 1
        return 2 / mu * math.log1p(mu) * (1 / mu + wave.abs())

    def sample(self, parameters: Tensor, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
        """Logits (B, Q), uniform (B, 2) -> wave (B,): the middle of the class drawn."""
        return mu_law.decode(choose(parameters, uniform[:, 0], temperature, top_p), self.quantization_channels)


@dataclass(frozen=True)
class LogisticMixture:
    """K logistics discretised to `n_levels` values in [-1, 1]: parameters (B, 3K, S) are logits, means, log-scales.

    A level's mass is the integral over its cell; the outermost cells reach to infinity, so that the masses sum to 1.
    """

    n_mixtures: int = 10
    min_log_scale: float = -9.0
    n_levels: int = 65_536

    @property
    def n_parameters(self) -> int:
        return 3 * self.n_mixtures

    def nll(self, parameters: Tensor, wave: Tensor) -> Tensor:
        """Parameters (B, 3K, S), wave (B, S) in [-1, 1] -> -log mass of its level (B, S)."""
        logits, mean, log_scale = parameters.float().chunk(3, dim=1)
        half = 1 / (self.n_levels - 1)
        wave = wave[:, None]
        inverse = (-log_scale.clamp(min=self.min_log_scale)).exp()
        upper, lower = (wave + half - mean) * inverse, (wave - half - mean) * inverse
        # s(a) - s(b) = s(a) s(-b) (1 - e^(b-a)): no difference of two nearly equal numbers, whatever the scale
        below, above = F.logsigmoid(upper), F.logsigmoid(-lower)
        mass = below + above + torch.log(-torch.expm1(-2 * half * inverse))
        mass = torch.where(wave <= half - 1, below, torch.where(wave >= 1 - half, above, mass))
        return -torch.logsumexp(F.log_softmax(logits, dim=1) + mass, dim=1)

    def step(self, wave: Tensor) -> Tensor:
        """Width of a level."""
        return torch.full_like(wave, 2 / (self.n_levels - 1))

    def sample(self, parameters: Tensor, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
        """Parameters (B, 3K), uniform (B, 2) -> wave (B,) in [-1, 1]. The nucleus is that of the component drawn."""
        logits, mean, log_scale = parameters.float().chunk(3, dim=1)
        component = choose(logits, uniform[:, 0], temperature)[:, None]
        mean, log_scale = mean.gather(1, component)[:, 0], log_scale.gather(1, component)[:, 0]
        deviate = self.deviate(uniform[:, 1], temperature, top_p)
        return (mean + log_scale.clamp(min=self.min_log_scale).exp() * deviate).clamp(-1, 1)

    def deviate(self, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
        """Standard logistic deviates of uniforms (any shape)."""
        return torch.logit(_central(uniform, top_p)).float() * temperature


@dataclass(frozen=True)
class Gaussian:
    """One Gaussian: parameters (B, 2, S) are mean and log-deviation, clamped in the loss and in sampling alike."""

    min_log_scale: float = -9.0

    @property
    def n_parameters(self) -> int:
        return 2

    def nll(self, parameters: Tensor, wave: Tensor) -> Tensor:
        """Parameters (B, 2, S), wave (B, S) -> -log density (B, S)."""
        mean, log_scale = parameters.float().unbind(1)
        log_scale = log_scale.clamp(min=self.min_log_scale)
        return 0.5 * ((wave - mean) * (-log_scale).exp()).square() + log_scale + 0.5 * math.log(2 * math.pi)

    def step(self, wave: Tensor) -> Tensor:
        """1: it is a density already."""
        return torch.ones_like(wave)

    def sample(self, parameters: Tensor, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
        """Parameters (B, 2), uniform (B, 2) -> wave (B,) in [-1, 1]."""
        mean, log_scale = parameters.float().unbind(1)
        deviate = self.deviate(uniform[:, 1], temperature, top_p)
        return (mean + log_scale.clamp(min=self.min_log_scale).exp() * deviate).clamp(-1, 1)

    def deviate(self, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
        """Standard normal deviates of uniforms (any shape)."""
        return torch.special.ndtri(_central(uniform, top_p)).float() * temperature


Distribution = MuLaw | LogisticMixture | Gaussian


def check_drawing(temperature: float, top_p: float) -> None:
    """Raises SpeechlibError for what nothing can be drawn with."""
    if not 0 <= temperature < math.inf or not 0 < top_p <= 1:
        raise SpeechlibError(f"temperature {temperature} must be 0 or more and finite, top_p {top_p} lie in (0, 1]")


def choose(logits: Tensor, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    """Logits (B, Q), uniform (B,) in [0, 1) -> class (B,), always in 0..Q-1.

    The first class whose cumulative probability exceeds `uniform`. Rounding may leave the whole sum below `uniform`:
    then it is the last class that has any probability, never one beyond the table.
    """
    if temperature == 0:
        return logits.argmax(1)
    weight = (logits.float() - logits.float().amax(1, keepdim=True)).div(temperature).exp().double()
    if top_p < 1:
        weight = torch.where(weight >= _threshold(weight, top_p), weight, 0)
    cumulative = weight.cumsum(1)
    total = cumulative[:, -1:]
    below = (cumulative <= uniform.double()[:, None] * total).sum(1)
    return torch.minimum(below, (cumulative < total).sum(1))


def _threshold(weight: Tensor, top_p: float) -> Tensor:
    """Least weight (B, 1) within the nucleus: classes by falling weight until their mass reaches top_p."""
    falling = weight.sort(1, descending=True).values
    before = falling.cumsum(1) - falling
    inside = before < top_p * weight.sum(1, keepdim=True)
    return torch.where(inside, falling, torch.inf).amin(1, keepdim=True)


def _central(uniform: Tensor, top_p: float) -> Tensor:
    """Uniforms squeezed into the central mass top_p, float64: the nucleus of a symmetric density of one peak."""
    return (0.5 + (uniform.double() - 0.5) * top_p).clamp(_EDGE, 1 - _EDGE)
