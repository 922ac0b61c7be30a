"""Presets of the Wasserstein autoencoders on phone windows, as small as the VAE's, so that they can be compared.

`paper` has the settings of Tolstikhin et al. 2018 for faces (z = 64, lambda = 100, Adam with beta1 .5); `source` is the
WAE-GAN of edchengg/generative_model_speech, with its sigmoids, its output layer and its prior of deviation 5.
"""

from dataclasses import replace

from ..features import FeatureConfig
from ..models.wae import WAEConfig
from ..packs import PackConfig
from ..training import TrainingConfig
from . import vae
from .experiment import CorpusConfig


def _like(preset: str, system: str, **changes):
    """The VAE's preset with a WAE in its place."""
    of = vae.PRESETS[preset]
    same = {name: getattr(of.model, name) for name in ("channels", "hidden", "latent_dim", "slope", "padding", "shift")}
    return replace(of, system=system, model=WAEConfig(**same | changes))


def _paper(system: str):
    experiment = _like("paper", system, latent_dim=64, penalty_weight=100.0)
    best_by = "loss" if system == "wae" else ""  # what a critic says of step n is no measure for step m
    training = replace(experiment.training, betas=(0.5, 0.999), weight_decay=0.0, best_by=best_by)
    return replace(experiment, training=training)


# The squared error of a window of 1,600 standardised values is some hundreds: beside it an MMD of some hundredths would
# be lost with the paper's lambda of 10. A critic makes itself heard: with 50 the VAE rebuilds better.
PRESETS = {preset: _like(preset, "wae", penalty_weight=500.0) for preset in ("smoke", "demo")}
PRESETS |= {"paper": _paper("wae")}

_source = replace(
    _like("paper", "wae_gan"),
    preset="source",
    corpus=CorpusConfig("timit"),
    pack=PackConfig(features=(FeatureConfig("log_fbank", win_length=400, n_mels=40),)),
    model=WAEConfig(activation="tanh", bounded_output=True, squashed=True, prior_std=5.0, source_critic=True),
    training=TrainingConfig(
        steps=20 * 1_100,  # 20 epochs of some 140,000 windows
        batch_size=128,
        n_frames=19,
        learning_rate=1e-3,
        log_every=100,
        validate_every=1_100,
        checkpoint_every=1_100,
    ),
)

GAN_PRESETS = {preset: _like(preset, "wae_gan", penalty_weight=10.0) for preset in ("smoke", "demo")}
GAN_PRESETS |= {"paper": _paper("wae_gan"), "source": _source}
