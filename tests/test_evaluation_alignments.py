"""Alignments and bigrams on sequences small enough to count by hand, and against slow loops."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechlib.corpora.labels import Interval
from speechlib.errors import BadFile, SpeechlibError
from speechlib.evaluation import alignments as al


def table(column="code", **utterances):
    rows = [(u, t, 0.01 + 0.02 * t, value) for u, values in utterances.items() for t, value in enumerate(values)]
    frame = pd.DataFrame(rows, columns=["utterance", "step", "time", column])
    return frame.astype({"utterance": "category"})


def test_a_b_b_is_two_transitions():
    """Mistake 22: T - 1 transitions per sequence, no first symbol paired with itself."""
    counts = al.bigram_counts([list("abb")], ["a", "b"])
    assert counts.tolist() == [[0, 1], [0, 1]]


def test_rows_sum_to_one_with_and_without_the_diagonal():
    sequences = [list("aabbbcab")]
    # a->a 1, a->b 2, b->b 2, b->c 1, c->a 1
    whole = al.bigram_matrix(sequences, list("abcd"))
    assert whole == pytest.approx(np.array([[1 / 3, 2 / 3, 0, 0], [0, 2 / 3, 1 / 3, 0], [1, 0, 0, 0], [0, 0, 0, 0]]))
    leaving = al.bigram_matrix(sequences, list("abcd"), diagonal=False)
    assert leaving == pytest.approx(np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]))
    assert al.mean_diagonal(whole) == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)  # d is followed by nothing: not counted


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=12), max_size=6))
def test_bigram_counts_equal_a_loop(sequences):
    brute = np.zeros((3, 3), int)
    for sequence in sequences:
        for current, following in zip(sequence, sequence[1:]):
            if current is not None and following is not None:
                brute["abc".index(current), "abc".index(following)] += 1
    assert (al.bigram_counts(sequences, list("abc")) == brute).all()
    sums = al.bigram_matrix(sequences, list("abc")).sum(axis=1)
    assert sums == pytest.approx((brute.sum(axis=1) > 0).astype(float))


def test_nothing_is_counted_from_one_utterance_into_the_next():
    tokens = table(u1=[0, 0, 1], u0=[2, 2])
    mixed = tokens.sample(frac=1, random_state=3)
    for rows in (tokens, mixed):
        assert sorted(map(list, al.sequences(rows, "code"))) == [[0, 0, 1], [2, 2]]
        assert al.bigram_counts(al.sequences(rows, "code"), [0, 1, 2]).sum() == 3
        assert al.bigram_diagonal(rows) == pytest.approx((1 / 2 + 1) / 2)


def test_unknown_symbol_is_named():
    with pytest.raises(SpeechlibError, match="'z' is not among the 2"):
        al.bigram_counts([list("abz")], ["a", "b"])


def test_distinct_phones_per_segment_of_any_length():
    """Mistake 9: the mean of 2 and 5 is 3.5."""
    assert al.distinct_symbols([list("aabb"), list("abcde")]) == 3.5
    assert al.distinct_symbols([["a", None, float("nan"), "a"]]) == 1
    pieces = al.segments(table(u=[1, 1, 2, 3, 3, 3, 9], v=[5, 5]), "code", 3)
    assert [list(p) for p in pieces] == [[1, 1, 2], [3, 3, 3]]
    with pytest.raises(SpeechlibError, match="no segments"):
        al.distinct_symbols([])


def test_frequencies_are_shares_commonest_first():
    shares = al.frequencies(["b", "a", "a", None, "c", "b", "a"])
    assert list(shares.index) == ["a", "b", "c"]
    assert shares.to_numpy() == pytest.approx([3 / 6, 2 / 6, 1 / 6])


def test_codes_that_follow_phones_change_where_phones_do():
    phones = table("phone", u=list("aabbb"), v=["a", None, "a", "b"]).astype({"phone": "category"})
    follows = phones.assign(code=[0, 0, 1, 1, 1, 0, 5, 0, 1])
    assert al.changes(follows) == (1, 0, 2)  # across the gap in v nothing is counted
    restless = phones.assign(code=np.arange(9))
    assert al.changes(restless.sample(frac=1, random_state=0)) == (1, 1, 2)
    asleep = phones.assign(code=0)
    assert al.changes(asleep) == (0, 0, 2)
    with pytest.raises(SpeechlibError, match="0 boundaries"):
        al.changes(follows[:2])


def test_runs_have_the_length_of_their_stretch():
    tokens = table("phone", u=["a", "a", None, "b"], v=["b", "b"])
    found = al.runs(tokens.sample(frac=1, random_state=0), "phone", step=0.02)
    assert list(zip(found["utterance"], found["symbol"], found["step"])) == [
        ("u", "a", 0),
        ("u", "b", 3),
        ("v", "b", 0),
    ]
    assert found["seconds"].to_numpy() == pytest.approx([0.04, 0.02, 0.04])
    assert found["start"].to_numpy() == pytest.approx([0, 0.06, 0])
    assert found["stop"].to_numpy() == pytest.approx([0.04, 0.08, 0.04])


PACK = SimpleNamespace(
    utterances=["u", "v"],
    n_samples=np.array([1760, 800]),  # 110 ms, 50 ms
    config=SimpleNamespace(sample_rate=16000),
    phones={
        0: [Interval("AH0", 0.0, 0.035), Interval("sp", 0.035, 0.06), Interval("T", 0.06, 0.1)],
        1: [Interval("AH2", 0.0, 0.05), Interval("", 0.05, 0.05)],
    }.get,
)


def test_phones_at_10_and_20_ms():
    fine = al.phone_table(PACK, [0, 1], step=0.01)
    coarse = al.phone_table(PACK, [0, 1], step=0.02)
    assert [list(s) for s in al.sequences(fine, "phone")] == [
        ["AH"] * 3 + ["sp"] * 3 + ["T"] * 4 + [None],  # the middle of the fourth step, 35 ms, belongs to sp
        ["AH"] * 5,
    ]
    assert [list(s) for s in al.sequences(coarse, "phone")] == [["AH", "AH", "sp", "T", "T"], ["AH", "AH"]]
    assert coarse["time"][:3].to_numpy() == pytest.approx([0.01, 0.03, 0.05])
    # every second middle of the coarse steps lies between two fine ones: a slow search agrees
    for _, row in fine.iterrows():
        i = PACK.utterances.index(row["utterance"])
        inside = [p for p in PACK.phones(i) if p.start <= row["time"] < p.end]
        assert pd.isna(row["phone"]) if not inside else inside[0].symbol.startswith(row["phone"])


def test_intervals_as_labelled():
    found = al.phone_intervals(PACK, [0, 1])
    assert list(found["phone"]) == ["AH", "sp", "T", "AH"]
    assert found["seconds"].to_numpy() == pytest.approx([0.035, 0.025, 0.04, 0.05])


@pytest.mark.parametrize(
    ("samples_per_code", "rate", "label"), [(160, 16000, "10ms"), (320, 16000, "20ms"), (276, 22050, "12.517ms")]
)
def test_file_name_and_content_agree_with_the_real_step(tmp_path, samples_per_code, rate, label):
    """Mistake 11: the source called 20 ms labels 10ms."""
    step = samples_per_code / rate
    path = al.save(tmp_path, "codes", step, code=np.arange(5), phone=np.array(["a", None, np.nan], dtype=object))
    assert path.name == f"codes_{label}.npz"
    back = al.load(path)
    assert float(back["step_seconds"]) == step
    assert back["code"].tolist() == [0, 1, 2, 3, 4]
    assert back["phone"].tolist() == ["a", "", ""]
    wrong = path.rename(tmp_path / "codes_999ms.npz")
    with pytest.raises(BadFile, match="renamed"):
        al.load(wrong)


def test_damaged_archive(tmp_path):
    path = al.save(tmp_path, "codes", 0.02, code=np.arange(500))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadFile, match="codes_20ms"):
        al.load(path)
    with pytest.raises(BadFile, match="none_20ms"):
        al.load(tmp_path / "none_20ms.npz")


def test_saved_entropies_are_the_entropies(tmp_path):
    """Mistake 16: the source saved the name of the array instead of the array."""
    from speechlib.features import entropy

    rng = np.random.default_rng(0)
    bits = {name: np.array([entropy(rng.normal(size=(39, 50))) for _ in range(4)]) for name in ("inputs", "z_q")}
    back = al.load(al.save(tmp_path, "entropy", 0.02, **bits))
    assert all(np.array_equal(back[name], values) for name, values in bits.items())
