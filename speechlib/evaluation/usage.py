"""How much a code says: how many are used, how evenly, and what that costs in bits per second.

Logarithms are to base 2 (bits) unless said otherwise; perplexity is 2 ** entropy, so codes used evenly give the
number of codes.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import SpeechlibError
from .tokens import step_seconds


def code_counts(codes, codebook_size: int) -> np.ndarray:
    """How often each code occurs, (K,). Raises SpeechlibError for a code outside the codebook."""
    codes = np.asarray(codes).ravel()
    if len(codes) and not 0 <= codes.min() <= codes.max() < codebook_size:
        raise SpeechlibError(f"codes run from {codes.min()} to {codes.max()}, the codebook has {codebook_size}")
    return np.bincount(codes, minlength=codebook_size)


def codes_used(codes, codebook_size: int) -> int:
    return int(np.count_nonzero(code_counts(codes, codebook_size)))


def entropy(weights, axis: int = -1) -> np.ndarray:
    """Bits of the distributions along `axis`: H = -sum p log2 p, p = weights / their sum. 0 where all weights are 0."""
    weights = np.asarray(weights, dtype=np.float64)
    total = weights.sum(axis=axis, keepdims=True)
    p = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return -np.sum(p * np.log2(p, out=np.zeros_like(p), where=p > 0), axis=axis) + 0.0


def perplexity(codes, codebook_size: int) -> float:
    """2 ** entropy of the code frequencies: from 1 (one code) to codebook_size (all equally often)."""
    return float(2 ** entropy(code_counts(codes, codebook_size)))


class Bitrate(NamedTuple):
    codes_per_second: float
    entropy: float  # bits per code, from its frequencies
    bits_per_second: float  # codes_per_second x entropy: what an ideal coder of single codes needs
    nominal: float  # codes_per_second x log2(codebook_size): what a plain index needs


def bitrate(tokens: pd.DataFrame, codebook_size: int) -> Bitrate:
    """Bit rate of the codes of a token table (ZeroSpeech 2019, "bitrate": symbols per second x entropy per symbol)."""
    rate = 1 / step_seconds(tokens)
    bits = float(entropy(code_counts(tokens["code"], codebook_size)))
    return Bitrate(rate, bits, rate * bits, rate * float(np.log2(codebook_size)))
