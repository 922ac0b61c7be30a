"""A flow of two numbers, where the eye can judge: the plane of noise, and what it becomes."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from . import style


def bending(stages: Mapping[str, tuple], target, colour: str, limits: float = 3.2) -> Figure:
    """What a flow makes of the plane of noise, a panel per stage, over the points (N, 2) to become like, in grey.

    stages {title: (points (N, 2), lines (L, P, 2))}: where points of noise are, and the straight lines of its grid.
    """
    figure, row = style.panels(1, len(stages), height=1.2 + style.WIDTH / len(stages), sharex=True, sharey=True)
    for ax, (title, (points, lines)) in zip(row[0], stages.items()):
        ax.plot(*np.asarray(target).T, ".", color=style.BASELINE, markersize=2, alpha=0.5, label="to be learned")
        for line in np.asarray(lines):
            ax.plot(*line.T, color=colour, linewidth=0.6, alpha=0.6)
        ax.plot(*np.asarray(points).T, ".", color=colour, markersize=2, alpha=0.7, label="the flow")
        ax.set(xlabel="first sample", xlim=(-limits, limits), ylim=(-limits, limits), aspect="equal")
        ax.set_title(title, fontsize=10)
    row[0, 0].set_ylabel("second sample")
    figure.legend(*row[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, markerscale=4)
    return figure
