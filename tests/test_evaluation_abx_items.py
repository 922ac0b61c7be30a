"""Item files, items of a corpus, and the rows that belong to them."""

import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from speechlib.corpora import labels
from speechlib.corpora.labels import Interval
from speechlib.errors import BadFile, SpeechlibError, UnknownName
from speechlib.evaluation.abx_items import cut, items_from, items_of, items_of_cuts, read_items, write_items

HEADER = "#file onset offset #phone prev-phone next-phone speaker\n"


def write(path, text):
    path.write_text(text)
    return path


def item(onset, offset, file="u"):
    return pd.DataFrame([[file, onset, offset, "a", "b", "c", "s"]], columns=read_columns())


def read_columns():
    return ["file", "onset", "offset", "phone", "previous", "next", "speaker"]


# -- files -------------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(tmp_path):
    text = HEADER + "u1 0.2100 0.3100 th ao er bdl\nu2 0.0000 1.2346 ɐ ə ɪ slt\n"
    items = read_items(write(tmp_path / "a.item", text))
    assert items.columns.tolist() == read_columns()
    assert items.iloc[1].tolist() == ["u2", 0.0, 1.2346, "ɐ", "ə", "ɪ", "slt"]
    assert write_items(items, tmp_path / "b.item").read_text(encoding="utf-8") == text


def test_columns_go_by_their_names_and_empty_lines_by_nothing(tmp_path):
    text = "#file onset offset speaker #phone prev-phone next-phone word\n\nu 0 0.1 s a b c hat\n\n"
    assert read_items(write(tmp_path / "a.item", text)).iloc[0].tolist() == ["u", 0.0, 0.1, "a", "b", "c", "s"]


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("", "line 1", "no #file, onset"),
        ("u 0.1 0.2 a b c s\n", "line 1", "in its header, wanted `#file onset"),
        (HEADER.replace("prev-phone ", ""), "line 1", "has no prev-phone in its header"),
        (HEADER + "u 0.1 0.2 a b c s\nu 0.1 0.2 a b c\n", "line 3", "has 6 fields, its header 7: 'u 0.1 0.2 a b c'"),
        (HEADER + "u 0,1 0.2 a b c s\n", "line 2", "no numbers for onset and offset: '0,1'"),
        (HEADER + "u 0.2 0.2 a b c s\n", "line 2", "runs from 0.2 s to 0.2 s"),
        (HEADER + "u nan 0.2 a b c s\n", "line 2", "runs from nan s"),
        (HEADER + "u -0.1 0.2 a b c s\n", "line 2", "runs from -0.1 s"),
        (HEADER + "u 0.1 inf a b c s\n", "line 2", "to inf s"),
        (HEADER, None, "no items, only a header"),
    ],
)
def test_a_bad_file_is_named_with_line_and_reason(tmp_path, text, place, reason):
    with pytest.raises(BadFile) as caught:
        read_items(write(tmp_path / "bad.item", text))
    assert str(tmp_path / "bad.item") in str(caught.value)
    assert (caught.value.place, reason in caught.value.reason) == (place, True), caught.value


def test_what_is_no_text_or_not_there_is_said_so(tmp_path):
    (tmp_path / "bytes.item").write_bytes(b"#file\xff\xfe")
    with pytest.raises(BadFile, match="no text in UTF-8"):
        read_items(tmp_path / "bytes.item")
    with pytest.raises(BadFile, match="No such file"):
        read_items(tmp_path / "none.item")


def test_a_field_with_a_space_is_not_written(tmp_path):
    with pytest.raises(SpeechlibError, match="'my file' in the item"):
        write_items(item(0, 1, "my file"), tmp_path / "a.item")
    assert not (tmp_path / "a.item").exists()


# -- items of a corpus -------------------------------------------------------------------------------------------------

SPOKEN = [
    Interval("sil", 0.0, 0.1),
    Interval("DH", 0.1, 0.2),
    Interval("AH0", 0.2, 0.3),
    Interval("K", 0.3, 0.4),
    Interval("AE1", 0.4, 0.6),
    Interval("T", 0.7, 0.8),  # something unlabelled before it
    Interval("S", 0.8, 0.9),
    Interval("-", 0.9, 1.0),
]


def test_items_are_phones_between_phones():
    items = items_from([("u", "s", SPOKEN[::-1])])  # in any order
    assert items[["phone", "previous", "next"]].to_numpy().tolist() == [["AH", "DH", "K"], ["K", "AH", "AE"]]
    assert items[["onset", "offset"]].to_numpy().tolist() == [[0.2, 0.3], [0.3, 0.4]]
    wide = items_from([("u", "s", SPOKEN)], span="triphone")
    assert wide[["onset", "offset"]].to_numpy().tolist() == [[0.1, 0.4], [0.2, 0.6]]
    assert wide["phone"].tolist() == ["AH", "K"]


