"""A vocoder under one's hands: an utterance said as freely as one likes, beside its recording."""

import time
from functools import lru_cache
from html import escape

import ipywidgets
import numpy as np

from ..figures import style
from ..figures.wavenet import spoken
from .explorer import Explorer, picture
from .explorers import WIDE, part_of, title_of, wave_of
from .players import MUTED, players


def vocoder_explorer(trained, part: str = "val", seconds: float = 1.5, temperature: float = 0.8) -> Explorer:
    """The first `seconds` of an utterance and what a vocoder makes of its bands: seen and heard side by side; below,
    how long it took and how loud it is.

    `temperature` is that of what the vocoder draws, `seed` draws anew.
    """
    from .. import systems

    kind, name = trained.experiment.inputs, trained.experiment.system
    pack, system = trained.data.pack, systems.SYSTEMS[name]
    temperature = max(temperature, 0.05)  # without noise a student has nothing to shape
    choices, rate = [(title_of(pack, i), i) for i in part_of(trained, part)], pack.config.sample_rate
    frames, slider = max(2, round(seconds * pack.config_of(kind).frame_rate)), {"continuous_update": False}
    controls = {
        "utterance": ipywidgets.Dropdown(options=choices, description="utterance", layout=WIDE),
        "temperature": ipywidgets.FloatSlider(
            max(temperature, 0.05),
            min=0.05,
            max=1.2,
            step=0.05,
            description="temperature",
            readout_format=".2f",
            **slider,
        ),
        "seed": ipywidgets.IntSlider(0, min=0, max=20, description="seed", **slider),
    }

    @lru_cache(16)
    def said(utterance: int, temperature: float, seed: int) -> tuple[np.ndarray, float]:
        features, began = pack.features(utterance, kind)[:, :frames], time.perf_counter()
        speaker = int(pack.speaker[utterance])
        wave = system.vocode(trained, features, speaker, temperature=temperature, seed=seed)
        return wave.numpy(), time.perf_counter() - began

    def render(utterance: int, temperature: float, seed: int) -> dict[str, str]:
        ours, took = said(utterance, round(temperature, 2), seed)
        recording, title = wave_of(pack, utterance)[: len(ours)], f"{name}, temperature {temperature:.2f}"
        waves, middle = {"recording": recording, title: ours[: len(recording)]}, len(recording) / rate / 2
        zoom = (max(0.0, middle - 0.03), middle + 0.03)
        level = 10 * np.log10(np.mean(ours**2) / max(np.mean(recording**2), 1e-12) + 1e-12)
        told = f"{len(ours) / rate:.2g} s in {took:.2g} s ({len(ours) / took:,.0f} samples/s), level {level:+.1f} dB"
        return {
            "about": f"<b>{escape(pack.text[utterance] or pack.utterances[utterance])}</b>",
            "speech": picture(spoken(waves, rate, zoom, {title: style.colour(name)}), " and ".join(waves)),
            "sound": players(waves, rate).data,
            "told": f'<span style="{MUTED}">{told}</span>',
        }

    rows = [("about",), ("speech",), ("sound",), ("told",)]
    return Explorer("As freely as you like", controls, rows, render)
