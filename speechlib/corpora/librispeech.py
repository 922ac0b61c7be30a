"""LibriSpeech: about 1,000 hours of audio books, 2,484 readers, 16 kHz.

Source: Panayotov, Chen, Povey, Khudanpur, ICASSP 2015, https://www.openslr.org/12
Licence: CC BY 4.0.
Layout: LibriSpeech/dev-clean/84/121123/84-121123-0000.flac with 84-121123.trans.txt beside it, SPEAKERS.TXT on top.
Phone times, where someone made them (Montreal Forced Aligner): TextGrids beside the audio, or in an alignments/ tree
inside LibriSpeech/ or next to it.
"""

from functools import cache
from pathlib import Path

from ..errors import UnknownName
from . import fetch, labels
from .assemble import AUDIO, Corpus, Skipped, Utterance, assemble, base, files_under, gender_of, missing_texts

URL = "https://www.openslr.org/resources/12/{part}.tar.gz"
PARTS = {
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}  # SHA-256


def load(root: Path) -> Corpus:
    """All parts under `root`, or one of them where `root` is its folder; custom["split"] names the part."""
    home = base(root, ("", "LibriSpeech"), (*PARTS, "SPEAKERS.TXT"))
    recordings = [path for path in files_under(home, AUDIO) if path.stem.count("-") == 2]
    genders = _genders(next((p for p in (home / "SPEAKERS.TXT", home.parent / "SPEAKERS.TXT") if p.is_file()), None))
    aligned = files_under(home, (".textgrid",)) + files_under(home.parent / "alignments", (".textgrid",))
    find = labels.Finder(aligned, recordings)
    transcripts = cache(_transcripts)
    utterances = []
    for path in recordings:
        speaker, chapter, _ = path.stem.split("-")
        text = transcripts(path.parent / f"{speaker}-{chapter}.trans.txt").get(path.stem)
        part = next((folder for folder in reversed(path.parts) if folder in PARTS), None)
        custom = {"split": part} if part else None
        utterances.append(Utterance(path.stem, path, speaker, genders.get(speaker), text, find(path), custom))
    notes = missing_texts(utterances, home)
    if not genders:
        notes.append(Skipped(str(home / "SPEAKERS.TXT"), "is missing: no genders"))
    return assemble("librispeech", utterances, notes, f"part/speaker/chapter/*.flac under {home}")


def download(root: Path, parts: tuple[str, ...] = ("dev-clean",), progress=None) -> Path:
    """Some of PARTS (dev-clean 0.3 GB ... train-other-500 30 GB) into `root`/LibriSpeech."""
    for part in parts:
        if part not in PARTS:
            raise UnknownName("part of LibriSpeech", part, PARTS)
    for part in parts:
        fetch.fetch(URL.format(part=part), PARTS[part], root, into=root, progress=progress)
    return root


def _genders(path: Path | None) -> dict[str, str | None]:
    """Speaker -> gender from `14 | F | train-clean-360 | 25.03 | name`; lines with ; are comments."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path else []
    rows = ([cell.strip() for cell in line.split("|")] for line in lines if not line.startswith(";"))
    return {row[0]: gender_of(row[1]) for row in rows if len(row) > 1}


def _transcripts(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return {name: text for name, _, text in (line.strip().partition(" ") for line in lines) if text}
