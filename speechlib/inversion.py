"""Features back to sound: features (..., C, T) -> wave (..., S). Float32, on any device."""

import math

import torch
import torch.nn.functional as F

from .errors import SpeechlibError
from .features import PREEMPHASIS, FeatureConfig, n_features, stft, tables


def to_audio(
    features: torch.Tensor, config: FeatureConfig, n_iter: int = 32, momentum: float = 0.99, seed: int = 0
) -> torch.Tensor:
    """features (..., C, T) -> wave (..., S) of n_samples(T) samples, on the features' device.

    Cepstra go through the inverse DCT (what they left out is smooth), bands through non-negative least squares, and
    phases come from the fast Griffin-Lim algorithm (Perraudin, Balazs & Soendergaard 2013; momentum 0 is Griffin & Lim
    1984). Differences are not read: C may be all of the features or the statics alone. The random phases it begins with
    depend on the seed only, and are the same for every item of a batch.
    """
    if features.shape[-2] not in (config.n_static, n_features(config)):
        wanted = f"{n_features(config)} (or its {config.n_static} statics)"
        raise SpeechlibError(f"features have {features.shape[-2]} rows, {config.kind} has {wanted}")
    statics = features[..., : config.n_static, :].reshape(-1, config.n_static, features.shape[-1]).float()
    wave = griffin_lim(_magnitudes(statics, config), config, n_iter, momentum, seed)
    return wave.reshape(*features.shape[:-2], wave.shape[-1])


def griffin_lim(
    magnitude: torch.Tensor, config: FeatureConfig, n_iter: int = 32, momentum: float = 0.99, seed: int = 0
) -> torch.Tensor:
    """magnitude (B, n_fft // 2 + 1, T) -> wave (B, n_samples(T)) whose spectrogram comes close to it."""
    n_bins, T = magnitude.shape[1:]
    window = torch.hann_window(config.win_length, device=magnitude.device)
    generator = torch.Generator().manual_seed(seed)
    angles = torch.rand(n_bins, T, generator=generator).mul_(2 * math.pi).to(magnitude.device)
    spectrum = torch.polar(magnitude, angles.expand_as(magnitude))
    before = torch.zeros_like(spectrum)
    for _ in range(n_iter):
        now = stft(_istft(spectrum, window, config, padded=False), window, config, center=True)
        phase = now - before * (momentum / (1 + momentum))
        spectrum = phase * (magnitude / phase.abs().clamp_(min=1e-16))
        before = now
    return _istft(spectrum, window, config)


def _istft(spectrum: torch.Tensor, window: torch.Tensor, config: FeatureConfig, padded: bool = True) -> torch.Tensor:
    """(B, bins, T) -> (B, S) from the centre of the first frame to that of the last; padded, all n_samples(T)."""
    sizes = {"n_fft": config.n_fft, "hop_length": config.hop_length, "win_length": config.win_length}
    length = max(1, (spectrum.shape[-1] - 1) * config.hop_length)
    wave = torch.istft(spectrum, **sizes, window=window, length=length)
    half = 0 if config.is_centred or not padded else config.win_length // 2
    return F.pad(wave, (half, config.win_length - half)) if half else wave


def shaped_noise(features: torch.Tensor, config: FeatureConfig, seed: int = 0) -> torch.Tensor:
    """features (..., C, T) -> white noise (..., n_samples(T)) behind the filter that gives it their bands: a whisper.

    The filter of each frame is the smooth spectrum that has the frame's bands, so the bands of the noise are right on
    the average and stray as those of noise do. No phase is looked for: this is all that a spectrum alone can say.
    """
    statics = features[..., : config.n_static, :].reshape(-1, config.n_static, features.shape[-1]).float()
    magnitude = _magnitudes(statics, config)
    window = torch.hann_window(config.win_length, device=features.device)
    generator = torch.Generator().manual_seed(seed)
    length = max(1, (features.shape[-1] - 1) * config.hop_length)
    white = torch.randn(length, generator=generator).to(features.device)
    spectrum = stft(white[None], window, config, center=True) / window.square().sum().sqrt()
    wave = _istft(spectrum * magnitude, window, config)
    return wave.reshape(*features.shape[:-2], wave.shape[-1])


def _magnitudes(statics: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """Statics (B, C, T) -> magnitudes (B, bins, T) of the spectrogram."""
    _, bands, dct = (table.float() for table in tables(config, statics.device))
    if not config.is_cepstral:
        log_mel = statics
    elif config.is_centred:
        log_mel = dct.T @ statics
    else:
        # the lifter is undone twice: once for the weight, once more because the rows of `dct` carry it
        lifter = dct.square().sum(dim=1)[:, None]
        cepstrum = statics / lifter
        cepstrum[:, 0] = 0  # it was replaced by the energy of the frame, which sets the level instead
        log_mel = dct.T @ cepstrum
    if config.is_centred:
        # a band at the floor was silent: what it held cannot be told from nothing
        return non_negative((log_mel.exp() - config.floor).clamp_(min=0), bands).sqrt()
    power = non_negative(log_mel.exp(), bands)
    if config.is_cepstral:
        power = power * (statics[:, :1].exp() / power.sum(dim=1, keepdim=True).clamp(min=1e-20))
    omega = torch.linspace(0, math.pi, power.shape[1], device=power.device)[:, None]
    emphasis = 1 + PREEMPHASIS**2 - 2 * PREEMPHASIS * omega.cos()
    return (0.375 * power * config.n_fft / emphasis).sqrt()  # 0.375: power that a Hann window keeps of a rectangle's


def non_negative(mel: torch.Tensor, bands: torch.Tensor, n_iter: int = 30) -> torch.Tensor:
    """Power (B, bins, T) >= 0 with bands @ power close to mel (B, n_mels, T): least squares by multiplicative updates.

    Lee & Seung 2001, eq. 4. Each update lowers the squared error and keeps the sign, with nothing to solve or to clip.
    """
    gram, projected = bands.T @ bands, bands.T @ mel
    power = projected / bands.sum(dim=0).clamp(min=1e-8).square()[:, None]
    for _ in range(n_iter):
        power = power * projected / (gram @ power).clamp_(min=1e-20)
    return power
