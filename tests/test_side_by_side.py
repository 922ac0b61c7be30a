"""Systems side by side: who takes part, what is said and heard, without any run, with one, with several."""

import base64
import io
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import soundfile
import torch

from speechlib import presets, runs, systems, widgets, workbook
from speechlib.challenge import leaderboard
from speechlib.errors import SpeechlibError
from speechlib.evaluation import listener, phone_errors
from speechlib.figures import side_by_side as figures
from speechlib.figures import style
from speechlib.systems import judging, recogniser, side_by_side
from speechlib.systems.side_by_side import AGAIN, CONVERTED

FEW = {"training.steps": 2, "training.validate_every": 2, "training.checkpoint_every": 2}


@pytest.fixture(scope="module")
def places(voices, tmp_path_factory):
    """Data with two voices in it, and outputs of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        yield


@pytest.fixture(scope="module")
def judge(places):
    return systems.load(systems.train(presets.get("recogniser", "smoke", "folder", changes=FEW)))


@pytest.fixture(scope="module")
def asked(judge):
    """Two utterances, and systems after two steps of training: one of each kind."""
    names = ("vqvae", "wavenet", "vae", "melnet")
    short = {"vqvae": {"training.record_codebook": False, "training.record_histograms": False}}
    experiments = {n: presets.get(n, "smoke", "folder", changes=FEW | short.get(n, {})) for n in names}
    return {n: systems.load(systems.train(e)) for n, e in experiments.items()}


@pytest.fixture(scope="module")
def compared(judge, asked):
    return side_by_side.compare(side_by_side.Found(asked, {}, {}), judge, n=2)


# -- who takes part ----------------------------------------------------------------------------------------------------


def test_without_any_run_everyone_is_missing_and_the_marks_are_heard(judge, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path))
    found = side_by_side.find(judge)
    assert not found.trained
    assert set(found.missing) | set(found.absent) == set(systems.SYSTEMS) - {"recogniser"}
    assert set(found.absent) == {"prior", "wgan"}
    made = side_by_side.compare(found, judge, n=2)
    assert tuple(made.table.index) == made.marks == (judging.RECORDING, judging.GRIFFIN_LIM, judging.NOISE)
    assert made.table.loc[judging.RECORDING, ["log_mel_distance", "mel_cepstral_distortion"]].tolist() == [0, 0]
    assert made.table.loc[judging.RECORDING, "pitch"] == pytest.approx(1)
    assert made.is_new
    assert figures.ranking(made.table.to_dict("index"), made.marks).axes


def test_with_one_run_it_takes_part(judge):
    """Found by its preset, its unfinished twin left out; what was packed for it is read once."""
    experiment = presets.get("vqvae", "smoke", "folder", changes={"training.record_codebook": False} | FEW)
    whole = presets.get("vqvae", "smoke", "folder")
    run = runs.create(whole)
    assert "vqvae" in side_by_side.find(judge).missing  # begun, and not finished
    for name in ("checkpoint.safetensors", "metrics.jsonl"):
        (run.path / name).write_bytes((systems.train(experiment).path / name).read_bytes())
    run.mark("done")
    found = side_by_side.find(judge)
    assert list(found.trained) == ["vqvae"]
    assert found.trained["vqvae"].run.path == run.path
    assert "vqvae" not in found.missing
    run.mark("failed")


def test_variants_go_by_their_presets(judge, monkeypatch):
    """demo_svq is a variant of demo, smoke_svq is not; nor is another corpus or another seed."""
    asked = []
    monkeypatch.setattr(runs, "find", lambda experiment: asked.append(experiment))
    demo = judge._replace(experiment=replace(judge.experiment, preset="demo", seed=3))
    found = side_by_side.find(demo)
    assert [e.preset for e in asked if e.system == "wavenet_autoencoder"] == [
        "demo", "demo_plain", "demo_vae", "demo_vq", "demo_svq"
    ]  # fmt: skip
    assert {(e.corpus.name, e.seed) for e in asked} == {("folder", 3)}
    assert not found.trained  # the checkpoints of the package have learned from another corpus
    assert found.missing["wavenet_autoencoder"].preset == "demo"


def test_every_missing_system_has_something_that_makes_it(judge):
    made = {notebook.makes for notebook in workbook.NOTEBOOKS}
    for system, experiment in side_by_side.find(judge).missing.items():
        assert system in made or presets.command(experiment).startswith(f"python -m speechlib train {system}")


# -- what is said ------------------------------------------------------------------------------------------------------


def test_nobody_has_heard_what_is_judged(judge, asked):
    names, is_new = side_by_side.held_out(side_by_side.Found(asked, {}, {}), judge, n=100)
    assert is_new
    assert len(names) > 2
    for trained in (judge, *asked.values()):
        train = {trained.data.pack.utterances[i] for i in trained.data.split["train"]}
        assert not train & set(names)


def test_sentences_of_the_judge_are_better_than_none(judge, asked):
    """Where the judge has been trained on all that the systems have not, that is said; where nobody has held out what
    another has, it is an error."""
    train = judge.data.split["train"]
    swapped = judge._replace(data=judge.data._replace(split={"train": judge.data.split["val"], "val": []}))
    assert side_by_side.held_out(side_by_side.Found(asked, {}, {}), swapped, 2)[1] is False
    other = asked["vae"]._replace(data=asked["vae"].data._replace(split={"train": [], "val": train[:0]}))
    with pytest.raises(SpeechlibError, match=r"no utterance with phones is held out of all systems \(\{'vqvae': "):
        side_by_side.held_out(side_by_side.Found({"vqvae": asked["vqvae"], "vae": other}, {}, {}), judge)


def test_everyone_says_the_same_recordings(compared, asked, judge):
    said = {}
    for piece in compared.pieces:
        said.setdefault((piece.label, piece.way), []).append(piece)
    texts = [piece.utterance for piece in said[f"{judging.RECORDING}, 8 kHz", AGAIN]]
    assert len(set(texts)) == 2
    assert all([piece.utterance for piece in pieces] == texts for pieces in said.values())
    assert {label for label, way in said if way == CONVERTED} == {"vqvae", "vae"}
    for (label, _), pieces in said.items():
        pack = (asked[label] if label in asked else judge).data.pack
        for piece in pieces:
            assert np.isfinite(piece.wave).all()
            if label in asked:
                assert piece.sample_rate == pack.config.sample_rate
                n = pack.n_samples[pack.index_of(piece.utterance)]
                assert n - 2 * pack.config.features[0].hop_length <= len(piece.wave) <= n


def test_converted_speech_is_asked_of_another_voice(compared):
    changed = compared.sheet[compared.sheet["way"] == CONVERTED]
    assert len(changed) == 4
    assert (changed["source"] != changed["target"]).all()
    same = compared.sheet[compared.sheet["way"] == AGAIN]
    assert (same["source"] == same["target"]).all()
    assert changed["log_mel_distance"].isna().all()  # there is no recording of that voice


@pytest.mark.parametrize(
    ("genders", "speaker", "others"),
    [("FMFM", 0, [1, 3, 1]), ("FMFM", 3, [0, 2, 0]), ("FFF", 1, [0, 2, 0]), ([None, None, None], 2, [0, 1, 0])],
)
def test_the_other_voice_is_of_the_other_sex_where_there_is_one(genders, speaker, others):
    pack = SimpleNamespace(speakers=list(range(len(genders))), genders=genders)
    assert [systems.other_voice(pack, speaker, turn) for turn in range(3)] == others


def test_a_codec_says_what_it_says_elsewhere(compared, asked, judge):
    """Its pieces are those of systems.convert, at whole length."""
    trained = asked["vqvae"]
    pieces = [piece for piece in compared.pieces if piece.label == "vqvae"]
    pack = trained.data.pack
    pairs = [(pack.index_of(p.utterance), pack.speakers.index(p.target)) for p in pieces]
    torch.manual_seed(0)
    for piece, other in zip(pieces, systems.convert(trained, pairs, seconds=60.0)):
        assert len(piece.wave) == len(other.wave)
        assert np.corrcoef(piece.wave, other.wave.numpy())[0, 1] > 0.99


# -- what is heard -----------------------------------------------------------------------------------------------------


def test_the_table_is_the_sheet_by_hand(compared, judge):
    sheet, row = compared.sheet[compared.sheet["label"] == "vqvae"], compared.table.loc["vqvae"]
    again, changed = sheet[sheet["way"] == AGAIN], sheet[sheet["way"] == CONVERTED]
    assert row["per"] == again["errors"].sum() / again["phones"].sum()
    assert row["per_converted"] == changed["errors"].sum() / changed["phones"].sum()
    assert row["voice"] == (again["heard"] == again["source"]).mean()
    assert row["voice_converted"] == (changed["heard"] == changed["target"]).mean()
    assert row["bits_per_second"] > 0
    assert np.isnan(compared.table.loc["wavenet", "bits_per_second"])
    assert row["sample_rate"] == 16_000
    assert compared.table.loc["melnet", "sample_rate"] == 8_000


def test_a_piece_is_heard_as_it_would_be_alone(compared, judge, asked):
    """Resampled to the judge's rate, against the phones of its own pack."""
    for piece, row in zip(compared.pieces, compared.sheet.itertuples()):
        if piece.label != "vae":
            continue
        pack = asked["vae"].data.pack
        truth = phone_errors.said(pack.phones(pack.index_of(piece.utterance)))
        heard = recogniser.hear(judge, piece.wave, piece.sample_rate)
        assert (row.errors, row.phones) == phone_errors.compare(heard, truth)


