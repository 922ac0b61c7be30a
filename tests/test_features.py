"""Features against librosa, torchaudio, python_speech_features and scipy; statistics; mu-law."""

from dataclasses import replace

import librosa
import numpy as np
import pytest
import python_speech_features as psf
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechlib import audio, features, mu_law
from speechlib._torchaudio import torchaudio
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.features import LOG_FBANK, LOG_MEL, MFCC39, PSF_LOGFBANK39, PSF_MFCC39, extract

CONFIGS = {c.kind: c for c in (LOG_MEL, MFCC39, LOG_FBANK, PSF_MFCC39, PSF_LOGFBANK39)}
every_kind = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def voice(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """Something like speech: gliding harmonics under formants, noise between them, silence at both ends."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * 16_000)) / 16_000
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(3 * t)) / 16_000
    tones = sum(np.exp(-(((k * 120 - 700) / 900) ** 2)) * np.sin(k * phase) for k in range(1, 40))
    wave = 0.1 * tones * (np.sin(5 * t) > -0.3) + 0.02 * rng.standard_normal(len(t)) * (np.sin(5 * t) < 0)
    wave[:800] = wave[-800:] = 0
    return wave.astype(np.float32)


@pytest.fixture(scope="module")
def speech(one_voice) -> torch.Tensor:
    """Four seconds of a toy voice."""
    paths = [cut.recording.sources[0].source for cut in one_voice.cuts]
    return torch.from_numpy(np.concatenate([audio.read(path, 16_000)[0] for path in paths[:2]])[:64_000])


def mel_of_librosa(wave: np.ndarray, config) -> np.ndarray:
    sizes = {name: getattr(config, name) for name in ("n_fft", "win_length", "hop_length", "n_mels")}
    return librosa.feature.melspectrogram(y=wave, sr=config.sample_rate, **sizes)


# -- the definitions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [LOG_MEL, replace(LOG_MEL, n_fft=1024, win_length=800, hop_length=200, n_mels=64)])
def test_log_mel_equals_librosa(config):
    wave = voice()
    expected = np.log(np.maximum(mel_of_librosa(wave, config), config.floor))
    np.testing.assert_allclose(extract(torch.from_numpy(wave), config), expected, atol=1e-4)


def test_mfcc_equals_librosa():
    wave = voice()
    log_mel = np.log(np.maximum(mel_of_librosa(wave, MFCC39), MFCC39.floor))
    ours = extract(torch.from_numpy(wave), MFCC39)[:13].numpy()
    np.testing.assert_allclose(ours, librosa.feature.mfcc(S=log_mel, n_mfcc=13), atol=1e-4)
    np.testing.assert_allclose(ours, scipy.fft.dct(log_mel, axis=0, norm="ortho")[:13], atol=1e-4)
    # librosa's own logarithm is ten times the decimal one
    decibel = librosa.power_to_db(mel_of_librosa(wave, MFCC39), amin=MFCC39.floor, top_db=None)
    np.testing.assert_allclose(ours * 10 / np.log(10), librosa.feature.mfcc(S=decibel, n_mfcc=13), atol=1e-3)


def test_log_fbank_equals_torchaudio():
    wave = torch.from_numpy(voice())
    transform = torchaudio.transforms.MelSpectrogram(
        # its own window is made in float32, which quiet bands beside loud ones show
        16_000,
        n_fft=512,
        win_length=400,
        hop_length=160,
        n_mels=40,
        pad_mode="constant",
        wkwargs={"dtype": torch.float64},
    ).float()
    expected = transform(wave).clamp(min=LOG_FBANK.floor).log()
    np.testing.assert_allclose(extract(wave, LOG_FBANK), expected, atol=1e-4)


@pytest.mark.parametrize("samples", [7_680, 30_720, 12_345, 300])
@pytest.mark.parametrize("kind", ["psf_mfcc", "psf_logfbank"])
def test_psf_kinds_equal_python_speech_features(samples, kind):
    """VS-05: 47 x 39 for 7,680 samples, 191 x 39 for 30,720, and the library's values."""
    wave = voice(2.0)[1000 : 1000 + samples]
    statics = (
        psf.mfcc(wave.astype(np.float64), 16_000)
        if kind == "psf_mfcc"
        else psf.logfbank(wave.astype(np.float64), 16_000, nfilt=13)
    )
    first = psf.delta(statics, 2)
    expected = np.concatenate([statics, first, psf.delta(first, 2)], axis=1).T
    ours = extract(torch.from_numpy(wave), CONFIGS[kind])
    assert ours.shape == expected.shape == (39, {7_680: 47, 30_720: 191}.get(samples, expected.shape[1]))
    np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.real
def test_real_speech_equals_librosa(real_data):
    paths = sorted(real_data.glob("librispeech_mini/**/*.flac"))[::12]
    for wave in [audio.read(path, 16_000)[0] for path in paths]:
        for config in (LOG_MEL, MFCC39):
            expected = np.log(np.maximum(mel_of_librosa(wave, config), config.floor))
            if config.is_cepstral:
                expected = librosa.feature.mfcc(S=expected, n_mfcc=13)
            ours = extract(torch.from_numpy(wave), config)[: config.n_static]
            np.testing.assert_allclose(ours, expected, atol=1e-4)
        statics = psf.mfcc(wave.astype(np.float64), 16_000).T
        np.testing.assert_allclose(extract(torch.from_numpy(wave), PSF_MFCC39)[:13], statics, atol=1e-4)


def test_deltas_equal_torchaudio_and_psf():
    for T in (1, 2, 3, 50):
        x = torch.randn(2, 5, T, generator=torch.Generator().manual_seed(0))
        ours = features.deltas(x)
        np.testing.assert_allclose(ours, torchaudio.functional.compute_deltas(x), atol=1e-6)
        np.testing.assert_allclose(ours[0].T, psf.delta(x[0].T.numpy(), 2), atol=1e-6)


def test_differences_are_those_of_the_statics(speech):
    found = extract(speech, MFCC39)
    torch.testing.assert_close(found[:13], extract(speech, replace(MFCC39, n_deltas=0)))
    torch.testing.assert_close(found[13:26], features.deltas(found[:13]))
    torch.testing.assert_close(found[26:], features.deltas(found[13:26]))


def test_a_tone_is_loudest_in_the_band_whose_centre_is_nearest():
    for config in (LOG_MEL, LOG_FBANK, replace(PSF_LOGFBANK39, n_deltas=0)):
        centres = features.band_centres(config)
        assert (np.diff(centres) > 0).all()
        for hertz in (700, 1500, 3300):
            tone = torch.sin(2 * np.pi * hertz * torch.arange(8000) / 16_000)
            loudest = extract(tone, config)[:, 10].exp() / torch.from_numpy(features.filter_bank(config)).sum(1)
            assert abs(int(loudest.argmax()) - np.abs(centres - hertz).argmin()) <= 1


# -- frames ------------------------------------------------------------------------------------------------------------


@every_kind
@given(samples=st.integers(1, 100_000), hop=st.integers(1, 400))
def test_frame_and_sample_counts_agree(config, samples, hop):
    config = replace(config, hop_length=hop)
    frames = features.n_frames(samples, config)
    assert features.n_frames(features.n_samples(frames, config), config) == frames
    assert features.frame_times(frames, config).shape == (frames,)


@every_kind
@settings(max_examples=15)
@given(samples=st.integers(1, 3_000))
def test_any_length_gives_the_promised_shape(config, samples):
    found = extract(torch.linspace(-1, 1, samples), config)
    assert found.shape == (features.n_features(config), features.n_frames(samples, config))
    assert found.isfinite().all()


@every_kind
@pytest.mark.parametrize("frame", [10, 37])
def test_frame_times_are_where_frames_look(config, frame):
    """A click at the time of a frame is heard by its neighbours to the left as much as by those to the right."""
    config = replace(config, kind="psf_logfbank" if config.kind.startswith("psf") else "log_mel", n_mels=13, n_deltas=0)
    centre = features.frame_times(100, config)[frame] * config.sample_rate
    click = torch.zeros(16_000)
    click[round(centre)] = 1
    level = extract(click, config).exp().sum(dim=0)
    heard = torch.nonzero(level > 0.01 * level.max()).float()
    assert heard.mean().item() == pytest.approx(frame, abs=0.5)


@every_kind
def test_pieces_leave_no_seams(config, speech, monkeypatch):
    whole = extract(speech, config)
    monkeypatch.setattr(features, "_PIECE", 0.37)
    torch.testing.assert_close(extract(speech, config), whole, atol=2e-5, rtol=0)


def test_no_piece_is_longer_than_ten_seconds(monkeypatch):
    lengths = []
    stft = torch.stft
    monkeypatch.setattr(torch, "stft", lambda wave, *a, **k: lengths.append(wave.shape[-1]) or stft(wave, *a, **k))
    found = extract(torch.zeros(16_000 * 61), LOG_MEL)
    assert found.shape[1] == 6_101
    assert len(lengths) == 7
    assert max(lengths) <= 16_000 * 10 + LOG_MEL.n_fft


@every_kind
def test_a_batch_gives_what_its_items_give(config, speech):
    waves = torch.stack([speech[:20_000], speech[20_000:40_000], torch.zeros(20_000)])
    batch = extract(waves.view(3, 1, -1), config)
    assert batch.shape[:2] == (3, 1)
    assert batch.dtype == torch.float32
    for item, wave in zip(batch[:, 0], waves):
        torch.testing.assert_close(item, extract(wave, config), atol=2e-5, rtol=1e-5)


@every_kind
def test_gradients_reach_the_wave(config):
    """Spectral losses train vocoders through this code. A wave (1 + e) times as loud has log powers larger by 2 e."""
    config = replace(config, n_deltas=0, floor=1e-30)
    wave = torch.randn(3000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = extract(wave, config)
    found.sum().backward()
    per_frame = {"mfcc": 2 * config.n_mels**0.5, "psf_mfcc": 2}.get(config.kind, 2 * config.n_mels)
    assert float(wave.grad @ wave.detach()) == pytest.approx(per_frame * found.shape[-1], rel=1e-3)


# -- configs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"win_length": 1024}, "win_length 1024 does not fit into n_fft 512"),
        ({"hop_length": 0}, "hop_length 0"),
        ({"kind": "mfcc", "n_mfcc": 99}, "n_mfcc 99 must lie in 1..n_mels .80."),
        ({"f_max": 9000.0}, "do not lie within 0..8000.0 Hz"),
        ({"n_deltas": 3}, "n_deltas 3"),
        ({"floor": 0.0}, "floor"),
    ],
)
def test_impossible_configs_say_both_numbers(changes, words):
    with pytest.raises(SpeechlibError, match=words):
        replace(LOG_MEL, **changes)


