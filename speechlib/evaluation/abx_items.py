"""What ABX compares: the rows that a model has of each item (corpora.items: a phone, where, in which context, by whom).

A representation (T, D) of a recording, or codes (T,), has a row every 1 / rate seconds. Three conventions say which
rows are those of an item's [onset, offset]; a position counts rows, and is fractional:

    "centres"      row i is centred at first + i / rate: all rows whose centre lies inside, both ends included.
                   ABXpy and fastabx, for which first is always half a row, 0.5 / rate
    "libri-light"  rows ceil(rate onset - 1/2) up to, and without, floor(rate offset - 1/2): the same times, but the
                   last row is left out (a slip there: a row of 40 ms is a third of a phone)
    "fraction"     row i of T lies at i duration / T seconds: all that lie inside, both ends included. The scorer of
                   ZeroSpeech 2019, where files are cut out to the item and the duration counts as 1
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import SpeechlibError, UnknownName

SLICINGS = ("centres", "libri-light", "fraction")
_ROUND = 6  # digits of a position: 0.285 s * 100 - 0.5 is 28, and not just below it


class Units(NamedTuple):
    """The rows of every item, one item after the other; what `abx.score` compares."""

    items: pd.DataFrame  # (N) those that have rows
    rows: np.ndarray  # (F, D) vectors, or whole numbers: codes (F,) or tuples of codes (F, G)
    lengths: np.ndarray  # (N,) rows of each, at least 1
    counts: dict[str, int]  # items; of these clipped, nearest, skipped: see `cut`

    def __repr__(self) -> str:
        counted = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        return f"Units: {counted}; {self.lengths.mean():.1f} rows each, {self.rows.dtype} {self.rows.shape}"


def cut(
    items: pd.DataFrame,
    representations: Mapping[str, np.ndarray],
    rate: float | None = None,
    slicing: str = "centres",
    first: float | None = None,
    empty: str = "nearest",
    beyond: str = "clip",
    durations: Mapping[str, float] | None = None,
) -> Units:
    """The rows of each item in `representations` {file: (T, D), or codes (T,) or (T, G)}, `rate` rows per second.

    `first`: seconds to the centre of row 0 ("centres" only; half a row by default). `durations`: seconds of each file
    ("fraction" only; T / rate by default).

    An item that no row belongs to (shorter than a row) has, by `empty`, the one row "nearest" to its middle, so that
    slow and fast representations are judged on the same items; or is left out ("skip", as libri-light does). An item
    that ends behind the last row is clipped ("clip") or an "error". Both are counted. One that *begins* more than a row
    behind the last one has nothing to be clipped to: an error, or skipped.
    """
    for what, value, known in (("slicing", slicing, SLICINGS), ("empty", empty, ("nearest", "skip"))):
        if value not in known:
            raise UnknownName(what, value, known)
    if beyond not in ("clip", "error"):
        raise UnknownName("beyond", beyond, ("clip", "error"))
    if first is not None and slicing != "centres":
        raise SpeechlibError(f"`first` says where rows are centred, slicing {slicing!r} has its own rule")
    _check_rate(rate, slicing, durations)
    _check_files(items, representations, durations if slicing == "fraction" else None)
    counts = {"items": len(items), "clipped": 0, "nearest": 0, "skipped": 0}
    starts, stops = np.zeros(len(items), np.int64), np.zeros(len(items), np.int64)
    for file, places in items.groupby("file", sort=False).indices.items():
        n_rows = len(representations[file])
        onset, offset = (items[name].to_numpy(np.float64)[places] for name in ("onset", "offset"))
        if slicing == "fraction":
            scale, shift = n_rows / (durations[file] if durations is not None else n_rows / rate), 0.0
        else:
            scale, shift = rate, 0.5 if first is None else first * rate
        begin, end = (np.round(times * scale - shift, _ROUND) for times in (onset, offset))  # positions: see above
        start = np.ceil(begin).astype(np.int64)
        stop = np.floor(end).astype(np.int64) + (slicing != "libri-light")
        # by "fraction" the row behind the last stands where the file ends: an item that ends there does not lie beyond
        over, outside = stop > n_rows + (slicing == "fraction"), begin > n_rows
        if (over.any() and beyond == "error") or (outside.any() and empty != "skip"):
            k = int((outside if outside.any() else over).argmax())
            raise SpeechlibError(
                f"the item at {onset[k]:g} to {offset[k]:g} s of {file} ends with row {stop[k] - 1}, and there are "
                f"{n_rows} rows ({n_rows / scale:g} s at {scale:g} per second): is the rate another one?"
            )
        start, stop = np.maximum(start, 0), np.minimum(stop, n_rows)
        none = stop <= start
        counts["clipped"] += int((over & ~none).sum())
        if empty == "nearest":
            middle = np.clip(np.rint((begin + end) / 2).astype(np.int64), 0, n_rows - 1)
            start, stop = np.where(none, middle, start), np.where(none, middle + 1, stop)
            counts["nearest"] += int(none.sum())
        else:
            counts["skipped"] += int(none.sum())
        starts[places], stops[places] = start, stop
    kept = np.flatnonzero(stops > starts)
    if not len(kept):
        raise SpeechlibError(f"all {len(items)} items are shorter than a row, {rate} per second: take empty='nearest'")
    files = items["file"].to_numpy()
    rows = np.concatenate([np.asarray(representations[files[k]])[starts[k] : stops[k]] for k in kept])
    return Units(items.iloc[kept].reset_index(drop=True), rows, (stops - starts)[kept], counts)


def _check_rate(rate: float | None, slicing: str, durations: Mapping | None) -> None:
    if slicing == "fraction" and durations is not None:
        return
    if rate is None or not 0 < rate < np.inf:
        raise SpeechlibError(f"slicing {slicing!r} needs the rate in rows per second, got {rate}")


def _check_files(items: pd.DataFrame, representations: Mapping, durations: Mapping | None) -> None:
    """Raises SpeechlibError for what is missing, empty, of another size than the first, or not finite."""
    if not len(items):
        raise SpeechlibError("there are no items to cut")
    size = None
    for file in items["file"].unique():
        if file not in representations or (durations is not None and file not in durations):
            what = "representation" if file not in representations else "duration"
            among = representations if what == "representation" else durations
            lacking = sum(name not in among for name in items["file"].unique())
            raise SpeechlibError(f"{lacking} files of the items have no {what}, the first is {file}")
        values = np.asarray(representations[file])
        if values.ndim not in (1, 2) or not len(values) or (values.ndim == 1 and values.dtype.kind not in "iu"):
            raise SpeechlibError(f"{file} is {values.dtype} {values.shape}, wanted vectors (T, D) or codes (T,), T > 0")
        size = size or (values.shape[1:], values.dtype.kind in "iu")
        if size != (values.shape[1:], values.dtype.kind in "iu"):
            raise SpeechlibError(f"{file} has rows of {values.dtype} {values.shape[1:]}, files before it of {size[0]}")
        if values.dtype.kind not in "iu" and not np.isfinite(values).all():
            raise SpeechlibError(f"{file} holds NaN or infinite numbers, in row {_first_bad(values)} first")


def _first_bad(values: np.ndarray) -> int:
    return int((~np.isfinite(values)).any(axis=1).argmax())
