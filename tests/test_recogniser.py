"""The phone recogniser: CTC by hand, errors against brute force, padding, spelling, sentences learned by heart."""

import functools
import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechlib import configs, objectives, presets, runs, systems, training
from speechlib.corpora import splits
from speechlib.errors import SpeechlibError
from speechlib.evaluation import phone_errors
from speechlib.evaluation.phone_errors import Heard
from speechlib.models.recogniser import Recogniser, RecogniserConfig, steps_needed
from speechlib.systems import recogniser
from speechlib.systems.recogniser import Spelled, SpelledBatch, Utterance

SMALL = RecogniserConfig(channels=8, dilations=(1, 2), dropout=0.0, hidden_bands=0, hidden_frames=0)


def a_model(config=SMALL, phones=("a", "b", "c")):
    """With a last layer that says something: it begins at zero."""
    torch.manual_seed(0)
    model = Recogniser(config, 5, phones).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


# -- errors, counted ---------------------------------------------------------------------------------------------------


@functools.cache
def brute_force(heard: tuple, truth: tuple) -> int:
    """Every way to change the first symbol, none remembered but by the cache."""
    if not heard or not truth:
        return len(heard) + len(truth)
    ways = (
        brute_force(heard[1:], truth) + 1,
        brute_force(heard, truth[1:]) + 1,
        brute_force(heard[1:], truth[1:]) + (heard[0] != truth[0]),
    )
    return min(ways)


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), min_size=1, max_size=7))
def test_errors_are_the_fewest_changes(heard, truth):
    assert phone_errors.compare(heard, truth) == Heard(brute_force(tuple(heard), tuple(truth)), len(truth))


@pytest.mark.parametrize(
    ("heard", "truth", "errors"),
    [
        ("k ae t", "k ae t", 0),
        ("k ah t", "k ae t", 1),  # one changed
        ("ae t", "k ae t", 1),  # one left out
        ("k ae t s", "k ae t", 1),  # one put in
        ("", "k ae t", 3),
        ("t ae k", "k ae t", 2),  # two changed are fewer than one moved
    ],
)
def test_errors_worked_by_hand(heard, truth, errors):
    assert phone_errors.compare(heard.split(), truth.split()) == Heard(errors, 3)


def test_the_rate_is_of_all_phones_together_and_has_an_interval():
    found = phone_errors.rate([Heard(1, 2), Heard(1, 8)])
    assert found.rate == 0.2  # and not the mean of 0.5 and 0.125
    assert (found.low, found.high, found.phones) == (0.125, 0.5, 10)
    assert phone_errors.rate([Heard(6, 4)]).rate == 1.5  # more was heard than said
    assert math.isnan(phone_errors.rate([Heard(6, 4)]).low)
    with pytest.raises(SpeechlibError, match="no utterances"):
        phone_errors.rate([])


def test_silences_and_stress_are_no_phones_and_times_are_not_read():
    intervals = [("sil", 0, 1), ("HH", 9, 3), ("AH0", 0, 0), ("sp", 0, 1), ("L", 5, 1), ("OW1", 1, 2), ("", 0, 0)]
    assert phone_errors.said(intervals) == ["HH", "AH", "L", "OW"]
    with pytest.raises(SpeechlibError, match="adam_003 has no phones"):
        phone_errors.compare(["a"], [], "adam_003")


# -- CTC ---------------------------------------------------------------------------------------------------------------


def a_batch(x, length, phones):
    longest = max(map(len, phones))
    padded = torch.tensor([list(p) + [0] * (longest - len(p)) for p in phones])
    n_phones, length = torch.tensor([len(p) for p in phones]), torch.tensor(length)
    return SpelledBatch(x, length, padded, n_phones, torch.arange(len(x)))


def saying(logits, length):
    """A model that says these logits (B, 1 + P, L), whatever it is given."""
    return lambda inputs, _: (logits, torch.tensor(length))


def test_ctc_of_two_places_by_hand():
    """One phone in two places: said in both, or in one and nothing in the other; three ways of nine."""
    p = torch.tensor([[[0.5, 0.2], [0.3, 0.7], [0.2, 0.1]]])  # blank, a, b at either place
    terms = objectives.recogniser(saying(p.log(), [2]), a_batch(torch.zeros(1, 1, 2), [2], [(1,)]))
    expected = -math.log(0.3 * 0.7 + 0.5 * 0.7 + 0.3 * 0.2)
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["bits"].item() == pytest.approx(expected / math.log(2), rel=1e-5)
    assert terms["blank"].item() == 0.5


