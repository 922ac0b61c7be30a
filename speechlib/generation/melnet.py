"""Spectrograms from a MelNet: of nothing, of a real beginning, or of a real coarse grid.

    made = generate(model, 200, n_clips=4, speaker=..., seed=1)     # made.features (4, F, 200), made.stages
    fine = upsample(model, features, n_real=1)                      # the first tier is the recording's

Tiers follow each other; within a tier every value is drawn once the values before it are:

| path  | where | what                                                                              |
|-------|-------|-----------------------------------------------------------------------------------|
| numba | CPU   | compiled loop on one core, wherever the model is: teacher forcing within 1e-5     |
| eager | any   | the same in plain PyTorch, all clips in step                                      |
| graph | CUDA  | frames of the eager path recorded and replayed, many clips at once                |

"auto" is graph for a model on a CUDA device and numba for others. Every path draws a clip's values from the same random
numbers. `rerun` draws the same by a whole pass for every value: what it costs to remember nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import SpeechlibError, UnknownName
from ..models.melnet import BINS, Grid, MelNet, Tier, axis_of, grid_sizes
from .eager_melnet import NO_LIMITS, EagerTier, full_precision
from .graph_melnet import GraphTier

PATHS = ("auto", "numba", "eager", "graph")
Progress = Callable[[int, int, str], None]  # (values done, of all, text)
_FRAMES = 8  # drawn between two looks at progress


class Generated(NamedTuple):
    """features (B, F, T); stages: the grid after each tier (B, F_g, T_g), coarse to fine, in the same unit."""

    features: Tensor
    stages: list[Tensor]


class Drawing(NamedTuple):
    """How values are drawn: `temperature` multiplies deviations, `weight_temperature` divides the logits of weights;
    samples stay within `limits`."""

    temperature: float = 1.0
    weight_temperature: float = 1.0
    limits: tuple[float, float] = NO_LIMITS


def generate(
    model: MelNet,
    n_frames: int,
    *,
    n_clips: int = 1,
    speaker: Tensor | None = None,
    prime: Tensor | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    weight_temperature: float = 1.0,
    path: str = "auto",
    progress: Progress | None = None,
) -> Generated:
    """n_clips spectrograms of n_frames frames, side by side.

    speaker (n_clips,), -1 = nobody, for a model that knows speakers. prime (F, T0) or (n_clips, F, T0): features that
    the clip begins with, in every tier. Clip b draws from the random numbers of (seed, b), whatever is beside it.
    Raises SpeechlibError where the prime is longer than the clip, or the clip too short for the tiers.
    """
    sizes = grid_sizes(model.config.n_tiers, model.sizes["n_features"], n_frames)
    given = [None] * len(sizes)
    if prime is not None:
        prime = prime.expand(n_clips, -1, -1)
        if prime.shape[2] > n_frames:
            raise SpeechlibError(f"a prime of {prime.shape[2]} frames is longer than the clip of {n_frames}: cut it")
        begun = torch.nn.functional.pad(prime, (0, n_frames - prime.shape[2]))
        grids = _grids(model, begun, torch.full((n_clips,), prime.shape[2]))
        given = [grid.target[:, :, : grid.length[0]] for grid in grids]
    drawing = Drawing(temperature, weight_temperature, tuple(model.limits.tolist()))
    return _all_tiers(model, sizes, given, n_clips, speaker, seed, drawing, path, progress)


def upsample(
    model: MelNet,
    features: Tensor,
    n_real: int = 1,
    *,
    speaker: Tensor | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    weight_temperature: float = 1.0,
    path: str = "auto",
    progress: Progress | None = None,
) -> Generated:
    """Features (B, F, T) of recordings, of which the grids of the first n_real tiers are kept and the rest is drawn."""
    if not 1 <= n_real <= model.config.n_tiers:
        raise SpeechlibError(f"n_real {n_real} must lie in 1..{model.config.n_tiers}, the tiers of the model")
    sizes = grid_sizes(model.config.n_tiers, *features.shape[1:])
    given = [grid.target for grid in _grids(model, features)[:n_real]] + [None] * (len(sizes) - n_real)
    drawing = Drawing(temperature, weight_temperature, tuple(model.limits.tolist()))
    return _all_tiers(model, sizes, given, len(features), speaker, seed, drawing, path, progress)


def stretch(model: MelNet, features: Tensor, n_real: int = 1) -> Tensor:
    """Features (B, F, T) with nothing but the grids of their first n_real tiers, the gaps filled by straight lines:
    what can be done without a model."""
    bins, step = bins_of(model, n_real).to(features.device), frame_step(model, n_real)
    x = _between(features[:, bins, ::step], bins, features.shape[1], dim=1)
    return _between(x, torch.arange(0, features.shape[2], step, device=x.device), features.shape[2], dim=2)


def _between(x: Tensor, places: Tensor, size: int, dim: int) -> Tensor:
    """x, known at rising `places` along dim, at 0..size - 1; behind the last place it stays as it is."""
    if len(places) == 1:
        return x.expand(*(size if d == dim else -1 for d in range(x.ndim)))
    at = torch.arange(size, device=x.device)
    left = (torch.searchsorted(places.contiguous(), at, right=True) - 1).clamp(0, len(places) - 2)
    share = ((at - places[left]) / (places[left + 1] - places[left])).clamp(max=1)
    share = share.view([-1 if d == dim else 1 for d in range(x.ndim)])
    return torch.lerp(
        x.index_select(dim, left), x.index_select(dim, left + 1), share.expand_as(x.index_select(dim, left))
    )


def bins_of(model: MelNet, tier: int) -> Tensor:
    """Which of the bins the grid has once tier 1, 2, ... is drawn."""
    bins = torch.arange(model.sizes["n_features"])
    for finer in range(model.config.n_tiers, tier, -1):
        bins = bins[::2] if axis_of(finer) == BINS else bins
    return bins


def frame_step(model: MelNet, tier: int) -> int:
    """How many frames of the whole grid lie between two of the grid that tier 1, 2, ... leaves."""
    return 2 ** sum(axis_of(finer) != BINS for finer in range(tier + 1, model.config.n_tiers + 1))


@torch.inference_mode()
def draw_tier(
    tier: Tier,
    uniform: Tensor,
    condition: Tensor | None = None,
    speaker: Tensor | None = None,
    given: Tensor | None = None,
    drawing: Drawing = Drawing(),  # noqa: B008  immutable
    path: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Standardised values (B, F, T) of one tier, from uniform (B, F, T, 2) random numbers.

    given (B, F, T0): the first frames, which are not drawn. progress(frames done).
    """
    B, F, T, _ = uniform.shape
    running = _begin(tier, (B, F, T), condition, speaker, path)
    frames, done = [], 0
    if given is not None and given.shape[2]:
        running.read(given)
        frames, done = [given.cpu()], given.shape[2]
    for first in range(done, T, _FRAMES):
        frames.append(running.sample(uniform[:, :, first : first + _FRAMES], *drawing).cpu())
        if progress:
            progress(min(first + _FRAMES, T))
    return torch.cat(frames, dim=2)


