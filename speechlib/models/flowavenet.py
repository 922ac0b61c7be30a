"""FloWaveNet: a wave bent into white noise by steps that can be undone, and noise bent into a wave in one pass.

Kim, Lee, Song, Kim, Yoon 2018, arXiv 1811.02155, in the form of ksw0306/FloWaveNet:

    wave (B, S) -> x (B, 1, S); condition (B, C, T) -> up-sampled c (B, C, S)
      -> n_blocks x [squeeze: x (B, 2 N, S / 2), c (B, 2 C, S / 2)
                     -> n_flows x [actnorm -> affine coupling given half of c -> swap the halves of x, and of c]
                     -> behind every blocks_per_split of them, but not the last: half of the channels leave]
      -> latents: S numbers, white noise if the model is right

    log p(wave) = sum of log N(latent; 0, 1) + sum of log |d latent / d wave|

No step looks at an order of samples: all of a wave is drawn at once, whereas a WaveNet asks S times. A half that leaves
early is standardised by a mean and a deviation read off what stays (the learned prior of the source, which is the same
density), so that every latent is a standard normal number: a temperature is a factor of them all.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError
from . import shares
from .convolutions import check_condition, conv, convolved
from .excitation import Envelope, Filters, held, whiten
from .speakers import vectors_of
from .standardise import reader
from .upsampling import Context, Transposed

_EPS = 1e-4  # joins the deviation of ActNorm: silence has none, and 1 / 0 is where other ports became NaN
_HALF = math.log(2 * math.pi) / 2


@dataclass(frozen=True)
class FloWaveNetConfig:
    """Choices of the model. Sizes that come from data (condition channels, speakers) are arguments beside it."""

    n_blocks: int = 8
    n_flows: int = 6  # of each block
    n_layers: int = 2  # of the WaveNet inside a coupling, dilations 1, 2, 4, ...
    blocks_per_split: int = 4  # half of the channels leave behind every so many blocks
    channels: int = 256  # residual, gate and skip channels of those WaveNets
    kernel_size: int = 3
    causal: bool = False  # whether couplings look to the left only
    log_scale_limit: float = 0.0  # of what a coupling stretches by, bent towards it; 0 = none, as in the source
    scales: tuple[int, ...] = (16, 16)  # of the transposed up-sampling; their product is the hop
    condition_channels: int = 0  # the condition is projected to so many first, as squeezing doubles them; 0 = as it is
    unit_condition: bool = False  # log-mel bands in [0, 1], as the source has them, instead of standardised ones
    context_channels: int = 0  # width of what reads a frame of the condition with those around it; 0 = each by itself
    speaker_dim: int = 0  # size of the learned speaker vector, further channels of the condition; 0 = no speakers
    envelope: int = 0  # what flows is the excitation: order of the filters that follow the bands; 0 = the wave itself
    envelope_fft: int = 256  # n_fft of those bands
    dither: float = 0.0  # deviation of the noise added to waves that are learned: a constant has no finite density
    weight_norm: bool = True

    def __post_init__(self):
        for name in ("n_blocks", "n_flows", "n_layers", "blocks_per_split", "channels"):
            if getattr(self, name) < 1:
                raise SpeechlibError(f"{name} is {getattr(self, name)}, needs 1 or more")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise SpeechlibError(f"kernel_size {self.kernel_size} must be odd: a sample stays in its place")
        if not self.scales or min(self.scales) < 2 or any(scale % 2 for scale in self.scales):
            raise SpeechlibError(f"scales {self.scales} must be even numbers from 2: frames become exactly so many")
        for name in ("condition_channels", "context_channels", "speaker_dim", "envelope", "dither", "log_scale_limit"):
            if getattr(self, name) < 0:
                raise SpeechlibError(f"{name} is {getattr(self, name)}, needs 0 (off) or more")

    @property
    def hop(self) -> int:
        """Samples per frame of the condition."""
        return math.prod(self.scales)

    @property
    def squeeze(self) -> int:
        """Samples that become one position of the last block: lengths are multiples of it."""
        return 2**self.n_blocks

    @property
    def splits(self) -> tuple[bool, ...]:
        """Whether half of the channels leave behind each block."""
        last = self.n_blocks - 1
        return tuple((k + 1) % self.blocks_per_split == 0 and k != last for k in range(self.n_blocks))

    @property
    def channels_of_blocks(self) -> tuple[int, ...]:
        """Channels of x in each block: twice those that stayed of the one before."""
        channels, stayed = [], 1
        for split in self.splits:
            channels.append(2 * stayed)
            stayed = channels[-1] // 2 if split else channels[-1]
        return tuple(channels)

    @property
    def reach(self) -> int:
        """Samples to each side that a sample of the wave depends on, at most (to the left alone where couplings are
        causal). The condition's up-sampling comes on top of it: see `FloWaveNet.frames_around`."""
        positions = (self.kernel_size - 1) * 2**self.n_layers // (1 if self.causal else 2)  # of one coupling
        flows = sum(2 ** (k + 1) * positions * (self.n_flows + split) for k, split in enumerate(self.splits))
        return flows + self.squeeze  # and wherever in its position a sample lies


