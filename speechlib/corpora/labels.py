"""Phone and word times as people keep them beside their recordings: TextGrid, TIMIT .phn/.wrd, .lab, phone json.

Every reader answers {"phone": [...], "word": [...]} with the tiers the file has, as intervals in seconds with the
file's own symbols. Nothing is renamed here: `bare` and SILENCES serve those who compare symbols.
"""

import json
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import BadFile


class Interval(NamedTuple):
    """`symbol` from `start` to `end`, in seconds."""

    symbol: str
    start: float
    end: float


Labels = dict[str, list[Interval]]

_SILENT = "- _ _: # h# #h sil sp pau epi silence <sil> <s> </s> <eps> <p:>".split()
SILENCES = frozenset(["", *_SILENT, *(symbol.upper() for symbol in _SILENT)])
"""Symbols that mean "nobody speaks", over the conventions of TIMIT, HTS, Kaldi, MFA, PocketSphinx and espeak."""

BEYOND = 0.05  # seconds that labels may reach past the end before it is worth a note: MFA rounds to 10 ms
_ROUNDING = 0.011  # seconds that two phones may overlap

UNLABELLED = ("", "-", "'")  # marks without a phone in alignments of VCTK; its source system skips them too
SUFFIXES = (".phn", ".wrd", ".textgrid", ".lab", ".phone.json")


def strip_stress(symbol: str) -> str:
    """A phone without the stress digit of ARPAbet or the stress mark of IPA: AH0 -> AH, ˈa -> a."""
    plain = symbol.strip("ˈˌ'%,")
    return plain[:-1] if len(plain) > 1 and plain[-1] in "012" and plain[:-1].isalpha() else plain or symbol


def bare(symbol: str) -> str | None:
    """A label's phone without its stress mark; None for a mark that is no phone."""
    return None if symbol in UNLABELLED else strip_stress(symbol)


def read(path: str | Path, sample_rate: int) -> Labels:
    """The labels in any file of SUFFIXES; `sample_rate` (of the recording) is the clock of .phn and .wrd."""
    name = str(path).lower()
    if name.endswith((".phn", ".wrd")):
        return read_phn(path, sample_rate)
    if name.endswith(".textgrid"):
        return read_textgrid(path)
    if name.endswith(".lab"):
        return read_hts_lab(path)
    if name.endswith(".json"):
        return read_json(path)
    raise BadFile(path, f"is none of the label files that are read: {', '.join(SUFFIXES)}")


def read_phn(path: str | Path, sample_rate: int = 16000) -> Labels:
    """TIMIT's .phn or .wrd: `first_sample last_sample symbol` per line."""
    tier = "word" if str(path).lower().endswith(".wrd") else "phone"
    return {tier: [Interval(s, a / sample_rate, b / sample_rate) for a, b, s in _columns(path)]}


def read_hts_lab(path: str | Path) -> Labels:
    """HTS (100 ns; plain, full context `..-p+..`, or states `..[2]`) and Festival's (after `#`: `end colour p`)."""
    lines = _lines(path)
    if "#" in (line.strip() for line in lines[:10]):
        return {"phone": _festival(path, lines)}
    phones: list[Interval] = []
    last_state = 0
    for start, end, label in _columns(path):
        full = label.split()[0]
        context = re.search(r"-(.+?)\+", full)
        state = re.search(r"\[(\d+)\]", full)
        symbol = context.group(1) if context else full[: state.start()] if state else full
        number = int(state.group(1)) if state else 0
        if number > last_state and phones and phones[-1].symbol == symbol:  # a further state of the same phone
            phones[-1] = phones[-1]._replace(end=end / 1e7)
        else:
            phones.append(Interval(symbol, start / 1e7, end / 1e7))
        last_state = number
    return {"phone": phones}


def has_times(path: str | Path) -> bool:
    """Whether a .lab holds times; those of the Montreal Forced Aligner's input are plain transcripts."""
    try:
        lines = _lines(path)
    except BadFile:
        return True  # that it cannot be opened is told where its labels are read
    first = next((line.split()[0] for line in lines if line.strip()), "")
    return first.replace(".", "", 1).isdigit() or "#" in (line.strip() for line in lines[:10])


