"""Which of the past a prediction hangs on, by its gradient: what a receptive field is, measured."""

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
