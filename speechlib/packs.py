"""A corpus decoded once: 16 bit audio and features as flat, memory-mapped arrays with an index.

    corpus -> shards (some minutes of audio each, in parallel, resumable) -> data/packs/<corpus>-<fingerprint>/
        index.json   config, utterances, speakers, genders, texts, symbols, what was skipped and why
        index.npz    per utterance: speaker, n_samples, n_frames, shift, and where its labels begin
        audio.npy    int16 (total samples,)          frames-<kind>.npy  float32 (total frames, C)
        phones.npy, words.npy                        symbol, start, end in seconds of the packed audio

Features are those of the packed audio: `pack.features(i, kind)` equals `extract(pack.wave(i), pack.config_of(kind))`.
Opening reads the index only. One bad file never stops a pack: it is listed in `pack.skipped` with its reason.
"""

import json
import shutil
import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from filelock import FileLock

from . import audio, configs
from .corpora.labels import SILENCES, Interval
from .errors import BadFile, FullDisk, SpeechlibError, UnknownName
from .features import FULL_SCALE, LOG_MEL, MFCC39, FeatureConfig, Statistics, extract, measure, n_features
from .files import atomic, data_dir, fingerprint, is_full, read_json, resolve, write_json

if TYPE_CHECKING:
    from .corpora import Corpus

FORMAT = 1  # of the files below; another one is another fingerprint
TRIMS = ("none", "silence", "labels")
_SHARD_SECONDS, _SHARD_UTTERANCES = 600.0, 256
LABELS = np.dtype([("symbol", "<i4"), ("start", "<f8"), ("end", "<f8")])
Progress = Callable[..., None]


@dataclass(frozen=True)
class PackConfig:
    """How recordings become a pack.

    trim: "silence" keeps what lies within `top_db` of the loudest frame; "labels" drops the leading phones that mean
    silence, and trims by silence where a recording has no phones (VQ-VAE-Speech). high_pass (hertz, 0: none) filters
    what trimming has left. peak: the largest magnitude that peak_normalise leaves.
    """

    sample_rate: int = 16_000
    features: tuple[FeatureConfig, ...] = (MFCC39, LOG_MEL)
    trim: str = "none"
    top_db: float = 20.0
    peak_normalise: bool = True
    high_pass: float = 0.0
    peak: float = 1.0

    def __post_init__(self):
        if not 0 < self.peak <= 1:
            raise SpeechlibError(f"peak is {self.peak}: above 0, and at most 1, which is full scale")
        if not 0 <= self.high_pass < self.sample_rate / 2:
            raise SpeechlibError(f"high_pass is {self.high_pass} Hz: from 0 (none) to {self.sample_rate / 2:g} Hz")
        if self.trim not in TRIMS:
            raise UnknownName("trim", self.trim, TRIMS)
        kinds = [config.kind for config in self.features]
        if len(set(kinds)) < len(kinds):
            raise SpeechlibError(f"features of a pack go by their kind, and {kinds} names one twice")
        for config in self.features:
            if config.sample_rate != self.sample_rate:
                rates = f"{config.sample_rate} Hz, the pack's audio {self.sample_rate} Hz"
                raise SpeechlibError(f"{config.kind} is made for {rates}: features of a pack share its sample_rate")
        if len({config.hop_length for config in self.features}) > 1:
            hops = {config.kind: config.hop_length for config in self.features}
            raise SpeechlibError(f"features of a pack share one hop_length, got {hops}")


