"""From what a reader found (files, speakers, texts) to lhotse cuts; what cannot be used is set aside with its reason.

Only headers are read here, in threads, so that a hundred thousand utterances take minutes on a network disk; whether
the samples decode is found out when they are packed.
"""

import itertools
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import soundfile

from .. import audio
from ..errors import BadFile, SpeechlibError
from . import labels as labels_

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".sph", ".au")
_TOGETHER = 32  # utterances that a thread opens in a row: handing over a single one costs as much as opening it


class Skipped(NamedTuple):
    """A file (or a part of its labels) that was left out, and why."""

    path: str
    reason: str


class Corpus(NamedTuple):
    """`cuts`: one per utterance. `skipped`: what could not be used, with reasons."""

    name: str
    cuts: "CutSet"
    skipped: tuple[Skipped, ...]


class Utterance(NamedTuple):
    """What a reader knows of one recording before it is opened."""

    id: str
    path: Path
    speaker: str
    gender: str | None = None
    text: str | None = None
    labels: tuple[Path, ...] = ()
    custom: dict[str, str] | None = None  # whatever else the corpus tells: accent, age, its own split


def assemble(name: str, utterances: Iterable[Utterance], skipped: Iterable[Skipped], looked_for: str) -> Corpus:
    """The corpus of these utterances, sorted by id. Raises SpeechlibError (`looked_for`) when none can be used."""
    from lhotse import CutSet

    notes, utterances = list(skipped), list(utterances)
    some = [utterances[k : k + _TOGETHER] for k in range(0, len(utterances), _TOGETHER)]
    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        results = pool.map(lambda part: [_open(utterance) for utterance in part], some)
    cuts: dict[str, Cut] = {}
    for cut, remarks in itertools.chain.from_iterable(results):
        notes += remarks
        if cut is not None and cut.id in cuts:
            notes.append(Skipped(cut.recording.sources[0].source, f"a second utterance named {cut.id}"))
        elif cut is not None:
            cuts[cut.id] = cut
    if not cuts:
        raise empty(name, looked_for, notes)
    return Corpus(name, CutSet.from_cuts(cuts[key] for key in sorted(cuts)), tuple(notes))


def empty(name: str, looked_for: str, notes: list[Skipped]) -> SpeechlibError:
    """The error of a corpus without a single usable utterance."""
    first = f" {len(notes)} could not be used; the first: {notes[0].path}: {notes[0].reason}." if notes else ""
    return SpeechlibError(f"corpus {name!r} is empty: looked for {looked_for}.{first}")


def base(root: Path, folders: tuple[str, ...], holding: tuple[str, ...]) -> Path:
    """The first of `root`'s `folders` that has one of `holding`; people name the corpus' folder or the one above it."""
    return next((root / f for f in folders if any((root / f / h).exists() for h in holding)), root)


def files_under(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files with these suffixes (in any case) anywhere below `root`, sorted; hidden ones left out."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        found += [Path(folder, f) for f in sorted(files) if f.lower().endswith(suffixes) and not f.startswith(".")]
    return found


def read_text(path: Path | None) -> str | None:
    """The first line of a transcript, without TIMIT's sample numbers; None where there is none or it cannot be read."""
    try:
        line = path.read_text(encoding="utf-8-sig", errors="replace").strip().partition("\n")[0] if path else ""
    except OSError:
        return None
    return re.sub(r"^\d+ \d+ ", "", line).strip() or None


def missing_texts(utterances: list["Utterance"], where: Path) -> list[Skipped]:
    """One remark on how many recordings have no transcript, if any."""
    without = [utterance.id for utterance in utterances if not utterance.text]
    if not without:
        return []
    count = f"{len(without)} of {len(utterances)} recordings have no transcript here"
    return [Skipped(str(where), f"{count}, such as {without[0]}; they are kept without text")]


def gender_of(value: str | None) -> str | None:
    """Gender "F", "M" or None from what people write: f, female, Male, M, ..."""
    first = (value or "").strip()[:1].upper()
    return {"F": "F", "W": "F", "M": "M"}.get(first)


def _open(utterance: Utterance) -> "tuple[Cut | None, list[Skipped]]":
    """The cut of one utterance, or None, and remarks on it."""
    try:
        rate, channels, frames = _header(utterance.path)
    except BadFile as error:
        return None, [Skipped(error.path, error.reason)]
    tiers, notes = _labels(utterance, rate, frames / rate)
    return _cut(utterance, rate, channels, frames, tiers), notes


def _header(path: Path) -> tuple[int, int, int]:
    """(sample rate, channels, frames). Raises BadFile for what is not audio, empty, or shorter than its header says."""
    try:
        if path.stat().st_size == 0:
            raise BadFile(path, "is empty (0 bytes)")
        with soundfile.SoundFile(str(path)) as file:
            audio.refuse_truncated(path, file)
            audio.refuse_impossible(path, file)
            rate, channels, frames = file.samplerate, file.channels, file.frames
    except OSError as error:
        raise BadFile(path, error.strerror or str(error)) from None
    except soundfile.LibsndfileError as error:
        raise BadFile(path, f"is not audio that can be read ({error.error_string.strip(' .')})") from None
    if frames <= 0:
        raise BadFile(path, "holds no samples")
    return rate, channels, frames


def _labels(utterance: Utterance, rate: int, duration: float) -> tuple[labels_.Labels, list[Skipped]]:
    """The tiers of all label files that can be read (the first of a kind wins), and remarks on the others."""
    tiers: labels_.Labels = {}
    notes = []
    for path in utterance.labels:
        try:
            found = labels_.read(path, rate)
        except BadFile as error:
            place = f" ({error.place})" if error.place else ""
            notes.append(Skipped(error.path, f"labels left out, recording kept: {error.reason}{place}"))
            continue
        notes += [Skipped(str(path), told) for told in labels_.oddities(found, duration)]
        tiers = labels_.fit(found, duration)[0] | tiers
    return tiers, notes


def _cut(utterance: Utterance, rate: int, channels: int, frames: int, tiers: labels_.Labels) -> "Cut":
    from lhotse import AudioSource, Recording, SupervisionSegment

    duration = frames / rate
    source = AudioSource(type="file", channels=list(range(channels)), source=str(utterance.path))
    recording = Recording(utterance.id, [source], sampling_rate=rate, num_samples=frames, duration=duration)
    cut = recording.to_cut()
    cut.id = utterance.id
    cut.supervisions = [
        SupervisionSegment(
            id=utterance.id,
            recording_id=utterance.id,
            start=0.0,
            duration=duration,
            channel=cut.channel,
            text=utterance.text,
            speaker=utterance.speaker,
            gender=utterance.gender,
            custom=utterance.custom,
            alignment=labels_.to_alignment(tiers) or None,
        )
    ]
    return cut
