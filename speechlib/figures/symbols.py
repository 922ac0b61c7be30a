"""Tables of symbols: which follows which, which is read as which, how often each occurs and how long it lasts."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from . import style

ANNOTATED = 24  # matrices up to this size carry their numbers


def matrix(
    values,
    rows: Sequence,
    columns: Sequence,
    xlabel: str,
    ylabel: str,
    title: str = "",
    meaning: str = "share",
    ax: Axes | None = None,
    top: float | None = None,
) -> Figure:
    """Shares (R, C) as blue squares, row 0 on top, all symbols written up to about 70 of them; numbers in small ones.

    The scale runs from 0 to `top`, by default the largest value; `meaning` labels it.
    """
    values = np.asarray(values, dtype=float)
    n_rows, n_columns = values.shape
    ax = style.axes(ax, height=np.clip(1.4 + 0.13 * n_rows, 3.2, 9.0), width=np.clip(2.0 + 0.135 * n_columns, 4.5, 9.5))
    top = top or max(float(values.max(initial=0)), 1e-9)
    image = ax.imshow(values, origin="upper", aspect="auto", cmap=style.MAPS["share"], vmin=0, vmax=top)
    ax.figure.colorbar(image, ax=ax, fraction=0.04, pad=0.015, label=meaning)
    _ticks(ax.xaxis, columns)
    _ticks(ax.yaxis, rows)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.spines[["top", "right"]].set_visible(True)
    if max(n_rows, n_columns) <= ANNOTATED:
        for (i, j), value in np.ndenumerate(values):
            if value >= 0.005:
                look = {"color": "white" if value > 0.6 * top else "0.15", "fontsize": 9 if n_columns <= 12 else 6}
                ax.text(j, i, f"{value:.2f}".lstrip("0") if value < 1 else "1", ha="center", va="center", **look)
    return ax.figure


def bigrams(values, symbols: Sequence, what: str, ax: Axes | None = None) -> Figure:
    """P(next | current) of phones or codes (K, K), current on the left; `what` names them and their step."""
    return matrix(values, symbols, symbols, f"next {what}", f"current {what}", meaning="P(next | current)", ax=ax)


def bigram_pair(whole, leaving, symbols: Sequence, what: str) -> Figure:
    """Bigrams with the diagonal (how long a symbol stays) and without it (where it goes): side by side where small."""
    beside = len(symbols) <= 26
    side = np.clip(2.2 + 0.1 * len(symbols), 3.4, 4.6) if beside else np.clip(1.8 + 0.115 * len(symbols), 4.5, 8.4)
    shape, size = ((1, 2), (side, 2.25 * side)) if beside else ((2, 1), (2 * side, 1.12 * side))
    figure, axes = style.panels(*shape, height=size[0], width=size[1])
    for ax, values, title in zip(axes.flat, (whole, leaving), ("staying and leaving", "leaving only")):
        bigrams(values, symbols, what, ax)
        ax.set_title(title)
    return figure


def frequencies(
    shares, symbols: Sequence, what: str, colour: str = style.REFERENCE, even: bool = False, ax: Axes | None = None
) -> Figure:
    """Shares (K,) in the given order as bars in percent; even=True draws the line of equal use."""
    shares = np.asarray(shares, dtype=float)
    ax = style.axes(ax, height=2.6)
    ax.bar(np.arange(len(shares)), shares, color=colour, width=0.8)
    if even:
        ax.axhline(1 / len(shares), color=style.BASELINE, linestyle="--", linewidth=1)
        ax.annotate(
            "all equally often", (len(shares) - 0.5, 1 / len(shares)), ha="right", va="bottom", color="0.4", size=9
        )
    _ticks(ax.xaxis, symbols)
    ax.set(xlabel=what, ylabel="share (%)", xlim=(-0.7, len(shares) - 0.3))
    _percent(ax.yaxis)
    return ax.figure


def durations(
    seconds: Mapping[str, Sequence[float]], colours: Mapping[str, str] | None = None, ax: Axes | None = None
) -> Figure:
    """How long stretches of one symbol last: {name: seconds} as outlined histograms over one axis, medians marked."""
    ax = style.axes(ax, height=2.8)
    longest = max(float(np.percentile(values, 99)) for values in seconds.values())
    bins = np.arange(-0.005, longest + 0.015, 0.01)  # multiples of a step lie inside a bin, not on its edge
    for k, (name, values) in enumerate(seconds.items()):
        colour = (colours or {}).get(name, style.NEUTRAL[k % len(style.NEUTRAL)])
        median = float(np.median(values))
        weights = np.full(len(values), 1 / len(values))
        label = f"{name}: median {1000 * median:.0f} ms"
        ax.hist(values, bins, weights=weights, histtype="stepfilled", alpha=0.3, color=colour)
        ax.hist(values, bins, weights=weights, histtype="step", color=colour, label=label)
        ax.axvline(median, color=colour, linestyle=":", linewidth=1.2)
    ax.set(ylabel="share (%)", xlim=(0, bins[-1]))
    style.seconds(ax.xaxis, "duration (s)")
    _percent(ax.yaxis)
    ax.legend()
    return ax.figure


def _ticks(axis: Axis, symbols: Sequence) -> None:
    """Every symbol at its place; of more than 72 every n-th, so that what is written can be read."""
    skip = -(-len(symbols) // 72)
    shown = [str(s) for s in symbols][::skip]
    size = 9 if len(shown) <= 20 else 8 if len(shown) <= 48 else 7
    inches = axis.axes.figure.get_figwidth() / axis.axes.get_subplotspec().get_gridspec().ncols
    upright = axis.axis_name == "x" and sum(len(s) + 1.5 for s in shown) * size > 100 * inches
    axis.set_ticks(range(0, len(symbols), skip), shown, rotation=90 if upright else 0, fontsize=size)


def _percent(axis: Axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}"))
