"""Histograms beside one another, and how evenly speakers use the codes."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from . import style


def histograms(
    values: Mapping[str, Sequence[float]],
    xlabel: str,
    bins: int = 60,
    colours: Sequence[str] = style.NEUTRAL,
    unit: str = "",
) -> Figure:
    """One normalised histogram per {name: values}, stacked over a shared axis, with the mean of each.

    For distances between vectors, entropies, divergences, gaps: whatever should be compared by place and width.
    """
    values = {name: np.asarray(v, dtype=float).ravel() for name, v in values.items()}
    figure, axes = style.panels(len(values), 1, height=0.7 + 1.15 * len(values), sharex=True)
    together = np.concatenate(list(values.values()))
    edges = np.linspace(together.min(), max(together.max(), together.min() + 1e-6), bins + 1)
    for ax, (name, of_one), colour in zip(axes[:, 0], values.items(), itertools.cycle(colours)):
        ax.hist(of_one, edges, density=True, color=colour, alpha=0.75)
        ax.axvline(of_one.mean(), color=style.REFERENCE, linestyle=":", linewidth=1.2)
        ax.set_title(
            f"{name}: mean {of_one.mean():.3g}{unit and ' ' + unit}, {len(of_one):,} values", fontsize=9, pad=3
        )
        ax.set_ylabel("density")
        ax.yaxis.set_major_locator(MaxNLocator(3))
    axes[-1, 0].set_xlabel(xlabel)
    return figure


def scales(values: Mapping[str, Sequence[float]], notes: Mapping[str, str], bins: int = 64) -> Figure:
    """The same cells on several scales {name: values}: a histogram of each over its own range, its note beside."""
    columns = 2 if len(values) > 1 else 1
    rows = -(-len(values) // columns)
    figure, axes = style.panels(rows, columns, height=0.4 + 1.4 * rows)
    for ax, (name, of_one) in zip(axes.flat, values.items()):
        of_one = np.asarray(of_one, dtype=float).ravel()
        counts, edges, _ = ax.hist(of_one, bins, color=style.NEUTRAL[0], weights=np.full(len(of_one), 1 / len(of_one)))
        ax.set_title(name, fontsize=9, pad=3, loc="left")
        fullest = edges[counts.argmax()]
        left = fullest - edges[0] > edges[-1] - fullest  # where the histogram leaves room
        note = notes.get(name, "")
        ax.text(0.02 if left else 0.98, 0.9, note, transform=ax.transAxes, ha="left" if left else "right", va="top")
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.yaxis.set_major_locator(MaxNLocator(3))
    for ax in axes.flat[len(values) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("cells")
    return figure


def speaker_matrix(divergence, speakers: Sequence[str], ax: Axes | None = None) -> Figure:
    """Jensen-Shannon divergence (bits) between the code distributions of all speakers (S, S)."""
    from .symbols import matrix

    return matrix(
        divergence, speakers, speakers, "speaker", "speaker", meaning="Jensen-Shannon divergence (bits)", ax=ax
    )


def evenness(entropy: Sequence[float], speakers: Sequence[str], even: float, ax: Axes | None = None) -> Figure:
    """Entropy (bits) of each speaker's codes beside that of even use, log2 of the codebook size."""
    ax = style.axes(ax, height=2.6)
    ax.bar(range(len(speakers)), entropy, color=style.colour("vqvae"), width=0.7)
    ax.axhline(even, color=style.REFERENCE, linestyle="--", linewidth=1.2)
    note = f"all codes equally often: {even:.2f} bits"
    ax.annotate(note, (len(speakers) - 0.5, even), (0, 3), textcoords="offset points", ha="right", va="bottom", size=9)
    size = 9 if len(speakers) <= 20 else 7
    names = [str(s) for s in speakers]
    turned = 90 if sum(map(len, names)) > 110 else 0
    ax.set_xticks(range(len(names)), names, fontsize=size, rotation=turned)
    ax.set(xlabel="speaker", ylabel="entropy (bits)", ylim=(0, even * 1.15))
    return ax.figure


def scores(
    table: Mapping[str, Mapping[str, float]], colours: Mapping[str, str], ylabel: str = "score (0 to 1)"
) -> Figure:
    """Bars with their values: a group per score, a bar per labelling {name: {score: value}}; some may be missing."""
    names = list(dict.fromkeys(score for values in table.values() for score in values))
    ax = style.axes(None, height=3.4)
    width = 0.84 / len(table)
    for k, (name, values) in enumerate(table.items()):
        places = [i for i, score in enumerate(names) if score in values]
        heights = [values[names[i]] for i in places]
        offset = (k - (len(table) - 1) / 2) * width
        bars = ax.bar(
            np.array(places) + offset, heights, width * 0.92, color=colours.get(name, style.BASELINE), label=name
        )
        ax.bar_label(
            bars, [f"{h:.2f}".replace("0.", ".").replace("-.00", ".00") for h in heights], fontsize=7, padding=1
        )
    ax.axhline(0, color="0.2", linewidth=0.8)
    ax.set_xticks(range(len(names)), [_spoken(name) for name in names])
    ax.set_ylabel(ylabel)
    ax.margins(y=0.12)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(table))
    return ax.figure


def _spoken(score: str) -> str:
    """ari -> ARI, v_measure -> V-measure, purity -> purity."""
    return {"v_measure": "V-measure"}.get(score, score.upper() if len(score) == 3 else score.replace("_", " "))
