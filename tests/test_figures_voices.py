"""Figures of voices show what they are given: rises with their intervals, who is taken for whom, who is who."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from speechlib.figures import style, voices

NAMES = ["annie", "fay", "max", "rob"]
RATE = 8000


def use(rises) -> pd.DataFrame:
    rows = {"right": (3.0, 0.0, 0.0, 0.0)} | {f"way {k}": (3 + r, r, r - 0.1, r + 0.2) for k, r in enumerate(rises)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["error", "rise", "low", "high"])


def test_condition_use_has_a_bar_and_an_interval_per_wrong_way():
    tables = {"vqvae": use([0.5, 0.3, 0.0]), "wavenet": use([0.02])}
    units = {"vqvae": "variance = 1", "wavenet": "bits per sample"}
    figure = voices.condition_use(tables, units)
    figure.draw_without_rendering()
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == pytest.approx([0.5, 0.3, 0.0])
    assert [text.get_text() for text in left.get_yticklabels()] == ["way 0", "way 1", "way 2"]
    assert left.patches[0].get_y() > left.patches[2].get_y()  # read from above
    spans = [segment[:, 0].tolist() for segment in left.containers[1].lines[2][0].get_segments()]
    assert np.array(spans) == pytest.approx(np.array([[0.4, 0.7], [0.2, 0.5], [-0.1, 0.2]]))
    assert [bar.get_facecolor()[:3] for bar in right.patches] == [
        pytest.approx(tuple(int(style.colour("wavenet")[k : k + 2], 16) / 255 for k in (1, 3, 5)))
    ]
    assert [ax.get_xlabel() for ax in figure.axes] == [f"rise in {unit}" for unit in units.values()]
    assert left.get_xlim()[0] < -0.1


def test_a_decoder_that_misses_nothing_still_has_its_figure():
    still = use([0.0, 0.0])
    still[["rise", "low", "high"]] = 0.0
    voices.condition_use({"vqvae": still}, {"vqvae": "bits"}).draw_without_rendering()


def test_recognition_shows_both_tables_on_one_scale():
    by_source, by_target = np.full((2, 4), 0.25), np.eye(4)[[1, 3]]
    figure = voices.recognition(by_source, by_target, NAMES[:2], [NAMES[1], NAMES[3]], NAMES)
    figure.draw_without_rendering()
    left, right = figure.axes[:2]
    assert np.asarray(left.images[0].get_array()) == pytest.approx(by_source)
    assert np.asarray(right.images[0].get_array()) == pytest.approx(by_target)
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0, 1)
    assert [text.get_text() for text in right.get_yticklabels()] == ["fay", "rob"]
    assert left.get_xlabel() == "taken for"


def test_speakers_have_the_colour_of_their_gender():
    points = np.random.default_rng(0).normal(size=(4, 2))
    figure = voices.speaker_map(points, NAMES, ["F", "F", "M", None], "PCA")
    figure.draw_without_rendering()
    (ax,) = figure.axes
    women, men, unknown = ax.collections
    assert np.asarray(women.get_offsets()) == pytest.approx(points[:2])
    assert np.asarray(men.get_offsets()) == pytest.approx(points[2:3])
    assert np.asarray(unknown.get_offsets()) == pytest.approx(points[3:])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["women (2)", "men (1)", "not known (1)"]
    assert [text.get_text() for text in ax.texts] == NAMES
    many = voices.speaker_map(np.zeros((60, 2)), range(60), ["F"] * 60, "PCA")
    assert not many.axes[0].texts  # too many to read


def test_codes_of_one_sex_have_its_colour_and_unused_ones_are_crosses():
    points = np.random.default_rng(0).normal(size=(4, 2))
    figure = voices.code_map(points, [0.5, 0.3, 0.2, 0.0], [1.0, 0.0, 0.6, 0.0], 0.6, "PCA")
    figure.draw_without_rendering()
    dots, crosses = figure.axes[0].collections
    assert np.asarray(dots.get_offsets()) == pytest.approx(points[:3])
    assert np.asarray(crosses.get_offsets()) == pytest.approx(points[3:])
    women, _, shared = dots.to_rgba(dots.get_array())[:, :3]
    assert tuple(shared) == pytest.approx((1, 1, 1), abs=0.02)
    assert women[1] < women[0] < 1
    assert dots.get_sizes()[0] > dots.get_sizes()[2]
    assert figure.axes[1].get_ylim() == (0, 1)


@pytest.mark.parametrize("n", [1, 4, 6])
def test_voices_stand_side_by_side_with_source_and_target_marked(n):
    names = [f"voice {k}" for k in range(n)]
    waves = {name: 0.1 * np.random.default_rng(k).normal(size=RATE // 2) for k, name in enumerate(names)}
    figure = voices.voices(waves, RATE, {names[0]: "source", names[-1]: "target"} if n > 1 else {})
    figure.draw_without_rendering()
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == n
    assert {ax.get_xlim() for ax in shown} == {(0, 0.5)}
    assert {ax.get_ylim() for ax in shown} == {(0, RATE / 2)}
    if n > 1:
        assert [shown[0].get_title(loc="left"), shown[-1].get_title(loc="left")] == [
            "voice 0: source", f"voice {n - 1}: target"
        ]  # fmt: skip
    # every column says what its axis is, at its last panel
    written = [ax for ax in shown if ax.get_xlabel() == "time (s)"]
    assert len(written) == min(n, 4)


def test_conversions_are_a_bar_for_each_codec_beside_recordings():
    results = {
        "recordings": {"target": 0.9, "low": 0.8, "high": 0.95, "words": 0.8},
        "in_wae": {"target": 0.5, "low": 0.3, "high": 0.7, "words": 0.6},
        "in_wae, by number": {"target": 0.25, "low": 0.1, "high": 0.5, "words": 0.4},
    }
    figure = voices.conversions(results, {"in_wae, by number": "in_wae"})
    figure.draw_without_rendering()
    voice, words = figure.axes
    for ax, key in ((voice, "target"), (words, "words")):
        bars = [patch for patch in ax.patches if patch.get_height() < 1]
        assert [bar.get_width() for bar in bars] == [results[name][key] for name in list(results)[1:]]
        assert {bar.get_facecolor() for bar in bars} == {to_rgba(style.colour("in_wae"), 0.65)}
        assert any(line.get_xdata()[0] == results["recordings"][key] for line in ax.lines)
    assert [tick.get_text() for tick in voice.get_yticklabels()] == ["in_wae", "in_wae, by number"]
    reached = [segment[:, 0].tolist() for segment in voice.collections[0].get_segments()]
    assert np.asarray(reached) == pytest.approx(np.array([[0.3, 0.7], [0.1, 0.5]]))
    without = {name: row | {"words": float("nan")} for name, row in results.items()}
    assert len(voices.conversions(without).axes) == 1


def test_the_use_of_the_condition_by_many_stands_in_rows_of_two():
    table = {"rise": {"a": 0.0, "b": 1.0}, "low": {"a": 0.0, "b": 0.5}, "high": {"a": 0.0, "b": 1.5}}
    figure = voices.condition_use({name: table for name in "vwx"}, dict.fromkeys("vwx", "bits"))
    figure.draw_without_rendering()
    assert [ax.get_title() for ax in figure.axes] == ["v", "w", "x", ""]
    assert not figure.axes[3].axison
