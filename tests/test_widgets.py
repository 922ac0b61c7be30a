"""Players decode back to what was put in; explorers react to their values; nothing needs a trusted notebook."""

import base64
import io
import json
import re

import numpy as np
import pytest
import soundfile
import torch

from speechlib import widgets
from speechlib.errors import SpeechlibError

RATE = 16000


def sounds(html) -> list[np.ndarray]:
    """The samples inside every player of a piece of HTML."""
    found = re.findall(
        r'<audio controls[^>]* src="data:audio/flac;base64,([^"]+)"></audio>', getattr(html, "data", html)
    )
    return [soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")[0] for data in found]


def rms(wave) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))


def noise(seed: int, level: float, n: int = 4000) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(0, level, n), -0.99, 0.99).astype(np.float32)


def test_player_holds_the_samples_exactly():
    whole = np.random.default_rng(0).integers(-32768, 32767, 3000, dtype=np.int16)
    for given in (whole, whole / np.float32(32768), torch.tensor(whole / np.float32(32768))[None], torch.tensor(whole)):
        (heard,) = sounds(widgets.player(given, RATE))
        np.testing.assert_array_equal(np.round(heard * 32768).astype(int), whole)


def test_player_escapes_titles_and_keeps_silence():
    html = widgets.player(np.zeros(100, np.float32), RATE, '<script>"x"&')
    assert "<script>" not in html.data
    assert html.data.count("&lt;script&gt;&quot;x&quot;&amp;") == 2
    np.testing.assert_array_equal(sounds(html)[0], 0)


def test_player_says_what_it_changed():
    loud = widgets.player(np.array([0.0, 2.0, -1.0]), RATE)
    np.testing.assert_allclose(sounds(loud)[0], [0, 1, -0.5], atol=1e-4)
    assert "turned down 6.0 dB" in loud.data
    long = widgets.player(np.zeros(RATE * 60, np.float32), RATE)
    assert "first 20 s of 60.0 s" in long.data
    assert sounds(long)[0].size == 20 * RATE


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (np.zeros((2, 10), np.float32), RATE, r"\(2, 10\)"),
        (np.zeros(0, np.float32), RATE, "S > 0"),
        (np.array([0.0, np.nan, np.inf]), RATE, "2 NaN or infinite samples of 3"),
        (np.zeros(10, np.int64), RATE, "int64"),
        (np.zeros(10, np.float32), 0, "sample_rate 0"),
        (np.zeros(10, np.float32), 16e3, "sample_rate 16000.0"),
    ],
)
def test_player_refuses(wave, rate, message):
    with pytest.raises(SpeechlibError, match=message):
        widgets.player(wave, rate)


def test_players_match_loudness_and_say_the_gain():
    html = widgets.players({"loud": noise(0, 0.3), "quiet": noise(1, 0.003), "none": np.zeros(50, np.float32)}, RATE)
    loud, quiet, none = sounds(html)
    assert rms(loud) == pytest.approx(rms(quiet), rel=1e-3)
    assert max(np.abs(loud).max(), np.abs(quiet).max()) <= 1
    assert not none.any()
    gains = [float(gain) for gain in re.findall(r"([+-]\d+\.\d) dB", html.data)]
    assert gains[1] - gains[0] == pytest.approx(20 * np.log10(rms(noise(0, 0.3)) / rms(noise(1, 0.003))), abs=0.11)
    assert "silent" in html.data


def test_players_without_matching_keep_levels_and_captions_belong_to_clips():
    html = widgets.players({"a": noise(0, 0.3), "<b>": noise(1, 0.003)}, RATE, False, {"<b>": "said <twice>"})
    for heard, given in zip(sounds(html), (noise(0, 0.3), noise(1, 0.003))):
        np.testing.assert_allclose(heard, given, atol=1 / 32768)
    assert "said &lt;twice&gt;" in html.data
    assert "&lt;b&gt;" in html.data
    with pytest.raises(SpeechlibError, match="captions without a clip: c; clips are a"):
        widgets.players({"a": noise(0, 0.1)}, RATE, captions={"c": "?"})
    with pytest.raises(SpeechlibError, match="no clips"):
        widgets.players({}, RATE)


def test_key_numbers_are_a_table_and_data():
    shown = widgets.key_numbers({"NMI": 0.43219, "codes used": np.int64(61), "time (s)": 1234.5, "x <y>": float("nan")})
    bundle = shown._repr_mimebundle_()
    numbers = json.loads(json.dumps(bundle["application/vnd.speechlib.numbers+json"], allow_nan=False))
    assert numbers == {"NMI": 0.432, "codes used": 61, "time (s)": 1230.0, "x <y>": None}
    assert "0.432" in bundle["text/html"]
    assert "x &lt;y&gt;" in bundle["text/html"]
    assert bundle["text/plain"].splitlines() == [
        "NMI: 0.432",
        "codes used: 61",
        "time (s): 1,230",
        "x <y>: undefined",
    ]
    with pytest.raises(SpeechlibError, match="'a' is \\[1\\]"):
        widgets.key_numbers({"a": [1]})
