"""Codes read as phones: P(phone | code), the best phone of each code, and how often that guess is right elsewhere.

The source system tabulates P(code | phone) under the other's name and reports no accuracy; both are here. Chorowski et
al. 2019 and van den Oord et al. 2017 (49.3 % against 7.2 % for the commonest phone) score the guess.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import SpeechlibError
from .tokens import labelled


class Mapping(NamedTuple):
    """Many codes to one phone, as counted on one part of a corpus."""

    counts: pd.DataFrame  # (codes, phones): how often each code stood for each phone
    best: pd.Series  # code -> its most frequent phone; the commonest phone of all for a code never seen
    majority: str  # the commonest phone: the guess of someone who does not look at the codes


def fit(tokens: pd.DataFrame, codebook_size: int) -> Mapping:
    """Count phones per code on the labelled rows. Raises SpeechlibError without labels or for a code too large."""
    rows = labelled(tokens)
    phones = list(rows["phone"].cat.categories[np.unique(rows["phone"].cat.codes)])
    phone = pd.Index(phones).get_indexer(rows["phone"].astype(object))
    code = rows["code"].to_numpy()
    if not 0 <= code.min() <= code.max() < codebook_size:
        raise SpeechlibError(f"codes run from {code.min()} to {code.max()}, the codebook has {codebook_size}")
    flat = np.bincount(code * len(phones) + phone, minlength=codebook_size * len(phones))
    counts = pd.DataFrame(flat.reshape(codebook_size, len(phones)), columns=phones)
    counts.index.name, counts.columns.name = "code", "phone"
    majority = str(counts.sum().idxmax())
    best = counts.idxmax(axis=1).where(counts.sum(axis=1) > 0, majority)
    return Mapping(counts, best.rename("phone"), majority)


def phone_given_code(mapping: Mapping) -> pd.DataFrame:
    """P(phone | code): rows are codes and sum to 1, or to 0 for a code never seen."""
    return mapping.counts.div(mapping.counts.sum(axis=1).replace(0, 1), axis=0)


class Accuracy(NamedTuple):
    accuracy: float  # share of codes whose mapped phone is the one spoken
    majority: float  # the same for the commonest phone of the fitted part, whatever the code
    n: int  # labelled codes that were scored


def score(mapping: Mapping, tokens: pd.DataFrame) -> Accuracy:
    """The mapping's guesses against the phones of another part of the corpus."""
    rows = labelled(tokens)
    spoken = rows["phone"].astype(object).to_numpy()
    guessed = _guess(mapping, rows)
    return Accuracy(float(np.mean(guessed == spoken)), float(np.mean(spoken == mapping.majority)), len(rows))


def confusion(mapping: Mapping, tokens: pd.DataFrame) -> pd.DataFrame:
    """Share of each spoken phone (row) that the mapping reads as each phone (column); rows sum to 1."""
    rows = labelled(tokens)
    spoken = rows["phone"].astype(object)
    phones = sorted(set(spoken) | set(mapping.counts.columns))
    table = pd.crosstab(spoken.to_numpy(), _guess(mapping, rows)).reindex(index=phones, columns=phones, fill_value=0)
    table.index.name, table.columns.name = "spoken", "read as"
    table = table[table.sum(axis=1) > 0]
    return table.div(table.sum(axis=1), axis=0)


def _guess(mapping: Mapping, rows: pd.DataFrame) -> np.ndarray:
    code = rows["code"].to_numpy()
    if code.max() >= len(mapping.best):
        raise SpeechlibError(f"code {code.max()} was met, the mapping knows {len(mapping.best)}: of another codebook?")
    return mapping.best.to_numpy(dtype=object)[code]
