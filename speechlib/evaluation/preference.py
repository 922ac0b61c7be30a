"""Which of two do people prefer? Pairs without names, votes, and the share that one got with its exact interval.

    order = blind(("ours", "theirs"), n_items=50, seed=0)        which is A and which is B, kept apart: the key
    found = score(order, [Vote("me", 1, "A"), ...])              found.share of the votes were for found.name

The protocol is that of Vasquez & Lewis 2019 (arXiv 1906.01083): two clips, a forced choice of the one with the
longer-term structure, 50 judgements of 50 items for each comparison. With so few, the interval is half the finding: 31
of 50 votes (62 %) may still be a coin.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import SpeechlibError
from .probes import clopper_pearson

ITEMS = 50  # of the paper, each judged once
SIDES = ("A", "B")


class Vote(NamedTuple):
    listener: str
    item: int  # 1, 2, ...
    choice: str  # A or B


class Preference(NamedTuple):
    name: str  # the first of the two
    other: str
    votes: int  # for the first one
    n: int
    share: float
    low: float  # 95 % interval of the share (Clopper-Pearson)
    high: float
    p_value: float  # of a coin that falls as far out or further, on either side (exact)
    side_a: float  # share of votes for A, whoever that was: far from a half, someone heard no difference


def blind(names: tuple[str, str], n_items: int = ITEMS, seed: int = 0) -> list[tuple[str, str]]:
    """What is A and what is B of every item: each of the two is A as often as B (one item more where n is odd), in an
    order that the seed draws."""
    if n_items < 1 or len(set(names)) != 2:
        raise SpeechlibError(f"{n_items} items of {names}: wanted 1 or more, of two names that differ")
    random = np.random.default_rng(seed)
    turned = np.arange(n_items) % 2 == random.integers(2)
    return [names[::-1] if turn else names for turn in random.permutation(turned)]


def latest(votes: Sequence[Vote]) -> list[Vote]:
    """One vote per listener and item: whoever votes again has changed their mind."""
    return list({(vote.listener, vote.item): vote for vote in votes}.values())


def score(order: Sequence[tuple[str, str]], votes: Sequence[Vote]) -> Preference:
    """How often the first of the two names was preferred, all listeners together; of two votes of one listener for one
    item the later one counts.

    The names are in the order of the alphabet, so that no order of items changes what is told. Raises SpeechlibError
    for no votes, for an item that is not there, and for what is neither A nor B.
    """
    votes = latest(votes)
    if not votes:
        raise SpeechlibError("nobody has voted yet")
    for vote in votes:
        if not 1 <= vote.item <= len(order) or vote.choice not in SIDES:
            raise SpeechlibError(f"{vote}: items are 1..{len(order)}, choices {' or '.join(SIDES)}")
    name, other = sorted(set(order[0]))
    chosen = [order[vote.item - 1][SIDES.index(vote.choice)] for vote in votes]
    won, n = chosen.count(name), len(votes)
    side = sum(vote.choice == SIDES[0] for vote in votes) / n
    return Preference(name, other, won, n, won / n, *clopper_pearson(won, n), _coin(won, n), side)


def _coin(right: int, n: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(right, n).pvalue)
