"""WaveNet sample by sample on one CPU core, compiled by numba: logits equal to teacher forcing within 1e-5.

What makes it quick: a ring of past activations per layer, so that a sample costs one product per weight; weights
input-major, so that a product streams rows; tanh * sigmoid as one quotient of polynomials, which becomes vector
instructions (numba has no vector tanh); residual and skip in one product; the condition's part as matrix products for
many samples. A tap that reaches back d samples is known for d samples ahead: its weights are read once for up to BLOCK
of them. Weights may be int8. The compiled functions release the GIL: streams run side by side, a thread each.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import mu_law
from ..compiled import compiled
from ..cores import usable_cores
from ..errors import SpeechlibError, UnknownName
from ..models.wavenet import WaveNet
from .activations import FLAT, copy, over, under
from .packed_wavenet import added, pack
from .products import TILE, Rounded, add_product, full, room, tiles

PRECISIONS = ("float32", "int8")  # of the layers' weights; the output stage is float32 always
BLOCK = 8  # samples whose taps are computed at once, at most
_PIECE = 64  # samples whose conditions are projected at once


class Weights(NamedTuple):
    """`packed_wavenet.Packed` in tiles (see products.py), and what the loop needs to know of the config."""

    table: np.ndarray  # (taps, Q, R) or (taps, 1, R)
    front_bias: np.ndarray  # (R,)
    front_skip: np.ndarray  # tiles of (R, K), or none
    past: np.ndarray  # (L, k - 1) tiles of (R, G)
    current: np.ndarray  # (L,) tiles of (R, G)
    out: np.ndarray  # (L,) tiles of (H, R + K)
    out_bias: np.ndarray  # (L, R)
    skip_bias: np.ndarray  # (K,)
    post_1: np.ndarray  # tiles of (K, K)
    post_2: np.ndarray  # tiles of (K, P)
    post_bias: np.ndarray  # (P,)
    dilations: np.ndarray  # (L,)
    gate_channels: int
    n_classes: int  # 0 for a continuous output
    residual_scale: np.float32
    min_log_scale: np.float32
    front_relu: bool
    mu: np.float32  # of the law that a continuous value is heard through; 0 = as it is


class State(NamedTuple):
    """One stream: what the network remembers, and room to compute in. Widths are those of whole tiles."""

    position: np.ndarray  # (1,) samples done
    rings: np.ndarray  # (rows, R) inputs of every layer, each layer a ring of a power of two of rows
    first: np.ndarray  # (L,) first row of a layer's ring
    mask: np.ndarray  # (L,) its length - 1
    history: np.ndarray  # (taps,) inputs of the front, the oldest first: classes, or values; -1 = before the beginning
    gates: np.ndarray  # (L, BLOCK, G) sums of each layer's gates for the samples of a block
    late: np.ndarray  # (BLOCK, R) a stretch of a ring
    v: np.ndarray  # (1, R + K) residual and running sum of skips
    skips: np.ndarray  # (1, K)
    h: np.ndarray  # (1, H)
    post: np.ndarray  # (1, K)
    parameters: np.ndarray  # (1, P)
    chances: np.ndarray  # (P,)
    rounded: Rounded  # rows of what is multiplied with int8 weights


def start(weights: Weights) -> State:
    """The state before the first sample: zeros, and silence as the sample before."""
    (n_layers, n_past), R = weights.past.shape[:2], weights.out_bias.shape[1]
    lengths = np.array([1 << int(d * n_past + BLOCK).bit_length() for d in weights.dilations])
    K, P, H = len(weights.skip_bias), len(weights.post_bias), weights.gate_channels // 2
    history = np.full(len(weights.table), -1 if weights.n_classes else 0, np.float32)
    history[-1] = weights.n_classes // 2  # the class of 0

    def zeros(*shape):
        return np.zeros(shape, np.float32)

    return State(
        position=np.zeros(1, np.int64),
        rings=zeros(lengths.sum(), R),
        first=np.cumsum(lengths) - lengths,
        mask=lengths - 1,
        history=history,
        gates=zeros(n_layers, BLOCK, full(2 * H)),
        late=zeros(BLOCK, R),
        v=zeros(1, full(R + K)),
        skips=zeros(1, full(K)),
        h=zeros(1, H),
        post=zeros(1, full(K)),
        parameters=zeros(1, full(P)),
        chances=zeros(P),
        rounded=room(max(R, H, K)),
    )


@compiled
def _gate(h, z):
    """h (H,) = tanh(z[:H]) * sigmoid(z[H:]), sigmoid(x) = (1 + tanh(x / 2)) / 2, with one division for both.

    x is clamped to where tanh is 1 in float32.
    """
    H = len(h)
    for n in range(H):
        a = min(max(z[n], -FLAT), FLAT)
        b = min(max(np.float32(0.5) * z[H + n], -FLAT), FLAT)
        divisor = under(b)
        h[n] = np.float32(0.5) * over(a) * (divisor + over(b)) / (under(a) * divisor)


@compiled
def project(frames, condition, base, rows, rounded):
    """rows (n, W) = base (W,) + frames (n, C) @ condition, tiles of (C, W)."""
    for i in range(len(rows)):
        copy(base, rows[i])
    for left in range(0, len(condition), 8):  # columns that stay in the nearest cache while all frames go by
        right = min(left + 8, len(condition))
        add_product(rows[:, left * TILE : right * TILE], 0, frames, 0, condition[left:right], len(rows), 0, rounded)


@compiled
def advance(weights, state, rows, first_row, hop, forced, uniform, temperature, top_p, samples, parameters):
    """The next len(samples) samples of one stream.

    rows (*, L G + K), every G and K of whole tiles: biases, condition and speaker; sample i of this call takes row
    (first_row + i) // hop. `forced` (n or fewer,) are samples given instead of drawn. uniform (n, 2): the first chooses
    a class or component, the second is already a deviate. parameters (n, P) are filled where there is room for them.
    """
    n = len(samples)
    for begin in range(0, n, BLOCK):
        block = min(BLOCK, n - begin)
        for l in range(len(weights.current)):
            width = state.gates.shape[2]
            for m in range(block):
                copy(rows[(first_row + begin + m) // hop, l * width : (l + 1) * width], state.gates[l, m])
        for m in range(block):
            i = begin + m
            _front(weights, state)
            _layers(weights, state, m, block)
            _output(weights, state, rows[(first_row + i) // hop])
            logits = state.parameters[0, : len(weights.post_bias)]
            if len(parameters) > 0:
                copy(logits, parameters[i])
            if i < len(forced):
                value = forced[i]
            elif weights.n_classes > 0:
                value = np.float32(choose(logits, uniform[i, 0], temperature, top_p, state.chances))
            else:
                floor = weights.min_log_scale
                value = _place(logits, uniform[i, 0], uniform[i, 1], temperature, floor, state.chances)
            samples[i] = value
            for tap in range(len(state.history) - 1):
                state.history[tap] = state.history[tap + 1]
            state.history[-1] = _heard(value, weights.mu)
            state.position[0] += 1


@compiled
def _heard(value, mu):
    """A value as the front hears it (mu_law.compress)."""
    if mu == 0:
        return value
    bent = np.log1p(mu * abs(value)) / np.log1p(mu)
    return np.float32(bent if value > 0 else -bent)


@compiled
def _front(weights, state):
    """v (R + K) = first convolution, and what it and the biases bring to the skips."""
    R, K = len(weights.front_bias), len(weights.skip_bias)
    residual = state.v[0, :R]
    copy(weights.front_bias, residual)
    for tap in range(len(state.history)):
        value = state.history[tap]
        if weights.n_classes == 0:
            for r in range(R):
                residual[r] += value * weights.table[tap, 0, r]
        elif value >= 0:
            row = weights.table[tap, int(value)]
            for r in range(R):
                residual[r] += row[r]
    if weights.front_relu:
        for r in range(R):
            residual[r] = max(residual[r], np.float32(0))
    copy(weights.skip_bias, state.skips[0])
    if len(weights.front_skip) > 0:
        add_product(state.skips, 0, state.v, 0, weights.front_skip, 1, 0, state.rounded)
    for k in range(K):
        state.v[0, R + k] = state.skips[0, k]


@compiled
def _layers(weights, state, m, block):
    """Sample m of the block through all layers: v (R + K) -> its sum of skips."""
    (n_layers, n_past), R = weights.past.shape[:2], weights.out_bias.shape[1]
    t, residual = state.position[0], state.v[0, :R]
    for l in range(n_layers):
        first, mask = state.first[l], state.mask[l]
        copy(residual, state.rings[first + (t & mask)])
        for tap in range(n_past):
            late = (n_past - tap) * weights.dilations[l]
            # a tap `late` samples back is known for as many samples ahead: its weights are read once for all of them
            if m % min(late, BLOCK) == 0:
                several = min(min(late, BLOCK), block - m)
                for ahead in range(several):
                    copy(state.rings[first + ((t + ahead - late) & mask)], state.late[ahead])
                add_product(state.gates[l], m, state.late, 0, weights.past[l, tap], several, 0, state.rounded)
        add_product(state.gates[l], m, state.v, 0, weights.current[l], 1, 0, state.rounded)
        _gate(state.h[0], state.gates[l, m])
        for r in range(R):
            residual[r] = residual[r] * weights.residual_scale + weights.out_bias[l, r]
        unused = R // TILE if l == n_layers - 1 else 0  # nothing reads the last residual
        add_product(state.v, 0, state.h, 0, weights.out[l], 1, unused, state.rounded)


@compiled
def _output(weights, state, row):
    """Skips -> ReLU, product, ReLU, product -> parameters. Of `row` the last columns are the first product's bias."""
    R, K = len(weights.front_bias), len(weights.skip_bias)
    for k in range(K):
        state.skips[0, k] = max(state.v[0, R + k], np.float32(0))
    copy(row[len(row) - state.post.shape[1] :], state.post[0])
    add_product(state.post, 0, state.skips, 0, weights.post_1, 1, 0, state.rounded)
    for k in range(K):
        state.post[0, k] = max(state.post[0, k], np.float32(0))
    copy(weights.post_bias, state.parameters[0])
    add_product(state.parameters, 0, state.post, 0, weights.post_2, 1, 0, state.rounded)


