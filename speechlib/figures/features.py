"""Features over the wave they come from: frames, bands, normalisation, quantisation, and the way back."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from . import style
from .alignment import draw_boundaries, draw_image, draw_waveform

SIGNED = {"cmap": style.MAPS["signed"], "vmin": -3, "vmax": 3}


class Row(NamedTuple):
    """One panel of `stack`: an image (C, T), or a line (T,), over the times (T,) in seconds of its columns."""

    values: Sequence
    times: Sequence
    label: str = "coefficient"
    signed: bool = False  # standardised: blue -3 to red +3 deviations
    hertz: Sequence | None = None  # centres of the bands (C,): what the axis then shows


def stack(wave, sample_rate: int, rows: Mapping[str, Row], phones: Sequence[tuple] = ()) -> Figure:
    """The waveform with its phones [(symbol, start, stop)] and one panel per row, all over one axis of seconds."""
    figure, grid = style.panels(
        1 + len(rows), 1, height=1.6 + 1.55 * len(rows), sharex=True, height_ratios=[0.9, *[1.3] * len(rows)]
    )
    axes = grid[:, 0]
    draw_waveform(axes[0], wave, sample_rate)
    for ax, (title, row) in zip(axes[1:], rows.items()):
        if np.ndim(row.values) == 1:
            ax.plot(row.times, row.values, color=style.REFERENCE, linewidth=0.4)
        else:
            draw_image(ax, row.values, row.times, **(SIGNED if row.signed else {"cmap": style.MAPS["energy"]}))
        ax.set_title(title, fontsize=9, color="0.3", pad=3)
        ax.set_ylabel(row.label)
        if row.hertz is not None:
            _hertz_ticks(ax, row.hertz)
    axes[0].set_title("waveform and phones" if len(phones) else "waveform", fontsize=9, color="0.3", pad=14)
    axes[0].set_xlim(0, len(wave) / sample_rate)
    draw_boundaries(axes, phones)
    style.seconds(axes[-1].xaxis)
    figure.align_ylabels(axes)
    return figure


def _hertz_ticks(ax: Axes, centres: Sequence) -> None:
    """Round frequencies where they fall between the rows of bands with these centres (hertz)."""
    shown = [hertz for hertz in (500, 1000, 2000, 4000) if centres[0] <= hertz <= centres[-1]]
    names = [f"{hertz / 1000:g}k" if hertz >= 1000 else f"{hertz}" for hertz in shown]
    ax.set_yticks(np.interp(shown, centres, np.arange(len(centres))), names)
    ax.set_ylabel("frequency (Hz)")


def filter_banks(banks: Mapping[str, np.ndarray], sample_rate: int) -> Figure:
    """Every triangle of each bank {title: weights (n_mels, bins)} over frequency."""
    figure, axes = style.panels(len(banks), 1, height=0.5 + 1.35 * len(banks), sharex=True)
    for ax, (title, weights) in zip(axes[:, 0], banks.items()):
        hertz = np.linspace(0, sample_rate / 2, weights.shape[1])
        for colour, band in zip(style.distinct(len(weights)), weights):
            touched = np.flatnonzero(band)
            around = slice(max(touched[0] - 1, 0), touched[-1] + 2)
            ax.plot(hertz[around], band[around], color=colour, linewidth=0.9)
        ax.set_title(f"{title}: {len(weights)} bands", fontsize=9, color="0.3", pad=3)
        ax.set(ylabel="weight", ylim=(0, None), xlim=(0, sample_rate / 2))
    style.hertz(axes[-1, 0].xaxis)
    return figure


def frame_positions(
    wave, sample_rate: int, frames: Mapping[str, tuple[Sequence[float], float]], until: float = 0.1
) -> Figure:
    """Which samples each frame sees: {name: (centres, width)} in seconds, over the first `until` seconds."""
    figure, grid = style.panels(1 + len(frames), 1, height=1.5 + 1.2 * len(frames), sharex=True)
    axes = grid[:, 0]
    shown = np.asarray(wave)[: round(until * sample_rate)]
    axes[0].plot(np.arange(len(shown)) / sample_rate, shown, color=style.REFERENCE, linewidth=0.8)
    axes[0].set_ylabel("amplitude")
    axes[0].set_title("waveform", fontsize=9, color="0.3", pad=3)
    for ax, (name, (centres, width)) in zip(axes[1:], frames.items()):
        centres = np.asarray(centres)[np.asarray(centres) < until]
        colours = style.distinct(len(centres))
        ax.barh(range(len(centres)), width, left=centres - width / 2, height=0.7, color=colours, alpha=0.45)
        ax.plot(centres, range(len(centres)), "|", color="k", markersize=6)
        ax.set(ylabel="frame", ylim=(len(centres) - 0.4, -0.6))
        ax.set_title(name, fontsize=9, color="0.3", pad=3)
    axes[0].set_xlim(-max(width for _, width in frames.values()) / 2, until)
    for ax in axes:
        ax.axvline(0, color="0.6", linewidth=0.8)
    style.seconds(axes[-1].xaxis)
    figure.align_ylabels(axes)
    return figure


def normalisation(raw, normal, times, mean, std) -> Figure:
    """One utterance (C, T) before and after, beside mean and deviation (C,) of each coefficient."""
    figure, axes = style.panels(2, 2, height=4.6, width_ratios=[3.2, 1])
    bound = float(np.abs(raw).max())
    for ax, values, limit, title in (
        (axes[0, 0], raw, bound, "as extracted"),
        (axes[1, 0], normal, 3, "normalised with the training part's mean and deviation"),
    ):
        draw_image(ax, values, times, cmap=style.MAPS["signed"], vmin=-limit, vmax=limit)
        figure.colorbar(ax.images[0], ax=ax, pad=0.01, aspect=14)
        ax.set_title(title, fontsize=9, color="0.3", pad=3)
        ax.set_ylabel("coefficient")
        style.seconds(ax.xaxis)
    numbers = np.arange(len(mean))
    look = {"fmt": ".", "markersize": 4, "elinewidth": 1, "color": style.colour("vqvae")}
    axes[0, 1].errorbar(mean, numbers, xerr=std, **look)
    axes[1, 1].errorbar(np.mean(normal, axis=1), numbers, xerr=np.std(normal, axis=1), **look)
    titles = ("training part: mean, deviation", "this utterance: mean, deviation")
    for ax, title in zip(axes[:, 1], titles):
        ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
        ax.set_title(title, fontsize=9, color="0.3", pad=3)
        ax.set(xlabel="value", ylim=(-0.5, len(mean) - 0.5))
    return figure


def denormalisation(original, normal, restored, times) -> Figure:
    """Four panels (C, T) over one axis of seconds: original, normalised, restored, and what the round trip lost."""
    figure, grid = style.panels(4, 1, height=6.4, sharex=True)
    original, restored = np.asarray(original), np.asarray(restored)
    lost = np.abs(restored - original)
    bound = float(np.abs(original).max())
    wide = {"cmap": style.MAPS["signed"], "vmin": -bound, "vmax": bound}
    panels = (
        ("original", original, wide),
        ("normalised", normal, SIGNED),
        ("restored", restored, wide),
        (f"|restored - original|: at most {lost.max():.2g}", lost, {"cmap": style.MAPS["energy"], "vmin": 0}),
    )
    for ax, (title, values, look) in zip(grid[:, 0], panels):
        draw_image(ax, values, times, **look)
        figure.colorbar(ax.images[0], ax=ax, pad=0.01, aspect=8)
        ax.set_title(title, fontsize=9, color="0.3", pad=3)
        ax.set_ylabel("coefficient")
    style.seconds(grid[-1, 0].xaxis)
    return figure


def staircases(steps: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Quantised amplitude over amplitude, one panel per {title: (amplitude, quantised)}."""
    figure, axes = style.panels(1, len(steps), height=2.9, sharey=True)
    for ax, (title, (amplitude, quantised)) in zip(axes[0], steps.items()):
        ax.plot(amplitude, amplitude, color=style.BASELINE, linewidth=0.8)
        ax.plot(amplitude, quantised, color=style.colour("wavenet"), linewidth=1.2)
        ax.set_title(title, fontsize=9, color="0.3", pad=3)
        ax.set(xlabel="amplitude", xlim=(-1, 1), ylim=(-1, 1))
    axes[0, 0].set_ylabel("quantised")
    return figure


def convergence(iterations: Sequence[int], curves: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Figure:
    """Spectral convergence over the iterations of up to four ways back to sound, a line per {name: values}."""
    ax = style.axes(ax, height=3.0)
    colours = style.BASELINE, *(style.colour(system) for system in ("vqvae", "wavenet", "vae"))
    for (name, values), colour in zip(curves.items(), colours):
        ax.plot(iterations, values, "o-", color=colour, markersize=4, label=name)
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xticks(iterations, [str(n) for n in iterations])
    ax.set(xlabel="iterations", ylabel="spectral convergence", yscale="log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.legend(reverse=True)
    return ax.figure
