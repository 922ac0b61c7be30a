"""ClariNet as a vocoder: a teacher that speaks sample by sample, and a student that says all of it at once."""

from torch import Tensor

from .. import objectives
from ..errors import SpeechlibError
from ..generation.clarinet import generate, stream
from ..models.clarinet import ClariNet
from ..presets import Experiment
from ..runs import Run
from . import judging, wavenet
from .data import Data, Trained

objective = objectives.clarinet


def new(experiment: Experiment, n_speakers: int) -> ClariNet:
    _check(experiment)
    shared = experiment.model.teacher
    known = n_speakers if shared.speaker_dim else 0
    condition = wavenet.condition_of(experiment, shared.scales, "model.teacher.scales")
    return ClariNet(experiment.model, n_speakers=known, **condition)


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


def teacher(trained: Trained) -> Trained:
    """The teacher by itself, as a trained wavenet: wavenet.vocode speaks by it, sample by sample."""
    return Trained(trained.model.teacher, trained.experiment.source, trained.data, None)


def vocode(trained: Trained, features: int | Tensor, speaker: int | None = None, **options) -> Tensor:
    """An utterance of the pack (its index), or features (C, T), said by the student: wave (T hop,) on the CPU.

    `speaker` (index into pack.speakers, -1 = nobody) is read by models that know speakers; an utterance's own where it
    is None. `options` are those of generation.clarinet.generate: seed, temperature, block, precision, ... Raises
    SpeechlibError for a nucleus (top_p), which WaveNets have.
    """
    if options.pop("top_p", 1.0) != 1:
        raise SpeechlibError("ClariNet's noise has a temperature and no nucleus: leave top_p out")
    return generate(trained.model, *wavenet.asked(trained, features, speaker), **options)[0]


def speaking(trained: Trained, features: int | Tensor, speaker: int | None = None, **options) -> stream:
    """The same as blocks (1, <= block) that come one by one; `options` are those of generation.clarinet.stream."""
    return stream(trained.model, *wavenet.asked(trained, features, speaker), **options)


def listen(experiment: Experiment, prepared: Data, run: Run, model: ClariNet, step: int) -> None:
    judging.listen(Trained(model, experiment, prepared, run), vocode, step)


def scores(trained: Trained) -> dict[str, float]:
    """A few seconds of the validation part said by the student, judged beside noise of the same bands (see judging).
    Those of the teacher are in its own run."""
    return judging.score(trained, vocode)