def test_recordings_keep_everything(compared):
    for rate in ("8 kHz", "16 kHz"):
        row = compared.table.loc[f"{judging.RECORDING}, {rate}"]
        assert (row["log_mel_distance"], row["mel_cepstral_distortion"], row["voice"]) == (0, 0, 1)
        assert row["pitch"] == pytest.approx(1)
        noise = compared.table.loc[f"{judging.NOISE}, {rate}"]
        assert noise["pitch_kept"] < 0.5
        assert noise["log_mel_distance"] > compared.table.loc[f"{judging.GRIFFIN_LIM}, {rate}", "log_mel_distance"]


def test_a_system_that_fails_is_a_row_with_its_reason(judge, asked, monkeypatch):
    def diverged(trained, index, **options):
        return torch.full((int(trained.data.pack.n_samples[index]),), float("nan"))

    monkeypatch.setattr(side_by_side.system_of(asked["wavenet"].experiment), "vocode", diverged)
    both = {name: asked[name] for name in ("wavenet", "vqvae")}
    made = side_by_side.compare(side_by_side.Found(both, {}, {}), judge, n=1)
    assert re.search("finite: False", made.failed.pop("wavenet"))
    assert not made.failed
    assert list(made.table.index) == [*made.marks, "vqvae", "wavenet"]
    assert made.table.loc["wavenet"].isna().all()
    assert not any(piece.label == "wavenet" for piece in made.pieces)
    labels = [text.get_text() for text in figures.ranking(made.table.to_dict("index")).axes[0].get_yticklabels()]
    assert labels[-1] == "wavenet"