class SmallPack:
    utterances, speakers, speaker = ("u0", "u1"), ("r", "s"), np.array([0, 1])

    def __len__(self):
        return 2

    def phones(self, i):
        return SPOKEN if i == 1 else []


def test_items_of_packs_and_of_cuts_are_the_same():
    pack = SmallPack()
    said = [SimpleNamespace(speaker="r", alignment=None), SimpleNamespace(speaker="s", alignment={"phone": SPOKEN})]
    cuts = [SimpleNamespace(id=f"u{k}", supervisions=[one]) for k, one in enumerate(said)]
    pd.testing.assert_frame_equal(items_of(pack), items_of_cuts(cuts))
    assert items_of(pack, [1])["speaker"].tolist() == ["s", "s"]
    with pytest.raises(SpeechlibError, match="none of the 1 utterances has three phones in a row: does this corpus"):
        items_of(pack, [0])
    with pytest.raises(UnknownName, match="triphone"):
        items_of(pack, span="triphon")


@pytest.mark.real
def test_items_of_real_speech_are_those_of_its_item_file(real_data):
    """arctic.item was made by others from the same labels, in steps of 10 ms."""
    wanted = read_items(real_data / "arctic16k" / "arctic.item")
    paths = sorted((real_data / "arctic16k" / "slt").glob("*.phn"))[:40]
    spoken = [(f"slt_{path.stem}", "slt", labels.read_phn(path)["phone"]) for path in paths]
    wanted = wanted[wanted["file"].isin([name for name, *_ in spoken])].reset_index(drop=True)
    assert len(wanted) > 500
    found = items_from(spoken)
    for name in ("file", "phone", "previous", "next", "speaker"):
        assert found[name].tolist() == wanted[name].tolist()
    np.testing.assert_allclose(found[["onset", "offset"]], wanted[["onset", "offset"]], atol=1e-4)


@pytest.mark.real
def test_the_items_of_zerospeech_are_read(real_data):
    items = read_items(real_data / "zerospeech_mini" / "2019" / "ABXTasks" / "english.item")
    assert (len(items), items["speaker"].nunique(), items["file"].nunique()) == (340, 4, 12)


# -- rows --------------------------------------------------------------------------------------------------------------


def rows_of(onset, offset, n_rows, rate=None, **options):
    numbered = {"u": np.arange(n_rows, dtype=np.float64)[:, None]}
    return cut(item(onset, offset), numbered, rate, **options).rows[:, 0].astype(int).tolist()


@pytest.mark.parametrize("slicing", ["centres", "libri-light", "fraction"])
def test_an_item_that_ends_with_its_file_does_not_lie_beyond_it(slicing):
    """One that ends a row later does."""
    rows = {"u": np.zeros((25, 1))}
    assert cut(item(0.0, 1.0), rows, 25, slicing=slicing, beyond="error").counts["clipped"] == 0
    assert cut(item(0.0, 1.08), rows, 25, slicing=slicing).counts["clipped"] == 1
    with pytest.raises(SpeechlibError, match="there are 25 rows"):
        cut(item(0.0, 1.08), rows, 25, slicing=slicing, beyond="error")


def test_rows_by_hand():
    """50 rows a second: row i is centred at 0.01 + 0.02 i, so 0.05 .. 0.09 lie within [0.05, 0.1], ends included.

    libri-light leaves the last one out. As fractions of ten rows in 0.2 s row i lies at 0.02 i: 0.06, 0.08, 0.1.
    """
    assert rows_of(0.05, 0.1, 10, 50) == [2, 3, 4]
    assert rows_of(0.051, 0.089, 10, 50) == [3]
    assert rows_of(0.05, 0.1, 10, 50, slicing="libri-light") == [2, 3]
    assert rows_of(0.05, 0.1, 10, 50, slicing="fraction") == [3, 4, 5]
    assert rows_of(0.05, 0.1, 10, slicing="fraction", durations={"u": 0.4}) == [2]
    assert rows_of(0.05, 0.1, 10, 50, first=0.0) == [3, 4, 5]  # centred frames, as in our packs
    assert rows_of(0.0, 1.0, 7, slicing="fraction", durations={"u": 1.0}) == list(range(7))  # a file that is cut out


@pytest.mark.parametrize("rate", [25, 50, 80, 100])
def test_centres_are_compared_as_exact_numbers(rate):
    """Times of milliseconds and rates without remainder: centres and ends meet exactly, and count as inside."""
    for thousandths in range(3, 400, 7):
        onset, offset = Fraction(thousandths, 1000), Fraction(thousandths + 85, 1000)
        centres = [(Fraction(1, 2) + k) / rate for k in range(60)]
        expected = [k for k, centre in enumerate(centres) if onset <= centre <= offset]
        assert rows_of(float(onset), float(offset), 60, rate) == expected
        start, stop = math.ceil(rate * onset - Fraction(1, 2)), math.floor(rate * offset - Fraction(1, 2))
        if stop > start:
            assert rows_of(float(onset), float(offset), 60, rate, slicing="libri-light") == list(range(start, stop))
    assert rows_of(0.285, 0.3, 60, 100)[0] == 28  # 0.285 * 100 is 28.499999999999996
    assert rows_of(0.1, 0.285, 60, 100)[-1] == 28


