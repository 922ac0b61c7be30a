"""Phone and word times for recordings that have only a transcript: forced alignment by PocketSphinx (extra `align`).

The acoustic model and dictionary of the pocketsphinx wheel are used (US English, BSD licence): 39 CMU phones and SIL in
10 ms steps. Words that its dictionary lacks are pronounced by espeak-ng's rules and remarked upon. Starts of phones are
good to 10-20 ms (median; 95 % within 70 ms) on clear American speech: a machine's opinion, not a gold standard.
"""

import re
from pathlib import Path

import numpy as np

from .. import audio
from ..errors import BadFile, SpeechlibError
from ..files import atomic, data_dir, fingerprint
from . import labels
from .assemble import Corpus, Skipped
from .labels import Interval, Labels

RATE, STEP = 16000, 0.01  # of the acoustic model
# The names of toy.PHONES that are not among the 39 phones of the dictionary, spelt with those.
_CMU = {
    "ax": "AH", "axr": "ER", "dx": "T", "el": "AH L", "aar": "AA R", "aor": "AO R", "ehr": "EH R", "ihr": "IH R",
    "uhr": "UH R", "ayr": "AY ER",
}  # fmt: skip


def align(corpus: Corpus, progress=None) -> Corpus:
    """The corpus with alignment {"phone", "word"} for every utterance that has text but no phones yet.

    Alignments are kept as TextGrids under data/alignments/<corpus>/ and found again; a changed recording or text is
    aligned anew. An utterance that cannot be aligned stays as it was, and `.skipped` tells why; it also names the words
    that were not in the dictionary. Raises SpeechlibError where pocketsphinx is not installed.
    """
    from lhotse import CutSet
    from lhotse.utils import fastcopy

    aligner = Aligner()
    wanted = [cut for cut in corpus.cuts if _lacks_phones(cut)]
    aligned, notes = {}, []
    for done, cut in enumerate(wanted, 1):
        said = cut.supervisions[0]
        try:
            tiers, unknown = _cached(aligner, cut, data_dir() / "alignments" / corpus.name)
            alignment = {**(said.alignment or {}), **labels.to_alignment(tiers)}
            aligned[cut.id] = fastcopy(cut, supervisions=[fastcopy(said, alignment=alignment)])
            if unknown:
                words = ", ".join(unknown)
                notes.append(Skipped(cut.id, f"aligned; not in the dictionary, so pronounced by espeak-ng: {words}"))
        except BadFile as error:
            notes.append(Skipped(error.path, f"not aligned: {error.reason}"))
        if progress:
            progress(done, len(wanted), cut.id)
    cuts = CutSet.from_cuts(aligned.get(cut.id, cut) for cut in corpus.cuts)
    return Corpus(corpus.name, cuts, (*corpus.skipped, *notes))


