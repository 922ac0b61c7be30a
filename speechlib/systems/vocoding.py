"""Features of any kind of source, heard through any vocoder there is.

    wave = vocoding.vocode(bands, runs.find(experiment), config)     # (C, T) of a VAE, a VQ-VAE, a MelNet
    vocoding.compare(data, clips, kind, vocoding.everything(experiment, data))

A vocoder is a run of any system with `vocode(trained, features, speaker)`; where there is none, Griffin-Lim stands in.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .. import presets, pretrained, runs
from ..errors import SpeechlibError
from ..features import FeatureConfig, n_features
from ..inversion import to_audio
from ..presets import CODES, Experiment
from ..runs import Run
from . import judging
from .data import Data, Trained, device_of
from .judging import Clip
from .lifecycle import SYSTEMS, at_hand, experiment_of, load, load_pretrained, shipped, system_of

if TYPE_CHECKING:
    import pandas

Says = Callable[[Clip], Tensor | Iterable[Tensor]]  # a wave (S,), or blocks (1, n) that come one by one


def vocode(
    features: Tensor,
    vocoder: Run | Trained | str | None,
    config: FeatureConfig | None = None,
    speaker: int | None = None,
    say: Callable[[str], None] = print,
    **options,
) -> Tensor:
    """features (C, T) measured as `config` tells, or codes (L,) -> wave on the CPU, at the vocoder's sample rate.

    `vocoder`: a run, what `systems.load` gives, the name of a shipped checkpoint; None: Griffin-Lim, and `say` is told
    so. `speaker` is one of the vocoder's corpus (None or -1: nobody), for those that know speakers. `options` are those
    of the system's own `vocode`. Features of another frame rate or sample rate are `converted` to the vocoder's. Raises
    SpeechlibError for those that cannot be, for a system that is no vocoder, and for what is not (C, T) or not finite;
    for codes where the vocoder was not trained on them (inputs=codes), and for features where it was.
    """
    if config is None:
        return _of_codes(features, vocoder, -1 if speaker is None else speaker, **options)
    _check(features, config)
    if vocoder is None:
        if options:
            raise SpeechlibError(f"Griffin-Lim has no {', '.join(sorted(options))}: those are options of a vocoder")
        say(f"no vocoder given: {config.kind} at {config.sample_rate} Hz is heard through Griffin-Lim")
        return torch.as_tensor(to_audio(features.cpu(), config))
    trained = _loaded(vocoder)
    if trained.experiment.inputs == CODES:
        raise SpeechlibError(f"this {trained.experiment.system} reads the codes of its codec: vocode(codes, vocoder)")
    wanted = trained.data.pack.config_of(trained.experiment.frames("inputs"))
    ready = converted(features, config, wanted)
    return system_of(trained.experiment).vocode(trained, ready, -1 if speaker is None else speaker, **options)


def _of_codes(codes: Tensor, vocoder: Run | Trained | str | None, speaker: int, **options) -> Tensor:
    if vocoder is None or not isinstance(codes, Tensor) or codes.ndim != 1 or codes.is_floating_point():
        raise SpeechlibError(
            "what has no config is codes (L,), whole numbers, and a vocoder that reads codes; features need a config"
        )
    trained = _loaded(vocoder)
    if trained.experiment.inputs != CODES:
        raise SpeechlibError(
            f"this {trained.experiment.system} reads {trained.experiment.inputs}, not codes: train one with "
            "inputs=codes (preset codes), or draw bands from the codes and vocode those"
        )
    return system_of(trained.experiment).vocode(trained, codes[None].long(), speaker, **options)


def sample_rate(vocoder: Run | Trained | str | None, config: FeatureConfig | None = None) -> int:
    """Hertz of what `vocode` gives; of Griffin-Lim (None) those of the features."""
    if vocoder is None:
        return config.sample_rate
    if isinstance(vocoder, Trained):
        return vocoder.experiment.pack.sample_rate
    return (shipped(vocoder) if isinstance(vocoder, str) else experiment_of(vocoder)).pack.sample_rate


def converted(features: Tensor, given: FeatureConfig, wanted: FeatureConfig) -> Tensor:
    """Log bands (C, T) of one config as those of another, which differs from it by frame rate or sample rate alone.

    Frames are placed on lines between their neighbours. At another sample rate, bands of the same hertz read off a
    window of the same seconds have the squared ratio of its samples as power. Raises SpeechlibError that names both
    configs for any other difference: bands that were never measured cannot be made.
    """
    if given == wanted:
        return features
    ratio = wanted.sample_rate / given.sample_rate
    if not fits(given, wanted):
        raise SpeechlibError(
            f"features of {_told(given)} cannot be made those of {_told(wanted)}: only the frame rate, or the sample "
            "rate with the same bands and window, may differ. Vocode them with a run trained on their own kind, or "
            "through Griffin-Lim (no vocoder)"
        )
    if given.frame_rate != wanted.frame_rate:
        n_frames = max(1, 1 + round((features.shape[1] - 1) * wanted.frame_rate / given.frame_rate))
        place = torch.arange(n_frames, device=features.device) * (given.frame_rate / wanted.frame_rate)
        before = place.floor().long().clamp(max=features.shape[1] - 1)
        after = (before + 1).clamp(max=features.shape[1] - 1)
        features = torch.lerp(features[:, before], features[:, after], (place - before).to(features.dtype))
    return features + 2 * math.log(ratio)


def fits(given: FeatureConfig, wanted: FeatureConfig) -> bool:
    """Whether `converted` can make the features of one config those of another."""
    if given == wanted:
        return True
    ratio = wanted.sample_rate / given.sample_rate
    alike = replace(
        given,
        sample_rate=wanted.sample_rate,
        n_fft=round(given.n_fft * ratio),
        win_length=round(given.win_length * ratio),
        hop_length=wanted.hop_length,
        f_max=wanted.f_max,
        floor=wanted.floor,
    )
    return given.kind == "log_mel" and alike == wanted and given.highest == wanted.highest


def through(
    config: FeatureConfig, inverted: Callable = to_audio, say: Callable[[str], None] = print
) -> Callable[[Tensor], Tensor]:
    """features (C, T), measured as `config` tells -> wave at its sample rate, nobody's voice: by the first vocoder that
    takes them (a shipped checkpoint, then finished runs by name); where there is none, `inverted(features, config)`.
    `say` is told which it is."""
    whole = (run for run in runs.list_runs(experiment_of) if isinstance(run, Run) and run.status == "done")
    known = ((name, name, shipped(name)) for name in pretrained.names())
    for name, vocoder, one in chain(known, ((run.name, run, experiment_of(run)) for run in whole)):
        if _is_vocoder(one) and one.pack.sample_rate == config.sample_rate and one.inputs != CODES:
            (its,) = (c for c in one.pack.features if c.kind == one.frames("inputs"))
            if fits(config, its):
                try:
                    trained = _loaded(vocoder)
                except SpeechlibError as error:  # damaged, or without its corpus
                    say(f"{name} is left out: {error}")
                    continue
                say(f"heard through the {one.system} {name}")
                return partial(_through, trained, config)
    say(f"no vocoder here takes {_told(config)}: heard through inversion.{inverted.__name__}")
    return lambda features: torch.as_tensor(inverted(features.cpu(), config))


def _through(trained: Trained, config: FeatureConfig, features: Tensor) -> Tensor:
    return vocode(features, trained, config)


def everything(experiment: Experiment, data: Data, **options: Mapping) -> dict[str, Says]:
    """{name: vocoder} of all that can say what an experiment reads: noise and Griffin-Lim, which need no model, then
    `trained_vocoders`. `options` {system: {option: value}} are those of the systems' own generation."""
    found: dict[str, Says] = dict(judging.rivals_of(data.pack, experiment.inputs))
    for name, trained in trained_vocoders(experiment, data).items():
        found[name] = partial(_says, trained, options.get(trained.experiment.system, {}))
    return found


