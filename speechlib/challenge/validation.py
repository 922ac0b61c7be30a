"""Whether a submission would be taken: every file opened, and for each thing that is wrong what to do about it.

The rules are those of the official validator (package zerospeech2020), by which nothing may be missing, unreadable or
of unequal size, applied to all files: that one stops at the first error, and its check of recordings checks none. Two
kinds of findings: an *error* would be refused or could not be scored; a *warning* would count for less than was meant.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from .. import audio
from ..corpora.zerospeech import LANGUAGES, LENGTHS, RATE, Task
from ..errors import BadFile, SpeechlibError
from ..files import read_mapping
from . import embeddings
from .submission import DISTANCES, PARTS, file_of, place

_TOP = {"author": str, "affiliation": str, "open source": bool}
_2019 = {"abx distance": str, "system description": str, "using parallel train": bool, "using external data": bool}
_2017 = {"system description": str, "hyperparameters": object, "track1 supervised": bool, "track2 supervised": bool}
_KINDS = {str: "text", bool: "true or false"}
_DATA_MISSING = "give the challenge's data or lists as --root, so that what is missing can be told"


class Finding(NamedTuple):
    severity: str  # error or warning
    path: str  # below the submission
    problem: str
    advice: str  # what to do


def validate(root: str | Path, tasks: Iterable[Task] = ()) -> list[Finding]:
    """All that is wrong with the submission in the folder `root`; [] where nothing is.

    `tasks` (zerospeech.tasks) tell which files there have to be. A language without one is checked for what it holds.
    Raises SpeechlibError where there is no such folder.
    """
    root, tasks = Path(root), list(tasks)
    if not root.is_dir():
        raise SpeechlibError(f"no submission: {root} is not a folder")
    found, top = _metadata(root, "metadata.yaml", _TOP, {})
    editions = [edition for edition in ("2019", "2017") if (root / edition).is_dir()]
    found += _extra(root, root, {"metadata.yaml", "2019", "2017"})
    if not editions:
        found.append(Finding("error", ".", "holds neither 2019/ nor 2017/", "put the files into 2019/<language>/test/"))
    is_open = top.get("open source") is True
    for edition in editions:
        of_edition = {task.language: task for task in tasks if task.edition == edition}
        found += _code(root, edition, is_open)
        found += (_edition_2019 if edition == "2019" else _edition_2017)(root, of_edition)
    return found


def table(findings: Iterable[Finding]):
    """The findings as a pandas.DataFrame: severity, path, problem, what to do."""
    import pandas

    return pandas.DataFrame(list(findings), columns=["severity", "path", "problem", "what to do"])


def is_valid(findings: Iterable[Finding]) -> bool:
    """Whether none of them is an error."""
    return all(finding.severity != "error" for finding in findings)


# -- 2019 and 2020 -----------------------------------------------------------------------------------------------------


def _edition_2019(root: Path, tasks: Mapping[str, Task]) -> list[Finding]:
    home = root / "2019"
    there = [p.name for p in sorted(home.iterdir()) if p.is_dir() and p.name in {*LANGUAGES, *tasks}]
    found = _extra(root, home, {"metadata.yaml", "code", *LANGUAGES, *tasks})
    for language in tasks:
        if language not in there:
            found.append(Finding("error", f"2019/{language}", "is missing", f"encode the test files of {language}"))
    if absent := [language for language in LANGUAGES if language not in {*there, *tasks}]:
        told = f"has no {' and no '.join(absent)}: the challenge takes both of {' and '.join(LANGUAGES)}"
        found.append(Finding("warning", "2019", told, "encode the other as well before it is handed in"))
    extra, has = _auxiliaries(home, there)
    found += extra
    required = _2019 | {f"auxiliary{part[-1]} description": str for part in has}
    optional = {"auxiliary1 description": str, "auxiliary2 description": str, "hyperparameters": object}
    extra, about = _metadata(root, "2019/metadata.yaml", required, optional)
    found += extra
    if about.get("abx distance", DISTANCES[0]) not in DISTANCES:
        told = f"`abx distance` is {about['abx distance']!r}"
        found.append(Finding("error", "2019/metadata.yaml", told, f"one of {', '.join(DISTANCES)}"))
    if "hyperparameters" in about:
        told = "has `hyperparameters`, which one release of the official validator knows in 2017/metadata.yaml only"
        found.append(
            Finding("warning", "2019/metadata.yaml", told, "move it into `system description` if it is refused")
        )
    for language in there:
        task = tasks.get(language)
        if task is None:
            told = "no list says which files there have to be: only those that are there were checked"
            found.append(Finding("warning", f"2019/{language}", told, _DATA_MISSING))
        for part in PARTS:
            folder = home / language / part
            if part == "test" or folder.is_dir():
                found += _part(root, folder, task, part, about.get("abx distance") == "dtw_kl")
        found += _extra(root, home / language, set(PARTS))
    return found


def _auxiliaries(home: Path, languages: list[str]) -> tuple[list[Finding], list[str]]:
    """Findings on auxiliary embeddings, and the names of those there are: for all languages or none, 2 only with 1."""
    found, has = [], []
    for part in PARTS[1:]:
        holding = [language for language in languages if (home / language / part).is_dir()]
        has += [part] if holding else []
        for language in languages if holding else ():
            if language not in holding:
                told = f"is missing, and {holding[0]} has it"
                advice = "add it, or leave it out of every language"
                found.append(Finding("error", f"2019/{language}/{part}", told, advice))
    if PARTS[2] in has and PARTS[1] not in has:
        told = f"{PARTS[2]} without {PARTS[1]}"
        found.append(Finding("error", "2019", told, f"name the first of them {PARTS[1]}"))
    return found, has


def _part(root: Path, folder: Path, task: Task | None, part: str, is_kl: bool) -> list[Finding]:
    """Findings on a folder of embeddings and recordings: test/ or an auxiliary one."""
    if not folder.is_dir():
        return [Finding("error", _below(root, folder), "is missing", "write the embeddings of all test files into it")]
    there = {p.name for p in folder.iterdir() if p.name[0] != "."}
    texts, waves = sorted(n for n in there if n.endswith(".txt")), sorted(n for n in there if n.endswith(".wav"))
    found, wanted, allowed = [], {*texts, *waves}, there
    if task is not None:
        allowed = {f"{name}.txt" for name in task.embeddings}
        wanted = {f"{name}.txt" for name in task.bitrate}
        if part == "test":
            allowed |= {f"{name}.wav" for name in task.waves}
            wanted = allowed
        elif there & allowed < allowed and wanted <= there:
            told = f"holds {len(there & allowed)} of {len(allowed)} test files: enough for its bit rate"
            advice = "a release of the official validator wants them all, and ABX needs them"
            found.append(Finding("warning", _below(root, folder), told, advice))
    for name in sorted(wanted - there):
        advice = (
            "synthesise it, see synthesis.txt" if name.endswith(".wav") else "encode it: every listed file is needed"
        )
        found.append(Finding("error", _below(root, folder / name), "is missing", advice))
    for name in sorted(there - allowed):
        found.append(Finding("warning", _below(root, folder / name), "is on no list", "take it out: it is not scored"))
    extra, rows = _texts(root, [folder / name for name in texts if name in allowed])
    found += extra
    if is_kl and (negative := [path for path, one in rows.items() if one.min() < 0]):
        told = f"{len(negative)} files have negative numbers, and the KL divergence of those is NaN, which scores 50 %"
        found.append(Finding("warning", _below(root, folder), told, "set `abx distance` to dtw_cosine"))
    for name in waves:
        found += _wave(root, folder / name) if name in allowed else []
    return found


def _texts(root: Path, paths: Iterable[Path]) -> tuple[list[Finding], dict[Path, np.ndarray]]:
    """Findings on embedding files, and the rows of those that can be read."""
    found, rows = [], {}
    for path in paths:
        try:
            rows[path] = embeddings.read(path)
        except BadFile as error:
            told = f"{error.place}: {error.reason}" if error.place else error.reason
            found.append(Finding("error", _below(root, path), told, "write it anew by submission.write_embeddings"))
    sizes = Counter(one.shape[1] for one in rows.values())
    usual = sizes.most_common(1)[0][0] if sizes else 0
    for path, one in rows.items():
        if one.shape[1] != usual:
            told = f"has rows of {one.shape[1]} numbers, {sizes[usual]} other files have {usual}"
            found.append(Finding("error", _below(root, path), told, "encode all files by one model"))
    if usual == 1:
        folder = next(iter(rows)).parent
        told = "rows are single numbers: the ABX scorer skips those lines, and finds nothing to compare"
        found.append(Finding("warning", _below(root, folder), told, "write vectors: of codes, those of the codebook"))
    return found, rows


def _wave(root: Path, path: Path) -> list[Finding]:
    name = _below(root, path)
    try:
        wave, rate = audio.read(path)
        channels = soundfile.info(str(path)).channels
    except BadFile as error:
        return [Finding("error", name, error.reason, "synthesise it anew: a listener must be able to play it")]
    found = []
    if rate != RATE:
        found.append(Finding("error", name, f"has {rate} Hz", f"resample it to {RATE} Hz, the rate of the challenge"))
    if channels != 1:
        found.append(Finding("warning", name, f"has {channels} channels", "write one channel"))
    if np.abs(wave).max() < 1e-4:
        found.append(Finding("warning", name, "is silent", "listen to what the system makes of this file"))
    return found


# -- 2017, track 1 -----------------------------------------------------------------------------------------------------


def _edition_2017(root: Path, tasks: Mapping[str, Task]) -> list[Finding]:
    home = root / "2017"
    found, _ = _metadata(root, "2017/metadata.yaml", _2017, {})
    found += _extra(root, home, {"metadata.yaml", "code", "track1", "track2"})
    there = [p.name for p in sorted((home / "track1").iterdir()) if p.is_dir()] if (home / "track1").is_dir() else []
    for language, task in tasks.items():
        if language not in there:
            told = "is missing"
            found.append(Finding("error", f"2017/track1/{language}", told, f"encode the test files of {language}"))
            continue
        folder, names = place(root, task), {file_of(name, task) for name in task.embeddings}
        present = {f"{p.parent.name}/{p.name}" for length in LENGTHS for p in (folder / length).glob("*")}
        for name in sorted(names - present):
            found.append(Finding("error", _below(root, folder / name), "is missing", "encode it"))
        for name in sorted(present - names):
            found.append(Finding("error", _below(root, folder / name), "is on no list", "take it out"))
    for language in there:
        extra, rows = _texts(root, sorted((home / "track1" / language).glob("*/*.txt")))
        found += extra
        for path, one in rows.items():
            if not (np.diff(one[:, 0]) > 0).all():
                told = "its first column does not grow: it holds the times of the rows"
                found.append(Finding("error", _below(root, path), told, "write it with times"))
    return found


# -- both --------------------------------------------------------------------------------------------------------------


def _metadata(root: Path, name: str, required: dict, optional: dict) -> tuple[list[Finding], dict]:
    """Findings on a metadata.yaml, and what it says ({} where it cannot be read)."""
    path, keys = root / name, ", ".join(required)
    if not path.is_file():
        return [Finding("error", name, "is missing", f"write it with {keys}")], {}
    try:
        about = read_mapping(path, "needs `key: value` lines")
    except BadFile as error:
        return [Finding("error", name, error.reason, f"write it with {keys}: see submission.write_metadata")], {}
    found = []
    for key, kind in {**optional, **required}.items():
        if key not in about:
            if key in required:
                found.append(Finding("error", name, f"lacks `{key}`", f"add it: {_KINDS.get(kind, 'anything')}"))
        elif about[key] is None or not isinstance(about[key], kind):
            told = f"`{key}` is {about[key]!r}"
            found.append(Finding("error", name, told, f"it has to be {_KINDS.get(kind, 'something')}"))
    for key in sorted(about.keys() - required.keys() - optional.keys(), key=str):
        found.append(Finding("error", name, f"`{key}` is none of its keys", f"there are {keys}"))
    return found, about


def _code(root: Path, edition: str, is_open: bool) -> list[Finding]:
    folder = root / edition / "code"
    holds = folder.is_dir() and any(folder.iterdir())
    if is_open and not holds:
        told = "is missing or empty, and `open source` is true"
        return [Finding("error", f"{edition}/code", told, "add the code, or set `open source` to false")]
    if holds and not is_open:
        told = "holds files, and `open source` is not true"
        return [Finding("error", f"{edition}/code", told, "take them out, or set `open source` to true")]
    return []


def _extra(root: Path, folder: Path, allowed: set[str]) -> list[Finding]:
    """What lies in a folder and has no place there; hidden files are not handed in."""
    names = sorted(path.name for path in folder.iterdir() if path.name not in allowed and path.name[0] != ".")
    return [Finding("error", _below(root, folder / name), "has no place here", "take it out") for name in names]


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