def test_ctc_is_the_sum_over_all_ways_per_phone():
    """Against every path of five places that spells the phones, in a batch with a shorter one."""
    torch.manual_seed(1)
    logits, spell = torch.randn(2, 3, 5), a_model(phones=("a", "b")).spell
    phones, length = [(1, 1), (2,)], [5, 3]
    expected = []
    for row, truth, n in zip(logits.softmax(1), phones, length):
        paths = (path for path in itertools.product(range(3), repeat=n) if spell(path) == ["ab"[s - 1] for s in truth])
        chance = sum(math.prod(row[s, t].item() for t, s in enumerate(path)) for path in paths)
        expected.append(-math.log(chance) / len(truth))
    terms = objectives.recogniser(saying(logits, length), a_batch(torch.zeros(2, 1, 5), length, phones))
    assert terms["loss"].item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_first_loss_is_that_of_who_knows_nothing():
    """Every symbol is as likely at first: a place costs the logarithm of their number, and there are many ways."""
    model = Recogniser(SMALL, 5, ("a", "b", "c"))
    logits, _ = model(torch.randn(2, 5, 12), torch.tensor([12, 9]))
    assert logits.shape == (2, 4, 6)
    assert logits.eq(0).all()


def test_spelling():
    model = a_model()
    assert model.spell([0, 1, 1, 0, 1, 2, 2, 0, 0, 3]) == ["a", "a", "b", "c"]
    assert model.spell([]) == model.spell([0, 0]) == []
    assert [steps_needed(s) for s in ([], ["a"], ["a", "b"], ["a", "a"], ["a", "a", "a", "b"])] == [0, 1, 2, 3, 6]


# -- the model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_padding_changes_nothing(stride):
    model, x = a_model(replace(SMALL, stride=stride)), torch.randn(1, 5, 23)
    alone, length = model(x, torch.tensor([23]))
    padded = torch.cat([torch.nn.functional.pad(x, (0, 17), value=9.0), torch.randn(1, 5, 40)])
    beside, lengths = model(padded, torch.tensor([23, 40]))
    assert length.item() == lengths[0].item() == -(-23 // stride) == alone.shape[2]
    torch.testing.assert_close(beside[:1, :, : int(length)], alone)
    assert model.read(padded, torch.tensor([23, 40]))[0] == model.read(x, torch.tensor([23]))[0]


def test_level_and_colour_do_not_count():
    """Louder by any factor, or through any filter above the floor: heard alike."""
    model, x = a_model(), 3 * torch.rand(1, 5, 30)
    length = torch.tensor([30])
    torch.testing.assert_close(model.hear(x + 7, length), model.hear(x, length), atol=1e-5, rtol=0)
    colour = torch.linspace(-1, 1, 5)[:, None]
    torch.testing.assert_close(model.hear(x + colour, length), model.hear(x, length), atol=1e-5, rtol=0)
    deep = x.clone()
    deep[:, :, 4] = -40.0  # what is below the floor is as if it lay there
    floor = x.clone()
    floor[:, :, 4] = deep.max() - SMALL.floor * math.log(10) / 10
    torch.testing.assert_close(model.hear(deep, length), model.hear(floor, length))


def test_it_sees_a_third_of_a_second():
    """No place depends on frames beyond the receptive field, the mean taken off aside: no sentence is in view."""
    config = presets.get("recogniser", "demo").model
    assert config.receptive_field == 29
    torch.manual_seed(0)
    model = Recogniser(replace(config, channels=8), 5, ("a",)).eval()
    torch.nn.init.normal_(model.head.weight)
    model.hear = lambda x, length: x
    x = torch.randn(1, 5, 100, requires_grad=True)
    model(x, torch.tensor([100]))[0][0, 1, 25].backward()
    touched = x.grad[0].abs().sum(0).nonzero()[:, 0]
    assert (touched.min(), touched.max()) == (50 - 14, 50 + 14)


def test_training_hides_bands_and_frames_and_judging_does_not():
    config = replace(SMALL, hidden_bands=3, hidden_frames=10)
    model = a_model(config)
    x = torch.ones(200, 5, 40)
    hidden = model._hide(x) == 0
    assert (hidden.all(2).sum(1) <= 3).all()  # bands
    assert (hidden.all(1).sum(1) <= 20).all()  # frames
    assert hidden.all(2).any()
    assert hidden.all(1).any()
    assert torch.equal(*(model(x[:1], torch.tensor([40]))[0] for _ in range(2)))


def test_a_checkpoint_carries_its_phones(tmp_path):
    model = a_model()
    runs.save_model(tmp_path / "model.safetensors", model, "recogniser")
    again = runs.load_model(tmp_path / "model.safetensors")
    x, length = torch.randn(1, 5, 20), torch.tensor([20])
    assert again.phones == ("a", "b", "c")
    assert again.read(x, length) == model.read(x, length)


def test_models_that_cannot_be():
    with pytest.raises(SpeechlibError, match="named twice: a, a"):
        Recogniser(SMALL, 5, ("a", "b", "a"))
    with pytest.raises(SpeechlibError, match="kernel_size 4 is even"):
        RecogniserConfig(kernel_size=4)
    with pytest.raises(SpeechlibError, match="stride 0"):
        RecogniserConfig(stride=0)
    with pytest.raises(SpeechlibError, match=r"features \(1, 4, 20\).*wanted \(B, 5, T\)"):
        a_model()(torch.zeros(1, 4, 20), torch.tensor([20]))
    with pytest.raises(SpeechlibError, match="lengths up to 30"):
        a_model()(torch.zeros(1, 5, 20), torch.tensor([30]))


# -- utterances --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def places(voices, tmp_path_factory):
    """Data with two voices in it, and outputs of this module's own."""
    outputs = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(outputs))
        yield


