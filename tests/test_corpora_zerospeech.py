"""ZeroSpeech read in its layouts, filled with other sounds (WA-01, WA-18), and what models get of it (WA-02, 03)."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import freqz, lfilter

from speechlib import audio, corpora, features, mu_law, packs
from speechlib.corpora import items, splits, zerospeech
from speechlib.corpora.zerospeech import Conversion
from speechlib.errors import BadFile, SpeechlibError
from speechlib.features import FeatureConfig
from speechlib.models.excitation import Emphasis, whiten
from speechlib.packs import PackConfig

RATE = 16_000
MFCC = FeatureConfig("mfcc", n_fft=400, win_length=400, n_mels=80, n_deltas=2)
MEL = FeatureConfig("log_mel", n_fft=400, win_length=400, f_min=125.0, f_max=7_600.0, floor=1e-10)
SOURCE = PackConfig(features=(MFCC, MEL), trim="silence", top_db=60.0, peak_normalise=False, high_pass=70.0)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return 0.3 * np.random.default_rng(seed).uniform(-1, 1, round(seconds * RATE))


def recordings(home: Path, names, seconds: float = 0.3) -> None:
    for k, name in enumerate(names):
        path = home / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(seconds, k), RATE)


def lines(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))


@pytest.fixture
def root(tmp_path) -> Path:
    """English of 2019: two voices, three others, two judged speakers, all lists."""
    home = tmp_path / "data" / "2019" / "english"
    recordings(home / "train/voice", [f"V00{v}_{k:010d}" for v in (1, 2) for k in range(4)])
    recordings(home / "train/unit", [f"S00{s}_{k:010d}" for s in (1, 2, 3) for k in range(2)])
    recordings(home / "test", ["S101_0000000007", "S102_0000000009"])
    lines(home / "synthesis.txt", "english/test/S101_0000000007 V002", "english/test/S102_0000000009.wav V001")
    header = "#file onset offset #phone prev-phone next-phone speaker"
    item = "S101_0000000007 0.05 0.15 iy l z S101"
    lines(tmp_path / "data" / "2019" / "ABXTasks" / "english.item", header, item, item.replace("0.15 iy", "0.45 z"))
    lists = tmp_path / "data" / "share" / "2019" / "english"
    names = ["S101_0000000007", "S102_0000000009"]
    lines(lists / "embedding_filelist.txt", *(f"{name}.txt 0.300000" for name in names))
    lines(lists / "bitrate_filelist.txt", "S102_0000000009.txt 0.300000")
    wanted = [*(f"{name}.txt" for name in names), "V002_0000000007.wav", "V001_0000000009.wav"]
    lines(lists / "required_filelist.txt", *(f"english/test/{name}" for name in wanted))
    return tmp_path / "data"


def speakers(corpus) -> list[str]:
    return sorted({cut.supervisions[0].speaker for cut in corpus.cuts})


# -- 2019 and 2020 -----------------------------------------------------------------------------------------------------


def test_what_is_trained_on(root):
    corpus = corpora.load("zerospeech", root)
    assert speakers(corpus) == ["S001", "S002", "S003", "V001", "V002"]
    assert len(corpus.cuts) == 14
    said = corpus.cuts["V002_0000000003"].supervisions[0]
    assert said.custom == {
        "language": "english", "part": "train/voice", "split": "train", "name": "V002_0000000003",
    }  # fmt: skip
    [note] = corpus.skipped
    assert (note.path, note.reason.split(":")[0]) == (
        str(root / "2019/english/test"), "2 recordings to judge by, not to train on",
    )  # fmt: skip


def test_a_part_is_read_by_its_folder(root):
    home = root / "2019" / "english"
    assert speakers(corpora.load("zerospeech", home / "train/voice")) == ["V001", "V002"]
    assert speakers(corpora.load("zerospeech", home / "train/unit")) == ["S001", "S002", "S003"]
    assert len(corpora.load("zerospeech", home / "train").cuts) == 14
    judged = corpora.load("zerospeech", home / "test")
    assert speakers(judged) == ["S101", "S102"]
    assert judged.skipped == ()


def test_the_map_of_speakers_comes_from_the_data(root, tmp_path):
    """reference 8.12: as many rows as there are speakers to train on, not a number of another corpus."""
    pack = packs.build(corpora.load("zerospeech", root), PackConfig(features=(MFCC,)), tmp_path)
    assert pack.speakers == ["S001", "S002", "S003", "V001", "V002"]
    assert [pack.speakers[s] for s in pack.speaker] == [name.partition("_")[0] for name in pack.utterances]


def test_dev_has_every_frequent_speaker(root):
    """reference 8.9: the first files by name would be S001's alone."""
    cuts = corpora.load("zerospeech", root).cuts
    dev = splits.split(cuts, {"train": 0.5, "val": 0.5}, by="stratified", seed=0)["val"]
    assert {name.partition("_")[0] for name in dev} == set(speakers(corpora.load("zerospeech", root)))


