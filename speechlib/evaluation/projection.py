"""Maps: encoder outputs, codes and codebooks laid out in the plane so that neighbours stay neighbours.

UMAP (McInnes et al. 2018) with the source system's settings, seeded and on one thread, so that a map is bit-identical
each time; PCA, with a notice, where umap-learn is not installed.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from ..errors import SpeechlibError


class Projection(NamedTuple):
    parts: tuple[np.ndarray, ...]  # (N_i, 2) of each array that was given, on one common map
    method: str  # "UMAP" or "PCA"
    notice: str  # why it is not UMAP, else ""


def project(arrays: Sequence, n_neighbors: int = 3, seed: int = 0) -> Projection:
    """One map of all arrays (N_i, D) together, e.g. [z_e, codebook]: UMAP with min_dist 0, euclidean.

    Equal vectors (quantised frames and their codes) are one point of the map. Take a `sample` of a long array first:
    more than 4,000 different vectors are refused. With fewer than 5, or without umap-learn, PCA draws the map and
    `notice` says so.
    """
    arrays = [np.asarray(a, dtype=np.float32) for a in arrays]
    if not arrays or any(a.ndim != 2 or a.shape[1] != arrays[0].shape[1] for a in arrays):
        raise SpeechlibError(f"arrays of shapes {[a.shape for a in arrays]}: wanted (N_i, D) with one D")
    points = np.concatenate(arrays)
    if not np.isfinite(points).all():
        raise SpeechlibError(f"{np.count_nonzero(~np.isfinite(points))} of the values to map are NaN or infinite")
    different, place = np.unique(points, axis=0, return_inverse=True)
    if len(different) > 4000:
        raise SpeechlibError(f"{len(different)} vectors on one map: take a sample of at most 4000 (`distances.sample`)")
    flat, method, notice = _umap(different, n_neighbors, seed)
    return Projection(tuple(np.split(flat[place.ravel()], np.cumsum([len(a) for a in arrays])[:-1])), method, notice)


def tsne(points, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """Points (N, D) in the plane, (N, 2), by t-SNE (van der Maaten & Hinton 2008) that begins at their PCA.

    The perplexity is lowered where there are few points; of fewer than 5 PCA draws the map.
    """
    points = np.asarray(points, dtype=np.float32)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise SpeechlibError(f"points of shape {points.shape}: wanted (N, D) of finite values")
    if len(points) < 5:
        return pca(points)
    from sklearn.manifold import TSNE

    with _threads_kept():
        start = pca(points) / max(points.std(), 1e-9) * 1e-4
        drawn = TSNE(perplexity=min(perplexity, (len(points) - 1) / 3), init=start, random_state=seed, n_jobs=1)
        return drawn.fit_transform(points)


def jitter(points: np.ndarray, share: float = 0.01, seed: int = 0) -> np.ndarray:
    """Points (N, 2) moved by Gaussian noise of `share` of the map's spread: shows how many lie on one spot."""
    noise = np.random.default_rng(seed).normal(size=points.shape)
    return points + share * points.std(axis=0) * noise


def _umap(points: np.ndarray, n_neighbors: int, seed: int) -> tuple[np.ndarray, str, str]:
    if len(points) < 5:
        return pca(points), "PCA", f"{len(points)} vectors are too few for UMAP: this map is PCA's"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tensorflow and of numba's deprecations
            from umap import UMAP
    except ImportError:
        return pca(points), "PCA", "umap-learn is not installed: this map is PCA's (pip install umap-learn)"
    from sklearn.neighbors import NearestNeighbors

    # Exact neighbours found outside: umap's own search would spend 5 s compiling first, for the same neighbours.
    n_neighbors = min(n_neighbors, len(points) - 1)
    distances, neighbors = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(points).kneighbors(points)
    with _threads_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the map cannot be extended later, and that it falls into islands
        model = UMAP(
            n_neighbors=n_neighbors,
            min_dist=0.0,
            metric="euclidean",
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(neighbors, distances.astype(np.float32), None),
            force_approximation_algorithm=True,
        )
        return model.fit_transform(points).astype(np.float32), "UMAP", ""


@contextmanager
def _threads_kept() -> Iterator[None]:
    """numba's OpenMP layer leaves the thread count, which torch shares, at all cores: step loops then crawl."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pca(points: np.ndarray) -> np.ndarray:
    """The two directions of largest variance, signs fixed so that a map never flips: (N, 2)."""
    centred = points - points.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    directions = (
        directions * np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])[:, None]
    )
    flat = centred @ directions.T
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1]))).astype(np.float32)
