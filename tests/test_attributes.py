"""Attributes in a latent space: means and moves by hand, a space in which they must work, and what cannot be moved."""

import itertools
import math

import numpy as np
import pytest
import torch
from test_windows import make_pack
from torch import nn

from speechlib import configs, presets
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.evaluation import classifier, directions, projection
from speechlib.models.standardise import Standardise
from speechlib.models.vae import VAE, VAEConfig
from speechlib.models.wae import WAE, WAEConfig
from speechlib.systems import attributes, trials, windows
from speechlib.systems.attributes import Means, Move
from speechlib.systems.data import Data, Trained
from speechlib.windows import Segments

W = 6
PHONES = {"sil": (0.0, 0.0), "a": (3.0, 0.0), "b": (0.0, 3.0), "c": (2.0, 2.0)}


class Identity(nn.Module):
    """The perfect autoencoder: a window's latents are its values."""

    def __init__(self, n_features: int, n_frames: int):
        super().__init__()
        self.sizes = {"n_features": n_features, "n_frames": n_frames}
        self.inputs = Standardise(n_features)
        self.nothing = nn.Parameter(torch.zeros(()))

    def latents(self, x):
        return x.flatten(1)

    def decode(self, z):
        return z.unflatten(1, tuple(self.sizes.values()))


def speech(texts, noise: float = 0.0):
    """A pack in which anna (0, 0) and ben (5, 1) read each of the texts: frames are (phone, speaker), 4 numbers."""
    said = [[("sil", 8)] + [x for p in text for x in ((p, 3), ("sil", 8))] for text in texts for _ in range(2)]
    pack = make_pack(said)
    rows = [
        (*PHONES[p], 5.0 * (u % 2), 1.0 * (u % 2)) for u, phones in enumerate(said) for p, n in phones for _ in range(n)
    ]
    rows = torch.tensor(rows)
    pack.genders[:] = ["F", "M"]
    pack.frames["log_mel"] = rows + noise * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    return pack


@pytest.fixture(scope="module")
def trained():
    return of(speech(["abc", "bca", "cab", "abcabc", "bab"]), 10)


def of(pack, n_train: int, model=None) -> Trained:
    changes = {"training.n_frames": W, "model.standardise": False}
    experiment = configs.override(presets.get("vae", "smoke"), changes)
    n = len(pack.utterances)
    split = {"train": list(range(n_train)), "val": list(range(n_train, n)) or list(range(n))}
    return Trained(model or Identity(4, W), experiment, Data(None, pack, split), None)


@pytest.fixture(scope="module")
def means(trained):
    return attributes.attribute_means(trained, n_places=13)  # at every frame: nothing is interpolated


# -- directions --------------------------------------------------------------------------------------------------------


def test_cosines_of_constructed_directions():
    groups = {
        "speaker": {"s": np.array([2.0, 0.0, 0.0]), "t": np.array([-1.0, 0.0, 0.0])},
        "phone": {"p": np.array([0.0, 3.0, 0.0]), "q": np.array([1.0, 1.0, 0.0])},
    }
    found = directions.directions({g: {n: x + 7 for n, x in m.items()} for g, m in groups.items()}, np.full(3, 7.0))
    half = math.sqrt(0.5)
    expected = [[1, -1, 0, half], [-1, 1, 0, -half], [0, 0, 1, half], [half, -half, half, 1]]
    np.testing.assert_allclose(found.cosines, expected, atol=1e-12)
    numbers = directions.orthogonality(found)
    assert numbers == pytest.approx({"speaker": 1.0, "speaker - phone": half / 2, "phone": half})


def test_chance_is_what_random_directions_have():
    assert directions.chance(1) == pytest.approx(1)
    assert directions.chance(2) == pytest.approx(2 / math.pi)
    drawn = np.random.default_rng(0).normal(size=(2, 20_000, 16))
    cosines = (drawn[0] * drawn[1]).sum(1) / np.linalg.norm(drawn[0], axis=1) / np.linalg.norm(drawn[1], axis=1)
    assert directions.chance(16) == pytest.approx(np.abs(cosines).mean(), rel=0.02)


