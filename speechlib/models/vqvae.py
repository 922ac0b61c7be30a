"""VQ-VAE on features: codes of speech that a decoder turns back into features.

Chorowski et al. 2019, arXiv 1901.08810 (encoder, jitter), with the deconvolutional decoder of VQ-VAE-Speech, or one in
which every code draws its own frames:

    x (B, C, T) -> Standardise -> Encoder -> z_e (B, D, L) -> quantizer -> codes (B, L), z_q (B, D, L)
      -> jitter -> [+ speaker vector] -> Decoder -> prediction (B, C2, T), standardised targets

With stride 2 a code stands for two frames: T = 47 -> L = 24, T = 191 -> L = 96.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ..errors import SpeechlibError, UnknownName
from .jitter import Jitter
from .quantizers import Quantized, QuantizerConfig, codes_of, make_quantizer
from .standardise import Standardise

DECODERS = ("deconv", "frames")


@dataclass(frozen=True)
class VQVAEConfig(QuantizerConfig):
    """Choices beside those of the quantizer; the defaults are the source's baseline with its mistakes put right."""

    channels: int = 768
    residual_layers: int = 2  # blocks of each residual stack
    share_residual_blocks: bool = False  # True: one block used over and over, as the source system did by mistake
    stride: int = 2  # frames per code
    decoder: str = "deconv"  # "deconv": the source's, neighbouring codes work together; "frames": each code by itself
    jitter: float = 0.0  # probability; the source system's is 0.12
    speaker_dim: int = 0  # size of the trained speaker vector given to the decoder; 0 = no conditioning
    weight_norm: bool = False  # weight normalisation and Kaiming start on every convolution

    def __post_init__(self):
        super().__post_init__()
        if self.decoder not in DECODERS:
            raise UnknownName("decoder", self.decoder, DECODERS)
        for name in ("channels", "stride"):
            if getattr(self, name) < 1:
                raise SpeechlibError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("residual_layers", "speaker_dim"):
            if getattr(self, name) < 0:
                raise SpeechlibError(f"{name} must not be negative, got {getattr(self, name)}")


class Output(NamedTuple):
    prediction: Tensor  # (B, C2, T), in units of the standardised targets
    z_e: Tensor  # (B, D, L)
    quantized: Quantized


class ResidualStack(nn.Module):
    """(B, channels, L) -> the same: x + block(x) n_layers times, then ReLU."""

    def __init__(self, channels: int, n_layers: int, shared: bool, normed: bool):
        super().__init__()
        self.n_layers = n_layers
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                _conv(channels, channels, 3, padding=1, bias=False, normed=normed),
                nn.ReLU(),
                _conv(channels, channels, 1, bias=False, normed=normed, activated=False),
            )
            for _ in range(min(n_layers, 1) if shared else n_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.n_layers):
            x = x + self.blocks[i % len(self.blocks)](x)
        return F.relu(x)


class Encoder(nn.Module):
    """Standardised features (B, C, T) -> z_e (B, D, L), L = T // stride + 1."""

    def __init__(self, config: VQVAEConfig, n_features: int):
        super().__init__()
        width, normed = config.channels, config.weight_norm
        self.conv_1 = _conv(n_features, width, 3, padding=1, normed=normed)
        self.conv_2 = _conv(width, width, 3, padding=1, normed=normed)
        self.down = _conv(width, width, 2 * config.stride, config.stride, config.stride, normed=normed)
        self.conv_4 = _conv(width, width, 3, padding=1, normed=normed)
        self.conv_5 = _conv(width, width, 3, padding=1, normed=normed)
        self.residual = ResidualStack(width, config.residual_layers, config.share_residual_blocks, normed)
        self.project = _conv(width, config.encoder_channels, 3, padding=1, normed=normed, activated=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv_1(x))
        x = x + F.relu(self.conv_2(x))  # (B, channels, T)
        x = F.relu(self.down(x))  # (B, channels, L)
        x = x + F.relu(self.conv_4(x))
        x = x + F.relu(self.conv_5(x))
        x = x + self.residual(x)
        return self.project(x)


