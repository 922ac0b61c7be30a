"""Figures of priors show the numbers that they are given."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from speechlib.figures import priors, style

BITS = {"unigram": 3.0, "bigram": 2.0, "prior": 1.0}


def test_costs_are_bars_with_a_dot_for_each_speaker():
    speakers = {name: [value - 0.1, value, value + 0.1] for name, value in BITS.items()}
    figure = priors.costs(BITS, speakers, 8.0, 50.0)
    ax, right = figure.axes
    assert [bar.get_height() for bar in ax.patches] == list(BITS.values())
    assert to_hex(ax.patches[2].get_facecolor()) == style.colour("prior").lower()
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [sorted(line.get_ydata()) for line in dots] == [pytest.approx(values) for values in speakers.values()]
    assert right.get_ylim()[1] / ax.get_ylim()[1] == pytest.approx(50)
    assert "8.0 bits" in " ".join(text.get_text() for text in ax.texts)


def test_strips_have_a_colour_for_each_code_and_blanks_behind_the_end():
    groups = {"recorded": [("one", [0, 0, 3])], "imagined": [("two", [3, 1]), ("three", [2])]}
    figure = priors.sequences(groups, 0.02, 4)
    above, below = (ax.images[0] for ax in figure.axes)
    assert above.get_array().tolist() == [[0, 0, 3]]
    assert below.get_array().mask.tolist() == [[False, False], [False, True]]
    colours = above.get_cmap()(np.arange(4))
    assert len({tuple(colour) for colour in colours}) == 4
    assert above.get_extent()[1] == pytest.approx(0.06)
    assert (above.get_cmap().colors == below.get_cmap().colors).all()


def test_the_line_stands_where_the_imagined_begins():
    noise = np.random.default_rng(0).normal(0, 0.1, 8000)
    figure = priors.spoken({"a": noise, "b": noise}, 8000, {"b": 0.4})
    assert not figure.axes[0].lines
    assert {line.get_xdata()[0] for line in figure.axes[1].lines} == {0.4}
    assert {text.get_text() for text in figure.axes[1].texts} == {"given", "imagined"}


def test_curves_and_pairs_are_those_given():
    figure = priors.around_changes([-20, 0, 20], {"bigram": [1, 3, 1], "prior": [1, 2, 1]})
    assert [list(line.get_ydata()) for line in figure.axes[0].lines[:2]] == [[1, 3, 1], [1, 2, 1]]
    figure = priors.learning([1, 2], [4, 3], ([1, 2], [4, 3.5]), {"bigram": 2.5})
    assert {line.get_ydata()[0] for line in figure.axes[0].lines} == {4, 2.5}
    figure = priors.pairs(np.eye(3), np.full((3, 3), 0.2), [5, 6, 7])
    assert {image.get_clim() for ax in figure.axes for image in ax.images} >= {(0, 1)}