def test_what_has_no_direction_is_refused():
    one = {"s": np.ones(2)}
    with pytest.raises(SpeechlibError, match="two or more"):
        directions.directions({"speaker": one}, np.zeros(2))
    with pytest.raises(SpeechlibError, match="no direction leads to s"):
        directions.directions({"speaker": one | {"t": np.zeros(2)}}, np.ones(2))


# -- means and moves by hand -------------------------------------------------------------------------------------------


def test_means_by_a_slow_loop(trained, means):
    found = windows.windows_of(trained.experiment, trained.data, "train")
    z = found.at(range(found.n_windows)).inputs.flatten(1)
    torch.testing.assert_close(means.origin, z.mean(0))
    for s in range(2):
        torch.testing.assert_close(means.speaker[s], z[found.speaker == s].mean(0))
    for place, p in itertools.product((-4, 0, 3), range(3)):
        rows = [found.at([k], place).inputs.flatten() for k in range(found.n_windows) if found.phone[k] == p]
        torch.testing.assert_close(means.phone[means.places.tolist().index(place), p], torch.stack(rows).mean(0))
    assert means.counts == {"speaker": {"anna": 18, "ben": 18}, "phone": {"a": 12, "b": 14, "c": 10}}


def by_hand(pair: float = 0.0) -> Means:
    """Two speakers, two phones, one dimension, places -2, 0, 2: phones at 0 and 10 (1 and 2 less at the sides)."""
    phone = torch.tensor([[[-1.0], [8.0]], [[0.0], [10.0]], [[-1.0], [8.0]]])
    speaker = torch.tensor([[-1.0], [1.0]])
    table = phone[:, :, None] + speaker
    table[:, 0, 1] += pair  # ben's [a] is an [a] of its own
    counts = {"speaker": {"anna": 9, "ben": 9}, "phone": {"a": 9, "b": 9}}
    names = ["anna", "ben"], ["F", "M"], ["a", "b"]
    return Means(torch.tensor([-2, 0, 2]), torch.zeros(1), speaker, phone, table, counts, *names)


SAID = Segments(np.zeros(2, np.int64), np.array([4, 9]), np.array([7, 12]), np.array([0, 1]), ["a", "b", "sil"])


def moved(means, move, by, centres, speaker=0):
    return attributes.shift(means, move, SAID, speaker, torch.tensor(centres), by)[:, 0].tolist()


def test_moves_by_hand():
    """[a] is frames 4, 5, 6 and its middle 5."""
    move = Move("phone", "a", "b")
    assert moved(by_hand(), move, "means", [3, 4, 5, 6, 7]) == [0, 10, 10, 10, 0]
    assert moved(by_hand(), move, "placed", [2, 3, 4, 5, 6, 7, 8]) == [0, 9, 9.5, 10, 9.5, 9, 0]
    assert moved(by_hand(6.0), move, "paired", [5], speaker=0) == [10]
    assert moved(by_hand(6.0), move, "paired", [5], speaker=1) == [4]
    move = Move("speaker", "anna", "ben")
    assert moved(by_hand(6.0), move, "means", [0, 5, 10]) == [2, 2, 2]
    assert moved(by_hand(6.0), move, "paired", [0, 5, 10]) == [2, 8, 2]  # silence, [a], [b]
    assert moved(by_hand(6.0), Move("sex", "M", "F"), "paired", [5]) == [-8]


def test_there_and_back_is_nothing():
    for by in attributes.WAYS:
        there, back = (
            moved(by_hand(3.0), Move("speaker", *ends), by, [3, 5, 6, 10])
            for ends in (("anna", "ben"), ("ben", "anna"))
        )
        assert np.add(there, back).tolist() == [0] * 4


