"""Explorers: browse a corpus, compare reconstructions, scrub through aligned codes.

Each is built from plain parts of the workbook (a corpus, a trained system, its token table) and is a widget that
also shows a still where no kernel answers. Sound is compared at equal loudness; time is in seconds, frequency in kHz.
"""

from functools import lru_cache
from html import escape

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from .. import audio
from ..errors import SpeechlibError, UnknownName
from ..evaluation import alignments
from ..evaluation.tokens import step_seconds
from ..figures.alignment import alignment, draw_spectrogram
from ..models.speakers import NOBODY
from .explorer import Explorer, picture
from .players import MAX_SECONDS, player, players

WIDE = {"width": "36em"}
INVERTED = 8  # seconds of speech that features are inverted for: Griffin-Lim has to keep up with the mouse
MAX_CHOICES = 200  # of one drop-down list: browsers choke on the 44,000 utterances of VCTK


def corpus_browser(corpus) -> Explorer:
    """Pick a speaker, find an utterance by its id or text, see its waveform, spectrogram and phones, and hear it."""
    cuts = {cut.id: cut for cut in corpus.cuts}
    if not cuts:
        raise SpeechlibError(f"corpus {corpus.name} has no utterances to browse")
    speech = {name: cut.supervisions[0] for name, cut in cuts.items()}
    speakers = sorted({str(one.speaker) for one in speech.values()})
    speaker = ipywidgets.Dropdown(options=[("all", ""), *zip(speakers, speakers)], description="speaker")
    find = ipywidgets.Text(placeholder="part of a text or id", description="find")
    utterance = ipywidgets.Dropdown(description="utterance", layout=WIDE)

    def matches() -> list[str]:
        wanted = find.value.strip().casefold()
        of_speaker = (name for name, one in speech.items() if speaker.value in ("", str(one.speaker)))
        return [name for name in of_speaker if wanted in f"{name} {speech[name].text or ''}".casefold()]

    def narrow(_change=None) -> None:
        found = matches()
        utterance.options = [(f"{name}: {(speech[name].text or '')[:60]}", name) for name in found[:MAX_CHOICES]]
        if found and utterance.index is None:  # it was empty before
            utterance.index = 0

    def render(speaker, find, utterance) -> dict[str, str]:
        found = len(matches())
        if utterance is None:
            raise SpeechlibError(f"no utterance of {speaker or 'any speaker'} has {find!r} in its id or text")
        shown = f"the first {MAX_CHOICES} of {found}" if found > MAX_CHOICES else str(found)
        return {"note": f"{shown} utterances to choose from"} | shown_utterance(utterance)

    @lru_cache(8)
    def shown_utterance(name: str) -> dict[str, str]:
        cut, one = cuts[name], speech[name]
        wave, rate = _recording(cut)
        rows = {kind: _intervals(one.alignment.get(kind, ())) for kind in ("word", "phone")} if one.alignment else {}
        facts = [str(one.speaker), one.gender, f"{cut.duration:.2f} s", f"{rate:,} Hz"]
        text = escape(one.text or "no transcript")
        drawn = alignment(wave, rate, {f"{kind}s": row for kind, row in rows.items() if row})
        return {
            "about": f"<b>{escape(name)}</b> ({escape(', '.join(filter(None, facts)))}): {text}",
            "speech": picture(drawn, f"waveform, spectrogram and phones of {name}"),
            "sound": player(wave, rate).data,
        }

    narrow()
    for control in (speaker, find):
        control.observe(narrow, "value")
    controls = {"speaker": speaker, "find": find, "utterance": utterance}
    return Explorer(f"Corpus browser: {corpus.name}", controls, [("about",), ("speech",), ("sound",)], render)


def reconstruction_explorer(trained, part: str = "val") -> Explorer:
    """Original, reconstruction and the codes spoken by another voice, seen and heard at equal loudness.

    What is drawn is the spectrogram of what is heard. "features and back" is the original through the same inversion
    (Griffin-Lim) without a model: what the reconstruction loses beyond that row, the model lost.
    """
    import torch

    from .. import inversion, systems

    pack, experiment = trained.data.pack, trained.experiment
    config = pack.config_of(experiment.targets)
    indices = part_of(trained, part)
    choices = [(title_of(pack, i), i) for i in indices]
    utterance = ipywidgets.Dropdown(options=choices, description="utterance", layout=WIDE)
    voices = [(voice_name(pack, speaker), speaker) for speaker in range(len(pack.speakers))]
    if trained.model.speakers is None:
        voices = [("none: the decoder was trained without", None)]
    first = systems.other_voice(pack, int(pack.speaker[indices[0]])) if trained.model.speakers is not None else None
    voice = ipywidgets.Dropdown(options=voices, value=first, description="voice")

    @lru_cache(8)
    def heard(i: int, speaker: int | None) -> tuple[dict, str]:
        original = pack.features(i, experiment.targets).cpu()
        said = {"features and back": original, "reconstruction": systems.reconstruct(trained, i).cpu()}
        if speaker is not None:
            said[f"codes, voice {voice_name(pack, speaker)}"] = systems.reconstruct(trained, i, speaker).cpu()
        error = (said["reconstruction"] - original).square().mean() / original.var(dim=-1).mean()
        shown = torch.stack(list(said.values()))[..., : round(INVERTED * config.frame_rate)]
        waves = dict(zip(said, inversion.to_audio(shown, config).numpy()))
        n_samples = next(iter(waves.values())).shape[-1]
        about = f"reconstruction error / variance: {error:.3g}"
        if shown.shape[-1] < original.shape[-1]:
            about += f"; the first {INVERTED} s of {original.shape[-1] / config.frame_rate:.1f} s are shown"
        return {"original": wave_of(pack, i)[:n_samples]} | waves, about

    def render(utterance, voice) -> dict[str, str]:
        waves, error = heard(utterance, voice)
        rate = pack.config.sample_rate
        drawn = Figure(figsize=(9, 1.5 * len(waves)), layout="constrained")
        axes = drawn.subplots(len(waves), sharex=True, sharey=True)
        for axis, (name, wave) in zip(axes, waves.items()):
            draw_spectrogram(axis, wave, rate)
            axis.set_title(name, loc="left", fontsize=9)
        axes[-1].set_xlabel("time (s)")
        return {
            "speech": picture(drawn, "spectrograms of " + ", ".join(waves)),
            "sound": players(waves, rate).data,
            "about": escape(error),
        }

    controls = {"utterance": utterance, "voice": voice}
    return Explorer("Original, reconstruction and codes alone", controls, [("about",), ("speech",), ("sound",)], render)


