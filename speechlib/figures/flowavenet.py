"""A flow drawn: what is left after there and back, what a temperature does, tones that squeezing leaves."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from . import style
from .alignment import draw_spectrogram

OURS = style.colour("flowavenet")


def there_and_back(errors: Mapping[str, Sequence[float]], allowed: float) -> Figure:
    """What is left in front of each block when a wave goes in and comes back, {model: errors}, in deviations there."""
    figure, ((ax,),) = style.panels(height=2.6)
    for (name, values), colour in zip(errors.items(), (OURS, *style.NEUTRAL)):
        blocks = np.arange(1, len(values) + 1)
        ax.plot(blocks, np.maximum(values, 1e-9), "o-", label=name, color=colour)
    ax.axhline(allowed, color=style.REFERENCE, linestyle="--", linewidth=1, label=f"{allowed:g}")
    ax.set(yscale="log", xlabel="block (1 is the wave's side)", ylabel="largest difference", xticks=blocks)
    ax.legend(loc="upper right")
    return figure


def surprise(wave, sample_rate: int, nats, cell: int, baseline: float | None = None) -> Figure:
    """Spectrogram of a wave, and below it its log density in nats per sample (cells,), each of `cell` samples."""
    figure, grid = style.panels(2, 1, height=3.8, sharex=True, height_ratios=[1.3, 1])
    draw_spectrogram(grid[0, 0], wave, sample_rate)
    times = (np.arange(len(nats)) + 0.5) * cell / sample_rate
    ax = grid[1, 0]
    ax.plot(times, nats, color=OURS, linewidth=0.8)
    ax.axhline(np.mean(nats), color=OURS, linestyle="--", linewidth=1, label=f"mean: {np.mean(nats):.2f}")
    if baseline is not None:
        ax.axhline(baseline, color=style.REFERENCE, linestyle=":", linewidth=1.2, label=f"untrained: {baseline:.2f}")
    ax.set(ylabel="log p (nats per sample)", xlim=(0, times[-1]))
    ax.legend(loc="lower right", ncols=2)
    style.seconds(ax.xaxis)
    return figure


def temperatures(
    scale: Sequence[float], variance: Sequence[float], level: Sequence[float], distance: Sequence[float]
) -> Figure:
    """Against the temperature: variance over draws, loudness (dB, 0 = the recording's) and log-mel distance (dB)."""
    figure, grid = style.panels(1, 3, height=2.6)
    told = (
        (variance, "variance over draws", None),
        (level, "level (dB, 0 = recording)", 0.0),
        (distance, "log-mel distance (dB)", None),
    )
    for ax, (values, title, mark) in zip(grid[0], told):
        ax.plot(scale, values, "o-", color=OURS, markersize=4)
        if mark is not None:
            ax.axhline(mark, color=style.REFERENCE, linestyle="--", linewidth=1)
        ax.set(xlabel="temperature")
        ax.set_title(title, fontsize=10)
    return figure


def lines(levels: Mapping[str, Sequence[tuple[float, float]]], alarm: float = 10.0) -> Figure:
    """How far each fs / 2^k line stands above its surroundings, {wave: [(hertz, dB), ...]}."""
    figure, ((ax,),) = style.panels(height=2.6)
    width = 0.8 / len(levels)
    for n, (name, found) in enumerate(levels.items()):
        place = np.arange(len(found)) + (n - (len(levels) - 1) / 2) * width
        colour = OURS if n == 0 else style.NEUTRAL[(n - 1) % len(style.NEUTRAL)]
        ax.bar(place, [level for _, level in found], width, label=name, color=colour)
    ax.axhline(alarm, color=style.REFERENCE, linestyle="--", linewidth=1, label=f"a tone: {alarm:g} dB")
    ax.set_xticks(range(len(found)), [f"{hertz:g} Hz" for hertz, _ in found])
    ax.set(ylabel="dB above surroundings", xlabel="sample rate / 2, / 4, / 8, ...")
    ax.margins(y=0.25)
    ax.legend(ncols=3, loc="upper right")
    return figure
