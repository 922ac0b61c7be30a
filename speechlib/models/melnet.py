"""MelNet: a spectrogram value by value, from coarse to fine.

Vasquez & Lewis 2019, arXiv 1906.01083. A grid of bins and frames is halved again and again; each tier says how the
halves that were taken away follow from what is left, value by value, frame after frame, low to high:

    x (B, F, T) -> split: x^1 (coarse), x^2, ... x^G             p(x) = p(x^1) p(x^2 | x^1) ... p(x^G | x^<G)
    a tier:  its values, one frame late (h_t) and one bin late (h_f); x^<g by a feature extractor, the speaker
      -> n_layers x [h_t: LSTMs along time, up and down the bins; h_c: along time, all bins at once; h_f: up the bins]
      -> parameters (B, F_g, T_g, 3 K) of a mixture of Gaussians for each value, given all values before it

h_t of frame i sees the frames before i and h_f the bins before j, so value (i, j) sees all that came before it and
nothing else. No convolution is involved: every stack reaches as far as the grid does.

A tier is said to have the layers that recur, as in the paper's table 1. (jgarciapueyo/MelNet-SpeechGeneration counts
the projection before them as well: its 12 layers are 11 here.) Grids are split as there: even rows are the condition,
odd ones are generated; the paper has it the other way round. Tiers of even number split the bins, of odd number time.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import SpeechlibError
from .melnet_text import Reader
from .mixtures import GaussianMixture
from .speakers import vectors_of
from .standardise import Standardise

BINS, FRAMES = 1, 2  # axes of a grid (B, F, T)


@dataclass(frozen=True)
class MelNetConfig:
    """Choices of the model. The number of bins and of speakers are arguments beside it."""

    layers: tuple[int, ...] = (12, 5, 4, 3, 2, 2)  # recurrent layers of each tier, coarse to fine
    hidden: int = 512
    n_mixtures: int = 10
    min_sigma: float = 1e-5  # least deviation of a component, in units of the standardised features
    dither: float = (
        0.0  # deviation of the noise added to what is learned: the floor of silence has no density by itself
    )
    speaker_dim: int = 0  # size of the learned speaker vector; 0 = no speakers
    checkpoint: bool = False  # compute layers again for the gradient instead of remembering what is inside them

    def __post_init__(self):
        if not self.layers or min(self.layers) < 1:
            raise SpeechlibError(f"layers {self.layers}: one number from 1 for each tier")
        if self.hidden < 1 or self.n_mixtures < 1 or not self.min_sigma > 0 or self.dither < 0:
            raise SpeechlibError(
                f"hidden {self.hidden}, n_mixtures {self.n_mixtures} and min_sigma {self.min_sigma} must be positive, "
                f"dither {self.dither} not negative"
            )

    @property
    def n_tiers(self) -> int:
        return len(self.layers)

    @property
    def distribution(self) -> GaussianMixture:
        return GaussianMixture(self.n_mixtures, self.min_sigma)


# -- grids -------------------------------------------------------------------------------------------------------------


class Grid(NamedTuple):
    """What one tier learns: target (B, F, T), the condition x^<g or None; how many frames of each are valid (B,)."""

    target: Tensor
    condition: Tensor | None
    length: Tensor
    condition_length: Tensor | None

    @property
    def n_values(self) -> Tensor:
        """Valid values of the batch."""
        return self.length.sum() * self.target.shape[BINS]


def axis_of(tier: int) -> int:
    """Along which axis tier 2, 3, ... doubles the grid: bins where its number is even, frames where it is odd."""
    return BINS if tier % 2 == 0 else FRAMES


def split(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """x -> its even and its odd rows along an axis. Of an odd number the even ones are one more."""
    index = [slice(None)] * x.ndim
    return x[(*index[:axis], slice(0, None, 2))], x[(*index[:axis], slice(1, None, 2))]


def interleave(even: Tensor, odd: Tensor, axis: int) -> Tensor:
    """The inverse of `split`, on the device of its parts."""
    sizes = even.shape[axis], odd.shape[axis]
    if sizes[0] - sizes[1] not in (0, 1):
        raise SpeechlibError(f"{sizes[0]} even and {sizes[1]} odd rows do not interleave: as many, or one more even")
    shape = list(even.shape)
    shape[axis] = sum(sizes)
    whole = even.new_empty(shape)
    for part, rows in zip((even, odd), split(whole, axis)):
        rows.copy_(part)
    return whole


def grid_sizes(n_tiers: int, n_bins: int, n_frames: int) -> list[tuple[int, int]]:
    """(bins, frames) that each tier generates of a grid. Raises SpeechlibError where one has none."""
    sizes, whole = [], (n_bins, n_frames)
    for tier in range(n_tiers, 1, -1):
        if axis_of(tier) == BINS:
            sizes.append((n_bins // 2, n_frames))
            n_bins = (n_bins + 1) // 2
        else:
            sizes.append((n_bins, n_frames // 2))
            n_frames = (n_frames + 1) // 2
        if 0 in sizes[-1]:
            what = "bins" if axis_of(tier) == BINS else "frames"
            raise SpeechlibError(
                f"{n_tiers} tiers cannot share {whole[0]} bins x {whole[1]} frames: no {what} are left for tier "
                f"{tier}. Take fewer tiers, or a larger grid (longer clips, more bands)"
            )
    if min(n_bins, n_frames) < 1:
        raise SpeechlibError(f"a grid of {whole[0]} bins x {whole[1]} frames has no values")
    return [(n_bins, n_frames), *reversed(sizes)]


# -- one tier ----------------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """x (N, S, H) -> (N, S, H): an LSTM that begins in a state of its own, which is learned."""

    def __init__(self, hidden: int):
        super().__init__()
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.first = nn.Parameter(torch.zeros(2, hidden))  # h and c before the first step

    def forward(self, x: Tensor) -> Tensor:
        h, c = self.first[:, None, None].expand(-1, 1, len(x), -1)
        return _along(self.lstm, x, (h.contiguous(), c.contiguous()))


def _along(lstm: nn.LSTM, x: Tensor, first: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """x (N, S, C) -> (N, S, H).

    On CUDA autocast would make a float16 LSTM of it, whichever type it was asked for. One that was trained so had other
    losses there than anywhere else: it stays in float32.
    """
    if x.is_cuda:
        with torch.autocast("cuda", enabled=False):
            return lstm(x.float(), first)[0]
    return lstm(x, first if first is None else tuple(state.to(x.dtype) for state in first))[0]


class Layer(nn.Module):
    """One layer of all stacks: h_t, h_f (B, T, F, H), h_c (B, T, H) or None -> those of the next layer."""

    def __init__(self, hidden: int, centralised: bool):
        super().__init__()
        self.time, self.up, self.down = (Recurrent(hidden) for _ in range(3))
        self.mix_t = nn.Linear(3 * hidden, hidden)
        self.centre = Recurrent(hidden) if centralised else None
        self.mix_c = nn.Linear(hidden, hidden) if centralised else None
        self.along = Recurrent(hidden)
        self.mix_f = nn.Linear(hidden, hidden)

    def forward(self, h_t: Tensor, h_f: Tensor, h_c: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        B, T, F, H = h_t.shape
        frames = h_t.flatten(0, 1)  # (B T, F, H)
        time = self.time(h_t.transpose(1, 2).flatten(0, 1)).view(B, F, T, H).transpose(1, 2)
        up = self.up(frames).view(B, T, F, H)
        down = self.down(frames.flip(1)).flip(1).view(B, T, F, H)  # flipped back: bin j hears the bins from j on
        h_t = h_t + self.mix_t(torch.cat([time, up, down], dim=-1))
        inputs = h_f + h_t
        if h_c is not None:
            h_c = h_c + self.mix_c(self.centre(h_c))
            inputs = inputs + h_c[:, :, None]
        h_f = h_f + self.mix_f(self.along(inputs.flatten(0, 1)).view(B, T, F, H))
        return h_t, h_f, h_c


class Extractor(nn.Module):
    """Condition (B, F, T), its valid frames (B,) -> features (B, T, F, 4 H): LSTMs both ways along time and bins."""

    def __init__(self, hidden: int):
        super().__init__()
        self.late, self.early, self.up, self.down = (nn.LSTM(1, hidden, batch_first=True) for _ in range(4))

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        B, F, T = x.shape
        rows, frames = x.reshape(B * F, T, 1), x.transpose(1, 2).reshape(B * T, F, 1)
        # an item is turned round within its own length: what lies behind its end is read after it, not before
        t, length = torch.arange(T, device=x.device), length[:, None]
        turned = torch.where(t < length, length - 1 - t, t).repeat_interleave(F, dim=0)  # (B F, T)
        late = _along(self.late, rows)
        early = _along(self.early, rows.gather(1, turned[..., None]))
        early = early.gather(1, turned[..., None].expand_as(early))
        along = [h.view(B, F, T, -1).transpose(1, 2) for h in (late, early)]
        across = [_along(self.up, frames), _along(self.down, frames.flip(1)).flip(1)]
        return torch.cat([*along, *(h.view(B, T, F, -1) for h in across)], dim=-1)


class Tier(nn.Module):
    """values (B, F, T), given those before them and x^<g -> parameters (B, F, T, 3 K) of `distribution`.

    n_bins F for the first tier, which has a centralised stack and no condition; None for those that double a grid.
    """

    def __init__(
        self, config: MelNetConfig, n_layers: int, n_bins: int | None, n_speakers: int = 0, n_symbols: int = 0
    ):
        super().__init__()
        H = config.hidden
        if n_symbols and (n_bins is None or n_layers < 2):
            raise SpeechlibError(
                f"text is read between the layers of the first tier's centralised stack: {n_layers} layers"
                + ("" if n_bins else ", of a tier without one")
            )
        self.n_bins, self.n_speakers, self.checkpoint = n_bins, n_speakers, config.checkpoint
        self.distribution = config.distribution
        self.input_t, self.input_f = nn.Linear(1, H), nn.Linear(1, H)
        self.input_c = nn.Linear(n_bins, H) if n_bins else None
        self.extractor = None if n_bins else Extractor(H)
        self.condition_t, self.condition_f = (None, None) if n_bins else (nn.Linear(4 * H, H), nn.Linear(4 * H, H))
        self.speakers = nn.Embedding(n_speakers, config.speaker_dim) if n_speakers else None
        self.speaker = nn.Linear(config.speaker_dim, 2 * H, bias=False) if n_speakers else None
        self.layers = nn.ModuleList(Layer(H, bool(n_bins)) for _ in range(n_layers))
        self.reader = Reader(H, n_symbols) if n_symbols else None
        self.head = nn.Linear(H, self.distribution.n_parameters)
        with torch.no_grad():  # components that begin in one place would stay together
            _, mean, _ = self.head.bias.chunk(3)
            mean.copy_(torch.linspace(-2, 2, config.n_mixtures) if config.n_mixtures > 1 else torch.zeros(1))

    def forward(
        self,
        values: Tensor,
        condition: Tensor | None = None,
        speaker: Tensor | None = None,
        condition_length: Tensor | None = None,
        text: Tensor | None = None,
    ) -> Tensor:
        """Teacher forcing. Values are standardised; behind `condition_length` (B,) the condition is not read. `text`
        (B, L) is for a tier with a `reader`."""
        letters = self.letters(text)
        x = values.transpose(1, 2)  # (B, T, F)
        z_t, z_f = self.conditioning(condition, speaker, x.shape, condition_length)
        before = nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]  # the frame before, zeros before the first
        below = nn.functional.pad(x, (1, 0))[..., :-1]  # the bin below
        h_t = self.input_t(before[..., None]) + z_t
        h_f = self.input_f(below[..., None]) + z_f
        h_c = None if self.input_c is None else self.input_c(before)
        for number, layer in enumerate(self.layers):
            h_t, h_f, h_c = self._run(layer, h_t, h_f, h_c)
            if letters is not None and number == 0:
                h_c = h_c + self.reader(h_c, letters).context
        with torch.autocast(values.device.type, enabled=False):  # means need more digits than bfloat16 has
            return self.head(h_f.to(self.head.weight.dtype)).transpose(1, 2)

    def conditioning(
        self, condition: Tensor | None, speaker: Tensor | None, shape, length: Tensor | None = None
    ) -> tuple[Tensor | float, Tensor | float]:
        """What condition and speaker add to the inputs of h_t and h_f, each (B, T, F, H) or broadcast to it, for values
        of `shape` (B, T, F); 0 where there are none."""
        added = self.spoken(speaker)
        if self.extractor is None:
            if condition is not None:
                raise SpeechlibError("the first tier takes no condition")
            return added
        _, T, F = shape
        if condition is None or not (0 <= condition.shape[1] - F <= 1 and 0 <= condition.shape[2] - T <= 1):
            got = "none" if condition is None else "x".join(map(str, condition.shape[1:]))
            raise SpeechlibError(f"a tier that generates {F}x{T} needs a condition of that size or one more, got {got}")
        if length is None:
            length = torch.full((len(condition),), condition.shape[2], device=condition.device)
        z = self._run(self.extractor, condition, length)[:, :T, :F]
        return self.condition_t(z) + added[0], self.condition_f(z) + added[1]

    def letters(self, text: Tensor | None) -> Tensor | None:
        """What the reader makes of a text (B, L), once for all frames; None for a tier that cannot read."""
        if (text is None) != (self.reader is None):
            raise SpeechlibError("a tier with a reader needs a text, and one without takes none (n_symbols)")
        return None if text is None else self.reader.read(text)

    def attention(self, values: Tensor, text: Tensor) -> Tensor:
        """How much of each letter every frame of values (B, F, T) looks at, (B, T, L)."""
        before = nn.functional.pad(values.transpose(1, 2), (0, 0, 1, 0))[:, :-1]
        h_c, layer = self.input_c(before), self.layers[0]
        return self.reader(h_c + layer.mix_c(layer.centre(h_c)), self.letters(text)).attention

    def spoken(self, speaker: Tensor | None) -> tuple[Tensor | float, Tensor | float]:
        """What a speaker (B,) adds to the inputs of h_t and h_f (B, 1, 1, H). Nobody (-1) adds nothing."""
        if self.speakers is None:
            if speaker is not None:
                raise SpeechlibError("speakers were given to a model that knows none (speaker_dim 0)")
            return 0.0, 0.0
        vector = vectors_of(self.speakers, speaker, "MelNet")
        return self.speaker(vector)[:, None, None].chunk(2, dim=-1)

    def nll(self, grid: Grid, speaker: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        """-log density (B, F, T) in nats of each value, 0 behind the valid frames."""
        parameters = self(grid.target, grid.condition, speaker, grid.condition_length, text)
        inside = torch.arange(grid.target.shape[FRAMES], device=grid.target.device) < grid.length[:, None, None]
        return self.distribution.nll(parameters, grid.target).masked_fill(~inside, 0)

    def _run(self, module: nn.Module, *inputs):
        if self.checkpoint and self.training and torch.is_grad_enabled():
            return checkpoint(module, *inputs, use_reentrant=False)
        return module(*inputs)


# -- all of them -------------------------------------------------------------------------------------------------------


class Absent(nn.Module):
    """The place of a tier that is not there."""

    def forward(self, *_inputs):
        raise SpeechlibError("this MelNet holds one tier only: the whole one is in the run that its folder lies in")


class MelNet(nn.Module):
    """Tiers, and the statistics by which features (B, F, T) become the numbers that they learn.

    With `tier` (1, 2, ...) only that one is there, with the weights that it would begin with in company: one tier is
    trained, and kept, at its own cost.
    """

    def __init__(self, config: MelNetConfig, n_features: int, n_speakers: int = 0, tier: int = 0):
        super().__init__()
        if not 0 <= tier <= config.n_tiers:
            raise SpeechlibError(f"tier {tier} of a MelNet of {config.n_tiers}: they are counted from 1")
        if bool(config.speaker_dim) != bool(n_speakers):
            raise SpeechlibError(f"{n_speakers} speakers with vectors of size {config.speaker_dim}: both or none")
        self.config, self.sizes = config, {"n_features": n_features, "n_speakers": n_speakers}
        n_bins = grid_sizes(config.n_tiers, n_features, 2**config.n_tiers)[0][0]
        self.tiers = nn.ModuleList(
            Tier(config, n_layers, n_bins if number == 1 else None, n_speakers)
            for number, n_layers in enumerate(config.layers, 1)
        )
        if tier:
            self.sizes["tier"] = tier
            self.tiers = nn.ModuleList(one if n == tier else Absent() for n, one in enumerate(self.tiers, 1))
        self.inputs = Standardise(n_features)
        # least and greatest standardised value of the training part: a sample beyond them leads where nothing was seen
        self.register_buffer("limits", torch.tensor([-1.0, 1.0]) * torch.finfo(torch.float32).max)

    def fit(self, mean, std, lowest, highest) -> "MelNet":
        """Take the statistics (F,) of the training part: those of `Standardise.fit`, least and greatest of each bin."""
        self.inputs.fit(mean, std)
        low, high = (self.inputs(torch.as_tensor(v, dtype=torch.float32)[:, None]) for v in (lowest, highest))
        self.limits.copy_(torch.stack([low.min(), high.max()]))
        return self

    def grids(self, x: Tensor, length: Tensor | None = None) -> list[Grid]:
        """Standardised x (B, F, T), its valid frames (B,) -> what each tier learns, coarse to fine."""
        if x.ndim != 3 or x.shape[BINS] != self.sizes["n_features"]:
            raise SpeechlibError(f"x of shape {tuple(x.shape)}: wanted (B, {self.sizes['n_features']}, T)")
        grid_sizes(self.config.n_tiers, *x.shape[1:])
        if length is None:
            length = torch.full((len(x),), x.shape[FRAMES], device=x.device)
        grids = []
        for tier in range(self.config.n_tiers, 1, -1):
            axis = axis_of(tier)
            x, target = split(x, axis)
            own = length // 2 if axis == FRAMES else length
            length = (length + 1) // 2 if axis == FRAMES else length
            grids.append(Grid(target, x, own, length))
        return [Grid(x, None, length, None), *reversed(grids)]

    def merge(self, targets: list[Tensor]) -> Tensor:
        """What the first tiers generated, coarse to fine, as one grid: of all tiers the inverse of `grids`."""
        x = targets[0]
        for tier, target in enumerate(targets[1:], 2):
            x = interleave(x, target, axis_of(tier))
        return x

    def forward(self, features: Tensor, length: Tensor | None = None, speaker: Tensor | None = None) -> list[Tensor]:
        """Features (B, F, T) -> parameters (B, F_g, T_g, 3 K) of every tier, by teacher forcing."""
        grids = self.grids(self.inputs(features), length)
        return [
            tier(grid.target, grid.condition, speaker, grid.condition_length) for tier, grid in zip(self.tiers, grids)
        ]
