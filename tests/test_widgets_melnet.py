"""The explorer of a MelNet: outlines, beginnings and nothing; what it shows follows its controls."""

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
