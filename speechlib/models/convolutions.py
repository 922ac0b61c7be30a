"""What every WaveNet here is made of, and the condition that it is given: layers, their product, what does not fit."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ..errors import SpeechlibError


def conv(n_in: int, n_out: int, kernel: int, normed: bool, dilation: int = 1, bias: bool = True) -> nn.Module:
    layer = nn.Conv1d(n_in, n_out, kernel, dilation=dilation, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if bias:
        nn.init.zeros_(layer.bias)
    return weight_norm(layer) if normed else layer


def convolved(layer: nn.Conv1d, x: Tensor, causal: bool = True) -> Tensor:
    """The layer's convolution (B, N, S) of x (B, M, S), zeros before its beginning (or on both sides alike).

    In memory the channels of a sample lie side by side, here and in what comes out: in bfloat16 on a CPU that makes a
    convolution of few channels several times as quick. conv2d keeps this order, conv1d does not.
    """
    rows, kernel, dilation = x.transpose(1, 2), layer.kernel_size[0], layer.dilation[0]
    if kernel == 1:
        return F.linear(rows, layer.weight[:, :, 0], layer.bias).transpose(1, 2)
    reach = (kernel - 1) * dilation
    before = reach if causal else reach // 2
    image = F.pad(rows, (0, 0, before, reach - before)).transpose(1, 2)[:, :, None]  # (B, M, 1, S + reach)
    return F.conv2d(image, layer.weight[:, :, None], layer.bias, dilation=(1, dilation)).squeeze(2)


def check_condition(condition: Tensor | None, channels: int, hop: int = 1, n_samples: int | None = None) -> None:
    """Raises SpeechlibError for a condition that is not (B, channels, T), T from 1, or not of n_samples, which lie
    between (T - 1) hop and T hop; where channels is 0, for any."""
    if not channels:
        if condition is not None:
            raise SpeechlibError("a condition was given to a model that takes none (n_condition 0)")
        return
    if condition is None or condition.ndim != 3 or condition.shape[1] != channels or not condition.shape[2]:
        got = "none" if condition is None else f"one of shape {tuple(condition.shape)}"
        raise SpeechlibError(f"this model needs a condition (B, {channels}, T), got {got}")
    n_frames = condition.shape[2]
    if n_samples is not None and not (n_frames - 1) * hop <= n_samples <= n_frames * hop:
        raise SpeechlibError(
            f"wave of {n_samples} samples, {n_frames} frames x {hop} samples = {n_frames * hop}: "
            "condition and wave must cover the same stretch (was the wave cut after the condition was made?)"
        )
