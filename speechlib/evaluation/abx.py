"""ABX: is a phone closer to another token of itself than to a token of another phone?

Schatz et al. 2013. x and a are tokens of one phone, b is one of another; the triple is wrong where d(b, x) < d(a, x),
and half wrong where both are equal. 0 % is perfect, 50 % is chance; no label per frame and no classifier is needed.

    items, representations -> abx_items.cut -> Units -> score -> cells -> overall, interval, phone_pairs, by_speaker

speaker "within": a, b and x are of one speaker; "across": a and b of one, x of another. context "within": a, b and x
stand between the same two phones; "any": wherever they stand. A cell is all triples of one pair of phones, of one pair
of speakers (or one speaker) and of one context.

d is the cost of the cheapest alignment of both tokens' rows (dynamic time warping) divided by the steps of its path.
Distances of rows, x and y:

    angular      arccos(cos(x, y)) / pi: what ABXpy, libri-light, fastabx and the ZeroSpeech scorer call "cosine"
    cosine       1 - cos(x, y)
    euclidean    |x - y|
    kl           (KL(p | q) + KL(q | p)) / 2 in nats; p, q are x, y made to sum to 1, plus float64's epsilon, as ABXpy's
    identical    0 for the same code, else 1
    levenshtein  of whole tokens, without warping: edits / rows of the longer token

A row of zeros has no angle: as in those tools it is as far as can be from every other row, and 0 from another of zeros.
Every distinct pair that shares a group (of a context; "within", of a speaker) is aligned once, and all triples are
counted from the distances: nothing is sampled unless asked for.
"""

import operator
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ..errors import SpeechlibError, UnknownName
from .abx_items import Units
from .abx_kernels import LANES, angles, buffers, count, edits, scatter, warp

OF_VECTORS, OF_CODES = ("angular", "cosine", "euclidean", "kl"), ("identical", "levenshtein")
SPEAKERS, CONTEXTS = ("across", "within"), ("within", "any")
_TABLE = 4096  # distinct rows: up to here their distances are a table, and equal rows are exactly equally far
_COLUMNS = 2048  # of a block of local distances: with a batch of rows about as much as a core's own cache holds
_LARGEST = 4e9  # bytes of all distances of tokens


class NoTriples(SpeechlibError):
    """No triple can be made of the items: too few, or of one phone, or of one speaker."""


def score(
    units: Units,
    speaker: str = "across",
    context: str = "within",
    distance: str = "angular",
    normalise: bool = True,
    max_size_group: int | None = None,
    max_x_across: int | None = None,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[..., None] | None = None,
) -> pd.DataFrame:
    """The error of every cell in percent: phone (of a and x), other (of b), previous, next (context "within"), speaker
    (of a and b), speaker_x, triples, error.

    `normalise` False leaves out the division by steps (of edits: by rows). The tools' own sampling, off here: at most
    `max_size_group` tokens of a phone by a speaker in a context (libri-light: 10), drawn once for all roles; for each a
    at most `max_x_across` speakers of x (libri-light: 5). progress(done, total, text) counts blocks of alignments.

    The same arguments give the same numbers with any number of `threads`. Raises NoTriples where there is no cell, and
    SpeechlibError for rows that have no such distance and for more tokens in a group than memory is made for.
    """
    for what, value, known in (("speaker", speaker, SPEAKERS), ("context", context, CONTEXTS)):
        if value not in known:
            raise UnknownName(f"{what} of ABX", value, known)
    if threads < 1 or any(limit is not None and limit < 1 for limit in (max_size_group, max_x_across)):
        limits = f"threads {threads}, max_size_group {max_size_group}, max_x_across {max_x_across}"
        raise SpeechlibError(f"{limits}: wanted 1 or more of each")
    _check_rows(units.rows, distance)
    rng = np.random.default_rng(seed)
    tokens = _tokens(units.items, context, max_size_group, rng)
    sets, cells = _cells(tokens, speaker, max_x_across, rng)
    groups = _Groups(units, tokens, sets, by_speaker=speaker == "within")
    distances = groups.align(distance, normalise, threads, progress)
    errors = groups.count(cells[["a", "b", "x"]].to_numpy(), distances, speaker == "within", threads)
    return _named(units.items, cells, sets, context).assign(error=100 * errors)