@pytest.mark.parametrize("tail", ["", "/", "//", "/."])
def test_names_do_not_depend_on_how_the_root_is_written(root, tail):
    """reference 8.3."""
    for place in ("", "/2019", "/2019/english", "/2019/english/test"):
        written = corpora.load("zerospeech", f"{root}{place}{tail}")
        plain = corpora.load("zerospeech", f"{root}{place}")
        assert [cut.id for cut in written.cuts] == [cut.id for cut in plain.cuts]
        assert zerospeech.task(f"{root}{place}{tail}") == zerospeech.task(root)


def test_short_recordings_leave_with_their_speakers(root, tmp_path):
    """reference 8.4: what is left out takes its label along; all pairs of name and speaker stay."""
    soundfile.write(root / "2019/english/train/unit/S000_0000000000.wav", noise(0.01), RATE)
    soundfile.write(root / "2019/english/train/unit/S002_0000000000.wav", noise(0.01), RATE)
    pack = packs.build(corpora.load("zerospeech", root), PackConfig(features=(MFCC,)), tmp_path)
    assert len(pack.skipped) == 2
    assert all(pack.speakers[s] == name[:4] for name, s in zip(pack.utterances, pack.speaker))


def test_phones_come_from_the_item_file(root):
    judged = corpora.load("zerospeech", root / "2019/english/test")
    phones = corpora.intervals(judged.cuts["S101_0000000007"])
    assert [(p.symbol, p.start, round(p.end, 3)) for p in phones] == [("iy", 0.05, 0.15), ("z", 0.05, 0.3)]
    assert corpora.intervals(judged.cuts["S102_0000000009"]) == []


def test_the_task_by_the_official_lists(root):
    task = zerospeech.task(root)
    assert task.embeddings == ("S101_0000000007", "S102_0000000009")
    assert task.bitrate == {"S102_0000000009": 0.3}
    assert task.waves == ("V002_0000000007", "V001_0000000009")
    assert task.synthesis == (Conversion("S101_0000000007", "V002"), Conversion("S102_0000000009", "V001"))
    assert (task.edition, task.language, task.is_official) == ("2019", "english", True)
    alone = zerospeech.task(root / "share/2019/english")
    assert alone == task._replace(synthesis=())
    assert zerospeech.tasks(root) == [task]


def test_the_task_without_lists_is_the_test_folder(root):
    import shutil

    shutil.rmtree(root / "share")
    task = zerospeech.task(root)
    assert task.bitrate == {"S101_0000000007": 0.3, "S102_0000000009": 0.3}
    assert task.waves == ("V002_0000000007", "V001_0000000009")
    assert not task.is_official
    (root / "2019/english/synthesis.txt").unlink()
    assert zerospeech.task(root).waves == ()


def test_several_languages_have_to_be_told_apart(root):
    recordings(root / "2019/surprise/train/unit", ["S001_117301"])
    with pytest.raises(SpeechlibError, match="several languages, name the folder of one: .*english, .*surprise"):
        corpora.load("zerospeech", root)
    assert speakers(corpora.load("zerospeech", root / "2019/surprise")) == ["S001"]
    assert [task.language for task in zerospeech.tasks(root)] == ["english", "surprise"]