def test_a_pair_of_few_windows_is_held_near_the_sum_of_its_parts(trained):
    """Pairs that are sums already stay so; one that is not is reached as its windows grow in number."""
    pack = speech(["abc", "bca", "cab"])
    said = windows.windows_of(of(pack, 6).experiment, of(pack, 6).data, "train")
    ben_says_a = said.at(np.flatnonzero((said.speaker == 1) & (said.phone == 0)))
    rows = pack.first_frame[ben_says_a.utterance] + ben_says_a.start.numpy() + W // 2
    pack.frames["log_mel"][rows] += 4.0  # the middle frame of every [a] of ben
    found = attributes.attribute_means(of(pack, 6), n_places=3)
    k = found.middle
    plain = found.phone[k, 0] + found.speaker[1] - found.origin
    own = ben_says_a.inputs.flatten(1).mean(0)
    own[W // 2 :: W] += 4.0
    n = len(rows)
    torch.testing.assert_close(found.pair[k, 0, 1], plain + (own - plain) * n / (n + 10))


# -- whole utterances --------------------------------------------------------------------------------------------------


def test_an_utterance_comes_back_from_its_windows_frame_for_frame(trained):
    for index in (0, 7):
        features = trained.data.pack.features(index, "log_mel")
        torch.testing.assert_close(attributes.transform(trained, index), features)


def test_adding_a_vector_makes_the_other_speaker_say_it(trained, means):
    """In a space where speaker and phone add up, the moved utterance is the other speaker's own reading."""
    for by in attributes.WAYS:
        found = attributes.transform(trained, 6, means, [Move("speaker", "anna", "ben")], by=by)
        torch.testing.assert_close(found, trained.data.pack.features(7, "log_mel"))


def test_adding_a_vector_makes_it_another_phone(trained, means):
    """All windows that hold a phone are moved, each by its place: the utterance is that with the other phone in it."""
    pack = speech(["bab", "cac"])
    here = of(pack, 4)
    expected = speech(["bbb", "ccc"])
    for by in ("placed", "paired"):
        for index, phone in ((1, "b"), (2, "c")):
            found = attributes.transform(here, index, means, [Move("phone", "a", phone)], by=by)
            torch.testing.assert_close(found, expected.features(index, "log_mel"), atol=1e-4, rtol=0)


def test_windows_beside_a_phone_outvote_those_in_it(trained, means):
    """Why a phone's mean alone changes little: of the 6 windows that hold its middle, 3 are moved."""
    found = attributes.transform(trained, 0, means, [Move("phone", "a", "b")], by="means")
    middle = 9
    assert found[:2, middle].tolist() == pytest.approx([1.5, 1.5], abs=0.01)


def test_windows_of_moved_utterances_are_those_cut_from_the_whole(trained, means):
    """Also where they reach beyond its ends, and for a network that is not the identity."""
    torch.manual_seed(0)
    model = VAE(VAEConfig(channels=(4, 4, 4), hidden=8, latent_dim=3, padding=1), 4, W).eval()
    for one in (trained, trained._replace(model=model)):
        found = attributes.attribute_means(one)
        parts = windows.windows_of(one.experiment, one.data, "train")
        which = np.flatnonzero(parts.utterance == 6)
        moves = [Move("speaker", "anna", "ben")] * len(which)
        cut = attributes.moved_windows(one, parts, which, found, moves, 0.7)
        whole = attributes.transform(one, 6, found, moves[:1], 0.7)
        expected = torch.stack([whole[:, s : s + W] for s in parts.start[which]])
        torch.testing.assert_close(cut, expected, atol=1e-5, rtol=0)


def test_windows_beyond_the_ends_hold_what_is_outside():
    pack = make_pack([[("a", 3), ("b", 4)], [("b", 4), ("a", 3)]])
    here = of(pack, 2)
    parts = windows.windows_of(here.experiment, here.data, "train")
    rebuilt = attributes.moved_windows(here, parts, [0, 1])
    torch.testing.assert_close(rebuilt, parts.at([0, 1]).inputs)
    assert rebuilt[0, 0].tolist() == [0, 0, 1, 2, 3, 4]


# -- witnesses ---------------------------------------------------------------------------------------------------------


def test_in_a_space_that_adds_up_witnesses_believe_every_move():
    pack = speech(["abc", "bca", "cab", "abcabc", "bab"] * 4, noise=0.3)
    here = of(pack, 32)
    found = attributes.attribute_means(here, n_places=13)
    who = trials.witnesses(here, steps=60)
    assert min(who.accuracy.values()) > 0.99
    parts = windows.windows_of(here.experiment, here.data, "val")
    for kind in attributes.KINDS:
        which, moves = attributes.draw_moves(found, parts, kind, 20)
        before = trials.judge(who, found, parts, which, moves, attributes.moved_windows(here, parts, which))
        shown = attributes.moved_windows(here, parts, which, found, moves)
        after = trials.judge(who, found, parts, which, moves, shown)
        assert before["source"] > 0.9
        assert before["target"] < 0.1
        assert after["target"] > 0.95
        assert after["source"] < 0.05
        assert min(after["share"], after["kept"]) > 0.95


def test_a_trial_and_a_sweep_tell_the_same_story():
    """The strength is chosen on the training part, the result is told of the other one."""
    pack = speech(["abc", "bca", "cab", "bac", "acb"] * 2, noise=0.3)
    here = of(pack, 14)
    found, who = attributes.attribute_means(here), trials.witnesses(here, steps=60)
    rows = trials.trial(here, found, who, "speaker", n=12)
    assert list(rows) == ["recorded", "rebuilt", "means", "paired"]
    assert rows["recorded"] == pytest.approx(rows["rebuilt"], abs=1e-4)  # the identity
    assert min(rows["means"]["target"], rows["paired"]["target"]) > 0.9
    swept = trials.sweep(here, found, who, "phone", [0.0, 1.0], n=12, targets=["a", "b"])
    assert swept["target"][0] < 0.2 < 0.9 < swept["target"][1]
    assert trials.best_strength(swept) == 1.0
    elsewhere = who._replace(
        accuracy={"speaker": 0.5, "phone": 0.5}
    )  # of other windows: no measure of what is kept here
    unmoved = trials.sweep(here, found, elsewhere, "phone", [0.0], n=12, targets=["a", "b"])
    assert unmoved["share"] == pytest.approx([1.0])
    assert trials.best_strength({"strength": [1, 2, 3], "target": [0.5, 0.7, 0.9], "share": [0.9, 0.8, 0.1]}) == 2


def test_a_wave_is_judged_where_its_phones_are(voices, tmp_path):
    """A recording is its own speaker's; silence in its place is nobody's, and what another one said is another's."""
    from speechlib import corpora, packs, systems

    experiment = presets.get("vae", "smoke", "folder", str(voices / "folder"))
    pack = packs.build(corpora.load("folder", voices / "folder"), experiment.pack, tmp_path)
    data = Data(None, pack, {"train": [i for i in range(112) if i % 8], "val": list(range(0, 112, 8))})
    here = Trained(systems.build(experiment, data).eval(), experiment, data, None)
    found, who = attributes.attribute_means(here, n_places=3), trials.witnesses(here, steps=40)
    own, other = (pack.speakers[pack.speaker[i]] for i in (0, 104))
    move = Move("speaker", own, other)
    assert trials.heard(here, found, who, 0, move, pack.wave(0))["source"] > 0.9
    assert trials.heard(here, found, who, 0, move, pack.wave(104))["target"] > 0.8
    with pytest.raises(SpeechlibError, match="no window in part 'val'"):
        trials.heard(here, found, who, 1, move, pack.wave(1))


def test_examples_go_both_ways(trained, means):
    found = attributes.examples(trained, means, ["c", "b"])
    assert [move for _, move in found] == [Move("sex", "F", "M"), Move("sex", "M", "F"), Move("phone", "c", "b")]
    assert [index for index, _ in found] == [0, 1, 6]  # the first of each, and "abcabc"
    nobody = means._replace(genders=["?", "?"])
    assert attributes.examples(trained, nobody, ["c", "b"])[0] == (0, Move("speaker", "anna", "ben"))


def test_drift_by_hand():
    changed = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    source, target = np.eye(3, dtype=bool)[[0, 0]], np.array([[False, True, True], [False, False, True]])
    untouched = np.array([[0.9, 0.1], [0.6, 0.4]])
    found = classifier.drift(changed, source, target, untouched, [0, 1])
    assert found == pytest.approx({"source": 0.15, "target": 0.8, "kept": 0.5, "kept_posterior": 0.65})


def test_a_classifier_is_a_function_of_its_seed_and_counts_every_window():
    """Mistake 15 of the reference: accuracy does not depend on how windows are batched."""
    torch.manual_seed(1)
    x = torch.randn(300, 4, W) + 2 * torch.arange(3).repeat(100)[:, None, None]
    labels = np.arange(300) % 3
    a, b = (classifier.fit(x, labels, 3, steps=20, seed=2) for _ in range(2))
    assert np.array_equal(a.posterior(x), b.posterior(x))
    each = np.concatenate([a.posterior(some) for some in x.split(7)])
    np.testing.assert_allclose(a.posterior(x), each, atol=1e-5)
    assert classifier.accuracy(each, labels) > 0.9


def test_witnesses_are_fitted_on_the_training_part_and_judged_on_the_other(monkeypatch):
    """Mistake 6 of the reference: validation read the training array."""
    here = of(speech(["abc"] * 6), 10)
    seen = []
    monkeypatch.setattr(classifier, "fit", lambda x, *_: seen.append(len(x)) or classifier.Classifier(4, W, 3))
    trials.witnesses(here)
    assert seen == [30, 30]  # 10 utterances of 3 phones; the other 2 are not among them


# -- what cannot be moved ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("move", "error", "said"),
    [
        (Move("speaker", "anna", "carl"), UnknownName, "unknown speaker 'carl'.*anna, ben"),
        (Move("phone", "a", "zz"), UnknownName, "unknown phone 'zz'"),
        (Move("sex", "F", "X"), UnknownName, "unknown sex 'X'"),
        (Move("accent", "a", "b"), UnknownName, "unknown kind of attribute"),
        (Move("speaker", "anna", "anna"), SpeechlibError, "source and target are one speaker, 'anna'"),
        (Move("speaker", "ben", "anna"), SpeechlibError, "is said by anna, the move starts from 'ben'"),
        (Move("phone", "c", "a"), SpeechlibError, "holds no 'c'.*only a, b"),
    ],
)
def test_what_cannot_be_moved_says_why(trained, means, move, error, said):
    index = 8  # "bab", by anna
    with pytest.raises(error, match=said):
        attributes.transform(trained, index, means, [move])


