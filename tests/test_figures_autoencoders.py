"""Levels of voices, computed and drawn; and the probes of several models on common axes."""

import numpy as np
import pytest

from speechlib.errors import SpeechlibError
from speechlib.evaluation.levels import explained, levels
from speechlib.figures import autoencoders, style


def utterances(shift, n=40, seed=0):
    """Two utterances each of three speakers; the first channel is `shift` apart from speaker to speaker."""
    random = np.random.default_rng(seed)
    utterance = np.repeat(np.arange(6), n)
    speaker = np.array(["a", "b", "c"])[utterance // 2]
    x = random.normal(size=(6 * n, 2)) * [1, 5] + 3
    x[:, 0] += shift * (utterance // 2)
    return x, utterance, speaker


def test_levels_by_hand():
    x, utterance, speaker = utterances(2.0)
    of = levels(x, utterance, speaker)
    normal = (x - x.mean(0)) / x.std(0)
    assert of.mean == pytest.approx(np.stack([normal[utterance == u].mean(0) for u in range(6)]))
    assert of.deviation == pytest.approx(np.stack([normal[utterance == u].std(0) for u in range(6)]))
    assert of.speaker.tolist() == ["a", "a", "b", "b", "c", "c"]
    between = np.stack([of.mean[of.speaker == s].mean(0) for s in "abc"]).var(0)
    assert explained(of) == pytest.approx(between)
    assert 0.6 < explained(of)[0] < 0.8  # the shifts have variance 8/3, and 1 within
    assert explained(of)[1] < 0.05


def test_a_long_utterance_counts_by_its_vectors():
    """Eta squared by hand: of 10 vectors of one speaker (two utterances, of 1 and 9) and 10 of another."""
    x = np.concatenate([np.full(1, 10.0), np.full(9, 1.0), np.full(10, -1.0)])[:, None]
    utterance, speaker = np.repeat([0, 1, 2], [1, 9, 10]), np.repeat(["a", "b"], 10)
    means = np.repeat([x[:10].mean(), x[10:].mean()], 10)
    assert explained(levels(x, utterance, speaker)) == pytest.approx(means.var() / x.var())


def test_what_is_the_same_everywhere_is_explained_by_nobody():
    _, utterance, speaker = utterances(0.0)
    assert explained(levels(np.ones((len(speaker), 1)), utterance, speaker)).tolist() == [0.0]
    with pytest.raises(SpeechlibError, match=r"vectors \(4, 2\) of 3 utterances and 4 speakers"):
        levels(np.ones((4, 2)), [0, 0, 1], ["a"] * 4)


def test_a_dot_for_each_utterance_in_the_colour_of_its_speaker():
    of = levels(*utterances(2.0))
    panel = of.mean[:, 0], of.deviation[:, 0], of.speaker
    figure = autoencoders.levels({"before": panel, "after": panel})
    figure.draw_without_rendering()
    left, right = figure.axes
    assert [len(dots.get_offsets()) for dots in left.collections] == [2, 2, 2]
    assert left.get_xlim() == right.get_xlim()
    assert len({tuple(dots.get_facecolor()[0]) for dots in left.collections}) == 3
    assert np.asarray(left.collections[1].get_offsets())[:, 0] == pytest.approx(of.mean[2:4, 0])


def test_a_line_for_each_model_from_point_to_point():
    rows = {("AE", "code"): 0.5, ("AE", "told"): 0.4, ("IN", "code"): 0.1, ("IN", "told"): 0.3}
    figure = autoencoders.readable({"phone": rows, "speaker": rows}, {"phone": 0.1, "speaker": 0.2}, ("code", "told"))
    figure.draw_without_rendering()
    first, second = figure.axes
    assert [list(line.get_ydata()) for line in first.lines[:2]] == [[0.5, 0.4], [0.1, 0.3]]
    assert [ax.lines[2].get_ydata()[0] for ax in (first, second)] == [0.1, 0.2]
    colours = [tuple(line.get_color()) for line in first.lines[:2]]
    assert colours == [tuple(colour) for colour in style.of_runs(["AE", "IN"])]  # those of the curves of training