class Pack:
    """An open pack. Utterances go by their index 0..N-1; audio and features are views of the flat tensors.

    utterances, texts: N names and transcripts (None where unknown); speaker: (N,) index into `speakers`; genders: "F",
    "M" or None per speaker; n_samples, n_frames: (N,); shift: (N,) seconds cut from the start of the recording;
    skipped: (path, reason) of what could not be packed; samples: int16 (total,); frames: {kind: float32 (total, C)};
    first_sample, first_frame: (N,) where an utterance begins in them.
    """

    def __init__(self, path: Path, index: dict, arrays: dict, samples, frames, phones, words):
        self.path, self.name = path, index["name"]
        self.config = configs.from_dict(PackConfig, index["config"])
        self.utterances: list[str] = index["utterances"]
        self.speakers: list[str] = index["speakers"]
        self.genders: list[str | None] = index["genders"]
        self.text: list[str | None] = index["text"]
        self.skipped = [Skipped(*item) for item in index["skipped"]]
        self.speaker, self.shift = arrays["speaker"], arrays["shift"]
        self.n_samples, self.n_frames = arrays["n_samples"], arrays["n_frames"]
        self.first_sample, self.first_frame = _starts(self.n_samples), _starts(self.n_frames)
        self.samples, self.frames = samples, frames
        self._symbols, self._labels = index["symbols"], {"phones": phones, "words": words}
        self._first_label = {name: _starts(arrays[f"n_{name}"], whole=True) for name in ("phones", "words")}
        self._index = {name: i for i, name in enumerate(self.utterances)}

    def __len__(self) -> int:
        return len(self.utterances)

    def __repr__(self) -> str:
        minutes = self.n_samples.sum() / self.config.sample_rate / 60
        kinds = ", ".join(f"{kind} ({self.n_features(kind)})" for kind in self.frames)
        return f"Pack {self.name}: {len(self)} utterances, {len(self.speakers)} speakers, {minutes:.1f} min; {kinds}"

    @property
    def device(self) -> torch.device:
        return self.samples.device

    def index_of(self, utterance: str) -> int:
        if utterance not in self._index:
            raise SpeechlibError(
                f"{utterance!r} is none of the {len(self)} utterances of pack {self.name} ({self.utterances[0]}, ...; "
                f"{len(self.skipped)} were skipped)"
            )
        return self._index[utterance]

    def speaker_index(self, name: str) -> int:
        """The number of a speaker, an index into `speakers`. Raises UnknownName."""
        if name not in self.speakers:
            raise UnknownName(f"speaker of pack {self.name}", name, self.speakers)
        return self.speakers.index(name)

    def audio(self, i: int) -> torch.Tensor:
        """int16 (S,)."""
        return self.samples[self.first_sample[i] : self.first_sample[i] + self.n_samples[i]]

    def wave(self, i: int) -> torch.Tensor:
        """float32 (S,) in [-1, 1]."""
        return self.audio(i).float() / FULL_SCALE

    def features(self, i: int, kind: str) -> torch.Tensor:
        """float32 (C, T)."""
        self.config_of(kind)
        return self.frames[kind][self.first_frame[i] : self.first_frame[i] + self.n_frames[i]].T

    def phones(self, i: int) -> list[Interval]:
        """Intervals in seconds of the packed audio, raw symbols; empty where the corpus has no phone times."""
        return self._intervals("phones", i)

    def words(self, i: int) -> list[Interval]:
        return self._intervals("words", i)

    def config_of(self, kind: str) -> FeatureConfig:
        for config in self.config.features:
            if config.kind == kind:
                return config
        raise UnknownName(f"features of pack {self.name}", kind, self.frames)

    def n_features(self, kind: str) -> int:
        return n_features(self.config_of(kind))

    def to(self, device: str | torch.device) -> "Pack":
        """The same pack with audio and features resident on a device, where crops are then gathered."""
        moved = object.__new__(Pack)
        moved.__dict__ = self.__dict__ | {
            "samples": self.samples.to(device),
            "frames": {kind: frames.to(device) for kind, frames in self.frames.items()},
        }
        return moved

    def voiced(self, voices: Sequence[str]) -> "Pack":
        """The same pack with speakers taken together: `voices` names for each utterance (N) what counts as its speaker,
        such as an accent. A voice has the gender that all of its speakers have."""
        grouped = object.__new__(type(self))
        names = sorted(set(voices))
        genders: dict[str, set] = {name: set() for name in names}
        for speaker, voice in zip(self.speaker.tolist(), voices):
            genders[voice].add(self.genders[speaker])
        grouped.__dict__ = self.__dict__ | {
            "speakers": names,
            "genders": [found.pop() if len(found) == 1 else None for found in genders.values()],
            "speaker": np.searchsorted(names, voices).astype(np.int64),
        }
        return grouped

    def _intervals(self, tier: str, i: int) -> list[Interval]:
        first = self._first_label[tier]
        rows = self._labels[tier][first[i] : first[i + 1]]
        return [Interval(self._symbols[symbol], start, end) for symbol, start, end in rows.tolist()]


