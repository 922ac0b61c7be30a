"""The bundled corpus: twelve espeak-ng voices read English sentences, with exact times of phones and words.

Source: made here in seconds by espeak-ng 1.51 or later (the wheel espeakng-loader, or the system's library).
Licence: the sentences (toy_sentences.txt) are ours; espeak-ng is GPLv3, a tool used at run time.
Layout: that of `folder`, so it shows what one looks like:

    toy/metadata.csv                 utt,speaker,gender,path,text
    toy/annie/annie_001.flac         16 kHz; .phn and .wrd beside it (first sample, last sample, symbol)
    toy/recipe.json                  what it was made from; another recipe is made again

All voices read the first 20 sentences (parallel speech, for conversion), and each a seeded choice of the others.
"""

import csv
import ctypes
import ctypes.util
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import audio
from ..errors import BadFile, SpeechlibError
from ..files import ROOT, atomic_folder, fingerprint, read_json, write_json
from . import folder
from .assemble import Corpus
from .labels import Interval

RATE = 16000
SENTENCES = tuple(Path(__file__).with_name("toy_sentences.txt").read_text(encoding="utf-8").split("\n")[:-1])
SHARED, OWN = 20, 36  # sentences read by every voice, and of the others by each


class Voice(NamedTuple):
    """An espeak-ng voice: `variant` of American English, words per minute, pitch and its range (0-100)."""

    gender: str
    variant: str
    rate: int
    pitch: int
    range: int


# Voices without breath or echo (noise from a generator that is not seeded) and loud enough without clipping.
VOICES = {
    "anika": Voice("F", "anika", 150, 38, 50),
    "annie": Voice("F", "Annie", 175, 45, 40),
    "aunty": Voice("F", "aunty", 160, 50, 60),
    "belinda": Voice("F", "belinda", 170, 50, 55),
    "fay": Voice("F", "f1", 180, 52, 50),
    "steph": Voice("F", "steph", 165, 46, 60),
    "adam": Voice("M", "adam", 170, 42, 50),
    "boris": Voice("M", "boris", 160, 60, 45),
    "max": Voice("M", "m3", 180, 58, 55),
    "mitch": Voice("M", "m7", 165, 46, 50),
    "quincy": Voice("M", "quincy", 155, 50, 60),
    "rob": Voice("M", "rob", 175, 66, 40),
}

# espeak's names for the phones of American English -> ARPAbet as TIMIT writes it. Its r-coloured vowels are one phone
# in its events; they keep one name of their own (aar in "dark", ihr in "near").
PHONES = {
    "i:": "iy", "i": "iy", "I": "ih", "I2": "ih", "I#": "ih", "E": "eh", "a": "ae", "aa": "ae", "A:": "aa", "0": "aa",
    "O:": "ao", "O": "ao", "O2": "aa", "V": "ah", "@": "ax", "@2": "ax", "a#": "ax", "3": "axr", "3:": "er", "U": "uh",
    "u:": "uw", "eI": "ey", "aI": "ay", "OI": "oy", "aU": "aw", "oU": "ow", "A@": "aar", "O@": "aor", "o@": "aor",
    "e@": "ehr", "i@3": "ihr", "U@": "uhr", "aI3": "ayr", "@L": "el",
    "p": "p", "b": "b", "t": "t", "t2": "t", "t#": "dx", "d": "d", "k": "k", "g": "g", "tS": "ch", "dZ": "jh", "f": "f",
    "v": "v", "T": "th", "D": "dh", "s": "s", "z": "z", "S": "sh", "Z": "zh", "h": "hh", "m": "m", "n": "n", "N": "ng",
    "l": "l", "r": "r", "r-": "r", "w": "w", "j": "y", ";": "y",
    "_": "sil", "_:": "sil", "_!": "sil", "_|": "sil",
}  # fmt: skip


def load(root: Path) -> Corpus:
    """The corpus in `root`, made there first when it is missing or of another recipe (a few seconds)."""
    build(root)
    return folder.load(root, "toy")


