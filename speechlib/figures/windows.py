"""Windows of frames in rows and side by side, whole utterances, how a training of them went, and maps of latents."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style
from .training import smooth

LABELS = {
    "elbo": "ELBO (nats per window)",
    "reconstruction": "reconstruction (nats per window)",
    "kl": "KL (nats per window)",
    "squared_error": "squared error (per element)",
    "mmd": "MMD",
}


_LATER = 0.4  # share of the steps from which on curves have the scale of a panel where several trainings share it


def rows(windows: Mapping[str, Sequence], frame_rate: float, titles: Sequence[str] = ()) -> Figure:
    """{name: windows (N, F, w)}: a row of N pictures for each name, all on one scale; a title over each column."""
    names, values = list(windows), [np.asarray(window) for window in windows.values()]
    low, high = np.percentile(values[0], [1, 99])
    figure, grid = style.panels(len(names), len(values[0]), 0.5 + 1.25 * len(names), sharex=True, sharey=True)
    for name, line, found in zip(names, grid, values):
        for ax, window in zip(line, found):
            extent = (0, 1000 * window.shape[1] / frame_rate, 0, len(window))
            ax.imshow(window, extent=extent, vmin=low, vmax=high, cmap=style.MAPS["energy"])
            ax.xaxis.set_major_locator(MaxNLocator(2, integer=True))
        line[0].set_ylabel(name)
    for ax, title in zip(grid[0], titles):
        ax.set_title(title, fontsize=9, loc="center")
    figure.supxlabel("time (ms)", fontsize=10)
    return figure


def pictures(images: Mapping[str, Sequence], titles: Sequence[str] = ()) -> Figure:
    """{name: images (N, H, W)}: a row of N for each name, dark on white, on the scale of the first row."""
    images = {name: np.asarray(row) for name, row in images.items()}
    first = next(iter(images.values()))
    figure, grid = style.panels(len(images), len(first), 0.3 + 0.85 * len(images))
    for line, (name, row) in zip(grid, images.items()):
        for ax, image in zip(line, row):
            ax.imshow(image, origin="upper", aspect="equal", vmin=first.min(), vmax=first.max(), cmap="gray_r")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, title in zip(grid[0], titles):
        ax.set_title(title, fontsize=9, loc="center")
    return figure


def side_by_side(windows: Mapping[str, Sequence], frame_rate: float) -> Figure:
    """{name: windows (N, F, w)}: the N windows of each name joined to one strip, with a thin line at every seam."""
    strips = {name: np.concatenate(list(np.asarray(found)), axis=1) for name, found in windows.items()}
    seams = [np.asarray(found).shape[2] / frame_rate for found in windows.values()]
    figure = utterances(strips, frame_rate)
    for ax, seam, strip in zip(figure.axes, seams, strips.values()):
        for k in range(1, round(strip.shape[1] / frame_rate / seam)):
            ax.axvline(k * seam, color="white", linewidth=0.6, alpha=0.7)
    return figure


def utterances(features: Mapping[str, Sequence], frame_rate: float, until: float | None = None) -> Figure:
    """{name: features (F, T)}: one above the other over one axis of seconds, all on the scale of the first."""
    values = {name: np.asarray(found) for name, found in features.items()}
    low, high = np.percentile(next(iter(values.values())), [1, 99.5])
    figure, grid = style.panels(len(values), 1, height=0.4 + 1.5 * len(values), sharex=True)
    for ax, (name, found) in zip(grid[:, 0], values.items()):
        extent = (0, found.shape[1] / frame_rate, -0.5, len(found) - 0.5)
        ax.imshow(found, extent=extent, vmin=low, vmax=high, cmap=style.MAPS["energy"])
        ax.set_title(name, fontsize=9)
        ax.set_ylabel("band")
    longest = max(found.shape[1] for found in values.values()) / frame_rate
    grid[-1, 0].set_xlim(0, min(until or np.inf, longest))
    style.seconds(grid[-1, 0].xaxis)
    return figure


def parts(train: Mapping, validation: Mapping, terms: Sequence[str], system: str) -> Figure:
    """A panel per term: training batches and validation part on one axis."""
    figure, grid = style.panels(1, len(terms), height=3.4)
    for ax, term in zip(grid[0], terms):
        steps, values = np.asarray(train["step"]), np.asarray(train[term], dtype=float)
        ax.plot(steps, values, color=style.colour(system), alpha=0.25, linewidth=0.6)
        ax.plot(steps, smooth(values), color=style.colour(system), label="training batches")
        told = [table for table in (train, validation) if term in table]  # what a step costs, only training has
        if validation is told[-1]:
            at = validation["step"], validation[term]
            ax.plot(*at, "o-", color=style.REFERENCE, markersize=3, label="validation part")
        later = np.concatenate([_late(table, term) for table in told])
        low, high = later.min(), later.max()
        ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        ax.set_title(LABELS.get(term, term.replace("_", " ")))
        ax.set_xlabel("step")
    figure.legend(
        *max((ax.get_legend_handles_labels() for ax in grid[0]), key=lambda found: len(found[0])),
        loc="outside lower center",
        ncols=2,
    )
    return figure


def difference(train: Mapping, validation: Mapping, terms: Sequence[str]) -> Figure:
    """Training minus validation at the steps of the validation, per term: the training's value is smoothed."""
    figure, ((ax,),) = style.panels(height=2.8)
    for term, colour in zip(terms, style.NEUTRAL):
        ax.plot(validation["step"], _gap(train, validation, term), "o-", markersize=3, color=colour, label=term)
    ax.axhline(0, color=style.REFERENCE, linewidth=0.6)
    late = np.asarray(validation["step"]) >= 0.1 * np.max(validation["step"])
    reach = 1.2 * max(max(np.abs(line.get_ydata()[late]).max() for line in ax.lines[: len(terms)]), 1e-6)
    ax.set(xlabel="step", ylabel="training - validation", ylim=(-reach, reach), title="training minus validation")
    ax.legend(ncols=len(terms))
    return figure


