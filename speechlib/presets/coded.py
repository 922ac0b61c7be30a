"""Presets of vocoders that read codes: WaveNet, ClariNet and FloWaveNet in the place of a codec's own decoder.

`codes` reads the 50 codes per second of the codec `long`, which comes with the package, and says them in the voice
that it is told; `codes_smoke` those of the codec `smoke`. Codes tell no envelope: these learn the wave itself.
"""

from dataclasses import replace

from . import clarinet, flowavenet, vqvae_wavenet, wavenet
from .experiment import CODES, Experiment

_SPEAKER_DIM = 16
_CODECS = {"codes": vqvae_wavenet.PRESETS["long"], "codes_smoke": vqvae_wavenet.PRESETS["smoke"]}
_SCALES = (10, 16)  # samples of a code


def _wavenet(preset: str, of_bands: Experiment, **model) -> Experiment:
    """A vocoder of bands, put on codes: half as many of them make the same crops."""
    codec, training = _CODECS[preset], of_bands.training
    return replace(
        of_bands,
        preset=preset,
        pack=codec.pack,
        split=codec.split,
        model=replace(of_bands.model, envelope=0, scales=_SCALES, speaker_dim=_SPEAKER_DIM, **model),
        training=replace(training, n_frames=training.n_frames // 2, start_from=""),
        inputs=CODES,
        source=codec,
    )


def _teacher(preset: str, of_bands: Experiment) -> Experiment:
    found = _wavenet(preset, of_bands, start_scale=0.1)  # about that of speech
    return replace(found, preset=preset.replace("codes", "codes_teacher"))


_BANDS = {"codes": "demo", "codes_smoke": "smoke"}
_TEACHERS = {"codes": "teacher", "codes_smoke": "teacher_smoke"}
_teachers = {name: _teacher(name, wavenet.PRESETS[of_bands]) for name, of_bands in _TEACHERS.items()}


def _student(preset: str) -> Experiment:
    """The student of bands' sizes, with a teacher of codes."""
    source, of_bands = _teachers[preset], clarinet.PRESETS[_BANDS[preset]]
    model = replace(of_bands.model, teacher=source.model, stft_weight=1.0)  # magnitudes of a wave
    training = replace(of_bands.training, n_frames=source.training.n_frames)
    return replace(source, system="clarinet", preset=preset, model=model, training=training, source=source)


WAVENET = {one.preset: one for one in _teachers.values()}
WAVENET |= {preset: _wavenet(preset, wavenet.PRESETS[name]) for preset, name in _BANDS.items()}
FLOWAVENET = {preset: _wavenet(preset, flowavenet.PRESETS[name]) for preset, name in _BANDS.items()}
CLARINET = {preset: _student(preset) for preset in _BANDS}
