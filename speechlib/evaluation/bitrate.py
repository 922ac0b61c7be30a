"""What a representation of speech costs, as the ZeroSpeech challenges count it: bits per second beside every ABX.

    bits per second = N / D * H        N rows (vectors or codes) for D seconds; H: entropy, in bits, of distinct rows

Two rows are the same symbol where all their numbers are equal, to the last bit: continuous vectors hardly ever repeat.
With every row unlike all others H is log2 N, and N / D * log2 N is the most that N rows can cost: the *cap*. A figure
at its cap tells how many rows there are and nothing else; it is no measure of compression. (Dunbar et al. 2019, arXiv
1904.11469.)

`usage.bitrate` counts the codes of a token table by its own clock; this counts rows of any kind by a list of durations.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..errors import SpeechlibError
from .usage import entropy


class Bitrate(NamedTuple):
    bits_per_second: float
    cap: float  # bits per second of as many rows, no two alike
    rows: int
    distinct: int
    seconds: float
    entropy: float  # bits per row
    missing: tuple[str, ...]  # files of the list without rows: left out with their seconds

    @property
    def saturation(self) -> float:
        """How much of the cap is reached: at 1 every row is unlike all others. (A single row costs nothing: 1.)"""
        return self.bits_per_second / self.cap if self.cap else 1.0

    def __str__(self) -> str:
        told = f"{self.bits_per_second:.2f} bits/s of at most {self.cap:.2f} ({100 * self.saturation:.1f} %): "
        told += f"{self.distinct:,} distinct of {self.rows:,} rows in {self.seconds:,.1f} s"
        return f"{told}; {len(self.missing)} files missing" if self.missing else told


def bitrate(rows: Mapping[str, np.ndarray], seconds: Mapping[str, float]) -> Bitrate:
    """The bit rate of `rows` {file: (N, D) vectors or (N,) codes} over the files of `seconds` {file: seconds}.

    Files that only `rows` has are not counted, nor those that only `seconds` has, with their time: the official rule.
    Raises SpeechlibError where no file is left, where vectors differ in size, and for NaN or infinite numbers.
    """
    counts: Counter[bytes] = Counter()
    found = [name for name in seconds if name in rows]
    if not found:
        raise SpeechlibError(f"none of the {len(seconds)} files of the bit-rate list is among the {len(rows)} given")
    size, first = None, found[0]
    for name in found:
        symbols = np.asarray(rows[name], np.float64)
        symbols = symbols[:, None] if symbols.ndim == 1 else symbols
        if symbols.ndim != 2 or not symbols.size:
            raise SpeechlibError(f"rows of {name} are {np.shape(rows[name])}: (N, D) vectors or (N,) codes are counted")
        if size not in (None, symbols.shape[1]):
            raise SpeechlibError(f"rows of {name} have {symbols.shape[1]} numbers, those of {first} have {size}")
        if not np.isfinite(symbols).all():
            raise SpeechlibError(
                f"rows of {name} hold {np.count_nonzero(~np.isfinite(symbols))} NaN or infinite numbers"
            )
        size = symbols.shape[1]
        counts.update(row.tobytes() for row in symbols + 0.0)  # + 0.0: -0 equals 0, its bytes do not
    n, length = counts.total(), float(sum(seconds[name] for name in found))
    if not length > 0:
        raise SpeechlibError(f"{len(found)} files of the bit-rate list last {length} s together: seconds are wanted")
    bits = float(entropy(list(counts.values())))
    missing = tuple(name for name in seconds if name not in rows)
    return Bitrate(n / length * bits, cap(n, length), n, len(counts), length, bits, missing)


def cap(n_rows: int, seconds: float) -> float:
    """Bits per second of n_rows in so many seconds when no two are alike."""
    return n_rows / seconds * float(np.log2(n_rows))
