"""The bit rate of the ZeroSpeech challenges: worked by hand, against a slow scorer, and where it saturates (WA-14)."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from speechlib import features
from speechlib.errors import SpeechlibError
from speechlib.evaluation.bitrate import bitrate, cap

A, B, C = [1.0, 2.0], [1.0, 2.5], [3.0, 2.0]

# (seconds, files) of the official bit-rate lists, and their rows at 25, 50 and 100 per second, counted on those lists
# once: with ceil(rate * seconds) in floating point, as the published caps have them (rounding errors add a row to nine
# files of the surprise language: exactly they are 43,813, and 386.79), and of centred frames, as this house makes them.
LISTS = {
    "english": (1708.692065, 252, {25: (42832, 42845), 50: (85551, 85571), 100: (170981, 171014)}),
    "surprise": (1746.59, 405, {25: (43822, 43921), 50: (87444, 87634), 100: (174683, 175064)}),
}


def slowly(rows, seconds) -> float:
    """(N / D) H by the definition, symbols compared number by number."""
    listed = [name for name in seconds if name in rows]
    counts = Counter(tuple(map(float, row)) for name in listed for row in rows[name])
    n, length = sum(counts.values()), sum(seconds[name] for name in listed)
    return n / length * -sum(c / n * math.log2(c / n) for c in counts.values())


def test_worked_by_hand():
    """Four rows in two seconds: A twice, B and C once: H = 1/2 * 1 + 2 * 1/4 * 2 = 1.5 bits, 2 rows per second."""
    found = bitrate({"x": np.array([A, B, A]), "y": np.array([C])}, {"x": 1.5, "y": 0.5})
    assert found[:6] == (3.0, 4.0, 4, 3, 2.0, 1.5)
    assert found.saturation == 0.75
    assert str(found) == "3.00 bits/s of at most 4.00 (75.0 %): 3 distinct of 4 rows in 2.0 s"


def test_files_without_rows_are_left_out_with_their_seconds():
    found = bitrate({"x": np.array([A, B]), "extra": np.array([C])}, {"x": 2.0, "gone": 100.0})
    assert (found.bits_per_second, found.seconds, found.rows, found.missing) == (1.0, 2.0, 2, ("gone",))
    assert str(found).endswith("; 1 files missing")


def test_one_symbol_costs_nothing_and_unlike_ones_cost_the_cap():
    assert bitrate({"x": np.zeros((8, 3))}, {"x": 1.0})[:2] == (0.0, 24.0)
    unlike = bitrate({"x": np.random.default_rng(0).normal(size=(1000, 4))}, {"x": 10.0})
    assert unlike.bits_per_second == pytest.approx(unlike.cap) == pytest.approx(100 * math.log2(1000))
    assert bitrate({"x": np.zeros((1, 3))}, {"x": 1.0}).saturation == 1.0


def test_rows_are_equal_to_the_last_bit_and_zero_has_no_sign():
    near = np.array([[1.0], [np.nextafter(1.0, 2)]])
    assert bitrate({"x": near}, {"x": 1.0}).distinct == 2
    assert bitrate({"x": np.array([[0.0], [-0.0]])}, {"x": 1.0}).distinct == 1


def test_codes_are_counted_like_vectors():
    codes = np.random.default_rng(0).integers(0, 7, 200)
    table = np.random.default_rng(1).normal(size=(7, 5))
    assert bitrate({"x": codes}, {"x": 4.0}) == bitrate({"x": table[codes]}, {"x": 4.0})


@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        arrays.arrays(
            np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.sampled_from([-0.0, 0.0, 0.5, 2])
        ),
        min_size=1,
    )
)
@settings(max_examples=60)
def test_equals_the_definition_and_stays_below_the_cap(rows):
    seconds = {name: 0.5 + k for k, name in enumerate(sorted(rows))} | {"nobody": 3.0}
    found = bitrate(rows, seconds)
    assert found.bits_per_second == pytest.approx(slowly(rows, seconds))
    assert found.bits_per_second <= found.cap + 1e-9
    assert found.missing == ("nobody",)


@pytest.mark.parametrize(
    ("language", "rate", "told"),
    [
        ("english", 25, (385.69, 385.82)),
        ("english", 50, (820.34, 820.55)),
        ("english", 100, (1739.48, 1739.85)),
        ("surprise", 25, (386.87, 387.83)),
        ("surprise", 50, (821.88, 823.82)),
        ("surprise", 100, (1741.68, 1745.79)),
    ],
)
def test_saturation_over_the_official_lists(language, rate, told):
    """Every row unlike all others gives the published caps, to the two decimals they were published with.

    The durations themselves are the challenge's; their sum and the number of rows determine the cap.
    """
    seconds, files, rows = LISTS[language]
    for n, value in zip(rows[rate], told):
        assert cap(n, seconds) == pytest.approx(value, abs=0.006)
        assert 0 <= n - rate * seconds <= 1.02 * files  # each file rounds up by less than a row (or its extra frame)
    if rate == 25:
        unlike = {"all": np.arange(rows[rate][0])}
        assert bitrate(unlike, {"all": seconds}).bits_per_second == pytest.approx(told[0], abs=0.006)


def test_rows_of_centred_frames():
    """As counted for LISTS: a file of 0.088 s has 9 frames, so 3 rows at 25 per second, 5 at 50, 9 at 100."""
    frames = features.n_frames(1408, features.MFCC39)
    assert frames == 9
    assert [math.ceil(frames * rate / 100) for rate in (25, 50, 100)] == [3, 5, 9]


@pytest.mark.parametrize(
    ("rows", "seconds", "told"),
    [
        ({"x": np.zeros((2, 2))}, {"y": 1.0}, "none of the 1 files of the bit-rate list is among the 1 given"),
        (
            {"x": np.zeros((2, 2)), "y": np.zeros((2, 3))},
            {"x": 1, "y": 1},
            "rows of y have 3 numbers, those of x have 2",
        ),
        ({"x": np.array([[np.nan, 1]])}, {"x": 1.0}, "rows of x hold 1 NaN"),
        ({"x": np.zeros((0, 2))}, {"x": 1.0}, r"rows of x are \(0, 2\)"),
        ({"x": np.zeros((2, 2))}, {"x": 0.0}, "last 0.0 s together"),
    ],
)
def test_what_cannot_be_counted_is_said(rows, seconds, told):
    with pytest.raises(SpeechlibError, match=told):
        bitrate(rows, seconds)
