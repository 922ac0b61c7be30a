"""VQ-VAE with a WaveNet decoder: speech as codes, and speech from them again."""

import math

import torch
from torch import Tensor, nn

from .. import batches, objectives, packs
from ..batches import Batch
from ..errors import SpeechlibError
from ..evaluation import mapping, summarise
from ..evaluation.clustering import agreement
from ..features import FeatureConfig, extract, n_features
from ..generation.wavenet import generate
from ..models.vqvae_wavenet import VQWaveNet
from ..presets import Experiment
from . import codes, wavenet
from .codes import baseline, has_codes, n_codes, tokens
from .data import Data, Trained, Voicing, device_of

objective, snapshot = objectives.vqvae_wavenet, codes.snapshot
VOICING = Voicing("bits per sample", nobody=True, draws=True)


def new(experiment: Experiment, n_speakers: int) -> VQWaveNet:
    """Raises SpeechlibError where features, codes and crops do not fit into each other."""
    config, features = experiment.model, whole_crops(experiment)
    return VQWaveNet(
        config,
        0 if config.reads_wave else n_features(features),
        n_speakers if config.decoder.speaker_dim or config.speaker_dim else 0,
        n_features(bands_of(experiment)) if config.draw_channels else 0,
    )


def whole_crops(experiment: Experiment) -> FeatureConfig:
    """The features that the encoder reads, or that the wave is cut by. Raises SpeechlibError where they, codes and
    crops do not fit into each other."""
    config, kind = experiment.model, experiment.frames("inputs")
    features = next(c for c in experiment.pack.features if c.kind == kind)
    hop, frame = config.code_length, features.hop_length
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
    return features


def bands_of(experiment: Experiment) -> FeatureConfig:
    """What is drawn: the first kind of the pack, by which the wave is cut."""
    return experiment.pack.features[0]


def fit(model: VQWaveNet, experiment: Experiment, data: Data) -> None:
    """The statistics over the training part of what the encoder reads and of what is drawn, where they do."""
    kinds = {} if model.config.reads_wave else {experiment.inputs: model.inputs}
    if model.drawing is None:
        wavenet.fit_envelope(model.decoder, None)
    else:
        bands = bands_of(experiment)
        kinds |= {bands.kind: model.bands}
        model.decoder.inputs.fit(*packs.statistics(data.pack, data.split["train"], bands.kind))
        wavenet.fit_envelope(model.decoder, bands)
    for kind, part in kinds.items():
        part.fit(*packs.statistics(data.pack, data.split["train"], kind))


def speaker_table(model: VQWaveNet) -> nn.Embedding | None:
    return model.speakers


def speak(trained: Trained, codes: Tensor, speaker: Tensor | None, **generation) -> Tensor:
    """Codes (B, L), sliced (B, G, L), in the voices of speaker (B,), -1 = nobody -> waves (B, S) on the CPU.

    `generation` are the options of generation.wavenet.generate: temperature, top_p, seed, precision, progress, ...
    """
    return generate(trained.model.decoder, *trained.model.condition(codes, speaker), **generation)


@torch.inference_mode()
def reconstruct(trained: Trained, index: int, speaker: int) -> Tensor:
    """Utterance `index` through the codes and back, in a speaker's voice: bands (C, T), drawn from the codes.

    Of a model that draws none, those of what its WaveNet says. Behind the last whole code its last frame is held.
    """
    model, pack, kind = trained.model, trained.data.pack, trained.experiment.frames("targets")
    reads_wave = model.config.reads_wave
    (batch,) = batches.whole(pack, [index], trained.experiment.frames("inputs"), audio=reads_wave)
    found = model.codes((batch.audio if reads_wave else batch.inputs).to(device_of(model)))
    voice = None if model.speakers is None else torch.tensor([speaker], device=found.device)
    bands, told = model.condition(found, voice)
    if model.drawing is None:
        bands = extract(generate(model.decoder, bands, told), pack.config_of(kind))
    held = torch.arange(pack.features(index, kind).shape[1]).clamp(max=bands.shape[2] - 1)
    return bands[0].cpu()[:, held]


def decoding_error(model: VQWaveNet, batch: Batch, codes: Tensor, speaker: Tensor) -> Tensor:
    """Bits per sample (B,) of the batch's waves, as a density, for a decoder that is told these codes and speakers."""
    nll = model.decoder.nll(batch.audio, *model.condition(codes, speaker), density=True)
    hop = batch.audio.shape[1] // batch.inputs.shape[2]
    inside = torch.arange(nll.shape[1], device=nll.device) < batch.length[:, None] * hop  # (B, S)
    return (nll * inside).sum(1) / inside.sum(1) / math.log(2)


def scores(trained: Trained) -> dict[str, float]:
    """Use of the codebook over the whole validation part, and its codes against phones where there are labels.

    phone_accuracy: each code read as the phone it mostly stood for in the training part, beside the commonest phone
    alone (van den Oord et al. 2017: 49.3 % against 7.2 %).
    """
    if not has_codes(trained.experiment):
        return {}
    table, size = tokens(trained), n_codes(trained.experiment)
    found = summarise(table, size)
    found["dead_codes"] = size - found["codes_used"]
    if "nmi" in found:
        learned = mapping.fit(tokens(trained, "train"), size)
        found["phone_accuracy"], found["majority_accuracy"], _ = mapping.score(learned, table)
        beside = agreement(table.assign(code=baseline(trained)))
        found |= {f"kmeans_{name}": beside[name] for name in ("nmi", "ami")}
    return found
