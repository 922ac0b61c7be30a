"""Walk a codebook: the map of its codes to click on, and for each code its phones, its spectrum and its instances.

The map is a picture under a grid of transparent buttons, one per code. A code's label stands in the grid's cell that is
nearest to its place (no two in one cell, the sum of the squared shifts as small as can be); a line leads to the place.
"""

from functools import lru_cache
from html import escape

import ipywidgets
import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure

from ..corpora.labels import SILENCES
from ..errors import SpeechlibError
from ..evaluation import mapping
from ..evaluation.tokens import step_seconds
from ..figures.alignment import WINDOW, draw_spectrogram, tint
from .explorer import NO_MARGIN, Explorer, picture
from .explorers import WIDE, instances, voice_name, wave_of
from .players import LEFT, audio_elements

CELL, GRID = (29, 19), (20, 23)  # the map: pixels of a cell, columns and rows
MAX_CODES, MAX_VOICES, MAX_TAKES = 200, 8, 20
CONTEXT, HELD = 0.15, 0.3  # seconds shown and heard on either side of a code; length of a code decoded alone
TAKES, PAUSE = 3, 0.2  # instances in one player of `code_players`, and the seconds between them
SAMPLE = 300  # instances that a mean spectrum is taken over


def codebook_explorer(trained, tokens, points) -> Explorer:
    """Click a code on the map, or pick it from the list (most frequent first), and hear its instances in each voice.

    `tokens` is the token table of some part (systems.tokens), `points` (K, 2) the places of the codes on the map. Per
    voice one instance in its context (drawn at random, `take` draws others), the code's own span marked, beside what
    the decoder makes of the code alone, held for 0.3 s. Works without phones; then codes are named by number.
    Raises SpeechlibError for an empty token table or points that do not fit the codebook.
    """
    size = trained.experiment.model.codebook_size
    points = np.asarray(points, float)
    if not len(tokens):
        raise SpeechlibError("the token table is empty: no codes to walk through")
    if points.shape != (size, 2) or not np.isfinite(points).all():
        raise SpeechlibError(f"points of shape {points.shape}, a codebook of {size} codes needs finite ({size}, 2)")
    book = _Codebook(trained, tokens)
    ranked = book.ranked[:MAX_CODES]
    choices = [(book.name(k), k) for k in book.ranked]
    first = next((k for k in book.ranked if book.label(k) not in SILENCES), book.ranked[0])
    code = ipywidgets.Dropdown(options=choices, value=first, description="code", layout=WIDE)
    take = ipywidgets.IntSlider(1, min=1, max=MAX_TAKES, description="take", continuous_update=False)
    cells = _cells(points[ranked])
    drawn_map = _draw_map(points[ranked], cells, [book.label(k) for k in ranked])
    buttons = {k: _button(book.name(k), cell) for k, cell in zip(ranked, cells)}
    for k, button in buttons.items():
        button.on_click(lambda _, k=k: setattr(code, "value", k))

    def highlight(old: int | None, new: int) -> None:
        for k, border in ((old, "none"), (new, "3px solid red")):
            if k in buttons:
                buttons[k].layout.border = border

    def render(code: int, take: int) -> dict[str, str]:
        return {"map": drawn_map, "about": book.about(code), "instances": book.instances(code, take)}

    def clickable(view):
        view.layout.grid_area = f"1 / 1 / {GRID[1] + 1} / {GRID[0] + 1}"
        templates = {f"grid_template_{k}": f"repeat({n}, {px}px)" for k, n, px in zip(("columns", "rows"), GRID, CELL)}
        return ipywidgets.GridBox([view, *buttons.values()], layout={"grid_gap": "0", **templates})

    code.observe(lambda change: highlight(change.old, change.new), "value")
    highlight(None, code.value)
    controls, rows = {"code": code, "take": take}, [("map", "about"), ("instances",)]
    explorer = Explorer("Codebook map and the instances of a code", controls, rows, render, {"map": clickable})
    explorer.buttons = buttons
    return explorer