def build(root: Path) -> None:
    """Make the corpus, one process per voice; it appears whole or not at all, and two builders wait for each other.

    Raises SpeechlibError for a folder in which somebody else has something: nothing of that is touched.
    """
    from filelock import FileLock

    recipe = {"recipe": fingerprint(VOICES, SENTENCES, SHARED, OWN, PHONES, 1)}
    if _made_by(root) == recipe:
        return
    _ours(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if _made_by(root) == recipe:  # by whom this one waited for
            return
        _ours(root)
        find_espeak()  # one clear error rather than twelve
        with atomic_folder(root) as part, ThreadPoolExecutor(os.cpu_count()) as pool:
            rows = [row for rows in pool.map(lambda name: _speak_in_process(name, part), VOICES) for row in rows]
            with open(part / "metadata.csv", "w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("utt", "speaker", "gender", "path", "text"), *rows])
            write_json(part / "recipe.json", recipe)


def _made_by(root: Path) -> dict | None:
    """The recipe that the corpus in `root` was made by; None where there is none, or a damaged one."""
    with suppress(BadFile):
        return read_json(root / "recipe.json")
    return None


def _ours(root: Path) -> None:
    """Raises SpeechlibError where `root` is not empty and no toy corpus: making one would replace all of it."""
    if root.exists() and not (root / "recipe.json").is_file() and not (root.is_dir() and not any(root.iterdir())):
        raise SpeechlibError(
            f"{root} holds something else than the toy corpus, which is made anew where it is missing: name an empty "
            "folder, or read your recordings with corpus=folder"
        )


def reads(speaker: str) -> list[int]:
    """Which sentences (indices) a voice reads."""
    others = range(SHARED, len(SENTENCES))
    return [*range(SHARED), *sorted(random.Random(speaker).sample(others, OWN))]


def speak(speaker: str, root: str | Path) -> list[tuple[str, str, str, str, str]]:
    """Write the recordings and labels of one voice under `root`; its rows of metadata.csv.

    espeak keeps state over voices and cannot be started twice, so every voice has a process of its own.
    """
    import soxr

    espeak = Espeak(VOICES[speaker])
    (Path(root) / speaker).mkdir()
    rows = []
    for number in reads(speaker):
        wave, phones, words = espeak.say(SENTENCES[number])
        name = f"{speaker}_{number + 1:03d}"
        path = Path(root) / speaker / name
        resampled = soxr.resample(wave.astype(np.float32) / 2**15, espeak.rate, RATE)
        path.with_suffix(".flac").write_bytes(audio.to_bytes(resampled, RATE))
        for suffix, tier in ((".phn", phones), (".wrd", words)):
            lines = [f"{round(i.start * RATE)} {round(i.end * RATE)} {i.symbol}\n" for i in tier]
            path.with_suffix(suffix).write_text("".join(lines), encoding="utf-8")
        rows.append((name, speaker, VOICES[speaker].gender, f"{speaker}/{name}.flac", SENTENCES[number]))
    return rows


def pronounce(text: str) -> list[str]:
    """The phones (names of PHONES) that espeak-ng finds for a text, pauses included."""
    return _speller().pronounce(text)


def find_espeak() -> tuple[str, str | None]:
    """(library, its data or None for the library's own): of the wheel, else of the system. Raises SpeechlibError."""
    found = []
    try:
        import espeakng_loader

        found.append((espeakng_loader.get_library_path(), espeakng_loader.get_data_path()))
    except (ImportError, RuntimeError):
        pass
    system = ctypes.util.find_library("espeak-ng")
    found += [(system, None)] if system else []
    reasons = []
    for library, data in found:
        try:
            ctypes.CDLL(library)
            return library, data
        except OSError as error:
            reasons.append(str(error))
    raise SpeechlibError(
        f"the toy corpus is spoken by espeak-ng, and no library of it loads ({'; '.join(reasons) or 'none found'}). "
        "Install one: `pip install espeakng-loader`, or on Debian and Ubuntu `apt install libespeak-ng1`."
    )


class Espeak:
    """One voice of espeak-ng through its C library: text in, samples and the events of its synthesiser out."""

    def __init__(self, voice: Voice):
        library, data = find_espeak()
        self._lib = ctypes.CDLL(library)
        self.rate = self._lib.espeak_Initialize(_SYNCHRONOUS, 0, data.encode() if data else None, _PHONEME_EVENTS)
        if self.rate <= 0:
            raise SpeechlibError(f"espeak-ng ({library}) does not start: no data in {data or 'its usual place'}")
        self._callback = _CALLBACK(self._collect)  # kept: the library holds only its address
        self._lib.espeak_SetSynthCallback(self._callback)
        if self._lib.espeak_SetVoiceByName(f"en-us+{voice.variant}".encode()) != 0:
            raise SpeechlibError(f"espeak-ng ({library}) has no voice en-us+{voice.variant}")
        for parameter, value in (
            (1, voice.rate),
            (2, 70),
            (3, voice.pitch),
            (4, voice.range),
        ):  # 2: volume, without clipping
            self._lib.espeak_SetParameter(parameter, value, 0)

    def say(self, text: str) -> tuple[np.ndarray, list[Interval], list[Interval]]:
        """(samples (S,) int16 at self.rate, phones, words), the phones without a gap from 0 to the end."""
        wave, phones, starts = self._synthesise(text)
        words = _words(starts, text.split(), phones)
        seconds = [[Interval(s, a / self.rate, b / self.rate) for s, a, b in tier] for tier in (phones, words)]
        return wave, *seconds

    def pronounce(self, text: str) -> list[str]:
        """The phones of a text, by espeak-ng's dictionary and rules."""
        return [phone.symbol for phone in self._synthesise(text)[1]]

    def _synthesise(self, text: str) -> tuple[np.ndarray, list[Interval], dict[int, int]]:
        """(samples, phones, number of a word -> its start), in samples."""
        self._samples, self._events = [], []
        # Without the invisible spaces "in the", "of a", ... are one word to espeak, with one event.
        spoken = text.replace(" ", " \N{ZERO WIDTH SPACE}")
        raw = spoken.encode()
        status = self._lib.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, _UTF8 | _END_PAUSE, None, None)
        if status != 0 or not self._samples:
            raise SpeechlibError(f"espeak-ng could not say {text!r}")
        wave = np.concatenate(self._samples)
        phones = _phones([(e.sample, e.name) for e in self._events if e.type == _PHONEME], len(wave))
        starts: dict[int, int] = {}
        for event in self._events:
            if event.type == _WORD:  # version 1.51 repeats some words' events: the first counts
                starts.setdefault(spoken[: event.text_position - 1].count(" "), event.sample)
        return wave, phones, starts

    def _collect(self, samples, count, events) -> int:
        if samples and count:
            self._samples.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type:
            event = events[i]
            name = bytes(event.id.string).split(b"\0")[0].decode() if event.type == _PHONEME else ""
            self._events.append(_Said(event.type, event.text_position, event.sample, name))
            i += 1
        return 0


# ---------------------------------------------------------------------------------------------------------------------

_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8, _END_PAUSE = 2, 0x8001, 0x0001, 0x1000  # espeak's speak_lib.h
_WORD, _PHONEME = 1, 7


class _Said(NamedTuple):
    type: int
    text_position: int
    sample: int
    name: str


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _Id),
    ]  # fmt: skip


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _phones(events: list[tuple[int, str]], n_samples: int) -> list[Interval]:
    """Phones from (start, espeak's name): each lasts to the next; zero-length ones vanish, equal pauses become one."""
    starts = [(0, "_"), *events, (n_samples, "_")]
    phones: list[Interval] = []
    for (start, name), (end, _) in zip(starts, starts[1:]):
        bare = name.strip().lstrip("',%=")
        symbol = PHONES.get(bare, bare)
        if end <= start:
            continue
        if symbol == "sil" and phones and phones[-1].symbol == "sil":
            phones[-1] = phones[-1]._replace(end=end)
        else:
            phones.append(Interval(symbol, start, end))
    return phones


