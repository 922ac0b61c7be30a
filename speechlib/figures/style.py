"""One look for all figures: a colour per system, sizes that read well in a notebook, axes in seconds and hertz.

Figures are drawn without pyplot: a function returns its Figure, a cell that ends with it shows it, and nothing has to
be closed. Functions of one panel take `ax` to draw into a figure that is already there.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

COLOURS = {
    "vqvae": "#0072B2",
    "wavenet": "#D55E00",
    "vqvae_wavenet": "#7A4EAB",
    "vae": "#009E73",
    "wae": "#56B4E9",
    "wae_gan": "#0B6E99",
    "wgan": "#E69F00",
    "melnet": "#CC79A7",
    "clarinet": "#882255",
    "flowavenet": "#8C564B",
    "in_wae": "#332288",
    "svq": "#999933",
    "prior": "#117733",
}
REFERENCE = "#444444"  # recordings, labels, published figures: whatever a system is compared with
BASELINE = "#AAAAAA"  # k-means, chance
NEUTRAL = ("#5B6770", "#8FA3B0", "#B8A99A", "#7D7A68")  # parts of one thing, where a colour would name a system
WIDTH = 9.0  # inches: the width of a notebook's column at DPI
DPI = 100
MAPS = {"energy": "magma", "share": "Blues", "signed": "RdBu_r"}

_SETTINGS = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.figsize": (WIDTH, 3.2),
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.prop_cycle": cycler(color=list(COLOURS.values())),
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "image.cmap": MAPS["energy"],
    "image.aspect": "auto",
    "image.origin": "lower",
    "image.interpolation": "nearest",
}


def use() -> None:
    """Take this look for every figure from here on; notebooks also show a cell's last value if it is a Figure."""
    matplotlib.rcParams.update(_SETTINGS)
    from IPython import get_ipython

    if (shell := get_ipython()) is not None:
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"}, bbox_inches="tight")


def colour(system: str) -> str:
    """The system's colour; BASELINE's grey for a name that is none of COLOURS."""
    return COLOURS.get(system, BASELINE)


def distinct(n: int) -> np.ndarray:
    """n colours (n, 3) that tell neighbours apart: hues a golden angle from one to the next, three lightnesses."""
    k = np.arange(n)
    hsv = np.stack([(0.58 + k * 0.618034) % 1, 0.55 + 0.2 * (k % 2), 0.55 + 0.17 * (k % 3)], axis=-1)
    return hsv_to_rgb(hsv)


def of_runs(names: Sequence[str], system: str = "") -> list:
    """A colour per training: that of its system for a single one (`system`, or its name), or where all names are those
    of systems; else colours that tell them apart."""
    names = [system or name for name in names] if len(names) == 1 else list(names)
    if set(names) <= COLOURS.keys():
        return [COLOURS[name] for name in names]
    return list(distinct(len(names))) if len(names) > 1 else [REFERENCE]


def panels(
    rows: int = 1, columns: int = 1, height: float = 3.2, width: float = WIDTH, **options
) -> tuple[Figure, np.ndarray]:
    """A new figure of height x width inches and its Axes (rows, columns); options of Figure.subplots."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def axes(ax: Axes | None, height: float = 3.2, width: float = WIDTH) -> Axes:
    """The given Axes, or those of a new figure."""
    return panels(height=height, width=width)[1][0, 0] if ax is None else ax


def seconds(axis: Axis, label: str = "time (s)") -> None:
    """Label an axis (ax.xaxis) that counts seconds, with as many decimals as its ticks need."""
    axis.set_label_text(label)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def hertz(axis: Axis, label: str = "frequency (Hz)") -> None:
    """Label an axis (ax.yaxis) that counts hertz: 500, 1k, 2.5k."""
    axis.set_label_text(label)
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}")
    )
