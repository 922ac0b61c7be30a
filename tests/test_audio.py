"""Audio: librosa and soxr as oracles, and every kind of bad file that people bring."""

import io

import librosa
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from speechlib import audio
from speechlib.errors import SpeechlibError

RATE = 16_000


def tone(hertz: float, seconds: float, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_sixteen_bits_come_back_to_the_bit(tmp_path):
    wave = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.float32) / 32768
    for name in ("a.wav", "a.flac"):
        audio.write(tmp_path / name, wave, RATE)
        back, rate = audio.read(tmp_path / name)
        assert rate == RATE
        assert back.dtype == np.float32
        np.testing.assert_array_equal(back, wave)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    audio.write(tmp_path / "a.wav", tone(200, 0.1), RATE)
    before = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(TypeError):
        audio.write(tmp_path / "a.wav", tone(200, 0.1), "fast")
    assert (tmp_path / "a.wav").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_stereo_is_the_mean_of_its_channels(tmp_path):
    left, right = tone(300, 0.2), tone(500, 0.2)
    soundfile.write(tmp_path / "s.wav", np.stack([left, right], 1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(audio.read(tmp_path / "s.wav")[0], (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize(
    ("suffix", "subtype"), [("wav", "PCM_U8"), ("wav", "PCM_24"), ("wav", "ULAW"), ("nist", "PCM_16")]
)
def test_other_widths_and_containers(tmp_path, suffix, subtype):
    wave = tone(440, 0.2)
    soundfile.write(tmp_path / f"a.{suffix}", wave, RATE, subtype=subtype, format=suffix.upper())
    read, _ = audio.read(tmp_path / f"a.{suffix}")
    assert np.abs(read - wave).max() < {"PCM_U8": 1 / 127, "ULAW": 0.03}.get(subtype, 1 / 32767)


@pytest.mark.parametrize("block", [1000, 1 << 20])
def test_resampling_while_reading_equals_resampling_the_whole(tmp_path, monkeypatch, block):
    monkeypatch.setattr(audio, "_BLOCK", block)
    wave = np.random.default_rng(1).uniform(-0.5, 0.5, 48_000 + 7).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, 48_000, subtype="FLOAT")
    read, rate = audio.read(tmp_path / "a.wav", RATE)
    expected = soxr.resample(wave, 48_000, RATE)
    assert rate == RATE
    assert len(read) == len(expected)
    np.testing.assert_allclose(read, expected, atol=1e-5)
    np.testing.assert_array_equal(audio.resample(wave, 48_000, RATE), expected)


def test_a_part_of_a_file(tmp_path):
    wave = tone(100, 1.0) * np.linspace(0, 1, RATE, dtype=np.float32)
    audio.write(tmp_path / "a.wav", wave, RATE)
    part, _ = audio.read(tmp_path / "a.wav", start=0.25, duration=0.5)
    np.testing.assert_array_equal(part, audio.read(tmp_path / "a.wav")[0][4000:12000])


def test_names_with_spaces_and_unicode(tmp_path):
    path = tmp_path / "zwölf Boxkämpfer 声.flac"
    audio.write(path, tone(200, 0.1), RATE)
    assert len(audio.read(path)[0]) == 1600
    assert audio.read(str(path), 8000)[1] == 8000


def test_a_streamed_header_is_not_a_truncation(tmp_path):
    """ffmpeg and sox write 0xFFFFFFFF as the length when they write to a pipe."""
    whole = io.BytesIO()
    soundfile.write(whole, tone(200, 0.5), RATE, format="WAV")
    data = bytearray(whole.getvalue())
    data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "piped.wav").write_bytes(data)
    assert len(audio.read(tmp_path / "piped.wav")[0]) == 8000


@settings(max_examples=60)
@given(st.integers(1, 20_000), st.integers(0, 2**31), st.floats(5, 60))
def test_trim_equals_librosa(n, seed, top_db):
    rng = np.random.default_rng(seed)
    levels = np.exp(rng.uniform(-9, 0, 1 + n // 700)).repeat(700)[:n]
    wave = (rng.standard_normal(n) * levels).astype(np.float32)
    assert audio.trim(wave, top_db) == tuple(librosa.effects.trim(wave, top_db=top_db)[1])


def test_trim_of_silence_keeps_nothing():
    assert audio.trim(np.zeros(5000)) == (0, 0)


def test_peak_normalise():
    assert np.abs(audio.peak_normalise(tone(200, 0.1, level=0.03))).max() == 1
    np.testing.assert_array_equal(audio.peak_normalise(np.zeros(10)), np.zeros(10))


def test_match_loudness_gives_one_rms_and_no_clipping():
    rng = np.random.default_rng(0)
    waves = [tone(200, 0.3, level=0.01), rng.standard_normal(3000) * 0.2, np.zeros(100)]
    matched = audio.match_loudness(waves)
    rms = [np.sqrt(np.mean(wave**2)) for wave in matched]
    assert rms[0] == pytest.approx(rms[1], rel=1e-5)
    assert max(np.abs(wave).max() for wave in matched) == pytest.approx(1, rel=1e-5)
    assert not matched[2].any()


def test_to_bytes_is_the_same_file_each_time():
    wave = tone(200, 0.2)
    assert audio.to_bytes(wave, RATE) == audio.to_bytes(wave, RATE)
    decoded, rate = soundfile.read(io.BytesIO(audio.to_bytes(wave, RATE)), dtype="float32")
    assert rate == RATE
    assert np.abs(decoded - wave).max() <= 1 / 32768


def test_an_unknown_suffix_says_which_are_known(tmp_path):
    with pytest.raises(SpeechlibError, match=r"'DOC'.*\.flac"):
        audio.write(tmp_path / "a.doc", tone(200, 0.1), RATE)