def read_json(path: str | Path) -> Labels:
    """PocketSphinx's alignment: an utterance {b, d, t, w: [words {b, d, t, w: [phones]}]} with begin and duration."""
    try:
        utterance = json.loads(_text(path))
        words = utterance["w"]
        labels: Labels = {"word": [], "phone": []}
        for word in words:
            labels["word"].append(_json_interval(word))
            labels["phone"] += [_json_interval(phone) for phone in word.get("w", [])]
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, OverflowError) as error:
        raise BadFile(path, f"is not a PocketSphinx alignment ({type(error).__name__}: {error})") from None
    return labels


def read_textgrid(path: str | Path) -> Labels:
    """The phone and word tiers of a Praat TextGrid, long or short form.

    Tiers are known by their names (phones, words, ...); without such names the first is words and the second phones,
    as the Montreal Forced Aligner writes them, and a single one is phones.
    """
    tiers = _textgrid_tiers(path)
    labels: Labels = {}
    for name, intervals in tiers:
        kind = str(name).lower().split(" - ")[-1].strip()  # MFA names the tiers of a dialogue "speaker - phones"
        tier = _TIERS.get(kind)
        if tier and tier not in labels:
            labels[tier] = intervals
    if not labels and tiers:
        labels = {"phone": tiers[0][1]} if len(tiers) == 1 else {"word": tiers[0][1], "phone": tiers[1][1]}
    return labels


_TIERS = dict.fromkeys(("phones", "phone", "phonemes", "phoneme", "segments", "segment", "phn"), "phone")
_TIERS |= dict.fromkeys(("words", "word", "wrd"), "word")


def fit(labels: Labels, duration: float) -> tuple[Labels, float]:
    """Labels clipped to [0, duration] without empty intervals and silent words, and the seconds they reached beyond."""
    beyond = max((interval.end for tier in labels.values() for interval in tier), default=0.0) - duration
    inside: Labels = {}
    for name, tier in labels.items():
        clipped = (Interval(s, min(max(a, 0.0), duration), min(b, duration)) for s, a, b in tier)
        kept = (i for i in clipped if i.end > i.start and (name == "phone" or i.symbol not in SILENCES))
        inside[name] = sorted(kept, key=lambda i: (i.start, i.end))
    return {name: tier for name, tier in inside.items() if tier}, max(beyond, 0.0)


def oddities(labels: Labels, duration: float) -> list[str]:
    """What is wrong with labels that could be read, as sentences; [] where nothing is. None of it costs the recording:
    `fit` clips and leaves out."""
    told = []
    intervals = [interval for tier in labels.values() for interval in tier]
    if not intervals:
        told.append("holds no labels: an empty tier?")
    if backwards := [interval for interval in intervals if interval.end < interval.start]:
        symbol, start, end = backwards[0]
        first = f"the first is {symbol!r} from {start:g} to {end:g} s"
        told.append(f"{len(backwards)} labels end before they begin, {first}: left out")
    inside, beyond = fit(labels, duration)
    phones = inside.get("phone", [])
    if over := [(a, b) for a, b in zip(phones, phones[1:]) if a.end - b.start > _ROUNDING]:
        a, b = over[0]
        first = f"the first are {a.symbol!r} until {a.end:g} s and {b.symbol!r} from {b.start:g} s"
        told.append(f"{len(over)} phones begin before the one before them ends, {first}: kept as they are")
    if beyond > BEYOND:
        after = f"labels end {beyond:.2f} s after the recording ({duration:.2f} s)"
        told.append(f"{after} and were clipped: labels of another version?")
    return told


def to_alignment(labels: Labels) -> dict:
    """The tiers as lhotse keeps them in a supervision."""
    from lhotse.supervision import AlignmentItem

    return {  # one text for each symbol: a large corpus says a few dozen of them millions of times
        name: [AlignmentItem(sys.intern(s), round(a, 7), round(b - a, 7)) for s, a, b in tier]
        for name, tier in labels.items()
    }


def write_textgrid(path: str | Path, labels: Labels, duration: float) -> None:
    """A TextGrid with the tiers words and phones, as MFA names them, for Praat and for `read_textgrid`."""
    from praatio import textgrid

    grid = textgrid.Textgrid(0, duration)
    for name in ("word", "phone"):
        if labels.get(name):
            rows = [(a, b, s) for s, a, b in labels[name]]
            grid.addTier(textgrid.IntervalTier(f"{name}s", rows, 0, duration))
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)


