"""ZeroSpeech: speech to be learned without any text. "TTS without T" of 2019 and 2020, and track 1 of 2017.

Source: https://download.zerospeech.com (archives zerospeech2020.zip, .z01, .z02, against the password that comes with
registration); Dunbar et al., Interspeech 2019, arXiv 1904.11469; Interspeech 2020, arXiv 2010.05967.
Licence: of the challenge, on registration. Any recordings in this layout are read as well; `lay_out` makes one.
Layout: 2019, 2020   2019/english/train/unit/S015_0361841101.wav, train/voice/V001_0000000047.wav, test/S002_*.wav,
                     synthesis.txt (`path target`), ABXTasks/english.item; share/2019/english/*_filelist.txt
        2017         english/train/*.wav, english/test/1s|10s|120s/*.wav

`root` says which recordings are meant. A language's folder, or any above it that holds no other language, is what may
be trained on; the folder of a part is that part:

    corpora.load("zerospeech", "data/2019/english")              train/unit and train/voice: the map of speakers
    corpora.load("zerospeech", "data/2019/english/train/voice")  the voices to speak with
    corpora.load("zerospeech", "data/2019/english/test")         what is judged, of other speakers

A speaker is what stands before the "_" of a name. custom holds language, part ("train/unit"), split and name.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import soundfile

from .. import audio
from ..errors import BadFile, SpeechlibError
from ..files import atomic_folder, fingerprint
from . import intervals, labels
from .assemble import AUDIO, Corpus, Skipped, Utterance, assemble
from .items import NoItems, items_from, read_items, write_items
from .labels import Interval

if TYPE_CHECKING:
    import pandas

RATE = 16_000
LANGUAGES = ("english", "surprise")  # of 2019 and 2020; both have to be in a submission
LENGTHS = ("1s", "10s", "120s")  # of the test files of 2017
_TRAIN, _TEST = ("train/unit", "train/voice", "train"), (*(f"test/{length}" for length in LENGTHS), "test")
_INSIDE = ("train", "test", "unit", "voice", *LENGTHS)


class Conversion(NamedTuple):
    """One line of synthesis.txt: what is said in the utterance `source`, said by `target`."""

    source: str
    target: str

    @property
    def name(self) -> str:
        """Of the recording to be made, without its suffix: V002_0379088085 for S002_0379088085 said by V002."""
        return f"{self.target}_{self.source.partition('_')[2] or self.source}"


class Task(NamedTuple):
    """What has to be handed in for one language; utterances and recordings by name, without suffix."""

    edition: str  # "2019" (and 2020, which took the same data) or "2017"
    language: str
    embeddings: tuple[str, ...]  # an embedding of each of these
    bitrate: dict[str, float]  # utterance -> seconds: what the bit rate is measured on
    waves: tuple[str, ...]  # and these recordings
    synthesis: tuple[Conversion, ...]  # how `waves` come about, where synthesis.txt is there
    is_official: bool  # whether by the lists of the challenge, or by all that lies in test/


def load(root: Path) -> Corpus:
    """What `root` means (see above), with the phones of the item file where it has them.

    Raises SpeechlibError where several languages lie below `root`, and where there is none: then it says where the
    recordings are to be had.
    """
    home, inside = _home(root)
    parts = [part for part in (*_TRAIN, *_TEST) if part.startswith(inside or "train")]
    utterances = [utterance for part in parts for utterance in _utterances(home, part)]
    notes = []
    if not inside and (judged := sum(len(_recordings(home / part)) for part in _TEST)):
        notes.append(Skipped(str(home / "test"), f"{judged} recordings to judge by, not to train on: read this folder"))
    corpus = assemble("zerospeech", utterances, notes, f"{', '.join(parts)}/*.wav under {home}")
    found = item_file(home)
    try:
        return _with_phones(corpus, read_items(found)) if found else corpus
    except BadFile as error:
        place = f" ({error.place})" if error.place else ""
        note = Skipped(error.path, f"items left out, recordings kept without phones: {error.reason}{place}")
        return corpus._replace(skipped=(*corpus.skipped, note))


def task(root: str | Path) -> Task:
    """What has to be handed in for the language at `root`: by the official lists, else all of its test files.

    `root` is a language's folder as for `load`, or a folder of lists (required_filelist.txt, ...) alone. Lists are
    looked for in share/<edition>/<language> beside the data. Raises BadFile for a list that cannot be read.
    """
    root = Path(root)
    if (root / "required_filelist.txt").is_file():
        return _by_lists(root, root.parent.name, root.name, ())
    home, _ = _home(root)
    edition = edition_of(home)
    spoken = read_synthesis(home / "synthesis.txt") if (home / "synthesis.txt").is_file() else ()
    for above in (home, *list(home.parents)[:3]):
        if (above / "share" / edition / home.name / "required_filelist.txt").is_file():
            return _by_lists(above / "share" / edition / home.name, edition, home.name, spoken)
    names = {u.id: u.path for part in _TEST for u in _utterances(home, part)}
    seconds = {name: soundfile.info(str(path)).duration for name, path in names.items()}
    return Task(edition, home.name, tuple(names), seconds, tuple(s.name for s in spoken), spoken, False)


def tasks(root: str | Path) -> list[Task]:
    """`task` of every language at or below `root`."""
    return [task(home) for home in _languages(Path(root))] or [task(root)]


def deal(utterances: Sequence[str], targets: Sequence[str], n: int = 8) -> tuple[Conversion, ...]:
    """`n` of the utterances, from all over the list, to be said by the targets in turn: where there is no list."""
    sources = utterances[:: max(1, len(utterances) // max(n, 1))][:n]
    return tuple(Conversion(name, targets[k % len(targets)]) for k, name in enumerate(sources))


def edition_of(home: Path) -> str:
    """ "2019", or "2017" where the test files of a language's folder are sorted by length."""
    return "2017" if any((home / "test" / length).is_dir() for length in LENGTHS) else "2019"


