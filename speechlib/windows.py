"""One window of frames per phone: what VAE, WAE and WGAN-GP read.

    pack with phone times -> segments -> Windows -> batch(n): windows (B, C, w), and of each its phone and speaker

The window of a segment of frames a, ..., b - 1 is centred on m = a + (b - a) // 2: the w frames from m - w // 2 on.
What of it lies before or behind the utterance is filled with one frame `outside`, and counts as silence. Windows are
gathered from the pack's flat tensors, on their device: no frame is stored twice.
"""

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .batches import Drawn, Order
from .corpora.labels import SILENCES, bare
from .errors import SpeechlibError
from .features import frame_times
from .packs import Pack
from .timit_mat import fold

SILENCE = "sil"  # the one name of all that is no phone


class Segments(NamedTuple):
    """The phones of utterances, silence left out; arrays (N,). Frames are counted from the start of the utterance."""

    utterance: np.ndarray
    first: np.ndarray
    stop: np.ndarray  # the frame behind the last one
    phone: np.ndarray  # index into `phones`
    phones: list[str]  # of the whole pack, so that all parts count alike; the last one is SILENCE


def segments(pack: Pack, indices: Iterable[int], kind: str) -> Segments:
    """The phones of these utterances, by the frames of `kind` whose centres they hold; at least the nearest one.

    Raises SpeechlibError for a pack without phone times.
    """
    config = pack.config_of(kind)
    begin = frame_times(1, config)[0]
    names = sorted({name for i in range(len(pack)) for x in pack.phones(i) if (name := phone_of(x.symbol)) != SILENCE})
    if not names:
        raise SpeechlibError(
            f"pack {pack.name} has no phone times, and windows are cut around phones: the corpora toy and timit have "
            "some, corpora.alignment adds them to others"
        )
    number = {name: k for k, name in enumerate([*names, SILENCE])}
    found = array("q")  # four numbers each: of a large corpus there are millions
    for i in indices:
        last = int(pack.n_frames[i]) - 1
        for symbol, start, end in pack.phones(i):
            phone = number[phone_of(symbol)]
            if phone == len(names):
                continue
            # Rounding first: 0.07 * 100 is a hair above 7, and frame 7 would be lost to its phone.
            a, b = (math.ceil(round((t - begin) * config.frame_rate, 6)) for t in (start, end))
            if b <= a:  # shorter than the step from frame to frame, and between two of them
                a = round(((start + end) / 2 - begin) * config.frame_rate)
                b = a + 1
            a = min(max(a, 0), last)
            found.extend((i, a, max(min(b, last + 1), a + 1), phone))
    columns = np.array(found, np.int64).reshape(-1, 4).T
    return Segments(*columns, [*names, SILENCE])


def phone_of(symbol: str) -> str:
    """A label's phone without its stress mark, TIMIT's 61 as the 48 that are told apart in training; or SILENCE, which
    is what a mark without a phone becomes as well."""
    plain = bare(symbol)
    return SILENCE if plain is None or symbol in SILENCES else fold(plain)


class WindowBatch(NamedTuple):
    """inputs (B, C, w); phone (B,), speaker (B,) and utterance (B,) by their indices; start (B,) frame of the utterance
    at which the window begins, negative where it begins before."""

    inputs: Tensor
    phone: Tensor
    speaker: Tensor
    utterance: Tensor
    start: Tensor