def _words(starts: dict[int, int], tokens: list[str], phones: list[Interval]) -> list[Interval]:
    """Each word from its first phone to its last: the phones between its start and the next one's, pauses left out."""
    if sorted(starts) != list(range(len(tokens))):
        raise SpeechlibError(f"espeak-ng reports {len(starts)} words of {len(tokens)}: {' '.join(tokens)!r}")
    ends = [*[starts[i] for i in range(1, len(tokens))], phones[-1].end]
    words = []
    for i, (token, end) in enumerate(zip(tokens, ends)):
        spoken = [phone for phone in phones if starts[i] <= phone.start < end and phone.symbol != "sil"]
        if spoken:
            words.append(Interval(token.strip(".,?!").lower(), spoken[0].start, spoken[-1].end))
    return words


@cache
def _speller() -> Espeak:
    return Espeak(VOICES["max"])


def _speak_in_process(speaker: str, root: Path):
    """`speak` in a fresh interpreter (not a forked or spawned copy: notebooks and unguarded scripts build this too)."""
    code = "import json, sys; from speechlib.corpora import toy; print(json.dumps(toy.speak(*sys.argv[1:])))"
    run = subprocess.run([sys.executable, "-c", code, speaker, str(root)], cwd=ROOT, capture_output=True, text=True)
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
        raise SpeechlibError(f"espeak-ng failed with the voice {speaker}: {last}")
    return json.loads(run.stdout.splitlines()[-1])
