"""Systems side by side: a row for each, a panel for each question."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import style

PANELS = {  # column -> (title, what is better); of converted speech it is <column>_converted
    "per": ("phone error rate", "lower"),
    "voice": ("taken for the voice asked for", "higher"),
    "pitch": ("correlation of log F0", "higher"),
    "log_mel_distance": ("log-mel distance (dB)", "lower"),
}
_COLOURS = {"wavenet_autoencoder": "in_wae", "wavenet_autoencoder, svq": "svq"}


def colour(label: str) -> str:
    """Of a system by its label, "vqvae_wavenet, shipped": variants share theirs."""
    system = label.partition(",")[0]
    return style.colour(_COLOURS.get(label, _COLOURS.get(system, system)))


def ranking(rows: Mapping[str, Mapping[str, float]], marks: Sequence[str] = ()) -> Figure:
    """{label: {column: value}}: full dots are speech said again, rings the same in another voice. Marks (grey, above
    the line) keep their order, systems follow by their phone error rate; `low` and `high` are its interval, and
    `bits_per_second` stands behind a name."""
    systems = [label for label in rows if label not in marks]
    systems.sort(key=lambda label: np.nan_to_num(rows[label].get("per", np.nan), nan=np.inf))  # who failed comes last
    labels = [*marks, *systems]
    shown = [name for name in PANELS if any(np.isfinite(rows[label].get(name, np.nan)) for label in labels)]
    figure, grid = style.panels(1, len(shown), height=1.25 + 0.27 * len(labels), width=11, sharey=True)
    places = np.arange(len(labels))
    tints = [style.REFERENCE if label in marks else colour(label) for label in labels]
    for ax, name in zip(grid[0], shown):
        ax.hlines(places, 0, 1, color="0.93", linewidth=0.8, zorder=0, transform=ax.get_yaxis_transform())
        for y, label, tint in zip(places, labels, tints):
            _row(ax, y, rows[label], name, tint)
        if 0 < len(marks) < len(labels):
            ax.axhline(len(marks) - 0.5, color="0.6", linewidth=0.8)
        title, better = PANELS[name]
        ax.set_title(f"{title}\n{better} is better", fontsize=9.5)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        if name == "voice":
            ax.set_xlim(-0.04, 1.04)
        elif name == "per":
            ends = [rows[label].get(key, np.nan) for label in labels for key in ("high", "per", "per_converted")]
            ax.set_xlim(0, max(0.5, 1.04 * np.nanmax(ends)))
        elif name == "log_mel_distance":
            ax.set_xlim(left=-0.3)
        else:
            ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    grid[0, 0].set_yticks(places, [_named(label, rows[label]) for label in labels])
    for text, tint in zip(grid[0, 0].get_yticklabels(), tints):
        text.set_color(tint)
    grid[0, 0].set_ylim(len(labels) - 0.4, -0.6)
    look = {"marker": "o", "linestyle": "", "color": "0.35", "markersize": 6.5}
    legend = [Line2D([], [], **look), Line2D([], [], markerfacecolor="w", markeredgewidth=1.5, **look)]
    figure.legend(legend, ["said again", "in another voice"], loc="outside lower right", ncols=2)
    return figure


def _row(ax, y: float, row: Mapping[str, float], name: str, tint: str) -> None:
    again, converted = (row.get(key, np.nan) for key in (name, f"{name}_converted"))
    if name == "per" and np.isfinite([row.get("low", np.nan), row.get("high", np.nan)]).all():
        ax.plot([row["low"], row["high"]], [y, y], color=tint, linewidth=5, alpha=0.18, solid_capstyle="butt", zorder=1)
    if np.isfinite(converted):
        ax.plot([again, converted], [y, y], color=tint, linewidth=1.2, zorder=2)
        ax.plot(converted, y, "o", color=tint, markerfacecolor="w", markeredgewidth=1.5, markersize=6.5, zorder=3)
    ax.plot(again, y, "o", color=tint, markersize=6.5, zorder=4)


def _named(label: str, row: Mapping[str, float]) -> str:
    bits = row.get("bits_per_second", np.nan)
    return f"{label} ({bits:.0f} bit/s)" if np.isfinite(bits) else label