def overlaid(tables: Mapping[str, Mapping], terms: Sequence[str]) -> Figure:
    """A panel per term, a line per training: what its validation part said at every step. Each panel has the scale of
    the later part: in the beginning BatchNorm's averages lag behind weights that move fast."""
    figure, grid = style.panels(1, len(terms), height=3.4)
    for ax, term in zip(grid[0], terms):
        for (name, table), colour in zip(tables.items(), style.distinct(len(tables))):
            ax.plot(table["step"], table[term], "o-", markersize=2.5, color=colour, label=name)
        later = np.concatenate([_late(table, term, _LATER) for table in tables.values()])
        margin = 0.05 * (later.max() - later.min())
        ax.set_ylim(later.min() - margin, later.max() + margin)
        ax.set(title=LABELS.get(term, term.replace("_", " ")), xlabel="step")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(tables), 6))
    return figure


def differences(trainings: Mapping[str, tuple[Mapping, Mapping]], terms: Sequence[str]) -> Figure:
    """{name: (training, validation)}: training minus validation, a panel per term and a line for each, on the scale of
    the later part."""
    figure, grid = style.panels(1, len(terms), height=3.2)
    for ax, term in zip(grid[0], terms):
        gaps = [(table["step"], _gap(train, table, term)) for train, table in trainings.values()]
        for name, (steps, gap), colour in zip(trainings, gaps, style.distinct(len(trainings))):
            ax.plot(steps, gap, "o-", markersize=2.5, color=colour, label=name)
        reach = 1.2 * max(np.abs(gap[np.asarray(steps) >= _LATER * np.max(steps)]).max() for steps, gap in gaps)
        ax.axhline(0, color=style.REFERENCE, linewidth=0.6)
        ax.set(title=LABELS.get(term, term), xlabel="step", ylim=(-reach, reach))
    grid[0, 0].set_ylabel("training - validation")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(trainings), 6))
    return figure


