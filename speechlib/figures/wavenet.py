"""A WaveNet drawn: which samples one sample sees, what may come next, and its speech beside others'."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style
from .alignment import draw_spectrogram

OURS = style.colour("wavenet")


def causal_stack(dilations: Sequence[int], kernel_size: int = 2, n_samples: int = 20) -> Figure:
    """Samples at the bottom, layers above: the paths by which the newest parameters see the past.

    A layer of dilation d looks at its own place and d, 2 d, ... to the left; nothing looks to the right. The output on
    top gives the distribution of the sample *after* those it sees, which is the hollow one.
    """
    figure, ((ax,),) = style.panels(height=0.9 + 0.62 * len(dilations))
    seen = {0}  # places counted back from the newest sample
    for layer in range(len(dilations), 0, -1):
        reach = [tap * dilations[layer - 1] for tap in range(kernel_size)]
        for place in range(n_samples):
            for back in reach:
                lit = place in seen
                if place + back < n_samples:
                    ax.plot(
                        [-place - back, -place], [layer - 1, layer], color=OURS if lit else "0.88",
                        linewidth=1.6 if lit else 0.7, zorder=2 if lit else 1,
                    )  # fmt: skip
        seen = {place + back for place in seen for back in reach}
    places = -np.arange(n_samples)
    for layer in range(len(dilations) + 1):
        ax.plot(places, np.full(n_samples, layer), "o", color="w", markeredgecolor="0.6", markersize=5, zorder=3)
    ax.plot(0, len(dilations), "o", color=OURS, markersize=8, zorder=4)
    inside = [-place for place in seen if place < n_samples]
    ax.plot(inside, np.zeros(len(inside)), "o", color=style.REFERENCE, markersize=5, zorder=4)
    ax.plot(1, 0, "o", color="w", markeredgecolor=OURS, markeredgewidth=2, markersize=9, zorder=4)
    ax.annotate(
        "", (1, 0.25), (0.15, len(dilations)), arrowprops={"arrowstyle": "->", "color": OURS, "linestyle": "--"}
    )
    ax.text(1, -0.55, "next", ha="center", fontsize=9, color=OURS)
    ax.set_yticks(range(len(dilations) + 1), ["samples", *(f"dilation {d}" for d in dilations)])
    ax.set(xlabel="samples back from the newest", ylim=(-0.8, len(dilations) + 0.5))
    ax.set_xticks(places[::4], [str(-place) for place in places[::4]])
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    return figure


def reach(influence: Sequence[float], receptive_field: int, sample_rate: int) -> Figure:
    """How much each past sample moves the newest parameters, by the gradient (lags,), against the computed reach."""
    figure, ((ax,),) = style.panels(height=2.6)
    influence = np.asarray(influence, dtype=float)
    lags = 1000 * np.arange(1, len(influence) + 1) / sample_rate
    seen = influence > 0
    ax.plot(lags[seen], influence[seen], ".", color=OURS, markersize=3, label="gradient")
    edge = 1000 * receptive_field / sample_rate
    ax.axvline(edge, color=style.REFERENCE, linewidth=1, label=f"computed: {receptive_field} samples, {edge:.3g} ms")
    ax.axvspan(edge, lags[-1], color=style.BASELINE, alpha=0.25, linewidth=0, label="gradient exactly 0")
    ax.set_yscale("log")
    ax.set(xlabel="how long ago (ms)", ylabel="|gradient|", xlim=(0, lags[-1]))
    ax.set_title("what one prediction looks back to")
    ax.legend(loc="lower left")
    return figure


def next_sample(
    amplitudes: Sequence[float], chances, truth: Sequence[float], past, sample_rate: int, titles: Sequence[str]
) -> Figure:
    """The distribution of the next sample at some instants: the wave so far above, what may follow below.

    amplitudes (Q,) of the classes; chances (N, Q) at N instants; truth (N,) amplitude that did follow; past (N, S) the
    samples before each.
    """
    figure, grid = style.panels(2, len(titles), height=4.2, sharey="row", height_ratios=[1, 1.2])
    milliseconds = 1000 * np.arange(-np.shape(past)[1], 0) / sample_rate
    for top, bottom, before, chance, came, title in zip(grid[0], grid[1], np.asarray(past), chances, truth, titles):
        top.plot(milliseconds, before, color=style.REFERENCE, linewidth=0.9)
        top.plot(0, came, "o", color=OURS, markersize=5)
        top.set_title(title, fontsize=10)
        top.set_xlabel("time (ms)")
        bottom.fill_between(amplitudes, chance, step="mid", color=OURS, alpha=0.4, linewidth=0)
        bottom.step(amplitudes, chance, where="mid", color=OURS, linewidth=0.9)
        bottom.axvline(came, color=style.REFERENCE, linewidth=1)
        bottom.set(xlabel="amplitude", yscale="log", ylim=(1e-5, 1), xlim=(-1, 1))
    grid[0, 0].set_ylabel("amplitude")
    grid[1, 0].set_ylabel("probability of being next")
    return figure


def spoken(
    waves: Mapping[str, Sequence[float]],
    sample_rate: int,
    zoom: tuple[float, float],
    colours: Mapping[str, str] | None = None,
    same_scale: bool = True,
) -> Figure:
    """Spectrogram of each wave {name: (S,)}, and its samples from zoom[0] to zoom[1] seconds: pitch and its pulses."""
    figure, grid = style.panels(len(waves), 2, height=0.5 + 1.35 * len(waves), sharex="col", width_ratios=[2.6, 1])
    start, stop = (round(t * sample_rate) for t in zoom)
    waves = {name: np.asarray(wave) for name, wave in waves.items()}
    loudest = max(np.abs(wave[start:stop]).max(initial=1e-3) for wave in waves.values())
    for (left, right), (name, wave) in zip(grid, waves.items()):
        draw_spectrogram(left, wave, sample_rate)
        left.set_title(name, fontsize=9, color="0.3", pad=3)
        left.axvspan(*zoom, ymax=0.03, color="w", linewidth=0)
        part = wave[start:stop]
        peak = loudest if same_scale else np.abs(part).max(initial=1e-3)
        colour = (colours or {}).get(name, style.REFERENCE)
        right.plot((start + np.arange(len(part))) / sample_rate, part, color=colour, linewidth=0.9)
        right.set(ylim=(-1.1 * peak, 1.1 * peak), ylabel="amplitude", xlim=zoom)
    for ax in grid[-1]:
        style.seconds(ax.xaxis)
    return figure


SCORES = {
    "log_mel_distance": "log-mel distance (dB): lower",
    "pitch_kept": "pitch kept: higher",
    "phones": "phones heard: higher",
}


def ranking(rows: Mapping[str, Mapping[str, float]], colours: Mapping[str, str] | None = None) -> Figure:
    """Bars of each score of SCORES that the rows {vocoder: {score: value}} have, a panel per score."""
    names = [name for name in SCORES if any(name in row for row in rows.values())]
    figure, grid = style.panels(1, len(names), height=0.9 + 0.36 * len(rows), sharey=True)
    for ax, name in zip(grid[0], names):
        values = [row.get(name, np.nan) for row in rows.values()]
        bars = ax.barh(list(rows), values, color=[(colours or {}).get(row, style.BASELINE) for row in rows], height=0.7)
        ax.bar_label(bars, fmt="%.2g", fontsize=8, padding=3)
        ax.set_title(SCORES[name], fontsize=9)
        ax.margins(x=0.18)
        _bare(ax)
    grid[0, 0].invert_yaxis()
    return figure


def _bare(ax: Axes) -> None:
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(axis="both", length=0)
    ax.set_xticks([])
