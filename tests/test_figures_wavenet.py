"""Figures of WaveNet: what is drawn is what was given."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from speechlib.figures import style, wavenet

RATE = 8000


def title(ax) -> str:
    return ax.get_title(loc="left") or ax.get_title()  # wherever the style of the day puts it


def test_the_stack_lights_up_what_the_newest_output_sees():
    figure = wavenet.causal_stack((1, 2, 4), n_samples=12)
    ((ax,),) = [figure.axes]
    lit = {
        tuple(np.concatenate([line.get_xdata(), line.get_ydata()]).astype(int))
        for line in ax.lines
        if line.get_color() == wavenet.OURS and len(line.get_xdata()) == 2
    }
    assert len(lit) == 2 + 4 + 8  # a binary tree
    assert {x[0] for x in lit if x[2] == 0} == set(range(-7, 1))  # 8 samples: 1 + 1 + 2 + 4
    assert all(x[0] <= x[1] for x in lit)  # nothing looks to the right


def test_reach_tells_the_computed_edge_and_leaves_out_zeros():
    influence = np.where(np.arange(80) < 40, 0.5, 0.0)
    ax = wavenet.reach(influence, 40, RATE).axes[0]
    dots = ax.lines[0]
    assert len(dots.get_xdata()) == 40
    assert dots.get_xdata()[-1] == pytest.approx(40 / RATE * 1000)
    assert "computed: 40 samples, 5 ms" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_next_sample_draws_a_distribution_per_instant():
    amplitudes = np.linspace(-1, 1, 16)
    chances = np.random.default_rng(0).dirichlet(np.ones(16), 3)
    figure = wavenet.next_sample(amplitudes, chances, [0.1, 0.2, 0.3], np.zeros((3, 40)), RATE, ["a", "b", "c"])
    below = figure.axes[3:]
    for ax, chance, came in zip(below, chances, (0.1, 0.2, 0.3)):
        np.testing.assert_allclose(ax.lines[0].get_ydata(), chance)
        assert ax.lines[1].get_xdata()[0] == came
    assert [title(ax) for ax in figure.axes[:3]] == ["a", "b", "c"]


def test_spoken_zooms_into_the_same_instant_of_every_wave():
    waves = {"one": np.sin(np.arange(RATE) / 5), "two": np.zeros(RATE)}
    figure = wavenet.spoken(waves, RATE, (0.5, 0.52), {"one": wavenet.OURS})
    one, two = figure.axes[1].lines[0], figure.axes[3].lines[0]
    np.testing.assert_array_equal(one.get_ydata(), waves["one"][4000:4160])
    assert one.get_xdata()[0] == 0.5
    assert (to_hex(one.get_color()), to_hex(two.get_color())) == (wavenet.OURS.lower(), style.REFERENCE.lower())


def test_ranking_shows_the_scores_that_there_are():
    rows = {"recording": {"log_mel_distance": 0.0, "phones": 1.0}, "ours": {"log_mel_distance": 2.5, "phones": np.nan}}
    figure = wavenet.ranking(rows, {"ours": wavenet.OURS})
    assert [title(ax) for ax in figure.axes] == ["log-mel distance (dB): lower", "phones heard: higher"]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.0, 2.5]
