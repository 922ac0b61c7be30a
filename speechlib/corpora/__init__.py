"""Corpora: one file each, saying where the recordings come from, their licence and their layout.

    corpus = corpora.load("toy")           # a Corpus: lhotse cuts, one per utterance, and what had to be skipped
    corpora.load("vctk", "~/data/VCTK-Corpus")
    corpora.describe(corpus)               # a table of speakers

A cut is one whole recording with one supervision: speaker, gender "F"/"M"/None, text or None, and
alignment {"phone": [...], "word": [...]} in seconds where they are known.
"""

import re
from importlib import import_module
from pathlib import Path

from ..errors import SpeechlibError, UnknownName
from ..files import data_dir, resolve
from .assemble import Corpus, Skipped
from .labels import Interval

__all__ = ["Corpus", "Skipped", "catalogue", "describe", "download", "intervals", "inventory", "load", "names"]

_NAMES = ("toy", "vctk", "librispeech", "ljspeech", "timit", "zerospeech", "folder", "manifest")


def names() -> tuple[str, ...]:
    """The corpora that `load` knows."""
    return _NAMES


def load(name: str, root: str | Path | None = None) -> Corpus:
    """The corpus `name`, read from `root` (default: its folder under data/; `~` and `$VARIABLES` are expanded).

    `toy` is made there when it is missing. Files that cannot be used are listed in `.skipped`, never raised; raises
    SpeechlibError when nothing usable is found, saying what was looked for and where.
    """
    return _module(name).load(_root(name, root))


def download(name: str, root: str | Path | None = None, **choice) -> Path:
    """Fetch a public corpus into `root` (checked, resumed, unpacked safely) and return its folder."""
    module = _module(name)
    if not hasattr(module, "download"):
        public = [n for n in _NAMES if hasattr(_module(n), "download")]
        reason = (module.__doc__ or "").strip().splitlines()[0]
        raise SpeechlibError(f"{name} cannot be downloaded ({reason}) There are: {', '.join(public)}.")
    return module.download(_root(name, root), **choice)


def describe(corpus: Corpus):
    """One row per speaker: gender, utterances, minutes, and how many have text, phones and words (pandas.DataFrame)."""
    import pandas

    rows = []
    for cut in corpus.cuts:
        said = cut.supervisions[0]
        tiers = said.alignment or {}
        rows.append(
            (said.speaker, said.gender or "?", cut.duration / 60, bool(said.text), "phone" in tiers, "word" in tiers)
        )
    table = pandas.DataFrame(rows, columns=["speaker", "gender", "minutes", "text", "phones", "words"])
    columns = {"gender": ("gender", "first"), "utterances": ("minutes", "size"), "minutes": ("minutes", "sum")}
    columns |= {name: (name, "sum") for name in ("text", "phones", "words")}
    return table.groupby("speaker", sort=True).agg(**columns)


def intervals(cut, tier: str = "phone") -> list[Interval]:
    """The phones or words of a cut, in seconds from its start; [] where it has none."""
    return [Interval(i.symbol, i.start, i.end) for i in (cut.supervisions[0].alignment or {}).get(tier, ())]


def inventory(corpus: Corpus, tier: str = "phone"):
    """One row per symbol, the most frequent first: times, share, median milliseconds, speakers (pandas.DataFrame)."""
    import pandas

    rows = [
        (symbol, 1000 * (end - start), cut.supervisions[0].speaker)
        for cut in corpus.cuts
        for symbol, start, end in intervals(cut, tier)
    ]
    groups = pandas.DataFrame(rows, columns=[tier, "ms", "speaker"]).groupby(tier)
    table = groups.agg(times=("ms", "size"), milliseconds=("ms", "median"), speakers=("speaker", "nunique"))
    table.insert(1, "share", table.times / max(len(rows), 1))
    return table.sort_values("times", ascending=False, kind="stable")


def catalogue():
    """What `load` can read: contents, licence, source, and whether `download` fetches it (pandas.DataFrame)."""
    import pandas

    rows = {}
    for name in _NAMES:
        text = _module(name).__doc__
        about = {key: re.search(rf"^{key}: (.+?)(?=\n\n|\n[A-Z]\w+:|\Z)", text, re.M | re.S) for key in _ABOUT}
        lines = {key.lower(): " ".join(found[1].split()) if found else "your own" for key, found in about.items()}
        fetched = "yes" if hasattr(_module(name), "download") else "made here" if name == "toy" else "no"
        rows[name] = {"what": text.splitlines()[0], **lines, "download": fetched}
    return pandas.DataFrame.from_dict(rows, orient="index")


_ABOUT = ("Licence", "Source")


def _module(name: str):
    if name not in _NAMES:
        raise UnknownName("corpus", name, _NAMES)
    return import_module(f".{name}", __name__)


def _root(name: str, root) -> Path:
    return resolve(root) if root else data_dir() / name
