"""Vector quantizers: z_e (B, D, L) -> nearest code of a codebook (K, D) -> codes (B, L), z_q (B, D, L).

Siblings differ in how the codebook learns: by gradient (van den Oord et al. 2017, arXiv 1711.00937, eq. 3), by moving
averages (the same paper, appendix A.1), or in slices of the channels, each with a codebook of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError, UnknownName

INITS = ("uniform", "normal", "kmeans")


class Quantized(NamedTuple):
    z_q: Tensor  # (B, D, L) the code vectors e_k exactly; their gradient goes straight through to z_e
    codes: Tensor  # (B, L), sliced (B, G, L)
    losses: dict[str, Tensor]  # "commitment", and "codebook" where gradients move the codebook; means over elements


def nearest(rows: Tensor, codebook: Tensor) -> Tensor:
    """Index (N,) of the code (K, D) nearest to each row (N, D).

    In float32 whatever autocast says: bf16 distances pick other codes. |x|^2 is the same for all codes and left out,
    and the N x K distances exist only in pieces that stay in a core's cache.
    """
    with torch.autocast(rows.device.type, enabled=False):
        rows, codebook = rows.float(), codebook.float()
        norms, across = codebook.square().sum(1), codebook.t()
        pieces = rows.split(2048 if rows.device.type == "cpu" else 1 << 16)
        return torch.cat([torch.addmm(norms, piece, across, alpha=-2).argmin(1) for piece in pieces])


def perplexity(codes: Tensor, codebook_size: int) -> Tensor:
    """exp(entropy) of the code frequencies: how many codes are in even use. Any shape of codes, a scalar out."""
    share = _count(codes.flatten(), codebook_size) / max(codes.numel(), 1)
    return torch.special.entr(share).sum().exp()


@torch.no_grad()
def kmeans(rows: Tensor, n_clusters: int, n_iter: int = 20) -> Tensor:
    """Centres (K, D) of rows (N, D): Lloyd's iterations from rows drawn at random. An empty one keeps its centre."""
    enough = len(rows) >= n_clusters
    picks = torch.randperm(len(rows), device=rows.device) if enough else _draw(len(rows), n_clusters, rows)
    centres = rows[picks[:n_clusters]].clone()
    for _ in range(n_iter):
        codes = nearest(rows, centres)
        counts = _count(codes, n_clusters)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, codes, rows)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres


