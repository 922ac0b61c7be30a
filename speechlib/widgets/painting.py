"""A grid while it is drawn: the picture of what there is, how far it is and how long it will take, and a stop.

As streaming.py is for waves: drawing runs in a thread of its own, so that the kernel goes on answering: to "stop",
which keeps what is there, and to the next cell. Where nothing is live the last picture and its sound are the still.
"""

import threading
import time
from collections.abc import Callable
from html import escape

import ipywidgets
import numpy as np
import torch

from ..errors import SpeechlibError
from .explorer import NO_MARGIN, picture
from .players import player

REDRAWN = 0.5  # seconds between two pictures: each takes a tenth of one to make


class Painting(ipywidgets.VBox):
    """Controls {name: widget}, "draw" and "stop".

    `draw(progress, look, stop, **{name: value})` draws one clip as generation.melnet does and gives what it has drawn;
    `show(stages)` is a figure of its grids so far, `hear(drawn)` a wave, or None where there is nothing to hear yet.
    It draws once at the start, in the foreground and without pictures on the way, so that there is a still. `wait()`
    returns when nothing is being drawn. A SpeechlibError is shown in place of the sound.
    """

    def __init__(self, title: str, controls: dict, draw: Callable, show: Callable, hear: Callable, sample_rate: int):
        self.title, self.controls, self.sample_rate = title, controls, sample_rate
        self.draw, self.show, self.hear = draw, show, hear
        self.drawn = None  # what was drawn last
        self.begin = ipywidgets.Button(description="draw", button_style="primary")
        self.stop = ipywidgets.Button(description="stop", disabled=True)
        self.bar = ipywidgets.FloatProgress(value=0, max=1, layout={"width": "16em"})
        self.told, self.grid, self.sound = (ipywidgets.HTML(layout=NO_MARGIN) for _ in range(3))
        self._stopped, self._thread = threading.Event(), None
        self.begin.on_click(self._start)
        self.stop.on_click(lambda _button: self._stopped.set())
        self._run(live=False)
        super().__init__(
            [
                ipywidgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"}),
                ipywidgets.HBox([self.begin, self.stop, self.bar, self.told], layout={"flex_flow": "row wrap"}),
                self.grid,
                self.sound,
            ]
        )

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def still(self) -> str:
        """The last picture, its sound and what was said of it, as HTML that needs no kernel and no trust."""
        title = f"<div><b>{escape(self.title)}</b></div>"
        return f"{title}{self.grid.value}{self.sound.value}<div>{self.told.value}</div>"

    def _start(self, _button=None) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self, live: bool = True) -> None:
        self._stopped.clear()
        self.begin.disabled, self.stop.disabled = True, False
        self.sound.value = self.told.value = ""
        try:
            self._paint(live, **{name: control.value for name, control in self.controls.items()})
        except SpeechlibError as error:
            self.told.value = f"<b>{escape(str(error))}</b>"
        except Exception as error:  # a thread has nobody else to tell: memory, a driver, a mistake of ours
            self.told.value = f"<b>{escape(type(error).__name__)}: {escape(str(error))}</b>"
            raise
        finally:
            self.begin.disabled, self.stop.disabled = False, True

    def _paint(self, live: bool, **values) -> None:
        began, stages, shown, all_done = time.perf_counter(), {}, 0.0, 0

        def progress(done: int, total: int, text: str) -> None:
            nonlocal all_done
            all_done = done
            rate = done / max(time.perf_counter() - began, 1e-9)
            self.bar.value = done / total
            self.told.value = f"{text}, {rate:,.0f} values/s, {(total - done) / rate:.1f} s to wait"

        def look(partial) -> None:
            nonlocal shown
            stages[partial.tier] = partial.grid
            if live and time.perf_counter() - shown > REDRAWN:
                self._picture([stages[tier] for tier in sorted(stages)])
                shown = time.perf_counter()

        self.drawn = self.draw(progress=progress, look=look, stop=self._stopped.is_set, **values)
        took = time.perf_counter() - began
        self._picture(self.drawn.stages)
        whole = not self._stopped.is_set()
        wave = self.hear(self.drawn)  # takes seconds: a stop meanwhile comes too late to be one
        if wave is not None:
            title = "all of it" if whole else "until stop, straight lines behind it"
            self.sound.value = player(wave, self.sample_rate, title).data
        self.told.value = f"{'drawn' if whole else 'stopped'} after {took:.2g} s: {all_done:,} values"

    def _picture(self, stages: list[torch.Tensor]) -> None:
        grids = [np.asarray(stage[0]) for stage in stages]
        self.grid.value = picture(self.show(grids), "the grids of all tiers, as far as they are drawn")

    def _repr_mimebundle_(self, **kwargs) -> dict:
        return super()._repr_mimebundle_(**kwargs) | {"text/plain": self.title, "text/html": self.still()}
