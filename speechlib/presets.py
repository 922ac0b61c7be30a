"""What to train, in one value: an Experiment holds every choice from corpus to learning rate.

    presets.get("vqvae", "demo", corpus="vctk", corpus_root="/data/vctk", changes={"model.codebook_size": 100})

Per system three presets: `smoke` (seconds, to see that all works), `demo` (a minute or two on two cores, results worth
looking at) and `paper` (the source's own numbers). A variant is one `replace(...)`; many are a Sweep (Python or YAML).
"""

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import configs
from .errors import BadFile, SpeechlibError, UnknownName
from .features import LOG_MEL, MFCC39, PSF_MFCC39
from .models.vqvae import VQVAEConfig
from .packs import PackConfig
from .training import TrainingConfig


@dataclass(frozen=True)
class CorpusConfig:
    name: str = "toy"
    root: str = ""  # its folder; "" = data/<name>


@dataclass(frozen=True)
class SplitConfig:
    by: str = "utterance"  # utterance, or speaker: no speaker in two parts
    parts: dict[str, float] = field(default_factory=lambda: {"train": 0.8, "val": 0.2})
    seed: int = 0


@dataclass(frozen=True)
class Experiment:
    system: str
    preset: str
    corpus: CorpusConfig
    pack: PackConfig
    split: SplitConfig
    model: VQVAEConfig
    training: TrainingConfig
    inputs: str  # kind of features that the encoder reads
    targets: str  # kind of features that the decoder is to give
    seed: int = 0  # of weights, batches and noise

    def __post_init__(self):
        for role in ("inputs", "targets"):
            if getattr(self, role) not in (kinds := [config.kind for config in self.pack.features]):
                raise UnknownName(role, getattr(self, role), kinds)


@dataclass(frozen=True)
class Sweep:
    """Many experiments: each of `experiments` (name -> changes), at each point of `grid` (dotted name -> values), with
    each seed; `changes` go to all of them. `read_sweep` reads these keys from YAML."""

    system: str = "vqvae"
    preset: str = "demo"
    corpus: str = ""
    corpus_root: str = ""
    seeds: tuple[int, ...] = (0,)
    changes: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    experiments: dict[str, Any] = field(default_factory=lambda: {"": {}})


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
    experiment = replace(PRESETS[system][preset], seed=seed)
    if corpus and corpus != experiment.corpus.name:
        experiment = replace(experiment, corpus=CorpusConfig(corpus))
    if corpus_root:
        experiment = replace(experiment, corpus=replace(experiment.corpus, root=str(corpus_root)))
    return configs.override(experiment, changes or {})


def expand(sweep: Sweep) -> dict[str, Experiment]:
    """Name -> experiment for every member, in order; names tell what varies: "jitter12 codebook_size=44 seed=1".

    Raises UnknownName for any key that is no field, before anything is trained.
    """
    for name, values in sweep.grid.items():
        if not isinstance(values, (list, tuple)) or not values:
            raise SpeechlibError(f"grid.{name} needs a list of values, got {values!r}")
    members = {}
    for (name, changes), *values, seed in itertools.product(
        sweep.experiments.items(), *sweep.grid.values(), sweep.seeds
    ):
        point = dict(zip(sweep.grid, values))
        words = [name, *(f"{key.rsplit('.', 1)[-1]}={value}" for key, value in point.items())]
        words += [f"seed={seed}"] * (len(sweep.seeds) > 1)
        changes = sweep.changes | (changes or {}) | point  # YAML reads an empty mapping as None
        experiment = get(sweep.system, sweep.preset, sweep.corpus, sweep.corpus_root, seed, changes)
        members[" ".join(filter(None, words)) or sweep.preset] = experiment
    return members


def read_sweep(path: str | Path) -> Sweep:
    """The sweep in a YAML file. Raises BadFile for what is no YAML mapping, UnknownName for a key that is no field."""
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadFile(path, "does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadFile(path, f"is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise BadFile(path, f"needs the keys of a sweep (preset, seeds, grid, ...), holds {values!r}")
    sweep = configs.from_dict(Sweep, values)
    expand(sweep)  # whatever is misspelt in it is said now, not after the first training
    return sweep


# VQ-VAE on features. The source: VQ-VAE-Speech, vctk_features.yaml; 80 % of VCTK's 44,242 utterances, one crop of each
# per epoch, in batches of two.
_VCTK_CROPS = 35_393


def _epochs(epochs: int, batch_size: int = 2) -> dict[str, Any]:
    """The changes that give the source's `num_epochs` and `batch_size`."""
    return {"training.steps": epochs * (_VCTK_CROPS // batch_size), "training.batch_size": batch_size}


_paper = configs.override(
    Experiment(
        system="vqvae",
        preset="paper",
        corpus=CorpusConfig("vctk"),
        pack=PackConfig(features=(PSF_MFCC39,), trim="labels"),
        split=SplitConfig(),
        model=VQVAEConfig(),
        training=TrainingConfig(
            learning_rate=2e-4, amsgrad=True, log_every=100, validate_every=5_000, checkpoint_every=17_696
        ),
        inputs="psf_mfcc",
        targets="psf_mfcc",
    ),
    _epochs(15),
)

_demo = Experiment(
    system="vqvae",
    preset="demo",
    corpus=CorpusConfig("toy"),
    pack=PackConfig(features=(MFCC39, LOG_MEL)),
    split=SplitConfig(),
    model=VQVAEConfig(
        channels=64,
        code_dim=128,
        quantizer="ema",
        codebook_init="kmeans",
        reseed=0.1,
        decoder="frames",  # the source's lets neighbouring codes share the work: NMI 0.45 instead of 0.51
        jitter=0.3,  # steadier codes: the mean bigram diagonal rises, the rest stays
        speaker_dim=16,
    ),
    training=TrainingConfig(
        steps=3000,
        batch_size=16,
        n_frames=96,
        learning_rate=2e-3,
        schedule="cosine",
        warmup=100,
        grad_clip=1.0,
        log_every=5,
        checkpoint_every=500,
        record_gradients=True,
        record_codebook=True,
        record_every=250,
    ),
    inputs="mfcc",
    targets="log_mel",
)

_smoke = replace(
    _demo,
    preset="smoke",
    model=replace(_demo.model, channels=32, code_dim=16, ema_decay=0.95),
    training=replace(
        _demo.training,
        steps=120,
        batch_size=8,
        n_frames=47,
        learning_rate=3e-3,
        warmup=10,
        log_every=1,
        validate_every=20,
        checkpoint_every=40,
        record_every=10,
    ),
)

PRESETS: dict[str, dict[str, Experiment]] = {"vqvae": {"smoke": _smoke, "demo": _demo, "paper": _paper}}


def _set(epochs: int, batch_size: int = 2, changes: dict | None = None, **members) -> Sweep:
    return Sweep(preset="paper", changes=_epochs(epochs, batch_size) | (changes or {}), **members)


_K29 = {"model.codebook_size": 29}
_JITTER, _EMA, _KAIMING = {"model.jitter": 0.12}, {"model.quantizer": "ema"}, {"model.weight_norm": True}

# The nine sets that the source ships (configurations/experiments_*.json).
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


def named_set(name: str, preset: str = "paper", corpus: str = "", corpus_root: str = "") -> dict[str, Experiment]:
    """Name -> experiment of one of the nine sets, the source's own or in the size of another preset of VQ-VAE.

    Smaller ones keep what the set is about (features, codebook, batch, learning rate) and take the preset's corpus,
    channels, number of steps and rhythm of logging.
    """
    if name not in SETS:
        raise UnknownName("set of experiments", name, SETS)
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
