"""WAE-GAN on phone windows: a critic tells the points of windows from draws, an encoder learns to fool it."""

from functools import partial

from .. import objectives
from ..alternation import Player
from ..models.wae import WAEGAN
from ..presets import Experiment
from .data import Trained
from .windows import fit, new_of, sample_checks, scores_of_parts, windows_of

__all__ = ["batches_of", "fit", "new", "objective", "players", "scores"]

objective = objectives.wae_gan_coder
batches_of = windows_of
new = partial(new_of, WAEGAN)


def players(experiment: Experiment) -> list[Player]:
    return [
        Player("critic", objectives.wae_gan_critic, ("critic",)),
        Player("coder", objectives.wae_gan_coder, ("encoder", "code", "decoder")),
    ]


def scores(trained: Trained) -> dict[str, float]:
    """The terms over all windows of both parts, and what draws from the prior look like."""
    return scores_of_parts(trained, objective, judged="squared_error") | sample_checks(trained)
