"""The same question to several codecs: an utterance, a voice, and what each of them makes of it, for one listener.

    codecs = {"in_wae": trained, "svq": other}
    said = convert_all(codecs, pack, [(utterance, speaker)], references=[another])

Codecs have packs of their own, at rates of their own; utterances and speakers are the same by name. What is said is
counted to `pack`, and has its rate: on it the listener is fitted who is to compare.
"""

from collections.abc import Mapping, Sequence

import torch

from .. import audio
from ..errors import SpeechlibError
from ..evaluation.conversion import Spoken
from ..models.speakers import NOBODY
from ..packs import Pack
from ..presets import Experiment
from .data import Trained
from .lifecycle import at_hand
from .voices import convert, has_voices, takes_references, voicing


def with_voices(experiments: Mapping[str, Experiment], pack: Pack) -> tuple[dict[str, Trained], dict[str, str]]:
    """Those `at_hand` that know speakers and the speech of `pack`, and why the others are not here, both by name."""
    trained_ones, absent = at_hand(experiments)
    found = {}
    for name, trained in trained_ones.items():
        if not has_voices(trained):
            absent[name] = "it knows no speakers, and has one voice"
        elif lacking := set(pack.utterances) - set(trained.data.pack.utterances):
            absent[name] = f"{len(lacking)} of {len(pack)} utterances are not in its corpus, {trained.data.pack.name}"
        else:
            found[name] = trained
    return found, absent


def convert_all(
    codecs: Mapping[str, Trained],
    pack: Pack,
    asked: Sequence[tuple[int, int]],
    seconds: float = 2.0,
    references: Sequence[int] = (),
    **generation,
) -> dict[str, list[Spoken]]:
    """Name -> what that codec makes of each of `asked`, pairs (utterance, speaker) of `pack`, -1 = nobody.

    references: an utterance of `pack` for each pair, whose voice is read by codecs that read voices, in the place of
    what they keep of the speaker; the others know a speaker by number only, and pass over them. `generation` is for the
    decoders that draw. Raises SpeechlibError for another number of references and for an utterance that a codec does
    not have, UnknownName for such a speaker.
    """
    if len(references) not in (0, len(asked)):
        raise SpeechlibError(f"{len(references)} references for {len(asked)} conversions: wanted one for each, or none")
    rate, found = pack.config.sample_rate, {}
    for name, trained in codecs.items():
        own = trained.data.pack
        number = {NOBODY: NOBODY} | {s: own.speaker_index(pack.speakers[s]) for _, s in asked if s != NOBODY}
        pairs = [(own.index_of(pack.utterances[i]), number[s]) for i, s in asked]
        options = generation if voicing(trained).draws else {}
        if len(references) and takes_references(trained):
            options = options | {"references": [own.index_of(pack.utterances[i]) for i in references]}
        said = convert(trained, pairs, seconds, **options)
        waves = [torch.as_tensor(audio.resample(one.wave.cpu(), own.config.sample_rate, rate)) for one in said]
        limits = [min(round(seconds * rate), int(pack.n_samples[i])) for i, _ in asked]
        found[name] = [Spoken(*pair, wave[:limit]) for pair, wave, limit in zip(asked, waves, limits)]
    return found
