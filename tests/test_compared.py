"""Models of windows side by side: distances with closed forms, rows that a careless comparison would get wrong."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_windows import make_pack

from speechlib import configs, presets
from speechlib.errors import SpeechlibError
from speechlib.evaluation import draws
from speechlib.evaluation.distortion import frechet_distance, frechet_of_gaussians
from speechlib.figures import windows as figures
from speechlib.systems import build
from speechlib.systems.compared import NAIVE, REAL, compared
from speechlib.systems.data import Data, Trained


def test_frechet_distance_of_gaussians_has_its_closed_form():
    """Diagonal covariances: |m_a - m_b|^2 + sum of (s_a - s_b)^2; rotated alike, it stays."""
    rng = np.random.default_rng(0)
    mean_a, mean_b, a, b = rng.normal(size=(4, 5))
    a, b = np.abs(a), np.abs(b)
    expected = ((mean_a - mean_b) ** 2).sum() + ((a - b) ** 2).sum()
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    turned = [turn @ np.diag(s**2) @ turn.T for s in (a, b)]
    assert frechet_of_gaussians(mean_a, np.diag(a**2), mean_b, np.diag(b**2)) == pytest.approx(expected)
    assert frechet_of_gaussians(turn @ mean_a, turned[0], turn @ mean_b, turned[1]) == pytest.approx(expected)
    assert frechet_of_gaussians(0, 4.0, 3, 9.0) == pytest.approx(9 + 1)


def test_frechet_distance_of_covariances_that_do_not_commute():
    """Against scipy's square root of the product, as it is usually written."""
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    a, b = (m @ m.T for m in rng.normal(size=(2, 4, 4)))
    expected = np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_of_gaussians(np.zeros(4), a, np.zeros(4), b) == pytest.approx(expected)


def test_frechet_distance_of_vectors_is_that_of_their_moments():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20_000, 3))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + [1, 0, 2]) == pytest.approx(5, rel=1e-6)
    assert frechet_distance(a, 3 * rng.normal(size=(20_000, 3))) == pytest.approx(3 * (3 - 1) ** 2, rel=0.03)
    with pytest.raises(SpeechlibError, match="with N, M > 1"):
        frechet_distance(a[:1], a)


def test_shapes_are_the_low_orders_of_a_cosine_transform():
    bands, frames = np.arange(80), np.arange(20)
    wave = np.cos(np.pi * 3 * (bands + 0.5) / 80)[:, None] * np.cos(np.pi * 2 * (frames + 0.5) / 20)
    (found,) = draws.shapes(wave[None]).reshape(1, 20, 4)
    assert found[3, 2] == pytest.approx((wave**2).sum() ** 0.5)
    found[3, 2] = 0
    assert np.abs(found).max() < 1e-9
    assert draws.shapes(np.zeros((2, 5, 3))).shape == (2, 15)  # fewer bands and frames than orders


def test_the_naive_model_has_the_bits_of_a_gaussian():
    rng = np.random.default_rng(0)
    std = np.array([1.0, 4.0])
    windows = 2 + std[:, None] * rng.normal(size=(5000, 2, 6))
    naive = draws.band_gaussian(windows)
    assert naive.bits(windows) == pytest.approx(0.5 * np.log2(2 * np.pi * np.e) + np.log2(std).mean(), rel=0.01)
    drawn = naive.sample(5000, 6)
    assert np.allclose(drawn.std((0, 2)), std, rtol=0.02)
    assert np.allclose(drawn.mean((0, 2)), 2, atol=0.1)


@pytest.fixture(scope="module")
def judged():
    """Two phones that differ in slope."""
    rng = np.random.default_rng(0)
    phones = np.array(["a", "b"])[rng.integers(0, 2, 1200)]
    slope = np.where(phones == "a", 1.0, -1.0)[:, None, None] * np.linspace(-1, 1, 8)[:, None]
    windows = slope + 0.5 * rng.normal(size=(1200, 8, 5))
    return draws.judge_of(windows[:600], phones[:600], windows[600:900]), windows[900:], phones[900:]


def test_other_real_windows_are_as_good_as_real_ones(judged):
    judge, others, phones = judged
    found = judge.judge(others)
    assert abs(found["mmd"]) < 0.01
    assert found["band_mean"] < 0.1
    assert found["band_variance"] < 0.1
    assert found["phones"] < 0.1
    assert judge.phones_heard(others, phones) > 0.95
    assert judge.phones_heard(-others, phones) < 0.05


