"""Presets of WGAN-GP on phone windows. A step is one update of the generator, after n_critic of the critic.

`paper` has the settings of Gulrajani et al. 2017: 200,000 steps, batches of 50, Adam 1e-4 with betas 0 and .9; `source`
is the network of edchengg/generative_model_speech on windows of 9 frames with differences. `grid` is a small `paper`.
"""

from dataclasses import replace

from ..features import FeatureConfig
from ..models.wgan import WGANConfig
from ..packs import PackConfig
from ..training import TrainingConfig
from . import vae

_paper = replace(
    vae.PRESETS["paper"],
    system="wgan",
    model=WGANConfig(),
    training=TrainingConfig(
        steps=200_000,
        batch_size=50,
        n_frames=20,
        learning_rate=1e-4,
        betas=(0.0, 0.9),
        precision="fp32",  # slopes are differences of what the critic says: bf16 would round them away
        log_every=100,
        validate_every=1_000,
        checkpoint_every=2_000,
    ),
)

_source = replace(
    _paper,
    preset="source",
    pack=PackConfig(features=(FeatureConfig("log_fbank", win_length=400, n_mels=40, n_deltas=2),)),
    model=WGANConfig(network="source"),
    training=replace(_paper.training, n_frames=9),
)

# The few minutes of `demo` are spent on turns of the generator: kernels over all bands at once take a third of the time
# of a picture's, and after two updates of the critic it learns more in a minute than after five.
_demo = replace(
    vae.PRESETS["demo"],
    system="wgan",
    model=WGANConfig(network="conv", latent_dim=64, n_critic=2, shift=5),
    training=replace(
        _paper.training,
        steps=1_600,
        batch_size=64,
        learning_rate=2e-3,
        schedule="cosine",
        ema_decay=0.99,
        log_every=2,
        validate_every=50,
        checkpoint_every=200,
    ),
)

_grid = replace(
    _demo,
    preset="grid",
    model=WGANConfig(channels=(8, 16, 32), latent_dim=64, shift=5),
    training=replace(_demo.training, steps=400, learning_rate=1e-3, schedule="constant"),
)

_smoke = replace(
    _demo,
    preset="smoke",
    model=replace(_demo.model, channels=(16, 32, 64), latent_dim=16),
    training=replace(_demo.training, steps=30, batch_size=32, log_every=1, validate_every=10, checkpoint_every=30),
)

PRESETS = {preset.preset: preset for preset in (_smoke, _demo, _grid, _paper, _source)}
