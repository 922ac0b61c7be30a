"""One tier of MelNet on a GPU, many clips in step: the eager frame recorded once as a CUDA graph and replayed.

A value is some forty small kernels, and starting each from Python takes longer than its work; a graph starts a whole
frame at once, all bins one after the other. A frame lasts about as long for hundreds of clips as for one, so throughput
grows with clips; for a single one a CPU core may be as quick (numba_melnet.py).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import SpeechlibError
from ..models.melnet import Tier
from .eager_melnet import NO_LIMITS, EagerTier
from .graph_wavenet import record


class Recorded(NamedTuple):
    replay: Callable[[], None]
    numbers: Tensor  # (B, F, 2) read by it


class GraphTier(EagerTier):
    """B clips of one tier on a CUDA device; the same samples as EagerTier."""

    device_type = "cuda"

    def __init__(self, tier: Tier, n_bins: int, n_frames: int, n_clips: int, z: tuple[Tensor | float, Tensor | float]):
        super().__init__(tier, n_bins, n_frames, n_clips, z)
        if self.device.type != self.device_type:
            raise SpeechlibError(f"CUDA graphs need a model on a CUDA device, this one is on {self.device}")
        self.recorded: dict[tuple, Recorded] = {}

    @torch.no_grad()
    def sample(
        self,
        uniform: Tensor,
        temperature: float = 1.0,
        weight_temperature: float = 1.0,
        limits: tuple[float, float] = NO_LIMITS,
    ) -> Tensor:
        """Random numbers uniform (B, F, n, 2) -> the next n frames (B, F, n), values within limits."""
        drawn = []
        for numbers in self.numbers(uniform).unbind(2):
            recorded = self._recorded(numbers, (temperature, weight_temperature, limits))
            recorded.numbers.copy_(numbers)
            recorded.replay()
            drawn.append(self.before.clone())
        return torch.stack(drawn, dim=2)

    def _recorded(self, like: Tensor, drawing: tuple) -> Recorded:
        """A frame from `numbers` into `before`; temperatures and limits are constants in it."""
        if drawing not in self.recorded:
            numbers = like.clone()
            before = [memory.clone() for memory in self.memories]
            replay = self._record(lambda: self.draw_frame(numbers, *drawing))
            for memory, value in zip(self.memories, before):
                memory.copy_(value)  # in its place: the recording knows the address
            self.recorded[drawing] = Recorded(replay, numbers)
        return self.recorded[drawing]

    def _record(self, frame: Callable[[], None]) -> Callable[[], None]:
        return record(frame, self.device)
