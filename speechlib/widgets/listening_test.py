"""Which of two clips? A pair at a time, without names; votes are written as they are given, and told at the end."""

from html import escape

import ipywidgets

from ..evaluation.preference import SIDES
from .explorer import Explorer
from .players import LEFT, MUTED, players

QUESTION = "Which of the two sounds more like somebody who speaks?"


def listening_test(test, question: str = QUESTION, listener: str = "me") -> Explorer:
    """A `systems.listening.ListeningTest` to vote in: A and B of an item, a choice, and the next one.

    Whoever comes again goes on at their first open item. The key is opened for a listener who has judged every item. In
    a batch run its still is the first pair, and nobody votes.
    """
    mine = _choices(test, listener)
    controls = {
        "listener": ipywidgets.Text(listener, description="listener", continuous_update=False),
        "item": ipywidgets.IntSlider(_open(mine, test), min=1, max=len(test), description="item"),
        "choice": ipywidgets.ToggleButtons(options=[("not yet", ""), *((side, side) for side in SIDES)]),
    }
    who, item, choice = controls.values()
    choice.value = mine.get(item.value, "")

    def turn(_change) -> None:
        """Another item or listener: show how it was judged."""
        choice.value = _choices(test, who.value).get(item.value, "")

    def begin(change) -> None:
        item.value = _open(_choices(test, who.value), test)
        turn(change)

    def cast(change) -> None:
        if change["new"] and _choices(test, who.value).get(item.value) != change["new"]:
            test.vote(who.value, item.value, change["new"])
            item.value = min(item.value + 1, len(test))

    item.observe(turn, "value")
    who.observe(begin, "value")
    choice.observe(cast, "value")

    def render(listener, item, choice) -> dict[str, str]:
        given = _choices(test, listener)
        told = f"{len(given)} of {len(test)} items judged. {_told(test, listener, given)}"
        return {
            "question": f"<b>{escape(question)}</b>",
            "clips": players(test.clips(item), test.sample_rate).data,
            "told": f'<div style="{LEFT}; {MUTED}">{escape(told)}</div>',
        }

    return Explorer("A listening test", controls, [("question",), ("clips",), ("told",)], render)


def _choices(test, listener: str) -> dict[int, str]:
    return {vote.item: vote.choice for vote in test.votes() if vote.listener == listener}


def _open(judged: dict[int, str], test) -> int:
    """The first item that is not judged yet."""
    return next((item for item in range(1, len(test) + 1) if item not in judged), 1)


def _told(test, listener: str, given: dict[int, str]) -> str:
    if len(given) < len(test):
        return "What is which will be told after the last one."
    found = test.result(listener)
    return (
        f"{found.name} was preferred to {found.other} in {found.votes} of {found.n}: {found.share:.0%}, 95 % interval "
        f"{found.low:.0%} to {found.high:.0%}"
    )
