"""Let a prior speak: from nothing or from a real beginning, as anyone, as freely as one likes."""

from functools import lru_cache
from html import escape

import ipywidgets

from ..figures import priors as figures
from ..models.speakers import NOBODY
from .explorer import Explorer, picture
from .explorers import WIDE, part_of, title_of, voice_name, wave_of
from .players import players


def prior_explorer(trained, codec, part: str = "val", seconds: float = 3.0) -> Explorer:
    """`seconds` of speech that nobody said: codes drawn from a prior, spoken by its codec, seen and heard.

    Choose who speaks, how freely (temperature 0: always the likeliest code), a seed, and how much of a recording is
    given before the prior goes on by itself; at 0 s nothing is.
    """
    from .. import systems

    pack, indices = trained.data.pack, part_of(trained, part)
    look = {"continuous_update": False}
    choices = [(voice_name(pack, speaker), speaker) for speaker in range(len(pack.speakers))]
    choices += [("nobody", NOBODY)] if systems.voicing(codec).nobody and trained.model.n_speakers else []
    controls = {
        "speaker": ipywidgets.Dropdown(options=choices, value=int(pack.speaker[indices[0]]), description="speaker"),
        "temperature": ipywidgets.FloatSlider(
            0.9, min=0.0, max=1.5, step=0.1, description="temperature", readout_format=".1f", **look
        ),
        "seed": ipywidgets.IntSlider(0, min=0, max=50, description="seed", **look),
        "given": ipywidgets.FloatSlider(
            1.0, min=0.0, max=seconds - 0.5, step=0.1, description="given (s)", readout_format=".1f", **look
        ),
        "beginning": ipywidgets.Dropdown(
            options=[(title_of(pack, i), i) for i in indices], description="beginning", layout=WIDE
        ),
    }

    @lru_cache(16)
    def said(speaker: int, temperature: float, seed: int, given: float, beginning: int | None):
        start = None if beginning is None else (beginning, given)
        (one,) = systems.imagine(trained, codec, [speaker], seconds, start, temperature=temperature, seed=seed)
        return one

    def render(speaker, temperature, seed, given, beginning) -> dict[str, str]:
        begins = round(given, 1) > 0
        one = said(speaker, temperature, seed, round(given, 1) if begins else 0.0, beginning if begins else None)
        rate, wave = pack.config.sample_rate, one.wave.numpy()
        name = voice_name(pack, speaker)
        title = f"imagined, {name}"
        waves, about, marks = {title: wave}, "from nothing", {}
        if begins:
            waves = {"the recording": wave_of(pack, beginning)[: len(wave)]} | waves
            marks = {title: one.begins}
            about = f"after {one.begins:.1f} s of: {pack.text[beginning] or pack.utterances[beginning]}"
        return {
            "about": f"<b>{escape(about)}</b>",
            "speech": picture(figures.spoken(waves, rate, marks), "spectrograms of " + " and ".join(waves)),
            "sound": players(waves, rate).data,
            "codes": f"codes: {' '.join(map(str, one.codes))}",
        }

    rows = [("about",), ("speech",), ("sound",), ("codes",)]
    return Explorer("Speech that nobody said", controls, rows, render)
