"""What a decoder is told, what a listener hears, how voices lie: against worlds in which the answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

from speechlib.corpora.labels import Interval
from speechlib.errors import SpeechlibError
from speechlib.evaluation import condition_use, conversion, distortion, listener, probes, projection, projector
from speechlib.evaluation.condition_use import RIGHT, Told
from speechlib.models.wavenet import WaveNet, WaveNetConfig

RATE = 8000


# ---- does the decoder use what it is told?


def told(n=40, length=6, n_speakers=4, seed=0) -> Told:
    rng = np.random.default_rng(seed)
    return Told(rng.integers(0, 32, (n, length)), rng.integers(0, n_speakers, n))


def test_every_wrong_way_is_wrong_for_every_item():
    right = told()
    ways = condition_use.ways(right, silence=np.full(6, 7))
    assert list(ways)[0] == RIGHT
    assert_array_equal(ways[RIGHT].codes, right.codes)
    for name in ("codes of others", "both wrong"):
        assert (ways[name].codes != right.codes).any(axis=1).all()
        assert_array_equal(np.sort(ways[name].codes, axis=0), np.sort(right.codes, axis=0))  # each is used once
    for name in ("another speaker", "both wrong"):
        assert (ways[name].speaker != right.speaker).all()
        assert set(ways[name].speaker) <= set(right.speaker)
    assert set(ways["nobody speaks"].speaker) == {-1}
    assert_array_equal(ways["nobody speaks"].codes, right.codes)
    assert (ways["codes of silence"].codes == 7).all()
    assert_array_equal(ways["codes of silence"].speaker, right.speaker)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_few_items_are_swapped_without_one_that_keeps_its_codes(n):
    codes = np.arange(n)[:, None]
    for seed in range(20):
        swapped = condition_use.ways(Told(codes, np.arange(n)), seed=seed)["codes of others"].codes
        assert (swapped != codes).all()


def test_one_speaker_cannot_be_mistaken_for_another():
    ways = condition_use.ways(told(n_speakers=1), nobody=False)
    assert list(ways) == [RIGHT, "codes of others"]
    with pytest.raises(SpeechlibError, match="two or more"):
        condition_use.ways(told(n=1))


def test_the_rise_is_paired_and_its_interval_is_the_bootstraps():
    """Items differ wildly, the rise is 0.5 with deviation 0.1 for all: pairing finds it, a plain difference could not.
    Of normal differences the interval is the textbook's mean +- 1.96 deviations / sqrt(n)."""
    rng = np.random.default_rng(0)
    hard, rise = 100 * rng.random(400), 0.5 + 0.1 * rng.normal(size=400)
    right = Told(np.zeros((400, 1), int), np.zeros(400, int))
    wrong = Told(np.ones((400, 1), int), np.zeros(400, int))

    def error(items, given):
        return hard[items] + rise[items] * given.codes[:, 0]

    table = condition_use.measure(error, {RIGHT: right, "wrong": wrong}, batch_size=32)
    assert table.loc[RIGHT].tolist() == pytest.approx([hard.mean(), 0, 0, 0])
    found = table.loc["wrong"]
    assert found["rise"] == pytest.approx(rise.mean())
    half = 1.96 * rise.std() / 20
    assert (found["low"], found["high"]) == pytest.approx((rise.mean() - half, rise.mean() + half), abs=0.15 * half)
    assert condition_use.relies_on(table, "wrong", margin=0.4)
    assert not condition_use.relies_on(table, "wrong", margin=0.6)


def test_an_error_that_is_not_finite_is_named():
    with pytest.raises(SpeechlibError, match="not finite with nobody speaks"):
        condition_use.measure(lambda items, given: np.where(given.speaker < 0, np.nan, 1.0), condition_use.ways(told()))


def decoder_error(model: WaveNet, waves: torch.Tensor, codebook: torch.Tensor):
    def error(items, given):
        with torch.inference_mode():
            condition = codebook[torch.as_tensor(given.codes)].transpose(1, 2)  # (B, D, L)
            return model.nll(waves[items], condition, torch.as_tensor(given.speaker)).mean(1).numpy()

    return error


