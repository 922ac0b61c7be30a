"""ClariNet as a vocoder: a teacher that speaks sample by sample, and a student that says all of it at once."""

from .. import objectives
from ..errors import SpeechlibError
from ..features import n_features
from ..models.clarinet import ClariNet
from ..presets import Experiment
from . import wavenet
from .data import Data

objective = objectives.clarinet


def new(experiment: Experiment, n_speakers: int) -> ClariNet:
    _check(experiment)
    config = next(c for c in experiment.pack.features if c.kind == experiment.inputs)
    if experiment.model.hop != config.hop_length:
        raise SpeechlibError(
            f"model.teacher.scales {experiment.model.teacher.scales} make {experiment.model.hop} samples of a frame, "
            f"{config.kind} has a hop of {config.hop_length}: their product must be the hop"
        )
    known = n_speakers if experiment.model.teacher.speaker_dim else 0
    return ClariNet(experiment.model, n_features(config), known)


def _check(experiment: Experiment) -> None:
    """Raises SpeechlibError for a teacher that is none for this student."""
    teacher = experiment.source
    if teacher is None or teacher.system != "wavenet":
        found = "empty" if teacher is None else f"a {teacher.system}"
        raise SpeechlibError(f"ClariNet needs `source`, the experiment of its teacher, a wavenet; it is {found}")
    ours, theirs = experiment.pack.sample_rate, teacher.pack.sample_rate
    if ours != theirs:
        raise SpeechlibError(f"the teacher speaks at {theirs} Hz, the student's waves are at {ours} Hz: one pack")
    for name in ("pack", "inputs"):
        own, its = getattr(experiment, name), getattr(teacher, name)
        if own != its:
            raise SpeechlibError(f"{name} of the student is {own}, its teacher was trained with {its}")
    if teacher.model != experiment.model.teacher:
        raise SpeechlibError(
            f"model.teacher is not what `source` trains: {experiment.model.teacher} and {teacher.model}. "
            "Change both: model.teacher.NAME and source.model.NAME"
        )
    if "teacher" not in experiment.training.frozen:
        raise SpeechlibError(f"training.frozen is {experiment.training.frozen}: 'teacher' must be in it")


def fit(model: ClariNet, experiment: Experiment, data: Data) -> None:
    """The statistics of the condition over the training part, in the teacher's place for them."""
    wavenet.fit(model.teacher, experiment, data)


def scores(trained):
    return {}
