"""Wasserstein autoencoders of windows of frames.

Tolstikhin, Bousquet, Gelly & Schoelkopf 2018, arXiv 1711.01558.

    x (B, F, w) -> Standardise -> encoder -> z (B, Z) -> decoder -> x_hat (B, F, w)

The encoder gives one point for each window. What keeps the points together is a penalty on all of them at once: they
shall be spread as the prior N(0, prior_std^2 I). It is measured by kernels (WAE-MMD, `mmd`), or by a critic that learns
to tell points from draws (WAE-GAN). Networks are those of the VAE; `source_critic` and `squashed` are the source's.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import SpeechlibError
from . import window_coders
from .shares import BatchNorm1d, drawn
from .standardise import Standardise
from .window_coders import CoderConfig, check_window, make_decoder, make_encoder

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the kernel's width


@dataclass(frozen=True)
class WAEConfig(CoderConfig):
    penalty_weight: float = 10.0  # lambda
    prior_std: float = 1.0  # the source's is 5
    critic_hidden: int = 512  # width of the critic's four layers (WAE-GAN)
    squashed: bool = False  # True: the source's: windows are read, drawn and compared behind a sigmoid
    source_critic: bool = False  # True: the source's critic, a decoder with two layers more

    def __post_init__(self):
        super().__post_init__()
        if self.prior_std <= 0 or self.penalty_weight < 0 or self.critic_hidden < 1:
            numbers = f"prior_std {self.prior_std}, penalty_weight {self.penalty_weight}"
            raise SpeechlibError(f"{numbers}, critic_hidden {self.critic_hidden}: must be > 0, >= 0 and >= 1")


class Output(NamedTuple):
    z: Tensor  # (B, Z)
    prediction: Tensor  # (B, F, w), of standardised windows


class WAE(nn.Module):
    """Takes windows of raw features; `inputs` holds the statistics of the training part."""

    def __init__(self, config: WAEConfig, n_features: int, n_frames: int):
        super().__init__()
        self.config = config
        self.sizes = {"n_features": n_features, "n_frames": n_frames}
        self.inputs = Standardise(n_features)
        self.encoder = make_encoder(config, n_features, n_frames)
        self.code = nn.Linear(self.encoder.n_out, config.latent_dim, bias=config.bias)
        self.decoder = make_decoder(config, n_features, n_frames)

    def encode(self, x: Tensor) -> Tensor:
        """Windows (B, F, w) -> z (B, Z)."""
        check_window(x, self.sizes)
        x = self.inputs(x)
        return self.code(self.encoder(x.sigmoid() if self.config.squashed else x)).float()

    latents = encode

    def predict(self, z: Tensor) -> Tensor:
        """z (B, Z) -> standardised windows (B, F, w): what stands before the sigmoid, where there is one."""
        return self.decoder(z)[:, 0].float()

    def decode(self, z: Tensor) -> Tensor:
        """z (B, Z) -> windows (B, F, w), in the units of the features."""
        return self.inputs.inverse(self.predict(z))

    def forward(self, x: Tensor) -> Output:
        z = self.encode(x)
        return Output(z, self.predict(z))

    def prior(self, n: int) -> Tensor:
        """n draws (n, Z)."""
        return self.config.prior_std * drawn(torch.randn, (n, self.config.latent_dim), device=self.inputs.mean.device)

    def sample(self, n: int) -> Tensor:
        """n windows (n, F, w) from the prior."""
        return self.decode(self.prior(n))

    def summary(self, n_frames: int = 0) -> list[window_coders.Layer]:
        """The layers in the order in which they work, for one window (n_frames is the model's own)."""
        return window_coders.summary(self, self.inputs.mean[None, :, None].expand(1, -1, self.sizes["n_frames"]))


class WAEGAN(WAE):
    """A WAE with a critic of latent points: z (B, Z) -> logits (B,), high for draws from the prior."""

    def __init__(self, config: WAEConfig, n_features: int, n_frames: int):
        super().__init__(config, n_features, n_frames)
        self.critic = (SourceCritic if config.source_critic else Critic)(config, n_features, n_frames)


class Critic(nn.Sequential):
    """Four layers without any normalisation: z (B, Z) -> (B,)."""

    def __init__(self, config: WAEConfig, n_features: int, n_frames: int):
        width = config.critic_hidden
        hidden = [layer for _ in range(3) for layer in (nn.Linear(width, width), nn.LeakyReLU(0.2))]
        first = [nn.Linear(config.latent_dim, width), nn.LeakyReLU(0.2)]
        super().__init__(*first, *hidden, nn.Linear(width, 1), nn.Flatten(0))


class SourceCritic(nn.Sequential):
    """The source's: a decoder of its own down to the window's values, then two layers."""

    def __init__(self, config: WAEConfig, n_features: int, n_frames: int):
        head = nn.Linear(n_features * n_frames, 256), BatchNorm1d(256), nn.Tanh(), nn.Linear(256, 1), nn.Flatten(0)
        super().__init__(make_decoder(config, n_features, n_frames), nn.Flatten(), *head)


def mmd(a: Tensor, b: Tensor, std: float) -> Tensor:
    """Squared maximum mean discrepancy of points a (B, Z) and b (B, Z), unbiased, so that it may be below 0.

    Inverse multiquadratic kernels C / (C + ||x - y||^2), C = 2 Z std^2 times each of SCALES, summed (Tolstikhin et al.
    2018, section 4 and their code). Raises SpeechlibError for fewer than two points.
    """
    B, Z = a.shape
    if B < 2 or b.shape != a.shape:
        raise SpeechlibError(f"MMD compares two sets of as many points, two at least: got {B} and {len(b)}")
    others = 1 - torch.eye(B, device=a.device)  # no point is compared with itself
    within = _squared(a, a), _squared(b, b)
    across = _squared(a, b)
    total = a.new_zeros(())
    for scale in SCALES:
        C = 2 * Z * std**2 * scale
        total = total + sum((C / (C + d) * others).sum() for d in within) / (B * (B - 1))
        total = total - 2 * (C / (C + across)).mean()
    return total


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """||a_i - b_j||^2, (B, B)."""
    lengths = a.square().sum(1)[:, None] + b.square().sum(1)
    return (lengths - 2 * a @ b.T).clamp(min=0)
