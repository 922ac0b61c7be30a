"""The token table: one row per code, joined by utterance id with who speaks and which phone is spoken at that time.

Whatever asks about codes reads it. Columns: utterance (id), speaker, gender, step (0, 1, ...), time (seconds, centre
of the code), code, phone (stress marks taken off; missing, NaN, outside the labels). Text columns are categories: a
million rows take some 30 MB, and counting them is arithmetic on integers.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ..corpora.labels import bare
from ..errors import SpeechlibError


def token_table(pack, codes: Mapping[int, np.ndarray], times: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """The table above for `codes` {utterance index in the pack: (L,) whole numbers} at `times` {index: (L,) seconds}.

    Raises SpeechlibError where codes and times do not belong together, or codes are not one row of whole numbers.
    """
    indices = list(codes)
    for i in indices:
        _check(pack, i, codes[i], times.get(i))
    lengths = [len(codes[i]) for i in indices]
    order = np.repeat(np.arange(len(indices)), lengths)
    rows = np.asarray(indices, dtype=np.int64)[order]
    speaker = np.asarray(pack.speaker)[rows] if len(rows) else rows
    genders = sorted({g for g in pack.genders if g})
    gender_of = np.array([genders.index(g) if g else -1 for g in pack.genders], dtype=np.int64)
    phone, phones = _phones(pack, indices, times)
    return pd.DataFrame(
        {
            "utterance": pd.Categorical.from_codes(order, [pack.utterances[i] for i in indices]),
            "speaker": pd.Categorical.from_codes(speaker, list(pack.speakers)),
            "gender": pd.Categorical.from_codes(gender_of[speaker], genders),
            "step": _join([np.arange(n) for n in lengths], np.int64),
            "time": _join([times[i] for i in indices], np.float64),
            "code": _join([codes[i] for i in indices], np.int64),
            "phone": pd.Categorical.from_codes(phone, phones),
        }
    )


def phones_at(intervals: Iterable, times: Sequence[float]) -> np.ndarray:
    """Symbol at each time (seconds), an object array (L,): that of the interval with start <= time < end, else None."""
    intervals = sorted(intervals, key=lambda interval: interval.start)
    index = lookup([i.start for i in intervals], [i.end for i in intervals], times)
    symbols = np.array([bare(i.symbol) for i in intervals] + [None], dtype=object)
    return symbols[index]


def lookup(starts: Sequence[float], ends: Sequence[float], times: Sequence[float]) -> np.ndarray:
    """For each time the index of the interval that holds it, -1 where none does. `starts` ascend; (L,) int64."""
    starts, ends, times = (np.asarray(x, dtype=np.float64) for x in (starts, ends, times))
    if len(starts) == 0:
        return np.full(len(times), -1)
    index = np.searchsorted(starts, times, side="right") - 1
    return np.where((index >= 0) & (times < ends[index]), index, -1)


def step_seconds(tokens: pd.DataFrame) -> float:
    """Seconds from one code to the next, read from the table itself (its longest utterance)."""
    if len(tokens) == 0 or (last := int(tokens["step"].to_numpy().argmax())) == 0:
        raise SpeechlibError("the step between codes cannot be read from a table without two codes of one utterance")
    row = tokens.iloc[last]
    first = tokens[(tokens["utterance"] == row["utterance"]) & (tokens["step"] < row["step"])]
    if first.empty:
        raise SpeechlibError("the step between codes cannot be read from a table without two codes of one utterance")
    return float((row["time"] - first["time"].iloc[0]) / (row["step"] - first["step"].iloc[0]))


def labelled(tokens: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a phone. Raises SpeechlibError where none has."""
    rows = tokens[tokens["phone"].notna()]
    if rows.empty:
        raise SpeechlibError(
            f"none of the {len(tokens)} codes has a phone: does this corpus come with phone times? See notebook 01, or "
            "align it with `speechlib.corpora.alignment`"
        )
    return rows


def _phones(pack, indices, times) -> tuple[np.ndarray, list[str]]:
    """Phone number of every code (-1: none) and the sorted symbols that the numbers mean."""
    found = [phones_at(pack.phones(i), times[i]) for i in indices]
    numbers, symbols = pd.factorize(_join(found, object), sort=True)
    return numbers, list(symbols)


def _check(pack, i: int, codes, times) -> None:
    if not 0 <= i < len(pack.utterances):
        raise SpeechlibError(f"codes are given for utterance {i}, the pack has {len(pack.utterances)}")
    codes, name = np.asarray(codes), pack.utterances[i]
    if codes.ndim != 1 or codes.dtype.kind not in "iu":
        raise SpeechlibError(f"codes of {name} are {codes.dtype} {codes.shape}, wanted whole numbers (L,)")
    if times is None or len(times) != len(codes):
        raise SpeechlibError(f"{name} has {len(codes)} codes but {0 if times is None else len(times)} times")


def _join(parts: list, dtype) -> np.ndarray:
    return np.concatenate([np.asarray(p, dtype=dtype) for p in parts]) if parts else np.empty(0, dtype)