class Skipped(NamedTuple):
    path: str
    reason: str


def statistics(pack: Pack, indices: Iterable[int], kind: str) -> Statistics:
    """Mean and deviation of each coefficient over the frames of these utterances (give it the training part only)."""
    return measure(pack.features(int(i), kind) for i in indices)


def open(path: str | Path) -> Pack:
    """The pack in a folder. Raises BadFile where files are missing, truncated or of another format."""
    path = resolve(path)
    index = read_json(path / "index.json")
    found = index.get("format") if isinstance(index, dict) else "unknown"
    if found != FORMAT:
        raise BadFile(path, f"is a pack of format {found}, this version reads {FORMAT}: delete it and rebuild")
    try:
        kinds = [config["kind"] for config in index["config"]["features"]]
        names = ["audio", "phones", "words", *(f"frames-{kind}" for kind in kinds)]
        with np.load(path / "index.npz") as file:
            arrays = dict(file)
        # copy on write: torch wants writable memory, and nothing done to a tensor can reach the disk
        mapped = {name: np.load(path / f"{name}.npy", mmap_mode="c") for name in names}
        frames = {kind: torch.from_numpy(mapped[f"frames-{kind}"]) for kind in kinds}
        samples = torch.from_numpy(mapped["audio"])
        return Pack(path, index, arrays, samples, frames, mapped["phones"], mapped["words"])
    except Exception as error:  # NumPy, zipfile and a lost key, each in its own way
        told = f"{type(error).__name__}: {error}"
        raise BadFile(path, f"is not whole ({told}): delete the folder and build it again") from None


# -- building ----------------------------------------------------------------------------------------------------------


class _Utterance(NamedTuple):
    """What a worker needs: where the samples are, and where the leading silence of the labels ends (seconds)."""

    id: str
    source: Any  # a path, or the lhotse cut where it is more than a whole file
    start: float
    duration: float
    speech: float | None


def build(
    corpus: "Corpus",
    config: PackConfig,
    root: str | Path | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Pack:
    """The pack of a corpus: opened if it exists, else made in `jobs` processes under root (default data_dir()/packs),
    or by an executor of one's own, such as cluster.Cluster.executor().

    A kill or a full disk loses the shards in work only; the next call goes on from there and ends with the same bytes.
    Recordings that cannot be packed (unreadable, NaN, constant, shorter than a frame) are listed in `pack.skipped`.
    progress(done, total, text) counts utterances. Raises SpeechlibError where no utterance is left, on a full disk, and
    when a worker is killed.
    """
    cuts = list(corpus.cuts)
    folder = resolve(root) if root is not None else data_dir() / "packs"
    path = folder / f"{corpus.name}-{fingerprint(FORMAT, _plain(config), map(_identity, cuts))}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{path.name}.lock"):  # a second process that wants the same pack waits for it
        try:
            return open(path)
        except BadFile:
            pass  # absent, or damaged: it is a cache, and made again
        building = folder / f".{path.name}.building"
        building.mkdir(exist_ok=True)
        try:
            shards = _make_shards(building, _shards(cuts), config, jobs, progress, executor)
            _assemble(building / "whole", shards, cuts, corpus.name, config)
        except (OSError, FullDisk) as error:
            raise _disk_error(error, building) from None
        except BrokenProcessPool:
            raise SpeechlibError(
                f"a process that packed {corpus.name} was killed (out of memory? or a script of yours that lacks "
                f"`if __name__ == '__main__'`?). What is whole is kept in {building}: build again, with fewer than "
                f"{jobs} jobs"
            ) from None
        shutil.rmtree(path, ignore_errors=True)
        (building / "whole").replace(path)
        shutil.rmtree(building)
    return open(path)


def _plain(config: PackConfig) -> dict:
    """Its values; one that came later than packs did is left out while it is off, so that they are found again."""
    later = {"high_pass": 0.0, "peak": 1.0}
    return {key: value for key, value in configs.to_dict(config).items() if key not in later or value != later[key]}


