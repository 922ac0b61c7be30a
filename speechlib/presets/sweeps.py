"""Many experiments from one description: a base, named members, a grid, seeds; in Python or YAML."""

import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import configs, files
from ..errors import SpeechlibError
from .catalogue import get
from .experiment import Experiment

MOST = 10_000  # trainings of a sweep: more are a slip of the pen, and would be made one by one before any starts


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


def expand(sweep: Sweep) -> dict[str, Experiment]:
    """Name -> experiment for every member, in order; names tell what varies: "jitter12 codebook_size=44 seed=1".

    Raises UnknownName for any key that is no field, before anything is trained; SpeechlibError for a sweep of nothing.
    """
    for name, values in sweep.grid.items():
        if not isinstance(values, (list, tuple)) or not values:
            raise SpeechlibError(f"grid.{name} needs a list of values, got {values!r}")
    for name, changes in sweep.experiments.items():
        if not isinstance(changes, dict | None):
            raise SpeechlibError(f"experiments.{name} needs a mapping of changes, got {changes!r}")
    count = math.prod(map(len, (sweep.experiments, *sweep.grid.values(), sweep.seeds)))
    if count > MOST:
        raise SpeechlibError(f"the sweep has {count:,} trainings, at most {MOST:,}: is a list in its grid too long?")
    for name in ("seeds", "experiments"):
        if not getattr(sweep, name):
            raise SpeechlibError(f"{name} is empty, and the sweep with it: leave it out, or name at least one")
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
    sweep = configs.from_dict(Sweep, files.read_mapping(path, "needs the keys of a sweep (preset, seeds, grid, ...)"))
    expand(sweep)  # whatever is misspelt in it is said now, not after the first training
    return sweep
