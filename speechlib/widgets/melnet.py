"""Let a MelNet draw: from nothing, from a real beginning, or from a real outline."""

from functools import lru_cache
from html import escape

import ipywidgets
import numpy as np

from ..figures import melnet as figures
from ..models.speakers import NOBODY
from .explorer import Explorer, picture
from .explorers import WIDE, part_of, title_of, voice_name
from .painting import Painting
from .players import players


def _voices(trained) -> list[tuple[str, int]]:
    pack = trained.data.pack
    choices = [(voice_name(pack, speaker), speaker) for speaker in range(len(pack.speakers))]
    return choices + ([("nobody", NOBODY)] if trained.model.sizes["n_speakers"] else [])


def melnet_explorer(trained, part: str = "val", seconds: float = 1.5) -> Explorer:
    """`seconds` of speech, drawn tier by tier, seen at every stage and heard.

    Choose a recording, how many of its tiers are kept (0: none), or how much of its beginning if none is; who speaks,
    how freely, and a seed.
    """
    from ..generation.melnet import generate, upsample
    from ..systems import melnet

    pack, indices, kind = trained.data.pack, part_of(trained, part), trained.experiment.inputs
    config, n_tiers = pack.config_of(kind), trained.model.config.n_tiers
    look, T = {"continuous_update": False}, round(seconds * config.frame_rate)
    most = max(0.1, seconds - 0.3)  # of a beginning: something is left to draw
    choices = _voices(trained)
    controls = {
        "recording": ipywidgets.Dropdown(
            options=[(title_of(pack, i), i) for i in indices], description="recording", layout=WIDE
        ),
        "kept": ipywidgets.IntSlider(1, min=0, max=n_tiers - 1, description="real tiers", **look),
        "given": ipywidgets.FloatSlider(
            0.0,
            min=0.0,
            max=most,
            step=0.1,
            description="or given (s)",
            readout_format=".1f",
            **look,
        ),
        "speaker": ipywidgets.Dropdown(options=choices, value=int(pack.speaker[indices[0]]), description="speaker"),
        "temperature": ipywidgets.FloatSlider(
            0.5, min=0.0, max=1.2, step=0.1, description="temperature", readout_format=".1f", **look
        ),
        "seed": ipywidgets.IntSlider(0, min=0, max=50, description="seed", **look),
    }
    ticks, titles = melnet.ticks(config), melnet.titles(trained)

    @lru_cache(16)
    def made(recording: int, kept: int, given: int, speaker: int, temperature: float, seed: int):
        options = {"seed": seed, "temperature": temperature, "weight_temperature": temperature}
        options["speaker"] = melnet.speaker_of(trained, speaker)
        features = pack.features(recording, kind)[:, :T].cpu()
        if kept:
            return upsample(trained.model, features[None], kept, **options).stages
        return generate(trained.model, T, prime=features[:, :given] if given else None, **options).stages

    def render(recording, kept, given, speaker, temperature, seed) -> dict[str, str]:
        frames = min(round(given * config.frame_rate), pack.features(recording, kind).shape[1])
        stages = made(recording, kept, 0 if kept else frames, speaker, round(temperature, 1), seed)
        real = pack.features(recording, kind)[:, : stages[-1].shape[2]].cpu()
        said = pack.text[recording] or pack.utterances[recording]
        begun = f"after {given:.1f} s of: {said}" if frames else "from nothing"
        about = f"{kept} of {n_tiers} tiers are those of: {said}" if kept else begun
        rows = {"drawn": [stage[0].numpy() for stage in stages]}
        waves = {"the recording's bands": real, "drawn": stages[-1][0]} if kept or frames else {"drawn": stages[-1][0]}
        length = stages[-1].shape[2] / config.frame_rate
        return {
            "about": f"<b>{escape(about)}</b>",
            "stages": picture(figures.grids(rows, titles, length, ticks), "the grid after every tier"),
            "sound": players({name: melnet.speak(trained, x) for name, x in waves.items()}, config.sample_rate).data,
        }

    return Explorer("Speech from coarse to fine", controls, [("about",), ("stages",), ("sound",)], render)


def melnet_painting(trained, seconds: float = 1.5, seed: int = 0, temperature: float = 0.5) -> Painting:
    """Watch `seconds` of speech come from nothing, tier by tier, and stop where it has been enough."""
    from ..generation.melnet import finished, generate, stage_sizes
    from ..systems import melnet

    pack = trained.data.pack
    config = pack.config_of(trained.experiment.inputs)
    T = max(1, round(seconds * config.frame_rate))
    sizes = stage_sizes(trained.model, T)
    ticks, titles = melnet.ticks(config), melnet.titles(trained)
    look = {"continuous_update": False}
    controls = {
        "speaker": ipywidgets.Dropdown(options=_voices(trained), description="speaker"),
        "temperature": ipywidgets.FloatSlider(
            temperature, min=0.0, max=1.2, step=0.1, description="temperature", readout_format=".1f", **look
        ),
        "seed": ipywidgets.IntSlider(seed, min=0, max=50, description="seed", **look),
    }

    def draw(speaker: int, temperature: float, **options):
        options |= {"temperature": temperature, "weight_temperature": temperature}
        return generate(trained.model, T, speaker=melnet.speaker_of(trained, speaker), **options)

    def show(grids: list):
        later = [np.full(size, np.nan, np.float32) for size in sizes[len(grids) :]]
        return figures.grids({"drawn": [*grids, *later]}, titles, T / config.frame_rate, ticks)

    def hear(drawn):
        features = finished(trained.model, drawn, T)
        return None if features is None else melnet.speak(trained, features[0])

    return Painting("A spectrogram, being drawn", controls, draw, show, hear, config.sample_rate)
