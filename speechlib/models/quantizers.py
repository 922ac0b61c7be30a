"""Vector quantizers: z_e (B, D, L) -> nearest code of a codebook (K, D) -> codes (B, L), z_q (B, D, L).

Siblings differ in how codebook and encoder learn: by gradient, each from a loss of its own (van den Oord et al. 2017,
arXiv 1711.00937, eq. 3) or both from one; by moving averages (the same paper, appendix A.1); by a softmax over the
codes, or by drawing one of them with noise that cools down (Gumbel); in slices of the channels, each with a codebook of
its own; or not at all, as a vector or as a Gaussian. `make_quantizer` makes the one that a config asks for.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError, UnknownName
from . import shares
from .codebooks import (
    INITS,
    count,
    draw,
    initial_codebook,
    kmeans,
    nearest,
    perplexity,
)

QUANTIZERS = ("gradient", "joint", "ema", "softmax", "gumbel", "gaussian", "none")
CONTINUOUS = ("gaussian", "none")  # those that have no codes


@dataclass(frozen=True)
class QuantizerConfig:
    """Choices of a quantizer and of its weight in the loss. The config of a system that quantizes inherits them."""

    quantizer: str = "gradient"  # how codebooks learn: one of QUANTIZERS; "none" = a plain, "gaussian" a VAE
    codebook_size: int = 44
    code_dim: int = 64
    slices: tuple[int, ...] = ()  # widths of channel slices, each with its own codebook; () = one codebook
    slice_sizes: tuple[int, ...] = ()  # codes of each slice; () = codebook_size in all of them
    commitment_cost: float = 0.25
    codebook_cost: float = 1.0  # weight of a gradient codebook's own loss; not to be mixed up with the one above
    kl_cost: float = 0.01  # softmax, gumbel: weight of the KL to the uniform prior; gaussian: to the normal one
    temperatures: tuple[float, float] = (1.0, 0.1)  # gumbel: of the draws at first and in the end
    cooling: int = 10_000  # gumbel: training passes from the one to the other
    codebook_init: str = "uniform"  # one of INITS; "kmeans" is that of the first batch
    ema_decay: float = 0.99
    reseed: float = 0.0  # EMA: codes below this share of even use are re-seeded; 0 = never
    source_layout: bool = False  # True: the wrong rows of VQ-VAE-Speech, for comparison only

    def __post_init__(self):
        if self.quantizer not in QUANTIZERS:
            raise UnknownName("quantizer", self.quantizer, QUANTIZERS)
        if self.codebook_init not in INITS:
            raise UnknownName("codebook init", self.codebook_init, INITS)
        for name in ("codebook_size", "code_dim", "cooling"):
            if getattr(self, name) < 1:
                raise SpeechlibError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("commitment_cost", "codebook_cost", "kl_cost"):
            if getattr(self, name) < 0:
                raise SpeechlibError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.slices and sum(self.slices) != self.code_dim:
            raise SpeechlibError(f"slices {self.slices} sum to {sum(self.slices)}, code_dim is {self.code_dim}")
        if self.slices and self.source_layout:
            raise SpeechlibError("source_layout is for comparison with one codebook: leave slices empty")
        if self.slice_sizes and (len(self.slice_sizes) != len(self.slices) or min(self.slice_sizes) < 1):
            raise SpeechlibError(
                f"slice_sizes {self.slice_sizes}: a size of 1 or more for each of slices {self.slices}"
            )
        if not self.temperatures[0] >= self.temperatures[1] > 0:
            raise SpeechlibError(f"temperatures {self.temperatures} must fall, or stay, and end above 0")
        if self.quantizer == "gumbel" and (self.codebook_init == "kmeans" or self.source_layout):
            raise SpeechlibError("quantizer 'gumbel' knows neither a k-means start nor source_layout")
        if self.quantizer in ("softmax", *CONTINUOUS) and (self.slices or self.source_layout):
            raise SpeechlibError(f"quantizer {self.quantizer!r} knows neither slices nor source_layout")
        if self.quantizer == "softmax" and self.codebook_init == "kmeans":
            raise SpeechlibError("quantizer 'softmax' has logits to choose by, no vectors that k-means could cluster")

    @property
    def encoder_channels(self) -> int:
        """Channels that the encoder must give: a vector to compare with codes, the logits of all codes, or mean and
        log-variance."""
        return {"softmax": self.codebook_size, "gaussian": 2 * self.code_dim}.get(self.quantizer, self.code_dim)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes of each codebook; of one that is not sliced too."""
        return self.slice_sizes or (self.codebook_size,) * max(1, len(self.slices))

    @property
    def has_codes(self) -> bool:
        return self.quantizer not in CONTINUOUS


