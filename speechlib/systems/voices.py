"""The voices of a codec: its codes spoken by anyone, and what its decoder misses when it is told wrong.

For every system that decodes codes in a speaker's voice. Its file says how codes become a wave (`speak`), how far its
decoder is from the truth with given codes and speakers (`decoding_error`), where the vectors of the speakers are
(`speaker_table`), and what to know of all that (`VOICING`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import audio, features, objectives, packs
from ..batches import Batch
from ..errors import SpeechlibError
from ..evaluation import condition_use as used
from ..evaluation.condition_use import Told
from ..evaluation.conversion import Spoken
from ..files import atomic
from ..presets import WAVE
from .codes import apart, encode
from .data import Trained, Voicing, crops, device_of
from .lifecycle import system_of


def voicing(trained: Trained) -> Voicing:
    """How this system speaks its codes. Raises SpeechlibError for one that has none."""
    system = system_of(trained.experiment)
    if not hasattr(system, "speak"):
        raise SpeechlibError(f"{trained.experiment.system} speaks no codes: this is for systems with a codebook")
    return system.VOICING


def has_voices(trained: Trained) -> bool:
    """Whether it speaks codes in the voices of speakers; a decoder without speaker vectors has one voice."""
    system = system_of(trained.experiment)
    return hasattr(system, "speak") and system.speaker_table(trained.model) is not None


def takes_references(trained: Trained) -> bool:
    """Whether it reads a voice off an utterance, as IN-WAE does: then anybody's will do, of no matter which speaker."""
    return getattr(trained.model, "reference", None) is not None


def other_voice(pack, speaker: int, turn: int = 0) -> int:
    """Somebody else, of the other sex where there is one: of those the first, or at other turns the next ones round.
    Where nobody else is, the speaker."""
    others = [s for s in range(len(pack.speakers)) if s != speaker] or [speaker]
    apart = [s for s in others if {pack.genders[s], pack.genders[speaker]} == {"F", "M"}] or others
    return apart[turn % len(apart)]


