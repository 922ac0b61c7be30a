"""WaveNet autoencoders with instance normalisation (IN-WAE) and sliced codes (SVQ-WAE), and their plain relatives.

Chen & Hain 2020, arXiv 2008.06892 (ZeroSpeech 2020), after Chorowski et al. 2019, arXiv 1901.08810; sizes of
MingjieChen/wavenet_autoencoders. What is told apart here is the bottleneck:

    features (B, C, T) -> content encoder, with or without instance norm -> z_e (B, D, L)
      -> AE (as it is), VAE, VQ, sliced VQ, Gumbel -> z_q (B, D, L), with codes (B, L) or (B, G, L) or none
      -> jitter -> dropout of tokens -> [AdaIN: level and deviation of the reference's voice] -> [convolution]
      -> condition, held or up-sampled -> WaveNet, with the vector of the speaker -> distribution of wave (B, S)

Two ways to say who speaks: a speaker's number, for the table of vectors that WaveNet (or what draws) has; and a
reference, features of anyone from which a speaker encoder reads a voice (B, V), for AdaIN. In training the reference is
the same stretch that the codes are of. For each speaker the model keeps the moving average of the voices that it read,
so that a number is enough later; any utterance will do as well.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError, UnknownName
from .content_encoders import EDGES, PLANS, ContentEncoder
from .encoders import whole_codes
from .jitter import Jitter
from .quantizers import Quantized, QuantizerConfig, make_quantizer
from .shares import drawn, total
from .speaker_encoders import REFERENCES, AdaIN, SpeakerCritic, make_reference
from .speakers import vectors_of
from .standardise import Standardise
from .vqvae_wavenet import Drawing, Output
from .wavenet import WaveNet, WaveNetConfig

POINTS = ("encoder", "projection", "bottleneck", "condition")  # where Chorowski et al. look into the model
VOICE_BY = ("number", "reference")
_FOLLOW = 0.02  # of a speaker's kept voice towards one that is read

# r9y9's: 2 x 10 layers that see 256 ms at 16 kHz; up-sampling of 25 codes per second.
SOURCE_DECODER = WaveNetConfig(
    n_layers=20,
    n_stacks=2,
    kernel_size=3,
    residual_channels=256,
    gate_channels=368,
    skip_channels=256,
    upsampling="smoothed",
    scales=(4, 4, 8, 5),
    speaker_dim=32,
    weight_norm=True,
)


@dataclass(frozen=True)
class WaveNetAutoencoderConfig(QuantizerConfig):
    """Choices beside those of the bottleneck (`quantizer` and what follows it); the defaults are a plain WAE's."""

    quantizer: str = "none"
    codebook_size: int = 256
    channels: int = 768  # of the content encoder
    stride: int = 4  # frames per code: 4 (25 codes/s) or 2 (50)
    normed: bool = False  # instance norm behind every second layer of the encoder
    feed_forward: bool = False  # the last layers are x + ReLU(conv k1(x)), as in the paper, not x + ReLU(x)
    half_kernel: int = 4  # of the layers that halve the rate
    edges: str = "reflect"  # how convolutions of the encoder go on behind the ends: "reflect", or "zeros"
    reference: str = ""  # what reads a voice off an utterance: "simple", "bank", or nothing
    reference_channels: int = 256
    voice_dim: int = 64  # of what it reads
    adain_layers: int = 0  # one behind the other, on the code
    adain_normed: bool = True  # False: without instance norm in them, as submitted
    adain_relu: bool = False  # ReLU behind each
    voice_by: str = (
        "number"  # who speaks, to WaveNet and to what draws: the "number" of the speaker, or the "reference"
    )
    jitter: float = 0.0  # probability that a code gives way to its neighbour in training
    token_dropout: float = 0.0  # probability that one of `dropout_axis` is zero in training
    dropout_axis: str = "time"  # "time": whole tokens; "feature": whole channels
    condition_channels: int = 0  # of a convolution over codes before the decoder; 0 = the codes as they are
    condition_kernel: int = 3  # codes that it sees
    draw_channels: int = 0  # hidden channels of a network that draws mel bands for the decoder; 0 = none
    speaker_dim: int = 0  # of the speaker's vector that this network is given
    voices: str = "speaker"  # whose vectors the decoder knows: "speaker", or a field of the corpus
    critic_channels: int = 128  # adversarial: of what guesses the speaker
    adversarial_weight: float = 0.01  # adversarial: of its cross entropy, which the encoder raises
    decoder: WaveNetConfig = field(default=SOURCE_DECODER)

    def __post_init__(self):
        super().__post_init__()
        for name, known in (
            ("edges", EDGES), ("reference", ("", *REFERENCES)), ("voice_by", VOICE_BY),
            ("dropout_axis", ("time", "feature")),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise UnknownName(name, getattr(self, name), known)
        if self.stride not in PLANS:
            raise SpeechlibError(f"stride {self.stride}: a code stands for {' or '.join(map(str, PLANS))} frames")
        if not 0 <= self.token_dropout < 1:
            raise SpeechlibError(f"token_dropout is {self.token_dropout}: from 0 (off) to less than 1")
        if self.condition_kernel % 2 == 0:
            raise SpeechlibError(f"condition_kernel {self.condition_kernel} must be odd: a code stays in its place")
        if bool(self.adain_layers or self.voice_by == "reference") != bool(self.reference):
            raise SpeechlibError(
                f"reference {self.reference!r} with adain_layers {self.adain_layers} and voice_by {self.voice_by!r}: a "
                "voice is read where something uses it, and nowhere else"
            )
        if self.speaker_dim and not self.draw_channels:
            raise SpeechlibError("speaker_dim is of the network that draws: decoder.speaker_dim is the WaveNet's")
        if self.voice_by == "reference" and (self.speaker_dim or self.decoder.speaker_dim):
            raise SpeechlibError(
                f"voice_by 'reference' takes the place of numbers: speaker_dim {self.speaker_dim} and "
                f"decoder.speaker_dim {self.decoder.speaker_dim} must be 0"
            )

    reads_wave = False  # what the systems of codecs ask

    @property
    def code_length(self) -> int:
        """Samples per code. The decoder's condition has a step per code, or per frame that is drawn."""
        return self.decoder.hop * (self.stride if self.draw_channels else 1)


class WaveNetAutoencoder(nn.Module):
    """n_features: channels of the features; n_speakers: voices that the model knows; n_bands: those that are drawn (0
    without `draw_channels`).

    `inputs` holds the statistics of the features over the training part, `bands` those of what is drawn. The decoder is
    a WaveNet like any other: generation.wavenet.generate(model.decoder, *model.condition(codes, speaker)) speaks codes.
    """

    def __init__(self, config: WaveNetAutoencoderConfig, n_features: int, n_speakers: int, n_bands: int = 0):
        super().__init__()
        if bool(n_bands) != bool(config.draw_channels):
            raise SpeechlibError(f"{n_bands} bands to draw with draw_channels {config.draw_channels}: both or none")
        if n_features < 1 or n_speakers < 1:
            raise SpeechlibError(f"{n_features} features of {n_speakers} speakers: one of each at least")
        self.config = config
        self.sizes = {"n_features": n_features, "n_speakers": n_speakers, "n_bands": n_bands}
        self.inputs = Standardise(n_features)
        encoder = config.channels, config.stride, config.normed, config.feed_forward, config.half_kernel, config.edges
        self.encoder = ContentEncoder(n_features, config.encoder_channels, *encoder)
        self.quantizer = make_quantizer(config)
        self.jitter = Jitter(config.jitter)
        self.reference, read = None, 0
        if config.reference:
            read = config.voice_dim
            self.reference = make_reference(config.reference, n_features, config.reference_channels, read)
            self.follows_batches = True  # the voices that are kept
            self.register_buffer("known_voices", torch.zeros(n_speakers, read))  # (S, V), see the head of this file
        self.adain = nn.ModuleList(
            AdaIN(config.code_dim, read, config.adain_normed) for _ in range(config.adain_layers)
        )
        width, kernel = config.condition_channels, config.condition_kernel
        self.mix = nn.Conv1d(config.code_dim, width, kernel, padding=kernel // 2) if width else nn.Identity()
        width = width or config.code_dim
        beside = read if config.voice_by == "reference" else config.speaker_dim  # of the voice beside the code
        self.drawing, self.bands, self.voices = None, Standardise(n_bands), None
        if n_bands:
            self.drawing = Drawing(width, beside, config.draw_channels, n_bands, config.stride)
        if config.speaker_dim:
            self.voices = nn.Embedding(n_speakers, config.speaker_dim)
            nn.init.normal_(self.voices.weight, std=0.1)
        elif not n_bands:
            width += beside
        self.decoder = WaveNet(config.decoder, n_bands or width, n_speakers if config.decoder.speaker_dim else 0)

    @property
    def hop(self) -> int:
        """Samples per code."""
        return self.config.code_length

    @property
    def speakers(self) -> nn.Embedding | None:
        """The table of the speakers' vectors; where there is none, the voices that were read, if any."""
        table = self.decoder.speakers if self.voices is None else self.voices
        if table is None and self.reference is not None:
            return nn.Embedding.from_pretrained(self.known_voices)
        return table

    def encode(self, features: Tensor) -> Tensor:
        """Raw features (B, C, T) of any length -> z_e (B, D, ceil(T / stride)). Raises SpeechlibError for another
        shape."""
        return self.encoder(self._standard(features))

    def _standard(self, features: Tensor) -> Tensor:
        wanted = self.sizes["n_features"]
        if features.ndim != 3 or features.shape[1] != wanted or not features.shape[2]:
            raise SpeechlibError(f"features of shape {tuple(features.shape)}, the encoder takes (B, {wanted}, T)")
        return self.inputs(features)

    def quantize(self, z_e: Tensor) -> Quantized:
        return self.quantizer(z_e)

    def voice_of(self, features: Tensor) -> Tensor:
        """The voice (B, V) of raw features (B, C, T), whoever speaks them. Raises SpeechlibError where none is read."""
        if self.reference is None:
            raise SpeechlibError("this model reads no voice off a reference (model.reference is empty): give a speaker")
        return self.reference(self._standard(features))

    def told(self, codes: Tensor, speaker: Tensor | None = None, voice: Tensor | None = None) -> Tensor:
        """Codes (B, L) (sliced (B, G, L)), or their vectors z_q (B, D, L) -> what stands for them (B, C2, L): jittered
        and dropped in training, with the level and deviation of the voice, mixed with their neighbours.

        `voice` (B, V) is what `voice_of` read; without it, that which is known of the speaker (B,), -1 = nobody.
        """
        z = codes if codes.is_floating_point() else self.quantizer.embed(codes)
        z = self._dropped(self.jitter(z))
        for layer in self.adain:
            z = layer(z, self._voice(speaker, voice))
            z = F.relu(z) if self.config.adain_relu else z
        return self.mix(z)

    def condition(
        self, codes: Tensor, speaker: Tensor | None = None, voice: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What `told` takes -> what the decoder is told: condition (B, C2, L or frames), and the speaker if it knows
        numbers of speakers."""
        z, beside = self.told(codes, speaker, voice), None
        if self.config.voice_by == "reference":
            beside = self._voice(speaker, voice)
        elif self.voices is not None:
            beside = vectors_of(self.voices, speaker)
        if self.drawing is not None:
            z = self.bands.inverse(self.drawing(z, beside))
        elif beside is not None:
            z = torch.cat([z, beside[:, :, None].expand(-1, -1, z.shape[2])], dim=1)
        return z, (None if self.decoder.speakers is None else speaker)

    def _voice(self, speaker: Tensor | None, voice: Tensor | None) -> Tensor:
        """Voice (B, V): as it was read, or what is known of the speaker; nobody's is zero."""
        return vectors_of(nn.Embedding.from_pretrained(self.known_voices), speaker) if voice is None else voice

    def _dropped(self, z: Tensor) -> Tensor:
        """z (B, D, L) with tokens or channels at zero, the others raised so that the mean stays."""
        p = self.config.token_dropout
        if not self.training or not p:
            return z
        shape = (len(z), 1, z.shape[2]) if self.config.dropout_axis == "time" else (*z.shape[:2], 1)
        return z * (drawn(torch.rand, shape, device=z.device) >= p) / (1 - p)

    def forward(self, wave: Tensor, features: Tensor, speaker: Tensor | None = None, decode: bool = True) -> Output:
        """Teacher forcing: wave (B, S) in [-1, 1], its features (B, C, T), speaker (B,); the reference is itself.

        S must be whole codes: a multiple of `hop`. Without `decode` it ends at what is drawn.
        """
        whole_codes(wave, self.hop, "samples")
        z_e = self.encode(features)
        quantized = self.quantize(z_e)
        voice = None
        if self.reference is not None:
            voice = self.voice_of(features)
            self._remember(voice, speaker)
        condition, told = self.condition(quantized.z_q, speaker, voice)
        drawn = None if self.drawing is None else condition
        if not decode:
            return Output(None, None, z_e, quantized, drawn)
        inner = self.decoder.inner(wave, condition)
        return Output(self.decoder.predict(inner, condition, told), inner, z_e, quantized, drawn)

    @torch.no_grad()
    def _remember(self, voice: Tensor, speaker: Tensor | None) -> None:
        """Each speaker's kept voice moves towards those that were read of him; a first one is taken whole."""
        if not self.training or speaker is None:
            return
        n_speakers = self.sizes["n_speakers"]
        known = (speaker >= 0).float()
        rows, voice = speaker.clamp(min=0), voice.float() * known[:, None]
        counts = known.new_zeros(n_speakers).index_add_(0, rows, known)[:, None]
        sums = torch.zeros_like(self.known_voices).index_add_(0, rows, voice)
        counts, sums = total(counts), total(sums)  # of all processes, as each has rows of its own
        new = (self.known_voices == 0).all(1, keepdim=True)
        share = torch.where(new, 1.0, 1 - (1 - _FOLLOW) ** counts)
        moved = torch.lerp(self.known_voices, sums / counts.clamp(min=1), share)
        self.known_voices.copy_(torch.where(counts > 0, moved, self.known_voices))

    def represent(self, features: Tensor, speaker: Tensor | None = None) -> dict[str, Tensor]:
        """Raw features (B, C, T) -> what stands for them at each of POINTS, (B, channels of it, L).

        encoder: before the projection; projection: z_e (of a VAE mean and log-variance); bottleneck: z_q, all that is
        sent; condition: what `told` makes of it with the voice that speaks there. Wanted of a model in eval mode.
        """
        hidden = self.encoder.hidden(self._standard(features))
        z_e = self.encoder.project(hidden)
        z_q = self.quantize(z_e).z_q
        voice = None if self.reference is None else self.voice_of(features)
        return dict(zip(POINTS, (hidden, z_e, z_q, self.told(z_q, speaker, voice))))

    def codes(self, features: Tensor) -> Tensor:
        """Raw features (B, C, T) of any length -> codes (B, L), sliced (B, G, L), L = ceil(T / stride); of a bottleneck
        without codes its vectors z_q (B, D, L), before AdaIN."""
        quantized = self.quantize(self.encode(features))
        return quantized.z_q if quantized.codes is None else quantized.codes

    def code_positions(self, n_codes: int) -> Tensor:
        """Frame (L,), fractional, in the middle of what each code sees."""
        return torch.arange(n_codes) * self.config.stride + self.encoder.offset


class AdversarialWaveNetAutoencoder(WaveNetAutoencoder):
    """With a critic beside it that guesses the speaker from z_q, and an encoder that should leave it nothing."""

    def __init__(self, config: WaveNetAutoencoderConfig, n_features: int, n_speakers: int, n_bands: int = 0):
        super().__init__(config, n_features, n_speakers, n_bands)
        self.critic = SpeakerCritic(config.code_dim, config.critic_channels, n_speakers)
