"""Batches: a function of (seed, n) and of nothing else; every crop is a piece of its utterance."""

import copy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechlib import configs
from speechlib.batches import Crops, whole
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.features import LOG_MEL, MFCC39
from speechlib.packs import FORMAT, Pack, PackConfig

LENGTHS = [120, 30, 48, 7, 300, 61]  # frames


def make_pack(lengths=LENGTHS) -> Pack:
    """A pack in memory whose rows tell where they come from: mfcc is (utterance, frame), log_mel its negative."""
    rows = [(u, t) for u, n in enumerate(lengths) for t in range(n)]
    mfcc = torch.zeros(len(rows), 39)
    mfcc[:, :2] = torch.tensor(rows).float() + 1
    n_samples = np.array(lengths) * 160 - 100
    samples = torch.cat([torch.arange(n) % 20_000 + 1 for n in n_samples.tolist()]).to(torch.int16)
    index = {
        "name": "counted",
        "config": configs.to_dict(PackConfig(features=(MFCC39, LOG_MEL))),
        "utterances": [f"u{u}" for u in range(len(lengths))],
        "speakers": ["anna", "ben"],
        "genders": ["F", "M"],
        "text": [None] * len(lengths),
        "skipped": [],
        "symbols": [],
        "format": FORMAT,
    }
    none = np.zeros(len(lengths), np.int64)
    arrays = {
        "speaker": np.arange(len(lengths)) % 2,
        "shift": none.astype(float),
        "n_samples": n_samples,
        "n_frames": np.array(lengths),
        "n_phones": none,
        "n_words": none,
    }
    frames = {"mfcc": mfcc, "log_mel": -mfcc[:, :1].expand(-1, 80).contiguous()}
    return Pack(Path("nowhere"), index, arrays, samples, frames, np.zeros(0), np.zeros(0))


PACK = make_pack()


def same(a, b) -> bool:
    return all(x is y or torch.equal(x, y) for x, y in zip(a, b))


def test_every_crop_is_a_piece_of_its_utterance():
    """Against a slow loop over items."""
    crops = Crops(PACK, range(6), batch_size=5, n_frames=48, seed=3, targets="log_mel", audio=True)
    for n in range(12):
        batch = crops.batch(n)
        assert batch.inputs.shape == (5, 39, 48)
        assert batch.targets.shape == (5, 80, 48)
        assert batch.audio.shape == (5, 48 * 160)
        for b in range(5):
            u, start, length = (int(x[b]) for x in (batch.utterance, batch.start, batch.length))
            assert length == min(48, LENGTHS[u] - start)
            for kind, found in (("mfcc", batch.inputs[b]), ("log_mel", batch.targets[b])):
                assert torch.equal(found[:, :length], PACK.features(u, kind)[:, start : start + length])
                assert not found[:, length:].any()
            wave = PACK.wave(u)[start * 160 : (start + 48) * 160]
            assert torch.equal(batch.audio[b, : len(wave)], wave)
            assert not batch.audio[b, len(wave) :].any()
            assert batch.speaker[b] == u % 2


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**40),
    order=st.lists(st.integers(0, 50), min_size=1, max_size=12),
    batch_size=st.integers(1, 9),
    n_frames=st.integers(1, 80),
)
def test_the_nth_batch_is_a_function_of_seed_and_n(seed, order, batch_size, n_frames):
    """In any order, from any object, in any state of anyone's random numbers."""
    uninterrupted = Crops(PACK, range(6), batch_size, n_frames, seed)
    expected = {n: uninterrupted.batch(n) for n in range(51)}
    torch.manual_seed(seed % 1000)
    np.random.seed(seed % 1000)  # noqa: NPY002
    for n in order:
        assert same(Crops(PACK, range(6), batch_size, n_frames, seed).batch(n), expected[n])
        assert same(uninterrupted.batch(n), expected[n])


def test_seeds_and_batches_differ():
    crops = Crops(PACK, range(6), 6, 20, seed=0)
    assert not same(crops.batch(0), crops.batch(1))
    assert not same(crops.batch(0), Crops(PACK, range(6), 6, 20, seed=1).batch(0))