def trained_vocoders(experiment: Experiment, data: Data) -> dict[str, Trained]:
    """{"wavenet, checkpoint": Trained, "flowavenet, demo": Trained, ...}: the systems with `vocode` that read the
    features that `experiment` reads. The checkpoints that ship with the package, then the finished runs of presets as
    they are, on its corpus and with its seed."""
    place, seed, wanted, found = experiment.corpus, experiment.seed, {}, {}
    for name in pretrained.names():
        if _reads_alike(known := shipped(name), experiment):
            found[f"{known.system}, checkpoint"] = load_pretrained(name, data)
    for system in SYSTEMS:
        for preset in presets.names()[system]:
            if _reads_alike(known := presets.get(system, preset, place.name, place.root, seed), experiment):
                wanted[f"{system}, {preset}"] = known
    return found | at_hand(wanted, data)[0]


def drawn(codec: Trained, codes: Tensor, speaker: int) -> tuple[Tensor, FeatureConfig]:
    """Codes (L,) -> the bands (C, T) that the codec draws from them in a speaker's voice (-1: nobody's), and how those
    are measured: any vocoder of such bands says them. Raises SpeechlibError for a codec that draws none."""
    model = codec.model
    if getattr(model, "drawing", None) is None:
        raise SpeechlibError(f"this {codec.experiment.system} draws no bands from its codes (model.draw_channels is 0)")
    device = device_of(model)
    voice = None if model.speakers is None else torch.tensor([speaker], device=device)
    with torch.inference_mode():
        bands, _ = model.condition(codes[None].to(device), voice)
    return bands[0].cpu(), codec.experiment.pack.features[0]


