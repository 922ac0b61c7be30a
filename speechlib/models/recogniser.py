"""A phone recogniser that learns from what was said in which order, and is never told when: CTC.

Graves et al. 2006, "Connectionist temporal classification". Every second frame names a phone or nothing, the blank:

    log-mel (B, C, T) -> level and mean taken off -> conv, every second frame (B, W, L)
      -> dilated convs, gated, each added to what it read -> 1x1 -> logits (B, 1 + P, L), the blank first

    heard: the likeliest symbol of every frame, repetitions taken as one, blanks left out.

It is a measuring device, so it must not guess. Its frames see some 0.3 s and no more: a network that has the whole
sentence in view learns the few sentences of a small corpus by heart, and hears them in speech that has lost them. And
it takes off what it must not judge by, the level and the mean of every band over the utterance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError
from .shares import drawn, dropout

BLANK = 0
_SCALE = 2.5  # nepers of power, about the deviation of a band of speech: what is read has deviation 1 or so


@dataclass(frozen=True)
class RecogniserConfig:
    """Choices of the model. Bands and phones are arguments beside it."""

    channels: int = 96
    stride: int = 2  # frames per symbol: a phone that is shorter cannot be heard
    kernel_size: int = 3
    dilations: tuple[int, ...] = (1, 2, 1, 2)
    dropout: float = 0.1
    floor: float = 50.0  # dB below the loudest band of an utterance: what is quieter counts as that
    hidden_bands: int = 12  # bands side by side that training hides, up to so many (SpecAugment, Park et al. 2019)
    hidden_frames: int = 15  # and frames, twice in each utterance

    def __post_init__(self):
        if self.kernel_size % 2 == 0:
            raise SpeechlibError(
                f"kernel_size {self.kernel_size} is even: a frame stands in the middle of what it sees"
            )
        if self.stride < 1 or not self.dilations or not self.floor > 0:
            raise SpeechlibError(
                f"stride {self.stride}, dilations {self.dilations}, floor {self.floor} dB: wanted a stride from 1, a "
                "layer or more, and a floor below the loudest band"
            )

    @property
    def receptive_field(self) -> int:
        """Frames that the logits of one place depend on, the mean over the utterance aside."""
        return 5 + self.stride * (self.kernel_size - 1) * sum(self.dilations)


class Recogniser(nn.Module):
    """log-mel (B, C, T) and the frames (B,) of each that are not padding -> logits (B, 1 + P, L), lengths (B,)."""

    def __init__(self, config: RecogniserConfig, n_features: int, phones: Sequence[str] = ()):
        super().__init__()
        self.config, self.n_features, W = config, n_features, config.channels
        self.front = nn.Conv1d(n_features, W, 5, config.stride, padding=2)
        self.norms = nn.ModuleList(nn.LayerNorm(W) for _ in config.dilations)
        self.layers = nn.ModuleList(
            nn.Conv1d(W, 2 * W, config.kernel_size, padding=d * (config.kernel_size // 2), dilation=d)
            for d in config.dilations
        )
        self.learn(phones)

    def learn(self, phones: Sequence[str]) -> None:
        """The symbols that it can hear; all are as likely at first, as the last layer begins at zero."""
        if len(set(phones)) < len(phones):
            raise SpeechlibError(f"phones named twice: {', '.join(sorted(p for p in phones if phones.count(p) > 1))}")
        self.phones = tuple(phones)
        head, place = (self.config.channels, 1 + len(phones), 1), self.front.weight.device
        self.head = nn.utils.skip_init(nn.Conv1d, *head, device=place)
        for weight in self.head.parameters():
            nn.init.zeros_(weight)

    @property
    def sizes(self) -> dict:
        return {"n_features": self.n_features, "phones": list(self.phones)}

    def forward(self, x: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim != 3 or x.shape[1] != self.n_features or not 0 < int(length.max()) <= x.shape[2]:
            raise SpeechlibError(
                f"features {tuple(x.shape)} with lengths up to {int(length.max())}: wanted (B, {self.n_features}, T) "
                "and 1 to T frames of each"
            )
        x = self.hear(x, length)
        if self.training:
            x = self._hide(x)
        x, length = self.front(x), self.n_steps(length)
        inside = (torch.arange(x.shape[2], device=x.device) < length[:, None])[:, None]  # (B, 1, L)
        for norm, layer in zip(self.norms, self.layers):
            # zeros behind the end, as a convolution puts them there: padding changes nothing
            h = dropout(norm(x.transpose(1, 2)).transpose(1, 2), self.config.dropout, self.training) * inside
            x = x + F.glu(layer(h), dim=1)
        return self.head(F.relu(x)), length

    def n_steps(self, length):
        """Symbols of so many frames (an int, or a tensor of them)."""
        return -(-length // self.config.stride)

    def hear(self, x: Tensor, length: Tensor) -> Tensor:
        """What it reads of log-mel (B, C, T), natural logarithms of power: relative to the loudest band, cut at the
        floor, without each band's mean over the utterance; zero behind the end."""
        inside = (torch.arange(x.shape[2], device=x.device) < length[:, None])[:, None]  # (B, 1, T)
        loudest = x.masked_fill(~inside, -math.inf).amax((1, 2), keepdim=True)
        x = (x - loudest).clamp(min=-self.config.floor * math.log(10) / 10)
        mean = (x * inside).sum(2, keepdim=True) / length[:, None, None]
        return (x - mean) * inside / _SCALE

    def _hide(self, x: Tensor) -> Tensor:
        """Some bands and some frames set to their mean: what is left must do."""
        frames = self.config.hidden_frames
        for axis, widest in ((1, self.config.hidden_bands), (2, frames), (2, frames)):
            width = drawn(partial(torch.randint, widest + 1), (len(x), 1), device=x.device)
            first = (drawn(torch.rand, (len(x), 1), device=x.device) * (x.shape[axis] - width).clamp(min=0)).long()
            place = torch.arange(x.shape[axis], device=x.device)
            hidden = (place >= first) & (place < first + width)  # (B, C) or (B, T)
            x = x.masked_fill(hidden[:, :, None] if axis == 1 else hidden[:, None], 0)
        return x

    @torch.inference_mode()
    def read(self, x: Tensor, length: Tensor) -> list[list[str]]:
        """What is heard in each of a batch, phone by phone: the likeliest path, no dictionary, no grammar."""
        logits, length = self(x, length)
        return [self.spell(row[:n].tolist()) for row, n in zip(logits.argmax(1), length.tolist())]

    def spell(self, symbols: Sequence[int]) -> list[str]:
        """Symbols of every place (L,) -> phones: repetitions are one, a blank between two makes them two."""
        said = (s for s, before in zip(symbols, [BLANK, *symbols]) if s != before)
        return [self.phones[s - 1] for s in said if s != BLANK]


def steps_needed(phones: Sequence) -> int:
    """Places that a sequence takes at least: one for each phone, and a blank between two that are alike."""
    return len(phones) + sum(a == b for a, b in zip(phones, phones[1:]))
