"""Codes as data: what a trained codec makes of every utterance, packed like features, for models that learn codes.

    data/codes/toy-3f2a9c01b7de-9a8b7c6d5e4f.safetensors      a pack, and the codec that made codes of it

A codec goes by the fingerprint of its weights: one that was trained anew has other codes, and another file.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import runs
from ..errors import BadFile, SpeechlibError, UnknownName
from ..files import data_dir
from ..packs import Pack
from ..presets import CODES
from ..training import Progress, device_of
from .codes import encode, has_codes
from .data import Trained

_AT_ONCE = 50  # utterances between two words of progress


class CodesConfig(NamedTuple):
    """What a FeatureConfig is to features: codes come at sample_rate / hop_length per second."""

    sample_rate: int
    hop_length: int  # samples per code
    first: float  # seconds from the beginning to the centre of the first code

    @property
    def frame_rate(self) -> float:
        return self.sample_rate / self.hop_length

    def times(self, n_codes: int) -> np.ndarray:
        """(L,) seconds of the centres of the codes."""
        return self.first + np.arange(n_codes) / self.frame_rate


class CodePack(Pack):
    """A pack whose one kind of features is `codes`: a whole number per step, in place of a vector.

    frames: {"codes": int64 (total, 1)}; n_frames, first_frame: of the codes; codec: the fingerprint of what made them,
    codebook: (K, D), what they stand for there. All else is the pack's own. `codes_of(i)` gives those of one utterance.
    """

    def __init__(
        self, pack: Pack, codes: Tensor, lengths: np.ndarray, config: CodesConfig, codec: str, codebook: Tensor
    ):
        vars(self).update(vars(pack))
        self.frames = {CODES: codes.long()[:, None]}
        self.n_frames, self.first_frame = lengths, np.cumsum(lengths) - lengths
        self.codes_config, self.codec, self.codebook = config, codec, codebook

    @property
    def device(self) -> torch.device:
        return self.frames[CODES].device

    def to(self, device: str | torch.device) -> "CodePack":
        """The same pack with its codes on a device; the audio stays where it is."""
        codes = self.frames[CODES][:, 0].to(device)
        return CodePack(self, codes, self.n_frames, self.codes_config, self.codec, self.codebook)

    def config_of(self, kind: str) -> CodesConfig:
        if kind != CODES:
            raise UnknownName(f"features of pack {self.name}, which holds codes", kind, self.frames)
        return self.codes_config

    def n_features(self, kind: str) -> int:
        return self.frames[kind].shape[1]

    def codes_of(self, i: int) -> Tensor:
        """Codes (L,) of utterance i."""
        return self.features(i, CODES)[0]


def code_pack(codec: Trained, progress: Progress | None = None) -> CodePack:
    """The codes of every utterance of a codec's pack: read if they are on disk, else made and kept there.

    Raises SpeechlibError for a codec that has no codebook or several: a model of codes reads one.
    """
    model, pack, config = codec.model, codec.data.pack, codec.experiment.model
    if not has_codes(codec.experiment):
        raise SpeechlibError(
            f"the {codec.experiment.system} has no codebook (quantizer {config.quantizer!r}): nothing reads its codes"
        )
    if config.slices:
        raise SpeechlibError(
            f"the {codec.experiment.system} has {len(config.slices)} codebooks (model.slices {config.slices}): what "
            "reads codes reads one, so train the codec with slices ()"
        )
    name = fingerprint(model)
    path = data_dir() / "codes" / f"{pack.path.name}-{name}.safetensors"
    try:
        tensors, about = runs.load_tensors(path)
    except BadFile:  # absent, or damaged: it is made again
        tensors, about = _encode(codec, progress)
        runs.save_tensors(path, tensors, about)
    made = CodesConfig(pack.config.sample_rate, about["hop_length"], about["first"])
    codebook = model.quantizer.codebook.detach().cpu()
    return CodePack(pack, tensors["codes"], tensors["lengths"].numpy(), made, name, codebook)


def fingerprint(model: nn.Module) -> str:
    """12 digits for a model's weights, as float16 keeps them: a shipped checkpoint is the codec of the run it was."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        value = tensor.half() if tensor.is_floating_point() else tensor
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _encode(codec: Trained, progress: Progress | None) -> tuple[dict[str, Tensor], dict]:
    pack, found, longest = codec.data.pack, [], np.zeros(0)
    device = next(codec.model.parameters()).device
    codec.model.to(device_of(codec.experiment.training))  # where it was trained: a large one takes hours on a CPU
    try:
        for first in range(0, len(pack), _AT_ONCE):
            indices = range(first, min(first + _AT_ONCE, len(pack)))
            codes, times = encode(codec, indices)
            found += [codes[i] for i in indices]
            longest = max(longest, *times.values(), key=len)
            if progress:
                progress(len(found), len(pack), "encoding")
    finally:
        codec.model.to(device)
    if len(longest) < 2:
        raise SpeechlibError(f"no utterance of {pack.name} is longer than one code: nothing follows anything")
    hop = round((longest[1] - longest[0]) * pack.config.sample_rate)
    tensors = {"codes": torch.from_numpy(np.concatenate(found)).int(), "lengths": torch.tensor([len(c) for c in found])}
    return tensors, {"hop_length": hop, "first": float(longest[0])}
