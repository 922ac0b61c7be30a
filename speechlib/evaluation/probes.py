"""What a linear classifier can read off a representation: a probe fitted on some utterances, scored on others.

Chorowski et al. 2019 probe phone, speaker and gender at four points of the model. A good code of speech lets the phone
be read and the speaker not.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np

from ..errors import SpeechlibError


class Probe(NamedTuple):
    accuracy: float  # share of held-out items whose class is read correctly
    majority: float  # the same for always naming the commonest class of the fitted part
    n_classes: int


def linear_probe(x, labels, groups, held_out: float = 0.25, seed: int = 0, limit: int = 20_000) -> Probe:
    """Multinomial logistic regression of labels (N,) on x (N, D), standardised; whole groups (utterances) are held out.

    `groups` (N,) names each item's utterance: neighbouring frames are alike, so splitting inside one would flatter.
    At most `limit` items are used. Raises SpeechlibError with one group, or one class in the fitted part.
    """
    x, labels, groups = np.asarray(x, dtype=np.float64), np.asarray(labels), np.asarray(groups)
    if not len(x) == len(labels) == len(groups):
        raise SpeechlibError(f"{len(x)} vectors, {len(labels)} labels and {len(groups)} groups: wanted as many of each")
    rng = np.random.default_rng(seed)
    names = np.unique(groups)
    if len(names) < 2:
        raise SpeechlibError("a probe holds out whole utterances: it needs at least two")
    n_held = min(max(round(held_out * len(names)), 1), len(names) - 1)
    keep = np.sort(rng.choice(len(x), limit, replace=False)) if len(x) > limit else np.arange(len(x))
    held = np.isin(groups[keep], rng.permutation(names)[:n_held])
    fit, test = keep[~held], keep[held]
    reader = fit_reader(x[fit], labels[fit])
    classes, counts = np.unique(labels[fit], return_counts=True)
    accuracy = float(np.mean(reader.read(x[test]) == labels[test]))
    return Probe(accuracy, float(np.mean(labels[test] == classes[counts.argmax()])), len(classes))


class Reader(NamedTuple):
    """A fitted probe, to read other things with."""

    mean: np.ndarray  # (D,) of what it was fitted on
    std: np.ndarray
    model: Any  # scikit-learn's

    def read(self, x) -> np.ndarray:
        """The likeliest label (N,) of each of x (N, D)."""
        return self.model.predict((np.asarray(x, dtype=np.float64) - self.mean) / self.std)

    def belief(self, x) -> np.ndarray:
        """The probability of each label (N, labels in their order) for each of x (N, D)."""
        return self.model.predict_proba((np.asarray(x, dtype=np.float64) - self.mean) / self.std)


def fit_reader(x, labels) -> Reader:
    """Multinomial logistic regression of labels (N,) on x (N, D), standardised. Raises SpeechlibError for one class."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    x, labels = np.asarray(x, dtype=np.float64), np.asarray(labels)
    if (n_classes := len(np.unique(labels))) < 2:
        raise SpeechlibError(f"a probe needs two classes to tell apart, the fitted part has {n_classes}")
    mean, std = x.mean(axis=0), x.std(axis=0)
    std[std == 0] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 steps are the probe: a common budget for all inputs
        return Reader(mean, std, LogisticRegression(max_iter=200).fit((x - mean) / std, labels))


class LeftOut(NamedTuple):
    accuracy: float  # share of items that are read rightly by a probe that was fitted on all others
    low: float  # 95 % interval of that share (Wilson): of a dozen items it is wide
    high: float
    majority: float  # share of the commonest class
    n: int


def leave_one_out(x, labels) -> LeftOut:
    """The probe for few items, such as the speakers of a corpus: each of x (N, D) is read by one fitted on the rest.

    Raises SpeechlibError where a class has fewer than two items.
    """
    x, labels = np.asarray(x, dtype=np.float64), np.asarray(labels)
    if len(x) != len(labels):
        raise SpeechlibError(f"{len(x)} vectors and {len(labels)} labels: wanted as many of each")
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        found = ", ".join(f"{count} {label}" for label, count in zip(classes, counts)) or "none"
        raise SpeechlibError(f"leaving one out needs two classes of two items or more, got {found}")
    kept = ~np.eye(len(x), dtype=bool)
    right = sum(fit_reader(x[k], labels[k]).read(x[~k])[0] == labels[~k][0] for k in kept)
    return LeftOut(float(right / len(x)), *wilson(int(right), len(x)), float(counts.max() / len(x)), len(x))


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, `right` of n (Wilson 1927): stays within 0..1, and is no point where all are right."""
    z, share = 1.959964, right / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return float(max(centre - half, 0)), float(min(centre + half, 1))


def clopper_pearson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share, `right` of n (Clopper & Pearson 1934): every share in it makes a count as far out as
    `right` likelier than (1 - level) / 2, on either side. Raises SpeechlibError for counts that are none."""
    from scipy.stats import beta

    if not 0 <= right <= n or n < 1 or not 0 < level < 1:
        raise SpeechlibError(f"{right} of {n} at level {level}: wanted 0 <= right <= n, n from 1, a level inside 0..1")
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, right, n - right + 1)) if right else 0.0
    return low, float(beta.ppf(1 - tail, right + 1, n - right)) if right < n else 1.0
