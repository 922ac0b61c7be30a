"""Any folder of recordings: your own corpus. Nothing is written into it.

root/**/*.wav|flac|ogg|mp3|...        speaker = the folder a recording lies in
root/metadata.csv (optional)          one line per recording, with a header or without:
    id|text|speaker                   ids are paths, file names or names without suffix
    utt,speaker,gender,path,text      any order, any further columns, "," "|" ";" or tab
    id|text|normalised text           LJSpeech
    fileid|grapheme|g2p               podcast layout of MelNet's source system (metadata_TCC.csv, corpus/*.wav)
labels beside the recordings, or under root/alignments, by the same name:
    .phn .wrd .TextGrid .lab .phone.json, and .txt (plain, or TIMIT's `0 51761 text`)
"""

import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import BadFile, SpeechlibError
from . import labels
from .assemble import AUDIO, Corpus, Skipped, Utterance, assemble, gender_of

_COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "audio", "audio_file", "audio_path", "wav", "clip"),
    "id": ("id", "utt", "utterance", "utt_id", "utterance_id", "fileid", "file_id", "name", "basename", "key"),
    "text": ("text", "sentence", "transcript", "transcription", "grapheme", "normalized_text", "normalised_text"),
    "speaker": ("speaker", "speaker_id", "spk", "speaker_name", "client_id", "reader"),
    "gender": ("gender", "sex"),
}
_GENERIC = ("wav", "wavs", "wav48", "audio", "clips", "corpus", "flac", "mp3", "data", "recordings")


class Row(NamedTuple):
    """One line of the table: `key` names the recording (path or id), the rest is what it says of it."""

    key: str
    text: str | None = None
    speaker: str | None = None
    gender: str | None = None


def load(root: Path, name: str = "folder") -> Corpus:
    """All recordings under `root`. Speakers are those of the table, else the folder names, else one."""
    if not root.is_dir():
        raise SpeechlibError(f"corpus {name!r}: there is no folder {root}")
    audio, beside = scan(root)
    table, rows = _table(root, audio)
    found, missing = _match(rows, audio)
    find = labels.Finder([root / path for path in beside])
    texts = {path.with_suffix(""): root / path for path in beside if path.suffix == ".txt"}
    ids = _ids({path: found.get(path, Row("")).speaker or _folder_speaker(root, path) for path in audio})
    utterances = []
    for path in audio:
        row = found.get(path, Row(""))
        utterances.append(
            Utterance(
                id=ids[path],
                path=root / path,
                speaker=row.speaker or _folder_speaker(root, path),
                gender=row.gender,
                text=row.text or read_text(texts.get(path.with_suffix(""))),
                labels=find(root / path),
            )
        )
    skipped = [Skipped(f"{table}: {row.key}", "there is no such recording") for row in missing]
    looked = f"{', '.join(AUDIO)} under {root}"
    return assemble(name, utterances, skipped, looked)


def scan(root: Path) -> tuple[list[Path], list[Path]]:
    """(recordings, files that may hold labels or text) under `root`, relative to it, sorted; hidden ones left out."""
    audio, beside = [], []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        here = Path(folder).relative_to(root)
        for file in sorted(files):
            name = file.lower()
            if file.startswith("."):
                continue
            if name.endswith(AUDIO):
                audio.append(here / file)
            elif name.endswith((*labels.SUFFIXES, ".txt")):
                beside.append(here / file)
    return audio, beside


def read_text(path: Path | None) -> str | None:
    """The first line of a transcript, without TIMIT's sample numbers; None where there is none or it cannot be read."""
    try:
        line = path.read_text(encoding="utf-8-sig", errors="replace").strip().partition("\n")[0] if path else ""
    except OSError:
        return None
    return re.sub(r"^\d+ \d+ ", "", line).strip() or None


