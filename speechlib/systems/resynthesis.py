"""A recording of anyone through a trained system and out again, as files: for vocoders and for codecs alike."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from .. import audio, packs
from ..errors import SpeechlibError, UnknownName
from ..features import extract
from ..models.speakers import NOBODY
from ..presets import CODES
from . import voices
from .data import Trained
from .lifecycle import source_of, system_of

NOBODYS_NAME = "none"  # as a speaker's name: nobody's voice, for decoders that know it


def resynthesise(
    trained: Trained,
    path: str | Path,
    speakers: Sequence[str] = (),
    folder: str | Path = ".",
    seconds: float = 10.0,
    **generation,
) -> list[Path]:
    """The first `seconds` of an audio file, said by the system in these voices: `<file>_<voice>.wav` in `folder`.

    A vocoder says the features of the file, a codec its codes, which it leaves beside as `<file>_codes.npy`. `speakers`
    are names of the corpus, or "none"; without any, nobody speaks. A system without speakers takes none. `generation`
    (temperature, top_p, seed, ...) is for those that draw their samples. The file may have any rate: it is resampled.
    Raises BadFile for what is no audio, UnknownName for a speaker, SpeechlibError for what the system cannot do.
    """
    system, pack, path = system_of(trained.experiment), trained.data.pack, Path(path)
    if not seconds > 0:
        raise SpeechlibError(f"{seconds} seconds of {path.name} leave nothing to say")
    is_codec = hasattr(system, "speak")
    if not is_codec and not hasattr(system, "vocode"):
        raise SpeechlibError(f"{trained.experiment.system} makes no waves of a recording: vocoders and codecs do")
    if is_codec and generation and not system.VOICING.draws:
        raise SpeechlibError(
            f"{trained.experiment.system} draws no samples: there is nothing to set ({_list(generation)})"
        )
    indices = _indices(trained, speakers, voices.has_voices(trained) if is_codec else trained.model.sizes["n_speakers"])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if is_codec:
        said = voices.convert_file(
            trained, path, [NOBODY if i is None else i for i in indices], folder, seconds, **generation
        )
        return [folder / voices.file_name(path, name) for name in said]
    wave, rate = audio.read(path, pack.config.sample_rate, duration=seconds)
    wave = torch.from_numpy(packs.conditioned(wave, pack.config))
    if trained.experiment.inputs == CODES:
        codec = source_of(replace(trained.experiment, source=trained.experiment.codec))
        features = voices.codes_of_wave(codec, wave)[None].cpu()
    else:
        features = extract(wave, pack.config_of(trained.experiment.frames("inputs")))
    written = []
    for i in indices:
        name = trained.experiment.system if i is None else pack.speakers[i] if i >= 0 else "no_speaker"
        written.append(folder / voices.file_name(path, name))
        audio.write(written[-1], system.vocode(trained, features, i, **generation)[: len(wave)], rate)
    return written


def _indices(trained: Trained, speakers: Sequence[str], knows_some: bool) -> list[int | None]:
    """Indices into pack.speakers, -1 for nobody, None for the one voice of a system that knows no speakers."""
    if not knows_some:
        if speakers:
            raise SpeechlibError(
                f"this {trained.experiment.system} was trained without speakers and has one voice: {_list(speakers)} "
                "cannot be asked for"
            )
        return [None]
    known, system = list(trained.data.pack.speakers), system_of(trained.experiment)
    nobody = [NOBODYS_NAME] if getattr(system, "VOICING", None) is None or system.VOICING.nobody else []
    for name in speakers:
        if name not in known + nobody:
            raise UnknownName("speaker", name, known + nobody)
    if not speakers and not nobody:
        raise SpeechlibError(
            f"this {trained.experiment.system} has no voice of nobody: say which of {_list(known)} speaks"
        )
    return [NOBODY if name == NOBODYS_NAME else known.index(name) for name in speakers or nobody]


def _list(names) -> str:
    return ", ".join(names)