@pytest.fixture(scope="module")
def data(places):
    return systems.prepare(presets.get("recogniser", "smoke", "folder"))


def spelled(data, indices, **changes):
    options = {"batch_size": 3, "n_frames": 600, "symbols": symbols_of(data), "stride": 2} | changes
    return Spelled(data.pack, indices, **options)


def symbols_of(data):
    return sorted({p for i in range(len(data.pack)) for p in phone_errors.said(data.pack.phones(i))})


def test_batches_are_whole_utterances_with_their_phones(data):
    symbols, batches = symbols_of(data), spelled(data, data.split["train"])
    batch = batches.batch(4)
    assert batch.inputs.shape[2] == batch.length.max()
    for k, i in enumerate(batch.utterance.tolist()):
        n, said = int(batch.length[k]), [symbols[p - 1] for p in batch.phones[k, : batch.n_phones[k]]]
        assert torch.equal(batch.inputs[k, :, :n], data.pack.features(i, "log_mel"))
        assert batch.inputs[k, :, n:].eq(0).all()
        assert said == phone_errors.said(data.pack.phones(i))
    again = spelled(data, data.split["train"]).batch(4)
    assert all(torch.equal(one, other) for one, other in zip(batch, again))


def test_a_phone_that_was_never_trained_on_is_left_out_of_what_can_be_said(data):
    symbols = symbols_of(data)
    whole, without = (spelled(data, [0], batch_size=1, symbols=s).batch(0) for s in (symbols, symbols[1:]))
    gone = phone_errors.said(data.pack.phones(0)).count(symbols[0])
    assert int(whole.n_phones) - int(without.n_phones) == gone


def unlabelled(pack, names=()):
    """The pack with no phones, or those in `names` only."""
    bare = object.__new__(type(pack))
    bare.__dict__ = pack.__dict__ | {}
    bare.phones = lambda i: pack.phones(i) if pack.utterances[i] in names else []
    return bare


def test_utterances_without_phones_are_left_out(data):
    some = unlabelled(data.pack, data.pack.utterances[2:4])
    assert spelled(data._replace(pack=some), range(6), symbols=symbols_of(data)).indices.tolist() == [2, 3]


def test_a_corpus_without_phones_is_refused(data, places):
    bare = data._replace(pack=unlabelled(data.pack))
    with pytest.raises(SpeechlibError, match="none of 5 utterances of pack folder can be spelled"):
        spelled(bare, range(5), symbols=("a",))
    with pytest.raises(SpeechlibError, match="has no phones: a recogniser learns from recordings whose phones are"):
        systems.build(presets.get("recogniser", "smoke", "folder"), bare)


def test_utterances_that_are_too_long_are_left_out(data):
    lengths = data.pack.n_frames[:9]
    limit = int(np.median(lengths))
    assert spelled(data, range(9), n_frames=limit).indices.tolist() == np.flatnonzero(lengths <= limit).tolist()
    with pytest.raises(SpeechlibError, match="3 have more than training.n_frames = 5 frames"):
        spelled(data, range(3), n_frames=5)


def test_more_phones_than_places_are_refused_by_name(data):
    """No way of laying them out exists, and the loss would be infinite."""
    name = data.pack.utterances[1]
    needed = steps_needed(phone_errors.said(data.pack.phones(1)))
    stride = 1 + int(data.pack.n_frames[1]) // needed
    with pytest.raises(SpeechlibError, match=f"{name} has .* phones, which take {needed} places, in "):
        spelled(data, [1], stride=stride)
    logits = torch.zeros(1, 2, 2)
    assert objectives.recogniser(saying(logits, [2]), a_batch(torch.zeros(1, 1, 2), [2], [(1, 1)]))["loss"].isinf()


# -- whole -------------------------------------------------------------------------------------------------------------


