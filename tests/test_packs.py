"""Packs: what is in them, what is left out and why, and that nothing whole is lost to a kill or a full disk."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
import soundfile
import torch

from speechlib import audio, features, mu_law, packs
from speechlib.errors import BadFile, SpeechlibError, UnknownName
from speechlib.features import LOG_MEL, MFCC39, PSF_LOGFBANK39, PSF_MFCC39
from speechlib.packs import PackConfig

RATE = 16_000


def noise(seconds: float, seed: int = 0, level: float = 0.3) -> np.ndarray:
    return (level * np.random.default_rng(seed).uniform(-1, 1, round(seconds * RATE))).astype(np.float32)


def corpus(folder: Path, waves: dict, phones: dict | None = None, speakers: dict | None = None, rate: int = RATE):
    """A lhotse corpus of waves (or of whatever bytes) by utterance id, written to `folder`."""
    from lhotse import AudioSource, CutSet, Recording, SupervisionSegment
    from lhotse.supervision import AlignmentItem

    cuts = []
    folder.mkdir(parents=True, exist_ok=True)
    for name, wave in waves.items():
        path, samples = folder / f"{name}.wav", len(wave)
        if isinstance(wave, bytes):
            path.write_bytes(wave)
        else:
            soundfile.write(path, wave, rate, subtype="FLOAT" if wave.dtype == np.float32 else "PCM_16")
        source = AudioSource("file", [0], str(path))
        recording = Recording(name, [source], rate, max(samples, 1), max(samples, 1) / rate)
        cut = recording.to_cut()
        cut.id = name
        items = [AlignmentItem(s, a, b - a) for s, a, b in (phones or {}).get(name, [])]
        speaker = (speakers or {}).get(name, "anna")
        cut.supervisions = [
            SupervisionSegment(
                name,
                name,
                0,
                recording.duration,
                speaker=speaker,
                gender="F" if speaker == "anna" else None,
                text=f"text of {name}",
                alignment={"phone": items, "word": items[:1]} if items else None,
            )
        ]
        cuts.append(cut)
    return SimpleNamespace(name="fake", cuts=CutSet.from_cuts(cuts), skipped=())


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


# -- what is in a pack -------------------------------------------------------------------------------------------------


def test_a_pack_holds_what_it_was_made_of(one_voice, tmp_path):
    calls = []
    pack = packs.build(one_voice, PackConfig(), tmp_path, progress=lambda *call: calls.append(call))
    cuts = list(one_voice.cuts)
    assert pack.utterances == [cut.id for cut in cuts]
    assert pack.text == [cut.supervisions[0].text for cut in cuts]
    assert pack.speakers == ["adam"]
    assert not pack.skipped
    assert calls[-1][:2] == (len(cuts), len(cuts))
    for i in (0, 7, len(cuts) - 1):
        recorded, _ = audio.read(cuts[i].recording.sources[0].source, RATE)
        np.testing.assert_allclose(pack.wave(i), audio.peak_normalise(recorded), atol=1 / 32768)
        assert pack.audio(i).dtype == torch.int16
        assert pack.audio(i).int().abs().max() >= 32767
        assert len(pack.audio(i)) == pack.n_samples[i] == len(recorded)
        for kind in ("mfcc", "log_mel"):
            assert torch.equal(pack.features(i, kind), features.extract(pack.wave(i), pack.config_of(kind)))
        for tier, found in (("phone", pack.phones(i)), ("word", pack.words(i))):
            raw = [(item.symbol, item.start, item.end) for item in cuts[i].supervisions[0].alignment[tier]]
            assert [label.symbol for label in found] == [symbol for symbol, _, _ in raw]
            np.testing.assert_allclose([label[1:] for label in found], [times for _, *times in raw], atol=1e-4)
    assert packs.open(pack.path).index_of(cuts[7].id) == 7
    assert repr(pack).startswith(f"Pack {one_voice.name}: {len(cuts)} utterances, 1 speakers")


def test_reopening_computes_nothing(one_voice, tmp_path, monkeypatch):
    path = packs.build(one_voice, PackConfig(features=(MFCC39,)), tmp_path).path
    monkeypatch.setattr(packs, "_make_shard", None)
    assert packs.build(one_voice, PackConfig(features=(MFCC39,)), tmp_path).path == path
    assert [p.name for p in tmp_path.iterdir() if "building" in p.name] == []


def test_another_config_label_or_recording_is_another_pack(tmp_path):
    waves, labels = {"a": noise(0.5)}, {"a": [("sil", 0, 0.1), ("aa", 0.1, 0.5)]}
    plain = packs.build(corpus(tmp_path / "c", waves), PackConfig(), tmp_path / "p").path
    labelled = packs.build(corpus(tmp_path / "c", waves, labels), PackConfig(), tmp_path / "p").path
    trimmed = packs.build(corpus(tmp_path / "c", waves, labels), PackConfig(trim="labels"), tmp_path / "p").path
    other = packs.build(corpus(tmp_path / "c", {"a": noise(0.5, seed=1)}), PackConfig(), tmp_path / "p").path
    assert len({plain, labelled, trimmed, other}) == 4


def test_speakers_and_genders(tmp_path):
    waves = {name: noise(0.1) for name in "abc"}
    pack = packs.build(
        corpus(tmp_path / "c", waves, speakers={"a": "zoë", "b": "anna", "c": "zoë"}), PackConfig(), tmp_path
    )
    assert pack.speakers == ["anna", "zoë"]
    assert pack.genders == ["F", None]
    assert pack.text == ["text of a", "text of b", "text of c"]
    assert pack.speaker.tolist() == [1, 0, 1]


def test_features_of_a_pack_have_one_length(tmp_path):
    config = PackConfig(features=(PSF_MFCC39, LOG_MEL))
    pack = packs.build(corpus(tmp_path / "c", {"a": noise(0.48), "b": noise(0.1)}), config, tmp_path)
    assert pack.n_frames.tolist() == [47, 9]
    assert pack.features(0, "psf_mfcc").shape == (39, 47)
    assert pack.features(0, "log_mel").shape == (80, 47)


def test_writing_to_a_feature_does_not_reach_the_disk(tmp_path):
    pack = packs.build(corpus(tmp_path / "c", {"a": noise(0.3)}), PackConfig(), tmp_path)
    before = contents(pack.path)
    pack.features(0, "mfcc").zero_()
    assert contents(pack.path) == before


def test_without_peak_normalisation_sixteen_bits_stay_as_they_are(tmp_path):
    wave = np.random.default_rng(0).integers(-3000, 3000, 5000).astype(np.int16)
    pack = packs.build(corpus(tmp_path / "c", {"a": wave}), PackConfig(peak_normalise=False), tmp_path)
    np.testing.assert_array_equal(pack.audio(0), wave)


def test_a_peak_is_what_it_was_asked_to_be(tmp_path):
    """VO-01. Packs that were made before there was a choice are those of peak 1, and found again."""
    some = corpus(tmp_path / "c", {"a": noise(0.5)})
    low, full = (packs.build(some, PackConfig(peak=peak), tmp_path) for peak in (0.999, 1.0))
    assert low.wave(0).abs().max() == pytest.approx(0.999, abs=1 / 32_768)
    assert full.path == packs.build(some, PackConfig(), tmp_path).path != low.path
    assert "peak" not in packs._plain(PackConfig())
    with pytest.raises(SpeechlibError, match="peak is 1.5: above 0, and at most 1"):
        PackConfig(peak=1.5)


@pytest.mark.parametrize("options", [{}, {"peak_normalise": False}, {"peak": 0.5}, {"high_pass": 70.0}])
def test_a_wave_from_outside_is_treated_as_those_of_the_pack(options, tmp_path):
    """Whoever converts a recording of anyone asks `conditioned` for it: the same filter and peak, but for 16 bits."""
    hum = 0.3 * np.sin(2 * np.pi * 30 * np.arange(8_000) / RATE)
    wave = (noise(0.5) + hum).astype(np.float32) * 0.5
    config = PackConfig(**options)
    pack = packs.build(corpus(tmp_path / "c", {"a": wave}), config, tmp_path)
    np.testing.assert_allclose(packs.conditioned(wave, config), pack.wave(0), atol=4 / 32_768)


def test_codes_and_one_hot_rows_come_from_the_packed_audio(tmp_path):
    """VS-06: what the source exported as one-hot pickles is a line of code on a resident pack."""
    pack = packs.build(corpus(tmp_path / "c", {"a": noise(0.3)}), PackConfig(), tmp_path)
    codes = mu_law.encode(pack.wave(0))
    one_hot = torch.nn.functional.one_hot(codes, 256)
    assert torch.equal(one_hot.argmax(dim=1), codes)
    assert (mu_law.decode(codes) - pack.wave(0)).abs().max() < 0.025


# -- trimming ----------------------------------------------------------------------------------------------------------


def test_labels_trim_to_the_sample(tmp_path):
    """VS-03: the shift is exact to one sample, and labels move with it."""
    wave = np.zeros(16_000, np.float32)
    wave[3001] = 0.9
    wave[3002:] = noise(1, level=0.1)[3002:]
    phones = {"a": [("sil", 0, 0.1), ("sp", 0.1, 3001 / RATE), ("aa", 3001 / RATE, 0.5), ("sil", 0.5, 1.7)]}
    pack = packs.build(corpus(tmp_path / "c", {"a": wave}, phones), PackConfig(trim="labels"), tmp_path)
    assert pack.shift[0] * RATE == 3001
    assert pack.n_samples[0] == 16_000 - 3001
    assert pack.audio(0)[0] == 32767
    start, end = pack.phones(0)[0][1:]
    assert pack.phones(0)[0].symbol == "aa"
    assert (start, end) == (0, pytest.approx(0.5 - 3001 / RATE))
    assert pack.phones(0)[1].end == pytest.approx((16_000 - 3001) / RATE)  # the label ended after the recording
    assert len(pack.phones(0)) == 2


def test_silence_trims_as_librosa_does_and_stands_in_for_missing_labels(tmp_path):
    wave = np.concatenate([noise(0.4, level=1e-3), noise(0.7), noise(0.5, level=1e-3)])
    start, stop = librosa.effects.trim(wave, top_db=20)[1]
    made = corpus(tmp_path / "c", {"a": wave})
    for trim in ("silence", "labels"):
        pack = packs.build(made, PackConfig(trim=trim), tmp_path)
        assert pack.shift[0] * RATE == start
        assert pack.n_samples[0] == stop - start
        np.testing.assert_allclose(pack.wave(0), audio.peak_normalise(wave[start:stop]), atol=1 / 32768)
    assert packs.build(made, PackConfig(trim="silence", top_db=80.0), tmp_path).n_samples[0] == len(wave)


def test_silence_gap_is_labels_minus_trim(tmp_path):
    """VS-34. The loud part begins at hop 20 of librosa's trim; its frames reach two hops back."""
    wave = np.concatenate([noise(20 * 512 / RATE, level=1e-5), noise(0.7)])
    begin = librosa.effects.trim(wave, top_db=20)[1][0] / RATE
    phones = {"a": [("sil", 0, 0.65), ("aa", 0.65, 1.0)], "b": [("aa", 0.0, 1.0)]}
    gaps = packs.silence_gaps(corpus(tmp_path / "c", {"a": wave, "b": wave, "c": wave}, phones))
    np.testing.assert_allclose(gaps, [0.65 - begin, -begin], atol=1e-9)
    with pytest.raises(SpeechlibError, match="no recording of 'fake' has phone times"):
        packs.silence_gaps(corpus(tmp_path / "c", {"c": wave}))


