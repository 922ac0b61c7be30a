"""Speech from a FloWaveNet: noise bent into a wave in one pass, or piece by piece where a pass would not fit."""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from ..errors import SpeechlibError, UnknownName
from ..models.convolutions import check_condition
from ..models.flowavenet import FloWaveNet, Network, noise

PRECISIONS = ("float32", "bfloat16")
_CHUNK = 2**17  # samples: at the source's size a pass over them holds about 1.2 GB beside the weights


def folded(model: FloWaveNet, precision: str = "float32") -> FloWaveNet:
    """The same model for generation alone: weight norm is multiplied out once, couplings may compute in bfloat16.

    What has been folded in this precision is given back as it is. The maps around the couplings' networks stay float32.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    kind = getattr(torch, precision)
    networks = [module for module in model.modules() if isinstance(module, Network)]
    normed = any(parametrize.is_parametrized(module) for module in model.modules())
    if not normed and networks[0].last.weight.dtype == kind:
        return model
    if networks[0].last.weight.dtype != torch.float32:
        raise SpeechlibError("this model was folded into bfloat16 before: fold the one it was made from")
    with torch.device("meta"):
        plain = FloWaveNet(replace(model.config, weight_norm=False), **model.sizes)
    places = {name: name.rpartition(".") for name in plain.state_dict()}
    tensors = {name: getattr(model.get_submodule(path), last).detach() for name, (path, _, last) in places.items()}
    plain.load_state_dict(tensors, assign=True)  # what had no weight norm is not copied
    for module in plain.modules():
        if isinstance(module, Network):
            module.to(kind)
    return plain.eval()


@torch.inference_mode()
def generate(
    model: FloWaveNet,
    condition: Tensor,
    speaker: Tensor | None = None,
    *,
    temperature: float = 0.8,
    seed: int = 0,
    chunk: int = _CHUNK,
    precision: str = "float32",
) -> Tensor:
    """condition (B, C, T), speaker (B,) (-1 = nobody) -> wave (B, T hop) on the CPU, all utterances in one pass.

    A condition of one item serves all speakers and the other way round. Utterance b comes of the noise of (seed, b),
    times `temperature`, whatever else is in the batch. Where T hop does not divide by what the blocks squeeze, the last
    frame is repeated and what comes of it cut off. What is longer than `chunk` samples is made in pieces that hear as
    much around them as a whole pass would: the same wave, with the memory of a piece. precision "bfloat16" is more than
    twice as quick at the source's size on a core that multiplies in it; small models gain nothing and lose little (50
    dB from float32 at `demo`). Raises SpeechlibError for what does not fit, and for weights or a condition that are not
    finite.
    """
    config = model.config
    if not model.sizes["n_condition"]:
        raise SpeechlibError("a model without a condition says nothing in particular: model.reverse(model.draw(n))")
    check_condition(condition, model.n_channels)
    if not condition.isfinite().all():
        raise SpeechlibError("the condition is not finite: is there a NaN in the features?")
    if chunk < 1:
        raise SpeechlibError(f"chunk is {chunk}: at least 1 sample")
    sizes = {len(x) for x in (condition, speaker) if x is not None}
    if len(sizes - {1}) > 1:
        raise SpeechlibError(f"{len(condition)} conditions for {len(speaker)} speakers: one, or as many")
    n, n_frames, device = max(sizes), condition.shape[2], next(model.parameters()).device
    condition = condition.to(device).expand(n, -1, -1)
    speaker = None if speaker is None else speaker.to(device).expand(n)
    model, n_samples = folded(model, precision), n_frames * config.hop
    while condition.shape[2] * config.hop % config.squeeze:
        condition = torch.cat([condition, condition[:, :, -1:]], dim=2)
    white = noise(condition.shape[2] * config.hop, n, temperature, seed)
    inner = torch.cat([_piece(model, white, condition, speaker, *ends) for ends in _pieces(model, white, chunk)], dim=1)
    if not inner.isfinite().all():
        raise SpeechlibError("what comes out is not finite: did this training diverge?")
    filters = model.filters(condition, inner.shape[1])
    if filters is None:
        return inner[:, :n_samples].clamp(-1, 1)
    from .synthesis import Synthesis  # here, because numba takes half a second to import

    return Synthesis(filters, n, torch.zeros(n, 0))(inner)[:, :n_samples]


def _pieces(model: FloWaveNet, white: Tensor, chunk: int) -> list[tuple[int, int]]:
    """(start, stop) in frames, of at most `chunk` samples (one step of whole frames and whole positions at least)."""
    step = _step(model)
    length = max(step, chunk // (step * model.config.hop) * step)
    n_frames = white.shape[1] // model.config.hop
    return [(start, min(start + length, n_frames)) for start in range(0, n_frames, length)]


def _piece(
    model: FloWaveNet, white: Tensor, condition: Tensor, speaker: Tensor | None, start: int, stop: int
) -> Tensor:
    """Frames start..stop of what flows (B, samples) on the CPU, bent from the noise there and around it."""
    hop, step = model.config.hop, _step(model)
    around = -(-model.reach // hop) + model.frames_around
    around = -(-around // step) * step
    first, last = max(0, start - around), min(condition.shape[2], stop + around)
    latents = [z.to(condition.device) for z in model.cut(white[:, first * hop : last * hop])]
    inner = model.reverse(latents, condition[:, :, first:last], speaker)
    return inner[:, (start - first) * hop : (stop - first) * hop].float().cpu()


def _step(model: FloWaveNet) -> int:
    """Frames after which a frame and a position of the last block begin together again."""
    return model.config.squeeze // math.gcd(model.config.squeeze, model.config.hop)
