"""What a training sees, how it went, and how trainings compare: batches, losses, gradients, codebook sizes and seeds.

A table is what `run.metrics()` gives, or any mapping of column name to values with a "step" column.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from ..errors import SpeechlibError
from . import style

TERMS = ("loss", "reconstruction", "vq", "commitment", "codebook", "commitment_weighted")
LABELS = {
    "perplexity": "perplexity (codes)",
    "nmi": "NMI",
    "ami": "AMI",
    "ari": "ARI",
    "bigram_diagonal": "bigram diagonal",
}
_LOGARITHMIC = {*TERMS, "gradient_norm"}


def smooth(values: Sequence[float], window: int = 201, order: int = 7) -> np.ndarray:
    """Savitzky-Golay with the source's window 201 and order 7; a curve shorter than five windows takes a fifth of it,
    and an order lower in proportion, so that a steep beginning stays steep. The curve is mirrored at its ends: a
    polynomial with nothing beyond the last value to hold it swings, and would draw a loss that rises at the end of
    every training.

    Every value becomes that of the polynomial fitted to the window around it. (scipy's savgol_filter fits powers of up
    to 100 ** 7 and loses all digits at these settings; Chebyshev polynomials on [-1, 1] lose none.)
    """
    values = np.asarray(values, dtype=float)
    fifth = len(values) // 5 - (len(values) // 5 + 1) % 2  # odd
    if fifth < window:
        window, order = fifth, max(1, round(order * fifth / window))
    if window < 5:
        return values
    basis = np.polynomial.chebyshev.chebvander(np.linspace(-1, 1, window), order)
    half = window // 2
    centre = (basis @ np.linalg.pinv(basis))[half]  # centre @ window of values = its polynomial in the middle
    return np.correlate(np.pad(values, half, mode="reflect"), centre, "valid")


def band(steps: Sequence[int], values: Sequence[float], bins: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, mean and standard deviation of up to `bins` equal stretches, of four values or more, of a curve."""
    pieces = np.array_split(np.arange(len(steps)), max(1, min(bins, len(steps) // 4)))
    steps, values = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    return tuple(
        np.array([f(x[p]) for p in pieces]) for f, x in ((np.mean, steps), (np.mean, values), (np.std, values))
    )


def batch(features, frame_rate: float, titles: Sequence[str], label: str = "coefficient") -> Figure:
    """The first items of a batch of standardised features (B, C, T) side by side, one per title."""
    figure, row = style.panels(1, len(titles), height=2.8, sharey=True)
    for ax, item, title in zip(row[0], np.asarray(features), titles):
        extent = (0, item.shape[1] / frame_rate, -0.5, len(item) - 0.5)
        image = ax.imshow(item, extent=extent, cmap=style.MAPS["signed"], vmin=-3, vmax=3)
        ax.set_title(title, fontsize=9)
        style.seconds(ax.xaxis)
    row[0, 0].set_ylabel(label)
    figure.colorbar(image, ax=row[0], label="deviations from the mean")
    return figure


def quantization(points, codebook, codes) -> Figure:
    """Points (N, 2) of the plane, each with an arrow to its code, in the cells of a codebook (K, 2)."""
    points, codebook = np.asarray(points), np.asarray(codebook)
    figure, ((ax,),) = style.panels(height=4.2, width=5.2)
    colours = style.distinct(len(codebook))
    low, high = np.concatenate([points, codebook]).min() - 0.9, np.concatenate([points, codebook]).max() + 0.4
    grid = np.stack(np.meshgrid(*[np.linspace(low, high, 400)] * 2), axis=-1)
    nearest = ((grid[:, :, None] - codebook) ** 2).sum(-1).argmin(-1)
    ax.imshow(0.75 + 0.25 * colours[nearest], extent=(low, high, low, high), aspect="equal")
    for k, (e_k, colour) in enumerate(zip(codebook, colours)):
        ax.plot(*e_k, "x", color=colour, markersize=11, markeredgewidth=3)
        ax.annotate(f"code {k}", e_k, xytext=(-9, -4), textcoords="offset points", ha="right", color=colour)
    for point, code in zip(points, codes):
        ax.annotate("", codebook[code], point, arrowprops={"arrowstyle": "->", "color": style.REFERENCE, "shrinkB": 6})
    ax.plot(*points.T, "o", color=style.REFERENCE, label="$z_e$ (crosses: $e_k$)")
    ax.set(xlabel="first channel", ylabel="second channel", title="every point becomes the code of its cell")
    ax.legend(loc="upper left")
    return figure


def curves(tables: Mapping[str, Mapping], terms: Sequence[str] = ("loss", "perplexity"), system: str = "") -> Figure:
    """A panel per term, a curve per training: values faint, smoothed, in a band of +- one standard deviation.

    Figure (a) of the source with one training, (b) with several, (d) with all terms. Trainings may be of any length;
    one that lacks a term is left out of that term's panel. A single one has the colour of its `system`.
    """
    columns = min(3, len(terms))
    rows = -(-len(terms) // columns)
    figure, grid = style.panels(rows, columns, height=3.2 * rows + 0.3 * (len(tables) > 1))
    colours = style.of_runs(list(tables), system)
    for ax in grid.flat[len(terms) :]:
        ax.set_axis_off()
    for ax, term in zip(grid.flat, terms):
        for (name, table), colour in zip(tables.items(), colours):
            if term in table:
                _curve(ax, table, term, colour, name, banded=True)
        _finish(ax, term)
    if len(tables) > 1:
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(tables), 5))
    return figure


def all_terms(table: Mapping, terms: Sequence[str] = TERMS, title: str = "all terms of the loss") -> Figure:
    """Every term of one training in one plot: figure (c) of the source."""
    figure, ((ax,),) = style.panels()
    present = [term for term in terms if term in table]
    for term, colour in zip(present, style.distinct(len(present))):
        _curve(ax, table, term, colour, term.replace("_", " "), linewidth=2.4 if term == "loss" else 1.4)
    _finish(ax, "loss", title)
    ax.set_ylabel("value (log)")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def train_and_validation(train: Mapping, validation: Mapping, term: str = "reconstruction") -> Figure:
    """One term on the training batches and on the validation part: where they part, the model learns by heart."""
    figure, ((ax,),) = style.panels()
    _curve(ax, train, term, style.colour("vqvae"), "training batches")
    ax.plot(validation["step"], validation[term], "o-", color=style.REFERENCE, markersize=4, label="validation part")
    _finish(ax, term, f"{term} on both parts")
    ax.legend()
    return figure


def learning_rate(tables: Mapping[str, Mapping]) -> Figure:
    """The learning rate over the steps, a line per training: warm-up, stairs or a cosine, as it was in truth."""
    figure, ((ax,),) = style.panels(height=2.4)
    colours = style.of_runs(list(tables))
    for (name, table), colour in zip(tables.items(), colours):
        ax.plot(table["step"], table["learning_rate"], color=colour, label=name)
    ax.set(xlabel="step", ylabel="learning rate", ylim=(0, None), title="learning rate")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_formatter("{x:.2g}")
    if len(tables) > 1:
        ax.legend()
    return figure


def gradients(records: Sequence[Mapping], limit: float = 0.0, most: int = 8) -> Figure:
    """Largest and mean absolute gradient of every weight, a panel per recording (at most `most`, evenly chosen).

    records: [{step, layers: {name: (largest, mean)}}], as `run.gradients()` gives them. Bars are cut off at `limit`
    (the source: 0.02); 0 = where nine of ten of the largest end.
    """
    if not records:
        raise SpeechlibError("no gradients were recorded: train with training.record_gradients")
    chosen = [
        records[i] for i in np.unique(np.linspace(0, len(records) - 1, min(most, len(records))).round().astype(int))
    ]
    names = [_short(name) for name in chosen[0]["layers"]]
    values = np.array([list(record["layers"].values()) for record in chosen])  # (recordings, layers, 2)
    limit = limit or float(np.quantile(values[..., 0], 0.9))
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, grid = style.panels(rows, columns, height=1.2 * rows + 1.9, sharex=True, sharey=True)
    for ax in grid.flat[len(chosen) :]:
        ax.set_axis_off()
    for ax, record, value in zip(grid.flat, chosen, values):
        ax.bar(names, value[:, 0], color=style.colour("vqvae"), alpha=0.35, label="largest")
        ax.bar(names, value[:, 1], color=style.colour("vqvae"), label="mean")
        ax.set_ylim(0, limit)
        ax.set_title(f"step {record['step']}")
        ax.tick_params(axis="x", rotation=90, labelsize=6)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    figure.supylabel("absolute gradient", fontsize=10)
    return figure


def _short(name: str) -> str:
    """ "decoder.residual.blocks.0.1.weight" -> "decoder.residual.0.1"."""
    for noise in (".weight", ".parametrizations", ".original1", "blocks."):
        name = name.replace(noise, "")
    return name


def metric_evolution(
    sizes: Sequence[int], metrics: Mapping[str, Sequence[float]], beside: Mapping[str, Sequence[float]] | None = None
) -> Figure:
    """Metrics over the codebook size, one panel under the other; `beside` holds the same of the k-means baseline.

    Several values of one size (seeds) are drawn as dots, the line goes through their means.
    """
    figure, rows = style.panels(len(metrics), 1, height=1.9 * len(metrics) + 0.5, sharex=True)
    series = (("codes", metrics, style.colour("vqvae"), "o-"), ("k-means", beside or {}, style.BASELINE, "s--"))
    for ax, metric in zip(rows[:, 0], metrics):
        for label, table, colour, marks in series:
            if metric in table:
                at = np.unique(sizes)
                values = np.asarray(table[metric], dtype=float)
                ax.scatter(sizes, values, color=colour, s=10, alpha=0.5, linewidths=0)
                ax.plot(
                    at,
                    [values[np.asarray(sizes) == k].mean() for k in at],
                    marks,
                    color=colour,
                    label=label,
                    markersize=5,
                )
        ax.set_xscale("log")
        ax.set_xticks(np.unique(sizes), [str(k) for k in np.unique(sizes)])
        ax.minorticks_off()
        ax.set_ylim(bottom=0)
        ax.set_ylabel(LABELS.get(metric, metric))
    rows[0, 0].set_title("what a larger codebook buys")
    rows[-1, 0].set_xlabel("codebook size")
    if beside:
        rows[0, 0].legend()
    return figure


def seed_stability(values: Mapping[str, Mapping[str, Sequence[float]]], seeds: Sequence[int]) -> Figure:
    """Bars with their values: a panel per metric, a group per experiment, a bar per seed.

    values: {metric: {experiment: a value per seed}}.
    """
    figure, row = style.panels(1, len(values), height=3.4)
    colours = style.distinct(len(seeds))
    for ax, (metric, experiments) in zip(row[0], values.items()):
        width = 0.8 / len(seeds)
        for j, (seed, colour) in enumerate(zip(seeds, colours)):
            at = np.arange(len(experiments)) + (j - (len(seeds) - 1) / 2) * width
            bars = ax.bar(
                at, [scores[j] for scores in experiments.values()], 0.92 * width, color=colour, label=f"seed {seed}"
            )
            ax.bar_label(bars, fmt="%.3f", fontsize=7, padding=2)
        ax.set_xticks(range(len(experiments)), list(experiments))
        ax.set_title(LABELS.get(metric, metric))
        ax.margins(y=0.12)
    row[0, 0].set_ylabel("score")
    handles, labels = row[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(seeds))
    return figure


def _curve(ax: Axes, table: Mapping, term: str, colour, label: str, banded: bool = False, **look) -> None:
    """Values faint, smoothed, perhaps with their band; what is drawn in logarithms is smoothed in logarithms."""
    to, back = (np.log, np.exp) if term in _LOGARITHMIC else (np.array, np.array)
    steps, values = np.asarray(table["step"]), np.asarray(table[term], dtype=float)
    if term in _LOGARITHMIC:
        steps, values = steps[values > 0], values[values > 0]
    if banded and len(steps):
        centre, mean, deviation = band(steps, to(values))
        ax.fill_between(centre, back(mean - deviation), back(mean + deviation), color=colour, alpha=0.15, linewidth=0)
    ax.plot(steps, values, color=colour, alpha=0.25, linewidth=0.6)
    ax.plot(steps, back(smooth(to(values))), color=colour, label=label, **look)


def _finish(ax: Axes, term: str, title: str | None = None) -> None:
    ax.set_title(title or term.replace("_", " "))
    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_ylabel(LABELS.get(term, term.replace("_", " ")) + (" (log)" if term in _LOGARITHMIC else ""))
    if term in _LOGARITHMIC:
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        if high < 20 * low:  # within a decade or so: plain numbers, as powers of ten would be too few
            ax.yaxis.set_minor_locator(
                LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if high > 3 * low else np.arange(1, 10, 0.5))
            )
            ax.yaxis.set_minor_formatter("{x:g}")
            ax.yaxis.set_major_formatter("{x:g}")