def _identity(cut) -> list:
    """All that a pack takes from a cut, in plain values; size and date of the file stand for its samples."""
    recording, supervision = cut.recording, cut.supervisions[0]
    stats = [Path(s.source).stat() for s in recording.sources if s.type == "file" and Path(s.source).exists()]
    labels = {tier: [list(item)[:3] for item in items] for tier, items in (supervision.alignment or {}).items()}
    return [
        cut.id,
        [cut.start, cut.duration, recording.sampling_rate, recording.num_samples],
        [[stat.st_size, stat.st_mtime_ns] for stat in stats],
        [supervision.speaker, supervision.gender, supervision.text, labels],
    ]


def _shards(cuts: Sequence) -> list[list[_Utterance]]:
    """Some minutes of audio each, in the corpus's order: the same corpus gives the same shards."""
    shards: list[list[_Utterance]] = [[]]
    seconds = 0.0
    for cut in cuts:
        if shards[-1] and (seconds + cut.duration > _SHARD_SECONDS or len(shards[-1]) == _SHARD_UTTERANCES):
            shards.append([])
            seconds = 0.0
        shards[-1].append(_utterance(cut))
        seconds += cut.duration
    return shards


def _utterance(cut) -> _Utterance:
    recording = cut.recording
    channels = cut.channel if isinstance(cut.channel, list) else [cut.channel]
    plain = len(recording.sources) == 1 and recording.sources[0].type == "file" and not recording.transforms
    whole = plain and sorted(channels) == sorted(recording.channel_ids)
    phones = (cut.supervisions[0].alignment or {}).get("phone")
    speech = next((item.start for item in phones if item.symbol not in SILENCES), cut.duration) if phones else None
    source = recording.sources[0].source if whole else cut
    return _Utterance(cut.id, source, cut.start, cut.duration, speech)


def _make_shards(
    building: Path, shards: list, config: PackConfig, jobs: int, progress: Progress | None, executor: Executor | None
) -> list[Path]:
    paths = [building / f"{k:05d}.npz" for k in range(len(shards))]
    missing = [k for k, path in enumerate(paths) if not _is_whole(path)]
    total = sum(map(len, shards))
    done = total - sum(len(shards[k]) for k in missing)

    def report(k: int) -> None:
        nonlocal done
        done += len(shards[k])
        if progress is not None:
            progress(done, total, "packing")

    if executor is None and (jobs == 1 or len(missing) < 2):
        for k in missing:
            _make_shard(paths[k], shards[k], config)
            report(k)
        return paths
    if executor is None:
        # spawned, not forked: a fork of a process whose torch has started threads can hang
        executor = ProcessPoolExecutor(min(jobs, len(missing)), get_context("spawn"), torch.set_num_threads, (1,))
    with executor as pool:
        futures = {pool.submit(_make_shard, paths[k], shards[k], config): k for k in missing}
        try:
            for future in as_completed(futures):
                future.result()
                report(futures[future])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return paths


def _is_whole(path: Path) -> bool:
    """A shard is written atomically; what a crash of the machine emptied or spoilt is made again."""
    try:
        with ZipFile(path) as file:
            return "about.npy" in file.namelist() and file.testzip() is None
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error):
        return False


def _make_shard(path: Path, utterances: list[_Utterance], config: PackConfig) -> None:
    packed, skipped = [], []
    for utterance in utterances:
        try:
            samples, shift = _prepare(utterance, config)
        except BadFile as error:
            skipped.append([error.path, error.reason])
            continue
        frames = [extract(torch.from_numpy(samples), features).T for features in config.features]
        T = min((len(f) for f in frames), default=0)
        packed.append((utterance.id, samples, shift, [f[:T].numpy() for f in frames]))
    arrays = {f"frames-{c.kind}": _join([p[3][k] for p in packed]) for k, c in enumerate(config.features)}
    about = {
        "utterances": [p[0] for p in packed],
        "n_samples": [len(p[1]) for p in packed],
        "n_frames": [len(p[3][0]) if p[3] else 0 for p in packed],
        "shift": [p[2] for p in packed],
        "skipped": skipped,
    }
    with atomic(path) as part, part.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), audio=_join([p[1] for p in packed]), **arrays)


