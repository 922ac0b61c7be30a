"""Hours of audio per minute on two cores: our features beside librosa's and torchaudio's, in the same run.

Two processes of one thread each, as packs are built; waves lie in memory, utterances of ten seconds.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

UTTERANCES, SECONDS, RATE = 12, 10, 16_000  # per process and round
TARGETS = {("log_mel", "speechlib"): 150, ("mfcc39", "speechlib"): 100}
_STATE: dict = {}


def prepare() -> None:
    """In each process: one thread, and waves."""
    import torch

    torch.set_num_threads(1)
    waves = torch.randn(UTTERANCES, SECONDS * RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    _STATE["waves"], _STATE["transforms"] = waves, {}


def work(what: str, library: str, repeats: int) -> float:
    """Features of all waves, `repeats` times; the sum of the last, so that nothing is left out."""
    transforms = _STATE["transforms"]
    if (what, library) not in transforms:
        transforms[what, library] = _transform(what, library)
    transform = transforms[what, library]
    for _ in range(repeats):
        total = sum(float(transform(wave).sum()) for wave in _STATE["waves"])
    return total


def _transform(what: str, library: str):
    if library == "speechlib":
        from speechlib.features import LOG_MEL, MFCC39, extract

        config = LOG_MEL if what == "log_mel" else MFCC39
        return lambda wave: extract(wave, config)
    if library == "librosa":
        return _librosa(what)
    return _torchaudio(what)


def _librosa(what: str):
    import librosa
    import numpy as np

    def log_mel(wave):
        mel = librosa.feature.melspectrogram(y=wave.numpy(), sr=RATE, n_fft=512, hop_length=160, n_mels=80)
        return np.log(np.maximum(mel, 1e-5))

    def mfcc39(wave):
        sizes = {"n_fft": 512, "win_length": 400, "hop_length": 160}
        mfcc = librosa.feature.mfcc(y=wave.numpy(), sr=RATE, n_mfcc=13, n_mels=40, **sizes)
        first = librosa.feature.delta(mfcc)
        return np.concatenate([mfcc, first, librosa.feature.delta(mfcc, order=2)])

    return log_mel if what == "log_mel" else mfcc39


def _torchaudio(what: str):
    import torch

    from speechlib._torchaudio import torchaudio

    sizes = {"n_fft": 512, "hop_length": 160, "norm": "slaney", "mel_scale": "slaney"}
    if what == "log_mel":
        mel = torchaudio.transforms.MelSpectrogram(RATE, win_length=512, n_mels=80, **sizes)
        return lambda wave: mel(wave).clamp(min=1e-5).log()
    mfcc = torchaudio.transforms.MFCC(RATE, 13, log_mels=True, melkwargs=sizes | {"win_length": 400, "n_mels": 40})
    deltas = torchaudio.functional.compute_deltas

    def mfcc39(wave):
        statics = mfcc(wave)
        first = deltas(statics)
        return torch.cat([statics, first, deltas(first)])

    return mfcc39


@pytest.fixture(scope="module")
def two_processes():
    with ProcessPoolExecutor(2, get_context("spawn"), prepare) as pool:
        yield pool


@pytest.mark.parametrize("library", ["speechlib", "torchaudio", "librosa"])
@pytest.mark.parametrize("what", ["log_mel", "mfcc39"])
def test_features(benchmark, two_processes, what, library):
    repeats = 1 if benchmark.disabled or library == "librosa" else 6

    def both():
        return list(two_processes.map(work, [what] * 2, [library] * 2, [repeats] * 2))

    assert len(set(benchmark.pedantic(both, rounds=7, warmup_rounds=1))) == 1
    if not benchmark.disabled:
        hours = 2 * repeats * UTTERANCES * SECONDS / 3600
        benchmark.extra_info |= {
            "name": f"features: {what}, {library}",
            "figure": hours / (benchmark.stats.stats.min / 60),
            "unit": "hours of audio per minute, two cores",
            "target": TARGETS.get((what, library)),
            "direction": "higher",
        }