def _check_rows(rows: np.ndarray, distance: str) -> None:
    if distance not in OF_VECTORS + OF_CODES:
        raise UnknownName("distance of ABX", distance, OF_VECTORS + OF_CODES)
    codes = rows.dtype.kind in "iu"
    if codes != (distance in OF_CODES):
        has, takes = ("codes", "vectors") if codes else ("vectors", "codes")
        meant = " or ".join(OF_CODES if codes else OF_VECTORS)
        raise SpeechlibError(f"distance {distance!r} is one of {takes}, the units have {has}: take {meant}")
    if distance == "kl":
        if (low := rows.min()) < 0:
            raise SpeechlibError(
                f"distance 'kl' takes probabilities, and the smallest of these numbers is {low:.3g}: take 'angular', "
                "or give it posteriors (a softmax)"
            )
        if not (rows.sum(axis=1) > 0).all():
            raise SpeechlibError("distance 'kl' takes probabilities, and some rows are zeros only")


# -- tokens, sets of them, cells ---------------------------------------------------------------------------------------


def _tokens(items: pd.DataFrame, context: str, max_size_group: int | None, rng) -> pd.DataFrame:
    """unit, context, speaker and phone (numbers) of every token, after sampling."""
    by = items.groupby(["previous", "next"], sort=True) if context == "within" else None
    tokens = pd.DataFrame(
        {
            "unit": np.arange(len(items)),
            "context": by.ngroup().to_numpy() if by is not None else 0,
            "speaker": pd.factorize(items["speaker"], sort=True)[0],
            "phone": pd.factorize(items["phone"], sort=True)[0],
        }
    )
    if max_size_group is not None:
        shuffled = tokens.iloc[rng.permutation(len(tokens))]
        tokens = shuffled[shuffled.groupby(["context", "speaker", "phone"]).cumcount() < max_size_group].sort_index()
    return tokens


