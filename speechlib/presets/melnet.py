"""Presets of MelNet: spectrograms from coarse to fine.

`paper` is Vasquez & Lewis 2019 (arXiv 1906.01083, table 1) without text or speakers, for Blizzard 2013; LJSpeech stands
in for it, as there is no reader of Blizzard here. `voxceleb2` and `maestro` have the tiers that two ports quote for
these corpora (Deepest-Project/MelNet, jaeyeun97/MelNet). `source` and the ones named after corpora are the
configurations of jgarciapueyo/MelNet-SpeechGeneration, whose count of layers is one higher than ours.

All train every tier in every step: tiers share no weights, so each is the model that it would be alone. `training.part`
trains them by themselves: "each", one after the other, in a folder for each; or one, "tier_2", at its own cost only.
"""

from dataclasses import replace

from ..features import FeatureConfig
from ..models.melnet import MelNetConfig
from ..packs import PackConfig
from ..training import TrainingConfig
from .experiment import CorpusConfig, Experiment, SplitConfig


def _mel(sample_rate: int, hop: int = 256, n_mels: int = 256) -> FeatureConfig:
    """Windows of six hops; 100 dB below full scale is the floor."""
    return FeatureConfig(
        "log_mel", sample_rate, n_fft=6 * hop, win_length=6 * hop, hop_length=hop, n_mels=n_mels, floor=1e-10
    )


def architecture(experiment: Experiment) -> str:
    """d<corpus>_t<tiers>_l<layers>_hd<hidden>_gmm<components>, as the source system names its folders: layers are those
    that it counts, one more than recur."""
    model = experiment.model
    layers = ".".join(str(n + 1) for n in model.layers)
    return f"d{experiment.corpus.name}_t{model.n_tiers}_l{layers}_hd{model.hidden}_gmm{model.n_mixtures}"


_paper = Experiment(
    system="melnet",
    preset="paper",
    corpus=CorpusConfig("ljspeech"),
    pack=PackConfig(sample_rate=22_050, features=(_mel(22_050),)),
    split=SplitConfig(parts={"train": 0.95, "val": 0.05}),
    model=MelNetConfig(checkpoint=True),
    training=TrainingConfig(
        steps=200_000,  # ours: the paper tells no number
        batch_size=1,  # 32 in a step, one by one: so a step fits into the memory of one machine
        accumulate=32,
        n_frames=432,  # ours: 5 s
        learning_rate=1e-4,
        optimizer="rmsprop",
        betas=(0.9, 0.99),  # momentum, and the average of squares
        log_every=50,
        validate_every=1_000,
        checkpoint_every=1_000,
    ),
    inputs="log_mel",
    targets="log_mel",
)
_voxceleb2 = replace(  # 180 bands at 16 kHz, crops of 6 s; the corpus is brought as a manifest
    _paper,
    preset="voxceleb2",
    corpus=CorpusConfig("manifest"),
    pack=PackConfig(sample_rate=16_000, features=(_mel(16_000, 180, 180),)),
    model=replace(_paper.model, layers=(16, 6, 5, 4, 3)),
    training=replace(_paper.training, accumulate=128, n_frames=533),
)
_maestro = replace(
    _paper, preset="maestro", corpus=CorpusConfig("manifest"), model=replace(_paper.model, layers=(16, 6, 5, 4))
)


def _source(
    preset: str, layers: str, hidden: int, n_mixtures: int, learning_rate: float, accumulate: int, rate=22_050, batch=1
):
    """A configuration of the source system: `layers` as it counts them, the projection before the first included. (Its
    YAML files are read by `melnet_yaml`.)"""
    recurrent = tuple(int(n) - 1 for n in layers.split("-"))
    return replace(
        _paper,
        preset=preset,
        corpus=CorpusConfig("librispeech" if rate == 16_000 else "ljspeech"),
        pack=PackConfig(sample_rate=rate, features=(_mel(rate),)),
        model=replace(_paper.model, layers=recurrent, hidden=hidden, n_mixtures=n_mixtures),
        training=replace(
            _paper.training,
            steps=2 * 12_445 // (batch * accumulate),  # two epochs of LJSpeech's 95 %
            batch_size=batch,
            accumulate=accumulate,
            learning_rate=learning_rate,
            grad_clip=2200.0,  # of sums over bins, where it never took effect; of our means, where it hardly can
        ),
    )


