"""WaveNet: the next sample from all samples before it.

van den Oord et al. 2016, arXiv 1609.03499; outputs and up-sampling after r9y9/wavenet_vocoder; also the decoder of
VQ-VAE-WaveNet and the teacher of ClariNet (arXiv 1807.07281):

    wave (B, S) -> one sample later -> front (B, R, S) -> n_layers x [causal conv, dilated -> + condition + speaker
      -> tanh * sigmoid (B, G/2, S) -> 1x1 -> residual (B, R, S), skip (B, K, S)]
      -> sum of skips -> ReLU, 1x1, ReLU, 1x1 -> parameters (B, P, S) of the distribution of wave (B, S)

The shift is inside: parameters at t see wave[:t] and never wave[t], in training and in generation alike. The sample
before the first is silence (0); everything before that is the zero padding of each layer.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import mu_law
from ..errors import SpeechlibError, UnknownName
from .convolutions import check_condition, conv, convolved
from .distributions import Distribution, Gaussian, LogisticMixture, MuLaw
from .excitation import Emphasis, Envelope, Filters, held, whiten
from .shares import Dropout
from .speakers import vectors_of
from .standardise import reader
from .upsampling import Context, Smoothed, Transposed

OUTPUTS = ("mu_law", "logistic", "gaussian")
UPSAMPLINGS = ("repeat", "smoothed", "transposed")


@dataclass(frozen=True)
class WaveNetConfig:
    """Choices of the model. Sizes that come from data (condition channels, speakers) are arguments beside it."""

    output: str = "mu_law"  # "mu_law" softmax, mixture of "logistic"s, or one "gaussian"
    quantization_channels: int = 256  # mu_law: classes
    n_mixtures: int = 10  # logistic: components
    min_log_scale: float = -9.0  # logistic, gaussian: floor of the log-scale, in the loss and in sampling
    start_scale: float = 0.0  # gaussian: N(0, start_scale) for every sample to begin with; 0 = random weights
    n_layers: int = 20
    n_stacks: int = 2  # dilations 1, 2, 4, ... start anew in each
    dilation_base: int = 2  # or 1, 3, 9, ...
    kernel_size: int = 2
    residual_channels: int = 64
    gate_channels: int = 128  # half for the tanh, half for the sigmoid
    skip_channels: int = 128
    front_kernel: int = 1  # taps of the first convolution
    front_relu: bool = False  # ReLU behind it (ClariNet)
    front_skip: bool = False  # its output joins the skips (VQ-VAE-WaveNet)
    scalar_input: bool = False  # mu_law: the companded value as one channel, instead of an embedding of the class
    companded: bool = False  # logistic, gaussian: it hears such values of mu-law as well, without their steps
    residual_scale: float = math.sqrt(0.5)  # 1.0 = a plain sum
    skip_scale: float | None = None  # None = sqrt(1 / n_layers)
    context_channels: int = 0  # width of what reads a frame of the condition with those around it; 0 = each by itself
    unit_condition: bool = False  # log-mel bands as ClariNet has them, in [0, 1], instead of standardised ones
    upsampling: str = "repeat"  # of the condition: "repeat", or learned: "smoothed" repetition, "transposed" filters
    scales: tuple[int, ...] = (4, 4, 4, 4)  # their product is the hop: samples per frame of the condition
    condition_kernel: int = 1  # smoothed: frames that the first convolution sees
    condition_bias: bool = False  # of the condition's product, beside that of the gate (ClariNet)
    condition_post: bool = False  # the condition enters the output stage as well (VQ-VAE-WaveNet)
    speaker_dim: int = 0  # size of the learned speaker vector; 0 = no speakers
    dropout: float = 0.0  # on each layer's input
    emphasis: float = 0.0  # what is learned is the wave with its high frequencies raised: 0.85, or 0 = as it is
    emphasis_scale: float = 1.0  # times this, so that it is not clipped: 0.55 for an emphasis of 0.85
    envelope: int = 0  # or its excitation: order of the filters that follow the bands of the condition; 0 = none
    envelope_fft: int = 256  # n_fft of those bands
    dither: float = 0.0  # deviation of the noise added to waves that are learned: digital silence never ends by itself
    weight_norm: bool = False

    def __post_init__(self):
        if self.output not in OUTPUTS:
            raise UnknownName("output", self.output, OUTPUTS)
        if self.start_scale < 0 or (self.start_scale and (self.output != "gaussian" or self.weight_norm)):
            raise SpeechlibError(
                f"start_scale is {self.start_scale}: from 0 on, and 0 unless output is gaussian without weight_norm"
            )
        if self.companded and self.output == "mu_law":
            raise SpeechlibError("companded is for a continuous output: with mu_law it is scalar_input")
        if self.upsampling not in UPSAMPLINGS:
            raise UnknownName("upsampling", self.upsampling, UPSAMPLINGS)
        if self.n_stacks < 1 or self.n_layers < 1 or self.n_layers % self.n_stacks:
            raise SpeechlibError(f"{self.n_layers} layers do not divide into {self.n_stacks} stacks")
        if self.gate_channels % 2:
            raise SpeechlibError(f"gate_channels is {self.gate_channels}: an even number, it is cut into two halves")
        if self.dilation_base < 1:
            raise SpeechlibError(f"dilation_base is {self.dilation_base}: at least 1")
        if self.kernel_size < 2 or self.front_kernel < 1:
            raise SpeechlibError(
                f"kernel_size {self.kernel_size} must be at least 2, front_kernel {self.front_kernel} at least 1"
            )
        if not 0 <= self.emphasis < 1:
            raise SpeechlibError(f"emphasis is {self.emphasis}: from 0 (off) to less than 1, where an error would stay")
        if self.emphasis_scale <= 0 or (self.emphasis_scale != 1 and not self.emphasis):
            raise SpeechlibError(
                f"emphasis_scale {self.emphasis_scale} with emphasis {self.emphasis}: positive, and both"
            )
        if self.emphasis and self.envelope:
            raise SpeechlibError(f"emphasis {self.emphasis} and envelope {self.envelope}: one or the other")
        if self.condition_kernel % 2 == 0:
            raise SpeechlibError(f"condition_kernel {self.condition_kernel} must be odd: a frame stays in its place")
        if not self.scales or min(self.scales) < 1:
            raise SpeechlibError(f"scales {self.scales} must be whole numbers from 1")

    @property
    def hop(self) -> int:
        """Samples per frame of the condition."""
        return math.prod(self.scales)

    @property
    def dilations(self) -> tuple[int, ...]:
        per_stack = self.n_layers // self.n_stacks
        return tuple(self.dilation_base ** (layer % per_stack) for layer in range(self.n_layers))

    @property
    def receptive_field(self) -> int:
        """Samples that the parameters of one sample depend on (the condition's own reach is not counted)."""
        return (
            (self.kernel_size - 1) * sum(self.dilations) + self.front_kernel + max(bool(self.emphasis), self.envelope)
        )

    @property
    def distribution(self) -> Distribution:
        if self.output == "mu_law":
            return MuLaw(self.quantization_channels)
        if self.output == "logistic":
            return LogisticMixture(self.n_mixtures, self.min_log_scale)
        return Gaussian(self.min_log_scale)


class Front(nn.Module):
    """Samples (B, S), or their classes -> (B, R, S): a causal convolution.

    Of one-hot classes it would be a convolution of Q channels; a row of a table per tap and class is the same sum.
    """

    def __init__(self, config: WaveNetConfig):
        super().__init__()
        self.kernel, self.channels = config.front_kernel, config.residual_channels
        self.classes = config.quantization_channels if config.output == "mu_law" else 0
        self.companded = config.quantization_channels if config.companded else 0
        self.is_table = bool(self.classes) and not config.scalar_input
        if self.is_table:
            self.table = nn.Embedding(self.classes, self.kernel * self.channels)
            nn.init.normal_(self.table.weight, std=self.kernel**-0.5)
            self.bias = nn.Parameter(torch.zeros(self.channels))
        else:
            self.conv = conv(1, self.channels, self.kernel, config.weight_norm)

    def forward(self, wave: Tensor) -> Tensor:
        if not self.is_table:
            if self.classes:
                wave = mu_law.encode(wave, self.classes) * (2 / (self.classes - 1)) - 1  # companded
            elif self.companded:
                wave = mu_law.compress(wave, self.companded)
            # the zeros before the beginning are padding, not class 0
            return convolved(self.conv, wave[:, None].to(self.conv.weight.dtype))
        rows = self.table(mu_law.encode(wave, self.classes)).unflatten(2, (self.kernel, self.channels))  # (B, S, k, R)
        total = self.bias
        for tap in range(self.kernel):
            late = self.kernel - 1 - tap
            total = total + F.pad(rows[:, : rows.shape[1] - late, tap], (0, 0, late, 0))
        return total.transpose(1, 2)


class Layer(nn.Module):
    """x (B, R, S), condition (B, G, N) or None -> residual (B, R, S), skip (B, K, S).

    N divides S: a column of the condition holds for S / N samples.
    """

    def __init__(self, config: WaveNetConfig, dilation: int):
        super().__init__()
        normed, half = config.weight_norm, config.gate_channels // 2
        self.reach = (config.kernel_size - 1) * dilation
        self.scale, self.sizes = config.residual_scale, (config.residual_channels, config.skip_channels)
        self.dropout = Dropout(config.dropout)
        self.gate = conv(config.residual_channels, config.gate_channels, config.kernel_size, normed, dilation)
        self.out = conv(half, sum(self.sizes), 1, normed)  # residual and skip in one product

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        z = added(convolved(self.gate, self.dropout(x)), condition)
        half = z.shape[1] // 2
        a, b = channels(z, half, half)
        residual, skip = channels(convolved(self.out, a.tanh() * b.sigmoid()), *self.sizes)
        return (x + residual).mul_(self.scale), skip


class WaveNet(nn.Module):
    """wave (B, S), condition (B, n_condition, T), speaker (B,) -> parameters (B, P, S) of `self.distribution`.

    S lies between (T - 1) hop and T hop. Sizes of 0 mean no condition, no speakers. With n_codes the condition is codes
    (B, 1, T) of so many, whose vectors have n_condition numbers.
    """

    def __init__(self, config: WaveNetConfig, n_condition: int = 0, n_speakers: int = 0, n_codes: int = 0):
        super().__init__()
        if bool(config.speaker_dim) != bool(n_speakers):
            raise SpeechlibError(f"{n_speakers} speakers with vectors of size {config.speaker_dim}: both or none")
        if n_codes and config.envelope:
            raise SpeechlibError("codes have no envelope: draw bands from them (model.draw_channels), or envelope=0")
        self.config = config
        self.sizes = {"n_condition": n_condition, "n_speakers": n_speakers, "n_codes": n_codes}
        self.distribution = config.distribution
        gates, post = config.n_layers * config.gate_channels, config.skip_channels
        width = gates + post if config.condition_post else gates
        self.front = Front(config)
        self.front_skip = conv(config.residual_channels, post, 1, config.weight_norm) if config.front_skip else None
        self.layers = nn.ModuleList(Layer(config, dilation) for dilation in config.dilations)
        # one product for all layers, cut into pieces: rows [0, G) are layer 0's, the last may be the output stage's
        biased = config.condition_bias
        self.condition = conv(n_condition, width, 1, config.weight_norm, bias=biased) if n_condition else None
        self.inputs = reader(config.unit_condition, n_condition, n_codes)
        self.context = (
            Context(n_condition, config.context_channels) if n_condition and config.context_channels else None
        )
        self.excitation = _excitation(config, n_condition)
        self.upsample = None  # "repeat" needs none: it commutes with the product and happens behind it
        if n_condition and config.upsampling == "smoothed":
            self.upsample = Smoothed(n_condition, config.scales, config.condition_kernel)
        elif n_condition and config.upsampling == "transposed":
            self.upsample = Transposed(config.scales, config.weight_norm)
        self.speakers = nn.Embedding(n_speakers, config.speaker_dim) if n_speakers else None
        self.speaker = conv(config.speaker_dim, width, 1, config.weight_norm, bias=False) if n_speakers else None
        if self.speakers is not None:
            nn.init.normal_(self.speakers.weight, std=0.1)
        self.post_1 = conv(post, post, 1, config.weight_norm)
        self.post_2 = conv(post, self.distribution.n_parameters, 1, config.weight_norm)
        if config.start_scale:
            nn.init.zeros_(self.post_2.weight)
            nn.init.constant_(self.post_2.bias[1:], math.log(config.start_scale))

    @property
    def receptive_field(self) -> int:
        return self.config.receptive_field

    def forward(self, wave: Tensor, condition: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """Teacher forcing: the parameters of every sample of wave (B, S) in [-1, 1], given those before it."""
        return self.predict(self.inner(wave, condition), condition, speaker)

    def nll(
        self, wave: Tensor, condition: Tensor | None = None, speaker: Tensor | None = None, density: bool = False
    ) -> Tensor:
        """-log p (B, S) in nats of each sample given those before it: of its class or level, where the distribution has
        such, of the wave or of its excitation, as it is learned.

        `density` makes that a density of the wave, to compare what conditions of different envelopes say of one wave.
        """
        inner = self.inner(wave, condition)
        nll = self.distribution.nll(self.predict(inner, condition, speaker), inner)
        if not density:
            return nll
        filters = self.filters(condition, wave.shape[-1])
        gain = 1.0 if filters is None else held(filters.gain, filters.length, wave.shape[-1])
        return nll + (self.distribution.step(inner) * gain).log()

    def inner(self, wave: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the network hears and predicts (B, S): the wave, or its excitation."""
        self.check(condition, wave.shape[-1])
        filters = self.filters(condition, wave.shape[-1])
        return wave if filters is None else whiten(wave, filters)

    def filters(self, condition: Tensor | None, n_samples: int) -> Filters | None:
        """Between wave and excitation, for a model that has such."""
        if self.excitation is None:
            return None
        self.check(condition)
        return self.excitation(condition, n_samples)

    def predict(self, inner: Tensor, condition: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """`forward` behind `inner`: (B, S) -> parameters (B, P, S) of its distribution."""
        n_samples = inner.shape[-1]
        conditions = self.conditions(condition, speaker, n_samples)
        missing = 0 if condition is None else condition.shape[2] * self.config.hop - n_samples  # of the last frame
        x = self.front(F.pad(inner, (1, missing))[:, :-1])
        if self.config.front_relu:
            x = F.relu(x)
        total = convolved(self.front_skip, x) if self.front_skip is not None else 0
        for layer, piece in zip(self.layers, conditions):
            x, skip = layer(x, piece)
            total = total + skip
        total = convolved(self.post_1, F.relu(total * self.skip_scale))
        if self.config.condition_post:
            total = added(total, conditions[-1])
        return convolved(self.post_2, F.relu(total))[:, :, :n_samples]

    @property
    def skip_scale(self) -> float:
        return self.config.n_layers**-0.5 if self.config.skip_scale is None else self.config.skip_scale

    def speaker_vector(self, speaker: Tensor | None) -> Tensor | None:
        """Speaker (B,), -1 = nobody -> what it adds to every layer (B, width), None for a model without speakers."""
        if self.speakers is None:
            if speaker is not None:
                raise SpeechlibError("speakers were given to a model that knows none (speaker_dim 0)")
            return None
        return self.speaker(vectors_of(self.speakers, speaker)[:, :, None])[:, :, 0]

    def frames(self, condition: Tensor | None, n_samples: int | None = None) -> Tensor | None:
        """Checked condition (B, C, T) -> what `self.condition` is applied to: frames for "repeat", else samples."""
        self.check(condition, n_samples)
        if condition is None:
            return None
        condition = self.inputs(condition)
        if self.context is not None:
            condition = self.context(condition)
        return condition if self.upsample is None else self.upsample(condition)

    @property
    def condition_reach(self) -> int:
        """Frames on each side of a frame that are read with it: by `context` and up-sampling."""
        return sum(part.reach for part in (self.context, self.upsample) if part is not None)

    def check(self, condition: Tensor | None, n_samples: int | None = None) -> None:
        """Raises SpeechlibError for a condition that is not this model's, or not of n_samples."""
        check_condition(condition, self.n_channels, self.config.hop, n_samples)

    @property
    def n_channels(self) -> int:
        """Channels of the condition."""
        return 1 if self.sizes["n_codes"] else self.sizes["n_condition"]

    def conditions(self, condition: Tensor | None, speaker: Tensor | None, n_samples: int) -> list[Tensor | None]:
        """What each layer's gate gets (B, G, N), each column for as many samples; last, the output stage's (B, K, N).

        N is the number of frames ("repeat": projected at frame rate, hop times less work), of samples, or 1 for a
        speaker alone.
        """
        frames, vector = self.frames(condition, n_samples), self.speaker_vector(speaker)
        widths = [self.config.gate_channels] * self.config.n_layers
        widths += [self.config.skip_channels] if self.config.condition_post else []
        pieces: list[Tensor | None] = [None] * len(widths)
        if frames is not None:
            rows = frames.transpose(1, 2)  # (B, N, C)
            biases = [None] * len(widths) if self.condition.bias is None else self.condition.bias.split(widths)
            parts = zip(self.condition.weight.split(widths), biases)
            pieces = [F.linear(rows, part[:, :, 0], bias).transpose(1, 2) for part, bias in parts]
        if vector is not None:
            spoken = vector[:, :, None].split(widths, dim=1)
            pieces = [s if part is None else part + s for part, s in zip(pieces, spoken)]
        return pieces


def added(x: Tensor, condition: Tensor | None) -> Tensor:
    """x (B, C, S) + condition (B, C, N), each of its columns for S / N samples."""
    return x if condition is None else (x.unflatten(2, (condition.shape[2], -1)) + condition[..., None]).flatten(2)


def channels(x: Tensor, *sizes: int) -> list[Tensor]:
    """x (B, C, S) split by channels, so that gradients come back side by side as well."""
    return [part.transpose(1, 2) for part in x.transpose(1, 2).split(sizes, dim=2)]


def _excitation(config: WaveNetConfig, n_condition: int) -> nn.Module | None:
    if config.envelope and not n_condition:
        raise SpeechlibError(f"envelope {config.envelope} follows the bands of a condition, and this model has none")
    if config.envelope:
        return Envelope(config.envelope, n_condition, config.envelope_fft, config.hop)
    return Emphasis(config.emphasis, config.emphasis_scale) if config.emphasis else None
