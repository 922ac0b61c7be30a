"""What a MelNet depends on, drawn: sizes of its first tier beside published ones, how many tiers share a grid, and
how much of a recording they need."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from . import style

OURS = style.colour("melnet")


def sizes(
    found: Mapping[str, Mapping[int, float]], published: Mapping[str, Mapping[int, float]], mark: float
) -> Figure:
    """Loss over a size, a panel for each {what: {size: nats per value}}, every value printed: figure 6.4 of the
    source's write-up. Its own values have an axis of their own on the right, as other data in another unit are no
    rivals: only the shape of the two lines can be compared. `mark`: what a model costs that knows no neighbours."""
    figure, row = style.panels(1, len(found), height=3.9, sharey=True)
    spans, others = [], []
    for ax, (what, values) in zip(row[0], found.items()):
        ax.axhline(mark, color=style.BASELINE, linestyle="--", linewidth=1.4, label="a mixture per bin")
        _line(ax, values, OURS, "o-", "here", places=(7,))
        ax.set_xscale("log", base=2)
        shown = sorted({*values, *published.get(what, {})})
        ax.set_xticks(shown, [str(n) for n in shown], fontsize=8)
        ax.minorticks_off()
        ax.margins(x=0.08)
        ax.set_xlabel(what)
        spans.append(list(values.values()))
        if what in published:
            others.append(ax.twinx())
            label = "published: LJSpeech, its own unit"
            _line(others[-1], published[what], style.REFERENCE, "s:", label, places=(-13, 7))
    low, high = (f(v for span in spans for v in span) for f in (min, max))
    row[0, 0].set_ylim(low - 0.35 * (high - low), max(high, mark) + 0.45 * (high - low))
    row[0, 0].set_ylabel("nats per value")
    _share_limits(others)
    handles, labels = row[0, 0].get_legend_handles_labels()
    if others:
        others[-1].set_ylabel("published nats per value")
        more = others[0].get_legend_handles_labels()
        handles, labels = handles + more[0], labels + more[1]
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def ablation(
    numbers: Sequence[int],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    marks: Mapping[str, Mapping[str, float]],
) -> Figure:
    """A panel per measure {its name: {series: a value for each number of tiers}}, the first series in colour; `marks`
    {measure: {name: value}} are lines: what recordings come to."""
    figure, row = style.panels(1, len(panels), height=3.4)
    for ax, (name, series) in zip(row[0], panels.items()):
        for (label, values), colour, look in zip(series.items(), (OURS, style.BASELINE), ("o-", "s--")):
            _line(ax, dict(zip(numbers, values)), colour, look, label, places=(7,) if colour == OURS else ())
        for label, value in marks.get(name, {}).items():
            ax.axhline(value, color=style.REFERENCE, linestyle=":", linewidth=1.4, label=label)
        ax.set_xticks(list(numbers))
        ax.margins(x=0.15, y=0.25)
        if marks.get(name):
            ax.set_ylim(bottom=0)
        ax.set(xlabel="tiers")
        ax.set_title(name, fontsize=10)
        ax.legend(fontsize=8)
    return figure


def given(panels: Mapping[str, Mapping[str, Mapping[float, float]]]) -> Figure:
    """What is made of a recording over the share of its values that was given: a panel per measure {its name: {series:
    {share: value}}}, shares as powers of two; the last of several series, the one without a model, in grey."""
    figure, row = style.panels(1, len(panels), height=3.4)
    for ax, (name, series) in zip(row[0], panels.items()):
        shares = sorted({share for values in series.values() for share in values})
        for k, (label, values) in enumerate(series.items()):
            model = k == 0 or k < len(series) - 1
            look = (
                {"color": OURS, "alpha": 1 / (k + 1), "linestyle": "-"}
                if model
                else {"color": style.BASELINE, "linestyle": "--"}
            )
            ax.plot(sorted(values), [values[x] for x in sorted(values)], marker="os^D"[k % 4], label=label, **look)
        ax.set_xscale("log", base=2)
        ax.set_xticks(shares, [f"1/{round(1 / share)}" for share in shares])
        ax.minorticks_off()
        ax.set(xlabel="share of values that is real")
        ax.set_title(name, fontsize=10)
    figure.legend(*row[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _line(ax, values: Mapping[int, float], colour, marks: str, label: str, places: Sequence[int]) -> None:
    """{x: y} in the order of x; each y printed beside its mark, in turn so many points above it as `places` say."""
    at = sorted(values)
    ax.plot(at, [values[x] for x in at], marks, color=colour, markersize=5, label=label)
    for k, x in enumerate(at if places else ()):
        place = {"xytext": (0, places[k % len(places)]), "textcoords": "offset points", "ha": "center", "fontsize": 8}
        ax.annotate(f"{values[x]:.3f}", (x, values[x]), color=colour, **place)


def _share_limits(twins: Sequence) -> None:
    """One scale for the axes on the right, numbers at the last of them only."""
    if not twins:
        return
    ends = np.array([ax.get_ylim() for ax in twins])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    for ax in twins:
        ax.set_ylim(low - 0.25 * (high - low), high + 0.6 * (high - low))
        ax.spines["right"].set_visible(ax is twins[-1])
        ax.tick_params(right=ax is twins[-1], labelright=ax is twins[-1])
