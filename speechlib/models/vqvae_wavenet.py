"""VQ-VAE with a WaveNet decoder: speech as a few codes per second, and speech from them again, in any voice.

van den Oord et al. 2017, arXiv 1711.00937 (section 4.3); Chorowski et al. 2019, arXiv 1901.08810 (MFCC, jitter, the
convolution over codes); sizes of DongyaoZhu/VQ-VAE-WaveNet:

    wave (B, S) or features (B, C, T) -> encoder -> z_e (B, D, L) -> quantizer -> codes (B, L), z_q (B, D, L)
      -> jitter -> [convolution over codes] -> condition (B, C2, L), each held for `hop` samples
      -> WaveNet with the speaker's vector -> parameters (B, P, S) of the distribution of wave (B, S)

With `draw_channels` the codes and the speaker's vector are first drawn as log-mel bands of the wave, frame by frame,
and these are the condition of the WaveNet: it may then start from a trained vocoder, and learn the excitation alone.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError, UnknownName
from .encoders import GatedEncoder, GatedStridedEncoder, MFCCEncoder, StridedEncoder, whole_codes
from .jitter import Jitter
from .quantizers import Quantized, QuantizerConfig, codes_of, make_quantizer
from .speakers import vectors_of
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
    draw_channels: int = 0  # hidden channels of a network that draws mel bands for the decoder; 0 = none
    speaker_dim: int = 0  # of the speaker's vector that this network is given
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
        if self.speaker_dim and not self.draw_channels:
            raise SpeechlibError("speaker_dim is of the network that draws: decoder.speaker_dim is the WaveNet's")
        if self.code_length % self.decoder.hop or (self.code_length > self.decoder.hop and not self.draw_channels):
            raise SpeechlibError(
                f"strides {self.strides} make a code of {self.code_length} samples, decoder.scales "
                f"{self.decoder.scales} {self.decoder.hop} samples of a code: their products must be equal"
            )

    @property
    def reads_wave(self) -> bool:
        """Whether the encoder takes the wave, not features."""
        return self.encoder != "mfcc"

    @property
    def stride(self) -> int:
        """Steps of the encoder's input per code: samples, or frames."""
        return math.prod(self.strides)

    @property
    def code_length(self) -> int:
        """Samples per code. The decoder's condition has a step per code, or per frame that is drawn."""
        if self.reads_wave:
            return self.stride
        return self.decoder.hop * (self.stride if self.draw_channels else 1)


class Output(NamedTuple):
    parameters: Tensor | None  # (B, P, S) of the decoder's distribution
    target: Tensor | None  # (B, S): what they predict, the wave or its excitation
    z_e: Tensor  # (B, D, L)
    quantized: Quantized
    drawn: Tensor | None  # (B, n_bands, frames), in units of the features


class Drawing(nn.Module):
    """z (B, D, L), vectors of speakers (B, V) -> standardised bands (B, n_bands, L * stride)."""

    def __init__(self, code_dim: int, speaker_dim: int, channels: int, n_bands: int, stride: int):
        super().__init__()
        self.stride = stride
        self.hidden_1 = nn.Conv1d(code_dim + speaker_dim, channels, 5, padding=2)
        self.hidden_2 = nn.Conv1d(channels, channels, 3, padding=1)
        self.draw = nn.Conv1d(channels, n_bands * stride, 1)

    def forward(self, z: Tensor, voice: Tensor | None) -> Tensor:
        if voice is not None:
            z = torch.cat([z, voice[:, :, None].expand(-1, -1, z.shape[2])], dim=1)
        x = F.relu(self.hidden_1(z))
        x = x + F.relu(self.hidden_2(x))
        return self.draw(x).unflatten(1, (-1, self.stride)).transpose(2, 3).flatten(2)


