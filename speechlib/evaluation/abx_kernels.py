"""The inner loops of ABX: many small alignments at a time, and the counting of triples.

Sixteen alignments share one loop: row i of a unit x is laid against rows j of LANES other units, whose local distances
lie side by side (column j * LANES + lane), so that every step of the recursion is one vector instruction. Shorter units
are filled up to the longest of their batch, and read where they end.
"""

import math

import numpy as np

from ..compiled import compiled

LANES = 16
_STEP = np.uint64(LANES)  # unsigned: an index that might be negative keeps the loop from becoming vector instructions
_PAD = 7 * LANES  # between buffers: at multiples of 4,096 bytes a store would hold up the loads of the next


def buffers(longest: int) -> np.ndarray:
    """Scratch of one thread for units of up to `longest` rows: cost and steps of two rows."""
    return np.zeros((2, 2, (longest + 1) * LANES + _PAD), np.float32)


@compiled
def warp(local, heights, widths, ends, normalise, scratch, out):
    """Dynamic time warping of units x against batches of units y: out (X, batches * LANES).

    local (sum of heights, sum of widths * LANES): distances of rows; heights (X,): rows of each x; widths (batches,):
    of the longest y of each; ends (batches * LANES,): rows of each y, 0 where there is none.

        cost(i, j) = local(i, j) + min(cost(i-1, j-1), cost(i-1, j), cost(i, j-1)),    out = cost / steps at the end

    steps counts the cells of the path. It comes along the diagonal unless a side is cheaper, as in ABXpy, libri-light
    and torchdtw; of two sides that are equally cheap it takes that with fewer steps, where those take the one that
    their order of arguments makes first. So here d(x, y) = d(y, x), ties or not.
    """
    row = 0
    for x in range(len(heights)):
        column = 0
        for batch in range(len(widths)):
            n = widths[batch] * LANES
            for i in range(heights[x]):
                now, before = scratch[i % 2], scratch[1 - i % 2]
                c = local[row + i, column : column + n]
                if i == 0:
                    _first_row(c, n, now[0], now[1])
                else:
                    for lane in range(LANES):
                        now[0, lane] = before[0, lane] + c[lane]
                        now[1, lane] = i + 1
                    _next_row(c, n, before[0], before[1], now[0], now[1])
            last = scratch[(heights[x] - 1) % 2]
            for lane in range(LANES):
                end = ends[batch * LANES + lane]
                if end > 0:
                    at = (end - 1) * LANES + lane
                    out[x, batch * LANES + lane] = last[0, at] / last[1, at] if normalise else last[0, at]
            column += n
        row += heights[x]


@compiled
def _first_row(c, n, cost, steps):
    for lane in range(LANES):
        cost[lane] = c[lane]
        steps[lane] = 1
    for k in range(_STEP, np.uint64(n)):
        cost[k] = cost[k - _STEP] + c[k]
        steps[k] = steps[k - _STEP] + np.float32(1)


@compiled
def _next_row(c, n, above, above_steps, cost, steps):
    for k in range(_STEP, np.uint64(n)):
        up, left, diagonal = above[k], cost[k - _STEP], above[k - _STEP]
        up_steps, left_steps = above_steps[k], steps[k - _STEP]
        side = min(up, left)
        side_steps = left_steps if left < up else up_steps
        side_steps = min(left_steps, up_steps) if left == up else side_steps
        cost[k] = min(side, diagonal) + c[k]
        steps[k] = (side_steps if side < diagonal else above_steps[k - _STEP]) + np.float32(1)


@compiled
def edits(local, heights, widths, ends, normalise, scratch, out):
    """Levenshtein's distance in the same layout: the fewest insertions, deletions and substitutions that make x of y;
    `local` is 0 for equal codes and 1 for others. `normalise` divides by the longer of both."""
    row = 0
    for x in range(len(heights)):
        column = 0
        for batch in range(len(widths)):
            n = widths[batch] * LANES
            for k in range(n + LANES):
                scratch[1, 0, k] = k // LANES
            for i in range(heights[x]):
                now, before = scratch[i % 2, 0], scratch[1 - i % 2, 0]
                for lane in range(LANES):
                    now[lane] = i + 1
                c = local[row + i, column : column + n]
                for k in range(np.uint64(n)):
                    aside = min(before[k + _STEP], now[k]) + np.float32(1)
                    now[k + _STEP] = min(aside, before[k] + c[k])
            last = scratch[(heights[x] - 1) % 2, 0]
            for lane in range(LANES):
                end = ends[batch * LANES + lane]
                if end > 0:
                    longer = max(end, heights[x]) if normalise else 1
                    out[x, batch * LANES + lane] = last[end * LANES + lane] / longer
            column += n
        row += heights[x]


@compiled
def scatter(block, places, x, y, distances):
    """Write `block` (X, Y) of a group's distances (n, n), each to both its places.

    Unit k of the group, by length, goes to `places[k]` (n,); the block begins with units x and y. Of each pair the one
    with x before y is taken: that of the other order may differ in its last digit, and was made beside it only because
    batches are square.
    """
    for i in range(block.shape[0]):
        for j in range(min(block.shape[1], len(places) - y)):
            if x + i < y + j:
                distances[places[x + i], places[y + j]] = block[i, j]
                distances[places[y + j], places[x + i]] = block[i, j]


@compiled
def angles(cosines):
    """arccos(c) / pi in place, of c (R, C) cut to [-1, 1]: Abramowitz & Stegun 4.4.46, off by 2e-8 at most before
    float32 rounds (numpy's takes twice the time)."""
    for i in range(cosines.shape[0]):
        row = cosines[i]
        for k in range(np.uint64(len(row))):
            x = min(abs(row[k]), np.float32(1))
            p = np.float32(-0.0012624911)
            p = p * x + np.float32(0.0066700901)
            p = p * x + np.float32(-0.0170881256)
            p = p * x + np.float32(0.0308918810)
            p = p * x + np.float32(-0.0501743046)
            p = p * x + np.float32(0.0889789874)
            p = p * x + np.float32(-0.2145988016)
            p = p * x + np.float32(1.5707963050)
            angle = math.sqrt(np.float32(1) - x) * p * np.float32(1 / math.pi)
            row[k] = angle if row[k] >= 0 else np.float32(1) - angle


@compiled
def count(cells, first, size, base, width, distances, same, errors):
    """Share of wrong triples of each cell, a tie counting half: errors (cells,).

    cells (C, 3): sets a, b and x; of each set: `first` and `size` say which units of its group, `base` where the
    group's distances begin, `width` how many units it has. A triple (a, b, x) is wrong where d(b, x) < d(a, x).
    `same`: x is of set a too, and is not compared with itself.
    """
    for cell in range(len(cells)):
        a, b, x = cells[cell]
        wrong = ties = 0
        for one in range(first[x], first[x] + size[x]):
            row = distances[base[x] + one * width[x] : base[x] + (one + 1) * width[x]]
            of_a = row[first[a] : first[a] + size[a]]
            for other in row[first[b] : first[b] + size[b]]:
                for k in range(np.uint64(len(of_a))):
                    wrong += other < of_a[k]
                    ties += other == of_a[k]
            if same:
                own = row[one]
                for other in row[first[b] : first[b] + size[b]]:
                    wrong -= other < own
                    ties -= other == own
        triples = (size[x] - 1 if same else size[x]) * size[a] * size[b]
        errors[cell] = (wrong + 0.5 * ties) / triples
