"""The 19 entries of ZeroSpeech 2020, task 2019, as published: other data, other listeners; a map, not a race.

From zerospeech/leaderboard-archive, scores of the part "test". ABX (error in per cent) and bit rate (bits per second)
are counted by machines, and can be counted again where the data are. MOS (naturalness, 1 to 5, higher is better), CER
(share of characters that listeners wrote down wrongly) and similarity (to the target's voice, 1 to 5) are of people.
"""

from collections.abc import Mapping
from pathlib import Path

from ..corpora.zerospeech import LANGUAGES
from ..errors import UnknownName

MEASURED, HUMAN = ("abx", "bitrate"), ("mos", "cer", "similarity")
PUBLISHED = "published, other data"
NOT_REPRODUCIBLE = "listeners, not reproducible"


def table(ours: Mapping[str, Mapping[str, float]] = {}, data: str = "ours"):
    """A pandas.DataFrame: a row per entry, columns entry, system, short, data and <language>_<score>; NaN where none.

    `ours` {name: {"english_abx": ..., ...}} is put below it, `data` says what it was measured on. Raises UnknownName
    for a score that is none of the columns.
    """
    import pandas

    found = pandas.read_csv(Path(__file__).with_name("leaderboard.csv"))
    found.insert(3, "data", PUBLISHED)
    scores = list(found.columns[4:])
    for name, row in ours.items():
        if unknown := [score for score in row if score not in scores]:
            raise UnknownName("score", unknown[0], scores)
        found.loc[len(found)] = {"entry": len(found), "system": name, "short": name, "data": data, **row}
    return found


def shown(of, language: str = "english"):
    """One language of `table`, to be read: a name and its scores, the best ABX first, human columns marked so."""
    import pandas

    if language not in LANGUAGES:
        raise UnknownName("language", language, LANGUAGES)
    kept = {(f"{language}_{score}"): ("counted", score) for score in MEASURED}
    kept |= {(f"{language}_{score}"): (NOT_REPRODUCIBLE, score) for score in HUMAN}
    found = of.sort_values(f"{language}_abx", kind="stable")[["system", "data", *kept]].set_index(["system", "data"])
    return found.set_axis(pandas.MultiIndex.from_tuples(kept.values()), axis=1)


def points(of, language: str = "english") -> dict[str, tuple[float, float]]:
    """Short name -> (bits per second, ABX error), for figures.leaderboard: entries that have both."""
    rows = of.dropna(subset=[f"{language}_bitrate", f"{language}_abx"])
    return {
        name: (float(bits), float(error))
        for name, bits, error in zip(rows["short"], rows[f"{language}_bitrate"], rows[f"{language}_abx"])
    }