# -- bad recordings ----------------------------------------------------------------------------------------------------


def test_bad_recordings_are_listed_with_their_reasons(tmp_path):
    broken = noise(0.5)
    broken[100] = np.nan
    waves = {
        "good one": noise(0.5),
        "broken": broken,
        "constant": np.full(8000, 0.25, np.float32),
        "empty": b"",
        "kurz": noise(0.02),
        "letter": b"Dear Sir, " * 100,
        "silent by its labels": noise(0.5),
        "声": noise(0.5),
    }
    made = corpus(tmp_path / "c", waves, {"silent by its labels": [("sil", 0, 0.5)]})
    (tmp_path / "c" / "gone.wav").unlink(missing_ok=True)
    pack = packs.build(made, PackConfig(trim="labels"), tmp_path)
    assert pack.utterances == ["good one", "声"]
    reasons = {Path(path).stem: reason for path, reason in pack.skipped}
    assert reasons.keys() == waves.keys() - {"good one", "声"}
    assert "1 NaN or infinite samples of 8000" in reasons["broken"]
    assert "constant: all 8000 samples are 0.25" in reasons["constant"]
    assert "empty" in reasons["empty"]
    assert "320 samples at 16000 Hz, one frame needs 512" in reasons["kurz"]
    assert "cannot be decoded" in reasons["letter"]
    assert "too short: 0 samples" in reasons["silent by its labels"]
    with pytest.raises(SpeechlibError, match="'broken' is none of the 2 utterances of pack fake .* 6 were skipped"):
        pack.index_of("broken")


