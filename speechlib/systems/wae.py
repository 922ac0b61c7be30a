"""WAE-MMD on phone windows."""

from functools import partial

from .. import objectives
from ..models.wae import WAE
from .data import Trained
from .windows import fit, new_of, sample_checks, scores_of_parts, windows_of

__all__ = ["batches_of", "fit", "new", "objective", "scores"]

objective = objectives.wae_mmd
batches_of = windows_of
new = partial(new_of, WAE)


def scores(trained: Trained) -> dict[str, float]:
    """The terms over all windows of both parts, and what draws from the prior look like."""
    return scores_of_parts(trained, objective, judged="squared_error") | sample_checks(trained)