def make_quantizer(config: QuantizerConfig) -> nn.Module:
    """z_e (B, config.encoder_channels, L) -> Quantized."""
    if not config.has_codes:
        return NoQuantizer() if config.quantizer == "none" else GaussianBottleneck()

    def one(code_dim: int, size: int) -> nn.Module:
        init, layout = config.codebook_init, config.source_layout
        if config.quantizer == "softmax":
            return SoftmaxQuantizer(size, code_dim, init)
        if config.quantizer == "gumbel":
            return GumbelQuantizer(size, code_dim, init, config.temperatures, config.cooling)
        if config.quantizer == "ema":
            return EMAQuantizer(size, code_dim, config.ema_decay, reseed=config.reseed, init=init, source_layout=layout)
        kind = {"gradient": GradientQuantizer, "joint": JointQuantizer}[config.quantizer]
        return kind(size, code_dim, init, layout)

    if config.slices:
        return SlicedQuantizer([one(*slice_) for slice_ in zip(config.slices, config.codebook_sizes)])
    return one(config.code_dim, config.codebook_size)


class Quantized(NamedTuple):
    z_q: Tensor  # (B, D, L) the code vectors e_k exactly; their gradient goes straight through to z_e
    codes: Tensor | None  # (B, L), sliced (B, G, L); None where nothing was quantized
    losses: dict[str, Tensor]  # what encoder and codebook learn from, each a mean; see the siblings


def codes_of(quantized: Quantized) -> Tensor:
    """The codes. Raises SpeechlibError for a plain autoencoder, which has none."""
    return _no_codes() if quantized.codes is None else quantized.codes


class Quantizer(nn.Module):
    """One codebook (K, D), and what all that have one can do with codes."""

    codebook: Tensor  # (K, D)
    follows_batches = True  # by averages, by a start from the first one, by what `journal.CodeUsage` counts

    @property
    def codebook_size(self) -> int:
        return len(self.codebook)

    def embed(self, codes: Tensor) -> Tensor:
        """Codes (B, L) -> code vectors (B, D, L). Raises SpeechlibError for what is not codes of this codebook."""
        _check_codes(codes, 2, "(B, L)")
        if codes.numel() and not 0 <= codes.min() <= codes.max() < self.codebook_size:
            found = f"{int(codes.min())} to {int(codes.max())}"
            raise SpeechlibError(f"codes run from {found}, the codebook has {self.codebook_size}: are they its own?")
        return F.embedding(codes, self.codebook).transpose(1, 2)

    def perplexity(self, codes: Tensor) -> Tensor:
        return perplexity(codes, self.codebook_size)


class _NearestCode(Quantizer, ABC):
    """What the siblings that choose the nearest code share."""

    def __init__(self, init: str, source_layout: bool):
        super().__init__()
        self.source_layout = source_layout
        # a buffer, so that a resumed run knows that its codebook is past the k-means start
        self.register_buffer("started", torch.tensor(init != "kmeans"))
        self._past_start = False

    def forward(self, z_e: Tensor) -> Quantized:
        batch, code_dim, length = z_e.shape
        if code_dim != self.codebook.shape[1]:
            raise SpeechlibError(f"vectors of {code_dim} channels, codes of {self.codebook.shape[1]}")
        # Right is a row per (item, step). The source system permutes (1, 2, 0) and cuts that into rows, so that one
        # "vector" holds values of several steps and items; kept for comparison only.
        order, back = ((1, 2, 0), (2, 0, 1)) if self.source_layout else ((0, 2, 1), (0, 2, 1))
        laid_out = z_e.float().permute(order)
        rows = laid_out.reshape(-1, code_dim)  # (N, D)
        if self.training and not self._past_start:
            self._start(rows.detach())
        codes = nearest(rows.detach(), self.codebook.detach())
        e_k = F.embedding(codes, self.codebook)
        losses = self.losses(rows, codes, e_k)
        z_q = e_k.detach() + (rows - rows.detach())  # the value is e_k to the bit, the gradient that of z_e
        return Quantized(z_q.view(laid_out.shape).permute(back), codes.view(batch, length), losses)

    @abstractmethod
    def losses(self, rows: Tensor, codes: Tensor, e_k: Tensor) -> dict[str, Tensor]:
        """Rows z_e (N, D), their codes (N,) and code vectors (N, D) -> what encoder and codebook learn from."""

    @torch.no_grad()
    def _start(self, rows: Tensor) -> None:
        if not self.started:
            self._set_codebook(shares.agreed(kmeans(shares.gathered(rows), self.codebook_size)))
            self.started.fill_(True)
        self._past_start = True

    def _set_codebook(self, centres: Tensor) -> None:
        self.codebook.copy_(centres)


