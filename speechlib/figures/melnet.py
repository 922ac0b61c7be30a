"""MelNet drawn: points drawn two numbers at a time, what a value hears, mixtures, grids from coarse
to fine, and where in a text each frame looks."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from . import style

OURS = style.colour("melnet")
LENGTH = 7  # decades of influence that are told apart


def pairs(points: Mapping[str, np.ndarray], density, extent: float) -> Figure:
    """Points (N, 2) that were learned and that were drawn, {title: points}, and beside them the density (n, n) over
    [-extent, extent] in both directions, rows from below."""
    figure, axes = style.panels(1, len(points) + 1, height=3.2)
    for ax, (title, some), colour in zip(axes[0], points.items(), (style.REFERENCE, OURS)):
        ax.plot(*np.asarray(some).T, ".", color=colour, markersize=2, alpha=0.6)
        ax.set_title(title)
    edges = (-extent, extent, -extent, extent)
    axes[0, -1].imshow(np.asarray(density) ** 0.5, extent=edges, cmap="magma")  # the root: valleys are seen as well
    axes[0, -1].set_title("density learned")
    for ax in axes[0]:
        ax.set(xlim=edges[:2], ylim=edges[2:], xlabel="first number", aspect="equal")
    axes[0, 0].set_ylabel("second number")
    return figure


def influences(panels: Mapping[str, np.ndarray], place: tuple[int, int], unit: str = "gradient, log10") -> Figure:
    """How much each value of a grid (bins, frames) moves the one at `place` (bin, frame), marked; white: not at all."""
    figure, axes = style.panels(1, len(panels), height=2.9, sharey=True)
    for ax, (title, moved) in zip(axes[0], panels.items()):
        moved = np.asarray(moved, dtype=float)
        levels = np.log10(np.where(moved > 0, moved, np.nan))
        top = np.nanmax(levels) if np.isfinite(levels).any() else 0.0
        image = ax.imshow(levels, cmap="viridis", vmin=top - LENGTH, vmax=top)
        bin, frame = place
        ax.plot(frame, bin, "s", color=OURS, markersize=7, markeredgecolor="w")
        ax.set(xlabel="frame")
        ax.set_title(f"{title}: {int((moved > 0).sum())} of {moved.size} values", fontsize=10)
        ax.set_xticks(range(0, moved.shape[1], max(1, moved.shape[1] // 6)))
    axes[0, 0].set_ylabel("bin")
    figure.colorbar(image, ax=axes[0], label=unit, shrink=0.9)
    return figure


def mixtures(x, densities: Sequence, values: Sequence[float], titles: Sequence[str]) -> Figure:
    """Densities over x (n,), a panel each: what was believed of a value; the line is what it was."""
    figure, axes = style.panels(1, len(densities), height=2.4)
    for ax, density, value, title in zip(axes[0], densities, values, titles):
        ax.fill_between(x, density, color=OURS, alpha=0.5)
        ax.axvline(value, color=style.REFERENCE, linestyle="--", linewidth=1.2)
        ax.set(xlabel="value", yticks=[], ylim=(0, None))
        ax.set_title(title, fontsize=9)
    axes[0, 0].set_ylabel("density")
    return figure


def learning(
    steps: Sequence, train: Mapping[str, Sequence], checked: tuple[Sequence, Mapping], marks: Mapping
) -> Figure:
    """A panel per tier {name: nats per value}: training batches, `checked` (steps, {name: values}) of the validation
    part, and a line at `marks` {name: value}, the baseline to get below."""
    figure, axes = style.panels(1, len(train), height=2.9, sharey=True)
    for ax, (name, values) in zip(axes[0], train.items()):
        ax.plot(steps, values, color=OURS, alpha=0.4, linewidth=1, label="training batches")
        ax.plot(checked[0], checked[1][name], "o-", color=OURS, markersize=3, label="validation part")
        ax.axhline(marks[name], color=style.BASELINE, linestyle="--", linewidth=1.4, label="a mixture per bin")
        ax.set(xlabel="step", title=name)
    low = min(float(np.min(values)) for values in train.values())
    high = max(marks.values())
    axes[0, 0].set(ylabel="nats per value", ylim=(low - 0.15 * (high - low), high + 0.6 * (high - low)))
    axes[0, -1].legend(loc="upper right")
    return figure


def grids(rows: Mapping[str, Sequence], titles: Sequence[str], seconds: float, ticks: Sequence[tuple] = ()) -> Figure:
    """Rows of grids (bins, frames), all as long and as high as the last: coarse ones have larger squares.

    ticks [(share of the height, name)] of the bins. NaN is left white: nothing is there yet. The colours of a row are
    those of its last grid that has something.
    """
    n = max(map(len, rows.values()))
    figure, axes = style.panels(len(rows), n, height=0.5 + 1.75 * len(rows), sharex=True, sharey=True)
    for number, (row, (name, pictures)) in enumerate(zip(axes, rows.items())):
        last = next((p for p in reversed(pictures) if np.isfinite(p).any()), np.zeros(1))
        low, high = np.nanpercentile(np.asarray(last), [2, 99.8])
        for ax, picture, title in zip(row, pictures, titles):
            ax.imshow(picture, extent=(0, seconds, 0, 1), cmap=style.MAPS["energy"], vmin=low, vmax=high)
            if number == 0:
                ax.set_title(f"{title}\n{picture.shape[0]}x{picture.shape[1]}", fontsize=9)
            ax.set_yticks([place for place, _ in ticks], [text for _, text in ticks])
        row[0].set_ylabel(name)
    for ax in axes[-1]:
        style.seconds(ax.xaxis)
    return figure


def reading(pages: Mapping[str, tuple], said: Mapping[str, np.ndarray] = {}) -> Figure:
    """A column per page {title: (grid (F, T), attention (T, L), letters)}: the grid, and below it how much of each
    letter every frame looks at. `said` {title: places (T,)}: the letter that each frame belongs to, where known."""
    figure, axes = style.panels(2, len(pages), height=2.4, sharex=True)
    for (above, below), (title, (grid, attention, letters)) in zip(axes.T, pages.items()):
        above.imshow(grid, aspect="auto", cmap="magma")
        above.set_title(title, fontsize=10)
        below.imshow(np.asarray(attention).T[: len(letters)], aspect="auto", cmap="viridis", vmin=0, vmax=1)
        below.set_yticks(range(len(letters)), list(letters))
        if title in said:
            places = np.asarray(said[title])
            inside = places < len(letters)
            below.step(np.flatnonzero(inside), places[inside], where="mid", color="w", linewidth=1.4, label="said now")
            below.legend(loc="lower right", fontsize=8, labelcolor="w")
        below.set(xlabel="frame", xlim=(-0.5, len(attention) - 0.5))
    axes[0, 0].set_ylabel("bin")
    axes[1, 0].set_ylabel("letter")
    return figure
