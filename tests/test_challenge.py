"""ZeroSpeech submissions: the text format, a whole one end to end, and every way to break it (WA-12 to WA-18)."""

import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from speechlib import audio, corpora, inversion, packs, presets, systems
from speechlib.__main__ import main
from speechlib.challenge import embeddings, leaderboard, proxies, results, submission, validation
from speechlib.challenge.submission import Metadata
from speechlib.corpora import zerospeech
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.features import FeatureConfig
from speechlib.figures import leaderboard as leaderboard_figures
from speechlib.figures import style
from speechlib.packs import PackConfig
from speechlib.systems import entrant

RATE = 16_000
MFCC = FeatureConfig("mfcc", n_fft=400, win_length=400, n_mels=80, n_deltas=2)
PACK = PackConfig(features=(MFCC,), peak_normalise=False, high_pass=70.0)
ABOUT = Metadata("every fourth frame of MFCC, spoken by Griffin-Lim", author="nobody", affiliation="nowhere")


def encode(features: torch.Tensor) -> np.ndarray:
    """(39, T) -> (ceil(T / 4), 39): a trivial system of 25 rows per second."""
    return features[:, ::4].T.numpy()


def speak(features: torch.Tensor, speaker: str) -> np.ndarray:
    return inversion.to_audio(features, MFCC, n_iter=2).numpy()


