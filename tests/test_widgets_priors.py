"""The explorer of a prior: what it shows follows its controls, and a batch run keeps a still."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechlib import systems, widgets
from speechlib.systems import Imagined

RATE = 8000


@pytest.fixture
def asked(monkeypatch):
    """What `imagine` was asked, answered with noise."""
    calls = []

    def imagine(trained, codec, speakers, seconds, beginning, **choice):
        calls.append((speakers, beginning, choice))
        wave = 0.1 * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(choice["seed"]))
        return [Imagined(speakers[0], np.arange(5), wave, beginning[1] if beginning else 0.0)]

    monkeypatch.setattr(systems, "imagine", imagine)
    monkeypatch.setattr(systems, "voicing", lambda codec: SimpleNamespace(nobody=True))
    return calls


def explorer():
    pack = SimpleNamespace(
        speakers=["ann", "bob"], genders=["F", "M"], speaker=np.array([0, 1]), utterances=["u0", "u1"],
        text=["a <b> c", None], config=SimpleNamespace(sample_rate=RATE),
        wave=lambda i: 0.1 * torch.ones(4 * RATE),
    )  # fmt: skip
    trained = SimpleNamespace(
        data=SimpleNamespace(pack=pack, split={"val": [1, 0]}), model=SimpleNamespace(n_speakers=2)
    )
    return widgets.prior_explorer(trained, None)


def test_it_asks_for_what_the_controls_say(asked):
    shown = explorer()
    assert asked[-1] == ([1], (1, 1.0), {"temperature": 0.9, "seed": 0})
    assert dict(shown.controls["speaker"].options) == {"ann (F)": 0, "bob (M)": 1, "nobody": -1}
    shown.controls["speaker"].value = -1
    shown.controls["beginning"].value = 0
    shown.controls["seed"].value = 7
    shown.controls["given"].value = 0.5
    assert asked[-1] == ([-1], (0, 0.5), {"temperature": 0.9, "seed": 7})
    assert "after 0.5 s of: a &lt;b&gt; c" in shown.views["about"].value
    assert shown.views["sound"].value.count("<audio") == 2
    shown.controls["given"].value = 0.0
    assert asked[-1] == ([-1], None, {"temperature": 0.9, "seed": 7})
    assert "from nothing" in shown.views["about"].value
    assert shown.views["sound"].value.count("<audio") == 1


def test_its_still_needs_no_kernel(asked):
    still = explorer().still()
    assert still.count("<audio") == 2
    assert "data:image/webp;base64," in still
    assert "codes: 0 1 2 3 4" in still
