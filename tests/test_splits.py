"""Splits: reproducible, disjoint, of the sizes asked for, whatever the order (VS-02)."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechlib.corpora import splits
from speechlib.errors import BadFile, SpeechlibError, UnknownName


def cuts_of(speakers: dict[str, tuple[str | None, int]]):
    """Cuts as far as splits look at them: {speaker: (gender, number of utterances)}."""
    return [
        SimpleNamespace(id=f"{name}_{i:03d}", supervisions=[SimpleNamespace(speaker=name, gender=gender)])
        for name, (gender, n) in speakers.items()
        for i in range(n)
    ]


TWELVE = cuts_of({f"{gender}{i}": (gender, 10 + i) for gender in "FM" for i in range(6)})


@given(st.integers(1, 200), st.integers(0, 5), st.randoms(use_true_random=False))
def test_utterance_split_is_a_seeded_partition(n, seed, random):
    cuts = cuts_of({"a": ("F", n), "b": (None, 2)})
    parts = splits.split(cuts, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=seed)
    assert sorted(sum(parts.values(), [])) == sorted(cut.id for cut in cuts)
    assert all(parts.values())
    if n + 2 >= 10:
        assert abs(len(parts["train"]) - 0.8 * (n + 2)) <= 1
    random.shuffle(cuts)
    assert splits.split(cuts, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=seed) == parts


def test_default_is_80_20_and_the_seed_matters():
    parts = splits.split(TWELVE)
    assert [len(parts[name]) for name in ("train", "val")] == [120, 30]
    assert splits.split(TWELVE, seed=0) == parts != splits.split(TWELVE, seed=1)


def test_the_lists_of_seed_0_stay_what_they_are():
    """Recorded once: a run of today must find the same validation part tomorrow."""
    parts = splits.split(cuts_of({"a": ("F", 6)}), {"train": 0.5, "val": 0.5})
    assert parts == {"train": ["a_002", "a_003", "a_005"], "val": ["a_000", "a_001", "a_004"]}


@pytest.mark.parametrize("seed", range(5))
def test_speaker_split_shares_no_speaker_and_keeps_both_sexes(seed):
    parts = splits.split(TWELVE, {"train": 0.5, "val": 0.25, "test": 0.25}, by="speaker", seed=seed)
    speakers = {name: {utterance.split("_")[0] for utterance in ids} for name, ids in parts.items()}
    assert [len(group) for group in speakers.values()] == [6, 3, 3]
    assert len(set.union(*speakers.values())) == 12
    assert all({name[0] for name in group} == {"F", "M"} for group in speakers.values())
    assert sum(map(len, parts.values())) == len(TWELVE)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.5]),
    st.integers(0, 3),
)
def test_every_frequent_speaker_is_in_a_stratified_dev_set(sizes, share, seed):
    """reference/wavenet_autoencoders.md 8.9: not the first files by name, which are of few speakers."""
    cuts = cuts_of({f"S{i:03d}": (None, n) for i, n in enumerate(sizes)})
    if len(cuts) < 2:
        return
    parts = splits.split(cuts, {"train": 1 - share, "dev": share}, by="stratified", seed=seed)
    assert sorted(parts["train"] + parts["dev"]) == sorted(cut.id for cut in cuts)
    assert abs(len(parts["dev"]) - share * len(cuts)) <= 1
    for i, n in enumerate(sizes):
        own = [name for name in parts["dev"] if name.startswith(f"S{i:03d}")]
        assert own or n < 1 / share
        assert len(own) <= n * share + 1.5
    assert parts == splits.split(cuts[::-1], {"train": 1 - share, "dev": share}, by="stratified", seed=seed)


def test_a_stratified_dev_set_depends_on_the_seed_and_not_on_names():
    cuts = cuts_of({f"S{i:03d}": (None, 100) for i in range(5)})
    first, second = (splits.split(cuts, {"train": 0.99, "dev": 0.01}, "stratified", seed)["dev"] for seed in (0, 1))
    assert [name[:4] for name in first] == [name[:4] for name in second] == [f"S{i:03d}" for i in range(5)]
    assert first != second


def test_one_speaker_cannot_be_split_by_speaker():
    with pytest.raises(SpeechlibError, match=r"one speaker cannot be split into 2 parts.*Split by utterance instead"):
        splits.split(cuts_of({"LJ": ("F", 16)}), by="speaker")
    assert len(splits.split(cuts_of({"LJ": ("F", 16)}))["val"]) == 3


def test_wrong_arguments_are_named():
    with pytest.raises(SpeechlibError, match="sum to 1"):
        splits.split(TWELVE, {"train": 0.8, "val": 0.1})
    with pytest.raises(SpeechlibError, match="positive"):
        splits.split(TWELVE, {"train": 1.0, "val": 0.0})
    with pytest.raises(UnknownName, match="Did you mean 'speaker'"):
        splits.split(TWELVE, by="speakers")
    with pytest.raises(SpeechlibError, match="1 utterances cannot be split into 2"):
        splits.split(TWELVE[:1])


def test_saved_and_loaded(tmp_path):
    parts = splits.split(TWELVE, seed=3)
    splits.save(tmp_path / "split.json", parts)
    assert splits.load(tmp_path / "split.json") == parts
    splits.save(tmp_path / "leak.json", {"train": ["a", "b"], "val": ["b"]})
    with pytest.raises(BadFile, match="more than once, such as b"):
        splits.load(tmp_path / "leak.json")
    (tmp_path / "cut.json").write_text('{"train": ["a", ')
    with pytest.raises(BadFile, match="is not JSON"):
        splits.load(tmp_path / "cut.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(BadFile, match="is not a split"):
        splits.load(tmp_path / "list.json")


def test_a_sentence_is_one_however_it_is_written():
    """Case and punctuation differ between readers' transcripts: the same words must not stand in two parts."""
    texts = ["Hello, you.", "hello you", "HELLO YOU!", "Good day.", "good day", "ja"]
    cuts = [SimpleNamespace(id=f"{i}", supervisions=[SimpleNamespace(speaker="a", gender=None, text=text)])
            for i, text in enumerate(texts)]  # fmt: skip
    for seed in range(8):
        parts = splits.split(cuts, {"train": 0.5, "val": 0.5}, by="text", seed=seed)
        for same in ({"0", "1", "2"}, {"3", "4"}):
            assert sum(bool(same & set(part)) for part in parts.values()) == 1
