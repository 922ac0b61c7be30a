"""ClariNet's student: speech by inverse autoregressive flows, all samples at once.

Ping, Peng and Chen 2018, arXiv 1807.07281; sizes after ksw0306/ClariNet. A teacher, the WaveNet of wavenet.py with a
Gaussian output, says how likely a sample is given those before it. The student turns white noise into samples:

    condition (B, C, T) -> the teacher's up-sampling -> frames
    z (B, S) ~ N(0, 1) -> flow 1 -> flow 2 -> ... -> x (B, S)
      a flow is a WaveNet: z[:t] and the frames give mu, log s at t;   z'[t] = z[t] exp(log s[t]) + mu[t]

Sample t of each flow hangs on what *came in* before t and not on what came out: nothing has to wait. Flows in a row are
one affine map of every sample's own noise, x = z exp(log_scale) + mean, so that x given the noise before it is Gaussian
as it is with the teacher, and their divergence has a closed form (objectives.clarinet).
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import SpeechlibError, UnknownName
from .excitation import Filters
from .wavenet import WaveNet, WaveNetConfig

KINDS = ("qp", "pq")  # of divergence: KL(student || teacher), KL(teacher || student)
SOURCE_TEACHER = WaveNetConfig(
    output="gaussian",
    n_layers=20,
    n_stacks=2,
    residual_channels=128,
    gate_channels=512,  # 256 for the filter and 256 for the gate, which are two convolutions there
    skip_channels=128,
    front_kernel=32,
    front_relu=True,
    skip_scale=1.0,
    unit_condition=True,
    upsampling="transposed",
    scales=(16, 16),
    condition_bias=True,
    weight_norm=True,
)


@dataclass(frozen=True)
class ClariNetConfig:
    """Choices of the student, and the teacher's; what they share (hop, speakers, envelope, weight norm) is said there.

    The defaults are the source's: 6 flows of 10 layers. The copy in VQ-VAE-Speech has stacks (1, 1, 1, 4) of 6 layers
    with dilations 3^n and 128 / 512 / 128 channels.
    """

    teacher: WaveNetConfig = field(default_factory=lambda: SOURCE_TEACHER)
    stacks: tuple[int, ...] = (1, 1, 1, 1, 1, 1)  # of each flow, in the order in which noise passes them
    n_layers: int = 10  # of a stack
    dilation_base: int = 2
    kernel_size: int = 3
    residual_channels: int = 64
    gate_channels: int = 256  # half for the tanh, half for the sigmoid
    skip_channels: int = 64
    front_kernel: int = 32
    skip_scale: float | None = 1.0  # None = sqrt(1 / layers of the flow)
    start_scale: float = 0.0  # flows begin as one scale, of this deviation in all; 0 = with random weights
    min_log_scale: float = -6.0  # floor of the log-deviation in the divergence and in sampling
    kl: str = "qp"  # "qp" = KL(student || teacher), "pq" = KL(teacher || student)
    kl_weight: float = 1.0  # weights of the terms, 0 = without: see objectives.clarinet
    regulariser_weight: float = 4.0
    stft_weight: float = 1.0
    stft_fft: int = 1024
    stft_hop: int = 256
    stft_window: bool = True  # Hann; the source has none, which leaves noise in high frequencies

    def __post_init__(self):
        if self.teacher.output != "gaussian":
            raise SpeechlibError(
                f"the teacher's output is {self.teacher.output!r}: a student of Gaussian flows needs 'gaussian'"
            )
        if not self.stacks or min(self.stacks) < 1:
            raise SpeechlibError(f"stacks {self.stacks} must be whole numbers from 1, one for each flow")
        if self.kl not in KINDS:
            raise UnknownName("kl", self.kl, KINDS)
        if self.start_scale < 0:
            raise SpeechlibError(f"start_scale is {self.start_scale}: from 0 on")
        weights = self.kl_weight, self.regulariser_weight, self.stft_weight
        if min(weights) < 0 or max(weights) <= 0:
            raise SpeechlibError(f"weights of kl, regulariser and stft are {weights}: not negative, one above 0")
        if not 0 < self.stft_hop <= self.stft_fft:
            raise SpeechlibError(f"stft_hop {self.stft_hop} must lie in 1..stft_fft ({self.stft_fft})")
        self.flows  # noqa: B018  raises what is wrong with a flow by itself

    @property
    def hop(self) -> int:
        return self.teacher.hop

    @property
    def flows(self) -> tuple[WaveNetConfig, ...]:
        """The network of each flow. Its condition is what the teacher's up-sampling makes: of frames or of samples."""
        shared = self.teacher
        return tuple(
            WaveNetConfig(
                output="gaussian",
                start_scale=self.start_scale ** (1 / len(self.stacks)),
                n_layers=n_stacks * self.n_layers,
                n_stacks=n_stacks,
                dilation_base=self.dilation_base,
                kernel_size=self.kernel_size,
                residual_channels=self.residual_channels,
                gate_channels=self.gate_channels,
                skip_channels=self.skip_channels,
                front_kernel=self.front_kernel,
                front_relu=True,
                skip_scale=self.skip_scale,
                scales=(shared.hop,) if shared.upsampling == "repeat" else (1,),
                condition_bias=shared.condition_bias,
                speaker_dim=shared.speaker_dim,
                weight_norm=shared.weight_norm,
            )
            for n_stacks in self.stacks
        )

    @property
    def receptive_field(self) -> int:
        """Samples of noise that one sample hangs on, its own among them.

        One more than the published count for every flow but the first and for the last sample's own noise, as a flow
        sees what came *before* a sample: 12,469 where 6 (2 x 1023 + 31) + 1 = 12,463 leaves these steps out.
        """
        return 1 + sum(flow.receptive_field for flow in self.flows)


