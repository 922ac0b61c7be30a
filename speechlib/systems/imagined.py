"""Speech that nobody said: codes drawn from a prior, spoken by the codec that they belong to."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import SpeechlibError
from ..generation.priors import sample
from .coded import fingerprint
from .data import Trained
from .prior import check_codec
from .voices import speak, voicing


class Imagined(NamedTuple):
    speaker: int  # index into pack.speakers, -1 = nobody
    codes: np.ndarray  # (L,), those of the beginning first
    wave: Tensor  # (S,)
    begins: float  # seconds: what comes before was given, what follows is drawn


def imagine(
    trained: Trained,
    codec: Trained,
    speakers: Sequence[int],
    seconds: float = 3.0,
    beginning: tuple[int, float] | None = None,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    **generation,
) -> list[Imagined]:
    """What each of `speakers` might say: `seconds` of speech from a prior and its codec (`source_of(experiment)`).

    beginning (utterance, seconds): the codes of the first seconds of an utterance are given, the prior goes on.
    `temperature` and `top_p` are the prior's, `generation` the decoder's; `seed` is both's. Raises SpeechlibError for a
    beginning that leaves nothing to say, and for a codec that is not the prior's.
    """
    check_codec(trained, fingerprint(codec.model))
    pack, rate = trained.data.pack, trained.data.pack.codes_config.frame_rate
    given = np.zeros(0, np.int64)
    if beginning is not None and not beginning[1] >= 0:
        raise SpeechlibError(f"a beginning of {beginning[1]} seconds: 0 or more")
    if beginning is not None:
        given = pack.codes_of(beginning[0])[: round(beginning[1] * rate)].numpy()
    n_codes = round(seconds * rate) - len(given)
    if n_codes < 1:
        raise SpeechlibError(f"{len(given) / rate:.2f} s of {seconds:.2f} s are given: nothing is left to go on with")
    drawn = sample(
        trained.model,
        n_codes,
        torch.tensor(list(speakers)) if trained.model.n_speakers else None,
        prompt=torch.from_numpy(given) if len(given) else None,
        n_streams=len(speakers),
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    codes = [np.concatenate([given, row]) for row in drawn.numpy()]
    drawing = {"seed": seed} if voicing(codec).draws else {}
    waves = speak(codec, codes, speakers, **drawing, **generation)
    return [Imagined(s, row, wave, len(given) / rate) for s, row, wave in zip(speakers, codes, waves)]
