"""TIMIT: 630 speakers of eight American dialects, ten sentences each, phones and words corrected by hand. 16 kHz.

Source: Garofolo et al. 1993, LDC93S1, https://catalog.ldc.upenn.edu/LDC93S1
Licence: of the LDC, against a fee.
Layout: TRAIN|TEST/DR1/FCJF0/SA1.WAV (NIST sphere, or RIFF as some copies have it) with .PHN .WRD .TXT beside it, in
capitals or not. Phones are the 61 symbols of the corpus, closures included.
"""

from pathlib import Path

from .assemble import Corpus, Utterance, assemble, files_under, gender_of, missing_texts, read_text


def load(root: Path) -> Corpus:
    """All speakers under `root`; the sex is the first letter of a speaker; custom holds "split" and "dialect"."""
    recordings = {}
    for path in files_under(root, (".wav", ".sph", ".flac")):  # sorted: SA1.WAV.wav, a RIFF copy, replaces SA1.WAV
        recordings[path.parent, path.name.split(".")[0]] = path
    notes_beside = {}
    for path in files_under(root, (".phn", ".wrd", ".txt")):
        notes_beside[path.parent, path.stem, path.suffix.lower()] = path
    utterances = []
    for (folder, name), path in recordings.items():
        times = [notes_beside.get((folder, name, suffix)) for suffix in (".phn", ".wrd")]
        split, dialect = ([""] * 3 + [part.upper() for part in folder.relative_to(root).parts])[-3:-1]
        utterances.append(
            Utterance(
                id=f"{folder.name}_{name}".upper(),
                path=path,
                speaker=folder.name.upper(),
                gender=gender_of(folder.name),
                text=read_text(notes_beside.get((folder, name, ".txt"))),
                labels=tuple(path for path in times if path),
                custom={"split": split, "dialect": dialect} if split else None,
            )
        )
    return assemble("timit", utterances, missing_texts(utterances, root), f"TRAIN|TEST/DRn/speaker/*.WAV under {root}")
