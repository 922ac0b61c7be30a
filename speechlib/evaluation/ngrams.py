"""What a code costs when only the few codes before it are known: n-grams, the measure that a prior must beat.

Probabilities are interpolated Kneser-Ney (Kneser & Ney 1995; Chen & Goodman 1999, section 2.7): from each count of a
context a discount D = n1 / (n1 + 2 n2) is taken (n1, n2: how many n-grams were seen once, twice), and what is gained is
shared out as the shorter n-gram says, down to all codes alike:

    P(w | h) = max(c(h w) - D, 0) / c(h) + D types(h) / c(h) * P(w | shorter h)

Below the highest order c counts in how many contexts an n-gram was seen, not how often. An utterance begins with a
symbol of its own, so the first code has a context too. Logarithms are to base 2: bits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import SpeechlibError
from .usage import code_counts


class NGram:
    """P(code | the order - 1 codes before it), counted in `sequences` (whole numbers below codebook_size) each."""

    def __init__(self, sequences: Sequence[Sequence[int]], order: int, codebook_size: int):
        if order < 1 or (codebook_size + 1) ** order > 2**62:
            raise SpeechlibError(
                f"n-grams of order {order} over {codebook_size} codes: order 1 or more, and fewer codes"
            )
        self.order, self.codebook_size = order, codebook_size
        grams = [self._grams(sequence) for sequence in sequences]
        if not sum(map(len, grams)):
            raise SpeechlibError("no codes to count: is this part of the split empty?")
        keys, counts = np.unique(np.concatenate(grams), return_counts=True)
        self.levels = []
        for n in range(order, 0, -1):
            self.levels.append(_level(keys, counts, codebook_size))
            # the next lower order: one for every n-gram that ends so, whatever stands in front
            keys, counts = np.unique(keys % (codebook_size + 1) ** (n - 1), return_counts=True)

    def bits(self, sequence: Sequence[int]) -> np.ndarray:
        """-log2 P (L,) of every code of one utterance, given those before it."""
        keys = self._grams(sequence)
        p = np.full(len(keys), 1 / self.codebook_size)
        for n, level in zip(range(1, self.order + 1), reversed(self.levels)):
            part = keys % (self.codebook_size + 1) ** n
            p = level.probability(part, part // (self.codebook_size + 1), p)
        return -np.log2(p)

    def _grams(self, sequence: Sequence[int]) -> np.ndarray:
        """Every code with its context as one number (L,), the code in the last place of base K + 1; K = beginning."""
        codes, base = np.asarray(sequence, np.int64).ravel(), self.codebook_size + 1
        code_counts(codes, self.codebook_size)  # refuses codes that are outside
        padded = np.concatenate([np.full(self.order - 1, self.codebook_size), codes])
        keys = np.zeros(len(codes), np.int64)
        for n in range(self.order):
            keys = keys * base + padded[n : n + len(codes)]
        return keys


class _Level(NamedTuple):
    """Counts of one order: n-grams, and their contexts, as sorted numbers."""

    keys: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray  # c(h)
    types: np.ndarray  # how many different codes follow h
    discount: float

    def probability(self, keys: np.ndarray, contexts: np.ndarray, shorter: np.ndarray) -> np.ndarray:
        """P (L,) of n-grams given P (L,) of their shorter ones; that itself where a context was never seen."""
        total, types = _look_up(self.contexts, self.totals, contexts), _look_up(self.contexts, self.types, contexts)
        kept = np.maximum(_look_up(self.keys, self.counts, keys) - self.discount, 0)
        return np.where(total > 0, (kept + self.discount * types * shorter) / np.maximum(total, 1), shorter)


def _level(keys: np.ndarray, counts: np.ndarray, codebook_size: int) -> _Level:
    contexts, first = np.unique(keys // (codebook_size + 1), return_index=True)
    once, twice = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
    discount = once / (once + 2 * twice) if once else 0.5  # nothing was seen once: half a count is left for the unseen
    return _Level(
        keys, counts, contexts, np.add.reduceat(counts, first), np.diff(np.append(first, len(keys))), discount
    )


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
