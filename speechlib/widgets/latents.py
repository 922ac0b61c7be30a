"""Between two windows: a slider that moves through the latent space of a model, seen and heard."""

import ipywidgets
import numpy as np
import torch

from .. import inversion
from ..figures import windows as figures
from .explorer import Explorer, picture
from .explorers import voice_name
from .players import players

MORPH = 60  # frames from one window to the other, as they are heard


def interpolation_explorer(trained, windows, n_choices: int = 40) -> Explorer:
    """Pick two windows (windows.Windows) and go from one to the other along a straight line between their vectors.

    Left and right are the windows as the model draws them, in the middle what lies between; below, the way from one to
    the other as a sound, frame after frame, and the three windows by themselves.
    """
    model, pack = trained.model, trained.data.pack
    config = pack.config_of(trained.experiment.inputs)
    chosen = np.linspace(0, windows.n_windows - 1, min(n_choices, windows.n_windows)).astype(int)
    names = [f"{windows.phones[windows.phone[i]]}, {voice_name(pack, windows.speaker[i])}" for i in chosen]
    options = [(f"{name} ({i})", int(i)) for name, i in zip(names, chosen)]
    wide = {"width": "20em"}
    controls = {
        "first": ipywidgets.Dropdown(options=options, description="from", layout=wide),
        "second": ipywidgets.Dropdown(
            options=options, value=options[len(options) // 2][1], description="to", layout=wide
        ),
        "share": ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.1, description="share", continuous_update=False),
    }

    def render(first, second, share) -> dict[str, str]:
        with torch.inference_mode():
            a, b = model.latents(windows.at([first, second]).inputs)
            shares = torch.tensor([0.0, share, 1.0])[:, None]
            shown = model.decode((1 - shares) * a + shares * b)
            way = torch.linspace(0, 1, MORPH)[:, None]
            middle = model.decode((1 - way) * a + way * b)[:, :, model.sizes["n_frames"] // 2].T  # (F, MORPH)
            heard = {
                "the way from one to the other": middle,
                "first": shown[0],
                "between": shown[1],
                "second": shown[2],
            }
            waves = {name: inversion.to_audio(x, config).numpy() for name, x in heard.items()}
        titles = ["first", f"{share:.1f} of the way", "second"]
        drawn = figures.rows({"window": shown.numpy()}, config.frame_rate, titles)
        return {
            "seen": picture(drawn, "two windows and one between them"),
            "heard": players(waves, config.sample_rate).data,
        }

    return Explorer("Between two windows", controls, [("seen",), ("heard",)], render)
