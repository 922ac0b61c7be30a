"""Features back to sound: features (..., C, T) -> wave (..., S). Float32, on any device, each item by itself.

    to_audio    bands -> magnitudes by least squares -> phases by Griffin-Lim -> wave
    refine      wave -> its features -> how far from those asked for? -> slope -> a better wave, by L-BFGS
    filtered    a recording and a change of its bands -> the recording behind the filter that makes it

Griffin-Lim is the quick one, and holds on to one guess of what lies between the bands. `refine` begins where it ends
and asks for the features themselves (Decorsiere, Soendergaard, MacDonald & Dau 2015).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from .errors import SpeechlibError
from .features import PREEMPHASIS, FeatureConfig, band_centres, extract, n_features, n_frames, n_samples, stft, tables

_TRIALS = 12  # shorter and shorter steps of `lbfgs` before an item stays where it is


def to_audio(
    features: torch.Tensor,
    config: FeatureConfig,
    n_iter: int = 32,
    momentum: float = 0.99,
    seed: int = 0,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """features (..., C, T) -> wave (..., S) of n_samples(T) samples, on the features' device, by `griffin_lim`.

    Cepstra go through the inverse DCT (what they left out is smooth), bands through non-negative least squares.
    Differences are not read: C may be all of the features or the statics alone.
    """
    statics = _statics(features, config)
    start = None if start is None else start.reshape(-1, start.shape[-1])
    wave = griffin_lim(_magnitudes(statics, config), config, n_iter, momentum, seed, start)
    return wave.reshape(*features.shape[:-2], wave.shape[-1])


@torch.inference_mode(False)  # it needs gradients, also where its caller needs none
def refine(
    features: torch.Tensor, config: FeatureConfig, n_iter: int = 100, seed: int = 0, start: torch.Tensor | None = None
) -> torch.Tensor:
    """features (..., C, T) -> wave (..., S) whose own features come close to them: L-BFGS on the samples.

    The loss is the square of `convergence`, so it compares amplitudes of bands: of logarithms the many quiet bands
    would get the most attention, of powers the few loudest all of it. It begins with the wave `start` (..., S), or with
    Griffin-Lim from this seed. Raises SpeechlibError for psf_mfcc, whose first coefficient tells of no band.
    """
    if config.kind == "psf_mfcc":
        raise SpeechlibError(
            "psf_mfcc replaces the level of the bands by the energy of the frame: only to_audio can do with that"
        )
    statics = _statics(features, config)
    if start is None:
        begin = to_audio(statics, config, seed=seed)
    else:
        begin = _cut(start.reshape(-1, start.shape[-1]).to(statics), statics, config)
    wanted = _amplitudes(statics, config)
    energy = wanted.square().sum((1, 2))

    def loss(wave: torch.Tensor) -> torch.Tensor:
        found = _amplitudes(extract(wave, config)[:, : config.n_static], config)
        return (found - wanted).square().sum((1, 2)) / energy

    wave = lbfgs(loss, begin, n_iter)
    return wave.reshape(*features.shape[:-2], wave.shape[-1])


def convergence(wave: torch.Tensor, features: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """Spectral convergence ||A - A'|| / ||A||, shape (...), of the bands of a wave (..., S) to features (..., C, T).

    A are amplitudes of bands: exp(log power / 2), for cepstra of the smooth bands that they stand for. 0: the wave has
    the features asked for; 1: as bad as silence (Sturmel & Daudet 2011). Frames beyond the shorter one are left out.
    """
    found = extract(wave.to(features.device), config)
    T = min(found.shape[-1], features.shape[-1])
    ours, theirs = (_amplitudes(_statics(x[..., :T], config), config) for x in (found, features))
    return ((ours - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1)).reshape(features.shape[:-2])


# -- phases by Griffin & Lim -------------------------------------------------------------------------------------------


def griffin_lim(
    magnitude: torch.Tensor,
    config: FeatureConfig,
    n_iter: int = 32,
    momentum: float = 0.99,
    seed: int = 0,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """magnitude (B, n_fft // 2 + 1, T) -> wave (B, n_samples(T)) whose spectrogram comes close to it.

    Momentum 0 is Griffin & Lim 1984, which never takes a step away from `magnitude`; with momentum it is Perraudin,
    Balazs & Soendergaard 2013, which does, and gets further. The first phases are those of the wave `start` (B, S), or
    random: then they depend on the seed only, and are the same for every item.
    """
    n_bins, T = magnitude.shape[1:]
    window = torch.hann_window(config.win_length, device=magnitude.device)
    if start is None:
        generator = torch.Generator().manual_seed(seed)
        angles = torch.rand(n_bins, T, generator=generator).mul_(2 * math.pi).to(magnitude.device).expand_as(magnitude)
    else:
        first = _margin(config)
        wave = _cut(start.to(magnitude), magnitude, config)[:, first : first + _span(T, config)]
        angles = stft(wave, window, config, center=True).angle()
    spectrum = torch.polar(magnitude, angles)
    before = torch.zeros_like(spectrum)
    for _ in range(n_iter):
        now = stft(_istft(spectrum, window, config), window, config, center=True)
        phase = now - before * (momentum / (1 + momentum))
        spectrum = phase * (magnitude / phase.abs().clamp_(min=1e-16))
        before = now
    return _whole(_istft(spectrum, window, config), T, config)


def shaped_noise(features: torch.Tensor, config: FeatureConfig, seed: int = 0) -> torch.Tensor:
    """features (..., C, T) -> white noise (..., n_samples(T)) behind the filter that gives it their bands: a whisper.

    The filter of each frame is the smooth spectrum that has the frame's bands, so the bands of the noise are right on
    the average and stray as those of noise do. No phase is looked for: this is all that a spectrum alone can say.
    """
    magnitude = _magnitudes(_statics(features, config), config)
    window = torch.hann_window(config.win_length, device=features.device)
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(_span(features.shape[-1], config), generator=generator).to(features.device)
    spectrum = stft(white[None], window, config, center=True) / window.square().sum().sqrt()
    wave = _whole(_istft(spectrum * magnitude, window, config), features.shape[-1], config)
    return wave.reshape(*features.shape[:-2], wave.shape[-1])


def filtered(wave: torch.Tensor, gain: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """A recording (S,) behind the filter that changes its bands by `gain` (C, T), natural logarithms of power: (S,).

    Between the centres of the bands the gain is read from a line. Phases stay, and with them the pitch: what a change
    of features does to a recording, without a guess of all that features do not tell (Kobayashi et al. 2014). Raises
    SpeechlibError for features without bands or centred frames, and for a gain of other bands or frames.
    """
    if config.is_cepstral or not config.is_centred:
        raise SpeechlibError(f"{config.kind} has no bands of centred frames that a filter could change")
    if gain.shape != (wanted := (config.n_static, n_frames(wave.shape[-1], config))):
        raise SpeechlibError(f"gain is {tuple(gain.shape)}, {wave.shape[-1]} samples have bands and frames {wanted}")
    centres = torch.as_tensor(band_centres(config), dtype=torch.float32, device=wave.device)
    hertz = torch.linspace(0, config.sample_rate / 2, config.n_fft // 2 + 1, device=wave.device)
    above = torch.searchsorted(centres, hertz).clamp(1, len(centres) - 1)
    apart = (centres[above] - centres[above - 1]).clamp(min=1e-3)
    share = ((hertz - centres[above - 1]) / apart).clamp(0, 1)[:, None]
    lines = (1 - share) * gain[above - 1] + share * gain[above]  # (bins, T)
    window = torch.hann_window(config.win_length, device=wave.device)
    spectrum = stft(wave[None].float(), window, config, center=True) * (lines / 2).exp()
    sizes = {"n_fft": config.n_fft, "hop_length": config.hop_length, "win_length": config.win_length}
    return torch.istft(spectrum, **sizes, window=window, length=wave.shape[-1])[0]


def _istft(spectrum: torch.Tensor, window: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """(B, bins, T) -> (B, span): from the centre of the first frame to that of the last."""
    sizes = {"n_fft": config.n_fft, "hop_length": config.hop_length, "win_length": config.win_length}
    return torch.istft(spectrum, **sizes, window=window, length=_span(spectrum.shape[-1], config))


def _span(n_frames: int, config: FeatureConfig) -> int:
    """Samples between the centres of the first and the last frame; one, where that is the same frame."""
    return max(1, (n_frames - 1) * config.hop_length)


def _margin(config: FeatureConfig) -> int:
    """Samples before the centre of the first frame: frames of the psf kinds begin with the wave."""
    return 0 if config.is_centred else config.win_length // 2


def _whole(wave: torch.Tensor, n_frames: int, config: FeatureConfig) -> torch.Tensor:
    """(B, span) -> (B, n_samples), one sample for a single frame that is centred: zeros before the centre of the first
    frame and behind that of the last."""
    first, length = _margin(config), max(1, n_samples(n_frames, config))
    return F.pad(wave, (first, length - first - wave.shape[1]))


def _cut(wave: torch.Tensor, frames: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """A wave (B, S) to begin with, cut to the samples of frames (B, C, T): up to one hop more is a usual leftover."""
    (B, _, T), samples = frames.shape, max(1, n_samples(frames.shape[-1], config))
    if wave.ndim != 2 or len(wave) != B or not samples <= wave.shape[-1] <= samples + config.hop_length:
        raise SpeechlibError(
            f"start is {tuple(wave.shape)}, but {B} items of {T} frames are {samples} samples each: "
            "is it the wave of other features, or of another hop_length?"
        )
    return wave[:, :samples]


# -- from features to spectra ------------------------------------------------------------------------------------------


def _statics(features: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """features (..., C, T) -> (B, n_static, T) float32."""
    if features.ndim < 2 or features.shape[-2] not in (config.n_static, n_features(config)):
        wanted = f"{n_features(config)} (or its {config.n_static} statics)"
        rows = features.shape[-2] if features.ndim > 1 else "no"
        raise SpeechlibError(f"features have {rows} rows, {config.kind} has {wanted}")
    if not features.shape[-1]:
        raise SpeechlibError("features of no frames have no sound")
    return features[..., : config.n_static, :].reshape(-1, config.n_static, features.shape[-1]).float()


def _log_bands(statics: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """Statics (B, C, T) -> log powers (B, n_mels, T) of the bands, but for the level of psf_mfcc."""
    if not config.is_cepstral:
        return statics
    dct = tables(config, statics.device)[2].float()
    if config.is_centred:
        return dct.T @ statics
    # the lifter is undone twice: once for the weight, once more because the rows of `dct` carry it
    cepstrum = statics / dct.square().sum(dim=1)[:, None]
    cepstrum[:, 0] = 0  # it was replaced by the energy of the frame
    return dct.T @ cepstrum


def _amplitudes(statics: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """Statics (B, C, T) -> amplitudes (B, n_mels, T) of the bands."""
    return (_log_bands(statics, config) / 2).exp()


def _magnitudes(statics: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """Statics (B, C, T) -> magnitudes (B, bins, T) of the spectrogram."""
    bands = tables(config, statics.device)[1].float()
    mel = _log_bands(statics, config).exp()
    if config.is_centred:
        # a band at the floor was silent: what it held cannot be told from nothing
        return non_negative((mel - config.floor).clamp_(min=0), bands).sqrt()
    power = non_negative(mel, bands)
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


# -- the smallest loss -------------------------------------------------------------------------------------------------


def lbfgs(loss: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, n_iter: int, memory: int = 5) -> torch.Tensor:
    """x (B, N) -> x (B, N) where `loss`, (B, N) -> (B,), is lower: limited-memory BFGS (Nocedal & Wright 2006, 7.4).

    Every item has its own curvature and its own steps, halved until the loss has fallen (Armijo); items meet in nothing
    but the calls of `loss`. (torch.optim.LBFGS takes the whole batch for one vector with one step.)
    """

    def measured(x):
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            value = loss(x)
            (slope,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), slope

    def dot(a, b):
        return (a * b).sum(dim=1, keepdim=True)  # (B, 1)

    x = x.detach().clone()
    value, slope = measured(x)
    tiny = torch.finfo(x.dtype).tiny
    scale = 0.01 * x.norm(dim=1, keepdim=True) / slope.norm(dim=1, keepdim=True).clamp(min=tiny)  # first step: 1 %
    pairs = []  # (step, change of slope, 1 / their product), (B, N), (B, N), (B, 1)
    for _ in range(n_iter):
        direction, shares = -slope, []
        for s, y, rho in reversed(pairs):
            shares.append(rho * dot(s, direction))
            direction = direction - shares[-1] * y
        direction = direction * scale
        for (s, y, rho), share in zip(pairs, reversed(shares)):
            direction = direction + (share - rho * dot(y, direction)) * s
        descent, length = dot(slope, direction), torch.ones_like(scale)
        for _ in range(_TRIALS):
            tried = x + length * direction
            new_value, new_slope = measured(tried)
            fell = new_value[:, None] <= value[:, None] + 1e-4 * length * descent
            if fell.all():
                break
            length = torch.where(fell, length, length / 2)
        s, y = torch.where(fell, tried - x, 0), torch.where(fell, new_slope - slope, 0)
        curved = dot(s, y) > 1e-10 * dot(y, y)
        rho = torch.where(curved, 1 / dot(s, y).clamp(min=tiny), 0)
        scale = torch.where(curved, dot(s, y) / dot(y, y).clamp(min=tiny), scale)
        # an item that found no better place forgets its curvature, and looks downhill next
        pairs = [(s, y, torch.where(fell, rho, 0)) for s, y, rho in [*pairs, (s, y, rho)][-memory:]]
        x, slope = torch.where(fell, tried, x), torch.where(fell, new_slope, slope)
        value = torch.where(fell[:, 0], new_value, value)
    return x
