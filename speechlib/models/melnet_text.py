"""Text for the first tier of a MelNet: where in it a frame is, and what is written there.

Vasquez & Lewis 2019 (arXiv 1906.01083) make text-to-speech of the centralised stack: it looks at the letters through a
window that moves to the right only, a mixture of logistic bells over their places u = 0, 1, ... (after Graves 2013,
arXiv 1308.0850, whose bells are Gaussian):

    kappa_i = kappa_{i-1} + exp(step(h_i))          where the bells of frame i stand, h_i from the frames before i
    a_i(u)  = sum_k w_ik [F((u + 1/2 - kappa_ik) / beta_ik) - F((u - 1/2 - kappa_ik) / beta_ik)],   F the logistic
    h_i    += project(sum_u a_i(u) letter_u)        letters by an LSTM in both directions

What the window reads does not feed its own next step, so all frames of a clip are read at once.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..errors import SpeechlibError

NOTHING = -1  # behind the last letter of a text
_PACE = 0.15  # letters per frame, before anything is learned


class Looked(NamedTuple):
    """context (B, T, H); attention (B, T, L): how much of each letter; place (B, K): where the bells were last."""

    context: Tensor
    attention: Tensor
    place: Tensor


class Reader(nn.Module):
    """A text (B, L) of symbols 0 ... n_symbols - 1, NOTHING behind its end, for h_c (B, T, H)."""

    def __init__(self, hidden: int, n_symbols: int, n_bells: int = 3):
        super().__init__()
        if n_symbols < 1 or n_bells < 1 or hidden % 2:
            raise SpeechlibError(
                f"n_symbols {n_symbols} and n_bells {n_bells} must be 1 or more, and hidden {hidden} even: half of it "
                "reads the letters forwards, half backwards"
            )
        self.n_symbols = n_symbols
        self.letters = nn.Embedding(n_symbols, hidden)
        self.around = nn.LSTM(hidden, hidden // 2, batch_first=True, bidirectional=True)
        self.bells = nn.Linear(hidden, 3 * n_bells)
        self.project = nn.Linear(hidden, hidden)
        with torch.no_grad():
            step, _, _ = self.bells.bias.chunk(3)
            step.fill_(torch.tensor(_PACE).log())

    def read(self, text: Tensor) -> Tensor:
        """Letters as they stand among others, (B, L, H), zeros behind the end. Raises SpeechlibError for an empty text
        and for symbols that nobody knows."""
        if text.ndim != 2 or not text.numel():
            raise SpeechlibError(f"text of shape {tuple(text.shape)}: wanted (B, L), at least one symbol each")
        ended, length = text == NOTHING, (text != NOTHING).sum(1)
        goes_on = bool((ended[:, :-1] & ~ended[:, 1:]).any())
        if goes_on or not length.all() or int(text.max()) >= self.n_symbols or int(text.min()) < NOTHING:
            raise SpeechlibError(
                f"text {tuple(text.shape)} with symbols {int(text.min())} to {int(text.max())}: wanted at least one "
                f"symbol each, of 0 to {self.n_symbols - 1}, {NOTHING} behind the end and nowhere else"
            )
        packed = pack_padded_sequence(
            self.letters(text.clamp(min=0)), length.cpu(), batch_first=True, enforce_sorted=False
        )
        return pad_packed_sequence(self.around(packed)[0], batch_first=True, total_length=text.shape[1])[0]

    def forward(self, h_c: Tensor, letters: Tensor, place: Tensor | None = None) -> Looked:
        """Frames h_c (B, T, H) that follow each other; `place` (B, K) of the bells before the first of them."""
        step, beta, weight = self.bells(h_c).float().chunk(3, dim=-1)  # (B, T, K): places add up to hundreds
        places = step.exp().cumsum(1) + (0 if place is None else place[:, None])
        u = torch.arange(letters.shape[1], device=h_c.device)[:, None]
        far, scale = (u - places[:, :, None]), beta.exp()[:, :, None]  # (B, T, L, K)
        bell = torch.sigmoid((far + 0.5) / scale) - torch.sigmoid((far - 0.5) / scale)
        attention = (bell * weight.softmax(-1)[:, :, None]).sum(-1)
        return Looked(self.project(attention.to(letters.dtype) @ letters), attention, places[:, -1])
