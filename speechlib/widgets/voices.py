"""Say it in another voice: an utterance through the codes of a model, spoken by any of its speakers."""

from collections.abc import Mapping
from functools import lru_cache
from html import escape

import ipywidgets

from ..errors import SpeechlibError
from ..figures.voices import voices as draw_voices
from ..models.speakers import NOBODY
from .explorer import Explorer, picture
from .explorers import MAX_CHOICES, WIDE, part_of, title_of, voice_name, wave_of
from .players import players


def voice_explorer(trained, part: str = "val", seconds: float = 2.0, beside: Mapping = {}) -> Explorer:
    """The first `seconds` of an utterance, and the same codes in the voice of your choice: seen and heard side by side.

    With a decoder that draws its samples, `temperature` says how freely (0: always the likeliest) and `seed` draws
    again. "nobody" is offered where the decoder knows it. Where a voice can be read off an utterance, `reference` says
    off which. beside: {name: codec} of others that are asked the same (those without nobody not for nobody). Raises
    SpeechlibError for a decoder without speakers.
    """
    from .. import systems

    if not systems.has_voices(trained):
        raise SpeechlibError("this decoder has one voice: train it with speaker vectors")
    pack, indices = trained.data.pack, part_of(trained, part)
    utterance = ipywidgets.Dropdown(
        options=[(title_of(pack, i), i) for i in indices], description="utterance", layout=WIDE
    )
    choices = [(voice_name(pack, speaker), speaker) for speaker in range(len(pack.speakers))]
    choices += [("nobody", NOBODY)] if systems.voicing(trained).nobody else []
    first = systems.other_voice(pack, int(pack.speaker[indices[0]]))
    controls = {"utterance": utterance, "voice": ipywidgets.Dropdown(options=choices, value=first, description="voice")}
    if systems.voicing(trained).draws:
        look = {"continuous_update": False}
        controls["temperature"] = ipywidgets.FloatSlider(
            1.0, min=0.0, max=1.2, step=0.1, description="temperature", **look
        )
        controls["seed"] = ipywidgets.IntSlider(0, min=0, max=20, description="seed", **look)

    codecs = {"codes": trained} | dict(beside)
    if any(map(systems.takes_references, codecs.values())):
        reference = ipywidgets.Dropdown(description="reference", layout=WIDE)
        controls["reference"] = reference

        def of_voice(_change=None) -> None:
            own = [i for i in trained.data.split["train"] if pack.speaker[i] == controls["voice"].value][:MAX_CHOICES]
            reference.options = [("none: what is known of the voice", None), *((title_of(pack, i), i) for i in own)]

        of_voice()
        controls["voice"].observe(of_voice, "value")

    @lru_cache(16)
    def said(utterance: int, voice: int, reference: int | None, **generation) -> dict:
        read = [] if reference is None else [reference]
        some = {name: c for name, c in codecs.items() if voice != NOBODY or systems.voicing(c).nobody}
        found = systems.convert_all(some, pack, [(utterance, voice)], seconds, read, **generation)
        return {name: spoken.wave.numpy() for name, (spoken,) in found.items()}

    def render(utterance, voice, reference=None, **generation) -> dict[str, str]:
        found = said(utterance, voice, reference, **generation)
        source = voice_name(pack, int(pack.speaker[utterance]))
        target = voice_name(pack, voice)
        names = [f"original ({source})", *(f"{name}, voice {target}" for name in found)]
        waves = dict(zip(names, (wave_of(pack, utterance)[: len(found["codes"])], *found.values())))
        rate = pack.config.sample_rate
        drawn = draw_voices(waves, rate, dict(zip(names, ("source", *["target"] * len(found)))))
        return {
            "about": f"<b>{escape(pack.text[utterance] or pack.utterances[utterance])}</b>",
            "speech": picture(drawn, " and ".join(names)),
            "sound": players(waves, rate).data,
        }

    rows = [("about",), ("speech",), ("sound",)]
    return Explorer("The same words in another voice", controls, rows, render)
