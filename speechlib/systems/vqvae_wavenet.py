"""VQ-VAE with a WaveNet decoder: speech as codes, and speech from them again."""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import objectives, packs
from ..batches import Batch
from ..errors import SpeechlibError
from ..evaluation import mapping, summarise
from ..evaluation.clustering import agreement
from ..features import n_features
from ..models.vqvae_wavenet import VQWaveNet
from ..presets import Experiment
from .codes import baseline, n_codes, tokens
from .data import Data, Trained

objective = objectives.vqvae_wavenet


def new(experiment: Experiment, n_speakers: int) -> VQWaveNet:
    """Raises SpeechlibError where features, codes and crops do not fit into each other."""
    config, kind = experiment.model, experiment.frames("inputs")
    features = next(c for c in experiment.pack.features if c.kind == kind)
    hop, frame = config.decoder.hop, features.hop_length
    if not config.reads_wave and config.stride * frame != hop:
        raise SpeechlibError(
            f"a code of {config.stride} frames x {frame} samples, decoder.scales {config.decoder.scales} make it {hop}"
        )
    crop = experiment.training.n_frames * frame
    if crop % hop:
        below = crop // hop * hop
        near = " or ".join(str(n) for n in (below, below + hop) if n)
        raise SpeechlibError(
            f"training.n_frames {experiment.training.n_frames} x {frame} = {crop} samples are no whole codes: "
            f"a multiple of {hop} is needed, such as {near}"
        )
    return VQWaveNet(
        config, 0 if config.reads_wave else n_features(features), n_speakers if config.decoder.speaker_dim else 0
    )


def fit(model: VQWaveNet, experiment: Experiment, data: Data) -> None:
    """The statistics of the features over the training part, for an encoder that reads them."""
    if not model.config.reads_wave:
        model.inputs.fit(*packs.statistics(data.pack, data.split["train"], experiment.inputs))


def snapshot(experiment: Experiment, batch: Batch) -> Callable[[VQWaveNet], dict[str, Tensor]]:
    """What is recorded of the codebook on the way: itself, and what it quantises, the z_e (N, D) of one batch."""
    if experiment.model.slices:
        raise SpeechlibError(
            f"training.record_codebook records one codebook, model.slices has {experiment.model.slices}"
        )

    def record(model: VQWaveNet) -> dict[str, Tensor]:
        with torch.inference_mode():
            z_e = model.encode(batch.audio if model.config.reads_wave else batch.inputs)
            codes = model.quantize(z_e).codes
        return {
            "codebook": model.quantizer.codebook,
            "z_e": z_e.transpose(1, 2).flatten(0, 1),
            "codes": codes.flatten(),
            "speaker": batch.speaker.repeat_interleave(codes.shape[-1]),
        }

    return record


def scores(trained: Trained) -> dict[str, float]:
    """Use of the codebook over the whole validation part, and its codes against phones where there are labels.

    phone_accuracy: each code read as the phone it mostly stood for in the training part, beside the commonest phone
    alone (van den Oord et al. 2017: 49.3 % against 7.2 %).
    """
    table, size = tokens(trained), n_codes(trained.experiment)
    found = summarise(table, size)
    found["dead_codes"] = size - found["codes_used"]
    if "nmi" in found:
        learned = mapping.fit(tokens(trained, "train"), size)
        found["phone_accuracy"], found["majority_accuracy"], _ = mapping.score(learned, table)
        beside = agreement(table.assign(code=baseline(trained)))
        found |= {f"kmeans_{name}": beside[name] for name in ("nmi", "ami")}
    return found
