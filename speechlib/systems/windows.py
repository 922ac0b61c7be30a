"""What the systems of windows share: their batches, and what encoder and decoder do to windows and to utterances.

Their models have `latents(x)`: windows (B, F, w) -> the vector (B, Z) that stands for each, and `decode(z)` back.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import packs
from ..features import n_features
from ..presets import Experiment
from ..windows import WindowBatch, Windows, overlap, slide
from .data import Data, Trained, device_of

_BATCH = 1024  # windows that are evaluated at once


def windows_of(experiment: Experiment, data: Data, part: str = "train") -> Windows:
    """The windows of a part; beyond the ends of utterances is what the model reads as zeros."""
    config, model, outside = experiment.training, experiment.model, None
    if model.standardise:
        outside = packs.statistics(data.pack, data.split["train"], experiment.inputs).mean
    shift = model.shift if part == "train" else 0
    size = config.batch_size, config.n_frames, experiment.seed
    return Windows(data.pack, data.split[part], *size, experiment.inputs, outside, shift)


def new_of(kind: Callable[..., nn.Module], experiment: Experiment, n_speakers: int) -> nn.Module:
    """A model of this kind for the experiment's windows; none of them knows speakers."""
    sizes = {config.kind: n_features(config) for config in experiment.pack.features}
    return kind(experiment.model, sizes[experiment.inputs], experiment.training.n_frames)


def fit(model: nn.Module, experiment: Experiment, data: Data) -> None:
    """The statistics of the training part, where the model standardises."""
    if experiment.model.standardise:
        model.inputs.fit(*packs.statistics(data.pack, data.split["train"], experiment.inputs))


def all_batches(windows: Windows, device: torch.device, beside: int = 0) -> Iterator[WindowBatch]:
    """Every window once, in order, so many frames beside its place."""
    pieces = -(-windows.n_windows // _BATCH)
    for some in np.array_split(np.arange(windows.n_windows), pieces):  # even ones: none of a single window
        yield WindowBatch(*(tensor.to(device) for tensor in windows.at(some, beside)))


@torch.inference_mode()
def mean_terms(model: nn.Module, objective: Callable, windows: Windows, seed: int = 0) -> dict[str, float]:
    """Each term of an objective as its mean over all windows, however they are batched: a short last batch counts by
    its size. The model is in eval mode; its noise is a function of the seed."""
    totals: dict[str, float] = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for batch in all_batches(windows, device_of(model)):
            for name, term in objective(model.eval(), batch).items():
                totals[name] = totals.get(name, 0.0) + float(term) * len(batch.inputs) / windows.n_windows
    return totals


def scores_of_parts(trained: Trained, objective: Callable, judged: str) -> dict[str, float]:
    """Terms over all windows of both parts with one set of weights, as train_<term> and val_<term>; "gap": the share of
    the training part's `judged` that the validation part is away from it."""
    found = {}
    for part in ("train", "val"):
        terms = mean_terms(trained.model, objective, windows_of(trained.experiment, trained.data, part))
        found |= {f"{part}_{name}": value for name, value in terms.items()}
    return found | {"gap": abs(found[f"val_{judged}"] - found[f"train_{judged}"]) / abs(found[f"train_{judged}"])}


@torch.inference_mode()
def sample_checks(trained: Trained, n: int = 1000, seed: int = 0) -> dict[str, float]:
    """The crudest questions to n draws of a model: has each band the mean and variance that real windows have, and how
    far is a draw from the nearest of n windows that were trained on, beside windows that were not?

    sample_mean_error: mean over bands of |difference of means| in deviations; sample_variance: mean over bands of the
    share of the real variance; sample_bands: share of the bands in which both are right to 15 %; sample_nearest,
    real_nearest: root mean square per element, 0 for a copy.
    """
    model = trained.model
    parts = [windows_of(trained.experiment, trained.data, part) for part in ("train", "val")]
    rng = np.random.default_rng(seed)
    known, unknown = (model.inputs(w.at(rng.permutation(w.n_windows)[:n]).inputs.to(device_of(model))) for w in parts)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        drawn = model.inputs(model.sample(n))
    nearest = [torch.cdist(x.flatten(1), known.flatten(1)).min(1).values.mean() for x in (drawn, unknown)]
    size = known[0].numel() ** 0.5
    off = (drawn.mean((0, 2)) - unknown.mean((0, 2))).abs()
    share = drawn.var((0, 2)) / unknown.var((0, 2)).clamp(min=1e-6)
    return {
        "sample_mean_error": float(off.mean()),
        "sample_variance": float(share.mean()),
        "sample_bands": float(((off < 0.15) & ((share - 1).abs() < 0.15)).float().mean()),
        "sample_nearest": float(nearest[0] / size),
        "real_nearest": float(nearest[1] / size),
    }


class Latents(NamedTuple):
    """A vector per window, and what the window is: arrays (N, Z) and (N,)."""

    z: np.ndarray
    phone: np.ndarray  # names
    speaker: np.ndarray  # names
    gender: np.ndarray  # "F", "M" or "?"
    utterance: np.ndarray  # index in the pack


@torch.inference_mode()
def latents(trained: Trained, part: str = "val") -> Latents:
    """The windows of a part as the model sees them."""
    windows = windows_of(trained.experiment, trained.data, part)
    z = [trained.model.latents(batch.inputs).cpu() for batch in all_batches(windows, device_of(trained.model))]
    names = np.array(windows.phones), np.array(trained.data.pack.speakers)
    return Latents(
        torch.cat(z).numpy(), names[0][windows.phone], names[1][windows.speaker], windows.gender(), windows.utterance
    )


@torch.inference_mode()
def reconstruct(trained: Trained, index: int, hop: int = 1) -> Tensor:
    """Utterance `index` window by window through the model, (C, T): a frame is the mean of all windows that hold it."""
    model, kind = trained.model, trained.experiment.inputs
    features = trained.data.pack.features(index, kind).to(device_of(model))
    windows = slide(features, model.sizes["n_frames"], hop, model.inputs.mean)
    rebuilt = model.decode(torch.cat([model.latents(some) for some in windows.split(_BATCH)]))
    return overlap(rebuilt, hop, features.shape[1]).cpu()


def walk(model: nn.Module, n_frames: int, n_stations: int, seed: int = 0) -> Tensor:
    """Speech that nobody said, (C, n_frames): a path through the prior, decoded at every frame and overlapped.

    The path goes along great circles between `n_stations` draws, so that every point of it is as far from the origin as
    draws are.
    """
    Z = model.config.latent_dim
    stations = torch.randn(n_stations, Z, generator=torch.Generator().manual_seed(seed)).to(device_of(model))
    place = torch.linspace(0, n_stations - 1, max(1, n_frames - model.sizes["n_frames"] + 1), device=stations.device)
    left = place.long().clamp(max=n_stations - 2)
    path = between(stations[left], stations[left + 1], (place - left)[:, None])
    with torch.inference_mode():
        return overlap(model.decode(path), 1, n_frames).cpu()


def between(a: Tensor, b: Tensor, share: Tensor | float) -> Tensor:
    """From a (..., Z) to b at `share` 0..1 of the way along the great circle (Shoemake 1985); lengths change evenly."""
    cosine = nn.functional.cosine_similarity(a, b, dim=-1)[..., None]
    angle = cosine.clamp(-0.9999, 0.9999).acos()
    share = torch.as_tensor(share, device=a.device, dtype=a.dtype)
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()
