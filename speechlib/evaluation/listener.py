"""A machine that listens: which voice is this, and which phones are said? Fitted on recordings, asked about anything.

Two linear probes on the cepstrum of log-mel bands, its level left out. They are no judges of quality, but they tell
whether speech sounds like the recordings of a voice and like its phones. Always ask them about recordings that they
were not fitted on, too: that is the best that anything synthetic can do.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from .. import features
from ..corpora.labels import SILENCES, bare
from ..errors import SpeechlibError
from ..features import FeatureConfig
from . import probes
from .clustering import frames_at
from .distortion import mel_cepstrum

ORDER = 20  # cepstral coefficients 1..ORDER; the 0th is the level, which says more of the gain than of the voice
INSIDE = (0.25, 0.5, 0.75)  # where in a phone its spectrum is read


class Listener(NamedTuple):
    config: FeatureConfig  # of what it hears
    voice: probes.Reader | None  # voice_vector -> index into pack.speakers; None with one speaker only
    phone: probes.Reader | None  # phone_vectors -> symbol; None without phone times


def listening(sample_rate: int) -> FeatureConfig:
    """25 ms windows, every 10 ms, 40 bands: the usual ones of recognisers, at any rate."""
    window = round(0.025 * sample_rate)
    n_fft = 1 << (window - 1).bit_length()
    hop = round(0.01 * sample_rate)
    return FeatureConfig("log_mel", sample_rate, n_fft=n_fft, win_length=window, hop_length=hop, n_mels=40)


def fit(pack, indices: Iterable[int], seconds: float = 2.0, n_phones: int = 6000, seed: int = 0) -> Listener:
    """Fitted on these utterances of a pack: voices on pieces of `seconds`, phones on n_phones of them at most."""
    config, indices = listening(pack.config.sample_rate), list(indices)
    length = round(seconds * config.frame_rate)
    heard = {i: hear(pack.wave(i), config) for i in indices}
    voices = [(voice_vector(piece), pack.speaker[i]) for i in indices for piece in _pieces(heard[i], length)]
    said = [phone_vectors(heard[i], config.frame_rate, pack.phones(i)) for i in indices]
    vectors, symbols = np.concatenate([x for x, _ in said]), np.concatenate([s for _, s in said])
    chosen = np.random.default_rng(seed).permutation(len(symbols))[:n_phones]
    return Listener(
        config,
        probes.fit_reader(*map(np.array, zip(*voices))) if len({speaker for _, speaker in voices}) > 1 else None,
        probes.fit_reader(vectors[chosen], symbols[chosen]) if len(symbols) else None,
    )


def hear(wave, config: FeatureConfig) -> np.ndarray:
    """wave (S,) -> cepstrum (ORDER, T), level left out."""
    log_power = features.extract(torch.as_tensor(wave).cpu(), config).numpy()
    return mel_cepstrum(log_power / 2, ORDER + 1)[1:]


def voice_vector(cepstrum) -> np.ndarray:
    """cepstrum (ORDER, T) -> mean and deviation over time (2 ORDER,): what all that is said has in common."""
    return np.concatenate([cepstrum.mean(axis=1), cepstrum.std(axis=1)])


def phone_vectors(cepstrum, frame_rate: float, phones: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """The spectrum at three places of each phone (N, 3 ORDER) and its symbol (N,); silences are left out.

    `phones` [(symbol, start, end)] in seconds; those that end behind the cepstrum are left out as well.
    """
    seconds = cepstrum.shape[1] / frame_rate
    known = [(symbol, a, b) for s, a, b in phones if (symbol := bare(s)) and symbol not in SILENCES and b <= seconds]
    places = np.array([a + share * (b - a) for _, a, b in known for share in INSIDE])
    vectors = frames_at(cepstrum, places * frame_rate).reshape(len(known), len(INSIDE) * len(cepstrum))
    return vectors, np.array([symbol for symbol, _, _ in known], dtype=object)


def voice_of(listener: Listener, wave) -> int:
    """The speaker (index) whose recordings a wave sounds like."""
    if listener.voice is None:
        raise SpeechlibError("one speaker only: there are no voices to tell apart")
    return int(listener.voice.read(voice_vector(hear(wave, listener.config))[None])[0])


def phones_of(listener: Listener, wave, phones: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """(symbols said, symbols heard) at the true times `phones` of a wave, silences left out."""
    if listener.phone is None:
        raise SpeechlibError("the listener was fitted without phone times: what is said cannot be judged")
    vectors, said = phone_vectors(hear(wave, listener.config), listener.config.frame_rate, phones)
    return said, listener.phone.read(vectors) if len(said) else said


def _pieces(cepstrum: np.ndarray, length: int) -> list[np.ndarray]:
    """Whole pieces of `length` frames; a shorter one as it is."""
    starts = range(0, max(cepstrum.shape[1] - length, 0) + 1, length)
    return [cepstrum[:, start : start + length] for start in starts]
