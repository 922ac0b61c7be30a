"""Readers on small hand-made corpora in every layout, with everything that goes wrong in real ones.

tests/test_corpora_real.py reads real recordings, test_corpora_toy.py the bundled corpus.
"""

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile

from speechlib import corpora
from speechlib.errors import SpeechlibError, UnknownName

TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
{end}
<exists>
2
"IntervalTier"
"words"
0
{end}
2
0
0.1
""
0.1
{end}
"stella"
"IntervalTier"
"phones"
0
{end}
2
0
0.1
"sil"
0.1
{end}
"EH1"
"""


def tone(path, seconds=0.4, rate=16000, channels=1, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate, **how)
    return path


def text(path, content, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)
    return path


def said(corpus) -> dict:
    """id -> (speaker, gender, text)."""
    return {c.id: (c.supervisions[0].speaker, c.supervisions[0].gender, c.supervisions[0].text) for c in corpus.cuts}


def tiers(corpus, utterance) -> dict:
    alignment = corpus.cuts[utterance].supervisions[0].alignment or {}
    return {name: [(i.symbol, i.start, round(i.end, 6)) for i in items] for name, items in alignment.items()}


def reasons(corpus) -> str:
    return "\n".join(f"{s.path}: {s.reason}" for s in corpus.skipped)


# ---------------------------------------------------------------------------------------------------------------- names


def test_names_and_unknown_ones(tmp_path):
    assert corpora.names() == ("toy", "vctk", "librispeech", "ljspeech", "timit", "zerospeech", "folder", "manifest")
    with pytest.raises(UnknownName, match="Did you mean 'librispeech'"):
        corpora.load("libri-speech", tmp_path)


@pytest.mark.parametrize("name", ["vctk", "librispeech", "ljspeech", "timit", "zerospeech", "folder", "manifest"])
def test_a_missing_or_empty_corpus_says_what_was_looked_for_where(name, tmp_path, workspace):
    with pytest.raises(SpeechlibError) as error:
        corpora.load(name, tmp_path / "nothing here")
    assert str(tmp_path / "nothing here") in str(error.value)
    assert name in str(error.value)
    with pytest.raises(SpeechlibError, match=str(workspace / "data" / name)):  # the default place
        corpora.load(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpeechlibError, match="empty"):
        corpora.load(name, tmp_path / "empty")


# --------------------------------------------------------------------------------------------------------------- folder


def test_folder_without_any_table(tmp_path):
    tone(tmp_path / "wavs/ann/one.wav")
    tone(tmp_path / "wavs/bob/two.flac", seconds=0.5, rate=48000)
    text(tmp_path / "wavs/ann/one.txt", "Hello there.\n")
    text(tmp_path / "wavs/bob/two.txt", "0 8000 Good morning.\n")
    corpus = corpora.load("folder", tmp_path)
    assert said(corpus) == {"one": ("ann", None, "Hello there."), "two": ("bob", None, "Good morning.")}
    cut = corpus.cuts["two"]
    assert (cut.duration, cut.sampling_rate, cut.num_samples, cut.start) == (0.5, 48000, 24000, 0)
    assert corpus.skipped == ()


def test_folder_of_one_speaker(tmp_path):
    tone(tmp_path / "me/clips/a.wav")
    tone(tmp_path / "me/clips/b.wav")
    assert {speaker for speaker, _, _ in said(corpora.load("folder", tmp_path / "me")).values()} == {"me"}


TABLES = {
    "id|text|speaker": 'a|Hello, you.|ann\nb|Good "day|bob\n',
    "commas": 'utt,speaker,sex,path,text\nx,ann,female,sub/a.wav,"Hello, you."\ny,bob,M,b.wav,"Good ""day"\n',
    "tabs": 'path\tsentence\tclient_id\tgender\na.wav\tHello, you.\tann\tfemale\nb.wav\tGood "day\tbob\tmale\n',
    "commas without header": 'a.wav,"Hello, you.",ann\nb.wav,"Good ""day",bob\n',
    "semicolons": 'file;speaker;text\na;ann;Hello, you.\nb.wav;bob;Good ""day\n',
}


@pytest.mark.parametrize("shape", TABLES)
def test_folder_with_tables_of_many_shapes(tmp_path, shape):
    tone(tmp_path / "sub/a.wav")
    tone(tmp_path / "b.wav")
    suffix = ".tsv" if shape == "tabs" else ".csv"
    text(tmp_path / f"list{suffix}", TABLES[shape], "utf-8-sig" if shape == "tabs" else "utf-8")
    got = {
        name: (speaker, words.replace('""', '"'))
        for name, (speaker, _, words) in said(corpora.load("folder", tmp_path)).items()
    }
    assert got == {"a": ("ann", "Hello, you."), "b": ("bob", 'Good "day')}


def test_folder_like_ljspeech_takes_no_text_for_a_speaker(tmp_path):
    tone(tmp_path / "wavs/LJ001-0001.wav")
    text(tmp_path / "metadata.csv", "LJ001-0001|In 1455, printing|In fourteen fifty-five, printing\n")
    assert said(corpora.load("folder", tmp_path)) == {"LJ001-0001": (tmp_path.name, None, "In 1455, printing")}


def test_podcast_layout_of_melnet(tmp_path):
    """reference/melnet.md 2: corpus/*.wav, metadata_TCC.csv with fileid|grapheme|g2p (MN-01)."""
    tone(tmp_path / "corpus/01_02_0003.wav")
    text(tmp_path / "metadata_TCC.csv", "fileid|grapheme|g2p\n01_02_0003|bom dia a todos|b o~ dZ i a\n01_02_0004|e|e\n")
    corpus = corpora.load("folder", tmp_path)
    assert said(corpus) == {"01_02_0003": (tmp_path.name, None, "bom dia a todos")}
    assert "01_02_0004: there is no such recording" in reasons(corpus)


def test_names_that_repeat_over_speakers_get_the_speaker_in_front(tmp_path):
    for speaker in ("ann", "bob"):
        tone(tmp_path / speaker / "s1.wav")
        text(tmp_path / speaker / "s1.phn", f"0 3200 {speaker[0]}\n")
    text(tmp_path / "metadata.csv", "utt,speaker,gender,text\ns1,ann,F,one\ns1,bob,M,two\n")
    corpus = corpora.load("folder", tmp_path)
    assert said(corpus) == {"ann_s1": ("ann", "F", "one"), "bob_s1": ("bob", "M", "two")}
    assert tiers(corpus, "bob_s1") == {"phone": [("b", 0.0, 0.2)]}


def test_a_name_that_several_recordings_share_is_not_said_to_be_missing(tmp_path):
    for speaker in ("ann", "bob"):
        tone(tmp_path / speaker / "s1.wav")
    tone(tmp_path / "s2.wav")
    text(tmp_path / "metadata.csv", "utt,speaker,gender,text\ns1,eve,F,one\ns2,ann,F,two\ns3,ann,F,three\n")
    why = {skipped.path.rpartition(": ")[2]: skipped.reason for skipped in corpora.load("folder", tmp_path).skipped}
    assert why["s1"] == "several recordings have this name: write its path"
    assert why["s3"] == "there is no such recording"


def test_labels_of_all_formats_beside_the_audio_or_in_a_tree(tmp_path):
    for name in "abcde":
        tone(tmp_path / f"{name}.wav", rate=8000)
    text(tmp_path / "a.phn", "0 800 sil\n800 3200 ah\n")  # in samples of this recording
    text(tmp_path / "a.wrd", "800 3200 uh\n")
    text(tmp_path / "alignments/deep/b.TextGrid", TEXTGRID.format(end=0.4))
    text(tmp_path / "c.lab", "0 1000000 pau\n1000000 4000000 ah\n")
    text(tmp_path / "d.phone.json", '{"w": [{"t": "uh", "b": 0.1, "d": 0.3, "w": [{"t": "AH", "b": 0.1, "d": 0.3}]}]}')
    text(tmp_path / "e_phones.TextGrid", TEXTGRID.format(end=0.4).replace('"words"', '"x"'))
    corpus = corpora.load("folder", tmp_path)
    assert tiers(corpus, "a") == {"phone": [("sil", 0, 0.1), ("ah", 0.1, 0.4)], "word": [("uh", 0.1, 0.4)]}
    assert tiers(corpus, "b") == {"phone": [("sil", 0, 0.1), ("EH1", 0.1, 0.4)], "word": [("stella", 0.1, 0.4)]}
    assert tiers(corpus, "c") == {"phone": [("pau", 0, 0.1), ("ah", 0.1, 0.4)]}
    assert tiers(corpus, "d") == {"phone": [("AH", 0.1, 0.4)], "word": [("uh", 0.1, 0.4)]}
    assert tiers(corpus, "e") == {"phone": [("sil", 0, 0.1), ("EH1", 0.1, 0.4)]}
    assert corpus.skipped == ()


def test_transcripts_beside_the_audio(tmp_path):
    """Of LibriTTS and of the Montreal Forced Aligner."""
    for name in ("19/198/19_198_0", "20/1/20_1_0"):
        tone(tmp_path / f"LibriTTS/train/{name}.wav")
    text(tmp_path / "LibriTTS/train/19/198/19_198_0.original.txt", "In 1455.")
    text(tmp_path / "LibriTTS/train/19/198/19_198_0.normalized.txt", "In fourteen fifty-five.")
    text(tmp_path / "LibriTTS/train/20/1/20_1_0.lab", "in fourteen fifty five\n")
    corpus = corpora.load("folder", tmp_path)
    assert said(corpus) == {
        "19_198_0": ("19", None, "In fourteen fifty-five."),
        "20_1_0": ("20", None, "in fourteen fifty five"),
    }
    assert corpus.skipped == ()


def test_a_corpus_of_bad_files_only_is_an_error_that_names_the_first(tmp_path):
    (tmp_path / "empty.wav").touch()
    with pytest.raises(
        SpeechlibError, match=r"'folder' is empty.*1 could not be used.*empty.wav: is empty \(0 bytes\)"
    ):
        corpora.load("folder", tmp_path)


def test_labels_longer_than_the_audio_are_clipped_and_remarked(tmp_path):
    tone(tmp_path / "a.wav")
    text(tmp_path / "a.phn", "0 3200 sil\n3200 9600 ah\n9600 12800 t\n")  # ends at 0.8 s of 0.4 s
    tone(tmp_path / "b.wav")
    text(tmp_path / "b.phn", "0 3200 sil\n3200 6500 ah\n")  # 6 ms too long: rounding
    corpus = corpora.load("folder", tmp_path)
    assert tiers(corpus, "a") == {"phone": [("sil", 0, 0.2), ("ah", 0.2, 0.4)]}
    assert tiers(corpus, "b") == {"phone": [("sil", 0, 0.2), ("ah", 0.2, 0.4)]}
    assert len(corpus.skipped) == 1
    assert "a.phn: labels end 0.40 s after the recording (0.40 s) and were clipped" in reasons(corpus)


def test_describe_counts(tmp_path):
    tone(tmp_path / "ann/a.wav", seconds=0.6)
    tone(tmp_path / "ann/b.wav", seconds=0.6)
    tone(tmp_path / "bob/c.wav")
    text(tmp_path / "ann/a.phn", "0 100 ah\n")
    text(tmp_path / "metadata.csv", "id,speaker,gender,text\na,ann,F,hi\nb,ann,F,\n")
    table = corpora.describe(corpora.load("folder", tmp_path))
    assert table.loc["ann"].to_dict() == {
        "gender": "F", "utterances": 2, "minutes": pytest.approx(0.02), "text": 1, "phones": 1, "words": 0,
    }  # fmt: skip
    assert table.loc["bob", "gender"] == "?"


# -------------------------------------------------------------------------------------------------------- known corpora


def vctk(root, version="0.80"):
    for speaker in ("p225", "p226"):
        for number in ("001", "002"):
            name = f"{speaker}_{number}"
            if version == "0.80":
                tone(root / f"wav48/{speaker}/{name}.wav", rate=48000)
            else:
                mics = ("mic1",) if speaker == "p226" else ("mic1", "mic2")  # as p280 and p315
                for mic in mics:
                    tone(root / f"wav48_silence_trimmed/{speaker}/{name}_{mic}.flac", rate=48000)
            text(root / f"txt/{speaker}/{name}.txt", "Please call Stella.\n")
            text(root / f"phonemes/{speaker}/{name}.TextGrid", TEXTGRID.format(end=0.4))
    p = "p" if version == "0.92" else ""
    rows = (f"{p}225  23  F    English    Southern  England", f"{p}226  22  M    English    Surrey")
    text(root / "speaker-info.txt", "\n".join(["ID  AGE  GENDER  ACCENTS  REGION", *rows]))
    return root


@pytest.mark.parametrize(("version", "folder"), [("0.80", "VCTK-Corpus"), ("0.92", "VCTK-Corpus-0.92"), ("0.80", ".")])
def test_vctk_of_both_versions(tmp_path, version, folder):
    """VS-01."""
    vctk(tmp_path / folder, version)
    corpus = corpora.load("vctk", tmp_path)
    assert said(corpus) == {
        f"{s}_{n}": (s, g, "Please call Stella.") for s, g in (("p225", "F"), ("p226", "M")) for n in ("001", "002")
    }
    assert tiers(corpus, "p226_002") == {"phone": [("sil", 0, 0.1), ("EH1", 0.1, 0.4)], "word": [("stella", 0.1, 0.4)]}
    assert corpus.cuts["p225_001"].supervisions[0].custom == {"accent": "English"}
    assert corpus.skipped == ()
    if version == "0.92":
        sources = [cut.recording.sources[0].source[-9:] for cut in corpus.cuts]
        assert sources == ["mic2.flac"] * 2 + ["mic1.flac"] * 2


def test_vctk_without_its_parts_gives_one_remark_each(tmp_path):
    """VS-01: missing parts give one clear message."""
    import shutil

    vctk(tmp_path)
    for part in ("txt", "phonemes"):
        shutil.rmtree(tmp_path / part)
    (tmp_path / "speaker-info.txt").unlink()
    corpus = corpora.load("vctk", tmp_path)
    assert [s.path.removeprefix(f"{tmp_path}/") for s in corpus.skipped] == ["txt", "speaker-info.txt", "phonemes"]
    assert "4 of 4 recordings have no transcript" in corpus.skipped[0].reason
    assert said(corpus)["p225_001"] == ("p225", None, None)
    shutil.rmtree(tmp_path / "wav48")
    with pytest.raises(SpeechlibError, match=r"'vctk' is empty: looked for wav48/pNNN/\*.wav"):
        corpora.load("vctk", tmp_path)


def test_librispeech(tmp_path):
    home = tmp_path / "LibriSpeech"
    for name in ("84-121123-0000", "84-121123-0001"):
        tone(home / f"dev-clean/84/121123/{name}.flac")
    tone(home / "train-clean-100/14/208/14-208-0000.flac")
    text(home / "dev-clean/84/121123/84-121123.trans.txt", "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN\n")
    text(home / "SPEAKERS.TXT", ";ID  |SEX|\n84   | F | dev-clean | 8.02 | Christie\n14   | M | train | 25.03 | Kris\n")
    text(tmp_path / "alignments/dev-clean/84/121123/84-121123-0001.TextGrid", TEXTGRID.format(end=0.4))
    corpus = corpora.load("librispeech", tmp_path)
    assert said(corpus) == {
        "14-208-0000": ("14", "M", None),
        "84-121123-0000": ("84", "F", "GO DO YOU HEAR"),
        "84-121123-0001": ("84", "F", "BUT IN"),
    }
    assert corpus.cuts["14-208-0000"].supervisions[0].custom == {"split": "train-clean-100"}
    assert [len(tiers(corpus, name)) for name in sorted(said(corpus))] == [0, 0, 2]
    assert "1 of 3 recordings have no transcript here, such as 14-208-0000" in reasons(corpus)
    part = corpora.load("librispeech", home / "dev-clean")  # one part by its own folder
    assert said(part)["84-121123-0000"] == ("84", "F", "GO DO YOU HEAR")


def test_ljspeech(tmp_path):
    home = tmp_path / "LJSpeech-1.1"
    tone(home / "wavs/LJ001-0001.wav", rate=22050)
    text(home / "metadata.csv", 'LJ001-0001|In 1455 "a|In fourteen fifty-five "a\nLJ001-0002|gone|gone\n')
    text(tmp_path / "alignments/LJ001-0001.TextGrid", TEXTGRID.format(end=0.4))
    corpus = corpora.load("ljspeech", tmp_path)
    assert said(corpus) == {"LJ001-0001": ("LJ", "F", 'In fourteen fifty-five "a')}
    assert len(tiers(corpus, "LJ001-0001")["phone"]) == 2
    assert "1 of its recordings are not there, such as LJ001-0002" in reasons(corpus)
    (home / "metadata.csv").unlink()
    assert "1 of 1 recordings have no transcript" in reasons(corpora.load("ljspeech", home))


def test_timit_with_a_recording_outside_its_folders(tmp_path):
    tone(tmp_path / "stray.wav")
    tone(tmp_path / "TRAIN/DR1/FCJF0/SA1.WAV", format="NIST")
    assert "FCJF0_SA1" in said(corpora.load("timit", tmp_path))


@pytest.mark.parametrize("capitals", [True, False])
def test_timit_sphere_and_riff(tmp_path, capitals):
    case = str.upper if capitals else str.lower
    home = tmp_path / "TIMIT"
    for folder, name in (("train/dr1/fcjf0", "sa1"), ("test/dr8/mpam0", "sa1")):
        tone(home / case(f"{folder}/{name}.wav"), format="NIST")
        text(home / case(f"{folder}/{name}.phn"), "0 3050 h#\n3050 6400 sh\n")
        text(home / case(f"{folder}/{name}.wrd"), "3050 6400 she\n")
        text(home / case(f"{folder}/{name}.txt"), "0 6400 She had your dark suit.\n")
    tone(home / case("train/dr1/fcjf0/sa2.wav"), format="NIST")
    tone(home / (case("train/dr1/fcjf0/sa2.wav") + ".wav"))  # a RIFF copy beside the sphere file
    corpus = corpora.load("timit", tmp_path)
    assert said(corpus) == {
        "FCJF0_SA1": ("FCJF0", "F", "She had your dark suit."),
        "FCJF0_SA2": ("FCJF0", "F", None),
        "MPAM0_SA1": ("MPAM0", "M", "She had your dark suit."),
    }
    assert tiers(corpus, "MPAM0_SA1") == {
        "phone": [("h#", 0, 0.190625), ("sh", 0.190625, 0.4)],
        "word": [("she", 0.190625, 0.4)],
    }
    assert corpus.cuts["MPAM0_SA1"].supervisions[0].custom == {"split": "TEST", "dialect": "DR8"}
    assert len(list(corpus.cuts)) == 3


# ------------------------------------------------------------------------------------------------------------- manifest


def test_manifest_of_cuts_comes_back_as_it_was(tmp_path):
    vctk(tmp_path / "audio")
    corpus = corpora.load("vctk", tmp_path / "audio")
    corpus.cuts.to_file(tmp_path / "cuts.jsonl.gz")
    for root in (tmp_path / "cuts.jsonl.gz", tmp_path):
        again = corpora.load("manifest", root)
        assert said(again) == said(corpus)
        assert tiers(again, "p225_001") == tiers(corpus, "p225_001")


def test_manifest_of_recordings_and_supervisions(tmp_path):
    """What lhotse's recipes write; a recording with several supervisions becomes several utterances."""
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet
    from lhotse.supervision import AlignmentItem

    tone(tmp_path / "talk.wav", seconds=2)
    recording = Recording.from_file(tmp_path / "talk.wav")
    segments = [
        SupervisionSegment("s1", "talk", 0.25, 0.5, speaker="ann", gender="female", text="hi").with_alignment(
            "phones", [AlignmentItem("h", 0.3, 0.1)]
        ),
        SupervisionSegment("s2", "talk", 1.0, 0.75, speaker="bob", gender="Male", text="yo"),
    ]
    RecordingSet.from_recordings([recording]).to_file(tmp_path / "x_recordings_all.jsonl.gz")
    SupervisionSet.from_segments(segments).to_file(tmp_path / "x_supervisions_all.jsonl.gz")
    corpus = corpora.load("manifest", tmp_path)
    assert said(corpus) == {"s1": ("ann", "F", "hi"), "s2": ("bob", "M", "yo")}
    assert [(cut.start, cut.duration) for cut in corpus.cuts] == [(0.25, 0.5), (1.0, 0.75)]
    assert tiers(corpus, "s1") == {"phone": [("h", pytest.approx(0.05), pytest.approx(0.15))]}  # from the cut's start


def test_manifest_whose_audio_is_gone_or_lies_beside_it(tmp_path):
    tone(tmp_path / "here/a.wav")
    tone(tmp_path / "here/b.wav")
    cuts = corpora.load("folder", tmp_path / "here").cuts
    lines = [json.dumps(cut.to_dict()).replace(f"{tmp_path}/here/", "") for cut in cuts]
    text(tmp_path / "here/cuts.jsonl", "\n".join(lines))
    (tmp_path / "here/b.wav").unlink()
    corpus = corpora.load("manifest", tmp_path / "here/cuts.jsonl")
    assert sorted(said(corpus)) == ["a"]
    assert corpus.cuts["a"].recording.sources[0].source == str(tmp_path / "here/a.wav")
    assert "b.wav: does not exist, neither as written nor under" in reasons(corpus)


def test_manifest_that_is_none(tmp_path):
    text(tmp_path / "cuts.jsonl", '{"id": "a", "start": ')
    with pytest.raises(SpeechlibError, match="cuts.jsonl: is not a lhotse manifest"):
        corpora.load("manifest", tmp_path)


# ------------------------------------------------------------------------------------------------------------ downloads


class Server(SimpleHTTPRequestHandler):
    """A file server that understands `Range: bytes=n-` and notes what was asked for."""

    asked: list = []
    breaks_off: list = []  # after so many bytes of an answer; once for each

    def do_GET(self):
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.asked.append((self.path, begin))
        path = self.translate_path(self.path)
        try:
            data = open(path, "rb").read()
        except OSError:
            return self.send_error(404)
        if begin >= len(data):
            return self.send_error(416)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        self.wfile.write(data[begin:][: self.breaks_off.pop() if self.breaks_off else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path):
    """(folder, its URL) of a server on this machine."""
    folder = tmp_path / "server"
    folder.mkdir()
    Server.asked, Server.breaks_off = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def archive(path, folder, kind="bztar") -> str:
    """Pack a folder; its SHA-256."""
    import hashlib
    import shutil

    name = path.name.removesuffix(".tar.bz2").removesuffix(".tar.gz").removesuffix(".zip")
    shutil.make_archive(str(path.with_name(name)), kind, folder)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def ljspeech_archive(tmp_path, served, monkeypatch):
    from speechlib.corpora import ljspeech

    tone(tmp_path / "made/LJSpeech-1.1/wavs/LJ001-0001.wav")
    text(tmp_path / "made/LJSpeech-1.1/metadata.csv", "LJ001-0001|One.|One.\n")
    folder, url = served
    monkeypatch.setattr(ljspeech, "SHA256", archive(folder / "LJSpeech-1.1.tar.bz2", tmp_path / "made"))
    monkeypatch.setattr(ljspeech, "URL", f"{url}/LJSpeech-1.1.tar.bz2")
    return folder / "LJSpeech-1.1.tar.bz2"


def test_download_then_load_and_a_second_call_asks_for_nothing(ljspeech_archive, workspace):
    done = []
    folder = corpora.download("ljspeech", progress=lambda have, size, text: done.append((have, size)))
    assert said(corpora.load("ljspeech")) == {"LJ001-0001": ("LJ", "F", "One.")}
    assert done[-1] == (ljspeech_archive.stat().st_size,) * 2
    corpora.download("ljspeech")
    assert len(Server.asked) == 1
    assert folder == workspace / "data/ljspeech"


def test_download_resumes_where_it_broke_off(ljspeech_archive, tmp_path):
    """Also mistake 15 of the source system: archive and target are looked at before anything is fetched."""
    data = ljspeech_archive.read_bytes()
    root = tmp_path / "target"
    root.mkdir()
    (root / "LJSpeech-1.1.tar.bz2.part").write_bytes(data[:100])
    corpora.download("ljspeech", root)
    assert Server.asked == [("/LJSpeech-1.1.tar.bz2", 100)]
    assert (root / "LJSpeech-1.1/metadata.csv").is_file()

    other = tmp_path / "by hand"  # fetched completely by other means
    other.mkdir()
    (other / "LJSpeech-1.1.tar.bz2").write_bytes(data)
    corpora.download("ljspeech", other)
    assert len(Server.asked) == 1
    assert (other / "LJSpeech-1.1/metadata.csv").is_file()

    third = tmp_path / "all there"  # only the renaming was missing
    third.mkdir()
    (third / "LJSpeech-1.1.tar.bz2.part").write_bytes(data)
    corpora.download("ljspeech", third)
    assert (third / "LJSpeech-1.1/metadata.csv").is_file()


def test_what_a_broken_connection_has_brought_is_kept(ljspeech_archive, tmp_path):
    """A server that closes too early raises nothing by itself."""
    Server.breaks_off = [150]
    with pytest.raises(SpeechlibError, match=r"ended after 150 of [\d,]+ bytes.; run again to resume"):
        corpora.download("ljspeech", tmp_path / "target")
    corpora.download("ljspeech", tmp_path / "target")
    assert Server.asked == [("/LJSpeech-1.1.tar.bz2", 0), ("/LJSpeech-1.1.tar.bz2", 150)]
    assert (tmp_path / "target/LJSpeech-1.1/metadata.csv").is_file()


def test_another_archive_than_expected_is_refused_and_removed(ljspeech_archive, tmp_path):
    ljspeech_archive.write_bytes(ljspeech_archive.read_bytes()[:-10])
    with pytest.raises(SpeechlibError, match="is not the archive expected"):
        corpora.download("ljspeech", tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


def test_download_errors_name_the_url(ljspeech_archive, tmp_path, monkeypatch):
    from speechlib.corpora import librispeech, ljspeech

    monkeypatch.setattr(ljspeech, "URL", ljspeech.URL.replace("1.1", "9.9"))
    with pytest.raises(SpeechlibError, match=r"LJSpeech-9.9.tar.bz2: the server answers 404"):
        corpora.download("ljspeech", tmp_path / "target")
    monkeypatch.setattr(librispeech, "URL", "http://127.0.0.1:9/{part}.tar.gz")
    with pytest.raises(SpeechlibError, match="dev-clean.tar.gz could not be read.*run again to resume"):
        corpora.download("librispeech", tmp_path / "target")
    with pytest.raises(UnknownName, match="Did you mean 'dev-clean'"):
        corpora.download("librispeech", tmp_path / "target", parts=("dev-cleen",))
    with pytest.raises(SpeechlibError, match=r"timit cannot be downloaded.*There are: vctk, librispeech, ljspeech"):
        corpora.download("timit")


def test_a_full_disk_is_told_before_the_download(ljspeech_archive, tmp_path, monkeypatch):
    from speechlib.corpora import fetch

    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SpeechlibError, match=r"needs .* GB.*has 0.0 GB free"):
        corpora.download("ljspeech", tmp_path / "target")


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_an_archive_may_not_write_outside_its_folder(tmp_path, kind):
    import io
    import tarfile
    import zipfile

    from speechlib.corpora import fetch

    path = tmp_path / f"evil.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("fine.txt", "x")
            file.writestr("../escaped.txt", "x")
    else:
        with tarfile.open(path, "w:gz") as file:
            member = tarfile.TarInfo("../escaped.txt")
            member.size = 1
            file.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(SpeechlibError, match="would write outside"):
        fetch.unpack(path, tmp_path / "into")
    assert not (tmp_path / "escaped.txt").exists()
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(SpeechlibError, match="is not a whole archive"):
        fetch.unpack(path, tmp_path / "into")