def test_what_a_model_can_get_wrong_shows_in_its_number(judged):
    judge, others, phones = judged
    real = judge.judge(others)
    one = judge.judge(others[phones == "a"])  # forgot a phone
    still = judge.judge(0.5 * others)  # half as loud: a quarter of the variance
    shifted = judge.judge(others + others.std())
    assert one["phones"] == pytest.approx(0.5, abs=0.1)
    assert still["band_variance"] == pytest.approx(0.75, abs=0.03)
    assert shifted["band_mean"] == pytest.approx(1, abs=0.3)
    for wrong in (one, still, shifted):
        assert wrong["frechet"] > 3 * real["frechet"]
        assert wrong["mmd"] > 3 * abs(real["mmd"])


def _trained(system: str, pack, **changes) -> Trained:
    small = {"model.channels": [4, 4, 4], "model.latent_dim": 3} | ({} if system == "wgan" else {"model.hidden": 8})
    experiment = configs.override(presets.get(system, "smoke"), small | changes)
    experiment = configs.override(experiment, {"pack.features": [configs.to_dict(pack.config.features[0])]})
    data = Data(None, pack, {"train": [0, 1], "val": [2]})
    return Trained(build(experiment, data).eval(), experiment, data, None)


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    pack = make_pack([[("a", 30), ("b", 25), ("sil", 5)] * 8] * 3)
    pack.frames["log_mel"] += torch.randn_like(pack.frames["log_mel"])
    return {name: _trained(name, pack) for name in ("vae", "wae", "wae_gan", "wgan")}


def test_models_on_the_same_windows_have_the_rows_that_they_can_have(models):
    found = compared(models, n=12)
    assert list(found.rows) == [REAL, NAIVE, "vae", "wae", "wae_gan", "wgan"]
    assert list(found.windows) == list(found.rows)
    assert all(windows.shape[1:] == (4, 20) for windows in found.windows.values())
    having = {term: [name for name, row in found.rows.items() if term in row] for term in ("bits", "squared_error")}
    assert having == {"bits": [NAIVE, "vae"], "squared_error": [NAIVE, "vae", "wae", "wae_gan"]}
    assert all({"frechet", "mmd", "confidence", "phones"} <= row.keys() for row in found.rows.values())
    again = compared(models, n=12)
    assert again.rows == found.rows


def test_every_row_is_of_as_many_windows(models):
    """A Frechet distance between few vectors is larger: rows of different numbers would not compare."""
    found = compared(models, n=100_000)
    assert {len(windows) for windows in found.windows.values()} == {len(found.judged)}


def test_squared_error_is_of_standardised_windows(models):
    """Whatever the units of the features, windows that are rebuilt as the mean have an error near 1."""
    model = models["wae"].model
    constant = SimpleNamespace(**{name: getattr(model, name) for name in ("sizes", "latents", "sample", "parameters")})
    constant.decode = lambda z: model.inputs.mean[:, None].expand(len(z), -1, 20)
    row = compared({"wae": models["wae"]._replace(model=constant)}, n=12).rows["wae"]
    judged = model.inputs(compared({"wae": models["wae"]}, n=12).judged)
    assert row["squared_error"] == pytest.approx(judged.square().mean().item(), rel=1e-4)


def test_models_of_other_windows_are_refused(models):
    pack = models["vae"].data.pack
    other = _trained("wae", pack, **{"training.n_frames": 16})
    with pytest.raises(SpeechlibError, match="wae has windows of"):
        compared({"vae": models["vae"], "wae": other}, n=12)
    other = _trained("wae", pack, **{"split.seed": 3})
    with pytest.raises(SpeechlibError, match="split of wae"):
        compared({"vae": models["vae"], "wae": other}, n=12)


def test_bars_show_what_there_is():
    rows = {"vae": {"bits": 1.5}, "nobody": {"frechet": -2.0}}
    left, right = figures.questions(rows, {"bits": "bits", "frechet": "distance"}).axes
    assert [text.get_text() for text in left.texts] == ["1.5", ""]
    assert [text.get_text() for text in right.texts] == ["", "-2"]
    left, right = figures.bands({"vae": np.ones((3, 4, 2)), "real": np.zeros((3, 4, 2))}, "real").axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[1.0] * 4, [0.0] * 4]
    assert right.lines[1].get_linewidth() == 4
