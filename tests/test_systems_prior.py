"""A prior from its source to what it says: codes as data, codecs told apart, bits beside n-grams, speech drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechlib import configs, presets, pretrained, runs, systems
from speechlib.errors import SpeechlibError
from speechlib.systems import coded


def experiment(**changes):
    """A small prior on the codes of a small VQ-VAE; the changes are the prior's."""
    few = {"training.steps": 20, "training.record_codebook": False, "training.record_gradients": False}
    source = presets.get("vqvae", "smoke", "folder", changes=few)
    prior = replace(presets.get("prior", "smoke", "folder"), source=source, pack=source.pack)
    return configs.override(prior, {"training.steps": 20, "training.precision": "fp32"} | changes)


@pytest.fixture(scope="module")
def places(voices, tmp_path_factory):
    """Data with two voices in it, and outputs of this module's own."""
    outputs = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(outputs))
        yield voices, outputs


@pytest.fixture(scope="module")
def trained(places):
    return systems.load(systems.train(experiment()))


@pytest.fixture(scope="module")
def codec(trained):
    return systems.source_of(trained.experiment)


# -- codes as data -----------------------------------------------------------------------------------------------------


def test_the_pack_holds_the_codes_of_every_utterance(trained, codec):
    pack = trained.data.pack
    codes, times = systems.encode(codec, range(len(pack)))
    for i in range(len(pack)):
        assert np.array_equal(pack.codes_of(i), codes[i])
        np.testing.assert_allclose(pack.codes_config.times(len(codes[i])), times[i], atol=1e-9)
    assert pack.config_of("codes").frame_rate == 50
    assert "codes (1)" in repr(pack)
    assert trained.data.split == codec.data.split
    assert torch.equal(pack.wave(3), codec.data.pack.wave(3))
    with pytest.raises(SpeechlibError, match="which holds codes"):
        pack.features(0, "mfcc")


def test_crops_of_codes_are_pieces_of_utterances(trained):
    """The n-th batch is a function of (seed, n), padded where an utterance is shorter."""
    long = configs.override(trained.experiment, {"training.n_frames": 250})
    crops, again = (systems.crops(long, trained.data) for _ in range(2))
    short = 0
    for n in range(4):
        batch = crops.batch(n)
        assert torch.equal(batch.inputs, again.batch(n).inputs)
        assert batch.inputs.shape == (8, 1, 250)
        for row, i, start, length in zip(batch.inputs[:, 0], batch.utterance, batch.start, batch.length):
            piece = trained.data.pack.codes_of(int(i))[start : start + 250]
            assert torch.equal(row[:length], piece)
            assert (row[length:] == 0).all()
            short += int(length < 250)
        assert set(batch.utterance.tolist()) <= set(trained.data.split["train"])
    assert short


def test_utterances_are_encoded_once_and_a_damaged_file_again(trained, codec, monkeypatch, places):
    (path,) = (places[0] / "codes").glob(f"*-{trained.data.pack.codec}.safetensors")
    assert path.name == f"{codec.data.pack.path.name}-{coded.fingerprint(codec.model)}.safetensors"
    encoded = []
    monkeypatch.setattr(coded, "encode", lambda *asked: encoded.append(asked) or systems.encode(*asked))
    told = []
    assert torch.equal(coded.code_pack(codec).frames["codes"], trained.data.pack.frames["codes"])
    assert not encoded
    path.write_bytes(path.read_bytes()[:-50])
    again = coded.code_pack(codec, lambda *values: told.append(values))
    assert encoded
    assert told[-1] == (len(again), len(again), "encoding")
    assert torch.equal(again.frames["codes"], trained.data.pack.frames["codes"])


def test_one_codebook_is_learned(codec):
    sliced = configs.override(codec.experiment, {"model.slices": [10, 6]})
    with pytest.raises(SpeechlibError, match=r"has 2 codebooks \(model.slices \(10, 6\)\): what reads codes reads one"):
        coded.code_pack(codec._replace(experiment=sliced))


def test_codec_and_prior_share_their_utterances():
    other = configs.override(experiment(), {"split.seed": 3})
    with pytest.raises(SpeechlibError, match=r"split of the prior is .*seed=3.*its source was trained with .*seed=0"):
        systems.prepare(other)
    with pytest.raises(SpeechlibError, match="its `source` is empty"):
        systems.prepare(replace(experiment(), source=None))
    with pytest.raises(SpeechlibError, match="needs `source`"):
        systems.blank(replace(experiment(), source=None))


# -- which codec -------------------------------------------------------------------------------------------------------


