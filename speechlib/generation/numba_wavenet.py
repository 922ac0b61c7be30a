"""WaveNet sample by sample on one CPU core, compiled by numba: logits equal to teacher forcing within 1e-5.

What makes it quick: a ring of past activations per layer, so that a sample costs one product per weight; weights
input-major, so that a product streams rows; tanh * sigmoid as one quotient of polynomials, which becomes vector
instructions (numba has no vector tanh); residual and skip in one product; the condition's part as matrix products for
many samples. Taps that reach back BLOCK samples or more are known for a whole block: their weights are read once per
BLOCK samples. The compiled functions release the GIL: streams run side by side in threads, one thread each.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .. import mu_law
from ..models.wavenet import WaveNet
from .packed_wavenet import added, pack

BLOCK = 8  # samples whose far taps are computed at once
_PIECE = 64  # samples whose conditions are projected at once
_jit = njit(
    cache=True, fastmath=True, nogil=True, error_model="numpy"
)  # Python's error model would check each division
_FLAT = np.float32(7.90531110763549805)
_inlined = njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")


class Weights(NamedTuple):
    """`packed_wavenet.Packed` as arrays, and what the loop needs to know of the config."""

    table: np.ndarray
    front_bias: np.ndarray
    front_skip: np.ndarray
    past: np.ndarray
    current: np.ndarray
    out: np.ndarray
    out_bias: np.ndarray
    skip_bias: np.ndarray
    post_1: np.ndarray
    post_2: np.ndarray
    post_bias: np.ndarray
    dilations: np.ndarray  # (L,)
    n_classes: int  # 0 for a continuous output
    residual_scale: np.float32
    min_log_scale: np.float32
    front_relu: bool


class State(NamedTuple):
    """One stream: what the network remembers, and room to compute in."""

    position: np.ndarray  # (1,) samples done
    rings: np.ndarray  # (rows, R) inputs of every layer, each layer a ring of a power of two of rows
    first: np.ndarray  # (L,) first row of a layer's ring
    mask: np.ndarray  # (L,) its length - 1
    history: np.ndarray  # (taps,) inputs of the front, the oldest first: classes, or values; -1 = before the beginning
    known: np.ndarray  # (BLOCK, L, G) the part of the gates that does not need the block's own samples
    v: np.ndarray  # (R + K,) residual and running sum of skips
    z: np.ndarray  # (G,)
    h: np.ndarray  # (H,)
    post: np.ndarray  # (K,)
    parameters: np.ndarray  # (P,)
    weight: np.ndarray  # (P,)


def start(weights: Weights) -> State:
    """The state before the first sample: zeros, and silence as the sample before."""
    n_layers, n_past, R, G = weights.past.shape
    reach = n_past * weights.dilations
    lengths = np.array([1 << int(r + BLOCK).bit_length() for r in reach])
    K, P = weights.post_2.shape
    taps = len(weights.table)
    history = np.full(taps, -1 if weights.n_classes else 0, np.float32)
    history[-1] = weights.n_classes // 2  # the class of 0

    def room(*shape):
        return np.zeros(shape, np.float32)

    return State(
        np.zeros(1, np.int64),
        room(lengths.sum(), R),
        np.cumsum(lengths) - lengths,
        lengths - 1,
        history,
        room(BLOCK, n_layers, G),
        room(R + K),
        room(G),
        room(G // 2),
        room(K),
        room(P),
        room(P),
    )


@_jit
def _add_product(y, x, W):
    """y (N,) += x (M,) @ W (M, N): eight rows per pass, so that y is loaded and stored once for eight products."""
    M, N = W.shape
    for m in range(0, M - 7, 8):
        x0, x1, x2, x3 = x[m], x[m + 1], x[m + 2], x[m + 3]
        x4, x5, x6, x7 = x[m + 4], x[m + 5], x[m + 6], x[m + 7]
        for n in range(N):
            y[n] += (
                x0 * W[m, n] + x1 * W[m + 1, n] + x2 * W[m + 2, n] + x3 * W[m + 3, n]
                + x4 * W[m + 4, n] + x5 * W[m + 5, n] + x6 * W[m + 6, n] + x7 * W[m + 7, n]
            )  # fmt: skip
    for m in range(M - M % 8, M):
        x0 = x[m]
        for n in range(N):
            y[n] += x0 * W[m, n]


@_inlined
def _over(x):
    """Numerator of tanh(x), |x| <= _FLAT."""
    s = x * x
    p = np.float32(-2.76076847742355e-16)
    p = p * s + np.float32(2.00018790482477e-13)
    p = p * s + np.float32(-8.60467152213735e-11)
    p = p * s + np.float32(5.12229709037114e-08)
    p = p * s + np.float32(1.48572235717979e-05)
    p = p * s + np.float32(6.37261928875436e-04)
    p = p * s + np.float32(4.89352455891786e-03)
    return x * p


@_inlined
def _under(x):
    """Denominator of tanh(x)."""
    s = x * x
    q = np.float32(1.19825839466702e-06)
    q = q * s + np.float32(1.18534705686654e-04)
    q = q * s + np.float32(2.26843463243900e-03)
    return q * s + np.float32(4.89352518554385e-03)


@_jit
def _gate(h, z):
    """h (H,) = tanh(z[:H]) * sigmoid(z[H:]), sigmoid(x) = (1 + tanh(x / 2)) / 2, with one division for both.

    tanh is a rational of degrees 13 and 6 (the coefficients of Eigen's), x clamped to where it is 1 in float32.
    """
    H = len(h)
    for n in range(H):
        a = min(max(z[n], -_FLAT), _FLAT)
        b = min(max(np.float32(0.5) * z[H + n], -_FLAT), _FLAT)
        under = _under(b)
        h[n] = np.float32(0.5) * _over(a) * (under + _over(b)) / (_under(a) * under)


@_jit
def project(frames, weight, base, out):
    """out (n, W) = base (W,) + frames (n, C) @ weight (C, W), in panels of columns that stay in the nearest cache."""
    n, C = frames.shape
    W = weight.shape[1]
    for i in range(n):
        for j in range(W):
            out[i, j] = base[j]
    for left in range(0, W, 512):
        panel = weight[:, left : min(left + 512, W)]
        for i in range(n):
            _add_product(out[i, left : left + panel.shape[1]], frames[i], panel)


@_jit
def advance(weights, state, rows, first_row, hop, forced, uniform, temperature, top_p, samples, parameters):
    """The next len(samples) samples of one stream.

    rows (n, L G + K): biases, condition and speaker; sample i of this call takes row (first_row + i) // hop. `forced`
    (n or fewer,) are samples given instead of drawn. uniform (n, 2): the first chooses a class or component, the second
    is already a deviate. parameters (n, P) are filled where there is room for them.
    """
    n_layers, n_past, R, G = weights.past.shape
    H, n = G // 2, len(samples)
    K = len(weights.skip_bias)
    n_classes = weights.n_classes
    taps = len(state.history)
    v, z, h, post = state.v, state.z, state.h, state.post
    residual, skips = v[:R], v[R:]

    for begin in range(0, n, BLOCK):
        block = min(BLOCK, n - begin)
        t0 = state.position[0]

        # -- everything that the samples of this block do not change -------------------------------------------
        for l in range(n_layers):
            for m in range(block):
                row = rows[(first_row + begin + m) // hop]
                target = state.known[m, l]
                for j in range(G):
                    target[j] = row[l * G + j]
            for tap in range(n_past):
                late = (n_past - tap) * weights.dilations[l]
                if late >= BLOCK:
                    W = weights.past[l, tap]
                    for k in range(0, R, 8):  # a panel of eight rows serves every sample of the block
                        panel = W[k : k + 8]
                        for m in range(block):
                            x = state.rings[state.first[l] + ((t0 + m - late) & state.mask[l])]
                            _add_product(state.known[m, l], x[k : k + 8], panel)

        # -- sample by sample -----------------------------------------------------------------------------------
        for m in range(block):
            i = begin + m
            t = t0 + m
            for j in range(R):
                residual[j] = weights.front_bias[j]
            for tap in range(taps):
                value = state.history[tap]
                if n_classes == 0:
                    for j in range(R):
                        residual[j] += value * weights.table[tap, 0, j]
                elif value >= 0:
                    c = int(value)
                    for j in range(R):
                        residual[j] += weights.table[tap, c, j]
            if weights.front_relu:
                for j in range(R):
                    residual[j] = max(residual[j], np.float32(0))
            for j in range(K):
                skips[j] = weights.skip_bias[j]
            if len(weights.front_skip) > 0:
                _add_product(skips, residual, weights.front_skip)

            for l in range(n_layers):
                ring = state.rings[state.first[l] + (t & state.mask[l])]
                known = state.known[m, l]
                for j in range(R):
                    ring[j] = residual[j]
                for j in range(G):
                    z[j] = known[j]
                for tap in range(n_past):
                    late = (n_past - tap) * weights.dilations[l]
                    if late < BLOCK:
                        x = state.rings[state.first[l] + ((t - late) & state.mask[l])]
                        _add_product(z, x, weights.past[l, tap])
                _add_product(z, residual, weights.current[l])
                _gate(h, z)
                if l == n_layers - 1:  # nothing reads the last residual
                    _add_product(skips, h, weights.out[l, :, R:])
                else:
                    for j in range(R):
                        residual[j] = residual[j] * weights.residual_scale + weights.out_bias[l, j]
                    _add_product(v, h, weights.out[l])

            # -- output stage ---------------------------------------------------------------------------------------
            row = rows[(first_row + i) // hop]
            for j in range(K):
                post[j] = row[n_layers * G + j]
                skips[j] = max(skips[j], np.float32(0))
            _add_product(post, skips, weights.post_1)
            for j in range(K):
                post[j] = max(post[j], np.float32(0))
            for j in range(len(state.parameters)):
                state.parameters[j] = weights.post_bias[j]
            _add_product(state.parameters, post, weights.post_2)
            if len(parameters) > 0:
                for j in range(len(state.parameters)):
                    parameters[i, j] = state.parameters[j]

            # -- the sample, which is the next one's input ----------------------------------------------------------
            value = np.float32(0)
            if i < len(forced):
                value = forced[i]
            elif n_classes > 0:
                value = np.float32(_choose(state.parameters, uniform[i, 0], temperature, top_p, state.weight))
            else:
                floor = weights.min_log_scale
                value = _place(state.parameters, uniform[i, 0], uniform[i, 1], temperature, floor, state.weight)
            samples[i] = value
            for tap in range(taps - 1):
                state.history[tap] = state.history[tap + 1]
            state.history[taps - 1] = value
        state.position[0] = t0 + block


@_jit
def _choose(logits, uniform, temperature, top_p, weight):
    """Class drawn from logits (Q,): models.distributions.choose for one sample. `weight` (Q,) is scratch."""
    n = len(logits)
    largest = 0
    for j in range(n):
        if logits[j] > logits[largest]:
            largest = j
    if temperature == 0:
        return largest
    total = 0.0
    for j in range(n):
        weight[j] = np.exp((logits[j] - logits[largest]) / np.float32(temperature))
        total += weight[j]
    if top_p < 1:
        falling = np.sort(weight[:n])[::-1]
        kept, j = 0.0, 0
        while j < n and kept < top_p * total:
            kept += falling[j]
            j += 1
        threshold = falling[j - 1]
        total = 0.0
        for j in range(n):
            if weight[j] < threshold:
                weight[j] = 0
            total += weight[j]
    aim, reached, last = uniform * total, 0.0, largest
    for j in range(n):
        if weight[j] > 0:
            reached += weight[j]
            last = j
            if reached > aim:
                break
    return last  # rounding may leave the sum below the aim: then the last class that has a probability


@_jit
def _place(parameters, uniform, deviate, temperature, min_log_scale, weight):
    """Sample in [-1, 1] from (mean, log-scale), or K logits, means and log-scales, and a deviate."""
    K = len(parameters) // 3
    component = 0 if len(parameters) == 2 else _choose(parameters[:K], uniform, temperature, 1.0, weight)
    offset, n = (0, 1) if len(parameters) == 2 else (K, K)
    mean, log_scale = parameters[offset + component], parameters[offset + n + component]
    value = mean + np.exp(max(log_scale, min_log_scale)) * np.float32(deviate)
    return min(max(value, np.float32(-1)), np.float32(1))


class NumbaWaveNet:
    """B streams of one model on the CPU, each on one core. `sample` draws the next samples, `force` takes given ones."""

    def __init__(
        self,
        model: WaveNet,
        condition: Tensor | None = None,
        speaker: Tensor | None = None,
        n_streams: int = 1,
        threads: int | None = None,
    ):
        config, packed = model.config, pack(model)
        self.distribution, self.classes = model.distribution, model.front.classes
        arrays = {name: part.numpy() for name, part in packed._asdict().items()}
        self.condition = arrays.pop("condition")
        del arrays["base"]
        self.weights = Weights(
            **arrays,
            dilations=np.array(config.dilations),
            n_classes=self.classes,
            residual_scale=np.float32(config.residual_scale),
            min_log_scale=np.float32(config.min_log_scale),
            front_relu=config.front_relu,
        )
        self.base = added(model, packed, speaker).numpy()  # (B or 1, L G + K)
        with torch.no_grad():
            frames = model.frames(condition)
        self.frames = None if frames is None else frames.float().transpose(1, 2).contiguous().numpy()  # (B or 1, n, C)
        # rows that conditions add: one for ever without a condition, else one per frame or per sample
        self.hop = 1 << 62 if frames is None else config.hop if config.upsampling == "repeat" else 1
        self.states = [start(self.weights) for _ in range(n_streams)]
        self.threads = max(1, min(n_streams, threads or usable_cores()))

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
        given = (mu_law.encode(wave, self.classes) if self.classes else wave).float().numpy()
        n_streams, n = given.shape
        parameters = np.empty((n_streams, n, self.weights.post_2.shape[1]), np.float32)
        none, samples = np.empty((0, 2)), np.empty((n_streams, n), np.float32)
        self._run(lambda b: self._advance(b, given[b], none, 1.0, 1.0, samples[b], parameters[b]), n_streams)
        return torch.from_numpy(parameters).transpose(1, 2)

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
                project(frames, self.condition, base, rows)
            advance(
                self.weights, state, rows, position - first * self.hop, self.hop, given[part], uniform[part],
                float(temperature), float(top_p), samples[part], parameters[part],
            )  # fmt: skip

    def _run(self, work, n_streams: int) -> None:
        if self.threads == 1:
            for b in range(n_streams):
                work(b)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, range(n_streams)))


def usable_cores() -> int:
    """Cores that this process may use (fewer than the machine has, in a container or under taskset)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
