"""Items: phones as they stand in speech (where, between which phones, by whom), and the files that hold them.

What a test of phones compares (evaluation.abx), and the phones that ZeroSpeech gives with its recordings. An item file
has one line per item, as ABXpy, libri-light and fastabx read it; times are seconds of the recording:

    #file onset offset #phone prev-phone next-phone speaker
    bdl_arctic_a0001 0.2100 0.3100 th ao er bdl

Items that are made here have no stress marks: a stressed vowel is the same phone, as in token tables and for every
score of this workbook; with the marks left on, ABX would ask for stress, and the same two neighbours would be rarer
still. A file that comes from elsewhere is read as it is.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import BadFile, SpeechlibError, UnknownName
from ..files import atomic
from .labels import SILENCES, Interval, bare

COLUMNS = ("file", "onset", "offset", "phone", "previous", "next", "speaker")
_HEADER = ("#file", "onset", "offset", "#phone", "prev-phone", "next-phone", "speaker")
SPANS = ("phone", "triphone")
_GAP = 0.005  # seconds: two labels further apart have something unlabelled between them


class NoItems(SpeechlibError):
    """No phone of this speech stands between two others."""


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
    do. Raises NoItems where no utterance has three phones in a row.
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
        raise NoItems(
            f"none of the {seen} utterances has three phones in a row: does this corpus come with phone times? See "
            "notebook 01, or align it with `speechlib.corpora.alignment`"
        )
    return pd.DataFrame(rows, columns=COLUMNS)
