"""Bottlenecks beside each other: what a norm does to the levels of voices, and what can be read at which point."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from . import style


def levels(panels: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[str]]]) -> Figure:
    """{title: (mean (U,), deviation (U,), speaker (U,)) of a channel in each utterance}: a dot each, coloured by
    speaker, on common axes."""
    figure, grid = style.panels(1, len(panels), height=3.6, sharex=True, sharey=True)
    names = sorted({name for _, _, speakers in panels.values() for name in speakers})
    colours = dict(zip(names, style.distinct(len(names))))
    for ax, (title, (mean, deviation, speakers)) in zip(grid[0], panels.items()):
        mean, deviation, speakers = np.asarray(mean), np.asarray(deviation), np.asarray(speakers)
        for name in names:
            own = speakers == name
            ax.scatter(mean[own], deviation[own], s=16, color=colours[name], alpha=0.8, linewidths=0, label=name)
        ax.set(title=title, xlabel="mean of the utterance (deviations of the channel)")
        ax.axvline(0, color=style.BASELINE, linewidth=0.8, zorder=0)
    grid[0, 0].set_ylabel("deviation in the utterance")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles[:12], labels[:12], loc="outside right center", fontsize=8, handletextpad=0.1)
    return figure


def readable(
    accuracy: Mapping[str, Mapping[tuple[str, str], float]], commonest: Mapping[str, float], points: Sequence[str]
) -> Figure:
    """{what: {(model, point): share read rightly}}: a panel for each thing that is read, a line for each model from
    point to point; dashed: always naming the commonest."""
    figure, grid = style.panels(1, len(accuracy), height=3.2, sharey=True)
    models = list(dict.fromkeys(model for rows in accuracy.values() for model, _ in rows))
    for ax, (what, rows) in zip(grid[0], accuracy.items()):
        for model, colour in zip(models, style.of_runs(models)):
            shares = [rows.get((model, point), np.nan) for point in points]
            ax.plot(range(len(points)), shares, marker="o", markersize=4, color=colour, label=model)
        ax.axhline(commonest[what], color=style.BASELINE, linestyle="--", linewidth=1)
        ax.set(title=what, ylim=(0, 1), xticks=range(len(points)))
        ax.set_xticklabels(points, rotation=25, ha="right")
    grid[0, 0].set_ylabel("read rightly (share)")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure
