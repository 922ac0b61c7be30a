"""Voices: what a decoder misses when it is told wrong, whom speech is taken for, how voices lie, how they look."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from . import style
from .alignment import draw_spectrogram
from .symbols import matrix

GENDERS = {"F": "#AA4499", "M": "#44AA99"}  # the colours of no system
_PALE = 0.65  # of bars: an interval is seen on the darkest colour
MARKS = {"source": style.REFERENCE, "target": "#D62728"}


def condition_use(tables: Mapping[str, Mapping[str, Mapping[str, float]]], units: Mapping[str, str]) -> Figure:
    """How much worse a decoder is when it is told wrong: a panel per system, a bar with its interval per way.

    tables: {system: {"rise", "low", "high": {way: value}}}, as a DataFrame has them; units: {system: of its error}.
    A way that rises by nothing at all (the right one) is left out: it is the axis.
    """
    columns = min(2, len(tables))
    rows = -(-len(tables) // columns)
    figure, grid = style.panels(rows, columns, height=3.0 * rows)
    for ax in grid.flat[len(tables) :]:
        ax.set_axis_off()
    for ax, (system, table) in zip(grid.flat, tables.items()):
        ways = [way for way in table["rise"].keys() if (table["rise"][way], table["high"][way]) != (0, 0)]
        rise, low, high = (np.array([table[column][way] for way in ways]) for column in ("rise", "low", "high"))
        places = np.arange(len(ways))[::-1]
        ax.barh(places, rise, 0.65, color=style.colour(system), alpha=_PALE)
        ax.errorbar(rise, places, xerr=np.abs([rise - low, high - rise]), fmt="none", ecolor="0.2", capsize=3)
        reach = max(float(np.abs([low, high]).max(initial=0)), 1e-9)
        for y, value, right in zip(places, rise, high):
            ax.annotate(f"{value:+.2g}", (max(right, 0), y), (5, 0), textcoords="offset points", va="center", size=9)
        ax.axvline(0, color="0.2", linewidth=0.8)
        ax.set_yticks(places, ways)
        ax.set(xlim=(min(0, 1.15 * low.min(initial=0)), 1.25 * reach), xlabel=f"rise in {units[system]}")
        ax.set_title(system)
    return figure


def recognition(by_source, by_target, sources: Sequence[str], targets: Sequence[str], voices: Sequence[str]) -> Figure:
    """Whom converted speech is taken for: by the voice that it comes from, and by the voice that was asked for.

    by_source (S, V) and by_target (R, V): shares over all voices, rows sum to 1. A conversion that works has its
    squares where the names agree on the right, and even rows on the left.
    """
    rows = max(len(sources), len(targets))
    figure, axes = style.panels(1, 2, height=np.clip(1.9 + 0.32 * rows, 2.9, 6.5), width=style.WIDTH)
    matrix(by_source, sources, voices, "taken for", "said by", "does the old voice stay?", ax=axes[0, 0], top=1)
    matrix(by_target, targets, voices, "taken for", "asked for", "does the new voice come?", ax=axes[0, 1], top=1)
    return figure


def conversions(results: Mapping[str, Mapping[str, float]], colours: Mapping[str, str] = {}) -> Figure:
    """Is the new voice heard, and are the words still there? A bar per codec for each, and what recordings get dashed.

    results: {name: {"target", "low", "high": share taken for the voice that was asked for, with its interval, "words":
    share of phones heard}}, "recordings" among them; colours {name: system}. Words that are not known have no panel.
    """
    names = [name for name in results if name != "recordings"]
    known = not any(np.isnan(result["words"]) for result in results.values())
    asked = {"target": "taken for the voice asked for"} | ({"words": "phones heard where they belong"} if known else {})
    figure, row = style.panels(1, len(asked), height=1.1 + 0.4 * len(names), sharey=True)
    places = np.arange(len(names))[::-1]
    for ax, (key, title) in zip(row[0], asked.items()):
        shares = np.array([results[name][key] for name in names])
        ax.barh(places, shares, 0.65, color=[style.colour(colours.get(name, name)) for name in names], alpha=_PALE)
        if key == "target":
            low, high = (np.array([results[name][end] for name in names]) for end in ("low", "high"))
            ax.errorbar(shares, places, xerr=np.abs([shares - low, high - shares]), fmt="none", ecolor="0.2", capsize=3)
        if "recordings" in results:
            ax.axvline(results["recordings"][key], color=style.REFERENCE, linestyle="--", linewidth=1)
        ax.set_yticks(places, names)
        ax.set(xlim=(0, 1.02), xlabel="share (dashed: recordings)", title=title)
    return figure


def speaker_map(
    points, names: Sequence[str], genders: Sequence[str | None], axes_name: str, ax: Axes | None = None
) -> Figure:
    """Speakers (N, 2) as dots with their names, coloured by gender; grey where it is not known."""
    points = np.asarray(points, dtype=float)
    ax = style.axes(ax, height=4.4, width=6.0)
    kinds = np.array([g if g in GENDERS else "" for g in genders])
    for kind, colour in {**GENDERS, "": style.BASELINE}.items():
        if (kinds == kind).any():
            label = {"F": "women", "M": "men", "": "not known"}[kind]
            ax.scatter(*points[kinds == kind].T, s=42, color=colour, label=f"{label} ({(kinds == kind).sum()})")
    for point, name in zip(points, names if len(names) <= 40 else ()):
        ax.annotate(str(name), point, (5, 4), textcoords="offset points", size=8, color="0.3")
    ax.margins(0.1)
    ax.set(xlabel=f"{axes_name} 1 (no unit)", ylabel=f"{axes_name} 2 (no unit)", xticks=[], yticks=[])
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3)
    return ax.figure


def code_map(points, shares, women, expected: float, axes_name: str, ax: Axes | None = None) -> Figure:
    """Codes (K, 2) as dots as large as they are frequent (shares (K,)), coloured by whose speech they are said in.

    women (K,): their share of a code's uses; `expected`, that of all speech, is white. Codes never said are crosses.
    """
    points, shares, women = (np.asarray(x, dtype=float) for x in (points, shares, women))
    ax = style.axes(ax, height=4.4, width=6.6)
    used = shares > 0
    colours = LinearSegmentedColormap.from_list("voices", [GENDERS["M"], "white", GENDERS["F"]])
    span = max(expected, 1 - expected)
    look = {"cmap": colours, "vmin": expected - span, "vmax": expected + span, "edgecolors": "0.5", "linewidths": 0.5}
    dots = ax.scatter(*points[used].T, s=10 + 250 * shares[used] / max(shares.max(), 1e-9), c=women[used], **look)
    ax.scatter(*points[~used].T, marker="x", s=18, color=style.BASELINE, linewidths=1)
    bar = ax.figure.colorbar(dots, ax=ax, fraction=0.04, pad=0.02, label="share of women among its uses")
    bar.ax.set_ylim(0, 1)
    ax.margins(0.06)
    ax.set(xlabel=f"{axes_name} 1 (no unit)", ylabel=f"{axes_name} 2 (no unit)", xticks=[], yticks=[])
    return ax.figure


def voices(waves: Mapping[str, Sequence[float]], sample_rate: int, marks: Mapping[str, str] = {}) -> Figure:
    """Spectrograms of {name: wave}, side by side on common axes; `marks` {name: "source" or "target"} frames some."""
    columns = min(4 if len(waves) <= 12 else 5, len(waves))
    rows = -(-len(waves) // columns)
    figure, grid = style.panels(rows, columns, height=0.5 + 1.5 * rows, sharex=True, sharey=True)
    for ax in grid.flat[len(waves) :]:
        ax.set_axis_off()
    for ax, (name, wave) in zip(grid.flat, waves.items()):
        draw_spectrogram(ax, wave, sample_rate)
        title = ax.set_title(f"{name}: {marks[name]}" if name in marks else name, fontsize=9, pad=4, loc="left")
        if name in marks:
            title.set_color(MARKS[marks[name]])
            ax.spines[:].set(visible=True, color=MARKS[marks[name]], linewidth=2.5)
        ax.label_outer()
    below = len(waves) - columns  # the last panel of each column writes the seconds
    for ax in grid.flat[max(below, 0) : len(waves)]:
        ax.tick_params(labelbottom=True)
        style.seconds(ax.xaxis)
    grid[0, 0].set_xlim(0, max(len(wave) for wave in waves.values()) / sample_rate)
    return figure