@pytest.fixture(scope="module")
def world():
    """Waves of 6 codes x 16 samples: the code says how loud the noise is (1 or 10 units), the speaker doubles it."""
    rng = np.random.default_rng(1)
    right = Told(rng.integers(0, 2, (48, 6)), rng.integers(0, 2, 48))
    loud = 0.02 * 10.0**right.codes * (1 + right.speaker[:, None])
    waves = rng.normal(size=(48, 96)) * loud.repeat(16, axis=1)
    return right, torch.tensor(waves.clip(-1, 1), dtype=torch.float32), torch.tensor([[1.0, 0.0], [0.0, 1.0]])


def small_decoder() -> WaveNet:
    torch.manual_seed(0)
    config = WaveNetConfig(
        "gaussian", n_layers=2, n_stacks=1, residual_channels=8, gate_channels=16, skip_channels=16,
        scales=(16,), speaker_dim=4,
    )  # fmt: skip
    return WaveNet(config, n_condition=2, n_speakers=2)


def test_mistake_9_a_decoder_that_ignores_its_condition_shows_no_rise(world):
    """hrbigelow/ae-wavenet#3: a WaveNet may rely on past audio alone. Here its condition's weights are zero."""
    right, waves, codebook = world
    model = small_decoder()
    for part in (model.condition, model.speaker):
        torch.nn.init.zeros_(part.weight)
    table = condition_use.measure(decoder_error(model, waves, codebook), condition_use.ways(right, np.zeros(6, int)))
    assert len(table) == 6
    assert table[["rise", "low", "high"]].abs().to_numpy().max() < 1e-6
    assert not any(condition_use.relies_on(table, way) for way in table.index)


def test_a_decoder_that_needs_its_condition_misses_it(world):
    right, waves, codebook = world
    model = small_decoder()
    condition, speaker = codebook[torch.as_tensor(right.codes)].transpose(1, 2), torch.as_tensor(right.speaker)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        loss = model.nll(waves, condition, speaker).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    table = condition_use.measure(decoder_error(model, waves, codebook), condition_use.ways(right, np.zeros(6, int)))
    assert table.loc[RIGHT, "error"] < 0
    for way in ("codes of others", "both wrong", "codes of silence"):
        assert table.loc[way, "low"] > 1
    assert table.loc["another speaker", "low"] > 0.05
    assert table.loc["nobody speaks", "low"] > 0


# ---- the listener


def spoken(pitch: float, formant: float, seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    """A buzz through one resonance: pitch stands for the voice, the resonance for the phone."""
    t = np.arange(round(seconds * RATE)) / RATE
    harmonics = np.arange(1, int(RATE / 2 / pitch)) * pitch
    weights = 1 / (1 + ((harmonics - formant) / 150) ** 2)
    wave = (weights[:, None] * np.sin(2 * np.pi * harmonics[:, None] * t)).sum(0)
    return (level * wave / np.abs(wave).max()).astype(np.float32)


PITCHES, FORMANTS = (100.0, 160.0, 240.0), {"aa": 700.0, "iy": 2500.0, "uw": 350.0}


class Toy:
    """Nine utterances of three voices, each three phones of a third of a second in one of three orders; three texts."""

    def __init__(self):
        orders = (("aa", "iy", "uw"), ("iy", "uw", "aa"), ("uw", "aa", "iy"))
        self.said = [order for _ in PITCHES for order in orders]
        self.speaker = np.repeat(np.arange(3), 3)
        self.speakers, self.utterances = ["low", "mid", "high"], [f"u{i}" for i in range(9)]
        self.text = [" ".join(order) for order in self.said]
        self.config = type("config", (), {"sample_rate": RATE})
        self.waves = [self.say(i, speaker) for i, speaker in enumerate(self.speaker)]

    def say(self, i: int, speaker: int, level: float = 0.3) -> torch.Tensor:
        return torch.tensor(
            np.concatenate([spoken(PITCHES[speaker], FORMANTS[phone], 1 / 3, level) for phone in self.said[i]])
        )

    def wave(self, i: int) -> torch.Tensor:
        return self.waves[i]

    def phones(self, i: int) -> list[Interval]:
        return [Interval(phone, k / 3, (k + 1) / 3) for k, phone in enumerate(self.said[i])]


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="module")
def ear(toy) -> listener.Listener:
    return listener.fit(toy, range(9), seconds=0.3)