def test_items_without_a_row_take_the_nearest_or_are_left_out_and_both_are_counted():
    items = pd.concat([item(0.041, 0.049), item(0.1, 0.2), item(0.0, 0.005)], ignore_index=True)
    numbered = {"u": np.arange(20)}
    nearest = cut(items, numbered, 50)
    assert nearest.lengths.tolist() == [1, 5, 1]
    assert nearest.rows.tolist() == [2, 5, 6, 7, 8, 9, 0]
    assert nearest.counts == {"items": 3, "clipped": 0, "nearest": 2, "skipped": 0}
    skipped = cut(items, numbered, 50, empty="skip")
    assert (skipped.rows.tolist(), skipped.items["onset"].tolist()) == ([5, 6, 7, 8, 9], [0.1])
    assert skipped.counts == {"items": 3, "clipped": 0, "nearest": 0, "skipped": 2}
    assert repr(skipped) == "Units: 3 items, 0 clipped, 0 nearest, 2 skipped; 5.0 rows each, int64 (5,)"
    with pytest.raises(SpeechlibError, match="all 1 items are shorter than a row, 50 per second"):
        cut(items.iloc[:1], numbered, 50, empty="skip")


def test_items_that_end_behind_the_last_row_are_clipped_or_refused():
    numbered = {"u": np.arange(10)}
    clipped = cut(item(0.1, 0.25), numbered, 50)
    assert (clipped.rows.tolist(), clipped.counts["clipped"]) == ([5, 6, 7, 8, 9], 1)
    with pytest.raises(SpeechlibError, match="0.1 to 0.25 s of u ends with row 12, and there are 10 rows"):
        cut(item(0.1, 0.25), numbered, 50, beyond="error")
    assert cut(item(0.199, 0.25), numbered, 50).rows.tolist() == [9]  # begins within a row of the last one
    with pytest.raises(SpeechlibError, match=r"10 rows \(0.2 s at 50 per second\): is the rate another one"):
        cut(item(0.4, 0.5), numbered, 50)
    both = pd.concat([item(0.1, 0.2), item(0.4, 0.5)])
    assert cut(both, numbered, 50, empty="skip").counts == {"items": 2, "clipped": 0, "nearest": 0, "skipped": 1}


def test_rows_of_several_files_keep_the_order_of_the_items():
    items = pd.concat([item(0.0, 0.02, "v"), item(0.02, 0.04, "u"), item(0.02, 0.04, "v")], ignore_index=True)
    units = cut(items, {"u": np.arange(5), "v": np.arange(10, 15)}, 50)
    assert units.rows.tolist() == [10, 1, 11]
    assert units.items["file"].tolist() == ["v", "u", "v"]


def test_representations_that_do_not_belong_are_refused():
    one = item(0.0, 0.1)
    wide, narrow = np.zeros((9, 3), np.float32), np.zeros((9, 2), np.float32)
    both = pd.concat([one, item(0.0, 0.1, "v")])
    with pytest.raises(SpeechlibError, match="1 files of the items have no representation, the first is v"):
        cut(both, {"u": wide}, 50)
    with pytest.raises(SpeechlibError, match=r"v has rows of float32 \(2,\), files before it of \(3,\)"):
        cut(both, {"u": wide, "v": narrow}, 50)
    with pytest.raises(SpeechlibError, match="NaN or infinite numbers, in row 4 first"):
        cut(one, {"u": np.where(np.arange(9)[:, None] == 4, np.nan, wide)}, 50)
    with pytest.raises(SpeechlibError, match=r"float64 \(9,\), wanted vectors"):
        cut(one, {"u": np.zeros(9)}, 50)
    with pytest.raises(SpeechlibError, match="T > 0"):
        cut(one, {"u": wide[:0]}, 50)
    with pytest.raises(SpeechlibError, match="rows per second, got None"):
        cut(one, {"u": wide})
    with pytest.raises(SpeechlibError, match="have no duration"):
        cut(one, {"u": wide}, slicing="fraction", durations={})
    with pytest.raises(SpeechlibError, match="has its own rule"):
        cut(one, {"u": wide}, 50, slicing="libri-light", first=0.0)
    with pytest.raises(SpeechlibError, match="no items to cut"):
        cut(one.iloc[:0], {"u": wide}, 50)
    for name, value in (("slicing", "center"), ("empty", "drop"), ("beyond", "cut")):
        with pytest.raises(UnknownName, match=value):
            cut(one, {"u": wide}, 50, **{name: value})
