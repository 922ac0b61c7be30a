"""Whose voice, read off a recording: features of anyone (B, C, T) -> a vector (B, V), and what is done with it.

SimpleReference     MFCC -> convolutions -> mean over time -> V      (MingjieChen/wavenet_autoencoders, INAE)
BankReference       the same with a bank of kernels 1..8 before it   (INAE1; Chou et al. 2019, arXiv 1904.05742)
AdaIN               a code with the level and deviation that such a vector asks for (arXiv 1703.06868)
SpeakerCritic       the speaker, guessed from codes: what an adversarial encoder has to prevent
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UnknownName
from .content_encoders import Edged, InstanceNorm
from .shares import Dropout

REFERENCES = ("simple", "bank")


def make_reference(kind: str, n_features: int, channels: int, voice_dim: int) -> nn.Module:
    """Features (B, C, T) -> voices (B, V)."""
    if kind not in REFERENCES:
        raise UnknownName("reference", kind, REFERENCES)
    return {"simple": SimpleReference, "bank": BankReference}[kind](n_features, channels, voice_dim)


class SimpleReference(nn.Module):
    """Three convolutions, the mean over time, two linear layers (the source names no ReLU between these)."""

    def __init__(self, n_features: int, channels: int, voice_dim: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(n_features, channels, 1),
            nn.ReLU(),
            Edged(channels, channels, 3, stride=2),
            nn.ReLU(),
            Edged(channels, channels, 3, stride=2),
            nn.ReLU(),
        )
        self.linear = nn.Sequential(nn.Linear(channels, channels), nn.Linear(channels, voice_dim))

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.convolutions(features).mean(2))


class BankReference(nn.Module):
    """Kernels of 1..8 side by side, six residual blocks that halve the rate three times, the mean, six dense blocks."""

    KERNELS = range(1, 9)
    STRIDES = (1, 2, 1, 2, 1, 2)
    N_DENSE = 6
    DROPOUT = 0.1

    def __init__(self, n_features: int, channels: int, voice_dim: int):
        super().__init__()
        self.bank = nn.ModuleList(Edged(n_features, channels, kernel) for kernel in self.KERNELS)
        self.join = nn.Conv1d(n_features + channels * len(self.KERNELS), channels, 1)
        self.blocks = nn.Sequential(*(_ConvBlock(channels, stride, self.DROPOUT) for stride in self.STRIDES))
        self.dense = nn.Sequential(*(DenseBlock(channels, self.DROPOUT) for _ in range(self.N_DENSE)))
        self.out = nn.Linear(channels, voice_dim)

    def forward(self, features: Tensor) -> Tensor:
        read = [F.relu(layer(features)) for layer in self.bank]
        x = F.relu(self.join(torch.cat([*read, features], dim=1)))
        return self.out(self.dense(self.blocks(x).mean(2)))


class _ConvBlock(nn.Module):
    """(B, C, T) -> (B, C, ceil(T / stride)): two convolutions of kernel 5, beside means of as many steps."""

    def __init__(self, channels: int, stride: int, dropout: float):
        super().__init__()
        self.first, self.second = Edged(channels, channels, 5), Edged(channels, channels, 5, stride)
        self.dropout, self.stride = Dropout(dropout), stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(F.relu(self.second(F.relu(self.first(x)))))
        return F.avg_pool1d(x, self.stride, ceil_mode=True) + y


class DenseBlock(nn.Module):
    """x (B, C) -> x + second(first(x)); in the source both read x, and what the first had found was thrown away."""

    def __init__(self, channels: int, dropout: float):
        super().__init__()
        self.first, self.second = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(F.relu(self.first(x)))
        return x + self.dropout(F.relu(self.second(y)))


class AdaIN(nn.Module):
    """Code (B, D, L), voice (B, V) -> normalised over time, times a deviation, plus a level, both of the voice.

    Without `normed` the code is taken as it is: the source as it was submitted in April 2020. The deviation begins
    near 1, so that codes get through from the first step.
    """

    def __init__(self, code_dim: int, voice_dim: int, normed: bool = True):
        super().__init__()
        self.style = nn.Linear(voice_dim, 2 * code_dim)
        with torch.no_grad():
            self.style.bias[code_dim:] += 1
        self.norm = InstanceNorm() if normed else nn.Identity()

    def forward(self, z: Tensor, voice: Tensor) -> Tensor:
        level, deviation = self.style(voice)[:, :, None].chunk(2, dim=1)
        return self.norm(z) * deviation + level


class SpeakerCritic(nn.Module):
    """Codes (B, D, L) -> logits of the speakers (B, S), means over time."""

    def __init__(self, code_dim: int, channels: int, n_speakers: int):
        super().__init__()
        self.layers = nn.Sequential(
            Edged(code_dim, channels, 3),
            nn.ReLU(),
            Edged(channels, channels, 3),
            nn.ReLU(),
            nn.Conv1d(channels, n_speakers, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).mean(2)
