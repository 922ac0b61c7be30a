"""Features back to sound: what comes back is the speech, its features are those asked for, each item by itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechlib import audio, features, inversion
from speechlib._torchaudio import torchaudio
from speechlib.errors import SpeechlibError
from speechlib.features import LOG_FBANK, LOG_MEL, MFCC39, PSF_LOGFBANK39, PSF_MFCC39, extract
from speechlib.inversion import to_audio

CONFIGS = {c.kind: c for c in (LOG_MEL, MFCC39, LOG_FBANK, PSF_MFCC39, PSF_LOGFBANK39)}
every_kind = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


@pytest.fixture(scope="module")
def speech(one_voice) -> torch.Tensor:
    """Four seconds of a toy voice."""
    paths = [cut.recording.sources[0].source for cut in one_voice.cuts]
    return torch.from_numpy(np.concatenate([audio.read(path, 16_000)[0] for path in paths[:2]])[:64_000])


def convergence(reference: torch.Tensor, attempt: torch.Tensor) -> float:
    """Spectral convergence || |X| - |Y| || / || |X| || of two waves, over what both have."""
    n = min(len(reference), len(attempt))
    window = torch.hann_window(512)
    X, Y = (torch.stft(w[:n], 512, 128, window=window, return_complex=True).abs() for w in (reference, attempt))
    return float((X - Y).norm() / X.norm())


def test_mel_to_audio_sounds_like_the_speech_it_came_from(speech):
    log_mel = extract(speech, LOG_MEL)
    random_phase, few, many = (convergence(speech, to_audio(log_mel, LOG_MEL, n)) for n in (0, 4, 32))
    assert many < 0.3
    assert many < few < random_phase
    assert random_phase > 2 * many


@pytest.mark.real
def test_real_speech_comes_back(real_data):
    for path in sorted(real_data.glob("librispeech_mini/**/*.flac"))[::25]:
        wave = torch.from_numpy(audio.read(path, 16_000)[0])[:80_000]
        log_mel = extract(wave, LOG_MEL)
        good, bad = (convergence(wave, to_audio(log_mel, LOG_MEL, n)) for n in (32, 0))
        assert good < 0.3
        assert bad > 2 * good


@pytest.mark.parametrize(("kind", "bound"), [("mfcc", 0.25), ("log_fbank", 0.4), ("psf_logfbank", 0.8)])
def test_features_of_the_audio_are_the_features_asked_for(speech, kind, bound):
    """Cepstra and few bands keep no pitch, so the wave cannot come back; its features must."""
    config = replace(CONFIGS[kind], n_deltas=0)
    wanted = extract(speech, config)
    back, random_phase = (extract(to_audio(wanted, config, n), config) for n in (64, 0))
    T = min(wanted.shape[1], back.shape[1])
    spread = wanted.std(dim=1, keepdim=True)
    error, baseline = (((x[:, :T] - wanted[:, :T]) / spread).square().mean().sqrt() for x in (back, random_phase))
    assert error < bound
    assert error < baseline


@every_kind
def test_audio_has_the_length_of_its_frames_and_the_level_of_its_source(config, speech):
    found = extract(speech, config)
    wave = to_audio(found, config, n_iter=8)
    assert len(wave) == features.n_samples(found.shape[1], config)
    ratio = wave.square().mean().sqrt() / speech.square().mean().sqrt()
    assert 0.5 < ratio < 2


@every_kind
def test_silence_comes_back_as_silence(config):
    wave = to_audio(extract(torch.zeros(8_000), config), config, n_iter=4)
    assert wave.abs().max() < 1e-4


def test_griffin_lim_is_a_function_of_its_seed_and_of_each_item_alone(speech):
    log_mel = extract(speech[:32_000].view(2, -1), LOG_MEL)
    once, again = (to_audio(log_mel, LOG_MEL, 6, seed=3) for _ in range(2))
    assert torch.equal(once, again)
    torch.testing.assert_close(to_audio(log_mel[1], LOG_MEL, 6, seed=3), once[1], atol=1e-5, rtol=0)
    assert not torch.allclose(once, to_audio(log_mel, LOG_MEL, 6, seed=4), atol=1e-3)


def test_momentum_converges_further_than_without(speech):
    magnitude = features.magnitudes(speech[None], LOG_MEL)
    spectrum = torch.stft(speech, 512, 160, 512, torch.hann_window(512), return_complex=True, pad_mode="constant")
    torch.testing.assert_close(magnitude[0], spectrum.abs(), atol=1e-4, rtol=1e-4)
    fast, slow = (inversion.griffin_lim(magnitude, LOG_MEL, 32, momentum)[0] for momentum in (0.99, 0.0))
    assert convergence(speech, fast) < convergence(speech, slow)


def test_griffin_lim_of_a_true_spectrogram_equals_torchaudio(speech):
    """From zero phase on, step for step: torchaudio's with rand_init=False."""
    magnitude = torch.stft(speech, 512, 160, 512, torch.hann_window(512), return_complex=True).abs()[None]
    expected = torchaudio.functional.griffinlim(
        magnitude, torch.hann_window(512), 512, 160, 512, power=1, n_iter=1, momentum=0.0, length=None, rand_init=False
    )
    spectrum = magnitude.to(torch.complex64)
    window = torch.hann_window(512)
    wave = torch.istft(spectrum, 512, 160, 512, window)
    now = torch.stft(wave, 512, 160, 512, window, return_complex=True)
    torch.testing.assert_close(
        expected, torch.istft(magnitude * now / now.abs().clamp(min=1e-16), 512, 160, 512, window)
    )


def test_least_squares_keeps_the_sign_and_lowers_the_error():
    bands = torch.from_numpy(features.filter_bank(LOG_MEL)).float()
    mel = bands @ torch.rand(1, 257, 20, generator=torch.Generator().manual_seed(0))
    errors = []
    for n in (0, 1, 5, 30, 200):
        power = inversion.non_negative(mel, bands, n)
        assert (power >= 0).all()
        errors.append(float((bands @ power - mel).norm() / mel.norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-2] < 0.02


def test_rows_that_are_not_the_features_are_named():
    with pytest.raises(SpeechlibError, match="80 rows, mfcc has 39 .or its 13 statics."):
        to_audio(torch.zeros(1, 80, 10), MFCC39)
    assert to_audio(torch.zeros(1, 13, 10), MFCC39, n_iter=1).shape == (1, 1440)