_sources = (
    _source("source", "12-7-6-5-4-4", 200, 10, 4e-6, 8),  # the final model of its write-up
    _source("source_small", "12-5-4-3-2-2", 16, 10, 4e-6, 16),
    _source("ljspeech_v1", "12-5-4-3-2-2", 200, 10, 1e-5, 8),
    _source("ljspeech_v2", "16-6-5-4-4", 200, 10, 3e-6, 16),
    _source("ljspeech_v3", "16-6-5-4-4", 200, 10, 6e-6, 16),
    _source("ljspeech_v4", "16-7-6-5-4-4", 200, 16, 4e-6, 16),
    _source("ljspeech_v5", "16-6-6-5-4-4", 200, 16, 2e-6, 8),
    _source("librispeech_v1", "5", 8, 10, 1e-3, 1, 16_000, batch=2),
    _source("librispeech_v2", "12-5-4-3-2-2", 128, 8, 3e-6, 8, 16_000),
)

_demo = Experiment(
    system="melnet",
    preset="demo",
    corpus=CorpusConfig("toy"),
    pack=PackConfig(
        sample_rate=8_000,
        features=(FeatureConfig("log_mel", 8_000, n_fft=512, win_length=512, hop_length=128, n_mels=64),),
    ),
    split=SplitConfig(),
    model=MelNetConfig(layers=(3, 2, 2, 2), hidden=48, dither=0.05, speaker_dim=16),
    training=TrainingConfig(
        steps=360,
        batch_size=4,
        n_frames=96,
        learning_rate=4e-3,
        schedule="cosine",
        warmup=10,
        grad_clip=1.0,
        log_every=5,
        validate_every=30,
        checkpoint_every=60,
    ),
    inputs="log_mel",
    targets="log_mel",
)
_smoke = replace(
    _demo,
    preset="smoke",
    pack=PackConfig(
        sample_rate=8_000,
        features=(FeatureConfig("log_mel", 8_000, n_fft=512, win_length=512, hop_length=128, n_mels=32),),
    ),
    model=replace(_demo.model, layers=(2, 1, 1), hidden=24, n_mixtures=5, speaker_dim=8),
    training=replace(
        _demo.training, steps=20, n_frames=48, warmup=2, log_every=1, validate_every=5, checkpoint_every=10
    ),
)

_first = replace(  # minutes on a GPU, hours on a CPU; a layer less than `demo`, so that its checkpoint is small
    _demo,
    preset="first",
    model=replace(_demo.model, layers=(2, 2, 2, 2)),
    training=replace(
        _demo.training,
        steps=2_000,
        batch_size=32,
        warmup=100,
        ema_decay=0.999,
        log_every=50,
        validate_every=200,
        checkpoint_every=200,
    ),
)
_long = replace(  # goes on from it, on any device: some minutes of one core
    _first,
    preset="long",
    source=_first,
    training=replace(_first.training, steps=400, batch_size=8, learning_rate=1.5e-3, warmup=20, ema_decay=0.99),
)

PRESETS = {preset.preset: preset for preset in (_smoke, _demo, _first, _long, _paper, _voxceleb2, _maestro, *_sources)}

_PER_FRAME = {  # of the source's write-up, figure 6.4: the first tier's loss, a sum over its 32 bins
    "hidden size": {16: -36.8795, 32: -38.0781, 64: -39.1988, 128: -40.4345, 200: -40.9659},  # of 13 layers that recur
    "layers": {7: -38.7108, 9: -38.8146, 11: -38.8979, 13: -39.1988, 15: -39.1449},  # that recur, of hidden size 64
}
# nats per value of LJSpeech's features on a scale of 100 dB from 0 to 1: other data in another unit than ours
PUBLISHED = {what: {n: loss / 32 for n, loss in losses.items()} for what, losses in _PER_FRAME.items()}
