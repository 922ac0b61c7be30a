"""Features of a wave: wave (..., S) -> features (..., C, T). Float32, on any device; `inversion` is the way back.

    log_mel       ln max(power mel spectrogram, floor); Slaney's scale and band areas: librosa.feature.melspectrogram
    mfcc          orthonormal DCT-II of the log_mel: librosa.feature.mfcc(S=log_mel)
    log_fbank     the same logarithm of HTK-scaled triangles of height 1: torchaudio's MelSpectrogram at its defaults
    psf_mfcc      python_speech_features.mfcc at its defaults (pre-emphasis, lifter 22, log energy first)
    psf_logfbank  python_speech_features.logfbank

The first three use a Hann window on frames centred at t * hop_length (zeros beyond the ends): 1 + S // hop_length of
them. The psf kinds cut rectangular frames that begin at t * hop_length: 47 for 7,680 samples. Differences (`n_deltas`)
are the regression over two frames to each side, edges repeated: torchaudio.functional.compute_deltas at its defaults
and python_speech_features.delta(N=2), which agree.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from .errors import SpeechlibError, UnknownName

KINDS = ("log_mel", "mfcc", "log_fbank", "psf_mfcc", "psf_logfbank")
_PIECE = 10  # seconds transformed at once: longer stretches fall out of the cache (and a three-hour file out of memory)
_MEASURED = 1 << 14  # frames whose float64 copies lie in memory at once
FULL_SCALE = 32_768  # int16 step of a wave at 1
PREEMPHASIS, _LIFTER = 0.97, 22  # defaults of python_speech_features
_EPS = float(np.finfo(float).eps)  # what python_speech_features puts in the place of an energy of zero


@dataclass(frozen=True)
class FeatureConfig:
    """How a wave becomes features. Rates and frequencies in hertz, lengths in samples."""

    kind: str = "log_mel"
    sample_rate: int = 16_000
    n_fft: int = 512
    win_length: int = 512
    hop_length: int = 160
    n_mels: int = 80
    n_mfcc: int = 13  # read by the mfcc kinds only
    n_deltas: int = 0  # 1 adds differences, 2 differences of differences as well
    f_min: float = 0.0
    f_max: float | None = None  # None: half the sample rate
    floor: float = (
        1e-5  # least band power before the logarithm, some 60 dB below a loud vowel; psf kinds have their own
    )

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UnknownName("kind of features", self.kind, KINDS)
        if not 0 < self.win_length <= self.n_fft:
            raise SpeechlibError(f"win_length {self.win_length} does not fit into n_fft {self.n_fft}")
        if not 0 < self.hop_length <= self.win_length:
            raise SpeechlibError(f"hop_length {self.hop_length} must lie in 1..win_length ({self.win_length})")
        if self.is_cepstral and not 0 < self.n_mfcc <= self.n_mels:
            raise SpeechlibError(f"n_mfcc {self.n_mfcc} must lie in 1..n_mels ({self.n_mels})")
        if not 0 <= self.f_min < self.highest <= self.sample_rate / 2:
            half = self.sample_rate / 2
            raise SpeechlibError(f"bands from {self.f_min} to {self.highest} Hz do not lie within 0..{half} Hz")
        if self.n_deltas not in (0, 1, 2):
            raise SpeechlibError(f"n_deltas {self.n_deltas} must be 0, 1 or 2")
        if self.floor <= 0:
            raise SpeechlibError(f"floor {self.floor} must be positive: there is a logarithm behind it")

    @property
    def is_cepstral(self) -> bool:
        return self.kind.endswith("mfcc")

    @property
    def is_centred(self) -> bool:
        """Whether frame t is centred at sample t * hop_length (else it begins there)."""
        return not self.kind.startswith("psf")

    @property
    def highest(self) -> float:
        return self.sample_rate / 2 if self.f_max is None else self.f_max

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def n_static(self) -> int:
        """Coefficients without their differences."""
        return self.n_mfcc if self.is_cepstral else self.n_mels


LOG_MEL = FeatureConfig("log_mel")
MFCC39 = FeatureConfig("mfcc", win_length=400, n_mels=40, n_deltas=2)
LOG_FBANK = FeatureConfig("log_fbank", win_length=400, n_mels=40)
PSF_MFCC39 = FeatureConfig("psf_mfcc", win_length=400, n_mels=26, n_deltas=2)
PSF_LOGFBANK39 = FeatureConfig("psf_logfbank", win_length=400, n_mels=13, n_deltas=2)


def n_features(config: FeatureConfig) -> int:
    """C: the statics and their differences."""
    return config.n_static * (1 + config.n_deltas)


def n_frames(n_samples: int, config: FeatureConfig) -> int:
    """T of a wave of n_samples."""
    if config.is_centred:
        return 1 + n_samples // config.hop_length
    return 1 + max(0, -(-(n_samples - config.win_length) // config.hop_length))


def n_samples(n_frames: int, config: FeatureConfig) -> int:
    """Samples from the first frame to the last, as `inversion.to_audio` returns; `n_frames` of it is n_frames again."""
    return (n_frames - 1) * config.hop_length + (0 if config.is_centred else config.win_length)


def frame_times(n_frames: int, config: FeatureConfig) -> np.ndarray:
    """(T,) seconds of the centres of the frames."""
    first = 0 if config.is_centred else config.win_length / 2
    return (first + np.arange(n_frames) * config.hop_length) / config.sample_rate


def extract(wave: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """wave (..., S) in [-1, 1], or int16 as a pack holds it -> features (..., C, T), on the wave's device.

    Transformed in pieces of at most 10 s; the values do not depend on where the pieces end.
    """
    wave = torch.as_tensor(wave)
    wave = wave if wave.dtype == torch.int16 else wave.float()
    if not wave.shape[-1]:
        raise SpeechlibError("the wave has no samples")
    flat, C = wave.reshape(-1, wave.shape[-1]), config.n_static
    total = n_frames(wave.shape[-1], config)
    pieces = math.ceil(total / (_PIECE * config.frame_rate))
    step = math.ceil(total / pieces)  # even pieces: a last one of a single frame would cost as much as the others
    features = wave.new_empty(len(flat), n_features(config), total, dtype=torch.float32)
    for first in range(0, total, step):
        last = min(first + step, total)
        features[:, :C, first:last] = _statics(flat, first, last, config)
    for k in range(config.n_deltas):
        features[:, (k + 1) * C : (k + 2) * C] = deltas(features[:, k * C : (k + 1) * C])
    return features.view(*wave.shape[:-1], *features.shape[1:])


def magnitudes(wave: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """wave (..., S) -> magnitudes (..., n_fft // 2 + 1, T) of the spectrogram that the features begin with."""
    wave = torch.as_tensor(wave, dtype=torch.float32)
    flat, T = wave.reshape(-1, wave.shape[-1]), n_frames(wave.shape[-1], config)
    power = _power(_segment(flat, 0, T, config), tables(config, wave.device)[0], config)
    return power.sqrt().float().view(*wave.shape[:-1], *power.shape[1:])


def deltas(features: torch.Tensor) -> torch.Tensor:
    """(..., C, T) -> (..., C, T): slope over five frames, (f[t+1] - f[t-1] + 2 f[t+2] - 2 f[t-2]) / 10."""
    padded = torch.cat([features[..., :1]] * 2 + [features] + [features[..., -1:]] * 2, dim=-1)
    T = features.shape[-1]
    near = padded[..., 3 : 3 + T] - padded[..., 1 : 1 + T]
    far = padded[..., 4:] - padded[..., :T]
    return near.add_(far, alpha=2).mul_(0.1)


def _statics(wave: torch.Tensor, first: int, last: int, config: FeatureConfig) -> torch.Tensor:
    """Frames first..last-1 of wave (B, S) -> (B, C, T), without differences."""
    window, _, dct = tables(config, wave.device)
    power = _power(_segment(wave, first, last, config), window, config)
    mel = torch.cat([weights @ power[:, bins] for weights, bins in _groups(config, wave.device)], dim=1)
    if config.is_centred:
        log_mel = mel.clamp_(min=config.floor).log_()
        return dct @ log_mel if config.is_cepstral else log_mel
    log_mel = torch.where(mel == 0, _EPS, mel).log_()
    if not config.is_cepstral:
        return log_mel
    energy = power.sum(dim=1)
    cepstrum = dct @ log_mel
    cepstrum[:, 0] = torch.where(energy == 0, _EPS, energy).log_()
    return cepstrum


def _segment(wave: torch.Tensor, first: int, last: int, config: FeatureConfig) -> torch.Tensor:
    """The samples that frames first..last-1 look at, zeros beyond the ends of the wave."""
    # torch.stft centres a window that is shorter than n_fft; psf frames must begin at t * hop_length
    margin = config.n_fft // 2 if config.is_centred else (config.n_fft - config.win_length) // 2
    start = first * config.hop_length - margin
    stop = (last - 1) * config.hop_length - margin + config.n_fft
    lead, S = int(not config.is_centred and start > 0), wave.shape[-1]
    segment = wave[:, max(start - lead, 0) : min(stop, S)]
    if segment.dtype == torch.int16:
        segment = segment.float() / FULL_SCALE
    if not config.is_centred:
        segment = segment.double()
        rest = segment[:, 1:] - PREEMPHASIS * segment[:, :-1]
        segment = rest if lead else torch.cat([segment[:, :1], rest], dim=1)
    return F.pad(segment, (max(-start, 0), max(stop - S, 0)))


def _power(segment: torch.Tensor, window: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """(B, S) -> (B, n_fft // 2 + 1, T) squared magnitudes."""
    spectrum = stft(segment, window, config, center=False)
    power = spectrum.real.square() + spectrum.imag.square()
    return power if config.is_centred else power / config.n_fft


def stft(wave: torch.Tensor, window: torch.Tensor, config: FeatureConfig, center: bool) -> torch.Tensor:
    sizes = {"n_fft": config.n_fft, "hop_length": config.hop_length, "win_length": config.win_length}
    return torch.stft(wave, **sizes, window=window, center=center, pad_mode="constant", return_complex=True)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # they outlive the call: whoever comes next may need a gradient through them
def tables(config: FeatureConfig, device: torch.device):
    """Window (win_length,), bands (n_mels, bins) and liftered DCT (n_mfcc, n_mels), made once per config and device."""
    bands = filter_bank(config)
    empty = int((bands.sum(axis=1) == 0).sum())
    if empty:
        raise SpeechlibError(
            f"{empty} of n_mels {config.n_mels} bands lie between the bins of n_fft {config.n_fft}: "
            "take fewer bands or a longer n_fft"
        )
    window = (
        torch.hann_window(config.win_length, dtype=torch.float64)
        if config.is_centred
        else torch.ones(config.win_length)
    )
    arrays = window, torch.from_numpy(bands), torch.from_numpy(_dct(config))
    # python_speech_features counts in float64: the quiet bands of a frame show the difference
    return tuple(array.to(device, torch.float32 if config.is_centred else torch.float64) for array in arrays)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _groups(config: FeatureConfig, device: torch.device) -> list[tuple[torch.Tensor, slice]]:
    """The bands in four groups, each with the bins it touches: a third of the products of the whole matrix."""
    groups = []
    for weights in tables(config, device)[1].tensor_split(4):
        touched = weights.sum(dim=0).nonzero().flatten()
        if len(touched):
            bins = slice(int(touched[0]), int(touched[-1]) + 1)
            groups.append((weights[:, bins].contiguous(), bins))
    return groups


def filter_bank(config: FeatureConfig) -> np.ndarray:
    """(n_mels, n_fft // 2 + 1) weights of the triangular bands, float64."""
    if not config.is_centred:
        return _psf_filter_bank(config)
    to_mel, to_hertz = (_hz_to_slaney, _slaney_to_hz) if config.kind != "log_fbank" else (_hz_to_htk, _htk_to_hz)
    low, high = to_mel(np.array([config.f_min, config.highest]))
    corners = to_hertz(np.linspace(low, high, config.n_mels + 2))
    bins = np.fft.rfftfreq(config.n_fft, 1 / config.sample_rate)
    slopes = (corners[:, None] - bins) / -np.diff(corners, append=np.inf)[:, None]
    rising, falling = slopes[:-2], (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    bands = np.maximum(0, np.minimum(rising, falling))
    if config.kind != "log_fbank":  # Slaney: triangles of one area
        bands *= 2 / (corners[2:] - corners[:-2])[:, None]
    return bands


def band_centres(config: FeatureConfig) -> np.ndarray:
    """(n_mels,) hertz: the centre of gravity of each band."""
    bands = filter_bank(config)
    return bands @ np.linspace(0, config.sample_rate / 2, bands.shape[1]) / bands.sum(axis=1)


def _psf_filter_bank(config: FeatureConfig) -> np.ndarray:
    """Triangles whose corners are whole bins: python_speech_features.get_filterbanks."""
    low, high = _hz_to_htk(np.array([config.f_min, config.highest]))
    corners = _htk_to_hz(np.linspace(low, high, config.n_mels + 2))
    left, middle, right = (
        np.floor((config.n_fft + 1) * corners / config.sample_rate)[i : i + config.n_mels, None] for i in range(3)
    )
    bins = np.arange(config.n_fft // 2 + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rising = np.where((left <= bins) & (bins < middle), (bins - left) / (middle - left), 0)
        falling = np.where((middle <= bins) & (bins < right), (right - bins) / (right - middle), 0)
    return rising + falling


def _dct(config: FeatureConfig) -> np.ndarray:
    """(n_mfcc, n_mels) orthonormal DCT-II, rows weighed by the cepstral lifter for psf."""
    k, n = np.arange(config.n_mfcc)[:, None], np.arange(config.n_mels)
    basis = np.cos(np.pi * k * (2 * n + 1) / (2 * config.n_mels)) * math.sqrt(2 / config.n_mels)
    basis[0] /= math.sqrt(2)
    return basis if config.is_centred else basis * (1 + _LIFTER / 2 * np.sin(np.pi * k / _LIFTER))


def _hz_to_htk(hertz):
    return 2595 * np.log10(1 + hertz / 700)


def _htk_to_hz(mel):
    return 700 * (10 ** (mel / 2595) - 1)


# Slaney's scale: 200/3 Hz per mel up to 1 kHz, from there 27 mels per factor 6.4
def _hz_to_slaney(hertz):
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1e-9) / 1000) / np.log(6.4))


def _slaney_to_hz(mel):
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


# -- statistics --------------------------------------------------------------------------------------------------------


class Statistics(NamedTuple):
    """Mean and standard deviation of each coefficient, float32 (C,)."""

    mean: torch.Tensor
    std: torch.Tensor

    def normalise(self, features: torch.Tensor) -> torch.Tensor:
        """(..., C, T) -> (..., C, T) of mean 0 and deviation 1."""
        return (features - self.mean[:, None]) / self.std[:, None]

    def denormalise(self, features: torch.Tensor) -> torch.Tensor:
        return features * self.std[:, None] + self.mean[:, None]


def measure(features: Iterable[torch.Tensor]) -> Statistics:
    """Statistics over all frames of an iterable of (C, T), one pass, float64 (Chan, Golub & LeVeque 1979).

    A coefficient that never changes gets deviation 1, so that normalising it gives zeros rather than NaN.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for item in (piece for whole in features for piece in whole.split(_MEASURED, dim=-1)):
        item = item.double()
        n, item_mean = item.shape[-1], item.mean(dim=-1)
        item_squares = (item - item_mean[:, None]).square().sum(dim=-1)
        delta = item_mean - mean
        squares = squares + item_squares + delta.square() * (count * n / (count + n))
        mean = mean + delta * (n / (count + n))
        count += n
    if not count:
        raise SpeechlibError("no frames to measure: is the training part of the split empty?")
    std = (squares / count).sqrt()
    std = torch.where(std <= 1e-9 * mean.abs(), 1.0, std)
    if not (mean.isfinite().all() and std.isfinite().all()):
        raise SpeechlibError(f"{int((~mean.isfinite()).sum())} coefficients hold NaN or infinite values")
    return Statistics(mean.float(), std.float())


def entropy(values, n_bins: int = 64) -> float:
    """Bits of the histogram of values over n_bins equal bins of their range: at most log2(n_bins)."""
    counts, _ = np.histogram(np.asarray(values, np.float64).ravel(), n_bins)
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())
