"""WaveNet sample by sample on a GPU, many streams in step: the eager step recorded once as a CUDA graph and replayed.

A step is some two hundred small kernels, and starting each from Python takes longer than its work; a graph starts
STEPS samples at once. Where there is Triton and the network is small enough, its layers are one kernel of their own
(triton_wavenet.py). A step lasts about as long for a thousand streams as for one, so throughput grows with streams.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import SpeechlibError
from ..models.wavenet import WaveNet, WaveNetConfig
from .eager_wavenet import EagerWaveNet

STEPS = 16  # samples per replay; what is left of a block goes step by step


class Recorded(NamedTuple):
    replay: Callable[[], None]
    uniform: Tensor  # (B, STEPS, 2) read by it
    samples: Tensor  # (B, STEPS) written by it


class GraphWaveNet(EagerWaveNet):
    """B streams of one model on a CUDA device; the same samples as EagerWaveNet."""

    device_type = "cuda"

    def __init__(
        self, model: WaveNet, condition: Tensor | None = None, speaker: Tensor | None = None, n_streams: int = 1
    ):
        super().__init__(model, condition, speaker, n_streams)
        if self.device.type != self.device_type:
            raise SpeechlibError(f"CUDA graphs need a model on a CUDA device, this one is on {self.device}")
        self.recorded: dict[tuple[float, float], Recorded] = {}
        self.kernel = _kernel(model.config)

    @torch.no_grad()
    def sample(self, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
        """uniform (B, n, 2) -> the next n samples (B, n)."""
        uniform = uniform.to(self.device)
        whole = uniform.shape[1] // STEPS * STEPS
        drawn = []
        for part in uniform[:, :whole].split(STEPS, dim=1) if whole else ():
            recorded = self._recorded(part, temperature, top_p)
            recorded.uniform.copy_(part)
            recorded.replay()
            drawn.append(recorded.samples.clone())
        if whole < uniform.shape[1]:
            drawn.append(super().sample(uniform[:, whole:], temperature, top_p))
        return torch.cat(drawn, dim=1)

    def _network(self, x: Tensor, added: Tensor, skip: Tensor) -> Tensor:
        if self.kernel is None:
            return super()._network(x, added, skip)
        return self.kernel(self, x, added, skip)

    def _recorded(self, like: Tensor, temperature: float, top_p: float) -> Recorded:
        """STEPS samples from one buffer into another; temperature and nucleus are constants in it."""
        key = temperature, top_p
        if key not in self.recorded:
            uniform, samples = like.clone(), like.new_empty(like.shape[:2], dtype=torch.float32)

            def steps() -> None:
                samples.copy_(EagerWaveNet.sample(self, uniform, temperature, top_p))

            memories = self.position, self.rings, self.history
            before = [memory.clone() for memory in memories]
            replay = self._record(steps)
            for memory, value in zip(memories, before):
                memory.copy_(value)  # in its place: the recording knows the address
            self.recorded[key] = Recorded(replay, uniform, samples)
        return self.recorded[key]

    def _record(self, steps: Callable[[], None]) -> Callable[[], None]:
        return record(steps, self.device)


def record(steps: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """What does `steps` again whenever it is called. The memory is that of some steps later afterwards."""
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries set themselves up on first use, which must not be recorded
            steps()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # thread_local: a training in another thread of this process may go on meanwhile
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # recorded, not run
            steps()
    return graph.replay


def _kernel(config: WaveNetConfig) -> Callable | None:
    """All layers as one kernel; None without Triton, and for networks that are too wide for it."""
    try:
        from . import triton_wavenet  # here, because it comes with torch for CUDA only
    except ImportError:
        return None
    widths = config.residual_channels, config.gate_channels // 2, config.skip_channels
    return triton_wavenet.network if triton_wavenet.fits(*widths) else None