def by_codes(codec: Trained, vocoders: Mapping[str, Trained | None], temperature: float = 0.8) -> dict[str, Says]:
    """{name: vocoder} for clips of a codec's codes (`judging.clips` of kind "codes"): each says the codes where it was
    trained on them, else the bands that are `drawn` from them (None: Griffin-Lim), in the voice of the clip."""

    def says(trained: Trained | None, clip: Clip) -> Tensor:
        if trained is not None and trained.experiment.inputs == CODES:
            return vocode(clip.features[0], trained, None, clip.speaker, temperature=temperature)
        bands, config = drawn(codec, clip.features[0], clip.speaker)
        if trained is None:
            return vocode(bands, None, config, say=lambda told: None)
        return vocode(bands, trained, config, clip.speaker, temperature=temperature)

    return {name: partial(says, trained) for name, trained in vocoders.items()}


def compare(data: Data, clips: Sequence[Clip], kind: str, says: Mapping[str, Says]) -> "pandas.DataFrame":
    """`judging.judge` of all of them beside their `speed` on the first clip."""
    table = judging.judge(data, clips, kind, {name: partial(whole, one) for name, one in says.items()})
    return table.join(speed(says, clips[0], data.pack.config.sample_rate))


def speed(
    says: Mapping[str, Says], clip: Clip, sample_rate: int, clock: Callable[[], float] = time.perf_counter
) -> "pandas.DataFrame":
    """A row per vocoder: samples_per_second; real_time, seconds of speech made in one (below 1 it cannot be played
    while it is made); latency, seconds until the first sample is there.

    One that gives blocks has its first early, one that gives a wave has all of it at once. Each says the clip twice,
    of which the first is not counted: code is compiled then, and files are read.
    """
    import pandas

    rows = {}
    for name, one in says.items():
        for _block in _blocks(one(clip)):
            pass
        began, first, n_samples = clock(), None, 0
        for block in _blocks(one(clip)):
            first = clock() if first is None else first
            n_samples += block.shape[-1]
        seconds = max(clock() - began, 1e-9)
        if first is None:
            raise SpeechlibError(f"{name} said nothing: blocks or a wave are wanted")
        rate = n_samples / seconds
        rows[name] = {"samples_per_second": rate, "real_time": rate / sample_rate, "latency": first - began}
    return pandas.DataFrame.from_dict(rows, orient="index")


def _says(trained: Trained, options: Mapping, clip: Clip) -> Tensor | Iterable[Tensor]:
    """A clip by the system's own `speaking` where it can speak block by block, else by `vocode`."""
    system = system_of(trained.experiment)
    return getattr(system, "speaking", system.vocode)(trained, clip.features, clip.speaker, **options)


def whole(one: Says, clip: Clip) -> Tensor:
    """The wave (S,) of a clip, whether it comes at once or in blocks."""
    return torch.cat([torch.as_tensor(block).flatten() for block in _blocks(one(clip))])


def _blocks(said: Tensor | Iterable[Tensor]) -> Iterable[Tensor]:
    return [said] if isinstance(said, (Tensor, np.ndarray)) else said


def _loaded(vocoder: Run | Trained | str) -> Trained:
    if isinstance(vocoder, str):
        vocoder = load_pretrained(vocoder)
    elif isinstance(vocoder, Run):
        if vocoder.status != "done":
            raise SpeechlibError(f"{vocoder.name} is {vocoder.status} at step {vocoder.step}: train it to its end")
        vocoder = load(vocoder)
    if not _is_vocoder(vocoder.experiment):
        raise SpeechlibError(f"a {vocoder.experiment.system} makes no waves of features: vocoders do")
    return vocoder


def _is_vocoder(experiment: Experiment) -> bool:
    return hasattr(system_of(experiment), "vocode")


def _reads_alike(known: Experiment, experiment: Experiment) -> bool:
    ours, its = ((one.pack, one.inputs, one.codec) for one in (experiment, known))
    return _is_vocoder(known) and its == ours


def _check(features: Tensor, config: FeatureConfig) -> None:
    channels = n_features(config)
    if not isinstance(features, Tensor) or features.ndim != 2 or features.shape[0] != channels or not features.numel():
        got = tuple(features.shape) if hasattr(features, "shape") else type(features).__name__
        raise SpeechlibError(f"features of {_told(config)} are (C, T) with C = {channels}, got {got}")
    if not features.isfinite().all():
        bad = int((~features.isfinite()).sum())
        raise SpeechlibError(f"{bad} of {features.numel()} features are NaN or infinite: where do they come from?")


def _told(config: FeatureConfig) -> str:
    return (
        f"{config.kind} ({config.sample_rate} Hz, {config.n_mels} bands of {config.f_min:g} to {config.highest:g} Hz, "
        f"n_fft {config.n_fft}, window {config.win_length}, hop {config.hop_length})"
    )
