"""The gap between labelled silence and a trim by loudness."""

from types import SimpleNamespace

import numpy as np
import pytest

from speechlib.corpora.labels import Interval
from speechlib.errors import SpeechlibError
from speechlib.evaluation.silence import silence_gap, silence_gaps

RATE = 16000


def spoken(onset: int, length: int = RATE) -> np.ndarray:
    wave = np.zeros(length, np.float32)
    wave[onset:] = 0.5 * np.sin(2 * np.pi * 440 * np.arange(length - onset) / RATE)
    return wave


def test_gap_is_trim_minus_label():
    librosa = pytest.importorskip("librosa")
    wave = spoken(8000)
    labels = [Interval("sil", 0.0, 0.45), Interval("AH", 0.45, 1.0)]
    start = librosa.effects.trim(wave, top_db=20)[1][0]
    assert silence_gap(wave, RATE, labels) == pytest.approx(start / RATE - 0.45)
    assert silence_gap(wave, RATE, [Interval("sil", 0, 1)]) is None
    assert silence_gap(wave, RATE, []) is None


def test_gaps_of_a_pack_need_it_untrimmed():
    labels = {0: [Interval("sp", 0.0, 0.5), Interval("T", 0.5, 1.0)], 1: []}
    pack = SimpleNamespace(
        utterances=["u", "v"],
        config=SimpleNamespace(trim="none", sample_rate=RATE),
        wave=lambda i: spoken(8000),
        phones=labels.get,
    )
    gaps = silence_gaps(pack, [0, 1])
    assert list(gaps.index) == ["u"]
    assert abs(gaps["u"]) <= 2048 / RATE
    pack.config.trim = "silence"
    with pytest.raises(SpeechlibError, match="already trimmed"):
        silence_gaps(pack, [0])