def test_one_example_or_none_makes_no_mean():
    pack = speech(["aab", "aab", "c"])
    here = of(pack, 5)  # ben's reading of [c] is left out: one window of it
    found = attributes.attribute_means(here)
    with pytest.raises(SpeechlibError, match="phone 'c' would be one of 1 windows"):
        attributes.transform(here, 0, found, [Move("phone", "a", "c")])
    assert attributes.known(found, "phone") == ["a", "b"]
    none = attributes.attribute_means(of(pack, 4))
    assert none.counts["phone"]["c"] == 0
    with pytest.raises(SpeechlibError, match="one of 0 windows"):
        attributes.check(none, Move("phone", "a", "c"))
    assert all(table.isfinite().all() for table in (none.phone, none.pair, none.speaker))


def test_a_corpus_of_one_speaker_moves_phones_only():
    pack = speech(["abc", "cab"])
    pack.speakers[:] = ["anna"]
    pack.speaker[:] = 0
    here = of(pack, 4)
    found = attributes.attribute_means(here)
    parts = windows.windows_of(here.experiment, here.data, "train")
    for kind in ("speaker", "sex"):
        with pytest.raises(SpeechlibError, match="one speaker, anna"):
            attributes.draw_moves(found, parts, kind, 5)
    with pytest.raises(SpeechlibError, match="one speaker, anna"):
        attributes.check(found, Move("speaker", "anna", "anna"))
    with pytest.raises(SpeechlibError, match="two kinds at least"):
        trials.witnesses(here, steps=2)
    assert len(attributes.draw_moves(found, parts, "phone", 5)[1]) == 5


