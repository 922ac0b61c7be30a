"""What a flow is looked at by: what is left of a wave that went there and back, and tones that squeezes may leave."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import SpeechlibError
from ..models.flowavenet import FloWaveNet, squeezed, stretched

_AROUND = 40  # bins to each side of a line that it is compared with


def grid_lines(reach: float = 2.5, n_lines: int = 11, n_points: int = 101) -> Tensor:
    """The lines (2 n_lines, n_points, 2) of a square grid, to be bent."""
    fine, coarse = torch.linspace(-reach, reach, n_points), torch.linspace(-reach, reach, n_lines)
    across = torch.stack(torch.meshgrid(coarse, fine, indexing="ij"), dim=-1)
    return torch.cat([across, across.flip(-1)])


@torch.inference_mode()
def stages(model: FloWaveNet, latents: Tensor) -> list[Tensor]:
    """Latents (B, N, T) of a model of one block -> what they become behind each flow, undone one after the other.

    Both halves are where they are in the wave: a flow exchanges them, which only a drawing would show.
    """
    if len(model.blocks) != 1:
        raise SpeechlibError(f"stages are drawn of a model of one block, this one has {len(model.blocks)}")
    x, found = latents, []
    for left, flow in reversed(list(enumerate(model.blocks[0].flows))):
        x = flow.reverse(x, None)
        found.append(x if left % 2 == 0 else torch.cat(x.chunk(2, dim=1)[::-1], dim=1))
    return found


@torch.inference_mode()
def inversion_errors(
    model: FloWaveNet, wave: Tensor, condition: Tensor | None = None, speaker: Tensor | None = None
) -> list[float]:
    """Largest difference in front of each block, the first one first, between what a wave (B, S) was there on its way
    to the latents and what it is again on the way back. In units of the deviation there."""
    latents = model(wave, condition, speaker).latents
    x, c = model.inner(wave, condition)[:, None], model.upsampled(condition, speaker, wave.shape[-1])
    seen, conditions = [], []
    for block in model.blocks:
        x, c = squeezed(x), squeezed(c)
        seen.append(x)
        conditions.append(c)
        x = block(x, c)[0]
    errors, back = [], latents.pop()
    for block, x, c in zip(reversed(model.blocks), reversed(seen), reversed(conditions)):
        back = block.reverse(back, latents.pop() if block.prior is not None else None, c)
        errors.append(((back - x).abs().max() / x.std().clamp(min=1e-12)).item())
        back = stretched(back)
    return errors[::-1]


class Line(NamedTuple):
    """hertz; level: dB of the bins there above the median around them, 0 where there is no line."""

    hertz: float
    level: float


def squeeze_lines(wave, sample_rate: int, n_blocks: int) -> list[Line]:
    """The levels at sample_rate / 2, / 4, ... / 2^n_blocks: where a flow that squeezes by 2 so often leaves its tones
    (ksw0306/FloWaveNet issue 1). For a steady wave (S,), as silence should be."""
    wave = np.asarray(wave, np.float64)
    size = 2 ** int(np.log2(max(len(wave) / 4, 1)))
    if size < 4 * _AROUND or size < 2 ** (n_blocks + 2):
        raise SpeechlibError(
            f"{len(wave)} samples are too few to tell lines: {4 * max(4 * _AROUND, 2 ** (n_blocks + 2))}"
        )
    pieces = np.lib.stride_tricks.sliding_window_view(wave, size)[:: size // 2]
    power = (np.abs(np.fft.rfft((pieces - wave.mean()) * np.hanning(size))) ** 2).mean(axis=0) + 1e-20
    lines = []
    for k in range(1, n_blocks + 1):
        at = size >> k
        around = power[max(2, at - _AROUND) : at + _AROUND + 1]
        level = 10 * np.log10(power[max(0, at - 1) : at + 2].max() / np.median(around))
        lines.append(Line(sample_rate / 2**k, float(level)))
    return lines
