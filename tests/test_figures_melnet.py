"""Figures of MelNet from arrays: what is drawn where, and nothing where nothing is."""

import numpy as np

from speechlib.figures import melnet


def test_values_without_influence_are_left_white():
    moved = np.array([[0.0, 1e-3], [1.0, 0.0]])
    figure = melnet.influences({"one": moved, "other": moved.T}, (1, 1))
    drawn = figure.axes[0].images[0].get_array()
    assert np.isnan(np.ma.filled(drawn, np.nan)).tolist() == [[True, False], [False, True]]
    assert figure.axes[0].get_title() == "one: 2 of 4 values"
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[1, 1]]


def test_a_panel_per_tier_with_its_baseline():
    train = {"tier 1": [2.0, 1.0, 0.5], "tier 2": [1.5, 0.0, -1.0]}
    checked = [2, 3], {name: values[1:] for name, values in train.items()}
    figure = melnet.learning([1, 2, 3], train, checked, {"tier 1": 1.2, "tier 2": 1.1})
    assert [ax.get_title() for ax in figure.axes] == ["tier 1", "tier 2"]
    assert figure.axes[1].lines[2].get_ydata()[0] == 1.1
    assert figure.axes[0].get_ylim()[0] < -1


def test_every_stage_of_every_row_is_as_wide_as_the_clip():
    stages = [np.random.default_rng(0).random(shape) for shape in ((4, 5), (8, 5), (8, 10))]
    figure = melnet.grids({"a": stages, "b": stages[::-1]}, ["1", "2", "3"], 1.5, [(0.5, "500 Hz")])
    assert len(figure.axes) == 6
    assert {tuple(ax.images[0].get_extent()) for ax in figure.axes} == {(0, 1.5, 0, 1)}
    assert figure.axes[1].get_title() == "2\n8x5"
    assert figure.axes[4].get_title() == ""


def test_pairs_and_mixtures():
    points = np.random.default_rng(0).random((10, 2))
    figure = melnet.pairs({"real": points, "drawn": points}, np.ones((5, 5)), 2.0)
    assert len(figure.axes) == 3
    figure = melnet.mixtures(np.linspace(-1, 1, 9), [np.ones(9)] * 2, [0.5, -0.5], ["a", "b"])
    assert [ax.lines[0].get_xdata()[0] for ax in figure.axes] == [0.5, -0.5]


def test_a_page_is_drawn_over_the_letters_it_looks_at():
    attention = np.full((6, 5), 0.2)  # two of five places lie behind the end of the text
    pages = {"aou": (np.zeros((4, 6)), attention, "aou"), "drawn": (np.zeros((4, 6)), attention, "ai")}
    figure = melnet.reading(pages, {"aou": np.array([0, 0, 1, 2, 2, 3])})
    grid, _, looked, other = figure.axes
    assert grid.get_title() == "aou"
    assert looked.images[0].get_array().shape == (3, 6)
    assert [tick.get_text() for tick in looked.get_yticklabels()] == ["a", "o", "u"]
    assert looked.lines[0].get_xydata().tolist() == [[0, 0], [1, 0], [2, 1], [3, 2], [4, 2]]  # nothing after the end
    assert not other.lines
