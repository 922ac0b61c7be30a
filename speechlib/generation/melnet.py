"""Spectrograms from a MelNet: of nothing, of a real beginning, or of a real coarse grid.

    made = generate(model, 200, n_clips=4, speaker=..., seed=1)     # made.features (4, F, 200), made.stages
    fine = upsample(model, features, n_real=1)                      # the first tier is the recording's
    seen = generate(model, 200, look=lambda partial: ...)           # partial.grid, every few frames

Tiers follow each other; within a tier every value is drawn once the values before it are:

| path  | where | what                                                                              |
|-------|-------|-----------------------------------------------------------------------------------|
| numba | CPU   | compiled loop on one core, wherever the model is: teacher forcing within 1e-5     |
| eager | any   | the same in plain PyTorch, all clips in step                                      |
| graph | CUDA  | frames of the eager path recorded and replayed, many clips at once                |

"auto" is graph for a model on a CUDA device and numba for others, where precision "int8" makes single clips of wide
networks twice as quick for some thousandths of a nat per value (tests/benchmarks/test_precision_bench.py). Every path
draws a clip's values from the same random numbers. `rerun` draws the same by a whole pass for every value: what it
costs to remember nothing.
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


class Partial(NamedTuple):
    """A drawing under way: the grid (B, F_g, T_g) of tier 1, 2, ... in the features' unit, NaN where nothing is yet."""

    tier: int
    n_tiers: int
    grid: Tensor


def generate(model: MelNet, n_frames: int, *, n_clips: int = 1, prime: Tensor | None = None, **options) -> Generated:
    """n_clips spectrograms of n_frames frames, side by side; `options` are those of `draw_tiers`.

    prime (F, T0) or (n_clips, F, T0): features that the clip begins with, in every tier.
    Raises SpeechlibError where the prime is longer than the clip, or the clip too short for the tiers.
    """
    sizes = grid_sizes(model.config.n_tiers, model.sizes["n_features"], n_frames)
    given = [None] * len(sizes)
    if prime is not None and n_clips > 0:
        length = prime.shape[-1]
        if prime.ndim not in (2, 3) or prime.ndim == 3 and len(prime) not in (1, n_clips):
            raise SpeechlibError(
                f"a prime of shape {tuple(prime.shape)} for {n_clips} clips: wanted features (F, T), or (clips, F, T)"
            )
        if length > n_frames:
            raise SpeechlibError(f"a prime of {length} frames is longer than the clip of {n_frames}: cut it")
        if length == 0:
            raise SpeechlibError("the prime has no frames: leave it out to begin with nothing")
        begun = torch.nn.functional.pad(prime.expand(n_clips, -1, -1), (0, n_frames - length))
        grids = _grids(model, begun, torch.full((n_clips,), length))
        given = [grid.target[:, :, : grid.length[0]] for grid in grids]
    return draw_tiers(model, sizes, given, n_clips, **options)


def upsample(model: MelNet, features: Tensor, n_real: int = 1, **options) -> Generated:
    """Features (B, F, T) of recordings, of which the grids of the first n_real tiers are kept and the rest is drawn;
    `options` are those of `draw_tiers`."""
    if not 1 <= n_real <= model.config.n_tiers:
        raise SpeechlibError(f"n_real {n_real} must lie in 1..{model.config.n_tiers}, the tiers of the model")
    sizes = grid_sizes(model.config.n_tiers, *features.shape[1:])
    given = [grid.target for grid in _grids(model, features)[:n_real]] + [None] * (len(sizes) - n_real)
    return draw_tiers(model, sizes, given, len(features), **options)


def stretch(model: MelNet, features: Tensor, n_real: int = 1) -> Tensor:
    """Features (B, F, T) with nothing but the grids of their first n_real tiers, the gaps filled by straight lines:
    what can be done without a model."""
    bins, step = bins_of(model, n_real).to(features.device), frame_step(model, n_real)
    x = _between(features[:, bins, ::step], bins, features.shape[1], dim=1)
    return _between(x, torch.arange(0, features.shape[2], step, device=x.device), features.shape[2], dim=2)


