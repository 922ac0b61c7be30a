"""What to train, in one value: an Experiment holds every choice from corpus to learning rate.

    presets.get("vqvae", "demo", corpus="vctk", corpus_root="/data/vctk", changes={"model.codebook_size": 100})

Per system three presets: `smoke` (seconds, to see that all works), `demo` (a minute or two on two cores, results worth
looking at) and `paper` (the source's own numbers). A variant is one `replace(...)`; many are a Sweep (Python or YAML).
One file per system; `catalogue` lists them.
"""

from .catalogue import PRESETS, command, get, names
from .experiment import CODES, WAVE, CorpusConfig, Experiment, SplitConfig
from .melnet_yaml import read_melnet_yaml
from .named_sets import MELNET_SIZES, MELNET_TIERS, NAMED_SETS, SETS, VAE_SIZES, named_set
from .sweeps import Sweep, expand, read_sweep

__all__ = [
    "CODES",
    "MELNET_SIZES",
    "MELNET_TIERS",
    "NAMED_SETS",
    "PRESETS",
    "SETS",
    "VAE_SIZES",
    "WAVE",
    "CorpusConfig",
    "Experiment",
    "SplitConfig",
    "Sweep",
    "command",
    "expand",
    "get",
    "named_set",
    "names",
    "read_sweep",
    "read_melnet_yaml",
]
