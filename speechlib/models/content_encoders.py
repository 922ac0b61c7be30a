"""Content encoders: MFCC (B, C, T) -> a vector per stretch of `stride` frames, (B, D, ceil(T / stride)).

Chorowski et al. 2019, arXiv 1901.08810 (section III.A), in the forms of MingjieChen/wavenet_autoencoders (arXiv
2008.06892), at 100 frames per second:

    25 codes/s   conv, res | half, half | res, res | rest, rest | rest, rest -> 1x1
    50 codes/s   conv, res | half, res  | rest, rest | rest, rest            -> 1x1

    conv  ReLU(conv k3)      res   x + ReLU(conv k3(x))      half  ReLU(conv k4, stride 2)
    rest  x + ReLU(x), which has no parameters (the source), or x + ReLU(conv k1(x)), a feed-forward layer (the paper)

With `normed` each bar, and the end, is an instance normalisation: level and deviation of every channel over the
utterance are taken away, and with them much of who speaks, through which microphone, how loudly.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError, UnknownName
from .encoders import Residual

PLANS = {  # frames per code -> layers
    4: ("conv", "res", "half", "half", "res", "res", "rest", "rest", "rest", "rest"),
    2: ("conv", "res", "half", "res", "rest", "rest", "rest", "rest"),
}
EDGES = ("reflect", "zeros")


class ContentEncoder(nn.Module):
    """Features (B, C, T), T of any length from 1 -> (B, D, ceil(T / stride)); `hidden` is what the last 1x1 reads.

    `offset`: the frame, fractional, in the middle of what the first code sees; the next ones are `stride` apart.
    """

    def __init__(
        self,
        n_features: int,
        code_dim: int,
        channels: int = 768,
        stride: int = 4,
        normed: bool = False,
        feed_forward: bool = False,
        half_kernel: int = 4,
        edges: str = "reflect",
    ):
        super().__init__()
        if stride not in PLANS:
            raise SpeechlibError(f"a code of {stride} frames: content encoders have {' or '.join(map(str, PLANS))}")
        self.stride, self.offset, widths = stride, 0.0, {"conv": n_features}
        layers, step = [], 1
        for place, kind in enumerate(PLANS[stride]):
            width = widths.get(kind, channels)
            if kind == "rest":
                layers.append(Residual(channels, 1) if feed_forward else Rectified())
            else:
                layer = Edged(width, channels, half_kernel if kind == "half" else 3, 2 if kind == "half" else 1, edges)
                layers.append(Added(layer) if kind == "res" else nn.Sequential(layer, nn.ReLU()))
                self.offset += step * layer.offset
                step *= layer.stride[0]
            if normed and place % 2:
                layers.append(InstanceNorm())
        self.layers = nn.Sequential(*layers)
        self.project = nn.Conv1d(channels, code_dim, 1)

    def hidden(self, features: Tensor) -> Tensor:
        """(B, C, T) -> (B, channels, ceil(T / stride))."""
        return self.layers(features)

    def forward(self, features: Tensor) -> Tensor:
        return self.project(self.hidden(features))


class InstanceNorm(nn.Module):
    """(B, C, T) -> the same with mean 0 and deviation 1 of each channel of each item over time (arXiv 1607.08022).

    Without weights of its own, in training and evaluation alike. One step has no deviation: it becomes 0, where
    torch's own layer raises in training.
    """

    def __init__(self, epsilon: float = 1e-5):
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()  # whatever autocast says: squares of bfloat16 are rough
        centred = x - x.mean(2, keepdim=True)
        return centred * (centred.square().mean(2, keepdim=True) + self.epsilon).rsqrt()


class Rectified(nn.Module):
    """x + ReLU(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(x)


class Added(nn.Module):
    """x + ReLU(layer(x))."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.layer(x))


class Edged(nn.Conv1d):
    """(B, n_in, T) -> (B, n_out, ceil(T / stride)) for any T: edges continue as a mirror, or as zeros.

    `offset`: the middle of what the first output sees, in steps of the input.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, edges: str = "reflect"):
        if edges not in EDGES:
            raise UnknownName("edges of a convolution", edges, EDGES)
        super().__init__(n_in, n_out, kernel, stride)
        self.edges = edges
        self.before = kernel // 2 if kernel % 2 else (kernel - stride) // 2
        self.offset = (kernel - 1) / 2 - self.before

    def forward(self, x: Tensor) -> Tensor:
        length, kernel, stride = x.shape[2], self.kernel_size[0], self.stride[0]
        after = (-(-length // stride) - 1) * stride + kernel - length - self.before
        if self.edges == "zeros":
            return super().forward(F.pad(x, (self.before, after)))
        # 3 2 1 | 0 1 2 3 | 2 1 0 1: F.pad refuses margins as long as x, and a single step has nothing to reflect
        period = max(2 * (length - 1), 1)
        place = torch.arange(-self.before, length + after, device=x.device) % period
        return super().forward(x.index_select(2, torch.minimum(place, period - place)))
