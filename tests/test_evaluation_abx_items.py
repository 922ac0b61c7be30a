"""The rows that belong to items."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from speechlib.corpora.items import COLUMNS
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.evaluation.abx_items import cut


def item(onset, offset, file="u"):
    return pd.DataFrame([[file, onset, offset, "a", "b", "c", "s"]], columns=COLUMNS)


def rows_of(onset, offset, n_rows, rate=None, **options):
    numbered = {"u": np.arange(n_rows, dtype=np.float64)[:, None]}
    return cut(item(onset, offset), numbered, rate, **options).rows[:, 0].astype(int).tolist()


@pytest.mark.parametrize("slicing", ["centres", "libri-light", "fraction"])
def test_an_item_that_ends_with_its_file_does_not_lie_beyond_it(slicing):
    """One that ends a row later does."""
    rows = {"u": np.zeros((25, 1))}
    assert cut(item(0.0, 1.0), rows, 25, slicing=slicing, beyond="error").counts["clipped"] == 0
    assert cut(item(0.0, 1.08), rows, 25, slicing=slicing).counts["clipped"] == 1
    with pytest.raises(SpeechlibError, match="there are 25 rows"):
        cut(item(0.0, 1.08), rows, 25, slicing=slicing, beyond="error")


def test_rows_by_hand():
    """50 rows a second: row i is centred at 0.01 + 0.02 i, so 0.05 .. 0.09 lie within [0.05, 0.1], ends included.

    libri-light leaves the last one out. As fractions of ten rows in 0.2 s row i lies at 0.02 i: 0.06, 0.08, 0.1.
    """
    assert rows_of(0.05, 0.1, 10, 50) == [2, 3, 4]
    assert rows_of(0.051, 0.089, 10, 50) == [3]
    assert rows_of(0.05, 0.1, 10, 50, slicing="libri-light") == [2, 3]
    assert rows_of(0.05, 0.1, 10, 50, slicing="fraction") == [3, 4, 5]
    assert rows_of(0.05, 0.1, 10, slicing="fraction", durations={"u": 0.4}) == [2]
    assert rows_of(0.05, 0.1, 10, 50, first=0.0) == [3, 4, 5]  # centred frames, as in our packs
    assert rows_of(0.0, 1.0, 7, slicing="fraction", durations={"u": 1.0}) == list(range(7))  # a file that is cut out


@pytest.mark.parametrize("rate", [25, 50, 80, 100])
def test_centres_are_compared_as_exact_numbers(rate):
    """Times of milliseconds and rates without remainder: centres and ends meet exactly, and count as inside."""
    for thousandths in range(3, 400, 7):
        onset, offset = Fraction(thousandths, 1000), Fraction(thousandths + 85, 1000)
        centres = [(Fraction(1, 2) + k) / rate for k in range(60)]
        expected = [k for k, centre in enumerate(centres) if onset <= centre <= offset]
        assert rows_of(float(onset), float(offset), 60, rate) == expected
        start, stop = math.ceil(rate * onset - Fraction(1, 2)), math.floor(rate * offset - Fraction(1, 2))
        if stop > start:
            assert rows_of(float(onset), float(offset), 60, rate, slicing="libri-light") == list(range(start, stop))
    assert rows_of(0.285, 0.3, 60, 100)[0] == 28  # 0.285 * 100 is 28.499999999999996
    assert rows_of(0.1, 0.285, 60, 100)[-1] == 28


def test_items_without_a_row_take_the_nearest_or_are_left_out_and_both_are_counted():
    items = pd.concat([item(0.041, 0.049), item(0.1, 0.2), item(0.0, 0.005)], ignore_index=True)
    numbered = {"u": np.arange(20)}
    nearest = cut(items, numbered, 50)
    assert nearest.lengths.tolist() == [1, 5, 1]
    assert nearest.rows.tolist() == [2, 5, 6, 7, 8, 9, 0]
    assert nearest.counts == {"items": 3, "clipped": 0, "nearest": 2, "skipped": 0}
    skipped = cut(items, numbered, 50, empty="skip")
    assert (skipped.rows.tolist(), skipped.items["onset"].tolist()) == ([5, 6, 7, 8, 9], [0.1])
    assert skipped.counts == {"items": 3, "clipped": 0, "nearest": 0, "skipped": 2}
    assert repr(skipped) == "Units: 3 items, 0 clipped, 0 nearest, 2 skipped; 5.0 rows each, int64 (5,)"
    with pytest.raises(SpeechlibError, match="all 1 items are shorter than a row, 50 per second"):
        cut(items.iloc[:1], numbered, 50, empty="skip")


def test_items_that_end_behind_the_last_row_are_clipped_or_refused():
    numbered = {"u": np.arange(10)}
    clipped = cut(item(0.1, 0.25), numbered, 50)
    assert (clipped.rows.tolist(), clipped.counts["clipped"]) == ([5, 6, 7, 8, 9], 1)
    with pytest.raises(SpeechlibError, match="0.1 to 0.25 s of u ends with row 12, and there are 10 rows"):
        cut(item(0.1, 0.25), numbered, 50, beyond="error")
    assert cut(item(0.199, 0.25), numbered, 50).rows.tolist() == [9]  # begins within a row of the last one
    with pytest.raises(SpeechlibError, match=r"10 rows \(0.2 s at 50 per second\): is the rate another one"):
        cut(item(0.4, 0.5), numbered, 50)
    both = pd.concat([item(0.1, 0.2), item(0.4, 0.5)])
    assert cut(both, numbered, 50, empty="skip").counts == {"items": 2, "clipped": 0, "nearest": 0, "skipped": 1}


def test_rows_of_several_files_keep_the_order_of_the_items():
    items = pd.concat([item(0.0, 0.02, "v"), item(0.02, 0.04, "u"), item(0.02, 0.04, "v")], ignore_index=True)
    units = cut(items, {"u": np.arange(5), "v": np.arange(10, 15)}, 50)
    assert units.rows.tolist() == [10, 1, 11]
    assert units.items["file"].tolist() == ["v", "u", "v"]


def test_representations_that_do_not_belong_are_refused():
    one = item(0.0, 0.1)
    wide, narrow = np.zeros((9, 3), np.float32), np.zeros((9, 2), np.float32)
    both = pd.concat([one, item(0.0, 0.1, "v")])
    with pytest.raises(SpeechlibError, match="1 files of the items have no representation, the first is v"):
        cut(both, {"u": wide}, 50)
    with pytest.raises(SpeechlibError, match=r"v has rows of float32 \(2,\), files before it of \(3,\)"):
        cut(both, {"u": wide, "v": narrow}, 50)
    with pytest.raises(SpeechlibError, match="NaN or infinite numbers, in row 4 first"):
        cut(one, {"u": np.where(np.arange(9)[:, None] == 4, np.nan, wide)}, 50)
    with pytest.raises(SpeechlibError, match=r"float64 \(9,\), wanted vectors"):
        cut(one, {"u": np.zeros(9)}, 50)
    with pytest.raises(SpeechlibError, match="T > 0"):
        cut(one, {"u": wide[:0]}, 50)
    with pytest.raises(SpeechlibError, match="rows per second, got None"):
        cut(one, {"u": wide})
    with pytest.raises(SpeechlibError, match="have no duration"):
        cut(one, {"u": wide}, slicing="fraction", durations={})
    with pytest.raises(SpeechlibError, match="has its own rule"):
        cut(one, {"u": wide}, 50, slicing="libri-light", first=0.0)
    with pytest.raises(SpeechlibError, match="no items to cut"):
        cut(one.iloc[:0], {"u": wide}, 50)
    for name, value in (("slicing", "center"), ("empty", "drop"), ("beyond", "cut")):
        with pytest.raises(UnknownName, match=value):
            cut(one, {"u": wide}, 50, **{name: value})