def code_players(pack, tokens, n_codes: int = 6, n_voices: int = 4) -> HTML:
    """The most frequent codes, heard: a row per code, a column per voice (of both sexes where there are both).

    Codes that mostly stand for silence are left out, where labels tell. Each player holds up to TAKES instances of
    the code in that voice, drawn at random, each with CONTEXT seconds on either side, a short silence between them;
    loudness is matched within a row. Raises SpeechlibError for no tokens.
    """
    found = instances(tokens, step_seconds(tokens))
    heard = set(found["speaker"])
    present = [s for s in range(len(pack.speakers)) if str(pack.speakers[s]) in heard]
    present.sort(key=lambda s: (str(pack.genders[s]), str(pack.speakers[s])))
    chosen = sorted({present[round(i)] for i in np.linspace(0, len(present) - 1, n_voices)}, key=present.index)
    rows = "<th>code</th>" + "".join(f"<th>{escape(voice_name(pack, s))}</th>" for s in chosen)
    shares = tokens["code"].value_counts(normalize=True)
    labelled = tokens.dropna(subset="phone").groupby("code")["phone"]
    phones = {k: spoken.value_counts(normalize=True) for k, spoken in labelled}
    frequent = [k for k in shares.index if k not in phones or phones[k].index[0] not in SILENCES]
    for k in frequent[:n_codes]:
        runs = found[found["code"] == k]
        titles = {s: f"code {k}, {voice_name(pack, s)}" for s in chosen}
        waves = {titles[s]: _takes(pack, runs[runs["speaker"] == str(pack.speakers[s])], int(k)) for s in chosen}
        heard = audio_elements({t: wave for t, wave in waves.items() if wave is not None}, pack.config.sample_rate)
        best = f"<br>{escape(str(phones[k].index[0]))} {100 * phones[k].iloc[0]:.0f} %" if k in phones else ""
        cells = f"<b>{k}</b>{best}<br>{100 * shares[k]:.2g} % of the time"
        rows += f'</tr><tr><td style="{LEFT}">{cells}</td>' + "".join(
            f"<td>{heard.get(t, 'never')}</td>" for t in titles.values()
        )
    return HTML(f"<table><tr>{rows}</tr></table>")


def _takes(pack, runs, seed: int) -> np.ndarray | None:
    """Up to TAKES of these instances in a row, None for none."""
    if not len(runs):
        return None
    pause = np.zeros(round(PAUSE * pack.config.sample_rate), np.float32)
    drawn = runs.sample(min(TAKES, len(runs)), random_state=seed)
    return np.concatenate([part for run in drawn.itertuples() for part in (context(pack, run)[0], pause)])


def context(pack, run) -> tuple[np.ndarray, float]:
    """The wave with CONTEXT seconds on either side of an instance, and the second it begins at."""
    rate, wave = pack.config.sample_rate, wave_of(pack, run.utterance)
    first = max(0, round((run.start - CONTEXT) * rate))
    return wave[first : max(first + 1, round((run.stop + CONTEXT) * rate))], first / rate


