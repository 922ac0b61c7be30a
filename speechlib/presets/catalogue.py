"""The presets of every system, and an experiment made of one of them."""

from dataclasses import replace
from typing import Any

from .. import configs
from ..errors import UnknownName
from . import vqvae, wavenet
from .experiment import CorpusConfig, Experiment

PRESETS: dict[str, dict[str, Experiment]] = {"vqvae": vqvae.PRESETS, "wavenet": wavenet.PRESETS}


def names() -> dict[str, tuple[str, ...]]:
    """System -> its presets."""
    return {system: tuple(presets) for system, presets in PRESETS.items()}


def get(
    system: str,
    preset: str,
    corpus: str = "",
    corpus_root: str = "",
    seed: int = 0,
    changes: dict[str, Any] | None = None,
) -> Experiment:
    """The experiment of a preset, on another corpus and with dotted fields changed where asked.

    Raises UnknownName for a system, preset or field that does not exist.
    """
    if system not in PRESETS:
        raise UnknownName("system", system, PRESETS)
    if preset not in PRESETS[system]:
        raise UnknownName(f"preset of {system}", preset, PRESETS[system])
    experiment = _placed(replace(PRESETS[system][preset], seed=seed), corpus, corpus_root)
    return configs.override(experiment, changes or {})


def _placed(experiment: Experiment, corpus: str, corpus_root: str) -> Experiment:
    """The experiment on another corpus, and what it builds on likewise."""
    place = experiment.corpus
    if corpus and corpus != place.name:
        place = CorpusConfig(corpus)
    if corpus_root:
        place = replace(place, root=str(corpus_root))
    source = experiment.source and _placed(experiment.source, corpus, corpus_root)
    return replace(experiment, corpus=place, source=source)
