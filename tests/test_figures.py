"""Figures show the data they are given, on labelled axes with units, and leave nothing open behind them."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from speechlib.errors import SpeechlibError
from speechlib.figures import alignment, distributions, embedding, style, symbols

RATE = 16000
rng = np.random.default_rng(0)
WAVE = (0.3 * np.sin(2 * np.pi * 1000 * np.arange(RATE // 2) / RATE)).astype(np.float32)
PHONES = [("sil", 0.0, 0.1), ("AH", 0.1, 0.3), ("T", 0.3, 0.5)]


def drawn(figure: Figure) -> Figure:
    """The figure, once it was really drawn (constrained layout, text and all) without a warning."""
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    return figure


def image(ax) -> np.ndarray:
    return np.asarray(ax.images[0].get_array())


def bars(ax) -> list[float]:
    return [patch.get_height() for patch in ax.patches]


@pytest.fixture(autouse=True)
def nothing_left_open():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    with matplotlib.rc_context():
        style.use()
        yield
    assert pyplot.get_fignums() == before


def test_comparison_has_six_panels_on_one_axis_of_seconds():
    inputs, reconstruction = rng.normal(size=(39, 50)), rng.normal(size=(80, 50))
    probabilities = rng.dirichlet(np.ones(8), size=25).T
    codes = probabilities.argmax(axis=0)
    times = 0.005 + 0.02 * np.arange(25)
    figure = drawn(
        alignment.comparison(WAVE, RATE, inputs, probabilities, codes, reconstruction, 100, times, phones=PHONES)
    )
    assert len(figure.axes) == 6
    assert {ax.get_xlim() for ax in figure.axes} == {(0, 0.5)}
    assert figure.axes[-1].get_xlabel() == "time (s)"
    assert [ax.get_ylabel() for ax in figure.axes] == [
        "amplitude", "frequency (Hz)", "feature", "code", "code", "feature"
    ]  # fmt: skip
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx(WAVE)
    for k, shown in ((2, inputs), (3, probabilities), (5, reconstruction)):
        assert image(figure.axes[k]) == pytest.approx(shown)
    one_hot = image(figure.axes[4])
    assert (one_hot.argmax(axis=0) == codes).all()
    assert one_hot.sum() == 25
    # frame 0 is centred on 0 s, code 0 on 5 ms: their columns begin half a column earlier
    assert figure.axes[2].images[0].get_extent()[:2] == pytest.approx((-0.005, 0.495))
    assert figure.axes[3].images[0].get_extent()[:2] == pytest.approx((-0.005, 0.495))
    for ax in figure.axes:
        edges = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2]
        assert edges == pytest.approx([0, 0.1, 0.3, 0.5])
    assert [text.get_text() for text in figure.axes[0].texts] == ["sil", "AH", "T"]


def test_a_tone_stands_at_its_frequency():
    levels = alignment.spectrogram(WAVE, RATE)
    hertz = levels[:, 50].argmax() * RATE / 2 / (len(levels) - 1)
    assert hertz == pytest.approx(1000, abs=25)
    assert levels.shape[1] == len(WAVE) // 80 + 1


def test_alignment_draws_every_interval_clipped_to_the_wave():
    rows = {"phones": PHONES, "codes": [(3, 0.0, 0.26), (12, 0.26, 0.9), (7, 2.0, 2.1)]}
    figure = drawn(alignment.alignment(WAVE, RATE, rows))
    phones, codes = figure.axes[2:]
    assert [t.get_text() for t in phones.texts] == ["sil", "AH", "T"]
    assert [t.get_text() for t in codes.texts] == ["3", "12"]
    spans = [(p.vertices[:, 0].min(), p.vertices[:, 0].max()) for p in codes.collections[0].get_paths()]
    assert np.array(spans) == pytest.approx(np.array([(0, 0.26), (0.26, 0.5)]))
    assert codes.get_xlabel() == "time (s)"
    assert (alignment.tint("AH") == alignment.tint("AH")).all()


def test_bigrams_write_their_numbers_when_small():
    matrix = np.array([[0.25, 0.75], [1.0, 0.0]])
    figure = drawn(symbols.bigrams(matrix, ["a", "b"], "phone (20ms)"))
    ax = figure.axes[0]
    assert image(ax) == pytest.approx(matrix)
    assert [t.get_text() for t in ax.texts] == [".25", ".75", "1"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("next phone (20ms)", "current phone (20ms)")
    assert figure.axes[1].get_ylabel() == "P(next | current)"
    assert ax.yaxis_inverted()  # row 0 on top


@pytest.mark.parametrize("n", [2, 12, 44, 64])
def test_symbols_of_a_matrix_do_not_overlap(n):
    names = [f"{k} ax" for k in range(n)]
    matrix = rng.dirichlet(np.ones(n), size=n)
    figure = drawn(symbols.bigram_pair(matrix, matrix, names, "code"))
    for ax in figure.axes[:2]:
        assert [t.get_text() for t in ax.get_yticklabels()] == names
        boxes = [t.get_window_extent() for t in ax.get_yticklabels()]
        assert all(a.y0 >= b.y1 - 1 for a, b in zip(boxes, boxes[1:]))
        boxes = [t.get_window_extent() for t in ax.get_xticklabels()]
        assert all(b.x0 >= a.x1 - 1 for a, b in zip(boxes, boxes[1:]))


def test_large_matrices_name_every_nth_symbol():
    figure = drawn(symbols.bigrams(np.eye(512), range(512), "code"))
    shown = [int(t.get_text()) for t in figure.axes[0].get_xticklabels()]
    assert shown == list(range(0, 512, 8))
    assert not figure.axes[0].texts


def test_frequencies_in_percent():
    figure = drawn(symbols.frequencies([0.5, 0.3, 0.2], ["a", "b", "c"], "phone", even=True))
    ax = figure.axes[0]
    assert bars(ax) == pytest.approx([0.5, 0.3, 0.2])
    assert ax.lines[0].get_ydata()[0] == pytest.approx(1 / 3)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("phone", "share (%)")
    assert "50" in [t.get_text() for t in ax.get_yticklabels()]


def test_durations_count_whole_steps_in_their_own_bin():
    figure = drawn(symbols.durations({"codes": [0.02, 0.02, 0.04, 0.06], "phones": [0.05, 0.1]}))
    ax = figure.axes[0]
    assert "codes: median 30 ms" in [t.get_text() for t in ax.get_legend().get_texts()]
    heights, edges = np.histogram([0.02, 0.02, 0.04, 0.06], np.arange(-0.005, 0.2, 0.01), weights=[0.25] * 4)
    assert heights[2] == 0.5  # the bin from 15 to 25 ms
    outline = ax.patches[0].get_xy()
    assert outline[:, 1].max() == pytest.approx(heights.max())
    assert ax.get_xlabel() == "duration (s)"


def test_histograms_share_their_axis_and_hold_all_values():
    values = {"encoder": rng.normal(5, 1, 1000), "codes": rng.normal(9, 0.5, 50)}
    figure = drawn(distributions.histograms(values, "distance (L2)", bins=40))
    together = np.concatenate(list(values.values()))
    edges = np.linspace(together.min(), together.max(), 41)
    for ax, of_one in zip(figure.axes, values.values()):
        assert bars(ax) == pytest.approx(np.histogram(of_one, edges, density=True)[0])
        assert ax.lines[0].get_xdata()[0] == pytest.approx(of_one.mean())
    assert figure.axes[-1].get_xlabel() == "distance (L2)"
    drawn(distributions.histograms({"all alike": [1.0, 1.0]}, "bits"))


def test_scales_show_shares_over_a_range_of_their_own():
    values = {"decibels": [-60.0, -20.0, 0.0, 0.0], "clamped": [0.0, 0.5, 1.0, 1.0], "one": [2.0]}
    figure = drawn(distributions.scales(values, {"clamped": "75 % clipped"}, bins=4))
    assert [ax.get_title("left") for ax in figure.axes] == [*values, ""]
    assert bars(figure.axes[0]) == pytest.approx([0.25, 0, 0.25, 0.5])
    assert bars(figure.axes[1]) == pytest.approx([0.25, 0, 0.25, 0.5])
    assert [text.get_text() for text in figure.axes[1].texts] == ["75 % clipped"]
    assert figure.axes[0].get_xlim()[0] < -60 < 0 < figure.axes[0].get_xlim()[1]


def test_scores_are_bars_with_their_values():
    table = {"codes": {"nmi": 0.41, "purity": 0.5}, "published": {"nmi": 0.025}, "chance": {"nmi": -0.001}}
    figure = drawn(distributions.scores(table, {"codes": style.colour("vqvae")}))
    ax = figure.axes[0]
    assert bars(ax) == pytest.approx([0.41, 0.5, 0.025, -0.001])
    assert [t.get_text() for t in ax.texts] == [".41", ".50", ".03", ".00"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["NMI", "purity"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == list(table)


def test_speakers_side_by_side():
    names = [f"speaker {k}" for k in range(12)]
    divergence = rng.random((12, 12))
    figure = drawn(distributions.speaker_matrix(divergence, names))
    assert image(figure.axes[0]) == pytest.approx(divergence)
    assert figure.axes[1].get_ylabel() == "Jensen-Shannon divergence (bits)"
    figure = drawn(distributions.evenness([4.0, 5.0], ["a", "b"], even=6.0))
    assert bars(figure.axes[0]) == pytest.approx([4, 5])
    assert figure.axes[0].lines[0].get_ydata()[0] == 6


def recording(n: int = 30, k: int = 5, title: str = "") -> embedding.Map:
    return embedding.Map(
        rng.normal(size=(n, 2)),
        rng.normal(size=(k, 2)),
        rng.integers(0, k, n),
        np.array(["x", "y", "z"])[:n].repeat(n // 3),
        title,
    )


def test_maps_by_speaker_and_by_code():
    shown = recording()
    figure = drawn(embedding.embedding(shown, "PCA"))
    left, right = figure.axes
    by_speaker = np.concatenate([np.asarray(c.get_offsets()) for c in left.collections[:-1]])
    assert by_speaker == pytest.approx(shown.points)
    assert np.asarray(right.collections[0].get_offsets()) == pytest.approx(shown.points)
    for ax in (left, right):
        assert np.asarray(ax.collections[-1].get_offsets()) == pytest.approx(shown.codebook)
        assert ax.get_xlabel() == "PCA 1 (no unit)"
    # a point has the colour of its code's cross
    points, crosses = right.collections[0].get_facecolor(), right.collections[1].get_edgecolor()
    assert points[:, :3] == pytest.approx(crosses[shown.codes, :3])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["x", "y", "z"]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_an_animation_has_a_frame_per_recording(tmp_path, n):
    """Mistake 14: one file where it was asked for, a frame per recording, whatever the batch; no external program."""
    path = embedding.animation([recording(9) for _ in range(n)], tmp_path / "new" / "codebook.gif")
    with Image.open(path) as gif:
        assert gif.n_frames == n
        assert gif.format == "GIF"
    assert [p.name for p in path.parent.iterdir()] == ["codebook.gif"]


def test_an_animation_of_nothing_is_refused(tmp_path):
    with pytest.raises(SpeechlibError, match="at least one recording"):
        embedding.animation([], tmp_path / "none.gif")


def test_labels_of_a_codebook_are_moved_off_one_another():
    crowded = np.concatenate([rng.normal(size=(32, 2)), np.zeros((12, 2))])  # twelve codes on one spot
    labels = [f"p{k % 7}" for k in range(44)]
    figure = drawn(embedding.labelled_codebook(crowded, labels, np.full(44, 1 / 44)))
    texts = figure.axes[0].texts
    assert [t.get_text() for t in texts] == labels
    centres = figure.axes[0].transData.transform([t.get_position() for t in texts])
    gaps = np.abs(centres[:, None] - centres)[np.triu_indices(44, 1)]
    assert ((gaps[:, 0] > 24) | (gaps[:, 1] > 12)).all()
    assert len({tuple(t.get_color()) for t, label in zip(texts, labels) if label == "p3"}) == 1


def test_every_system_has_its_own_colour():
    assert len(set(style.COLOURS.values())) == len(style.COLOURS) == 13
    assert style.colour("vqvae") != style.colour("wavenet")
    assert style.colour("k-means") == style.BASELINE
    assert len(np.unique(style.distinct(64), axis=0)) == 64


def test_seconds_and_hertz():
    ax = style.axes(None)
    style.seconds(ax.xaxis)
    style.hertz(ax.yaxis)
    assert [ax.yaxis.get_major_formatter()(v) for v in (0, 500, 1000, 2500, 16000)] == ["0", "500", "1k", "2.5k", "16k"]
    assert [ax.xaxis.get_major_formatter()(v) for v in (0, 0.25, 1.5)] == ["0", "0.25", "1.5"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "frequency (Hz)")
