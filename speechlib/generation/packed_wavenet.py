"""A WaveNet's weights as a step loop wants them: float32, input-major (a product reads rows), constants folded in."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import SpeechlibError
from ..models.wavenet import WaveNet


class Packed(NamedTuple):
    """L layers, k taps, R residual, G gate, H = G/2, K skip channels, P parameters. v is the running (R + K) vector."""

    table: Tensor  # (taps, Q, R) of the front per class; (taps, 1, R), times the value, for a scalar input
    front_bias: Tensor  # (R,)
    front_skip: Tensor  # (R, K) scaled; (0, K) without
    past: Tensor  # (L, k - 1, R, G), the oldest tap first
    current: Tensor  # (L, R, G)
    out: Tensor  # (L, H, R + K), scaled
    out_bias: Tensor  # (L, R), scaled
    skip_bias: Tensor  # (K,) of all layers together
    post_1: Tensor  # (K, K); its bias is in `base`
    post_2: Tensor  # (K, P)
    post_bias: Tensor  # (P,)
    condition: Tensor  # (C, L G + K)
    base: Tensor  # (L G + K,) biases of the gates and of the output stage: what a sample without conditions adds


def refuse_not_finite(model: torch.nn.Module) -> None:
    """Raises SpeechlibError where a weight is not finite."""
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            bad = int((~weight.isfinite()).sum())
            what = f"{bad} of {weight.numel()} weights of {name}"
            raise SpeechlibError(f"{what} are not finite: did the training diverge?")


def pack(model: WaveNet) -> Packed:
    """Raises SpeechlibError where a weight is not finite."""
    refuse_not_finite(model)
    with torch.no_grad():
        packed = _pack(model)
    return Packed(*(part.detach().float().contiguous() for part in packed))


def _pack(model: WaveNet) -> Packed:
    config, scale = model.config, model.skip_scale
    gates = [layer.gate.weight.permute(2, 1, 0) for layer in model.layers]  # (k, R, G)
    sizes = (config.residual_channels, config.skip_channels)
    out, out_bias, skip_bias = [], [], 0
    for layer in model.layers:
        residual, skip = layer.out.weight[:, :, 0].split(sizes)
        out.append(torch.cat([residual * config.residual_scale, skip * scale]).t())
        residual, skip = layer.out.bias.split(sizes)
        out_bias.append(residual * config.residual_scale)
        skip_bias = skip_bias + skip * scale
    front_skip = torch.zeros(0, config.skip_channels, device=skip_bias.device)
    if model.front_skip is not None:
        front_skip = model.front_skip.weight[:, :, 0].t() * scale
        skip_bias = skip_bias + model.front_skip.bias * scale
    base = torch.cat([layer.gate.bias for layer in model.layers] + [model.post_1.bias])
    condition = base.new_zeros(0, len(base))
    if model.condition is not None:
        condition = _wide(model.condition.weight[:, :, 0].t(), len(base))
        if model.condition.bias is not None:
            base = base + _wide(model.condition.bias, len(base))
    table, front_bias = _front(model)
    return Packed(
        table,
        front_bias,
        front_skip,
        torch.stack([gate[:-1] for gate in gates]),
        torch.stack([gate[-1] for gate in gates]),
        torch.stack(out),
        torch.stack(out_bias),
        skip_bias,
        model.post_1.weight[:, :, 0].t(),
        model.post_2.weight[:, :, 0].t(),
        model.post_2.bias,
        condition,
        base,
    )


def added(model: WaveNet, packed: Packed, speaker: Tensor | None) -> Tensor:
    """(B or 1, L G + K): biases and speaker, what every sample of an item adds whatever the condition."""
    with torch.no_grad():
        vector = model.speaker_vector(speaker)
    return packed.base[None] if vector is None else packed.base + _wide(vector.float(), len(packed.base))


def _front(model: WaveNet) -> tuple[Tensor, Tensor]:
    front = model.front
    if front.is_table:
        return front.table.weight.unflatten(1, (front.kernel, front.channels)).transpose(0, 1), front.bias
    weight = front.conv.weight[:, 0].t()[:, None]  # (taps, 1, R)
    if front.classes:  # a scalar that takes one of Q values is a table as well
        companded = torch.linspace(-1, 1, front.classes, dtype=weight.dtype, device=weight.device)
        weight = weight * companded[:, None]
    return weight, front.conv.bias


def _wide(rows: Tensor, width: int) -> Tensor:
    """Zero columns for the output stage where the condition does not reach it."""
    return torch.nn.functional.pad(rows, (0, width - rows.shape[-1]))
