"""A codec drawn: what of the wave each code sees, and one utterance on its way through codes into speech again."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from . import style
from .alignment import draw_boundaries, draw_image, draw_intervals, draw_spectrogram

OURS = style.colour("vqvae_wavenet")


def sight(seen: Mapping[str, Sequence[float]], stretch: Mapping[str, tuple[int, int]], sample_rate: int) -> Figure:
    """How much each sample moves one code, {encoder: |gradient| (S,)}, a panel per encoder over one axis of time.

    stretch: {encoder: (first, last)}, the samples that the code stands for (shaded); its first is time 0.
    """
    figure, grid = style.panels(len(seen), 1, height=0.8 + 1.15 * len(seen), sharex=True)
    for ax, (name, gradient) in zip(grid[:, 0], seen.items()):
        first, last = stretch[name]
        gradient = np.asarray(gradient, dtype=float)
        times = 1000 * (np.arange(len(gradient)) - first) / sample_rate
        inside = np.flatnonzero(gradient)
        shown = slice(inside[0], inside[-1] + 1)
        ax.axvspan(0, 1000 * (last - first) / sample_rate, color=style.BASELINE, alpha=0.35, linewidth=0)
        ax.fill_between(times[shown], gradient[shown] / gradient.max(), color=OURS, linewidth=0)
        reach = f"{times[inside[0]]:+.1f} to {times[inside[-1]]:+.1f} ms"
        ax.set_title(f"{name}: {reach}", fontsize=9, color="0.3", pad=3)
        ax.set(ylim=(0, 1.05), yticks=[])
    grid[-1, 0].set_xlabel("time from the beginning of the stretch that the code stands for (ms); shaded: the stretch")
    figure.supylabel("influence on the code", fontsize=10)
    return figure


def journey(
    recording,
    spoken: Mapping[str, Sequence[float]],
    sample_rate: int,
    bands: Mapping[str, Sequence],
    frame_rate: float,
    codes: Sequence[tuple],
    phones: Sequence[tuple] = (),
) -> Figure:
    """One utterance from top to bottom: the recording, its codes, the bands before and after, the waves they become.

    recording (S,); spoken {title: wave (S,)}; bands {title: (C, T)} with frames centred on k / frame_rate seconds;
    codes and phones [(symbol, start, stop)] in seconds. Boundaries of phones run through all panels.
    """
    ratios = [1.5, 0.35, *[1.2] * len(bands), *[1.5] * len(spoken)]
    figure, grid = style.panels(len(ratios), 1, height=1.15 * sum(ratios) + 0.6, sharex=True, height_ratios=ratios)
    axes, seconds = grid[:, 0], len(recording) / sample_rate
    draw_spectrogram(axes[0], recording, sample_rate)
    draw_intervals(axes[1], codes, 0, seconds)
    low, high = np.quantile(np.concatenate([np.asarray(b) for b in bands.values()], axis=1), (0.02, 0.995))
    for ax, values in zip(axes[2:], bands.values()):
        times = np.arange(np.shape(values)[1]) / frame_rate
        draw_image(ax, values, times, cmap=style.MAPS["energy"], vmin=low, vmax=high)
        ax.set_ylabel("band")
    for ax, wave in zip(axes[2 + len(bands) :], spoken.values()):
        draw_spectrogram(ax, wave, sample_rate)
    for ax, title in zip(axes, ("recording", "codes", *bands, *spoken)):
        ax.set_title(title, fontsize=9, color="0.3", pad=14 if ax is axes[0] and len(phones) else 3)
    axes[1].set_yticks([])
    axes[0].set_xlim(0, seconds)
    draw_boundaries(axes, phones)
    style.seconds(axes[-1].xaxis)
    figure.align_ylabels(axes)
    return figure
