"""What is shown and said of windows: figures of what they were given, neighbours by a slow loop, a slider."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_windows import make_pack

from speechlib.errors import SpeechlibError
from speechlib.evaluation.neighbours import knn_accuracy
from speechlib.figures import windows as figures
from speechlib.models.vae import VAE, VAEConfig
from speechlib.systems import windows as system
from speechlib.systems.data import Data, Trained
from speechlib.windows import Windows


def images(figure):
    return [np.asarray(image.get_array()) for ax in figure.axes for image in ax.images]


def test_pictures_hold_the_windows_in_order():
    windows = np.random.default_rng(0).normal(size=(3, 4, 5))
    shown = images(figures.rows({"a": windows, "b": -windows}, 100.0, ["x", "y", "z"]))
    assert len(shown) == 6
    assert all(np.allclose(image, window) for image, window in zip(shown, [*windows, *-windows]))
    (strip,) = images(figures.side_by_side({"a": windows}, 100.0))
    assert np.allclose(strip, np.concatenate(list(windows), 1))


def test_pictures_are_on_the_scale_of_the_first_row():
    first, second = np.arange(32.0).reshape(2, 4, 4), 100 * np.ones((2, 4, 4))
    figure = figures.pictures({"levels": first, "drawn": torch.from_numpy(second)}, ["3", "8"])
    figure.draw_without_rendering()
    assert all(np.array_equal(a, b) for a, b in zip(images(figure), [*first, *second]))
    assert {image.get_clim() for ax in figure.axes for image in ax.images} == {(0, 31)}
    assert [ax.get_title() for ax in figure.axes[:2]] == ["3", "8"]


def test_curves_show_both_parts_where_both_have_the_term():
    train = {"step": np.arange(1, 101), "loss": np.linspace(5, 1, 100), "slope": np.linspace(0, 1, 100)}
    validation = {"step": np.array([1, 50, 100]), "loss": np.array([50.0, 3.0, 2.0])}
    left, right = figures.parts(train, validation, ["loss", "slope"], "vae").axes
    assert [len(ax.lines) for ax in (left, right)] == [3, 2]
    assert left.get_ylim()[1] < 10  # the first steps do not flatten the rest
    line = figures.difference(train, validation, ["loss"]).axes[0].lines[0]
    assert line.get_ydata()[-1] == pytest.approx(-1, abs=0.3)  # the training part is smoothed


def test_runs_are_overlaid_by_name():
    steps = np.array([1, 50, 100])
    tables = {name: {"step": steps, "loss": low + np.array([50.0, 3.0, 2.0])} for name, low in (("a", 0), ("b", 9))}
    (panel,) = figures.overlaid(tables, ["loss"]).axes
    assert {line.get_label(): line.get_ydata().tolist() for line in panel.lines} == {
        "a": [50.0, 3.0, 2.0], "b": [59.0, 12.0, 11.0]
    }  # fmt: skip
    assert panel.get_ylim()[1] < 15
    train = {"step": np.arange(1, 101), "loss": np.full(100, 4.0)}
    (panel,) = figures.differences({name: (train, table) for name, table in tables.items()}, ["loss"]).axes
    assert panel.lines[0].get_ydata().tolist() == pytest.approx([-46, 1, 2])
    assert panel.lines[1].get_ydata().tolist() == pytest.approx([-55, -8, -7])


def test_a_map_is_drawn_once_per_label():
    points, labels = np.random.default_rng(0).normal(size=(40, 2)), np.array(list("ab") * 20)
    axes = figures.latent_map(points, {"sex": labels, "phone": labels}, "PCA").axes
    assert [ax.title.get_text() or ax.get_title(loc="left") for ax in axes] == ["sex", "phone"]


def test_neighbours_vote_as_in_a_slow_loop():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 3, 60), rng.integers(0, 6, 60)
    x = rng.normal(size=(60, 4)) + labels[:, None]
    right = 0
    for i in range(60):
        others = [j for j in range(60) if groups[j] != groups[i]]
        near = sorted(others, key=lambda j: ((x[j] - x[i]) ** 2).sum())[:5]
        right += np.bincount(labels[near], minlength=3).argmax() == labels[i]
    found = knn_accuracy(x, labels, groups)
    assert found.accuracy == pytest.approx(right / 60)
    assert found.majority == np.bincount(labels).max() / 60


def test_a_label_of_one_example_is_missed_and_one_utterance_is_refused():
    x, labels = np.arange(6.0)[:, None], np.array(["a", "a", "a", "a", "a", "b"])
    assert knn_accuracy(x, labels, np.arange(6)).accuracy == pytest.approx(5 / 6)
    with pytest.raises(SpeechlibError, match="only one"):
        knn_accuracy(x, labels, np.zeros(6))


@pytest.fixture(scope="module")
def trained():
    from speechlib import configs, presets

    pack = make_pack([[("a", 30), ("b", 25), ("sil", 5)] * 3] * 3)
    changes = {"model.channels": [4, 4, 4], "model.hidden": 8, "model.latent_dim": 2}
    experiment = configs.override(presets.get("vae", "smoke"), changes)
    torch.manual_seed(0)
    model = VAE(VAEConfig(channels=(4, 4, 4), hidden=8, latent_dim=2), 4, 20).eval()
    return Trained(model, experiment, Data(None, pack, {"train": [0, 1], "val": [2]}), None)


def test_terms_do_not_depend_on_the_batch(trained, monkeypatch):
    """Mistakes 10 and 15: sums divided by what was not counted."""

    def objective(model, batch):
        return {"loss": batch.inputs.mean()}

    windows = system.windows_of(trained.experiment, trained.data, "train")
    expected = windows.at(range(windows.n_windows)).inputs.mean().item()
    for size in (1, 5, 1024):
        monkeypatch.setattr(system, "_BATCH", size)
        assert system.mean_terms(trained.model, objective, windows)["loss"] == pytest.approx(expected, rel=1e-5)


def test_validation_reads_other_utterances(trained):
    """Mistake 6: the validation's loader was built from the training array."""
    parts = [system.windows_of(trained.experiment, trained.data, part) for part in ("train", "val")]
    assert set(parts[0].utterance) == {0, 1}
    assert set(parts[1].utterance) == {2}


