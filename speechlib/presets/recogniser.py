"""Presets of the phone recogniser, by which what other systems say is judged.

It hears what a telephone lets through, 8 kHz: the lowest rate of any system here, so that all can be asked the same. No
sentence of its validation part is one that it was trained on, read by anyone: what it hears there it must have heard.
`demo` takes half a minute of one core on `toy`; its run's summary says how much of new sentences it mishears.
"""

from dataclasses import replace

from ..models.recogniser import RecogniserConfig
from ..packs import PackConfig
from ..training import TrainingConfig
from .experiment import CorpusConfig, Experiment, SplitConfig
from .wavenet import MEL_8K

_demo = Experiment(
    system="recogniser",
    preset="demo",
    corpus=CorpusConfig("toy"),
    pack=PackConfig(sample_rate=8_000, features=(MEL_8K,)),
    split=SplitConfig("text"),
    model=RecogniserConfig(),
    training=TrainingConfig(
        steps=400,
        batch_size=8,
        n_frames=600,  # utterances up to 6 s: whole ones, as nobody tells when which phone is said
        learning_rate=4e-3,
        schedule="cosine",
        warmup=30,
        optimizer="adamw",
        weight_decay=0.01,
        grad_clip=1.0,
        log_every=10,
        validate_every=100,
        checkpoint_every=200,
    ),
    inputs="log_mel",
    targets="log_mel",
)
_smoke = replace(
    _demo,
    preset="smoke",
    model=replace(_demo.model, channels=48, dilations=(1, 2)),
    training=replace(_demo.training, steps=150, batch_size=4, log_every=5, validate_every=50, checkpoint_every=50),
)
_paper = replace(  # ours: for corpora of many hours and voices, on a GPU
    _demo,
    preset="paper",
    corpus=CorpusConfig("vctk"),
    model=replace(_demo.model, channels=384, dilations=(1, 2, 1, 2, 1, 2)),
    training=replace(
        _demo.training,
        steps=30_000,
        batch_size=32,
        n_frames=1_500,
        learning_rate=1e-3,
        warmup=1_000,
        log_every=50,
        validate_every=1_000,
        checkpoint_every=1_000,
    ),
)

PRESETS = {preset.preset: preset for preset in (_smoke, _demo, _paper)}
