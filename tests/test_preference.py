"""The listening test: pairs without names, votes that stay, an exact interval, and the widget."""

import math

import numpy as np
import pytest

from speechlib import audio
from speechlib.errors import BadFile, SpeechlibError
from speechlib.evaluation.preference import ITEMS, Vote, blind, score
from speechlib.evaluation.probes import clopper_pearson
from speechlib.systems.listening import lay_out
from speechlib.widgets import listening_test

NAMES = ("ours", "theirs")


def tail(k: int, n: int, p: float) -> float:
    """P(X >= k) of n coins that fall right with p."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


@pytest.mark.parametrize(("right", "n"), [(0, 7), (7, 7), (3, 10), (31, 50), (48, 50), (1, 1)])
def test_the_exact_interval_is_where_the_tails_are_a_fortieth(right, n):
    """By its definition: at the lower end so many or more have a chance of 2.5 %, at the upper end so few or fewer."""
    low, high = clopper_pearson(right, n)
    assert low == 0 if right == 0 else tail(right, n, low) == pytest.approx(0.025, abs=1e-9)
    assert high == 1 if right == n else 1 - tail(right + 1, n, high) == pytest.approx(0.025, abs=1e-9)
    assert low <= right / n <= high


def test_the_interval_covers_what_it_says():
    """Whatever the true share: of all counts that it can give, those whose interval holds it have 95 % or more."""
    for share in (0.05, 0.31, 0.5, 0.77):
        chance = [math.comb(20, k) * share**k * (1 - share) ** (20 - k) for k in range(21)]
        covered = sum(
            p for k, p in enumerate(chance) if clopper_pearson(k, 20)[0] <= share <= clopper_pearson(k, 20)[1]
        )
        assert covered >= 0.95


def test_the_papers_results_have_these_intervals():
    """50 of 50, and 62 %: only one of them is more than a coin."""
    order = blind(NAMES, ITEMS)
    every = score(order, [Vote("all", item, "AB"[sides.index("ours")]) for item, sides in enumerate(order, 1)])
    assert (every.name, every.votes, every.n, every.share, every.high) == ("ours", 50, 50, 1.0, 1.0)
    assert every.low == pytest.approx(0.025 ** (1 / 50))
    assert every.p_value == pytest.approx(2 / 2**50)
    some = [Vote("all", i, "AB"[sides.index("ours" if i <= 31 else "theirs")]) for i, sides in enumerate(order, 1)]
    found = score(order, some)
    assert found.share == 0.62
    assert found.low < 0.5 < found.high
    assert found.p_value == pytest.approx(2 * tail(31, 50, 0.5))


def test_sides_are_drawn_evenly_by_the_seed():
    for n in (1, 7, 50):
        order = blind(NAMES, n, seed=3)
        first = [sides[0] for sides in order]
        assert abs(first.count("ours") - first.count("theirs")) == n % 2
        assert {frozenset(sides) for sides in order} == {frozenset(NAMES)}
    assert blind(NAMES, 50, 1) == blind(NAMES, 50, 1) != blind(NAMES, 50, 2)
    assert [sides[0] for sides in blind(NAMES, 50)] != ["ours", "theirs"] * 25  # nobody can guess the next one


def test_a_changed_mind_counts_once_and_a_side_that_is_favoured_is_seen():
    order = [("ours", "theirs"), ("theirs", "ours")]
    votes = [Vote("a", 1, "B"), Vote("a", 2, "A"), Vote("a", 1, "A"), Vote("b", 1, "A")]
    found = score(order, votes)
    assert (found.votes, found.n) == (2, 3)  # a: ours, theirs; b: ours
    assert found.side_a == 1.0


@pytest.mark.parametrize(
    ("votes", "error"),
    [([], "nobody has voted"), ([Vote("a", 3, "A")], r"items are 1\.\.2"), ([Vote("a", 1, "C")], "A or B")],
)
def test_votes_that_are_none(votes, error):
    with pytest.raises(SpeechlibError, match=error):
        score([("x", "y"), ("y", "x")], votes)


def test_counts_that_are_none():
    for right, n, level in ((3, 2, 0.95), (0, 0, 0.95), (1, 2, 1.0)):
        with pytest.raises(SpeechlibError, match="wanted 0 <= right <= n"):
            clopper_pearson(right, n, level)
    with pytest.raises(SpeechlibError, match="two names that differ|names that differ"):
        blind(("x", "x"), 3)


# -- on disk -----------------------------------------------------------------------------------------------------------


def pairs(n: int = 3) -> dict:
    time = np.arange(4000) / 8000
    return {
        name: [level * np.sin(2 * np.pi * (hertz + 20 * k) * time).astype(np.float32) for k in range(n)]
        for name, hertz, level in (("ours", 200, 0.5), ("theirs", 400, 0.1))
    }


def test_clips_are_equally_loud_and_nothing_but_the_key_tells_what_they_are(tmp_path):
    test = lay_out(tmp_path / "t", pairs(), 8000, 5, seed=4)
    assert test.order == tuple(blind(NAMES, 5, 4))
    given = sorted(path.name for path in test.folder.iterdir())
    assert given == sorted([f"{i:02}_{s}.wav" for i in range(1, 6) for s in "AB"] + ["key.json", "sheet.csv"])
    assert "ours" not in (test.folder / "sheet.csv").read_text()
    for item, sides in enumerate(test.order, 1):
        clips = test.clips(item)
        levels = [np.sqrt(np.mean(np.square(clip))) for clip in clips.values()]
        assert levels[0] == pytest.approx(levels[1], rel=1e-3)
        for name, clip in zip(sides, clips.values()):  # the pitch tells which it is
            wanted = pairs()[name][(item - 1) % 3]
            assert np.corrcoef(clip, wanted)[0, 1] > 0.999


def test_the_same_test_is_found_again_with_its_votes_and_its_clips(tmp_path):
    test = lay_out(tmp_path / "t", pairs(), 8000, 4)
    test.vote("me", 2, "B")
    before = audio.read(test.folder / "01_A.wav")[0]
    again = lay_out(tmp_path / "t", {name: [w * 0.99 for w in waves] for name, waves in pairs().items()}, 8000, 4)
    assert again.votes() == [Vote("me", 2, "B")]
    assert np.array_equal(audio.read(again.folder / "01_A.wav")[0], before)
    for other in ({"n_items": 5}, {"n_items": 4, "seed": 1}):
        with pytest.raises(BadFile, match="holds another test"):
            lay_out(tmp_path / "t", pairs(), 8000, **other)
    with pytest.raises(BadFile, match="holds another test"):
        lay_out(tmp_path / "t", {"ours": pairs()["ours"], "lines": pairs()["theirs"]}, 8000, 4)


def test_a_test_that_was_cut_short_is_laid_out_again(tmp_path):
    test = lay_out(tmp_path / "t", pairs(), 8000, 4)
    (test.folder / "key.json").unlink()
    assert lay_out(tmp_path / "t", pairs(), 8000, 4, seed=1).order == tuple(blind(NAMES, 4, 1))


def test_bad_tests_and_votes_are_refused(tmp_path):
    for wrong in ({"ours": pairs()["ours"]}, {"ours": pairs(2)["ours"], "theirs": pairs(3)["theirs"]}):
        with pytest.raises(SpeechlibError, match="wanted two names with as many clips each"):
            lay_out(tmp_path / "t", wrong, 8000)
    test = lay_out(tmp_path / "t", pairs(), 8000, 2)
    with pytest.raises(SpeechlibError, match="nobody has voted"):
        test.result()
    for item, choice in ((0, "A"), (3, "B"), (1, "")):
        with pytest.raises(SpeechlibError, match=r"items are 1\.\.2, choices A or B"):
            test.vote("me", item, choice)
    for line in ("me,1", "me,one,A", "me,1,C", "me,9,A"):
        (test.folder / "votes.csv").write_text(f"listener,item,choice\n{line}\n")
        with pytest.raises(BadFile, match=r"line 2\): .* is no vote"):
            test.votes()


# -- the widget --------------------------------------------------------------------------------------------------------


def test_voting_goes_on_to_the_next_item_and_tells_at_the_end_only(tmp_path):
    test = lay_out(tmp_path / "t", pairs(), 8000, 3)
    shown = listening_test(test)
    assert shown.still().count("<audio") == 2
    for item, sides in enumerate(test.order, 1):
        assert shown.controls["item"].value == item
        for name in NAMES:
            assert name not in shown.still()
        shown.controls["choice"].value = "AB"[sides.index("ours")]
    assert [vote.choice for vote in test.votes()] == ["AB"[sides.index("ours")] for sides in test.order]
    assert (
        "3 of 3 items judged. ours was preferred to theirs in 3 of 3: 100%, 95 % interval 29% to 100%" in shown.still()
    )


def test_a_listener_comes_back_to_their_own_votes(tmp_path):
    test = lay_out(tmp_path / "t", pairs(), 8000, 3)
    test.vote("me", 1, "B")
    shown = listening_test(test)
    assert (shown.controls["item"].value, shown.controls["choice"].value) == (2, "")
    shown.controls["item"].value = 1
    assert shown.controls["choice"].value == "B"
    shown.controls["choice"].value = "A"  # a changed mind
    assert test.votes() == [Vote("me", 1, "A")]
    assert shown.controls["item"].value == 2
    shown.controls["listener"].value = "<you>"
    assert (shown.controls["item"].value, shown.controls["choice"].value) == (1, "")
    shown.controls["choice"].value = "B"
    assert test.votes()[-1] == Vote("<you>", 1, "B")
    assert len(test.votes()) == 2


def test_looking_is_not_voting(tmp_path):
    test = lay_out(tmp_path / "t", pairs(), 8000, 3)
    shown = listening_test(test)
    shown.controls["item"].value = 3
    assert test.votes() == []
    assert not (test.folder / "votes.csv").exists()
