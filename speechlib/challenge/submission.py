"""The folder that is handed in, and its zip file.

    metadata.yaml                      author, affiliation, open source
    2019/metadata.yaml                 abx distance, system description, using parallel train, using external data
    2019/<language>/test/              S002_0379088085.txt: the embedding of every test file;
                                       V002_0379088085.wav: what is said in it, said by V002
    2019/<language>/auxiliary_embedding1|2/   other embeddings, such as those of an earlier layer
    2019/code/                         only where `open source` is true
    2017/track1/<language>/1s|10s|120s/*.txt  rows that begin with their time in seconds

Rows and recordings come from a system's two functions; `export` makes the zip file of what is there.
"""

import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from .. import audio
from ..corpora.zerospeech import LENGTHS, RATE, Task
from ..errors import SpeechlibError, UnknownName
from ..files import atomic
from ..packs import Pack
from . import embeddings

PARTS = ("test", "auxiliary_embedding1", "auxiliary_embedding2")
DISTANCES = ("dtw_cosine", "dtw_kl", "levenshtein")
WAVE = "wave"  # in place of a kind of features
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Metadata:
    """What a submission says of itself. `hyperparameters` has a place in 2017/metadata.yaml; where it is given for 2019
    it is written too, as published submissions have it, though one release of the official validator refuses it."""

    system_description: str
    abx_distance: str = "dtw_cosine"
    using_parallel_train: bool = False  # recordings of several voices that say the same
    using_external_data: bool = False
    author: str = "unknown"
    affiliation: str = "unknown"
    open_source: bool = False
    hyperparameters: str = ""
    auxiliary1_description: str = ""
    auxiliary2_description: str = ""

    def __post_init__(self):
        if self.abx_distance not in DISTANCES:
            raise UnknownName("ABX distance", self.abx_distance, DISTANCES)
        if not self.system_description.strip():
            raise SpeechlibError("system_description is empty: say in a sentence what the system is")


def place(root: str | Path, task: Task, part: str = "test") -> Path:
    """The folder of a part of a task's files (2017: of all lengths)."""
    if part not in PARTS:
        raise UnknownName("part of a submission", part, PARTS)
    root = Path(root) / task.edition
    return root / "track1" / task.language if task.edition == "2017" else root / task.language / part


def file_of(utterance: str, task: Task) -> str:
    """The embedding of an utterance, from `place` on: its name and .txt; in 2017 within the folder of its length."""
    length, _, name = utterance.partition("_")
    return f"{length}/{name}.txt" if task.edition == "2017" and length in LENGTHS else f"{utterance}.txt"


def write_embeddings(
    root: str | Path,
    task: Task,
    pack: Pack,
    encode: Callable[[torch.Tensor], np.ndarray],
    kind: str,
    part: str = "test",
    progress: Progress | None = None,
) -> list[Path]:
    """Encode and write every test file of a task; of an auxiliary part only those of the bit-rate list.

    `pack` holds the test files, made with trim="none": a row has its place in time. encode: features (C, T) of this
    kind, or the wave (S,) where kind is "wave", -> rows (N, D). Raises SpeechlibError for a file that the pack lacks,
    and for rows of another size than those before.
    """
    if pack.config.trim != "none":
        raise SpeechlibError(
            f"the pack was trimmed ({pack.config.trim!r}): rows of test files count from their beginning"
        )
    names, folder, written = list(task.embeddings if part == "test" else task.bitrate), place(root, task, part), []
    size = None
    for done, name in enumerate(names, 1):
        i = pack.index_of(name)
        rows = np.asarray(encode(_inputs(pack, i, kind)))
        if rows.ndim == 2 and size not in (None, rows.shape[1]):
            raise SpeechlibError(f"rows of {name} have {rows.shape[1]} numbers, those before them {size}")
        times = None
        if task.edition == "2017":
            times = (np.arange(len(rows)) + 0.5) * pack.n_samples[i] / pack.config.sample_rate / max(len(rows), 1)
        written.append(folder / file_of(name, task))
        embeddings.write(written[-1], rows, times)
        size = rows.shape[1]
        if progress:
            progress(done, len(names), name)
    return written


