"""What a model reads, in the units that it learns in: a checkpoint carries its own statistics.

Features with mean 0 and deviation 1, or in [0, 1]; and codes as the vectors that they stand for.
"""

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


class CodeVectors(nn.Module):
    """Codes (B, 1, L) -> the vectors of their codec's codebook (B, D, L), standardised. All zeros until `fit`."""

    def __init__(self, n_codes: int, code_dim: int):
        super().__init__()
        self.register_buffer("codebook", torch.zeros(n_codes, code_dim))
        self.standardise = Standardise(code_dim)

    def fit(self, codebook: Tensor, codes: Tensor) -> "CodeVectors":
        """Take the codebook (K, D) of a codec, and the statistics of what it makes of the training part, codes (N,)."""
        if codebook.shape != self.codebook.shape:
            raise SpeechlibError(f"a codebook {tuple(codebook.shape)} for a model of {tuple(self.codebook.shape)}")
        self.codebook.copy_(codebook)
        shares = torch.bincount(codes.cpu(), minlength=len(codebook)).double()[:, None] / len(codes)
        vectors = codebook.cpu().double()
        mean = (shares * vectors).sum(0)
        self.standardise.fit(mean, (shares * (vectors - mean).square()).sum(0).sqrt())
        return self

    def forward(self, codes: Tensor) -> Tensor:
        if codes.is_floating_point():
            raise SpeechlibError(f"this model reads codes (B, 1, L), whole numbers, not {codes.dtype}")
        if codes.device.type == "cpu" and not 0 <= codes.min() <= codes.max() < len(self.codebook):
            found = f"{int(codes.min())} to {int(codes.max())}"
            raise SpeechlibError(f"codes run from {found}, the codebook has {len(self.codebook)}: is this its codec?")
        return self.standardise(self.codebook[codes[:, 0]].transpose(1, 2))


def reader(unit_range: bool, n_condition: int, n_codes: int = 0) -> nn.Module:
    """What a vocoder's condition goes through: bands as they are measured, until `fit`; or `n_codes` codes."""
    if n_codes and unit_range:
        raise SpeechlibError("unit_condition is about log-mel bands: codes have no range")
    if n_codes:
        return CodeVectors(n_codes, n_condition)
    return UnitRange() if unit_range else Standardise(n_condition)
