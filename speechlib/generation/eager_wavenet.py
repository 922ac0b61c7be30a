"""WaveNet sample by sample in plain PyTorch, any device, all streams of a batch in step.

The readable form of what the compiled loops do: a ring of past activations per layer. Past taps of all layers are known
before the step, so they are one batched product; after it only the newest tap goes from layer to layer. Positions live
on the device and every tensor stays in its place, so that a CUDA graph can replay the step.
"""

import numpy as np
import torch
from torch import Tensor

from .. import mu_law
from ..models.wavenet import WaveNet
from .packed_wavenet import added, pack


class EagerWaveNet:
    """B streams of one model. `sample` draws the next samples, `force` takes given ones; both go on where they are."""

    def __init__(
        self, model: WaveNet, condition: Tensor | None = None, speaker: Tensor | None = None, n_streams: int = 1
    ):
        self.config, self.distribution = model.config, model.distribution
        self.weights = pack(model)
        self.added = added(model, self.weights, speaker)  # (B or 1, L G + K)
        with torch.no_grad():
            self.frames = model.frames(condition)
        self.hop = model.config.hop if model.config.upsampling == "repeat" else 1
        n_layers, n_past, R, _ = self.weights.past.shape
        self.device = device = self.weights.base.device
        late = torch.arange(n_past, 0, -1) * torch.tensor(self.config.dilations)[:, None]  # (L, k - 1)
        # a ring holds just the reach: the oldest is read before the newest is written
        length = late[:, :1].contiguous()
        self.late, self.length = late.to(device), length.to(device)
        self.first = (length.cumsum(0) - length).to(device)
        self.rings = torch.zeros(int(length.sum()), n_streams, R, device=device)
        self.position = torch.zeros((), dtype=torch.long, device=device)
        w, K = self.weights, self.config.skip_channels
        self.current, self.out = w.current.unbind(), w.out.unbind()
        self.scale = torch.cat([w.out_bias.new_full((R,), self.config.residual_scale), w.out_bias.new_ones(K)])
        self.bias = torch.cat([w.out_bias, w.out_bias.new_zeros(n_layers, K)], dim=1)  # (L, R + K)
        taps, self.classes = len(w.table), model.front.classes
        # the front's inputs, the oldest first: classes or values; row `classes` of the table is zero, for "before"
        self.table = torch.cat([self.weights.table, torch.zeros_like(self.weights.table[:, :1])], dim=1)
        self.history = torch.full((taps, n_streams), self.classes, device=device, dtype=torch.float32)
        if not self.classes:
            self.history.zero_()
        self.history[-1] = self.classes // 2  # silence: the class of 0, or 0

    @torch.no_grad()
    def sample(self, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
        """uniform (B, n, 2) -> the next n samples (B, n)."""
        drawn = []
        for u in uniform.to(self.device).unbind(1):
            value = self.distribution.sample(self.step(), u, temperature, top_p)
            self.take(value)
            drawn.append(value)
        return torch.stack(drawn, dim=1)

    @torch.no_grad()
    def force(self, wave: Tensor) -> Tensor:
        """The next samples are wave (B, n) -> the parameters (B, P, n) they were given."""
        parameters = []
        for value in wave.to(self.device).unbind(1):
            parameters.append(self.step())
            self.take(value)
        return torch.stack(parameters, dim=2)

    def select(self, chosen: np.ndarray) -> None:
        """Stream b goes on from where stream chosen[b] is, chosen (B,)."""
        index = torch.from_numpy(chosen).to(self.device)
        for memory in (self.rings, self.history):
            memory.copy_(memory[:, index])

    def step(self) -> Tensor:
        """Parameters (B, P) of the sample at the present position. Call `take` once behind it."""
        w, x = self.weights, self._front()
        skip = w.skip_bias.expand(len(x), -1)
        return self._network(x, self._added(), skip + x @ w.front_skip if len(w.front_skip) else skip)

    def _network(self, x: Tensor, added: Tensor, skip: Tensor) -> Tensor:
        """All layers and the output stage: x (B, R) from the front, what conditions add (B, L G + K), the skips before
        the first layer (B, K) -> parameters (B, P). What layers heard goes into their rings."""
        w, config = self.weights, self.config
        n_layers, R = config.n_layers, config.residual_channels
        gates, post = added.split([n_layers * config.gate_channels, config.skip_channels], dim=1)
        rows = self.first + (self.position - self.late) % self.length  # (L, k - 1)
        past = self.rings[rows.flatten()].unflatten(0, rows.shape).transpose(1, 2).flatten(2)  # (L, B, (k - 1) R)
        known = torch.baddbmm(
            gates.unflatten(1, (n_layers, -1)).transpose(0, 1), past, w.past.flatten(1, 2)
        )  # (L, B, G)

        v, inputs = torch.cat([x, skip], dim=1), []  # residual and running sum of skips
        for z, current, out, bias in zip(known, self.current, self.out, self.bias):
            inputs.append(v[:, :R])
            a, b = torch.addmm(z, inputs[-1], current).chunk(2, dim=1)
            v = torch.addmm(torch.addcmul(bias, v, self.scale), a.tanh() * b.sigmoid(), out)
        newest = (self.first + self.position % self.length)[:, 0]
        self.rings[newest] = torch.stack(inputs)
        hidden = torch.addmm(post, v[:, R:].relu(), w.post_1).relu()
        return torch.addmm(w.post_bias, hidden, w.post_2)

    def take(self, value: Tensor) -> None:
        """value (B,) is the sample at the present position."""
        if self.classes:
            value = mu_law.encode(value, self.classes)
        elif self.config.companded:
            value = mu_law.compress(value, self.config.quantization_channels)
        self.history.copy_(torch.cat([self.history[1:], value[None].float()]))
        self.position += 1

    def _front(self) -> Tensor:
        w = self.weights
        if self.classes:
            taps = torch.arange(len(self.table), device=self.device)[:, None]
            x = self.table[taps, self.history.long()].sum(0) + w.front_bias
        else:
            x = self.history.t() @ w.table[:, 0] + w.front_bias
        return x.relu() if self.config.front_relu else x

    def _added(self) -> Tensor:
        """What conditions add at the present position (B, L G + K)."""
        n_streams = self.rings.shape[1]
        if self.frames is None:
            return self.added.expand(n_streams, -1)
        frame = self.frames.index_select(2, (self.position // self.hop)[None])[:, :, 0]  # (B or 1, C)
        return (self.added + frame.float() @ self.weights.condition).expand(n_streams, -1)
