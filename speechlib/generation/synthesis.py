"""The last step of generation: excitation -> wave, block by block, by the filters of models/excitation.py."""

import numpy as np
import torch
from torch import Tensor

from ..compiled import compiled
from ..models.excitation import Filters

_KNEE = 0.9  # of full scale: up to here a wave is left alone


def limited(wave: Tensor) -> Tensor:
    """Wave (any shape) within [-1, 1]: as it is up to _KNEE, bent towards full scale beyond it, without corners.

    Bands of a high voice resolve its harmonics, so that filters of them ring at one; where the excitation feeds that
    too well, the wave passes full scale. A clipped one crackles.
    """
    beyond = (wave.abs() - _KNEE).clamp(min=0)
    return wave.clamp(-_KNEE, _KNEE) + wave.sign() * (1 - _KNEE) * torch.tanh(beyond / (1 - _KNEE))


class Synthesis:
    """Excitation (B, <= S) on the CPU -> wave, `limited`; every call goes on where the last one ended.

    past (B, S0): the wave before the first block, whose filters are the first in `filters`.
    """

    def __init__(self, filters: Filters, n_streams: int, past: Tensor):
        order = filters.coefficients.shape[1]
        arrays = (filters.coefficients.expand(n_streams, -1, -1), filters.gain.expand(n_streams, -1))
        self.coefficients, self.gain = (np.ascontiguousarray(x.detach().cpu().double().numpy()) for x in arrays)
        self.length, self.done = filters.length, past.shape[1]
        self.history = np.zeros((n_streams, order))  # the latest sample first
        recent = past[:, -order:].flip(1).double().numpy()
        self.history[:, : recent.shape[1]] = recent

    def __call__(self, excitation: Tensor) -> Tensor:
        wave = excitation.double().numpy().copy()
        _filter(wave, self.coefficients, self.gain, self.length, self.done, self.history)
        self.done += wave.shape[1]
        return limited(torch.from_numpy(wave.astype(np.float32)))

    def select(self, chosen: np.ndarray) -> None:
        """Stream b goes on from where stream chosen[b] is, chosen (B,)."""
        self.history = self.history[chosen]


@compiled
def _filter(wave, coefficients, gain, length, done, history):
    """In place: wave holds the excitation (B, n) and then the samples; history (B, p) moves on."""
    order, last = history.shape[1], gain.shape[1] - 1
    for b in range(wave.shape[0]):
        for t in range(wave.shape[1]):
            part = min((done + t) // length, last)
            sample = gain[b, part] * wave[b, t]
            for i in range(order):
                sample += coefficients[b, i, part] * history[b, i]
            for i in range(order - 1, 0, -1):
                history[b, i] = history[b, i - 1]
            history[b, 0] = sample
            wave[b, t] = sample
