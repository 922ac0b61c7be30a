"""WaveNet sample by sample on a GPU, many streams in step: the eager step recorded once as a CUDA graph and replayed.

A step is some two hundred small kernels, and starting each from Python takes longer than its work; a graph starts
STEPS samples at once. A step lasts about as long for a thousand streams as for one, so throughput grows with streams.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import SpeechlibError
from ..models.wavenet import WaveNet
from .eager_wavenet import EagerWaveNet

STEPS = 16  # samples per replay; what is left of a block goes step by step


class Recorded(NamedTuple):
    graph: "torch.cuda.CUDAGraph"
    uniform: Tensor  # (B, STEPS, 2) read by the graph
    samples: Tensor  # (B, STEPS) written by it


class GraphWaveNet(EagerWaveNet):
    """B streams of one model on a CUDA device; the same samples as EagerWaveNet."""

    def __init__(
        self, model: WaveNet, condition: Tensor | None = None, speaker: Tensor | None = None, n_streams: int = 1
    ):
        super().__init__(model, condition, speaker, n_streams)
        if self.device.type != "cuda":
            raise SpeechlibError(f"CUDA graphs need a model on a CUDA device, this one is on {self.device}")
        self.recorded: dict[tuple[float, float], Recorded] = {}

    @torch.no_grad()
    def sample(self, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
        """uniform (B, n, 2) -> the next n samples (B, n)."""
        uniform = uniform.to(self.device)
        whole = uniform.shape[1] // STEPS * STEPS
        drawn = []
        for part in uniform[:, :whole].split(STEPS, dim=1) if whole else ():
            recorded = self._recorded(part, temperature, top_p)
            recorded.uniform.copy_(part)
            recorded.graph.replay()
            drawn.append(recorded.samples.clone())
        if whole < uniform.shape[1]:
            drawn.append(super().sample(uniform[:, whole:], temperature, top_p))
        return torch.cat(drawn, dim=1)

    def _recorded(self, like: Tensor, temperature: float, top_p: float) -> Recorded:
        """The graph of STEPS samples; temperature and nucleus are constants in it."""
        key = temperature, top_p
        if key not in self.recorded:
            uniform = like.clone()
            before = [memory.clone() for memory in (self.position, self.rings, self.history)]
            side = torch.cuda.Stream(self.device)
            side.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(side):  # libraries set themselves up on first use, which must not be recorded
                super().sample(uniform[:, :2], temperature, top_p)
            torch.cuda.current_stream(self.device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):  # recorded, not run
                samples = super().sample(uniform, temperature, top_p)
            for memory, value in zip((self.position, self.rings, self.history), before):
                memory.copy_(value)  # in its place: the graph knows the address
            self.recorded[key] = Recorded(graph, uniform, samples)
        return self.recorded[key]