def conditioned(wave: np.ndarray, config: PackConfig) -> np.ndarray:
    """A wave (S,) that is not of the corpus, as those of a pack are, but for trimming: filtered, and brought to one
    peak."""
    if config.high_pass:
        wave = audio.high_pass(wave, config.sample_rate, config.high_pass)
    return config.peak * audio.peak_normalise(wave) if config.peak_normalise else wave


def _prepare(utterance: _Utterance, config: PackConfig) -> tuple[np.ndarray, float]:
    """(samples int16, seconds cut from the start). Raises BadFile for what cannot be packed.

    In place: a three-hour recording should lie in memory once.
    """
    wave = _load(utterance, config.sample_rate)
    name = utterance.source if isinstance(utterance.source, str) else utterance.id
    if wave.min() == wave.max():
        raise BadFile(name, f"is constant: all {len(wave)} samples are {wave[0]:g}")
    start, stop = 0, len(wave)
    if config.trim == "labels" and utterance.speech is not None:
        start = min(round(utterance.speech * config.sample_rate), stop)
    elif config.trim != "none":
        start, stop = audio.trim(wave, config.top_db)
    wave = wave[start:stop]
    least = max((features.win_length for features in config.features), default=1)
    if len(wave) < least:
        raise BadFile(name, f"is too short: {len(wave)} samples at {config.sample_rate} Hz, one frame needs {least}")
    if config.high_pass:
        audio.high_pass(wave, config.sample_rate, config.high_pass, out=wave)
    peak = max(wave.max(), -wave.min())
    if peak == 0 and config.peak_normalise:
        raise BadFile(name, "is silent where its labels say speech")
    wave *= FULL_SCALE * (config.peak / peak if config.peak_normalise else 1)
    np.clip(np.rint(wave, out=wave), -FULL_SCALE, FULL_SCALE - 1, out=wave)
    return wave.astype(np.int16), start / config.sample_rate


def _load(utterance: _Utterance, sample_rate: int) -> np.ndarray:
    if isinstance(utterance.source, str):
        return audio.read(utterance.source, sample_rate, utterance.start, utterance.duration)[0]
    from . import _torchaudio  # noqa: F401  lhotse asks torchaudio for its version, which fails unless it came from there

    try:
        channels = utterance.source.load_audio()
    except Exception as error:  # whatever lhotse's many backends raise: it is this one recording that is bad
        raise BadFile(utterance.id, f"cannot be loaded ({error})") from None
    wave = audio.resample(channels.mean(axis=0), utterance.source.sampling_rate, sample_rate)
    if not wave.size or not np.isfinite(wave).all():
        raise BadFile(utterance.id, "holds no samples" if not wave.size else "holds NaN or infinite samples")
    return wave


def _join(arrays: list[np.ndarray]) -> np.ndarray:
    if len(arrays) == 1:  # as it is: long recordings have a shard of their own
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int16)


