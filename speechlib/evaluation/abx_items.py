"""What ABX compares: items (a phone, where it is spoken, between which phones, by whom), and their rows of a model.

An item file has one line per item, as ABXpy, libri-light and fastabx read it; times are seconds of the recording:

    #file onset offset #phone prev-phone next-phone speaker
    bdl_arctic_a0001 0.2100 0.3100 th ao er bdl

A representation (T, D) of that recording, or codes (T,), has a row every 1 / rate seconds. Three conventions say which
rows are those of [onset, offset]; a position counts rows, and is fractional:

    "centres"      row i is centred at first + i / rate: all rows whose centre lies inside, both ends included.
                   ABXpy and fastabx, for which first is always half a row, 0.5 / rate
    "libri-light"  rows ceil(rate onset - 1/2) up to, and without, floor(rate offset - 1/2): the same times, but the
                   last row is left out (a slip there: a row of 40 ms is a third of a phone)
    "fraction"     row i of T lies at i duration / T seconds: all that lie inside, both ends included. The scorer of
                   ZeroSpeech 2019, where files are cut out to the item and the duration counts as 1
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..corpora.labels import SILENCES, Interval
from ..errors import BadFile, SpeechlibError, UnknownName
from ..files import atomic
from .tokens import bare

COLUMNS = ("file", "onset", "offset", "phone", "previous", "next", "speaker")
_HEADER = ("#file", "onset", "offset", "#phone", "prev-phone", "next-phone", "speaker")
SLICINGS = ("centres", "libri-light", "fraction")
SPANS = ("phone", "triphone")
_GAP = 0.005  # seconds: two labels further apart have something unlabelled between them
_ROUND = 6  # digits of a position: 0.285 s * 100 - 0.5 is 28, and not just below it


def read_items(path: str | Path) -> pd.DataFrame:
    """The items of a file, a row each, with COLUMNS. Raises BadFile with the line and the reason."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadFile(path, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise BadFile(path, f"is no text in UTF-8 ({error.reason} at byte {error.start})") from None
    names = lines[0].split() if lines else []
    if missing := [name for name in _HEADER if name not in names]:
        raise BadFile(path, f"has no {', '.join(missing)} in its header, wanted `{' '.join(_HEADER)}`", "line 1")
    places = [names.index(name) for name in _HEADER]
    rows = []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != len(names):
            reason = f"has {len(fields)} fields, its header {len(names)}: {line.strip()!r}"
            raise BadFile(path, reason, f"line {number}")
        row = [fields[place] for place in places]
        try:
            row[1:3] = float(row[1]), float(row[2])
        except ValueError:
            reason = f"has no numbers for onset and offset: {row[1]!r}, {row[2]!r}"
            raise BadFile(path, reason, f"line {number}") from None
        if not 0 <= row[1] < row[2] < np.inf:
            raise BadFile(path, f"runs from {row[1]:g} s to {row[2]:g} s", f"line {number}")
        rows.append(row)
    if not rows:
        raise BadFile(path, "has no items, only a header")
    return pd.DataFrame(rows, columns=COLUMNS)


def write_items(items: pd.DataFrame, path: str | Path) -> Path:
    """The items in the form above, times to a tenth of a millisecond."""
    with atomic(Path(path)) as part, part.open("w", encoding="utf-8") as file:
        file.write(" ".join(_HEADER) + "\n")
        for row in items[list(COLUMNS)].itertuples(index=False):
            if spaced := [field for field in (row.file, *row[3:]) if len(str(field).split()) != 1]:
                raise SpeechlibError(f"{spaced[0]!r} in the item {row.file} at {row.onset:g} s: fields have no spaces")
            file.write(f"{row.file} {row.onset:.4f} {row.offset:.4f} {' '.join(map(str, row[3:]))}\n")
    return Path(path)


def items_of(pack, indices: Iterable[int] | None = None, span: str = "phone") -> pd.DataFrame:
    """The items of utterances of a pack (of all of them by default); see `items_from`. `file` is the utterance's name,
    times are those of the packed audio."""
    indices = range(len(pack)) if indices is None else indices
    spoken = ((pack.utterances[i], pack.speakers[pack.speaker[i]], pack.phones(i)) for i in map(int, indices))
    return items_from(spoken, span)


def items_of_cuts(cuts: Iterable, span: str = "phone") -> pd.DataFrame:
    """The items of a lhotse CutSet whose supervisions have `alignment["phone"]`; see `items_from`."""
    said = ((cut.id, cut.supervisions[0]) for cut in cuts)
    return items_from(((name, one.speaker, (one.alignment or {}).get("phone", ())) for name, one in said), span)


def items_from(utterances: Iterable[tuple[str, str, Sequence[Interval]]], span: str = "phone") -> pd.DataFrame:
    """Items of (name, speaker, phone intervals): every phone with a phone right before and after it.

    Stress marks are taken off. Silence is neither an item nor a context. `span`: "phone" keeps the phone's own times;
    "triphone" begins with the phone before and ends with the one after, as the items of ZeroSpeech 2017 and libri-light
    do. Raises SpeechlibError where no utterance has three phones in a row.
    """
    if span not in SPANS:
        raise UnknownName("span of items", span, SPANS)
    rows, seen = [], 0
    for name, speaker, intervals in utterances:
        seen += 1
        phones = sorted(intervals, key=lambda phone: phone.start)
        symbols = [None if phone.symbol in SILENCES else bare(phone.symbol) for phone in phones]
        for k in range(1, len(phones) - 1):
            before, phone, after = phones[k - 1 : k + 2]
            apart = max(phone.start - before.end, after.start - phone.end)
            if None in symbols[k - 1 : k + 2] or apart > _GAP or phone.end <= phone.start:
                continue
            ends = (before, after) if span == "triphone" else (phone, phone)
            rows.append((name, ends[0].start, ends[1].end, symbols[k], symbols[k - 1], symbols[k + 1], speaker))
    if not rows:
        raise SpeechlibError(
            f"none of the {seen} utterances has three phones in a row: does this corpus come with phone times? See "
            "notebook 01, or align it with `speechlib.corpora.alignment`"
        )
    return pd.DataFrame(rows, columns=COLUMNS)


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
