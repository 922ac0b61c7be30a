"""Presets of ClariNet: a Gaussian WaveNet (`source`, see presets/wavenet.py), and a student that is distilled from it.

`paper` has the sizes and numbers of ksw0306/ClariNet on LJSpeech. `demo` speaks at 8 kHz and, like its teacher, learns
the excitation under an envelope that is read off the bands. `long` is its student after seven times as many steps.
"""

from dataclasses import replace

from ..models.clarinet import ClariNetConfig
from . import wavenet
from .experiment import Experiment

_TEACHERS = wavenet.PRESETS


def _student(teacher: str, preset: str, model: ClariNetConfig, **training) -> Experiment:
    source = _TEACHERS[teacher]
    training = replace(source.training, start_from="", frozen=("teacher",), **training)
    model = replace(model, teacher=source.model)
    return replace(source, system="clarinet", preset=preset, model=model, training=training, source=source)


_paper = _student("paper_teacher", "paper", ClariNetConfig())
_demo = _student(
    "teacher",
    "demo",
    ClariNetConfig(
        teacher=_TEACHERS["teacher"].model,
        stacks=(1, 1, 1, 1),
        n_layers=7,
        residual_channels=32,
        gate_channels=64,
        skip_channels=32,
        front_kernel=16,
        skip_scale=None,
        start_scale=0.1,  # about that of an excitation
        stft_weight=40.0,  # magnitudes of an excitation are small; with 1 a student of minutes is content with silence
        stft_fft=512,
        stft_hop=128,
    ),
    steps=120,
    batch_size=2,
    learning_rate=3e-3,
    warmup=20,
    validate_every=40,
)
_smoke = _student(
    "teacher_smoke",
    "smoke",
    replace(_demo.model, stacks=(1, 1), n_layers=4, residual_channels=16, gate_channels=32, skip_channels=16),
    steps=20,
)
_long = replace(
    _demo,
    preset="long",
    training=replace(
        _demo.training,
        steps=800,
        schedule="cosine",
        ema_decay=0.995,
        validate_every=100,
    ),
)

PRESETS = {preset.preset: preset for preset in (_smoke, _demo, _long, _paper)}
