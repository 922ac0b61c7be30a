"""Speech while it is made: heard before the end, stopped in the middle, spoken again; driven as a browser would."""

import re
import threading

import numpy as np
import pytest
import torch
from test_widgets import sounds

from speechlib.errors import SpeechlibError
from speechlib.widgets import Streaming

RATE = 8000


class Counting:
    """Blocks of 100 samples that count up; each waits for `go` where one is given."""

    def __init__(self, n_samples: int, go: threading.Semaphore | None = None, step: float = 1e-4):
        self.n_samples, self.go, self.step = n_samples, go, step

    def __iter__(self):
        for first in range(0, self.n_samples, 100):
            if self.go is not None and not self.go.acquire(timeout=20):
                raise TimeoutError
            yield (torch.arange(first, min(first + 100, self.n_samples)) * self.step)[None]


def seen(widget, what: str, text: str) -> None:
    """Wait until the value of one of its parts holds a text, as someone at the screen would."""
    part, there = getattr(widget, what), threading.Event()
    part.observe(lambda change: text in change["new"] and there.set(), "value")
    assert text in part.value or there.wait(20), part.value


def test_it_speaks_once_for_the_still():
    widget = Streaming("a voice", {}, lambda: Counting(1050), RATE)
    assert torch.equal(widget.wave, torch.arange(1050) * 1e-4)
    (heard,) = sounds(widget.still())
    np.testing.assert_allclose(heard, widget.wave, atol=1e-4)
    assert "a voice" in widget.still()
    assert "0.1 s at" in widget.told.value
    assert widget.bar.value == 1
    assert not widget.speak.disabled
    assert widget.stop.disabled
    assert widget._repr_mimebundle_()["text/html"] == widget.still()


def test_its_beginning_can_be_played_before_the_end_is_there():
    go = threading.Semaphore(100)
    widget = Streaming("a voice", {}, lambda: Counting(1000, go), RATE, ahead=0.05)
    while go.acquire(blocking=False):
        pass
    widget.speak.click()
    go.release(4)
    seen(widget, "beginning", "audio")  # 400 samples: 50 ms
    (beginning,) = sounds(widget.beginning.value)
    assert len(beginning) == 400
    assert widget.whole.value == ""
    assert widget.bar.value == pytest.approx(0.4)
    assert re.search(r"of 0.1 s, \d+\.\d s to wait", widget.told.value)
    assert widget.speak.disabled
    assert not widget.stop.disabled
    go.release(6)
    widget.wait()
    assert len(sounds(widget.whole.value)[0]) == 1000
    assert widget.beginning.value == ""


def test_stop_keeps_what_has_been_said_and_it_can_speak_again():
    go = threading.Semaphore(100)
    widget = Streaming("a voice", {}, lambda: Counting(1000, go), RATE, ahead=0.01)
    while go.acquire(blocking=False):
        pass
    widget.speak.click()
    widget.speak.click()  # a second click while it speaks does nothing
    go.release(3)
    seen(widget, "beginning", "audio")
    widget.stop.click()
    go.release(3)
    widget.wait()
    assert 100 <= len(widget.wave) <= 600
    assert "until stop" in widget.whole.value
    go.release(20)
    widget.speak.click()
    widget.wait()
    assert len(widget.wave) == 1000


def test_controls_are_read_when_it_begins_and_errors_are_shown():
    import ipywidgets

    def begin(step: float):
        if step > 0.5:
            raise SpeechlibError("too <loud>")
        return Counting(300, step=step)

    slider = ipywidgets.FloatSlider(1e-4, min=0, max=1, step=1e-5)
    widget = Streaming("a voice", {"step": slider}, begin, RATE)
    slider.value = 2e-4
    assert widget.wave[1] == pytest.approx(1e-4)
    widget.speak.click()
    widget.wait()
    assert widget.wave[1] == pytest.approx(2e-4)
    slider.value = 0.6
    widget.speak.click()
    widget.wait()
    assert "too &lt;loud&gt;" in widget.told.value
    assert not widget.speak.disabled


def test_a_wavenet_speaks_through_it(monkeypatch):
    """The widget of the notebook: what it says is what `generate` says with the same settings."""
    from types import SimpleNamespace

    from speechlib import systems
    from speechlib.features import FeatureConfig
    from speechlib.generation.wavenet import generate
    from speechlib.models.wavenet import WaveNet, WaveNetConfig
    from speechlib.widgets import wavenet_stream

    torch.manual_seed(0)
    config = WaveNetConfig(n_layers=2, n_stacks=1, residual_channels=4, gate_channels=8, skip_channels=4, scales=(80,))
    model = WaveNet(config, 3).eval()
    bands = FeatureConfig("log_mel", RATE, n_fft=256, win_length=256, hop_length=80, n_mels=3)
    given = torch.randn(3, 60)
    pack = SimpleNamespace(
        config_of=lambda kind: bands, features=lambda i, kind: given, speaker=[0], utterances=["one"], text=["hello"]
    )
    data = systems.Data(None, pack, {"val": [0]})
    widget = wavenet_stream(systems.Trained(model, SimpleNamespace(inputs="log_mel"), data, None), seconds=0.5)
    assert torch.equal(widget.wave, generate(model, given[None, :, :50], temperature=0.9)[0])
    widget.controls["temperature"].value = 0.0
    widget.speak.click()
    widget.wait()
    assert torch.equal(widget.wave, generate(model, given[None, :, :50], temperature=0.0)[0])
