"""Features back to sound: what comes back is the speech, its features are those asked for, each item by itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechlib import audio, features, inversion
from speechlib._torchaudio import torchaudio
from speechlib.errors import SpeechlibError
from speechlib.evaluation import distortion
from speechlib.features import LOG_FBANK, LOG_MEL, MFCC39, PSF_LOGFBANK39, PSF_MFCC39, FeatureConfig, extract
from speechlib.inversion import filtered, to_audio

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


def test_bands_before_decibels_lose_less_than_behind_them(speech):
    """MN-03: decibels can be undone, bands within some per cent, and the other order is worse."""
    config = features.FeatureConfig("log_fbank", n_fft=1536, win_length=1536, hop_length=256, n_mels=256, floor=1e-10)
    power, bands = features.magnitudes(speech, config).square(), torch.from_numpy(features.filter_bank(config)).float()
    decibels, guess = 10 * power.clamp(min=1e-10).log10(), torch.linalg.pinv(bands)
    lost = lambda found: float((found - power).abs().sum() / power.sum())  # noqa: E731
    assert lost(10 ** (decibels / 10)) < 1e-6
    least_squares = lost(inversion.non_negative((bands @ power)[None], bands)[0])
    assert least_squares < 0.05
    assert lost((guess @ bands @ power).clamp(min=0)) < lost(10 ** (guess @ bands @ (decibels + 100) / 10 - 10))
    assert least_squares < lost(10 ** (guess @ bands @ (decibels + 100) / 10 - 10))


def test_rows_that_are_not_the_features_are_named():
    with pytest.raises(SpeechlibError, match="80 rows, mfcc has 39 .or its 13 statics."):
        to_audio(torch.zeros(1, 80, 10), MFCC39)
    assert to_audio(torch.zeros(1, 13, 10), MFCC39, n_iter=1).shape == (1, 1440)


# -- phases, step by step ----------------------------------------------------------------------------------------------


def inconsistency(wave: torch.Tensor, magnitude: torch.Tensor, config) -> torch.Tensor:
    """|| |STFT| - magnitude || (B,) over all n_fft bins: those between the first and the last count twice."""
    twice = torch.full((magnitude.shape[1], 1), 2.0)
    twice[[0, -1]] = 1
    window = torch.hann_window(config.win_length)
    sizes = {"n_fft": config.n_fft, "hop_length": config.hop_length, "win_length": config.win_length}
    found = torch.stft(wave, **sizes, window=window, pad_mode="constant", return_complex=True).abs()
    return (twice * (found - magnitude).square()).sum((1, 2)).sqrt()


@pytest.mark.parametrize("config", [LOG_MEL, replace(LOG_FBANK, win_length=300, hop_length=100)])
def test_without_momentum_no_iteration_leads_away(config, speech):
    """Griffin & Lim 1984, section III: the distance to the magnitudes asked for never grows."""
    waves = speech[:24_000].view(2, -1)
    wanted = inversion._magnitudes(extract(waves, config), config)
    errors = torch.stack(
        [inconsistency(inversion.griffin_lim(wanted, config, n, 0.0), wanted, config) for n in range(12)]
    )
    assert (errors.diff(dim=0) <= 1e-4 * errors[0]).all()
    assert (errors[-1] < 0.5 * errors[0]).all()


def test_a_start_lends_its_phases(speech):
    """From the wave itself no iteration is needed; what is left is what the bands lost."""
    magnitude = features.magnitudes(speech[None], LOG_MEL)
    back = inversion.griffin_lim(magnitude, LOG_MEL, 0, start=speech[None])
    torch.testing.assert_close(back[0], speech[: back.shape[1]], atol=1e-4, rtol=0)
    log_mel = extract(speech, LOG_MEL)
    known, guessed = (convergence(speech, to_audio(log_mel, LOG_MEL, 4, start=start)) for start in (speech, None))
    assert known < 0.5 * guessed


@every_kind
def test_a_start_is_placed_where_the_frames_lie(config, speech):
    found = extract(speech[:16_000], config)
    n = features.n_samples(found.shape[1], config)
    start = torch.nn.functional.pad(speech[:16_000], (0, max(0, n - 16_000)))
    near, far = (
        to_audio(found, config, 0, start=torch.roll(start, shift)) - start[:n] for shift in (0, config.hop_length // 2)
    )
    assert near.norm() < 0.8 * far.norm()


# -- features asked for ------------------------------------------------------------------------------------------------

REFINED = [LOG_MEL, LOG_FBANK, MFCC39, PSF_LOGFBANK39]


@pytest.mark.parametrize("config", REFINED, ids=lambda config: config.kind)
def test_lbfgs_comes_nearer_to_the_features_than_griffin_lim(config, speech):
    wanted = extract(speech[:32_000].view(2, -1), config)
    begin = to_audio(wanted, config)
    rough, few, many = (
        inversion.convergence(w, wanted, config)
        for w in (begin, *(inversion.refine(wanted, config, n) for n in (5, 40)))
    )
    assert (few < rough).all()
    assert (many < 0.5 * rough).all()


def test_lbfgs_comes_nearer_to_the_speech_too(speech):
    """Not only to the bands: bins between them, in frames of other lengths, are nearer as well."""
    log_mel = extract(speech, LOG_MEL)
    begin = to_audio(log_mel, LOG_MEL)
    assert convergence(speech, inversion.refine(log_mel, LOG_MEL, 60, start=begin)) < convergence(speech, begin)


@pytest.mark.real
def test_real_speech_is_refined_and_written(real_data, tmp_path):
    """TF-07: spectral convergence of the bands below 0.05, as a wav."""
    for path in sorted(real_data.glob("librispeech_mini/**/*.flac"))[::40]:
        wave = torch.from_numpy(audio.read(path, 16_000)[0])[:48_000]
        log_mel = extract(wave, LOG_MEL)
        begin = to_audio(log_mel, LOG_MEL)
        refined = inversion.refine(log_mel, LOG_MEL, start=begin)
        assert convergence(wave, refined) < convergence(wave, begin)
        audio.write(tmp_path / "refined.wav", refined, 16_000)
        written = torch.from_numpy(audio.read(tmp_path / "refined.wav", 16_000)[0])
        rough, fine = (inversion.convergence(w, log_mel, LOG_MEL) for w in (begin, written))
        assert fine < 0.5 * rough
        assert fine < 0.05


@pytest.mark.parametrize("config", REFINED, ids=lambda config: config.kind)
def test_refining_a_batch_gives_what_its_items_give(config, speech):
    """One torch.optim.LBFGS over a batch would not: its step and its curvature are those of all items together."""
    waves = torch.stack([speech[:8_000], 0.1 * speech[20_000:28_000], torch.zeros(8_000)])
    wanted = extract(waves.view(3, 1, -1), config)
    batch = inversion.refine(wanted, config, 6)
    assert batch.shape[:2] == (3, 1)
    for item, features_ in zip(batch[:, 0], wanted[:, 0]):
        torch.testing.assert_close(item, inversion.refine(features_, config, 6), atol=2e-4, rtol=0)
    assert batch[2].abs().max() < 1e-4


def test_refining_follows_slopes_where_nobody_else_does(speech):
    """What models draw is often drawn in inference mode, and the tables of a config may first be made there."""
    features.tables.cache_clear()
    features._groups.cache_clear()
    with torch.inference_mode():
        wanted = extract(speech[:8_000], LOG_MEL)
        begin = to_audio(wanted, LOG_MEL)
        inside = inversion.refine(wanted, LOG_MEL, 5, start=begin)
    outside = inversion.refine(wanted, LOG_MEL, 5, start=begin)
    assert torch.equal(inside, outside)
    assert inversion.convergence(inside, wanted, LOG_MEL) < inversion.convergence(begin, wanted, LOG_MEL)


def test_convergence_is_that_of_band_amplitudes(speech):
    log_mel = extract(speech, LOG_MEL)
    assert inversion.convergence(speech, log_mel, LOG_MEL) == 0
    quiet = inversion.convergence(0.9 * speech, log_mel, replace(LOG_MEL, floor=1e-12))
    assert float(quiet) == pytest.approx(0.1, abs=1e-3)
    assert float(inversion.convergence(0 * speech, log_mel, LOG_MEL)) == pytest.approx(1, abs=0.02)
    bands = [(x / 2).exp() for x in (log_mel, extract(speech.flip(0), LOG_MEL))]
    expected = distortion.spectral_convergence(*bands)
    assert float(inversion.convergence(speech.flip(0), log_mel, LOG_MEL)) == pytest.approx(expected, rel=1e-4)


def quadratic(curvature: torch.Tensor, centre: torch.Tensor):
    return lambda x: 0.5 * (curvature * (x - centre).square()).sum(1)


def test_lbfgs_finds_the_lowest_point_of_every_bowl():
    """Rosenbrock's valley, and bowls a thousand times as steep one way as another, of different depths at once."""
    curvature = torch.logspace(0, 3, 20, dtype=torch.float64).expand(3, -1) * torch.tensor([[1.0], [1e-3], [1e4]])
    centre = torch.randn(3, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = inversion.lbfgs(quadratic(curvature, centre), torch.ones_like(centre), 300)
    torch.testing.assert_close(found, centre, atol=1e-3, rtol=0)
    rosenbrock = lambda x: (1 - x[:, 0]).square() + 100 * (x[:, 1] - x[:, 0].square()).square()  # noqa: E731
    start = torch.tensor([[-1.2, 1.0], [3.0, -2.0]], dtype=torch.float64)
    torch.testing.assert_close(inversion.lbfgs(rosenbrock, start, 100), torch.ones_like(start), atol=1e-4, rtol=0)


def test_lbfgs_never_climbs_and_rests_where_it_is_lowest():
    loss = lambda x: (x.square().sum(1) + 1).log() + x.sin().square().sum(1)  # noqa: E731
    start = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)) * 3
    losses = torch.stack([loss(inversion.lbfgs(loss, start, n)) for n in range(15)])
    assert (losses.diff(dim=0) <= 0).all()
    assert torch.equal(inversion.lbfgs(loss, torch.zeros(2, 6), 5), torch.zeros(2, 6))


