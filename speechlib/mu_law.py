"""mu-law: wave in [-1, 1] <-> classes that are narrow near silence. torchaudio's definition, for any device.

y = sign(x) ln(1 + mu |x|) / ln(1 + mu), class = floor((y + 1) / 2 * mu + 0.5), mu = quantization_channels - 1.
"""

import math

import torch
from torch import Tensor


def encode(wave: Tensor, quantization_channels: int = 256) -> Tensor:
    """Wave (any shape), clipped to [-1, 1] -> int64 classes in 0..quantization_channels-1."""
    mu = quantization_channels - 1.0
    wave = torch.as_tensor(wave, dtype=torch.float32).clamp(-1, 1)
    compressed = wave.sign() * torch.log1p(mu * wave.abs()) / math.log1p(mu)
    return ((compressed + 1) / 2 * mu + 0.5).long()


def decode(classes: Tensor, quantization_channels: int = 256) -> Tensor:
    """The middle of each class's step, float32."""
    mu = quantization_channels - 1.0
    compressed = classes.float() / mu * 2 - 1
    return compressed.sign() * torch.expm1(compressed.abs() * math.log1p(mu)) / mu