def _assemble(whole: Path, shards: list[Path], cuts: Sequence, name: str, config: PackConfig) -> None:
    """Write the pack's folder from its shards. Plain writes, no maps: on a full disk those raise, a map kills."""
    abouts = [json.loads(str(np.load(path)["about"])) for path in shards]
    about = {key: [item for shard in abouts for item in shard[key]] for key in abouts[0]}
    if not about["utterances"]:
        first = f"; the first: {': '.join(about['skipped'][0])}" if about["skipped"] else ""
        raise SpeechlibError(f"none of the {len(cuts)} utterances of {name!r} can be packed{first}")
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    _concatenate(
        whole / "audio.npy", (np.load(path)["audio"] for path in shards), np.dtype("<i2"), sum(about["n_samples"])
    )
    for features in config.features:
        key, shape = f"frames-{features.kind}", (sum(about["n_frames"]), n_features(features))
        _concatenate(whole / f"{key}.npy", (np.load(path)[key] for path in shards), np.dtype("<f4"), *shape)
    of = {cut.id: cut for cut in cuts}
    packed = [of[utterance].supervisions[0] for utterance in about["utterances"]]
    speakers = sorted({str(supervision.speaker) for supervision in packed})
    gender = {str(supervision.speaker): supervision.gender for supervision in packed}
    symbols, counts = _write_labels(whole, packed, about, config.sample_rate)
    with (whole / "index.npz").open("wb") as file:
        np.savez(
            file,
            speaker=np.searchsorted(speakers, [str(supervision.speaker) for supervision in packed]).astype(np.int64),
            shift=np.array(about["shift"], np.float64),
            n_samples=np.array(about["n_samples"], np.int64),
            n_frames=np.array(about["n_frames"], np.int64),
            **counts,
        )
    index = {
        "format": FORMAT,
        "name": name,
        "config": configs.to_dict(config),
        "utterances": about["utterances"],
        "speakers": speakers,
        "genders": [gender[speaker] for speaker in speakers],
        "text": [supervision.text for supervision in packed],
        "symbols": symbols,
        "skipped": about["skipped"],
    }
    write_json(whole / "index.json", index)


def _concatenate(path: Path, arrays: Iterable[np.ndarray], dtype: np.dtype, *shape: int) -> None:
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for array in arrays:
            if array.size:
                file.write(np.ascontiguousarray(array, dtype).data)


def _write_labels(whole: Path, packed: list, about: dict, sample_rate: int) -> tuple[list[str], dict[str, np.ndarray]]:
    """phones.npy and words.npy in seconds of the packed audio; (symbols, how many labels each utterance has)."""
    number: dict[str, int] = {}
    counts = {}
    for name, tier in (("phones", "phone"), ("words", "word")):
        marks, times, lengths = array("i"), array("d"), []  # numbers, not objects: there are millions of them
        for supervision, shift, samples in zip(packed, about["shift"], about["n_samples"]):
            before, duration = len(marks), samples / sample_rate
            for item in (supervision.alignment or {}).get(tier, ()):
                start, end = max(item.start - shift, 0.0), min(item.end - shift, duration)
                if end > start:
                    marks.append(number.setdefault(item.symbol, len(number)))
                    times.extend((start, end))
            lengths.append(len(marks) - before)
        rows = np.empty(len(marks), LABELS)
        rows["symbol"], rows["start"], rows["end"] = marks, times[::2], times[1::2]
        np.save(whole / f"{name}.npy", rows)
        counts[f"n_{name}"] = np.array(lengths, np.int64)
    return list(number), counts


def _starts(lengths: np.ndarray, whole: bool = False) -> np.ndarray:
    """Where each stretch begins; `whole` adds where the last one ends."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return ends if whole else ends[:-1]


def _disk_error(error: OSError | FullDisk, building: Path) -> Exception:
    if isinstance(error, OSError) and not is_full(error):
        return error
    shutil.rmtree(building / "whole", ignore_errors=True)  # takes room, and is written anew in any case
    shards, reason = list(building.glob("*.npz")), getattr(error, "reason", error)
    return SpeechlibError(
        f"the disk is full ({reason}). {len(shards)} whole shards are kept in {building}: make room there "
        "(or move the data folder by SPEECHLIB_DATA) and build again, it goes on from them"
    )


def silence_gaps(corpus: "Corpus", sample_rate: int = 16_000, top_db: float = 20.0) -> np.ndarray:
    """Seconds from where librosa's trim begins to where the labels begin to speak, per recording with phones (signed).

    VQ-VAE-Speech trims by labels where it has them and by `top_db` elsewhere: this is how far the two differ. Over its
    1,951 files of VCTK the mean was 3.6 ms. Recordings that cannot be read are left out.
    """
    gaps = []
    for utterance in map(_utterance, corpus.cuts):
        if utterance.speech is None:
            continue
        try:
            wave = _load(utterance, sample_rate)
        except BadFile:
            continue
        gaps.append(utterance.speech - audio.trim(wave, top_db)[0] / sample_rate)
    if not gaps:
        raise SpeechlibError(f"no recording of {corpus.name!r} has phone times: there is no gap to measure")
    return np.array(gaps)