def test_unknown_kind_and_empty_bands():
    with pytest.raises(UnknownName, match="Did you mean 'log_mel'"):
        features.FeatureConfig("logmel")
    with pytest.raises(SpeechlibError, match="of n_mels 128 bands lie between the bins of n_fft 256"):
        extract(torch.zeros(1000), features.FeatureConfig(n_fft=256, win_length=256, n_mels=128))
    with pytest.raises(SpeechlibError, match="no samples"):
        extract(torch.zeros(0), LOG_MEL)


# -- mu-law ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [256, 16])
def test_mu_law_equals_torchaudio(channels):
    wave = torch.linspace(-1, 1, 100_001)
    codes = mu_law.encode(wave, channels)
    assert torch.equal(codes, torchaudio.functional.mu_law_encoding(wave, channels))
    torch.testing.assert_close(mu_law.decode(codes, channels), torchaudio.functional.mu_law_decoding(codes, channels))


def test_mu_law_round_trip_is_within_half_a_step_of_every_code():
    """VS-04: between -1 and 1 no sample ends further from itself than half a step of the compressed scale."""
    codes = torch.arange(256)
    assert torch.equal(mu_law.encode(mu_law.decode(codes)), codes)
    wave = torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    compress = lambda x: x.sign() * torch.log1p(255 * x.abs()) / np.log(256)  # noqa: E731
    back = mu_law.decode(mu_law.encode(wave)).double()
    assert (compress(wave) - compress(back)).abs().max() <= (2 / 255) / 2 + 1e-5
    assert set(mu_law.encode(wave).tolist()) == set(range(256))


