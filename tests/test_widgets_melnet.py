"""The explorer of a MelNet: outlines, beginnings and nothing; what it shows follows its controls."""

import re
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechlib import widgets
from speechlib.features import FeatureConfig
from speechlib.models.melnet import MelNet, MelNetConfig

BANDS = FeatureConfig("log_mel", 8000, n_fft=256, win_length=256, hop_length=128, n_mels=12)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = MelNet(MelNetConfig((1, 1, 1), hidden=6, n_mixtures=2, speaker_dim=2), 12, 2).eval()
    model.fit(torch.full((12,), -6.0), torch.ones(12), torch.full((12,), -9.0), torch.full((12,), -3.0))
    grids = [-6 + torch.randn(12, 40, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    pack = SimpleNamespace(
        speakers=["ann", "bob"], genders=["F", "M"], speaker=np.array([0, 1]), utterances=["u0", "u1"],
        text=["a <b> c", None], config=SimpleNamespace(sample_rate=8000), config_of=lambda kind: BANDS,
        features=lambda i, kind: grids[i],
    )  # fmt: skip
    return SimpleNamespace(
        data=SimpleNamespace(pack=pack, split={"val": [1, 0]}),
        model=model,
        experiment=SimpleNamespace(inputs="log_mel"),
    )


def test_it_draws_what_the_controls_say(trained):
    shown = widgets.melnet_explorer(trained, seconds=0.5)
    assert "1 of 3 tiers are those of: u1" in shown.views["about"].value
    assert shown.views["sound"].value.count("<audio") == 2
    before = shown.views["stages"].value
    shown.controls["speaker"].value = -1
    assert shown.views["stages"].value != before
    shown.controls["recording"].value = 0
    assert "a &lt;b&gt; c" in shown.views["about"].value
    shown.controls["kept"].value = 0
    assert "from nothing" in shown.views["about"].value
    assert shown.views["sound"].value.count("<audio") == 1
    shown.controls["given"].value = 0.2
    assert "after 0.2 s of: a &lt;b&gt; c" in shown.views["about"].value


def test_its_still_needs_no_kernel(trained):
    still = widgets.melnet_explorer(trained, seconds=0.5).still()
    assert still.count("<audio") == 2
    assert "data:image/webp;base64," in still


def test_it_draws_once_for_the_still(trained):
    painting = widgets.melnet_painting(trained, seconds=0.5, seed=3)
    still = painting.still()
    assert still.count("<audio") == still.count("<img") == 1
    assert re.search(r"drawn after [\d.e-]+ s: 372 values", painting.told.value)  # 12 bands x 31 frames
    assert painting.bar.value == 1
    assert "all of it" in painting.sound.value
    assert painting.drawn.features.isfinite().all()
    assert painting.stop.disabled
    assert not painting.begin.disabled
    assert painting._repr_mimebundle_()["text/html"] == still


def test_one_watches_it_grow_and_stops_it(trained, monkeypatch):
    """The picture changes while it draws; a stop in the second tier keeps the first, which is heard with lines."""
    monkeypatch.setattr("speechlib.widgets.painting.REDRAWN", 0)
    painting, pictures, reached = widgets.melnet_painting(trained, seconds=0.5), [], threading.Event()
    painting.grid.observe(lambda change: pictures.append(change["new"]), "value")
    go = threading.Semaphore(0)

    def slowly(change):  # once tier 2 has begun it waits for the click
        if "tier 2" in change["new"] and not reached.is_set():
            reached.set()
            assert go.acquire(timeout=30)

    painting.told.observe(slowly, "value")
    painting.begin.click()
    assert reached.wait(30)
    assert re.search(r"tier 2 of 3, [\d,]+ values/s, \d+\.\d s to wait", painting.told.value)
    assert painting.begin.disabled
    assert not painting.stop.disabled
    painting.stop.click()
    go.release()
    painting.wait()
    assert len(set(pictures)) >= 2
    assert len(painting.drawn.stages) == 2
    assert painting.drawn.features.isnan().any()
    assert "until stop, straight lines behind it" in painting.sound.value
    assert "stopped after" in painting.told.value
    painting.begin.click()
    painting.wait()
    assert painting.drawn.features.isfinite().all()
    assert "all of it" in painting.sound.value


def test_a_stop_before_the_first_tier_is_done_leaves_a_picture(trained, monkeypatch):
    painting = widgets.melnet_painting(trained, seconds=0.5)
    monkeypatch.setattr(painting._stopped, "is_set", lambda: True)
    painting.begin.click()
    painting.wait()
    assert len(painting.drawn.stages) == 1
    assert painting.sound.value == ""
    assert "<img" in painting.grid.value


def test_what_it_cannot_draw_is_said(trained):
    painting = widgets.melnet_painting(trained, seconds=0.01)
    assert "3 tiers cannot share 12 bins x 1 frames" in painting.told.value
    assert painting.drawn is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_goes_wrong_in_its_thread_is_said(trained, monkeypatch):
    painting = widgets.melnet_painting(trained, seconds=0.5)

    def out_of_memory(*_, **__):
        raise MemoryError("no room for <8 GB>")

    monkeypatch.setattr(painting, "_paint", out_of_memory)
    painting.begin.click()
    painting.wait()
    assert "MemoryError: no room for &lt;8 GB&gt;" in painting.told.value
    assert not painting.begin.disabled


def test_pictures_are_not_drawn_more_often_than_they_are_looked_at(trained, monkeypatch):
    painting, pictures = widgets.melnet_painting(trained, seconds=0.5), []
    monkeypatch.setattr("speechlib.widgets.painting.REDRAWN", 1e9)
    painting.grid.observe(lambda change: pictures.append(change["new"]), "value")
    painting.controls["seed"].value = 1
    painting.begin.click()
    painting.wait()
    assert len(pictures) == 1  # the whole
