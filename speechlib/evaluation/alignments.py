"""Codes and phones in time: which follows which, how long each lasts, how many share a segment.

A sequence is one utterance's symbols in order; a missing symbol (None, NaN) ends a chain of transitions and starts a
new one, so nothing is ever counted across a gap or from one utterance into the next.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..corpora.labels import bare
from ..errors import BadFile, SpeechlibError
from ..files import atomic
from .tokens import phones_at


def phone_table(pack, indices: Iterable[int], step: float = 0.01) -> pd.DataFrame:
    """Phone at every `step` seconds (the middle of each step) of the utterances: utterance, step, time, phone.

    `step` 0.01 and 0.02 give the 10 and 20 ms alignments of the source system. Steps that lie fully inside the audio.
    """
    if step <= 0:
        raise SpeechlibError(f"a step of {step} s: give seconds > 0")
    indices = list(indices)
    counts = [int(pack.n_samples[i] / pack.config.sample_rate / step + 1e-9) for i in indices]
    times = [(np.arange(n) + 0.5) * step for n in counts]
    phones = [phones_at(pack.phones(i), t) for i, t in zip(indices, times)]
    order = np.repeat(np.arange(len(indices)), counts)
    return pd.DataFrame(
        {
            "utterance": pd.Categorical.from_codes(order, [pack.utterances[i] for i in indices]),
            "step": np.concatenate([np.arange(n) for n in counts] or [np.empty(0, int)]),
            "time": np.concatenate(times or [np.empty(0)]),
            "phone": pd.Categorical(np.concatenate(phones or [np.empty(0, object)])),
        }
    )


def step_label(seconds: float) -> str:
    """The real step as file names and titles say it: 0.02 -> "20ms", 0.0125 -> "12.5ms"."""
    return f"{seconds * 1000:.6g}ms"


def sequences(table: pd.DataFrame, column: str) -> list[np.ndarray]:
    """One array of `column` per utterance, by step, whatever the order of the rows. Missing stays missing (None)."""
    table = table.sort_values(["utterance", "step"], kind="stable")
    values = table[column].astype(object)
    values = values.where(values.notna(), None).to_numpy()
    starts = np.flatnonzero(np.diff(table["utterance"].cat.codes.to_numpy())) + 1
    return np.split(values, starts) if len(values) else []


def bigram_counts(sequences: Iterable[Sequence], symbols: Sequence) -> np.ndarray:
    """counts[i, j]: how often symbols[j] directly follows symbols[i], (K, K) int64: T - 1 transitions per sequence.

    Raises SpeechlibError for a symbol that is not among `symbols`.
    """
    flat = [np.asarray(sequence, dtype=object) for sequence in sequences]
    ends = np.cumsum([len(sequence) for sequence in flat], dtype=np.int64)
    joined = np.concatenate(flat) if flat else np.empty(0, object)
    index = pd.Index(np.asarray(symbols, dtype=object)).get_indexer(joined)
    if (unknown := (index < 0) & ~pd.isna(joined)).any():
        raise SpeechlibError(f"symbol {joined[unknown][0]!r} is not among the {len(symbols)} symbols of the matrix")
    chained = np.ones(max(len(joined) - 1, 0), bool)
    inner = ends[(ends > 0) & (ends < len(joined))]
    chained[inner - 1] = False
    chained &= (index[:-1] >= 0) & (index[1:] >= 0)
    size = len(symbols)
    pairs = index[:-1][chained] * size + index[1:][chained]
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def bigram_matrix(sequences: Iterable[Sequence], symbols: Sequence, diagonal: bool = True) -> np.ndarray:
    """P(next | current) as (K, K): rows sum to 1, or to 0 for a symbol that nothing (else) follows.

    diagonal=False leaves staying out first: where a symbol goes when it ends.
    """
    counts = bigram_counts(sequences, symbols)
    if not diagonal:
        np.fill_diagonal(counts, 0)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)


def mean_diagonal(matrix: np.ndarray) -> float:
    """Mean probability to stay, over the symbols that something follows. Phones at 20 ms reach about 0.8."""
    followed = matrix.sum(axis=1) > 0
    return float(matrix.diagonal()[followed].mean()) if followed.any() else 0.0


def bigram_diagonal(tokens: pd.DataFrame, column: str = "code") -> float:
    """`mean_diagonal` of a token table's codes (or phones)."""
    symbols = sorted(tokens[column].dropna().unique())
    return mean_diagonal(bigram_matrix(sequences(tokens, column), symbols))


class Changes(NamedTuple):
    """How often the code changes from one step to the next."""

    at_boundaries: float  # where the phone changes as well: 1 if codes follow phones
    within_phones: float  # where it does not: 0 if they do
    boundaries: int  # steps at which the phone changes


