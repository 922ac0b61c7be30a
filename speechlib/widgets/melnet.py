"""Let a MelNet draw: from nothing, from a real beginning, or from a real outline."""

from functools import lru_cache
from html import escape

import ipywidgets
import numpy as np

from ..features import band_centres
from ..figures import melnet as figures
from .explorer import Explorer, picture
from .explorers import WIDE, part_of, title_of, voice_name
from .players import players

NOBODY = -1


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
    choices = [(voice_name(pack, speaker), speaker) for speaker in range(len(pack.speakers))]
    choices += [("nobody", NOBODY)] if trained.model.sizes["n_speakers"] else []
    controls = {
        "recording": ipywidgets.Dropdown(
            options=[(title_of(pack, i), i) for i in indices], description="recording", layout=WIDE
        ),
        "kept": ipywidgets.IntSlider(1, min=0, max=n_tiers - 1, description="real tiers", **look),
        "given": ipywidgets.FloatSlider(
            0.0, min=0.0, max=seconds - 0.3, step=0.1, description="or given (s)", readout_format=".1f", **look
        ),
        "speaker": ipywidgets.Dropdown(options=choices, value=int(pack.speaker[indices[0]]), description="speaker"),
        "temperature": ipywidgets.FloatSlider(
            0.5, min=0.0, max=1.2, step=0.1, description="temperature", readout_format=".1f", **look
        ),
        "seed": ipywidgets.IntSlider(0, min=0, max=50, description="seed", **look),
    }
    hertz = band_centres(config)
    shares = (np.arange(len(hertz)) + 0.5) / len(hertz)
    ticks = [(float(np.interp(f, hertz, shares)), f"{f} Hz") for f in (500, 1000, 2000) if f < hertz[-1]]
    titles = ["tier 1", *(f"tiers 1-{k}" for k in range(2, n_tiers + 1))]

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