def test_targets_are_names_that_exist(trained, means):
    parts = windows.windows_of(trained.experiment, trained.data, "val")
    with pytest.raises(UnknownName, match="Did you mean 'anna'"):
        attributes.draw_moves(means, parts, "speaker", 3, targets=["ana"])
    which, moves = attributes.draw_moves(means, parts, "speaker", 50, targets=["ben"])
    assert set(parts.speaker[which]) == {0}
    assert {move.target for move in moves} == {"ben"}
    with pytest.raises(SpeechlibError, match="no window can be moved to another phone"):
        attributes.draw_moves(means, parts, "phone", 3, targets=["a"])


def test_no_phone_times_no_encoder_no_such_way(trained, means):
    with pytest.raises(SpeechlibError, match="no phone times"):
        attributes.attribute_means(of(make_pack([[("sil", 30)]]), 1))
    with pytest.raises(SpeechlibError, match="has no encoder"):
        attributes.attribute_means(trained._replace(model=nn.Linear(1, 1)))
    with pytest.raises(SpeechlibError, match="n_places 4 must be odd"):
        attributes.attribute_means(trained, n_places=4)
    with pytest.raises(UnknownName, match="Did you mean 'placed'"):
        attributes.transform(trained, 0, means, [Move("phone", "a", "b")], by="place")


