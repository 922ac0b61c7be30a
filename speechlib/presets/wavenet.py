"""Presets of the WaveNet vocoder: mel bands in, samples out.

`paper` and its siblings are the recipes of r9y9/wavenet_vocoder on LJSpeech (egs/mulaw256, egs/mol, egs/gaussian).
`demo` speaks at 8 kHz, as a telephone does: half the samples, and half the network that is needed to see two periods
of a voice. `long` is `demo` trained for hours on one core, after a `first` stage that hears every frame by itself: the
checkpoint that comes with the package is its result. `studio` is for recordings at 16 kHz, with a network of four times
the size: seven minutes on a GPU.
"""

from dataclasses import replace

from ..features import FeatureConfig
from ..models.clarinet import SOURCE_TEACHER
from ..models.wavenet import WaveNetConfig
from ..packs import PackConfig
from ..training import TrainingConfig
from .experiment import WAVE, CorpusConfig, Experiment, SplitConfig

MEL_22K = FeatureConfig("log_mel", 22_050, n_fft=1024, win_length=1024, hop_length=256, f_min=125.0, f_max=7_600.0)
MEL_16K = FeatureConfig("log_mel", 16_000, n_fft=512, win_length=512, hop_length=160, n_mels=80)
MEL_8K = FeatureConfig("log_mel", 8_000, n_fft=256, win_length=256, hop_length=80, n_mels=60)

_paper = Experiment(
    system="wavenet",
    preset="paper",
    corpus=CorpusConfig("ljspeech"),
    pack=PackConfig(sample_rate=22_050, features=(MEL_22K,)),
    split=SplitConfig(parts={"train": 0.9, "val": 0.1}),
    model=WaveNetConfig(
        n_layers=30,
        n_stacks=3,
        kernel_size=3,
        residual_channels=128,
        gate_channels=256,
        skip_channels=128,
        upsampling="smoothed",
        condition_kernel=5,
        weight_norm=True,
    ),
    training=TrainingConfig(
        steps=500_000,
        batch_size=8,
        n_frames=40,  # 10,240 samples
        learning_rate=1e-3,
        learning_rates=tuple((200_000 * k, 1e-3 / 2**k) for k in (1, 2)),
        ema_decay=0.9999,
        log_every=100,
        validate_every=5_000,
        checkpoint_every=10_000,
    ),
    inputs="log_mel",
    targets=WAVE,
)
_paper_logistic = replace(
    _paper,
    preset="paper_logistic",
    model=replace(_paper.model, output="logistic", n_layers=24, n_stacks=4),
    training=replace(
        _paper.training,
        steps=1_000_000,
        learning_rates=tuple((200_000 * k, 1e-3 / 2**k) for k in (1, 2, 3, 4)),
    ),
)
_paper_gaussian = replace(
    _paper_logistic,
    preset="paper_gaussian",
    model=replace(_paper_logistic.model, output="gaussian"),
)

_demo = Experiment(
    system="wavenet",
    preset="demo",
    corpus=CorpusConfig("toy"),
    pack=PackConfig(sample_rate=8_000, features=(MEL_8K,)),
    split=SplitConfig(),
    model=WaveNetConfig(
        n_layers=16,
        n_stacks=2,
        residual_channels=64,
        gate_channels=128,
        skip_channels=64,
        scales=(8, 10),
        front_kernel=16,
        context_channels=64,
        scalar_input=True,  # learns faster than a table of classes that do not know their order
        envelope=24,
        dither=3e-4,  # -70 dB: two or three classes
    ),
    training=TrainingConfig(
        steps=200,
        batch_size=4,
        n_frames=50,
        learning_rate=2e-3,
        warmup=50,
        grad_clip=1.0,
        ema_decay=0.99,
        log_every=5,
        validate_every=50,
        checkpoint_every=100,
    ),
    inputs="log_mel",
    targets=WAVE,
)
_studio = replace(
    _demo,
    preset="studio",
    corpus=CorpusConfig("folder"),
    pack=PackConfig(sample_rate=16_000, features=(MEL_16K,)),
    split=SplitConfig(parts={"train": 0.95, "val": 0.05}),
    model=replace(
        _demo.model,
        n_layers=20,
        residual_channels=128,
        gate_channels=256,
        skip_channels=128,
        context_channels=128,
        scales=(8, 20),
        envelope=32,
        envelope_fft=512,
        dither=0.0,
    ),
    training=replace(
        _demo.training,
        steps=3_500,
        batch_size=16,
        n_frames=60,
        learning_rate=2e-3,
        schedule="cosine",
        warmup=200,
        ema_decay=0.999,
        log_every=50,
        validate_every=500,
        checkpoint_every=500,
    ),
)
_smoke = replace(
    _demo,
    preset="smoke",
    model=replace(
        _demo.model, n_layers=8, residual_channels=16, gate_channels=32, skip_channels=32, context_channels=16
    ),
    training=replace(_demo.training, steps=30, batch_size=2, n_frames=25, log_every=1, warmup=5, validate_every=10),
)
_first = replace(
    _demo,
    preset="first",
    model=replace(_demo.model, context_channels=0),
    training=replace(
        _demo.training,
        steps=8_000,
        learning_rate=3e-3,
        learning_rates=((3_000, 2e-3), (5_000, 1e-3), (7_000, 3e-4)),
        ema_decay=0.999,
        log_every=50,
        validate_every=500,
        checkpoint_every=250,
    ),
)
_long = replace(
    _demo,
    preset="long",
    source=_first,
    training=replace(
        _first.training,
        steps=14_000,
        learning_rate=1.5e-3,
        learning_rates=((5_000, 1e-3), (9_000, 5e-4), (12_500, 1.5e-4)),
    ),
)

# Teachers of ClariNet (presets/clarinet.py): Gaussian, with the source's sizes on LJSpeech, or those of `demo`.
_paper_teacher = replace(
    _paper_gaussian,
    preset="paper_teacher",
    pack=replace(_paper.pack, peak=0.999),
    model=SOURCE_TEACHER,
    training=replace(
        _paper_gaussian.training,
        n_frames=62,  # 15,872 samples
        sample_every=10_000,
        best_by="loss",
        grad_clip=10.0,
        learning_rates=tuple((200_000 * k, 1e-3 / 2**k) for k in (1, 2, 3)),
    ),
)
# The latter begin as the mu-law checkpoint that comes with the package: all but the output is there.
_teacher = replace(
    _demo,
    preset="teacher",
    model=replace(_demo.model, output="gaussian", scalar_input=False, companded=True, start_scale=1.0),
    training=replace(_demo.training, start_from="wavenet", learning_rate=1e-3),
)
_teacher_smoke = replace(
    _smoke,
    preset="teacher_smoke",
    model=replace(_smoke.model, output="gaussian", scalar_input=False, companded=True, start_scale=1.0),
    training=replace(_smoke.training, steps=20, validate_batches=2),
)

PRESETS = {
    preset.preset: preset
    for preset in (
        *(_smoke, _demo, _first, _long, _studio, _paper, _paper_logistic, _paper_gaussian),
        *(_teacher_smoke, _teacher, _paper_teacher),
    )
}
