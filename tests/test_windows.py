"""Windows: one per phone, centred, of exactly w frames wherever the phone lies."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechlib import configs, corpora, packs, windows
from speechlib.errors import SpeechlibError
from speechlib.features import FeatureConfig
from speechlib.packs import FORMAT, LABELS, Pack, PackConfig
from speechlib.windows import Windows, overlap, segments, slide

MEL = FeatureConfig("log_mel", n_mels=4)
WIDTHS = (8, 9, 11, 19, 20)


def make_pack(utterances) -> Pack:
    """A pack in memory from lists of (phone, frames); row 0 of the features counts frames from 1, row 1 utterances."""
    lengths = np.array([sum(n for _, n in phones) for phones in utterances])
    symbols = sorted({phone for phones in utterances for phone, _ in phones})
    rows, counts = [], []
    for phones in utterances:
        ends = np.cumsum([n for _, n in phones])
        found = [(symbols.index(p), (b - n - 0.5) / 100, (b - 0.5) / 100) for (p, n), b in zip(phones, ends)]
        rows += found
        counts.append(len(found))
    counted = [(t + 1.0, u + 1.0, 0.0, 1.0) for u, n in enumerate(lengths) for t in range(n)]
    frames = torch.tensor(counted).float()
    none = np.zeros(len(utterances), np.int64)
    names = [f"u{u}" for u in range(len(utterances))]
    index = {
        "name": "counted", "config": configs.to_dict(PackConfig(features=(MEL,))), "utterances": names,
        "speakers": ["anna", "ben"], "genders": ["F", None], "text": names, "skipped": [], "symbols": symbols,
        "format": FORMAT,
    }  # fmt: skip
    arrays = {"speaker": np.arange(len(names)) % 2, "shift": none.astype(float), "n_samples": none}
    arrays |= {"n_frames": lengths, "n_phones": np.array(counts), "n_words": none}
    samples = torch.zeros(0, dtype=torch.int16)
    return Pack(
        Path("nowhere"), index, arrays, samples, {"log_mel": frames}, np.array(rows, LABELS), np.zeros(0, LABELS)
    )


@pytest.mark.parametrize(
    ("phones", "expected"),
    [
        ([("sil", 3), ("q", 2), ("ax", 20)], [37, 37, 37, 33, 33, 5, 5, 5, 5]),
        ([("sil", 3), ("b", 3), ("r", 20)], [37, 37, 37, 7, 7, 7, 34, 34, 34]),
        ([("sil", 20), ("v", 3), ("ih", 20)], [37, 37, 37, 43, 43, 43, 21, 21, 21]),
    ],
)
def test_the_examples_of_the_source(phones, expected):
    """Reference section 2.3, w = 9: the first windows of train, dev and test, by their frames' labels."""
    from speechlib.timit_mat import PHONES

    found = Windows(make_pack([phones]), [0], 1, 9)
    assert [PHONES.index(found.phones[k]) for k in found.labels([0])[0]] == expected


PIECES = st.lists(st.tuples(st.sampled_from(["sil", "a", "b", "c"]), st.integers(1, 30)), min_size=1, max_size=8)