def test_lbfgs_gets_as_far_as_that_of_torch(speech):
    """As many evaluations for each, by torch's own with its strong Wolfe search: ours is to be within a tenth."""
    wanted = extract(speech[None, :16_000], LOG_MEL)
    begin = to_audio(wanted, LOG_MEL)
    x = begin.clone().requires_grad_()
    theirs = torch.optim.LBFGS([x], max_iter=30, max_eval=33, history_size=5, line_search_fn="strong_wolfe")

    def closure():
        theirs.zero_grad()
        found, asked = ((f / 2).exp() for f in (extract(x, LOG_MEL), wanted))
        loss = (found - asked).square().sum() / asked.square().sum()
        loss.backward()
        return loss

    theirs.step(closure)
    ours = inversion.refine(wanted, LOG_MEL, 30, start=begin)
    a, b = (float(inversion.convergence(w, wanted, LOG_MEL)) for w in (ours, x.detach()))
    assert a < 1.1 * b


# -- what cannot be done -----------------------------------------------------------------------------------------------


def test_what_has_no_sound_is_refused_with_a_reason():
    log_mel = torch.zeros(2, 80, 10)
    with pytest.raises(SpeechlibError, match=r"start is \(2, 1700\), but 2 items of 10 frames are 1440 samples each"):
        to_audio(log_mel, LOG_MEL, start=torch.zeros(2, 1700))
    with pytest.raises(SpeechlibError, match=r"start is \(1, 1440\), but 2 items"):
        inversion.refine(log_mel, LOG_MEL, start=torch.zeros(1440))
    with pytest.raises(SpeechlibError, match="13 rows, log_mel has 80"):
        inversion.refine(torch.zeros(13, 10), LOG_MEL)
    with pytest.raises(SpeechlibError, match="no rows"):
        to_audio(torch.zeros(80), LOG_MEL)
    with pytest.raises(SpeechlibError, match="no frames"):
        to_audio(torch.zeros(80, 0), LOG_MEL)
    with pytest.raises(SpeechlibError, match="psf_mfcc replaces the level of the bands by the energy"):
        inversion.refine(torch.zeros(39, 10), PSF_MFCC39)