class _OneCodebook(nn.Module):
    """What the siblings with one codebook share. `learn` is theirs."""

    codebook: Tensor  # (K, D)

    def __init__(self, codebook_size: int, code_dim: int, init: str, source_layout: bool):
        super().__init__()
        if codebook_size < 1 or code_dim < 1:
            raise SpeechlibError(f"a codebook needs at least 1 code of 1 dimension, got {codebook_size} x {code_dim}")
        if init not in INITS:
            raise UnknownName("codebook init", init, INITS)
        self.source_layout = source_layout
        # a buffer, so that a resumed run knows that its codebook is past the k-means start
        self.register_buffer("started", torch.tensor(init != "kmeans"))
        self._past_start = False

    @property
    def codebook_size(self) -> int:
        return len(self.codebook)

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
        losses = {"commitment": F.mse_loss(rows, e_k.detach())} | self.learn(rows, codes, e_k)
        z_q = e_k.detach() + (rows - rows.detach())  # the value is e_k to the bit, the gradient that of z_e
        return Quantized(z_q.view(laid_out.shape).permute(back), codes.view(batch, length), losses)

    def learn(self, rows: Tensor, codes: Tensor, e_k: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def embed(self, codes: Tensor) -> Tensor:
        """Codes (B, L) -> code vectors (B, D, L)."""
        return F.embedding(codes, self.codebook).transpose(1, 2)

    def perplexity(self, codes: Tensor) -> Tensor:
        return perplexity(codes, self.codebook_size)

    @torch.no_grad()
    def _start(self, rows: Tensor) -> None:
        if not self.started:
            self._set_codebook(_from_first_process(kmeans(rows, self.codebook_size)))
            self.started.fill_(True)
        self._past_start = True

    def _set_codebook(self, centres: Tensor) -> None:
        self.codebook.copy_(centres)


class GradientQuantizer(_OneCodebook):
    """The codebook is a parameter and follows the encoder by its own loss, |sg(z_e) - e_k|^2 (eq. 3)."""

    def __init__(self, codebook_size: int, code_dim: int, init: str = "uniform", source_layout: bool = False):
        super().__init__(codebook_size, code_dim, init, source_layout)
        self.codebook = nn.Parameter(_initial(codebook_size, code_dim, init))

    def learn(self, rows: Tensor, codes: Tensor, e_k: Tensor) -> dict[str, Tensor]:
        return {"codebook": F.mse_loss(e_k, rows.detach())}


class EMAQuantizer(_OneCodebook):
    """The codebook is the moving average of the vectors that chose each code (appendix A.1).

    counts <- decay * counts + (1 - decay) * n_k,  sums <- decay * sums + (1 - decay) * sum of the rows of code k,
    codebook = sums / Laplace-smoothed counts. Codes and z_q come from the codebook before the update. Statistics are
    summed over processes where torch.distributed runs. With `reseed` > 0 a code whose moving count falls below that
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
        super().__init__(codebook_size, code_dim, init, source_layout)
        if not 0 <= decay < 1 or not 0 <= reseed < 1:
            raise SpeechlibError(f"decay and reseed lie in [0, 1), got {decay} and {reseed}")
        self.decay, self.epsilon, self.reseed = decay, epsilon, reseed
        self.register_buffer("codebook", _initial(codebook_size, code_dim, init))
        self.register_buffer("counts", torch.ones(codebook_size))
        self.register_buffer("sums", self.codebook.clone())  # = codebook * counts: the first step is already a mean

    @torch.no_grad()
    def learn(self, rows: Tensor, codes: Tensor, e_k: Tensor) -> dict[str, Tensor]:
        if not self.training:
            return {}
        counts = _count(codes, self.codebook_size)
        sums = torch.zeros_like(self.sums).index_add_(0, codes, rows)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + self.epsilon) / (total + self.codebook_size * self.epsilon) * total
        self.codebook.copy_(self.sums / smoothed[:, None])
        if self.reseed:
            self._reseed(rows)
        return {}

    def _reseed(self, rows: Tensor) -> None:
        """Dead codes move to rows drawn from the batch and start with an even count. No branch: a GPU need not wait."""
        even = self.counts.mean()
        dead = (self.counts < self.reseed * even)[:, None]
        fresh = _from_first_process(rows[_draw(len(rows), self.codebook_size, rows)])
        self.codebook.copy_(torch.where(dead, fresh, self.codebook))
        self.counts.copy_(torch.where(dead[:, 0], even, self.counts))
        self.sums.copy_(torch.where(dead, fresh * even, self.sums))

    def _set_codebook(self, centres: Tensor) -> None:
        self.codebook.copy_(centres)
        self.sums.copy_(centres * self.counts[:, None])


class SlicedQuantizer(nn.Module):
    """Channels cut into slices, each quantized by its own sibling: z_e (B, D, L) -> codes (B, G, L)."""

    def __init__(self, slices: Sequence[_OneCodebook]):
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
        return torch.cat([q.embed(c) for q, c in zip(self.slices, codes.unbind(1))], 1)

    def perplexity(self, codes: Tensor) -> Tensor:
        """Mean over the slices."""
        return torch.stack([q.perplexity(c) for q, c in zip(self.slices, codes.unbind(1))]).mean()


def _initial(codebook_size: int, code_dim: int, init: str) -> Tensor:
    if init == "uniform":
        return torch.empty(codebook_size, code_dim).uniform_(-1 / codebook_size, 1 / codebook_size)
    return torch.randn(codebook_size, code_dim)


def _count(codes: Tensor, codebook_size: int) -> Tensor:
    """How often each code occurs, float (K,). index_add instead of bincount: that one makes a GPU wait."""
    ones = torch.ones(len(codes), device=codes.device)
    return torch.zeros(codebook_size, device=codes.device).index_add_(0, codes, ones)


def _draw(n_rows: int, n: int, like: Tensor) -> Tensor:
    return torch.randint(n_rows, (n,), device=like.device)


def _from_first_process(values: Tensor) -> Tensor:
    """Drawn values are those of process 0 everywhere, so that the codebooks stay the same."""
    if dist.is_available() and dist.is_initialized():
        values = values.contiguous()
        dist.broadcast(values, src=0)
    return values
