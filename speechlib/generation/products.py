"""Products of small arrays for loops compiled by numba: y += x @ W, as vector instructions on one core.

A plain loop loads and stores y for every few rows of W. Here a tile of y stays in registers while the rows of W go by,
in the order in which they lie in memory. Numba cannot be told so in Python: the loop over a tile is written as LLVM
vectors (which LLVM fits to AVX-512, AVX2 or NEON).

Weights may be int8, with a step per column: a quarter of the bytes to read. Rows of x are then rounded to 16 bits, and
two rows of W at a time are multiplied and added in integers: one instruction where there is AVX-512 VNNI, two with
AVX2, and quicker than float32 on any processor.
"""

from typing import NamedTuple

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from ..compiled import compiled

TILE = 64  # columns
_WIDTH = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8  # numbers per vector
_ROWS, _VECTORS = 4, (4 if _WIDTH == 16 else 2)  # a block of y whose sums fit into the registers
_WEIGHT, _LEVEL = 127, 32_767  # the largest int8 weight; the largest level of x
_SUM = (2**31 - 1) // _WEIGHT  # levels of this sum times weights stay within 32 bits
_STEPS = 4 * TILE  # bytes at the beginning of an int8 tile: the float32 steps of its columns


class Rounded(NamedTuple):
    """Room for _ROWS rows of x in 16 bits: level times step is x."""

    levels: np.ndarray  # (_ROWS, width) int16
    steps: np.ndarray  # (_ROWS,) float32


def room(width: int) -> Rounded:
    """For rows of x of at most `width` numbers."""
    return Rounded(np.zeros((_ROWS, width + width % 2), np.int16), np.zeros(_ROWS, np.float32))


