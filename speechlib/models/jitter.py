"""Jitter: in training each step may take its neighbour's code, so that a code must stand for more than its own instant.

Chorowski et al. 2019, arXiv 1901.08810, section II.C. Every item of a batch has draws of its own.
"""

import torch
from torch import Tensor, nn

from ..errors import SpeechlibError
from .shares import drawn


def jitter(z: Tensor, replace: Tensor, right: Tensor) -> Tensor:
    """Steps of z (B, D, L) where `replace` (B, L) is true become their right or left neighbour in the same item.

    `right` (B, L) says which; an end takes its only neighbour, a sequence of one step stays as it is.
    Neighbours are those of the input, so replacements do not run on; taken by index, so gradients reach the step taken.
    """
    length = z.shape[-1]
    here = torch.arange(length, device=z.device)
    side = right.long() * 2 - 1
    side = torch.where(here == 0, 1, torch.where(here == length - 1, -1, side))
    source = (here + replace * side).clamp(0, length - 1)  # (B, L)
    return z.gather(2, source[:, None].expand_as(z))


class Jitter(nn.Module):
    """(B, D, L) -> (B, D, L): each step replaced by a neighbour with `probability`, in training only."""

    def __init__(self, probability: float = 0.12):
        super().__init__()
        if not 0 <= probability <= 1:
            raise SpeechlibError(f"jitter is a probability between 0 and 1, got {probability}")
        self.probability = probability

    def forward(self, z: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return z
        draws = drawn(torch.rand, (2, len(z), z.shape[-1]), dim=1, device=z.device)
        return jitter(z, draws[0] < self.probability, draws[1] < 0.5)