class _Codebook:
    """What there is to tell of each code of a token table."""

    def __init__(self, trained, tokens):
        self.trained, self.tokens, self.step = trained, tokens, step_seconds(tokens)
        self.pack = trained.data.pack
        self.runs = instances(tokens, self.step)
        self.share = tokens["code"].value_counts(normalize=True)
        self.ranked = [int(k) for k in self.share.index]
        self.phones: dict = {}  # code -> its phones with their shares, most probable first
        if tokens["phone"].notna().any():
            mapped = mapping.fit(tokens, trained.experiment.model.codebook_size)
            self.phone_share = mapped.counts.sum() / mapped.counts.to_numpy().sum()
            seen = mapping.phone_given_code(mapped)[mapped.counts.sum(axis=1) > 0]
            self.phones = {int(k): row[row > 0].sort_values(ascending=False) for k, row in seen.iterrows()}
        self.all_levels = self._levels(tokens)
        self.about, self.instances = lru_cache(32)(self._about), lru_cache(32)(self._instances)

    def label(self, k: int) -> str:
        """The most probable phone, or the number where nothing is labelled."""
        return str(self.phones[k].index[0]) if k in self.phones else str(k)

    def name(self, k: int) -> str:
        best = f", {self.label(k)} {100 * self.phones[k].iloc[0]:.0f} %" if k in self.phones else ""
        return f"{k}{best} ({100 * self.share[k]:.2g} % of the time)"

    def _about(self, k: int) -> str:
        """P(phone | code) beside P(phone), and the mean spectrum at the code's instances beside that of all codes."""
        phones = self.phones.get(k)
        drawn = Figure(figsize=(4.2, 4.4), layout="constrained")
        axes = drawn.subplots(1 if phones is None else 2, squeeze=False)[:, 0]
        if phones is not None:
            top = phones.iloc[:8]
            look = {"color": [tint(phone) for phone in top.index], "edgecolor": "0.6"}
            axes[0].bar(top.index, 100 * top, label="given the code", **look)
            axes[0].plot(top.index, 100 * self.phone_share[top.index], "_k", markersize=14, label="anywhere")
            axes[0].set(ylabel="share of the phone (%)", title=f"code {k}: phones")
            axes[0].legend(fontsize=8)
        hertz = np.linspace(0, self.pack.config.sample_rate / 2000, len(self.all_levels))
        axes[-1].plot(hertz, self.all_levels, color="0.6", label="all codes")
        axes[-1].plot(hertz, self._levels(self.tokens[self.tokens["code"] == k]), color="#d62728", label=f"code {k}")
        axes[-1].set(xlabel="frequency (kHz)", ylabel="level (dB)", title="mean spectrum", xlim=(0, hertz[-1]))
        axes[-1].legend(fontsize=8)
        runs = self.runs[self.runs["code"] == k]
        mean = 1000 * (runs["stop"] - runs["start"]).mean()
        facts = f"{len(runs)} instances in {runs['speaker'].nunique()} voices, {mean:.0f} ms each on average"
        seen = picture(drawn, f"phones and mean spectrum of code {k}")
        return f'<div style="width: 420px"><b>code {escape(self.name(k))}</b>: {facts}</div>{seen}'

    def _levels(self, tokens) -> np.ndarray:
        """Mean spectrum (dB) of a sample of tokens."""
        rate = self.pack.config.sample_rate
        window = round(WINDOW * rate)
        some = tokens.sample(min(SAMPLE, len(tokens)), random_state=0)
        frames = []
        for utterance, times in some.groupby("utterance", observed=True)["time"]:
            wave = np.pad(wave_of(self.pack, utterance), window)
            first = np.round(times.to_numpy() * rate).astype(int) + window // 2
            frames.append(np.lib.stride_tricks.sliding_window_view(wave, window)[first.clip(0, len(wave) - window)])
        power = np.abs(np.fft.rfft(np.concatenate(frames) * np.hanning(window), 2 * window)) ** 2
        return (10 * np.log10(power + 1e-10)).mean(axis=0)

    def _instances(self, k: int, take: int) -> str:
        """A row per voice: the instance in its context, seen and heard, and the code alone, decoded in that voice."""
        runs = self.runs[self.runs["code"] == k]
        voices = runs["speaker"].value_counts().index[:MAX_VOICES].sort_values()
        chosen = {}
        for voice in voices:
            own = runs[runs["speaker"] == voice].sample(frac=1, random_state=k)
            chosen[voice] = (own.iloc[(take - 1) % len(own)], len(own))
        rate = self.pack.config.sample_rate
        contexts = {voice: context(self.pack, run) for voice, (run, _) in chosen.items()}
        heard = audio_elements({voice: wave for voice, (wave, _) in contexts.items()}, rate)
        alone = audio_elements(self._alone(k, list(voices)), rate)
        rows = ""
        for voice, (run, n) in chosen.items():
            wave, start = contexts[voice]
            drawn = _draw_context(wave, rate, start, run)
            said = f"in {run.phone}, " if isinstance(run.phone, str) else ""
            about = f"<b>{escape(str(voice))}</b><br>{escape(said + run.utterance)}<br>{run.start:.2f} s, one of {n}"
            cells = (about, picture(drawn, f"code {k} in {run.utterance}"), heard[voice], alone.get(voice, ""))
            rows += "<tr>" + "".join(f'<td style="{LEFT}">{cell}</td>' for cell in cells) + "</tr>"
        heads = ("voice", f"code {k} in its context", "context", f"the code alone, decoded ({HELD} s)")
        return "<table><tr>" + "".join(f"<th>{head}</th>" for head in heads) + f"</tr>{rows}</table>"

    def _alone(self, k: int, voices: list[str]) -> dict[str, np.ndarray]:
        """What the decoder makes of code k held for HELD seconds, in each voice (in one, if it knows no voices)."""
        from .. import systems

        voices = voices if systems.has_voices(self.trained) else voices[:1]
        held = [np.full(round(HELD / self.step), k)] * len(voices)
        waves = systems.speak(self.trained, held, [self.pack.speakers.index(voice) for voice in voices])
        return dict(zip(voices, (wave.numpy() for wave in waves)))


