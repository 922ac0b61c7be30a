"""Is a clip said by somebody, and by the same one from its beginning to its end? Asked of a machine that has heard
recordings (evaluation.listener), so always beside recordings that went through the same inversion, and beside chance.

`taken_for` is the speaker probe of a model that is told who speaks; `within` is for what it says of its own accord: a
model that forgets draws every half in a voice of its own.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import SpeechlibError
from .listener import Listener, hear, voice_vector
from .pitch import pitch
from .probes import clopper_pearson


class Taken(NamedTuple):
    share: float  # of the clips that are taken for the speaker who was asked for
    low: float  # 95 % interval (Clopper-Pearson)
    high: float
    right: int
    n: int
    chance: float  # of a listener who names any speaker


def taken_for(listener: Listener, waves: Sequence, asked: Sequence[int]) -> Taken:
    """How many waves (S,) sound like the speakers (indices) that were asked for."""
    if len(waves) != len(asked) or not len(waves):
        raise SpeechlibError(f"{len(waves)} clips for {len(asked)} speakers: wanted one of each, and at least one")
    heard = beliefs(listener, waves).argmax(1)
    known = _voice(listener).model.classes_
    right = int(np.sum(known[heard] == np.asarray(asked)))
    return Taken(right / len(waves), *clopper_pearson(right, len(waves)), right, len(waves), 1 / len(known))


def favourite(listener: Listener, clips: Mapping[str, np.ndarray], speaker: int) -> str:
    """Which of some clips {name: wave (S,)} sounds most like a speaker (index).

    Raises SpeechlibError for one that the listener does not know."""
    known = _voice(listener).model.classes_
    if speaker not in known:
        raise SpeechlibError(f"speaker {speaker} is none of those that the listener was fitted on: {known.tolist()}")
    place = int(np.flatnonzero(known == speaker)[0])
    return list(clips)[int(beliefs(listener, list(clips.values()))[:, place].argmax())]


class Within(NamedTuple):
    one_voice: float  # probability that both halves of a clip are of one speaker, as the listener believes; mean
    two_clips: float  # the same of the first half of one clip and the second of another: chance for these voices
    pitch: float  # median distance in semitones between the median pitches of the halves; NaN without voice
    voiced: float  # share of frames that have a pitch


def within(listener: Listener, waves: Sequence, sample_rate: int) -> Within:
    """How alike the halves of clips (S,) are; NaN for voices where the listener knows one speaker only. Raises
    SpeechlibError for fewer than two clips."""
    if len(waves) < 2:
        raise SpeechlibError(f"{len(waves)} clip: halves are compared with those of other clips, so two are needed")
    waves = [np.asarray(wave, dtype=np.float32) for wave in waves]
    halves = [np.array_split(wave, 2) for wave in waves]
    same = np.full((len(waves), len(waves)), np.nan)
    if listener.voice is not None:
        first, second = (beliefs(listener, half) for half in zip(*halves))
        same = first @ second.T  # (N, N): p(one speaker), of the first half of each and the second half of each
    apart, voiced = [], []
    for pair in halves:
        tracks = [pitch(half, sample_rate) for half in pair]
        voiced.append(np.mean(np.concatenate([track.voiced for track in tracks])))
        if all(track.voiced.any() for track in tracks):
            middle = [np.median(track.hertz[track.voiced]) for track in tracks]
            apart.append(abs(12 * np.log2(middle[1] / middle[0])))
    others = ~np.eye(len(waves), dtype=bool)
    return Within(
        float(np.diag(same).mean()),
        float(same[others].mean()),
        float(np.median(apart)) if apart else float("nan"),
        float(np.mean(voiced)),
    )


def beliefs(listener: Listener, waves: Sequence) -> np.ndarray:
    """p(speaker | wave) (N, speakers that the listener knows) of waves (S,)."""
    return _voice(listener).belief(np.stack([voice_vector(hear(wave, listener.config)) for wave in waves]))


def _voice(listener: Listener):
    if listener.voice is None:
        raise SpeechlibError("one speaker only: there are no voices to tell apart")
    return listener.voice