def _cells(tokens: pd.DataFrame, speaker: str, max_x_across: int | None, rng) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sets of tokens of one (context, speaker, phone), with `size` and an example `unit`; cells of three sets each."""
    sets = tokens.groupby(["context", "speaker", "phone"])["unit"].agg(["size", "first"]).reset_index()
    sets = sets.rename(columns={"first": "unit"})
    short = sets[["context", "speaker", "phone"]].assign(set=np.arange(len(sets)))
    ab = short.merge(short, on=["context", "speaker"], suffixes=("_a", "_b"))
    ab = ab[ab["phone_a"] != ab["phone_b"]]
    if speaker == "within":
        cells = ab.assign(x=ab["set_a"])[(sets["size"].to_numpy()[ab["set_a"]] > 1)]
    else:
        ax = short.merge(short, on=["context", "phone"], suffixes=("_a", "_x"))
        ax = ax[ax["speaker_a"] != ax["speaker_x"]]
        if max_x_across is not None:
            ax = ax.iloc[rng.permutation(len(ax))]
            ax = ax[ax.groupby("set_a").cumcount() < max_x_across].sort_index()
        cells = ab.merge(ax[["set_a", "set_x"]], on="set_a").rename(columns={"set_x": "x"})
    if cells.empty:
        n = {name: tokens[name].nunique() for name in ("context", "speaker", "phone")}
        who = "one of them twice" if speaker == "within" else "and one of them by another speaker"
        advice = "Take more items" if n["context"] == 1 else "Take more items, or context='any'"
        if speaker == "across" and n["speaker"] == 1:
            advice = "Take items of a second speaker as well"
        raise NoTriples(
            f"no triple can be made of {len(tokens)} items ({n['phone']} phones, {n['speaker']} speakers, "
            f"{n['context']} contexts): it takes two phones by one speaker in one context, {who}. {advice}"
        )
    cells = cells.rename(columns={"set_a": "a", "set_b": "b"})[["a", "b", "x"]]
    used = np.zeros(len(sets), bool)
    used[cells.to_numpy().ravel()] = True
    number = np.cumsum(used) - 1
    return sets[used].reset_index(drop=True), cells.apply(lambda column: number[column]).reset_index(drop=True)


def _named(items: pd.DataFrame, cells: pd.DataFrame, sets: pd.DataFrame, context: str) -> pd.DataFrame:
    size, unit = sets["size"].to_numpy(), sets["unit"].to_numpy()
    a, b, x = (cells[name].to_numpy() for name in "abx")
    within = (a == x).all()
    columns = {"phone": ("phone", a), "other": ("phone", b)}
    if context == "within":
        columns |= {"previous": ("previous", a), "next": ("next", a)}
    columns |= {"speaker": ("speaker", a), "speaker_x": ("speaker", x)}
    named = {}
    for name, (source, of) in columns.items():
        values = pd.Categorical(items[source])
        named[name] = pd.Categorical.from_codes(values.codes[unit[of]], dtype=values.dtype)
    return pd.DataFrame(named).assign(triples=size[a] * size[b] * (size[x] - 1 if within else size[x]))


# -- distances of tokens -----------------------------------------------------------------------------------------------


class _Groups:
    """Tokens sorted into groups, in each of which all are compared with all.

    In `distances` the tokens of a group stand set by set; for aligning they stand by length, LANES to a batch, so that
    units of about the same length share their steps.
    """

    def __init__(self, units: Units, tokens: pd.DataFrame, sets: pd.DataFrame, by_speaker: bool):
        keys = ["context", "speaker"] if by_speaker else ["context"]
        self.sets = sets.assign(group=sets.groupby(keys).ngroup())
        self.sets = self.sets.sort_values(["group", "speaker", "phone"], kind="stable")  # indexed by set as before
        kept = tokens.merge(self.sets.drop(columns=["unit"]), on=["context", "speaker", "phone"])
        kept = kept.sort_values(["group", "speaker", "phone", "unit"], kind="stable")
        group = kept["group"].to_numpy()
        self.size = np.bincount(group)  # (groups,) tokens
        self.begin = np.cumsum(self.size) - self.size
        if (memory := 4.0 * np.square(self.size, dtype=np.float64).sum()) > _LARGEST:
            raise SpeechlibError(
                f"the distances of {len(kept)} tokens, up to {self.size.max()} in a group, take {memory / 1e9:.1f} GB, "
                f"made for {_LARGEST / 1e9:g}: set max_size_group, take fewer items, or context='within'"
            )
        lengths = units.lengths[kept["unit"]]
        by_length = np.lexsort((lengths, group))
        self.places = by_length - self.begin[group]  # (tokens, by length) where each stands in its group
        self.heights = lengths[by_length]
        self.units, self._order = units, kept["unit"].to_numpy()[by_length]
        self._lay_out(group)

    def _lay_out(self, group: np.ndarray) -> None:
        """Which row of the units stands where: as rows, token after token, and as columns, batch after batch."""
        within = np.arange(len(group)) - self.begin[group]
        batches = -(-self.size // LANES)
        self.first_batch = np.cumsum(batches) - batches
        batch, lane = self.first_batch[group] + within // LANES, within % LANES
        self.ends = np.zeros(batches.sum() * LANES, np.int64)
        self.ends[batch * LANES + lane] = self.heights
        self.widths = self.ends.reshape(-1, LANES).max(axis=1)
        self.first_column = np.concatenate([[0], np.cumsum(self.widths * LANES)])
        self.first_row = np.concatenate([[0], np.cumsum(self.heights)])
        step = np.arange(self.first_row[-1]) - np.repeat(self.first_row[:-1], self.heights)
        starts = (np.cumsum(self.units.lengths) - self.units.lengths)[self._order]
        self.rows = np.repeat(starts, self.heights) + step
        self.columns = np.zeros(self.first_column[-1], np.int64)  # what fills up a batch is some row: it is never read
        self.columns[np.repeat(self.first_column[batch] + lane, self.heights) + step * LANES] = self.rows

    def align(self, distance: str, normalise: bool, threads: int, progress) -> list[np.ndarray]:
        """(n, n) distances of the tokens of each group."""
        found = [np.zeros((n, n), np.float32) for n in self.size]
        local = _Local(self.units.rows, distance, self.rows, self.columns)
        blocks, kernel = list(self._blocks()), edits if distance == "levenshtein" else warp
        waiting = iter(blocks)  # shared: taking from it is atomic
        longest = int(self.heights.max())

        def work(report) -> None:
            scratch, room = buffers(longest), local.room(LANES * longest, max(_COLUMNS, LANES * longest))
            out = np.zeros((LANES, room.size // LANES), np.float32)
            for group, x, y, first, last in waiting:
                begin = self.begin[group]
                rows = self.first_row[begin + x], self.first_row[begin + y]
                costs = local.block(*rows, self.first_column[first], self.first_column[last], room)
                heights, widths = self.heights[begin + x : begin + y], self.widths[first:last]
                kernel(costs, heights, widths, self.ends[first * LANES : last * LANES], normalise, scratch, out)
                places = self.places[begin : begin + self.size[group]]
                y_first = (first - self.first_batch[group]) * LANES
                scatter(out[: y - x, : (last - first) * LANES], places, x, y_first, found[group])
                if report:
                    report(len(blocks) - operator.length_hint(waiting), len(blocks), "aligning")

        _side_by_side(work, threads, progress)
        return found

    def _blocks(self) -> Iterator[tuple[int, int, int, int, int]]:
        """(group, its tokens x..y as rows, batches first..last as columns), every pair once."""
        for group, n in enumerate(self.size):
            end = self.first_batch[group] + -(-n // LANES)
            for x in range(0, n, LANES):
                first = self.first_batch[group] + x // LANES
                while first < end:
                    reach = self.first_column[first] + _COLUMNS
                    last = min(max(np.searchsorted(self.first_column, reach, "right") - 1, first + 1), end)
                    yield group, x, min(x + LANES, n), first, last
                    first = last

    def count(self, cells: np.ndarray, distances: list[np.ndarray], same: bool, threads: int) -> np.ndarray:
        """Share of wrong triples (cells,)."""
        flat = np.concatenate([group.ravel() for group in distances])
        group = self.sets["group"].to_numpy()
        size = self.sets["size"].to_numpy()
        first = np.cumsum(size) - size - self.begin[group]
        base = (np.cumsum(np.square(self.size)) - np.square(self.size))[group]
        back = np.argsort(self.sets.index)  # of set 0, 1, ... its place in the order above
        arrays = [array[back] for array in (first, size, base, self.size[group])]
        errors = np.zeros(len(cells))
        chunks = iter([slice(k, k + 1024) for k in range(0, len(cells), 1024)])

        def work(_) -> None:
            for chunk in chunks:
                count(cells[chunk], *arrays, flat, same, errors[chunk])

        _side_by_side(work, threads, None)
        return errors


def _side_by_side(work: Callable[[Callable | None], None], threads: int, progress: Callable | None) -> None:
    """Let this thread and others work; only this one reports. One thread of linear algebra in each of them."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(max(threads - 1, 1)) as pool:
        others = [pool.submit(work, None) for _ in range(threads - 1)]
        work(progress)
        for other in others:
            other.result()