@compiled(allocates=True)
def choose(logits, uniform, temperature, top_p, chances):
    """Class drawn from logits (Q,): models.distributions.choose for one sample. `chances` (Q,) is scratch."""
    n = len(logits)
    largest = 0
    for j in range(n):
        if logits[j] > logits[largest]:
            largest = j
    if temperature == 0:
        return largest
    total = 0.0
    for j in range(n):
        chances[j] = np.exp((logits[j] - logits[largest]) / np.float32(temperature))
        total += chances[j]
    if top_p < 1:
        falling = np.sort(chances[:n])[::-1]
        kept, j = 0.0, 0
        while j < n and kept < top_p * total:
            kept += falling[j]
            j += 1
        threshold = falling[j - 1]
        total = 0.0
        for j in range(n):
            if chances[j] < threshold:
                chances[j] = 0
            total += chances[j]
    aim, reached, last = uniform * total, 0.0, largest
    for j in range(n):
        if chances[j] > 0:
            reached += chances[j]
            last = j
            if reached > aim:
                break
    return last  # rounding may leave the sum below the aim: then the last class that has a probability


@compiled
def _place(parameters, uniform, deviate, temperature, min_log_scale, chances):
    """Sample in [-1, 1] from (mean, log-scale), or K logits, means and log-scales, and a deviate."""
    K = len(parameters) // 3
    component = 0 if len(parameters) == 2 else choose(parameters[:K], uniform, temperature, 1.0, chances)
    offset, n = (0, 1) if len(parameters) == 2 else (K, K)
    mean, log_scale = parameters[offset + component], parameters[offset + n + component]
    value = mean + np.exp(max(log_scale, min_log_scale)) * np.float32(deviate)
    return min(max(value, np.float32(-1)), np.float32(1))


