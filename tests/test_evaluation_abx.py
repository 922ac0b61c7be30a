"""ABX against a slow and obvious version of itself, closed forms, and fastabx where that is installed."""

import itertools
import math
import statistics

import numpy as np
import pandas as pd
import pytest

from speechlib.errors import SpeechlibError, UnknownName
from speechlib.evaluation import abx
from speechlib.evaluation.abx import score
from speechlib.evaluation.abx_averages import by_speaker, interval, overall, phone_pairs
from speechlib.evaluation.abx_items import Units
from speechlib.evaluation.abx_kernels import angles

VECTORS, CODES = abx.OF_VECTORS, abx.OF_CODES
phi = statistics.NormalDist().cdf


def make(n=60, phones=3, speakers=3, contexts=2, size=3, seed=0, longest=5, codes=False) -> Units:
    """Random tokens of random kinds; probabilities (or codes), so that every distance can be asked for."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, n)
    items = pd.DataFrame(
        {
            "file": [f"u{k}" for k in range(n)],
            "onset": 0.0,
            "offset": lengths / 100,
            "phone": [f"p{k}" for k in rng.integers(phones, size=n)],
            "previous": [f"c{k}" for k in rng.integers(contexts, size=n)],
            "next": "n",
            "speaker": [f"s{k}" for k in rng.integers(speakers, size=n)],
        }
    )
    rows = rng.integers(3, size=lengths.sum()) if codes else rng.dirichlet(np.ones(size), lengths.sum())
    return Units(items, rows if codes else rows.astype(np.float32), lengths, {"items": n})


def single(values, phones, speakers=None) -> Units:
    """Tokens of one row each."""
    n = len(phones)
    items = pd.DataFrame({"phone": phones, "speaker": "s" if speakers is None else speakers, "previous": "c"})
    return Units(items.assign(next="c"), np.asarray(values), np.ones(n, np.int64), {"items": n})


# -- the slow version --------------------------------------------------------------------------------------------------


def between_rows(x, y, distance):
    if distance in CODES:
        return float(x != y)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if distance == "euclidean":
        return math.dist(x, y)
    if distance == "kl":
        p, q = (v / v.sum() + np.finfo(np.float64).eps for v in (x, y))
        p, q = p / p.sum(), q / q.sum()
        return 0.5 * sum(p * np.log(p / q)) + 0.5 * sum(q * np.log(q / p))
    cosine = x @ y / math.sqrt(x @ x) / math.sqrt(y @ y)
    return math.acos(min(max(cosine, -1), 1)) / math.pi if distance == "angular" else 1 - cosine


def between_tokens(x, y, distance, normalise=True):
    if distance == "levenshtein":
        fewest = {(i, j): i + j for i in range(len(x) + 1) for j in range(len(y) + 1) if i == 0 or j == 0}
        for i, j in itertools.product(range(1, len(x) + 1), range(1, len(y) + 1)):
            change = fewest[i - 1, j - 1] + (x[i - 1] != y[j - 1])
            fewest[i, j] = min(change, fewest[i - 1, j] + 1, fewest[i, j - 1] + 1)
        return fewest[len(x), len(y)] / (max(len(x), len(y)) if normalise else 1)
    cost, steps = {}, {}
    for i, j in itertools.product(range(len(x)), range(len(y))):
        before = [(cost[at], steps[at]) for at in ((i - 1, j), (i, j - 1)) if at in cost]
        if (i - 1, j - 1) in cost and cost[i - 1, j - 1] <= min(c for c, _ in before):
            before = [(cost[i - 1, j - 1], steps[i - 1, j - 1])]
        cheapest = min(before, default=(0.0, 0))
        cost[i, j] = cheapest[0] + between_rows(x[i], y[j], distance)
        steps[i, j] = cheapest[1] + 1
    end = len(x) - 1, len(y) - 1
    return cost[end] / (steps[end] if normalise else 1)


def slow(units, speaker, context, distance, normalise=True) -> dict[tuple, tuple[float, int]]:
    """{(phone, other, previous, speaker, speaker of x): (error, triples)}, triple by triple."""
    ends = np.cumsum(units.lengths)
    tokens = [units.rows[end - n : end] for end, n in zip(ends, units.lengths)]
    of = units.items.to_dict("records")
    known, wrong = {}, {}

    def d(i, j):
        if (i, j) not in known:
            known[i, j] = known[j, i] = between_tokens(tokens[i], tokens[j], distance, normalise)
        return known[i, j]

    for a, b, x in itertools.product(range(len(tokens)), repeat=3):
        phones, speakers = ([of[k][name] for k in (a, b, x)] for name in ("phone", "speaker"))
        contexts = {(of[k]["previous"], of[k]["next"]) for k in (a, b, x)}
        if a == x or phones[0] != phones[2] or phones[0] == phones[1] or speakers[0] != speakers[1]:
            continue
        if (speakers[2] == speakers[0]) != (speaker == "within") or (context == "within" and len(contexts) > 1):
            continue
        cell = (phones[0], phones[1], of[a]["previous"] if context == "within" else "", speakers[0], speakers[2])
        close = abs(d(a, x) - d(b, x)) < 1e-9
        wrong.setdefault(cell, []).append(0.5 if close else float(d(b, x) < d(a, x)))
    return {cell: (100 * statistics.fmean(found), len(found)) for cell, found in wrong.items()}


def as_dict(cells: pd.DataFrame) -> dict[tuple, tuple[float, int]]:
    previous = cells["previous"] if "previous" in cells else [""] * len(cells)
    keys = zip(cells["phone"], cells["other"], previous, cells["speaker"], cells["speaker_x"])
    return dict(zip(keys, zip(cells["error"], cells["triples"])))


def errors_of(cells: pd.DataFrame | dict) -> dict[tuple, float]:
    cells = as_dict(cells) if isinstance(cells, pd.DataFrame) else cells
    return {cell: error for cell, (error, _) in cells.items()}


@pytest.mark.parametrize("context", ["within", "any"])
@pytest.mark.parametrize("speaker", ["across", "within"])
@pytest.mark.parametrize("distance", VECTORS + CODES)
def test_every_cell_is_that_of_the_slow_version(distance, speaker, context):
    units = make(codes=distance in CODES, n=36)
    found, expected = as_dict(score(units, speaker, context, distance)), slow(units, speaker, context, distance)
    assert found.keys() == expected.keys()
    for cell, (error, triples) in expected.items():
        assert found[cell] == pytest.approx((error, triples)), cell


@pytest.mark.parametrize("distance", ["angular", *CODES])
def test_without_the_division_by_steps(distance):
    units = make(codes=distance in CODES, n=40, seed=1)
    found = score(units, "across", "any", distance, normalise=False)
    assert errors_of(found) == pytest.approx(errors_of(slow(units, "across", "any", distance, normalise=False)))
    assert overall(found) != pytest.approx(overall(score(units, "across", "any", distance)))


def aligned(units: Units, distance: str) -> tuple[np.ndarray, np.ndarray]:
    """Distances (N, N) of all tokens with each other, and the number (N,) of the token in each row."""
    tokens = abx._tokens(units.items, "any", None, None)
    sets, _ = abx._cells(tokens, "across", None, None)
    (found,) = abx._Groups(units, tokens, sets, by_speaker=False).align(distance, True, 2, None)
    return found, units.items.sort_values(["speaker", "phone"], kind="stable").index.to_numpy()


@pytest.mark.parametrize("distance", ["euclidean", "levenshtein"])
def test_every_pair_lies_in_its_place_whatever_its_batch_and_block(distance):
    """More tokens than lanes, more columns than a block has, lengths of all kinds."""
    units = make(n=150, phones=2, speakers=2, size=4, longest=40, codes=distance in CODES)
    found, tokens = aligned(units, distance)
    assert np.array_equal(found, found.T)
    ends = np.cumsum(units.lengths)
    rows = [units.rows[ends[k] - units.lengths[k] : ends[k]] for k in tokens]
    rng = np.random.default_rng(0)
    for i, j in [(0, 149), (15, 16), (16, 17), *rng.integers(150, size=(40, 2))]:
        expected = between_tokens(rows[i], rows[j], distance) if i != j else 0
        assert found[i, j] == pytest.approx(expected, abs=1e-6), (i, j)


def test_a_distance_is_the_same_both_ways_where_paths_tie():
    """Of two sides that are equally cheap the tools take the one that the order of arguments makes first."""
    found, tokens = aligned(make(n=120, phones=2, speakers=2, longest=7, codes=True), "identical")
    assert np.array_equal(found, found.T)


# -- closed forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [0.0, 0.7, 2.0])
def test_two_normal_classes_err_as_often_as_they_must(apart):
    """x, a ~ N(0, 1) and b ~ N(d, 1), one number each. b is nearer where (b - x)^2 < (a - x)^2, that is where
    u v < 0 with u = b - a ~ N(d, 2) and v = a + b - 2 x ~ N(d, 6). Their covariance is var b - var a = 0, so they are
    independent, and the error is P(u > 0) P(v < 0) + P(u < 0) P(v > 0) with P(u < 0) = Phi(-d / sqrt 2) and P(v < 0) =
    Phi(-d / sqrt 6)."""
    rng, n = np.random.default_rng(0), 400
    values = np.concatenate([rng.normal(0, 1, 2 * n), rng.normal(apart, 1, n)])
    units = single(values[:, None], ["p"] * 2 * n + ["q"] * n)
    found = score(units, "within", "any", "euclidean").set_index("phone")["error"]
    u, v = phi(-apart / math.sqrt(2)), phi(-apart / math.sqrt(6))
    assert found["p"] == pytest.approx(100 * ((1 - u) * v + u * (1 - v)), abs=4)  # three times its deviation here


def test_classes_apart_never_err_and_equal_ones_always_tie():
    phones = ["p", "q"] * 20
    apart = np.array([[1.0, 0.0], [0.0, 1.0]] * 20) + np.random.default_rng(0).normal(0, 0.01, (40, 2))
    for distance in ("angular", "cosine", "euclidean"):
        assert score(single(apart, phones), "within", distance=distance)["error"].max() == 0
        assert (score(single(np.ones((40, 3)), phones), "within", distance=distance)["error"] == 50).all()
    assert (score(single(np.zeros(40, int), phones), "within", distance="identical")["error"] == 50).all()


@pytest.mark.parametrize("distance", VECTORS)
def test_what_is_repeated_exactly_ties_exactly(distance):
    """Quantised vectors, and every token of q is a copy of one of p. Whether a or b is the nearer of two equal ones
    must not be a matter of rounding: exactly half of all triples are wrong."""
    units = make(n=80, phones=1, speakers=2, contexts=1, codes=True, longest=9)
    book = np.random.default_rng(0).dirichlet(np.ones(64), 3).astype(np.float32)
    twice = pd.concat([units.items, units.items.assign(phone="q")], ignore_index=True)
    rows, lengths = book[np.tile(units.rows, 2)], np.tile(units.lengths, 2)
    shuffled = np.random.default_rng(1).permutation(160)  # copies do not lie beside each other in any block
    ends = np.cumsum(lengths)
    rows = np.concatenate([rows[ends[k] - lengths[k] : ends[k]] for k in shuffled])
    found = score(Units(twice.iloc[shuffled].reset_index(drop=True), rows, lengths[shuffled], {}), distance=distance)
    assert found["triples"].sum() > 10_000
    assert (found["error"] == 50).all()


def test_the_table_of_distinct_rows_changes_nothing_but_ties(monkeypatch):
    units = make(n=120, contexts=1, codes=True)
    vectors = units._replace(rows=np.array([[0, 0], [3, 4], [6, 8]], np.float32)[units.rows])  # exact in any order
    tabled = score(vectors, distance="euclidean")
    monkeypatch.setattr(abx, "_TABLE", 0)
    pd.testing.assert_frame_equal(score(vectors, distance="euclidean"), tabled)


def test_rows_of_zeros_are_far_from_all_others():
    """b is zero: never the nearer one. x is zero, as a is: always. As ABXpy and libri-light have it."""
    rows = [[1, 0], [0.1, 1], [0, 0], [0, 0]]
    found = score(single(np.array(rows, np.float32), ["p", "p", "q", "q"]), "within").set_index("phone")["error"]
    assert found.to_dict() == {"p": 0, "q": 0}
    assert np.isfinite(found).all()


# -- properties --------------------------------------------------------------------------------------------------------


def test_what_must_not_matter_does_not():
    units = make(n=90, size=4)
    cells = score(units)
    scale = np.random.default_rng(1).uniform(0.5, 2, (len(units.rows), 1)).astype(np.float32)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))[0]
    order = np.random.default_rng(3).permutation(90)
    ends = np.cumsum(units.lengths)
    tokens = [units.rows[end - n : end] for end, n in zip(ends, units.lengths)]
    moved = units._replace(
        items=units.items.iloc[order].reset_index(drop=True),
        rows=np.concatenate([tokens[k] for k in order]),
        lengths=units.lengths[order],
    )
    same = {
        "the length of vectors": score(units._replace(rows=units.rows * scale)),
        "the axes": score(units._replace(rows=(units.rows @ turn).astype(np.float32))),
        "the order of items": score(moved),
        "the number of threads": score(units, threads=3),
    }
    for what, others in same.items():
        assert errors_of(others) == pytest.approx(errors_of(cells)), what
    pd.testing.assert_frame_equal(score(units, threads=3), cells)  # to the bit
    assert overall(score(units, distance="euclidean")) != overall(cells)


def test_cosine_and_angle_order_single_rows_alike_and_tokens_otherwise():
    one_row = make(n=90, longest=1)
    pd.testing.assert_frame_equal(score(one_row, distance="cosine"), score(one_row, distance="angular"))


def test_sampling_is_seeded_and_large_limits_sample_nothing():
    units = make(n=200, phones=2, speakers=5, contexts=1)
    whole = score(units)
    pd.testing.assert_frame_equal(score(units, max_size_group=200, max_x_across=5), whole)
    few = score(units, max_size_group=4, seed=1)
    assert few["triples"].max() == 64
    pd.testing.assert_frame_equal(score(units, max_size_group=4, seed=1), few)
    assert not score(units, max_size_group=4, seed=2)["error"].equals(few["error"])
    x_of = score(units, max_x_across=2).groupby(["phone", "other", "speaker"], observed=True)["speaker_x"].nunique()
    assert set(x_of) == {2}
    kept = as_dict(score(units, max_x_across=2))
    assert kept.items() <= as_dict(whole).items()  # cells are left out, and what is left is not changed


def test_progress_counts_to_the_end():
    told = []
    score(make(n=90), progress=lambda *step: told.append(step))
    assert told[-1] == (len(told), len(told), "aligning")


def test_angles_are_those_of_numpy():
    cosines = np.concatenate([np.linspace(-1, 1, 4001), [1.0000001, -1.0000001]]).astype(np.float32)[None]
    found = cosines.copy()
    angles(found)
    np.testing.assert_allclose(found, np.arccos(np.clip(cosines, -1, 1)) / np.pi, atol=2e-7)


# -- averages ----------------------------------------------------------------------------------------------------------


def test_the_two_orders_by_hand():
    """p against q: speaker s (x: t) errs 0 and 100 in two contexts, s (x: u) 0 in one, t (x: s) 10 in one.

    zerospeech: (s, t) 50, (s, u) 0, (t, s) 10: their mean is 20. libri-light: s (0 + 100 + 0) / 3, t 10: 21.67. And q
    against p is another pair, with 40.
    """
    rows = ["p q c1 s t 0", "p q c2 s t 100", "p q c1 s u 0", "p q c1 t s 10", "q p c1 s t 40"]
    names = ("phone", "other", "previous", "speaker", "speaker_x", "error")
    cells = pd.DataFrame([row.split() for row in rows], columns=names).astype({"error": float})
    cells = cells.assign(next="c", triples=1)
    assert overall(cells) == pytest.approx((20 + 40) / 2)
    assert overall(cells, "libri-light") == pytest.approx((21 + 2 / 3 + 40) / 2)
    assert phone_pairs(cells).loc["p", "q"] == pytest.approx(20)
    assert phone_pairs(cells).loc["q", "p"] == pytest.approx(40)
    assert phone_pairs(cells, symmetric=True).to_numpy()[[0, 1], [1, 0]] == pytest.approx([30, 30])
    assert np.isnan(phone_pairs(cells).loc["p", "p"])
    table = by_speaker(cells)
    assert table.loc["s", "compared"] == pytest.approx((25 + 40) / 2)
    assert table.loc["s", "asked"] == 10
    assert np.isnan(table.loc["u", "compared"])
    assert table.loc["u", "asked"] == 0


@pytest.mark.parametrize("speaker", ["across", "within"])
def test_averages_are_those_of_plain_groups(speaker):
    cells = score(make(n=120), speaker)
    mean = cells.groupby(["speaker", "speaker_x", "phone", "other"], observed=True)["error"].mean().reset_index()
    mean = mean.groupby(["phone", "other"], observed=True)["error"].mean()
    assert overall(cells) == pytest.approx(mean.mean())
    mean = cells.groupby(["speaker", "phone", "other"], observed=True)["error"].mean().reset_index()
    mean = mean.groupby(["phone", "other"], observed=True)["error"].mean()
    assert overall(cells, "libri-light") == pytest.approx(mean.mean())
    if speaker == "within":
        assert overall(cells) == pytest.approx(overall(cells, "libri-light"))


@pytest.mark.parametrize("order", ["zerospeech", "libri-light"])
@pytest.mark.parametrize("speaker", ["across", "within"])
@pytest.mark.parametrize("unit", ["speaker", "context"])
def test_a_draw_weighs_as_plain_loops_say(unit, speaker, order):
    """Level by level: a weighted mean, whose own weight at the next level is the mean of those in it."""
    from speechlib.evaluation.abx_averages import _pairs

    cells = score(make(n=200, speakers=3, contexts=3), speaker)
    times = {"s0": 2.0, "s1": 1.0, "s2": 0.5} if unit == "speaker" else {"c0": 2.0, "c1": 1.0, "c2": 0.5}
    names = sorted(times) if unit == "speaker" else list(dict.fromkeys(cells["previous"]))  # as they are numbered
    drawn = np.array([[times[name]] for name in names])
    _, errors, weights = _pairs(cells, order, times={unit: drawn})

    def level(rows, keys, weigh):
        groups = {}
        for row in rows:
            groups.setdefault(tuple(row[key] for key in keys), []).append(row | {"weight": row["weight"] * weigh(row)})
        return [
            dict(zip(keys, key))
            | {"error": np.average([row["error"] for row in group], weights=[row["weight"] for row in group])}
            | {"weight": np.mean([row["weight"] for row in group])}
            for key, group in groups.items()
        ]

    of = lambda name: lambda row: times[row[name]] if unit == "speaker" else 1.0  # noqa: E731
    context = lambda row: times[row["previous"]] if unit == "context" else 1.0  # noqa: E731
    across = speaker == "across"
    rows = [row | {"weight": 1.0} for row in cells.to_dict("records")]
    if order == "zerospeech":
        rows = level(rows, ["phone", "other", "speaker", "speaker_x"], context)
        both = lambda row: of("speaker")(row) * (of("speaker_x")(row) if across else 1.0)  # noqa: E731
        rows = level(rows, ["phone", "other"], both)
    else:
        first = lambda row: context(row) * (of("speaker_x")(row) if across else 1.0)  # noqa: E731
        rows = level(level(rows, ["phone", "other", "speaker"], first), ["phone", "other"], of("speaker"))
    expected = np.average([row["error"] for row in rows], weights=[row["weight"] for row in rows])
    assert (errors * weights).sum() / weights.sum() == pytest.approx(expected)


def test_an_interval_holds_its_number_and_narrows_with_more_speakers():
    few, many = (make(n=600, speakers=n, contexts=1, size=2) for n in (4, 16))
    wide, narrow = (interval(score(units, context="any"), n=200) for units in (few, many))
    assert narrow.low < overall(score(many, context="any")) < narrow.high
    assert (wide.drawn, narrow.drawn) == (4, 16)
    assert interval(score(few, context="any"), n=200) == wide  # seeded


def test_a_difference_is_drawn_in_pairs():
    """The same cells, 1 point worse: without pairs the interval would be as wide as that of either."""
    cells = score(make(n=300, speakers=6))
    worse = cells.assign(error=cells["error"] + 1)
    found = interval(worse, against=cells, n=100)
    assert (found.low, found.high) == pytest.approx((1, 1))
    with pytest.raises(SpeechlibError, match="not of the same tokens"):
        interval(cells, against=cells.iloc[1:])
    with pytest.raises(SpeechlibError, match="not of the same tokens"):
        interval(cells, against=score(make(n=300, speakers=6), "within"))


def test_what_cannot_be_drawn_is_refused():
    within = score(make(n=60, speakers=1), "within")
    with pytest.raises(SpeechlibError, match="draws speakers, and 1 cannot tell how others would differ: 2 may"):
        interval(within)
    with pytest.raises(SpeechlibError, match="draws speakers, and 2 cannot tell how others would differ: 3 may"):
        interval(score(make(n=60, speakers=2)))
    with pytest.raises(SpeechlibError, match="no contexts"):
        interval(score(make(n=60), context="any"), unit="context")
    with pytest.raises(UnknownName, match="speaker"):
        interval(within, unit="speakers")
    with pytest.raises(UnknownName, match="zerospeech"):
        overall(within, "zerospeach")


# -- what cannot be scored ---------------------------------------------------------------------------------------------


def test_what_has_no_such_distance_is_refused_with_what_to_take():
    units, codes = make(n=40), make(n=40, codes=True)
    with pytest.raises(SpeechlibError, match="the smallest of these numbers is -0.5: take 'angular'"):
        score(units._replace(rows=units.rows - 0.5 - units.rows.min()), distance="kl")
    with pytest.raises(SpeechlibError, match="zeros only"):
        score(units._replace(rows=units.rows * 0), distance="kl")
    with pytest.raises(SpeechlibError, match="one of codes, the units have vectors: take angular or"):
        score(units, distance="identical")
    with pytest.raises(SpeechlibError, match="one of vectors, the units have codes: take identical or levenshtein"):
        score(codes, distance="angular")
    with pytest.raises(UnknownName, match="Did you mean 'angular'"):
        score(units, distance="angle")
    with pytest.raises(UnknownName, match="across"):
        score(units, speaker="acros")
    with pytest.raises(SpeechlibError, match="threads 0"):
        score(units, threads=0)


def test_tasks_without_triples_are_refused_with_the_numbers():
    with pytest.raises(SpeechlibError, match=r"40 items \(3 phones, 1 speakers, 2 contexts\).*by another speaker"):
        score(make(n=40, speakers=1))
    with pytest.raises(SpeechlibError, match="one of them twice"):
        score(single(np.eye(2), ["p", "q"]), "within")


def test_more_than_memory_is_made_for_is_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(abx, "_LARGEST", 1000.0)
    with pytest.raises(SpeechlibError, match="set max_size_group"):
        score(make(n=90), context="any")


def test_tuples_of_codes_are_one_code():
    """Slices: two rows are the same where all their codes are."""
    units = make(n=90, codes=True)
    pairs = units._replace(rows=np.stack([units.rows // 2, units.rows % 2], axis=1))
    for distance in CODES:
        pd.testing.assert_frame_equal(score(pairs, distance=distance), score(units, distance=distance))


# -- another tool ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", ["angular", "euclidean", "kl", "identical"])
@pytest.mark.parametrize("context", ["within", "any"])
@pytest.mark.parametrize("speaker", ["across", "within"])
def test_fastabx_says_the_same(speaker, context, distance):
    """Its frames are float32 all the way, and of two equally cheap sides its path takes another: see `warp`."""
    fastabx = pytest.importorskip("fastabx", reason="fastabx needs Python 3.12 and is no dependency of ours")
    import torch
    from fastabx.accessor import InMemoryAccessor

    units = make(n=400, phones=5, speakers=4, contexts=4, size=8, longest=12, codes=distance == "identical")
    ends = np.cumsum(units.lengths)
    rows = torch.from_numpy(np.asarray(units.rows, np.float32).reshape(len(units.rows), -1))
    places = {k: (int(end - n), int(end)) for k, (end, n) in enumerate(zip(ends, units.lengths))}
    labels = units.items[["phone", "previous", "speaker"]].to_dict("list")
    dataset = fastabx.Dataset(
        __import__("polars").DataFrame(labels), InMemoryAccessor(places, rows, torch.device("cpu"))
    )
    by = (["previous"] if context == "within" else []) + (["speaker"] if speaker == "within" else [])
    task = fastabx.Task(dataset, on="phone", by=by or None, across=["speaker"] if speaker == "across" else None)
    theirs = fastabx.Score(task, {"kl": "kl_symmetric"}.get(distance, distance))
    levels = (["previous"] if context == "within" else []) + ["speaker"]
    ours = overall(score(units, speaker, context, distance), "libri-light")
    close = 0.02 if distance != "identical" else 0.5
    assert ours == pytest.approx(100 * theirs.collapse(levels=levels), abs=close)
