"""Readers on the real layouts, with lhotse's own recipes as oracles where they can read a part of a corpus."""

import statistics

import pytest

from speechlib import corpora
from speechlib.corpora import labels

pytestmark = pytest.mark.real


def test_arctic16k_as_a_folder(real_data, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_REAL_DATA", str(real_data))
    corpus = corpora.load("folder", "$SPEECHLIB_REAL_DATA/arctic16k")
    table = corpora.describe(corpus)
    assert table.gender.to_dict() == {"bdl": "M", "kathleen": "F", "slt": "F"}
    assert (table[["utterances", "text", "phones", "words"]] == 450).all(axis=None)
    ids = [cut.id for cut in corpus.cuts]
    assert len(set(ids)) == 1350
    assert "bdl_arctic_a0001" in ids
    assert corpus.skipped == ()
    cut = corpus.cuts["slt_arctic_a0009"]
    assert [w.symbol for w in cut.supervisions[0].alignment["word"]][:3] == ["he", "turned", "sharply"]
    phones = {p.symbol for cut in corpus.cuts for p in cut.supervisions[0].alignment["phone"]}
    assert len(phones) == 40  # the 39 of CMU and sil


def test_vctk_080(real_data):
    corpus = corpora.load("vctk", real_data / "vctk_mini")
    assert corpora.describe(corpus).gender.to_dict() == {"p225": "F", "p226": "M", "p227": "M", "p228": "F"}
    assert all("phone" in cut.supervisions[0].alignment for cut in corpus.cuts)
    assert corpus.cuts["p225_001"].supervisions[0].text == "Please call Stella."
    assert corpus.cuts["p225_001"].sampling_rate == 48000


def test_librispeech_agrees_with_lhotse(real_data):
    from lhotse.recipes import prepare_librispeech

    home = real_data / "librispeech_mini" / "LibriSpeech"
    corpus = corpora.load("librispeech", real_data / "librispeech_mini")
    parts = ["dev-clean", "test-clean", "test-other"]  # the recipe stops at a part without transcripts
    theirs = [s for part in prepare_librispeech(home, dataset_parts=parts).values() for s in part["supervisions"]]
    ours = {cut.id: cut.supervisions[0] for cut in corpus.cuts}
    assert len(theirs) > 50
    for segment in theirs:
        mine = ours[segment.id]
        assert (mine.text, mine.speaker, mine.duration) == (segment.text, segment.speaker, segment.duration)
    assert sum("phone" in (said.alignment or {}) for said in ours.values()) == 51
    assert {said.gender for said in ours.values()} == {"F", "M"}


def test_ljspeech_agrees_with_lhotse(real_data):
    from lhotse.recipes import prepare_ljspeech

    corpus = corpora.load("ljspeech", real_data / "ljspeech_mini")
    theirs = prepare_ljspeech(real_data / "ljspeech_mini" / "LJSpeech-1.1")
    ours = {cut.id: cut for cut in corpus.cuts}
    assert len(ours) == len(theirs["recordings"]) == 16
    for recording in theirs["recordings"]:
        assert ours[recording.id].num_samples == recording.num_samples
    for segment in theirs["supervisions"]:
        assert ours[segment.id].supervisions[0].text in (segment.text, segment.custom["normalized_text"])


def test_every_format_of_labels_in_one_folder(real_data):
    corpus = corpora.load("folder", real_data / "aligned_samples")
    table = corpora.describe(corpus)
    assert table.phones.to_dict() == {
        "hts_arctic": 1,
        "hts_harvard48k": 6,
        "librivox_phone_json": 3,
        "praat_textgrid": 2,
        "speechbrain_timit48": 0,
    }
    for cut in corpus.cuts:
        for tier in (cut.supervisions[0].alignment or {}).values():
            assert all(0 <= i.start < i.end <= cut.duration + 1e-6 for i in tier)


def test_labels_lie_within_every_real_recording_and_cover_most_of_it(real_data):
    for name, root in (("folder", "arctic16k"), ("ljspeech", "ljspeech_mini"), ("librispeech", "librispeech_mini")):
        covered = [
            sum(p.duration for p in cut.supervisions[0].alignment["phone"]) / cut.duration
            for cut in corpora.load(name, real_data / root).cuts
            if "phone" in (cut.supervisions[0].alignment or {})
        ]
        assert statistics.median(covered) > 0.95
        assert max(covered) <= 1 + 1e-6


def test_folder_of_speakers_with_one_silent_about_its_text(real_data):
    """The 16 kHz half of vctk_mini, through its table."""
    corpus = corpora.load("folder", real_data / "vctk_mini" / "vctk16k")
    assert len(corpora.describe(corpus)) == 11
    assert all(
        labels.strip_stress(p.symbol) == p.symbol for p in corpus.cuts["p225_001"].supervisions[0].alignment["phone"]
    )