def read_synthesis(path: Path) -> tuple[Conversion, ...]:
    """The lines `path target` of a synthesis.txt. Raises BadFile with the line's number where it is something else."""
    spoken = []
    for number, line in enumerate(_lines(path), 1):
        fields = line.split()
        if len(fields) != 2:
            raise BadFile(path, f"expected `path target`, found {line!r}", f"line {number}")
        spoken.append(Conversion(Path(fields[0]).name.removesuffix(".wav"), fields[1]))
    return tuple(spoken)


def item_file(home: str | Path) -> Path | None:
    """The items (corpora.items) of the language whose folder is `home`, in ABXTasks/ there or up to two levels above
    it; None where there is no such file: that of the surprise language was never given out."""
    home = Path(home)
    places = (folder / "ABXTasks" / f"{home.name}.item" for folder in (home, home.parent, home.parent.parent))
    return next((path for path in places if path.is_file()), None)


def lay_out(
    corpus: Corpus,
    root: str | Path,
    language: str = "toy",
    voices: int = 2,
    judged: int = 4,
    utterances: int = 6,
    spoken: int = 8,
) -> Path:
    """Another corpus in the layout of 2019, as a new folder `root`: for trials without the licence.

    Of its speakers, by name, the first `voices` become V001, ..., the last `judged` S101, ... of the test, and those
    between S001, ... of train/unit, each with the first `utterances`. All test utterances are in the lists; `spoken` of
    them are to be said by the voices in turn; phones between phones, where there are some, go into an item file.
    Returns the language's folder. Raises SpeechlibError for too few speakers, and where `root` holds something.
    """
    root = Path(root)
    if (learned := len({cut.supervisions[0].speaker for cut in corpus.cuts}) - voices - judged) > 100:
        raise SpeechlibError(
            f"{learned} speakers to learn from would take names of the test's, S101 and on: at most 100, leave some out"
        )
    by_speaker: dict[str, list] = {}
    for cut in corpus.cuts:
        by_speaker.setdefault(cut.supervisions[0].speaker, []).append(cut)
    if voices < 1 or len(by_speaker) <= voices + judged:
        wanted = f"{voices} voices (at least 1), {judged} to judge by, and some to learn from"
        raise SpeechlibError(f"{corpus.name} has {len(by_speaker)} speakers, the layout wants {wanted}")
    if root.exists() and any(root.iterdir()):
        raise SpeechlibError(f"{root} is not empty: name a new folder for the layout")
    with atomic_folder(root) as part:
        home, judged_phones, seconds = part / "2019" / language, [], {}
        for i, name in enumerate(sorted(by_speaker)):
            place, speaker = "train/unit", f"S{i - voices + 1:03d}"
            if i < voices:
                place, speaker = "train/voice", f"V{i + 1:03d}"
            elif i >= len(by_speaker) - judged:
                place, speaker = "test", f"S{101 + i - len(by_speaker) + judged}"
            for cut in sorted(by_speaker[name], key=lambda cut: cut.id)[:utterances]:
                made = f"{speaker}_{int(fingerprint(cut.id), 16) % 10**10:010d}"
                wave, _ = audio.read(cut.recording.sources[0].source, RATE, cut.start, cut.duration)
                audio.write(home / place / f"{made}.wav", wave, RATE)
                if place == "test":
                    seconds[made] = len(wave) / RATE
                    judged_phones.append((made, speaker, intervals(cut)))
        _write_lists(part, language, seconds, deal(list(seconds), [f"V{i + 1:03d}" for i in range(voices)], spoken))
        with suppress(NoItems):
            write_items(items_from(judged_phones), part / "2019" / "ABXTasks" / f"{language}.item")
    return root / "2019" / language


# ---------------------------------------------------------------------------------------------------------------------