@pytest.mark.parametrize("missing", ["nothing", "empty", "english/test"])
def test_without_the_licensed_data_it_says_where_they_are_to_be_had(tmp_path, missing):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpeechlibError) as error:
        corpora.load("zerospeech", tmp_path / missing)
    told = str(error.value)
    assert "empty: looked for <language>/train/unit/*.wav" in told
    assert str(tmp_path / missing) in told
    assert "https://download.zerospeech.com" in told
    assert "lay_out" in told


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("2019/english/synthesis.txt", "only/a/path\n", r"line 1.*expected `path target`"),
        ("share/2019/english/bitrate_filelist.txt", "a.txt 1\nb.txt\n", r"line 2.*expected `name.txt seconds`"),
        ("share/2019/english/bitrate_filelist.txt", "a.txt long\n", "line 1"),
    ],
)
def test_lists_that_are_none(root, name, text, told):
    (root / name).write_text(text)
    with pytest.raises(BadFile, match=told):
        zerospeech.task(root)


# -- 2017 --------------------------------------------------------------------------------------------------------------


def test_2017(tmp_path):
    home = tmp_path / "mandarin"
    recordings(home / "train", ["A02_000", "A08_001"])
    for length in ("1s", "10s", "120s"):
        recordings(home / "test" / length, ["0", "1"])
    assert speakers(corpora.load("zerospeech", home)) == ["A02", "A08"]
    judged = corpora.load("zerospeech", home / "test")
    assert [cut.id for cut in judged.cuts] == ["10s_0", "10s_1", "120s_0", "120s_1", "1s_0", "1s_1"]
    assert speakers(judged) == ["unknown"]
    assert [cut.id for cut in corpora.load("zerospeech", home / "test" / "1s").cuts] == ["1s_0", "1s_1"]
    task = zerospeech.task(home)
    assert (task.edition, task.language) == ("2017", "mandarin")
    assert task.embeddings == ("1s_0", "1s_1", "10s_0", "10s_1", "120s_0", "120s_1")


# -- a layout of one's own ---------------------------------------------------------------------------------------------


def labelled_folder(root: Path, n_speakers: int = 5):
    for s in range(n_speakers):
        for k in range(2):
            name = f"voice{s}/voice{s}_{k}"
            recordings(root, [name], 0.5)
            lines(root / f"{name}.phn", "0 1600 sil", "1600 3200 s", "3200 4800 iy", "4800 6400 t", "6400 8000 sil")
    return corpora.load("folder", root)


def test_any_corpus_can_be_laid_out(tmp_path):
    corpus = labelled_folder(tmp_path / "mine")
    home = zerospeech.lay_out(corpus, tmp_path / "laid", "mine", voices=2, judged=2, utterances=2)
    assert speakers(corpora.load("zerospeech", tmp_path / "laid")) == ["S001", "V001", "V002"]
    judged = corpora.load("zerospeech", home / "test")
    assert speakers(judged) == ["S101", "S102"]
    assert [[p.symbol for p in corpora.intervals(cut)] for cut in judged.cuts] == [["iy"]] * 4
    task = zerospeech.task(tmp_path / "laid")
    assert task.is_official
    assert sorted(task.bitrate) == sorted(task.embeddings) == [cut.id for cut in judged.cuts]
    assert set(task.bitrate.values()) == {0.5}
    assert task.waves == tuple(spoken.name for spoken in task.synthesis)
    assert {spoken.target for spoken in task.synthesis} == {"V001", "V002"}
    with pytest.raises(SpeechlibError, match="is not empty"):
        zerospeech.lay_out(corpus, tmp_path / "laid", judged=2)
    with pytest.raises(SpeechlibError, match="5 speakers"):
        zerospeech.lay_out(corpus, tmp_path / "more", judged=4)


def test_items_that_are_laid_out_are_those_of_the_corpus_without_stress(tmp_path):
    """One rule for both: stress is no phone; nothing unlabelled between three phones in a row; silence is none."""
    labelled_folder(tmp_path / "mine")
    spoken = ("0 1600 sil", "1600 3200 s", "3200 4800 AH0", "4800 6400 t", "6480 8000 AH1")
    for k in (3, 4):
        lines(tmp_path / f"mine/voice{k}/voice{k}_0.phn", *spoken)
    corpus = corpora.load("folder", tmp_path / "mine")
    home = zerospeech.lay_out(corpus, tmp_path / "laid", "mine", judged=2, utterances=1)
    laid = items.read_items(zerospeech.item_file(home))
    judged = [cut for cut in corpus.cuts if cut.id.endswith(("voice3_0", "voice4_0"))]
    own = items.items_of_cuts(judged)
    columns = ["onset", "offset", "phone", "previous", "next"]
    assert laid[columns].to_numpy().tolist() == own[columns].to_numpy().tolist() == [[0.2, 0.3, "AH", "s", "t"]] * 2