class Flowed(NamedTuple):
    """What `forward` gives: latents [(B, N, T), ...], those that leave first come first; log_prob {term: (B, cells)}.

    The terms of a cell of `squeeze` samples add up to its log density in nats: "prior" (of its latents), "actnorm",
    "coupling" and, where it is an excitation that flows, "envelope" (log-determinants).
    """

    latents: list[Tensor]
    log_prob: dict[str, Tensor]


class ActNorm(nn.Module):
    """x (B, N, T) -> scale (x + loc), a number of each per channel; `fit` gives a batch mean 0 and deviation 1."""

    follows_batches = True  # the first one

    def __init__(self, n_channels: int):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(n_channels, 1))
        self.scale = nn.Parameter(torch.ones(n_channels, 1))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        flat = x.transpose(0, 1).flatten(1).float()
        n = shares.size(flat.shape[1])
        mean = shares.total(flat.sum(1, keepdim=True)) / n
        variance = shares.total((flat - mean).square().sum(1, keepdim=True)) / n
        self.loc.copy_(-mean)
        self.scale.copy_((variance + _EPS**2).rsqrt())

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x + self.loc)

    def reverse(self, y: Tensor) -> Tensor:
        return y / self.scale - self.loc

    def log_det(self) -> Tensor:
        """log |dy / dx| () of one position, all channels together."""
        return self.scale.abs().log().sum()


