"""A variational autoencoder of windows of frames.

Hsu, Zhang & Glass 2017, arXiv 1704.04222; Kingma & Welling 2014, arXiv 1312.6114.

    x (B, F, w) -> Standardise -> encoder -> posterior q(z | x) = N(mean, variance), (B, Z) -> z
      -> decoder -> likelihood p(x | z) = N(mean, variance), (B, F, w), of the standardised window

The decoder says mean and variance of every element, so that -ELBO is a bound on nats. `squared_error` and
`cross_entropy` are the losses of the source system (edchengg/generative_model_speech), which has no decoder variance
and hence no likelihood.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError, UnknownName
from . import window_coders
from .shares import drawn
from .standardise import Standardise
from .window_coders import CoderConfig, check_window, make_decoder, make_encoder

RECONSTRUCTIONS = ("gaussian", "squared_error", "cross_entropy")


@dataclass(frozen=True)
class VAEConfig(CoderConfig):
    reconstruction: str = "gaussian"
    reconstruction_weight: float = 1.0  # gamma
    kl_weight: float = 1.0  # lambda, beta
    posterior_std: float = 0.0  # one for all windows; 0 = learned
    least_std: float = 0.1  # of p(x | z): what is always the same (beyond the ends, silence) would earn endless nats

    def __post_init__(self):
        super().__post_init__()
        if self.reconstruction not in RECONSTRUCTIONS:
            raise UnknownName("reconstruction", self.reconstruction, RECONSTRUCTIONS)
        if self.bounded_output and self.reconstruction == "gaussian":
            raise SpeechlibError("a bounded output has no variance: take squared_error or cross_entropy")
        if self.posterior_std < 0 or self.least_std <= 0:
            raise SpeechlibError(
                f"posterior_std {self.posterior_std} must not be negative, least_std {self.least_std} must be above 0"
            )

    @property
    def kl_floor(self) -> float:
        """Nats of KL that a posterior of fixed deviation cannot go below: 1/2 (s^2 - 1 - ln s^2) per dimension."""
        s = self.posterior_std
        return self.latent_dim * 0.5 * (s**2 - 1 - 2 * math.log(s)) if s else 0.0


class Gaussian(NamedTuple):
    """Independent Gaussians, one per element."""

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        return self.mean + torch.exp(self.log_variance / 2) * drawn(
            torch.randn, self.mean.shape, device=self.mean.device
        )

    def log_density(self, x: Tensor) -> Tensor:
        """Nats of each element."""
        error = (x - self.mean).square() * torch.exp(-self.log_variance)
        return -0.5 * (error + self.log_variance + math.log(2 * math.pi))

    def kl(self) -> Tensor:
        """Nats of each element from N(0, 1) (Kingma & Welling, appendix B)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - self.log_variance - 1)


class Output(NamedTuple):
    posterior: Gaussian  # (B, Z)
    z: Tensor  # (B, Z)
    likelihood: Gaussian  # (B, F, w), of standardised windows


class VAE(nn.Module):
    """Takes windows of raw features; `inputs` holds the statistics of the training part."""

    def __init__(self, config: VAEConfig, n_features: int, n_frames: int):
        super().__init__()
        self.config = config
        self.sizes = {"n_features": n_features, "n_frames": n_frames}
        self.inputs = Standardise(n_features)
        self.encoder = make_encoder(config, n_features, n_frames)
        self.mean = nn.Linear(self.encoder.n_out, config.latent_dim, bias=config.bias)
        learned = not config.posterior_std
        self.log_variance = nn.Linear(self.encoder.n_out, config.latent_dim, bias=config.bias) if learned else None
        self.decoder = make_decoder(config, n_features, n_frames, 1 + (config.reconstruction == "gaussian"))

    def encode(self, x: Tensor) -> Gaussian:
        """Windows (B, F, w) -> q(z | x), (B, Z)."""
        check_window(x, self.sizes)
        h = self.encoder(self.inputs(x))
        mean = self.mean(h).float()
        if self.log_variance is None:
            return Gaussian(mean, torch.full_like(mean, 2 * math.log(self.config.posterior_std)))
        return Gaussian(mean, self.log_variance(h).float())

    def latents(self, x: Tensor) -> Tensor:
        """Windows (B, F, w) -> the means of their posteriors, (B, Z)."""
        return self.encode(x).mean

    def likelihood(self, z: Tensor) -> Gaussian:
        """z (B, Z) -> p(x | z) of the standardised window, (B, F, w); variance 1 where the decoder gives none."""
        maps = self.decoder(z).float()
        if maps.shape[1] == 1:
            return Gaussian(maps[:, 0], torch.zeros_like(maps[:, 0]))
        least = 2 * math.log(self.config.least_std)
        return Gaussian(maps[:, 0], least + F.softplus(maps[:, 1] - least))

    def decode(self, z: Tensor) -> Tensor:
        """z (B, Z) -> the likeliest window (B, F, w), in the units of the features."""
        return self.inputs.inverse(self.likelihood(z).mean)

    def forward(self, x: Tensor) -> Output:
        posterior = self.encode(x)
        z = posterior.sample()
        return Output(posterior, z, self.likelihood(z))

    def sample(self, n: int) -> Tensor:
        """n windows (n, F, w) from the prior N(0, I)."""
        return self.decode(torch.randn(n, self.config.latent_dim, device=self.inputs.mean.device))

    def log_likelihood(self, x: Tensor, n_samples: int) -> Tensor:
        """Windows (B, F, w) -> log p(x) in nats (B,), estimated by importance sampling (Burda et al. 2016, eq. 8).

        Never above log p(x) on average, never below the ELBO, and closer with more samples.
        """
        posterior, target = self.encode(x), self.inputs(x)
        prior = Gaussian(torch.zeros_like(posterior.mean), torch.zeros_like(posterior.mean))
        weights = []
        for _ in range(n_samples):
            z = posterior.sample()
            log_p = self.likelihood(z).log_density(target).sum((1, 2)) + prior.log_density(z).sum(1)
            weights.append(log_p - posterior.log_density(z).sum(1))
        return torch.stack(weights).logsumexp(0) - math.log(n_samples)

    def summary(self, n_frames: int = 0) -> list[window_coders.Layer]:
        """The layers in the order in which they work, for one window (n_frames is the model's own)."""
        return window_coders.summary(self, self.inputs.mean[None, :, None].expand(1, -1, self.sizes["n_frames"]))
