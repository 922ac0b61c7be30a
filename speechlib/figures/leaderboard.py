"""What a representation costs against how well it tells phones apart: the entries of a challenge, and ours."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from . import style

_TICKS = (20, 50, 100, 200, 400, 800, 1600)


def cost_and_error(
    published: Mapping[str, tuple[float, float]],
    ours: Mapping[str, tuple[float, float]] = {},
    colours: Mapping[str, str] = {},
    rates: Mapping[str, float] = {},
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Bits per second (logarithmic) against ABX error (%), a dot and a name for each: good is down and left.

    published, ours: {name: (bits per second, error)}; published ones are grey, ours are diamonds in the colour of their
    system: colours {name: system}, where a published one may be named too. rates {name: bits per second} are dotted
    lines, named above the frame: a bit rate without an error, or the cap that no more rows can pass.
    """
    ax = style.axes(ax, height=5.4)
    names = [*published, *ours]
    points = np.array([*published.values(), *ours.values()], dtype=float).reshape(-1, 2)
    tints = [style.colour(colours[name]) if name in colours else style.REFERENCE for name in names]
    ax.set_xscale("log")
    low, high = (points[:, 0].min(), points[:, 0].max()) if len(points) else (20, 1600)
    ax.set_xlim(low / 1.35, max(high, *rates.values(), low) * 1.6)
    ax.set_ylim(0, 5 * np.ceil((points[:, 1].max(initial=50) + 3) / 5))
    for name, bits in rates.items():
        ax.axvline(bits, color=style.BASELINE, linestyle=":", linewidth=1.2, zorder=0)
        ax.text(bits, ax.get_ylim()[1], name, ha="center", va="bottom", size=8, color="0.45")
    for k, (bits, error) in enumerate(points):
        is_ours = k >= len(published)
        ax.plot(bits, error, "D" if is_ours else "o", color=tints[k], markersize=9 if is_ours else 6, zorder=3)
    _label(ax, names, points, tints)
    ax.axhline(50, color=style.BASELINE, linewidth=0.8, zorder=0)
    ax.text(ax.get_xlim()[0] * 1.03, 50.4, "chance", size=8, color="0.45", va="bottom")
    ax.xaxis.set_major_locator(FixedLocator([t for t in _TICKS if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set(xlabel="bit rate (bits per second)", ylabel="ABX error (%)", title=title)
    return ax.figure


def _label(ax: Axes, names: list[str], points: np.ndarray, tints: list) -> None:
    """A name beside each dot, where it covers the least of other names and dots: the first of some places that is free,
    else the least bad."""
    figure = ax.figure
    figure.draw_without_rendering()  # only now pixels are known
    dots = ax.transData.transform(points) if len(points) else points
    height = 11 * figure.dpi / 72
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    frame = ax.get_window_extent()
    order = np.argsort(-points[:, 1], kind="stable") if len(points) else []
    for k in order:
        width = 0.5 * height * len(names[k]) + 2
        (x, y), best = dots[k], None
        for reach in (8, 18, 30, 44):
            for right, up in ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1)):
                left = x + right * reach if right > 0 else x + right * reach - width if right < 0 else x - width / 2
                bottom = y + up * reach - height / 2
                box = (left, bottom, left + width, bottom + height)
                outside = box[0] < frame.x0 or box[2] > frame.x1 or box[1] < frame.y0 or box[3] > frame.y1
                cost = sum(_overlap(box, other) for j, other in enumerate(taken) if j != k) + 1e6 * outside
                if best is None or cost < best[0] - 1e-6:
                    best = (cost, box, reach)
            if best[0] == 0:
                break
        _, box, reach = best
        taken.append(box)
        centre = ax.transData.inverted().transform(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
        line = {"arrowstyle": "-", "color": "0.7", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3} if reach > 8 else None
        ax.annotate(
            names[k], points[k], centre, ha="center", va="center", size=8.5, color=tints[k], arrowprops=line, zorder=2
        )


def _overlap(a: tuple, b: tuple) -> float:
    """Pixels that two boxes (x0, y0, x1, y1) share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