@given(st.integers(1, 13), st.integers(0, 100))
def test_each_epoch_visits_every_utterance_once(batch_size, seed):
    indices = [4, 0, 5, 2]
    crops = Crops(PACK, indices, batch_size, 10, seed)
    stream = [u for n in range(-(-12 // batch_size)) for u in crops.batch(n).utterance.tolist()]
    for epoch in range(3):
        assert sorted(stream[4 * epoch : 4 * epoch + 4]) == sorted(indices)
    assert len(crops) == -(-4 // batch_size)


def test_crops_begin_anywhere_with_equal_chance():
    crops = Crops(PACK, [1], batch_size=300, n_frames=21, seed=0)  # 30 frames: ten places
    starts = Counter(start for n in range(20) for start in crops.batch(n).start.tolist())
    assert set(starts) == set(range(10))
    counts = np.array(list(starts.values()))
    assert ((counts - 600) ** 2 / 600).sum() < 27.9  # chi-squared, 9 degrees of freedom, p = 0.001


def test_an_utterance_shorter_than_the_crop_is_padded_and_says_so():
    batch = Crops(PACK, [3], batch_size=2, n_frames=50, audio=True).batch(0)
    assert batch.length.tolist() == [7, 7]
    assert batch.start.tolist() == [0, 0]
    assert batch.inputs[0, 1, :7].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert not batch.inputs[0, :, 7:].any()
    assert not batch.audio[0, 7 * 160 - 100 :].any()


def test_the_last_utterance_of_the_pack_may_be_too_short():
    batch = Crops(make_pack([10, 4]), [1], 1, 30, audio=True).batch(0)
    assert batch.length.tolist() == [4]


def test_whole_utterances():
    batches = list(whole(PACK, [2, 3], "mfcc", "log_mel", audio=True))
    assert [b.inputs.shape for b in batches] == [(1, 39, 48), (1, 39, 7)]
    assert torch.equal(batches[0].targets[0], PACK.features(2, "log_mel"))
    assert [b.utterance.item() for b in batches] == [2, 3]
    n = PACK.n_samples[3]
    assert torch.equal(batches[1].audio[0, :n], PACK.wave(3))
    plain = next(whole(PACK, [2]))
    assert plain.audio is None
    assert plain.targets is plain.inputs


def test_a_batch_may_be_changed_without_changing_the_pack():
    before = copy.deepcopy(PACK.frames["mfcc"])
    batch = Crops(PACK, range(6), 4, 30).batch(0)
    batch.inputs.zero_()
    assert torch.equal(PACK.frames["mfcc"], before)


def test_requests_that_cannot_be_met():
    with pytest.raises(SpeechlibError, match="no utterances to crop from"):
        Crops(PACK, [], 4, 30)
    with pytest.raises(SpeechlibError, match="batch_size 0 and n_frames 30"):
        Crops(PACK, [1], 0, 30)
    with pytest.raises(UnknownName, match="There are: log_mel, mfcc"):
        Crops(PACK, [1], 4, 30, inputs="psf_mfcc")
    with pytest.raises(SpeechlibError, match="utterance 6 .* 6 utterances"):
        Crops(PACK, [1, 6], 4, 30)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_a_resident_pack_gives_the_same_batches():
    resident = PACK.to("cuda")
    assert resident.device.type == "cuda"
    for n in range(5):
        here = Crops(PACK, range(6), 8, 48, seed=1, targets="log_mel", audio=True).batch(n)
        there = Crops(resident, range(6), 8, 48, seed=1, targets="log_mel", audio=True).batch(n)
        assert all(tensor.is_cuda for tensor in there)
        assert same(here, [tensor.cpu() for tensor in there])


def test_a_pack_that_moves_stays_the_same_pack():
    moved = PACK.to(torch.device("cpu"))
    assert moved.utterances is PACK.utterances
    assert same(Crops(moved, range(6), 4, 30).batch(2), Crops(PACK, range(6), 4, 30).batch(2))
    on_meta = Crops(PACK.to("meta"), range(6), 4, 30, audio=True).batch(0)  # all gathering is done by the pack's device
    assert {tensor.device.type for tensor in on_meta} == {"meta"}
