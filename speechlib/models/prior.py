"""A prior over codes: the next code from all codes before it, so that a codec can speak without a recording.

van den Oord et al. 2017, arXiv 1711.00937, sections 3 and 4.3: after the VQ-VAE is trained, p(codes) is learned by an
autoregressive model, for speech by a WaveNet (arXiv 1609.03499) on the codes instead of the samples:

    codes (B, L) -> one code later -> a vector per code (B, R, L) -> n_layers x [causal conv, dilated -> + speaker
      -> tanh * sigmoid -> residual (B, R, L), skip (B, S, L)] -> sum of skips -> ReLU, 1x1, ReLU, 1x1
      -> logits (B, K, L)

The shift is inside: logits at l see codes[:l] and never codes[l]. Before the first code stands a vector of its own, so
the model knows where an utterance (or a crop of one) begins.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError
from .shares import drawn
from .speakers import vectors_of
from .wavenet import Layer, WaveNetConfig


@dataclass(frozen=True)
class PriorConfig:
    """Choices of the model. The size of the codebook and the number of speakers are arguments beside it."""

    n_layers: int = 12
    n_stacks: int = 2  # dilations 1, 2, 4, ... start anew in each
    kernel_size: int = 2
    residual_channels: int = 64
    gate_channels: int = 128  # half for the tanh, half for the sigmoid
    skip_channels: int = 64
    speaker_dim: int = 16  # size of the learned speaker vector; 0 = the prior does not know who speaks
    dropout: float = 0.1  # on each layer's input: codes are few, and soon known by heart
    anonymous: float = 0.1  # share of the training's items that do not say who speaks: so "nobody" is learned as well

    def __post_init__(self):
        for name in ("dropout", "anonymous"):
            if not 0 <= getattr(self, name) < 1:
                raise SpeechlibError(f"{name} is {getattr(self, name)}, needs 0 (off) to less than 1")
        self.wavenet  # noqa: B018  layers that do not fit together are refused here

    @property
    def wavenet(self) -> WaveNetConfig:
        """The layers, as WaveNet names them."""
        return WaveNetConfig(
            n_layers=self.n_layers,
            n_stacks=self.n_stacks,
            kernel_size=self.kernel_size,
            residual_channels=self.residual_channels,
            gate_channels=self.gate_channels,
            skip_channels=self.skip_channels,
            dropout=self.dropout,
        )

    @property
    def receptive_field(self) -> int:
        """Codes that the logits of one code depend on."""
        return self.wavenet.receptive_field


class Prior(nn.Module):
    """codes (B, L), speaker (B,), -1 = nobody -> logits (B, K, L): code l from the codes before l.

    `codec` names the codec whose codes were learned (systems.fingerprint): numbers of another codebook mean nothing.
    """

    def __init__(self, config: PriorConfig, codebook_size: int, n_speakers: int = 0, codec: str = ""):
        super().__init__()
        if bool(config.speaker_dim) != bool(n_speakers):
            raise SpeechlibError(f"{n_speakers} speakers with vectors of size {config.speaker_dim}: both or none")
        self.config, self.codebook_size, self.n_speakers, self.codec = config, codebook_size, n_speakers, codec
        layers, width = config.wavenet, config.n_layers * config.gate_channels
        self.codes = nn.Embedding(codebook_size + 1, config.residual_channels)  # the last row: before the first code
        self.layers = nn.ModuleList(Layer(layers, dilation) for dilation in layers.dilations)
        self.speakers = nn.Embedding(n_speakers, config.speaker_dim) if n_speakers else None
        self.speaker = nn.Linear(config.speaker_dim, width, bias=False) if n_speakers else None  # of all layers
        self.post_1 = nn.Conv1d(config.skip_channels, config.skip_channels, 1)
        self.post_2 = nn.Conv1d(config.skip_channels, codebook_size, 1)
        nn.init.zeros_(self.post_2.weight)  # an untrained prior says that every code is as likely as another
        nn.init.zeros_(self.post_2.bias)

    @property
    def sizes(self) -> dict:
        return {"codebook_size": self.codebook_size, "n_speakers": self.n_speakers, "codec": self.codec}

    @property
    def skip_scale(self) -> float:
        return self.config.n_layers**-0.5

    def forward(self, codes: Tensor, speaker: Tensor | None = None) -> Tensor:
        """Teacher forcing: the logits (B, K, L) of every one of the codes (B, L), given those before it."""
        check(codes, self.codebook_size)
        x = self.codes(F.pad(codes, (1, 0), value=self.codebook_size)[:, :-1]).transpose(1, 2)  # (B, R, L)
        total = 0
        for layer, added in zip(self.layers, self.spoken(speaker)):
            x, skip = layer(x, added)
            total = total + skip
        total = F.relu(total * self.skip_scale)
        return self.post_2(F.relu(self.post_1(total)))

    def nll(self, codes: Tensor, speaker: Tensor | None = None) -> Tensor:
        """-log p (B, L) in nats of each code, given those before it."""
        return F.cross_entropy(self(codes, speaker).float(), codes, reduction="none")

    def spoken(self, speaker: Tensor | None) -> list[Tensor | None]:
        """What a speaker (B,) adds to each layer's gate (B, G, 1). Nobody (-1) adds nothing."""
        if self.speakers is None:
            if speaker is not None:
                raise SpeechlibError("speakers were given to a prior that knows none (speaker_dim 0)")
            return [None] * self.config.n_layers
        vector = vectors_of(self.speakers, speaker, "prior")
        if self.training and self.config.anonymous:
            withheld = drawn(torch.rand, speaker.shape, device=speaker.device) < self.config.anonymous
            vector = vector * ~withheld[:, None]  # as nobody's
        return list(self.speaker(vector)[:, :, None].chunk(self.config.n_layers, dim=1))


def check(codes: Tensor, codebook_size: int) -> None:
    """Raises SpeechlibError for what is not codes (B, L) of a codebook of this size."""
    if codes.ndim != 2 or codes.is_floating_point():
        hint = ". Sliced codes are rows (B, G, L): a prior learns one codebook" if codes.ndim == 3 else ""
        raise SpeechlibError(f"codes of shape {tuple(codes.shape)}, {codes.dtype}: wanted whole numbers (B, L){hint}")
    if codes.numel() and not 0 <= codes.min() <= codes.max() < codebook_size:
        found = f"{int(codes.min())} to {int(codes.max())}"
        raise SpeechlibError(f"codes run from {found}, the prior's codebook has {codebook_size}: is this its codec?")
