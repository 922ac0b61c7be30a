"""Scores of a vocoder: zero for itself, closed forms for known damage, and a rival that knows nothing but the bands."""

import librosa
import numpy as np
import pytest
import torch

from speechlib import features, inversion, packs
from speechlib.errors import SpeechlibError
from speechlib.evaluation import pitch, vocoder
from speechlib.features import FeatureConfig

CONFIG = FeatureConfig("log_mel", 8_000, n_fft=256, win_length=256, hop_length=80, n_mels=60)
RATE = CONFIG.sample_rate


def buzz(hertz, seconds: float = 1.0, n_harmonics: int = 8) -> np.ndarray:
    """Harmonics of a pitch (a number, or one per sample), falling by 1 / k."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz, round(seconds * RATE))) / RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, n_harmonics + 1) if k * np.max(hertz) < RATE / 2)
    return (0.3 * wave).astype(np.float32)


def noise(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def speech(one_voice, tmp_path_factory):
    return packs.build(
        one_voice, packs.PackConfig(sample_rate=RATE, features=(CONFIG,)), tmp_path_factory.mktemp("pack")
    )


# Pitch


@pytest.mark.parametrize("hertz", [70.3, 100.0, 152.7, 233.1, 400.0])
def test_pitch_of_a_buzz_is_its_own(hertz):
    found = pitch.pitch(buzz(hertz), RATE)
    assert found.voiced.all()
    assert np.abs(1200 * np.log2(found.hertz / hertz)).max() < 12  # an octave is 1200 cents


def test_pitch_needs_no_fundamental():
    """The ear hears the period: harmonics 2 to 8 of 120 Hz have it, though nothing sounds at 120 Hz."""
    phase = 2 * np.pi * 120 * np.arange(RATE) / RATE
    found = pitch.pitch(0.2 * sum(np.sin(k * phase) for k in range(2, 9)), RATE)
    assert np.allclose(found.hertz, 120, rtol=0.01)


def test_pitch_follows_a_glide_and_tells_where():
    hertz = np.linspace(100, 200, RATE)
    found = pitch.pitch(buzz(hertz), RATE)
    assert np.abs(found.hertz / np.interp(found.times, np.arange(RATE) / RATE, hertz) - 1).max() < 0.02
    assert np.diff(found.times) == pytest.approx(0.01)


def test_noise_and_silence_have_no_pitch():
    assert pitch.pitch(noise(), RATE).voiced.mean() < 0.05
    assert not pitch.pitch(np.zeros(RATE), RATE).voiced.any()
    beside = np.concatenate([buzz(150, 0.5), 1e-3 * buzz(150, 0.5)])  # an echo 60 dB below the voice
    assert pitch.pitch(beside, RATE).voiced[-30:].sum() == 0


def test_pitch_of_speech_agrees_with_librosa(speech):
    """pyin, by other hands and with a memory, which fills gaps: whatever ours calls voiced is, at the same pitch."""
    wave = speech.wave(0).numpy()
    ours = pitch.pitch(wave, RATE)
    hertz, voiced, _ = librosa.pyin(wave, fmin=60, fmax=420, sr=RATE, frame_length=512, hop_length=80)
    near = np.clip(np.round(ours.times * 100).astype(int), 0, len(hertz) - 1)
    both = ours.voiced & voiced[near]
    assert both.sum() > 0.98 * ours.voiced.sum()
    assert both.sum() > 0.55 * voiced[near].sum()
    cents = np.abs(1200 * np.log2(ours.hertz[both] / hertz[near][both]))
    assert np.median(cents) < 20
    assert np.mean(cents < 100) > 0.9


def test_agreement_counts_what_is_kept():
    voice = np.concatenate([buzz(150, 0.5), noise(0.5)])
    assert pitch.agreement(voice, voice, RATE)[:3] == (1.0, 1.0, 0.0)
    higher = pitch.agreement(voice, np.concatenate([buzz(150 * 2 ** (30 / 1200), 0.5), noise(0.5)]), RATE)
    assert higher.cents == pytest.approx(30, abs=4)
    assert higher.kept > 0.9
    octave = pitch.agreement(voice, np.concatenate([buzz(300, 0.5), noise(0.5)]), RATE)
    assert octave.kept < 0.1
    assert octave.voicing > 0.9
    whisper = pitch.agreement(voice, noise(1.0, seed=1), RATE)
    assert (whisper.kept, np.isnan(whisper.cents)) == (0.0, True)
    assert whisper.voicing == pytest.approx(0.5, abs=0.1)


def test_pitch_refuses_what_has_none():
    with pytest.raises(SpeechlibError, match=r"one channel of \d+ samples or more at 8000 Hz, got \(100,\)"):
        pitch.pitch(np.zeros(100), RATE)
    with pytest.raises(SpeechlibError, match="no voiced frame"):
        pitch.agreement(noise(), buzz(100), RATE)


# The melody


def sung(contour, seconds=1.2):
    """Pulses whose log F0 is log 150 + contour(t), t from 0 to 1."""
    t = np.arange(round(seconds * RATE)) / RATE
    phase = np.cumsum(150 * np.exp(contour(t / seconds)) / RATE)
    return sum(np.cos(2 * np.pi * k * phase) / k for k in range(1, 8)).astype(np.float32) / 4


def rise_and_fall(t):
    return 0.3 * np.sin(2 * np.pi * t)


def test_the_melody_of_a_wave_is_its_own():
    wave = sung(rise_and_fall)
    assert pitch.agreement(wave, wave, RATE).correlation == pytest.approx(1)
    assert pitch.agreement(wave, wave[: len(wave) // 2], RATE).correlation == pytest.approx(1)  # cut to the shorter


def test_a_melody_turned_over_is_the_opposite():
    upside_down = sung(lambda t: -rise_and_fall(t))
    assert pitch.agreement(sung(rise_and_fall), upside_down, RATE).correlation == pytest.approx(-1, abs=0.02)


def test_the_melody_does_not_hang_on_the_height_of_the_voice():
    """An octave higher, in log F0: the mean of each is taken off."""
    higher = sung(lambda t: np.log(1.8) + rise_and_fall(t))
    found = pitch.agreement(sung(rise_and_fall), higher, RATE)
    assert found.kept < 0.05
    assert found.correlation == pytest.approx(1, abs=0.01)


def test_correlation_by_hand():
    """Over the three frames voiced in both of a longer one, taken often enough."""
    hertz = np.tile([100.0, 200.0, 400.0, 0.0, 100.0], 4)
    other = np.tile([100.0, 100.0, 200.0, 300.0, 0.0], 4)
    x, y = np.array([-1.0, 0.0, 1.0]), np.array([-1 / 3, -1 / 3, 2 / 3])  # in octaves, their means taken off
    expected = (x @ y) / np.sqrt((x @ x) * (y @ y))
    times = np.arange(20) / 100
    assert pitch.correlation(pitch.Pitch(hertz, times), pitch.Pitch(other, times)) == pytest.approx(expected)


def test_a_monotone_and_a_few_frames_have_no_melody():
    times, flat = np.arange(20) / 100, np.full(20, 120.0)
    rising = pitch.Pitch(np.linspace(100, 200, 20), times)
    assert np.isnan(pitch.correlation(rising, pitch.Pitch(flat, times)))
    few = np.where(np.arange(20) < 9, rising.hertz, 0)
    assert np.isnan(pitch.correlation(rising, pitch.Pitch(few, times)))
    with pytest.raises(SpeechlibError, match="20 and 10 frames"):
        pitch.correlation(rising, pitch.Pitch(flat[:10], times[:10]))


# Bands


def test_distance_is_the_rms_in_decibels_and_silence_does_not_count():
    reference = np.full((60, 10), np.log(1e-2))
    reference[:, 6:] = np.log(1e-5)  # 30 dB below would count, 50 dB does not
    reference[0, :6] = np.log(10.0)
    estimate = reference + np.log(10) * 0.6  # 6 dB louder
    estimate[:, 6:] += 5.0
    assert vocoder.is_speech(reference).tolist() == [True] * 6 + [False] * 4
    assert vocoder.log_mel_distance(reference, estimate) == pytest.approx(6.0)
    assert vocoder.log_mel_distance(reference, reference) == 0
    with pytest.raises(SpeechlibError, match=r"got \(60, 10\) and \(60, 9\)"):
        vocoder.log_mel_distance(reference, estimate[:, :9])


def test_judge_of_a_wave_and_itself_is_perfect(speech):
    wave = speech.wave(0).numpy()
    found = vocoder.judge(wave, wave, CONFIG)
    zero = ("log_mel_distance", "mel_cepstral_distortion", "spectral_convergence", "pitch_error", "level")
    assert [found[name] for name in zero] == [0] * len(zero)
    assert (found["pitch_kept"], found["voicing"]) == (1, 1)


def test_judge_hears_level_and_clipping(speech):
    wave = speech.wave(0).numpy()
    quieter = vocoder.judge(wave, wave / 2, CONFIG)
    assert quieter["level"] == pytest.approx(-6.02, abs=0.01)
    assert 5 < quieter["log_mel_distance"] < 6.02  # 6 dB in every band, but for those at the floor
    loud = vocoder.judge(wave, np.clip(4 * wave, -1, 1), CONFIG)
    assert loud["clipped"] == pytest.approx(np.mean(np.abs(4 * wave) >= 1))
    shorter = vocoder.judge(wave, wave[:4000], CONFIG)
    assert shorter["log_mel_distance"] == 0


def test_judge_refuses_a_wave_that_is_not_finite(speech):
    wave = speech.wave(0).numpy()
    with pytest.raises(SpeechlibError, match="did its training diverge"):
        vocoder.judge(wave, np.full_like(wave, np.nan), CONFIG)
    whispered = vocoder.judge(noise(), noise(), CONFIG)  # nothing voiced: scores of pitch are left out
    assert "pitch_kept" not in whispered
    assert vocoder.mean_scores([whispered, vocoder.judge(wave, wave, CONFIG)])["pitch_kept"] == 1


# The rival: noise with the same bands


def test_shaped_noise_has_the_bands_of_the_speech_on_the_average(speech):
    """Over many draws the power in every band is that of the features: bins from 3 dB below to 1 above, few apart."""
    log_mel = speech.features(0, "log_mel")[:, :150]
    made = torch.stack([inversion.shaped_noise(log_mel, CONFIG, seed) for seed in range(40)])
    power = features.extract(made, CONFIG).exp().mean(0)
    spoken = torch.from_numpy(vocoder.is_speech(log_mel))
    strays = 10 * (power.clamp(min=1e-5).log10() - log_mel.exp().log10())[:, spoken]
    assert strays.median().abs() < 1
    assert (strays.abs() < 4).float().mean() > 0.9


def test_shaped_noise_is_a_whisper(speech):
    """Bands and level are right, nothing is voiced; Griffin-Lim, which looks for phases, comes much closer."""
    wave, log_mel = speech.wave(0).numpy(), speech.features(0, "log_mel")
    whisper = vocoder.judge(wave, inversion.shaped_noise(log_mel, CONFIG).numpy(), CONFIG)
    found = vocoder.judge(wave, inversion.to_audio(log_mel, CONFIG).numpy(), CONFIG)
    assert abs(whisper["level"]) < 1.5
    assert whisper["pitch_kept"] < 0.1
    assert 3 < whisper["log_mel_distance"] < 7
    assert found["log_mel_distance"] < 0.6 * whisper["log_mel_distance"]
    assert found["pitch_kept"] > whisper["pitch_kept"] + 0.2


@pytest.mark.parametrize("config", [features.MFCC39, features.LOG_FBANK, features.PSF_MFCC39, features.PSF_LOGFBANK39])
def test_shaped_noise_of_every_kind_has_its_bands(config):
    wave = torch.from_numpy(noise(1.0)) * torch.linspace(0.1, 1, 8000)
    x = features.extract(wave, config)
    made = inversion.shaped_noise(x, config)
    again = features.extract(made, config)
    assert again.shape == x.shape
    assert (again[0] - x[0]).abs().median() < (x[0, -20:].mean() - x[0, :20].mean())  # louder where it was


def test_shaped_noise_depends_on_its_seed_only(speech):
    log_mel = speech.features(0, "log_mel")[:, :50]
    one, same, other = (inversion.shaped_noise(log_mel, CONFIG, seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (features.n_samples(50, CONFIG),)
    assert torch.equal(inversion.shaped_noise(log_mel[None].expand(2, -1, -1), CONFIG)[1], one)


def test_a_melody_is_not_read_off_the_few_frames_of_a_whisper():
    """60 of 100 voiced frames shared are enough, 40 are not, however well they agree."""
    times, hertz = np.arange(100) / 100, np.linspace(100, 200, 100)
    for shared, known in ((60, True), (40, False)):
        some = np.where(np.arange(100) < shared, hertz, 0)
        found = pitch.correlation(pitch.Pitch(hertz, times), pitch.Pitch(some, times))
        assert found == pytest.approx(1) if known else np.isnan(found)
