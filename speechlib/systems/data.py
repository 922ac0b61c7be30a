"""What every system starts from and leaves behind: prepared data, and a trained model beside it."""

from concurrent.futures import Executor
from typing import NamedTuple

import torch
from torch import nn

from .. import batches, corpora, packs, timit_mat
from ..corpora import splits
from ..errors import SpeechlibError
from ..presets import Experiment
from ..runs import Run
from ..training import Progress


class Data(NamedTuple):
    corpus: corpora.Corpus | None  # None for frames that came without their recordings
    pack: packs.Pack
    split: dict[str, list[int]]  # part -> indices into the pack


class Trained(NamedTuple):
    model: nn.Module
    experiment: Experiment
    data: Data
    run: Run | None  # None for a checkpoint that came without its run


class Voicing(NamedTuple):
    """How a system speaks its codes (see `voices`)."""

    error: str  # what its `decoding_error` counts, with the unit
    nobody: bool  # whether its decoder knows speaker -1
    draws: bool  # whether its speech is drawn: by a temperature and a seed


def packed(experiment: Experiment, progress: Progress | None = None, executor: Executor | None = None) -> Data:
    """The corpus of an experiment, packed (by an `executor`, where one is given) and split. What is on disk already is
    opened, not made again.

    `timit_mat` is packed and split as it comes.
    """
    if experiment.corpus.name == timit_mat.NAME:
        (features,) = experiment.pack.features
        pack, parts = timit_mat.load(timit_mat.find(experiment.corpus.root), features)
        return Data(None, pack, {"train": parts["train"], "val": parts["dev"], "test": parts["test"]})
    corpus = corpora.load(experiment.corpus.name, experiment.corpus.root or None)
    pack = packs.build(corpus, experiment.pack, progress=progress, executor=executor)
    field = getattr(experiment.model, "voices", "speaker")
    if field != "speaker":
        pack = pack.voiced(_voices(corpus, pack, field))
    parts = splits.split(corpus.cuts, experiment.split.parts, experiment.split.by, experiment.split.seed)
    index = {utterance: i for i, utterance in enumerate(pack.utterances)}
    split = {part: [index[utterance] for utterance in ids if utterance in index] for part, ids in parts.items()}
    for part, indices in split.items():
        if not indices:
            raise SpeechlibError(
                f"no utterance for part {part!r} of {corpus.name}: {len(pack.utterances)} usable ones, "
                f"{len(pack.skipped)} skipped, split {experiment.split.parts} by {experiment.split.by}"
            )
    return Data(corpus, pack, split)


def _voices(corpus: corpora.Corpus, pack: packs.Pack, field: str) -> list[str]:
    """What each utterance's speaker is in a field of the corpus ("accent"), "unknown" where it does not say."""
    said = {cut.id: (cut.supervisions[0].custom or {}).get(field) for cut in corpus.cuts}
    if not any(said.values()):
        raise SpeechlibError(f"model.voices is {field!r}, and no utterance of {corpus.name} has a field of that name")
    return [said[utterance] or "unknown" for utterance in pack.utterances]


def crops(experiment: Experiment, data: Data, part: str = "train") -> batches.Crops:
    config = experiment.training
    return batches.Crops(
        data.pack,
        data.split[part],
        config.batch_size,
        config.n_frames,
        seed=experiment.seed,
        inputs=experiment.frames("inputs"),
        targets=experiment.frames("targets"),
        audio=experiment.has_audio,
    )


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