def _home(root: Path) -> tuple[Path, str]:
    """(folder of the language, "" or the part of it that `root` is). Raises SpeechlibError where that is not one."""
    home, inside = root, []
    while home.name in _INSIDE and not _is_language(home):
        home, inside = home.parent, [home.name, *inside]
    if inside and _is_language(home):
        return home, "/".join(inside)
    found = _languages(root)
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise SpeechlibError(f"corpus 'zerospeech': {root} holds several languages, name the folder of one: {names}")
    if not found:
        raise SpeechlibError(
            f"corpus 'zerospeech' is empty: looked for <language>/train/unit/*.wav, train/voice/*.wav and test/*.wav "
            f"under {root}. The recordings are licensed: https://download.zerospeech.com gives them against the "
            f"password that comes with registration at https://zerospeech.com. Other recordings in that layout do as "
            f"well; `corpora.zerospeech.lay_out` makes it of any corpus"
        )
    return found[0], ""


def _languages(root: Path) -> list[Path]:
    """`root` where it is a language's folder, else those up to three levels below it."""
    if _is_language(root):
        return [root]
    levels = (sorted(filter(_is_language, root.glob(pattern))) for pattern in ("*", "*/*", "*/*/*"))
    return next(filter(None, levels), [])


def _is_language(folder: Path) -> bool:
    return any((folder / part).is_dir() for part in ("train", "test"))


def _recordings(folder: Path) -> list[Path]:
    """Those in the folder itself, not below it."""
    files = sorted(folder.iterdir()) if folder.is_dir() else ()
    return [path for path in files if path.suffix.lower() in AUDIO and not path.name.startswith(".")]


def _utterances(home: Path, part: str) -> Iterable[Utterance]:
    """The utterances of a part. Test files of 2017 have one name in every length: their ids begin with it."""
    length = part.partition("/")[2] if part.startswith("test/") else ""
    for path in _recordings(home / part):
        name = path.stem
        speaker, underscore, _ = name.partition("_")
        custom = {"language": home.name, "part": part, "split": part.partition("/")[0], "name": name}
        yield Utterance(
            f"{length}_{name}" if length else name, path, speaker if underscore else "unknown", custom=custom
        )


def _with_phones(corpus: Corpus, items: "pandas.DataFrame") -> Corpus:
    from lhotse import CutSet
    from lhotse.utils import fastcopy

    phones: dict[str, list[Interval]] = {}
    for item in items.itertuples(index=False):
        phones.setdefault(item.file, []).append(Interval(item.phone, item.onset, item.offset))

    def phoned(cut):
        if cut.id not in phones:
            return cut
        alignment = labels.to_alignment(labels.fit({"phone": phones[cut.id]}, cut.duration)[0])
        return fastcopy(cut, supervisions=[fastcopy(cut.supervisions[0], alignment=alignment)])

    return corpus._replace(cuts=CutSet.from_cuts(map(phoned, corpus.cuts)))


def _by_lists(folder: Path, edition: str, language: str, spoken: tuple[Conversion, ...]) -> Task:
    """The task of the three lists in a folder; embedding_filelist.txt may be missing."""
    required = [Path(line.split()[0]).name for line in _lines(folder / "required_filelist.txt")]
    texts = [name.removesuffix(".txt") for name in required if name.endswith(".txt")]
    listed = folder / "embedding_filelist.txt"
    texts += _durations(listed) if listed.is_file() else []
    waves = [name.removesuffix(".wav") for name in required if name.endswith(".wav")] + [s.name for s in spoken]
    bitrate = _durations(folder / "bitrate_filelist.txt")
    return Task(edition, language, tuple(dict.fromkeys(texts)), bitrate, tuple(dict.fromkeys(waves)), spoken, True)


def _durations(path: Path) -> dict[str, float]:
    """Utterance -> seconds, of lines `name.txt seconds`."""
    seconds = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            name, length = line.split()
            seconds[name.removesuffix(".txt")] = float(length)
        except ValueError:
            raise BadFile(path, f"expected `name.txt seconds`, found {line!r}", f"line {number}") from None
    return seconds


def _lines(path: Path) -> list[str]:
    """The lines of a list that hold something."""
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(path, f"cannot be read as a list ({error})") from None


def _write_lists(root: Path, language: str, seconds: dict[str, float], said: Sequence[Conversion]) -> None:
    lists, home = root / "share" / "2019" / language, root / "2019" / language
    wanted = [*(f"{name}.txt" for name in seconds), *(f"{one.name}.wav" for one in said)]
    _write(lists / "required_filelist.txt", [f"{language}/test/{name}" for name in wanted])
    for kind in ("embedding", "bitrate"):
        _write(lists / f"{kind}_filelist.txt", [f"{name}.txt {length:.6f}" for name, length in seconds.items()])
    _write(home / "synthesis.txt", [f"{language}/test/{one.source} {one.target}" for one in said])


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
