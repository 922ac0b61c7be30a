"""Embeddings as text, as the official scorer of ZeroSpeech 2019 and 2020 reads them.

One row per line, its numbers ("%.6f") separated by single spaces. Empty lines are skipped; rows of unequal length,
anything that is no number and a file without rows are errors. Files of 2017 begin each row with its time in seconds.
"""

from pathlib import Path

import numpy as np

from ..errors import BadFile, SpeechlibError
from ..files import atomic


def write(path: str | Path, rows, times=None) -> None:
    """Write rows (N, D), each after its time (N,) where times are given. Raises SpeechlibError for what is no rows."""
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or not rows.size:
        raise SpeechlibError(f"{Path(path).name}: an embedding is (N, D), one row per code, got {rows.shape}")
    if not np.isfinite(rows).all():
        bad = np.count_nonzero(~np.isfinite(rows))
        raise SpeechlibError(f"{Path(path).name}: {bad} of {rows.size} numbers are NaN or infinite")
    if times is not None:
        rows = np.column_stack([times, rows])
    line = " ".join(["%.6f"] * rows.shape[1])
    with atomic(path) as part:
        part.write_text("".join(line % tuple(row) + "\n" for row in rows.tolist()), encoding="ascii")


def read(path: str | Path) -> np.ndarray:
    """(N, D) float64. Raises BadFile, with the line, for all that the official reader refuses, and for NaN."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadFile(path, "does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(path, f"is not text ({error})") from None
    rows: list[list[float]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line in ("", " "):
            continue
        rows.append(_numbers(path, number, line))
        if len(rows[-1]) != len(rows[0]):
            sizes = f"has {len(rows[-1])} numbers, the rows before it have {len(rows[0])}"
            raise BadFile(path, f"{sizes}: rows are of one length", f"line {number}")
    if not rows:
        raise BadFile(path, "holds no rows")
    found = np.array(rows)
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise BadFile(path, f"holds NaN or infinite numbers, first in row {row + 1}: no distance is defined for them")
    return found


def _numbers(path, number: int, line: str) -> list[float]:
    fields = line.rstrip("\r").split(" ")
    try:
        return [float(field) for field in fields]
    except ValueError:
        if "" in fields:
            reason = "has two spaces together, or one at its beginning or end: single spaces separate numbers"
        else:
            wrong = next(field for field in fields if not _is_number(field))
            reason = f"holds {wrong[:40]!r}, which is no number"
        raise BadFile(path, reason, f"line {number}") from None


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
