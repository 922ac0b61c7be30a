"""Arithmetic of codebooks (K, D) and of rows (N, D) that become codes (N,): starts, nearest codes, clusters, use."""

import math

import torch
from torch import Tensor, nn

from ..errors import SpeechlibError, UnknownName
from . import shares

INITS = ("uniform", "unit_scaling", "normal", "orthogonal", "kmeans")


def initial_codebook(codebook_size: int, code_dim: int, init: str) -> Tensor:
    """Codes (K, D) to start from. "kmeans" is settled by the first batch; till then they are normal."""
    if codebook_size < 1 or code_dim < 1:
        raise SpeechlibError(f"a codebook needs at least 1 code of 1 dimension, got {codebook_size} x {code_dim}")
    if init not in INITS:
        raise UnknownName("codebook init", init, INITS)
    empty = torch.empty(codebook_size, code_dim)
    if init == "uniform":
        return empty.uniform_(-1 / codebook_size, 1 / codebook_size)
    if init == "unit_scaling":  # TensorFlow's uniform unit scaling with VQ-VAE-WaveNet's factor
        limit = 1.7 * math.sqrt(3 / codebook_size)
        return empty.uniform_(-limit, limit)
    return nn.init.orthogonal_(empty) if init == "orthogonal" else empty.normal_()


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
    """exp(entropy) of the code frequencies of a batch: how many codes are in even use. Any shape of codes, a scalar
    out."""
    share = shares.total(count(codes.flatten(), codebook_size)) / max(shares.size(codes.numel()), 1)
    return torch.special.entr(share).sum().exp()


@torch.no_grad()
def kmeans(rows: Tensor, n_clusters: int, n_iter: int = 20) -> Tensor:
    """Centres (K, D) of rows (N, D): Lloyd's iterations from rows drawn at random. An empty one keeps its centre."""
    enough = len(rows) >= n_clusters
    picks = torch.randperm(len(rows), device=rows.device) if enough else draw(len(rows), n_clusters, rows)
    centres = rows[picks[:n_clusters]].clone()
    for _ in range(n_iter):
        codes = nearest(rows, centres)
        counts = count(codes, n_clusters)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, codes, rows)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres


def count(codes: Tensor, codebook_size: int) -> Tensor:
    """How often each code occurs, float (K,). index_add instead of bincount: that one makes a GPU wait."""
    ones = torch.ones(len(codes), device=codes.device)
    return torch.zeros(codebook_size, device=codes.device).index_add_(0, codes, ones)


def draw(n_rows: int, n: int, like: Tensor) -> Tensor:
    return torch.randint(n_rows, (n,), device=like.device)
