"""A prior over codes drawn: what a code costs, sequences of codes said and imagined, speech that goes on by itself."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style
from .alignment import draw_spectrogram
from .symbols import matrix

OURS = style.colour("prior")
RECORDED, IMAGINED = "recorded", "imagined"
COLOURS = {RECORDED: style.REFERENCE, IMAGINED: OURS}


def costs(
    bits: Mapping[str, float], speakers: Mapping[str, Sequence[float]], plain: float, rate: float, ours: str = "prior"
) -> Figure:
    """Bits per code of each measure as bars, a dot per speaker {measure: values} in rising order; the line is a plain
    index.

    `rate` (codes per second) makes bits per second of it, the axis on the right.
    """
    ax = style.axes(None, height=3.4)
    names = list(bits)
    colours = [OURS if name == ours else style.BASELINE for name in names]
    bars = ax.bar(range(len(names)), [bits[name] for name in names], 0.62, color=colours)
    ax.bar_label(bars, [f"{bits[name]:.2f}" for name in names], label_type="center", color="w", fontweight="bold")
    for x, name in enumerate(names):
        values = np.sort(np.asarray(speakers[name], dtype=float))
        spread = x + 0.22 * (np.arange(len(values)) - (len(values) - 1) / 2) / max(len(values) / 2, 1)
        ax.plot(spread, values, "o", color="0.25", markersize=3)
    ax.axhline(plain, color=style.REFERENCE, linestyle="--", linewidth=1.2)
    ax.annotate(
        f"a plain index: {plain:.1f} bits", (len(names) - 0.5, plain), (0, 3), textcoords="offset points", ha="right"
    )
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel="bits per code", ylim=(0, 1.12 * plain), xlim=(-0.6, len(names) - 0.4))
    ax.set_title("bars: all codes; dots: one speaker each", fontsize=9, color="0.3", pad=3)
    right = ax.twinx()
    right.set(ylabel="bits per second", ylim=(0, 1.12 * plain * rate))
    right.spines["right"].set_visible(True)
    return ax.figure


def learning(
    steps: Sequence[int], train: Sequence[float], checked: tuple[Sequence[int], Sequence[float]], marks: Mapping
) -> Figure:
    """Bits per code over the steps of a training, of crops and of held-out crops `checked` (steps, bits); `marks`
    {name: bits} are lines to get below."""
    ax, last = style.axes(None, height=3.2), max(steps)
    ax.plot(steps, train, color=OURS, alpha=0.35, linewidth=1, label="a batch of the training part")
    ax.plot(*checked, "o-", color=OURS, markersize=3, label="validation part")
    for k, (name, value) in enumerate(marks.items()):  # names side by side: their lines may lie close together
        ax.axhline(value, color=style.REFERENCE, linestyle=":", linewidth=1.2)
        place = last * (1 - 0.1 * (len(marks) - 1 - k))
        ax.annotate(name, (place, value), (0, 2), textcoords="offset points", ha="right", va="bottom", size=9)
    ax.set(xlabel="step", ylabel="bits per code", xlim=(0, last))
    ax.legend(loc="center right", bbox_to_anchor=(1, 0.62))
    return ax.figure


def around_changes(milliseconds: Sequence[float], curves: Mapping[str, Sequence[float]], ours: str = "prior") -> Figure:
    """Mean bits of a code by its time from a change of phone, a line per measure."""
    ax = style.axes(None, height=3.0)
    looks = iter((":", "--", "-."))
    for name, values in curves.items():
        look = {"color": OURS, "linewidth": 2} if name == ours else {"color": "0.45", "linestyle": next(looks)}
        ax.plot(milliseconds, values, marker="o", markersize=3, label=name, **look)
    ax.axvline(0, color="#00A0A0", linewidth=0.8)
    ax.annotate(
        "a new phone begins", (0, 1), (4, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
        va="top", size=9, color="#007070",
    )  # fmt: skip
    top = max(float(np.max(values)) for values in curves.values())
    ax.set(xlabel="time from the change (ms)", ylabel="bits per code", ylim=(0, 1.18 * top))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax.figure


def sequences(groups: Mapping[str, Sequence[tuple[str, Sequence[int]]]], step: float, codebook_size: int) -> Figure:
    """Codes in time as coloured strips, the same colour for the same code: {group: [(name, codes (L,))]}."""
    rows = sum(map(len, groups.values()))
    figure, grid = style.panels(
        len(groups), 1, height=0.9 + 0.27 * rows + 0.3 * len(groups), sharex=True,
        height_ratios=[len(members) for members in groups.values()],
    )  # fmt: skip
    order = np.random.default_rng(0).permutation(codebook_size)  # neighbours in number are no neighbours in sound
    colours = ListedColormap(style.distinct(codebook_size)[order]).with_extremes(bad="white")
    for ax, (group, members) in zip(grid[:, 0], groups.items()):
        longest = max(len(codes) for _, codes in members)
        strips = np.full((len(members), longest), np.nan)
        for row, (_, codes) in zip(strips, members):
            row[: len(codes)] = codes
        extent = (0, longest * step, len(members) - 0.5, -0.5)
        look = {"cmap": colours, "vmin": 0, "vmax": codebook_size - 1, "interpolation": "nearest"}
        ax.imshow(np.ma.masked_invalid(strips), origin="upper", aspect="auto", extent=extent, **look)
        ax.hlines(np.arange(1, len(members)) - 0.5, 0, longest * step, color="w", linewidth=2)
        ax.set_yticks(range(len(members)), [name for name, _ in members])
        ax.tick_params(axis="y", length=0)
        ax.set_title(group, fontsize=9, color="0.3", pad=3)
        for side in ax.spines.values():
            side.set_visible(False)
    style.seconds(grid[-1, 0].xaxis)
    return figure


def pairs(recorded, imagined, codes: Sequence[int]) -> Figure:
    """P(next | current) among some codes (K, K), recorded and imagined, on one scale."""
    figure, axes = style.panels(1, 2, height=4.6)
    top = max(np.max(recorded, initial=0), np.max(imagined, initial=0))
    for ax, values, title in ((axes[0, 0], recorded, RECORDED), (axes[0, 1], imagined, IMAGINED)):
        matrix(values, codes, codes, "next code", "current code", title, "P(next | current)", ax, top)
    return figure


def spoken(waves: Mapping[str, Sequence[float]], sample_rate: int, begins: Mapping[str, float] | None = None) -> Figure:
    """Spectrograms of {name: wave (S,)} over one axis of seconds; a line where {name: seconds} the imagined begins."""
    begins = begins or {}
    figure, grid = style.panels(len(waves), 1, height=0.6 + 1.45 * len(waves), sharex=True, sharey=True)
    for ax, (name, wave) in zip(grid[:, 0], waves.items()):
        draw_spectrogram(ax, wave, sample_rate)
        ax.set_title(name, fontsize=9, color="0.3", pad=3)
        ax.yaxis.set_major_locator(MaxNLocator(4))
        if name in begins:
            _begin(ax, begins[name])
    grid[0, 0].set_xlim(0, max(len(wave) for wave in waves.values()) / sample_rate)
    style.seconds(grid[-1, 0].xaxis)
    return figure


def _begin(ax: Axes, seconds: float) -> None:
    ax.axvline(seconds, color="w", linewidth=2.2)
    ax.axvline(seconds, color=OURS, linewidth=1.4, linestyle="--")
    for text, side in (("given", "right"), (IMAGINED, "left")):
        ax.annotate(
            text, (seconds, 0.93), (-5 if side == "right" else 5, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha=side, va="top", color="w", size=9,
        )  # fmt: skip
