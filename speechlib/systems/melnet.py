"""MelNet: log-mel features learned from coarse to fine."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .. import objectives, packs
from ..errors import SpeechlibError, UnknownName
from ..evaluation import bin_mixtures
from ..features import FeatureConfig, band_centres, n_features
from ..generation.melnet import generate, stretch, upsample
from ..inversion import refine, to_audio
from ..models.melnet import MelNet
from ..presets import Experiment
from ..presets.melnet import architecture
from . import judging
from .data import Data, Trained, crops, device_of
from .parts import EACH

if TYPE_CHECKING:
    import pandas

objective = objectives.melnet
_FRAMES = 4_000  # of the training part that the baseline is fitted to
_VALUES = 100_000  # of held-out crops that are judged at once
_baselines: dict[str, bin_mixtures.BinMixtures] = {}


def new(experiment: Experiment, n_speakers: int) -> MelNet:
    config = next((c for c in experiment.pack.features if c.kind == experiment.inputs), None)
    if config is None:
        raise SpeechlibError(f"a MelNet learns features, not {experiment.inputs!r}: give it inputs=log_mel")
    part, known = experiment.training.part, parts(experiment)
    if part not in ("", EACH, *known):
        raise UnknownName("part of this melnet", part, (EACH, *known))
    tier = known.index(part) + 1 if part in known else 0
    return MelNet(experiment.model, n_features(config), n_speakers if experiment.model.speaker_dim else 0, tier)


def parts(experiment: Experiment) -> tuple[str, ...]:
    """What can be trained by itself."""
    return tuple(f"tier_{number}" for number in range(1, experiment.model.n_tiers + 1))


describe = architecture


def fit(model: MelNet, experiment: Experiment, data: Data) -> None:
    """Statistics of the training part, least and greatest value of each bin."""
    pack, train = data.pack, data.split["train"]
    ends = [torch.aminmax(pack.features(i, experiment.inputs), dim=1) for i in train]
    low, high = torch.stack([end.min for end in ends]).amin(0), torch.stack([end.max for end in ends]).amax(0)
    model.fit(*packs.statistics(pack, train, experiment.inputs), low, high)


def baseline(trained: Trained) -> bin_mixtures.BinMixtures:
    """A mixture of as many Gaussians for every bin by itself, fitted to frames of the training part as the model learns
    them: standardised, with its dither. What has been fitted before is remembered: tiers and sweeps share theirs."""
    experiment, pack, model = trained.experiment, trained.data.pack, trained.model
    config = experiment.model
    known = (pack.path, experiment.split, experiment.inputs, experiment.seed, device_of(model))
    known = repr((*known, config.n_mixtures, config.min_sigma, config.dither))
    if known not in _baselines:
        random = np.random.default_rng(experiment.seed)
        frames = torch.cat([pack.features(i, experiment.inputs) for i in trained.data.split["train"]], dim=1)
        some = torch.from_numpy(random.permutation(frames.shape[1])[:_FRAMES]).to(frames.device)
        x = model.inputs(frames[:, some].to(device_of(model)))
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(experiment.seed)).to(x.device)
        # with the model's floor too: else the narrower one would win wherever a value is repeated
        fitted = bin_mixtures.fit((x + config.dither * noise).t(), config.n_mixtures, min_sigma=config.min_sigma)
        _baselines[known] = fitted
    return _baselines[known]


@torch.inference_mode()
def likelihoods(trained: Trained, part: str = "val", seed: int = 0) -> "pandas.DataFrame":
    """What each tier's values cost on crops of a part, in nats per value: a row per tier that was trained, and "all".

    `melnet`, and beside it `bins`, the baseline, which sees the same noise; `per_100_db` is MelNet's where 100 dB are
    the unit, as the source system's are; `frame` its sum over the bins of a frame; `values` counts.
    """
    import pandas

    model, rival = trained.model, baseline(trained)
    frozen, alone = trained.experiment.training.frozen, model.sizes.get("tier")
    tiers = [alone] if alone else range(1, model.config.n_tiers + 1)
    learned = [number for number in tiers if f"tiers.{number - 1}" not in frozen]
    training = trained.experiment.training
    at_once = max(1, _VALUES // (model.sizes["n_features"] * training.n_frames))  # the same whatever a training takes
    judged = replace(trained.experiment, training=replace(training, batch_size=at_once))
    drawn, random = crops(judged, trained.data, part), torch.Generator().manual_seed(seed)
    rows = dict.fromkeys(learned, 0.0)  # melnet, bins, values, frames, logarithms of the unit
    for n in range(len(drawn)):
        batch = drawn.batch(n)
        x, length = model.inputs(batch.inputs.to(device_of(model))), batch.length.to(device_of(model))
        x = x + model.config.dither * torch.randn(x.shape, generator=random).to(x.device)
        inside = torch.arange(x.shape[2], device=x.device) < length[:, None, None]
        speaker = batch.speaker.to(x.device) if model.sizes["n_speakers"] else None
        unit = (model.inputs.std / math.log(10) / 10).log()[:, None]  # of a standard deviation, in 100 dB
        beside = rival.nll(x) * inside, unit * inside
        grids = [model.grids(values, length) for values in (x, *beside)]
        for number in learned:
            grid, other, units = (values[number - 1] for values in grids)
            cost = model.tiers[number - 1].nll(grid, speaker).sum()
            sums = cost, other.target.sum(), grid.n_values, grid.length.sum(), units.target.sum()
            rows[number] = rows[number] + np.array([float(value) for value in sums])
    rows["all"] = sum(rows.values())
    nll, bins, values, frames, units = np.stack(list(rows.values())).T
    table = pandas.DataFrame(
        {"melnet": nll / values, "bins": bins / values, "per_100_db": (nll + units) / values}, rows
    )
    table = table.assign(frame=nll / frames, values=values.astype(int)).rename_axis("tier")
    table.loc["all", "frame"] = float("nan")  # frames of several widths do not add up
    return table


def speaker_of(trained: Trained, speaker: int, n: int = 1) -> Tensor | None:
    """A speaker (index into pack.speakers, -1 = nobody) for n clips; None for a model that knows no speakers."""
    return torch.full((n,), speaker) if trained.model.sizes["n_speakers"] else None


def speak(trained: Trained, features: Tensor) -> Tensor:
    """Features (F, T), drawn or real, as a wave: L-BFGS on the samples, from Griffin-Lim's."""
    return refine(features.cpu(), trained.data.pack.config_of(trained.experiment.inputs), n_iter=40)


