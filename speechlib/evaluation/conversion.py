"""The same words in another voice: is the voice the one that was asked for, and are the words still there?

A sheet has a row for each piece of speech:

    utterance   whose words it says (id)      source    who said them first
    target      the voice that was asked for  heard     the voice that the listener takes it for
    phones      how many phones it holds      right     how many of them the listener hears where they belong
    distance    mel-cepstral distortion (dB, warped in time) from the target's own reading of the same text
    before      the same of the source's recording: what is converted should come nearer than that

The last two are NaN where source and target are one, or the corpus has no such reading.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from .. import features
from ..errors import SpeechlibError
from .distortion import mel_cepstrum, warped_distortion
from .listener import Listener, phones_of, voice_of
from .probes import wilson


class Spoken(NamedTuple):
    """A piece of speech that begins where its utterance begins."""

    utterance: int  # index in the pack
    speaker: int  # the voice that was asked for: an index into pack.speakers
    wave: torch.Tensor  # (S,) at the pack's rate


def recordings(pack, indices: Iterable[int], seconds: float) -> list[Spoken]:
    """What was really said, as long as what it is compared with."""
    n = round(seconds * pack.config.sample_rate)
    return [Spoken(i, int(pack.speaker[i]), pack.wave(i)[:n]) for i in indices]


def sheet(listener: Listener, pack, spoken: Iterable[Spoken]) -> pd.DataFrame:
    """The table above, one row for each. Raises SpeechlibError for no speech at all."""
    readings = {(text, int(s)): i for i, (text, s) in enumerate(zip(pack.text, pack.speaker)) if text}
    rows = []
    for utterance, speaker, wave in spoken:
        row = {"utterance": pack.utterances[utterance], "source": pack.speakers[pack.speaker[utterance]]}
        row |= {"target": pack.speakers[speaker], "heard": pack.speakers[voice_of(listener, wave)]}
        said, heard = phones_of(listener, wave, pack.phones(utterance)) if listener.phone else ((), ())
        row |= {"phones": len(said), "right": int(sum(a == b for a, b in zip(said, heard)))}
        row |= {"distance": np.nan, "before": np.nan}
        reading = readings.get((pack.text[utterance], speaker))
        if reading is not None and speaker != pack.speaker[utterance]:
            target, original = pack.wave(reading), pack.wave(utterance)[: len(wave)]
            cepstra = [_cepstrum(w, listener) for w in (target, wave, original)]
            row |= {"distance": warped_distortion(*cepstra[:2]), "before": warped_distortion(*cepstra[::2])}
        rows.append(row)
    if not rows:
        raise SpeechlibError("no speech to fill a sheet with")
    return pd.DataFrame(rows)


class Result(NamedTuple):
    """What a sheet says in a few numbers; shares of its pieces and, for `words`, of its phones."""

    pieces: int
    target: float  # taken for the voice that was asked for
    low: float  # 95 % interval of that share (Wilson)
    high: float
    source: float  # taken for the voice that said the words first
    words: float  # phones that are heard where they belong; NaN without phone times
    nearer: float  # dB by which the conversion came nearer to the target's own reading, mean; NaN without readings


def result(table: pd.DataFrame) -> Result:
    """The numbers of a sheet, or of some of its rows."""
    hits, n = int((table["heard"] == table["target"]).sum()), len(table)
    if not n:
        raise SpeechlibError("a sheet without rows has no result")
    phones = table["phones"].sum()
    return Result(
        n,
        hits / n,
        *wilson(hits, n),
        float((table["heard"] == table["source"]).mean()),
        float(table["right"].sum() / phones) if phones else float("nan"),
        float((table["before"] - table["distance"]).mean()),
    )


def heard_as(table: pd.DataFrame, asked: str, voices: Sequence[str]) -> pd.DataFrame:
    """Share of the pieces of each voice (row) that are taken for each of `voices` (column); rows sum to 1.

    `asked` is "target" (a diagonal means that conversion works) or "source" (one means that the voice stayed).
    """
    rows = [voice for voice in voices if voice in set(table[asked])]
    counts = pd.crosstab(table[asked], table["heard"]).reindex(index=rows, columns=list(voices), fill_value=0)
    return counts.div(counts.sum(axis=1), axis=0)


def _cepstrum(wave, listener: Listener) -> np.ndarray:
    """(13, T), c_0 first."""
    return mel_cepstrum(features.extract(torch.as_tensor(wave).cpu(), listener.config).numpy() / 2)