def _gap(train: Mapping, validation: Mapping, term: str) -> np.ndarray:
    """Training, smoothed, minus validation, at the steps of the validation."""
    values = smooth(np.asarray(train[term], dtype=float))
    return np.interp(validation["step"], train["step"], values) - np.asarray(validation[term], dtype=float)


def questions(rows: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> Figure:
    """A panel of bars for each of `titles` (term -> title), a bar for each row that has the term, with its value.

    Rows named as a system have its colour, others the grey of what is compared with.
    """
    columns = min(3, len(titles))
    lines = -(-len(titles) // columns)
    figure, grid = style.panels(lines, columns, height=0.5 + (0.45 + 0.24 * len(rows)) * lines, sharey=True)
    names = list(rows)
    for ax in grid.flat[len(titles) :]:
        ax.set_axis_off()
    for ax, (term, title) in zip(grid.flat, titles.items()):
        values = np.array([rows[name].get(term, np.nan) for name in names])
        bars = ax.barh(names, np.nan_to_num(values), color=[style.colour(name) for name in names])
        ax.bar_label(bars, [f"{value:.3g}" if np.isfinite(value) else "" for value in values], fontsize=8, padding=2)
        ax.set_xlim(min(0, 1.25 * np.nanmin(values)), 1.25 * max(np.nanmax(values), 1e-6))
        ax.set_title(title, fontsize=9)
        ax.xaxis.set_visible(False)
        ax.spines["bottom"].set_visible(False)
    grid[0, 0].invert_yaxis()
    return figure


def bands(windows: Mapping[str, Sequence], real: str) -> Figure:
    """{name: windows (N, F, w)}: mean and deviation of every band, a line for each name; those of `real` are wide."""
    figure, ((left, right),) = style.panels(1, 2, height=3.2)
    for name, found in windows.items():
        found = np.asarray(found, dtype=float)
        look = {"color": style.colour(name), "linewidth": 1.4}
        if name == real:
            look = {"color": style.REFERENCE, "linewidth": 4, "alpha": 0.4}
        left.plot(found.mean((0, 2)), label=name, **look)
        right.plot(found.std((0, 2)), **look)
    left.set(xlabel="band", title="mean")
    right.set(xlabel="band", title="deviation", ylim=(0, None))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(windows))
    return figure


def _late(table: Mapping, term: str, share: float = 0.1) -> np.ndarray:
    """Values without the first tenth of the steps, which would flatten all that follows."""
    steps, values = np.asarray(table["step"]), np.asarray(table[term], dtype=float)
    return values[steps >= share * steps[-1]]


def latent_map(points, labels: Mapping[str, Sequence[str]], axes_name: str, most: int = 12) -> Figure:
    """Points (N, 2) once per kind of label, coloured by it; the `most` frequent ones have a colour, others are grey."""
    points = np.asarray(points)
    figure, grid = style.panels(1, len(labels), height=3.9, sharex=True, sharey=True)
    for ax, (kind, found) in zip(grid[0], labels.items()):
        names, counts = np.unique(np.asarray(found), return_counts=True)
        chosen = sorted(names[np.argsort(-counts, kind="stable")][:most])
        ax.scatter(*points.T, s=3, color="0.85", linewidths=0)
        for name, colour in zip(chosen, style.distinct(len(chosen))):
            ax.scatter(*points[np.asarray(found) == name].T, s=4, color=colour, linewidths=0, label=name)
        ax.set(title=kind, xticks=[], yticks=[], xlabel=f"{axes_name} 1")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=4, fontsize=7, markerscale=3, handletextpad=0)
    grid[0, 0].set_ylabel(f"{axes_name} 2")
    return figure
