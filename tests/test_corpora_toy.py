"""The bundled corpus: what its voices say, and that the times are where the sound changes."""

import sys
import types

import numpy as np
import pytest
import soundfile

from speechlib import corpora
from speechlib.__main__ import main
from speechlib.corpora import toy
from speechlib.errors import SpeechlibError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("data") / "toy"


@pytest.fixture(scope="module")
def corpus(root):
    return corpora.load("toy", root)


def waves(cut):
    wave, rate = soundfile.read(cut.recording.sources[0].source, dtype="float32")
    return wave, rate


def test_voices_sentences_and_minutes(corpus):
    table = corpora.describe(corpus)
    assert (table.gender == "F").sum() == (table.gender == "M").sum() == 6
    assert 25 < table.minutes.sum() < 40
    assert (table.utterances == toy.SHARED + toy.OWN).all()
    assert (table[["text", "phones", "words"]].min(axis=1) == table.utterances).all()
    assert corpus.skipped == ()
    said = {cut.supervisions[0].text for cut in corpus.cuts}
    assert said == set(toy.SENTENCES)
    assert len(toy.SENTENCES) == len(said) == 100


def test_every_voice_reads_the_shared_sentences(corpus):
    for speaker in toy.VOICES:
        texts = {c.supervisions[0].text for c in corpus.cuts if c.supervisions[0].speaker == speaker}
        assert set(toy.SENTENCES[: toy.SHARED]) < texts


def test_phones_cover_each_recording_without_a_gap(corpus):
    for cut in corpus.cuts:
        phones = cut.supervisions[0].alignment["phone"]
        edges = [0.0, *(p.end for p in phones)]
        np.testing.assert_allclose([p.start for p in phones], edges[:-1], atol=1e-6)
        assert edges[-1] == pytest.approx(cut.duration, abs=1e-4)
        assert min(p.duration for p in phones) > 0
        assert not any(a.symbol == b.symbol == "sil" for a, b in zip(phones, phones[1:]))


def test_words_are_those_of_the_text_and_made_of_their_phones(corpus):
    for cut in corpus.cuts:
        said = cut.supervisions[0]
        words = said.alignment["word"]
        assert [w.symbol for w in words] == [t.strip(".,?!").lower() for t in said.text.split()]
        starts, ends = ({round(getattr(p, side), 5) for p in said.alignment["phone"]} for side in ("start", "end"))
        assert {round(w.start, 5) for w in words} <= starts
        assert {round(w.end, 5) for w in words} <= ends


def test_one_inventory_of_phones_for_all_voices(corpus):
    by_speaker: dict = {}
    for cut in corpus.cuts:
        phones = {p.symbol for p in cut.supervisions[0].alignment["phone"]}
        by_speaker.setdefault(cut.supervisions[0].speaker, set()).update(phones)
    inventory = set.union(*by_speaker.values())
    assert inventory == set(toy.PHONES.values())
    assert all(len(inventory - phones) <= 1 for phones in by_speaker.values())  # a rare one may be missing


def test_the_times_are_where_the_sound_is(corpus):
    """Physics, not espeak: vowels are loud, silences silent, s and sh hiss above 3.5 and 2.5 kHz, vowels stay below."""
    energy: dict = {}
    centroid: dict = {}
    for cut in [cut for cut in corpus.cuts if int(cut.id[-3:]) <= 8]:
        wave, rate = waves(cut)
        for phone in cut.supervisions[0].alignment["phone"]:
            middle = (phone.start + phone.end) / 2
            piece = wave[int((middle - 0.012) * rate) : int((middle + 0.012) * rate)]
            if phone.duration < 0.03 or len(piece) < 300:
                continue
            power = np.abs(np.fft.rfft(piece * np.hanning(len(piece)))) ** 2 + 1e-12
            energy.setdefault(phone.symbol, []).append(np.sqrt((piece**2).mean()))
            centroid.setdefault(phone.symbol, []).append(np.fft.rfftfreq(len(piece), 1 / rate) @ power / power.sum())
    energy = {symbol: np.median(values) for symbol, values in energy.items()}
    centroid = {symbol: np.median(values) for symbol, values in centroid.items()}
    assert energy["sil"] < 1e-3 < 0.03 < min(energy[v] for v in ("ae", "aa", "ow", "ay"))
    assert centroid["s"] > 3500
    assert centroid["sh"] > 2500
    assert max(centroid[v] for v in ("aa", "uw", "n", "m")) < 1500


