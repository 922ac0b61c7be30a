"""Products of small float32 arrays for loops compiled by numba: y += x @ W, as vector instructions on one core.

A plain loop loads and stores y for every few rows of W. Here a tile of y stays in registers while the rows of W go by,
in the order in which they lie in memory. Numba cannot be told so in Python: the loop over a tile is written as LLVM
vectors (which LLVM fits to AVX-512, AVX2 or NEON). Weights may be bfloat16: then twice as many arrive in the same time.

Numba keeps compiled loops of other files that contain this one, and looks for changes in their own file only: after a
change here, change numba_wavenet.py as well (or delete the __pycache__ beside it).
"""

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

TILE = 64  # columns
_WIDTH = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8  # floats per vector
_SEVERAL = 4, (4 if _WIDTH == 16 else 2)  # rows x vectors whose sums fit into the registers


def tiles(W: np.ndarray, precision: str = "float32") -> np.ndarray:
    """(..., M, N) -> (..., n_tiles, M, TILE): columns in tiles, one behind the other, the last filled with zeros.

    In bfloat16 two columns share a word (uint32, TILE / 2 of them): half the bytes to read for the same product.
    """
    *front, M, N = W.shape
    padded = np.zeros((*front, M, full(N)), np.float32)
    padded[..., :N] = W
    tiled = np.ascontiguousarray(np.moveaxis(padded.reshape(*front, M, full(N) // TILE, TILE), -2, -3))
    return tiled if precision == "float32" else _halved(tiled)


def _halved(tiled: np.ndarray) -> np.ndarray:
    """Words of a low and a high bfloat16: columns of one vector, and of the vector behind it.

    The high one is used with the low one's bits behind its own, which saves clearing them; it is rounded so that the
    two together come nearest.
    """
    bits = tiled.view(np.uint32).reshape(*tiled.shape[:-1], TILE // (2 * _WIDTH), 2, _WIDTH).astype(np.int64)
    low = (bits[..., 0, :] + 0x8000 >> 16) & 0xFFFF
    high = bits[..., 1, :] - low + 0x8000 >> 16
    return (high << 16 | low).astype(np.uint32).reshape(*tiled.shape[:-1], TILE // 2)


def full(n: int) -> int:
    """Columns of the whole tiles that n columns need."""
    return -(-n // TILE) * TILE


def _product(n_rows: int, n_vectors: int):
    """Compiled y[i : i + n_rows, a:b] += x[j : j + n_rows] @ W[tile][:, c:d], n_vectors wide, a = tile * TILE + c."""

    @intrinsic
    def product(typing_context, y, i, x, j, W, tile, c):
        signature = types.void(y, types.intp, x, types.intp, W, types.intp, types.intp)

        def code(context, builder, signature, arguments):
            vector, number, integer = ir.VectorType(ir.FloatType(), _WIDTH), ir.FloatType(), ir.IntType(64)
            y, x, W = (context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 2, 4))
            i, j, tile, c = (arguments[k] for k in (1, 3, 5, 6))
            y_stride, x_stride, W_stride = (cgutils.unpack_tuple(builder, a.strides)[0] for a in (y, x, W))

            def address(array, kind, stride, major, minor):
                """Of float `minor` in the stretch number `major`, stretches being `stride` bytes apart."""
                offset = builder.add(builder.mul(major, stride), builder.mul(minor, integer(4)))
                start = builder.bitcast(array.data, ir.IntType(8).as_pointer())
                return builder.bitcast(builder.gep(start, [offset]), kind.as_pointer())

            def weights_of(row) -> list:
                """Vectors of floats of this row of the tile, `columns` of them."""
                start = builder.mul(row, integer(TILE))
                places = [builder.add(start, column) for column in columns]
                if signature.args[4].dtype == types.float32:
                    return [builder.load(address(W, vector, W_stride, tile, p), align=4) for p in places]
                vectors, words = [], ir.VectorType(ir.IntType(32), _WIDTH)
                for p in places[::2]:
                    pair = builder.load(address(W, words, W_stride, tile, builder.lshr(p, integer(1))), align=4)
                    low = builder.shl(pair, words([16] * _WIDTH))
                    vectors += [builder.bitcast(low, vector), builder.bitcast(pair, vector)]
                return vectors

            columns = [builder.add(c, integer(v * _WIDTH)) for v in range(n_vectors)]
            left = builder.mul(tile, integer(TILE))
            places = [
                [
                    address(y, vector, y_stride, builder.add(i, integer(r)), builder.add(left, column))
                    for column in columns
                ]
                for r in range(n_rows)
            ]
            sums = [[cgutils.alloca_once_value(builder, builder.load(p, align=4)) for p in row] for row in places]
            with cgutils.for_range(builder, cgutils.unpack_tuple(builder, W.shape)[1], intp=integer) as loop:
                weights = weights_of(loop.index)
                for r in range(n_rows):
                    value = builder.load(address(x, number, x_stride, builder.add(j, integer(r)), loop.index), align=4)
                    first = builder.insert_element(vector(ir.Undefined), value, ir.IntType(32)(0))
                    lanes = ir.VectorType(ir.IntType(32), _WIDTH)([0] * _WIDTH)
                    spread = builder.shuffle_vector(first, vector(ir.Undefined), lanes)
                    for total, weight in zip(sums[r], weights):
                        added = builder.fmul(spread, weight, flags=["contract"])  # becomes one instruction with fadd
                        builder.store(builder.fadd(builder.load(total), added, flags=["contract"]), total)
            for totals, row in zip(sums, places):
                for total, place in zip(totals, row):
                    builder.store(builder.load(total), place, align=4)
            return context.get_dummy_value()

        return signature, code

    return product


_one_row = _product(1, TILE // _WIDTH)
_several_rows = _product(*_SEVERAL)
_ROWS, _COLUMNS = _SEVERAL[0], _SEVERAL[1] * _WIDTH


@njit(cache=True, nogil=True)
def add_product(y, i, x, j, W, n_rows, first_tile):
    """y[i : i + n_rows] += x[j : j + n_rows] @ W, from column first_tile * TILE on.

    y (*, n_tiles * TILE) and x (*, M) float32, their rows contiguous; W (n_tiles, M, *) as `tiles` makes it.
    """
    done = 0
    while done + _ROWS <= n_rows:
        for tile in range(first_tile, len(W)):
            for c in range(0, TILE, _COLUMNS):
                _several_rows(y, i + done, x, j + done, W, tile, c)
        done += _ROWS
    while done < n_rows:
        for tile in range(first_tile, len(W)):
            _one_row(y, i + done, x, j + done, W, tile, 0)
        done += 1
