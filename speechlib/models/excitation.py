"""What a WaveNet hears, or a flow bends, in place of the wave: its excitation, the spectral envelope taken off.

    e[t] = (x[t] - a_1 x[t-1] - ... - a_p x[t-p]) / g        and back:  x[t] = g e[t] + a_1 x[t-1] + ... + a_p x[t-p]

Whatever noise is left in e, of mu-law's steps or of a model that is not sure, comes out shaped like speech, below it in
every band. Two siblings give the filters:

| Emphasis | one coefficient for all speech: high frequencies are raised (r9y9/wavenet_vocoder) |
| Envelope | linear prediction from the mel bands of the condition (ExcitNet, Song et al. 2018, arXiv 1811.04769; |
|          | LPCNet, Valin and Skoglund 2018, arXiv 1810.11846, section 3.1): level and formants need not be learned |
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError

_PARTS = 4  # filters per frame of the condition, the bands interpolated between frames
_PEAK = 10.0  # deviations of the excitation that fit into [-1, 1]: the pulses of a voice stand high above the rest
_FLOOR = 1e-6  # of the power, against dips that a filter of this order cannot follow


class Filters(NamedTuple):
    """Piecewise constant: coefficients (B, p, N) and gain (B, N) of N stretches of `length` samples, B may be 1."""

    coefficients: Tensor
    gain: Tensor
    length: int


def whiten(wave: Tensor, filters: Filters, clipped: bool = True) -> Tensor:
    """Wave (B, S) -> excitation (B, S), clipped to [-1, 1] unless it must lead back to the very wave (a flow).

    Before the first sample there is silence."""
    n_samples, order = wave.shape[1], filters.coefficients.shape[1]
    padded = F.pad(wave, (order, 0))
    rest = wave
    for i in range(order):
        past = padded[:, order - 1 - i : order - 1 - i + n_samples]
        rest = rest - held(filters.coefficients[:, i], filters.length, n_samples) * past
    excitation = rest / held(filters.gain, filters.length, n_samples)
    return excitation.clamp(-1, 1) if clipped else excitation


def held(values: Tensor, length: int, n_samples: int) -> Tensor:
    """(B, N) -> (B, S): each for `length` samples."""
    return values.repeat_interleave(length, dim=1)[:, :n_samples]


class Emphasis(nn.Module):
    """scale (x[t] - a x[t-1]) for every wave."""

    def __init__(self, a: float, scale: float = 1.0):
        super().__init__()
        self.a, self.scale = a, scale

    def forward(self, condition: Tensor | None, n_samples: int) -> Filters:
        device = None if condition is None else condition.device
        a = torch.full((1, 1, 1), self.a, device=device)
        return Filters(a, torch.full((1, 1), 1 / self.scale, device=device), n_samples)


class Envelope(nn.Module):
    """Log-mel bands (B, C, T), frame k centred at sample k * hop -> all-pole filters of `order`, 4 per frame.

    Bands -> power spectrum -> autocorrelation -> normal equations (the autocorrelation method of linear prediction).
    `spread` (n_fft / 2 + 1, C) makes a power spectrum of band powers; it is zero until `fit`.
    """

    def __init__(self, order: int, n_bands: int, n_fft: int, hop: int):
        super().__init__()
        self.order, self.hop = order, hop
        self.length = hop // _PARTS if hop % _PARTS == 0 else hop
        self.register_buffer("spread", torch.zeros(n_fft // 2 + 1, n_bands))

    def fit(self, bank: Tensor, window: Tensor) -> "Envelope":
        """Take the filter bank (C, n_fft / 2 + 1) and window (win_length,) that the bands were measured with."""
        if bank.shape != self.spread.T.shape:
            raise SpeechlibError(f"a filter bank {tuple(bank.shape)} for an envelope of {tuple(self.spread.T.shape)}")
        spread = torch.linalg.pinv(bank.double()) / window.double().square().sum()
        self.spread.copy_(spread)
        return self

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    @torch.no_grad()
    def forward(self, condition: Tensor, n_samples: int) -> Filters:
        bands = self._between(condition.detach().double())
        power = torch.einsum("fc,bcn->bnf", self.spread.double(), bands.exp())  # (B, N, n_fft / 2 + 1)
        power = power.clamp(min=_FLOOR * power.amax(2, keepdim=True)) + 1e-12
        r = torch.fft.irfft(power)[..., : self.order + 1]  # autocorrelation (B, N, p + 1)
        lag = torch.arange(self.order, device=r.device)
        a = torch.linalg.solve(r[..., (lag[:, None] - lag).abs()], r[..., 1:])
        error = (r[..., 0] - (a * r[..., 1:]).sum(2)).clamp(min=1e-12)
        return Filters(a.transpose(1, 2).float(), (_PEAK * error.sqrt()).float(), self.length)

    def _between(self, bands: Tensor) -> Tensor:
        """Bands at the middle of each stretch, on a line between the two frames around it: (B, C, T) -> (B, C, N)."""
        frames, parts = bands.shape[2], self.hop // self.length
        place = (torch.arange(frames * parts, device=bands.device, dtype=bands.dtype) + 0.5) / parts
        before = place.floor().long()
        after = (before + 1).clamp(max=frames - 1)
        return torch.lerp(bands[..., before], bands[..., after], place - before)
