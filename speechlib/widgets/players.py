"""Sound and key numbers as HTML that works everywhere: untrusted notebooks, exported pages, the index page.

IPython.display.Audio puts its sound into a <source> child, which JupyterLab strips from a notebook that is not
trusted, and normalises by default; here the sound is the src attribute of <audio> and its level is left alone.
"""

import base64
import math
from collections.abc import Mapping
from html import escape
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from IPython.display import HTML

from .. import audio
from ..errors import SpeechlibError

NUMBERS_MIME = "application/vnd.speechlib.numbers+json"
_FLAC_BLOCK = 4096  # samples: a FLAC of one block has nothing to seek by, and Chromium then plays none of it
MAX_SECONDS = 20  # of one player: notebooks of 50 MB neither save nor open
LEFT = "text-align: left"
MUTED = "color: var(--jp-ui-font-color2, #666); font-size: 90%"


def player(wave, sample_rate: int, title: str = "") -> HTML:
    """One clip with its title, as an <audio> element that holds the sound (16 bit, lossless).

    `wave` (S,) or (1, S): array or tensor, floats in [-1, 1] or int16. The level stays as it is; only a clip that
    would be cut off above 1 is turned down, and one longer than MAX_SECONDS is shortened: both are said beside it.
    Raises SpeechlibError for other shapes, an empty wave, NaN or infinite samples, or an impossible sample rate.
    """
    clip = _limit(_clip(wave, sample_rate, title))
    head = f"<div><b>{escape(title)}</b></div>" if title else ""
    note = f' <span style="{MUTED}">{escape(clip.note)}</span>' if clip.note else ""
    return HTML(f"<div>{head}{_audio(clip, sample_rate, title)}{note}</div>")


def players(waves: Mapping, sample_rate: int, match_loudness: bool = True, captions: Mapping | None = None) -> HTML:
    """A table of clips to compare: label, player and caption per row of {label: wave}.

    With match_loudness all clips get the same RMS, as loud as they can be without any of them clipping (silent ones
    stay silent), and each row says its gain. `captions` {label: text} goes before what is said of the level.
    Raises SpeechlibError as `player` does, and for a caption without a clip.
    """
    captions = captions or {}
    if not waves:
        raise SpeechlibError("no clips to play: players needs {label: wave} with at least one")
    if unknown := [str(label) for label in captions if label not in waves]:
        raise SpeechlibError(f"captions without a clip: {', '.join(unknown)}; clips are {', '.join(map(str, waves))}")
    clips = {label: _clip(wave, sample_rate, str(label)) for label, wave in waves.items()}
    clips = _matched(clips) if match_loudness else {label: _limit(clip) for label, clip in clips.items()}
    rows = ""
    for label, clip in clips.items():
        caption = "; ".join(filter(None, [str(captions.get(label, "")), clip.note]))
        rows += (
            f'<tr><td style="{LEFT}"><b>{escape(str(label))}</b></td>'
            f'<td style="{LEFT}">{_audio(clip, sample_rate, str(label))}</td>'
            f'<td style="{LEFT}; {MUTED}">{escape(caption)}</td></tr>'
        )
    return HTML(f"<table>{rows}</table>")


def player_grid(rows: Mapping, match_loudness: bool = True) -> HTML:
    """Clips in rows and columns: {row: {column: (wave, sample_rate)}}, each at a rate of its own.

    With match_loudness all get the same RMS, as `players` has it. A row may lack columns. Raises SpeechlibError as
    `player` does, and where there is nothing to play.
    """
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    if not columns:
        raise SpeechlibError("no clips to play: player_grid needs {row: {column: (wave, sample_rate)}}, one at least")
    given = {f"{row}: {column}": cell for row, cells in rows.items() for column, cell in cells.items()}
    clips = {title: _clip(wave, rate, title) for title, (wave, rate) in given.items()}
    clips = _matched(clips) if match_loudness else {title: _limit(clip) for title, clip in clips.items()}
    sounds = {title: _audio(clips[title], rate, title, "width: 190px") for title, (_, rate) in given.items()}
    body = ""
    for row in rows:
        cells = "".join(f'<td style="{LEFT}">{sounds.get(f"{row}: {column}", "")}</td>' for column in columns)
        body += f'<tr><td style="{LEFT}"><b>{escape(str(row))}</b></td>{cells}</tr>'
    head = "".join(f'<th style="{LEFT}; {MUTED}">{escape(str(column))}</th>' for column in columns)
    return HTML(f'<div style="overflow-x: auto"><table><tr><th></th>{head}</tr>{body}</table></div>')


