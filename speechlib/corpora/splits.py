"""Which utterances train and which test: seeded, independent of the order they come in, kept as a file of ids."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import BadFile, SpeechlibError, UnknownName
from ..files import read_json, write_json

TRAIN_VAL = {"train": 0.8, "val": 0.2}
WAYS = ("utterance", "speaker", "text", "stratified")


def split(
    cuts: Iterable, parts: dict[str, float] | None = None, by: str = "utterance", seed: int = 0
) -> dict[str, list[str]]:
    """Utterance ids of every part, sorted; `parts` are shares that sum to 1 (default 80/20).

    by="utterance" shuffles utterances, so parts share speakers. by="speaker" shuffles speakers, so no speaker is in two
    parts; the sexes alternate in the shuffled order, so every part has about the mixture of the whole. by="stratified"
    shuffles utterances so that every part has about the same share of every speaker. by="text" shuffles sentences, so
    no sentence is in two parts, whoever reads it; they are compared without case and punctuation, and what has no text
    is a sentence of its own.
    Raises SpeechlibError for shares that do not sum to 1 and when a part would stay empty.
    """
    parts = TRAIN_VAL if parts is None else dict(parts)
    if not parts or min(parts.values()) <= 0 or abs(sum(parts.values()) - 1) > 1e-6:
        raise SpeechlibError(f"the parts of a split must be positive and sum to 1, got {parts}")
    if by not in WAYS:
        raise UnknownName("way to split", by, WAYS)
    members: dict[str, list[str]] = {}  # what is shuffled -> utterance ids
    group: dict[str, str] = {}  # and what it is spread by
    for cut in cuts:
        supervision = cut.supervisions[0]
        words = " ".join(re.findall(r"\w+", (getattr(supervision, "text", None) or "").lower()))
        key = {"speaker": supervision.speaker, "text": words or cut.id}.get(by, cut.id)
        members.setdefault(key, []).append(cut.id)
        group[key] = {"speaker": supervision.gender, "stratified": supervision.speaker}.get(by) or ""
    order = _shuffled(sorted(members), group, np.random.default_rng(seed))
    edges = _edges(parts, len(order), by if by in ("speaker", "text") else "utterance")
    return {
        name: sorted(utterance for key in order[a:b] for utterance in members[key])
        for name, a, b in zip(parts, edges, edges[1:])
    }


def save(path: str | Path, ids: dict[str, list[str]]) -> None:
    """A split as JSON, {part: [utterance ids]}, written whole or not at all."""
    write_json(path, ids)


def load(path: str | Path) -> dict[str, list[str]]:
    """A split that `save` wrote. Raises BadFile where it is something else or an id is in two parts."""
    ids = read_json(path)
    everything = []
    for part in ids.values() if isinstance(ids, dict) else [None]:
        if not isinstance(part, list) or not all(isinstance(utterance, str) for utterance in part):
            raise BadFile(path, "is not a split: expected {part: [utterance ids]}")
        everything += part
    if len(set(everything)) < len(everything):
        twice = [utterance for utterance, times in Counter(everything).items() if times > 1]
        raise BadFile(path, f"has {len(twice)} ids more than once, such as {', '.join(twice[:3])}")
    return ids


def _shuffled(keys: list[str], group: dict[str, str], generator: np.random.Generator) -> list[str]:
    """All keys in a seeded order in which every group (a gender, a speaker) is spread evenly."""
    places, of_group = [], {}
    for key in keys:
        of_group.setdefault(group[key], []).append(key)
    for value, members in sorted(of_group.items()):
        shuffled = [members[i] for i in generator.permutation(len(members))]
        places += [((i + 0.5) / len(members), value, key) for i, key in enumerate(shuffled)]
    return [key for _, _, key in sorted(places)]


def _edges(parts: dict[str, float], n: int, by: str) -> list[int]:
    """Where each part begins and ends among n keys: shares rounded, yet nothing empty."""
    if n < len(parts):
        what = "one speaker" if (n, by) == (1, "speaker") else f"{n} {by}s"
        advice = " Split by utterance instead." if by != "utterance" else ""
        raise SpeechlibError(f"{what} cannot be split into {len(parts)} parts ({', '.join(parts)}) by {by}.{advice}")
    edges = [0, *(round(n * share) for share in np.cumsum(list(parts.values())))]
    for i in range(1, len(edges)):  # at least one each, from the left ...
        edges[i] = max(edges[i], edges[i - 1] + 1)
    edges[-1] = n
    for i in range(len(edges) - 2, 0, -1):  # ... and from the right
        edges[i] = min(edges[i], edges[i + 1] - 1)
    return edges