def speak(trained: Trained, codes: Sequence[np.ndarray], speakers: Sequence[int], **generation) -> list[Tensor]:
    """Codes (L,), or (G, L) for G slices, each in the voice of a speaker -> waves (S,), in one call of the decoder.

    speaker: index into pack.speakers, -1 = nobody for a decoder that knows it; a decoder without speakers reads none.
    The shorter ones are held to the length of the longest and cut again; where the decoder takes means over all codes
    (AdaIN), those of one length are spoken together instead. `generation`: temperature, seed and the like, for a
    decoder that draws its samples; `references`, an utterance for each sequence (its index in the pack, or features (C,
    T) of anyone), for one that reads voices off them. Raises SpeechlibError where it does not.
    """
    voicing(trained)
    if len(generation.get("references") or ()) and not takes_references(trained):
        raise SpeechlibError(
            f"this {trained.experiment.system} reads no voice off a reference: it knows its speakers by number only"
        )
    device, lengths = device_of(trained.model), [np.shape(c)[-1] for c in codes]
    if len(codes) != len(speakers) or not all(lengths):
        raise SpeechlibError(
            f"{len(codes)} sequences of {lengths} codes for {len(speakers)} speakers: wanted a speaker for each, and "
            "codes in each"
        )
    if not codes:
        return []
    if len(set(lengths)) > 1 and len(getattr(trained.model, "adain", ())):
        return _by_length(trained, codes, speakers, lengths, generation)
    held = [c[..., np.minimum(np.arange(max(lengths)), n - 1)] for c, n in zip(codes, lengths)]
    told = torch.tensor(np.stack(held), device=device)
    voices = torch.tensor(list(speakers), device=device) if has_voices(trained) else None
    with torch.inference_mode():
        waves = system_of(trained.experiment).speak(trained, told, voices, **generation).cpu()
    return [wave[: len(wave) * n // max(lengths)] for wave, n in zip(waves, lengths)]


def _by_length(trained: Trained, codes, speakers, lengths: list[int], generation: dict) -> list[Tensor]:
    """`speak` of several lengths, those of one length in one call."""
    waves: list[Tensor] = [torch.empty(0)] * len(codes)
    for length in sorted(set(lengths)):
        chosen = [k for k, n in enumerate(lengths) if n == length]
        given = generation
        if generation.get("references") is not None:
            given = generation | {"references": [generation["references"][k] for k in chosen]}
        said = speak(trained, [codes[k] for k in chosen], [speakers[k] for k in chosen], **given)
        for k, wave in zip(chosen, said):
            waves[k] = wave
    return waves


def reconstruct(trained: Trained, index: int, speaker: int | None = None) -> Tensor:
    """Utterance `index` through the codes and back: features (C, T), of the kind `experiment.frames("targets")`.

    With the voice of `speaker` (an index into pack.speakers), of its own speaker where that is None.
    """
    voicing(trained)
    speaker = int(trained.data.pack.speaker[index]) if speaker is None else speaker
    return system_of(trained.experiment).reconstruct(trained, index, speaker)


def convert(trained: Trained, asked: Sequence[tuple[int, int]], seconds: float = 2.0, **generation) -> list[Spoken]:
    """The first `seconds` of utterances in other voices: `asked` are pairs (utterance, speaker) as in `speak`.

    Raises SpeechlibError for a decoder without speakers.
    """
    _with_voices(trained)
    if not seconds > 0:
        raise SpeechlibError(f"{seconds} seconds of an utterance leave nothing to say")
    pack = trained.data.pack
    codes, times = encode(trained, dict.fromkeys(index for index, _ in asked))
    kept = {
        i: apart(trained.experiment, found[..., : max(1, int((times[i] < seconds).sum()))])
        for i, found in codes.items()
    }
    waves = speak(trained, [kept[index] for index, _ in asked], [speaker for _, speaker in asked], **generation)
    limit = round(seconds * pack.config.sample_rate)
    return [Spoken(i, s, wave[: min(limit, int(pack.n_samples[i]))]) for (i, s), wave in zip(asked, waves)]


@torch.inference_mode()
def codes_of_wave(trained: Trained, wave: Tensor) -> Tensor:
    """What a codec makes of anyone's wave (S,), at its rate and conditioned as its pack is: codes (L,), or (G, L)
    of slices."""
    pack, inputs = trained.data.pack, trained.experiment.inputs
    read = wave if inputs == WAVE else features.extract(wave, pack.config_of(inputs))
    return trained.model.codes(read[None].to(device_of(trained.model)))[0]


def file_name(recording: Path, voice: str) -> str:
    """What a recording said by a voice is called: no speaker's name leaves the folder."""
    return f"{recording.stem}_{voice.replace('/', '-')}.wav"


def convert_file(
    trained: Trained, path: str | Path, speakers: Sequence[int], folder: str | Path, seconds: float = 10.0, **generation
) -> dict[str, Tensor]:
    """The first `seconds` of anyone's recording, said by these speakers (indices, -1 = nobody): {name: wave (S,)}.

    In `folder` are then `<recording>_<speaker>.wav`, `<recording>_no_speaker.wav` and the codes,
    `<recording>_codes.npy`. Raises BadFile for a file that is no audio.
    """
    pack, path = trained.data.pack, Path(path)
    wave = audio.read(path, pack.config.sample_rate, duration=seconds)[0]
    codes = codes_of_wave(trained, torch.from_numpy(packs.conditioned(wave, pack.config))).cpu().numpy()
    waves = speak(trained, [codes] * len(speakers), speakers, **generation)
    names = [pack.speakers[s] if s >= 0 else "no_speaker" for s in speakers]
    with atomic(Path(folder) / f"{path.stem}_codes.npy") as part, part.open("wb") as file:
        np.save(file, codes)
    for name, said in zip(names, waves):
        audio.write(Path(folder) / file_name(path, name), said, pack.config.sample_rate)
    return dict(zip(names, waves))


def condition_use(trained: Trained, part: str = "val", n_items: int = 48, seed: int = 0) -> pd.DataFrame:
    """`evaluation.condition_use.measure` of the decoder, on a crop of each of n_items utterances (or of all there are).

    What the error is, `voicing` says. Waves get the same dither whatever the decoder is told. Raises SpeechlibError for
    a decoder without speakers.
    """
    nobody = _with_voices(trained).nobody
    model, experiment, system = trained.model, trained.experiment, system_of(trained.experiment)
    n_items = min(n_items, len(trained.data.split[part]))
    training = replace(experiment.training, batch_size=n_items)
    batch = crops(replace(experiment, seed=seed, training=training), trained.data, part).batch(0)
    batch = Batch(*(x if x is None else x.to(device_of(model)) for x in batch))
    with torch.inference_mode():
        codes = model.codes(batch.audio if experiment.inputs == WAVE else batch.inputs)
        silence = model.codes(_silence(trained, batch))[0]
        if batch.audio is not None:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                batch = batch._replace(audio=objectives.dithered(batch.audio, model.decoder.config.dither))

    @torch.inference_mode()
    def error(items: np.ndarray, told: Told) -> np.ndarray:
        some = Batch(*(x if x is None else x[items] for x in batch))
        codes, speaker = (torch.as_tensor(x, device=device_of(model)) for x in told)
        return system.decoding_error(model, some, codes, speaker).cpu().numpy()

    right = Told(codes.cpu().numpy(), batch.speaker.cpu().numpy())
    return used.measure(error, used.ways(right, silence.cpu().numpy(), nobody, seed), seed=seed)


def speaker_vectors(trained: Trained) -> np.ndarray:
    """(S, D): the vectors by which the decoder knows pack.speakers. Raises SpeechlibError where it knows none."""
    _with_voices(trained)
    return system_of(trained.experiment).speaker_table(trained.model).weight.detach().cpu().numpy()


def _silence(trained: Trained, batch: Batch) -> Tensor:
    """What the encoder reads of a crop of digital silence, a batch of one."""
    if trained.experiment.inputs == WAVE:
        return torch.zeros_like(batch.audio[:1])
    config = trained.data.pack.config_of(trained.experiment.inputs)
    quiet = torch.zeros(1, features.n_samples(batch.inputs.shape[-1], config), device=batch.inputs.device)
    return features.extract(quiet, config)


def _with_voices(trained: Trained) -> Voicing:
    if not has_voices(trained):
        raise SpeechlibError(
            f"this {trained.experiment.system} knows no speakers and has one voice: train it with speaker vectors"
        )
    return voicing(trained)
