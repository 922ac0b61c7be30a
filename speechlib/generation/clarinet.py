"""Speech from a ClariNet's student, many samples at once: `generate` a wave, or `stream` its blocks.

A whole utterance may go through all flows in one pass, and so does a batch of utterances. Here it goes block by block:
every layer keeps the end of what it was given, as far back as it looks, so that nothing is computed twice, memory is
bounded and small pieces stay in a cache. Blocks of any size are the same wave up to rounding, and the one that
`ClariNet.forward` makes of the same noise. Weight norm is folded, and all products of a layer add to one matrix.

Stream b's noise is that of (seed, b), whatever the block size and the number of streams beside it.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SpeechlibError, UnknownName
from ..models.clarinet import ClariNet
from ..models.wavenet import WaveNet
from .packed_wavenet import refuse_not_finite
from .wavenet import Progress, common, gathered

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def generate(
    model: ClariNet,
    condition: Tensor,
    speaker: Tensor | None = None,
    *,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    **options,
) -> Tensor:
    """wave (B, T hop) in [-1, 1] on the CPU; the arguments are those of `stream`. `progress(done, total, text)` is told
    the speed after each block. Where `stop()` says so, or the run is interrupted, what is there is returned."""
    return gathered(stream(model, condition, speaker, **options), progress, stop)


class stream:
    """Iterator over blocks of samples (B, <= block, or one frame), so that playing can begin before the end.

    condition (B, C, T), speaker (B,) (-1 = nobody): what the model was trained with; a condition of one item serves all
    speakers and the other way round. n_streams: samples of the same thing side by side. n_samples: T hop where it is
    None. temperature widens or narrows the noise. precision "bfloat16" is for machines that multiply in it. Raises
    SpeechlibError for what does not fit together and for weights or conditions that are not finite.
    """

    def __init__(
        self,
        model: ClariNet,
        condition: Tensor,
        speaker: Tensor | None = None,
        n_samples: int | None = None,
        *,
        n_streams: int | None = None,
        temperature: float = 1.0,
        seed: int = 0,
        block: int = 2048,
        precision: str = "float32",
    ):
        if not 0 < temperature < math.inf:
            raise SpeechlibError(f"temperature {temperature} must be above 0 and finite: without noise nothing flows")
        if precision not in PRECISIONS:
            raise UnknownName("precision", precision, PRECISIONS)
        for name, least, value in (("block", 1, block), ("n_streams", 1, n_streams), ("seed", 0, seed)):
            if value is not None and value < least:
                raise SpeechlibError(f"{name} is {value}: at least {least}")
        model.teacher.check(condition)
        if not condition.isfinite().all():
            raise SpeechlibError("condition is not finite: is there a NaN in the features or a file that is no audio?")
        refuse_not_finite(model)
        self.n_streams = common(condition=condition, speaker=speaker, n_streams=n_streams)
        covered = condition.shape[2] * model.hop
        self.n_samples = covered if n_samples is None else n_samples
        if not 1 <= self.n_samples <= covered:
            raise SpeechlibError(f"{self.n_samples} samples cannot be drawn; the condition covers {covered}")
        self.model, self.temperature = model, float(temperature)
        self.device, self.dtype = next(model.parameters()).device, PRECISIONS[precision]
        self.condition = condition.to(self.device)
        self.block, self.frame, self.done = max(1, block // model.hop), 0, 0  # the first two in frames
        speaker = speaker if speaker is None else speaker.to(self.device)
        self.flows = [Network(flow, speaker, self.n_streams, self.dtype) for flow in model.flows]
        self.sources = [np.random.default_rng([seed, b]) for b in range(self.n_streams)]
        self.synthesis = None
        filters = model.filters(self.condition, covered)
        if filters is not None:
            from .synthesis import Synthesis  # here, because numba takes half a second to import

            self.synthesis = Synthesis(filters, self.n_streams, torch.zeros(self.n_streams, 0))

    def __iter__(self) -> Iterator[Tensor]:
        return self

    @torch.inference_mode()
    def __next__(self) -> Tensor:
        n = min(self.block, self.condition.shape[2] - self.frame)
        if self.done >= self.n_samples:
            raise StopIteration
        frames = self._frames(self.frame, n)
        n_samples = n * self.model.hop
        z = torch.from_numpy(np.stack([s.standard_normal(n_samples, np.float32) for s in self.sources], axis=1))
        z = z.to(self.device) * self.temperature
        x, mean, log_scale = z, torch.zeros_like(z), torch.zeros_like(z)
        for flow in self.flows:
            shift, log_s = flow(x, frames)
            s = log_s.exp()
            x, mean, log_scale = x * s + shift, mean * s + shift, log_scale + log_s
        inner = self.model.sample(z, mean, log_scale).clamp(-1, 1)[: self.n_samples - self.done].t().contiguous().cpu()
        self.frame += n
        self.done += inner.shape[1]
        return inner if self.synthesis is None else self.synthesis(inner)

    def _frames(self, first: int, n: int) -> Tensor:
        """What flows are given for n frames: rows (n or n hop, B or 1, C), made with as many around as are read."""
        reach, up = self.model.teacher.condition_reach, 1 if self.model.teacher.upsample is None else self.model.hop
        begin = max(0, first - reach)
        frames = self.model.frames(self.condition[:, :, begin : first + n + reach])
        start = (first - begin) * up
        return frames[:, :, start : start + n * up].permute(2, 0, 1).to(self.dtype)


class Network:
    """The WaveNet of a flow, block by block: x (N, B), rows of the condition (N or N / hop, B or 1, C) -> mu, log s
    (N, B) in float32. Every call goes on where the last one ended.

    Time comes first: the samples of a stretch, of all streams, are the rows of one matrix, wherever a tap begins.
    """

    def __init__(self, flow: WaveNet, speaker: Tensor | None, n_streams: int, dtype: torch.dtype):
        config, self.dtype, self.scale = flow.config, dtype, flow.config.residual_scale
        self.per_frame, self.dilations, self.n_streams = config.hop > 1, config.dilations, n_streams
        widths = [config.gate_channels] * config.n_layers
        with torch.no_grad():
            self.front = flow.front.conv.weight[:, 0], flow.front.conv.bias  # (R, taps): float32, as samples are
            vector = flow.speaker_vector(speaker)
            rows = self.front[1].new_zeros(1, sum(widths)) if vector is None else vector  # (B or 1, L G)
            rows = rows + torch.cat([layer.gate.bias for layer in flow.layers])
            rows = rows if flow.condition.bias is None else rows + flow.condition.bias
            self.biases = [row.to(dtype) for row in rows.split(widths, dim=1)]  # (B or 1, G): and the speaker
            self.conditions = [part.t().to(dtype) for part in flow.condition.weight[:, :, 0].split(widths)]  # (C, G)
            self.taps = [[w.t().contiguous().to(dtype) for w in layer.gate.weight.unbind(2)] for layer in flow.layers]
            sizes = config.residual_channels, config.skip_channels
            self.residuals, self.skips, skip_bias = [], [], 0
            for layer in flow.layers:
                residual, skip = (w.t().contiguous() for w in layer.out.weight[:, :, 0].split(sizes))
                bias, more = layer.out.bias.split(sizes)
                self.residuals.append(((bias * self.scale).to(dtype), (residual * self.scale).to(dtype)))
                self.skips.append(skip.to(dtype))
                skip_bias = skip_bias + more
            self.skip_bias = skip_bias.to(dtype)
            post = flow.post_1.weight[:, :, 0] * flow.skip_scale  # ReLU and a positive scale may change places
            self.post = (post.to(dtype), flow.post_1.bias.to(dtype)), (flow.post_2.weight[:, :, 0], flow.post_2.bias)
        self.reach = [(config.kernel_size - 1) * dilation for dilation in self.dilations]
        self.heard = rows.new_zeros(self.front[0].shape[1], n_streams)
        self.past = [rows.new_zeros(r, n_streams, sizes[0], dtype=dtype) for r in self.reach]

    def __call__(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        n = len(x)
        heard = torch.cat([self.heard, x])
        self.heard = heard[n:].clone()
        weight, bias = self.front  # a sample sees those before it
        h = F.relu(F.linear(heard[:-1].unfold(0, weight.shape[1], 1), weight, bias))  # (N, B, R)
        given = torch.cat([self.past[0], h.to(self.dtype)])
        rows = condition.expand(-1, self.n_streams, -1).flatten(0, 1)
        skips = self.skip_bias.repeat(n * self.n_streams, 1)
        for layer, (dilation, reach) in enumerate(zip(self.dilations, self.reach)):
            self.past[layer] = given[n:].clone()
            z = self._added(layer, condition, rows, n)  # (N B, G)
            for tap, weight in enumerate(self.taps[layer]):
                z.addmm_(given[tap * dilation : tap * dilation + n].flatten(0, 1), weight)
            a, b = z.chunk(2, dim=1)
            if self.dtype == torch.bfloat16:  # torch's tanh takes five times as long in it as in float32
                a, b = a.float(), b.float()
            gated = (a.tanh_() * b.sigmoid_()).to(self.dtype)
            skips.addmm_(gated, self.skips[layer])
            if layer + 1 < len(self.taps):  # nothing hears the last layer's residual
                bias, weight = self.residuals[layer]
                h, past = given[reach:].flatten(0, 1), self.past[layer + 1]
                given = past.new_empty(len(past) + n, *past.shape[1:])
                given[: len(past)] = past
                torch.add(torch.addmm(bias, gated, weight), h, alpha=self.scale, out=given[len(past) :].flatten(0, 1))
        last = F.relu(F.linear(F.relu_(skips), *self.post[0])).float()
        return F.linear(last, *self.post[1]).unflatten(0, (n, -1)).unbind(2)

    def _added(self, layer: int, condition: Tensor, rows: Tensor, n: int) -> Tensor:
        """What biases, speaker and condition add to a layer's gate: (N B, G)."""
        bias = self.biases[layer]
        if len(bias) == 1:
            z = torch.addmm(bias, rows, self.conditions[layer])
        else:
            z = (rows @ self.conditions[layer]).unflatten(0, (-1, len(bias))).add_(bias).flatten(0, 1)
        if not self.per_frame:
            return z
        return z.unflatten(0, (len(condition), -1)).repeat_interleave(n // len(condition), dim=0).flatten(0, 1)