class Drawn(NamedTuple):
    """A sample (B, S) and the Gaussian that it was drawn from, given the noise before it: mean, log_scale (B, S)."""

    sample: Tensor
    mean: Tensor
    log_scale: Tensor  # as the flows have it, without the floor


class ClariNet(nn.Module):
    """Noise z (B, S), condition (B, n_condition, T), speaker (B,) -> Drawn, S between (T - 1) hop and T hop.

    With an envelope it is the excitation that is drawn, as it is with the teacher (`filters` leads to the wave).
    `teacher` is part of the module and of its checkpoints, which need no other file.
    """

    def __init__(self, config: ClariNetConfig, n_condition: int, n_speakers: int = 0, n_codes: int = 0):
        super().__init__()
        if not n_condition:
            raise SpeechlibError("noise alone is no speech: ClariNet needs a condition (n_condition above 0)")
        self.config = config
        self.sizes = {"n_condition": n_condition, "n_speakers": n_speakers, "n_codes": n_codes}
        self.teacher = WaveNet(config.teacher, n_condition, n_speakers, n_codes)
        self.flows = nn.ModuleList(WaveNet(flow, n_condition, n_speakers) for flow in config.flows)

    @property
    def hop(self) -> int:
        """Samples per frame of the condition."""
        return self.config.hop

    def forward(self, z: Tensor, condition: Tensor, speaker: Tensor | None = None) -> Drawn:
        frames = self.frames(condition, z.shape[1])
        x, mean, log_scale = z, torch.zeros_like(z), torch.zeros_like(z)
        for flow in self.flows:
            shift, log_s = flow.predict(x, frames, speaker).float().unbind(1)
            s = log_s.exp()
            x, mean, log_scale = x * s + shift, mean * s + shift, log_scale + log_s
        return Drawn(self.sample(z, mean, log_scale), mean, log_scale)

    def sample(self, z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """z exp(log_scale) + mean, of a deviation that is never below the floor: as the loss sees it."""
        return z * log_scale.clamp(min=self.config.min_log_scale).exp() + mean

    def frames(self, condition: Tensor, n_samples: int | None = None) -> Tensor:
        """What the flows are given: the teacher's frames (B, C, T), or its samples (B, C, n_samples)."""
        frames = self.teacher.frames(condition, n_samples)
        return frames if self.teacher.upsample is None or n_samples is None else frames[:, :, :n_samples]

    def filters(self, condition: Tensor, n_samples: int) -> Filters | None:
        """Between the wave and the excitation that is drawn, for a model that has such."""
        return self.teacher.filters(condition, n_samples)