def test_nothing_to_pack_is_an_error_that_shows_the_first_reason(tmp_path):
    with pytest.raises(
        SpeechlibError, match="none of the 2 utterances of 'fake' can be packed; the first: .*a.wav: is empty"
    ):
        packs.build(corpus(tmp_path / "c", {"a": b"", "b": b""}), PackConfig(), tmp_path)


def test_recordings_that_are_no_files_and_single_channels_of_files(tmp_path):
    from lhotse import AudioSource, CutSet, Recording

    left, right = noise(0.5, seed=1), noise(0.5, seed=2)
    soundfile.write(tmp_path / "left.wav", left, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    stereo = Recording.from_file(tmp_path / "stereo.wav", recording_id="stereo")
    memory = Recording("memory", [AudioSource("memory", [0], (tmp_path / "left.wav").read_bytes())], RATE, 8000, 0.5)
    made = corpus(tmp_path / "c", {"a": left})
    supervision = made.cuts[0].supervisions[0]
    cuts = []
    for name, cut in {
        "both": stereo.to_cut(),
        "right": stereo.to_cut().to_mono()[1],
        "memory": memory.to_cut(),
        "second half": made.cuts[0].truncate(offset=0.25),
    }.items():
        cut.id, cut.supervisions = name, [supervision]
        cuts.append(cut)
    pack = packs.build(
        SimpleNamespace(name="odd", cuts=CutSet.from_cuts(cuts)), PackConfig(peak_normalise=False), tmp_path
    )
    assert not pack.skipped
    for name, wave in {"both": (left + right) / 2, "right": right, "memory": left, "second half": left[4000:]}.items():
        np.testing.assert_allclose(pack.wave(pack.index_of(name)), wave, atol=1 / 32768)


def test_a_long_recording_is_packed_in_bounded_memory(tmp_path):
    """Ten minutes of 48 kHz stereo: 230 MB as they decode, of which never more than a block is held."""
    header = tmp_path / "header.wav"
    soundfile.write(header, np.array([[0.5, 0.5], [-0.5, -0.5]]), 48_000, subtype="PCM_16")
    n_bytes = 10 * 60 * 48_000 * 4
    data = bytearray(header.read_bytes()[:52])
    data[4:8], data[40:44] = (n_bytes + 36).to_bytes(4, "little"), n_bytes.to_bytes(4, "little")
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_packs import *
made = corpus(Path({str(tmp_path / "c")!r}), {{"a": {bytes(data)!r}}}, rate=48_000)
with open(made.cuts[0].recording.sources[0].source, "r+b") as file:
    file.truncate(44 + {n_bytes})  # a sparse file: the rest is zeros
cut = made.cuts[0]
cut.recording.num_samples, cut.recording.duration, cut.duration = {n_bytes // 4}, 600.0, 600.0
packs.build(corpus(Path({str(tmp_path / "d")!r}), {{"warm": noise(1.0)}}), PackConfig(), {str(tmp_path)!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pack = packs.build(type(made)(name="long", cuts=[cut]), PackConfig(), {str(tmp_path)!r})
print(pack.n_samples[0], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    samples, megabytes = map(int, done.stdout.split())
    assert samples == 10 * 60 * RATE
    assert megabytes < 200  # the result itself, 19 MB of audio and 29 MB of features, is there about twice


# -- kills, full disks, damage -----------------------------------------------------------------------------------------


@pytest.fixture
def ten(tmp_path, monkeypatch):
    """Ten utterances in five shards, one of them bad."""
    monkeypatch.setattr(packs, "_SHARD_UTTERANCES", 2)
    waves = {f"u{k}": noise(0.3 + 0.05 * k, seed=k) for k in range(9)} | {"bad": b"no audio"}
    return corpus(tmp_path / "corpus", waves, {"u1": [("sil", 0, 0.1), ("aa", 0.1, 0.3)]})


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_packs import *
packs._SHARD_UTTERANCES = 2
whole, shards = np.savez, []
def savez(file, **arrays):
    shards.append(1)
    if len(shards) == 3:
        file.write(b"half a shard")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    whole(file, **arrays)
np.savez = savez
from pathlib import Path
from types import SimpleNamespace
import pickle
packs.build(pickle.loads(Path(sys.argv[2]).read_bytes()), PackConfig(), sys.argv[3])
"""


def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(ten, tmp_path):
    """VS-06 and mistake 21: what was whole is kept, what was half is redone, and no utterance changes its place."""
    import pickle

    (tmp_path / "corpus.pickle").write_bytes(pickle.dumps(ten))
    arguments = [str(Path(__file__).parent), str(tmp_path / "corpus.pickle"), str(tmp_path / "killed")]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (building,) = (tmp_path / "killed").glob(".*.building")
    assert len(list(building.glob("*.npz"))) == 2
    written = {path.name: path.stat().st_mtime_ns for path in building.glob("*.npz")}
    (building / "00001.npz").write_bytes(b"")  # as after a crash of the machine: it is made again
    calls = []
    resumed = packs.build(ten, PackConfig(), tmp_path / "killed", progress=lambda *call: calls.append(call[0]))
    assert calls == [4, 6, 8, 10]
    assert len(written) == 2
    uninterrupted = packs.build(ten, PackConfig(), tmp_path / "uninterrupted")
    assert resumed.path.name == uninterrupted.path.name
    assert contents(resumed.path) == contents(uninterrupted.path)
    assert [p.name for p in (tmp_path / "killed").iterdir() if not p.name.endswith(".lock")] == [resumed.path.name]


def test_two_processes_write_the_same_bytes_as_one(ten, tmp_path):
    calls = []
    one = packs.build(ten, PackConfig(), tmp_path / "one")
    two = packs.build(ten, PackConfig(), tmp_path / "two", jobs=2, progress=lambda *call: calls.append(call[0]))
    assert contents(one.path) == contents(two.path)
    assert calls == sorted(calls)
    assert calls[-1] == 10
    assert [Path(item.path).stem for item in two.skipped] == ["bad"]


@pytest.mark.parametrize("place", ["savez", "_concatenate"])
def test_a_full_disk_keeps_what_is_whole(ten, tmp_path, monkeypatch, place):
    written = []
    module = np if place == "savez" else packs
    real = getattr(module, place)

    def full(*args, **arrays):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(args)
        return real(*args, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(module, place, full)
        kept = 2 if place == "savez" else 5
        with pytest.raises(SpeechlibError, match=f"disk is full .*{kept} whole shards are kept in .*SPEECHLIB_DATA"):
            packs.build(ten, PackConfig(), tmp_path / "packs")
    assert not [p for p in (tmp_path / "packs").rglob("*.part")]
    calls = []
    pack = packs.build(ten, PackConfig(), tmp_path / "packs", progress=lambda *call: calls.append(call))
    assert len(calls) == 5 - kept
    assert len(pack) == 9


class Deadly:
    """A cut whose decoder takes its whole process with it."""

    def load_audio(self):
        os._exit(9)


def test_a_killed_worker_is_told_apart(ten, tmp_path, monkeypatch):
    plain = packs._utterance
    monkeypatch.setattr(packs, "_utterance", lambda cut: plain(cut)._replace(source=Deadly()))
    with pytest.raises(SpeechlibError, match="was killed .out of memory.*fewer than 2 jobs"):
        packs.build(ten, PackConfig(), tmp_path, jobs=2)


def test_damaged_packs_say_so_and_are_made_again(ten, tmp_path):
    path = packs.build(ten, PackConfig(), tmp_path).path
    before = contents(path)
    (path / "frames-mfcc.npy").write_bytes(before["frames-mfcc.npy"][:-1000])
    with pytest.raises(BadFile, match="is not whole"):
        packs.open(path)
    assert contents(packs.build(ten, PackConfig(), tmp_path).path) == before
    (path / "index.json").write_text(before["index.json"].decode().replace('"format": 1', '"format": 99'))
    with pytest.raises(BadFile, match="pack of format 99, this version reads 1"):
        packs.open(path)
    with pytest.raises(BadFile, match="does not exist"):
        packs.open(tmp_path / "nowhere")


# -- configs and statistics --------------------------------------------------------------------------------------------


def test_impossible_configs():
    with pytest.raises(UnknownName, match="'label'. Did you mean 'labels'"):
        PackConfig(trim="label")
    with pytest.raises(SpeechlibError, match="names one twice"):
        PackConfig(features=(MFCC39, MFCC39))
    with pytest.raises(SpeechlibError, match="16000 Hz, the pack's audio 22050 Hz"):
        PackConfig(sample_rate=22_050)
    with pytest.raises(SpeechlibError, match="share one hop_length"):
        PackConfig(features=(MFCC39, features.FeatureConfig(hop_length=200)))


def test_unknown_kinds_say_which_there_are(tmp_path):
    pack = packs.build(corpus(tmp_path / "c", {"a": noise(0.3)}), PackConfig(), tmp_path)
    with pytest.raises(UnknownName, match="'log_mel_80'.*There are: log_mel, mfcc"):
        pack.features(0, "log_mel_80")


def test_statistics_are_of_the_training_part_and_of_each_kind(tmp_path):
    """VS-07 and mistake 17: inputs and targets of different kinds each have their own mean and deviation."""
    waves = {"train 1": noise(1.0, 1), "train 2": noise(0.6, 2, 0.01), "val": np.cumsum(noise(1.0, 3, 0.01))}
    config = PackConfig(features=(MFCC39, PSF_LOGFBANK39), peak_normalise=False)
    pack = packs.build(corpus(tmp_path / "c", waves), config, tmp_path)
    for kind in ("mfcc", "psf_logfbank"):
        found = packs.statistics(pack, [0, 1], kind)
        frames = torch.cat([pack.features(i, kind) for i in (0, 1)], dim=1)
        np.testing.assert_allclose(found.mean, frames.double().mean(dim=1), atol=1e-5)
        np.testing.assert_allclose(found.std, frames.double().std(dim=1, correction=0), rtol=1e-5)
        normal = found.normalise(frames)
        assert normal.mean(dim=1).abs().max() < 0.01
        assert (normal.std(dim=1, correction=0) - 1).abs().max() < 0.01
        unseen = found.normalise(pack.features(2, kind))
        assert unseen.mean(dim=1).abs().max() > 0.1


@pytest.mark.real
def test_real_corpora_pack(real_data, tmp_path):
    from speechlib import corpora

    for name, root in (("vctk", "vctk_mini"), ("librispeech", "librispeech_mini")):
        made = corpora.load(name, real_data / root)
        pack = packs.build(made, PackConfig(trim="labels"), tmp_path)
        assert len(pack) + len(pack.skipped) == len(made.cuts)
        labelled = [i for i in range(len(pack)) if pack.phones(i)]
        assert labelled
        for i in labelled:
            assert pack.phones(i)[-1].end <= pack.n_samples[i] / RATE + 1e-9
            assert pack.phones(i)[0].symbol not in ("sil", "sp", "")
