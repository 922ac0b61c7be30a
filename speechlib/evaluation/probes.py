"""What a linear classifier can read off a representation: a probe fitted on some utterances, scored on others.

Chorowski et al. 2019 probe phone, speaker and gender at four points of the model. A good code of speech lets the phone
be read and the speaker not.
"""

import warnings
from typing import NamedTuple

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
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

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
    classes, counts = np.unique(labels[fit], return_counts=True)
    if len(classes) < 2:
        raise SpeechlibError(f"a probe needs two classes to tell apart, the fitted part has {len(classes)}")
    mean, std = x[fit].mean(axis=0), x[fit].std(axis=0)
    std[std == 0] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 steps are the probe: a common budget for all inputs
        model = LogisticRegression(max_iter=200).fit((x[fit] - mean) / std, labels[fit])
    accuracy = float(np.mean(model.predict((x[test] - mean) / std) == labels[test]))
    return Probe(accuracy, float(np.mean(labels[test] == classes[counts.argmax()])), len(classes))