@settings(max_examples=60)
@given(st.lists(PIECES, min_size=1, max_size=3), st.sampled_from(WIDTHS))
def test_one_centred_window_of_w_frames_per_phone_that_is_no_silence(utterances, w):
    """Mistake 18 of the reference: windows of other lengths at the ends, w + 1 frames for even w, a second window for
    the last phone. Against a slow loop."""
    expected = []
    for u, phones in enumerate(utterances):
        length = sum(n for _, n in phones)
        first = 0
        for phone, n in phones:
            middle, first = first + n // 2, first + n
            frames = [middle - w // 2 + k for k in range(w)]
            values = [t + 1.0 if 0 <= t < length else -7.0 for t in frames]
            if phone != "sil":
                expected.append((phone, u, frames[0], values))
    pack = make_pack([*utterances, [("a", 2)]])
    if not expected:
        with pytest.raises(SpeechlibError, match="hold no phone"):
            Windows(pack, range(len(utterances)), 4, w)
        return
    found = Windows(pack, range(len(utterances)), 4, w, outside=torch.full((4,), -7.0))
    batch = found.at(range(found.n_windows))
    assert batch.inputs.shape == (len(expected), 4, w)
    told = zip(batch.phone.tolist(), batch.utterance.tolist(), batch.start.tolist(), batch.inputs[:, 0].tolist())
    assert [(found.phones[p], u, start, values) for p, u, start, values in told] == expected
    assert (found.labels([0])[0][w // 2]) == batch.phone[0]
    for n in (1, 3, 10_000):  # spread over all: the first is there, and each once
        few = found.spread(n)
        assert len(few.phone) == min(n, found.n_windows)
        assert (few.utterance[0], few.start[0]) == (batch.utterance[0], batch.start[0])
        assert len(set(zip(few.utterance.tolist(), few.start.tolist(), few.phone.tolist()))) == len(few.phone)


@pytest.mark.parametrize("w", WIDTHS)
def test_a_phone_shorter_than_the_window_at_both_ends(w):
    found = Windows(make_pack([[("a", 3)]]), [0], 1, w)
    window = found.batch(0).inputs[0, 0].tolist()
    before = w // 2 - 1
    assert window == [0.0] * before + [1.0, 2.0, 3.0] + [0.0] * (w - before - 3)
    silence = found.phones.index("sil")
    assert found.labels([0])[0].tolist() == [silence] * before + [0] * 3 + [silence] * (w - before - 3)


def test_the_nth_batch_is_a_function_of_seed_and_n_and_every_epoch_visits_all():
    pack = make_pack([[("a", 5), ("b", 6), ("sil", 2)] * 3, [("c", 9)] * 5])
    a, b = Windows(pack, [0, 1], 4, 9, seed=1), Windows(pack, [0, 1], 4, 9, seed=1)
    assert [a.batch(n).start.tolist() for n in range(6)] == [b.batch(n).start.tolist() for n in reversed(range(6))][
        ::-1
    ]
    assert a.batch(0).start.tolist() != Windows(pack, [0, 1], 4, 9, seed=2).batch(0).start.tolist()
    seen = np.concatenate([a.order.batch(n) for n in range(11)])
    assert (a.n_windows, len(a)) == (11, 3)
    assert all(sorted(seen[k * 11 : (k + 1) * 11]) == list(range(11)) for k in range(4))


def test_shifted_windows_stay_near_their_phone_and_are_a_function_of_n():
    pack = make_pack([[("a", 40), ("b", 50)] * 4])
    still, moved = (Windows(pack, [0], 8, 9, seed=1, shift=shift) for shift in (0, 3))
    beside = np.array([(moved.batch(n).start - still.batch(n).start).tolist() for n in range(40)])
    assert set(beside.ravel()) == {-3, -2, -1, 0, 1, 2, 3}
    assert torch.equal(moved.batch(5).inputs, moved.batch(5).inputs)
    assert torch.equal(moved.batch(5).inputs[:, 0, 0], moved.batch(5).start + 1.0)
    assert torch.equal(moved.at([1]).inputs, still.at([1]).inputs)


def test_labels_are_kept():
    found = Windows(make_pack([[("b", 5)], [("sil", 1), ("a", 4)]]), [0, 1], 2, 9)
    batch = found.at([0, 1])
    assert found.phones == ["a", "b", "sil"]
    assert (batch.phone.tolist(), batch.speaker.tolist(), batch.utterance.tolist()) == ([1, 0], [0, 1], [0, 1])
    assert found.gender().tolist() == ["F", "?"]


def test_a_phone_between_two_frames_takes_the_nearest():
    pack = make_pack([[("a", 10)]])
    pack._labels["phones"] = np.array([(0, 0.0312, 0.0345)], LABELS)
    assert segments(pack, [0], "log_mel")[1:3] == (np.array([3]), np.array([4]))


@pytest.mark.parametrize(("w", "F", "values"), [(9, 120, 1080), (19, 40, 760), (19, 64, 1216), (19, 80, 1520)])
def test_flat_windows_are_as_long_as_the_source_says_and_come_back(w, F, values):
    """Mistake 3: 9 x 120 values were read as 30 x 36."""
    window = torch.randn(2, F, w)
    flat = window.transpose(1, 2).flatten(1)  # the source's rows: frame after frame
    assert flat.shape == (2, values)
    assert torch.equal(flat.unflatten(1, (w, F)).transpose(1, 2), window)


@pytest.mark.parametrize("hop", [1, 3, 8, 20])
@pytest.mark.parametrize("T", [5, 20, 47])
def test_windows_that_slide_over_an_utterance_overlap_to_the_utterance(hop, T):
    features = torch.randn(3, T)
    found = slide(features, 20, hop, torch.zeros(3))
    assert found.shape[1:] == (3, 20)
    torch.testing.assert_close(overlap(found, hop, T), features)
    noisy = found + torch.arange(len(found))[:, None, None]
    middle = min(T - 1, 19)
    held = [k for k in range(len(found)) if k * hop <= middle < k * hop + 20]
    torch.testing.assert_close(overlap(noisy, hop, T)[:, middle], features[:, middle] + np.mean(held))


def test_what_cannot_be_cut_says_why():
    pack = make_pack([[("a", 5)]])
    with pytest.raises(SpeechlibError, match="no phone times"):
        Windows(make_pack([[("sil", 5)]]), [0], 1, 9)
    with pytest.raises(SpeechlibError, match="batch_size 0 and n_frames 9"):
        Windows(pack, [0], 0, 9)
    with pytest.raises(SpeechlibError, match="outside has shape"):
        Windows(pack, [0], 1, 9, outside=torch.zeros(3))


def test_real_phones_have_windows_around_them(one_voice):
    """A voice of the toy corpus: the middle of every window lies in the phone that names it."""
    pack = packs.build(one_voice, PackConfig(features=(FeatureConfig("log_mel"),)))
    found = Windows(pack, range(len(pack)), 64, 20)
    said = [(i, x) for i in range(len(pack)) for x in pack.phones(i) if windows.phone_of(x.symbol) != "sil"]
    assert found.n_windows == len(said)
    assert isinstance(one_voice, corpora.Corpus)
    for k in range(0, found.n_windows, 17):
        i, phone = said[k]
        middle = (found.start[k] + 10) / 100
        assert found.utterance[k] == i
        assert found.phones[found.phone[k]] == windows.phone_of(phone.symbol)
        assert phone.start - 0.01 <= middle <= phone.end + 0.01


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_windows_are_gathered_where_the_pack_lies():
    pack = make_pack([[("a", 5), ("b", 6)]])
    there = Windows(pack.to("cuda"), [0], 2, 9).batch(0)
    assert there.inputs.device.type == "cuda"
    assert torch.equal(there.inputs.cpu(), Windows(pack, [0], 2, 9).batch(0).inputs)