class Aligner:
    """PocketSphinx with its US English model; every utterance is aligned as if it were the first."""

    def __init__(self):
        try:
            import pocketsphinx
        except ImportError:
            raise SpeechlibError(
                "forced alignment needs PocketSphinx, which is not installed: `pip install pocketsphinx` "
                "(or speechlib's extra: `pip install -e .[align]`)"
            ) from None
        # bestpath gives words fewer frames than their phones need, and the second pass fails (pocketsphinx #339, #500).
        # The beams are wide because the text is given: there is little to search, and unusual voices are not lost.
        options = dict(bestpath=False, beam=1e-200, wbeam=1e-200, pbeam=1e-200)
        self._start = lambda: pocketsphinx.Decoder(lm=None, loglevel="FATAL", **options)
        self._decoder = self._start()
        self._spelt: dict[str, str] = {}  # words that are not in the dictionary -> phones by espeak-ng

    def words(self, text: str) -> list[str]:
        """The words of a transcript as in the dictionary; hyphenated ones in parts where it lacks the whole."""
        words = []
        for token in re.findall(r"[\w'’-]*\w[\w'’-]*", text.lower().replace("’", "'")):
            token = token.strip("-")
            bare = token if self._known(token) else token.strip("'")
            words += [bare] if self._known(bare) else [part for part in bare.split("-") if part]
        return words

    def unknown(self, words: list[str]) -> list[str]:
        """Those that the dictionary lacks, once each."""
        return [word for word in dict.fromkeys(words) if word in self._spelt or not self._known(word)]

    def align(self, wave: np.ndarray, words: list[str], name: str) -> Labels:
        """The phones and words of a wave (S,) at RATE. Raises BadFile (`name`) where they do not fit the recording."""
        for word in self.unknown(words):
            if word not in self._spelt:
                self._spelt[word] = _pronounce(word, name)
                self._decoder.add_word(word, self._spelt[word], True)
        # Digital silence has no logarithm: synthetic speech needs a last bit of noise, and other speech bears it.
        noise = np.random.default_rng(0).integers(-2, 3, len(wave))
        samples = (np.clip(wave, -1, 1) * 32000 + noise).astype(np.int16).tobytes()
        try:
            self._decoder.reinit_feat()  # else the running mean of earlier utterances moves the boundaries of this one
            self._decoder.set_align_text(" ".join(words))
            self._process(samples)  # words
            self._decoder.set_alignment()
            self._process(samples)  # phones within them
            return _tiers(self._decoder.get_alignment())
        except RuntimeError as error:
            self._decoder, self._spelt = self._start(), {}  # a decoder that failed stays in the middle of its utterance
            reason = "its words could not be found in it: another text, or too noisy?"
            raise BadFile(name, f"{reason} (PocketSphinx: {error})") from None

    def _known(self, word: str) -> bool:
        return bool(word) and self._decoder.lookup_word(word) is not None

    def _process(self, samples: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(samples, full_utt=True)
        self._decoder.end_utt()


# ---------------------------------------------------------------------------------------------------------------------


def _lacks_phones(cut) -> bool:
    said = cut.supervisions[0]
    return bool(said.text) and "phone" not in (said.alignment or {})


def _cached(aligner: Aligner, cut, folder: Path) -> tuple[Labels, list[str]]:
    """(tiers, unknown words) of a cut, from its TextGrid if there is one for this recording and text."""
    source, text = Path(cut.recording.sources[0].source), cut.supervisions[0].text
    words = aligner.words(text)
    if not words:
        raise BadFile(cut.id, f"its text has no words: {text!r}")
    unknown = aligner.unknown(words)
    state = source.stat() if source.is_file() else None
    key = fingerprint(str(source), state and [state.st_size, state.st_mtime_ns], cut.start, cut.duration, words)
    name = re.sub(r"[^\w.-]", "_", cut.id)
    path = folder / f"{name}-{key}.TextGrid"
    if not path.is_file():
        wave, _ = audio.read(source, RATE, cut.start, cut.duration)
        tiers, _ = labels.fit(aligner.align(wave, words, cut.id), cut.duration)
        with atomic(path) as part:
            labels.write_textgrid(part, tiers, cut.duration)
    return labels.fit(labels.read_textgrid(path), cut.duration)[0], unknown


def _tiers(alignment) -> Labels:
    """PocketSphinx's words of phones, in steps of 10 ms, as tiers; and(2) is the second pronunciation of "and"."""
    words, phones = [], []
    for word in alignment:
        start, end = word.start * STEP, (word.start + word.duration) * STEP
        name = re.sub(r"\(\d+\)$", "", word.name)
        if name not in labels.SILENCES:
            words.append(Interval(name, start, end))
        phones += [Interval(p.name, p.start * STEP, (p.start + p.duration) * STEP) for p in word]
    return {"phone": phones, "word": words}


def _pronounce(word: str, name: str) -> str:
    """The CMU phones of a word by espeak-ng's rules. Raises BadFile (`name`) where espeak-ng cannot be had."""
    from . import toy

    try:
        phones = toy.pronounce(word)
    except SpeechlibError as error:
        raise BadFile(name, f"{word!r} is not in the dictionary, and espeak-ng does not help: {error}") from None
    spelt = " ".join(_CMU.get(phone, phone.upper()) for phone in phones if phone != "sil")
    if not re.fullmatch(r"[A-Z ]+", spelt):
        raise BadFile(
            name, f"{word!r} is not in the dictionary, and espeak-ng's phones for it are not English: {spelt!r}"
        )
    return spelt
