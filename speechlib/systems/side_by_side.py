"""All systems of the workbook beside each other: the same recordings said again by each, heard by the same machines.

    found = side_by_side.find(judge)                 whoever has a finished run of the judge's preset, corpus and seed
    compared = side_by_side.compare(found, judge)    the table, and every sound; the judge is a trained recogniser

| system                       | says a recording again                           | in another voice        |
|------------------------------|--------------------------------------------------|-------------------------|
| vocoders (`vocode`)          | from its bands                                   |                         |
| codecs (`VOICING`)           | from its codes or vectors                        | told another speaker    |
| autoencoders of windows      | a window at every frame, Griffin-Lim             | latents moved by means  |
| MelNet                       | from the first tier of its bands, the rest drawn |                         |

Who draws from nothing (prior, WGAN) has no recording to be put beside. Three machines judge, all of them proxies for
people: a phone recogniser (phone error rate), linear probes of voices and phones, and distances to the recording. The
first two hear everybody at the recogniser's rate; distances are taken at each system's own, so that a system of 16 kHz
answers for twice the bands.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from .. import audio, presets, pretrained
from ..errors import SpeechlibError
from ..evaluation import listener, phone_errors, vocoder
from ..evaluation.bitrate import bitrate
from ..evaluation.listener import Listener
from ..inversion import to_audio
from ..models import MODELS
from ..presets import Experiment
from ..training import Progress
from . import attributes, judging, recogniser, voices, windows
from .codes import apart, encode, has_codes
from .data import Data, Trained
from .lifecycle import NO_RUN, SYSTEMS, at_hand, data_of, load_pretrained, shipped, system_of

if TYPE_CHECKING:
    import pandas

SHIPPED = "shipped"  # behind a system's name: the checkpoint that comes with the package
AGAIN, CONVERTED = "said again", "in another voice"
DISTANCES = ("log_mel_distance", "mel_cepstral_distortion", "pitch_correlation", "pitch_kept")
_FREEDOM = {"wavenet": {"temperature": 0.8}, "melnet": {"temperature": 0.5, "weight_temperature": 0.5}}
_CODED = 40  # utterances at most whose codes are counted
_MEANT, _PLACES = 12, 3  # utterances of each voice, and places in a phone, of which the latents' means are taken


class Found(NamedTuple):
    trained: dict[str, Trained]  # label -> who takes part
    missing: dict[str, Experiment]  # system -> the experiment that has no finished run
    absent: dict[str, str]  # system, or label -> why it cannot take part, whether it has a run or not


class Piece(NamedTuple):
    """A sound of the comparison: who says which utterance, in whose voice."""

    label: str
    utterance: str
    way: str  # AGAIN or CONVERTED
    target: str  # the voice that was asked for
    wave: np.ndarray  # (S,)
    sample_rate: int


class Compared(NamedTuple):
    table: "pandas.DataFrame"  # a row per label, the marks first, those that failed last
    sheet: "pandas.DataFrame"  # a row per piece
    pieces: list[Piece]
    marks: tuple[str, ...]  # labels that are no systems: recordings, and what needs no model
    is_new: bool  # whether the recogniser has never been told any of these sentences
    failed: dict[str, str]  # label -> what went wrong; its row of the table is empty


def find(judge: Trained, variants: bool = True) -> Found:
    """Every system with a finished run of the judge's preset, corpus and seed; presets whose names begin with that name
    ("demo_svq") are its variants. At `demo` on `toy` also the checkpoints that ship with the package."""
    about = judge.experiment
    asked: dict[str, Experiment] = {}  # label -> whose run is looked for
    absent = {}
    for system in (name for name in SYSTEMS if name != about.system):
        if not _says(system):
            absent[system] = "draws from nothing: there is no recording to put beside what it says"
            continue
        for preset in presets.names()[system]:
            if preset != about.preset and not (variants and preset.startswith(f"{about.preset}_")):
                continue
            variant = preset.removeprefix(about.preset).replace("_", " ").strip()
            label = f"{system}, {variant}" if variant else system
            asked[label] = presets.get(system, preset, about.corpus.name, about.corpus.root, about.seed)
    trained, without = at_hand(asked)
    if about.preset == "demo" and about.corpus.name == "toy":
        for system in pretrained.names():
            if system != about.system and _says(system):
                alike = data_of(shipped(system), trained.values())
                trained[f"{system}, {SHIPPED}"] = load_pretrained(system, alike)
    missing = {label: asked[label] for label, why in without.items() if why == NO_RUN and label in SYSTEMS}
    return Found(trained, missing, absent | {label: why for label, why in without.items() if why != NO_RUN})


def _says(system: str) -> bool:
    speaks = any(hasattr(SYSTEMS[system], name) for name in ("vocode", "VOICING", "upsampler"))
    return speaks or hasattr(MODELS[system], "latents")


def held_out(found: Found, judge: Trained, n: int = 6) -> tuple[list[str], bool]:
    """Up to n utterances with phones that no system was trained on, evenly spread over them and so over voices; and
    whether the judge was not trained on their sentences either (else there are none such, and it may know them).

    Raises SpeechlibError where every utterance was in somebody's training part.
    """
    pack, its = judge.data.pack, _held(judge)
    everyone = [_held(trained) for trained in found.trained.values()] or [its]
    common = {name for name in set.intersection(*everyone) if phone_errors.said(pack.phones(pack.index_of(name)))}
    chosen = sorted(common & its) or sorted(common)
    if not chosen:
        sizes = {label: len(_held(trained)) for label, trained in found.trained.items()}
        raise SpeechlibError(f"no utterance with phones is held out of all systems ({sizes}): are their splits alike?")
    spread = np.unique(np.linspace(0, len(chosen) - 1, min(n, len(chosen))).astype(int))
    return [chosen[k] for k in spread], bool(common & its)


def _held(trained: Trained) -> set[str]:
    return {trained.data.pack.utterances[i] for i in trained.data.split["val"]}


def compare(found: Found, judge: Trained, n: int = 6, seed: int = 0, progress: Progress | None = None) -> Compared:
    """n held-out utterances said again by everyone and, where they can, in the voice of somebody else, of the other sex
    where there is one; each piece judged. Recordings, Griffin-Lim and noise of the same bands are the marks.

    The table: `sample_rate`; phone error rate with its interval (`per`, `low`, `high`) and of converted speech
    (`per_converted`); share of phones that a probe hears where they belong (`phones`); of pieces that are taken for
    their own voice (`voice`), or for the one that was asked for (`voice_converted`); correlation of log F0 (`pitch`,
    `pitch_converted`) and `pitch_kept`; `mel_cepstral_distortion` and `log_mel_distance` (dB); `bits_per_second` of
    codes. A system that fails has an empty row, and its reason in `failed`.
    """
    import pandas

    names, is_new = held_out(found, judge, n)
    ear = listener.fit(judge.data.pack, judge.data.split["train"], seed=seed)
    tell = progress or (lambda done, of, text: None)
    rates: dict[int, Data] = {}  # the first pack of each rate, the judge's before others
    for trained in (judge, *found.trained.values()):
        rates.setdefault(trained.data.pack.config.sample_rate, trained.data)
    pieces, rows, bits, failed = [], [], {}, {}
    for data in rates.values():
        said = _marks(data, names, alone=len(rates) == 1)
        pieces += said
        rows += [_judged(piece, data, judge, ear) for piece in said]
    marks = tuple(dict.fromkeys(piece.label for piece in pieces))
    for done, (label, trained) in enumerate(found.trained.items(), 1):
        try:
            said = _pieces(label, trained, names, seed)
            judged = [_judged(piece, trained.data, judge, ear) for piece in said]
            if hasattr(trained.experiment.model, "has_codes") and has_codes(trained.experiment):
                bits[label] = _bits_per_second(trained)
            pieces, rows = pieces + said, rows + judged
        except (SpeechlibError, RuntimeError) as error:  # out of memory is a RuntimeError: the others go on
            failed[label] = str(error)
        tell(done, len(found.trained), label)
    sheet = pandas.DataFrame(rows)
    table = pandas.DataFrame({label: _row(own) for label, own in sheet.groupby("label", sort=False)}).T
    table = table.reindex([*table.index, *failed]).assign(bits_per_second=pandas.Series(bits, dtype=float))
    return Compared(table, sheet, pieces, marks, is_new, failed)


# -- saying ------------------------------------------------------------------------------------------------------------


def _marks(data: Data, names: Sequence[str], alone: bool) -> list[Piece]:
    """Recordings, and what their bands say without a model."""
    pack = data.pack
    rate, kinds = pack.config.sample_rate, [config.kind for config in pack.config.features]
    behind = "" if alone else f", {rate / 1000:g} kHz"
    pieces = []
    ways = {judging.RECORDING: lambda clip: torch.from_numpy(clip.wave)}
    if "log_mel" in kinds:  # the better one first
        rivals = judging.rivals(pack.config_of("log_mel"))
        ways |= {way: rivals[way] for way in (judging.GRIFFIN_LIM, judging.NOISE)}
    for way, say in ways.items():
        for name in names:
            clip = _clip(data, pack.index_of(name), "log_mel" if "log_mel" in kinds else kinds[0])
            wave = say(clip)[: len(clip.wave)].numpy()
            pieces.append(Piece(way + behind, name, AGAIN, pack.speakers[clip.speaker], wave, rate))
    return pieces


def _clip(data: Data, index: int, kind: str) -> judging.Clip:
    """A whole utterance."""
    pack = data.pack
    wave, features = pack.wave(index).cpu().numpy(), pack.features(index, kind).cpu()
    return judging.Clip(index, features, int(pack.speaker[index]), wave, pack.phones(index))


def _pieces(label: str, trained: Trained, names: Sequence[str], seed: int) -> list[Piece]:
    """All that a system says: every utterance again, then in another voice."""
    pack = trained.data.pack
    indices = [pack.index_of(name) for name in names]
    own = [(i, int(pack.speaker[i])) for i in indices]
    other = [(i, voices.other_voice(pack, s, k)) for k, (i, s) in enumerate(own)] if len(pack.speakers) > 1 else []
    pieces, rate = [], pack.config.sample_rate
    for way, asked, waves in zip((AGAIN, CONVERTED), (own, other), _said(trained, own, other, seed)):
        for (i, s), wave in zip(asked, waves):
            plain = np.asarray(torch.as_tensor(wave).cpu(), np.float32)[: pack.n_samples[i]]
            pieces.append(Piece(label, pack.utterances[i], way, pack.speakers[s], plain, rate))
    return pieces


def _said(trained: Trained, own: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]], seed: int):
    """(waves of `own`, waves of `other`), pairs (utterance, speaker); the second empty where voices cannot be asked."""
    system, pack = system_of(trained.experiment), trained.data.pack
    freedom = _FREEDOM.get(trained.experiment.system, {})
    if hasattr(system, "vocode"):
        return [system.vocode(trained, i, seed=seed, **freedom) for i, _ in own], []
    if hasattr(system, "upsampler"):
        say = system.upsampler(trained, seed=seed, **freedom)
        return [say(_clip(trained.data, i, trained.experiment.inputs)) for i, _ in own], []
    if hasattr(system, "VOICING"):
        asked = [*own, *(other if voices.has_voices(trained) else ())]
        drawn = {"seed": seed, **_FREEDOM["wavenet"]} if system.VOICING.draws else {}
        codes, _ = encode(trained, [i for i, _ in own])
        told = [apart(trained.experiment, codes[i]) for i, _ in asked]
        waves = voices.speak(trained, told, [s for _, s in asked], **drawn)
        return waves[: len(own)], waves[len(own) :]
    config = pack.config_of(trained.experiment.inputs)
    rebuilt = [to_audio(windows.reconstruct(trained, i), config) for i, _ in own]
    return rebuilt, [to_audio(x, config) for x in _moved(trained, other)]


def _moved(trained: Trained, other: Sequence[tuple[int, int]]) -> Iterable[torch.Tensor]:
    """Utterances of a model of windows with their latents moved to another speaker: features (C, T)."""
    if not other:
        return
    pack, train = trained.data.pack, np.array(trained.data.split["train"])
    asked = sorted({s for i, target in other for s in (int(pack.speaker[i]), target)})
    some = np.concatenate([train[pack.speaker[train] == s][:_MEANT] for s in asked]).tolist()
    few = trained.data._replace(split=trained.data.split | {"train": some})
    means = attributes.attribute_means(trained._replace(data=few), n_places=_PLACES)
    for i, target in other:
        move = attributes.Move("speaker", pack.speakers[pack.speaker[i]], pack.speakers[target])
        yield attributes.transform(trained, i, means, [move])


def sounds(compared: Compared, n: int = 2) -> dict[str, dict[str, tuple[np.ndarray, int]]]:
    """label -> {what is said: (wave, sample_rate)}, for players: the first n utterances again, then in other voices."""
    names = list(dict.fromkeys(piece.utterance for piece in compared.pieces))[:n]
    rows: dict[str, dict[str, tuple[np.ndarray, int]]] = {}
    for piece in compared.pieces:
        if piece.utterance in names:
            said = piece.utterance if piece.way == AGAIN else f"{piece.utterance} as {piece.target}"
            rows.setdefault(piece.label, {})[said] = (piece.wave, piece.sample_rate)
    return rows


# -- judging -----------------------------------------------------------------------------------------------------------


def _judged(piece: Piece, data: Data, judge: Trained, ear: Listener) -> dict:
    """What the machines make of a piece; distances of what was said again only, but for the melody."""
    pack, index = data.pack, data.pack.index_of(piece.utterance)
    phones, rate = pack.phones(index), judge.data.pack.config.sample_rate
    row = piece._asdict() | {"source": pack.speakers[pack.speaker[index]]}
    del row["wave"]
    heard = recogniser.judge(judge, [recogniser.Utterance(piece.wave, piece.sample_rate, phones, piece.utterance)])
    row |= heard[0]._asdict()
    wave = audio.resample(piece.wave, piece.sample_rate, rate)
    if ear.voice is not None:
        row["heard"] = judge.data.pack.speakers[listener.voice_of(ear, wave)]
    if ear.phone is not None:
        said, told = listener.phones_of(ear, wave, phones)
        row |= {"placed": len(said), "right": int(np.sum(said == told))}
    found = vocoder.judge(pack.wave(index).numpy(), piece.wave, listener.listening(piece.sample_rate))
    kept = DISTANCES if piece.way == AGAIN else ("pitch_correlation",)
    return row | {name: found.get(name, np.nan) for name in kept}


def _row(own: "pandas.DataFrame") -> dict[str, float]:
    """A label's pieces as a row of the table."""
    again, converted = (own[own["way"] == way] for way in (AGAIN, CONVERTED))
    errors = phone_errors.rate([phone_errors.Heard(*pair) for pair in zip(again["errors"], again["phones"])])
    row = {"sample_rate": own["sample_rate"].iloc[0], "per": errors.rate, "low": errors.low, "high": errors.high}
    row["phones"] = again["right"].sum() / again["placed"].sum() if "right" in own else np.nan
    row["voice"] = (again["heard"] == again["target"]).mean() if "heard" in own else np.nan
    row |= {"pitch": again["pitch_correlation"].mean()}
    row |= {name: again[name].mean() for name in ("pitch_kept", "mel_cepstral_distortion", "log_mel_distance")}
    if len(converted):
        row["per_converted"] = converted["errors"].sum() / converted["phones"].sum()
        row["voice_converted"] = (converted["heard"] == converted["target"]).mean()
        row["pitch_converted"] = converted["pitch_correlation"].mean()
    return row


def _bits_per_second(trained: Trained) -> float:
    """What the codes of the validation part cost, counted as the ZeroSpeech challenges do."""
    pack, part = trained.data.pack, trained.data.split["val"]
    codes, _ = encode(trained, part[:: max(1, len(part) // _CODED)])
    seconds = {pack.utterances[i]: pack.n_samples[i] / pack.config.sample_rate for i in codes}
    return bitrate({pack.utterances[i]: found for i, found in codes.items()}, seconds).bits_per_second
