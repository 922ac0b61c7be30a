"""Presets of the VAE on phone windows.

`paper` is Hsu, Zhang & Glass 2017 (arXiv 1704.04222) as in wnhsu/SpeechVAE; `source` the last state of
edchengg/generative_model_speech, its output layer included. `gated`, `lstm` and `grid` are `demo` with another network.
"""

from dataclasses import replace

from ..features import FeatureConfig
from ..models.vae import VAEConfig
from ..packs import PackConfig
from ..training import TrainingConfig
from .experiment import CorpusConfig, Experiment, SplitConfig

_EPOCH = 1_100  # batches of 128 in some 140,000 windows of TIMIT's training part

_paper = Experiment(
    system="vae",
    preset="paper",
    corpus=CorpusConfig("timit"),
    pack=PackConfig(features=(FeatureConfig("log_fbank", win_length=400, n_mels=80),)),
    split=SplitConfig(parts={"train": 0.9, "val": 0.1}),
    model=VAEConfig(latent_dim=128, slope=0.0, padding=1, least_std=0.01),
    training=TrainingConfig(
        steps=500 * 2_000,  # at most: Hsu et al. stop when 50 epochs of 2,000 have gained nothing
        batch_size=256,
        n_frames=20,
        learning_rate=1e-3,
        betas=(0.95, 0.999),
        weight_decay=1e-4,
        best_by="loss",
        log_every=100,
        validate_every=2_000,
        checkpoint_every=2_000,
    ),
    inputs="log_fbank",
    targets="log_fbank",
)

_source = replace(
    _paper,
    preset="source",
    pack=PackConfig(features=(FeatureConfig("log_fbank", win_length=400, n_mels=40),)),
    model=VAEConfig(
        latent_dim=128,
        bias=False,
        bounded_output=True,
        standardise=False,
        reconstruction="squared_error",
        posterior_std=0.1,
    ),
    training=TrainingConfig(
        steps=400 * _EPOCH,
        batch_size=128,
        n_frames=19,
        learning_rate=1e-4,
        learning_rates=tuple((100 * k * _EPOCH, 1e-4 / 2**k) for k in (1, 2, 3)),
        betas=(0.95, 0.999),  # its own, .99 and .95, are the wrong way round
        # The source sums its loss over the batch, here it is the mean: the same steps of Adam, 128 times smaller.
        grad_clip=0.25 / 128,
        weight_decay=1e-4 / 128,
        best_by="loss",
        log_every=100,
        validate_every=_EPOCH,
        checkpoint_every=_EPOCH,
    ),
)

_demo = Experiment(
    system="vae",
    preset="demo",
    corpus=CorpusConfig("toy"),
    pack=PackConfig(),
    split=SplitConfig(),
    model=VAEConfig(shift=5),  # windows anywhere near a phone: as many as frames, and harder to learn by heart
    training=TrainingConfig(
        steps=1_200,
        batch_size=256,
        n_frames=20,
        learning_rate=2e-3,
        schedule="cosine",
        warmup=50,
        betas=(0.95, 0.999),
        optimizer="adamw",
        weight_decay=0.1,
        grad_clip=1000.0,  # gradients of a sum over 1,600 values: their norm is some hundreds
        ema_decay=0.99,
        log_every=5,
        validate_every=50,
        checkpoint_every=300,
    ),
    inputs="log_mel",
    targets="log_mel",
)

_smoke = replace(
    _demo,
    preset="smoke",
    model=replace(_demo.model, channels=(32, 64, 128), hidden=256, latent_dim=16),
    training=replace(
        _demo.training, steps=60, batch_size=128, warmup=10, log_every=1, validate_every=10, checkpoint_every=30
    ),
)

_others = [
    replace(_demo, preset=network, model=replace(_demo.model, network=network, **sizes))
    for network, sizes in {"gated": {}, "lstm": {"hidden": 256}, "grid": {"channels": (16, 32, 64)}}.items()
]

PRESETS = {preset.preset: preset for preset in (_smoke, _demo, _paper, _source, *_others)}
