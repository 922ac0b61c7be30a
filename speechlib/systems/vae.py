"""VAE on phone windows."""

from .. import objectives
from ..features import n_features
from ..models.vae import VAE
from ..presets import Experiment
from .data import Trained
from .windows import fit, sample_checks, scores_of_parts, windows_of

__all__ = ["batches_of", "fit", "new", "objective", "scores"]

objective = objectives.vae
batches_of = windows_of


def new(experiment: Experiment, n_speakers: int) -> VAE:
    sizes = {config.kind: n_features(config) for config in experiment.pack.features}
    return VAE(experiment.model, sizes[experiment.inputs], experiment.training.n_frames)


def scores(trained: Trained) -> dict[str, float]:
    """The terms over all windows of both parts, the floor of a fixed posterior's KL, and what draws look like."""
    judged = "elbo" if trained.experiment.model.reconstruction == "gaussian" else "loss"
    floor = {"kl_floor": trained.experiment.model.kl_floor}
    return scores_of_parts(trained, objective, judged) | floor | sample_checks(trained)