class KeyNumbers:
    """What `key_numbers` gives: shown as a small table, and carried as NUMBERS_MIME for the index page."""

    def __init__(self, numbers: dict):
        self.numbers = numbers

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        texts = {name: _text(value) for name, value in self.numbers.items()}
        rows = "".join(
            f'<tr><td style="{LEFT}">{escape(name)}</td><td style="text-align: right"><b>{escape(text)}</b></td></tr>'
            for name, text in texts.items()
        )
        plain = "\n".join(f"{name}: {text}" for name, text in texts.items())
        return {"text/html": f"<table>{rows}</table>", "text/plain": plain, NUMBERS_MIME: self.numbers}


def key_numbers(numbers: Mapping) -> KeyNumbers:
    """The few numbers that answer a notebook's question, as the last expression of the cell tagged `key-numbers`.

    {name with its unit: value}: whole numbers, floats (kept and shown with 3 significant digits; NaN and infinities
    as "undefined") or short texts. Raises SpeechlibError for other values.
    """
    if not numbers:
        raise SpeechlibError("no key numbers: give {name with its unit: value}")
    return KeyNumbers({str(name): _number(name, value) for name, value in numbers.items()})


class _Clip(NamedTuple):
    wave: np.ndarray  # (S,) float32
    note: str  # what was done to it


def _clip(wave, sample_rate: int, title: str) -> _Clip:
    """Any accepted wave as one channel of floats, shortened where too long."""
    if not isinstance(sample_rate, Integral) or not 1000 <= sample_rate <= 192_000:
        raise SpeechlibError(f"sample_rate {sample_rate!r} is not a whole number of hertz between 1000 and 192000")
    name = f"wave of {title!r}" if title else "wave"
    if hasattr(wave, "detach"):
        wave = wave.detach().cpu()
        wave = wave.float() if wave.is_floating_point() else wave  # numpy has no bfloat16
    values = np.asarray(wave)
    if values.dtype == np.int16:
        values = values / 32768
    elif values.dtype.kind != "f":
        raise SpeechlibError(f"{name} holds {values.dtype}: floats in [-1, 1] or int16 are wanted")
    if values.ndim == 2 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 1 or values.size == 0:
        raise SpeechlibError(f"{name} has shape {tuple(values.shape)}: one channel (S,) or (1, S) with S > 0 is wanted")
    if bad := np.count_nonzero(~np.isfinite(values)):
        raise SpeechlibError(f"{name} has {bad} NaN or infinite samples of {values.size}")
    limit = MAX_SECONDS * sample_rate
    note = f"first {MAX_SECONDS} s of {values.size / sample_rate:.1f} s" if values.size > limit else ""
    return _Clip(values[:limit].astype(np.float32), note)


def _limit(clip: _Clip) -> _Clip:
    if (peak := float(np.abs(clip.wave).max())) <= 1:
        return clip
    note = f"peak {peak:.3g}: turned down {20 * math.log10(peak):.1f} dB so as not to clip"
    return _Clip(clip.wave / peak, "; ".join(filter(None, [clip.note, note])))


def _matched(clips: dict) -> dict:
    matched = {}
    for (label, clip), wave in zip(clips.items(), audio.match_loudness([clip.wave for clip in clips.values()])):
        before, after = (float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) for x in (clip.wave, wave))
        gain = f"{20 * math.log10(after / before):+.1f} dB" if min(before, after) > 0 else "silent"
        matched[label] = _Clip(wave, "; ".join(filter(None, [clip.note, gain])))
    return matched


def audio_elements(waves: Mapping, sample_rate: int) -> dict:
    """{label: <audio> element} of clips at matched loudness, for tables that hold more than players."""
    clips = _matched({label: _clip(wave, sample_rate, str(label)) for label, wave in waves.items()})
    return {label: _audio(clip, sample_rate, str(label), "width: 190px") for label, clip in clips.items()}


def _audio(clip: _Clip, sample_rate: int, title: str, style: str = "") -> str:
    format = "FLAC" if len(clip.wave) > _FLAC_BLOCK else "WAV"
    data = base64.b64encode(audio.to_bytes(clip.wave, sample_rate, format)).decode()
    look = f' style="{style}"' if style else ""
    return f'<audio controls{look} title="{escape(title)}" src="data:audio/{format.lower()};base64,{data}"></audio>'


def _number(name, value):
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, (str, Integral)):
        return value
    if not isinstance(value, Real):
        raise SpeechlibError(f"key number {name!r} is {value!r}: a number or a short text is wanted")
    return float(f"{value:.3g}") if math.isfinite(value) else None  # JSON has no NaN


def _text(value) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
