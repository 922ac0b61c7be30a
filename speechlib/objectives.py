"""What each system lowers: (model, batch) -> every term by name, "loss" first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .batches import Batch


def vqvae(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Reconstruction of the standardised targets + codebook + beta * commitment (arXiv 1711.00937, eq. 3).

    Padding beyond an item's `length` does not count in the reconstruction. An EMA codebook has no loss of its own, so
    "codebook" is missing there. "vq" is what quantization adds to the loss; "perplexity" is the batch's.
    """
    output = model(batch.inputs, batch.speaker)
    terms = dict(output.quantized.losses)
    reconstruction = _masked_mse(output.prediction, model.targets(batch.targets), batch.length)
    weighted = model.config.commitment_cost * terms["commitment"]
    vq = weighted + terms.get("codebook", 0)
    return {
        "loss": reconstruction + vq,
        "reconstruction": reconstruction,
        "vq": vq,
        "commitment_weighted": weighted,
        **terms,
        "perplexity": model.quantizer.perplexity(output.quantized.codes),
    }


def _masked_mse(prediction: Tensor, target: Tensor, length: Tensor) -> Tensor:
    """Mean squared error over the first `length` (B,) frames of (B, C, T)."""
    inside = torch.arange(target.shape[2], device=target.device) < length[:, None]  # (B, T)
    error = (prediction.float() - target).square().mean(1)
    return (error * inside).sum() / inside.sum().clamp(min=1)
