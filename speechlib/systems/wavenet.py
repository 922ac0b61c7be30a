"""WaveNet as a vocoder: features in, samples out."""

import torch
from torch import Tensor

from .. import objectives, packs
from ..errors import SpeechlibError
from ..features import n_features
from ..generation.wavenet import generate
from ..models.wavenet import WaveNet
from ..presets import Experiment
from . import vocoders
from .data import Data, Trained

objective = objectives.wavenet


def new(experiment: Experiment, n_speakers: int) -> WaveNet:
    config = next(c for c in experiment.pack.features if c.kind == experiment.inputs)
    if experiment.model.hop != config.hop_length:
        raise SpeechlibError(
            f"model.scales {experiment.model.scales} make {experiment.model.hop} samples of a frame, "
            f"{config.kind} has a hop of {config.hop_length}: their product must be the hop"
        )
    return WaveNet(experiment.model, n_features(config), n_speakers if experiment.model.speaker_dim else 0)


def fit(model: WaveNet, experiment: Experiment, data: Data) -> None:
    """The statistics of the condition over the training part."""
    model.inputs.fit(*packs.statistics(data.pack, data.split["train"], experiment.inputs))


def vocode(trained: Trained, features: int | Tensor, speaker: int | None = None, **options) -> Tensor:
    """An utterance of the pack (its index), or features (C, T), said by the model: wave (T hop,) on the CPU.

    `speaker` (index into pack.speakers, -1 = nobody) is read by models that know speakers; an utterance's own where it
    is None. `options` are those of generation.wavenet.generate: seed, temperature, top_p, progress, stop, ...
    """
    if isinstance(features, int):
        speaker = int(trained.data.pack.speaker[features]) if speaker is None else speaker
        features = trained.data.pack.features(features, trained.experiment.inputs)
    voice = None
    if trained.model.sizes["n_speakers"]:
        voice = torch.tensor([-1 if speaker is None else speaker])
    return generate(trained.model, features[None], voice, **options)[0]


def scores(trained: Trained) -> dict[str, float]:
    """A few seconds of the validation part said by the model, judged beside noise of the same bands (see vocoders)."""
    return vocoders.score(trained, lambda clip: vocode(trained, clip.features, clip.speaker))
