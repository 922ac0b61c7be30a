"""WGAN-GP on phone windows."""

from functools import partial

from .. import objectives
from ..alternation import Player
from ..models.wgan import WGAN
from ..presets import Experiment
from .data import Trained
from .windows import fit, mean_terms, new_of, sample_checks, windows_of

__all__ = ["batches_of", "fit", "new", "objective", "players", "scores"]

objective = objectives.wgan_distance
batches_of = windows_of
new = partial(new_of, WGAN)


def players(experiment: Experiment) -> list[Player]:
    return [
        Player("critic", objectives.wgan_critic, ("critic",), experiment.model.n_critic),
        Player("generator", objectives.wgan_generator, ("generator",)),
    ]


def scores(trained: Trained) -> dict[str, float]:
    """The critic's distance between windows and draws on both parts, how far the negative critic loss has fallen from
    its peak, and what draws look like."""
    parts = {part: windows_of(trained.experiment, trained.data, part) for part in ("train", "val")}
    found = {f"{part}_wasserstein": mean_terms(trained.model, objective, w)["wasserstein"] for part, w in parts.items()}
    curve = trained.run.metrics()["negative_critic_loss"]
    last = curve.iloc[-max(1, len(curve) // 20) :].mean()
    return found | {"critic_loss_fall": float(curve.max() / max(last, 1e-9))} | sample_checks(trained)