def test_mu_law_of_the_source_system_equals_its_formulas():
    wave = np.random.default_rng(0).uniform(-1, 1, 50_000)
    y = np.sign(wave) * np.log(1 + 256 * np.abs(wave)) / np.log(257)
    expected = np.digitize(y, 2 * np.arange(256) / 256 - 1) - 1
    codes = mu_law.digitise(wave)
    np.testing.assert_array_equal(codes, expected)
    y = 2 * expected.astype(np.float64) / 256 - 1
    decoded = np.sign(y) / 256 * (256 ** np.abs(y) - 1)
    np.testing.assert_allclose(mu_law.undigitise(codes), decoded, atol=1e-7)
    assert mu_law.digitise(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0, 128, 255]


# -- statistics --------------------------------------------------------------------------------------------------------


def test_statistics_equal_numpy_where_float32_sums_would_fail():
    rng = np.random.default_rng(0)
    parts = [torch.from_numpy((1e4 + 0.01 * rng.standard_normal((3, n))).astype(np.float32)) for n in (1, 7, 50_000)]
    everything = np.concatenate([part.numpy() for part in parts], axis=1).astype(np.float64)
    found = features.measure(parts)
    np.testing.assert_allclose(found.mean, everything.mean(axis=1), rtol=1e-7)
    np.testing.assert_allclose(found.std, everything.std(axis=1), rtol=1e-5)


