"""What notebook 32 measures: sets of experiments, voices in clips, and its figures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechlib import configs, presets, runs, systems
from speechlib.errors import SpeechlibError
from speechlib.evaluation import coherence, listener, probes
from speechlib.figures import melnet_studies as figures
from speechlib.presets.melnet import PUBLISHED
from speechlib.systems import melnet

RATE = 8000


# -- sets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["smoke", "demo", "paper", "librispeech_v1"])
def test_sizes_vary_one_thing_at_a_time(preset):
    members = presets.named_set(presets.MELNET_SIZES, preset)
    base = presets.get("melnet", preset).model
    differ = [(one.model.hidden != base.hidden) + (one.model.layers != base.layers) for one in members.values()]
    assert differ.count(0) == 1
    assert max(differ) == 1
    assert {one.model.layers[1:] for one in members.values()} == {base.layers[1:]}
    assert {one.training.part for one in members.values()} == {"tier_1"}
    assert len({runs.identity(configs.to_dict(one)) for one in members.values()}) == len(members)


def test_members_of_a_set_begin_anew_whatever_the_preset_goes_on_from():
    assert presets.get("melnet", "long").source
    for name in (presets.MELNET_SIZES, presets.MELNET_TIERS):
        assert {one.source for one in presets.named_set(name, "long").values()} == {None}


@pytest.mark.parametrize("preset", ["smoke", "demo", "maestro"])
def test_tiers_share_their_grids_and_all_else(preset):
    members = presets.named_set(presets.MELNET_TIERS, preset, "toy")
    assert [one.model.n_tiers for one in members.values()] == [2, 3, 4, 5, 6]
    assert len({repr(replace(one, model=None)) for one in members.values()}) == 1
    base = presets.get("melnet", preset)
    for one in members.values():
        assert one.model.layers[:2] == base.model.layers[:2]
        assert one.training.steps == base.training.steps // 4
        features = one.pack.features[0].n_mels
        with torch.device("meta"):  # the grids are large enough for six
            model = systems.melnet.MelNet(replace(one.model, speaker_dim=0), features)
        assert sum(int(grid.n_values) for grid in model.to_empty(device="cpu").grids(
            torch.zeros(1, features, one.training.n_frames))) == features * one.training.n_frames  # fmt: skip


def test_published_losses_are_per_value():
    assert PUBLISHED["hidden size"][200] == pytest.approx(-1.28, abs=0.005)
    assert PUBLISHED["hidden size"][64] == PUBLISHED["layers"][13]  # one model, in both figures


def test_a_sweep_reads_its_corpus_once(voices, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path))
    monkeypatch.setattr(melnet, "_FRAMES", 100)
    few = {"training.steps": 1, "model.hidden": 2, "training.part": "tier_1", "training.validate_batches": 1}
    made = [presets.get("melnet", "smoke", "folder", seed=seed, changes=few) for seed in (0, 1)]
    made.append(presets.get("melnet", "smoke", "folder", changes=few | {"split.seed": 1}))
    read, prepare = [], systems.sweeps.prepare
    monkeypatch.setattr(systems.sweeps, "prepare", lambda one, **_: read.append(one) or prepare(one))
    monkeypatch.setattr(systems.lifecycle, "prepare", lambda *_: pytest.fail("prepared a second time"))
    assert [run.status for run in systems.sweep(made)] == ["done"] * 3
    assert len(read) == 2  # another split is other data


# -- voices in clips ---------------------------------------------------------------------------------------------------


def buzz(hertz: float, seconds: float = 0.5, seed: int = 0) -> np.ndarray:
    """A pulse train with a little noise: a voice that is known by its pitch."""
    t = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * k * hertz * t) / k for k in range(1, int(3500 / hertz)))
    return (0.2 * wave + 0.002 * np.random.default_rng(seed).standard_normal(len(t))).astype(np.float32)


@pytest.fixture(scope="module")
def ear():
    """It knows speaker 3 by 100 Hz, speaker 5 by 220 Hz, and speaker 8 by 330 Hz."""
    config = listener.listening(RATE)
    known = [(listener.voice_vector(listener.hear(buzz(h * (1 + 0.01 * k), seed=k + 4), config)), s)
             for s, h in ((3, 100), (5, 220), (8, 330)) for k in range(-4, 5) if k]  # fmt: skip
    return listener.Listener(config, probes.fit_reader(*map(np.array, zip(*known))), None)


def test_clips_are_taken_for_the_speakers_they_sound_like(ear):
    waves = [buzz(h, seed=9) for h in (100, 220, 330, 330)]
    found = coherence.taken_for(ear, waves, [3, 5, 8, 3])  # the last one is said by another than was asked for
    assert (found.right, found.n, found.share) == (3, 4, 0.75)
    assert (found.low, found.high) == probes.clopper_pearson(3, 4)
    assert found.chance == pytest.approx(1 / 3)
    assert coherence.taken_for(ear, waves[:3], [5, 8, 3]).right == 0
    assert coherence.favourite(ear, {"A": waves[0], "B": waves[1]}, 5) == "B"


def test_halves_of_one_voice_are_told_from_halves_of_two(ear):
    steady = [buzz(h, 1.0, seed=k) for k, h in enumerate((100, 220, 330))]
    broken = [np.concatenate([buzz(a), buzz(b)]) for a, b in ((100, 220), (220, 330), (330, 100))]
    one, two = (coherence.within(ear, waves, RATE) for waves in (steady, broken))
    assert one.one_voice > 0.9 > 0.1 > one.two_clips
    assert two.one_voice < 0.1
    assert two.two_clips > 0.3  # its second halves are the first halves of others
    assert one.pitch < 0.1
    assert two.pitch == pytest.approx(np.median(12 * np.abs(np.log2([220 / 100, 330 / 220, 100 / 330]))), abs=0.1)
    assert one.voiced > 0.9


def test_noise_has_no_pitch_and_one_speaker_no_voices(ear):
    noise = [0.1 * np.random.default_rng(k).standard_normal(RATE).astype(np.float32) for k in range(2)]
    assert np.isnan(coherence.within(ear, noise, RATE).pitch)
    deaf = ear._replace(voice=None)
    assert np.isnan(coherence.within(deaf, noise, RATE).one_voice)
    with pytest.raises(SpeechlibError, match="one speaker only"):
        coherence.taken_for(deaf, noise, [0, 0])
    with pytest.raises(SpeechlibError, match="2 clips for 1 speakers"):
        coherence.taken_for(ear, noise, [0])
    with pytest.raises(SpeechlibError, match="two are needed"):
        coherence.within(ear, noise[:1], RATE)


# -- clips of a model --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained(voices):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        experiment = presets.get("melnet", "smoke", "folder", changes={"model.hidden": 4, "model.n_mixtures": 2})
        data = systems.prepare(experiment)
        yield systems.Trained(systems.build(experiment, data), experiment, data, None)


def test_clips_are_as_long_as_asked_and_those_of_their_speakers(untrained):
    waves = melnet.say(untrained, [0, 1, 1], 0.4, seed=3)
    assert [len(wave) for wave in waves] == [24 * 128] * 3  # 25 frames of 128 samples
    assert not torch.equal(waves[0], waves[1])
    again = melnet.say(untrained, [0], 0.4, seed=3)
    torch.testing.assert_close(again[0], waves[0], rtol=0, atol=1e-3)  # whoever is beside it
    chosen = melnet.lasting(untrained.data, "log_mel", 0.4, 3)
    said = melnet.said(untrained.data, "log_mel", chosen, 0.4)
    assert {len(wave) for wave in said} == {24 * 128}
    whole, lines = melnet.outlined(untrained, chosen, 0.4, n_real=3)
    for a, b, c in zip(said, whole, lines):  # with all tiers real, nothing is drawn
        torch.testing.assert_close(b, a, rtol=0, atol=1e-3)
        torch.testing.assert_close(c, a, rtol=0, atol=1e-3)
    drawn, lines = melnet.outlined(untrained, chosen, 0.4)
    assert not torch.allclose(drawn[0], lines[0], atol=1e-2)


def test_utterances_that_are_too_short_are_left_out(untrained):
    pack, val = untrained.data.pack, untrained.data.split["val"]
    longest = max(val, key=lambda i: pack.n_frames[i])
    seconds = int(pack.n_frames[longest]) / 62.5
    assert melnet.lasting(untrained.data, "log_mel", seconds, 50) == [longest]
    assert len(melnet.lasting(untrained.data, "log_mel", 0.1, 4)) == 4
    with pytest.raises(SpeechlibError, match=r"no utterance of val lasts 60 s, the longest \d"):
        melnet.lasting(untrained.data, "log_mel", 60, 4)


# -- figures -----------------------------------------------------------------------------------------------------------


def texts(figure) -> list[str]:
    figure.canvas.draw()
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_published_values_are_printed_and_have_an_axis_of_their_own():
    """-1.28 beside 0.8 is no comparison, and must not look like one."""
    figure = figures.sizes({"hidden size": {12: 0.9, 48: 0.8}, "layers": {1: 0.85, 3: 0.8}}, PUBLISHED, 1.17)
    assert len(figure.axes) == 4
    assert "-1.280" in texts(figure)
    assert "0.900" in texts(figure)
    left, _, right, other = figure.axes
    assert left.get_ylim()[0] > 0 > right.get_ylim()[1]
    assert right.get_ylim() == other.get_ylim()  # width and depth on one scale
    assert left.get_xscale() == "log"
    (legend,) = figure.legends
    assert any("published" in text.get_text() for text in legend.get_texts())
    alone = figures.sizes({"bands": {64: 1.0, 80: 0.9}}, {}, 1.2)
    assert len(alone.axes) == 1


def test_what_was_given_is_drawn_over_its_share():
    distance = {
        "5 tiers": {1 / 16: 6.0, 1 / 8: 5.0},
        "6 tiers": {1 / 32: 7.0, 1 / 16: 6.1},
        "straight lines": {1 / 16: 5.5},
    }
    figure = figures.given({"distance (dB)": distance, "phones heard": {"6 tiers": {1 / 32: 0.4}}})
    first, second = figure.axes
    assert [line.get_label() for line in first.lines] == list(distance)
    assert list(first.lines[1].get_xdata()) == [1 / 32, 1 / 16]  # in the order of shares
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["1/32", "1/16", "1/8"]
    assert len(second.lines) == 1


def test_an_ablation_has_a_panel_per_measure_with_marks():
    panels = {"nats": {"MelNet": [1.0, 0.9]}, "voice": {"one": [0.5, 0.6], "two": [0.1, 0.1]}}
    figure = figures.ablation([2, 3], panels, {"voice": {"recordings": 0.9}})
    nats, voice = figure.axes
    assert texts(figure) == ["1.000", "0.900", "0.500", "0.600"]
    assert len(nats.lines) == 1
    assert [line.get_label() for line in voice.lines] == ["one", "two", "recordings"]
    assert voice.lines[2].get_ydata()[0] == 0.9
