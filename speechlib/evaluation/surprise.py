"""Where the bits of a sequence of codes are spent."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import SpeechlibError


def around_changes(table: pd.DataFrame, columns: Sequence[str], reach: int = 5, symbol: str = "phone") -> pd.DataFrame:
    """Mean of `columns` (bits, say) at each offset in codes from a change of phone: rows -reach..reach.

    0 is the first code of a new phone. Only changes between two labelled codes of one utterance count, and only codes
    of that utterance. Raises SpeechlibError where no phone follows another.
    """
    table = table.sort_values(["utterance", "step"], kind="stable")
    utterance, label = (pd.factorize(table[name], use_na_sentinel=True)[0] for name in ("utterance", symbol))
    same = utterance[1:] == utterance[:-1]
    changes = 1 + np.flatnonzero(same & (label[1:] != label[:-1]) & (label[1:] >= 0) & (label[:-1] >= 0))
    if not len(changes):
        raise SpeechlibError(f"no {symbol} follows another one: does this corpus come with phone times?")
    values, rows = table[list(columns)].to_numpy(), {}
    for offset in range(-reach, reach + 1):
        places = changes + offset
        inside = (places >= 0) & (places < len(table))
        inside[inside] = utterance[places[inside]] == utterance[changes[inside]]
        rows[offset] = values[places[inside]].mean(axis=0) if inside.any() else np.full(len(columns), np.nan)
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(columns)).rename_axis("offset")


def stretches(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """How many steps each stretch of one code lasts, over all sequences. The last of each is cut short by its end."""
    lengths = []
    for sequence in sequences:
        changes = np.flatnonzero(np.diff(sequence)) + 1
        lengths.append(np.diff(np.concatenate([[0], changes, [len(sequence)]])))
    return np.concatenate(lengths) if lengths else np.zeros(0, int)
