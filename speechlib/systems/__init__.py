"""Whole systems: data, model, objective and training put together, for notebooks and the command line.

    run = systems.train(presets.get("vqvae", "demo"))       # trains, or continues, or returns the finished run
    trained = systems.load(run)                             # (model, experiment, data, run)
    table = systems.tokens(trained)                         # one row per code of the validation part

`data` prepares what all of them start from, `lifecycle` has the steps that all go through, `codes` what all with a
codebook can do, `voices` what all that speak their codes can, `beside` asks several of them the same. A file with the
name of a system is that system (SYSTEMS in lifecycle); the others are what is asked of several, or of one at length
(`drawing` of MelNet), an entry to a challenge (`entrant`) and the toys of notebooks (`digits`, `toy_...`).
"""

from .beside import convert_all, with_voices
from .codes import baseline, encode, n_codes, tokens
from .data import Data, Trained, crops
from .imagined import Imagined, imagine
from .lifecycle import (
    SYSTEMS,
    at_hand,
    blank,
    build,
    describe,
    evaluate,
    experiment_of,
    load,
    load_pretrained,
    prepare,
    shipped_for,
    source_of,
    summary,
    train,
    train_part,
)
from .prior import code_bits
from .probed import probe_table, represent
from .sweeps import best, sweep
from .voices import (
    condition_use,
    convert,
    convert_file,
    has_voices,
    other_voice,
    reconstruct,
    speak,
    speaker_vectors,
    takes_references,
    voicing,
)

__all__ = [
    "SYSTEMS",
    "Data",
    "Imagined",
    "Trained",
    "at_hand",
    "baseline",
    "best",
    "blank",
    "build",
    "code_bits",
    "condition_use",
    "convert",
    "convert_all",
    "convert_file",
    "crops",
    "describe",
    "encode",
    "evaluate",
    "experiment_of",
    "has_voices",
    "imagine",
    "load",
    "load_pretrained",
    "shipped_for",
    "n_codes",
    "other_voice",
    "prepare",
    "probe_table",
    "reconstruct",
    "represent",
    "source_of",
    "speak",
    "speaker_vectors",
    "summary",
    "sweep",
    "takes_references",
    "tokens",
    "train",
    "train_part",
    "voicing",
    "with_voices",
]
