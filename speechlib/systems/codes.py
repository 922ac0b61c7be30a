"""The codes of a trained system that has a codebook: tokens with their times, and k-means to measure them by."""

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from .. import batches, packs
from ..batches import Batch
from ..errors import SpeechlibError
from ..evaluation import token_table
from ..evaluation.clustering import frames_at, kmeans
from ..features import frame_times, n_features
from ..models.quantizers import codes_of
from ..models.standardise import Standardise
from ..presets import WAVE, Experiment
from .data import Trained, device_of


@torch.inference_mode()
def encode(trained: Trained, indices: Iterable[int]) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Utterance index -> its codes (L,), and -> the times of their centres in seconds (L,).

    The codes of several slices are counted as one: code_1 + codebook_size * code_2 + ... A bottleneck without codes
    gives its vectors in their place (D, L), where the model tells them.
    """
    model, experiment, pack = trained.model, trained.experiment, trained.data.pack
    config = pack.config_of(experiment.frames("inputs"))
    reads_wave = experiment.inputs == WAVE
    first, rate = (0.0, pack.config.sample_rate) if reads_wave else (frame_times(1, config)[0], config.frame_rate)
    codes, times = {}, {}
    for batch in batches.whole(pack, indices, config.kind, audio=reads_wave):
        source = batch.audio if reads_wave else batch.inputs
        found = model.codes(source.to(device_of(model)))[0].cpu()
        index = int(batch.utterance)
        codes[index] = found.float().numpy() if found.is_floating_point() else joined(experiment, found.numpy())
        times[index] = first + model.code_positions(found.shape[-1]).numpy() / rate
    return codes, times


def joined(experiment: Experiment, codes: np.ndarray) -> np.ndarray:
    """Codes (G, L) of slices, or (L,), counted as one (L,)."""
    codes = np.atleast_2d(codes)
    return (codes * _places(experiment)[:, None]).sum(0)


def apart(experiment: Experiment, codes: np.ndarray) -> np.ndarray:
    """Codes (L,) as `encode` counts them -> as the model has them: (G, L) for slices. Others are as they are."""
    config = experiment.model
    if not config.slices or codes.ndim > 1:
        return codes
    return np.stack([codes // place % size for place, size in zip(_places(experiment), config.codebook_sizes)])


def _places(experiment: Experiment) -> np.ndarray:
    """What a code of each slice counts (G,): 1, K_1, K_1 K_2, ..."""
    return np.cumprod([1, *experiment.model.codebook_sizes[:-1]], dtype=np.int64)


def whole_codes(trained: Trained, x: Tensor) -> Tensor:
    """Features (B, C, T), or waves (B, S) where the model reads those, cut to whole codes: some encoders take no
    others."""
    stride = trained.model.config.stride
    n_codes = trained.model.codes(x).shape[-1] if has_codes(trained.experiment) else x.shape[-1] // stride
    return x[..., : n_codes * stride]


def has_codes(experiment: Experiment) -> bool:
    """Whether its model quantizes; a plain autoencoder does not, nor does a VAE."""
    return experiment.model.has_codes


def snapshot(experiment: Experiment, batch: Batch) -> Callable[[nn.Module], dict[str, Tensor]] | None:
    """What is recorded of a codebook on the way: itself, and what it quantizes, the z_e (N, D) of one batch.

    A model without codes, or with several codebooks, has none to record: None. Raises SpeechlibError where it was asked
    for by name.
    """
    if experiment.model.slices or not has_codes(experiment):
        if experiment.training.record_codebook:
            raise SpeechlibError(
                f"training.record_codebook records one codebook, model.quantizer is {experiment.model.quantizer!r} and "
                f"model.slices has {experiment.model.slices}: turn it off"
            )
        return None

    @torch.inference_mode()
    def record(model: nn.Module) -> dict[str, Tensor]:
        z_e = model.encode(batch.audio if experiment.inputs == WAVE else batch.inputs)
        codes = codes_of(model.quantize(z_e))
        return {
            "codebook": model.quantizer.codebook,
            "z_e": z_e.transpose(1, 2).flatten(0, 1),
            "codes": codes.flatten(),
            "speaker": batch.speaker.repeat_interleave(codes.shape[-1]),
        }

    return record


def n_codes(experiment: Experiment) -> int:
    return math.prod(experiment.model.codebook_sizes)


def tokens(trained: Trained, part: str = "val"):
    """The token table of one part: a row per code with utterance, speaker, time, code and phone.

    Raises SpeechlibError for a model without codes.
    """
    if not has_codes(trained.experiment):
        raise SpeechlibError(
            f"a {trained.experiment.system} with model.quantizer {trained.experiment.model.quantizer!r} has no codes, "
            "and so no tokens: its vectors are what `systems.encode` or `systems.represent` give"
        )
    return token_table(trained.data.pack, *encode(trained, trained.data.split[part]))


def baseline(trained: Trained, part: str = "val", statics_only: bool = False) -> np.ndarray:
    """Codes (N,) of k-means, a row for each of `tokens(trained, part)`: as many clusters as a codebook has codes, on
    the standardised inputs (of a model that reads waves: the pack's first features) at the times of the codes, fitted
    on some 500 utterances of the training part.

    `statics_only` leaves out the differences among the features: fewer numbers, and a harder rival.
    """
    train, split, pack = trained.data.split["train"], trained.data.split[part], trained.data.pack
    config = pack.config_of(trained.experiment.frames("inputs"))
    normal = Standardise(n_features(config)).fit(*packs.statistics(pack, train, config.kind))
    kept = slice(config.n_static if statics_only else None)
    fit = _frames(trained, train[:: max(1, len(train) // 500)], normal)[:, kept]
    n_clusters = min(trained.experiment.model.codebook_size, len(fit))
    return kmeans(fit, _frames(trained, split, normal)[:, kept], n_clusters, trained.experiment.seed)


def _frames(trained: Trained, indices: list[int], normal: Standardise) -> np.ndarray:
    """Standardised features (N, C) at the times of the codes of these utterances."""
    pack = trained.data.pack
    config = pack.config_of(trained.experiment.frames("inputs"))
    gathered = []
    for i, times in encode(trained, indices)[1].items():
        positions = (times - frame_times(1, config)[0]) * config.frame_rate
        gathered.append(frames_at(normal(pack.features(i, config.kind).cpu()), positions))
    return np.concatenate(gathered)