# -- the text format ---------------------------------------------------------------------------------------------------


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=st.floats(-1e5, 1e5)))
@settings(max_examples=60)
def test_rows_come_back_to_six_decimals(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "x.txt"
    embeddings.write(path, rows)
    np.testing.assert_allclose(embeddings.read(path), rows, atol=5.1e-7, rtol=0)
    again = path.with_name("y.txt")
    embeddings.write(again, embeddings.read(path))
    assert again.read_bytes() == path.read_bytes()  # what was written once is not rounded further


def test_the_format_to_the_byte(tmp_path):
    embeddings.write(tmp_path / "x.txt", [[1, -0.5], [1e-7, 123456.7891234]])
    assert (tmp_path / "x.txt").read_text() == "1.000000 -0.500000\n0.000000 123456.789123\n"
    embeddings.write(tmp_path / "t.txt", [[1.0], [2.0]], times=[0.02, 0.06])
    assert (tmp_path / "t.txt").read_text() == "0.020000 1.000000\n0.060000 2.000000\n"


def test_empty_lines_are_skipped(tmp_path):
    (tmp_path / "x.txt").write_text("\n1 2\n\n3e0 4\n ")
    assert embeddings.read(tmp_path / "x.txt").tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("rows", [np.zeros(3), np.zeros((0, 3)), np.zeros((2, 2, 2)), [[np.inf]]])
def test_what_is_no_embedding_is_not_written(tmp_path, rows):
    with pytest.raises(SpeechlibError, match="x.txt: "):
        embeddings.write(tmp_path / "x.txt", rows)
    assert not (tmp_path / "x.txt").exists()


# -- one that is whole -------------------------------------------------------------------------------------------------


PHONES = {"sil": (20, 60), "s": (4500, 7800), "iy": (200, 700), "t": (1500, 3000)}  # hertz of noise
SAID = ("sil", "s", "iy", "t", "s", "iy", "t", "sil")


def utterance(rng, length: int, tilt: float) -> tuple[np.ndarray, str]:
    """Bands of noise, one after the other, of a speaker whose highs are louder by `tilt`; and their .phn."""
    pieces, rows, step = [], [], length // len(SAID)
    for k, phone in enumerate(SAID):
        sound = rng.normal(size=length - k * step if k == len(SAID) - 1 else step)
        bins = np.fft.rfftfreq(len(sound), 1 / RATE)
        spectrum = (
            np.fft.rfft(sound) * ((bins > PHONES[phone][0]) & (bins < PHONES[phone][1])) * (1 + bins / 8000) ** tilt
        )
        pieces.append(np.fft.irfft(spectrum, len(sound)) + 0.01 * rng.normal(size=len(sound)))
        rows.append(f"{k * step} {k * step + len(sound)} {phone}")
    wave = np.concatenate(pieces)
    return 0.3 * wave / np.abs(wave).max(), "\n".join(rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A miniature of the English data: voices V001 and V002, S001 to learn from, S101 and S102 to judge."""
    root = tmp_path_factory.mktemp("zerospeech")
    rng = np.random.default_rng(0)
    for speaker in range(5):
        for k in range(2):
            path = root / "mine" / f"voice{speaker}" / f"voice{speaker}_{k}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            wave, labels = utterance(rng, 6000 + 700 * k, float(speaker))
            soundfile.write(path, wave, RATE)
            path.with_suffix(".phn").write_text(labels)
    mine = corpora.load("folder", root / "mine")
    zerospeech.lay_out(mine, root / "data", "english", judged=2, utterances=2, spoken=2)
    return root / "data"


@pytest.fixture(scope="module")
def judged(data):
    return packs.build(corpora.load("zerospeech", data / "2019/english/test"), PACK, data / "packs")


@pytest.fixture(scope="module")
def original(data, judged, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("submission")
    task = zerospeech.task(data / "2019/english")
    submission.write_embeddings(root, task, judged, encode, "mfcc")
    submission.write_speech(root, task, judged, speak, "mfcc")
    submission.write_metadata(root, ABOUT)
    return root


@pytest.fixture
def handed_in(original, tmp_path) -> Path:
    """A copy to be broken."""
    import shutil

    return Path(shutil.copytree(original, tmp_path / "submission"))


@pytest.fixture
def task(data):
    return zerospeech.task(data / "2019/english")


def only_english(findings) -> list:
    """Without the one remark that the surprise language is missing."""
    return [f for f in findings if "has no surprise" not in f.problem]


def test_a_whole_submission(original, data, judged, task):
    """WA-12, WA-13: a row per code for every test file, and every listed recording as long as its source."""
    names = {path.relative_to(original).as_posix() for path in original.rglob("*") if path.is_file()}
    folder = "2019/english/test"
    expected = {f"{folder}/{name}.txt" for name in task.embeddings} | {f"{folder}/{name}.wav" for name in task.waves}
    assert names == expected | {"metadata.yaml", "2019/metadata.yaml"}
    for name in task.embeddings:
        rows = embeddings.read(original / folder / f"{name}.txt")
        i = judged.index_of(name)
        assert rows.shape == (math.ceil(judged.n_frames[i] / 4), 39)
        np.testing.assert_allclose(rows, encode(judged.features(i, "mfcc")), atol=1e-5, rtol=1e-6)
    for spoken in task.synthesis:
        assert spoken.name == f"{spoken.target}_{spoken.source.partition('_')[2]}"
        wave, rate = audio.read(original / folder / f"{spoken.name}.wav")
        assert rate == RATE
        assert abs(len(wave) - judged.n_samples[judged.index_of(spoken.source)]) <= 640
    findings = validation.validate(original, [task])
    assert only_english(findings) == []
    assert validation.is_valid(findings)


def test_names_do_not_depend_on_how_folders_are_written(data, judged, task, tmp_path):
    """reference 8.3."""
    written = {}
    for tail in ("", "/", "//"):
        root = f"{tmp_path}/out{len(tail)}"
        own = zerospeech.task(f"{data}{tail}")
        paths = submission.write_embeddings(f"{root}{tail}", own, judged, encode, "mfcc")
        written[tail] = [path.relative_to(root).as_posix() for path in paths]
    assert written[""] == written["/"] == written["//"]
    assert written[""][0] == f"2019/english/test/{task.embeddings[0]}.txt"


def test_metadata_has_the_official_keys(original):
    top = yaml.safe_load((original / "metadata.yaml").read_text())
    assert top == {"author": "nobody", "affiliation": "nowhere", "open source": False}
    about = yaml.safe_load((original / "2019/metadata.yaml").read_text())
    assert about == {
        "abx distance": "dtw_cosine", "system description": ABOUT.system_description,
        "using parallel train": False, "using external data": False,
    }  # fmt: skip
    with pytest.raises(UnknownName, match="dtw_cosine"):
        replace(ABOUT, abx_distance="cosine")
    with pytest.raises(SpeechlibError, match="system_description is empty"):
        replace(ABOUT, system_description=" ")


def test_bit_rate_and_official_results(original, task):
    """WA-14, WA-15: unlike rows cost the cap; JSON as the official evaluation writes it."""
    found = results.bitrates(original, task)["test"]
    seconds = sum(task.bitrate.values())
    assert found.rows == sum(math.ceil((round(length * RATE) // 160 + 1) / 4) for length in task.bitrate.values())
    assert (
        found.bits_per_second == pytest.approx(found.cap) == pytest.approx(found.rows / seconds * math.log2(found.rows))
    )
    asked = []

    def abx(rows, distance):
        asked.append(distance)
        assert sorted(rows) == sorted(task.embeddings)
        return {"cosine": 12.5, "KL": None, "levenshtein": 45.0}[distance]

    scores = json.loads(json.dumps(results.score(original, [task], {"english": abx})))
    assert asked == ["cosine", "KL", "levenshtein"]
    assert scores["2019"]["english"] == {
        "scores": {"abx": 12.5, "bitrate": found.bits_per_second},
        "details_bitrate": {"test": found.bits_per_second},
        "details_abx": {"test": {"cosine": 12.5, "KL": None, "levenshtein": 45.0}},
        "cap_bitrate": {"test": found.cap},
    }
    without = results.score(original, [task])["2019"]["english"]
    assert without["scores"]["abx"] is None
    assert without["note"] == "english: ABX not scorable locally, no scorer was given"
    with pytest.raises(SpeechlibError, match="'dtw_cosine' is none of cosine"):
        results.score(original, [task], distance="dtw_cosine")
    with pytest.raises(SpeechlibError, match="no embeddings in"):
        results.score(original, [task._replace(language="surprise")])


def test_the_scorer_counts_triples_of_the_items():
    """Two speakers say a and b in one context. By hand: x of the other speaker is as near to b as to a (a tie) for
    half of the pairs, and nearer to a for the others. Row k of N stands at k / N of the file's seconds."""
    rows = {"s1": np.array([[1.0, 0], [0, 1.0]]), "s2": np.array([[1.0, 0], [1.0, 0]])}
    columns = ["file", "onset", "offset", "phone", "previous", "next", "speaker"]
    items = pandas.DataFrame(
        [
            (file, onset, onset + 0.4, phone, "p", "n", file)
            for file in rows
            for onset, phone in ((0.0, "a"), (0.5, "b"))
        ],
        columns=columns,
    )
    scorer = results.abx_scorer(items, dict.fromkeys(rows, 1.0))
    # a of s1 and x of s2 are alike, b of s1 is not: 0 %; from s2 to s1: a and b of s2 are alike, a tie: 50 %; for b
    # as a: x = b of s2 equals a of s1 and not b of s1: 100 %; from s2: a tie again, 50 %. Mean: 50 %
    assert scorer(rows, "cosine") == pytest.approx(50.0)
    assert scorer(rows, "levenshtein") == pytest.approx(50.0)
    assert scorer(rows, "KL") >= 0
    assert scorer({file: -one for file, one in rows.items()}, "KL") is None
    assert scorer({file: one * [[1], [0]] for file, one in rows.items()}, "KL") is None  # a row of zeros
    assert scorer({"unheard": rows["s1"]}, "cosine") is None
    assert scorer({"s1": rows["s1"]}, "cosine") is None  # one speaker: no triple across
    alike = {"s1": rows["s1"], "s2": rows["s1"], "unheard": rows["s1"]}  # a file without items is not asked for
    assert scorer(alike, "cosine") == pytest.approx(0.0, abs=1e-6)


def test_surprise_is_not_scorable_locally(original, task, tmp_path):
    (tmp_path / "2019").mkdir()
    (tmp_path / "2019/surprise").symlink_to(original / "2019/english")
    scores = results.score(tmp_path, [task._replace(language="surprise")])
    assert scores["2019"]["surprise"]["note"] == "surprise: ABX not scorable locally, its items are not public"
    assert scores["2019"]["surprise"]["scores"]["bitrate"] > 0


def test_a_zip_is_the_same_every_time(handed_in, tmp_path):
    (handed_in / ".hidden").write_text("x")
    first = submission.export(handed_in, tmp_path / "a.zip")
    second = submission.export(handed_in, handed_in / "b.zip")
    assert first.read_bytes() == second.read_bytes() == submission.export(handed_in, handed_in / "b.zip").read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        archive.extractall(tmp_path / "again")
    assert "2019/metadata.yaml" in names
    assert ".hidden" not in names
    (tmp_path / "none").mkdir()
    with pytest.raises(SpeechlibError, match="holds no files"):
        submission.export(tmp_path / "none", tmp_path / "c.zip")


def test_what_cannot_be_written_is_said(judged, task, tmp_path):
    trimmed = type("Pack", (), {"config": replace(PACK, trim="silence")})
    with pytest.raises(SpeechlibError, match="the pack was trimmed"):
        submission.write_embeddings(tmp_path, task, trimmed, encode, "mfcc")
    with pytest.raises(SpeechlibError, match="'S109_1' is none of the 4 utterances"):
        submission.write_embeddings(tmp_path, task._replace(embeddings=("S109_1",)), judged, encode, "mfcc")
    sizes = iter(range(2, 9))
    with pytest.raises(SpeechlibError, match="have 3 numbers, those before them 2"):
        submission.write_embeddings(tmp_path, task, judged, lambda x: np.ones((4, next(sizes))), "mfcc")
    with pytest.raises(SpeechlibError, match="has 100 samples, its source 6000: more than 0.04 s apart"):
        submission.write_speech(tmp_path, task, judged, lambda x, speaker: np.zeros(100), "mfcc")
    with pytest.raises(UnknownName, match="part of a submission"):
        submission.write_embeddings(tmp_path, task, judged, encode, "mfcc", part="tests")


def test_a_system_may_read_waves_and_speak_at_another_rate(data, task, tmp_path):
    slow = replace(PACK, sample_rate=8000, features=(replace(MFCC, sample_rate=8000, hop_length=80),))
    pack = packs.build(corpora.load("zerospeech", data / "2019/english/test"), slow, tmp_path / "packs")
    heard = []
    submission.write_speech(tmp_path, task, pack, lambda x, name: heard.append((len(x), name)) or x.numpy(), "wave")
    assert heard[0] == (3000, "V001")
    wave, rate = audio.read(submission.place(tmp_path, task) / f"{task.waves[0]}.wav")
    assert (len(wave), rate) == (6000, RATE)


def test_targets_have_a_reference(data, tmp_path):
    """WA-13: by config, not by a name in the code."""
    voices = packs.build(corpora.load("zerospeech", data / "2019/english/train/voice"), PACK, tmp_path)
    name = next(name for name in voices.utterances if name.startswith("V002"))
    longest = max(
        (i for i in range(len(voices)) if voices.utterances[i][:4] == "V001"), key=lambda i: voices.n_samples[i]
    )
    found = submission.references(voices, ["V001", "V002"], "mfcc", {"V002": name})
    assert torch.equal(found["V002"], voices.features(voices.index_of(name), "mfcc"))
    assert torch.equal(found["V001"], voices.features(longest, "mfcc"))
    with pytest.raises(UnknownName, match="speaker of pack .* 'V003'"):
        submission.references(voices, ["V003"], "mfcc")
    with pytest.raises(SpeechlibError, match=f"{name} is spoken by V002, not by V001"):
        submission.references(voices, ["V001"], "mfcc", {"V001": name})


# -- proxies -----------------------------------------------------------------------------------------------------------


def test_proxies_hear_what_is_said_and_by_whom(data, judged, task, tmp_path):
    """WA-17: recordings of the voice asked for are taken for it, and have the phones of recordings; noise has not."""
    voices = packs.build(corpora.load("zerospeech", data / "2019/english"), PACK, tmp_path / "packs")
    who, what = proxies.fit(voices, judged, task)
    own = {name: voices.wave(i).numpy() for i, name in enumerate(s[:4] for s in voices.utterances)}
    submission.write_speech(tmp_path, task, judged, lambda x, target: np.resize(own[target], len(x)), "wave")
    assert proxies.measure(tmp_path, task, judged, voices, who, what).similarity == 1.0
    submission.write_speech(tmp_path, task, judged, lambda x, target: np.resize(own["S001"], len(x)), "wave")
    assert proxies.measure(tmp_path, task, judged, voices, who, what).similarity == 0.0
    submission.write_speech(tmp_path, task, judged, lambda x, target: x.numpy(), "wave")
    found = proxies.measure(tmp_path, task, judged, voices, who, what)
    assert found.files == 2
    assert found.phones == 2 * 4
    assert found.phone_errors == found.recording_errors == 0.0
    hum = np.sin(np.arange(7000) * 0.1)
    submission.write_speech(tmp_path, task, judged, lambda x, target: hum[: len(x)], "wave")
    assert proxies.measure(tmp_path, task, judged, voices, who, what).phone_errors > 0.4
    nothing = task._replace(synthesis=())
    with pytest.raises(SpeechlibError, match="no synthesis list"):
        proxies.measure(tmp_path, nothing, judged, voices, who, what)
    everything = task._replace(synthesis=zerospeech.deal(task.embeddings, ["V001"]))
    with pytest.raises(SpeechlibError, match="all 4 test files are synthesised"):
        proxies.fit(voices, judged, everything)


def test_a_codec_is_two_functions(workspace, data, task):
    """Rows of codes repeat as the codes do; a trained voice speaks as long as its source."""
    home = data / "2019/english"
    changes = {
        "training.steps": 2,
        "training.validate_every": 2,
        "training.checkpoint_every": 2,
        "split.by": "stratified",
    }
    changes |= {"training.n_frames": 24, "training.record_every": 2, "split.parts": {"train": 0.5, "val": 0.5}}
    experiment = presets.get("vqvae", "smoke", "zerospeech", str(home), 0, changes)
    trained = systems.load(systems.train(experiment))
    assert trained.data.pack.speakers == ["S001", "V001", "V002"]
    assert trained.model.speakers.num_embeddings == 3  # reference 8.12: of the data, not 153
    pack = packs.build(corpora.load("zerospeech", home / "test"), replace(experiment.pack, trim="none"))
    x = pack.features(0, "mfcc")
    z_q, z_e, codes = (entrant.encoder(trained, point)(x) for point in entrant.POINTS)
    assert len(z_q) == len(z_e) == len(codes)
    assert codes.shape[1] == 1
    table = trained.model.quantizer.codebook.detach().numpy()
    np.testing.assert_allclose(z_q, table[codes[:, 0]], atol=1e-6)
    written = submission.write_speech(workspace, task, pack, entrant.voice(trained), "mfcc")
    assert len(written) == 2
    with pytest.raises(UnknownName, match="speaker 'V009'"):
        entrant.voice(trained)(x, "V009")
    with pytest.raises(SpeechlibError, match="this vqvae reads no voice off a reference"):
        entrant.voice(trained, {"V001": x})
    with pytest.raises(UnknownName, match="point of a model"):
        entrant.encoder(trained, "z")


@pytest.mark.parametrize("system", ["vqvae_wavenet", "wavenet_autoencoder"])
def test_a_recording_that_is_no_whole_codes_has_rows(system):
    """Encoders with strides take whole codes only, and half of all recordings are none."""
    model = systems.blank(experiment := presets.get(system, "smoke")).eval()
    trained = systems.Trained(model, experiment, None, None)
    x = torch.randn(model.sizes["n_features"], 33)
    z_q, z_e = (entrant.encoder(trained, point)(x) for point in ("z_q", "z_e"))
    assert len(z_q) == len(z_e) >= 33 // experiment.model.stride


# -- auxiliary embeddings ----------------------------------------------------------------------------------------------


def test_auxiliary_embeddings(handed_in, data, judged, task):
    submission.write_embeddings(handed_in, task, judged, lambda x: encode(x).round(), "mfcc", "auxiliary_embedding1")
    findings = validation.validate(handed_in, [task])
    assert [(f.path, f.problem) for f in findings if f.severity == "error"] == [
        ("2019/metadata.yaml", "lacks `auxiliary1 description`")
    ]
    submission.write_metadata(handed_in, replace(ABOUT, auxiliary1_description="rounded"))
    assert only_english(validation.validate(handed_in, [task])) == []
    found = results.bitrates(handed_in, task)
    assert set(found) == {"test", "auxiliary_embedding1"}
    few = task._replace(bitrate={task.embeddings[0]: 0.4})  # a list that is shorter, as the official one is
    (handed_in / "2019/english/auxiliary_embedding1" / f"{task.embeddings[1]}.txt").unlink()
    [found] = only_english(validation.validate(handed_in, [few]))
    assert found[:3] == (
        "warning",
        "2019/english/auxiliary_embedding1",
        "holds 3 of 4 test files: enough for its bit rate",
    )
    (handed_in / "2019/english/auxiliary_embedding1").rename(handed_in / "2019/english/auxiliary_embedding2")
    told = [f.problem for f in validation.validate(handed_in, [task])]
    assert "auxiliary_embedding2 without auxiliary_embedding1" in told
    assert "lacks `auxiliary2 description`" in told


def test_auxiliary_embeddings_are_of_all_languages_or_of_none(handed_in, task):
    import shutil

    shutil.copytree(handed_in / "2019/english", handed_in / "2019/surprise")
    shutil.copytree(handed_in / "2019/english/test", handed_in / "2019/english/auxiliary_embedding1")
    findings = validation.validate(handed_in, [task, task._replace(language="surprise")])
    [found] = [f for f in findings if f.path == "2019/surprise/auxiliary_embedding1"]
    assert found[:3] == ("error", "2019/surprise/auxiliary_embedding1", "is missing, and english has it")


# -- broken ones -------------------------------------------------------------------------------------------------------


def text_of(root: Path, task, k: int = 0) -> Path:
    return root / "2019/english/test" / f"{task.embeddings[k]}.txt"


def wave_of(root: Path, task, k: int = 0) -> Path:
    return root / "2019/english/test" / f"{task.waves[k]}.wav"


def metadata(root: Path, name="2019/metadata.yaml", **changes) -> None:
    values = yaml.safe_load((root / name).read_text()) | {key.replace("_", " "): v for key, v in changes.items()}
    (root / name).write_text(yaml.safe_dump({key: value for key, value in values.items() if value != "absent"}))


def extra_folder(root: Path, task) -> None:
    (root / "notes").mkdir()


def noise(n=3000):
    return 0.1 * np.random.default_rng(0).normal(size=n)


def with_code(root: Path, task, is_open: bool, has: bool) -> None:
    metadata(root, "metadata.yaml", open_source=is_open)
    if has:
        (root / "2019/code").mkdir()
        (root / "2019/code/train.py").write_text("pass")


BREAKS = {
    "an embedding is missing": (lambda r, t: text_of(r, t).unlink(), "error", "is missing", "encode it"),
    "a recording is missing": (lambda r, t: wave_of(r, t).unlink(), "error", "is missing", "synthesise it"),
    "a file too many": (
        lambda r, t: (text_of(r, t).parent / "S999_1.txt").write_text("1 2\n"), "warning", "is on no list", "take it",
    ),
    "rows of unequal length": (
        lambda r, t: text_of(r, t).write_text("1 2\n1 2 3\n"), "error", "line 2: has 3 numbers", "write it anew",
    ),
    "no numbers": (lambda r, t: text_of(r, t).write_text("one two\n"), "error", "'one', which is no number", ""),
    "an empty embedding": (lambda r, t: text_of(r, t).write_text(""), "error", "holds no rows", ""),
    "vectors of another size": (
        lambda r, t: embeddings.write(text_of(r, t), np.ones((3, 7))), "error",
        "has rows of 7 numbers, 3 other files have 39", "encode all files by one model",
    ),
    "NaN": (lambda r, t: text_of(r, t).write_text("nan 1\n"), "error", "NaN", ""),
    "an empty recording": (lambda r, t: wave_of(r, t).write_bytes(b""), "error", "is empty (0 bytes)", "synthesise"),
    "a recording without samples": (
        lambda r, t: soundfile.write(wave_of(r, t), np.zeros(0), RATE), "error", "holds no samples", "",
    ),
    "no recording": (lambda r, t: wave_of(r, t).write_text("not a sound"), "error", "cannot be decoded", ""),
    "a recording that was cut": (
        lambda r, t: wave_of(r, t).write_bytes(wave_of(r, t).read_bytes()[:500]), "error", "is truncated", "",
    ),
    "another rate": (
        lambda r, t: soundfile.write(wave_of(r, t), noise(), 22_050), "error", "has 22050 Hz", "to 16000 Hz",
    ),
    "two channels": (
        lambda r, t: soundfile.write(wave_of(r, t), np.stack([noise()] * 2, 1), RATE), "warning", "has 2 channels", "",
    ),
    "silence": (lambda r, t: soundfile.write(wave_of(r, t), np.zeros(900), RATE), "warning", "is silent", "listen"),
    "no metadata": (lambda r, t: (r / "2019/metadata.yaml").unlink(), "error", "is missing", "abx distance"),
    "no metadata on top": (lambda r, t: (r / "metadata.yaml").unlink(), "error", "is missing", "author"),
    "metadata that is none": (lambda r, t: (r / "metadata.yaml").write_text("a: ["), "error", "is not YAML", ""),
    "metadata of one word": (lambda r, t: (r / "metadata.yaml").write_text("hello"), "error", "holds 'hello'", ""),
    "a key is missing": (
        lambda r, t: metadata(r, using_external_data="absent"), "error", "lacks `using external data`", "true or false",
    ),
    "a key of another kind": (
        lambda r, t: metadata(r, using_external_data="no"), "error", "`using external data` is 'no'", "true or false",
    ),
    "a key too many": (lambda r, t: metadata(r, colour="red"), "error", "`colour` is none of its keys", ""),
    "a key that one release refuses": (
        lambda r, t: metadata(r, hyperparameters="K 256"), "warning", "has `hyperparameters`", "system description",
    ),
    "an unknown distance": (
        lambda r, t: metadata(r, abx_distance="cosine"), "error", "`abx distance` is 'cosine'", "dtw_cosine",
    ),
    "KL of what is no probability": (
        lambda r, t: metadata(r, abx_distance="dtw_kl"), "warning", "KL divergence of those is NaN", "dtw_cosine",
    ),
    "a folder too many": (extra_folder, "error", "has no place here", "take it out"),
    "open without code": (lambda r, t: with_code(r, t, True, False), "error", "`open source` is true", "add the code"),
    "code, but not open": (lambda r, t: with_code(r, t, False, True), "error", "`open source` is not true", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_every_break_is_found_and_told_what_to_do(handed_in, task, name):
    """One thing is broken, one finding more is there: what, where, and what to do (WA-16)."""
    do, severity, problem, advice = BREAKS[name]
    do(handed_in, task)
    found = only_english(validation.validate(handed_in, [task]))
    assert len(found) == 1, found
    assert found[0].severity == severity
    assert problem in found[0].problem
    assert advice in found[0].advice
    assert found[0].path
    assert validation.is_valid(found) == (severity == "warning")
    assert validation.table(found).columns.tolist() == ["severity", "path", "problem", "what to do"]


def test_an_open_submission_with_code_is_whole(handed_in, task):
    with_code(handed_in, task, True, True)
    assert only_english(validation.validate(handed_in, [task])) == []


def test_rows_of_one_number_are_warned_of(handed_in, task):
    for k in range(len(task.embeddings)):
        embeddings.write(text_of(handed_in, task, k), np.ones((3, 1)))
    [found] = only_english(validation.validate(handed_in, [task]))
    assert (found.severity, found.path) == ("warning", "2019/english/test")
    assert "the ABX scorer skips those lines" in found.problem


def test_a_language_that_is_missing(handed_in, task):
    findings = validation.validate(handed_in, [task, task._replace(language="surprise")])
    assert [f[:3] for f in findings] == [("error", "2019/surprise", "is missing")]
    (handed_in / "2019/english").rename(handed_in / "2019/anglais")
    told = {f.path: f.problem for f in validation.validate(handed_in, [task])}
    assert told["2019/anglais"] == "has no place here"
    assert told["2019/english"] == "is missing"


def test_without_lists_only_what_is_there_is_checked(handed_in, task):
    text_of(handed_in, task).unlink()
    text_of(handed_in, task, 1).write_text("x")
    findings = only_english(validation.validate(handed_in))
    assert {(f.severity, f.path.rpartition("/")[2]) for f in findings} == {
        ("warning", "english"), ("error", text_of(handed_in, task, 1).name),
    }  # fmt: skip


def test_no_submission_at_all(tmp_path):
    with pytest.raises(SpeechlibError, match="is not a folder"):
        validation.validate(tmp_path / "none")
    assert {f.problem for f in validation.validate(tmp_path)} == {"is missing", "holds neither 2019/ nor 2017/"}


# -- 2017 --------------------------------------------------------------------------------------------------------------


def test_2017_rows_begin_with_their_times(tmp_path):
    """WA-18."""
    for length, seconds in (("1s", 0.4), ("10s", 0.6), ("120s", 0.8)):
        for k in range(2):
            path = tmp_path / "data/french/test" / length / f"{k}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, noise(round(seconds * RATE)), RATE)
    task = zerospeech.task(tmp_path / "data")
    pack = packs.build(corpora.load("zerospeech", tmp_path / "data/french/test"), PACK, tmp_path / "packs")
    root = tmp_path / "out"
    written = submission.write_embeddings(root, task, pack, encode, "mfcc")
    submission.write_metadata(root, ABOUT, "2017")
    assert len(written) == 6
    rows = embeddings.read(root / "2017/track1/french/10s/1.txt")
    assert rows.shape == (math.ceil(61 / 4), 1 + 39)
    np.testing.assert_allclose(np.diff(rows[:, 0]), 0.6 / 16, atol=1e-6)
    assert rows[0, 0] == pytest.approx(0.3 / 16, abs=1e-6)
    assert validation.validate(root, [task]) == []
    with pytest.raises(SpeechlibError, match="2017 has no list"):
        results.bitrates(root, task)
    (root / "2017/track1/french/1s/0.txt").write_text("0.1 1\n0.1 2\n")
    (root / "2017/track1/french/1s/1.txt").unlink()
    (root / "2017/track1/french/1s/9.txt").write_text("0.1 " + "1 " * 38 + "1\n")
    told = {f.path.removeprefix("2017/track1/french/"): f.problem for f in validation.validate(root, [task])}
    assert set(told) == {"1s/0.txt", "1s/1.txt", "1s/9.txt"}
    assert told["1s/1.txt"] == "is missing"
    assert any("does not grow" in f.problem for f in validation.validate(root, [task]))


# -- from the command line ---------------------------------------------------------------------------------------------


def test_commands(handed_in, data, task, capsys, workspace):
    call = ["submission", "validate", str(handed_in), "--root", str(data)]
    assert main(call) == 0
    assert capsys.readouterr().out.endswith("0 errors, 1 warnings: valid\n")
    assert main(["submission", "bitrate", str(handed_in), "--root", str(data), "--out", str(workspace / "x.json")]) == 0
    told = capsys.readouterr().out
    assert told.startswith("2019/english/test: ")
    assert " bits/s of at most " in told
    assert json.loads((workspace / "x.json").read_text())["2019"]["english"]["scores"]["abx"] is None
    assert main(["submission", "zip", str(handed_in), "--root", str(data), "--out", str(workspace / "x.zip")]) == 0
    assert zipfile.is_zipfile(workspace / "x.zip")
    text_of(handed_in, task).unlink()
    capsys.readouterr()
    assert main([*call[:1], "zip", *call[2:], "--out", str(workspace / "y.zip")]) == 1
    told = capsys.readouterr().out
    assert f"error    2019/english/test/{task.embeddings[0]}.txt: is missing; encode it" in told
    assert told.endswith("1 errors, 1 warnings: not valid\n")
    assert not (workspace / "y.zip").exists()
    assert main(["submission", "bitrate", str(handed_in)]) == 2  # no data in the usual place
    assert "download.zerospeech.com" in capsys.readouterr().err
    assert main(["submission", "bitrate", str(data), "--root", str(data)]) == 2
    assert main(["submission", "validate", str(handed_in)]) == 0  # without lists: what is there is well


def test_thousands_of_findings_are_not_all_told(handed_in, data, capsys):
    for k in range(60):
        (handed_in / f"note {k:02d}").touch()
    assert main(["submission", "validate", str(handed_in), "--root", str(data)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 52
    assert told[-2:] == ["... and 11 more", "60 errors, 1 warnings: not valid"]


def test_the_command_tells_which_language_is_not_there(handed_in, data, capsys):
    (handed_in / "2019/english").rename(handed_in / "2019/surprise")
    assert main(["submission", "bitrate", str(handed_in), "--root", str(data)]) == 2
    assert "holds none of english" in capsys.readouterr().err


# -- what others had ---------------------------------------------------------------------------------------------------


def test_the_leaderboard():
    """WA-17: 19 entries, published on other data; a few numbers as they were published."""
    table = leaderboard.table()
    assert len(table) == 19
    assert set(table["data"]) == {"published, other data"}
    rows = table.set_index("short")
    assert rows.loc["IN-WAE", ["english_mos", "english_cer", "english_abx", "english_bitrate"]].tolist() == [
        3.61, 0.18, 20.19, 385.75,
    ]  # fmt: skip
    assert rows.loc["SVQ-WAE", "surprise_bitrate"] == 384.23
    assert rows["english_abx"].idxmin() == "Liu"
    assert rows["surprise_mos"].idxmax() == "IN-WAE"
    assert rows[["english_mos", "surprise_mos"]].isna().sum().tolist() == [2, 2]
    shown = leaderboard.shown(table, "surprise")
    assert shown.index[0] == ("van Niekerk VQ-CPC", "published, other data")
    assert shown.columns.get_level_values(0).unique().tolist() == ["counted", "listeners, not reproducible"]


def test_our_rows_stand_below_and_say_their_data():
    table = leaderboard.table({"mine": {"english_abx": 30.0, "english_bitrate": 100.0}}, "toy")
    assert table.iloc[-1][["system", "data", "english_abx"]].tolist() == ["mine", "toy", 30.0]
    assert leaderboard.points(table)["mine"] == (100.0, 30.0)
    assert "mine" not in leaderboard.points(table, "surprise")
    with pytest.raises(UnknownName, match="Did you mean 'english_abx'"):
        leaderboard.table({"mine": {"english_abxx": 30.0}})
    with pytest.raises(UnknownName, match="language"):
        leaderboard.shown(table, "klingon")


def test_the_figure_shows_every_entry_and_ours_in_its_colour():
    published = leaderboard.points(leaderboard.table())
    figure = leaderboard_figures.cost_and_error(
        published, {"mine": (100.0, 30.0)}, {"mine": "vqvae", "IN-WAE": "in_wae"}, {"cap": 385.8}, "title"
    )
    figure.draw_without_rendering()
    [ax] = figure.axes
    told = {text.get_text() for text in ax.texts}
    assert told == {*published, "mine", "cap", "chance"}
    dots = [line for line in ax.lines if line.get_marker() in "oD" and line.get_marker() != "None"]
    assert [tuple(line.get_xydata()[0]) for line in dots] == [*published.values(), (100.0, 30.0)]
    assert dots[-1].get_color() == style.colour("vqvae")
    assert dots[list(published).index("IN-WAE")].get_color() == style.colour("in_wae")
    assert ax.get_xscale() == "log"
    assert ax.get_ylim()[0] == 0


def test_the_figure_of_nothing_published():
    leaderboard_figures.cost_and_error({}, {"mine": (50.0, 20.0)}).draw_without_rendering()


# -- on other recordings -----------------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_fixture_end_to_end(real_data, tmp_path):
    root = real_data / "zerospeech_mini"
    if not root.is_dir():
        pytest.skip("no zerospeech_mini among the real recordings")
    task = zerospeech.task(root)
    pack = packs.build(corpora.load("zerospeech", root / "2019/english/test"), PACK, tmp_path / "packs")
    spoken = tuple(zerospeech.Conversion(name, f"V00{1 + k % 2}") for k, name in enumerate(task.embeddings))[:2]
    task = task._replace(synthesis=spoken, waves=tuple(one.name for one in spoken))
    submission.write_embeddings(tmp_path / "out", task, pack, encode, "mfcc")
    submission.write_speech(tmp_path / "out", task, pack, speak, "mfcc")
    submission.write_metadata(tmp_path / "out", ABOUT)
    assert only_english(validation.validate(tmp_path / "out", [task])) == []
    found = results.bitrates(tmp_path / "out", task)["test"]
    assert found.seconds == pytest.approx(57.99, abs=0.01)
    assert found.saturation > 0.999
