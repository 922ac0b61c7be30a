"""A listening test on disk: clips without names, the key apart, and votes that stay where they were given.

    outputs/runs/<run>/listening/<name>/
        sheet.csv          item, the two files: what a listener gets, with the clips
        01_A.wav 01_B.wav  the clips, equally loud
        key.json           what was A and what was B of each item: not for listeners
        votes.csv          listener, item, choice; one line per vote, the last one of an item counts

The folder is made once. Whoever asks for the same test again finds its clips and its votes, whatever they would have
come to now: votes are about the clips that were heard. Another test is refused.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import audio, files
from ..errors import BadFile, SpeechlibError
from ..evaluation import preference
from ..evaluation.preference import SIDES, Preference, Vote


@dataclass(frozen=True)
class ListeningTest:
    folder: Path
    sample_rate: int
    order: tuple[tuple[str, str], ...]  # (what A is, what B is) of each item: the key

    def __len__(self) -> int:
        return len(self.order)

    def clips(self, item: int) -> dict[str, np.ndarray]:
        """A and B (S,) of item 1, 2, ..."""
        return {side: audio.read(self.folder / _name(item, side), self.sample_rate)[0] for side in SIDES}

    def votes(self) -> list[Vote]:
        """All that were given, the changed ones left out. Raises BadFile for a line that is no vote."""
        path = self.folder / "votes.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))[1:]
        found = []
        for number, line in enumerate(lines, 2):
            if len(line) != 3 or not line[1].isdigit() or line[2] not in SIDES or not 1 <= int(line[1]) <= len(self):
                raise BadFile(path, f"{line} is no vote: listener, an item of 1..{len(self)}, A or B", f"line {number}")
            found.append(Vote(line[0], int(line[1]), line[2]))
        return preference.latest(found)

    def vote(self, listener: str, item: int, choice: str) -> None:
        """Write one down. Raises SpeechlibError for an item or a choice that there is not."""
        if not 1 <= item <= len(self) or choice not in SIDES:
            raise SpeechlibError(f"item {item}, choice {choice!r}: items are 1..{len(self)}, choices A or B")
        path = self.folder / "votes.csv"
        begun = path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if not begun:
                writer.writerow(Vote._fields)
            writer.writerow((listener, item, choice))

    def let_vote(self, listener: str, judge: Callable[[dict[str, np.ndarray], int], str]) -> Preference:
        """All items that `listener`, a machine, has not judged yet are judged by it: judge({A: wave, B: wave}, item).
        Its score."""
        done = {vote.item for vote in self.votes() if vote.listener == listener}
        for item in range(1, len(self) + 1):
            if item not in done:
                self.vote(listener, item, judge(self.clips(item), item))
        return self.result(listener)

    def result(self, listener: str | None = None) -> Preference:
        """The score of all votes, or of one listener's. Raises SpeechlibError where there are none."""
        return preference.score(self.order, [v for v in self.votes() if listener in (None, v.listener)])


def lay_out(
    folder: Path, pairs: dict[str, Sequence], sample_rate: int, n_items: int = preference.ITEMS, seed: int = 0
) -> ListeningTest:
    """A test of two kinds of clips {name: waves (S,)}: item k is the k-th of each, or of n_items more than there are,
    one of them again.

    Raises SpeechlibError where a name has no clips, or they are not as many, BadFile where the folder holds another
    test.
    """
    names = tuple(pairs)
    if len(names) != 2 or len({len(waves) for waves in pairs.values()}) != 1 or not len(pairs[names[0]]):
        counts = {name: len(waves) for name, waves in pairs.items()}
        raise SpeechlibError(f"clips {counts}: wanted two names with as many clips each, and at least one")
    order = tuple(preference.blind(names, n_items, seed))
    waves = {name: [np.asarray(wave, dtype=np.float32) for wave in given] for name, given in pairs.items()}
    key = {"format": 1, "sample_rate": sample_rate, "seed": seed, "order": [list(sides) for sides in order]}
    key["samples"] = {name: [len(wave) for wave in given] for name, given in waves.items()}
    test = ListeningTest(Path(folder), sample_rate, order)
    if (test.folder / "key.json").exists():
        if files.read_json(test.folder / "key.json") != key:
            raise BadFile(test.folder, "holds another test: its votes are not about these clips. Take another name")
        return test
    test.folder.mkdir(parents=True, exist_ok=True)
    rows = [("item", *SIDES)]
    for item, sides in enumerate(order, 1):
        clips = [waves[name][(item - 1) % len(waves[name])] for name in sides]
        for side, clip in zip(SIDES, audio.match_loudness(clips)):
            audio.write(test.folder / _name(item, side), clip, sample_rate)
        rows.append((item, *(_name(item, side) for side in SIDES)))
    with (test.folder / "sheet.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    files.write_json(test.folder / "key.json", key)  # the last: a folder without it is made again
    return test


def _name(item: int, side: str) -> str:
    return f"{item:02}_{side}.wav"
