"""Vectors with their names as two tab-separated files, as projector.tensorflow.org reads them.

    codebook_vecs.tsv     one vector per line
    codebook_meta.tsv     index, count and phone of each code, with a heading
    speakers_meta.tsv     p225#f#English: the search for "#f#" there finds all women, "#m#" all men

One column of metadata has no heading and several have one: the projector demands it so.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import SpeechlibError
from ..files import atomic

MISSING = "missing_info"


def export(folder: str | Path, name: str, vectors, about: pd.DataFrame | Sequence[str]) -> tuple[Path, Path]:
    """Write vectors (N, D) to `<name>_vecs.tsv` and `about`, a row for each, to `<name>_meta.tsv`; the two paths.

    Raises SpeechlibError where they are not as many, or a vector is not finite.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(about):
        raise SpeechlibError(f"vectors of shape {vectors.shape} and {len(about)} rows about them: wanted (N, D) and N")
    if not np.isfinite(vectors).all():
        raise SpeechlibError(f"{np.count_nonzero(~np.isfinite(vectors))} values of {name} are NaN or infinite")
    table = about if isinstance(about, pd.DataFrame) else pd.DataFrame({"name": list(about)})
    table = table.astype(str).replace({r"[\t\r\n]+": " "}, regex=True)  # either would end the cell
    lines = table.agg("\t".join, axis=1).tolist()
    if table.shape[1] > 1:
        lines.insert(0, "\t".join(table.columns))
    paths = Path(folder) / f"{name}_vecs.tsv", Path(folder) / f"{name}_meta.tsv"
    numbers = ["\t".join(f"{value:.6g}" for value in vector) for vector in vectors]
    for path, written in zip(paths, (numbers, lines)):
        with atomic(path) as part:
            part.write_text("\n".join(written) + "\n", encoding="utf-8")
    return paths


def about_codes(tokens: pd.DataFrame, codebook_size: int) -> pd.DataFrame:
    """(K,) rows: index of a code, how often it was said, and the phone spoken most often at it ("" where unknown)."""
    counts = np.bincount(tokens["code"], minlength=codebook_size)
    known = tokens[tokens["phone"].notna()].astype({"phone": str})
    best = known.groupby("code")["phone"].agg(lambda said: said.value_counts().index[0])
    phone = best.reindex(range(codebook_size)).fillna("")
    return pd.DataFrame({"index": np.arange(codebook_size), "count": counts, "phone": phone.to_numpy()})


def about_speakers(names: Sequence[str], genders: Sequence[str | None], accents: Sequence[str | None] = ()) -> list:
    """name#gender#accent of each speaker, gender in lower case; what is not known is missing_info."""
    accents = list(accents) or [None] * len(names)
    if not len(names) == len(genders) == len(accents):
        raise SpeechlibError(f"{len(names)} names, {len(genders)} genders, {len(accents)} accents: wanted as many")
    return [f"{n}#{(g or MISSING).lower()}#{a or MISSING}" for n, g, a in zip(names, genders, accents)]
