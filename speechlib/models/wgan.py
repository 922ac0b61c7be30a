"""WGAN-GP on windows of frames: a generator, and a critic whose slope is held at one.

Gulrajani, Ahmed, Arjovsky, Dumoulin & Courville 2017, arXiv 1704.00028.

    z ~ N(0, I) (B, Z) -> generator -> windows (B, F, w)          windows (B, F, w) -> critic -> (B,)

Both work on standardised windows, and the generator's output is linear: it can reach any value. No layer mixes the
items of a batch, as the penalty is on the critic's slope at each of them. `grid` keeps bands and frames in their
places, as a picture; `conv` has kernels over all bands of a frame, as the VAE of Hsu et al., and keeps the frames;
`source` is the network of edchengg/generative_model_speech, which reads 9 x 120 values as 30 x 36.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError, UnknownName
from . import window_coders
from .shares import drawn
from .standardise import Standardise
from .window_coders import check_window, halved

NETWORKS = ("grid", "conv", "source")


@dataclass(frozen=True)
class WGANConfig:
    network: str = "grid"
    channels: tuple[int, ...] = (64, 128, 256)
    latent_dim: int = 128
    penalty_weight: float = 10.0  # lambda
    n_critic: int = 5  # updates of the critic before each of the generator
    standardise: bool = True
    shift: int = 0  # frames by which a window of the training part may lie beside the middle of its phone

    def __post_init__(self):
        if self.network not in NETWORKS:
            raise UnknownName("network", self.network, NETWORKS)
        if len(self.channels) != 3 or min(*self.channels, self.latent_dim, self.n_critic) < 1:
            sizes = f"channels {self.channels}, latent_dim {self.latent_dim}, n_critic {self.n_critic}"
            raise SpeechlibError(f"{sizes}: three numbers of channels, all of them 1 or more")


class WGAN(nn.Module):
    """Generator and critic; `inputs` holds the statistics of the training part."""

    def __init__(self, config: WGANConfig, n_features: int, n_frames: int):
        super().__init__()
        self.config = config
        self.sizes = {"n_features": n_features, "n_frames": n_frames}
        self.inputs = Standardise(n_features)
        generator, critic = _PARTS[config.network]
        self.generator = generator(config, n_features, n_frames)
        self.critic = critic(config, n_features, n_frames)

    def generate(self, n: int) -> Tensor:
        """n standardised windows (n, F, w)."""
        return self.generator(drawn(torch.randn, (n, self.config.latent_dim), device=self.inputs.mean.device)).float()

    def sample(self, n: int) -> Tensor:
        """n windows (n, F, w), in the units of the features."""
        return self.inputs.inverse(self.generate(n))

    def decode(self, z: Tensor) -> Tensor:
        """z (B, Z) -> windows (B, F, w), in the units of the features."""
        return self.inputs.inverse(self.generator(z).float())

    def forward(self, x: Tensor) -> Tensor:
        """Windows of features (B, F, w) -> what the critic says (B,)."""
        check_window(x, self.sizes)
        return self.critic(self.inputs(x))

    def summary(self, n_frames: int = 0) -> list[window_coders.Layer]:
        """The layers of generator and critic, for one window (n_frames is the model's own)."""
        z = torch.zeros(1, self.config.latent_dim, device=self.inputs.mean.device)
        window = self.inputs.mean[None, :, None].expand(1, -1, self.sizes["n_frames"])
        parts = ("generator", self.generator, z), ("critic", self.critic, window)
        return [row._replace(name=f"{name}.{row.name}") for name, m, x in parts for row in window_coders.summary(m, x)]


class Generator(nn.Module):
    """(B, Z) -> (B, F, w): a small picture with many channels, doubled three times and cut to size."""

    def __init__(self, config: WGANConfig, n_features: int, n_frames: int):
        super().__init__()
        self.sizes = halved(n_features, n_frames)
        one, two, three = config.channels
        rows, columns = self.sizes[-1]
        self.begin = nn.Linear(config.latent_dim, three * rows * columns)
        # kernels of 4 with stride 2: every element is drawn by as many weights, which leaves no chequerboard
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in ((three, two), (two, one), (one, 1)))

    def forward(self, z: Tensor) -> Tensor:
        x = self.begin(z).unflatten(1, (-1, *self.sizes[-1]))
        for layer, (rows, columns) in zip(self.up, self.sizes[-2::-1]):
            x = layer(F.relu(x))[:, :, :rows, :columns]
        return x[:, 0]


