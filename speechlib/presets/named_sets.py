"""Sets of experiments by name: the nine of VQ-VAE-Speech (configurations/experiments_*.json), one of VAEs, and two of
MelNets."""

from dataclasses import replace

from ..errors import UnknownName
from .catalogue import get
from .experiment import Experiment
from .sweeps import Sweep, expand
from .vqvae import epochs as _epochs


def _set(epochs: int, batch_size: int = 2, changes: dict | None = None, **members) -> Sweep:
    return Sweep(preset="paper", changes=_epochs(epochs, batch_size) | (changes or {}), **members)


_K29 = {"model.codebook_size": 29}
_JITTER, _EMA, _KAIMING = {"model.jitter": 0.12}, {"model.quantizer": "ema"}, {"model.weight_norm": True}

SETS: dict[str, Sweep] = {
    "vq44-mfcc39": _set(15, experiments={"baseline": {}, "jitter12": _JITTER}),
    "vq29-mfcc39": _set(
        15,
        changes=_K29,
        experiments={
            "baseline": {},
            "baseline-with-speaker-conditioning": {"model.speaker_dim": 40},
            "jitter12": _JITTER,
            "ema": _EMA,
            "kaiming": _KAIMING,
            "jitter12-ema": _JITTER | _EMA,
            "jitter12-kaiming": _JITTER | _KAIMING,
            "jitter12-ema-kaiming": _JITTER | _EMA | _KAIMING,
        },
    ),
    "mfcc39-codebook_sizes": _set(
        15, experiments={f"baseline-{k}": {"model.codebook_size": k} for k in (10, 44, 100, 500, 1000)}
    ),
    "vq44-mfcc39-batch_sizes": _set(
        15, experiments={f"baseline-{size}": _epochs(15, size) for size in (2, 16, 32, 64)}
    ),
    "vq44-mfcc39-lengths": _set(
        25, 16, {"training.n_frames": 191}, experiments={"baseline-30720": {}, "jitter12-30720": _JITTER}
    ),
    "vq44-mfcc39-seeds": _set(10, seeds=(1234, 5678, 4242), experiments={"baseline": {}, "jitter12": _JITTER}),
    "mfcc39-codebook_stats": _set(
        10,
        changes={"model.codebook_size": 10, "model.code_dim": 2, "training.record_codebook": True},
        experiments={"baseline": {}},
    ),
    "vq10x2-mfcc39": _set(15, changes={"model.codebook_size": 10, "model.code_dim": 2}, experiments={"baseline": {}}),
    "vq44-mfcc39-gradient_stats": _set(20, 32, {"training.record_gradients": True}, experiments={"baseline": {}}),
}


VAE_SIZES = "vae-sizes"  # latents, filters and optimisers, as edchengg/generative_model_speech compares its runs


def _vae_sizes(preset: str, corpus: str, corpus_root: str) -> dict[str, Experiment]:
    """The preset, and what differs from it in one thing: half and twice the latents, 40 or 80 filters, SGD.

    The best weights are kept, and none are averaged: an average is late, and would bend the beginning of every curve.
    """
    base = get("vae", preset, corpus, corpus_root, 0, {"training.best_by": "loss", "training.ema_decay": 0.0})
    (features,) = (features for features in base.pack.features if features.kind == base.inputs)
    members = {"as it is": base}
    for z in (base.model.latent_dim // 2, base.model.latent_dim * 2):
        members[f"z {z}"] = replace(base, model=replace(base.model, latent_dim=z))
    n_mels = 40 if features.n_mels == 80 else 80
    pack = replace(base.pack, features=(replace(features, n_mels=n_mels),))
    members[f"{n_mels} filters"] = replace(base, pack=pack)
    # SGD's step is the gradient itself, and that of a sum over a window is some hundreds long
    slower = {"optimizer": "sgd", "learning_rate": base.training.learning_rate / 100}
    members["sgd"] = replace(base, training=replace(base.training, betas=(0.9, 0.999), **slower))
    return members


MELNET_SIZES = "melnet-sizes"  # the first tier of a MelNet over its hidden size and its layers: write-up, figure 6.4
MELNET_TIERS = "melnet-tiers"  # whole MelNets of two to six tiers: the ablation of the paper


def _melnet_sizes(preset: str, corpus: str, corpus_root: str) -> dict[str, Experiment]:
    """A quarter to twice the hidden size, and two layers less to two more; the preset's own is in both and once here.

    Only the first tier is trained: it decides the structure, and the source compares no other.
    """
    base = _shorter(get("melnet", preset, corpus, corpus_root, 0, {"training.part": "tier_1"}))
    hidden, (first, *others) = base.model.hidden, base.model.layers
    models = {f"hidden {h}": {"hidden": h} for h in (hidden // 4, hidden // 2, hidden, 2 * hidden)}
    for n in range(max(1, first - 2), first + 3):
        if n != first:
            models[f"{n} layer{'s' * (n > 1)}"] = {"layers": (n, *others)}
    return {name: replace(base, model=replace(base.model, **changes)) for name, changes in models.items()}


def _melnet_tiers(preset: str, corpus: str, corpus_root: str) -> dict[str, Experiment]:
    """Two to six tiers on the same grids: the layers of the preset's first ones, its last number where it has less."""
    base = _shorter(get("melnet", preset, corpus, corpus_root))
    layers = (*base.model.layers, *base.model.layers[-1:] * 5)
    return {f"{n} tiers": replace(base, model=replace(base.model, layers=layers[:n])) for n in range(2, 7)}


def _shorter(experiment: Experiment) -> Experiment:
    """Many trainings, each at an eighth of the preset's cost: a quarter of its steps, on half of its batch. All begin
    anew: a stage before would have taught one of them what the others lack."""
    steps, batch = (max(1, n) for n in (experiment.training.steps // 4, experiment.training.batch_size // 2))
    return replace(experiment, source=None, training=replace(experiment.training, steps=steps, batch_size=batch))


_FUNCTIONS = {VAE_SIZES: _vae_sizes, MELNET_SIZES: _melnet_sizes, MELNET_TIERS: _melnet_tiers}
NAMED_SETS = (*SETS, *_FUNCTIONS)


def named_set(name: str, preset: str = "paper", corpus: str = "", corpus_root: str = "") -> dict[str, Experiment]:
    """Name -> experiment of VAE_SIZES, MELNET_SIZES or MELNET_TIERS, around any preset of theirs, or of one of the nine
    sets, the source's own or in the size of another preset of VQ-VAE.

    Smaller ones keep what the set is about (features, codebook, batch, learning rate) and take the preset's corpus,
    channels, number of steps and rhythm of logging.
    """
    if name in _FUNCTIONS:
        return _FUNCTIONS[name](preset, corpus, corpus_root)
    if name not in SETS:
        raise UnknownName("set of experiments", name, NAMED_SETS)
    size = get("vqvae", preset, corpus, corpus_root)
    if preset == "paper":
        return expand(replace(SETS[name], corpus=corpus, corpus_root=corpus_root))
    rhythm = ("steps", "log_every", "validate_every", "checkpoint_every", "record_every")
    return {
        member: replace(
            experiment,
            preset=preset,
            corpus=size.corpus,
            model=replace(experiment.model, channels=size.model.channels),
            training=replace(experiment.training, **{field: getattr(size.training, field) for field in rhythm}),
        )
        for member, experiment in expand(SETS[name]).items()
    }