def tiles(W: np.ndarray, precision: str = "float32") -> np.ndarray:
    """(..., M, N) -> (..., n_tiles, M, TILE): columns in tiles, one behind the other, the last filled with zeros.

    "int8": (..., n_tiles, bytes), in each tile the steps of its columns, then their weights, two rows side by side.
    """
    *front, M, N = W.shape
    rows = M + M % 2 if precision == "int8" else M
    padded = np.zeros((*front, rows, full(N)), np.float32)
    padded[..., :M, :N] = W
    tiled = np.ascontiguousarray(np.moveaxis(padded.reshape(*front, rows, full(N) // TILE, TILE), -2, -3))
    return _rounded(tiled) if precision == "int8" else tiled


def _rounded(tiled: np.ndarray) -> np.ndarray:
    """(..., rows, TILE) float32 -> (..., bytes) int8."""
    steps = np.abs(tiled).max(axis=-2, initial=0) / np.float32(_WEIGHT)  # (..., TILE)
    weights = np.rint(tiled / np.where(steps > 0, steps, 1)[..., None, :]).astype(np.int8)
    *front, rows, _ = tiled.shape
    pairs = weights.reshape(*front, rows // 2, 2, TILE).swapaxes(-1, -2).reshape(*front, rows * TILE)
    return np.concatenate([steps.view(np.int8), pairs], axis=-1)


def full(n: int) -> int:
    """Columns of the whole tiles that n columns need."""
    return -(-n // TILE) * TILE


# -- as LLVM -----------------------------------------------------------------------------------------------------------

_INDEX, _BYTE, _SHORT, _WORD, _FLOAT = *(ir.IntType(bits) for bits in (64, 8, 16, 32)), ir.FloatType()
_FLOATS, _WORDS = ir.VectorType(_FLOAT, _WIDTH), ir.VectorType(_WORD, _WIDTH)


def _product(n_rows: int, n_vectors: int):
    """Compiled y[i : i + n_rows, a:b] += x[j : j + n_rows] @ W[tile][:, c:d], n_vectors wide, a = tile * TILE + c.

    For int8 weights the rows of x are the first ones of `rounded`.
    """

    @intrinsic
    def product(typing_context, y, i, x, j, W, tile, c, rounded):
        signature = types.void(y, types.intp, x, types.intp, W, types.intp, types.intp, rounded)

        def code(context, builder, signature, arguments):
            y, x, W = (_Array(context, builder, signature.args[k], arguments[k]) for k in (0, 2, 4))
            i, j, tile, c = (arguments[k] for k in (1, 3, 5, 6))
            lanes = [builder.add(c, _INDEX(v * _WIDTH)) for v in range(n_vectors)]
            if signature.args[4].dtype == types.float32:
                sums = _float_sums(builder, x, j, W, tile, lanes, n_rows)
            else:
                fields = zip(signature.args[7], cgutils.unpack_tuple(builder, arguments[7]))
                levels, steps = (_Array(context, builder, *field) for field in fields)
                sums = _int8_sums(builder, levels, steps, W, tile, lanes, n_rows)
            left = builder.mul(tile, _INDEX(TILE))
            for r, row in enumerate(sums):
                for total, lane in zip(row, lanes):
                    place = y.at(builder.add(i, _INDEX(r)), builder.add(left, lane), _FLOATS)
                    builder.store(builder.fadd(builder.load(place, align=4), total), place, align=4)
            return context.get_dummy_value()

        return signature, code

    return product


class _Array:
    """An array in generated code: its first axis may have any stride, what is behind it lies side by side."""

    def __init__(self, context, builder, kind, value):
        array = context.make_array(kind)(context, builder, value)
        self.builder, self.size = builder, kind.dtype.bitwidth // 8
        self.data = builder.bitcast(array.data, _BYTE.as_pointer())
        self.stride = cgutils.unpack_tuple(builder, array.strides)[0]
        self.shape = cgutils.unpack_tuple(builder, array.shape)

    def at(self, major, minor, kind):
        """Pointer to a `kind` that begins at number `minor` of stretch `major`."""
        offset = self.builder.add(self.builder.mul(major, self.stride), self.builder.mul(minor, _INDEX(self.size)))
        return self.builder.bitcast(self.builder.gep(self.data, [offset]), kind.as_pointer())


def _float_sums(builder, x, j, W, tile, lanes, n_rows) -> list[list]:
    """Sums (n_rows, lanes) of x[j + r, m] W[tile, m] over m."""
    sums = [[cgutils.alloca_once_value(builder, _FLOATS([0.0] * _WIDTH)) for _ in lanes] for _ in range(n_rows)]
    with cgutils.for_range(builder, W.shape[1], intp=_INDEX) as loop:
        start = builder.mul(loop.index, _INDEX(TILE))
        weights = [builder.load(W.at(tile, builder.add(start, lane), _FLOATS), align=4) for lane in lanes]
        for r in range(n_rows):
            value = _spread(builder, builder.load(x.at(builder.add(j, _INDEX(r)), loop.index, _FLOAT), align=4))
            for total, weight in zip(sums[r], weights):
                product = builder.fmul(value, weight, flags=["contract"])  # becomes one instruction with fadd
                builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
    return [[builder.load(total) for total in row] for row in sums]


def _int8_sums(builder, levels, steps, W, tile, lanes, n_rows) -> list[list]:
    """The same of rounded rows: integers, two m at a time, times the steps of row and column."""
    sums = [[cgutils.alloca_once_value(builder, _WORDS([0] * _WIDTH)) for _ in lanes] for _ in range(n_rows)]
    bytes_, shorts, words = (ir.VectorType(kind, 2 * _WIDTH) for kind in (_BYTE, _SHORT, _WORD))
    even, odd = (_WORDS(list(range(first, 2 * _WIDTH, 2))) for first in (0, 1))
    n_pairs = builder.udiv(builder.sub(W.shape[1], _INDEX(_STEPS)), _INDEX(2 * TILE))
    with cgutils.for_range(builder, n_pairs, intp=_INDEX) as loop:
        first = builder.mul(loop.index, _INDEX(2))
        start = builder.add(builder.mul(first, _INDEX(TILE)), _INDEX(_STEPS))
        places = [builder.add(start, builder.mul(lane, _INDEX(2))) for lane in lanes]
        weights = [builder.sext(builder.load(W.at(tile, place, bytes_), align=1), words) for place in places]
        for r in range(n_rows):
            pair = _spread(builder, builder.load(levels.at(_INDEX(r), first, _WORD), align=2))
            values = builder.sext(builder.bitcast(pair, shorts), words)
            for total, weight in zip(sums[r], weights):
                # products of 16-bit numbers, neighbours added: written so, LLVM knows the instruction for it
                product = builder.mul(values, weight)
                halves = [builder.shuffle_vector(product, words(ir.Undefined), half) for half in (even, odd)]
                builder.store(builder.add(builder.load(total), builder.add(*halves)), total)
    columns = [builder.load(W.at(tile, builder.mul(lane, _INDEX(4)), _FLOATS), align=1) for lane in lanes]
    rows = [_spread(builder, builder.load(steps.at(_INDEX(r), _INDEX(0), _FLOAT), align=4)) for r in range(n_rows)]
    return [
        [
            builder.fmul(builder.sitofp(builder.load(total), _FLOATS), builder.fmul(row, column))
            for total, column in zip(totals, columns)
        ]
        for totals, row in zip(sums, rows)
    ]


def _spread(builder, value):
    """The number in every place of a vector."""
    nothing = ir.VectorType(value.type, _WIDTH)(ir.Undefined)
    first = builder.insert_element(nothing, value, _WORD(0))
    return builder.shuffle_vector(first, nothing, _WORDS([0] * _WIDTH))


# -- as numba ----------------------------------------------------------------------------------------------------------

_one_row = _product(1, TILE // _WIDTH)
_several_rows = _product(_ROWS, _VECTORS)


@compiled
def add_product(y, i, x, j, W, n_rows, first_tile, rounded):
    """y[i : i + n_rows] += x[j : j + n_rows] @ W, from column first_tile * TILE on.

    y (*, n_tiles * TILE) and x (*, M or more) float32, their rows contiguous; W as `tiles` makes it; `rounded` has room
    for M.
    """
    done = 0
    while done + _ROWS <= n_rows:
        _prepare(x, j + done, W, _ROWS, rounded)
        for tile in range(first_tile, len(W)):
            for c in range(0, TILE, _VECTORS * _WIDTH):
                _several_rows(y, i + done, x, j + done, W, tile, c, rounded)
        done += _ROWS
    while done < n_rows:
        _prepare(x, j + done, W, 1, rounded)
        for tile in range(first_tile, len(W)):
            _one_row(y, i + done, x, j + done, W, tile, 0, rounded)
        done += 1


def _prepare(x, j, W, n_rows, rounded):
    """x[j : j + n_rows] into `rounded`, for weights that are multiplied with rounded rows."""


@overload(_prepare)
def _prepare_for(x, j, W, n_rows, rounded):
    def nothing(x, j, W, n_rows, rounded):
        pass

    def rounding(x, j, W, n_rows, rounded):
        used = min(x.shape[1], (W.shape[1] - _STEPS) // TILE)  # rows may be longer than W has use for
        for r in range(n_rows):
            _round(x[j + r, :used], rounded.levels[r], rounded.steps[r : r + 1])

    return nothing if W.dtype == types.float32 else rounding


@compiled
def _round(x, levels, step):
    """x (M,) -> its levels (M,) and their step (1,): the largest |x| is the largest level."""
    # floats are ordered as their bits are, and LLVM makes vectors of a maximum of integers only
    bits, largest = x.view(np.int32), np.int32(0x0DA24260)  # 1e-30
    for m in range(len(x)):
        largest = np.int32(max(largest, bits[m] & np.int32(0x7FFFFFFF)))
    step.view(np.int32)[0] = largest
    most = np.float32(min(_LEVEL, _SUM // len(x)))
    inverse = most / step[0]
    step[0] /= most
    for m in range(len(x)):
        levels[m] = np.int16(np.rint(x[m] * inverse))
    if len(x) % 2:
        levels[len(x)] = 0