class Finder:
    """Which label files belong to which recording: those of its name beside it, else in any folder named like its own,
    else anywhere, the last two only where the name tells recordings apart (never another speaker's labels)."""

    def __init__(self, files: Iterable[Path], recordings: Iterable[Path]):
        self._recordings = Counter(key for path in recordings for key in _keys(path, path.stem))
        self._files: dict[tuple[str, str], list[Path]] = defaultdict(list)
        for path in files:
            suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), "")
            name = path.name[: -len(suffix)]
            tier = re.sub(r"_(phone|word)s?$", "", name)  # name_phones.TextGrid beside name_words.TextGrid
            for key in {*_keys(path, name), *_keys(path, tier)} if suffix else ():
                self._files[key].append(path)

    def __call__(self, recording: Path) -> tuple[Path, ...]:
        beside, *elsewhere = _keys(recording, recording.stem)
        found = list(self._files.get(beside, ()))
        for key in elsewhere:
            found += self._files.get(key, ()) if self._recordings[key] == 1 else ()
        return tuple(dict.fromkeys(found))


def _keys(path: Path, name: str) -> tuple[tuple[str, str], ...]:
    return (str(path.parent), name), (f"*/{path.parent.name}", name), ("*", name)


# ---------------------------------------------------------------------------------------------------------------------


def _text(path) -> str:
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise BadFile(path, error.strerror or str(error)) from None
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"  # Praat writes UTF-16 when it must
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _lines(path) -> list[str]:
    return _text(path).splitlines()


def _columns(path):
    """(start, end, symbol) of each non-empty line. Raises BadFile with the line's number where it is something else."""
    rows = []
    for number, line in enumerate(_lines(path), 1):
        fields = line.split(None, 2)
        if not fields:
            continue
        try:
            start, end, symbol = _seconds(fields[0]), _seconds(fields[1]), fields[2].strip()
        except (ValueError, IndexError):
            raise BadFile(path, f"expected `start end symbol`, found {line.strip()!r}", f"line {number}") from None
        rows.append((start, end, symbol))
    if not rows:
        raise BadFile(path, "holds no labels")
    return rows


def _festival(path, lines: list[str]) -> list[Interval]:
    start, phones = 0.0, []
    first = [line.strip() for line in lines].index("#") + 1
    for number, line in enumerate(lines[first:], first + 1):
        fields = line.split()
        if not fields:
            continue
        try:
            end, symbol = _seconds(fields[0]), fields[2]
        except (ValueError, IndexError):
            raise BadFile(path, f"expected `end colour symbol`, found {line.strip()!r}", f"line {number}") from None
        phones.append(Interval(symbol, start, end))
        start = end
    return phones


def _json_interval(item) -> Interval:
    symbol = re.sub(r"\(\d+\)$", "", item["t"])  # and(2) is the second pronunciation of "and"
    start = _seconds(item["b"])
    return Interval(symbol, start, start + _seconds(item["d"]))


def _seconds(value) -> float:
    """A number as labels have it. Raises ValueError for one that is no time: nan, inf."""
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{value} is no time")
    return number


_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<![\w.])(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w.\]])|<(exists|absent)>')


def _textgrid_tiers(path) -> list[tuple[str, list[Interval]]]:
    """(name, intervals) of every interval tier. Long and short form hold the same strings and numbers in one order:
    read only those, and the words between them (`xmin =`, `intervals [3]:`) do not matter."""
    tokens = [
        string.replace('""', '"') if number == flag == "" else float(number) if number else flag
        for string, number, flag in _TOKEN.findall(_text(path))
    ]
    try:
        if tokens[:2] != ["ooTextFile", "TextGrid"]:
            raise BadFile(path, "does not begin like a TextGrid")
        size, at = int(tokens[5]), 6
        if not 0 <= size <= len(tokens):
            raise BadFile(path, f"promises {size:,} tiers, and the file ends before: truncated?")
        tiers = []
        for _ in range(size):
            kind, name, count = tokens[at], tokens[at + 1], int(tokens[at + 4])
            at += 5
            width = 3 if kind == "IntervalTier" else 2
            if count < 0 or at + width * count > len(tokens):
                raise BadFile(path, f"tier {name!r} promises {count} intervals and the file ends before: truncated?")
            if kind == "IntervalTier":
                rows = (tokens[i : i + 3] for i in range(at, at + 3 * count, 3))
                tiers.append((name, [Interval(symbol.strip(), float(a), float(b)) for a, b, symbol in rows]))
            at += width * count
    except (IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(path, "is not a whole TextGrid: truncated?") from None
    return tiers