def test_every_encoder_of_windows_will_do(trained):
    for kind, config in ((VAE, VAEConfig), (WAE, WAEConfig)):
        torch.manual_seed(0)
        model = kind(config(channels=(4, 4, 4), hidden=8, latent_dim=3, padding=1), 4, W).eval()
        here = trained._replace(model=model)
        found = attributes.attribute_means(here)
        moved = attributes.transform(here, 0, found, [Move("speaker", "anna", "ben"), Move("phone", "a", "b")])
        assert moved.shape == trained.data.pack.features(0, "log_mel").shape
        assert not torch.equal(moved, attributes.transform(here, 0))


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_figures_hold_what_they_were_given():
    from speechlib.figures import attributes as figures

    cosines = np.array([[1, -0.5, 0.1], [-0.5, 1, 0.2], [0.1, 0.2, 1]])
    (ax, _) = figures.directions(cosines, ["s", "t", "p"], {"speaker": 2, "phone": 1}).axes
    np.testing.assert_allclose(ax.images[0].get_array(), np.abs(cosines))
    assert {line.get_xdata()[0] for line in ax.lines} >= {1.5}
    drawn = {"to a man": [np.full((4, 9), k) for k in range(3)], "to [b]": [np.full((4, 7), k) for k in range(3)]}
    held = [ax.images[0].get_array()[0, 0] for ax in figures.moves(drawn, 100.0).axes]
    assert held == [0, 0, 1, 1, 2, 2]
    way = {"strength": [0, 1], "target": [0.1, 0.6], "share": [0.9, 0.8]}
    left, right = figures.strengths({"speaker": {"means": way, "paired": way}, "phone": {"means": way}}, "vae").axes
    assert [len(ax.lines) for ax in (left, right)] == [6, 4]
    assert left.lines[0].get_ydata().tolist() == [0.1, 0.6]


def test_a_map_by_tsne_keeps_groups_apart():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 8)) + 12 * (np.arange(60) % 2)[:, None]
    flat = projection.tsne(points)
    assert np.array_equal(flat, projection.tsne(points))
    centres = [flat[k::2].mean(0) for k in range(2)]
    assert np.linalg.norm(centres[0] - centres[1]) > 3 * max(flat[k::2].std(0).max() for k in range(2))
    assert projection.tsne(points[:3]).shape == (3, 2)
    with pytest.raises(SpeechlibError, match="finite"):
        projection.tsne(np.full((9, 2), np.nan))


def test_the_explorer_moves_what_is_chosen(voices, tmp_path):
    from speechlib import corpora, packs, systems, widgets

    experiment = presets.get("vae", "smoke", "folder", str(voices / "folder"))
    pack = packs.build(corpora.load("folder", voices / "folder"), experiment.pack, tmp_path)
    data = Data(None, pack, {"train": list(range(0, 112, 8)), "val": [1, 60]})
    here = Trained(systems.build(experiment, data).eval(), experiment, data, None)
    found = attributes.attribute_means(here, n_places=3)
    found = found._replace(speaker=30 * found.speaker, pair=30 * found.pair)  # an untrained model knows no speakers
    explorer = widgets.attribute_explorer(here, found, seconds=0.5)
    assert explorer.controls["voice"].value == ("speaker", "anika")  # adam speaks
    assert explorer.still().count("<audio") == 4
    before = explorer.views["heard"].value
    explorer.controls["strength"].value = 2.0
    assert explorer.views["heard"].value != before
    explorer.controls["voice"].value = ("speaker", "adam")
    assert "source and target are one speaker" in explorer.views["note"].value
    explorer.controls["voice"].value = ("", "")
    assert explorer.still().count("<audio") == 2
    explorer.controls["phone"].value = "s"
    assert "choose which phone moves" in explorer.views["note"].value
