"""Speech kept near the bands asked for: many say it side by side, and after every frame those that are near go on.

A WaveNet that draws sample after sample cannot plan: by chance a frame comes out louder or duller than it should, and
no later sample mends it. A particle filter (the bootstrap filter of Gordon, Salmond & Smith 1993) draws from the
network and keeps what fits, so that the wave follows

    p(wave | condition)  x  product over frames t of exp(-|asked[:, t] - bands of the wave[:, t]|^2 / (2 tolerance^2))

instead of the network alone. A frame is compared once its window has been spoken to its end; those that never are, at
the end of the clip, do not count. Of the particles that are left the one nearest at the last comparison is heard. No
sample of it is changed: it was said in one breath.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import SpeechlibError
from ..features import FeatureConfig, extract, n_features
from ..models.wavenet import WaveNet
from .wavenet import stream

_DB = 10 / np.log(10)  # of a neper of power
Progress = Callable[[int, int, str], None]


def steer(
    model: WaveNet,
    condition: Tensor,
    asked: Tensor,
    config: FeatureConfig,
    speaker: Tensor | None = None,
    *,
    n_particles: int = 64,
    tolerance: float = 8.0,
    seed: int = 0,
    progress: Progress | None = None,
    **options,
) -> Tensor:
    """wave (T hop,) on the CPU: condition (1, C, T) said so that its bands come near asked (M, T), log-mel of `config`.

    tolerance is what a band may be off by, in dB. One particle is `generate`; twice as many cost twice the time.
    `options` are those of generation.wavenet.stream: temperature, top_p, precision, threads, path.
    Raises SpeechlibError where the bands do not belong to the condition or to the model's hop.
    """
    hop, T = config.hop_length, condition.shape[-1]
    if config.kind != "log_mel" or config.n_deltas:
        raise SpeechlibError(f"steering compares log_mel bands without differences, not {config.kind}")
    if asked.shape != (n_features(config), T) or hop != model.config.hop:
        raise SpeechlibError(
            f"bands {tuple(asked.shape)} of {hop} samples a frame are asked for; a condition of {T} frames and a model "
            f"of {model.config.hop} need ({n_features(config)}, {T}) and the same hop"
        )
    if n_particles < 1 or not tolerance > 0:
        raise SpeechlibError(f"n_particles is {n_particles}, at least 1; tolerance {tolerance}, more than 0 dB")
    coming = stream(model, condition, speaker, n_streams=n_particles, seed=seed, block=hop, **options)
    random, asked = np.random.default_rng([seed, n_particles]), asked.detach().cpu()
    wave, reach = torch.zeros(n_particles, T * hop), -(-config.n_fft // (2 * hop))  # in frames
    best = 0
    for frame, block in enumerate(coming):
        wave[:, frame * hop : (frame + 1) * hop] = block
        heard = frame + 1 - reach  # the latest frame whose window has been spoken to its end
        if n_particles > 1 and heard >= 0:
            badness = _distance(wave[:, : (frame + 1) * hop], asked[:, heard], heard, reach, config)
            best = int(badness.argmin())
            chosen = survivors(-badness / (2 * tolerance**2), random)
            coming.select(chosen)
            wave = wave[torch.from_numpy(chosen)]  # the best is still in its place: the likeliest always goes on
        if progress is not None:
            progress(frame + 1, T, f"{n_particles} particles")
    return wave[best]


def _distance(wave: Tensor, asked: Tensor, frame: int, reach: int, config: FeatureConfig) -> np.ndarray:
    """Squared distance (B,) in dB^2 of the bands of wave (B, S) at a frame to those asked for (M,)."""
    first = max(frame - reach, 0)  # the frame in whose middle the piece begins
    piece = wave[:, first * config.hop_length :]
    bands = extract(piece, config)[:, :, frame - first]
    return (_DB * (bands - asked)).square().sum(1).double().numpy()


def survivors(log_weights: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Which particle each of the next ones goes on from (N,), in proportion to their weights: each as often as its
    share of N, rounded up or down (systematic resampling, Kitagawa 1996). One that goes on keeps its place."""
    weights = np.exp(log_weights - log_weights.max())
    n = len(weights)
    drawn = np.searchsorted(np.cumsum(weights) / weights.sum(), (random.random() + np.arange(n)) / n)
    copies = np.bincount(drawn.clip(max=n - 1), minlength=n)
    chosen = np.arange(n)
    gone = np.flatnonzero(copies == 0)
    chosen[gone] = np.repeat(np.arange(n), np.maximum(copies - 1, 0))
    return chosen