def test_without_three_phones_in_a_row_there_is_no_item_file(tmp_path):
    labelled_folder(tmp_path / "mine")
    for path in (tmp_path / "mine").rglob("*.phn"):
        lines(path, "0 1600 sil", "1600 3200 s", "3200 8000 sil")
    home = zerospeech.lay_out(corpora.load("folder", tmp_path / "mine"), tmp_path / "laid", "mine", judged=2)
    assert zerospeech.item_file(home) is None
    assert corpora.load("zerospeech", home / "test").cuts


def test_names_of_speakers_to_learn_from_do_not_reach_those_of_the_test(tmp_path):
    many = [SimpleNamespace(supervisions=[SimpleNamespace(speaker=f"p{k}")]) for k in range(107)]
    with pytest.raises(SpeechlibError, match="101 speakers to learn from .* S101"):
        zerospeech.lay_out(SimpleNamespace(name="many", cuts=many), tmp_path / "laid", voices=2, judged=4)


@pytest.mark.real
def test_the_fixture(real_data):
    root = real_data / "zerospeech_mini"
    if not root.is_dir():
        pytest.skip("no zerospeech_mini among the real recordings")
    assert speakers(corpora.load("zerospeech", root)) == ["S001", "S002", "S003", "S004", "V001", "V002"]
    judged = corpora.load("zerospeech", root / "2019/english/test")
    assert speakers(judged) == ["S101", "S102", "S103", "S104"]
    assert sum(len(corpora.intervals(cut)) for cut in judged.cuts) == 340
    task = zerospeech.task(root)
    assert task.is_official
    for cut in judged.cuts:
        assert task.bitrate[cut.id] == pytest.approx(cut.duration, abs=1e-5)


# -- what models are given (WA-02, WA-03) ------------------------------------------------------------------------------


def test_the_high_pass_takes_the_rumble_and_leaves_the_voice_where_it_is():
    from scipy.signal import firwin

    t = np.arange(RATE) / RATE
    hum, voice = np.sin(2 * np.pi * 20 * t), np.sin(2 * np.pi * 400 * t)
    filtered = audio.high_pass(hum + voice, RATE, 70.0)
    middle = slice(2000, -2000)
    assert np.abs(filtered - voice)[middle].max() < 0.16  # the hum is 16.5 dB down, and nothing moved in time
    taps = firwin(255, 70, pass_zero=False, fs=RATE)
    np.testing.assert_allclose(filtered[127:-127], lfilter(taps, 1, hum + voice)[254:], atol=1e-5)
    gain = 20 * np.log10(np.abs(freqz(taps, worN=[70, 150], fs=RATE)[1]))
    np.testing.assert_allclose(gain, [-6, -0.27], atol=0.1)
    assert len(audio.high_pass(voice[:100], RATE, 70.0)) == 100
    for cutoff, n_taps in ((0, 255), (9000, 255), (70, 254)):
        with pytest.raises(SpeechlibError, match="high-pass"):
            audio.high_pass(voice, RATE, cutoff, n_taps)


