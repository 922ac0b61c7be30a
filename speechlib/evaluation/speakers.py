"""Do codes tell who speaks? Code distributions per speaker, how far they lie apart, and how even each one is.

Few codes per speaker make any two distributions look different, so every figure here comes with its chance level: the
same count after whole utterances were dealt out to speakers at random.
"""

import numpy as np
import pandas as pd

from ..errors import SpeechlibError
from .usage import code_counts, entropy


def distributions(tokens: pd.DataFrame, codebook_size: int) -> pd.DataFrame:
    """P(code | speaker): one row per speaker that has codes, rows sum to 1, (S, K)."""
    if tokens.empty:
        raise SpeechlibError("no codes to describe speakers by")
    code_counts(tokens["code"], codebook_size)  # refuses codes outside the codebook
    present = np.unique(tokens["speaker"].cat.codes)
    speaker = np.searchsorted(present, tokens["speaker"].cat.codes)
    flat = np.bincount(speaker * codebook_size + tokens["code"].to_numpy(), minlength=len(present) * codebook_size)
    counts = flat.reshape(len(present), codebook_size)
    table = pd.DataFrame(counts / counts.sum(axis=1, keepdims=True), index=tokens["speaker"].cat.categories[present])
    table.index.name, table.columns.name = "speaker", "code"
    return table


def jensen_shannon(p) -> np.ndarray:
    """Jensen-Shannon divergence (Lin 1991) in bits between all rows of p (S, K): (S, S), 0 equal, 1 disjoint."""
    p = np.asarray(p, dtype=np.float64)
    mixed = np.stack([entropy((row + p) / 2) for row in p])
    own = entropy(p)
    return np.clip(mixed - (own[:, None] + own) / 2, 0, 1)


def pairs(matrix: np.ndarray) -> np.ndarray:
    """The values above the diagonal of a symmetric matrix: one per pair."""
    return matrix[np.triu_indices(len(matrix), 1)]


def evenness(p: pd.DataFrame) -> pd.DataFrame:
    """Per speaker: entropy (bits), that of even use (log2 K), and the bits missing to it (divergence from uniform)."""
    bits = entropy(p.to_numpy())
    even = float(np.log2(p.shape[1]))
    return pd.DataFrame({"entropy": bits, "even": even, "missing": even - bits}, index=p.index)


def reassigned(tokens: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The table with whole utterances dealt out to speakers at random, as many to each as before: chance."""
    first = tokens.drop_duplicates("utterance")
    dealt = np.random.default_rng(seed).permutation(first["speaker"].cat.codes.to_numpy())
    of_utterance = np.zeros(len(tokens["utterance"].cat.categories), dtype=np.int64)
    of_utterance[first["utterance"].cat.codes] = dealt
    speaker = of_utterance[tokens["utterance"].cat.codes]
    return tokens.assign(speaker=pd.Categorical.from_codes(speaker, tokens["speaker"].cat.categories))
