"""The presets of every system, and an experiment made of one of them."""

import json
import shlex
from dataclasses import replace
from typing import Any

from .. import configs, corpora, timit_mat
from ..errors import UnknownName
from . import (
    clarinet,
    coded,
    flowavenet,
    melnet,
    prior,
    recogniser,
    vae,
    vqvae,
    vqvae_wavenet,
    wae,
    wavenet,
    wavenet_autoencoder,
    wgan,
)
from .experiment import CorpusConfig, Experiment

PRESETS: dict[str, dict[str, Experiment]] = {
    "clarinet": clarinet.PRESETS | coded.CLARINET,
    "flowavenet": flowavenet.PRESETS | coded.FLOWAVENET,
    "melnet": melnet.PRESETS,
    "prior": prior.PRESETS,
    "recogniser": recogniser.PRESETS,
    "vae": vae.PRESETS,
    "vqvae": vqvae.PRESETS,
    "vqvae_wavenet": vqvae_wavenet.PRESETS,
    "wae": wae.PRESETS,
    "wae_gan": wae.GAN_PRESETS,
    "wgan": wgan.PRESETS,
    "wavenet": wavenet.PRESETS | coded.WAVENET,
    "wavenet_autoencoder": wavenet_autoencoder.PRESETS,
    "adversarial_autoencoder": wavenet_autoencoder.ADVERSARIAL_PRESETS,
}


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

    Raises UnknownName for a system, preset, corpus or field that does not exist.
    """
    if system not in PRESETS:
        raise UnknownName("system", system, PRESETS)
    if preset not in PRESETS[system]:
        raise UnknownName(f"preset of {system}", preset, PRESETS[system])
    changes = dict(changes or {})  # a corpus among them is that of all that the experiment builds on
    corpus = configs.typed(str, changes.pop("corpus.name", corpus), "corpus.name")
    corpus_root = configs.typed(str, changes.pop("corpus.root", str(corpus_root)), "corpus.root")
    if corpus and corpus not in (known := (*corpora.names(), timit_mat.NAME)):
        raise UnknownName("corpus", corpus, known)
    experiment = placed(replace(PRESETS[system][preset], seed=seed), corpus, corpus_root)
    return configs.override(experiment, changes)


def command(experiment: Experiment) -> str:
    """What trains this experiment from the command line: its preset (`paper` for one that came from a file), and every
    field that differs from it."""
    preset = experiment.preset if experiment.preset in PRESETS[experiment.system] else "paper"
    words = ["python", "-m", "speechlib", "train", experiment.system, "--preset", preset]
    place, base = experiment.corpus, get(experiment.system, preset, seed=experiment.seed)
    if place.name != base.corpus.name:
        words += ["--corpus", place.name]
    if place.root:
        words += ["--corpus-root", place.root]
    if experiment.seed:
        words += ["--seed", str(experiment.seed)]
    base = configs.flatten(placed(base, place.name, place.root))
    leaves = configs.flatten(experiment)
    if experiment.source and base.get("source.system") != experiment.source.system:  # it is said as a whole
        leaves = {name: value for name, value in leaves.items() if not name.startswith("source.")}
        leaves["source"] = configs.to_dict(experiment.source)
    for name, value in leaves.items():
        if name not in base or value != base[name]:
            words += ["--set", f"{name}={json.dumps(value)}"]
    return shlex.join(words)


def placed(experiment: Experiment, corpus: str, corpus_root: str) -> Experiment:
    """The experiment on another corpus, and what it builds on likewise."""
    place = experiment.corpus
    if corpus and corpus != place.name:
        place = CorpusConfig(corpus)
    if corpus_root:
        place = replace(place, root=str(corpus_root))
    source = experiment.source and placed(experiment.source, corpus, corpus_root)
    pack = experiment.pack
    if place.name == timit_mat.NAME:  # frames that somebody else has made: they are what they are
        pack = timit_mat.frames_of(pack, experiment.frames("inputs"))
    return replace(experiment, corpus=place, pack=pack, source=source)