class GradientQuantizer(_NearestCode):
    """The codebook is a parameter and follows the encoder by its own loss, |sg(z_e) - e_k|^2 (eq. 3)."""

    def __init__(self, codebook_size: int, code_dim: int, init: str = "uniform", source_layout: bool = False):
        super().__init__(init, source_layout)
        self.codebook = nn.Parameter(initial_codebook(codebook_size, code_dim, init))

    def losses(self, rows: Tensor, codes: Tensor, e_k: Tensor) -> dict[str, Tensor]:
        return {"commitment": F.mse_loss(rows, e_k.detach()), "codebook": F.mse_loss(e_k, rows.detach())}


class JointQuantizer(GradientQuantizer):
    """Encoder and codebook meet half-way by one loss without stop-gradients, |z_e - e_k|^2 (VQ-VAE-WaveNet)."""

    def losses(self, rows: Tensor, codes: Tensor, e_k: Tensor) -> dict[str, Tensor]:
        return {"joint": F.mse_loss(rows, e_k)}


class EMAQuantizer(_NearestCode):
    """The codebook is the moving average of the vectors that chose each code (appendix A.1).

    counts <- decay * counts + (1 - decay) * n_k,  sums <- decay * sums + (1 - decay) * sum of the rows of code k,
    codebook = sums / Laplace-smoothed counts. Codes and z_q come from the codebook before the update. Statistics are
    summed over processes that share a batch. With `reseed` > 0 a code whose moving count falls below that
    share of an even one moves to a row of the batch.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        reseed: float = 0.0,
        init: str = "normal",
        source_layout: bool = False,
    ):
        super().__init__(init, source_layout)
        if not 0 <= decay < 1 or not 0 <= reseed < 1:
            raise SpeechlibError(f"decay and reseed lie in [0, 1), got {decay} and {reseed}")
        self.decay, self.epsilon, self.reseed = decay, epsilon, reseed
        self.register_buffer("codebook", initial_codebook(codebook_size, code_dim, init))
        self.register_buffer("counts", torch.ones(codebook_size))
        self.register_buffer("sums", self.codebook.clone())  # = codebook * counts: the first step is already a mean

    def losses(self, rows: Tensor, codes: Tensor, e_k: Tensor) -> dict[str, Tensor]:
        if self.training:
            self._follow(rows.detach(), codes)
        return {"commitment": F.mse_loss(rows, e_k.detach())}

    @torch.no_grad()
    def _follow(self, rows: Tensor, codes: Tensor) -> None:
        counts = shares.total(count(codes, self.codebook_size))
        sums = shares.total(torch.zeros_like(self.sums).index_add_(0, codes, rows))
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + self.epsilon) / (total + self.codebook_size * self.epsilon) * total
        self.codebook.copy_(self.sums / smoothed[:, None])
        if self.reseed:
            self._reseed(rows)

    def _reseed(self, rows: Tensor) -> None:
        """Dead codes move to rows drawn from the batch and start with an even count. No branch: a GPU need not wait."""
        even = self.counts.mean()
        dead = (self.counts < self.reseed * even)[:, None]
        places = draw(shares.size(len(rows)), self.codebook_size, rows)
        fresh = shares.picked(rows, shares.agreed(places))
        self.codebook.copy_(torch.where(dead, fresh, self.codebook))
        self.counts.copy_(torch.where(dead[:, 0], even, self.counts))
        self.sums.copy_(torch.where(dead, fresh * even, self.sums))

    def _set_codebook(self, centres: Tensor) -> None:
        self.codebook.copy_(centres)
        self.sums.copy_(centres * self.counts[:, None])


class SlicedQuantizer(nn.Module):
    """Channels cut into slices, each quantized by its own sibling: z_e (B, D, L) -> codes (B, G, L)."""

    def __init__(self, slices: Sequence[Quantizer]):
        super().__init__()
        if not slices:
            raise SpeechlibError("a sliced quantizer needs at least one slice")
        self.slices = nn.ModuleList(slices)
        self.widths = [q.codebook.shape[1] for q in slices]

    @property
    def codebooks(self) -> list[Tensor]:
        """(K_g, D_g) per slice."""
        return [q.codebook for q in self.slices]

    def forward(self, z_e: Tensor) -> Quantized:
        if z_e.shape[1] != sum(self.widths):
            raise SpeechlibError(f"vectors of {z_e.shape[1]} channels, slices of {self.widths} = {sum(self.widths)}")
        parts = [q(z) for q, z in zip(self.slices, z_e.split(self.widths, dim=1))]
        losses = {  # means over all D channels, as if there were one codebook
            name: sum(part.losses[name] * width for part, width in zip(parts, self.widths)) / sum(self.widths)
            for name in parts[0].losses
        }
        return Quantized(torch.cat([p.z_q for p in parts], 1), torch.stack([p.codes for p in parts], 1), losses)

    def embed(self, codes: Tensor) -> Tensor:
        """Codes (B, G, L) -> code vectors (B, D, L)."""
        _check_codes(codes, 3, f"(B, {len(self.slices)}, L)")
        if codes.shape[1] != len(self.slices):
            raise SpeechlibError(f"codes of {codes.shape[1]} slices, the quantizer has {len(self.slices)}")
        return torch.cat([q.embed(c) for q, c in zip(self.slices, codes.unbind(1))], 1)

    def perplexity(self, codes: Tensor) -> Tensor:
        """Mean over the slices."""
        return self.perplexities(codes).mean()

    def perplexities(self, codes: Tensor) -> Tensor:
        """(G,) of each slice by itself."""
        return torch.stack([q.perplexity(c) for q, c in zip(self.slices, codes.unbind(1))])

    def joint_perplexity(self, codes: Tensor) -> Tensor:
        """Of the codes (B, G, L) as tuples. Between that of the richest slice and the product over slices, which it is
        where they know nothing of each other."""
        _, tuples = codes.transpose(1, 2).flatten(0, 1).unique(dim=0, return_inverse=True)
        return perplexity(tuples, int(tuples.max()) + 1)


class SoftmaxQuantizer(Quantizer):
    """The encoder says how likely each code is: z_e (B, K, L) holds logits, q = softmax(z_e), the code is its argmax.

    An idea in VQ-VAE-WaveNet's README. "kl" is KL(q || uniform) = ln K - entropy of q, in nats, a mean over steps. z_q
    is the chosen code's vector, so that codes alone say what the decoder gets, with the gradient of the expectation
    sum_k q_k e_k: every code that was thought likely learns, not the chosen one only. (The expectation itself as z_q
    would carry more than ln K, and codes would not be enough to decode from.)
    """

    def __init__(self, codebook_size: int, code_dim: int, init: str = "normal"):
        super().__init__()
        self.codebook = nn.Parameter(initial_codebook(codebook_size, code_dim, init))

    def forward(self, z_e: Tensor) -> Quantized:
        if z_e.shape[1] != self.codebook_size:
            raise SpeechlibError(f"logits of {z_e.shape[1]} codes, a codebook of {self.codebook_size}")
        with torch.autocast(z_e.device.type, enabled=False):
            log_q = z_e.float().log_softmax(1)  # (B, K, L)
            expected = torch.einsum("bkl,kd->bdl", log_q.exp(), self.codebook)
        codes = log_q.argmax(1)
        kl = math.log(self.codebook_size) + (log_q.exp() * log_q).sum(1).mean()
        return Quantized(self.embed(codes).detach() + (expected - expected.detach()), codes, {"kl": kl})


class GumbelQuantizer(Quantizer):
    """A categorical bottleneck: each step draws a code, likelier the nearer it is to z_e (B, D, L).

    y = softmax((g - |z_e - e_k|^2) / t) with Gumbel noise g, z_q = sum_k y_k e_k (Jang et al. 2017, arXiv 1611.01144,
    eq. 2; distances as logits in CatWavAE). The temperature t falls geometrically from the first to the last of
    `temperatures` over `cooling` training passes, which are counted in a buffer: at first every code is a mixture and
    learns, in the end hardly one is. In evaluation z_q is the nearest code's vector, so that codes alone are enough to
    decode from. "kl" is that of softmax(-|z_e - e_k|^2) to the uniform prior, in nats, a mean over steps.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        init: str = "normal",
        temperatures: tuple[float, float] = (1.0, 0.1),
        cooling: int = 10_000,
    ):
        super().__init__()
        self.temperatures, self.cooling = temperatures, cooling
        self.codebook = nn.Parameter(initial_codebook(codebook_size, code_dim, init))
        self.register_buffer("passes", torch.tensor(0))

    @property
    def temperature(self) -> Tensor:
        first, last = self.temperatures
        return first * (last / first) ** (self.passes / self.cooling).clamp(max=1)

    def forward(self, z_e: Tensor) -> Quantized:
        if z_e.shape[1] != self.codebook.shape[1]:
            raise SpeechlibError(f"vectors of {z_e.shape[1]} channels, codes of {self.codebook.shape[1]}")
        with torch.autocast(z_e.device.type, enabled=False):
            rows = z_e.float().transpose(1, 2)  # (B, L, D)
            logits = -(rows[:, :, None] - self.codebook).square().sum(3)  # (B, L, K)
            log_q = logits.log_softmax(2)
            codes = logits.argmax(2)
            if self.training:
                noise = -shares.drawn(_exponential, logits.shape, device=logits.device).clamp(min=1e-20).log()
                y = ((logits + noise) / self.temperature).softmax(2)
                self.passes += 1
                z_q = (y @ self.codebook).transpose(1, 2)
            else:
                z_q = self.embed(codes)
        kl = math.log(self.codebook_size) + (log_q.exp() * log_q).sum(2).mean()
        return Quantized(z_q, codes, {"kl": kl})


