"""Hear what the width of the noise does: a ClariNet at any temperature, beside the recording."""

from functools import lru_cache
from html import escape

import ipywidgets

from ..figures import style
from ..figures.wavenet import spoken
from .explorer import Explorer, picture
from .explorers import WIDE, part_of, title_of, wave_of
from .players import players


def clarinet_explorer(trained, part: str = "val", seconds: float = 2.0, temperature: float = 0.8) -> Explorer:
    """The first `seconds` of an utterance and what the student makes of its bands: seen and heard side by side.

    `temperature` is the deviation of the noise that goes in, `seed` draws other noise.
    """
    from ..systems import clarinet

    pack, config = trained.data.pack, trained.data.pack.config_of(trained.experiment.inputs)
    slider = {"continuous_update": False}
    controls = {
        "utterance": ipywidgets.Dropdown(
            options=[(title_of(pack, i), i) for i in part_of(trained, part)], description="utterance", layout=WIDE
        ),
        "temperature": ipywidgets.FloatSlider(
            temperature, min=0.1, max=1.2, step=0.1, description="temperature", readout_format=".1f", **slider
        ),
        "seed": ipywidgets.IntSlider(0, min=0, max=20, description="seed", **slider),
    }
    rate, frames = config.sample_rate, max(2, round(seconds * config.frame_rate))

    @lru_cache(16)
    def said(utterance: int, temperature: float, seed: int):
        shown = pack.features(utterance, trained.experiment.inputs)[:, :frames]
        return clarinet.vocode(trained, shown, int(pack.speaker[utterance]), temperature=temperature, seed=seed).numpy()

    def render(utterance: int, temperature: float, seed: int) -> dict[str, str]:
        ours = said(utterance, round(temperature, 1), seed)
        name, recording = f"student, temperature {temperature:.1f}", wave_of(pack, utterance)
        waves = {"recording": recording[: len(ours)], name: ours[: len(recording)]}
        middle = len(ours) / rate / 2
        drawn = spoken(waves, rate, (middle, middle + 0.06), {name: style.colour("clarinet")})
        return {
            "about": f"<b>{escape(pack.text[utterance] or pack.utterances[utterance])}</b>",
            "speech": picture(drawn, "spectrograms of " + " and ".join(waves)),
            "sound": players(waves, rate).data,
        }

    return Explorer("Noise of any width", controls, [("about",), ("speech",), ("sound",)], render)
