"""The token table: which phone is spoken when a code stands, and how that survives disorder and bad input."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechlib.corpora.labels import Interval
from speechlib.errors import SpeechlibError
from speechlib.evaluation import summarise
from speechlib.evaluation.clustering import agreement
from speechlib.evaluation.tokens import labelled, lookup, phones_at, step_seconds, token_table

LABELS = {
    0: [Interval("sil", 0.0, 0.03), Interval("AH0", 0.03, 0.065), Interval("T", 0.065, 0.10)],
    1: [Interval("AH1", 0.0, 0.05), Interval("", 0.05, 0.06)],
    2: [],
}


def small_pack():
    return SimpleNamespace(
        utterances=["a b", "ä", "c"],
        speaker=np.array([1, 0, 1]),
        speakers=["p1", "p2"],
        genders=["F", None],
        n_samples=np.array([1600, 960, 800]),
        config=SimpleNamespace(sample_rate=16000),
        phones=LABELS.get,
    )


def small_table():
    codes = {0: np.array([0, 0, 1, 1, 2]), 1: np.array([1, 1, 3]), 2: np.array([3, 3])}
    return token_table(small_pack(), codes, {i: 0.01 + 0.02 * np.arange(len(c)) for i, c in codes.items()})


def test_rows_say_who_when_and_which_phone():
    tokens = small_table()
    assert list(tokens.columns) == ["utterance", "speaker", "gender", "step", "time", "code", "phone"]
    assert list(tokens["utterance"]) == ["a b"] * 5 + ["ä"] * 3 + ["c"] * 2
    assert list(tokens["speaker"]) == ["p2"] * 5 + ["p1"] * 3 + ["p2"] * 2
    assert (
        list(tokens["gender"].astype(object).where(tokens["gender"].notna(), None))
        == [None] * 5 + ["F"] * 3 + [None] * 2
    )
    assert list(tokens["step"]) == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1]
    phones = tokens["phone"].astype(object).where(tokens["phone"].notna(), None)
    # stress is gone, AH0 and AH1 are one phone; "" is no phone; no labels, no phones
    assert list(phones) == ["sil", "AH", "AH", "T", "T", "AH", "AH", None, None, None]
    assert step_seconds(tokens) == pytest.approx(0.02)
    assert len(labelled(tokens)) == 7


def test_an_interval_holds_its_start_and_not_its_end():
    assert list(phones_at(LABELS[0], [-0.01, 0.0, 0.03, 0.0649, 0.1])) == [None, "sil", "AH", "AH", None]


@given(
    st.lists(st.floats(0.001, 0.5), max_size=12),
    st.lists(st.floats(0, 0.3), min_size=12, max_size=12),
    st.lists(st.floats(-1, 8), max_size=20),
)
def test_lookup_is_what_a_search_through_all_intervals_finds(lengths, gaps, times):
    starts, ends, end = [], [], 0.0
    for length, gap in zip(lengths, gaps):
        starts.append(end + gap)
        ends.append(end := end + gap + length)
    times = times + starts + ends
    brute = [next((i for i in range(len(starts)) if starts[i] <= t < ends[i]), -1) for t in times]
    assert lookup(starts, ends, times).tolist() == brute


def test_order_of_utterances_and_rows_does_not_matter():
    """Mistake 10: joined by utterance id, so a shuffled loader leaves every score unchanged."""
    rng = np.random.default_rng(0)
    codes = {i: rng.integers(0, 4, 50) for i in range(2)}
    times = {i: np.linspace(0, 0.09, 50) for i in codes}
    tokens = token_table(small_pack(), codes, times)
    turned = token_table(small_pack(), {i: codes[i] for i in (1, 0)}, times)
    mixed = tokens.sample(frac=1, random_state=1)
    assert agreement(tokens) == pytest.approx(agreement(turned), abs=1e-12)
    assert agreement(tokens) == pytest.approx(agreement(mixed), abs=1e-12)
    assert summarise(tokens, 4) == pytest.approx(summarise(mixed, 4), abs=1e-12)


def test_summary_without_labels_keeps_what_needs_none():
    tokens = small_table()
    assert set(summarise(tokens[tokens["utterance"] == "c"], 4)) == {"bigram_diagonal", "codes_used", "perplexity"}
    with pytest.raises(SpeechlibError, match="none of the 2 codes has a phone"):
        agreement(tokens[tokens["utterance"] == "c"])


@pytest.mark.parametrize(
    ("codes", "times", "message"),
    [
        ({7: np.array([1])}, {7: [0.0]}, "utterance 7, the pack has 3"),
        ({0: np.array([1, 2])}, {0: [0.0]}, "a b has 2 codes but 1 times"),
        ({0: np.array([1, 2])}, {}, "a b has 2 codes but 0 times"),
        ({0: np.array([0.5])}, {0: [0.0]}, "float64"),
        ({0: np.array([[1], [2]])}, {0: [0.0]}, r"\(2, 1\)"),
    ],
)
def test_codes_and_times_that_do_not_belong_together(codes, times, message):
    with pytest.raises(SpeechlibError, match=message):
        token_table(small_pack(), codes, times)


def test_no_codes_and_single_codes():
    assert len(token_table(small_pack(), {}, {})) == 0
    single = token_table(small_pack(), {0: np.array([1])}, {0: [0.05]})
    with pytest.raises(SpeechlibError, match="two codes"):
        step_seconds(single)
