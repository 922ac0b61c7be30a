"""What a vocoder is judged by, whichever it is: waves it made beside the recordings whose features it was given.

Its honest lower rival is noise with the same bands (inversion.shaped_noise): whoever does not beat that by far has
learned what a filter knows. The upper one of all without a model is Griffin-Lim (inversion.to_audio).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..errors import SpeechlibError
from ..features import FeatureConfig, extract
from . import pitch
from .distortion import mel_cepstral_distortion, mel_cepstrum, spectral_convergence

SILENCE = 40.0  # dB below the loudest frame of the recording: quieter frames are silence
DB = 10 / np.log(10)  # dB of one neper of power


def is_speech(log_mel) -> np.ndarray:
    """Frames (T,) of a log-mel (M, T) within SILENCE dB of its loudest one, by the sum of the band powers."""
    level = DB * np.log(np.exp(np.asarray(log_mel, dtype=np.float64)).sum(axis=0))
    return level > level.max() - SILENCE


def log_mel_distance(reference, estimate) -> float:
    """RMS difference in dB of two log-mels (M, T), over all bands of the frames in which the reference speaks."""
    reference, estimate = (np.asarray(x, dtype=np.float64) for x in (reference, estimate))
    if reference.shape != estimate.shape or reference.ndim != 2 or not reference.size:
        raise SpeechlibError(f"log-mels of one shape (M, T) are compared, got {reference.shape} and {estimate.shape}")
    spoken = is_speech(reference)
    return float(DB * np.sqrt(np.mean((reference - estimate)[:, spoken] ** 2)))


def judge(reference, estimate, config: FeatureConfig) -> dict[str, float]:
    """One vocoded wave (S,) beside its recording (S,), both cut to the shorter one.

    log_mel_distance (dB), mel_cepstral_distortion (dB) and spectral_convergence over the frames of speech;
    pitch_kept, voicing (shares), pitch_error (cents) and pitch_correlation (of log F0) from `pitch.agreement`, left out
    where the recording has no voice; level (dB, 0 = as loud); clipped (share of samples at full scale). `config` is of
    a log_mel.
    """
    n = min(len(reference), len(estimate))
    reference, estimate = (np.asarray(wave, dtype=np.float32)[:n] for wave in (reference, estimate))
    if not np.isfinite(estimate).all():
        raise SpeechlibError("the vocoded wave holds NaN or infinite samples: did its training diverge?")
    ours, theirs = (extract(torch.from_numpy(wave), config).numpy() for wave in (reference, estimate))
    spoken = is_speech(ours)
    cepstra = (mel_cepstrum(mel[:, spoken] / 2) for mel in (ours, theirs))  # half of a log power: log amplitude
    found = {
        "log_mel_distance": log_mel_distance(ours, theirs),
        "mel_cepstral_distortion": mel_cepstral_distortion(*cepstra),
        "spectral_convergence": spectral_convergence(np.exp(ours[:, spoken] / 2), np.exp(theirs[:, spoken] / 2)),
    }
    try:
        agreed = pitch.agreement(reference, estimate, config.sample_rate)
        found |= {"pitch_kept": agreed.kept, "voicing": agreed.voicing, "pitch_error": agreed.cents}
        found["pitch_correlation"] = agreed.correlation
    except SpeechlibError:  # a breath, or a clip of a few milliseconds
        pass
    power = [float(np.mean(np.square(wave, dtype=np.float64))) for wave in (reference, estimate)]
    found["level"] = DB * float(np.log(max(power[1], 1e-12) / max(power[0], 1e-12)))
    found["clipped"] = float(np.mean(np.abs(estimate) >= 0.999))
    return found


def mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each score over the utterances that have it."""
    names = dict.fromkeys(name for found in scores for name in found)
    values = {name: [s[name] for s in scores if np.isfinite(s.get(name, np.nan))] for name in names}
    return {name: float(np.mean(value)) for name, value in values.items() if value}