class Decoder(nn.Module):
    """z_q (B, D, L), speaker vector beside it -> frames (B, C2, L * stride + 3); the caller keeps the first T."""

    def __init__(self, config: VQVAEConfig, n_targets: int):
        super().__init__()
        width, normed = config.channels, config.weight_norm
        self.stride = config.stride
        self.conv_1 = _conv(config.code_dim + config.speaker_dim, width, 3, padding=1, normed=normed, activated=False)
        self.residual = ResidualStack(width, config.residual_layers, config.share_residual_blocks, normed)
        self.conv_2 = _conv(width, width, 3, padding=1, transposed=True, normed=normed)
        self.conv_3 = _conv(width, width, 3, transposed=True, normed=normed)
        self.conv_4 = _conv(width, n_targets, 2, transposed=True, normed=normed, activated=False)

    def forward(self, z: Tensor) -> Tensor:
        x = self.conv_1(z).repeat_interleave(self.stride, dim=2)
        x = self.residual(x)
        x = F.relu(self.conv_2(x))
        x = F.relu(self.conv_3(x))
        return self.conv_4(x)


class FrameDecoder(nn.Module):
    """z_q (B, D, L) -> frames (B, C2, L * stride): each code draws the frames around its centre and sees no other code.

    The deconvolutional decoder sees some seven codes at once and lets them share the work, so that one code alone means
    little. Here it must say by itself what sounds at its place, and comes closer to a phone.
    """

    def __init__(self, config: VQVAEConfig, n_targets: int):
        super().__init__()
        width, normed = config.channels, config.weight_norm
        self.stride = config.stride
        self.hidden_1 = _conv(config.code_dim + config.speaker_dim, width, 1, normed=normed)
        self.hidden_2 = _conv(width, width, 1, normed=normed)
        self.draw = _conv(width, n_targets * config.stride, 1, normed=normed, activated=False)

    def forward(self, z: Tensor) -> Tensor:
        x = F.relu(self.hidden_1(z))
        x = F.relu(self.hidden_2(x))
        x = self.draw(x).unflatten(1, (-1, self.stride))  # (B, C2, stride, L)
        x = x.transpose(2, 3).flatten(2)  # (B, C2, L * stride)
        half = self.stride // 2  # code j is centred on frame j * stride - 0.5
        return F.pad(x[:, :, half:], (0, half), mode="replicate")


class ReceptiveField(NamedTuple):
    frames_per_code: int  # input frames that one code sees
    codes_per_frame: int  # codes that one predicted frame sees, at most


class Layer(NamedTuple):
    name: str
    kind: str
    output: tuple[int, ...]  # shape for a batch of one
    parameters: int


