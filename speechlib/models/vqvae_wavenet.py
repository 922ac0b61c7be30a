"""VQ-VAE with a WaveNet decoder: speech as a few codes per second, and speech from them again, in any voice.

van den Oord et al. 2017, arXiv 1711.00937 (section 4.3); Chorowski et al. 2019, arXiv 1901.08810 (MFCC, jitter, the
convolution over codes); sizes of DongyaoZhu/VQ-VAE-WaveNet:

    wave (B, S) or features (B, C, T) -> encoder -> z_e (B, D, L) -> quantizer -> codes (B, L), z_q (B, D, L)
      -> jitter -> [convolution over codes] -> condition (B, C2, L), each held for `hop` samples
      -> WaveNet with the speaker's vector -> parameters (B, P, S) of the distribution of wave (B, S)
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import SpeechlibError, UnknownName
from .encoders import GatedEncoder, GatedStridedEncoder, MFCCEncoder, StridedEncoder, whole_codes
from .jitter import Jitter
from .quantizers import Quantized, QuantizerConfig, codes_of, make_quantizer
from .standardise import Standardise
from .wavenet import WaveNet, WaveNetConfig

ENCODERS = ("strided", "gated", "gated_strided", "mfcc")

# The source's decoder: 3 x 10 layers that see 386 ms at 16 kHz.
SOURCE_DECODER = WaveNetConfig(
    n_layers=30,
    n_stacks=3,
    kernel_size=3,
    residual_channels=256,
    gate_channels=512,
    skip_channels=512,
    front_kernel=32,
    front_skip=True,
    scalar_input=True,
    residual_scale=1.0,
    skip_scale=1.0,
    scales=(64,),
    condition_post=True,
    speaker_dim=64,
)


@dataclass(frozen=True)
class VQWaveNetConfig(QuantizerConfig):
    """Choices beside those of the quantizer; the defaults are the source's, its mistakes put right."""

    codebook_size: int = 512
    encoder: str = "strided"  # of the wave: "strided", "gated", "gated_strided"; of features: "mfcc"
    channels: int = 768  # of the encoder
    kernel_size: int = 5  # of the encoders of the wave
    strides: tuple[int, ...] = (2, 2, 2, 2, 2, 2)  # their product: samples per code, with "mfcc" frames per code
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 16)  # "gated": one for each of its strides, which are all 2
    normed: bool = False  # "mfcc": each channel of z_e with deviation 1 over the batch; those of waves have a BatchNorm
    jitter: float = 0.0  # probability that a code gives way to its neighbour in training; 0.12 in the paper
    condition_channels: int = 0  # of a convolution over codes before the decoder; 0 = the codes as they are
    condition_kernel: int = 3  # codes that it sees
    voices: str = "speaker"  # whose vectors the decoder knows: "speaker", or a field of the corpus ("accent")
    decoder: WaveNetConfig = field(default=SOURCE_DECODER)

    def __post_init__(self):
        super().__post_init__()
        if self.encoder not in ENCODERS:
            raise UnknownName("encoder", self.encoder, ENCODERS)
        if self.encoder == "gated" and self.strides != (2,) * len(self.dilations):
            raise SpeechlibError(
                f"each layer of the gated encoder halves the rate: {len(self.dilations)} dilations need "
                f"strides {(2,) * len(self.dilations)}, got {self.strides}"
            )
        if not self.strides or min(self.strides) < 1:
            raise SpeechlibError(f"strides {self.strides} must be whole numbers from 1")
        if self.condition_kernel % 2 == 0:
            raise SpeechlibError(f"condition_kernel {self.condition_kernel} must be odd: a code stays in its place")
        if self.reads_wave and self.decoder.hop != self.stride:
            raise SpeechlibError(
                f"strides {self.strides} make a code of {self.stride} samples, decoder.scales {self.decoder.scales} "
                f"{self.decoder.hop} samples of a code: their products must be equal"
            )

    @property
    def reads_wave(self) -> bool:
        """Whether the encoder takes the wave, not features."""
        return self.encoder != "mfcc"

    @property
    def stride(self) -> int:
        """Steps of the encoder's input per code: samples, or frames."""
        return math.prod(self.strides)


class Output(NamedTuple):
    parameters: Tensor  # (B, P, S) of the decoder's distribution
    target: Tensor  # (B, S): what they predict, the wave or its excitation
    z_e: Tensor  # (B, D, L)
    quantized: Quantized


