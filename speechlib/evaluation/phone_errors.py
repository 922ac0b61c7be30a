"""Phone error rate: how much of what was said a recogniser does not hear, or hears and nobody said.

    errors = the fewest phones to put in, leave out or change that make what was said of what was heard (Levenshtein)
    rate   = errors / phones said, over all utterances together; it may pass 1 where more is heard than was said

Silences are left out on either side: a pause is no phone, and CTC has none. A proxy for what listeners write down: a
machine that was trained on recordings of one corpus, and hears phones where they hear words.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._torchaudio import torchaudio
from ..errors import SpeechlibError
from ..windows import SILENCE, phone_of


class Heard(NamedTuple):
    """An utterance, judged."""

    errors: int
    phones: int  # that were said


class Rate(NamedTuple):
    rate: float
    low: float  # 95 % interval, if other utterances had been drawn (bootstrap); NaN of a single one
    high: float
    phones: int


def said(intervals: Sequence) -> list[str]:
    """Phones of an utterance in their order, (symbol, start, end) each; times are not read, silences left out.

    TIMIT's 61 are told apart as 48 (windows.phone_of); published rates of TIMIT count 39, and are lower for that."""
    return [phone for symbol, *_ in intervals if (phone := phone_of(symbol)) != SILENCE]


def compare(heard: Sequence[str], truth: Sequence[str], name: str = "utterance") -> Heard:
    """Raises SpeechlibError where nothing was said: there is no share of nothing."""
    if not len(truth):
        raise SpeechlibError(f"{name} has no phones: an error rate needs to know what was said")
    return Heard(torchaudio.functional.edit_distance(list(heard), list(truth)), len(truth))


def rate(found: Sequence[Heard], seed: int = 0, n_draws: int = 1000) -> Rate:
    """Of several utterances together. Raises SpeechlibError for none."""
    if not found:
        raise SpeechlibError("no utterances: an error rate needs one at least")
    errors, phones = np.array(found, dtype=np.int64).T
    drawn = np.random.default_rng(seed).integers(0, len(found), (n_draws, len(found)))
    shares = errors[drawn].sum(1) / phones[drawn].sum(1)
    low, high = np.quantile(shares, (0.025, 0.975)) if len(found) > 1 else (np.nan, np.nan)
    return Rate(float(errors.sum() / phones.sum()), float(low), float(high), int(phones.sum()))
