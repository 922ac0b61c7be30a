"""Level and deviation of a channel, utterance by utterance: what of a voice is in them, and what norms take away."""

from typing import NamedTuple

import numpy as np

from ..errors import SpeechlibError


class Levels(NamedTuple):
    """Of U utterances, in units of each channel's deviation over all of them together."""

    mean: np.ndarray  # (U, D)
    deviation: np.ndarray  # (U, D)
    speaker: np.ndarray  # (U,)
    vectors: np.ndarray  # (U,) how many each has


def levels(x, utterance, speaker) -> Levels:
    """Vectors x (N, D), whose utterance and speaker (N,) are. Raises SpeechlibError for other lengths."""
    x, utterance, speaker = np.asarray(x, dtype=np.float64), np.asarray(utterance), np.asarray(speaker)
    if x.ndim != 2 or not len(x) == len(utterance) == len(speaker) or not len(x):
        raise SpeechlibError(f"vectors {x.shape} of {len(utterance)} utterances and {len(speaker)} speakers: as many")
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)
    names, first, where = np.unique(utterance, return_index=True, return_inverse=True)
    count = np.bincount(where)[:, None]
    mean, square = (np.zeros((len(names), x.shape[1])) for _ in range(2))
    np.add.at(mean, where, x)
    mean /= count
    np.add.at(square, where, (x - mean[where]) ** 2)
    return Levels(mean, np.sqrt(square / count), speaker[first], count[:, 0])


def explained(of: Levels) -> np.ndarray:
    """Share (D,) of all variance of a channel that is that between the mean levels of speakers (eta squared): what who
    speaks says of the channel, or a constant shift of it of who speaks."""
    _, where = np.unique(of.speaker, return_inverse=True)
    count = np.bincount(where, of.vectors)[:, None]
    centres = np.zeros((len(count), of.mean.shape[1]))
    np.add.at(centres, where, of.vectors[:, None] * of.mean)
    centres /= count  # the mean of all vectors is 0
    return (count * centres**2).sum(axis=0) / of.vectors.sum()
