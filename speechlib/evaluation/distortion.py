"""How far a reconstruction is from its original: cepstral distortion, spectral convergence, Frechet distance."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import SpeechlibError

_DB_PER_NEPER = 20 / np.log(10)


def mel_cepstrum(log_amplitude, order: int = 13) -> np.ndarray:
    """Cepstrum (..., order, T), c_0 first, of natural-log band amplitudes (..., M, T).

    log A_k = c_0 + sum_m c_m cos(pi m (k + 1/2) / M). Half of a log *power* spectrum is its log amplitude.
    """
    from scipy.fft import dct

    bands = np.asarray(log_amplitude, dtype=np.float64)
    if order > bands.shape[-2]:
        raise SpeechlibError(f"{order} cepstral coefficients need as many bands, got {bands.shape[-2]}")
    cepstrum = dct(bands, type=2, axis=-2)[..., :order, :] / bands.shape[-2]
    cepstrum[..., 0, :] /= 2
    return cepstrum


def mel_cepstral_distortion(reference, estimate) -> float:
    """Mean over frames of 10 / ln 10 sqrt(2 sum_m (c_m - c'_m)^2) dB (Kubichek 1993) between cepstra (M, T).

    c_0, the level, is left out: what remains is the rms difference of the two log spectra. Frames are compared one to
    one, nothing is warped.
    """
    reference, estimate = _alike(reference, estimate)
    squares = np.sum((reference[1:] - estimate[1:]) ** 2, axis=0)
    return float(_DB_PER_NEPER * np.mean(np.sqrt(squares / 2)))


def warped_distortion(reference, estimate) -> float:
    """The same between speech of two tempi, (M, T) and (M, T2): every frame of the estimate is compared with one of the
    reference, which moves on by 0, 1 or 2 frames, and may begin and end anywhere. The best such path's mean, in dB.

    For two readings of one text, of which the estimate may be a part only.
    """
    reference, estimate = (np.asarray(x, dtype=np.float64)[1:] for x in (reference, estimate))
    if reference.shape[0] != estimate.shape[0] or not reference.size or not estimate.size:
        raise SpeechlibError(
            f"reference {reference.shape} and estimate {estimate.shape} behind c_0: wanted (M, T), (M, T2)"
        )
    squares = (reference**2).sum(0) + (estimate**2).sum(0)[:, None] - 2 * estimate.T @ reference  # (T2, T)
    cost = _DB_PER_NEPER * np.sqrt(np.maximum(squares, 0) / 2)
    total = cost[0]
    for row in cost[1:]:
        before = np.concatenate([[np.inf, np.inf], total])
        total = row + np.minimum(np.minimum(before[:-2], before[1:-1]), before[2:])
    return float(total.min() / len(cost))


def spectral_convergence(reference, estimate) -> float:
    """||S - S'|| / ||S|| of two magnitude spectrograms (F, T): 0 equal, 1 as bad as silence (Sturmel & Daudet 2011)."""
    reference, estimate = _alike(reference, estimate)
    if not (norm := np.linalg.norm(reference)):
        raise SpeechlibError("spectral convergence to a silent reference is not defined")
    return float(np.linalg.norm(reference - estimate) / norm)


def frechet_distance(x, y) -> float:
    """Squared Frechet distance between Gaussians fitted to x (N, D) and y (M, D); on features of a network it is the
    FID of Heusel et al. 2017 (arXiv 1706.08500). Raises SpeechlibError for fewer than two rows of either."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise SpeechlibError(f"a Frechet distance needs (N, D) and (M, D) with N, M > 1, got {x.shape} and {y.shape}")
    return frechet_of_gaussians(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))


def frechet_of_gaussians(mean_a, cov_a, mean_b, cov_b) -> float:
    """|m_a - m_b|^2 + tr(A + B - 2 (A^(1/2) B A^(1/2))^(1/2)), the squared Wasserstein-2 distance (Dowson & Landau
    1982); never below 0."""
    cov_a, cov_b = np.atleast_2d(cov_a), np.atleast_2d(cov_b)
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    between = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(min=0)).sum()
    apart = np.square(np.asarray(mean_a) - np.asarray(mean_b)).sum()
    return float(max(apart + np.trace(cov_a) + np.trace(cov_b) - 2 * between, 0.0))


class Distortion(NamedTuple):
    mel_cepstral: float  # dB, mean over utterances
    convergence: float  # of the band amplitudes, mean over utterances
    frechet: float  # between the frames (log power bands) of all references and all estimates


def distortion(references: Sequence, estimates: Sequence) -> Distortion:
    """All three between utterances as log-mel features: natural log of band power, (M, T) each, pairs cut to one T."""
    if len(references) != len(estimates) or not len(references):
        raise SpeechlibError(
            f"{len(references)} references and {len(estimates)} estimates: wanted as many, at least one"
        )
    pairs = []
    for reference, estimate in zip(references, estimates):
        T = min(np.shape(reference)[-1], np.shape(estimate)[-1])
        pairs.append([np.asarray(x, dtype=np.float64)[..., :T] for x in (reference, estimate)])
    return Distortion(
        float(np.mean([mel_cepstral_distortion(mel_cepstrum(r / 2), mel_cepstrum(e / 2)) for r, e in pairs])),
        float(np.mean([spectral_convergence(np.exp(r / 2), np.exp(e / 2)) for r, e in pairs])),
        frechet_distance(*(np.concatenate(side, axis=1).T for side in zip(*pairs))),
    )


def _alike(reference, estimate) -> tuple[np.ndarray, np.ndarray]:
    reference, estimate = np.asarray(reference, dtype=np.float64), np.asarray(estimate, dtype=np.float64)
    if reference.shape != estimate.shape or reference.ndim != 2 or not reference.size:
        raise SpeechlibError(
            f"reference {reference.shape} and estimate {estimate.shape}: wanted two of one shape (C, T)"
        )
    return reference, estimate
