"""What the neighbours of a vector say: the labels of its nearest ones, in other utterances, by vote."""

from typing import NamedTuple

import numpy as np

from ..errors import SpeechlibError


class Neighbours(NamedTuple):
    accuracy: float  # share of vectors whose neighbours vote for their label
    majority: float  # the same for always naming the commonest label
    n_labels: int


def knn_accuracy(x, labels, groups, k: int = 5, limit: int = 4000, seed: int = 0) -> Neighbours:
    """Vote of the k nearest vectors (euclidean) of x (N, D) on each vector's label, its own utterance left out.

    `groups` (N,) names each item's utterance: neighbouring windows share frames, and would vouch for each other. A
    label that only one utterance has cannot be found, and counts as missed. At most `limit` vectors are judged, by all.
    Raises SpeechlibError where there is one utterance only.
    """
    x, labels, groups = np.asarray(x, dtype=np.float32), np.asarray(labels), np.asarray(groups)
    if not len(x) == len(labels) == len(groups):
        raise SpeechlibError(f"{len(x)} vectors, {len(labels)} labels and {len(groups)} groups: wanted as many of each")
    if len(np.unique(groups)) < 2:
        raise SpeechlibError("neighbours are looked for in other utterances: there is only one")
    names, label = np.unique(labels, return_inverse=True)
    judged = np.random.default_rng(seed).permutation(len(x))[:limit]
    lengths, right = np.square(x).sum(1), 0
    for some in np.array_split(judged, -(-len(judged) // 500)):
        far = lengths - 2 * x[some] @ x.T  # squared distances but for a constant of each row
        far[groups[some][:, None] == groups] = np.inf
        nearest = np.argpartition(far, min(k, len(x) - 1) - 1, axis=1)[:, :k]
        reached = np.isfinite(np.take_along_axis(far, nearest, axis=1))
        votes = np.zeros((len(some), len(names)))
        np.add.at(votes, (np.arange(len(some))[:, None], label[nearest]), reached)
        right += int((votes.argmax(1) == label[some]).sum())
    return Neighbours(right / len(judged), float(np.bincount(label).max() / len(label)), len(names))
