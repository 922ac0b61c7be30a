"""Learned up-sampling: condition at frame rate (B, C, T) -> at sample rate (B, C, T * hop), exactly."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

_SLOPE = 0.4  # of LeakyReLU in Transposed


class Smoothed(nn.Module):
    """A convolution over frames, then per scale s: repeat s times and smooth by a learned filter of 2s + 1 taps.

    r9y9's ConvInUpsampleNetwork. A filter is shared by all channels and starts as the mean. Edges are padded (frames by
    repetition, samples by zeros), so that the length is T * prod(scales) exactly.
    """

    def __init__(self, n_channels: int, scales: Sequence[int], kernel_size: int = 1):
        super().__init__()
        self.hop, self.scales, self.padding = math.prod(scales), tuple(scales), kernel_size // 2
        self.mix = nn.Conv1d(n_channels, n_channels, kernel_size, bias=False)
        self.smooth = nn.ModuleList(nn.Conv1d(1, 1, 2 * s + 1, padding=s, bias=False) for s in scales)
        for layer, s in zip(self.smooth, scales):
            nn.init.constant_(layer.weight, 1 / (2 * s + 1))

    @property
    def reach(self) -> int:
        """Frames on each side of one that it is made of, at most: one step of every scale."""
        return self.padding + len(self.scales)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.mix(F.pad(frames, (self.padding, self.padding), mode="replicate"))
        channels = x.shape[1]
        for layer, s in zip(self.smooth, self.scales):
            x = x.repeat_interleave(s, dim=2).flatten(0, 1)[:, None]  # (B * C, 1, T s): one filter for all channels
            x = layer(x)[:, 0].unflatten(0, (-1, channels))
        return x


class Transposed(nn.Module):
    """Per scale s: a transposed convolution over channels and time, kernel (3, 2s), stride (1, s), then LeakyReLU 0.4.

    ClariNet's and FloWaveNet's (ksw0306), there for scales 16, 16: one filter for all channels, each read with its two
    neighbours. The length is T * prod(scales) exactly.
    """

    def __init__(self, scales: Sequence[int], normed: bool = False):
        super().__init__()
        self.scales = tuple(scales)
        # an odd scale has the odd kernel below 2s, so that padding cuts both sides alike
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(1, 1, (3, 2 * s - s % 2), stride=(1, s), padding=(1, s // 2)) for s in scales
        )
        for i, layer in enumerate(self.layers):
            nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
            nn.init.zeros_(layer.bias)
            if normed:
                self.layers[i] = weight_norm(layer)

    @property
    def reach(self) -> int:
        """Frames on each side of one that it is made of, at most: one step of every scale."""
        return len(self.scales)

    def forward(self, frames: Tensor) -> Tensor:
        x = frames[:, None]  # (B, 1, C, T)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
        return x[:, 0]


class Context(nn.Module):
    """Condition (B, C, T) -> (B, C, T): every frame read with the `reach` frames on each side of it.

    A frame plus what three convolutions make of its surroundings; the last begins at zero, so that a network that was
    trained without them goes on from where it was. One frame does not tell where a voice is going, nor the pitch of a
    low one: its window holds hardly three periods.
    """

    KERNELS = (5, 3, 1)

    def __init__(self, n_channels: int, width: int):
        super().__init__()
        widths = (n_channels, width, width, n_channels)
        self.layers = nn.ModuleList(
            nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2)
            for n_in, n_out, kernel in zip(widths, widths[1:], self.KERNELS)
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    @property
    def reach(self) -> int:
        return sum(kernel // 2 for kernel in self.KERNELS)

    def forward(self, frames: Tensor) -> Tensor:
        x = frames
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return frames + self.layers[-1](x)
