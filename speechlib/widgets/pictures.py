"""Figures of the explorers: drawn off-screen, without pyplot, and handed over as <img> elements."""

import base64
import io
import zlib
from html import escape

import matplotlib
import numpy as np
from matplotlib.figure import Figure

WINDOW, HOP, RANGE = 0.02, 0.005, 70  # spectrogram: seconds, seconds, dB below the loudest point


def picture(figure: Figure, alt: str) -> str:
    """A figure as an <img> that holds its PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def speech_figure(wave, sample_rate: int, rows: dict[str, list[tuple]], start: float = 0.0) -> Figure:
    """Waveform, spectrogram and a row per tier {name: [(symbol, start, stop)]} over one axis of seconds.

    `wave` (S,) begins at `start` seconds; intervals are in the same seconds and clipped to it.
    """
    rows = {name: row for name, row in rows.items() if row}
    heights = [1, 2.2, *[0.4] * len(rows)]
    figure = Figure(figsize=(9, 0.5 + 0.85 * sum(heights)))
    bottom = 0.45 / figure.get_figheight()
    grid = {"height_ratios": heights, "left": 0.075, "right": 0.995, "bottom": bottom, "top": 0.985, "hspace": 0.08}
    axes = figure.subplots(nrows=len(heights), sharex=True, gridspec_kw=grid)
    stop = start + len(wave) / sample_rate
    axes[0].plot(start + np.arange(len(wave)) / sample_rate, wave, linewidth=0.5, color="0.25")
    axes[0].set(ylabel="amplitude", xlim=(start, stop))
    draw_spectrogram(axes[1], wave, sample_rate, start)
    for axis, (name, row) in zip(axes[2:], rows.items()):
        draw_intervals(axis, row, start, stop)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    axes[-1].set_xlabel("time (s)")
    figure.align_ylabels(axes[:2])
    return figure


def draw_spectrogram(axis, wave, sample_rate: int, start: float = 0.0) -> None:
    levels = spectrogram(wave, sample_rate)
    top, stop = levels.max(initial=-RANGE), start + levels.shape[1] * HOP
    extent = (start - HOP / 2, stop - HOP / 2, 0, sample_rate / 2000)
    axis.imshow(levels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - RANGE, vmax=top)
    axis.set(ylabel="frequency (kHz)", xlim=(start, start + len(wave) / sample_rate))


def spectrogram(wave, sample_rate: int) -> np.ndarray:
    """(S,) -> dB (F, T); column j is centred on j * HOP seconds."""
    window, hop = round(WINDOW * sample_rate), round(HOP * sample_rate)
    padded = np.pad(np.asarray(wave, np.float32), (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(wave) : hop] * np.hanning(window)
    return 20 * np.log10(np.abs(np.fft.rfft(frames, 2 * window)).T + 1e-5)


def draw_intervals(axis, row: list[tuple], start: float, stop: float) -> None:
    """Coloured boxes with their symbols, where they are wide enough to hold them."""
    inside = [(symbol, max(a, start), min(b, stop)) for symbol, a, b in row if a < stop and b > start]
    axis.broken_barh(
        [(a, b - a) for _, a, b in inside],
        (0, 1),
        facecolors=[colour(s) for s, *_ in inside],
        edgecolor="w",
        linewidth=0.6,
    )
    for symbol, a, b in inside:
        if (b - a) / (stop - start) > 0.006 * len(symbol):
            axis.text((a + b) / 2, 0.46, symbol, ha="center", va="center", fontsize=8, clip_on=True)
    axis.set(yticks=[], ylim=(0, 1), xlim=(start, stop))


def colour(symbol: str) -> tuple:
    """The same light colour for the same symbol everywhere."""
    shade = matplotlib.colormaps["tab20"](zlib.crc32(symbol.encode()) % 20)
    return tuple(0.45 * channel + 0.55 for channel in shade[:3])