class NumbaWaveNet:
    """B streams of one model, each on one core. `sample` draws the next samples, `force` takes given ones."""

    def __init__(
        self,
        model: WaveNet,
        condition: Tensor | None = None,
        speaker: Tensor | None = None,
        n_streams: int = 1,
        threads: int | None = None,
        precision: str = "float32",
    ):
        if precision not in PRECISIONS:
            raise UnknownName("precision", precision, PRECISIONS)
        config, packed = model.config, pack(model)
        self.distribution, self.classes = model.distribution, model.front.classes
        arrays = {name: part.numpy() for name, part in packed._asdict().items()}
        self.widths = [config.gate_channels] * config.n_layers + [config.skip_channels]
        self.condition = tiles(self._whole(arrays.pop("condition")), precision)
        self.base = self._whole(added(model, packed, speaker).numpy())  # (B or 1, L G + K)
        del arrays["base"]
        inner = {name: tiles(arrays.pop(name), precision) for name in ("past", "current", "out", "front_skip")}
        # the output stage stays float32: it is small, and the means it gives need the digits
        products = inner | {name: tiles(arrays.pop(name)) for name in ("post_1", "post_2")}
        if model.front_skip is None:
            products["front_skip"] = products["front_skip"][:0]
        self.weights = Weights(
            **arrays,
            **products,
            dilations=np.array(config.dilations),
            gate_channels=config.gate_channels,
            n_classes=self.classes,
            residual_scale=np.float32(config.residual_scale),
            min_log_scale=np.float32(config.min_log_scale),
            front_relu=config.front_relu,
            mu=np.float32(config.quantization_channels - 1 if config.companded else 0),
        )
        with torch.no_grad():
            frames = model.frames(condition)
        self.frames = None if frames is None else frames.float().transpose(1, 2).contiguous().numpy()  # (B or 1, n, C)
        # rows that conditions add: one for ever without a condition, else one per frame or per sample
        self.hop = 1 << 62 if frames is None else config.hop if config.upsampling == "repeat" else 1
        self.states = [start(self.weights) for _ in range(n_streams)]
        cores = usable_cores()
        if threads is not None and threads < 1:
            raise SpeechlibError(f"threads is {threads}: at least 1")
        if threads is not None and threads > cores:
            warnings.warn(f"{threads} threads were asked for, {cores} cores can be used: so many run", stacklevel=4)
        self.threads = min(n_streams, cores, threads or cores)

    def sample(self, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
        """uniform (B, n, 2) -> the next n samples (B, n)."""
        uniform = uniform.double().clone()
        if not self.classes:
            uniform[:, :, 1] = self.distribution.deviate(uniform[:, :, 1], temperature, top_p)
        n_streams, n = uniform.shape[:2]
        samples = np.empty((n_streams, n), np.float32)
        none = np.empty((0, 0), np.float32)
        given = none.reshape(-1)
        self._run(
            lambda b: self._advance(b, given, uniform[b].numpy(), temperature, top_p, samples[b], none), n_streams
        )
        values = torch.from_numpy(samples)
        return mu_law.decode(values, self.classes) if self.classes else values

    def force(self, wave: Tensor) -> Tensor:
        """The next samples are wave (B, n) -> the parameters (B, P, n) they were given."""
        given = (mu_law.encode(wave, self.classes) if self.classes else wave).float().contiguous().numpy()
        n_streams, n = given.shape
        parameters = np.empty((n_streams, n, self.distribution.n_parameters), np.float32)
        none, samples = np.empty((0, 2)), np.empty((n_streams, n), np.float32)
        self._run(lambda b: self._advance(b, given[b], none, 1.0, 1.0, samples[b], parameters[b]), n_streams)
        return torch.from_numpy(parameters).transpose(1, 2)

    def select(self, chosen: np.ndarray) -> None:
        """Stream b goes on from where stream chosen[b] is, chosen (B,)."""
        moved = {b: int(source) for b, source in enumerate(chosen) if source != b}
        memories = {b: (state.rings, state.history) for b, state in enumerate(self.states)}
        before = {b: [memory.copy() for memory in memories[b]] for b in moved.keys() & set(moved.values())}
        for b, source in moved.items():
            for memory, value in zip(memories[b], before.get(source, memories[source])):
                memory[:] = value

    def _advance(self, b, given, uniform, temperature, top_p, samples, parameters) -> None:
        """Stream b in pieces: what the conditions add to a piece is one product, small enough to stay in a cache."""
        state, base = self.states[b], self.base[b % len(self.base)]
        piece = _PIECE if self.hop == 1 else max(_PIECE, min(self.hop, 1024))
        for begin in range(0, len(samples), piece):
            part = slice(begin, begin + piece)
            position, n = int(state.position[0]), len(samples[part])
            first = position // self.hop
            if self.frames is None:
                rows = base[None]
            else:
                frames = self.frames[b % len(self.frames)][first : (position + n - 1) // self.hop + 1]
                rows = np.empty((len(frames), len(base)), np.float32)
                project(frames, self.condition, base, rows, room(frames.shape[1]))
            advance(
                self.weights, state, rows, position - first * self.hop, self.hop, given[part], uniform[part],
                float(temperature), float(top_p), samples[part], parameters[part],
            )  # fmt: skip

    def _whole(self, columns: np.ndarray) -> np.ndarray:
        """(n, L G + K) -> the same with every G and K filled up to whole tiles."""
        parts = np.split(columns, np.cumsum(self.widths)[:-1], axis=1)
        return np.hstack([np.pad(part, ((0, 0), (0, full(width) - width))) for part, width in zip(parts, self.widths)])

    def _run(self, work, n_streams: int) -> None:
        if self.threads == 1:
            for b in range(n_streams):
                work(b)
            return
        with ThreadPoolExecutor(self.threads) as pool:  # the compiled loop releases the GIL
            list(pool.map(work, range(n_streams)))