def _cells(points: np.ndarray) -> list[tuple[int, int]]:
    """A cell (column, row) of the grid for each point (N, 2), y upwards: no cell twice, least sum of squared shifts."""
    from scipy.optimize import linear_sum_assignment

    centres = np.stack(np.meshgrid(np.arange(GRID[0]), np.arange(GRID[1]), indexing="ij"), -1).reshape(-1, 2)
    shifts = np.square((_places(points)[:, None] - centres) * CELL).sum(-1)
    return [tuple(int(c) for c in centres[i]) for i in linear_sum_assignment(shifts)[1]]


def _places(points: np.ndarray) -> np.ndarray:
    """Points (N, 2) in units of cells, the map's edges left free."""
    span = np.ptp(points, axis=0)
    unit = (points - points.min(axis=0)) / np.where(span > 0, span, 1)
    unit[:, 1] = 1 - unit[:, 1]
    return 0.5 + unit * (np.array(GRID) - 2)


def _draw_map(points: np.ndarray, cells: list[tuple[int, int]], labels: list[str]) -> str:
    drawn = Figure(figsize=(GRID[0] * CELL[0] / 100, GRID[1] * CELL[1] / 100))
    axis = drawn.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.5, GRID[0] - 0.5), ylim=(GRID[1] - 0.5, -0.5), facecolor="0.97", xticks=[], yticks=[])
    for place, cell, label in zip(_places(points), cells, labels):
        axis.plot(*zip(place, cell), color="0.7", linewidth=0.8, zorder=1)
        box = {"facecolor": tint(label), "edgecolor": "0.6", "boxstyle": "round,pad=0.25", "linewidth": 0.5}
        axis.text(*cell, label, ha="center", va="center", fontsize=7.5, bbox=box, zorder=2)
    return picture(drawn, "codebook map: codes by their most probable phone")


def _draw_context(wave: np.ndarray, sample_rate: int, start: float, run) -> Figure:
    drawn = Figure(figsize=(2.6, 1.1))
    axis = drawn.add_axes((0, 0, 1, 1))
    draw_spectrogram(axis, wave, sample_rate, start)
    for edge in (run.start, run.stop):
        axis.axvline(edge, color="w", linewidth=1.5, linestyle="--")
    axis.set_axis_off()
    return drawn


def _button(name: str, cell: tuple[int, int]) -> ipywidgets.Button:
    column, row = cell
    area = {
        "grid_area": f"{row + 1} / {column + 1}",
        "width": f"{CELL[0]}px",
        "height": f"{CELL[1]}px",
        "border": "none",
    }
    button = ipywidgets.Button(tooltip=f"code {name}", layout=NO_MARGIN | area)
    button.style.button_color = "transparent"
    return button
