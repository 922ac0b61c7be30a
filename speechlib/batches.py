"""Crops and whole utterances of a pack as batches; the n-th batch of crops is a function of (seed, n) only.

A resumed run therefore sees what an uninterrupted one would have seen, without any state to save. Crops are gathered
from flat tensors on the pack's device by one index operation per tensor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from .errors import SpeechlibError
from .features import FULL_SCALE
from .packs import Pack


class Batch(NamedTuple):
    """inputs (B, C, T), targets (B, C2, T), speaker (B,), utterance (B,) index in the pack, start (B,) first frame,
    audio (B, T * hop_length) or None, length (B,) valid frames: what lies behind them is zero.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    speaker: torch.Tensor
    utterance: torch.Tensor
    start: torch.Tensor
    audio: torch.Tensor | None
    length: torch.Tensor


class Order:
    """Items 0..n_items - 1 in one permutation after another, cut into batches of equal size.

    Every epoch visits every item once, and a batch may reach into the next epoch. Batch n is a function of (seed, n).
    """

    def __init__(self, n_items: int, batch_size: int, seed: int = 0):
        self.n_items, self.batch_size, self.seed = n_items, batch_size, seed
        self._permutation = lru_cache(maxsize=2)(self._permutation)

    def __len__(self) -> int:
        """Batches in which every item has come once."""
        return -(-self.n_items // self.batch_size)

    def batch(self, n: int) -> np.ndarray:
        """The items (B,) of the n-th batch, n = 0, 1, 2, ... without end."""
        epoch, place = np.divmod(np.arange(n * self.batch_size, (n + 1) * self.batch_size), self.n_items)
        items = np.empty(self.batch_size, np.int64)
        for e in range(epoch[0], epoch[-1] + 1):
            items[epoch == e] = self._permutation(e)[place[epoch == e]]
        return items

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, 0, epoch]).permutation(self.n_items)


@dataclass(eq=False)
class Drawn:
    """Pieces of `n_frames` from the utterances `indices` of a pack, `batch_size` at a time, each batch a function of
    (seed, n): what crops and windows have in common."""

    pack: Pack
    indices: Sequence[int]
    batch_size: int
    n_frames: int
    seed: int = 0
    order: Order = field(init=False)

    def __post_init__(self):
        self.indices = np.asarray(self.indices, np.int64)
        beyond = self.indices[(self.indices < 0) | (self.indices >= len(self.pack))]
        if len(beyond):
            raise SpeechlibError(
                f"utterance {beyond[0]} is asked for, pack {self.pack.name} has {len(self.pack)} utterances"
            )
        if not len(self.indices):
            raise SpeechlibError("no utterances to crop from: is this part of the split empty?")
        if self.batch_size < 1 or self.n_frames < 1:
            raise SpeechlibError(f"batch_size {self.batch_size} and n_frames {self.n_frames} must be 1 or more")

    def __len__(self) -> int:
        """Batches in which every item has come once."""
        return len(self.order)


@dataclass(eq=False)
class Crops(Drawn):
    """Random crops of n_frames from the utterances `indices` of a pack.

    Utterances come in `Order`. Where one is longer than n_frames the crop begins anywhere with equal chance; where it
    is shorter it is padded with zeros (`Batch.length` says so). `audio` adds the n_frames * hop_length samples from the
    first frame on.
    """

    inputs: str = "mfcc"
    targets: str | None = None  # those of `inputs` where it is None
    audio: bool = False

    def __post_init__(self):
        self.targets = self.targets or self.inputs
        for kind in (self.inputs, self.targets):
            self.pack.config_of(kind)
        super().__post_init__()
        self.order = Order(len(self.indices), self.batch_size, self.seed)

    def batch(self, n: int) -> Batch:
        """The n-th batch, n = 0, 1, 2, ... without end."""
        utterance, start = self._draw(n)
        return _gather(self.pack, utterance, start, self.n_frames, self.inputs, self.targets, self.audio)

    def _draw(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        utterance = self.indices[self.order.batch(n)]
        spare = np.maximum(self.pack.n_frames[utterance] - self.n_frames, 0)
        start = np.random.default_rng([self.seed, 1, n]).integers(0, spare, endpoint=True)
        return utterance, start


def whole(
    pack: Pack, indices: Sequence[int], inputs: str = "mfcc", targets: str | None = None, audio: bool = False
) -> Iterator[Batch]:
    """Whole utterances in the order given, one per batch (B = 1)."""
    for i in indices:
        utterance, start = np.array([i]), np.zeros(1, np.int64)
        yield _gather(pack, utterance, start, int(pack.n_frames[i]), inputs, targets or inputs, audio)


def _gather(pack: Pack, utterance, start, n_frames: int, inputs: str, targets: str, audio: bool) -> Batch:
    length = np.minimum(pack.n_frames[utterance] - start, n_frames)
    numbers = np.stack([pack.first_frame[utterance] + start, length, utterance, start, pack.speaker[utterance]])
    first, length_, utterance_, start_, speaker = torch.from_numpy(numbers).to(pack.device)
    x = _rows(pack.frames[inputs], first, length_, n_frames)
    y = x if targets == inputs else _rows(pack.frames[targets], first, length_, n_frames)
    wave = None
    if audio:
        hop = pack.config_of(inputs).hop_length
        samples = np.minimum(pack.n_samples[utterance] - start * hop, n_frames * hop)
        places = np.stack([pack.first_sample[utterance] + start * hop, np.maximum(samples, 0)])
        wave = _rows(pack.samples, *torch.from_numpy(places).to(pack.device), n_frames * hop).float() / FULL_SCALE
    return Batch(x, y, speaker, utterance_, start_, wave, length_)


def _rows(flat: torch.Tensor, first: torch.Tensor, length: torch.Tensor, n: int) -> torch.Tensor:
    """flat (F, C) -> (B, C, n), or flat (F,) -> (B, n): n rows from `first` (B,) on, zeros behind `length` (B,)."""
    steps = torch.arange(n, device=flat.device)
    valid = steps < length[:, None]
    rows = (first[:, None] + steps).clamp_(max=len(flat) - 1)
    taken = flat.index_select(0, rows.flatten()).view(*rows.shape, *flat.shape[1:])
    if flat.dim() == 1:
        return taken * valid
    return taken.mul_(valid[..., None]).transpose(1, 2).contiguous()
