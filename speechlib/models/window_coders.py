"""Networks between a window of frames and a vector: what VAE and WAE put their latent space between.

    encoder: x (B, F, w) -> h (B, encoder.n_out)           decoder: z (B, Z) -> y (B, n_maps, F, w)

| network | what                                                                                                  |
|---------|-------------------------------------------------------------------------------------------------------|
| conv    | a kernel over all bands of a frame, two strided ones over time, one fully connected layer (Hsu, Zhang |
|         | & Glass 2017, arXiv 1704.04222); the decoder mirrors it                                               |
| gated   | the same, every convolution A * sigmoid(B) (Dauphin et al. 2017, arXiv 1612.08083)                    |
| lstm    | two layers of LSTM read the frames, two draw them from the vector, the same at every frame            |
| grid    | strided kernels over time and frequency: bands stay in their order, as frames do                      |

In eval mode no item of a batch depends on another one, with LSTMs in training neither. (BatchNorm mixes in training.)
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import SpeechlibError, UnknownName
from .shares import BatchNorm1d, BatchNorm2d, Dropout

NETWORKS = ("conv", "gated", "lstm", "grid")
ACTIVATIONS = ("leaky_relu", "tanh")


@dataclass(frozen=True)
class CoderConfig:
    """Choices of encoder and decoder; the defaults are the source system's, but for its bounded output."""

    network: str = "conv"
    channels: tuple[int, ...] = (64, 128, 256)
    hidden: int = 512  # width of the fully connected layer, or of the LSTMs
    latent_dim: int = 64
    activation: str = "leaky_relu"
    slope: float = 0.2  # of the leaky ReLU; 0 = ReLU
    padding: int = 0  # frames of zeros at each end for strided convolutions; the source has none, Hsu et al. have 1
    bias: bool = True
    dropout: float = 0.0
    bounded_output: bool = False  # True: BatchNorm and activation behind the last layer as well, for comparison only
    standardise: bool = True  # False: the window is read and drawn in its own units
    shift: int = 0  # frames by which a window of the training part may lie beside the middle of its phone

    def __post_init__(self):
        if self.network not in NETWORKS:
            raise UnknownName("network", self.network, NETWORKS)
        if self.activation not in ACTIVATIONS:
            raise UnknownName("activation", self.activation, ACTIVATIONS)
        if self.bounded_output and self.network not in ("conv", "gated"):
            raise SpeechlibError(f"bounded_output is how the source's convolutions ended, network is {self.network}")
        if len(self.channels) != 3 or min(*self.channels, self.hidden, self.latent_dim) < 1:
            sizes = f"channels {self.channels}, hidden {self.hidden}, latent_dim {self.latent_dim}"
            raise SpeechlibError(f"{sizes}: three numbers of channels, all sizes 1 or more")
        if not 0 <= self.dropout < 1 or self.shift < 0:
            raise SpeechlibError(f"dropout {self.dropout} needs 0 to less than 1, shift {self.shift} 0 or more")


