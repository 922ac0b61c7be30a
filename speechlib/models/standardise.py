"""Features with mean 0 and deviation 1 inside the model: a checkpoint carries its own statistics. Or in [0, 1]."""

import math

import torch
from torch import Tensor, nn

from ..errors import SpeechlibError


class Standardise(nn.Module):
    """(B, C, T) -> (x - mean) / std per feature; `inverse` undoes it. The identity until `fit`."""

    def __init__(self, n_features: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))

    def fit(self, mean, std) -> "Standardise":
        """Take the statistics (C,) of the training part. A constant feature keeps its scale (std 0 counts as 1)."""
        mean, std = (torch.as_tensor(v, dtype=torch.float32) for v in (mean, std))
        if mean.shape != self.mean.shape or std.shape != self.std.shape:
            raise SpeechlibError(
                f"statistics of {len(mean)} means and {len(std)} deviations for {len(self.mean)} features: "
                "were they measured on another kind of feature?"
            )
        if not (mean.isfinite().all() and std.isfinite().all() and (std >= 0).all()):
            raise SpeechlibError("statistics must be finite, and deviations not negative: is a NaN in the features?")
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, torch.ones_like(std)))
        return self

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean[:, None]) / self.std[:, None]

    def inverse(self, x: Tensor) -> Tensor:
        return x * self.std[:, None] + self.mean[:, None]


class UnitRange(nn.Module):
    """Log-mel bands (B, C, T), natural logarithm of powers -> (20 log10(power) + 80) / 100, clipped to [0, 1].

    The preprocessing of ksw0306/ClariNet and ksw0306/FloWaveNet: 0 is a power of 1e-4, and whatever is above 10 is 1.
    (20 log10 is for amplitudes, and they apply it to powers.) Nothing is measured for it.
    """

    def fit(self, mean, std) -> "UnitRange":
        return self

    def forward(self, x: Tensor) -> Tensor:
        return ((20 / math.log(10) * x + 80) / 100).clamp(0, 1)
