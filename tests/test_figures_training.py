"""Figures of a training draw what they are given, at the places they are given it for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from scipy.signal import savgol_filter

from speechlib.errors import SpeechlibError
from speechlib.figures import style, usage
from speechlib.figures import training as figures


def table(n, scale=1.0, terms=("loss", "perplexity", "reconstruction")):
    steps = np.arange(1, n + 1)
    noise = np.random.default_rng(n).uniform(0.9, 1.1, (len(terms), n))
    return {"step": steps} | {term: scale * noise[i] / steps for i, term in enumerate(terms)}


def test_smoothing_is_scipys_where_scipy_has_digits_left():
    values = np.random.default_rng(0).standard_normal(60)
    assert figures.smooth(values, 11, 3) == pytest.approx(savgol_filter(values, 11, 3, mode="mirror"))


@given(st.integers(1005, 2000), st.integers(0, 7))
def test_smoothing_leaves_polynomials_as_they_are(n, degree):
    values = np.linspace(-1, 1, n) ** degree
    assert figures.smooth(values)[100:-100] == pytest.approx(values[100:-100], abs=1e-9)


@given(st.integers(1, 1004))
def test_a_shorter_curve_keeps_its_length_and_its_straight_lines(n):
    values, half = np.linspace(3, -1, n), n // 10
    smoothed = figures.smooth(values)
    assert len(smoothed) == n
    assert smoothed[half : n - half] == pytest.approx(values[half : n - half], abs=1e-9)


def test_smoothing_does_not_swing_at_the_end_of_a_noisy_plateau():
    values = 1 + 0.1 * np.random.default_rng(0).standard_normal((50, 400))
    ends = np.array([figures.smooth(row)[-1] for row in values])
    middles = np.array([figures.smooth(row)[200] for row in values])
    assert ends.std() < 2 * middles.std()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_the_shortest_curves_stay_as_they_are(n):
    values = np.arange(n, dtype=float)
    assert figures.smooth(values) == pytest.approx(values)


def test_a_band_is_mean_and_deviation_of_stretches():
    centre, mean, deviation = figures.band(np.arange(12), [1, 3, 1, 3, 2, 2, 2, 2, 0, 4, 0, 4], bins=3)
    assert centre == pytest.approx([1.5, 5.5, 9.5])
    assert mean == pytest.approx([2, 2, 2])
    assert deviation == pytest.approx([1, 0, 2])


def test_curves_of_unequal_length_and_terms_share_one_figure():
    """Runs of 2 and 3 epochs, one without a codebook loss (reference section 8, no. 12)."""
    tables = {"short": table(20), "long": table(30, 2.0, ("loss", "perplexity", "codebook"))}
    figure = figures.curves(tables, ("loss", "perplexity", "codebook", "reconstruction"))
    drawn = {ax.get_title(): [line.get_xdata() for line in ax.lines] for ax in figure.axes if ax.axison}
    assert {title: [len(x) for x in xs] for title, xs in drawn.items()} == {
        "loss": [20, 20, 30, 30], "perplexity": [20, 20, 30, 30], "codebook": [30, 30], "reconstruction": [20, 20],
    }  # fmt: skip
    raw = figure.axes[0].lines[0]
    assert raw.get_ydata() == pytest.approx(tables["short"]["loss"])
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[1].get_yscale() == "linear"


def test_a_training_has_the_colour_of_its_system_and_several_are_told_apart():
    def drawn(names, system=""):
        figure = figures.curves({name: table(20) for name in names}, ("loss",), system)
        legend = [text.get_text() for text in figure.legends[0].get_texts()] if figure.legends else []
        return [to_hex(line.get_color()).upper() for line in figure.axes[0].lines[::2]], legend

    for system in ("wavenet", "vqvae_wavenet", "vqvae"):
        assert drawn(["from scratch"], system) == ([style.COLOURS[system]], [])
    both = ["vae", "wgan"]
    assert drawn(both) == ([style.COLOURS[name] for name in both], both)
    colours, legend = drawn(["seed 0", "seed 1", "seed 2"], "wavenet")  # of one system: hues
    assert len(set(colours)) == 3
    assert legend == ["seed 0", "seed 1", "seed 2"]


def test_all_terms_and_both_parts():
    figure = figures.all_terms(table(50, terms=("loss", "vq", "perplexity")))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["loss", "vq"]
    validation = {"step": [1, 25, 50], "loss": [1.0, 0.5, 0.25]}
    (ax,) = figures.train_and_validation(table(50), validation, "loss").axes
    assert ax.lines[-1].get_ydata() == pytest.approx([1.0, 0.5, 0.25])


def test_terms_that_are_zero_leave_the_logarithm_alone():
    zeros = table(30) | {"vq": np.zeros(30)}
    figures.curves({"a": zeros}, ("vq",)).canvas.draw()


def test_gradients_show_largest_and_mean_of_every_layer():
    records = [
        {"step": s, "layers": {"encoder.conv_1.weight": [0.4 * s, 0.1], "decoder.blocks.0.weight": [0.01, 0.001]}}
        for s in range(1, 31)
    ]
    figure = figures.gradients(records, limit=0.02, most=5)
    assert [ax.get_title() for ax in figure.axes if ax.axison] == ["step 1", "step 8", "step 15", "step 23", "step 30"]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx([0.4, 0.01, 0.1, 0.001])
    assert figure.axes[0].get_ylim() == (0, 0.02)
    assert [label.get_text() for label in figure.axes[4].get_xticklabels()] == ["encoder.conv_1", "decoder.0"]
    assert figures.gradients(records).axes[0].get_ylim()[1] > 0.02
    with pytest.raises(SpeechlibError, match="record_gradients"):
        figures.gradients([])


def test_metrics_over_sizes_pass_through_the_means_of_their_seeds():
    figure = figures.metric_evolution(
        [10, 10, 100], {"nmi": [0.2, 0.4, 0.5], "ami": [0.1, 0.1, 0.2]}, {"nmi": [0.1] * 3}
    )
    nmi, ami = figure.axes
    assert [line.get_xydata().tolist() for line in nmi.lines] == [
        [[10, pytest.approx(0.3)], [100, 0.5]], [[10, pytest.approx(0.1)], [100, 0.1]],
    ]  # fmt: skip
    assert len(ami.lines) == 1
    assert [tick.get_text() for tick in ami.get_xticklabels()] == ["10", "100"]


def test_seeds_are_bars_with_their_values():
    figure = figures.seed_stability({"nmi": {"baseline": [0.41, 0.42], "jitter12": [0.43, 0.4]}}, [1234, 5678])
    (ax,) = figure.axes
    assert sorted(bar.get_height() for bar in ax.patches) == [0.4, 0.41, 0.42, 0.43]
    assert {text.get_text() for text in ax.texts} == {"0.400", "0.410", "0.420", "0.430"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["seed 1234", "seed 5678"]


def test_points_go_to_the_codes_of_their_cells():
    codebook, points = [[-1.0, 0.0], [1.0, 0.0]], [[-0.5, 0.5], [0.1, 0.0], [2.0, 1.0]]
    (ax,) = figures.quantization(points, codebook, [0, 1, 1]).axes
    arrows = [text for text in ax.texts if text.arrow_patch is not None]
    assert [(tuple(a.xyann), tuple(a.xy)) for a in arrows] == [
        ((-0.5, 0.5), (-1.0, 0.0)), ((0.1, 0.0), (1.0, 0.0)), ((2.0, 1.0), (1.0, 0.0)),
    ]  # fmt: skip
    cells = ax.images[0].get_array()
    assert not np.array_equal(cells[200, 10], cells[200, -10])


def test_a_batch_is_drawn_in_seconds():
    figure = figures.batch(np.zeros((5, 39, 47)), 100.0, ["a", "b", "c"])
    assert figure.axes[0].images[0].get_extent() == [0, 0.47, -0.5, 38.5]
    assert [ax.get_title() for ax in figure.axes[:3]] == ["a", "b", "c"]


def test_codes_over_epochs_show_what_was_used_and_what_was_dead():
    counts = np.array([[4, 4, 0, 0], [2, 2, 2, 2], [0, 1, 2, 5]])
    figure = usage.evolution([1, 2, 2.5], counts)
    left, right = figure.axes[:2]
    size, used, perplexity = left.lines
    assert set(size.get_ydata()) == {4}
    assert used.get_xdata().tolist() == [1, 2, 2.5]
    assert used.get_ydata().tolist() == [2, 4, 3]
    entropy = -sum(p * np.log(p) for p in (1 / 8, 2 / 8, 5 / 8))
    assert perplexity.get_ydata() == pytest.approx([2, 4, np.exp(entropy)])
    (image,) = right.collections
    shown = image.get_array()  # codes in the order 3, 2, 1, 0; log2 of the share beside a quarter
    assert shown[:, 1].tolist() == [0, 0, 0, 0]
    assert shown.mask[:, 0].tolist() == [True, True, False, False]
    assert shown[2, 0] == 1
    assert shown[0, 2] == pytest.approx(np.log2(4 * 5 / 8))


def test_ranked_codes_end_where_the_dead_ones_begin():
    (ax,) = usage.ranked({"few": [0, 6, 2, 0], "even": [5, 5, 5, 5]}).axes
    few, _, even, level = ax.lines
    assert few.get_xydata().tolist() == [[1, 0.75], [2, 0.25]]
    assert even.get_ydata().tolist() == level.get_ydata().tolist() * 2 == [0.25] * 4
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["few: 2 of 4 used, perplexity 1.8", "even: 4 of 4 used, perplexity 4.0"]


def test_learning_rates_are_drawn_as_they_were_logged():
    table = {"step": [1, 2, 3], "learning_rate": [0.1, 0.1, 0.05]}
    (ax,) = figures.learning_rate({"a": table, "b": table}).axes
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[1, 0.1], [2, 0.1], [3, 0.05]]] * 2
    assert ax.get_ylim()[0] == 0