class ConvEncoder(nn.Module):
    """(B, F, w) -> (B, hidden): a kernel of one frame and all bands, then time is halved twice."""

    def __init__(self, config: CoderConfig, n_features: int, n_frames: int):
        super().__init__()
        lengths, padding = _lengths(config, n_frames), config.padding
        one, two, three = config.channels
        gates = 1 + (config.network == "gated")
        self.n_out = config.hidden
        self.layers = nn.Sequential(
            *_block(config, nn.Conv1d(n_features, gates * one, 1, bias=config.bias)),  # (B, one, w)
            *_block(config, nn.Conv1d(one, gates * two, 3, 2, padding, bias=config.bias)),
            *_block(config, nn.Conv1d(two, gates * three, 3, 2, padding, bias=config.bias)),
            nn.Flatten(),
            *_block(config, nn.Linear(three * lengths[-1], config.hidden, bias=config.bias)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ConvDecoder(nn.Module):
    """(B, Z) -> (B, n_maps, F, w): the encoder's way back."""

    def __init__(self, config: CoderConfig, n_features: int, n_frames: int, n_maps: int):
        super().__init__()
        lengths, padding = _lengths(config, n_frames), config.padding
        one, two, three = config.channels
        gates = 1 + (config.network == "gated")
        # a strided convolution forgets up to one frame, which the way back has to be told
        lost = [long - ((short - 1) * 2 + 3 - 2 * padding) for long, short in zip(lengths, lengths[1:])]
        self.shape = (n_maps, n_features)
        self.layers = nn.Sequential(
            nn.Linear(config.latent_dim, config.hidden, bias=config.bias),
            *_block(config, nn.Linear(config.hidden, three * lengths[-1], bias=config.bias)),
            nn.Unflatten(1, (three, lengths[-1])),
            *_block(config, nn.ConvTranspose1d(three, gates * two, 3, 2, padding, lost[1], bias=config.bias)),
            *_block(config, nn.ConvTranspose1d(two, gates * one, 3, 2, padding, lost[0], bias=config.bias)),
        )
        if not config.bounded_output:
            self.draw = nn.Conv1d(one, n_maps * n_features, 1)
            return
        if n_maps != 1:
            raise SpeechlibError("a bounded output draws one map: it has no variance")
        last = nn.ConvTranspose2d(one, gates, (n_features, 1), bias=config.bias)
        self.draw = nn.Sequential(nn.Unflatten(1, (one, 1)), last, BatchNorm2d(gates), _activation(config, gates))

    def forward(self, z: Tensor) -> Tensor:
        drawn = self.draw(self.layers(z))
        return drawn if drawn.ndim == 4 else drawn.unflatten(1, self.shape)


class LSTMEncoder(nn.Module):
    """(B, F, w) -> (B, 2 * hidden): the last states of both layers."""

    def __init__(self, config: CoderConfig, n_features: int, n_frames: int):
        super().__init__()
        self.n_out = 2 * config.hidden
        self.lstm = nn.LSTM(n_features, config.hidden, 2, batch_first=True, dropout=config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        _, (last, _) = self.lstm(x.transpose(1, 2))  # (2, B, hidden)
        return last.transpose(0, 1).flatten(1)  # transposed, not viewed: a view would mix the items of the batch


class LSTMDecoder(nn.Module):
    """(B, Z) -> (B, n_maps, F, w)."""

    def __init__(self, config: CoderConfig, n_features: int, n_frames: int, n_maps: int):
        super().__init__()
        self.shape, self.n_frames = (n_maps, n_features), n_frames
        self.lstm = nn.LSTM(config.latent_dim, config.hidden, 2, batch_first=True, dropout=config.dropout)
        self.draw = nn.Linear(config.hidden, n_maps * n_features)

    def forward(self, z: Tensor) -> Tensor:
        states, _ = self.lstm(z[:, None].expand(-1, self.n_frames, -1))  # (B, w, hidden)
        return self.draw(states).transpose(1, 2).unflatten(1, self.shape)


class GridEncoder(nn.Module):
    """(B, F, w) -> (B, hidden): frequency and time are halved three times, and stay where they are."""

    def __init__(self, config: CoderConfig, n_features: int, n_frames: int):
        super().__init__()
        widths = (1, *config.channels)
        self.n_out = config.hidden
        strided = [nn.Conv2d(a, b, 3, 2, 1, bias=config.bias) for a, b in zip(widths, widths[1:])]
        rows, columns = halved(n_features, n_frames)[-1]
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, n_features)),
            *[layer for conv in strided for layer in _block(config, conv)],
            nn.Flatten(),
            *_block(config, nn.Linear(widths[-1] * rows * columns, config.hidden, bias=config.bias)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class GridDecoder(nn.Module):
    """(B, Z) -> (B, n_maps, F, w)."""

    def __init__(self, config: CoderConfig, n_features: int, n_frames: int, n_maps: int):
        super().__init__()
        sizes = halved(n_features, n_frames)
        one, two, three = config.channels
        lost = [tuple(1 - a % 2 for a in size) for size in sizes[:-1]]
        self.layers = nn.Sequential(
            nn.Linear(config.latent_dim, config.hidden, bias=config.bias),
            *_block(config, nn.Linear(config.hidden, three * sizes[-1][0] * sizes[-1][1], bias=config.bias)),
            nn.Unflatten(1, (three, *sizes[-1])),
            *_block(config, nn.ConvTranspose2d(three, two, 3, 2, 1, lost[2], bias=config.bias)),
            *_block(config, nn.ConvTranspose2d(two, one, 3, 2, 1, lost[1], bias=config.bias)),
            nn.ConvTranspose2d(one, n_maps, 3, 2, 1, lost[0]),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


_ENCODERS = {"conv": ConvEncoder, "gated": ConvEncoder, "lstm": LSTMEncoder, "grid": GridEncoder}
_DECODERS = {"conv": ConvDecoder, "gated": ConvDecoder, "lstm": LSTMDecoder, "grid": GridDecoder}


def make_encoder(config: CoderConfig, n_features: int, n_frames: int) -> nn.Module:
    return _ENCODERS[config.network](config, n_features, n_frames)


def make_decoder(config: CoderConfig, n_features: int, n_frames: int, n_maps: int = 1) -> nn.Module:
    return _DECODERS[config.network](config, n_features, n_frames, n_maps)


def check_window(x: Tensor, sizes: dict[str, int]) -> None:
    """Raises SpeechlibError for a batch of windows of another shape than the model's."""
    wanted = sizes["n_features"], sizes["n_frames"]
    if x.ndim != 3 or x.shape[1:] != wanted:
        raise SpeechlibError(f"windows of shape {tuple(x.shape)}, the model takes (B, {wanted[0]}, {wanted[1]})")


class Layer(NamedTuple):
    name: str
    kind: str
    output: tuple[int, ...]  # shape for a batch of one
    parameters: int


@torch.no_grad()
def summary(model: nn.Module, x: Tensor) -> list[Layer]:
    """The layers with weights in the order in which model(x) uses them, with what they give."""
    rows: dict[str, Layer] = {}

    def note(name: str, layer: nn.Module):
        def hook(_layer, _inputs, output):
            shape = (output[0] if isinstance(output, tuple) else output).shape
            parameters = sum(p.numel() for p in layer.parameters())
            rows.setdefault(name, Layer(name, type(layer).__name__, tuple(shape), parameters))

        return layer.register_forward_hook(hook)

    leaves = [(name, m) for name, m in model.named_modules() if m._parameters and any(True for _ in m.parameters())]
    hooks = [note(name, layer) for name, layer in leaves]
    was_training = model.training
    try:
        model.eval()(x)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return list(rows.values())


def _block(config: CoderConfig, layer: nn.Module) -> list[nn.Module]:
    """Layer, dropout of whole channels, BatchNorm, activation. Both branches of a gate are one layer, side by side."""
    two_d = isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    linear = isinstance(layer, nn.Linear)
    width = layer.out_features if linear else layer.out_channels
    norm = BatchNorm2d if two_d else BatchNorm1d
    gates = 2 if config.network == "gated" and not linear else 1
    return [
        layer,
        *([Dropout(config.dropout, whole_channels=not linear)] if config.dropout else []),
        norm(width),
        _activation(config, gates),
    ]


def _activation(config: CoderConfig, gates: int = 1) -> nn.Module:
    if gates == 2:
        return nn.GLU(1)
    return nn.Tanh() if config.activation == "tanh" else nn.LeakyReLU(config.slope)


def _lengths(config: CoderConfig, n_frames: int) -> list[int]:
    """Frames before, between and after the two strided convolutions."""
    found = [n_frames]
    for _ in range(2):
        found.append((found[-1] + 2 * config.padding - 3) // 2 + 1)
    if found[-1] < 1:
        raise SpeechlibError(f"windows of {n_frames} frames are too short for two convolutions of 3 frames, stride 2")
    return found


def halved(n_features: int, n_frames: int) -> list[tuple[int, int]]:
    """Bands and frames before and after each of three convolutions of stride 2."""
    found = [(n_features, n_frames)]
    for _ in range(3):
        found.append(tuple((n + 1) // 2 for n in found[-1]))
    return found
