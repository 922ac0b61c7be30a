"""The frame all explorers share: controls on top, views below, and a still wherever no kernel answers.

Nothing here is an `interact` or an `Output`: those can hang a batch run for ever. A control's value is observed, the
views are the values of HTML widgets, and figures are drawn off-screen without pyplot.
"""

import base64
import io
from collections.abc import Callable
from html import escape

import ipywidgets
from matplotlib.figure import Figure

from ..errors import SpeechlibError

NO_MARGIN = {"margin": "0", "padding": "0"}


class Explorer(ipywidgets.VBox):
    """Controls {name: widget} and rows of views (names), kept up to date by `render`.

    `render(**{name: value of the control})` gives {view: HTML}; it runs once at the start and after each change.
    `dress` {view: function} puts a view into another widget, in the live layout only. Where nothing is live (a page, an
    untrusted notebook) the same views appear as plain HTML: the still. A SpeechlibError while rendering is shown in
    the view "note", so that one bad file does not end the exploring.
    """

    def __init__(
        self, title: str, controls: dict, rows: list[tuple], render: Callable[..., dict[str, str]], dress=None
    ):
        self.title, self.controls, self.render = title, controls, render
        self.rows = [*rows, ("note",)]
        self.views = {name: ipywidgets.HTML(layout=NO_MARGIN) for row in self.rows for name in row}
        self._rendered: dict | None = None
        for control in controls.values():
            control.observe(self._update, "value")
        self._update()
        live = self.views | {name: wrap(self.views[name]) for name, wrap in (dress or {}).items()}
        lines = [controls.values(), *([live[name] for name in row] for row in self.rows)]
        super().__init__([ipywidgets.HBox(list(line), layout={"flex_flow": "row wrap"}) for line in lines])

    def _update(self, _change=None) -> None:
        values = {name: control.value for name, control in self.controls.items()}
        if values == self._rendered:
            return
        self._rendered = values
        try:
            shown = self.render(**values)
        except SpeechlibError as error:
            shown = {"note": f"<b>{escape(str(error))}</b>"}
        for name, view in self.views.items():
            view.value = shown.get(name, "")

    def still(self) -> str:
        """What the views show now, as HTML that needs no kernel and no trust."""
        lines = [[self.views[name].value for name in row if self.views[name].value] for row in self.rows]
        cells = ["".join(f'<td style="vertical-align: top; text-align: left">{v}</td>' for v in line) for line in lines]
        body = "".join(
            f"<table><tr>{row}</tr></table>" if len(line) > 1 else "".join(line) for line, row in zip(lines, cells)
        )
        return f"<div><b>{escape(self.title)}</b></div>{body}"

    def _repr_mimebundle_(self, **kwargs) -> dict:
        return super()._repr_mimebundle_(**kwargs) | {"text/plain": self.title, "text/html": self.still()}


def picture(figure: Figure, alt: str) -> str:
    """A figure as an <img> that holds its WebP: of a spectrogram's noise PNG makes four times as many bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", dpi=100, pil_kwargs={"quality": 88, "method": 2})
    return f'<img alt="{escape(alt)}" src="data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
