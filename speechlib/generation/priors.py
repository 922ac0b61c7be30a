"""Codes from a prior, one after the other: what speech might be, or how a given beginning might go on.

Every layer remembers as many of its past inputs as it reaches back (a ring), so a code costs one product per weight
however long the sequence is; the whole forward pass for every code would cost L times as much.
"""

import numpy as np
import torch
from torch import Tensor

from ..errors import SpeechlibError
from ..models.distributions import check_drawing, choose
from ..models.prior import Prior, check
from ..models.wavenet import Layer
from .packed_wavenet import refuse_not_finite


def sample(
    prior: Prior,
    n_codes: int,
    speaker: Tensor | None = None,
    *,
    prompt: Tensor | None = None,
    n_streams: int | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """The next n_codes codes (B, n_codes) of each stream, on the CPU.

    speaker (B,), -1 = nobody, for a prior that knows speakers. prompt (L,) or (B, L): the codes to go on from, not part
    of the result. n_streams: samples of the same thing side by side; one speaker or prompt serves all of them.
    temperature 0 takes the most probable code, top_p < 1 draws from the nucleus. Stream b draws from the random numbers
    of (seed, b), whatever is beside it. Raises SpeechlibError for what does not fit together.
    """
    if n_codes < 1:
        raise SpeechlibError(f"{n_codes} codes cannot be sampled: at least 1")
    check_drawing(temperature, top_p)
    if seed < 0:
        raise SpeechlibError(f"seed is {seed}: at least 0")
    prompt = None if prompt is None else torch.atleast_2d(prompt)
    if prompt is not None and not prompt.numel():
        raise SpeechlibError("the prompt is empty: leave it out to begin from nothing")
    given = {"speaker": speaker, "prompt": prompt}
    sizes = {name: len(items) for name, items in given.items() if items is not None}
    sizes["n_streams"] = 1 if n_streams is None else n_streams
    n_streams = max(sizes.values())
    if n_streams < 1 or any(size not in (1, n_streams) for size in sizes.values()):
        found = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise SpeechlibError(f"streams do not agree: {found}; each must be 1 or the same number")
    cached = CachedPrior(prior, speaker, n_streams)
    if prompt is not None:
        cached.force(prompt.expand(n_streams, -1))
    uniform = np.stack([np.random.default_rng([seed, b]).random(n_codes) for b in range(n_streams)])
    return cached.sample(torch.from_numpy(uniform), temperature, top_p).cpu()


class CachedPrior:
    """B streams of one prior. `sample` draws the next codes, `force` takes given ones; both go on where they are."""

    @torch.inference_mode()
    def __init__(self, prior: Prior, speaker: Tensor | None = None, n_streams: int = 1):
        if prior.training:
            raise SpeechlibError("the prior is in training mode, its dropout would be heard: prior.eval()")
        refuse_not_finite(prior)
        self.codebook_size, self.device = prior.codebook_size, prior.codes.weight.device
        speaker = None if speaker is None else speaker.to(self.device)
        self.vectors = prior.codes.weight
        self.layers = [_Step(*both, n_streams) for both in zip(prior.layers, prior.spoken(speaker))]
        self.scale, self.post = prior.skip_scale, [_product(prior.post_1), _product(prior.post_2)]
        self.before = torch.full((n_streams,), prior.codebook_size, device=self.device)  # the latest code (B,)

    @torch.inference_mode()
    def sample(self, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
        """uniform (B, n) in [0, 1) -> the next codes (B, n)."""
        drawn = []
        for u in uniform.to(self.device).unbind(1):
            self.before = choose(self._step(), u, temperature, top_p)
            drawn.append(self.before)
        return torch.stack(drawn, dim=1)

    @torch.inference_mode()
    def force(self, codes: Tensor) -> Tensor:
        """The next codes are these (B, n) -> the logits (B, K, n) that they were given."""
        check(codes, self.codebook_size)
        logits = []
        for code in codes.to(self.device).unbind(1):
            logits.append(self._step())
            self.before = code
        return torch.stack(logits, dim=2)

    def _step(self) -> Tensor:
        """Logits (B, K) of the code that follows `before`."""
        x, total = self.vectors[self.before], 0
        for layer in self.layers:
            x, skip = layer(x)
            total = total + skip
        x = (total * self.scale).relu()
        (weight_1, bias_1), (weight_2, bias_2) = self.post
        return torch.addmm(bias_2, torch.addmm(bias_1, x, weight_1).relu(), weight_2)


class _Step:
    """One layer, one code at a time: x (B, R) -> residual (B, R), skip (B, S)."""

    def __init__(self, layer: Layer, added: Tensor | None, n_streams: int):
        G, R, taps = layer.gate.weight.shape
        self.weight = layer.gate.weight.permute(2, 1, 0).reshape(taps * R, G)  # rows of the oldest tap first
        self.bias = layer.gate.bias if added is None else layer.gate.bias + added[:, :, 0]  # the same for every code
        self.out, self.out_bias = _product(layer.out)
        self.sizes, self.scale = layer.sizes, layer.scale
        self.late = [tap * layer.gate.dilation[0] for tap in range(taps - 1, 0, -1)]
        self.ring = [x for x in self.weight.new_zeros(layer.reach, n_streams, R)]  # zeros before the beginning
        self.position = 0

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ring, here = self.ring, self.position % len(self.ring)
        past = [ring[here - late] for late in self.late]
        a, b = torch.addmm(self.bias, torch.cat([*past, x], dim=1), self.weight).chunk(2, dim=1)
        ring[here] = x  # in the place of the oldest, which has been read
        self.position += 1
        residual, skip = torch.addmm(self.out_bias, a.tanh() * b.sigmoid(), self.out).split(self.sizes, dim=1)
        return (x + residual) * self.scale, skip


def _product(conv: torch.nn.Conv1d) -> tuple[Tensor, Tensor]:
    """A convolution of one tap as (weight, bias) of a product with rows (B, C)."""
    return conv.weight[:, :, 0].t().contiguous(), conv.bias