def test_the_listener_tells_voices_and_phones_apart_whatever_the_level(toy, ear):
    for i in (0, 4, 8):
        for level in (0.05, 0.8):
            wave = toy.say(i, toy.speaker[i], level)
            assert listener.voice_of(ear, wave) == toy.speaker[i]
            said, heard = listener.phones_of(ear, wave, toy.phones(i))
            assert list(said) == list(heard) == list(toy.said[i])


def test_silences_and_what_lies_behind_the_end_are_not_asked_for(toy, ear):
    marks = [Interval("sil", 0, 0.1), Interval("aa1", 0.1, 0.3), Interval("iy", 0.8, 1.2), Interval("uw", 1.3, 1.4)]
    said, heard = listener.phones_of(ear, toy.wave(0)[: RATE // 2], marks)
    assert list(said) == ["aa"]
    assert list(heard) == ["aa"]
    assert len(listener.phones_of(ear, toy.wave(0), ())[0]) == 0


def test_a_listener_without_labels_or_with_one_voice_says_so(toy):
    mute = Toy()
    mute.phones = lambda i: []
    ear = listener.fit(mute, range(9))
    assert ear.phone is None
    with pytest.raises(SpeechlibError, match="without phone times"):
        listener.phones_of(ear, mute.wave(0), ())
    alone = listener.fit(toy, range(3))
    with pytest.raises(SpeechlibError, match="one speaker only"):
        listener.voice_of(alone, toy.wave(0))


@pytest.mark.parametrize(("rate", "n_fft"), [(8000, 256), (16000, 512), (22050, 1024)])
def test_a_listener_hears_25_ms_every_10_at_any_rate(rate, n_fft):
    config = listener.listening(rate)
    assert (config.n_fft, config.win_length / rate) == (n_fft, pytest.approx(0.025, abs=1e-4))
    assert config.frame_rate == pytest.approx(100, abs=0.5)


# ---- conversion


def converted(toy, by) -> list[conversion.Spoken]:
    """Every utterance asked for in every voice; `by(i, speaker)` speaks."""
    return [conversion.Spoken(i, s, by(i, s)) for i in range(9) for s in range(3)]


def test_a_perfect_conversion_is_recognised_as_the_target_with_the_same_words(toy, ear):
    table = conversion.sheet(ear, toy, converted(toy, toy.say))
    assert (table["heard"] == table["target"]).all()
    found = conversion.result(table[table["source"] != table["target"]])
    assert found[:2] == (18, 1.0)
    assert found.low == pytest.approx(0.824, abs=1e-3)
    assert (found.source, found.words) == (0.0, 1.0)
    assert found.nearer > 1  # dB: it is the target's own reading
    assert table["distance"].max() == pytest.approx(0, abs=1e-3)
    assert conversion.heard_as(table, "target", toy.speakers).to_numpy() == pytest.approx(np.eye(3))
    assert conversion.heard_as(table, "source", toy.speakers).to_numpy() == pytest.approx(np.full((3, 3), 1 / 3))


def test_a_conversion_that_changes_nothing_is_recognised_as_the_source(toy, ear):
    table = conversion.sheet(ear, toy, converted(toy, lambda i, s: toy.wave(i)))
    found = conversion.result(table[table["source"] != table["target"]])
    assert (found.target, found.source, found.words, found.nearer) == (0.0, 1.0, 1.0, 0.0)
    assert conversion.heard_as(table, "source", toy.speakers).to_numpy() == pytest.approx(np.eye(3))


def test_a_conversion_that_says_something_else_loses_the_words(toy, ear):
    table = conversion.sheet(ear, toy, converted(toy, lambda i, s: toy.say((i + 1) % 3, s)))
    found = conversion.result(table[table["source"] != table["target"]])
    assert found.target == 1.0
    assert found.words < 0.5


def test_recordings_are_as_long_as_what_stands_beside_them(toy, ear):
    said = conversion.recordings(toy, [1, 5], 0.5)
    assert [(s.utterance, s.speaker, len(s.wave)) for s in said] == [(1, 0, RATE // 2), (5, 1, RATE // 2)]
    found = conversion.result(conversion.sheet(ear, toy, said))
    assert (found.target, found.source, found.words) == (1.0, 1.0, 1.0)


def test_without_a_second_reading_or_labels_there_is_no_such_number(toy, ear):
    other = Toy()
    other.text = [None] * 9
    other.phones = lambda i: []
    table = conversion.sheet(listener.fit(other, range(9)), other, converted(other, other.say)[:4])
    assert table[["distance", "before"]].isna().all(axis=None)
    assert np.isnan(conversion.result(table).words)
    with pytest.raises(SpeechlibError, match="no speech"):
        conversion.sheet(ear, toy, [])
    with pytest.raises(SpeechlibError, match="without rows"):
        conversion.result(table[:0])


def slow_warped(reference, estimate) -> float:
    """All paths, one after the other: frame t of the estimate with frame j of the reference, j moves by 0, 1 or 2."""

    def best(t: int, j: int) -> float:
        before = [best(t - 1, k) for k in (j - 2, j - 1, j) if k >= 0] if t else [0.0]
        return distortion.mel_cepstral_distortion(reference[:, j : j + 1], estimate[:, t : t + 1]) + min(before)

    return min(best(estimate.shape[1] - 1, j) for j in range(reference.shape[1])) / estimate.shape[1]


def test_warped_distortion_is_the_best_of_all_paths():
    rng = np.random.default_rng(0)
    for T, T2 in ((5, 4), (3, 6), (1, 3), (6, 1)):
        reference, estimate = rng.normal(size=(4, T)), rng.normal(size=(4, T2))
        assert distortion.warped_distortion(reference, estimate) == pytest.approx(slow_warped(reference, estimate))


def test_warped_distortion_forgives_tempo_and_level_and_a_part_only():
    x = np.cumsum(np.random.default_rng(0).normal(size=(5, 40)), axis=1)
    slower, faster = x.repeat(2, axis=1), x[:, ::2]
    louder = x + np.array([[3.0], [0], [0], [0], [0]])
    for same in (x, slower, faster, louder, x[:, 7:30]):
        assert distortion.warped_distortion(x, same) == pytest.approx(0, abs=1e-6)
    assert distortion.warped_distortion(x, x[:, ::-1]) > 1
    with pytest.raises(SpeechlibError, match="wanted"):
        distortion.warped_distortion(x, x[:4])


# ---- voices as vectors: gender, map, projector


def test_gender_is_read_off_vectors_that_hold_it_and_not_off_others():
    rng = np.random.default_rng(0)
    gender = np.array(["F"] * 20 + ["M"] * 20)
    noise = rng.normal(size=(40, 16))
    apart = noise + 4 * np.eye(16)[3] * (gender == "F")[:, None]
    found, nothing = probes.leave_one_out(apart, gender), probes.leave_one_out(noise, gender)
    assert found.accuracy >= 0.95
    assert nothing.accuracy < 0.75
    assert nothing.low < 0.5  # chance is within what 40 speakers can tell
    assert (found.n, found.majority) == (40, 0.5)
    assert probes.leave_one_out(projection.pca(10 * apart), gender).accuracy >= 0.9


def test_leaving_one_out_is_what_it_says():
    """Each item is its own island but for its twin: who is left out is read by its twin."""
    x = np.repeat(10 * np.eye(4), 2, axis=0)
    assert probes.leave_one_out(x, list("aabbaabb")).accuracy == 1
    # beside its twin of the other class every item is read wrongly; fitted on itself it would be read rightly
    assert probes.leave_one_out(x + 0.01 * np.arange(8)[:, None], list("abababab")).accuracy == 0


def test_a_dozen_speakers_prove_little_and_the_interval_says_so():
    found = probes.leave_one_out(np.arange(12.0)[:, None] // 6, ["F"] * 6 + ["M"] * 6)
    assert (found.accuracy, found.high) == (1, 1)
    assert found.low == pytest.approx(1 / (1 + 1.959964**2 / 12))  # Wilson's closed form where all are right
    assert probes.wilson(50, 100) == pytest.approx((0.404, 0.596), abs=1e-3)
    assert probes.wilson(0, 10)[0] == 0
    with pytest.raises(SpeechlibError, match="got 1 F, 3 M"):
        probes.leave_one_out(np.eye(4), list("FMMM"))
    with pytest.raises(SpeechlibError, match="as many"):
        probes.leave_one_out(np.eye(4), list("FM"))


def test_the_projector_reads_the_files_back(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 5)).astype(np.float32)
    names = projector.about_speakers(["p225", "p226", "p280"], ["F", "M", None], ["English", None, None])
    assert names == ["p225#f#English", "p226#m#missing_info", "p280#missing_info#missing_info"]
    vecs, meta = projector.export(tmp_path, "speakers", vectors, names)
    assert (vecs.name, meta.name) == ("speakers_vecs.tsv", "speakers_meta.tsv")
    assert np.loadtxt(vecs, delimiter="\t") == pytest.approx(vectors, rel=1e-5)
    assert meta.read_text().splitlines() == names  # one column: no heading
    assert {path.name for path in tmp_path.iterdir()} == {vecs.name, meta.name}


def test_the_projector_shows_codes_with_their_counts_and_phones(tmp_path):
    phones = pd.Categorical(["a", "a", "b", None, "b"])
    tokens = pd.DataFrame({"code": [0, 0, 0, 2, 3], "phone": phones})
    about = projector.about_codes(tokens, 4)
    assert about.values.tolist() == [[0, 3, "a"], [1, 0, ""], [2, 1, ""], [3, 1, "b"]]
    _, meta = projector.export(tmp_path, "codebook", np.zeros((4, 2)), about)
    assert meta.read_text().splitlines() == ["index\tcount\tphone", "0\t3\ta", "1\t0\t", "2\t1\t", "3\t1\tb"]
    unlabelled = projector.about_codes(tokens.assign(phone=pd.Categorical([None] * 5)), 4)
    assert set(unlabelled["phone"]) == {""}


def test_the_projector_refuses_what_it_could_not_show(tmp_path):
    with pytest.raises(SpeechlibError, match=r"\(3, 2\) and 2 rows"):
        projector.export(tmp_path, "x", np.zeros((3, 2)), ["a", "b"])
    with pytest.raises(SpeechlibError, match="1 values of x are NaN"):
        projector.export(tmp_path, "x", np.array([[0.0, np.nan]]), ["a"])
    _, meta = projector.export(tmp_path, "x", np.zeros((1, 2)), ["a\tb\nc"])
    assert meta.read_text() == "a b c\n"


@pytest.mark.real
def test_the_listener_on_recordings(real_data, tmp_path):
    """Three readers of CMU ARCTIC, fitted on most sentences and asked about the others, at 8 kHz."""
    from speechlib import corpora, packs

    corpus = corpora.load("folder", real_data / "arctic16k")
    config = listener.listening(RATE)
    pack = packs.build(corpus, packs.PackConfig(sample_rate=RATE, features=(config,)), tmp_path)
    ear, held = listener.fit(pack, [i for i in range(len(pack)) if i % 5]), range(0, len(pack), 5)
    found = conversion.result(conversion.sheet(ear, pack, conversion.recordings(pack, held, 2.0)))
    assert found.target > 0.9
    assert found.words > 0.4