class Network(nn.Module):
    """x (B, N, T), condition (B, C, T) or None -> (B, n_out, T): a WaveNet that looks both ways.

    What it gives is zero at first, so that a coupling begins as the identity. Its weights may be bfloat16: what comes
    out is float32 in any case.
    """

    def __init__(self, config: FloWaveNetConfig, n_in: int, n_condition: int, n_out: int):
        super().__init__()
        C, kernel, normed = config.channels, config.kernel_size, config.weight_norm
        self.causal = config.causal
        self.front = conv(n_in, C, kernel, normed)
        dilations = [2**n for n in range(config.n_layers)]
        self.gates = nn.ModuleList(conv(C, 2 * C, kernel, normed, dilation) for dilation in dilations)
        self.condition = conv(n_condition, 2 * C * config.n_layers, 1, normed) if n_condition else None  # of all
        self.outs = nn.ModuleList(conv(C, 2 * C, 1, normed) for _ in dilations)  # residual and skip in one product
        self.post = conv(C, C, 1, normed)
        self.last = nn.Conv1d(C, n_out, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.scale = nn.Parameter(torch.zeros(n_out, 1))  # of the output, as exp(3 scale)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        kind = self.last.weight.dtype
        h = convolved(self.front, x.to(kind), self.causal).relu()
        heard = [0] * len(self.gates)
        if self.condition is not None:
            rows, sizes = condition.to(kind).transpose(1, 2), [len(gate.bias) for gate in self.gates]
            parts = zip(self.condition.weight.split(sizes), self.condition.bias.split(sizes))
            heard = [F.linear(rows, weight[:, :, 0], bias).transpose(1, 2) for weight, bias in parts]
        total, final = 0, len(self.gates) - 1
        for n, (gate, out) in enumerate(zip(self.gates, self.outs)):
            a, b = (convolved(gate, h, self.causal) + heard[n]).chunk(2, dim=1)
            z = a.tanh() * b.sigmoid()
            if n == final:  # nobody hears its residual half
                half = len(out.bias) // 2
                total = total + F.linear(z.transpose(1, 2), out.weight[half:, :, 0], out.bias[half:]).transpose(1, 2)
                break
            residual, skip = convolved(out, z).chunk(2, dim=1)
            h, total = (h + residual) * math.sqrt(0.5), total + skip
        z = convolved(self.last, convolved(self.post, total.relu()).relu())
        return z.float() * (3 * self.scale.float()).exp()


class Flow(nn.Module):
    """ActNorm, then: half of the channels moves the other by an affine map, and the two change places.

    Of x = (a, b): log_s, t = network(a, c); (a, b) -> ((b - t) exp(-log_s), a). Where log_s has no limit, flows one
    behind the other can multiply a little noise into a burst.
    """

    def __init__(self, config: FloWaveNetConfig, n_channels: int, n_condition: int):
        super().__init__()
        self.norm = ActNorm(n_channels)
        self.network, self.limit = Network(config, n_channels // 2, n_condition, n_channels), config.log_scale_limit

    def forward(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """-> y (B, N, T) and the coupling's log-determinant (B, T)."""
        a, b = self.norm(x).chunk(2, dim=1)
        log_s, t = self._map(a, c)
        return torch.cat([(b - t) * (-log_s).exp(), a], dim=1), -log_s.sum(1)

    def reverse(self, y: Tensor, c: Tensor | None) -> Tensor:
        moved, a = y.chunk(2, dim=1)
        log_s, t = self._map(a, c)
        return self.norm.reverse(torch.cat([a, moved * log_s.exp() + t], dim=1))

    def _map(self, a: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        log_s, t = self.network(a, c).chunk(2, dim=1)
        return self.limit * torch.tanh(log_s / self.limit) if self.limit else log_s, t


class Block(nn.Module):
    """x (B, N, T) and c (B, C, T), squeezed -> x of what stays, the latents that leave or None.

    Flow by flow the halves of c change places with those of x.
    """

    def __init__(self, config: FloWaveNetConfig, n_channels: int, n_condition: int, split: bool):
        super().__init__()
        self.flows = nn.ModuleList(Flow(config, n_channels, n_condition // 2) for _ in range(config.n_flows))
        self.prior = Network(config, n_channels // 2, n_condition, n_channels) if split else None

    def forward(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None, list[Tensor], Tensor | None]:
        """-> x, latents, the log-determinants (B, T) of the couplings, and that of what the latents are scaled by."""
        halves, found = _halves(c), []
        for n, flow in enumerate(self.flows):
            x, log_det = flow(x, halves[n % 2])
            found.append(log_det)
        if self.prior is None:
            return x, None, found, None
        x, z = x.chunk(2, dim=1)
        mean, log_sd = self.prior(x, c).chunk(2, dim=1)
        return x, (z - mean) * (-log_sd).exp(), found, -log_sd.sum(1)

    def reverse(self, x: Tensor, latent: Tensor | None, c: Tensor | None) -> Tensor:
        if self.prior is not None:
            mean, log_sd = self.prior(x, c).chunk(2, dim=1)
            x = torch.cat([x, mean + latent * log_sd.exp()], dim=1)
        halves = _halves(c)
        for n in reversed(range(len(self.flows))):
            x = self.flows[n].reverse(x, halves[n % 2])
        return x

    def fit(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Fit every ActNorm to what comes before it -> x of what stays."""
        halves = _halves(c)
        for n, flow in enumerate(self.flows):
            flow.norm.fit(x)
            x, _ = flow(x, halves[n % 2])
        return x if self.prior is None else x.chunk(2, dim=1)[0]


class FloWaveNet(nn.Module):
    """wave (B, S), condition (B, n_condition, T), speaker (B,) -> latents and log density; `reverse` goes back.

    S is a multiple of `config.squeeze` and lies between (T - 1) hop and T hop. Sizes of 0 mean no condition, no
    speakers. With n_codes the condition is codes (B, 1, T) of so many, whose vectors have n_condition numbers.
    """

    def __init__(self, config: FloWaveNetConfig, n_condition: int = 0, n_speakers: int = 0, n_codes: int = 0):
        super().__init__()
        if bool(config.speaker_dim) != bool(n_speakers):
            raise SpeechlibError(f"{n_speakers} speakers with vectors of size {config.speaker_dim}: both or none")
        for name in ("speaker_dim", "condition_channels", "context_channels", "envelope"):
            if getattr(config, name) and not n_condition:
                raise SpeechlibError(f"{name} {getattr(config, name)} is about a condition, and this model has none")
        if n_codes and config.envelope:
            raise SpeechlibError("codes have no envelope: draw bands from them (model.draw_channels), or envelope=0")
        self.config = config
        self.sizes = {"n_condition": n_condition, "n_speakers": n_speakers, "n_codes": n_codes}
        self.inputs = reader(config.unit_condition, n_condition, n_codes)
        self.context = Context(n_condition, config.context_channels) if config.context_channels else None
        self.speakers = nn.Embedding(n_speakers, config.speaker_dim) if n_speakers else None
        if self.speakers is not None:
            nn.init.normal_(self.speakers.weight, std=0.1)
        channels, projected = n_condition + config.speaker_dim, config.condition_channels
        self.project = nn.Conv1d(channels, projected, 1) if projected else None
        channels = projected or channels
        self.upsample = Transposed(config.scales, config.weight_norm) if n_condition else None
        self.excitation = (
            Envelope(config.envelope, n_condition, config.envelope_fft, config.hop) if config.envelope else None
        )
        self.blocks = nn.ModuleList(
            Block(config, n, 2 ** (k + 1) * channels, split)
            for k, (n, split) in enumerate(zip(config.channels_of_blocks, config.splits))
        )
        self.register_buffer("initialised", torch.tensor(False))  # in the checkpoint: ActNorm is fitted once only

    @property
    def reach(self) -> int:
        return self.config.reach

    @property
    def frames_around(self) -> int:
        """Frames of the condition to each side that up-sampling and context look at."""
        return (self.upsample.reach if self.upsample else 0) + (self.context.reach if self.context else 0)

    def forward(self, wave: Tensor, condition: Tensor | None = None, speaker: Tensor | None = None) -> Flowed:
        """Where no batch has been seen yet, one that is heard in training fits every ActNorm first (see `initialise`).

        Raises SpeechlibError for what does not fit, and for a log-determinant that is not finite: it names the block
        and the flow.
        """
        if self.training and not self.initialised:
            self.initialise(wave, condition, speaker)
        filters = self.filters(condition, wave.shape[-1])
        x = _taken_off(wave, filters)[:, None].float()
        c = self.upsampled(condition, speaker, wave.shape[-1])
        latents, couplings, normed, scaled = [], {}, 0, []
        for k, block in enumerate(self.blocks):
            x, c = squeezed(x), squeezed(c)
            x, latent, found, scale = block(x, c)
            couplings |= {f"block {k + 1}, flow {n + 1}": log_det for n, log_det in enumerate(found)}
            normed = normed + sum(flow.norm.log_det() for flow in block.flows) * (self.config.squeeze >> (k + 1))
            if latent is not None:
                latents.append(latent)
                scaled.append(scale)
                couplings[f"block {k + 1}, prior"] = scale
        latents.append(x)
        _check(couplings, normed, self.blocks)
        cells = wave.shape[-1] // self.config.squeeze
        normals = [(-0.5 * z.square() - _HALF).sum(1) for z in latents]
        log_prob = {
            "prior": sum(_gathered(part, cells) for part in [*normals, *scaled]),
            "actnorm": normed.expand(len(wave), cells),
            "coupling": sum(_gathered(part, cells) for name, part in couplings.items() if "flow" in name),
        }
        if filters is not None:
            gain = held(filters.gain, filters.length, wave.shape[-1]).expand(len(wave), -1)
            log_prob["envelope"] = _gathered(-gain.log(), cells)
        return Flowed(latents, log_prob)

    def log_prob(self, wave: Tensor, condition: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """log density (B,) of waves in nats per sample."""
        found = self(wave, condition, speaker).log_prob
        return sum(term.sum(1) for term in found.values()) / wave.shape[-1]

    def reverse(self, latents: list[Tensor], condition: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """What flowed into these latents (B, S): the wave, or its excitation."""
        last, early = latents[-1], list(latents[:-1])
        n_samples = last.shape[2] * self.config.squeeze
        c = self.upsampled(condition, speaker, n_samples)
        for _ in self.blocks:
            c = squeezed(c)
        x = last
        for block in reversed(self.blocks):
            x = block.reverse(x, early.pop() if block.prior is not None else None, c)
            x, c = stretched(x), stretched(c)
        return x[:, 0]

    def cut(self, noise: Tensor) -> list[Tensor]:
        """Noise (B, S) as latents, each number at its own instant: what `forward` would do if no flow moved anything.

        So a stretch of noise is the noise of that stretch.
        """
        self._divides(noise.shape[-1])
        x, latents = noise[:, None], []
        for split in self.config.splits:
            x = squeezed(x)
            if split:
                x, z = x.chunk(2, dim=1)
                latents.append(z)
        return [*latents, x]

    def draw(self, n_samples: int, n: int = 1, temperature: float = 1.0, seed: int = 0) -> list[Tensor]:
        """Latents of n waves; those of wave b are the same numbers whatever n, and begin alike whatever n_samples."""
        return [z.to(self.blocks[0].flows[0].norm.loc.device) for z in self.cut(noise(n_samples, n, temperature, seed))]

    @torch.no_grad()
    def initialise(self, wave: Tensor, condition: Tensor | None = None, speaker: Tensor | None = None) -> None:
        """Fit every ActNorm to a batch, once: what comes out of each has mean 0 and deviation 1 in every channel."""
        if self.initialised:
            raise SpeechlibError("ActNorm is fitted already: doing it again would undo what was learned since")
        x, c = self.inner(wave, condition)[:, None].float(), self.upsampled(condition, speaker, wave.shape[-1])
        for block in self.blocks:
            x, c = squeezed(x), squeezed(c)
            x = block.fit(x, c)
        self.initialised.fill_(True)

    def inner(self, wave: Tensor, condition: Tensor | None = None) -> Tensor:
        """What flows (B, S): the wave, or its excitation."""
        self._fits(wave.shape[-1], condition)
        return _taken_off(wave, self.filters(condition, wave.shape[-1]))

    def filters(self, condition: Tensor | None, n_samples: int) -> Filters | None:
        """Between wave and excitation, for a model that has such."""
        if self.excitation is None:
            return None
        self._fits(n_samples, condition)
        return self.excitation(condition, n_samples)

    def upsampled(self, condition: Tensor | None, speaker: Tensor | None, n_samples: int) -> Tensor | None:
        """Checked condition (B, C, T) and speaker -> what couplings hear, before it is squeezed: (B, C', n_samples)."""
        self._fits(n_samples, condition)
        if self.speakers is None and speaker is not None:
            raise SpeechlibError("speakers were given to a model that knows none (speaker_dim 0)")
        if condition is None:
            return None
        frames = self.inputs(condition)
        if self.context is not None:
            frames = self.context(frames)
        if self.speakers is not None:
            vectors = vectors_of(self.speakers, speaker)[:, :, None]
            frames = torch.cat([frames, vectors.expand(len(frames), -1, frames.shape[2])], dim=1)
        if self.project is not None:
            frames = self.project(frames)
        return self.upsample(frames)[:, :, :n_samples]

    def _divides(self, n_samples: int) -> None:
        squeeze = self.config.squeeze
        if n_samples < 1 or n_samples % squeeze:
            near = max(1, round(n_samples / squeeze)) * squeeze
            raise SpeechlibError(
                f"{n_samples} samples do not divide by {squeeze}, which {self.config.n_blocks} blocks squeeze into one "
                f"position: cut or pad to {near}"
            )

    def _fits(self, n_samples: int, condition: Tensor | None) -> None:
        """Raises SpeechlibError for a length that does not divide, or a condition that is not this model's."""
        self._divides(n_samples)
        check_condition(condition, self.n_channels, self.config.hop, n_samples)

    @property
    def n_channels(self) -> int:
        """Channels of the condition."""
        return 1 if self.sizes["n_codes"] else self.sizes["n_condition"]


def noise(n_samples: int, n: int = 1, temperature: float = 1.0, seed: int = 0) -> Tensor:
    """White noise (n, n_samples), row b from a generator of its own."""
    import numpy as np

    if not temperature >= 0:
        raise SpeechlibError(f"temperature is {temperature}: 0 (no noise) or more")
    if seed < 0:
        raise SpeechlibError(f"seed is {seed}: at least 0")
    rows = [np.random.default_rng([seed, b]).standard_normal(n_samples, dtype=np.float32) for b in range(n)]
    return temperature * torch.from_numpy(np.stack(rows))


def squeezed(x: Tensor | None) -> Tensor | None:
    """(B, C, T) -> (B, 2 C, T / 2): the even and the odd ones of each channel become two, side by side."""
    if x is None:
        return None
    return x.transpose(1, 2).unflatten(1, (-1, 2)).transpose(2, 3).flatten(2).transpose(1, 2)


def stretched(x: Tensor | None) -> Tensor | None:
    """`squeezed` undone."""
    if x is None:
        return None
    return x.transpose(1, 2).unflatten(2, (-1, 2)).transpose(2, 3).flatten(1, 2).transpose(1, 2)


def _taken_off(wave: Tensor, filters: Filters | None) -> Tensor:
    if wave.ndim != 2 or not wave.is_floating_point():
        raise SpeechlibError(f"a wave of shape {tuple(wave.shape)}, {wave.dtype}: wanted floats (B, S)")
    return wave if filters is None else whiten(wave, filters, clipped=False)


def _halves(c: Tensor | None) -> tuple:
    return (None, None) if c is None else c.chunk(2, dim=1)


def _gathered(values: Tensor, cells: int) -> Tensor:
    """(B, T) of any block -> (B, cells): sums over the positions of a cell."""
    return values.unflatten(1, (cells, -1)).sum(2)


def _check(couplings: dict[str, Tensor], normed: Tensor, blocks: nn.ModuleList) -> None:
    """Raises SpeechlibError that names the first coupling or ActNorm whose log-determinant is not finite."""
    everything = torch.stack([normed, *(value.sum() for value in couplings.values())])
    if everything.isfinite().all():  # one look for all: on a GPU each waits for it
        return
    for name, value in couplings.items():
        if not value.isfinite().all():
            where = f"{name}: {int((~value.isfinite()).sum())} of {value.numel()} positions"
            raise SpeechlibError(f"the log-determinant is not finite at {where}. A lower learning rate, or dither?")
    for k, block in enumerate(blocks):
        for n, flow in enumerate(block.flows):
            if not flow.norm.log_det().isfinite():
                raise SpeechlibError(
                    f"the log-determinant of ActNorm is not finite at block {k + 1}, flow {n + 1}: a scale is 0 or NaN"
                )
    raise SpeechlibError("the log-determinants are finite each, and their sum is not: the values are out of range")
