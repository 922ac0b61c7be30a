"""Which of the past a prediction hangs on, by its gradient: what a receptive field is, measured."""

from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn


def influence(model: nn.Module, wave: Tensor, condition: Tensor | None = None, speaker: Tensor | None = None):
    """How much what lies k + 1 samples before the last prediction of wave (1, S) moves it: entry k of (S,), float64.

    The gradient of the last sample's parameters with respect to the output of `model.front`, the last thing that one
    sample alone decides (a class has no gradient of its own). Exactly 0 where no path leads from there.
    """
    heard = []

    def keep(_module, _given, x: Tensor) -> None:
        x.retain_grad()
        heard.append(x)

    handle = model.front.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            parameters = model(wave, condition, speaker)[0, :, -1].double()
            (gradient,) = torch.autograd.grad((parameters.square() / 2).sum(), heard[:1])
    finally:
        handle.remove()
    return np.flip(gradient[0].double().norm(dim=0).cpu().numpy())


def grid_influence(tier: nn.Module, values: Tensor, place: tuple[int, int], condition: Tensor | None = None):
    """How much each of the values (F, T) of a MelNet's tier moves the parameters at `place` (bin, frame): (F, T), and
    the same of its condition (None without one), float64. Exactly 0 where no path leads from there."""
    given = [x[None].double().requires_grad_() for x in (values, condition) if x is not None]
    copy = deepcopy(tier).double()  # in float32 the faintest paths would be lost
    with torch.enable_grad():
        bin, frame = place
        gradients = torch.autograd.grad((copy(*given)[0, bin, frame].square() / 2).sum(), given)
    moved = [gradient[0].abs().cpu().numpy() for gradient in gradients]
    return moved[0], (moved[1] if condition is not None else None)
