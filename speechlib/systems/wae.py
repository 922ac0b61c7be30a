"""WAE-MMD on phone windows."""

from .. import objectives
from ..features import n_features
from ..models.wae import WAE
from ..presets import Experiment
from .data import Trained
from .windows import fit, sample_checks, scores_of_parts, windows_of

__all__ = ["batches_of", "fit", "new", "objective", "scores"]

objective = objectives.wae_mmd
batches_of = windows_of


def new(experiment: Experiment, n_speakers: int) -> WAE:
    sizes = {config.kind: n_features(config) for config in experiment.pack.features}
    return WAE(experiment.model, sizes[experiment.inputs], experiment.training.n_frames)


def scores(trained: Trained) -> dict[str, float]:
    """The terms over all windows of both parts, and what draws from the prior look like."""
    return scores_of_parts(trained, objective, judged="squared_error") | sample_checks(trained)
