"""Machines in the place of listeners. They are proxies: no figure of theirs is a MOS, a CER or a similarity score.

Two linear probes fitted on recordings (evaluation.listener) hear the synthesised files of a submission: one says whose
voice it is, the other which phones it hears where the source utterance has them. What recordings of the same
utterances get is the best that anything synthesised can get, and stands beside.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import audio
from ..corpora.zerospeech import Task
from ..errors import SpeechlibError
from ..evaluation import listener
from ..evaluation.listener import Listener
from ..packs import Pack
from .submission import place


class Proxies(NamedTuple):
    files: int
    similarity: float  # share of files taken for the voice that was asked for, among all voices trained with
    phones: int  # 0 where the test utterances have no phone times
    phone_errors: float  # share of them that is not heard in what was synthesised; NaN without phones
    recording_errors: float  # the same of the recordings that the words come from


def fit(voices: Pack, judged: Pack, task: Task, seed: int = 0) -> tuple[Listener, Listener]:
    """(who, what): fitted on all recordings of the pack `voices`, and on the test files that are not synthesised."""
    sources = {spoken.source for spoken in task.synthesis}
    others = [i for i, name in enumerate(judged.utterances) if name not in sources]
    if not others:
        raise SpeechlibError(f"all {len(judged)} test files are synthesised: none is left to learn phones from")
    return listener.fit(voices, range(len(voices)), seed=seed), listener.fit(judged, others, seed=seed)


def measure(root: str | Path, task: Task, judged: Pack, voices: Pack, who: Listener, what: Listener) -> Proxies:
    """What they hear in the synthesised files of a submission. Raises BadFile for one that is missing."""
    if not task.synthesis:
        raise SpeechlibError(f"{task.language} has no synthesis list: there is nothing to listen to")
    hits, heard, recorded = 0, [], []
    for spoken in task.synthesis:
        wave, _ = audio.read(place(root, task) / f"{spoken.name}.wav", judged.config.sample_rate)
        hits += voices.speakers[listener.voice_of(who, wave)] == spoken.target
        i = judged.index_of(spoken.source)
        if what.phone is not None and (phones := judged.phones(i)):
            for sound, found in ((wave, heard), (judged.wave(i), recorded)):
                truth, told = listener.phones_of(what, sound, phones)
                found.append(truth != told)
    errors = [float(np.concatenate(found).mean()) if found else float("nan") for found in (heard, recorded)]
    return Proxies(len(task.synthesis), hits / len(task.synthesis), sum(map(len, heard)), *errors)
