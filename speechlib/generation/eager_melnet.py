"""One tier of MelNet value by value in plain PyTorch, any device, all clips in step: the readable form of the loops.

h_t and h_c of a frame hear the frames before it only, so they are computed once per frame, for all bins at once. What
follows a value itself is one step of one LSTM and one small product per layer (h_f); those states begin anew with every
frame, the ones along time are remembered. The frame's number lives on the device and every memory stays in its place,
so that a CUDA graph can replay a frame.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ..models.melnet import Layer, Recurrent, Tier
from ..models.mixtures import GaussianMixture

NO_LIMITS = (-torch.inf, torch.inf)


def full_precision() -> AbstractContextManager:
    """LSTMs of CUDA devices multiply in TF32 unless told otherwise: three digits, where samples should be the CPU's."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


class EagerTier:
    """B clips of one tier, whose grid is n_bins x n_frames; `z` is what the tier's `conditioning` gave, `letters` what
    its `letters` gave, where it reads a text.

    `sample` draws the next frames, `force` and `read` take given ones; all go on where they are.
    """

    def __init__(
        self,
        tier: Tier,
        n_bins: int,
        n_frames: int,
        n_clips: int,
        z: tuple[Tensor | float, Tensor | float],
        letters: Tensor | None = None,
    ):
        self.tier, self.distribution, self.layers = tier, tier.distribution, list(tier.layers)
        weight = tier.head.weight
        self.device, H = weight.device, weight.shape[1]
        with torch.no_grad():
            inputs = tier.input_t, tier.input_f
            self.z_t, self.z_f = (_by_frames(added + layer.bias, n_clips, n_bins) for added, layer in zip(z, inputs))
            rows, centred = n_clips * n_bins, [layer for layer in self.layers if layer.centre is not None]
            self.time = torch.stack([_begun(layer.time, rows) for layer in self.layers])  # (L, 2, B F, H) h and c
            central = [_begun(layer.centre, n_clips) for layer in centred]
            self.centre = torch.stack(central) if central else weight.new_zeros(0, 2, n_clips, H)  # (L, 2, B, H)
            # biases of h_f are the same for every value: what reads h_f is given those of the layers before it at once
            biases = torch.stack([weight.new_zeros(H), *(layer.mix_f.bias for layer in self.layers)])
            self.owed = biases.cumsum(0)  # (L + 1, H)
            self.head_bias = tier.head(self.owed[-1])
        self.before = torch.zeros(n_clips, n_bins, device=self.device)  # the last frame
        self.letters = letters  # (B, L, H)
        n_bells = 0 if letters is None else tier.reader.bells.out_features // 3
        self.place = torch.zeros(n_clips, n_bells, device=self.device)  # where in the text its bells stand
        self.position = torch.zeros(1, dtype=torch.long, device=self.device)  # its number, and one more

    @property
    def memories(self) -> tuple[Tensor, ...]:
        return self.time, self.centre, self.before, self.place, self.position

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
            self.draw_frame(numbers, temperature, weight_temperature, limits)
            drawn.append(self.before.clone())
        return torch.stack(drawn, dim=2)

    @torch.no_grad()
    def force(self, values: Tensor) -> Tensor:
        """The next frames are values (B, F, n) -> the parameters (B, F, n, 3 K) they were given."""
        parameters = []
        for frame in values.to(self.device).unbind(2):
            found = []

            def take(j: int, theta: Tensor, frame=frame, found=found) -> Tensor:
                found.append(theta)
                return frame[:, j]

            self.step(take)
            parameters.append(torch.stack(found, dim=1))
        return torch.stack(parameters, dim=2)

    @torch.no_grad()
    def read(self, values: Tensor) -> None:
        """The next frames are values (B, F, n), and nobody asks what was expected: h_f is left out."""
        for frame in values.to(self.device).unbind(2):
            self._shared()
            self._finish(frame)

    def numbers(self, uniform: Tensor) -> Tensor:
        """uniform (..., 2), of which the second becomes a deviate, on the device."""
        uniform = uniform.to(self.device)
        return torch.stack([uniform[..., 0], GaussianMixture.deviate(uniform[..., 1])], dim=-1)

    def draw_frame(
        self, numbers: Tensor, temperature: float, weight_temperature: float, limits: tuple[float, float]
    ) -> None:
        """The next frame, of `numbers` (B, F, 2), into `before`."""
        chance, deviate = numbers[..., 0], numbers[..., 1].float()

        def take(j: int, theta: Tensor) -> Tensor:
            value = self.distribution.draw(theta, chance[:, j], deviate[:, j], temperature, weight_temperature)
            return value.clamp(*limits)

        self.step(take)

    def step(self, take: Callable[[int, Tensor], Tensor]) -> None:
        """One frame, low to high: take(bin, parameters (B, 3 K)) says its values (B,)."""
        shared, z_f = self._shared(), self._now(self.z_f)
        states = [_begun(layer.along, len(self.before)).unbind(0) for layer in self.layers]
        below, frame = torch.zeros_like(self.before[:, 0]), []
        w = self.tier.input_f.weight[:, 0]
        for j in range(self.before.shape[1]):
            h_f = torch.addcmul(z_f[:, min(j, z_f.shape[1] - 1)], below[:, None], w)
            for l, (layer, inputs) in enumerate(zip(self.layers, shared)):
                states[l] = _stepped(layer.along, h_f + inputs[:, j], states[l])
                h_f.addmm_(states[l][0], layer.mix_f.weight.t())
            below = take(j, torch.addmm(self.head_bias, h_f, self.tier.head.weight.t()))
            frame.append(below)
        self._finish(torch.stack(frame, dim=1))

    def _finish(self, frame: Tensor) -> None:
        self.before.copy_(frame)
        self.position += 1

    def _shared(self) -> list[Tensor]:
        """What h_t and h_c bring into each layer's LSTM up the bins, (B, F, H): `models.melnet.Layer` for one frame."""
        h_t = torch.addcmul(self._now(self.z_t), self.before[..., None], self.tier.input_t.weight[:, 0])  # (B, F, H)
        h_c = None if self.tier.input_c is None else self.tier.input_c(self.before)  # (B, H)
        shared = []
        for l, layer in enumerate(self.layers):
            h_t = self._late(layer, l, h_t)
            shared.append(h_t + self.owed[l])
            if h_c is not None:
                h_c = h_c + layer.mix_c(self._kept(layer.centre, h_c, self.centre[l]))
                shared[-1] += h_c[:, None]
            if self.letters is not None and l == 0:
                looked = self.tier.reader(h_c[:, None], self.letters, self.place)
                h_c = h_c + looked.context[:, 0]
                self.place.copy_(looked.place)
        return shared

    def _late(self, layer: Layer, l: int, h_t: Tensor) -> Tensor:
        time = self._kept(layer.time, h_t.flatten(0, 1), self.time[l]).view_as(h_t)
        with full_precision():
            up, down = layer.up(h_t), layer.down(h_t.flip(1)).flip(1)
        return h_t + layer.mix_t(torch.cat([time, up, down], dim=-1))

    def _kept(self, along_time: Recurrent, x: Tensor, memory: Tensor) -> Tensor:
        """One step of an LSTM, whose h and c (2, N, H) are remembered in their place -> h (N, H)."""
        h, c = _stepped(along_time, x, memory.unbind(0))
        memory[0].copy_(h)
        memory[1].copy_(c)
        return h

    def _now(self, z: Tensor) -> Tensor:
        """(B, T or 1, F or 1, H) -> (B, F or 1, H) of the present frame."""
        return (z if z.shape[1] == 1 else z.index_select(1, self.position))[:, 0]


def _by_frames(z: Tensor, n_clips: int, n_bins: int) -> Tensor:
    """What is added to the inputs of a stack, H numbers or (B or 1, T or 1, F or 1, H) -> (B, T or 1, F or 1, H)."""
    z = z if z.ndim == 4 else z[None, None, None]
    return z.expand(n_clips, -1, -1, -1)


def _begun(recurrent: Recurrent, n: int) -> Tensor:
    """h and c (2, n, H) before the first step."""
    return recurrent.first[:, None].expand(-1, n, -1).contiguous()


def _stepped(recurrent: Recurrent, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """x (N, H), h and c (N, H) -> h and c one step later."""
    lstm = recurrent.lstm
    return torch.lstm_cell(x, state, lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
