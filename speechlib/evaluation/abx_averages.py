"""From the cells of ABX to one number, in the two orders that tools use, and how far chance moves it.

Phone pairs are ordered: the error of (phone, other) has x and a of `phone`, that of (other, phone) is a number of its
own ("asymmetric"), and the overall error is the mean of all of them, as in every tool.

    order "zerospeech"   over contexts for each pair of speakers, over pairs of speakers, over pairs of phones: the
                         scorers of ZeroSpeech 2017, 2019 and 2020
    order "libri-light"  over contexts and speakers of x in one, over speakers of a and b, over pairs of phones:
                         libri-light, ZeroSpeech 2021, fastabx

Within speakers both are the same.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from ..errors import SpeechlibError, UnknownName

ORDERS = ("zerospeech", "libri-light")
UNITS = ("speaker", "context")
_AT_ONCE = 250  # draws of the bootstrap
_DENSE = 4_000_000  # numbers of a matrix


def overall(cells: pd.DataFrame, order: str = "zerospeech") -> float:
    """Percent."""
    return float(_pairs(cells, order)[1].mean())


def phone_pairs(cells: pd.DataFrame, order: str = "zerospeech", symmetric: bool = False) -> pd.DataFrame:
    """Percent for each phone (rows: that of x and a) against each other one (columns); NaN where no triple has both.

    `symmetric` takes the mean of both directions (of the one that is there).
    """
    pairs, errors, _ = _pairs(cells, order)
    table = pairs.assign(error=errors[:, 0]).pivot(index="phone", columns="other", values="error")
    names = sorted(set(table.index) | set(table.columns))
    table = table.reindex(index=names, columns=names)
    if symmetric:
        both = np.stack([table.to_numpy(), table.to_numpy().T])
        known = (~np.isnan(both)).sum(axis=0)
        mean = np.where(known > 0, np.nansum(both, axis=0) / np.maximum(known, 1), np.nan)
        table = pd.DataFrame(mean, index=names, columns=names)
    return table.rename_axis(index="phone", columns="other")


def by_speaker(cells: pd.DataFrame, order: str = "zerospeech") -> pd.DataFrame:
    """Percent for each speaker: `compared`, the cells whose a and b are theirs; `asked`, those whose x is."""
    names = sorted(set(cells["speaker"]) | set(cells["speaker_x"]))
    rows = {}
    for name in names:
        of = {"compared": cells[cells["speaker"] == name], "asked": cells[cells["speaker_x"] == name]}
        rows[name] = {what: overall(some, order) if len(some) else np.nan for what, some in of.items()}
        rows[name]["triples"] = int(of["compared"]["triples"].sum())
    return pd.DataFrame(rows).T.rename_axis("speaker").astype({"triples": int})


class TooFew(SpeechlibError):
    """What the bootstrap draws from cannot tell how far others would differ."""


class Interval(NamedTuple):
    low: float
    high: float
    drawn: int  # speakers or contexts that were drawn from
    unit: str


def interval(
    cells: pd.DataFrame,
    against: pd.DataFrame | None = None,
    unit: str = "speaker",
    order: str = "zerospeech",
    n: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """What the overall error might have been with other speakers or other words: percentiles of `n` bootstrap draws.

    The Bayesian bootstrap (Rubin 1981): each unit weighs as much as an exponential random number says, where the common
    one counts it 0, 1, 2 ... times; so no pair of phones or of speakers is ever missing, which would move the mean. A
    pair weighs as much as its cells do on average: one that stands in a single context comes and goes with it.
    unit "speaker": a triple weighs by the speaker of x times that of a and b. It tells of new voices; from a handful of
    them it can tell little. unit "context": the contexts, whose tokens are all different: new words by the same voices.

    `against` (cells of the same items in another representation): the interval of the difference, cells - against,
    under the same draws. Raises TooFew with one speaker (across: two, whose pair weighs the same in all draws) or
    context, and SpeechlibError where the cells are others.
    """
    if unit not in UNITS:
        raise UnknownName("unit of the bootstrap", unit, UNITS)
    keys = [name for name in cells.columns if name not in ("error", "triples")]
    if against is not None and not all(cells[name].equals(against.get(name)) for name in keys):
        raise SpeechlibError(
            f"{len(cells)} cells are compared with {len(against)}, and they are not of the same tokens: cut both "
            "representations with the same items and empty='nearest'"
        )
    numbers = _numbers(cells)
    if unit == "context" and not _context(cells):
        raise SpeechlibError("these cells have no contexts (context='any'): draw speakers")
    size = 1 + max(int(numbers[name].max()) for name in ([unit, "speaker_x"] if unit == "speaker" else [unit]))
    least = 3 if unit == "speaker" and not np.array_equal(numbers["speaker"], numbers["speaker_x"]) else 2
    if size < least:
        raise TooFew(f"the bootstrap draws {unit}s, and {size} cannot tell how others would differ: {least} may")
    drawn = np.random.default_rng(seed).exponential(size=(size, n))
    errors = cells["error"].to_numpy()[:, None] - (0 if against is None else against["error"].to_numpy()[:, None])
    found = []
    for k in range(0, n, _AT_ONCE):
        _, of_pairs, weights = _pairs(cells, order, errors, numbers, {unit: drawn[:, k : k + _AT_ONCE]})
        found.append((weights * of_pairs).sum(axis=0) / weights.sum(axis=0))
    low, high = np.percentile(np.concatenate(found), [50 - 50 * level, 50 + 50 * level])
    return Interval(float(low), float(high), size, unit)


def _context(cells: pd.DataFrame) -> list[str]:
    return [name for name in ("previous", "next") if name in cells]


def _numbers(cells: pd.DataFrame) -> dict[str, np.ndarray]:
    """Pair, context and speakers of each cell as numbers from 0, in the order in which they come; speakers share
    theirs."""
    codes = {name: pd.factorize(cells[name])[0] for name in ("phone", "other", *_context(cells))}
    speakers = pd.factorize(pd.concat([cells["speaker"], cells["speaker_x"]]), sort=True)[0]
    contexts = [codes[name] for name in _context(cells)]
    return {
        "pair": _number(codes["phone"], codes["other"]),
        "context": _number(*contexts) if contexts else np.zeros(len(cells), np.int64),
        "speaker": speakers[: len(cells)],
        "speaker_x": speakers[len(cells) :],
    }


def _number(*numbers: np.ndarray) -> np.ndarray:
    """Of each row the number of its combination of numbers, counted from 0 in the order in which they come."""
    combined = np.zeros(len(numbers[0]), np.int64)
    for one in numbers:
        combined = combined * (int(one.max()) + 1) + one
    return pd.factorize(combined)[0]


def _pairs(
    cells: pd.DataFrame,
    order: str,
    errors: np.ndarray | None = None,
    numbers: dict[str, np.ndarray] | None = None,
    times: dict[str, np.ndarray] | None = None,
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """(phone, other) of each pair of phones, its error (pairs, n) where each speaker or context counts `times` (its
    number, n), and the mean of how much its cells count."""
    if order not in ORDERS:
        raise UnknownName("order of averaging", order, ORDERS)
    errors = cells["error"].to_numpy()[:, None] if errors is None else errors
    numbers, times = numbers or _numbers(cells), times or {}
    within = np.array_equal(numbers["speaker"], numbers["speaker_x"])
    voice, once = times.get("speaker"), np.ones((1, 1))
    kept = ["pair", "speaker"] if order == "libri-light" else ["pair", "speaker", "speaker_x"]
    if voice is not None and order == "libri-light" and not within:
        first = numbers["speaker_x"], voice
    else:
        first = numbers["context"], times.get("context", once)
    errors, weights, numbers = _mean(errors, once, *first, numbers, kept)
    if voice is None:
        second = numbers["speaker"], once
    elif order == "libri-light" or within:
        second = numbers["speaker"], voice
    else:  # of all pairs of speakers
        both = (voice[:, None] * voice).reshape(-1, voice.shape[1])
        second = numbers["speaker"] * len(voice) + numbers["speaker_x"], both
    errors, weights, _ = _mean(errors, weights, *second, numbers, ["pair"])
    return cells[["phone", "other"]].drop_duplicates().reset_index(drop=True), errors, weights


def _mean(
    errors: np.ndarray,
    weights: np.ndarray,
    who: np.ndarray,
    times: np.ndarray,
    numbers: dict[str, np.ndarray],
    keys: list[str],
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Means of errors (R, n) over rows that agree in `keys`, each weighing weights (R, n) * times[who] (times (K, n));
    (1, 1) of either: all alike. (G, n), the mean weight in each group, and the numbers of each group."""
    group = _number(*(numbers[key] for key in keys))
    n_groups, n = int(group.max()) + 1, len(group)
    who = who if len(times) > 1 else np.zeros(n, np.int64)
    if errors.shape[1] == weights.shape[1] == 1:  # the draws differ in `times` only, which has few rows
        base = np.broadcast_to(weights[:, 0], n)
        total = _matrix(base, group, who, (n_groups, len(times))) @ times
        summed = _matrix(base * errors[:, 0], group, who, (n_groups, len(times))) @ times
    else:
        member, weights = _matrix(np.ones(n), group, np.arange(n), (n_groups, n)), weights * times[who]
        total, summed = member @ weights, member @ (weights * errors)
    first = np.empty(n_groups, np.int64)
    first[group[::-1]] = np.arange(n)[::-1]
    return summed / total, total / np.bincount(group)[:, None], {key: numbers[key][first] for key in keys}


def _matrix(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]):
    """Sums of values at (row, column); dense where that is quick."""
    matrix = csr_array((values, (rows, columns)), shape=shape)
    return matrix.toarray() if shape[0] * shape[1] <= _DENSE else matrix
