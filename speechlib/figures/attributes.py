"""Attributes of speech in a latent space: how their directions lie, and what a step along one does."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from . import style
from .symbols import matrix


def directions(cosines, names: Sequence[str], sizes: Mapping[str, int]) -> Figure:
    """|cosine| of all pairs of directions (K, K); a white line between groups {group: how many}."""
    figure, ((ax,),) = style.panels(
        height=np.clip(2.2 + 0.24 * len(names), 4.0, 8.5), width=np.clip(2.0 + 0.26 * len(names), 5.0, style.WIDTH)
    )
    stops = np.cumsum(list(sizes.values()))
    told = " and ".join(f"{n} {group}s" for group, n in sizes.items())
    matrix(np.abs(cosines).round(6), names, names, "", "", f"directions of {told}", "|cosine|", ax, top=1.0)
    for stop in stops[:-1]:
        ax.axhline(stop - 0.5, color="white", linewidth=3)
        ax.axvline(stop - 0.5, color="white", linewidth=3)
    return figure


def strengths(
    sweeps: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], system: str, limits=(0.5, 0.7)
) -> Figure:
    """A panel per kind of move: {kind: {way: {"strength", "target", "share"}}}; solid: posterior of the target, dashed:
    what the witness of the other attribute still tells. `limits`: thin lines where the two should lie above."""
    figure, axes = style.panels(1, len(sweeps), height=3.4, sharey=True)
    for ax, (kind, ways) in zip(axes[0], sweeps.items()):
        for (way, found), colour in zip(ways.items(), (style.BASELINE, style.colour(system))):
            ax.plot(found["strength"], found["target"], "o-", markersize=3, color=colour, label=f"{way}: target")
            ax.plot(found["strength"], found["share"], "o--", markersize=3, color=colour, label=f"{way}: other kept")
        for limit, dashes in zip(limits, ("-", "--")):
            ax.axhline(limit, color=style.REFERENCE, linewidth=0.6, linestyle=dashes)
        ax.set(title=f"another {kind}", xlabel="strength", ylim=(0, None))
    axes[0, 0].set_ylabel("posterior, share")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def moves(examples: Mapping[str, Sequence], frame_rate: float, until: float = 1.5) -> Figure:
    """{title: (original, rebuilt, moved)}, features (F, T): a column for each, its first `until` seconds on the scale
    of its original."""
    figure, grid = style.panels(3, len(examples), height=5.2, sharex=True, sharey=True)
    for column, (title, found) in zip(grid.T, examples.items()):
        low, high = np.percentile(np.asarray(found[0]), [1, 99.5])
        for ax, features in zip(column, found):
            features = np.asarray(features)
            extent = (0, features.shape[1] / frame_rate, -0.5, len(features) - 0.5)
            ax.imshow(features, extent=extent, vmin=low, vmax=high, cmap=style.MAPS["energy"])
        column[0].set_title(title, fontsize=10)
        style.seconds(column[-1].xaxis)
    for ax, name in zip(grid[:, 0], ("original", "rebuilt", "moved")):
        ax.set_ylabel(f"{name}\nband")
    grid[0, 0].set_xlim(0, until)
    return figure
