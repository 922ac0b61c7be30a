"""Label files: hand-made ones of every format, broken ones, and the real ones against praatio."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechlib.corpora import labels
from speechlib.corpora.labels import Interval
from speechlib.errors import BadFile

LONG = r'''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "TextTier"
        name = "events 2"
        xmin = 0
        xmax = 1.5
        points: size = 1
        points [1]:
            number = 0.25
            mark = "click 7"
    item [2]:
        class = "IntervalTier"
        name = "Words"
        xmin = 0
        xmax = 1.5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 1
            text = "he said ""3 = x"""
        intervals [2]:
            xmin = 1
            xmax = 1.5
            text = ""
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "AH0"
        intervals [2]:
            xmin = 0.5
            xmax = 1.5
            text = "ɹ̩"
'''
EXPECTED = {
    "word": [Interval('he said "3 = x"', 0.0, 1.0), Interval("", 1.0, 1.5)],
    "phone": [Interval("AH0", 0.0, 0.5), Interval("ɹ̩", 0.5, 1.5)],
}


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_long_textgrid_in_every_encoding_of_praat(tmp_path, encoding):
    assert labels.read_textgrid(write(tmp_path / "a.TextGrid", LONG, encoding)) == EXPECTED


def test_textgrid_tiers_without_telling_names_are_words_then_phones(tmp_path):
    text = LONG.replace('"Words"', '"one"').replace('"phones"', '"two"')
    assert labels.read_textgrid(write(tmp_path / "a.TextGrid", text)) == EXPECTED
    speaker = LONG.replace('"Words"', '"ann - words"').replace('"phones"', '"ann - phones"')
    assert labels.read_textgrid(write(tmp_path / "b.TextGrid", speaker)) == EXPECTED


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.8, 0.97])
def test_truncated_textgrid_is_a_bad_file(tmp_path, cut):
    with pytest.raises(BadFile, match="a.TextGrid.*(truncated|does not begin)"):
        labels.read_textgrid(write(tmp_path / "a.TextGrid", LONG[: int(cut * len(LONG))]))


def test_not_a_textgrid(tmp_path):
    for text in ("", "RIFF....WAVEfmt", '{"a": 1}'):
        with pytest.raises(BadFile, match="a.TextGrid"):
            labels.read_textgrid(write(tmp_path / "a.TextGrid", text))


def test_written_textgrid_is_read_back(tmp_path):
    tiers = {"phone": [Interval("SIL", 0.0, 0.2), Interval("AH", 0.2, 0.5)], "word": [Interval("a", 0.2, 0.5)]}
    labels.write_textgrid(tmp_path / "a.TextGrid", tiers, 0.5)
    read, beyond = labels.fit(labels.read_textgrid(tmp_path / "a.TextGrid"), 0.5)
    assert (read, beyond) == (tiers, 0.0)


def test_phn_and_wrd_count_samples(tmp_path):
    path = write(tmp_path / "a.phn", "0 480 h#\n480 3360 ao\n")
    assert labels.read(path, 16000) == {"phone": [Interval("h#", 0.0, 0.03), Interval("ao", 0.03, 0.21)]}
    path = write(tmp_path / "A.WRD", "480 3360 author\n\n")
    assert labels.read(path, 8000) == {"word": [Interval("author", 0.06, 0.42)]}


def test_broken_line_is_named(tmp_path):
    with pytest.raises(BadFile, match=r"a.phn \(line 2\).*'480 oops ao'"):
        labels.read(write(tmp_path / "a.phn", "0 480 h#\n480 oops ao\n"), 16000)
    with pytest.raises(BadFile, match="holds no labels"):
        labels.read(write(tmp_path / "b.phn", "\n"), 16000)


def test_hts_full_context_and_states(tmp_path):
    lines = "0 1300000 x^x-sil+hh=iy@x_x/A:0\n1300000 2050000 x^sil-hh+iy=t@1_2/A:0\n"
    expected = {"phone": [Interval("sil", 0.0, 0.13), Interval("hh", 0.13, 0.205)]}
    assert labels.read_hts_lab(write(tmp_path / "a.lab", lines)) == expected
    states = "0 10 x~x-t+a=x[2]\n10 20 x~x-t+a=x[3]\n20 30 x~x-t+a=x[2]\n30 45 x~x-a+t=x[2]\n"
    got = labels.read_hts_lab(write(tmp_path / "b.lab", states))["phone"]
    assert [(p.symbol, p.start * 1e7, p.end * 1e7) for p in got] == [("t", 0, 20), ("t", 20, 30), ("a", 30, 45)]
    plain = labels.read_hts_lab(write(tmp_path / "c.lab", "0 5000000 pau\n5000000 6000000 ax-h\n"))["phone"]
    assert plain == [Interval("pau", 0.0, 0.5), Interval("ax-h", 0.5, 0.6)]


def test_festival_lab(tmp_path):
    text = "separator ;\nnfields 1\n#\n 0.21 125 pau\n 0.3000 125 ao\n"
    assert labels.read_hts_lab(write(tmp_path / "a.lab", text))["phone"] == [
        Interval("pau", 0.0, 0.21),
        Interval("ao", 0.21, 0.3),
    ]


def test_phone_json(tmp_path):
    text = '{"b":0,"d":1,"t":"and","w":[{"b":0.2,"d":0.3,"t":"and(2)","w":[{"b":0.2,"d":0.1,"t":"AE"}]}]}'
    got = labels.read_json(write(tmp_path / "a.phone.json", text))
    assert got == {"word": [Interval("and", 0.2, 0.5)], "phone": [Interval("AE", 0.2, pytest.approx(0.3))]}
    for broken in ("", "[]", '{"w": [{"b": 0}]}', "{"):
        with pytest.raises(BadFile, match="not a PocketSphinx alignment"):
            labels.read_json(write(tmp_path / "b.phone.json", broken))


@pytest.mark.parametrize(
    ("symbol", "bare"), [("AH0", "AH"), ("ow1", "ow"), ("t", "t"), ("ˈa", "a"), ("'i:", "i:"), ("2", "2"), ("", "")]
)
def test_strip_stress(symbol, bare):
    assert labels.strip_stress(symbol) == bare


def test_silences_of_the_conventions():
    assert {"", "sil", "SIL", "sp", "h#", "pau", "_:", "#", "<eps>"} <= labels.SILENCES
    assert not {"spn", "s", "ah", "pcl"} & labels.SILENCES


times = st.floats(-1, 10, allow_nan=False, width=32)


@given(st.lists(st.tuples(st.sampled_from(["a", "sil", "t"]), times, times)), st.floats(0.1, 5))
def test_fitted_labels_lie_inside_the_recording(rows, duration):
    given_ = {"phone": [Interval(*row) for row in rows]}
    fitted, beyond = labels.fit(given_, duration)
    tier = fitted.get("phone", [])
    assert all(0 <= i.start < i.end <= duration for i in tier)
    assert [i.start for i in tier] == sorted(i.start for i in tier)
    assert beyond == pytest.approx(max([0.0, *(row[2] - duration for row in rows)]))
    inside = [i for i in given_["phone"] if 0 <= i.start < i.end <= duration]
    assert all(i in tier for i in inside)


def test_labels_of_another_speaker_are_never_taken(tmp_path):
    """Two speakers with the same file names, labels for one of them only: the other stays without."""
    files = [tmp_path / "a/0001.phn", tmp_path / "alignments/c/0002.TextGrid", tmp_path / "alignments/0003.TextGrid"]
    audio = [tmp_path / name for name in ("a/0001.wav", "b/0001.wav", "c/0002.wav", "d/0002.wav", "d/0003.wav")]
    find = labels.Finder(files, audio)
    assert [find(path) for path in audio] == [(files[0],), (), (files[1],), (), (files[2],)]


@pytest.mark.real
def test_real_textgrids_equal_praatio(real_data):
    from praatio import textgrid

    paths = sorted(real_data.rglob("*.TextGrid"))
    assert len(paths) > 100
    for path in paths:
        read = labels.read_textgrid(path)
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
        for tier in read.values():
            ours = [(i.start, i.end, i.symbol) for i in tier]
            tiers = [grid.getTier(name) for name in grid.tierNames]
            theirs = [[tuple(e) for e in t.entries] for t in tiers if isinstance(t, textgrid.IntervalTier)]
            assert any(
                [r[2] for r in rows] == [o[2] for o in ours]
                and np.allclose([r[:2] for r in rows], [o[:2] for o in ours], atol=1e-6)
                for rows in theirs
            ), path


@pytest.mark.real
def test_real_labels_of_the_other_formats(real_data):
    samples = real_data / "aligned_samples"
    phones = labels.read(samples / "hts_arctic/arctic_a0009_phone.lab", 16000)["phone"]
    states = labels.read(samples / "hts_arctic/arctic_a0009_state.lab", 16000)["phone"]
    assert [p.symbol for p in phones] == [p.symbol for p in states]
    assert [p.symbol for p in phones[:4]] == ["sil", "hh", "iy", "t"]
    np.testing.assert_allclose([p.end for p in phones], [p.end for p in states], atol=1e-7)
    assert [p.symbol for p in labels.read(samples / "hts_harvard48k/lab/hvd_577.lab", 48000)["phone"]][:3] == [
        "#",
        "D",
        "@",
    ]
    json = labels.read(next(samples.glob("librivox_phone_json/*0880.phone.json")), 16000)
    assert " ".join(w.symbol for w in json["word"] if w.symbol != "<sil>") == "he was not an ill disposed young man"
    assert labels.read(samples / "praat_textgrid/mary.TextGrid", 16000)["phone"][1].symbol == "m"
