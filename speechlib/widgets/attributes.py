"""Move a voice, or a phone, by adding a vector: an utterance, where to, and how far."""

from functools import lru_cache
from html import escape

import ipywidgets
import torch

from ..errors import SpeechlibError
from ..figures.windows import utterances
from ..inversion import filtered, to_audio
from .explorer import Explorer, picture
from .explorers import WIDE, part_of, title_of, voice_name, wave_of
from .players import players

STAY = "stay"  # the voice, or the phone, that it is


def attribute_explorer(trained, means, part: str = "val", seconds: float = 2.0) -> Explorer:
    """The first `seconds` of an utterance, rebuilt and moved: to another speaker or sex, one phone to another, by 0 to
    2 times the difference of their means (systems.attributes.Means). Seen and heard beside the original, which is also
    heard behind a filter that makes the same difference."""
    from ..systems import attributes

    pack, indices = trained.data.pack, part_of(trained, part)
    config = pack.config_of(trained.experiment.inputs)
    sexes = {"F": "any woman", "M": "any man"}
    voices = [(f"{STAY}s", ("", ""))] + [(sexes.get(s, s), ("sex", s)) for s in attributes.known(means, "sex")]
    voices += [(voice_name(pack, means.speakers.index(s)), ("speaker", s)) for s in attributes.known(means, "speaker")]
    phones = [(STAY, ""), *((f"[{p}]", p) for p in attributes.known(means, "phone"))]
    controls = {
        "utterance": ipywidgets.Dropdown(
            options=[(title_of(pack, i), i) for i in indices], description="utterance", layout=WIDE
        ),
        "voice": ipywidgets.Dropdown(
            options=voices, value=_other(voices, means, pack, indices[0]), description="voice"
        ),
        "phone": ipywidgets.Dropdown(options=phones, description="phone"),
        "becomes": ipywidgets.Dropdown(options=phones, description="becomes"),
        "strength": ipywidgets.FloatSlider(
            1.0, min=0.0, max=2.0, step=0.25, description="strength", continuous_update=False
        ),
    }

    @lru_cache(16)
    def spoken(utterance: int, moves: tuple, strength: float):
        shown = attributes.transform(trained, utterance, means, moves, strength)
        shown = shown[:, : round(seconds * config.frame_rate)]
        return shown, to_audio(shown, config).numpy()

    def render(utterance, voice, phone, becomes, strength) -> dict[str, str]:
        moves = []
        speaker = int(pack.speaker[utterance])
        if voice[0]:
            own = means.genders[speaker] if voice[0] == "sex" else means.speakers[speaker]
            moves.append(attributes.Move(voice[0], own, voice[1]))
        if bool(phone) != bool(becomes):
            raise SpeechlibError("choose which phone moves, and which it becomes")
        if phone:
            moves.append(attributes.Move("phone", phone, becomes))
        rebuilt, heard = spoken(utterance, (), 1.0)
        features = {"original": pack.features(utterance, config.kind).cpu()[:, : rebuilt.shape[1]], "rebuilt": rebuilt}
        waves = {"original": wave_of(pack, utterance)[: len(heard)], "rebuilt": heard}
        if moves:
            name = ", ".join(f"{move.source} to {move.target}" for move in moves)
            moved, waves[name] = spoken(utterance, tuple(moves), strength)
            features[name] = moved
            recording = torch.as_tensor(waves["original"])
            waves["original behind a filter"] = filtered(recording, moved - rebuilt, config)
        return {
            "about": f"<b>{escape(pack.text[utterance] or pack.utterances[utterance])}</b>",
            "seen": picture(utterances(features, config.frame_rate), " and ".join(features)),
            "heard": players(waves, config.sample_rate).data,
        }

    return Explorer("Move a voice by adding a vector", controls, [("about",), ("seen",), ("heard",)], render)


def _other(voices: list, means, pack, index: int) -> tuple[str, str]:
    """The first choice that the speaker of an utterance is not."""
    own = int(pack.speaker[index])
    mine = ("", means.speakers[own], means.genders[own])
    return next((choice for _, choice in voices if choice[1] not in mine), voices[0][1])