class VQVAE(nn.Module):
    """Takes raw features; `inputs` and `targets` hold the statistics of the training part (each of its own kind).

    n_features and n_targets are the channels of inputs and targets, n_speakers the rows of the speaker table.
    """

    def __init__(self, config: VQVAEConfig, n_features: int, n_targets: int, n_speakers: int):
        super().__init__()
        self.config = config
        self.sizes = {"n_features": n_features, "n_targets": n_targets, "n_speakers": n_speakers}
        self.inputs, self.targets = Standardise(n_features), Standardise(n_targets)
        self.encoder = Encoder(config, n_features)
        self.quantizer = make_quantizer(config)
        self.jitter = Jitter(config.jitter)
        self.speakers = nn.Embedding(n_speakers, config.speaker_dim) if config.speaker_dim else None
        self.decoder = (Decoder if config.decoder == "deconv" else FrameDecoder)(config, n_targets)

    def encode(self, x: Tensor) -> Tensor:
        """Raw features (B, C, T) -> z_e (B, D, L), logits (B, K, L) for quantizer "softmax"."""
        if x.ndim != 3 or x.shape[1] != self.sizes["n_features"]:
            raise SpeechlibError(
                f"features of shape {tuple(x.shape)}, the model takes (B, {self.sizes['n_features']}, T)"
            )
        return self.encoder(self.inputs(x))

    def quantize(self, z_e: Tensor) -> Quantized:
        return self.quantizer(z_e)

    def decode(self, z_q: Tensor, speaker: Tensor | None = None, n_frames: int | None = None) -> Tensor:
        """z_q (B, D, L) -> features (B, C2, n_frames) in target units; n_frames is at most L * stride (+ 3, "deconv").

        Raises SpeechlibError for a model with speaker vectors and no or an unknown speaker (B,).
        """
        known = self.sizes["n_speakers"]
        if self.speakers is not None and speaker is not None and not ((speaker >= 0) & (speaker < known)).all():
            raise SpeechlibError(f"speakers {speaker.tolist()} for a model of {known}, counted from 0")
        return self.targets.inverse(self._predict(z_q, speaker, n_frames))

    def forward(self, x: Tensor, speaker: Tensor | None = None) -> Output:
        """Raw features (B, C, T), speaker (B,) -> prediction of the standardised targets, same T."""
        z_e = self.encode(x)
        quantized = self.quantize(z_e)
        return Output(self._predict(self.jitter(quantized.z_q), speaker, x.shape[2]), z_e, quantized)

    def codes(self, x: Tensor) -> Tensor:
        """Raw features (B, C, T) -> codes (B, L), sliced (B, G, L)."""
        return codes_of(self.quantize(self.encode(x)))

    def code_positions(self, n_codes: int) -> Tensor:
        """Frame index (L,), fractional, of each code's centre: the strided window is frames (j - 1, j + 1) * stride."""
        return torch.arange(n_codes) * self.config.stride - 0.5

    def receptive_field(self) -> ReceptiveField:
        """How far a code looks and how many codes a frame needs, computed from kernels and strides."""
        stride, layers = self.config.stride, self.config.residual_layers
        before, after = 2 + 2, 2 + 2 + 2 * layers + 2  # reach of the kernels of 3 before and after the strided layer
        frames = 1 + before + (2 * stride - 1) + stride * after
        if self.config.decoder == "frames":
            return ReceptiveField(frames, 1)
        reach = 2 * layers + 2 + 2 + 1  # in frames, of the layers after the up-sampling
        return ReceptiveField(frames, 2 + 1 + -(-reach // stride))

    @torch.no_grad()
    def summary(self, n_frames: int = 47) -> list[Layer]:
        """The layers in the order in which they work, with what they give for one crop of n_frames."""
        rows: dict[str, Layer] = {}

        def note(name: str, layer: nn.Module):
            def hook(_layer, _inputs, output):
                shape = (output.z_q if isinstance(output, Quantized) else output).shape
                kind = type(layer).__name__.removeprefix("Parametrized")
                rows.setdefault(name, Layer(name, kind, tuple(shape), sum(p.numel() for p in layer.parameters())))

            return layer.register_forward_hook(hook)

        shown = (nn.Conv1d, nn.ConvTranspose1d, nn.Embedding)
        hooks = [note(name, m) for name, m in self.named_modules() if isinstance(m, shown) or m is self.quantizer]
        mean = self.inputs.mean
        was_training = self.training
        try:
            self.eval()
            self(mean[None, :, None].expand(1, -1, n_frames), torch.zeros(1, dtype=torch.long, device=mean.device))
        finally:
            self.train(was_training)
            for hook in hooks:
                hook.remove()
        return list(rows.values())

    def _predict(self, z_q: Tensor, speaker: Tensor | None, n_frames: int | None) -> Tensor:
        if self.speakers is not None:
            if speaker is None:
                raise SpeechlibError("this model was trained with speaker vectors: give the speaker's index (B,)")
            vector = self.speakers(speaker)[:, :, None].expand(-1, -1, z_q.shape[2])
            z_q = torch.cat([z_q, vector], dim=1)
        frames = self.decoder(z_q)
        if n_frames is not None and n_frames > frames.shape[2]:
            raise SpeechlibError(
                f"{z_q.shape[2]} codes give {frames.shape[2]} frames at most, {n_frames} were asked for"
            )
        return frames[:, :, :n_frames]


def _conv(
    n_in: int,
    n_out: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    bias: bool = True,
    transposed: bool = False,
    normed: bool = False,
    activated: bool = True,
) -> nn.Module:
    """A convolution as torch starts it, or with weight normalisation and Kaiming's start for what follows it."""
    layer = (nn.ConvTranspose1d if transposed else nn.Conv1d)(n_in, n_out, kernel, stride, padding, bias=bias)
    if not normed:
        return layer
    inputs = "fan_out" if transposed else "fan_in"  # torch names them for weights (out, in, kernel)
    nn.init.kaiming_normal_(layer.weight, mode=inputs, nonlinearity="relu" if activated else "linear")
    return weight_norm(layer)
