"""Vocoders beside each other: every system that turns features into a wave is judged on the same clips.

    table = judging.judge(data, judging.clips(data, "log_mel"), judging.rivals(config) | {"ours": vocode})

A vocoder is a function of a Clip. `score` is what a run's summary holds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from .. import audio
from ..evaluation import listener, vocoder
from ..evaluation.probes import Reader
from ..features import FeatureConfig, extract, n_samples
from ..inversion import refine, shaped_noise, to_audio
from ..packs import Pack
from ..presets import CODES
from .data import Data, Trained

if TYPE_CHECKING:
    import pandas

NOISE, GRIFFIN_LIM, RECORDING = "noise of the same bands", "Griffin-Lim", "recording"
REFINED = "refined"  # behind a name: its wave brought to the bands by L-BFGS
_LISTENED = 2.0  # seconds of speech that are written while a model learns
_READER_UTTERANCES = 200  # of the training part, that the reader of phones is fitted on
_READERS: WeakKeyDictionary[Pack, dict] = WeakKeyDictionary()  # {utterances: what `reader` fitted to them}


class Clip(NamedTuple):
    """The beginning of an utterance: what a vocoder is given, and what it should come to."""

    utterance: int  # index into the pack
    features: Tensor  # (C, T)
    speaker: int
    wave: np.ndarray  # (S,) the recording, S <= T hop
    phones: list  # Interval of the whole utterance


Vocoder = Callable[[Clip], Tensor]  # -> wave (S,)


def clips(data: Data, kind: str, n: int = 4, seconds: float = 2.0, part: str = "val") -> list[Clip]:
    """The first seconds of n utterances, evenly spread over a part and so over its speakers."""
    pack, indices = data.pack, data.split[part]
    config = pack.config_of(kind)
    chosen = [indices[i] for i in np.unique(np.linspace(0, len(indices) - 1, min(n, len(indices))).astype(int))]
    frames, samples = max(2, round(seconds * config.frame_rate)), round(seconds * config.sample_rate)
    return [
        Clip(
            i,
            pack.features(i, kind)[:, :frames],
            int(pack.speaker[i]),
            pack.wave(i)[:samples].cpu().numpy(),
            pack.phones(i),
        )
        for i in chosen
    ]


def rivals(config: FeatureConfig) -> dict[str, Vocoder]:
    """What features say without a model: the lower mark, and the upper one."""
    return {
        NOISE: lambda clip: shaped_noise(clip.features.cpu(), config),
        GRIFFIN_LIM: lambda clip: to_audio(clip.features.cpu(), config),
    }


def rivals_of(pack: Pack, kind: str) -> dict[str, Vocoder]:
    """The same for what the vocoders of a pack are given. Codes say nothing by themselves: there the rivals are given
    the bands of the recording."""
    if kind != CODES:
        return rivals(pack.config_of(kind))
    config = _bands(pack, kind)

    def given_bands(say: Vocoder) -> Vocoder:
        return lambda clip: say(clip._replace(features=extract(torch.from_numpy(clip.wave)[None], config)[0]))

    return {name: given_bands(say) for name, say in rivals(config).items()}


def refined(vocode: Vocoder, config: FeatureConfig) -> Vocoder:
    """What it says, brought to the bands that were asked for by `inversion.refine`: it may change its mind about every
    sample, which nothing that speaks sample by sample can. Whatever was said at first comes near them so; noise too."""

    def again(clip: Clip) -> Tensor:
        asked = clip.features.cpu()
        wave = vocode(clip)[: n_samples(asked.shape[1], config) + config.hop_length]
        return refine(asked, config, start=wave)

    return again


def judge(data: Data, chosen: Sequence[Clip], kind: str, vocoders: Mapping[str, Vocoder]) -> "pandas.DataFrame":
    """A row per vocoder: the means of `evaluation.vocoder.judge` over the clips, and `phones`, the share of phones that
    a listener fitted on the training part's recordings hears where they belong (left out without phone times).

    Each vocoder says every clip once. Raises SpeechlibError for waves that are not finite.
    """
    import pandas

    config = _bands(data.pack, kind)
    hears = reader(data)
    rows = {}
    for name, vocode in vocoders.items():
        waves = [np.asarray(vocode(clip).cpu(), dtype=np.float32) for clip in chosen]
        rows[name] = vocoder.mean_scores([vocoder.judge(c.wave, w, config) for c, w in zip(chosen, waves)])
        if hears is not None:
            pairs = [listener.phones_of(hears, wave, clip.phones) for clip, wave in zip(chosen, waves)]
            said, heard = (np.concatenate(side) for side in zip(*pairs))
            if len(said):
                rows[name]["phones"] = float(np.mean(said == heard))
    return pandas.DataFrame.from_dict(rows, orient="index")


def _bands(pack: Pack, kind: str) -> FeatureConfig:
    """The bands that waves are compared by, whatever they were given: of codes those of the pack's first features."""
    return replace(pack.config.features[0] if kind == CODES else pack.config_of(kind), kind="log_mel", n_deltas=0)


def reader(data: Data) -> listener.Listener | None:
    """A listener to phones fitted on recordings of the training part; None where the corpus has no phone times.

    Linear discriminant analysis, in closed form, fitted once to a pack: a run's summary must not cost more than its
    training.
    """
    train = data.split["train"]
    some = train[:: max(1, len(train) // _READER_UTTERANCES)]
    known = _READERS.setdefault(data.pack, {})
    if tuple(some) not in known:
        known[tuple(some)] = _fit_reader(data.pack, some)
    return known[tuple(some)]


def _fit_reader(pack: Pack, some: Sequence[int]) -> listener.Listener | None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    config = listener.listening(pack.config.sample_rate)
    found = [
        listener.phone_vectors(listener.hear(pack.wave(i), config), config.frame_rate, pack.phones(i)) for i in some
    ]
    vectors, symbols = (np.concatenate(side) for side in zip(*found))
    if len(set(symbols)) < 2:
        return None
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(vectors, symbols)
    return listener.Listener(config, None, Reader(np.zeros(1), np.ones(1), model))


def listen(trained: Trained, vocode: Callable, step: int) -> None:
    """Write the beginning of an utterance of the validation part to the run's samples/: recording.wav, which is the
    truth, and step-00000100.wav, as the model says it at that step by its system's `vocode`."""
    (clip,) = clips(trained.data, trained.experiment.inputs, 1, _LISTENED)
    said = vocode(trained, clip.features, clip.speaker)
    for name, wave in {RECORDING: clip.wave, f"step-{step:08}": said}.items():
        rate = trained.data.pack.config.sample_rate
        audio.write(trained.run.folder("samples") / f"{name}.wav", wave, rate)


def score(trained: Trained, vocode: Callable, n: int = 4, seconds: float = 1.5) -> dict[str, float]:
    """The row of a vocoder for its run's summary, by its system's `vocode`, with `noise_` before the same of noise of
    the same bands: the mark.

    Pitch and phones are left out where the recordings have none.
    """
    kind = trained.experiment.frames("inputs")
    ways = {"ours": lambda clip: vocode(trained, clip.features, clip.speaker)}
    ways[NOISE] = rivals_of(trained.data.pack, kind)[NOISE]
    table = judge(trained.data, clips(trained.data, kind, n, seconds), kind, ways)
    ours = table.loc["ours"].dropna().to_dict()
    beside = table.loc[NOISE].dropna()
    return ours | {f"noise_{name}": float(beside[name]) for name in ("log_mel_distance", "phones") if name in beside}
