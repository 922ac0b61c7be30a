"""Clips that a MelNet draws, as files: pictures of all stages, features, sound."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .. import audio, files, packs, runs
from ..errors import SpeechlibError, UnknownName
from ..features import extract, n_features
from ..figures import melnet as figures
from ..generation.melnet import Generated, Progress, generate, upsample
from ..models.melnet import grid_sizes
from ..models.speakers import NOBODY
from . import melnet
from .data import Trained
from .resynthesis import NOBODYS_NAME

SECONDS = 1.5  # of a clip where nothing else is said


def write(trained: Trained, made: Generated, folder: str | Path, names: Sequence[str]) -> list[Path]:
    """Clips as files: of each the grid after every tier as `name.png`, the features as `name.safetensors` ("features"
    (F, T)) and the sound as `name.wav` (16 bit)."""
    config, folder = trained.data.pack.config_of(trained.experiment.inputs), Path(folder)
    written, length = [], made.features.shape[2] / config.frame_rate
    for b, name in enumerate(names):
        paths = [folder / f"{name.replace('/', '-')}{suffix}" for suffix in (".png", ".safetensors", ".wav")]
        row = [stage[b].numpy() for stage in made.stages]
        with files.atomic(paths[0]) as part:
            figures.grids({name: row}, melnet.titles(trained), length, melnet.ticks(config)).savefig(
                part, format="png", dpi=120
            )
        about = {"kind": config.kind, "sample_rate": str(config.sample_rate), "hop_length": str(config.hop_length)}
        runs.save_tensors(paths[1], {"features": made.features[b].contiguous()}, about)
        wave = melnet.speak(trained, made.features[b])
        audio.write(paths[2], wave / max(1.0, float(wave.abs().max())), config.sample_rate)
        written += paths
    return written


def draw(
    trained: Trained,
    folder: str | Path,
    *,
    n_frames: int | None = None,
    seconds: float | None = None,
    n_clips: int = 1,
    speakers: Sequence[str] = (),
    prime: str | Path | None = None,
    n_real: int = 0,
    utterance: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    progress: Progress | None = None,
) -> list[Path]:
    """n_clips clips of so many frames or SECONDS as files in `folder`: see `write`.

    `speakers` are names of the corpus, or "none", one clip after the other; without any, nobody speaks. They begin with
    the audio file `prime`, or have the first n_real tiers of an `utterance` of the corpus (its name; by default the
    first of the validation part), which ends where the utterance does. The temperature is that of deviations and of
    weights.
    Raises UnknownName for a speaker or an utterance, BadFile for a prime that is no audio, SpeechlibError for what does
    not fit together.
    """
    pack, kind = trained.data.pack, trained.experiment.inputs
    config, n_tiers = pack.config_of(kind), trained.model.config.n_tiers
    if n_frames is not None and seconds is not None:
        raise SpeechlibError(f"{n_frames} frames and {seconds:g} seconds: give one of them")
    if n_frames is None:
        n_frames = round((SECONDS if seconds is None else seconds) * config.frame_rate)
    grid_sizes(n_tiers, n_features(config), n_frames)  # a clip too short for the tiers is told before anything is read
    if n_clips < 1:
        raise SpeechlibError(f"{n_clips} clips: 1 or more")
    if n_real and prime is not None:
        raise SpeechlibError("a clip begins with a prime or has real tiers, not both: leave one out")
    if utterance is not None and not n_real:
        raise SpeechlibError(f"of the utterance {utterance!r} nothing is kept: say how many tiers (1 to {n_tiers})")
    voices = list(speakers) or [NOBODYS_NAME]
    who = [_index(trained, voices[b % len(voices)]) for b in range(n_clips)]
    options = {"seed": seed, "temperature": temperature, "weight_temperature": temperature, "progress": progress}
    options["speaker"] = torch.tensor(who) if trained.model.sizes["n_speakers"] else None
    if n_real:
        features = pack.features(_utterance(trained, utterance), kind)[:, :n_frames].cpu()
        made = upsample(trained.model, features.expand(n_clips, -1, -1), n_real, **options)
    else:
        given = None if prime is None else _beginning(trained, prime, n_frames)
        made = generate(trained.model, n_frames, n_clips=n_clips, prime=given, **options)
    called = dict(enumerate(pack.speakers)) | {NOBODY: "nobody"}
    names = [f"{called[index]}_{seed}_{b + 1}" for b, index in enumerate(who)]
    return write(trained, made, folder, names)


def _index(trained: Trained, speaker: str) -> int:
    known = list(trained.data.pack.speakers) if trained.model.sizes["n_speakers"] else []
    if speaker != NOBODYS_NAME and not known:
        raise SpeechlibError(f"this MelNet was trained without speakers: {speaker} cannot be asked for")
    if speaker not in [NOBODYS_NAME, *known]:
        raise UnknownName("speaker", speaker, [NOBODYS_NAME, *known])
    return NOBODY if speaker == NOBODYS_NAME else known.index(speaker)


def _utterance(trained: Trained, name: str | None) -> int:
    names = list(trained.data.pack.utterances)
    if name is None:
        return int(trained.data.split["val"][0])
    if name not in names:
        raise UnknownName("utterance", name, names)
    return names.index(name)


def _beginning(trained: Trained, path: str | Path, n_frames: int) -> Tensor:
    """Features (F, T0) of an audio file of any rate, made as those of the corpus are."""
    pack = trained.data.pack
    wave, _ = audio.read(path, pack.config.sample_rate)
    config = pack.config_of(trained.experiment.inputs)
    features = extract(torch.from_numpy(packs.conditioned(wave, pack.config)), config)
    if (length := features.shape[1]) > n_frames:
        raise SpeechlibError(
            f"{Path(path).name} has {length} frames ({length / config.frame_rate:.2f} s), the clip {n_frames}: cut the "
            f"prime, or ask for a longer clip"
        )
    return features
