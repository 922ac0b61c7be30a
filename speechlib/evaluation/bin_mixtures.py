"""A mixture of Gaussians for every bin of a spectrogram by itself: what a model of grids has to be better than.

Fitted by expectation and maximisation (Dempster, Laird & Rubin 1977) for all bins side by side. It knows how loud each
band tends to be, and nothing of its neighbours in time or frequency.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class BinMixtures(NamedTuple):
    """Of each bin its K components: weight, mean and deviation, (F, K) each."""

    weight: Tensor
    mean: Tensor
    sigma: Tensor

    def nll(self, x: Tensor) -> Tensor:
        """x (..., F, T) -> -log density in nats (..., F, T)."""
        return -_joint(self, x.transpose(-1, -2)).logsumexp(-1).transpose(-1, -2)


def fit(x: Tensor, n_mixtures: int = 10, n_iter: int = 40, min_sigma: float = 1e-3) -> BinMixtures:
    """Mixtures for the bins of x (N, F): N frames. They begin at the quantiles of each bin: nothing is drawn."""
    x = x.double()
    n_mixtures = min(n_mixtures, len(x))
    places = (torch.arange(n_mixtures, dtype=x.dtype, device=x.device) + 0.5) / n_mixtures
    mean = torch.quantile(x, places, dim=0).t().contiguous()  # (F, K)
    spread = x.std(0, correction=0).clamp(min=min_sigma)[:, None].expand_as(mean)
    found = BinMixtures(torch.full_like(mean, 1 / n_mixtures), mean, spread.clone())
    for _ in range(n_iter):
        share = _joint(found, x).softmax(-1)  # (N, F, K)
        total = share.sum(0).clamp(min=1e-9)
        mean = (share * x[..., None]).sum(0) / total
        variance = (share * (x[..., None] - mean).square()).sum(0) / total
        found = BinMixtures(total / len(x), mean, variance.sqrt().clamp(min=min_sigma))
    return BinMixtures(*(part.float() for part in found))


def _joint(mixtures: BinMixtures, x: Tensor) -> Tensor:
    """x (..., F) -> log density of value and component (..., F, K)."""
    weight, mean, sigma = mixtures
    deviation = (x[..., None] - mean) / sigma
    return weight.log() - sigma.log() - 0.5 * (deviation.square() + math.log(2 * math.pi))