# -- distances of rows -------------------------------------------------------------------------------------------------


class _Local:
    """Distances of rows, a block at a time: of `rows` (R,) against `columns` (C,), numbers of rows of the units."""

    def __init__(self, values: np.ndarray, distance: str, rows: np.ndarray, columns: np.ndarray):
        self.table = self.finish = None
        distinct, number = _distinct(values, len(values) if distance in OF_CODES else min(_TABLE, len(values) // 2))
        if distance in OF_CODES:
            left = right = number
        else:
            left, right, self.finish = _factors(values if distinct is None else distinct, distance)
            if distinct is not None:
                table = self.finish(left @ right.T)
                self.table = np.tril(table, -1) + np.tril(table, -1).T  # exactly symmetric, 0 from itself
                left = right = number
        self.left, self.right = left[rows], right[columns]

    def room(self, rows: int, columns: int) -> np.ndarray:
        """What a thread writes its blocks into, each over the one before: new memory would cost as much as they do."""
        return np.empty(rows * columns, self.left.dtype if self.finish and self.table is None else np.float32)

    def block(self, row: int, row_end: int, column: int, column_end: int, room: np.ndarray) -> np.ndarray:
        """float32 (row_end - row, column_end - column)."""
        left, right = self.left[row:row_end], self.right[column:column_end]
        out = room[: len(left) * len(right)].reshape(len(left), len(right))
        if self.finish is None:
            return np.not_equal(left[:, None], right, out=out)
        if self.table is not None:
            return np.take(self.table[left], right, axis=1, out=out, mode="clip")  # "raise" would copy first
        return self.finish(np.matmul(left, right.T, out=out))


def _distinct(values: np.ndarray, most: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The different rows of (F, ...), and which of them each one is (F,). None, None if there are more than `most`."""
    values = values.reshape(len(values), -1)
    if values.dtype.kind not in "iu":
        if len(np.unique(_hash(values[:, :4]))) > most:  # soon said of numbers that are not quantised
            return None, None
        values = values + 0.0  # -0 becomes 0
    _, first, number = np.unique(_hash(values), return_index=True, return_inverse=True)
    distinct = values[first]
    if not np.array_equal(distinct[number], values):  # two rows of one hash: once in 2**60
        distinct, number = np.unique(values, axis=0, return_inverse=True)
    return (distinct, number) if len(distinct) <= most else (None, None)


def _hash(values: np.ndarray) -> np.ndarray:
    """A number (F,) for each row (F, D) of numbers, the same for the same bytes."""
    words = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").astype(np.uint64)
    odd = np.random.default_rng(0).integers(2**63, size=values.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return ((words ^ (words >> np.uint64(15))) * odd).sum(axis=1)


def _factors(values: np.ndarray, distance: str) -> tuple[np.ndarray, np.ndarray, Callable]:
    """left and right (F, E), and what makes distances of left @ right.T. In float64 where large numbers cancel."""
    if distance in ("angular", "cosine"):
        values = np.asarray(values, np.float32)
        norm = np.sqrt(np.einsum("fd,fd->f", values, values, dtype=np.float64))[:, None]
        unit = np.divide(values, norm, out=np.zeros_like(values), where=norm > 0, casting="same_kind")
        if (norm == 0).any():  # a further number: products of -2 or less with others, of 1 or more with zeros
            unit = np.hstack([unit, np.where(norm > 0, 1e-6, -4e6).astype(np.float32)])
        return unit, unit, _angular if distance == "angular" else _cosine
    values = np.asarray(values, np.float64)
    one = np.ones((len(values), 1))
    if distance == "euclidean":
        square = np.square(values).sum(axis=1, keepdims=True)
        return np.hstack([values, square, one]), np.hstack([-2 * values, one, square]), _root
    p = values / values.sum(axis=1, keepdims=True) + np.finfo(np.float64).eps
    p /= p.sum(axis=1, keepdims=True)
    log = np.log(p)
    own = (p * log).sum(axis=1, keepdims=True) / 2
    return np.hstack([p, log, own, one]), np.hstack([-log / 2, -p / 2, one, own]), _positive


def _angular(products: np.ndarray) -> np.ndarray:
    angles(products)
    return products


def _cosine(products: np.ndarray) -> np.ndarray:
    return np.subtract(1, np.clip(products, -1, 1, out=products), out=products)


def _root(products: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(products, 0, out=products), out=products).astype(np.float32)


def _positive(products: np.ndarray) -> np.ndarray:
    return np.maximum(products, 0, out=products).astype(np.float32)
