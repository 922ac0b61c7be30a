"""Do attributes lie across one another? Cosines between the directions in which their means lie (Hsu et al. 2017).

A direction is a mean of some latents, seen from the mean of all. If those of speakers lie across those of phones,
a step along one changes nothing in the other, as far as the space is straight.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..errors import SpeechlibError


class Directions(NamedTuple):
    """All groups' attributes in one row: the square of cosines (K, K), their names, and how many each group has."""

    cosines: np.ndarray
    names: list[str]
    sizes: dict[str, int]


def directions(means: Mapping[str, Mapping[str, np.ndarray]], origin) -> Directions:
    """{group: {name: mean (Z,)}} and the mean of all (Z,) -> cosines between all means - origin.

    Raises SpeechlibError for a group of fewer than two, or a mean that lies on the origin and so in no direction.
    """
    if small := [f"{group} ({len(found)})" for group, found in means.items() if len(found) < 2]:
        raise SpeechlibError(f"directions are compared within and across groups of two or more: {', '.join(small)}")
    names = [name for found in means.values() for name in found]
    rows = np.stack([np.asarray(mean, dtype=np.float64) for found in means.values() for mean in found.values()])
    rows = rows - np.asarray(origin, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    if not np.isfinite(lengths).all() or (lengths < 1e-12).any():
        bad = [name for name, length in zip(names, lengths) if not length >= 1e-12]
        raise SpeechlibError(f"no direction leads to {', '.join(bad)}: the mean is that of all, or holds NaN")
    rows /= lengths[:, None]
    return Directions(rows @ rows.T, names, {group: len(found) for group, found in means.items()})


def orthogonality(found: Directions) -> dict[str, float]:
    """Mean |cosine| inside each group (its diagonal left out) and across each two of them, as "speaker", "phone",
    "speaker - phone"."""
    size, stops = found.sizes, np.cumsum(list(found.sizes.values()))
    place = {group: slice(stop - size[group], stop) for group, stop in zip(size, stops)}
    absolute, numbers = np.abs(found.cosines), {}
    for i, a in enumerate(size):
        square = absolute[place[a], place[a]]
        numbers[a] = float(square[~np.eye(len(square), dtype=bool)].mean())
        numbers |= {f"{a} - {b}": float(absolute[place[a], place[b]].mean()) for b in list(size)[i + 1 :]}
    return numbers


def chance(latent_dim: int) -> float:
    """Mean |cosine| of two directions drawn at random in Z dimensions: Gamma(Z/2) / (sqrt(pi) Gamma((Z + 1)/2))."""
    half = math.lgamma(latent_dim / 2) - math.lgamma((latent_dim + 1) / 2)
    return math.exp(half) / math.sqrt(math.pi)