def test_a_codec_that_was_trained_anew_is_noticed(trained, codec, places):
    path = codec.run.checkpoint
    before = path.read_bytes()
    tensors, metadata = runs.load_tensors(path)
    tensors["encoder.project.weight"] *= 1.5
    runs.save_tensors(path, tensors, metadata)
    try:
        now = systems.load(trained.run)
        assert now.data.pack.codec != trained.model.codec
        assert not torch.equal(now.data.pack.frames["codes"], trained.data.pack.frames["codes"])
        with pytest.raises(SpeechlibError, match=rf"{trained.model.codec}.*trained anew.*delete .*train it again"):
            systems.code_bits(now)
        with pytest.raises(SpeechlibError, match="trained anew"):
            systems.imagine(trained, systems.source_of(trained.experiment), [0], 1.0)
    finally:
        path.write_bytes(before)
    assert len(systems.code_bits(systems.load(trained.run)))


def test_a_shipped_codec_is_the_run_that_it_was(trained, codec, places, monkeypatch, tmp_path):
    """Weights in float16 are the same codec; nothing is trained where the checkpoint of the same experiment ships."""
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "pretrained")
    (tmp_path / "pretrained").mkdir()
    pretrained.release(codec.run, "codec", "a command")
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "outputs"))
    shipped = systems.source_of(trained.experiment)
    assert shipped.run is None
    assert not (tmp_path / "outputs" / "runs").exists()
    assert coded.fingerprint(shipped.model) == trained.model.codec
    assert systems.imagine(trained, shipped, [1], 0.5)[0].wave.isfinite().all()


# -- bits --------------------------------------------------------------------------------------------------------------


def test_the_summary_is_what_its_parts_say(trained):
    table, summary = systems.code_bits(trained), trained.run.summary
    pack, part = trained.data.pack, trained.data.split["val"]
    assert len(table) == sum(len(pack.codes_of(i)) for i in part)
    assert summary["bits_per_code"] == pytest.approx(table["prior"].mean())
    assert summary["bits_per_second"] == pytest.approx(50 * table["prior"].mean())
    for name in ("unigram", "bigram", "trigram"):
        assert summary[f"{name}_bits"] == pytest.approx(table[name].mean())
    assert summary["bigram_bits"] < summary["unigram_bits"] < np.log2(44)
    rows = table[table["utterance"] == pack.utterances[part[2]]]
    with torch.no_grad():
        nll = trained.model.nll(pack.codes_of(part[2])[None], torch.from_numpy(pack.speaker[part[2:3]]))[0]
    np.testing.assert_allclose(rows["prior"], nll / np.log(2), rtol=1e-4)
    assert table["phone"].notna().mean() > 0.9


def test_trained_twice_it_is_the_same_to_the_bit(trained, codec, monkeypatch, tmp_path, places):
    """With dropout and withheld speakers, which are drawn anew for every step."""
    assert trained.experiment.model.dropout > 0 < trained.experiment.model.anonymous
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / codec.run.name).symlink_to(codec.run.path)
    again = systems.train(trained.experiment)
    one, other = (runs.load_tensors(run.checkpoint)[0] for run in (trained.run, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


# -- speech that nobody said -------------------------------------------------------------------------------------------


def test_it_says_what_its_seed_says_for_as_long_as_asked(trained, codec):
    said = systems.imagine(trained, codec, [0, 1, 0], 1.2, seed=3, temperature=0.9)
    assert [one.speaker for one in said] == [0, 1, 0]
    assert {one.codes.shape for one in said} == {(60,)}
    assert all(abs(len(one.wave) - 1.2 * 16_000) <= 320 for one in said)
    assert all(one.wave.isfinite().all() and one.wave.std() > 1e-4 and one.begins == 0 for one in said)
    again = systems.imagine(trained, codec, [0, 1, 0], 1.2, seed=3, temperature=0.9)
    assert all(torch.equal(a.wave, b.wave) for a, b in zip(said, again))
    other = systems.imagine(trained, codec, [0], 1.2, seed=4, temperature=0.9)
    assert not np.array_equal(other[0].codes, said[0].codes)


def test_it_goes_on_from_a_real_beginning(trained, codec):
    index = trained.data.split["val"][0]
    real = trained.data.pack.codes_of(index).numpy()
    one, two = systems.imagine(trained, codec, [0, 1], 1.5, beginning=(index, 0.6))
    assert one.begins == pytest.approx(0.6)
    assert np.array_equal(one.codes[:30], real[:30])
    assert np.array_equal(two.codes[:30], real[:30])
    assert not np.array_equal(one.codes[30:], real[30:75])
    assert len(one.codes) == 75
    with pytest.raises(SpeechlibError, match="0.60 s of 0.50 s are given: nothing is left"):
        systems.imagine(trained, codec, [0], 0.5, beginning=(index, 0.6))


def test_a_prior_without_speakers_speaks_too(codec):
    alone = systems.load(systems.train(experiment(**{"model.speaker_dim": 0})))
    assert alone.model.n_speakers == 0
    first, second = systems.imagine(alone, codec, [0, 1], 0.4)
    assert not np.array_equal(first.codes, second.codes)  # two streams of one prior


def test_a_stage_of_a_prior_builds_on_a_prior(trained):
    """Which has no codebook of its own: that is the codec's."""
    second = replace(trained.experiment, source=trained.experiment)
    assert systems.blank(second).codebook_size == trained.model.codebook_size