def write_speech(
    root: str | Path,
    task: Task,
    pack: Pack,
    speak: Callable[[torch.Tensor, str], np.ndarray],
    kind: str,
    block: float = 0.04,
    progress: Progress | None = None,
) -> list[Path]:
    """Say the test files of a task's synthesis list in the voices that it asks for: <target>_<id>.wav at 16 kHz.

    speak: (features (C, T) or wave (S,) of the source, name of the target) -> wave at the pack's rate. It may be longer
    or shorter than the source by `block` seconds, one code. Raises SpeechlibError where it is by more.
    """
    written, rate = [], pack.config.sample_rate
    for done, spoken in enumerate(task.synthesis, 1):
        i = pack.index_of(spoken.source)
        wave = np.asarray(speak(_inputs(pack, i, kind), spoken.target), np.float32).ravel()
        if abs(len(wave) - int(pack.n_samples[i])) > block * rate:
            told = f"{spoken.name} has {len(wave)} samples, its source {int(pack.n_samples[i])}"
            raise SpeechlibError(f"{told}: more than {block} s apart. Were frames dropped, or padding left on?")
        written.append(place(root, task) / f"{spoken.name}.wav")
        audio.write(written[-1], audio.resample(wave, rate, RATE), RATE)
        if progress:
            progress(done, len(task.synthesis), spoken.name)
    return written


def references(
    pack: Pack, targets: Iterable[str], kind: str, chosen: Mapping[str, str] = {}
) -> dict[str, torch.Tensor]:
    """Target -> features (C, T) of the utterance that its voice is taken from: `chosen` {target: utterance}, else its
    longest one in the pack. Raises UnknownName for a target that the pack has not, SpeechlibError for another's speech.
    """
    found = {}
    for target in targets:
        own = np.flatnonzero(pack.speaker == pack.speaker_index(target))
        i = pack.index_of(chosen[target]) if target in chosen else int(own[np.argmax(pack.n_samples[own])])
        if i not in own:
            raise SpeechlibError(f"{chosen[target]} is spoken by {pack.speakers[pack.speaker[i]]}, not by {target}")
        found[target] = _inputs(pack, i, kind)
    return found


def write_metadata(root: str | Path, metadata: Metadata, edition: str = "2019") -> None:
    """metadata.yaml of the submission and of one edition."""
    top = {"author": metadata.author, "affiliation": metadata.affiliation, "open source": metadata.open_source}
    if edition == "2017":
        about = {
            "system description": metadata.system_description,
            "hyperparameters": metadata.hyperparameters or "none",
        }
        about |= {"track1 supervised": False, "track2 supervised": False}
    else:
        about = {"abx distance": metadata.abx_distance, "system description": metadata.system_description}
        about |= {"hyperparameters": metadata.hyperparameters} if metadata.hyperparameters else {}
        about |= {"using parallel train": metadata.using_parallel_train}
        about |= {"using external data": metadata.using_external_data}
        for number in (1, 2):
            description = getattr(metadata, f"auxiliary{number}_description")
            about |= {f"auxiliary{number} description": description} if description else {}
    for path, values in ((Path(root) / "metadata.yaml", top), (Path(root) / edition / "metadata.yaml", about)):
        with atomic(path) as part:
            part.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


def export(root: str | Path, path: str | Path) -> Path:
    """The submission as one zip file, without hidden files. The same files give the same bytes."""
    root, path = Path(root), Path(path)
    files = sorted(p for p in root.rglob("*") if p.is_file() and not _is_hidden(p.relative_to(root)))
    if not files:
        raise SpeechlibError(f"{root} holds no files to hand in")
    with atomic(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            if file.resolve() == path.resolve():  # an older one, in the folder itself
                continue
            entry = zipfile.ZipInfo(file.relative_to(root).as_posix())  # dated 1980: bytes that do not depend on today
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, file.read_bytes())
    return path


def _inputs(pack: Pack, i: int, kind: str) -> torch.Tensor:
    return pack.wave(i) if kind == WAVE else pack.features(i, kind)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
