"""Pre-emphasis: a wave (B, S) with its high frequencies raised, and back.

    x[t] = wave[t] - a wave[t - 1],   wave[t] = x[t] + a wave[t - 1];   before the first sample there is silence.

Speech has little energy up high, and the steps of mu-law are white noise: on the emphasised wave that noise is shaped
like speech by the way back, and lies some 20 dB lower where the ear would find it (as in r9y9/wavenet_vocoder and in
LPCNet, Valin and Skoglund 2018, arXiv 1810.11846, section 3.1).
"""

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor


def emphasise(wave: Tensor, a: float) -> Tensor:
    """Wave (B, S) -> emphasised (B, S), clipped to [-1, 1]."""
    if not a:
        return wave
    return torch.cat([wave[:, :1], wave[:, 1:] - a * wave[:, :-1]], dim=1).clamp(-1, 1)


class Deemphasis:
    """The way back, block by block: emphasised (B, <= S) on the CPU -> wave, clipped to [-1, 1].

    last (B,): the wave's last sample before the first block.
    """

    def __init__(self, a: float, last: Tensor):
        self.a, self.state = a, a * last.double().numpy()[:, None]

    def __call__(self, emphasised: Tensor) -> Tensor:
        if not self.a:
            return emphasised
        wave, self.state = lfilter([1.0], [1.0, -self.a], emphasised.double().numpy(), zi=self.state)
        return torch.from_numpy(wave.astype(np.float32)).clamp(-1, 1)
