"""The frame all explorers share: controls on top, views below, and a still wherever no kernel answers.

Nothing here is an `interact` or an `Output`: those can hang a batch run for ever. A control's value is observed, the
views are the values of HTML widgets, and figures are drawn off-screen without pyplot.
"""

from collections.abc import Callable
from html import escape

import ipywidgets

from ..errors import SpeechlibError

NO_MARGIN = {"margin": "0", "padding": "0"}


class Explorer(ipywidgets.VBox):
    """Controls {name: widget} and views (names), kept up to date by `render`.

    `render(**{name: value of the control})` gives {view: HTML}; it runs once at the start and after each change.
    Where nothing is live (a page, an untrusted notebook) the same views appear as plain HTML: the still.
    A SpeechlibError while rendering is shown in the view "note", so that one bad file does not end the exploring.
    """

    def __init__(
        self, title: str, controls: dict, views: list[str], render: Callable[..., dict[str, str]], arrange=None
    ):
        self.title, self.controls, self.render = title, controls, render
        self.views = {name: ipywidgets.HTML(layout=NO_MARGIN) for name in [*views, "note"]}
        self._rendered: dict | None = None
        for control in controls.values():
            control.observe(self._update, "value")
        self._update()
        top = ipywidgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"})
        super().__init__([top, *(arrange(self.views) if arrange else self.views.values()), self.views["note"]])

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
        views = "".join(f"<div>{view.value}</div>" for view in self.views.values() if view.value)
        return f"<div><b>{escape(self.title)}</b></div>{views}"

    def _repr_mimebundle_(self, **kwargs) -> dict:
        return super()._repr_mimebundle_(**kwargs) | {"text/plain": self.title, "text/html": self.still()}
