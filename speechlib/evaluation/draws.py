"""Are the windows that a model draws like those it learned from? The same questions to every model, and to none.

Windows (N, F, w) are judged by their shape: the low orders of a cosine transform over bands and frames, a fixed feature
that no model has learned and none is trained on. Two rows belong beside every answer: other real windows (nothing can
be nearer to the data than the data), and draws that know the mean and variance of each band and nothing else.
"""

from typing import NamedTuple

import numpy as np
import torch

from ..models.wae import mmd
from . import probes
from .distortion import frechet_distance

ORDERS = (20, 4)  # over bands: the envelope of a spectrum; over frames: level, slope and two bends
N_FITTED = 6000  # windows that the classifier of phones is fitted on


def shapes(windows) -> np.ndarray:
    """(N, F, w) -> (N, 80): their cosine transform over bands and frames (DCT-II, orthonormal), low orders only."""
    from scipy.fft import dctn

    windows = np.asarray(windows, dtype=np.float64)
    bands, frames = (min(order, size) for order, size in zip(ORDERS, windows.shape[1:]))
    return dctn(windows, axes=(1, 2), norm="ortho")[:, :bands, :frames].reshape(len(windows), -1)


class BandGaussian(NamedTuple):
    """The naive model: every number of a window by itself, by the mean and deviation (F,) of its band."""

    mean: np.ndarray
    std: np.ndarray

    def sample(self, n: int, n_frames: int, seed: int = 0) -> np.ndarray:
        """n windows (n, F, n_frames)."""
        noise = np.random.default_rng(seed).normal(size=(n, len(self.mean), n_frames))
        return self.mean[:, None] + self.std[:, None] * noise

    def bits(self, windows) -> float:
        """-log2 p of windows (N, F, w), per number."""
        error = ((np.asarray(windows, dtype=np.float64) - self.mean[:, None]) / self.std[:, None]) ** 2
        nats = 0.5 * (error + np.log(2 * np.pi) + 2 * np.log(self.std)[:, None])
        return float(nats.mean() / np.log(2))


def band_gaussian(windows) -> BandGaussian:
    """Fitted to windows (N, F, w)."""
    windows = np.asarray(windows, dtype=np.float64)
    return BandGaussian(windows.mean((0, 2)), windows.std((0, 2)).clip(min=1e-3))


class Judge(NamedTuple):
    """Knows real windows, and what phones look like."""

    windows: np.ndarray  # (N, F, w), real ones
    reader: probes.Reader  # shapes -> phone

    def judge(self, drawn) -> dict[str, float]:
        """What draws (N, F, w) are like, beside as many real windows. 0 would be best but for `confidence`:

        frechet and mmd of their shapes; band_mean: difference of means in deviations, band_variance: |share - 1| of
        variances, both as means over bands; confidence: probability of the likeliest phone; phones: how far the shares
        of phones are from those in real windows (total variation, 0 to 1).
        """
        drawn = np.asarray(drawn, dtype=np.float64)
        real, n = self.windows, min(len(drawn), len(self.windows))
        mine, theirs = shapes(drawn), shapes(real)
        std = float(np.sqrt(theirs.var(0).mean()))  # of the kernel: that of the data
        believed, wanted = self.reader.belief(mine), self.reader.belief(theirs)
        shares = [np.eye(p.shape[1])[p.argmax(1)].mean(0) for p in (believed, wanted)]
        deviation = real.std((0, 2)).clip(min=1e-3)
        return {
            "frechet": frechet_distance(mine, theirs),
            "mmd": float(mmd(*(torch.from_numpy(x[:n]).float() for x in (mine, theirs)), std)),
            "band_mean": float((np.abs(drawn.mean((0, 2)) - real.mean((0, 2))) / deviation).mean()),
            "band_variance": float(np.abs(drawn.var((0, 2)) / deviation**2 - 1).mean()),
            "confidence": float(believed.max(1).mean()),
            "phones": float(np.abs(shares[0] - shares[1]).sum() / 2),
        }

    def phones_heard(self, windows, phones) -> float:
        """Share of windows (N, F, w) whose phone (N,) the classifier hears."""
        return float(np.mean(self.reader.read(shapes(windows)) == np.asarray(phones)))


def judge_of(known, phones, windows) -> Judge:
    """A judge of draws beside `windows` (N, F, w), with a classifier fitted on the first N_FITTED of `known`
    (M, F, w) and their phones (M,)."""
    reader = probes.fit_reader(shapes(known[:N_FITTED]), np.asarray(phones)[:N_FITTED])
    return Judge(np.asarray(windows, dtype=np.float64), reader)
