"""CSTR VCTK: 109 speakers of English with various accents, about 400 sentences each, read in one studio (44 hours).

Source: Yamagishi, Veaux, MacDonald, University of Edinburgh, https://datashare.ed.ac.uk/handle/10283/3443
Licence: CC BY 4.0 (0.92), ODC-By 1.0 (0.80).
Layout: 0.80 wav48/p225/p225_001.wav; 0.92 wav48_silence_trimmed/p225/p225_001_mic2.flac (mic1 where there is no mic2);
both txt/p225/p225_001.txt, speaker-info.txt, and phonemes/p225/p225_001.TextGrid where someone aligned them.
"""

from pathlib import Path

from . import fetch, labels
from .assemble import (
    AUDIO,
    Corpus,
    Skipped,
    Utterance,
    assemble,
    base,
    files_under,
    gender_of,
    missing_texts,
    read_text,
)

URL = "https://datashare.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip"
SHA256 = "f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c"


def load(root: Path) -> Corpus:
    """Either version under `root`, or in its VCTK-Corpus folder."""
    home = base(root, ("", "VCTK-Corpus", "VCTK-Corpus-0.92"), ("wav48", "wav48_silence_trimmed"))
    folder = next((home / f for f in ("wav48_silence_trimmed", "wav48") if (home / f).is_dir()), home / "wav48")
    recordings = {}
    for path in files_under(folder, AUDIO):  # sorted: mic2 comes after mic1 and replaces it
        recordings[path.stem.removesuffix("_mic1").removesuffix("_mic2")] = path
    speakers = _speakers(home / "speaker-info.txt")
    times = {name: path.parent / name for name, path in recordings.items()}
    find = labels.Finder(files_under(home / "phonemes", (".textgrid",)), times.values())
    utterances = []
    for name, path in recordings.items():
        speaker = path.parent.name
        gender, accent = speakers.get(speaker, (None, None))
        text = read_text(home / "txt" / speaker / f"{name}.txt")
        custom = {"accent": accent} if accent else None
        utterances.append(Utterance(name, path, speaker, gender, text, find(times[name]), custom))
    notes = missing_texts(utterances, home / "txt")
    if not speakers:
        notes.append(Skipped(str(home / "speaker-info.txt"), "is missing: no genders and accents"))
    if not (home / "phonemes").is_dir():
        notes.append(Skipped(str(home / "phonemes"), "is missing: no phone times"))
    return assemble("vctk", utterances, notes, f"wav48/pNNN/*.wav or wav48_silence_trimmed/pNNN/*.flac under {home}")


def download(root: Path, progress=None) -> Path:
    """Version 0.92 (11.7 GB)."""
    return fetch.fetch(URL, SHA256, root, into=root / "VCTK-Corpus-0.92", progress=progress)


def _speakers(path: Path) -> dict[str, tuple[str | None, str | None]]:
    """Speaker -> (gender, accent) from the table ID AGE GENDER ACCENTS REGION; 0.80 writes its ids without the p."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[1:] if path.is_file() else []
    speakers = {}
    for row in (line.split() for line in lines):
        if len(row) > 2:
            name = row[0] if row[0][0].isalpha() else f"p{row[0]}"
            speakers[name] = (gender_of(row[2]), row[3] if len(row) > 3 else None)
    return speakers
