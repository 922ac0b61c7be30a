"""Pitch of a voice, and whether two waves agree in it: YIN (de Cheveigne & Kawahara 2002).

A vocoder that has learned the spectrum and not the wave whispers: its bands are right and it has no pitch.
"""

from typing import NamedTuple

import numpy as np

from ..errors import SpeechlibError

LOWEST, HIGHEST = 60.0, 420.0  # hertz: voices of men to those of children
_APERIODIC = 0.2  # YIN's threshold: the share of a frame's energy that one period of shift leaves unexplained
_SHARED = 10, 0.5  # frames, and share of the reference's, voiced in both waves before their contours are compared
_QUIET = 1e-4  # of the loudest frame's energy (-40 dB): below it nothing is called voiced


class Pitch(NamedTuple):
    hertz: np.ndarray  # (T,), 0 where nothing is voiced
    times: np.ndarray  # (T,) seconds, centres of the frames

    @property
    def voiced(self) -> np.ndarray:
        return self.hertz > 0


class PitchAgreement(NamedTuple):
    kept: float  # share of the reference's voiced frames with the same pitch within 50 cents
    voicing: float  # share of all frames that are voiced in both or in neither
    cents: float  # median |difference| where both are voiced; NaN where that is nowhere
    correlation: float  # of log F0 where both are voiced: see `correlation`


def pitch(wave, sample_rate: int, step: float = 0.01) -> Pitch:
    """Fundamental frequency of a wave (S,) every `step` seconds.

    The shift that explains a frame best is the first dip of YIN's normalised difference (eq. 8) below the threshold,
    read between samples from a parabola. Raises SpeechlibError for a wave of less than one frame (some 33 ms).
    """
    wave = np.asarray(wave, dtype=np.float64)
    longest, shortest = int(sample_rate / LOWEST), int(sample_rate / HIGHEST)
    width = length = longest + 2  # a window of one longest period, and all shifts of it
    if wave.ndim != 1 or len(wave) < width + length:
        raise SpeechlibError(
            f"pitch needs one channel of {width + length} samples or more at {sample_rate} Hz, got {wave.shape}"
        )
    starts = np.round(np.arange(0, (len(wave) - width - length) / sample_rate + 1e-9, step) * sample_rate).astype(int)
    frames = wave[starts[:, None] + np.arange(width + length)]
    n_fft = 1 << int(2 * width + length).bit_length()
    head, whole = np.fft.rfft(frames[:, :width], n_fft), np.fft.rfft(frames, n_fft)
    correlation = np.fft.irfft(head.conj() * whole, n_fft)[:, :length]  # sum_j x_j x_(j + tau), tau = 0, 1, ...
    energy = np.cumsum(np.pad(frames**2, ((0, 0), (1, 0))), axis=1)
    energy = energy[:, width : width + length] - energy[:, :length]  # of the window shifted by tau
    difference = np.maximum(energy[:, :1] + energy - 2 * correlation, 0)  # eq. 6
    mean = np.cumsum(difference[:, 1:], axis=1) / np.arange(1, length)
    normal = np.ones_like(difference)
    normal[:, 1:] = difference[:, 1:] / np.maximum(mean, 1e-12)  # eq. 8
    hertz = np.array([_first_dip(row, shortest, longest, sample_rate) for row in normal])
    hertz[energy[:, 0] <= _QUIET * energy[:, 0].max(initial=0)] = 0
    return Pitch(hertz, (starts + (width + length) / 2) / sample_rate)


def _first_dip(row: np.ndarray, shortest: int, longest: int, sample_rate: int) -> float:
    """Hertz of the first dip of a normalised difference (length,) below the threshold, 0 where there is none."""
    below = np.flatnonzero(row[shortest : longest + 1] < _APERIODIC)
    if not len(below):
        return 0.0
    tau = shortest + int(below[0])
    while tau < longest and row[tau + 1] < row[tau]:
        tau += 1
    left, here, right = row[tau - 1 : tau + 2]
    curve = left - 2 * here + right
    return sample_rate / (tau + (0.5 * (left - right) / curve if curve > 0 else 0.0))


def agreement(reference, estimate, sample_rate: int) -> PitchAgreement:
    """Pitch of two waves at the same times; both are cut to the shorter one.

    Raises SpeechlibError for waves that are too short, and for a reference without any voiced frame.
    """
    n = min(len(reference), len(estimate))
    ours, theirs = pitch(reference[:n], sample_rate), pitch(estimate[:n], sample_rate)
    if not ours.voiced.any():
        raise SpeechlibError("the reference has no voiced frame: a pitch cannot be kept where there is none")
    both = ours.voiced & theirs.voiced
    cents = np.abs(1200 * np.log2(theirs.hertz[both] / ours.hertz[both]))
    return PitchAgreement(
        kept=float(np.sum(cents <= 50) / ours.voiced.sum()),
        voicing=float(np.mean(ours.voiced == theirs.voiced)),
        cents=float(np.median(cents)) if len(cents) else float("nan"),
        correlation=correlation(ours, theirs),
    )


def correlation(reference: Pitch, estimate: Pitch) -> float:
    """Pearson's correlation of log F0 over the frames voiced in both: whether the melody is kept, each voice's own mean
    taken off, so that it can be asked of another voice too. NaN of a monotone, and where fewer than 10 frames or half
    of the reference's voiced ones are voiced in both: the few that a whisper seems to voice follow its bands.

    Raises SpeechlibError for pitches of unequal length.
    """
    if len(reference.hertz) != len(estimate.hertz):
        raise SpeechlibError(
            f"pitches of {len(reference.hertz)} and {len(estimate.hertz)} frames: cut the waves to one length first"
        )
    both = reference.voiced & estimate.voiced
    if both.sum() < max(_SHARED[0], _SHARED[1] * reference.voiced.sum()):
        return float("nan")
    x, y = (np.log(pitch.hertz[both]) - np.log(pitch.hertz[both]).mean() for pitch in (reference, estimate))
    size = np.sqrt(np.sum(x**2) * np.sum(y**2))
    return float(np.sum(x * y) / size) if size > 1e-9 else float("nan")