def test_a_pack_trims_filters_and_then_measures(root, tmp_path):
    corpus = corpora.load("zerospeech", root)
    pack = packs.build(corpus, SOURCE, tmp_path)
    wave, _ = audio.read(corpus.cuts["V001_0000000000"].recording.sources[0].source, RATE)
    start, stop = audio.trim(wave, 60.0)
    expected = audio.high_pass(wave[start:stop], RATE, 70.0)
    i = pack.index_of("V001_0000000000")
    np.testing.assert_allclose(pack.wave(i), expected, atol=1 / 32768)
    assert torch.equal(pack.features(i, "mfcc"), features.extract(pack.wave(i), MFCC))
    assert pack.features(i, "mfcc").shape == (39, len(expected) // 160 + 1)
    assert packs.open(pack.path).config == SOURCE


def test_packs_of_before_are_found_again_and_wrong_filters_are_named(root, tmp_path, monkeypatch):
    """A pack without the filter has the name that it had before there was one."""
    from dataclasses import replace

    from speechlib import configs

    corpus, plain = corpora.load("zerospeech", root), PackConfig(features=(MFCC,))
    before = packs.build(corpus, plain, tmp_path).path
    to_dict = configs.to_dict
    monkeypatch.setattr(configs, "to_dict", lambda c: {k: v for k, v in to_dict(c).items() if k != "high_pass"})
    assert packs.build(corpus, plain, tmp_path).path == before
    monkeypatch.undo()
    assert packs.build(corpus, replace(plain, high_pass=70.0), tmp_path).path != before
    values = configs.to_dict(plain)
    del values["high_pass"]  # as experiments of before were written
    assert configs.from_dict(PackConfig, values) == plain
    with pytest.raises(SpeechlibError, match="high_pass is 8000"):
        PackConfig(high_pass=8000.0)


def test_nothing_is_trimmed_off_a_test_file_and_the_shortest_works(root, tmp_path):
    """0.088 s is the shortest English test file: 9 frames; and leading silence stays, as rows have their time."""
    from dataclasses import replace

    silent_first = np.concatenate([np.zeros(RATE), noise(0.5)])
    soundfile.write(root / "2019/english/test/S101_0000000001.wav", silent_first, RATE)
    soundfile.write(root / "2019/english/test/S101_0000000002.wav", noise(0.088), RATE)
    pack = packs.build(corpora.load("zerospeech", root / "2019/english/test"), replace(SOURCE, trim="none"), tmp_path)
    assert pack.n_samples[pack.index_of("S101_0000000001")] == len(silent_first)
    short = pack.features(pack.index_of("S101_0000000002"), "mfcc")
    assert short.shape == (39, 9)
    assert short.isfinite().all()
    assert not pack.skipped


def snr(wave, other) -> float:
    return float(10 * np.log10(np.sum(np.square(wave)) / np.sum(np.square(wave - other))))


def test_the_chain_to_codes_and_back():
    """High-passed wave -> x 0.55, pre-emphasis 0.85, clipped, mu-law codes -> mu-law, de-emphasis, / 0.55 -> wave.

    What the codes lose lies 30 dB below the wave; with the scale left on, hardly anything would be the same."""
    rng = np.random.default_rng(0)
    wave = audio.high_pass(lfilter([1], [1, -1.6, 0.7], rng.normal(size=RATE)), RATE, 70.0)
    wave *= 0.6 / np.abs(wave).max()
    excited = whiten(torch.from_numpy(wave)[None], Emphasis(0.85, 0.55)(None, len(wave)))[0]
    expected = np.clip(0.55 * (wave - 0.85 * np.append(0, wave[:-1])), -1, 1)
    np.testing.assert_allclose(excited, expected, atol=1e-6)
    back = lfilter([1], [1, -0.85], mu_law.decode(mu_law.encode(excited)).numpy()) / 0.55
    assert snr(wave, back) > 30
    assert snr(wave, 0.55 * back) < 10


def test_all_256_codes_come_back():
    """reference 8.11: one mu for both directions."""
    codes = torch.arange(256)
    assert torch.equal(mu_law.encode(mu_law.decode(codes)), codes)


def test_statistics_are_those_of_the_training_part_and_can_be_undone(root, tmp_path):
    """WA-03."""
    corpus = corpora.load("zerospeech", root)
    pack = packs.build(corpus, SOURCE, tmp_path)
    part = splits.split(corpus.cuts, {"train": 0.6, "val": 0.4}, by="stratified")
    train = [pack.index_of(name) for name in part["train"]]
    statistics = packs.statistics(pack, train, "mfcc")
    frames = torch.cat([pack.features(i, "mfcc") for i in train], dim=1)
    torch.testing.assert_close(statistics.mean, frames.mean(dim=1), atol=1e-4, rtol=1e-4)
    normal = statistics.normalise(frames)
    torch.testing.assert_close(normal.std(dim=1, correction=0), torch.ones(39), atol=1e-3, rtol=0)
    torch.testing.assert_close(statistics.denormalise(normal), frames, atol=1e-4, rtol=1e-4)
    judged = packs.statistics(pack, [pack.index_of(name) for name in part["val"]], "mfcc")
    assert not torch.allclose(judged.mean, statistics.mean)