def test_voices_differ_in_pitch_as_their_sexes_do(corpus):
    """Median period of a sentence by autocorrelation."""

    def pitch(wave, rate):
        frames = np.lib.stride_tricks.sliding_window_view(wave, 640)[::320]
        frames = frames[np.sqrt((frames**2).mean(1)) > 0.05] * np.hanning(640)
        correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)[:, rate // 320 : rate // 60]
        return rate / (np.median(correlation.argmax(1)) + rate // 320)

    found = {s: pitch(*waves(corpus.cuts[f"{s}_001"])) for s in toy.VOICES}
    assert max(found[s] for s, v in toy.VOICES.items() if v.gender == "M") < 140
    assert min(found[s] for s, v in toy.VOICES.items() if v.gender == "F") > 150


def test_recordings_are_clean(corpus):
    for cut in list(corpus.cuts)[::7]:
        wave, rate = waves(cut)
        assert rate == 16000
        assert 0.1 < np.abs(wave).max() < 0.999


def test_a_second_load_makes_nothing_and_a_second_making_is_the_same(corpus, root, tmp_path, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    corpora.load("toy", root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    monkeypatch.setattr(toy, "VOICES", {name: toy.VOICES[name] for name in ("annie", "rob")})
    corpora.load("toy", tmp_path / "toy")
    labels = [path for suffix in ("phn", "wrd") for path in (tmp_path / "toy").rglob(f"*.{suffix}")]
    assert len(labels) == 4 * (toy.SHARED + toy.OWN)
    for path in labels:  # events are reproducible; samples need not be, only their number
        assert (root / path.relative_to(tmp_path / "toy")).read_bytes() == path.read_bytes()
        audio = path.with_suffix(".flac")
        assert soundfile.info(audio).frames == soundfile.info(root / audio.relative_to(tmp_path / "toy")).frames


def test_a_corpus_of_another_recipe_is_made_again(tmp_path, monkeypatch):
    everyone = toy.VOICES
    for voice in ("annie", "rob"):
        monkeypatch.setattr(toy, "VOICES", {voice: everyone[voice]})
        assert list(corpora.describe(corpora.load("toy", tmp_path / "toy")).index) == [voice]


def test_no_espeak_at_all_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(toy.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(SpeechlibError, match="pip install espeakng-loader.*apt install libespeak-ng1"):
        corpora.load("toy", tmp_path / "toy")
    assert not (tmp_path / "toy").exists()


def test_the_systems_library_is_the_fallback_of_a_wheel_that_does_not_load(monkeypatch, tmp_path):
    real = toy.find_espeak()[0]
    (tmp_path / "broken.so").write_bytes(b"not a library")
    wheel = types.SimpleNamespace(get_library_path=lambda: str(tmp_path / "broken.so"), get_data_path=lambda: "nowhere")
    monkeypatch.setitem(sys.modules, "espeakng_loader", wheel)
    monkeypatch.setattr(toy.ctypes.util, "find_library", lambda name: real)
    assert toy.find_espeak() == (real, None)
    monkeypatch.setattr(toy.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(SpeechlibError, match=r"no library of it loads \(.*broken.so"):
        toy.find_espeak()


def test_recordings_of_somebody_else_are_not_replaced(tmp_path, capsys):
    """`corpus_root` names a folder of one's own, and `corpus` was forgotten: toy is the default."""
    recordings = tmp_path / "recordings"
    (recordings / "ann").mkdir(parents=True)
    (recordings / "ann/mine.wav").write_bytes(b"precious")
    with pytest.raises(SpeechlibError, match="recordings holds something else than the toy corpus.*corpus=folder"):
        corpora.load("toy", recordings)
    assert main(["corpus", "toy", "--root", str(recordings)]) == 2
    assert "holds something else" in capsys.readouterr().err
    with pytest.raises(SpeechlibError, match="holds something else"):
        toy.build(recordings / "ann/mine.wav")
    assert [path.read_bytes() for path in recordings.rglob("*") if path.is_file()] == [b"precious"]
    assert [path.name for path in tmp_path.iterdir()] == ["recordings"]


def test_a_finished_corpus_is_opened_without_writing(root, corpus, monkeypatch):
    """From a disk that can only be read."""

    def refuse(*_, **__):
        raise OSError("read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert len(list(corpora.load("toy", root).cuts)) == len(list(corpus.cuts))


def test_of_a_damaged_recipe_it_is_made_again(tmp_path, monkeypatch):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/recipe.json").write_text('{"recipe": ')
    made = []
    monkeypatch.setattr(toy, "_speak_in_process", lambda name, part: made.append(name) or [])
    toy.build(tmp_path / "toy")
    assert set(made) == set(toy.VOICES)
