"""mu-law: wave in [-1, 1] <-> classes that are narrow near silence. torchaudio's definition, for any device.

y = sign(x) ln(1 + mu |x|) / ln(1 + mu), class = floor((y + 1) / 2 * mu + 0.5), mu = quantization_channels - 1.
"""

import math

import torch
from torch import Tensor


def encode(wave: Tensor, quantization_channels: int = 256) -> Tensor:
    """Wave (any shape), clipped to [-1, 1] -> int64 classes in 0..quantization_channels-1."""
    wave = torch.as_tensor(wave, dtype=torch.float32).clamp(-1, 1)
    return ((compress(wave, quantization_channels) + 1) / 2 * (quantization_channels - 1.0) + 0.5).long()


def compress(wave: Tensor, quantization_channels: int = 256) -> Tensor:
    """Wave (any shape) -> y, in [-1, 1] for waves that are, before it is cut into classes."""
    mu = quantization_channels - 1.0
    return wave.sign() * torch.log1p(mu * wave.abs()) / math.log1p(mu)


def decode(classes: Tensor, quantization_channels: int = 256) -> Tensor:
    """The middle of each class's step, float32."""
    mu = quantization_channels - 1.0
    compressed = classes.float() / mu * 2 - 1
    return compressed.sign() * torch.expm1(compressed.abs() * math.log1p(mu)) / mu


def digitise(wave: Tensor, quantization_channels: int = 256) -> Tensor:
    """The form of VQ-VAE-Speech and ClariNet: code c for compressed values from 2 c / channels - 1 on."""
    mu = float(quantization_channels)
    wave = torch.as_tensor(wave, dtype=torch.float64).clamp(-1, 1)
    compressed = wave.sign() * torch.log1p(mu * wave.abs()) / math.log1p(mu)
    return ((compressed + 1) * mu / 2).floor().long().clamp(max=quantization_channels - 1)


def undigitise(classes: Tensor, quantization_channels: int = 256) -> Tensor:
    """Their decoder: sign(y) (mu^|y| - 1) / mu at the lower edge y of the bin; **not** the inverse of the encoder."""
    mu = float(quantization_channels)
    compressed = 2 * classes.double() / mu - 1
    return (compressed.sign() / mu * (mu ** compressed.abs() - 1)).float()
