"""Encoders of VQ-VAE-WaveNet: a wave or its MFCC -> z_e (B, D, L), one vector for each `stride` steps of the input.

    StridedEncoder       wave (B, S)          strided convolutions, ReLU, BatchNorm (van den Oord et al. 2017)
    GatedEncoder         wave (B, S)          causal gated convolutions, dilated ("Magenta", after NSynth, 1704.01279)
    GatedStridedEncoder  wave (B, S)          strided gated convolutions (branch "accent")
    MFCCEncoder          features (B, C, T)   convolutions with residuals (Chorowski et al. 2019, arXiv 1901.08810)

L is the length over the stride, exactly: anything else raises, as a code must stand for a whole stretch of samples.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .. import mu_law
from ..errors import SpeechlibError
from .shares import BatchNorm1d


class StridedEncoder(nn.Module):
    """wave (B, S) -> z_e (B, D, S / prod(strides)): per stride a convolution, ReLU and BatchNorm; 1x1; BatchNorm.

    Six strides of 2 with 768 channels are the source's `64`, with kernel 5; the paper's windows are 4 long.
    """

    def __init__(self, code_dim: int, channels: int, kernel_size: int, strides: Sequence[int]):
        super().__init__()
        self.stride = math.prod(strides)
        widths = [1] + [channels] * len(strides)
        self.layers = nn.ModuleList(
            nn.Sequential(_Strided(n_in, n_out, kernel_size, s), nn.ReLU(), BatchNorm1d(n_out))
            for n_in, n_out, s in zip(widths, widths[1:], strides)
        )
        self.project = nn.Conv1d(channels, code_dim, 1)
        self.norm = BatchNorm1d(code_dim)

    def forward(self, wave: Tensor) -> Tensor:
        x = whole_codes(wave, self.stride, "samples")[:, None]  # (B, 1, S)
        for layer in self.layers:
            x = layer(x)
        return self.norm(self.project(x))


class GatedEncoder(nn.Module):
    """wave (B, S) -> z_e (B, D, S / 2^n), n = len(dilations): each layer halves the rate, then looks back.

    The input is one sample late, so vector j sees the wave before the stretch it stands for, never the stretch itself:
    a teacher-forced decoder knows all of that already. It tells something only where the decoder's own past is not the
    encoder's, in generation. That is the source's design, kept as it is.
    """

    def __init__(self, code_dim: int, channels: int, kernel_size: int, dilations: Sequence[int]):
        super().__init__()
        self.stride = 2 ** len(dilations)
        self.front = _Causal(1, channels, kernel_size)
        self.layers = nn.ModuleList(_GatedLayer(channels, kernel_size, dilation) for dilation in dilations)
        self.project = nn.Conv1d(channels, code_dim, 1)

    def forward(self, wave: Tensor) -> Tensor:
        late = F.pad(whole_codes(wave, self.stride, "samples"), (1, 0))[:, :-1]
        x = self.front(mu_law.compress(late, 256)[:, None])  # (B, channels, S)
        for layer in self.layers:
            x = layer(x)
        return self.project(x)


class _GatedLayer(nn.Module):
    """(B, C, T) -> (B, C, T / 2): y = every second step, then y + 1x1(tanh(gate(y)) * sigmoid(filter(y)))."""

    def __init__(self, channels: int, kernel_size: int, dilation: int):
        super().__init__()
        self.halve = nn.Conv1d(channels, channels, 1, stride=2)
        self.gate = _Causal(channels, 2 * channels, kernel_size, dilation)
        self.out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.halve(x)
        a, b = self.gate(y).chunk(2, dim=1)
        return y + self.out(a.tanh() * b.sigmoid())


class GatedStridedEncoder(nn.Module):
    """wave (B, S) -> z_e (B, D, S / prod(strides)): x <- tanh * sigmoid of strided convolutions + 1x1 of x; 1x1; norm.

    Branch "accent" of the source: six strides of 2, kernel 4, 368 channels.
    """

    def __init__(self, code_dim: int, channels: int, kernel_size: int, strides: Sequence[int]):
        super().__init__()
        self.stride = math.prod(strides)
        widths = [1] + [channels] * (len(strides) - 1)
        self.gates = nn.ModuleList(_Strided(n, 2 * channels, kernel_size, s) for n, s in zip(widths, strides))
        self.shortcuts = nn.ModuleList(nn.Conv1d(n, channels, 1, stride=s) for n, s in zip(widths, strides))
        self.project = nn.Conv1d(channels, code_dim, 1)
        self.norm = BatchNorm1d(code_dim)

    def forward(self, wave: Tensor) -> Tensor:
        x = whole_codes(wave, self.stride, "samples")[:, None]
        for gate, shortcut in zip(self.gates, self.shortcuts):
            a, b = gate(x).chunk(2, dim=1)
            x = a.tanh() * b.sigmoid() + shortcut(x)
        return self.norm(self.project(x))


class MFCCEncoder(nn.Module):
    """Features (B, C, T) -> z_e (B, D, T / stride), every residual a true one: x + f(x).

    The four last layers are 1x1, each seeing one step only, as in the paper; the source had kernels of 3 in them.
    """

    def __init__(self, n_features: int, code_dim: int, channels: int, stride: int, normed: bool = False):
        super().__init__()
        self.stride = stride
        self.conv_1 = nn.Sequential(nn.Conv1d(n_features, channels, 3, padding=1), nn.ReLU())
        self.conv_2 = Residual(channels, 3)
        self.down = nn.Sequential(_Strided(channels, channels, 2 * stride, stride), nn.ReLU())
        self.rest = nn.Sequential(*(Residual(channels, kernel) for kernel in (3, 3, 1, 1, 1, 1)))
        self.project = nn.Conv1d(channels, code_dim, 1)
        self.norm = BatchNorm1d(code_dim, affine=False) if normed else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        x = self.conv_1(whole_codes(features, self.stride, "frames"))  # (B, channels, T)
        x = self.down(self.conv_2(x))  # (B, channels, L)
        return self.norm(self.project(self.rest(x)))


class Residual(nn.Module):
    """(B, channels, T) -> x + ReLU(conv(x))."""

    def __init__(self, channels: int, kernel_size: int):
        super().__init__()
        self.branch = nn.Sequential(nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def whole_codes(x: Tensor, stride: int, unit: str) -> Tensor:
    """x (..., T) as it is. Raises SpeechlibError, with the multiple that is needed, where codes do not fill T."""
    length = x.shape[-1]
    if length == 0 or length % stride:
        below = length // stride * stride
        near = " or ".join(str(n) for n in (below, below + stride) if n)
        raise SpeechlibError(f"{length} {unit} are no whole codes: a multiple of {stride} is needed, such as {near}")
    return x


class _Strided(nn.Conv1d):
    """(B, n_in, T) -> (B, n_out, T / stride): padded with zeros so that each output stands for `stride` inputs."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, stride: int):
        if kernel_size < stride:
            raise SpeechlibError(f"a kernel of {kernel_size} steps over {stride} inputs and leaves some unseen")
        super().__init__(n_in, n_out, kernel_size, stride)
        spare = kernel_size - stride
        self.margins = (spare // 2, spare - spare // 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.margins))


class _Causal(nn.Conv1d):
    """(B, n_in, T) -> (B, n_out, T): step t sees no input behind t."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, dilation: int = 1):
        super().__init__(n_in, n_out, kernel_size, dilation=dilation)
        self.reach = (kernel_size - 1) * dilation

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.reach, 0)))