def test_it_learns_three_utterances_by_heart(data, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path))
    settings = {"training.steps": 160, "training.batch_size": 3, "training.learning_rate": 1e-2}
    settings |= {"model.hidden_bands": 0, "model.hidden_frames": 0, "model.dropout": 0.0, "training.warmup": 10}
    experiment = presets.get("recogniser", "smoke", "folder", changes=settings)
    few = data._replace(split={"train": data.split["train"][:3], "val": data.split["val"][:2]})
    model, run = systems.build(experiment, few), runs.create(experiment)
    training.descend(model, recogniser.objective, recogniser.batches_of(experiment, few), experiment.training, run)
    trained = systems.Trained(model, experiment, few, run)
    found = phone_errors.rate(recogniser.judge(trained, recogniser.recordings(trained, few.split["train"])))
    assert found.rate < 0.05


@pytest.fixture(scope="module")
def trained(data):
    few = {"training.steps": 8, "training.validate_every": 8, "training.checkpoint_every": 8}
    experiment = presets.get("recogniser", "smoke", "folder", changes=few)
    return systems.load(systems.train(experiment, data=data), data)


def test_a_run_says_how_far_it_can_be_believed(trained):
    summary = trained.run.summary
    assert {"bits", "phone_error_rate", "phone_error_low", "phone_error_high", "train_phone_error_rate"} <= set(summary)
    assert summary["phones"] == len(trained.model.phones) > 30
    frames = trained.data.pack.n_frames[trained.data.split["train"]].mean() / 100
    assert summary["audio_seconds"] == pytest.approx(8 * trained.experiment.training.batch_size * frames, rel=1e-6)


def test_waves_of_any_higher_rate_are_heard(trained):
    from speechlib import audio

    wave = trained.data.pack.wave(0).numpy()
    quiet = recogniser.hear(trained, wave / 50, 8_000)
    assert quiet == recogniser.hear(trained, wave, 8_000)
    assert isinstance(recogniser.hear(trained, audio.resample(wave, 8_000, 22_050), 22_050), list)


def test_waves_that_cannot_be_heard(trained):
    with pytest.raises(SpeechlibError, match="a wave of 4000 Hz for a recogniser of 8000 Hz"):
        recogniser.hear(trained, np.zeros(4000), 4000)
    with pytest.raises(SpeechlibError, match="the wave has no samples"):
        recogniser.hear(trained, np.zeros(0), 8000)
    with pytest.raises(SpeechlibError, match="finite: False"):
        recogniser.hear(trained, np.full(4000, np.nan), 8000)
    with pytest.raises(SpeechlibError, match=r"\(2, 4000\).*one channel"):
        recogniser.hear(trained, np.zeros((2, 4000)), 8000)
    with pytest.raises(SpeechlibError, match="anika_7 has no phones"):
        recogniser.judge(trained, [Utterance(np.zeros(4000), 8000, [("sil", 0, 1)], "anika_7")])


def test_features_it_cannot_read():
    experiment = presets.get("recogniser", "smoke", "folder")
    mfcc = presets.get("vqvae", "smoke").pack
    with pytest.raises(SpeechlibError, match="reads log_mel or log_fbank without differences, not 'mfcc'"):
        systems.blank(replace(experiment, pack=mfcc, inputs="mfcc", targets="mfcc"))


def test_it_trains_in_every_preset():
    for name in presets.names()["recogniser"]:
        experiment = presets.get("recogniser", name)
        assert configs.from_dict(presets.Experiment, configs.to_dict(experiment)) == experiment
        assert experiment.split.by == "text"
        assert systems.blank(experiment).config == experiment.model


# -- sentences of their own --------------------------------------------------------------------------------------------


def test_a_split_by_text_shares_no_sentence():
    cuts = [
        SimpleNamespace(id=f"{s}_{t}", supervisions=[SimpleNamespace(speaker=s, gender="F", text=text)])
        for s in "abc"
        for t, text in enumerate(["one", "two", "three", "four", None])
    ]
    parts = splits.split(cuts, {"train": 0.5, "val": 0.5}, by="text")
    ends = {part: {i.split("_")[1] for i in ids if not i.endswith("_4")} for part, ids in parts.items()}
    assert not ends["train"] & ends["val"]
    assert ends["train"] | ends["val"] == set("0123")
    assert sorted(parts["train"] + parts["val"]) == sorted(cut.id for cut in cuts)
    with pytest.raises(SpeechlibError, match="1 texts cannot be split into 2 parts .* Split by utterance"):
        splits.split([cuts[0], cuts[5]], {"train": 0.5, "val": 0.5}, by="text")


def test_marks_without_a_phone_are_not_said():
    """VCTK's alignments hold apostrophes and dashes: to count them would be an error for every one."""
    assert phone_errors.said([("'", 0, 1), ("AH0", 1, 2), ("-", 2, 3), ("sil", 3, 4), ("", 4, 5)]) == ["AH"]