@torch.inference_mode()
def cached_parameters(
    tier: Tier, values: Tensor, condition: Tensor | None = None, speaker: Tensor | None = None, path: str = "auto"
) -> Tensor:
    """Parameters (B, F, T, 3 K) of given values (B, F, T), step by step: what `tier(values, ...)` gives at once."""
    return _begin(tier, values.shape, condition, speaker, path).force(values).cpu()


@torch.inference_mode()
def rerun(
    tier: Tier,
    uniform: Tensor,
    condition: Tensor | None = None,
    speaker: Tensor | None = None,
    drawing: Drawing = Drawing(),  # noqa: B008  immutable
    n_values: int | None = None,
) -> Tensor:
    """`draw_tier` as public code does it: the whole network again for every value (or the first n_values of them).

    Without a condition the frames after the present one are left out, as nothing of them can be heard.
    """
    B, F, T, _ = uniform.shape
    x = torch.zeros(B, F, T)
    for n in range(F * T if n_values is None else n_values):
        i, j = divmod(n, F)
        seen = x[:, :, : i + 1] if condition is None else x
        parameters = tier(seen, condition, speaker)[:, j, i]
        temperatures = drawing.temperature, drawing.weight_temperature
        x[:, j, i] = tier.distribution.sample(parameters, uniform[:, j, i], *temperatures).clamp(*drawing.limits)
    return x


def _grids(model: MelNet, features: Tensor, length: Tensor | None = None) -> list[Grid]:
    """What each tier would learn of features (B, F, T), on the CPU."""
    device = model.inputs.mean.device
    length = None if length is None else length.to(device)
    grids = model.grids(model.inputs(features.to(device)), length)
    return [Grid(*(None if part is None else part.cpu() for part in grid)) for grid in grids]


@torch.inference_mode()
def _all_tiers(
    model: MelNet, sizes: list[tuple[int, int]], given: list[Tensor | None], n_clips: int, speaker: Tensor | None,
    seed: int, drawing: Drawing, path: str, progress: Progress | None,
) -> Generated:  # fmt: skip
    """Tier after tier; of each the first frames may be given, or all of them."""
    if n_clips < 1 or drawing.temperature < 0 or drawing.weight_temperature < 0:
        raise SpeechlibError(
            f"n_clips {n_clips} must be 1 or more, temperature {drawing.temperature} and weight_temperature "
            f"{drawing.weight_temperature} not negative"
        )
    total, done, targets, stages = sum(F * T for F, T in sizes), 0, [], []
    for number, (tier, (F, T), known) in enumerate(zip(model.tiers, sizes, given), 1):
        condition = stages[-1] if stages else None
        if known is not None and known.shape[2] == T:
            target = known
        else:
            uniform = torch.from_numpy(
                np.stack([np.random.default_rng([seed, b, number]).random((F, T, 2)) for b in range(n_clips)])
            )

            def report(frames: int, before=done, F=F, number=number) -> None:
                if progress:
                    progress(before + frames * F, total, f"tier {number} of {len(sizes)}")

            target = draw_tier(tier, uniform, condition, speaker, known, drawing, path, report)
        done += F * T
        targets.append(target)
        stages.append(model.merge(targets))
    statistics = model.inputs.mean.cpu(), model.inputs.std.cpu()
    for number in range(1, len(sizes) + 1):
        mean, std = (values[bins_of(model, number)][:, None] for values in statistics)
        stages[number - 1] = stages[number - 1] * std + mean
    return Generated(stages[-1], stages)


def _begin(tier: Tier, shape: tuple[int, int, int], condition: Tensor | None, speaker: Tensor | None, path: str):
    """One of the paths at its beginning: the conditioning network has run, once."""
    if path not in PATHS:
        raise UnknownName("path of generation", path, PATHS)
    device = tier.head.weight.device
    if path == "auto":
        path = "graph" if device.type == "cuda" else "numba"
    B, F, T = shape
    condition, speaker = (None if given is None else given.to(device) for given in (condition, speaker))
    with full_precision():
        z = tier.conditioning(condition, speaker, (B, T, F))
    if path == "numba":
        from .numba_melnet import NumbaTier  # here, because numba takes half a second to import

        return NumbaTier(tier, F, T, B, z)
    return (EagerTier if path == "eager" else GraphTier)(tier, F, T, B, z)