class VQWaveNet(nn.Module):
    """n_features: channels of the features (0 for encoders of the wave); n_speakers: voices that the decoder knows.

    `inputs` holds the statistics of the features over the training part. The decoder is a WaveNet like any other:
    generation.wavenet.generate(model.decoder, model.condition(codes), speaker) speaks codes.
    """

    def __init__(self, config: VQWaveNetConfig, n_features: int = 0, n_speakers: int = 0):
        super().__init__()
        if bool(n_features) == config.reads_wave:
            raise SpeechlibError(f"{n_features} features for the encoder {config.encoder!r}: mfcc alone reads features")
        self.config = config
        self.sizes = {"n_features": n_features, "n_speakers": n_speakers}
        self.inputs = Standardise(n_features)
        self.encoder = _encoder(config, n_features)
        self.quantizer = make_quantizer(config)
        self.jitter = Jitter(config.jitter)
        width, kernel = config.condition_channels, config.condition_kernel
        self.mix = nn.Conv1d(config.code_dim, width, kernel, padding=kernel // 2) if width else nn.Identity()
        self.decoder = WaveNet(config.decoder, width or config.code_dim, n_speakers)

    @property
    def hop(self) -> int:
        """Samples per code."""
        return self.config.decoder.hop

    def encode(self, x: Tensor) -> Tensor:
        """What the encoder reads, wave (B, S) or raw features (B, C, T) -> z_e (B, D, L).

        Raises SpeechlibError for another shape and for a length that is not whole codes, with the multiple needed.
        """
        n_features = self.sizes["n_features"]
        if self.config.reads_wave:
            if x.ndim != 2:
                raise SpeechlibError(f"a wave of shape {tuple(x.shape)}, the encoder takes (B, S)")
            return self.encoder(x)
        if x.ndim != 3 or x.shape[1] != n_features:
            raise SpeechlibError(f"features of shape {tuple(x.shape)}, the encoder takes (B, {n_features}, T)")
        return self.encoder(self.inputs(x))

    def quantize(self, z_e: Tensor) -> Quantized:
        return self.quantizer(z_e)

    def condition(self, codes: Tensor) -> Tensor:
        """Codes (B, L) (sliced (B, G, L)), or their vectors z_q (B, D, L) -> condition of the decoder (B, C2, L)."""
        z_q = codes if codes.is_floating_point() else self.quantizer.embed(codes)
        return self.mix(self.jitter(z_q))

    def forward(self, wave: Tensor, features: Tensor | None = None, speaker: Tensor | None = None) -> Output:
        """Teacher forcing: wave (B, S) in [-1, 1], its features (B, C, T) where the encoder reads them, speaker (B,).

        S must be whole codes: a multiple of `hop`.
        """
        whole_codes(wave, self.hop, "samples")
        z_e = self.encode(wave if self.config.reads_wave else features)
        quantized = self.quantize(z_e)
        condition = self.condition(quantized.z_q)
        inner = self.decoder.inner(wave, condition)
        return Output(self.decoder.predict(inner, condition, speaker), inner, z_e, quantized)

    def nll(self, wave: Tensor, features: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """-log p (B, S) in nats of each sample, given those before it and the codes."""
        output = self(wave, features, speaker)
        return self.decoder.distribution.nll(output.parameters, output.target)

    def codes(self, x: Tensor) -> Tensor:
        """What the encoder reads, of any length -> codes (B, L), sliced (B, G, L). The rest behind the last whole code
        has none."""
        length = x.shape[-1] // self.config.stride * self.config.stride
        return codes_of(self.quantize(self.encode(x[..., :length])))

    def code_positions(self, n_codes: int) -> Tensor:
        """Step (L,) of the encoder's input, fractional, in the middle of the stretch that each code stands for."""
        return (torch.arange(n_codes) + 0.5) * self.config.stride - 0.5


def _encoder(config: VQWaveNetConfig, n_features: int) -> nn.Module:
    width = config.encoder_channels
    if config.encoder == "mfcc":
        return MFCCEncoder(n_features, width, config.channels, config.stride, config.normed)
    if config.encoder == "gated":
        return GatedEncoder(width, config.channels, config.kernel_size, config.dilations)
    kind = StridedEncoder if config.encoder == "strided" else GatedStridedEncoder
    return kind(width, config.channels, config.kernel_size, config.strides)
