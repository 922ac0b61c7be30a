"""One tier of MelNet on one CPU core, compiled by numba: parameters equal to teacher forcing within 1e-5.

The whole network for every value would cost as many passes as there are values. But h_t and h_c of a frame hear the
frames before it only: they are computed once per frame, all bins and clips as rows of one product. What follows a value
itself is one step of one LSTM and one small product per layer (h_f), and of those the part that h_t and h_c bring is
known when the frame begins. Every LSTM remembers its state, so nothing is computed twice. Products of products are made
beforehand: what a value brings to the first layer's gates, and the head behind the last projection. A value reads all
weights of h_f again, and waits for memory where they are many: int8 weights are a quarter of the bytes.

Rows are bins, and within a bin the clips: row j B + b is bin j of clip b. Several clips read the weights once.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..compiled import compiled
from ..errors import UnknownName
from ..models.melnet import Layer, Recurrent, Tier
from ..models.mixtures import GaussianMixture
from .activations import FLAT, copy, over, under
from .numba_wavenet import PRECISIONS, choose
from .products import TILE, Rounded, add_product, full, room, tiles

_CHUNK = 2  # tiles of weights that stay in the nearest cache while all rows go by


class Stream(NamedTuple):
    """An LSTM of every layer, input-major: gates (4 H) = bias + x @ inner + h @ own."""

    inner: np.ndarray  # (L,) tiles of (H, 4 H)
    own: np.ndarray  # (L,) tiles of (H, 4 H)
    bias: np.ndarray  # (L, full(4 H))
    first: np.ndarray  # (L, 2, H) h and c before the first step


class Product(NamedTuple):
    weight: np.ndarray  # (L,) tiles of (M, N)
    bias: np.ndarray  # (L, full(N))


class Weights(NamedTuple):
    time: Stream
    up: Stream
    down: Stream
    centre: Stream  # of no layer where there is no centralised stack
    along: Stream
    mix_t: Product
    mix_c: Product
    mix_f: Product  # of all layers but the last
    input_t: np.ndarray  # (H,)
    input_f: np.ndarray  # (H,)
    input_c: Product  # (F, H)
    below: np.ndarray  # (full(4 H),) what the value below brings to the gates of the first layer's `along`
    head: Product  # (H, 3 K) of h_f before the last layer
    last: Product  # (H, 3 K) of the last layer's output: its projection and the head are one
    n_parameters: int
    log_floor: np.float32  # of sigma


class State(NamedTuple):
    """What B clips remember, and room to compute in. N = F B rows."""

    heard: np.ndarray  # (L, N, 3 H) outputs of the LSTMs along time, up and down; those along time are remembered
    time_c: np.ndarray  # (L, N, H)
    centre_h: np.ndarray  # (L, B, H)
    centre_c: np.ndarray  # (L, B, H)
    along_h: np.ndarray  # (L, B, H)
    along_c: np.ndarray  # (L, B, H)
    known: np.ndarray  # (L, N, full(4 H)) gates of h_f, but for what the bins below bring
    h_t: np.ndarray  # (N, full(H))
    h_c: np.ndarray  # (B, full(H))
    h_f: np.ndarray  # (B, full(H))
    inputs: np.ndarray  # (N, H)
    gates: np.ndarray  # (N, full(4 H))
    begin: np.ndarray  # (B, H)
    cell: np.ndarray  # (B, H)
    before: np.ndarray  # (B, F) the last frame
    theta: np.ndarray  # (B, full(3 K))
    chances: np.ndarray  # (K,)
    rounded: Rounded  # used by int8 weights


def pack(tier: Tier, precision: str = "float32") -> Weights:
    """The weights of a tier as the loop reads them. With "int8" the head stays float32: it is small, and what it says
    is drawn from."""
    layers: list[Layer] = list(tier.layers)
    final, head = layers[-1].mix_f, tier.head
    both = head.weight.double() @ final.weight.double(), head.weight.double() @ final.bias.double()
    below = layers[0].along.lstm.weight_ih_l0.double() @ tier.input_f.weight[:, 0].double()
    centred = [layer for layer in layers if layer.centre is not None]
    empty = np.zeros((0, 1), np.float32)
    nothing = Product(tiles(np.zeros((0, 1, 1)), precision), empty)
    central = _product([tier.input_c], precision) if tier.input_c is not None else nothing
    K = tier.distribution.n_mixtures
    return Weights(
        *(_stream([getattr(layer, name) for layer in layers], precision) for name in ("time", "up", "down")),
        centre=_stream([layer.centre for layer in centred], precision),
        along=_stream([layer.along for layer in layers], precision),
        mix_t=_product([layer.mix_t for layer in layers], precision),
        mix_c=_product([layer.mix_c for layer in centred], precision),
        mix_f=_product([layer.mix_f for layer in layers[:-1]], precision),
        input_t=_array(tier.input_t.weight[:, 0]),
        input_f=_array(tier.input_f.weight[:, 0]),
        input_c=central,
        below=_filled(_array(below)[None])[0],
        head=_product([head], "float32"),
        last=_tiled([both[0]], [both[1]], "float32"),
        n_parameters=3 * K,
        log_floor=np.float32(np.log(tier.distribution.min_sigma)),
    )


def start(weights: Weights, n_bins: int, n_clips: int) -> State:
    """The state before the first frame."""
    L, _, H = weights.time.first.shape
    B, N = n_clips, n_bins * n_clips

    def zeros(*shape):
        return np.zeros(shape, np.float32)

    centred = len(weights.centre.first)
    state = State(
        heard=zeros(L, N, 3 * H),
        time_c=zeros(L, N, H),
        centre_h=zeros(centred, B, H),
        centre_c=zeros(centred, B, H),
        along_h=zeros(L, B, H),
        along_c=zeros(L, B, H),
        known=zeros(L, N, full(4 * H)),
        h_t=zeros(N, full(H)),
        h_c=zeros(B, full(H)),
        h_f=zeros(B, full(H)),
        inputs=zeros(N, H),
        gates=zeros(N, full(4 * H)),
        begin=zeros(B, H),
        cell=zeros(B, H),
        before=zeros(B, n_bins),
        theta=zeros(B, full(weights.n_parameters)),
        chances=zeros(weights.n_parameters // 3),
        rounded=room(max(3 * H, n_bins)),
    )
    state.heard[:, :, :H], state.time_c[:] = np.split(weights.time.first, 2, axis=1)
    if centred:
        state.centre_h[:], state.centre_c[:] = np.split(weights.centre.first, 2, axis=1)
    return state


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


def _stream(streams: list[Recurrent], precision: str) -> Stream:
    lstms = [stream.lstm for stream in streams]
    if not lstms:
        empty = np.zeros((0, 1, 1), np.float32)
        return Stream(*[tiles(empty, precision)] * 2, empty[:, 0], np.zeros((0, 2, 1), np.float32))
    inner, own = (np.stack([_array(getattr(lstm, f"weight_{w}_l0")).T for lstm in lstms]) for w in ("ih", "hh"))
    bias = np.stack([_array(lstm.bias_ih_l0 + lstm.bias_hh_l0) for lstm in lstms])
    first = np.stack([_array(stream.first) for stream in streams])
    return Stream(tiles(inner, precision), tiles(own, precision), _filled(bias), first)


def _product(products: list[nn.Linear], precision: str) -> Product:
    return _tiled([product.weight for product in products], [product.bias for product in products], precision)


def _tiled(weights: list[Tensor], biases: list[Tensor], precision: str) -> Product:
    if not weights:
        return Product(tiles(np.zeros((0, 1, 1)), precision), np.zeros((0, 1), np.float32))
    weight = np.stack([_array(weight).T for weight in weights])
    return Product(tiles(weight, precision), _filled(np.stack([_array(bias) for bias in biases])))


def _filled(bias: np.ndarray) -> np.ndarray:
    """(L, n) -> (L, full(n)), zeros behind."""
    return np.pad(bias, ((0, 0), (0, full(bias.shape[1]) - bias.shape[1])))


@compiled
def _step(z, h, c):
    """One step of an LSTM: gates z (4 H) and cell c (H) -> h (H), c (H). Three tanh of the gates share one division."""
    H = len(c)
    half = np.float32(0.5)
    for n in range(H):
        i = min(max(half * z[n], -FLAT), FLAT)
        f = min(max(half * z[H + n], -FLAT), FLAT)
        g = min(max(z[2 * H + n], -FLAT), FLAT)
        o = min(max(half * z[3 * H + n], -FLAT), FLAT)
        under_i, under_f, under_g = under(i), under(f), under(g)
        keep = (under_f + over(f)) * under_i * under_g * c[n]
        add = (under_i + over(i)) * over(g) * under_f
        cell = half * (keep + add) / (under_i * under_f * under_g)
        c[n] = cell
        x = min(max(cell, -FLAT), FLAT)
        under_o = under(o)
        h[n] = half * (under_o + over(o)) * over(x) / (under_o * under(x))


@compiled
def _rows(y, x, W, rounded):
    """y (N, *) += x (N, M) @ W for many rows."""
    for left in range(0, len(W), _CHUNK):
        right = min(left + _CHUNK, len(W))
        add_product(y[:, left * TILE : right * TILE], 0, x, 0, W[left:right], len(x), 0, rounded)


@compiled
def _add(bias, x):
    for n in range(len(bias)):
        x[n] += bias[n]


@compiled
def _across(state, stream, l, first_column, backward):
    """The LSTM up or down the bins of a frame: h_t -> columns of `heard`."""
    B, H = state.begin.shape
    N, heard = len(state.h_t), state.heard[l, :, first_column : first_column + H]
    for row in range(N):
        copy(stream.bias[l], state.gates[row])
    _rows(state.gates, state.h_t, stream.inner[l], state.rounded)
    for b in range(B):
        copy(stream.first[l, 0], state.begin[b])
        copy(stream.first[l, 1], state.cell[b])
    for step in range(N // B):
        row = N - (step + 1) * B if backward else step * B
        if step == 0:
            add_product(state.gates, row, state.begin, 0, stream.own[l], B, 0, state.rounded)
        else:
            add_product(state.gates, row, heard, row + B if backward else row - B, stream.own[l], B, 0, state.rounded)
        for b in range(B):
            _step(state.gates[row + b], heard[row + b], state.cell[b])


@compiled
def _frame(weights, state, z_t, z_f, before):
    """All that a frame's values share: `known` from z_t and z_f (N, H) and the frame before, (N,)."""
    N, H = state.inputs.shape
    L, B = len(weights.time.first), len(state.begin)
    for row in range(N):
        for n in range(H):
            state.h_t[row, n] = z_t[row, n] + before[row] * weights.input_t[n]
    if len(weights.centre.first) > 0:
        for row in range(N):
            state.before[row % B, row // B] = before[row]
        for b in range(B):
            copy(weights.input_c.bias[0], state.h_c[b])
        _rows(state.h_c, state.before, weights.input_c.weight[0], state.rounded)
    for l in range(L):
        time = state.heard[l, :, :H]
        for row in range(N):
            copy(weights.time.bias[l], state.gates[row])
        _rows(state.gates, state.h_t, weights.time.inner[l], state.rounded)
        _rows(state.gates, time, weights.time.own[l], state.rounded)
        for row in range(N):
            _step(state.gates[row], time[row], state.time_c[l, row])
        _across(state, weights.up, l, H, False)
        _across(state, weights.down, l, 2 * H, True)
        for row in range(N):
            _add(weights.mix_t.bias[l], state.h_t[row])
        _rows(state.h_t, state.heard[l], weights.mix_t.weight[l], state.rounded)
        for row in range(N):
            copy(state.h_t[row, :H], state.inputs[row])
            copy(weights.along.bias[l], state.known[l, row])
            if l == 0:
                _add(z_f[row], state.inputs[row])
        if len(weights.centre.first) > 0:
            _centralised(weights, state, l)
        _rows(state.known[l], state.inputs, weights.along.inner[l], state.rounded)
        for b in range(B):
            copy(weights.along.first[l, 0], state.along_h[l, b])
            copy(weights.along.first[l, 1], state.along_c[l, b])


@compiled
def _centralised(weights, state, l):
    """h_c of the next layer, added to what all bins of its clip put into h_f."""
    N, H = state.inputs.shape
    B = len(state.begin)
    gates = state.gates[:B]
    for b in range(B):
        copy(weights.centre.bias[l], gates[b])
    add_product(gates, 0, state.h_c, 0, weights.centre.inner[l], B, 0, state.rounded)
    add_product(gates, 0, state.centre_h[l], 0, weights.centre.own[l], B, 0, state.rounded)
    for b in range(B):
        _step(gates[b], state.centre_h[l, b], state.centre_c[l, b])
        _add(weights.mix_c.bias[l], state.h_c[b])
    add_product(state.h_c, 0, state.centre_h[l], 0, weights.mix_c.weight[l], B, 0, state.rounded)
    for row in range(N):
        _add(state.h_c[row % B, :H], state.inputs[row])


@compiled
def _value(weights, state, z_f, below, bin):
    """theta of one bin of all clips, from z_f (B, H) and the bins below, (B,)."""
    B, H = state.begin.shape
    L, gates = len(weights.along.first), state.gates[:B]
    for b in range(B):
        copy(weights.head.bias[0], state.theta[b])
        _add(weights.last.bias[0], state.theta[b])
        for n in range(H):
            state.h_f[b, n] = z_f[b, n] + below[b] * weights.input_f[n]
    for l in range(L):
        for b in range(B):
            copy(state.known[l, bin * B + b], gates[b])
            if l == 0:
                for n in range(4 * H):
                    gates[b, n] += below[b] * weights.below[n]
        if l > 0:
            add_product(gates, 0, state.h_f, 0, weights.along.inner[l], B, 0, state.rounded)
        add_product(gates, 0, state.along_h[l], 0, weights.along.own[l], B, 0, state.rounded)
        for b in range(B):
            _step(gates[b], state.along_h[l, b], state.along_c[l, b])
        if l < L - 1:
            for b in range(B):
                _add(weights.mix_f.bias[l], state.h_f[b])
            add_product(state.h_f, 0, state.along_h[l], 0, weights.mix_f.weight[l], B, 0, state.rounded)
    add_product(state.theta, 0, state.h_f, 0, weights.head.weight[0], B, 0, state.rounded)
    add_product(state.theta, 0, state.along_h[L - 1], 0, weights.last.weight[0], B, 0, state.rounded)


@compiled
def _draw(theta, uniform, deviate, temperature, weight_temperature, log_floor, chances):
    """models.mixtures.GaussianMixture.sample for one value."""
    K = len(theta) // 3
    component = choose(theta[:K], uniform, weight_temperature, 1.0, chances)
    sigma = np.exp(max(theta[2 * K + component], log_floor))
    return theta[K + component] + np.float32(temperature) * sigma * np.float32(deviate)


@compiled
def advance(
    weights, state, z_t, z_f, first, stop, n_given, values, uniform, temperature, weight_temperature, limits, thetas
):
    """Frames first..stop - 1 of values (1 + T, N), whose row 0 is zeros: the first n_given are read, others drawn.

    z_t, z_f (T or 1, N, H). Of frames first.. on: uniform (n, N, 2), of which the first chooses a component and the
    second is a deviate already; thetas (n, N, 3 K), filled where there is room for them. limits (2,) of what is drawn.
    """
    B, F = state.before.shape
    for i in range(first, stop):
        z, n = min(i, len(z_t) - 1), i - first
        _frame(weights, state, z_t[z], z_f[z], values[i])
        if n < n_given and len(thetas) == 0:
            continue  # states of h_f begin anew with every frame
        for j in range(F):
            rows = slice(j * B, (j + 1) * B)
            below = values[i + 1, (j - 1) * B : j * B] if j > 0 else values[0, :B]
            _value(weights, state, z_f[z, rows], below, j)
            for b in range(B):
                row, theta = j * B + b, state.theta[b, : weights.n_parameters]
                if len(thetas) > 0:
                    copy(theta, thetas[n, row])
                if n >= n_given:
                    value = _draw(
                        theta, uniform[n, row, 0], uniform[n, row, 1], temperature, weight_temperature,
                        weights.log_floor, state.chances,
                    )  # fmt: skip
                    values[i + 1, row] = min(max(value, limits[0]), limits[1])


_NOTHING = np.zeros((0, 0, 0), np.float32)


class NumbaTier:
    """B clips of one tier, whose grid is n_bins x n_frames; `z` is what the tier's `conditioning` gave.

    `sample` draws the next frames, `force` and `read` take given ones; all go on where they are. Of weights in "int8"
    the parameters are near those of teacher forcing, and a single clip comes in half the time or less.
    """

    def __init__(
        self,
        tier: Tier,
        n_bins: int,
        n_frames: int,
        n_clips: int,
        z: tuple[Tensor | float, Tensor | float],
        precision: str = "float32",
    ):
        if precision not in PRECISIONS:
            raise UnknownName("precision", precision, PRECISIONS)
        self.shape = n_bins, n_frames, n_clips
        self.weights = pack(tier, precision)
        self.state = start(self.weights, n_bins, n_clips)
        inputs = tier.input_t, tier.input_f
        self.z = [self._by_frames(added + product.bias) for added, product in zip(z, inputs)]
        self.values = np.zeros((1 + n_frames, n_bins * n_clips), np.float32)
        self.done = 0

    def _by_frames(self, z: Tensor) -> np.ndarray:
        """(B or 1, T or 1, F or 1, H) -> (T or 1, N, H)."""
        n_bins, _, n_clips = self.shape
        z = z if z.ndim == 4 else z[None, None, None]
        z = z.expand(n_clips, -1, n_bins, -1)
        return _array(z.permute(1, 2, 0, 3).flatten(1, 2))

    def sample(
        self,
        uniform: Tensor,
        temperature: float = 1.0,
        weight_temperature: float = 1.0,
        limits: tuple[float, float] = (-np.inf, np.inf),
    ) -> Tensor:
        """Random numbers uniform (B, F, n, 2) -> the next n frames (B, F, n), values within limits."""
        numbers = torch.stack([uniform[..., 0], GaussianMixture.deviate(uniform[..., 1])], dim=-1).double()
        drawing = float(temperature), float(weight_temperature), np.array(limits, np.float32)
        return self._from_rows(self._advance(uniform.shape[2], 0, self._to_rows(numbers), *drawing, _NOTHING))

    def force(self, values: Tensor) -> Tensor:
        """The next frames are values (B, F, n) -> the parameters (B, F, n, 3 K) they were given."""
        thetas = np.zeros((values.shape[2], len(self.values[0]), self.weights.n_parameters), np.float32)
        self._give(values, thetas)
        return self._from_rows(thetas)

    def read(self, values: Tensor) -> None:
        """The next frames are values (B, F, n), and nobody asks what was expected: h_f is left out."""
        self._give(values, _NOTHING)

    def _give(self, values: Tensor, thetas: np.ndarray) -> None:
        n = values.shape[2]
        self.values[1 + self.done : 1 + self.done + n] = self._to_rows(values)
        self._advance(n, n, np.zeros((0, 0, 2)), 1.0, 1.0, np.zeros(2, np.float32), thetas)

    def _advance(self, n_frames: int, n_given: int, *rest) -> np.ndarray:
        """The next frames (n, N), of which the first n_given are there."""
        first = self.done
        self.done += n_frames
        advance(self.weights, self.state, *self.z, first, self.done, n_given, self.values, *rest)
        return self.values[1 + first : 1 + self.done]

    def _to_rows(self, x: Tensor) -> np.ndarray:
        """(B, F, n, *) -> (n, N, *)."""
        return np.ascontiguousarray(x.movedim(2, 0).transpose(1, 2).flatten(1, 2).cpu().numpy())

    def _from_rows(self, rows: np.ndarray) -> Tensor:
        """(n, N, *) -> (B, F, n, *)."""
        n_bins, _, n_clips = self.shape
        return torch.from_numpy(rows).unflatten(1, (n_bins, n_clips)).transpose(1, 2).movedim(0, 2).contiguous()
