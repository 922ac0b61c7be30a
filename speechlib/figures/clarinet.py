"""ClariNet drawn: how likely each instant of a wave is to its teacher, and how quickly both speak."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from . import style
from .training import smooth

OURS, TEACHER = style.colour("clarinet"), style.colour("wavenet")


def surprise(
    curves: Mapping[str, Sequence[float]], sample_rate: int, colours: Mapping[str, str] | None = None
) -> Figure:
    """-log p in nats of every sample of each wave {name: (S,)}, smoothed over some 20 ms, on one time axis."""
    figure, ((ax,),) = style.panels(height=3.0)
    window = sample_rate // 100 * 2 + 1
    for name, values in curves.items():
        values = np.asarray(values, dtype=float)
        ax.plot(
            np.arange(len(values)) / sample_rate,
            smooth(values, window, 1),
            color=(colours or {}).get(name, style.REFERENCE),
            label=f"{name}: {values.mean():.2f} nats per sample",
        )
    style.seconds(ax.xaxis)
    ax.set(ylabel="-log p (nats)", title="how much each instant surprises the teacher", xlim=(0, None))
    figure.legend(loc="outside lower center", ncols=len(curves))
    return figure


def speeds(rows: Mapping[str, float], sample_rate: int, colours: Mapping[str, str] | None = None) -> Figure:
    """Bars of samples per second {name: value} on a logarithmic axis, against the line of real time."""
    figure, ((ax,),) = style.panels(height=0.9 + 0.36 * len(rows))
    bars = ax.barh(list(rows), list(rows.values()), color=[(colours or {}).get(name, style.BASELINE) for name in rows])
    ax.bar_label(bars, [f"{value:,.0f}" for value in rows.values()], fontsize=8, padding=3)
    ax.axvline(sample_rate, color=style.REFERENCE, linewidth=1)
    ax.text(sample_rate, 1.02, " as quick as it is played", transform=ax.get_xaxis_transform(), fontsize=8)
    ax.set(xscale="log", xlabel="samples per second", xlim=(min(1000.0, *rows.values()), 4 * max(rows.values())))
    ax.invert_yaxis()
    return figure
