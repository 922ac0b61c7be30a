"""The scores of a submission as the official evaluation writes them.

    {"2019": {language: {"scores": {"abx", "bitrate"},
                         "details_bitrate": {part: bits per second},
                         "details_abx": {part: {"cosine", "KL", "levenshtein"}}}}}

Beside them, ours: "cap_bitrate", what as many rows could cost at most (evaluation.bitrate), and "note" where there is
no ABX. Only English can be scored outside of the challenge: the items of the surprise language were never given out.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..corpora.zerospeech import Task
from ..errors import SpeechlibError
from ..evaluation import abx, abx_averages, abx_items
from ..evaluation.bitrate import Bitrate, bitrate
from . import embeddings
from .submission import PARTS, place

if TYPE_CHECKING:
    import pandas

ABX_DISTANCES = ("cosine", "KL", "levenshtein")
_OURS = {"cosine": "angular", "KL": "kl", "levenshtein": "levenshtein"}  # what the official names stand for
Scorer = Callable[[Mapping[str, np.ndarray], str], float | None]


def read_part(root: str | Path, task: Task, part: str = "test") -> dict[str, np.ndarray]:
    """Utterance -> rows (N, D) of the test files of a part that are there. Raises BadFile for what is no embedding."""
    folder = place(root, task, part)
    paths = {name: folder / f"{name}.txt" for name in dict.fromkeys((*task.embeddings, *task.bitrate))}
    return {name: embeddings.read(path) for name, path in paths.items() if path.is_file()}


def bitrates(root: str | Path, task: Task) -> dict[str, Bitrate]:
    """The bit rate of test and of each auxiliary embedding that is there, files of the bit-rate list only.

    Raises SpeechlibError where test is missing, and for 2017, which counts no bits.
    """
    if task.edition == "2017":
        raise SpeechlibError("2017 has no list for a bit rate: its track 1 is scored by ABX alone")
    parts = [part for part in PARTS if place(root, task, part).is_dir()]
    if "test" not in parts:
        raise SpeechlibError(f"no embeddings in {place(root, task)}: is {root} a submission with {task.language}?")
    only = task._replace(embeddings=())
    return {part: bitrate(read_part(root, only, part), task.bitrate) for part in parts}


def abx_scorer(items: "pandas.DataFrame", seconds: Mapping[str, float]) -> Scorer:
    """A scorer for `score`: ABX across speakers, by context, of the items (evaluation.abx_items) whose files have rows.

    seconds: how long each file is; row k of N stands at k / N of that. Distances are averaged along the path of the
    alignment; Levenshtein takes every distinct row for a symbol. Rows with negative numbers, or zeros only, have no KL;
    a part without items, or without a triple among them, has no error at all.
    """

    def error(rows: Mapping[str, np.ndarray], distance: str) -> float | None:
        asked = items[items["file"].isin(list(rows))]
        found = {file: rows[file] for file in asked["file"].unique()}
        if not found or (distance == "KL" and not all((one >= 0).all() and one.any(1).all() for one in found.values())):
            return None
        if distance == "levenshtein":
            found = _symbols(found)
        units = abx_items.cut(asked, found, slicing="fraction", durations={file: seconds[file] for file in found})
        try:
            return abx_averages.overall(abx.score(units, distance=_OURS[distance]))
        except abx.NoTriples:
            return None

    return error


def _symbols(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows (N, D) of files -> numbers (N,), the same one for rows that are equal in all files."""
    numbers = np.unique(np.concatenate(list(rows.values())), axis=0, return_inverse=True)[1].reshape(-1)
    return dict(zip(rows, np.split(numbers, np.cumsum([len(one) for one in rows.values()])[:-1])))


def score(
    root: str | Path, tasks: Iterable[Task], scorers: Mapping[str, Scorer] = {}, distance: str = "cosine"
) -> dict[str, dict]:
    """The dictionary above. scorers: {language: function of ({utterance: rows}, "cosine", "KL" or "levenshtein") ->
    error in per cent, None where these rows have no such distance}, as `abx_scorer` makes them; `distance` says which
    of them is the score. A language without a scorer has null for its ABX."""
    if distance not in ABX_DISTANCES:
        raise SpeechlibError(f"distance {distance!r} is none of {', '.join(ABX_DISTANCES)}")
    scores: dict[str, dict] = {}
    for task in tasks:
        found = bitrates(root, task)
        details = {part: dict.fromkeys(ABX_DISTANCES) for part in found}
        if scorer := scorers.get(task.language):
            for part in found:
                rows = read_part(root, task, part)
                details[part] = {name: scorer(rows, name) for name in ABX_DISTANCES}
        entry = {
            "scores": {"abx": details["test"][distance], "bitrate": found["test"].bits_per_second},
            "details_bitrate": {part: one.bits_per_second for part, one in found.items()},
            "details_abx": details,
            "cap_bitrate": {part: one.cap for part, one in found.items()},
        }
        if task.language not in scorers:
            reason = "its items are not public" if task.language == "surprise" else "no scorer was given"
            entry["note"] = f"{task.language}: ABX not scorable locally, {reason}"
        scores.setdefault(task.edition, {})[task.language] = entry
    return scores
