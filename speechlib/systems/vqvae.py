"""VQ-VAE on features: codes, and features drawn from them again."""

import torch
from torch import Tensor, nn

from .. import objectives, packs
from ..batches import Batch, whole
from ..evaluation import summarise
from ..evaluation.clustering import agreement
from ..features import n_features
from ..inversion import to_audio
from ..models.vqvae import VQVAE
from ..presets import Experiment
from . import codes
from .codes import baseline, has_codes, n_codes, tokens
from .data import Data, Trained, Voicing, device_of

objective, snapshot = objectives.vqvae, codes.snapshot
VOICING = Voicing("squared error (variance = 1)", nobody=False, draws=False)


def new(experiment: Experiment, n_speakers: int) -> VQVAE:
    sizes = {config.kind: n_features(config) for config in experiment.pack.features}
    return VQVAE(experiment.model, sizes[experiment.inputs], sizes[experiment.targets], n_speakers)


def fit(model: VQVAE, experiment: Experiment, data: Data) -> None:
    """The statistics of inputs and targets over the training part."""
    for part, kind in ((model.inputs, experiment.inputs), (model.targets, experiment.targets)):
        part.fit(*packs.statistics(data.pack, data.split["train"], kind))


@torch.inference_mode()
def reconstruct(trained: Trained, index: int, speaker: int) -> Tensor:
    """Utterance `index` through the codes and back, in a speaker's voice: (C2, T) in the units of the targets."""
    model, experiment = trained.model, trained.experiment
    (batch,) = whole(trained.data.pack, [index], experiment.inputs, experiment.targets)
    voice = torch.full_like(batch.speaker, speaker)
    z_q = model.quantize(model.encode(batch.inputs.to(device_of(model)))).z_q
    return model.decode(z_q, voice.to(device_of(model)), batch.inputs.shape[-1])[0].cpu()


def speaker_table(model: VQVAE) -> nn.Embedding | None:
    return model.speakers


def speak(trained: Trained, codes: Tensor, speaker: Tensor | None) -> Tensor:
    """Codes (B, L), sliced (B, G, L), in the voices of speaker (B,) -> waves (B, S), phases by Griffin-Lim."""
    model, n_frames = trained.model, codes.shape[-1] * trained.model.config.stride
    decoded = model.decode(model.quantizer.embed(codes), speaker, n_frames)
    return to_audio(decoded.float(), trained.data.pack.config_of(trained.experiment.targets))


def decoding_error(model: VQVAE, batch: Batch, codes: Tensor, speaker: Tensor) -> Tensor:
    """Squared error (B,) of what the decoder makes of these codes and speakers, against the batch's targets."""
    target = model.targets(batch.targets)
    decoded = model.targets(model.decode(model.quantizer.embed(codes), speaker, target.shape[-1]))
    inside = torch.arange(target.shape[2], device=target.device) < batch.length[:, None]  # (B, T)
    return ((decoded - target).square().mean(1) * inside).sum(1) / inside.sum(1)


def scores(trained: Trained) -> dict[str, float]:
    """Codes against phones, beside k-means on the same features at the same times."""
    if not has_codes(trained.experiment):
        return {}
    table = tokens(trained)
    found = summarise(table, n_codes(trained.experiment))
    if "nmi" in found:
        beside = agreement(table.assign(code=baseline(trained)))
        found |= {f"kmeans_{name}": beside[name] for name in ("nmi", "ami")}
    return found