def test_it_finds_its_gradients_where_the_caller_wants_none():
    config = features.FeatureConfig("log_mel", 8_000, n_fft=200, win_length=200, hop_length=50, n_mels=19)
    with torch.inference_mode():
        wave = torch.sin(torch.arange(4_000) * 0.3)
        asked = extract(wave, config)
        rough = to_audio(asked, config, n_iter=4)
        fine = inversion.refine(asked, config, n_iter=20, start=rough)
    distances = [inversion.convergence(w, asked, config) for w in (rough, fine)]
    assert distances[1] < 0.5 * distances[0]


def test_a_filter_changes_bands_and_nothing_else():
    """By nothing it is the identity; by k everywhere it is louder by exp(k / 2); in one half of a noise, there only."""
    config = FeatureConfig("log_mel")
    wave = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    bands = extract(wave, config)
    torch.testing.assert_close(filtered(wave, torch.zeros_like(bands), config), wave, atol=1e-4, rtol=0)
    louder = filtered(wave, torch.full_like(bands, 2.0), config)
    torch.testing.assert_close(louder, wave * np.e, atol=1e-3, rtol=0)
    gain = torch.zeros_like(bands)
    gain[40:, 50:] = -3.0
    change = (extract(filtered(wave, gain, config), config) - bands).reshape(2, 40, -1)
    assert change[0, :38].abs().mean() < 0.05
    assert change[1, 2:, :46].abs().mean() < 0.05
    assert change[1, 2:, 54:].mean() == pytest.approx(-3.0, abs=0.05)


def test_what_a_filter_cannot_do():
    wave = torch.zeros(1600)
    with pytest.raises(SpeechlibError, match=r"gain is \(80, 7\), 1600 samples have bands and frames \(80, 11\)"):
        filtered(wave, torch.zeros(80, 7), FeatureConfig("log_mel"))
    with pytest.raises(SpeechlibError, match="mfcc has no bands"):
        filtered(wave, torch.zeros(13, 11), FeatureConfig("mfcc"))


@pytest.mark.parametrize("config", [LOG_MEL, PSF_LOGFBANK39], ids=["centred", "psf"])
def test_a_single_frame_is_as_long_as_it_should_be(config):
    asked = torch.zeros(config.n_static, 1)
    assert to_audio(asked, config).shape == (max(1, features.n_samples(1, config)),)
