"""Speech while it is made: a button, how far it is and how long it will take, and sound before the end.

Generation runs in a thread of its own, so that the kernel goes on answering: to "stop", which keeps what is there, and
to the next cell. Where nothing is live (a page, an untrusted notebook) the last sound appears as plain HTML: the still.
"""

import threading
import time
from collections.abc import Callable, Iterator
from html import escape
from typing import Protocol

import ipywidgets
import torch

from ..errors import SpeechlibError
from .explorer import NO_MARGIN
from .players import player


class Stream(Protocol):
    """Blocks of samples (1, n) one after the other, n_samples in all: generation.wavenet.stream, or the like."""

    n_samples: int

    def __iter__(self) -> Iterator[torch.Tensor]: ...


class Streaming(ipywidgets.VBox):
    """Controls {name: widget}, "speak" and "stop"; `begin(**{name: value})` gives the Stream that is then played.

    The beginning can be played as soon as `ahead` seconds of it are there, the whole when it is done or stopped. What
    the controls say is spoken once at the start, in the foreground, so that there is a still. `wait()` returns when
    nothing is being spoken. A SpeechlibError is shown in place of the sound.
    """

    def __init__(self, title: str, controls: dict, begin: Callable[..., Stream], sample_rate: int, ahead: float = 0.5):
        self.title, self.controls, self.begin = title, controls, begin
        self.sample_rate, self.ahead = sample_rate, ahead
        self.wave = torch.zeros(0)  # what was spoken last
        self.speak = ipywidgets.Button(description="speak", button_style="primary")
        self.stop = ipywidgets.Button(description="stop", disabled=True)
        self.bar = ipywidgets.FloatProgress(value=0, max=1, layout={"width": "16em"})
        self.told, self.beginning, self.whole = (ipywidgets.HTML(layout=NO_MARGIN) for _ in range(3))
        self._stopped, self._thread = threading.Event(), None
        self.speak.on_click(self._start)
        self.stop.on_click(lambda _button: self._stopped.set())
        self._run()
        super().__init__(
            [
                ipywidgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"}),
                ipywidgets.HBox([self.speak, self.stop, self.bar, self.told], layout={"flex_flow": "row wrap"}),
                self.beginning,
                self.whole,
            ]
        )

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def still(self) -> str:
        """The last sound and what was said of it, as HTML that needs no kernel and no trust."""
        return f"<div><b>{escape(self.title)}</b></div>{self.whole.value}<div>{self.told.value}</div>"

    def _start(self, _button=None) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        self._stopped.clear()
        self.speak.disabled, self.stop.disabled = True, False
        self.beginning.value = self.whole.value = self.told.value = ""
        try:
            self._speak(self.begin(**{name: control.value for name, control in self.controls.items()}))
        except SpeechlibError as error:
            self.told.value = f"<b>{escape(str(error))}</b>"
        except Exception as error:  # a thread has nobody else to tell: memory, a driver, a mistake of ours
            self.told.value = f"<b>{escape(type(error).__name__)}: {escape(str(error))}</b>"
            raise
        finally:
            self.speak.disabled, self.stop.disabled = False, True

    def _speak(self, coming: Stream) -> None:
        blocks, done, began = [], 0, time.perf_counter()
        for block in coming:
            blocks.append(block[0])
            done += block.shape[1]
            rate = done / max(time.perf_counter() - began, 1e-9)
            self.bar.value = done / coming.n_samples
            left = (coming.n_samples - done) / rate
            self.told.value = f"{self._seconds(done)} of {self._seconds(coming.n_samples)}, {left:.1f} s to wait"
            if not self.beginning.value and done >= self.ahead * self.sample_rate and done < coming.n_samples:
                self.beginning.value = player(torch.cat(blocks), self.sample_rate, "its beginning, to play now").data
            if self._stopped.is_set():
                break
        self.wave = torch.cat(blocks)
        self.beginning.value = ""
        self.whole.value = player(
            self.wave, self.sample_rate, "all of it" if done == coming.n_samples else "until stop"
        ).data
        times = rate / self.sample_rate
        self.told.value = (
            f"{self._seconds(done)} at {rate:,.0f} samples/s, {times:.2g} times as quick as they are played"
        )

    def _seconds(self, n_samples: int) -> str:
        return f"{n_samples / self.sample_rate:.1f} s"

    def _repr_mimebundle_(self, **kwargs) -> dict:
        return super()._repr_mimebundle_(**kwargs) | {"text/plain": self.title, "text/html": self.still()}


def wavenet_stream(trained, part: str = "val", seconds: float = 1.5, temperature: float = 0.9) -> Streaming:
    """Hear a WaveNet speak an utterance while it is made, at any temperature and nucleus."""
    from ..systems import wavenet
    from .explorers import WIDE, part_of, title_of

    pack, config = trained.data.pack, trained.data.pack.config_of(trained.experiment.inputs)
    choices = [(title_of(pack, i), i) for i in part_of(trained, part)]
    slider = {"step": 0.05, "continuous_update": False, "readout_format": ".2f"}
    controls = {
        "utterance": ipywidgets.Dropdown(options=choices, description="utterance", layout=WIDE),
        "seconds": ipywidgets.FloatSlider(seconds, min=0.5, max=10, description="seconds", **slider | {"step": 0.5}),
        "temperature": ipywidgets.FloatSlider(temperature, min=0, max=1.2, description="temperature", **slider),
        "top_p": ipywidgets.FloatSlider(1.0, min=0.5, max=1, description="nucleus", **slider),
    }

    def begin(utterance: int, seconds: float, **options):
        shown = pack.features(utterance, trained.experiment.inputs)[:, : max(1, round(seconds * config.frame_rate))]
        return wavenet.speaking(trained, shown, int(pack.speaker[utterance]), **options)

    return Streaming("WaveNet, speaking", controls, begin, config.sample_rate)
