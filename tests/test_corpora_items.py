"""Item files, and the items of a corpus."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from speechlib.corpora import labels
from speechlib.corpora.items import COLUMNS, NoItems, items_from, items_of, items_of_cuts, read_items, write_items
from speechlib.corpora.labels import Interval
from speechlib.errors import SpeechlibError, UnknownName

HEADER = "#file onset offset #phone prev-phone next-phone speaker\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


# -- files -------------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(tmp_path):
    text = HEADER + "u1 0.2100 0.3100 th ao er bdl\nu2 0.0000 1.2346 ɐ ə ɪ slt\n"
    items = read_items(write(tmp_path / "a.item", text))
    assert items.columns.tolist() == list(COLUMNS)
    assert items.iloc[1].tolist() == ["u2", 0.0, 1.2346, "ɐ", "ə", "ɪ", "slt"]
    assert write_items(items, tmp_path / "b.item").read_text(encoding="utf-8") == text


def test_columns_go_by_their_names_and_empty_lines_by_nothing(tmp_path):
    text = "#file onset offset speaker #phone prev-phone next-phone word\n\nu 0 0.1 s a b c hat\n\n"
    assert read_items(write(tmp_path / "a.item", text)).iloc[0].tolist() == ["u", 0.0, 0.1, "a", "b", "c", "s"]


def test_a_field_with_a_space_is_not_written(tmp_path):
    one = pd.DataFrame([["my file", 0, 1, "a", "b", "c", "s"]], columns=COLUMNS)
    with pytest.raises(SpeechlibError, match="'my file' in the item"):
        write_items(one, tmp_path / "a.item")
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
    with pytest.raises(NoItems, match="none of the 1 utterances has three phones in a row: does this corpus"):
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