def test_a_corpus_of_one_voice_is_compared_without_voices(judge, asked, monkeypatch):
    """No probe of voices, and nobody to convert to."""
    deaf = listener.fit(judge.data.pack, judge.data.split["train"])._replace(voice=None)
    monkeypatch.setattr(side_by_side.listener, "fit", lambda *given, **options: deaf)
    monkeypatch.setattr(side_by_side.voices, "other_voice", lambda *given: pytest.fail("there is nobody else"))
    alone = asked["vqvae"].data.pack.voiced(["one"] * len(asked["vqvae"].data.pack))
    trained = asked["vqvae"]._replace(data=asked["vqvae"].data._replace(pack=alone))
    made = side_by_side.compare(side_by_side.Found({"vqvae": trained}, {}, {}), judge, n=1)
    assert made.table["voice"].isna().all()
    assert "per_converted" not in made.table
    assert made.table["low"].isna().all()  # of a single utterance there is no interval
    assert figures.ranking(made.table.to_dict("index"), made.marks).axes


# -- shown -------------------------------------------------------------------------------------------------------------


def test_the_figure_has_a_row_for_each_and_the_best_on_top(compared):
    figure = figures.ranking(compared.table.to_dict("index"), compared.marks)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(figure.axes) == 4
    assert labels[: len(compared.marks)] == list(compared.marks)
    named = [label.partition(" (")[0] for label in labels[len(compared.marks) :]]
    assert sorted(named) == ["melnet", "vae", "vqvae", "wavenet"]
    per = compared.table.loc[named, "per"].tolist()
    assert per == sorted(per)
    assert any("bit/s" in label and label.startswith("vqvae") for label in labels)


def test_variants_have_the_colour_of_their_system():
    assert figures.colour("wavenet, shipped") == figures.colour("wavenet") == style.colour("wavenet")
    assert figures.colour("wavenet_autoencoder, plain") == style.colour("in_wae")
    assert figures.colour("wavenet_autoencoder, svq") == style.colour("svq")
    assert figures.colour("someone new") == style.BASELINE


def test_the_page_plays_every_system(compared):
    sounds = side_by_side.sounds(compared, n=1)
    assert list(sounds) == list(compared.table.index)
    assert {label: len(sounds[label]) for label in ("wavenet", "vqvae")} == {"wavenet": 1, "vqvae": 2}
    page = widgets.player_grid(sounds).data
    assert page.count("<audio") == sum(map(len, sounds.values()))
    assert page.count("<tr>") == 1 + len(sounds)
    assert all(label in page for label in sounds)


def test_clips_of_a_grid_are_equally_loud_at_their_own_rates():
    tone = np.sin(np.arange(8000) / 5).astype(np.float32)
    rows = {"quiet": {"one": (tone / 100, 8000)}, "loud": {"one": (tone, 16_000), "two": (tone / 2, 16_000)}}
    page = widgets.player_grid(rows).data
    found = [soundfile.read(io.BytesIO(base64.b64decode(x))) for x in re.findall(r"base64,([^\"]+)\"", page)]
    assert [rate for _, rate in found] == [8000, 16_000, 16_000]
    levels = [np.sqrt(np.mean(wave**2)) for wave, _ in found]
    assert np.ptp(levels) < 1e-3
    with pytest.raises(SpeechlibError, match="no clips to play: player_grid"):
        widgets.player_grid({"a": {}})


def test_published_entries_are_marked_and_ours_stand_below():
    board = leaderboard.table({"vqvae (ours)": {"english_bitrate": 250.0}}, "ours, toy")
    assert (board["data"] == leaderboard.PUBLISHED).sum() == 19
    assert leaderboard.PUBLISHED == "published, other data"
    shown = leaderboard.shown(board)
    assert shown.index[-1] == ("vqvae (ours)", "ours, toy")
    assert pandas.isna(shown.iloc[-1][("counted", "abx")])
    assert shown.iloc[-1][leaderboard.NOT_REPRODUCIBLE].isna().all()