class Critic(nn.Sequential):
    """(B, F, w) -> (B,)."""

    def __init__(self, config: WGANConfig, n_features: int, n_frames: int):
        widths, (rows, columns) = (1, *config.channels), halved(n_features, n_frames)[-1]
        layers = [[nn.Conv2d(a, b, 5, 2, 2), nn.LeakyReLU(0.2)] for a, b in zip(widths, widths[1:])]
        last = nn.Flatten(), nn.Linear(widths[-1] * rows * columns, 1), nn.Flatten(0)
        super().__init__(nn.Unflatten(1, (1, n_features)), *[layer for pair in layers for layer in pair], *last)


class ConvGenerator(nn.Sequential):
    """(B, Z) -> (B, F, w): a quarter of the frames with many channels, doubled twice and cut to length."""

    def __init__(self, config: WGANConfig, n_features: int, n_frames: int):
        one, two, three = config.channels
        length = -(-n_frames // 4)
        super().__init__(
            nn.Linear(config.latent_dim, three * length),
            nn.Unflatten(1, (three, length)),
            nn.ReLU(),
            nn.ConvTranspose1d(three, two, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose1d(two, one, 4, 2, 1),
            nn.ReLU(),
            nn.Conv1d(one, n_features, 3, padding=1),
        )
        self.n_frames = n_frames

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z)[:, :, : self.n_frames]


class ConvCritic(nn.Sequential):
    """(B, F, w) -> (B,): a kernel over all bands, then time is halved twice."""

    def __init__(self, config: WGANConfig, n_features: int, n_frames: int):
        one, two, three = config.channels
        length = -(-n_frames // 4)
        layers = nn.Conv1d(n_features, one, 3, 1, 1), nn.Conv1d(one, two, 5, 2, 2), nn.Conv1d(two, three, 5, 2, 2)
        last = nn.Flatten(), nn.Linear(three * length, 1), nn.Flatten(0)
        super().__init__(*[layer for conv in layers for layer in (conv, nn.LeakyReLU(0.2))], *last)


class SourceGenerator(nn.Module):
    """The source's: 256 x 4 x 4 -> 128 x 8 x 8 -> 64 x 12 x 12 -> 30 x 36, read frame after frame. Its sigmoid is left
    out: it could not reach the values of normalised features."""

    def __init__(self, config: WGANConfig, n_features: int, n_frames: int):
        super().__init__()
        _check_source(config, n_features, n_frames)
        one, two, three = config.channels
        self.layers = nn.Sequential(
            nn.Linear(config.latent_dim, three * 4 * 4),
            nn.ReLU(),
            nn.Unflatten(1, (three, 4, 4)),
            nn.ConvTranspose2d(three, two, 5),
            nn.ReLU(),
            nn.ConvTranspose2d(two, one, 5),
            nn.ReLU(),
            nn.ConvTranspose2d(one, 1, (3, 2), 3, (4, 0), (2, 1)),  # (B, 1, 30, 36)
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).flatten(1).unflatten(1, (9, 120)).transpose(1, 2)


class SourceCritic(nn.Module):
    """(B, 120, 9), read as (B, 1, 30, 36) -> (B,)."""

    def __init__(self, config: WGANConfig, n_features: int, n_frames: int):
        super().__init__()
        _check_source(config, n_features, n_frames)
        widths = (1, *config.channels)
        layers = [[nn.Conv2d(a, b, 5, 2, 2), nn.ReLU()] for a, b in zip(widths, widths[1:])]
        last = nn.Flatten(), nn.Linear(widths[-1] * 4 * 5, 1), nn.Flatten(0)
        self.layers = nn.Sequential(*[layer for pair in layers for layer in pair], *last)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.transpose(1, 2).flatten(1).unflatten(1, (1, 30, 36)))


_PARTS = {
    "grid": (Generator, Critic),
    "conv": (ConvGenerator, ConvCritic),
    "source": (SourceGenerator, SourceCritic),
}


def _check_source(config: WGANConfig, n_features: int, n_frames: int) -> None:
    if (n_features, n_frames) != (120, 9):
        raise SpeechlibError(
            f"the source's network reads windows of 120 values and 9 frames, these have {n_features} and {n_frames}: "
            "take network grid"
        )
