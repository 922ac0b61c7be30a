"""How far encoder outputs and codes lie apart: the source system's three distance histograms, without its loops."""

from typing import NamedTuple

import numpy as np

from ..errors import SpeechlibError


class Distances(NamedTuple):
    """Euclidean distances, one value per pair."""

    encoder: np.ndarray  # between encoder outputs
    codebook: np.ndarray  # between codes
    encoder_to_code: np.ndarray  # from each encoder output to each code


def distances(z_e, codebook, limit: int = 1500, seed: int = 0) -> Distances:
    """All pairs among z_e (N, D) and codebook (K, D); of more than `limit` vectors in one a seeded sample is taken."""
    from scipy.spatial.distance import cdist, pdist

    z_e, codebook = (sample(x, limit, seed) for x in _vectors(z_e, codebook))
    return Distances(pdist(z_e), pdist(codebook), cdist(z_e, codebook).ravel())


def code_probabilities(z_e, codebook) -> np.ndarray:
    """softmax over codes of -|z_e - e_k|^2: how clearly each vector of z_e (N, D) belongs to a code, (K, N)."""
    from scipy.spatial.distance import cdist
    from scipy.special import softmax

    z_e, codebook = _vectors(z_e, codebook)
    return softmax(-cdist(codebook, z_e, "sqeuclidean"), axis=0)


def sample(x: np.ndarray, limit: int, seed: int = 0) -> np.ndarray:
    """At most `limit` rows of x, drawn without replacement, in their order."""
    if len(x) <= limit:
        return x
    return x[np.sort(np.random.default_rng(seed).choice(len(x), limit, replace=False))]


def _vectors(z_e, codebook) -> tuple[np.ndarray, np.ndarray]:
    z_e, codebook = np.asarray(z_e, dtype=np.float64), np.asarray(codebook, dtype=np.float64)
    if z_e.ndim != 2 or codebook.ndim != 2 or z_e.shape[1] != codebook.shape[1]:
        raise SpeechlibError(f"z_e {z_e.shape} and codebook {codebook.shape}: wanted (N, D) and (K, D)")
    return z_e, codebook