def changes(tokens: pd.DataFrame) -> Changes:
    """Whether codes change where phones do, over all neighbouring steps with phones. Equal shares mean chance."""
    tokens = tokens.sort_values(["utterance", "step"], kind="stable")
    utterance, phone = (tokens[column].cat.codes.to_numpy() for column in ("utterance", "phone"))
    step = tokens["step"].to_numpy()
    neighbours = (np.diff(utterance) == 0) & (np.diff(step) == 1) & (phone[:-1] >= 0) & (phone[1:] >= 0)
    boundary = (np.diff(phone) != 0) & neighbours
    changed = np.diff(tokens["code"]) != 0
    if not boundary.any() or not (neighbours & ~boundary).any():
        raise SpeechlibError(
            f"{np.count_nonzero(boundary)} boundaries of phones among {len(tokens)} codes: too few to tell"
        )
    return Changes(
        float(changed[boundary].mean()), float(changed[neighbours & ~boundary].mean()), int(np.count_nonzero(boundary))
    )


def frequencies(values: Iterable) -> pd.Series:
    """Share of each symbol, most frequent first, missing ones left out; sums to 1."""
    shares = pd.Series(np.asarray(values, dtype=object)).value_counts(normalize=True)
    return shares.sort_index(key=lambda index: index.astype(str)).sort_values(ascending=False, kind="stable")


def phone_intervals(pack, indices: Iterable[int]) -> pd.DataFrame:
    """The labels themselves, one row per phone spoken: utterance, phone (stress taken off), start and seconds long."""
    rows = [
        (pack.utterances[i], phone, interval.start, interval.end - interval.start)
        for i in indices
        for interval in pack.phones(i)
        if (phone := bare(interval.symbol)) is not None and interval.end > interval.start
    ]
    return pd.DataFrame(rows, columns=["utterance", "phone", "start", "seconds"])


def runs(table: pd.DataFrame, column: str, step: float) -> pd.DataFrame:
    """Stretches of one symbol: utterance, symbol, step (of the first row), start and stop, seconds long.

    `step` is seconds per row, whose `time` is its centre.
    """
    table = table.sort_values(["utterance", "step"], kind="stable")
    utterance = table["utterance"].cat.codes.to_numpy()
    symbol = pd.factorize(table[column], use_na_sentinel=True)[0]
    starts = np.flatnonzero(np.r_[True, (np.diff(utterance) != 0) | (np.diff(symbol) != 0)]) if len(table) else []
    lengths = np.diff(np.r_[starts, len(table)])
    first = table.iloc[starts]
    result = pd.DataFrame(
        {
            "utterance": first["utterance"].to_numpy(),
            "symbol": first[column].to_numpy(),
            "step": first["step"].to_numpy(),
            "start": first["time"].to_numpy() - step / 2,
            "stop": first["time"].to_numpy() + (lengths - 0.5) * step,
            "seconds": lengths * step,
        }
    )
    return result[result["symbol"].notna()].reset_index(drop=True)


def segments(table: pd.DataFrame, column: str, length: int) -> list[np.ndarray]:
    """Whole pieces of `length` consecutive steps of every utterance; a shorter rest is left out."""
    if length < 1:
        raise SpeechlibError(f"segments of {length} steps: give at least 1")
    return [s[a : a + length] for s in sequences(table, column) for a in range(0, len(s) - length + 1, length)]


def distinct_symbols(segments: Iterable[Sequence]) -> float:
    """Mean number of distinct symbols per segment, segments of any length, missing ones not counted."""
    counts = [len({s for s in segment if s is not None and s == s}) for segment in segments]
    if not counts:
        raise SpeechlibError("no segments to count symbols in: is every utterance shorter than one segment?")
    return float(np.mean(counts))


def save(folder: str | Path, name: str, step: float, /, **arrays) -> Path:
    """Write arrays as `<name>_<step label>.npz` together with `step_seconds`, so that name and content agree.

    Missing symbols are kept as "".
    """
    path = Path(folder) / f"{name}_{step_label(step)}.npz"
    plain = {key: _plain(np.asarray(value)) for key, value in arrays.items()}
    with atomic(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, step_seconds=step, **plain)
    return path


def _plain(values: np.ndarray) -> np.ndarray:
    """Symbols as fixed-width text, a missing one as "": no object has to be pickled."""
    return np.where(pd.isna(values), "", values).astype(str) if values.dtype == object else values


def load(path: str | Path) -> dict[str, np.ndarray]:
    """What `save` wrote. Raises BadFile where it is missing, no archive of arrays, or renamed to another step."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        label = step_label(float(arrays["step_seconds"]))
    except Exception as error:  # numpy, zipfile and zlib raise whatever they stumble over
        raise BadFile(path, f"holds no saved arrays ({error})") from None
    if not Path(path).stem.endswith(f"_{label}"):
        raise BadFile(path, f"was made at steps of {label}, its name says otherwise: was it renamed?")
    return arrays
