"""Does a decoder listen to what it is told? Its error with the right codes and speaker, and with wrong ones.

A WaveNet hears the recording's own past while it is trained, and may learn to do without its condition; then codes
carry nothing and conversion changes nothing, while the loss looks well. So the same crops are decoded again with the
codes of other items, with another speaker, with nobody, with silence: what the decoder uses, it must miss.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import SpeechlibError

RIGHT = "right codes, right speaker"


class Told(NamedTuple):
    """What the decoder is told of N items."""

    codes: np.ndarray  # (N, ...), whole numbers
    speaker: np.ndarray  # (N,), -1 = nobody


def ways(told: Told, silence: np.ndarray | None = None, nobody: bool = True, seed: int = 0) -> dict[str, Told]:
    """The right way first, then the wrong ones, by name.

    Codes of others: every item gets those of another one, none its own. Another speaker: drawn among the others that
    are present; left out where there is only one. `silence` (...) are the codes of a silent stretch, `nobody` adds
    speaker -1 for a model that knows it. Raises SpeechlibError for fewer than two items.
    """
    codes, speaker = np.asarray(told.codes), np.asarray(told.speaker)
    if len(codes) != len(speaker) or len(codes) < 2:
        raise SpeechlibError(f"codes of {len(codes)} items and {len(speaker)} speakers: wanted as many, two or more")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(codes))
    swapped = np.empty_like(codes)
    swapped[order] = codes[np.roll(order, 1)]  # one cycle through all items: nobody keeps his own
    found = {RIGHT: Told(codes, speaker), "codes of others": Told(swapped, speaker)}
    if len(present := np.unique(speaker)) > 1:
        step = rng.integers(1, len(present), len(speaker))
        other = present[(np.searchsorted(present, speaker) + step) % len(present)]
        found |= {"another speaker": Told(codes, other), "both wrong": Told(swapped, other)}
    if nobody:
        found["nobody speaks"] = Told(codes, np.full_like(speaker, -1))
    if silence is not None:
        found["codes of silence"] = Told(np.broadcast_to(silence, codes.shape).copy(), speaker)
    return found


def measure(
    error: Callable[[np.ndarray, Told], np.ndarray],
    told: Mapping[str, Told],
    batch_size: int = 16,
    seed: int = 0,
    n_resamples: int = 2000,
) -> pd.DataFrame:
    """One row per way: mean error, its rise over the right way, and the rise's 95 % interval (low, high).

    `error(items (B,), told)` gives the decoder's error on each of these items (B,); it must draw the same noise for an
    item every time. The interval is a bootstrap's over items (Efron 1979), of differences item by item: what makes some
    items harder than others drops out.
    """
    errors = {}
    for name, way in told.items():
        pieces = np.array_split(np.arange(len(way.codes)), -(-len(way.codes) // batch_size))
        errors[name] = np.concatenate([error(p, Told(way.codes[p], way.speaker[p])) for p in pieces]).astype(float)
    if bad := [name for name, e in errors.items() if not np.isfinite(e).all()]:
        raise SpeechlibError(f"the decoder's error is not finite with {', '.join(bad)}")
    n = len(errors[RIGHT])
    drawn = np.random.default_rng(seed).integers(0, n, (n_resamples, n))
    rows = {}
    for name, of_way in errors.items():
        rise = of_way - errors[RIGHT]
        low, high = np.percentile(rise[drawn].mean(axis=1), (2.5, 97.5))
        rows[name] = {"error": of_way.mean(), "rise": rise.mean(), "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("the decoder is told")


def relies_on(table: pd.DataFrame, way: str, margin: float = 0.01) -> bool:
    """Whether the whole interval of the rise lies above `margin`, in units of the error."""
    return bool(table.loc[way, "low"] > margin)