def ticks(config: FeatureConfig) -> list[tuple[float, str]]:
    """(share of the height, name) of some frequencies, for pictures of a grid."""
    hertz = band_centres(config)
    shares = (np.arange(len(hertz)) + 0.5) / len(hertz)
    return [(float(np.interp(f, hertz, shares)), f"{f} Hz") for f in (500, 1000, 2000) if f < hertz[-1]]


def titles(trained: Trained) -> list[str]:
    """Of the grid after each tier."""
    return ["tier 1", *(f"tiers 1-{k}" for k in range(2, trained.model.config.n_tiers + 1))]


def say(trained: Trained, speakers: Sequence[int], seconds: float, **drawing) -> list[Tensor]:
    """Clips (S,) from nothing, one for each speaker (index, -1 = nobody; a model that knows none reads none), by
    Griffin-Lim: many clips, for machines to listen to. `drawing`: options of generation.melnet.generate."""
    config = trained.data.pack.config_of(trained.experiment.inputs)
    told = torch.tensor(list(speakers)) if trained.model.sizes["n_speakers"] else None
    T = round(seconds * config.frame_rate)
    return list(to_audio(generate(trained.model, T, n_clips=len(speakers), speaker=told, **drawing).features, config))


def said(data: Data, kind: str, utterances: Sequence[int], seconds: float) -> list[Tensor]:
    """The mark for all that is drawn: the first seconds of recordings (indices), their features a wave likewise."""
    return list(to_audio(_beginnings(data, kind, utterances, seconds), data.pack.config_of(kind)))


def outlined(
    trained: Trained, utterances: Sequence[int], seconds: float, n_real: int = 1, **drawing
) -> tuple[list[Tensor], list[Tensor]]:
    """The first seconds of recordings (indices) with nothing of them but their first n_real tiers: clips (S,) whose
    rest is drawn, and clips whose rest is straight lines, by Griffin-Lim."""
    pack, kind = trained.data.pack, trained.experiment.inputs
    config, features = pack.config_of(kind), _beginnings(trained.data, kind, utterances, seconds)
    told = torch.as_tensor(pack.speaker[list(utterances)]) if trained.model.sizes["n_speakers"] else None
    made = upsample(trained.model, features, n_real, speaker=told, **drawing).features
    return list(to_audio(made, config)), list(to_audio(stretch(trained.model, features, n_real), config))


def _beginnings(data: Data, kind: str, utterances: Sequence[int], seconds: float) -> Tensor:
    """Features (B, F, T) of the first seconds of utterances that last so long (`lasting`)."""
    T = round(seconds * data.pack.config_of(kind).frame_rate)
    return torch.stack([data.pack.features(i, kind)[:, :T].cpu() for i in utterances])


def lasting(data: Data, kind: str, seconds: float, n: int, part: str = "val") -> list[int]:
    """Up to n utterances of a part that last so long, evenly spread over it and so over its speakers."""
    T = round(seconds * data.pack.config_of(kind).frame_rate)
    found = [i for i in data.split[part] if data.pack.n_frames[i] >= T]
    if not found:
        longest = max(data.pack.n_frames[i] for i in data.split[part]) / data.pack.config_of(kind).frame_rate
        raise SpeechlibError(f"no utterance of {part} lasts {seconds:g} s, the longest {longest:.2g} s: take fewer")
    return [found[k] for k in np.unique(np.linspace(0, len(found) - 1, min(n, len(found))).astype(int))]


def upsampler(trained: Trained, n_real: int = 1, **options) -> judging.Vocoder:
    """A clip from the grids of its first n_real tiers, the rest drawn (`options` of generation.melnet.upsample)."""

    def say(clip: judging.Clip) -> Tensor:
        speaker = speaker_of(trained, clip.speaker)
        return speak(
            trained, upsample(trained.model, clip.features[None], n_real, speaker=speaker, **options).features[0]
        )

    return say


def stretcher(trained: Trained, n_real: int = 1) -> judging.Vocoder:
    """The rival: the same grids, and straight lines between their values."""
    return lambda clip: speak(trained, stretch(trained.model, clip.features[None].cpu(), n_real)[0])


def scores(trained: Trained) -> dict[str, float]:
    """Nats per value of the validation part, of all and of each tier, with `bins_` before those of the baseline."""
    table = likelihoods(trained)
    found = {}
    for tier, row in table.iterrows():
        name = "nll" if tier == "all" else f"tier_{tier}_nll"
        found |= {name: float(row["melnet"]), f"bins_{name}": float(row["bins"])}
    return found
