"""What each system lowers: (model, batch) -> every term by name, "loss" first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .errors import SpeechlibError

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


def wavenet(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """-log p of each sample given those before it, in nats, and the same in bits; padding does not count.

    The batch's inputs are the condition of a model that takes one. Raises SpeechlibError for a batch without audio.
    """
    if batch.audio is None:
        raise SpeechlibError("WaveNet learns from waves, this batch has none: Crops(..., audio=True)")
    condition = batch.inputs if model.sizes["n_condition"] else None
    speaker = batch.speaker if model.sizes["n_speakers"] else None
    nll = model.nll(dithered(batch.audio, model.config.dither), condition, speaker)
    hop = batch.audio.shape[1] // batch.inputs.shape[2]
    inside = torch.arange(nll.shape[1], device=nll.device) < batch.length[:, None] * hop  # (B, S)
    loss = (nll * inside).sum() / inside.sum().clamp(min=1)
    return {"loss": loss, "bits": loss / math.log(2)}


def dithered(wave: Tensor, deviation: float) -> Tensor:
    """Wave (B, S) with white noise added. In digital silence every sample is sure to follow: a model that has learned
    so never begins to speak again."""
    return (wave + deviation * torch.randn_like(wave)).clamp(-1, 1) if deviation else wave


def _masked_mse(prediction: Tensor, target: Tensor, length: Tensor) -> Tensor:
    """Mean squared error over the first `length` (B,) frames of (B, C, T)."""
    inside = torch.arange(target.shape[2], device=target.device) < length[:, None]  # (B, T)
    error = (prediction.float() - target).square().mean(1)
    return (error * inside).sum() / inside.sum().clamp(min=1)