def alignment_explorer(pack, tokens) -> Explorer:
    """Scrub through an utterance: waveform, spectrogram, phones and codes on one time axis; play any selection.

    `tokens` is the token table of some utterances of the pack (systems.tokens). The upper picture is the whole
    utterance, the lower one what the slider selects; below it the phones and codes of the selection, and its sound.
    """
    step, rate = step_seconds(tokens), pack.config.sample_rate
    tables = dict(list(tokens.groupby("utterance", sort=False, observed=True)))
    choices = [(title_of(pack, pack.index_of(name)), name) for name in tables]
    utterance = ipywidgets.Dropdown(options=choices, description="utterance", layout=WIDE)
    selection = ipywidgets.FloatRangeSlider(
        step=0.01, description="selection (s)", readout_format=".2f", continuous_update=False, layout={"width": "900px"}
    )

    def rows(name: str) -> dict[str, list]:
        phones = _intervals(pack.phones(pack.index_of(name)))
        codes = [(str(run.code), run.start, run.stop) for run in instances(tables[name], step).itertuples()]
        return {"phones": phones, "codes": codes} if phones else {"codes": codes}

    def whole(_change=None) -> None:
        seconds = round(len(wave_of(pack, utterance.value)) / rate, 2)
        first, last = seconds / 3, min(seconds, seconds / 3 + 0.8)
        with selection.hold_trait_notifications():
            selection.max = seconds
            selection.value = (round(first, 2), round(last, 2))

    @lru_cache(8)
    def overview(name: str) -> str:
        drawn = alignment(wave_of(pack, name), rate, rows(name))
        return picture(drawn, f"waveform, spectrogram, phones and codes of {name}")

    def render(utterance, selection) -> dict[str, str]:
        start, stop = selection
        wave = wave_of(pack, utterance)[round(start * rate) : round(stop * rate)]
        if stop - start < step:
            raise SpeechlibError(
                f"the selection of {1000 * (stop - start):.0f} ms is shorter than one code ({1000 * step:.0f} ms)"
            )
        listed = ""
        for tier, row in rows(utterance).items():
            inside = [symbol for symbol, a, b in row if a < stop and b > start]
            listed += f"<div><b>{tier}</b>: {escape(' '.join(inside)) or 'none'}</div>"
        drawn = alignment(wave, rate, rows(utterance), start)
        return {
            "whole": overview(utterance),
            "selected": picture(drawn, f"{start:.2f} to {stop:.2f} s of {utterance}"),
            "sound": player(wave, rate, f"{start:.2f} to {stop:.2f} s").data,
            "about": listed,
        }

    whole()
    utterance.observe(whole, "value")
    controls = {"utterance": utterance, "selection": selection}
    return Explorer(
        "Phones and codes on one time axis", controls, [("whole",), ("selected",), ("sound", "about")], render
    )


def instances(tokens, step: float):
    """The stretches of one code: utterance, speaker, code, phone (at its middle), start and stop in seconds."""
    found = alignments.runs(tokens, "code", step).rename(columns={"symbol": "code"})
    found["step"] += (found["seconds"] / step).round().astype(int) // 2
    middle = tokens[["utterance", "step", "speaker", "phone"]].astype({"phone": object})
    found = found.merge(middle, how="left", on=["utterance", "step"]).astype({"utterance": str, "speaker": str})
    return found[["utterance", "speaker", "code", "phone", "start", "stop"]]


def wave_of(pack, utterance: int | str) -> np.ndarray:
    """The wave (S,) of an utterance, given by its index or id, wherever the pack lies."""
    return pack.wave(pack.index_of(utterance) if isinstance(utterance, str) else utterance).cpu().numpy()


def _recording(cut):
    seconds = min(cut.duration, MAX_SECONDS)
    return audio.read(cut.recording.sources[0].source, start=cut.start, duration=seconds)


def _intervals(items) -> list[tuple]:
    return [(item.symbol, item.start, item.end) for item in items]


def part_of(trained, part: str) -> list[int]:
    if part not in trained.data.split:
        raise UnknownName("part", part, trained.data.split)
    return trained.data.split[part]


def title_of(pack, i: int) -> str:
    return f"{pack.utterances[i]}: {(pack.text[i] or '')[:60]}"


def voice_name(pack, speaker: int) -> str:
    """As people know a voice: p225 (F)."""
    if speaker == NOBODY:
        return "nobody"
    gender = pack.genders[speaker]
    return f"{pack.speakers[speaker]} ({gender})" if gender else str(pack.speakers[speaker])