def test_an_utterance_is_rebuilt_frame_for_frame(trained):
    rebuilt = system.reconstruct(trained, 0)
    assert rebuilt.shape == trained.data.pack.features(0, "log_mel").shape
    latents = system.latents(trained, "val")
    assert (latents.z.shape, set(latents.phone), set(latents.gender)) == ((6, 2), {"a", "b"}, {"F"})


def test_between_two_points_lengths_stay():
    a, b = torch.randn(4, 64), torch.randn(4, 64)
    torch.testing.assert_close(system.between(a, b, 0.0), a, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(system.between(a, b, 1.0), b, rtol=1e-3, atol=1e-3)
    assert (system.between(a, b, 0.5).norm(dim=1) > 0.85 * torch.minimum(a.norm(dim=1), b.norm(dim=1))).all()
    assert system.walk(VAE(VAEConfig(latent_dim=2), 4, 20).eval(), 50, 5).shape == (4, 50)


def test_draws_are_checked_against_windows(trained):
    found = system.sample_checks(trained, n=6)
    of_draws = {"sample_mean_error", "sample_variance", "sample_bands", "sample_nearest"}
    assert set(found) == of_draws | {"real_nearest"}
    assert all(np.isfinite(value) for value in found.values())


def test_bands_are_right_where_mean_and_variance_are(trained, monkeypatch):
    """Draws that are the validation part itself, but for one band of four."""
    windows = torch.randn(500, 4, 20, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(system, "windows_of", lambda *_: SimpleNamespace(
        n_windows=500, at=lambda some: SimpleNamespace(inputs=windows[torch.as_tensor(some)])
    ))  # fmt: skip
    drawn = windows.clone()
    drawn[:, 3] *= 2
    monkeypatch.setattr(trained.model, "sample", lambda n: drawn)
    assert system.sample_checks(trained, n=500)["sample_bands"] == 0.75


def test_the_slider_draws(trained):
    from speechlib.widgets import interpolation_explorer

    explorer = interpolation_explorer(trained, Windows(trained.data.pack, [0, 2], 4, 20))
    before = explorer.views["seen"].value
    explorer.controls["share"].value = 1.0
    assert explorer.views["seen"].value != before
    assert "<audio" in explorer.still()
