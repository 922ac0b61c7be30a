"""VAE on phone windows."""

from functools import partial

from .. import objectives
from ..models.vae import VAE
from .data import Trained
from .windows import fit, new_of, sample_checks, scores_of_parts, windows_of

__all__ = ["batches_of", "fit", "new", "objective", "scores"]

objective = objectives.vae
batches_of = windows_of
new = partial(new_of, VAE)


def scores(trained: Trained) -> dict[str, float]:
    """The terms over all windows of both parts, the floor of a fixed posterior's KL, and what draws look like."""
    judged = "elbo" if trained.experiment.model.reconstruction == "gaussian" else "loss"
    floor = {"kl_floor": trained.experiment.model.kl_floor}
    return scores_of_parts(trained, objective, judged) | floor | sample_checks(trained)
