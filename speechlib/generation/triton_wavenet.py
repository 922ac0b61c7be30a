"""All layers of a WaveNet's step as one kernel: a hundred small ones would each wait for the one before.

A program holds a few streams and takes them through all layers, their residual and skip vectors never leaving its
registers; weights come from the cache that all programs share. Streams do not hear each other, so programs need not
wait for each other. Imported where there is Triton, which comes with torch for CUDA.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_SIZES = (16, 32, 64, 128)  # of vectors: tensor cores want multiples of 16, Triton powers of two, shared memory an end
_FEW, _MANY = 16, 32  # streams of a program: as few as tensor cores take, or twice as many where that fills the GPU too
_WARPS = 8


def fits(residual: int, half: int, skip: int) -> bool:
    """Whether a program can hold a network of these sizes (R, G / 2, K)."""
    return {residual, half} <= set(_SIZES[:3]) and skip in _SIZES


def network(engine, x: Tensor, added: Tensor, skip: Tensor) -> Tensor:
    """What EagerWaveNet._network does: x (B, R), added (B, L G + K), skip (B, K) -> parameters (B, P)."""
    w, config = engine.weights, engine.config
    n_streams, n_parameters = len(x), w.post_2.shape[1]
    together = _MANY if n_streams > 2_048 else _FEW
    result = x.new_empty(n_streams, n_parameters)
    with torch.cuda.device_of(x):  # Triton starts kernels on the current one
        _network[(triton.cdiv(n_streams, together),)](
            x, added, added.stride(0), skip, skip.stride(0), engine.rings, engine.first, engine.length, engine.late,
            engine.position, w.past, w.current, w.out, w.out_bias, w.post_1, w.post_2, w.post_bias, result,
            config.residual_scale, n_streams,
            L=config.n_layers, TAPS=w.past.shape[1], R=config.residual_channels, H=config.gate_channels // 2,
            K=config.skip_channels, P=n_parameters, P2=max(16, triton.next_power_of_2(n_parameters)), STREAMS=together,
            num_warps=_WARPS,
        )  # fmt: skip
    return result


@triton.jit
def _product(x, weight, total):
    """total + x @ weight. Three products of tf32 parts come as near as float32."""
    return tl.dot(x, weight, total, input_precision="tf32x3")


@triton.jit
def _network(
    x, added, added_row, skip, skip_row, rings, first, length, late, position, past, current, out, out_bias, post_1,
    post_2, post_bias, result, scale, n_streams,
    L: tl.constexpr, TAPS: tl.constexpr, R: tl.constexpr, H: tl.constexpr, K: tl.constexpr, P: tl.constexpr,
    P2: tl.constexpr, STREAMS: tl.constexpr,
):  # fmt: skip
    rows = (tl.program_id(0) * STREAMS + tl.arange(0, STREAMS)).to(tl.int64)[:, None]
    live = rows < n_streams
    r, h, k, p = tl.arange(0, R), tl.arange(0, H), tl.arange(0, K), tl.arange(0, P2)
    now = tl.load(position)
    v = tl.load(x + rows * R + r[None, :], mask=live, other=0.0)
    total = tl.load(skip + rows * skip_row + k[None, :], mask=live, other=0.0)
    for layer in range(L):
        gates = added + rows * added_row + layer * 2 * H + h[None, :]
        a = tl.load(gates, mask=live, other=0.0)
        b = tl.load(gates + H, mask=live, other=0.0)
        ring, size = tl.load(first + layer), tl.load(length + layer)
        for tap in tl.static_range(TAPS):
            slot = ring + (now - tl.load(late + layer * TAPS + tap) + size) % size
            old = tl.load(rings + (slot * n_streams + rows) * R + r[None, :], mask=live, other=0.0)
            weight = past + ((layer * TAPS + tap) * R + r[:, None]) * (2 * H) + h[None, :]
            a = _product(old, tl.load(weight), a)
            b = _product(old, tl.load(weight + H), b)
        weight = current + (layer * R + r[:, None]) * (2 * H) + h[None, :]
        a = _product(v, tl.load(weight), a)
        b = _product(v, tl.load(weight + H), b)
        tl.debug_barrier()  # the newest takes the place of the oldest, which other threads may still be reading
        tl.store(rings + ((ring + now % size) * n_streams + rows) * R + r[None, :], v, mask=live)
        gate = (2 * tl.sigmoid(2 * a) - 1) * tl.sigmoid(b)
        weight = out + (layer * H + h[:, None]) * (R + K)
        v = _product(gate, tl.load(weight + r[None, :]), v * scale + tl.load(out_bias + layer * R + r[None, :]))
        total = _product(gate, tl.load(weight + R + k[None, :]), total)
    after = tl.load(added + rows * added_row + L * 2 * H + k[None, :], mask=live, other=0.0)
    hidden = _product(tl.maximum(total, 0.0), tl.load(post_1 + k[:, None] * K + k[None, :]), after)
    bias = tl.load(post_bias + p, mask=p < P, other=0.0)
    inside = p[None, :] < P
    weight = tl.load(post_2 + k[:, None] * P + p[None, :], mask=inside, other=0.0)
    theta = _product(tl.maximum(hidden, 0.0), weight, tl.zeros([STREAMS, P2], tl.float32) + bias[None, :])
    tl.store(result + rows * P + p[None, :], theta, mask=live & inside)
