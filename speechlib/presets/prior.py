"""Presets of the prior over codes: each learns the codes of another experiment, its `source`.

van den Oord et al. 2017 (arXiv 1711.00937, section 4.3) sampled speech without a recording from a WaveNet prior on the
codes of a 128x model of 460 speakers, in chunks of 40,960 samples = 320 codes; corpus, size and optimiser are not told.
The source system (DongyaoZhu/VQ-VAE-WaveNet) has a sketch that cannot be run. What is ours in `paper` is said there.

`demo` and `long` learn the codes of the codec's `long`, 50 per second: it comes with the package. On another corpus it
is trained first, which takes hours (`source.training.steps` makes it short).
"""

from dataclasses import replace

from ..models.prior import PriorConfig
from ..training import TrainingConfig
from . import vqvae_wavenet
from .experiment import CODES, CorpusConfig, Experiment


def _on(source: Experiment, preset: str, model: PriorConfig, training: TrainingConfig) -> Experiment:
    """A prior on the codes of `source`: corpus, features and split are those that the codec was trained with."""
    return Experiment(
        system="prior",
        preset=preset,
        corpus=source.corpus,
        pack=source.pack,
        split=source.split,
        model=model,
        training=training,
        inputs=CODES,
        targets=CODES,
        source=source,
    )


_codec = vqvae_wavenet.PRESETS

# seven convolutions of stride 2 make a code of 128 samples; LibriSpeech is ours, as the 460 speakers are not named
_paper_source = replace(
    _codec["paper_2017"],
    corpus=CorpusConfig("librispeech"),
    model=replace(
        _codec["paper_2017"].model,
        strides=(2,) * 7,
        decoder=replace(_codec["paper_2017"].model.decoder, scales=(128,)),
    ),
)
_paper = _on(
    _paper_source,
    "paper",
    PriorConfig(  # ours: as wide as half the decoder, dilations 1..128 over 2 s of codes
        n_layers=16,
        n_stacks=2,
        kernel_size=3,
        residual_channels=256,
        gate_channels=512,
        skip_channels=256,
        speaker_dim=64,
        dropout=0.1,
    ),
    TrainingConfig(  # ours, but for the length of the crops
        steps=200_000,
        batch_size=32,
        n_frames=320,
        learning_rate=3e-4,
        schedule="cosine",
        warmup=1_000,
        grad_clip=1.0,
        ema_decay=0.999,
        log_every=100,
        validate_every=2_000,
        checkpoint_every=10_000,
    ),
)

_demo = _on(
    _codec["long"],
    "demo",
    PriorConfig(n_layers=8, n_stacks=2),
    TrainingConfig(
        steps=600,
        batch_size=16,
        n_frames=128,
        learning_rate=5e-3,
        schedule="cosine",
        warmup=40,
        optimizer="adamw",
        weight_decay=1e-2,
        grad_clip=1.0,
        log_every=5,
        validate_every=25,
        validate_batches=8,
        checkpoint_every=100,
    ),
)
_smoke = replace(
    _demo,
    preset="smoke",
    source=_codec["smoke"],
    model=replace(_demo.model, n_layers=4, residual_channels=32, gate_channels=64, skip_channels=32),
    training=replace(
        _demo.training,
        steps=150,
        batch_size=8,
        n_frames=64,
        warmup=10,
        log_every=1,
        validate_every=15,
        checkpoint_every=50,
    ),
)
_long = replace(
    _demo,
    preset="long",
    model=replace(_demo.model, n_layers=12, dropout=0.2),
    training=replace(
        _demo.training,
        steps=3_000,
        learning_rate=2e-3,
        warmup=100,
        log_every=20,
        validate_every=100,
        checkpoint_every=500,
    ),
)

PRESETS = {preset.preset: preset for preset in (_smoke, _demo, _long, _paper)}
