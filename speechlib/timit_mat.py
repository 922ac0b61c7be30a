"""TIMIT as frames in a MATLAB file: the layout of Logmel_normalized_48Label_Framealigned.mat, read into a pack.

    train, dev, test                   (F, C)  frames of all utterances, one after the other
    trainlen, devlen, testlen          U       frames of each utterance
    train_dict, dev_dict, test_dict    F       phone of each frame, an index into PHONES

Source: kept by whoever made it from TIMIT (LDC93S1); it is not distributed. Of 120 columns 40 are taken for log-mel
bands, the rest for their differences. There are no waves in it and no names of speakers: every utterance is a voice.
As a corpus it is called `timit_mat`: its root is the file, or the folder that it lies in.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from . import configs, matlab
from .errors import BadFile
from .features import FeatureConfig, n_features
from .files import data_dir, resolve
from .packs import FORMAT, LABELS, Pack, PackConfig

PHONES = tuple(
    "aa ae ah ao aw ax ay b ch d dh dx eh el en epi er ey f g hh ih ix iy jh k l m n ng ow oy p q r s sh sil t th cl "
    "uh uw v vcl w y z zh".split()
)
_VARIANTS = dict.fromkeys(["pcl", "tcl", "kcl"], "cl") | dict.fromkeys(["bcl", "dcl", "gcl"], "vcl")
_VARIANTS |= {"ax-h": "ax", "axr": "er", "hv": "hh", "ux": "uw", "eng": "ng", "em": "m", "nx": "n"}
_VARIANTS |= {"h#": "sil", "pau": "sil"}
PARTS = ("train", "dev", "test")
NAME, FILE = "timit_mat", "Logmel_normalized_48Label_Framealigned.mat"


def fold(symbol: str) -> str:
    """One of TIMIT's 61 symbols as one of PHONES (Lee & Hon 1989, with the glottal stop kept); others as they are."""
    return _VARIANTS.get(symbol, symbol)


def frames_of(config: PackConfig, kind: str) -> PackConfig:
    """What such a file can have of a pack: one kind of features, of 40 bands; differences where they are asked for."""
    (features,) = (features for features in config.features if features.kind == kind)
    return PackConfig(features=(replace(features, n_mels=40),))


def find(root: str | Path = "") -> Path:
    """The file: `root` itself, or FILE in that folder (default: data/timit_mat)."""
    root = resolve(root) if root else data_dir() / NAME
    return root if root.suffix == ".mat" else root / FILE


def load(path: str | Path, features: FeatureConfig | None = None) -> tuple[Pack, dict[str, list[int]]]:
    """The file as one pack in memory, and which of its utterances are `train`, `dev` and `test`.

    `features` says what its columns are, by default log-mel bands and, of 120, their differences; where it asks for
    bands only, the columns of differences are left out. Raises BadFile that names the array: one that is missing,
    columns that `features` does not have, frames and labels of different number, lengths that do not add up to the
    frames, labels beyond the table, values that are not finite.
    """
    path = resolve(path)
    arrays = matlab.read(path)
    parts = [_checked(path, part, arrays) for part in PARTS]
    widths = {part: found[0].shape[1] for part, found in zip(PARTS, parts)}
    if len(set(widths.values())) > 1:
        raise BadFile(path, f"has another number of columns in each part: {widths}")
    frames, lengths, labels = (np.concatenate([part[k] for part in parts]) for k in range(3))
    names = [f"{part}-{i:04d}" for part, found in zip(PARTS, parts) for i in range(len(found[1]))]
    C = frames.shape[1]
    if features is None:
        deltas = 2 if C == 120 else 0
        features = FeatureConfig("log_mel", win_length=400, n_mels=C // (1 + deltas), n_deltas=deltas)
    wanted = n_features(features)
    if wanted > C or C % features.n_mels:
        reason = f"has {C} columns, {wanted} are asked for ({features.n_mels} bands, {features.n_deltas} differences)"
        raise BadFile(path, f"{reason}: set n_mels and n_deltas in pack.features")
    frames = frames[:, :wanted]
    rows, counts = [], []
    for first, length in zip(np.cumsum(lengths) - lengths, lengths):
        found = _runs(labels[first : first + length])
        # Frame t is centred at t hops: a segment reaches half a hop beyond the centres of its frames.
        rows += [(phone, (a - 0.5) / features.frame_rate, (b - 0.5) / features.frame_rate) for a, b, phone in found]
        counts.append(len(found))
    none = np.zeros(len(names), np.int64)
    index = {
        "format": FORMAT,
        "name": NAME,
        "config": configs.to_dict(PackConfig(features=(features,))),
        "utterances": names,
        "speakers": names,
        "genders": [None] * len(names),
        "text": [None] * len(names),
        "symbols": list(PHONES),
        "skipped": [],
    }
    about = {"speaker": np.arange(len(names)), "shift": none.astype(float), "n_samples": none, "n_frames": lengths}
    about |= {"n_phones": np.array(counts), "n_words": none}
    flat = {features.kind: torch.from_numpy(np.ascontiguousarray(frames, np.float32))}
    silent = torch.zeros(0, dtype=torch.int16)
    pack = Pack(path, index, about, silent, flat, np.array(rows, LABELS), np.zeros(0, LABELS))
    bounds = np.cumsum([0, *(len(found[1]) for found in parts)])
    return pack, {part: list(range(a, b)) for part, a, b in zip(PARTS, bounds, bounds[1:])}


def _checked(path: Path, part: str, arrays: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(frames (F, C), lengths (U,), labels (F,)) of one part."""
    wanted = (part, f"{part}len", f"{part}_dict")
    for name in wanted:
        if name not in arrays:
            held = ", ".join(sorted(key for key in arrays if not key.startswith("_"))) or "none"
            raise BadFile(path, f"has no array {name!r}; it holds {held}")
    frames, (lengths, labels) = np.asarray(arrays[part]), (np.asarray(arrays[name]).ravel() for name in wanted[1:])
    if frames.ndim != 2 or not np.issubdtype(frames.dtype, np.number) or not np.isfinite(frames).all():
        raise BadFile(path, f"needs finite numbers (frames, coefficients), holds {frames.dtype}{frames.shape}", part)
    for name, values in zip(wanted[1:], (lengths, labels)):
        if not np.issubdtype(values.dtype, np.number) or not np.equal(np.round(values), values).all():
            raise BadFile(path, "holds values that are no whole numbers", name)
    lengths, labels = lengths.astype(np.int64), labels.astype(np.int64)
    if len(labels) != len(frames):
        raise BadFile(path, f"has {len(labels)} labels for {len(frames)} frames of {part}: one each", wanted[2])
    if (lengths < 1).any() or lengths.sum() != len(frames):
        reason = f"lengths of {len(lengths)} utterances add up to {lengths.sum()}, {part} has {len(frames)} frames"
        raise BadFile(path, reason, wanted[1])
    beyond = np.flatnonzero((labels < 0) | (labels >= len(PHONES)))
    if len(beyond):
        reason = f"frame {beyond[0]} has label {labels[beyond[0]]}, the table ends at {len(PHONES) - 1} ({PHONES[-1]})"
        raise BadFile(path, f"{reason}: are labels counted from 1?", wanted[2])
    return frames, lengths, labels


def _runs(labels: np.ndarray) -> list[tuple[int, int, int]]:
    """(first, stop, label) of the stretches of one label."""
    bounds = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return [(a, b, int(labels[a])) for a, b in zip(bounds, bounds[1:])]
