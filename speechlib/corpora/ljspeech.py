"""LJ Speech: one woman reads non-fiction, 13,100 clips, 24 hours, 22.05 kHz.

Source: Keith Ito and Linda Johnson, 2017, https://keithito.com/LJ-Speech-Dataset
Licence: public domain.
Layout: LJSpeech-1.1/metadata.csv (id|text|normalised text, no header), LJSpeech-1.1/wavs/*.wav.
Phone times, where someone made them: TextGrids beside the audio, or in alignments/ inside LJSpeech-1.1 or next to it.
"""

from pathlib import Path

from . import fetch, labels
from .assemble import AUDIO, Corpus, Skipped, Utterance, assemble, base, files_under, missing_texts

URL = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
SHA256 = "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"


def load(root: Path) -> Corpus:
    """The corpus in `root` or its LJSpeech-1.1 folder; texts are the normalised ones (numbers in words)."""
    home = base(root, ("", "LJSpeech-1.1"), ("wavs", "metadata.csv"))
    recordings = files_under(home / "wavs", AUDIO)
    table = home / "metadata.csv"
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines() if table.is_file() else []
    texts = {row[0]: row[-1].strip() for row in (line.split("|") for line in lines) if len(row) > 1}
    aligned = files_under(home, (".textgrid",)) + files_under(home.parent / "alignments", (".textgrid",))
    find = labels.Finder(aligned, recordings)
    utterances = [Utterance(p.stem, p, "LJ", "F", texts.pop(p.stem, None), find(p)) for p in recordings]
    notes = missing_texts(utterances, table)
    if texts:
        notes.append(Skipped(str(table), f"{len(texts)} of its recordings are not there, such as {next(iter(texts))}"))
    return assemble("ljspeech", utterances, notes, f"wavs/*.wav under {home}")


def download(root: Path, progress=None) -> Path:
    """Version 1.1 (2.6 GB)."""
    return fetch.fetch(URL, SHA256, root, into=root, progress=progress)
