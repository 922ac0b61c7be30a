"""One utterance on one axis of seconds: waveform, spectrogram, phones, features, codes, reconstruction."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

WINDOW, HOP, RANGE = 0.02, 0.005, 70  # spectrogram: seconds, seconds, dB below the loudest point


def comparison(
    wave,
    sample_rate: int,
    inputs,
    probabilities,
    codes,
    reconstruction,
    frame_rate: float,
    code_times,
    first_frame: float = 0.0,
    phones: Sequence[tuple] = (),
    names: tuple[str, str] = ("inputs", "reconstruction"),
    until: float | None = None,
) -> Figure:
    """Six panels over one time axis: what goes in, what the codebook makes of it, what comes out.

    wave (S,); inputs (C, T) and reconstruction (C2, T), both standardised, frames centred on first_frame + k /
    frame_rate seconds; probabilities (K, L) over the codebook and codes (L,) at code_times (L,); phones
    [(symbol, start, stop)] in seconds draw their boundaries through all panels. Shown up to `until` seconds (the end).
    """
    figure, grid = style.panels(6, 1, height=11, sharex=True, height_ratios=[1, 1.5, 1.5, 1.8, 1.8, 1.5])
    axes = grid[:, 0]
    draw_waveform(axes[0], wave, sample_rate)
    draw_spectrogram(axes[1], wave, sample_rate)
    frames = first_frame + np.arange(np.shape(inputs)[1]) / frame_rate
    signed = {"cmap": style.MAPS["signed"], "vmin": -3, "vmax": 3}
    draw_image(axes[2], inputs, frames, **signed)
    share = {"cmap": style.MAPS["share"], "vmin": 0, "vmax": 1}
    draw_image(axes[3], probabilities, code_times, **share)
    one_hot = np.arange(len(probabilities))[:, None] == np.asarray(codes)
    draw_image(axes[4], one_hot.astype(float), code_times, **share)
    draw_image(axes[5], reconstruction, frames[: np.shape(reconstruction)[1]], **signed)
    titles = (
        "waveform",
        "spectrogram",
        f"{names[0]}, standardised: blue -3 to red +3 deviations",
        "softmax of -squared distance to each code: white 0 to blue 1",
        "codes",
        f"{names[1]}, standardised: blue -3 to red +3 deviations",
    )
    for ax, title in zip(axes, titles):
        ax.set_title(title, fontsize=9, color="0.3", pad=3)
    for ax, label in zip(axes[2:], ("feature", "code", "code", "feature")):
        ax.set_ylabel(label)
    axes[0].set_title("waveform and phones" if len(phones) else "waveform", fontsize=9, color="0.3", pad=14)
    axes[0].set_xlim(0, min(until or np.inf, len(wave) / sample_rate))
    draw_boundaries(axes, phones)
    style.seconds(axes[-1].xaxis)
    figure.align_ylabels(axes)
    return figure


def alignment(wave, sample_rate: int, rows: Mapping[str, Sequence[tuple]], start: float = 0.0) -> Figure:
    """Waveform, spectrogram and one row of boxes per tier {name: [(symbol, start, stop)]} over one axis of seconds.

    `wave` (S,) begins at `start` seconds; intervals are in the same seconds and clipped to it.
    """
    figure, grid = style.panels(
        2 + len(rows), 1, height=3.6 + 0.45 * len(rows), sharex=True, height_ratios=[1, 2.2, *[0.4] * len(rows)]
    )
    axes = grid[:, 0]
    stop = start + len(wave) / sample_rate
    draw_waveform(axes[0], wave, sample_rate, start)
    draw_spectrogram(axes[1], wave, sample_rate, start)
    for ax, (name, row) in zip(axes[2:], rows.items()):
        draw_intervals(ax, row, start, stop)
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    axes[0].set_xlim(start, stop)
    style.seconds(axes[-1].xaxis)
    figure.align_ylabels(axes[:2])
    return figure


def draw_waveform(ax: Axes, wave, sample_rate: int, start: float = 0.0) -> None:
    ax.plot(start + np.arange(len(wave)) / sample_rate, wave, linewidth=0.5, color=style.REFERENCE)
    ax.set_ylabel("amplitude")
    ax.yaxis.set_major_locator(MaxNLocator(3, prune="both"))


def draw_spectrogram(ax: Axes, wave, sample_rate: int, start: float = 0.0) -> None:
    levels = spectrogram(wave, sample_rate)
    times = start + HOP * np.arange(levels.shape[1])
    top = levels.max(initial=-RANGE)
    draw_image(ax, levels, times, (0, sample_rate / 2), cmap=style.MAPS["energy"], vmin=top - RANGE, vmax=top)
    ax.set_ylim(0, sample_rate / 2)
    style.hertz(ax.yaxis)


def spectrogram(wave, sample_rate: int) -> np.ndarray:
    """(S,) -> dB (F, T) by Hamming windows of WINDOW seconds; column j is centred on j * HOP seconds."""
    window, hop = round(WINDOW * sample_rate), round(HOP * sample_rate)
    padded = np.pad(np.asarray(wave, np.float32), (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(wave) + hop : hop] * np.hamming(window)
    return 20 * np.log10(np.abs(np.fft.rfft(frames, 2 * window)).T + 1e-5)


def draw_image(ax: Axes, values, times, rows: tuple[float, float] | None = None, **look) -> None:
    """values (C, T) with columns centred on times (T,) seconds; rows centred on 0, 1, ... or spread over `rows`."""
    values, times = np.asarray(values), np.asarray(times, dtype=float)
    half = (times[-1] - times[0]) / max(len(times) - 1, 1) / 2
    bottom, top = rows or (-0.5, len(values) - 0.5)
    extent = (times[0] - half, times[-1] + half, bottom, top)
    ax.imshow(values, origin="lower", aspect="auto", interpolation="nearest", extent=extent, **look)


def draw_boundaries(axes: Sequence[Axes], phones: Sequence[tuple]) -> None:
    """A thin line through all panels where a phone begins or ends, its symbol above the first panel."""
    edges = sorted({edge for _, start, stop in phones for edge in (start, stop)})
    for ax in axes:
        for edge in edges:
            ax.axvline(edge, color="#00A0A0", linewidth=0.6, alpha=0.8)
    left, right = axes[0].get_xlim()
    for symbol, start, stop in phones:
        if left <= (middle := (start + stop) / 2) <= right and (stop - start) / (right - left) > 0.006 * len(symbol):
            axes[0].annotate(symbol, (middle, 1.03), xycoords=("data", "axes fraction"), ha="center", fontsize=8)


def draw_intervals(ax: Axes, row: Sequence[tuple], start: float, stop: float) -> None:
    """Coloured boxes [(symbol, start, stop)] with their symbols where they are wide enough to hold them."""
    inside = [(symbol, max(a, start), min(b, stop)) for symbol, a, b in row if a < stop and b > start]
    boxes = [(a, b - a) for _, a, b in inside]
    ax.broken_barh(boxes, (0, 1), facecolors=[tint(s) for s, *_ in inside], edgecolor="w", linewidth=0.6)
    for symbol, a, b in inside:
        if (b - a) / (stop - start) > 0.0095 * len(str(symbol)):
            ax.text((a + b) / 2, 0.46, symbol, ha="center", va="center", fontsize=8, clip_on=True)
    ax.set(yticks=[], ylim=(0, 1), xlim=(start, stop))


def tint(symbol) -> np.ndarray:
    """The same light colour for the same symbol everywhere."""
    return 0.45 * style.distinct(60)[zlib.crc32(str(symbol).encode()) % 60] + 0.55
