"""Presets of the FloWaveNet vocoder: mel bands in, all samples at once out.

`paper` has the source's numbers (ksw0306/FloWaveNet on LJSpeech). `demo` speaks at 8 kHz with a fifth of the channels
and a quarter of the flows, and learns the excitation under the envelope that its bands tell (models/excitation.py), as
the WaveNet of notebook 21 does: the wave itself, learned for as long, is no speech yet.
"""

from dataclasses import replace

from ..models.flowavenet import FloWaveNetConfig
from ..packs import PackConfig
from ..training import TrainingConfig
from .experiment import WAVE, CorpusConfig, Experiment, SplitConfig
from .wavenet import MEL_8K, MEL_22K

_paper = Experiment(
    system="flowavenet",
    preset="paper",
    corpus=CorpusConfig("ljspeech"),
    pack=PackConfig(sample_rate=22_050, features=(replace(MEL_22K, floor=1e-4),), peak=0.999),
    split=SplitConfig(parts={"train": 0.9, "val": 0.1}),
    model=FloWaveNetConfig(unit_condition=True),
    training=TrainingConfig(
        steps=1_000_000,
        batch_size=2,
        n_frames=62,  # 15,872 samples
        learning_rate=1e-3,
        learning_rates=tuple((200_000 * k, 1e-3 / 2**k) for k in (1, 2, 3, 4)),
        grad_clip=1.0,
        log_every=100,
        validate_every=5_000,
        checkpoint_every=5_000,
        sample_every=5_000,
        best_by="loss",
    ),
    inputs="log_mel",
    targets=WAVE,
    seed=1111,
)

_demo = Experiment(
    system="flowavenet",
    preset="demo",
    corpus=CorpusConfig("toy"),
    pack=PackConfig(sample_rate=8_000, features=(MEL_8K,)),
    split=SplitConfig(),
    model=FloWaveNetConfig(
        n_blocks=6,  # a position of the last one is 8 ms: a period of a voice
        n_flows=2,
        blocks_per_split=3,
        channels=48,
        log_scale_limit=0.5,  # against bursts: the excitation's kurtosis is 73 with it and 375 without, 9 in recordings
        scales=(8, 10),
        condition_channels=8,
        context_channels=64,
        envelope=24,
        dither=3e-4,
        weight_norm=False,
    ),
    training=TrainingConfig(
        steps=400,
        batch_size=4,
        n_frames=28,
        learning_rate=2e-3,
        schedule="cosine",
        warmup=20,
        grad_clip=1.0,
        ema_decay=0.99,
        log_every=10,
        validate_every=100,
        checkpoint_every=200,
    ),
    inputs="log_mel",
    targets=WAVE,
)
_smoke = replace(
    _demo,
    preset="smoke",
    model=replace(_demo.model, n_blocks=3, channels=16, blocks_per_split=2, context_channels=16),
    training=replace(_demo.training, steps=20, batch_size=2, n_frames=25, log_every=1, warmup=5, validate_every=10),
)
PRESETS = {preset.preset: preset for preset in (_smoke, _demo, _paper)}
