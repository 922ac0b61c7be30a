"""Codes in the plane: coloured by speaker and by code, labelled with phones, and moving while they are learned."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..errors import SpeechlibError
from . import style


class Map(NamedTuple):
    """One recording of a codebook, laid out in the plane."""

    points: np.ndarray  # (N, 2) encoder outputs or quantised frames
    codebook: np.ndarray  # (K, 2)
    codes: np.ndarray  # (N,) code of each point
    speakers: np.ndarray  # (N,) speaker of each point
    title: str = ""


def embedding(shown: Map, axes_name: str = "UMAP") -> Figure:
    """Points by speaker (left) and by code (right); codes are crosses, black left, coloured right."""
    return _draw(shown, axes_name, None)


def animation(recordings: Sequence[Map], path: str | Path, axes_name: str = "UMAP", seconds: float = 0.5) -> Path:
    """Write the recordings as a GIF, one frame each on common axes, each shown for `seconds`; the last one thrice."""
    if not recordings:
        raise SpeechlibError("an animation needs at least one recording: train with record_codebook=True")
    from PIL import Image

    corners = np.concatenate([np.concatenate([r.points, r.codebook]) for r in recordings])
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = 0.04 * np.maximum(high - low, 1e-6)
    frames = []
    for k, recording in enumerate(recordings):
        counted = f"{k + 1} of {len(recordings)}: {recording.title}".rstrip(": ")
        figure = _draw(recording._replace(title=counted), axes_name, np.stack([low - margin, high + margin], axis=1))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        frames.append(drawn.quantize(128, dither=Image.Dither.NONE))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    milliseconds = [round(1000 * seconds)] * (len(frames) - 1) + [round(3000 * seconds)]
    frames[0].save(part, format="GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return part.replace(path)


def labelled_codebook(
    codebook, labels: Sequence[str], shares, axes_name: str = "UMAP", ax: Axes | None = None
) -> Figure:
    """Codes (K, 2) as dots as large as they are frequent (shares (K,)), each with its label, e.g. its likeliest phone.

    The same label has the same colour; labels are moved off one another, a line leads back to the code.
    """
    codebook, shares = np.asarray(codebook, dtype=float), np.asarray(shares, dtype=float)
    ax = style.axes(ax, height=6.0)
    kinds = sorted(set(labels))
    colours = style.distinct(len(kinds))[[kinds.index(label) for label in labels]]
    ax.scatter(*codebook.T, s=12 + 250 * shares / max(shares.max(), 1e-9), c=colours, alpha=0.55, linewidths=0)
    ax.margins(0.06)
    _name(ax, axes_name)
    ax.figure.draw_without_rendering()  # the layout settles, so that pixels mean something
    pixels = ax.transData.transform(codebook)
    placed = ax.transData.inverted().transform(_apart(pixels, width=26, height=14))
    for here, there, label, colour in zip(codebook, placed, labels, colours):
        ax.plot(*np.stack([here, there]).T, color=colour, linewidth=0.6, alpha=0.7)
        ax.text(*there, label, ha="center", va="center", fontsize=9, color=0.6 * colour)
    return ax.figure


def _draw(shown: Map, axes_name: str, limits) -> Figure:
    figure, axes = style.panels(1, 2, height=4.6, sharex=True, sharey=True)
    left, right = axes[0]
    names, speaker = np.unique(shown.speakers, return_inverse=True)
    by_speaker, by_code = style.distinct(len(names)), style.distinct(len(shown.codebook))
    dots = {"s": 7, "alpha": 0.6, "linewidths": 0, "rasterized": True}
    for k, name in enumerate(names):
        chosen = speaker == k
        left.scatter(*shown.points[chosen].T, color=by_speaker[k], label=str(name), **dots)
    left.scatter(*shown.codebook.T, marker="x", s=28, color="black", linewidths=1.1)
    right.scatter(*shown.points.T, c=by_code[np.asarray(shown.codes)], **dots)
    right.scatter(*shown.codebook.T, marker="x", s=28, c=by_code, linewidths=1.1)
    left.set_title("by speaker; crosses: codes")
    right.set_title("by code; crosses: codes")
    if len(names) <= 16:
        figure.legend(loc="outside lower center", ncols=min(len(names), 8), markerscale=2.5, handletextpad=0.1)
    if limits is not None:
        left.set(xlim=limits[0], ylim=limits[1])
    for ax in (left, right):
        _name(ax, axes_name)
    figure.suptitle(shown.title, fontsize=11) if shown.title else None
    return figure


def _name(ax: Axes, axes_name: str) -> None:
    """The plane's axes have no unit, only neighbourhoods: named, without ticks."""
    ax.set(xlabel=f"{axes_name} 1 (no unit)", ylabel=f"{axes_name} 2 (no unit)", xticks=[], yticks=[])


def _apart(places: np.ndarray, width: float, height: float, steps: int = 200) -> np.ndarray:
    """Centres (N, 2) of boxes, pushed along their shorter overlap until none overlap (or the steps end)."""
    moved = places + np.random.default_rng(0).normal(scale=0.5, size=places.shape)  # coinciding ones need a direction
    size = np.array([width, height])
    for _ in range(steps):
        gap = moved[:, None] - moved
        overlap = size - np.abs(gap)
        overlap[np.arange(len(moved)), np.arange(len(moved))] = 0
        overlapping = (overlap > 0).all(axis=-1)
        if not overlapping.any():
            break
        along = overlap.argmin(axis=-1)[..., None] == np.arange(2)
        push = np.where(overlapping[..., None] & along, np.sign(gap) * overlap, 0)
        moved = moved + 0.3 * push.sum(axis=1)
    return moved
