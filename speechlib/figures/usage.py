"""How evenly a codebook is used: over the epochs of a training, and code by code.

Counts are how often each code was chosen: (K,), or (E, K) with a row per epoch, as `run.usage()` has them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style


def evolution(epochs: Sequence[float], counts, colour=style.COLOURS["vqvae"]) -> Figure:
    """Left: codes used in each epoch, and how many in even use would say as much (perplexity). Right: every code in
    every epoch, in the order of the last one: red is common, blue is rare, black is a code that nobody chose."""
    epochs, counts = np.asarray(epochs, dtype=float), np.asarray(counts, dtype=float)
    share = _shares(counts)
    figure, ((left, right),) = style.panels(1, 2, height=3.2, width_ratios=(1, 1.3))
    left.axhline(counts.shape[1], color=style.REFERENCE, linestyle="--", linewidth=1.2, label="codebook size")
    marks = "o-" if len(epochs) < 40 else "-"
    left.plot(epochs, (counts > 0).sum(1), marks, color=colour, markersize=4, label="codes used")
    left.plot(epochs, perplexity(counts), marks, color=colour, alpha=0.45, markersize=4, label="perplexity")
    left.set(xlabel="epoch", ylabel="codes", ylim=(0, 1.08 * counts.shape[1]), title="codes used in an epoch")
    left.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    left.set_xlim(left=0)
    left.legend(loc="best")
    order = np.argsort(-share[-1], kind="stable")
    times_even = np.ma.log2(share[:, order].T * counts.shape[1])  # (K, E)
    edges = np.concatenate([[0], epochs]), np.arange(counts.shape[1] + 1)
    image = right.pcolormesh(*edges, times_even, cmap=style.MAPS["signed"], vmin=-3, vmax=3, rasterized=True)
    right.set(xlabel="epoch", ylabel="code, commonest first", title="share of every code", facecolor="0.15")
    right.set_ylim(counts.shape[1], 0)
    right.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    bar = figure.colorbar(image, ax=right, label="times even use")
    bar.set_ticks(range(-3, 4), labels=["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    return figure


def ranked(counts: Mapping[str, Sequence[int]], colours: Sequence | None = None) -> Figure:
    """The histogram of codes, q(z), of one or several codebooks {name: counts (K,)}: shares from the commonest code to
    the rarest, in logarithms, beside even use (dotted). A line that ends early has dead codes behind it."""
    ax = style.axes(None, height=3.4)
    if colours is None:
        colours = style.distinct(len(counts)) if len(counts) > 1 else [style.colour("vqvae")]
    for (name, of_one), colour in zip(counts.items(), colours):
        of_one = np.asarray(of_one, dtype=float)
        share = np.sort(_shares(of_one))[::-1]
        used = int((share > 0).sum())
        label = f"{name}: {used} of {len(share)} used, perplexity {perplexity(of_one):.1f}"
        ax.step(np.arange(used) + 1, share[:used], where="mid", color=colour, linewidth=1.8, label=label)
        ax.plot([1, len(share)], [1 / len(share)] * 2, ":", color=colour, linewidth=1)
    ax.set(
        xlabel="rank of the code", ylabel="share of all codes (log)", yscale="log", title="how evenly codes are used"
    )
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    ax.legend(loc="lower left")
    return ax.figure


def perplexity(counts) -> np.ndarray:
    """exp(entropy) of the shares along the last axis: counts (..., K) -> (...)."""
    share = _shares(np.asarray(counts, dtype=float))
    return np.exp(-np.sum(share * np.log(np.where(share > 0, share, 1)), axis=-1))


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(-1, keepdims=True), 1)