class VQWaveNet(nn.Module):
    """n_features: channels of the features (0 for encoders of the wave); n_speakers: voices that the model knows;
    n_bands: those that are drawn (0 without `draw_channels`).

    `inputs` holds the statistics of the features over the training part, `bands` those of what is drawn. The decoder is
    a WaveNet like any other: generation.wavenet.generate(model.decoder, *model.condition(codes, speaker)) speaks codes.
    """

    def __init__(self, config: VQWaveNetConfig, n_features: int = 0, n_speakers: int = 0, n_bands: int = 0):
        super().__init__()
        if bool(n_bands) != bool(config.draw_channels):
            raise SpeechlibError(f"{n_bands} bands to draw with draw_channels {config.draw_channels}: both or none")
        if bool(n_speakers) != bool(config.speaker_dim or config.decoder.speaker_dim):
            raise SpeechlibError(
                f"{n_speakers} speakers, vectors of {config.speaker_dim} for what is drawn and of "
                f"{config.decoder.speaker_dim} for the decoder: both or none"
            )
        if bool(n_features) == config.reads_wave:
            raise SpeechlibError(f"{n_features} features for the encoder {config.encoder!r}: mfcc alone reads features")
        self.config = config
        self.sizes = {"n_features": n_features, "n_speakers": n_speakers, "n_bands": n_bands}
        self.inputs = Standardise(n_features)
        self.encoder = make_encoder(config, n_features)
        self.quantizer = make_quantizer(config)
        self.jitter = Jitter(config.jitter)
        width, kernel = config.condition_channels, config.condition_kernel
        self.mix = nn.Conv1d(config.code_dim, width, kernel, padding=kernel // 2) if width else nn.Identity()
        self.drawing, self.bands, self.voices = None, Standardise(n_bands), None
        if n_bands:
            frames = config.code_length // config.decoder.hop
            self.drawing = Drawing(width or config.code_dim, config.speaker_dim, config.draw_channels, n_bands, frames)
        if config.speaker_dim:
            self.voices = nn.Embedding(n_speakers, config.speaker_dim)
            nn.init.normal_(self.voices.weight, std=0.1)
        told = n_speakers if config.decoder.speaker_dim else 0
        self.decoder = WaveNet(config.decoder, n_bands or width or config.code_dim, told)

    @property
    def hop(self) -> int:
        """Samples per code."""
        return self.config.code_length

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

    @property
    def speakers(self) -> nn.Embedding | None:
        """The table of the speakers' vectors."""
        return self.decoder.speakers if self.voices is None else self.voices

    def condition(self, codes: Tensor, speaker: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Codes (B, L) (sliced (B, G, L)), or their vectors z_q (B, D, L), and speaker (B,), -1 = nobody
        -> what the decoder is told: condition (B, C2, L or frames), and the speaker if it knows speakers.
        """
        z_q = codes if codes.is_floating_point() else self.quantizer.embed(codes)
        z = self.mix(self.jitter(z_q))
        if self.drawing is not None:
            z = self.bands.inverse(self.drawing(z, self._voice(speaker)))
        return z, (None if self.decoder.speakers is None else speaker)

    def _voice(self, speaker: Tensor | None) -> Tensor | None:
        """Speaker (B,) -> vector (B, V) for what is drawn; nobody's is zero."""
        return None if self.voices is None else vectors_of(self.voices, speaker)

    def forward(
        self, wave: Tensor, features: Tensor | None = None, speaker: Tensor | None = None, decode: bool = True
    ) -> Output:
        """Teacher forcing: wave (B, S) in [-1, 1], its features (B, C, T) where the encoder reads them, speaker (B,).

        S must be whole codes: a multiple of `hop`. Without `decode` it ends at what is drawn.
        """
        whole_codes(wave, self.hop, "samples")
        z_e = self.encode(wave if self.config.reads_wave else features)
        quantized = self.quantize(z_e)
        condition, told = self.condition(quantized.z_q, speaker)
        drawn = None if self.drawing is None else condition
        if not decode:
            return Output(None, None, z_e, quantized, drawn)
        inner = self.decoder.inner(wave, condition)
        return Output(self.decoder.predict(inner, condition, told), inner, z_e, quantized, drawn)

    def nll(self, wave: Tensor, features: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """-log p (B, S) in nats of each sample, given those before it and the codes."""
        output = self(wave, features, speaker)
        return self.decoder.distribution.nll(output.parameters, output.target)

    def codes(self, x: Tensor) -> Tensor:
        """What the encoder reads, of any length -> codes (B, L), sliced (B, G, L). The rest behind the last whole code
        has none. Raises SpeechlibError where there is no whole one."""
        length = x.shape[-1] // self.config.stride * self.config.stride
        if not length:
            unit = "samples" if self.config.reads_wave else "frames"
            raise SpeechlibError(f"{x.shape[-1]} {unit} are too short: a code stands for {self.config.stride}")
        return codes_of(self.quantize(self.encode(x[..., :length])))

    def code_positions(self, n_codes: int) -> Tensor:
        """Step (L,) of the encoder's input, fractional, in the middle of the stretch that each code stands for."""
        return (torch.arange(n_codes) + 0.5) * self.config.stride - 0.5


def make_encoder(config: VQWaveNetConfig, n_features: int = 0) -> nn.Module:
    """What turns a wave (B, S), or features (B, n_features, T), into z_e (B, D, L)."""
    width = config.encoder_channels
    if config.encoder == "mfcc":
        return MFCCEncoder(n_features, width, config.channels, config.stride, config.normed)
    if config.encoder == "gated":
        return GatedEncoder(width, config.channels, config.kernel_size, config.dilations)
    kind = StridedEncoder if config.encoder == "strided" else GatedStridedEncoder
    return kind(width, config.channels, config.kernel_size, config.strides)