class GaussianBottleneck(nn.Module):
    """A VAE's: z_e (B, 2 D, L) holds mean and log-variance, z_q is drawn in training and the mean in evaluation.

    "kl" is that to a standard normal, in nats per step, summed over D (Kingma & Welling 2014, appendix B).
    """

    def forward(self, z_e: Tensor) -> Quantized:
        mean, log_var = z_e.float().chunk(2, dim=1)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
        z_q = mean
        if self.training:
            z_q = mean + shares.drawn(torch.randn, mean.shape, device=mean.device) * (0.5 * log_var).exp()
        return Quantized(z_q, None, {"kl": kl})

    @property
    def codebook(self) -> Tensor:
        return _no_codes()

    def embed(self, codes: Tensor) -> Tensor:
        return _no_codes()


class NoQuantizer(nn.Module):
    """z_q = z_e: a plain autoencoder, to see what quantization costs. Asked for codes it says that there are none."""

    def forward(self, z_e: Tensor) -> Quantized:
        return Quantized(z_e.float(), None, {})

    @property
    def codebook(self) -> Tensor:
        return _no_codes()

    def embed(self, codes: Tensor) -> Tensor:
        return _no_codes()


def _exponential(shape: tuple[int, ...], **options) -> Tensor:
    return torch.empty(shape, **options).exponential_()


def _check_codes(codes: Tensor, ndim: int, wanted: str) -> None:
    if codes.ndim != ndim or codes.is_floating_point():
        raise SpeechlibError(f"codes of shape {tuple(codes.shape)}, {codes.dtype}: wanted whole numbers {wanted}")


def _no_codes():
    raise SpeechlibError(
        "a plain autoencoder (model.quantizer is 'none') has no codes, nor has a VAE ('gaussian'): train with 'ema' or "
        "'gradient'"
    )
