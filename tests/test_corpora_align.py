"""Forced alignment against truth: the exact times of the toy voices, and the labels given with real recordings."""

import statistics
import sys

import pytest

from speechlib import corpora
from speechlib.corpora import alignment, toy
from speechlib.corpora.assemble import Corpus
from speechlib.corpora.labels import SILENCES
from speechlib.errors import SpeechlibError


def unlabelled(corpus, *ids):
    """The same utterances as if they had transcripts only."""
    from lhotse import CutSet
    from lhotse.utils import fastcopy

    cuts = [corpus.cuts[name] for name in ids]
    return Corpus(
        corpus.name,
        CutSet.from_cuts(fastcopy(c, supervisions=[fastcopy(c.supervisions[0], alignment=None)]) for c in cuts),
        (),
    )


def starts(cut, tier):
    return [(i.symbol.lower(), i.start) for i in cut.supervisions[0].alignment[tier] if i.symbol not in SILENCES]


def differences(ours, given, tier):
    ours, given = starts(ours, tier), starts(given, tier)
    assert [symbol for symbol, _ in ours] == [symbol for symbol, _ in given]
    return [abs(a - b) for (_, a), (_, b) in zip(ours, given)]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Two voices of the toy corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "VOICES", {name: toy.VOICES[name] for name in ("steph", "rob")})
        return corpora.load("toy", tmp_path_factory.mktemp("data") / "toy")


def test_words_start_where_espeak_started_them(spoken, workspace):
    ids = [f"{speaker}_{number:03d}" for speaker in ("rob", "steph") for number in (2, 4, 5, 7, 10, 15)]
    aligned = alignment.align(unlabelled(spoken, *ids))
    differing = [d for name in ids for d in differences(aligned.cuts[name], spoken.cuts[name], "word")]
    assert statistics.median(differing) < 0.03
    assert aligned.skipped == ()


def test_alignments_are_kept_found_again_and_made_anew_for_another_text(spoken, workspace, monkeypatch):
    from lhotse import CutSet

    bare = unlabelled(spoken, "rob_001")
    first = alignment.align(bare)
    kept = list((workspace / "data/alignments/toy").iterdir())
    assert [path.suffix for path in kept] == [".TextGrid"]
    with monkeypatch.context() as patch:
        patch.setattr(alignment.Aligner, "align", lambda *_: pytest.fail("aligned although it is known"))
        again = alignment.align(bare)
    assert again.cuts["rob_001"].supervisions == first.cuts["rob_001"].supervisions
    cut = bare.cuts["rob_001"]
    cut.supervisions[0].text = "The young judge chose a measured voice."
    other = alignment.align(Corpus("toy", CutSet.from_cuts([cut]), ()))
    assert [symbol for symbol, _ in starts(other.cuts["rob_001"], "word")][-1] == "voice"
    assert len(list((workspace / "data/alignments/toy").iterdir())) == 2


def test_the_order_of_utterances_changes_nothing(spoken, workspace, monkeypatch):
    ids = ("rob_001", "rob_003", "steph_002")
    one = alignment.align(unlabelled(spoken, *ids))
    monkeypatch.setenv("SPEECHLIB_DATA", str(workspace / "other"))
    other = alignment.align(unlabelled(spoken, *ids[::-1]))
    for name in ids:
        assert one.cuts[name].supervisions[0].alignment == other.cuts[name].supervisions[0].alignment


def test_labelled_and_silent_utterances_are_left_alone(spoken, workspace):
    aligned = alignment.align(Corpus("toy", spoken.cuts.subset(first=3), ()))
    assert [c.supervisions for c in aligned.cuts] == [c.supervisions for c in spoken.cuts.subset(first=3)]


def test_unknown_words_are_spelt_by_espeak_and_named(spoken, workspace):
    bare = unlabelled(spoken, "rob_001")
    bare.cuts["rob_001"].supervisions[0].text = "The yung judzh chose a measured voice and a gentle smile."
    aligned = alignment.align(bare)
    assert [s for s, _ in starts(aligned.cuts["rob_001"], "word")][:4] == ["the", "yung", "judzh", "chose"]
    assert len(aligned.skipped) == 1
    assert "not in the dictionary, so pronounced by espeak-ng: judzh" in aligned.skipped[0].reason


def test_what_cannot_be_aligned_is_listed_and_stays(spoken, workspace):
    bare = unlabelled(spoken, "rob_001", "rob_002", "rob_003")
    bare.cuts["rob_001"].supervisions[0].text = "Something else altogether, and much longer, " * 8
    bare.cuts["rob_002"].supervisions[0].text = "?!"
    aligned = alignment.align(bare)
    reasons = {s.path: s.reason for s in aligned.skipped}
    assert "its words could not be found in it" in reasons["rob_001"]
    assert "its text has no words" in reasons["rob_002"]
    assert [bool(cut.supervisions[0].alignment) for cut in aligned.cuts] == [False, False, True]


def test_without_pocketsphinx_the_error_says_what_to_install(spoken, monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(SpeechlibError, match=r"pip install pocketsphinx"):
        alignment.align(unlabelled(spoken, "rob_001"))


def test_words_of_a_transcript():
    words = alignment.Aligner().words
    assert words("“I don’t -- know,” she said; the man's well-known xyz-abc.") == [
        "i", "don't", "know", "she", "said", "the", "man's", "well-known", "xyz", "abc",
    ]  # fmt: skip
    assert words("... !?") == []


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "root", "utterance"),
    [("ljspeech", "ljspeech_mini", "LJ001-0002"), ("folder", "arctic16k", "slt_arctic_a0009")],
)
def test_real_phones_start_where_the_given_labels_say(real_data, workspace, name, root, utterance):
    """Median difference of phone starts <= 30 ms. (The labels given with these corpora came from the same aligner.)"""
    corpus = corpora.load(name, real_data / root)
    aligned = alignment.align(unlabelled(corpus, utterance))
    assert statistics.median(differences(aligned.cuts[utterance], corpus.cuts[utterance], "phone")) <= 0.03


@pytest.mark.real
def test_real_phones_against_labels_of_another_aligner(real_data, workspace):
    """slt arctic_a0009 against the HTS labels that came with it (EHMM), phone sets of the same family."""
    corpus = corpora.load("folder", real_data / "aligned_samples" / "hts_arctic")
    bare = unlabelled(corpus, "arctic_a0009")
    bare.cuts["arctic_a0009"].supervisions[0].text = "He turned sharply, and faced Gregson across the table."
    ours = starts(alignment.align(bare).cuts["arctic_a0009"], "phone")
    given = starts(corpus.cuts["arctic_a0009"], "phone")
    assert len(ours) == len(given)
    assert statistics.median(abs(a - b) for (_, a), (_, b) in zip(ours, given)) <= 0.03
