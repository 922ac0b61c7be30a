"""What the systems of windows share: their batches, and what encoder and decoder do to windows and to utterances.

Their models have `latents(x)`: windows (B, F, w) -> the vector (B, Z) that stands for each, and `decode(z)` back.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import packs
from ..presets import Experiment
from ..windows import WindowBatch, Windows, overlap, slide
from .data import Data, Trained, device_of

_BATCH = 1024  # windows that are evaluated at once


def batches(experiment: Experiment, data: Data, part: str = "train") -> Windows:
    """The windows of a part; beyond the ends of utterances is what the model reads as zeros."""
    config, model, outside = experiment.training, experiment.model, None
    if model.standardise:
        outside = packs.statistics(data.pack, data.split["train"], experiment.inputs).mean
    shift = model.shift if part == "train" else 0
    size = config.batch_size, config.n_frames, experiment.seed
    return Windows(data.pack, data.split[part], *size, experiment.inputs, outside, shift)


def fit(model: nn.Module, experiment: Experiment, data: Data) -> None:
    """The statistics of the training part, where the model standardises."""
    if experiment.model.standardise:
        model.inputs.fit(*packs.statistics(data.pack, data.split["train"], experiment.inputs))


def all_batches(windows: Windows, device: torch.device) -> Iterator[WindowBatch]:
    """Every window once, in order."""
    for first in range(0, windows.n_windows, _BATCH):
        batch = windows.at(range(first, min(first + _BATCH, windows.n_windows)))
        yield WindowBatch(*(tensor.to(device) for tensor in batch))


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
    windows = batches(trained.experiment, trained.data, part)
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