@dataclass(eq=False)
class Windows(Drawn):
    """All windows of the utterances `indices`, in batches that are a function of (seed, n).

    `phone`, `speaker`, `utterance` and `start` (N,) say what each window is; `phones` names the phones. `outside` (C,)
    is the frame beyond the ends of an utterance, zeros where it is not given: give the mean of the training part where
    a model standardises, so that it reads zeros there. In batches a window may lie up to `shift` frames beside the
    middle of its phone, anew each time.
    """

    kind: str = "log_mel"
    outside: Tensor | None = None
    shift: int = 0

    def __post_init__(self):
        super().__post_init__()
        pack, C = self.pack, self.pack.n_features(self.kind)
        self.segments = segments(pack, self.indices, self.kind)
        self.utterance, first, stop, self.phone, self.phones = self.segments
        if not len(self.phone):
            raise SpeechlibError(f"{len(self.indices)} utterances hold no phone: is this part of the split empty?")
        self.order = Order(self.n_windows, self.batch_size, self.seed)
        self.speaker = pack.speaker[self.utterance]
        self.start = first + (stop - first) // 2 - self.n_frames // 2
        self.outside = torch.zeros(C) if self.outside is None else self.outside.detach().float()
        if self.outside.shape != (C,):
            raise SpeechlibError(f"outside has shape {tuple(self.outside.shape)}, {self.kind} has {C} rows")
        self.outside = self.outside.to(pack.device)
        low = pack.first_frame[self.utterance]
        numbers = np.stack([self.phone, self.speaker, self.utterance, self.start, low, pack.n_frames[self.utterance]])
        self._numbers = torch.from_numpy(numbers).to(pack.device)  # (6, N)

    @property
    def n_windows(self) -> int:
        return len(self.phone)

    def batch(self, n: int) -> WindowBatch:
        """The n-th batch, n = 0, 1, 2, ... without end: every epoch visits every window once."""
        which = self.order.batch(n)
        beside = np.random.default_rng([self.seed, 1, n]).integers(-self.shift, self.shift, len(which), endpoint=True)
        return self.at(which, beside)

    def at(self, which: Sequence[int], beside: np.ndarray | int = 0) -> WindowBatch:
        """These windows, by their index 0..n_windows - 1, so many frames beside their places."""
        which = torch.from_numpy(np.asarray(which, np.int64)).to(self._numbers.device)
        phone, speaker, utterance, start, low, length = self._numbers[:, which]
        start = start + torch.as_tensor(beside, device=start.device)
        inputs = cut(self.pack.frames[self.kind], low, length, start, self.n_frames, self.outside)
        return WindowBatch(inputs, phone, speaker, utterance, start)

    def spread(self, n: int) -> WindowBatch:
        """n windows, evenly spread over all; all of them where there are fewer."""
        return self.at(np.linspace(0, self.n_windows - 1, min(n, self.n_windows)).astype(int))

    def labels(self, which: Sequence[int]) -> np.ndarray:
        """The phone of every frame of these windows, (B, w) indices into `phones`; SILENCE beyond the ends."""
        steps = np.arange(self.n_frames)
        found = np.full((len(which), self.n_frames), len(self.phones) - 1)
        utterance, first, stop, phone, _ = self.segments
        for row, k in zip(found, which):
            for j in np.flatnonzero(utterance == utterance[k]):
                frame = self.start[k] + steps
                row[(frame >= first[j]) & (frame < stop[j])] = phone[j]
        return found

    def gender(self) -> np.ndarray:
        """Of each window's speaker, (N,): "F", "M" or "?"."""
        return np.array([gender or "?" for gender in self.pack.genders])[self.speaker]


def cut(flat: Tensor, low: Tensor, length: Tensor, start: Tensor, n_frames: int, outside: Tensor) -> Tensor:
    """Windows (B, C, n_frames) out of flat frames (F, C): each from frame `start` (B,) of an utterance on, which has
    `length` (B,) frames from row `low` (B,) on; `outside` (C,) where there is no frame."""
    frame = start[:, None] + torch.arange(n_frames, device=flat.device)  # (B, w)
    inside = (frame >= 0) & (frame < length[:, None])
    rows = low[:, None] + torch.minimum(frame.clamp(min=0), length[:, None] - 1)
    taken = flat.index_select(0, rows.flatten()).view(*rows.shape, -1)
    return torch.where(inside[..., None], taken, outside).transpose(1, 2).contiguous()


def slide(features: Tensor, n_frames: int, hop: int, outside: Tensor) -> Tensor:
    """Windows (N, C, n_frames) over all of (C, T), every `hop` frames, the first from frame 0, the last beyond T."""
    T = features.shape[1]
    start = torch.arange(0, max(T - n_frames, 0) + hop, hop, device=features.device)
    nothing = torch.zeros_like(start)
    return cut(features.T, nothing, nothing + T, start, n_frames, outside)


def overlap(windows: Tensor, hop: int, n_frames: int) -> Tensor:
    """Windows (N, C, w) that begin every `hop` frames -> (C, n_frames): each frame is the mean of all that hold it."""
    N, C, w = windows.shape
    total = max((N - 1) * hop + w, n_frames)
    place = (torch.arange(N, device=windows.device)[:, None] * hop + torch.arange(w, device=windows.device)).flatten()
    summed = windows.new_zeros(C, total).index_add_(1, place, windows.transpose(0, 1).flatten(1))
    counts = windows.new_zeros(total).index_add_(0, place, windows.new_ones(N * w))
    return (summed / counts.clamp(min=1))[:, :n_frames]