def read_table(path: Path) -> list[Row]:
    """The rows of a table in any of the shapes above. Raises BadFile where it is none of them."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(path, f"is not a text table in UTF-8 ({error})") from None
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise BadFile(path, "is empty")
    delimiter = max("|\t;,", key=lambda mark: (mark in lines[0], "|\t;,".find(mark) * -1))
    quoting = csv.QUOTE_NONE if delimiter == "|" else csv.QUOTE_MINIMAL  # LJSpeech's texts hold single quote marks
    cells = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter, quoting=quoting)]
    columns = _columns(cells[0])
    if columns:
        cells = cells[1:]
    else:
        columns = {"path": 0, "text": 1} | ({"speaker": 2} if _third_is_speaker(cells) else {})

    def value(row: list[str], column: str) -> str | None:
        at = columns.get(column)
        return (row[at] or None) if at is not None and at < len(row) else None

    rows = []
    for row in cells:
        key = value(row, "path") or value(row, "id")
        if key:
            rows.append(Row(key, value(row, "text"), value(row, "speaker"), gender_of(value(row, "gender"))))
    return rows


# ---------------------------------------------------------------------------------------------------------------------


def _columns(first: list[str]) -> dict[str, int]:
    """Which column holds what, by the names of a header; {} when the first line is not one."""
    lower = [cell.lower() for cell in first]
    found = {}
    for column, known in _COLUMNS.items():
        at = next((lower.index(name) for name in known if name in lower), None)
        if at is not None:
            found[column] = at
    return found if {"path", "id"} & set(found) and len(found) > 1 else {}


def _third_is_speaker(cells: list[list[str]]) -> bool:
    """id|text|speaker, not LJSpeech's id|text|normalised text: short names without spaces."""
    third = [row[2] for row in cells if len(row) > 2]
    return bool(third) and not any(" " in cell for cell in third)


def _table(root: Path, audio: list[Path]) -> tuple[Path | None, list[Row]]:
    """The table that knows some of these recordings: metadata*.csv first, then any other of the top folder."""
    tables = [p for p in sorted(root.iterdir()) if p.suffix.lower() in (".csv", ".tsv") and not p.name.startswith(".")]
    for path in sorted(tables, key=lambda p: not p.name.startswith("metadata")):
        rows = read_table(path)
        if not audio or _match(rows, audio)[0]:
            return path, rows
    return None, []


def _match(rows: Iterable[Row], audio: list[Path]) -> tuple[dict[Path, Row], list[Row]]:
    """(recording -> its row, rows without a recording). A key may be a path, with or without suffix, or a bare name;
    a bare name that several recordings share belongs to the one in its speaker's folder."""
    by_key: dict[str, list[Path]] = defaultdict(list)
    for path in audio:
        for key in {path.as_posix(), path.with_suffix("").as_posix(), path.name, path.stem}:
            by_key[key].append(path)
    found, missing = {}, []
    for row in rows:
        candidates = by_key.get(row.key.removeprefix("./"), [])
        if len(candidates) > 1:
            candidates = [path for path in candidates if row.speaker in path.parts]
        if candidates:
            found |= dict.fromkeys(candidates, row)
        else:
            missing.append(row)
    return found, missing


def _folder_speaker(root: Path, path: Path) -> str:
    """The first folder above a recording with a name of its own; the corpus' name where there is none."""
    return next((part for part in path.parts[:-1] if part.lower() not in _GENERIC), root.name)


def _ids(speakers: dict[Path, str]) -> dict[Path, str]:
    """An id per recording: its name; speaker_name where names repeat; the whole path where those repeat too."""
    schemes = (
        lambda path: path.stem,
        lambda path: f"{speakers[path]}_{path.stem}",
        lambda path: path.with_suffix("").as_posix().replace("/", "_"),
        lambda path: path.as_posix().replace("/", "_"),
    )
    for scheme in schemes:
        ids = {path: scheme(path) for path in speakers}
        if max(Counter(ids.values()).values(), default=1) == 1:
            break
    return ids