def test_normalising_and_back(speech):
    """VS-07: mean 0 and deviation 1 within 0.01, and the way back."""
    found = extract(speech, MFCC39)
    statistics = features.measure([found[:, :150], found[:, 150:]])
    normal = statistics.normalise(found)
    assert normal.mean(dim=1).abs().max() < 0.01
    assert (normal.std(dim=1, correction=0) - 1).abs().max() < 0.01
    torch.testing.assert_close(statistics.denormalise(normal), found, atol=1e-3, rtol=1e-4)


def test_a_constant_coefficient_normalises_to_zero():
    frames = torch.stack([torch.full((10,), -11.5), torch.arange(10.0)])
    normal = features.measure([frames]).normalise(frames)
    assert torch.equal(normal[0], torch.zeros(10))


def test_statistics_refuse_nan_and_nothing():
    with pytest.raises(SpeechlibError, match="1 coefficients hold NaN"):
        features.measure([torch.tensor([[1.0, 2.0], [1.0, np.nan]])])
    with pytest.raises(SpeechlibError, match="no frames"):
        features.measure([])


def test_entropy_of_known_histograms(tmp_path):
    """VS-34; and mistake 16: what is saved is the numbers."""
    assert features.entropy(np.arange(64)) == pytest.approx(6)
    assert features.entropy(np.zeros(10)) == 0
    assert features.entropy([0, 0, 0, 1], n_bins=2) == pytest.approx(0.8112781)
    entropies = np.array([features.entropy(row) for row in np.random.default_rng(0).standard_normal((5, 1000))])
    np.save(tmp_path / "entropies.npy", entropies)
    np.testing.assert_array_equal(np.load(tmp_path / "entropies.npy"), entropies)
