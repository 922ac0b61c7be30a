"""ClariNet's idea on two samples, where the eye can judge: a student flow bends noise into the density of its teacher.

The teacher draws one sample and then, given it, the other; the student draws both at once from two numbers of noise.
What it lowers is what `objectives.clarinet` lowers: the divergence of the two Gaussians of each sample, the teacher's
given the student's own sample before.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..evaluation.flows import grid_lines
from ..objectives import gaussian_kl

_POINTS, _BATCH, _RATE = 1500, 256, 0.05


class Distilled(NamedTuple):
    """stages {step: (points (N, 2), lines (L, P, 2))}: where noise and its grid go; teacher (N, 2); kl, one a step."""

    stages: dict[int, tuple[Tensor, Tensor]]
    teacher: Tensor
    kl: list[float]


class Flow(nn.Module):
    """Noise z (..., 2) -> x, mean and log-deviation of both samples; the second hangs on the noise of the first."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.first = nn.Parameter(torch.zeros(2))
        self.second = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        told = torch.stack([self.first.expand(*z.shape[:-1], 2), self.second(z[..., :1])], dim=-2)  # (..., 2, 2)
        mean, log_scale = told.unbind(-1)
        return z * log_scale.exp() + mean, mean, log_scale


def teach(first: Tensor) -> tuple[Tensor, Tensor]:
    """First sample (...) -> mean and log-deviation (..., 2) of both: the second follows a wave, more loosely to the
    right."""
    mean = torch.stack([torch.zeros_like(first), 1.6 * (1.7 * first).sin()], dim=-1)
    return mean, torch.stack([torch.zeros_like(first), 0.4 * first - 1.4], dim=-1)


def distil(shown: tuple[int, ...] = (0, 30, 400), seed: int = 0) -> Distilled:
    """Train a flow until the last of the steps that are `shown`: a second or two."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        noise = torch.randn(_POINTS, 2)
        mean, log_scale = teach(noise[:, 0])
        flow, stages, spent = Flow(), {}, []
        optimizer = torch.optim.Adam(flow.parameters(), _RATE)
        for step in range(max(shown) + 1):
            if step in shown:
                with torch.no_grad():
                    stages[step] = flow(noise)[0], flow(grid_lines())[0]
            x, *student = flow(torch.randn(_BATCH, 2))
            kl = gaussian_kl(*student, *teach(x[:, 0])).sum(1).mean()
            optimizer.zero_grad()
            kl.backward()
            optimizer.step()
            spent.append(float(kl.detach()))
    return Distilled(stages, noise * log_scale.exp() + mean, spent)
