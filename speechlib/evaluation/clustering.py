"""Do codes and phones cut speech into the same pieces? Agreement of two labellings, and what plain k-means reaches.

All scores are scikit-learn's, over the rows of a token table that have a phone; the table joins codes and phones by
utterance and time, so the order of its rows does not matter.
"""

import numpy as np
import pandas as pd

from ..errors import SpeechlibError
from .tokens import labelled

SCORES = ("ari", "ami", "nmi", "homogeneity", "completeness", "v_measure", "purity")


def agreement(tokens: pd.DataFrame) -> dict[str, float]:
    """`scores` of phones against codes. Raises SpeechlibError where no code has a phone."""
    rows = labelled(tokens)
    return scores(rows["phone"].cat.codes.to_numpy(), rows["code"].to_numpy())


def scores(truth, clusters) -> dict[str, float]:
    """SCORES of a labelling (N,) against the true one (N,), each 0 (ARI, AMI: at chance) to 1.

    ARI Hubert & Arabie 1985; AMI and NMI with the arithmetic mean of both entropies, so NMI equals V-measure
    (Rosenberg & Hirschberg 2007); purity: share of items that carry their cluster's most frequent label.
    """
    from sklearn import metrics
    from sklearn.metrics.cluster import contingency_matrix

    if len(truth) != len(clusters):
        raise SpeechlibError(
            f"{len(truth)} true labels against {len(clusters)} clusters: join them by utterance id first"
        )
    if len(truth) == 0:
        raise SpeechlibError("no labels to compare")
    table = contingency_matrix(truth, clusters, sparse=True)
    homogeneity, completeness, v_measure = metrics.homogeneity_completeness_v_measure(truth, clusters)
    values = (
        metrics.adjusted_rand_score(truth, clusters),
        metrics.adjusted_mutual_info_score(truth, clusters),
        metrics.normalized_mutual_info_score(truth, clusters),
        homogeneity,
        completeness,
        v_measure,
        table.max(axis=0).sum() / len(truth),
    )
    return {name: float(value) for name, value in zip(SCORES, values)}


def mutual_information(a, b) -> float:
    """Bits that one labelling (N,) tells about another (N,), per item; rows where either is missing are left out.

    Few items flatter: compare with the same after dealing one of them out at random.
    """
    from sklearn.metrics import mutual_info_score

    a, b = (pd.Series(np.asarray(x, dtype=object)) for x in (a, b))
    both = a.notna() & b.notna()
    a, b = pd.factorize(a[both])[0], pd.factorize(b[both])[0]
    return float(max(mutual_info_score(a, b), 0) / np.log(2))


def kmeans(fit, frames, codebook_size: int, seed: int = 0, limit: int = 20_000) -> np.ndarray:
    """Codes (N,) of k-means fitted on `fit` (M, C) and applied to `frames` (N, C): the baseline a model should beat.

    Give both the same standardisation; at most `limit` frames of `fit`, drawn with `seed`, are used to fit.
    """
    from sklearn.cluster import KMeans

    fit, frames = np.asarray(fit, dtype=np.float32), np.asarray(frames, dtype=np.float32)
    if len(fit) < codebook_size:
        raise SpeechlibError(f"k-means with {codebook_size} clusters needs as many frames, got {len(fit)}")
    if len(fit) > limit:
        fit = fit[np.sort(np.random.default_rng(seed).choice(len(fit), limit, replace=False))]
    return KMeans(codebook_size, n_init=2, max_iter=100, random_state=seed).fit(fit).predict(frames).astype(np.int64)


def frames_at(features, positions) -> np.ndarray:
    """Features (C, T) at fractional frame positions (L,), linearly interpolated and held at the ends: (L, C).

    What a baseline sees where a model has a code whose centre lies between two frames.
    """
    features, positions = np.asarray(features), np.asarray(positions, dtype=np.float64)
    positions = np.clip(positions, 0, features.shape[1] - 1)
    left = np.floor(positions).astype(int)
    right = np.minimum(left + 1, features.shape[1] - 1)
    weight = (positions - left).astype(features.dtype)
    return ((1 - weight) * features[:, left] + weight * features[:, right]).T


def shuffled(tokens: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The table with its codes dealt out at random: same frequencies, no relation to anything. Chance level."""
    codes = np.random.default_rng(seed).permutation(tokens["code"].to_numpy())
    return tokens.assign(code=codes)
