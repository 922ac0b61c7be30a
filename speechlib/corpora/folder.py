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
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import BadFile, SpeechlibError
from . import labels
from .assemble import AUDIO, Corpus, Skipped, Utterance, assemble, files_under, gender_of, read_text

_COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "audio", "audio_file", "audio_path", "wav", "clip"),
    "id": ("id", "utt", "utterance", "utt_id", "utterance_id", "fileid", "file_id", "name", "basename", "key"),
    "text": ("text", "sentence", "transcript", "transcription", "grapheme", "normalized_text", "normalised_text"),
    "speaker": ("speaker", "speaker_id", "spk", "speaker_name", "client_id", "reader"),
    "gender": ("gender", "sex"),
}
_NO_NAMES = "no line of it names a recording that is here, in a column `id` or `path` or in its first one"
_GENERIC = ("wav", "wavs", "wav48", "audio", "clips", "corpus", "flac", "mp3", "data", "recordings")


class Row(NamedTuple):
    """One line of the table: `key` names the recording (path or id), the rest is what it says of it."""

    key: str
    text: str | None = None
    speaker: str | None = None
    gender: str | None = None
    wrong: str = ""  # why the line cannot be used


def load(root: Path, name: str = "folder") -> Corpus:
    """All recordings under `root`. Speakers are those of the table, else the folder names, else one."""
    if not root.is_dir():
        raise SpeechlibError(f"corpus {name!r}: there is no folder {root}")
    audio = files_under(root, AUDIO)
    relative = {path: path.relative_to(root) for path in audio}
    table, rows, skipped = _table(root, relative)
    found, missing = _match(rows, relative)
    by_folder = _folder_speakers(root, audio)
    speakers = {path: found.get(path, Row("")).speaker or by_folder[path] for path in audio}
    ids = _ids(root, speakers)
    texts = _transcripts(root)
    plain = set(texts.values())
    find = labels.Finder([path for path in files_under(root, labels.SUFFIXES) if path not in plain], audio)
    utterances = []
    for path in audio:
        row = found.get(path, Row(""))
        text = row.text or read_text(texts.get(path.with_suffix("")))
        utterances.append(Utterance(ids[path], path, speakers[path], row.gender, text, find(path)))
    skipped += [Skipped(f"{table}: {row.key}", why) for row, why in missing.items()]
    settled = {*found.values(), *missing}
    twice = [row for row in rows if row not in settled]
    skipped += [Skipped(f"{table}: {row.key}", "a later line names the same recording and counts") for row in twice]
    return assemble(name, utterances, skipped, f"{' '.join(AUDIO)} under {root}")


_END = "\ufffe the end"  # a line of its own, unless a quote mark before it was never closed


def read_table(path: Path) -> list[Row]:
    """The rows of a table in any of the shapes above. Raises BadFile where it is none of them."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(path, f"is not a text table in UTF-8 ({error})") from None
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise BadFile(path, "is empty")
    delimiter = max("|\t;,", key=lambda mark: sum(mark in line for line in lines[:50]))  # the first, where two tie
    quoting = csv.QUOTE_NONE if delimiter == "|" else csv.QUOTE_MINIMAL  # LJSpeech's texts hold single quote marks
    try:
        rows = list(csv.reader([*lines, _END], delimiter=delimiter, quoting=quoting))
        if rows.pop() != [_END]:
            raise csv.Error("its last cell has no end")
    except csv.Error as error:
        raise BadFile(path, f"is no table of `{delimiter}` ({error}): a quote mark that is never closed?") from None
    cells = [[cell.strip() for cell in row] for row in rows]
    columns, width = _columns(cells[0]), 0
    if columns:
        width, cells = len(cells[0]), cells[1:]
    else:
        columns = {"path": 0, "text": 1} | ({"speaker": 2} if _third_is_speaker(cells) else {})

    def value(row: list[str], column: str) -> str | None:
        at = columns.get(column)
        return (row[at] or None) if at is not None and at < len(row) else None

    rows = []
    for row in cells:
        key = value(row, "path") or value(row, "id")
        if key and width and any(row[width:]):
            told = f"has {len(row)} cells, the header {width}: is `{delimiter}` in a text that lacks quote marks?"
            rows.append(Row(key, wrong=told))
        elif key:
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


def _table(root: Path, audio: dict[Path, Path]) -> tuple[Path | None, list[Row], list[Skipped]]:
    """The table that knows some of these recordings: metadata*.csv first, then any other of the top folder; and
    remarks on tables that cannot be read."""
    tables = [p for p in sorted(root.iterdir()) if p.suffix.lower() in (".csv", ".tsv") and not p.name.startswith(".")]
    unread = []
    for path in sorted(tables, key=lambda p: not p.name.startswith("metadata")):
        try:
            rows = read_table(path)
        except BadFile as error:
            unread.append(Skipped(error.path, f"table left out: {error.reason}"))
            continue
        if _match(rows, audio)[0]:
            return path, rows, unread
        unread.append(Skipped(str(path), f"table left out: {_NO_NAMES}"))
    return None, [], unread


def _match(rows: Iterable[Row], audio: dict[Path, Path]) -> tuple[dict[Path, Row], dict[Row, str]]:
    """(recording -> its row, a row without a recording -> why). A key may be a path, with or without suffix, or a bare
    name; a bare name that several recordings share belongs to the one in its speaker's folder."""
    by_key: dict[str, list[Path]] = defaultdict(list)
    for path, relative in audio.items():
        for key in {relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem}:
            by_key[key].append(path)
    found, missing = {}, {}
    for row in rows:
        several, candidates = "", [] if row.wrong else by_key.get(row.key.removeprefix("./"), [])
        if len(candidates) > 1:
            candidates = [path for path in candidates if row.speaker in audio[path].parts]
            several = "" if candidates else "several recordings have this name: write its path"
        found |= dict.fromkeys(candidates, row)
        if not candidates:
            missing[row] = row.wrong or several or "there is no such recording"
    return found, missing


def _transcripts(root: Path) -> dict[Path, Path]:
    """A recording without its suffix -> its transcript: name.txt, LibriTTS's name.normalized.txt, and name.lab where it
    holds words without times, as the Montreal Forced Aligner wants its input."""
    texts: dict[Path, Path] = {}
    for path in files_under(root, (".txt", ".lab")):
        if path.suffix.lower() == ".txt" or not labels.has_times(path):
            texts.setdefault(path.with_name(path.stem.removesuffix(".normalized").removesuffix(".original")), path)
    return texts


def _folder_speakers(root: Path, audio: list[Path]) -> dict[Path, str]:
    """Recording -> the first folder that tells recordings apart (wav/, clips/ and the like do not count)."""
    folders = {p: [f for f in p.relative_to(root).parts[:-1] if f.lower() not in _GENERIC] for p in audio}
    shared = len(os.path.commonprefix(list(folders.values())))
    return {path: (names[shared:] or names[-1:] or [root.name])[0] for path, names in folders.items()}


def _ids(root: Path, speakers: dict[Path, str]) -> dict[Path, str]:
    """An id per recording: its name; speaker_name where names repeat; the whole path where those repeat too."""
    schemes = (
        lambda path: path.stem,
        lambda path: f"{speakers[path]}_{path.stem}",
        lambda path: path.relative_to(root).with_suffix("").as_posix().replace("/", "_"),
        lambda path: path.relative_to(root).as_posix().replace("/", "_"),
    )
    for scheme in schemes:
        ids = {path: scheme(path) for path in speakers}
        if len(set(ids.values())) == len(ids):
            break
    return ids
