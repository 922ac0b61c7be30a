"""Where labels and loudness disagree about the silence before an utterance (the source system's gap statistic)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from .. import audio
from ..corpora.labels import SILENCES
from ..errors import SpeechlibError


def silence_gap(wave, sample_rate: int, phones: Iterable, top_db: float = 20.0) -> float | None:
    """Seconds from the end of the labelled leading silence to where trimming at `top_db` starts; None without labels.

    `phones` are intervals in seconds of this wave. Positive: the trim cuts into speech; negative: it leaves silence.
    """
    spoken = [interval.start for interval in phones if interval.symbol not in SILENCES]
    if not spoken:
        return None
    start, _ = audio.trim(np.asarray(wave), top_db=top_db)
    return start / sample_rate - min(spoken)


def silence_gaps(pack, indices: Iterable[int], top_db: float = 20.0) -> pd.Series:
    """`silence_gap` in seconds of every labelled utterance, by utterance id. The pack must be untrimmed."""
    if pack.config.trim != "none":
        raise SpeechlibError(f"this pack is already trimmed ({pack.config.trim!r}): build one with trim='none'")
    gaps = {
        pack.utterances[i]: silence_gap(pack.wave(i), pack.config.sample_rate, pack.phones(i), top_db) for i in indices
    }
    return pd.Series({name: gap for name, gap in gaps.items() if gap is not None}, dtype=float, name="gap (s)")
