"""Where bits are spent: around changes of phone, counted by hand; how long codes stay."""

import numpy as np
import pandas as pd
import pytest

from speechlib.errors import SpeechlibError
from speechlib.evaluation.surprise import around_changes, stretches


def table(**utterances):
    """{name: (phones, bits)} as a token table; "-" is no phone."""
    rows = [
        {"utterance": name, "step": step, "phone": None if phone == "-" else phone, "bits": bits}
        for name, (phones, costs) in utterances.items()
        for step, (phone, bits) in enumerate(zip(phones, costs))
    ]
    return pd.DataFrame(rows).astype({"utterance": "category"})


def test_bits_are_gathered_at_their_offset_from_a_change():
    """Changes: a's code 2, b's code 1; the step into "-" is none, nor is that from one utterance into the next."""
    found = around_changes(table(a=("xxyy-", [1, 2, 9, 4, 7]), b=("zx", [5, 11])), ["bits"], reach=2)["bits"]
    assert found.index.tolist() == [-2, -1, 0, 1, 2]
    assert found[0] == pytest.approx((9 + 11) / 2)
    assert found[-1] == pytest.approx((2 + 5) / 2)
    assert found[-2] == 1  # b has nothing there, and a's last code is not b's
    assert found[1] == 4
    assert found[2] == 7


def test_the_order_of_the_rows_does_not_matter():
    known = table(a=("xxyyz", [1, 2, 9, 4, 7]), b=("zxx", [5, 11, 2]))
    mixed = known.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(around_changes(known, ["bits"], 1), around_changes(mixed, ["bits"], 1))


def test_without_phones_there_is_nothing_to_gather():
    with pytest.raises(SpeechlibError, match="no phone follows another"):
        around_changes(table(a=("---", [1, 2, 3]), b=("x", [1])), ["bits"])


def test_stretches_are_counted_within_sequences():
    assert stretches([[5, 5, 2], [2, 2, 2, 7]]).tolist() == [2, 1, 3, 1]
    assert stretches([np.zeros(9, int)]).tolist() == [9]
    assert stretches([]).size == 0