def finished(model: MelNet, made: Generated, n_frames: int) -> Tensor | None:
    """What was drawn, or of a drawing that was stopped the tiers that were finished with straight lines between their
    values: features (B, F, n_frames). None where not even the first tier was."""
    whole = [stage for stage in made.stages if stage.isfinite().all()]
    if not whole:
        return None
    tier = len(whole)
    features = torch.zeros(len(whole[-1]), model.sizes["n_features"], n_frames)
    features[:, bins_of(model, tier), :: frame_step(model, tier)] = whole[-1]
    return stretch(model, features, tier)


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


def stage_sizes(model: MelNet, n_frames: int) -> list[tuple[int, int]]:
    """(bins, frames) of the grid after each tier."""
    tiers = range(1, model.config.n_tiers + 1)
    return [(len(bins_of(model, tier)), -(-n_frames // frame_step(model, tier))) for tier in tiers]


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
    precision: str = "float32",
    more: Callable[[Tensor], bool] = lambda values: True,
    text: Tensor | None = None,
) -> Tensor:
    """Standardised values (B, F, T) of one tier, from uniform (B, F, T, 2) random numbers.

    given (B, F, T0): the first frames, which are not drawn. `more(values)` is shown every few frames what there is,
    (B, F, n), and says whether to go on: where it does not, that is the result. text (B, L): what a tier with a reader
    is to say, by the eager path.
    """
    B, F, T, _ = uniform.shape
    running = _begin(tier, (B, F, T), condition, speaker, path, precision, text)
    values = torch.zeros(B, F, 0) if given is None else given.cpu()
    if values.shape[2]:
        running.read(values)
    while (done := values.shape[2]) < T:
        frames = running.sample(uniform[:, :, done : done + _FRAMES], *drawing).cpu()
        values = torch.cat([values, frames], dim=2)
        if not more(values):
            break
    return values


@torch.inference_mode()
def cached_parameters(
    tier: Tier,
    values: Tensor,
    condition: Tensor | None = None,
    speaker: Tensor | None = None,
    path: str = "auto",
    precision: str = "float32",
    text: Tensor | None = None,
) -> Tensor:
    """Parameters (B, F, T, 3 K) of given values (B, F, T), step by step: what `tier(values, ...)` gives at once."""
    return _begin(tier, values.shape, condition, speaker, path, precision, text).force(values).cpu()


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
    if features.shape[BINS] != (n_bins := model.sizes["n_features"]):
        raise SpeechlibError(f"features of {features.shape[BINS]} bins, the model was made for {n_bins}")
    if not features.isfinite().all():
        raise SpeechlibError("the features are not finite: were they made of a file that is no audio?")
    device = model.inputs.mean.device
    length = None if length is None else length.to(device)
    grids = model.grids(model.inputs(features.to(device)), length)
    return [Grid(*(None if part is None else part.cpu() for part in grid)) for grid in grids]


@torch.inference_mode()
def draw_tiers(
    model: MelNet,
    sizes: list[tuple[int, int]],
    given: list[Tensor | None],
    n_clips: int,
    *,
    speaker: Tensor | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    weight_temperature: float = 1.0,
    path: str = "auto",
    precision: str = "float32",
    progress: Progress | None = None,
    look: Callable[[Partial], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Generated:
    """Tier after tier, of which the first frames may be `given` (standardised), or all of them.

    speaker (n_clips,), -1 = nobody, for a model that knows speakers. Clip b draws from the random numbers of (seed, b),
    whatever is beside it. temperature multiplies deviations, weight_temperature divides the logits of the mixture.
    `progress` counts values, `look` is shown the grid every few frames. Where `stop()` says so what is there is
    returned: the stages up to the tier under way, the last with NaN where nothing was drawn, and as the features.
    Raises SpeechlibError for options that make no sense and for weights that are not finite.
    """
    if n_clips < 1 or seed < 0 or not (temperature >= 0 and weight_temperature >= 0):  # nan is neither
        raise SpeechlibError(
            f"n_clips {n_clips} must be 1 or more, seed {seed}, temperature {temperature} and weight_temperature "
            f"{weight_temperature} not negative"
        )
    if speaker is not None and len(speaker) != n_clips:
        raise SpeechlibError(f"{len(speaker)} speakers for {n_clips} clips: one each, -1 for nobody")
    _check_finite(model)
    drawing = Drawing(temperature, weight_temperature, tuple(model.limits.tolist()))
    statistics = model.inputs.mean.cpu(), model.inputs.std.cpu()

    def in_unit(stage: Tensor, number: int) -> Tensor:
        mean, std = (values[bins_of(model, number)][:, None] for values in statistics)
        return stage * std + mean

    total, before, targets, stages = sum(F * T for F, T in sizes), 0, [], []
    for number, (tier, (F, T), known) in enumerate(zip(model.tiers, sizes, given), 1):

        def so_far(values: Tensor, number=number, T=T) -> Tensor:
            rest = torch.nn.functional.pad(values, (0, T - values.shape[2]), value=torch.nan)
            return model.merge([*targets, rest])

        def more(values: Tensor, number=number, F=F, before=before, so_far=so_far) -> bool:
            if progress:
                progress(before + values.shape[2] * F, total, f"tier {number} of {len(sizes)}")
            if look:
                look(Partial(number, len(sizes), in_unit(so_far(values), number)))
            return stop is None or not stop()

        if known is not None and known.shape[2] == T:
            target = known
        else:
            uniform = torch.from_numpy(
                np.stack([np.random.default_rng([seed, b, number]).random((F, T, 2)) for b in range(n_clips)])
            )
            condition = stages[-1] if stages else None
            target = draw_tier(tier, uniform, condition, speaker, known, drawing, path, precision, more)
        stages.append(so_far(target))
        targets.append(target)
        before += F * T
        if target.shape[2] < T:
            break
    stages = [in_unit(stage, number) for number, stage in enumerate(stages, 1)]
    return Generated(stages[-1], stages)


def _check_finite(model: MelNet) -> None:
    for name, weight in model.state_dict().items():
        if not weight.isfinite().all():
            raise SpeechlibError(
                f"the model is not finite ({name}), so nothing can be drawn. Did the training diverge? Take an earlier "
                "checkpoint, or train again with a smaller learning rate"
            )


def _begin(
    tier: Tier,
    shape: tuple[int, int, int],
    condition: Tensor | None,
    speaker: Tensor | None,
    path: str,
    precision: str,
    text: Tensor | None = None,
):
    """One of the paths at its beginning: the conditioning network has run, once."""
    if path not in PATHS:
        raise UnknownName("path of generation", path, PATHS)
    if not isinstance(tier, Tier):
        raise SpeechlibError("this MelNet is one of its tiers alone, and a clip takes all: draw with the whole run")
    if tier.reader is not None:
        if path not in ("auto", "eager"):
            raise SpeechlibError(f"a tier that reads a text draws by the eager path, not by {path!r}")
        path = "eager"
    device = tier.head.weight.device
    if path == "auto":
        path = "graph" if device.type == "cuda" else "numba"
    if precision != "float32" and path != "numba":
        raise SpeechlibError(f"precision {precision!r} is for the numba path, this one is {path!r}")
    B, F, T = shape
    condition, speaker = (None if given is None else given.to(device) for given in (condition, speaker))
    with full_precision():
        z = tier.conditioning(condition, speaker, (B, T, F))
        letters = tier.letters(None if text is None else text.to(device))
    if path == "numba":
        from .numba_melnet import NumbaTier  # here, because numba takes half a second to import

        return NumbaTier(tier, F, T, B, z, precision)
    return EagerTier(tier, F, T, B, z, letters) if path == "eager" else GraphTier(tier, F, T, B, z)
