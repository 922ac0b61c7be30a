"""VQ-VAE on features: codes, and features drawn from them again."""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import objectives, packs
from ..batches import Batch, whole
from ..errors import SpeechlibError
from ..evaluation import summarise
from ..evaluation.clustering import agreement
from ..features import n_features
from ..models.vqvae import VQVAE
from ..presets import Experiment
from .codes import baseline, n_codes, tokens
from .data import Data, Trained, device_of

objective = objectives.vqvae


def new(experiment: Experiment, n_speakers: int) -> VQVAE:
    sizes = {config.kind: n_features(config) for config in experiment.pack.features}
    return VQVAE(experiment.model, sizes[experiment.inputs], sizes[experiment.targets], n_speakers)


def fit(model: VQVAE, experiment: Experiment, data: Data) -> None:
    """The statistics of inputs and targets over the training part."""
    for part, kind in ((model.inputs, experiment.inputs), (model.targets, experiment.targets)):
        part.fit(*packs.statistics(data.pack, data.split["train"], kind))


def snapshot(experiment: Experiment, batch: Batch) -> Callable[[VQVAE], dict[str, Tensor]]:
    """What is recorded of the codebook on the way: itself, and what it quantises, the z_e (N, D) of one batch."""
    if experiment.model.slices:
        raise SpeechlibError(
            f"training.record_codebook records one codebook, model.slices has {experiment.model.slices}"
        )

    def record(model: VQVAE) -> dict[str, Tensor]:
        with torch.inference_mode():
            z_e = model.encode(batch.inputs)
            codes = model.quantize(z_e).codes
        return {
            "codebook": model.quantizer.codebook,
            "z_e": z_e.transpose(1, 2).flatten(0, 1),
            "codes": codes.flatten(),
            "speaker": batch.speaker.repeat_interleave(codes.shape[-1]),
        }

    return record


@torch.inference_mode()
def reconstruct(trained: Trained, index: int, speaker: int | None = None) -> Tensor:
    """Utterance `index` through the codes and back: (C2, T) in the units of the targets.

    With the voice of `speaker` (an index into pack.speakers), of its own speaker where that is None.
    """
    model, experiment = trained.model, trained.experiment
    (batch,) = whole(trained.data.pack, [index], experiment.inputs, experiment.targets)
    voice = batch.speaker if speaker is None else torch.full_like(batch.speaker, speaker)
    z_q = model.quantize(model.encode(batch.inputs.to(device_of(model)))).z_q
    return model.decode(z_q, voice.to(device_of(model)), batch.inputs.shape[-1])[0].cpu()


def scores(trained: Trained) -> dict[str, float]:
    """Codes against phones, beside k-means on the same features at the same times."""
    table = tokens(trained)
    found = summarise(table, n_codes(trained.experiment))
    if "nmi" in found:
        beside = agreement(table.assign(code=baseline(trained)))
        found |= {f"kmeans_{name}": beside[name] for name in ("nmi", "ami")}
    return found
