"""What a model makes of every code's moment: the input it stands for, the encoder's vector, the code's vector."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from .clustering import frames_at


class Vectors(NamedTuple):
    """One row per code, in the order of the token table of the same utterances."""

    inputs: np.ndarray  # (N, C) standardised features at the centre of the code
    z_e: np.ndarray  # (N, D) before quantisation
    z_q: np.ndarray  # (N, D) after it


@torch.inference_mode()
def gather(model, pack, indices: Iterable[int], kind: str) -> Vectors:
    """The vectors of these utterances; `kind` names the features that the model reads. On the model's device."""
    device = next(model.parameters()).device
    rows: Vectors = Vectors([], [], [])
    for i in indices:
        x = pack.features(i, kind)[None].to(device)
        x = x[..., : model.codes(x).shape[-1] * model.config.stride]  # some encoders take whole codes only
        z_e = model.encode(x)
        z_q = model.quantize(z_e).z_q
        positions = model.code_positions(z_e.shape[-1]).cpu()
        rows.inputs.append(frames_at(model.inputs(x)[0].cpu().numpy(), positions))
        rows.z_e.append(z_e[0].T.cpu().numpy())
        rows.z_q.append(z_q[0].T.cpu().numpy())
    return Vectors(*map(np.concatenate, rows))
