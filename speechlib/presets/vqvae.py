"""Presets of the VQ-VAE on features.

The source is VQ-VAE-Speech, vctk_features.yaml: 80 % of VCTK's 44,242 utterances, one crop of each per epoch, in
batches of two.
"""

from dataclasses import replace
from typing import Any

from .. import configs
from ..features import LOG_MEL, MFCC39, PSF_MFCC39
from ..models.vqvae import VQVAEConfig
from ..packs import PackConfig
from ..training import TrainingConfig
from .experiment import CorpusConfig, Experiment, SplitConfig

_VCTK_CROPS = 35_393


def epochs(epochs: int, batch_size: int = 2) -> dict[str, Any]:
    """The changes that give the source's `num_epochs` and `batch_size`."""
    return {"training.steps": epochs * (_VCTK_CROPS // batch_size), "training.batch_size": batch_size}


_paper = configs.override(
    Experiment(
        system="vqvae",
        preset="paper",
        corpus=CorpusConfig("vctk"),
        pack=PackConfig(features=(PSF_MFCC39,), trim="labels"),
        split=SplitConfig(),
        model=VQVAEConfig(),
        training=TrainingConfig(
            learning_rate=2e-4, amsgrad=True, log_every=100, validate_every=5_000, checkpoint_every=17_696
        ),
        inputs="psf_mfcc",
        targets="psf_mfcc",
    ),
    epochs(15),
)

_demo = Experiment(
    system="vqvae",
    preset="demo",
    corpus=CorpusConfig("toy"),
    pack=PackConfig(features=(MFCC39, LOG_MEL)),
    split=SplitConfig(),
    model=VQVAEConfig(
        channels=64,
        code_dim=128,
        quantizer="ema",
        codebook_init="kmeans",
        reseed=0.1,
        decoder="frames",  # the source's lets neighbouring codes share the work: NMI 0.45 instead of 0.51
        jitter=0.3,  # steadier codes: the mean bigram diagonal rises, the rest stays
        speaker_dim=16,
    ),
    training=TrainingConfig(
        steps=3000,
        batch_size=16,
        n_frames=96,
        learning_rate=2e-3,
        schedule="cosine",
        warmup=100,
        grad_clip=1.0,
        log_every=5,
        checkpoint_every=500,
        record_gradients=True,
        record_codebook=True,
        record_histograms=True,
        record_every=250,
    ),
    inputs="mfcc",
    targets="log_mel",
)

_smoke = replace(
    _demo,
    preset="smoke",
    model=replace(_demo.model, channels=32, code_dim=16, ema_decay=0.95),
    training=replace(
        _demo.training,
        steps=120,
        batch_size=8,
        n_frames=47,
        learning_rate=3e-3,
        warmup=10,
        log_every=1,
        validate_every=20,
        checkpoint_every=40,
        record_every=10,
    ),
)

PRESETS = {preset.preset: preset for preset in (_smoke, _demo, _paper)}
