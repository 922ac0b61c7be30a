"""A flow vocoder under one's hands: as all samples come at once, every move of a slider is heard at once."""

import time

import ipywidgets
import numpy as np

from .explorer import Explorer, picture
from .players import MUTED, players


def flow_explorer(trained, part: str = "val", seconds: float = 1.5, temperature: float = 0.8) -> Explorer:
    """An utterance said at any temperature from any noise, beside its recording; below, how long that took."""
    from ..figures import style
    from ..figures import wavenet as figures
    from ..systems import flowavenet
    from .explorers import WIDE, part_of, title_of

    pack, config = trained.data.pack, trained.data.pack.config_of(trained.experiment.inputs)
    choices = [(title_of(pack, i), i) for i in part_of(trained, part)]
    slider = {"step": 0.05, "continuous_update": False, "readout_format": ".2f"}
    controls = {
        "utterance": ipywidgets.Dropdown(options=choices, description="utterance", layout=WIDE),
        "temperature": ipywidgets.FloatSlider(temperature, min=0, max=1.2, description="temperature", **slider),
        "seed": ipywidgets.IntSlider(0, min=0, max=20, description="noise", continuous_update=False),
    }

    def render(utterance: int, temperature: float, seed: int) -> dict[str, str]:
        features = pack.features(utterance, trained.experiment.inputs)[:, : max(2, round(seconds * config.frame_rate))]
        began = time.perf_counter()
        said = flowavenet.vocode(
            trained, features, int(pack.speaker[utterance]), temperature=temperature, seed=seed
        ).numpy()
        took = time.perf_counter() - began
        recording = pack.wave(utterance)[: len(said)].cpu().numpy()
        waves = {"recording": recording, f"temperature {temperature:.2f}": said[: len(recording)]}
        middle = len(recording) / config.sample_rate / 2
        zoom = (max(0.0, middle - 0.03), middle + 0.03)
        rate, level = config.sample_rate, 10 * np.log10(np.mean(said**2) / max(np.mean(recording**2), 1e-12) + 1e-12)
        told = f"{len(said) / rate:.2g} s in {took:.2g} s ({len(said) / took:,.0f} samples/s), level {level:+.1f} dB"
        return {
            "picture": picture(
                figures.spoken(waves, rate, zoom, {list(waves)[1]: style.colour("flowavenet")}), "spectrograms"
            ),
            "sound": players(waves, rate).data,
            "told": f'<span style="{MUTED}">{told}</span>',
        }

    return Explorer("FloWaveNet: temperature and noise", controls, [("picture",), ("sound",), ("told",)], render)
