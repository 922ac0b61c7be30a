"""Experiments from the YAML files of jgarciapueyo/MelNet-SpeechGeneration: its configurations need no rewriting.

    name: ljspeech_v1
    audio: {sample_rate: 22050, spectrogram_type: power, n_fft: 1536, mel_channels: 256, hop_length: 256, ...}
    network: {n_tiers: 6, layers: [12, 5, 4, 3, 2, 2], hidden_size: 200, gmm_size: 10}
    data: {dataset: ljspeech, path: datasets/ljspeech/}
    training: {optimizer: RMSProp, epochs: 2, batch_size: 1, accumulation_steps: 8, lr: 0.00001, momentum: 0.9, ...}
    logging: {log_iterations: 50, ...}

The classes below are its sections: a key that is no field is refused, one that is missing has the default that stands
there. (Its trainer reads accumulation_steps and evaluation_iterations without any default, and six of its files, the
documented template among them, lack them: they could not be trained.) What differs here:

- layers count the projection before the first recurrent one there, and not here: each number is one less
- a level below ref_level_db + min_level_db is lifted to it, as there; none is cut off above ref_level_db
- items are crops of 432 frames; it skips what is longer than 1,000 frames
- an epoch is 95 % of the corpus: of LJSpeech where its size is not known before it is read (podcast)
- iterations count batches; our steps count updates, each of accumulation_steps batches
- two files of one `name` do not meet: a run is named by its architecture, and by all of its settings

num_workers and the folders of logs and checkpoints have no place here: they are read and not used.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import configs
from ..errors import BadFile, SpeechlibError, UnknownName
from ..features import FeatureConfig
from ..files import read_mapping
from ..packs import PackConfig
from .catalogue import placed
from .experiment import CorpusConfig, Experiment
from .melnet import PRESETS, architecture

_LJSPEECH = 13_100  # utterances
_LIBRISPEECH = {
    "dev-clean": 2_703,
    "dev-other": 2_864,
    "test-clean": 2_620,
    "test-other": 2_939,
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
}
_CORPORA = {"ljspeech": "ljspeech", "librispeech": "librispeech", "podcast": "folder"}  # its names, and ours
_OPTIMIZERS = ("rmsprop", "adam", "sgd")
_SYNTHESIS = "checkpoints_path"  # a key of the files that say what to speak from


@dataclass(frozen=True)
class Audio:
    sample_rate: int
    n_fft: int
    mel_channels: int
    hop_length: int
    win_length: int
    spectrogram_type: str = "power"  # its mel spectrogram is one of powers, whatever stands here
    ref_level_db: float = 20.0
    min_level_db: float = -100.0


@dataclass(frozen=True)
class Network:
    n_tiers: int
    layers: tuple[int, ...]  # one more than recur
    hidden_size: int
    gmm_size: int


@dataclass(frozen=True)
class Data:
    dataset: str
    path: str = ""  # its folder; "" = data/<corpus>
    url: str = ""  # the part of LibriSpeech
    audio_folder: str = ""  # of podcasts, inside `path`
    text_file: str = ""  # the reader of folders finds it by itself


@dataclass(frozen=True)
class Training:
    lr: float
    optimizer: str = "RMSProp"
    epochs: int = 2
    batch_size: int = 1
    accumulation_steps: int = 1
    momentum: float = 0.9
    num_workers: int = 1
    save_iterations: int = 1_000
    evaluation_iterations: int = 1_040
    dir_chkpt: str = ""


@dataclass(frozen=True)
class Logging:
    dir_log_tensorboard: str = ""
    dir_log: str = ""
    log_iterations: int = 50


@dataclass(frozen=True)
class Source:
    name: str
    audio: Audio
    network: Network
    data: Data
    training: Training
    logging: Logging = field(default_factory=Logging)


def read_melnet_yaml(
    path: str | Path, corpus: str = "", corpus_root: str = "", seed: int = 0, changes: dict[str, Any] | None = None
) -> dict[str, Experiment]:
    """Name -> experiment of such a file, or of every one in a folder: names are those of the files, and what lists the
    checkpoints to speak from (a synthesis file) is left out. The other arguments are those of `get`.

    Raises BadFile that names the file and what of it cannot be used, before anything is trained.
    """
    path = Path(path)
    files = sorted(file for file in path.rglob("*") if file.suffix in (".yml", ".yaml")) if path.is_dir() else [path]
    found = {file: read_mapping(file, "needs the keys name, audio, network, data and training") for file in files}
    if path.is_dir():
        found = {file: values for file, values in found.items() if _SYNTHESIS not in values}
    if not found:
        raise BadFile(path, "holds no .yml file of a training")
    experiments = {}
    for file, values in found.items():
        if _SYNTHESIS in values:
            raise BadFile(file, f"lists checkpoints to speak from ({_SYNTHESIS}): a training file is wanted")
        try:
            made = replace(experiment_of(configs.from_dict(Source, values)), seed=seed)
            made = replace(made, corpus=CorpusConfig(corpus)) if corpus else made  # its `path` is that of another one
            made = configs.override(placed(made, corpus, corpus_root), changes or {})
            experiments[file.stem] = replace(made, preset=architecture(made))
        except SpeechlibError as error:
            raise BadFile(file, str(error)) from None
    return experiments


def experiment_of(source: Source) -> Experiment:
    """What it says, as an experiment of ours. Raises SpeechlibError with both numbers where it contradicts itself."""
    audio, network, data, training = source.audio, source.network, source.data, source.training
    if len(network.layers) != network.n_tiers:
        raise SpeechlibError(f"network.n_tiers is {network.n_tiers}, network.layers has {len(network.layers)} numbers")
    if min(network.layers) < 2:
        raise SpeechlibError(f"network.layers {network.layers}: 2 or more each, one of which does not recur")
    if audio.spectrogram_type != "power":
        raise SpeechlibError(f"audio.spectrogram_type is {audio.spectrogram_type!r}: bands are powers here, as there")
    if data.dataset not in _CORPORA:
        raise UnknownName("data.dataset", data.dataset, _CORPORA)
    if training.optimizer.lower() not in _OPTIMIZERS:
        raise UnknownName("training.optimizer", training.optimizer, _OPTIMIZERS)
    bands = FeatureConfig(
        "log_fbank",  # that of torchaudio's MelSpectrogram
        audio.sample_rate,
        n_fft=audio.n_fft,
        win_length=audio.win_length,
        hop_length=audio.hop_length,
        n_mels=audio.mel_channels,
        floor=10 ** ((audio.ref_level_db + audio.min_level_db) / 10),
    )
    base, accumulate = PRESETS["paper"], training.accumulation_steps
    steps = training.epochs * round(0.95 * _utterances(data)) // (training.batch_size * accumulate)
    return replace(
        base,
        corpus=CorpusConfig(_CORPORA[data.dataset], _root(data)),
        pack=PackConfig(sample_rate=audio.sample_rate, features=(bands,)),
        model=replace(
            base.model,
            layers=tuple(n - 1 for n in network.layers),
            hidden=network.hidden_size,
            n_mixtures=network.gmm_size,
        ),
        training=replace(
            base.training,
            steps=max(1, steps),
            batch_size=training.batch_size,
            accumulate=accumulate,
            learning_rate=training.lr,
            optimizer=training.optimizer.lower(),
            betas=(training.momentum, base.training.betas[1]),
            grad_clip=2200.0,  # as in our presets of the same system
            log_every=max(1, source.logging.log_iterations // accumulate),
            validate_every=max(1, training.evaluation_iterations // accumulate),
            checkpoint_every=max(1, training.save_iterations // accumulate),
        ),
        inputs=bands.kind,
        targets=bands.kind,
    )


def _root(data: Data) -> str:
    """Where our reader finds what is at its `path`."""
    if data.dataset == "librispeech" and data.path:
        return str(Path(data.path, "LibriSpeech", data.url))
    return data.path


def _utterances(data: Data) -> int:
    if data.dataset == "librispeech" and data.url not in _LIBRISPEECH:
        raise UnknownName("part of LibriSpeech in data.url", data.url, _LIBRISPEECH)
    return _LIBRISPEECH.get(data.url, _LJSPEECH)
