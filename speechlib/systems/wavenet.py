"""WaveNet as a vocoder: features in, samples out."""

from .. import objectives, packs
from ..errors import SpeechlibError
from ..features import n_features
from ..models.wavenet import WaveNet
from ..presets import Experiment
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


def snapshot(experiment: Experiment, batch):
    raise SpeechlibError("training.record_codebook is on, and a WaveNet has no codebook")


def scores(trained: Trained) -> dict[str, float]:
    return {}
