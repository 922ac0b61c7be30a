"""Tables of symbols: which follows which, which is read as which, how often each occurs and how long it lasts."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

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
) -> Figure:
    """Shares (R, C) as blue squares, row 0 on top, all symbols written up to about 70 of them; numbers in small ones.

    The scale runs from 0 to the largest value; `meaning` labels it.
    """
    values = np.asarray(values, dtype=float)
    n_rows, n_columns = values.shape
    ax = style.axes(ax, height=np.clip(1.4 + 0.13 * n_rows, 3.2, 9.0), width=np.clip(2.0 + 0.135 * n_columns, 4.5, 9.5))
    top = max(float(values.max(initial=0)), 1e-9)
    image = ax.imshow(values, origin="upper", aspect="auto", cmap=style.MAPS["share"], vmin=0, vmax=top)
    ax.figure.colorbar(image, ax=ax, fraction=0.04, pad=0.015, label=meaning)
    _ticks(ax.xaxis, columns, rotation=90 if max(len(str(c)) for c in columns) > 1 and n_columns > 12 else 0)
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
    """Bigrams with the diagonal (how long a symbol stays) beside those without (where it goes)."""
    side = np.clip(2.2 + 0.09 * len(symbols), 3.4, 6.2)
    figure, axes = style.panels(1, 2, height=side, width=2.25 * side)
    for ax, values, title in zip(axes[0], (whole, leaving), ("staying and leaving", "leaving only")):
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
    _ticks(ax.xaxis, symbols, rotation=90 if len(symbols) > 20 else 0)
    ax.set(xlabel=what, ylabel="share (%)", xlim=(-0.7, len(shares) - 0.3))
    ax.yaxis.set_major_formatter(PercentFormatter(1, symbol="", decimals=None))
    return ax.figure


def durations(
    seconds: Mapping[str, Sequence[float]], colours: Mapping[str, str] | None = None, ax: Axes | None = None
) -> Figure:
    """How long stretches of one symbol last: {name: seconds} as outlined histograms over one axis, medians marked."""
    ax = style.axes(ax, height=2.8)
    longest = max(float(np.percentile(values, 99)) for values in seconds.values())
    bins = np.arange(0, longest + 0.02, 0.01)
    for k, (name, values) in enumerate(seconds.items()):
        colour = (colours or {}).get(name, list(style.COLOURS.values())[k])
        median = float(np.median(values))
        weights = np.full(len(values), 1 / len(values))
        label = f"{name}: median {1000 * median:.0f} ms"
        ax.hist(values, bins, weights=weights, histtype="stepfilled", alpha=0.3, color=colour)
        ax.hist(values, bins, weights=weights, histtype="step", color=colour, label=label)
        ax.axvline(median, color=colour, linestyle=":", linewidth=1.2)
    ax.set(ylabel="share (%)", xlim=(0, bins[-1]))
    style.seconds(ax.xaxis, "duration (s)")
    ax.yaxis.set_major_formatter(PercentFormatter(1, symbol="", decimals=None))
    ax.legend()
    return ax.figure


def _ticks(axis, symbols: Sequence, rotation: int = 0) -> None:
    """Every symbol at its place; of more than 72 every n-th, so that what is written can be read."""
    skip = -(-len(symbols) // 72)
    size = 9 if len(symbols) <= 20 else 7 if len(symbols) <= 48 else 6
    axis.set_ticks(range(0, len(symbols), skip), [str(s) for s in symbols][::skip], rotation=rotation, fontsize=size)
