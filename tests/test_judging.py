"""Vocoders beside each other: clips, rivals, the table, and what a WaveNet's run is judged by."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechlib import features, presets, systems
from speechlib.errors import SpeechlibError
from speechlib.systems import judging, wavenet

TINY = {"model.n_layers": 4, "model.residual_channels": 8, "model.gate_channels": 16, "model.skip_channels": 8}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two voices with their phones."""
    root = tmp_path_factory.mktemp("data")
    (root / "folder").mkdir()
    for voice in ("adam", "anika"):
        code = "import sys; from speechlib.corpora import toy; toy.speak(sys.argv[1], sys.argv[2])"
        subprocess.run([sys.executable, "-c", code, voice, str(root / "folder")], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(root))
        yield systems.prepare(experiment())


def experiment(**changes):
    return presets.get("wavenet", "smoke", "folder", changes=TINY | changes)


@pytest.fixture(scope="module")
def untrained(data):
    return systems.Trained(systems.build(experiment(), data).eval(), experiment(), data, None)


def test_clips_are_spread_over_a_part_and_speakers(data):
    chosen = judging.clips(data, "log_mel", n=6, seconds=1.0)
    assert len(chosen) == 6
    assert {clip.utterance for clip in chosen} <= set(data.split["val"])
    assert {clip.speaker for clip in chosen} == {0, 1}
    for clip in chosen:
        assert clip.features.shape == (60, 100)
        assert clip.wave.shape == (8000,)
        again = features.extract(torch.from_numpy(clip.wave), data.pack.config_of("log_mel"))
        assert torch.allclose(clip.features[:, :90], again[:, :90], atol=1e-4)  # the same stretch of time
    assert len(judging.clips(data, "log_mel", n=10_000)) == len(data.split["val"])


def test_the_table_ranks_recording_griffin_lim_noise_and_silence(data):
    config = data.pack.config_of("log_mel")
    others = {
        judging.RECORDING: lambda clip: torch.from_numpy(clip.wave),
        "silence": lambda clip: 1e-4 * torch.randn(len(clip.wave)),
    }
    say = others | judging.rivals(config)
    say[judging.REFINED] = judging.refined(say[judging.NOISE], config)
    table = judging.judge(data, judging.clips(data, "log_mel", 6), "log_mel", say)
    order = [judging.RECORDING, judging.REFINED, judging.GRIFFIN_LIM, judging.NOISE, "silence"]
    assert list(table["log_mel_distance"].sort_values().index) == order
    assert table["phones"].idxmin() == "silence"
    assert table.loc[judging.RECORDING, "phones"] > 0.7
    assert table.loc[judging.RECORDING, "pitch_kept"] == 1
    # bands that are narrower than a voice is high let some of its pitch through, even to noise
    assert table.loc[judging.NOISE, "pitch_kept"] < 0.4 < table.loc[judging.GRIFFIN_LIM, "pitch_kept"]


def test_without_phone_times_phones_are_left_out(data, monkeypatch):
    monkeypatch.setattr(type(data.pack), "phones", lambda pack, i: [])
    table = judging.judge(
        data, judging.clips(data, "log_mel", 2), "log_mel", judging.rivals(data.pack.config_of("log_mel"))
    )
    assert "phones" not in table
    assert table["log_mel_distance"].notna().all()


def test_scores_of_a_run_are_seeded_and_beside_noise(untrained):
    found = wavenet.scores(untrained)
    assert found == wavenet.scores(untrained)
    assert {"log_mel_distance", "noise_log_mel_distance", "level", "phones", "noise_phones"} <= found.keys()
    assert all(isinstance(value, float) for value in found.values())
    assert found["log_mel_distance"] > found["noise_log_mel_distance"]  # nothing was learned yet


def test_scores_do_without_log_mel(data):
    """A vocoder that is given cepstra is judged by the same bands."""
    from speechlib.presets import WAVE

    config = replace(data.pack.config_of("log_mel"), kind="mfcc", n_mfcc=20, n_deltas=1)
    changed = replace(
        experiment(**{"model.envelope": 0}),
        pack=replace(experiment().pack, features=(config,)),
        inputs="mfcc",
        targets=WAVE,
    )
    with_cepstra = systems.prepare(changed)
    trained = systems.Trained(systems.build(changed, with_cepstra).eval(), changed, with_cepstra, None)
    assert wavenet.scores(trained)["noise_log_mel_distance"] < 12


def test_vocode_takes_an_utterance_or_features(untrained):
    index = untrained.data.split["val"][0]
    x = untrained.data.pack.features(index, "log_mel")[:, :5]
    said = wavenet.vocode(untrained, x, seed=3)
    assert said.shape == (400,)
    whole = wavenet.vocode(untrained, index, n_samples=400, seed=3)  # its fifth frame knows the sixth
    assert torch.equal(said[:320], whole[:320])
    assert not torch.equal(said, wavenet.vocode(untrained, x, seed=4))


def test_features_of_another_kind_are_refused(untrained):
    for given in (torch.zeros(39, 5), torch.zeros(1, 60, 5), torch.zeros(60)):
        with pytest.raises(SpeechlibError, match=r"needs a condition \(B, 60, T\), got one of shape"):
            wavenet.vocode(untrained, given)


def test_vocode_takes_a_voice_where_the_model_knows_some(data):
    knows = experiment(**{"model.speaker_dim": 4})
    trained = systems.Trained(systems.build(knows, data).eval(), knows, data, None)
    index = data.split["val"][0]
    own, other = int(data.pack.speaker[index]), 1 - int(data.pack.speaker[index])
    said = {s: wavenet.vocode(trained, index, s, n_samples=400) for s in (None, own, other, -1)}
    assert torch.equal(said[None], said[own])
    assert not torch.equal(said[own], said[other])
    assert not torch.equal(said[own], said[-1])


def test_a_run_holds_its_scores(data, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path))
    short = experiment(**{"training.steps": 2, "training.n_frames": 5, "training.validate_batches": 1})
    run = systems.train(short, data=data)
    assert run.status == "done"
    assert np.isfinite([run.summary[name] for name in ("bits", "log_mel_distance", "noise_log_mel_distance")]).all()
    again = wavenet.scores(systems.load(run, data))
    assert again == {name: run.summary[name] for name in again}


def test_weights_that_are_not_finite_are_refused(data):
    broken = systems.build(experiment(), data).eval()
    with torch.no_grad():
        broken.post_2.bias[0] = torch.nan
    with pytest.raises(SpeechlibError, match="finite"):
        wavenet.vocode(systems.Trained(broken, experiment(), data, None), data.split["val"][0], n_samples=100)


def test_speaking_gives_the_same_in_blocks(untrained):
    x = untrained.data.pack.features(untrained.data.split["val"][0], "log_mel")[:, :5]
    coming = wavenet.speaking(untrained, x, block=150, seed=3)
    blocks = list(coming)
    assert [block.shape[1] for block in blocks] == [150, 150, 100]
    assert torch.equal(torch.cat(blocks, 1)[0], wavenet.vocode(untrained, x, seed=3))


def test_influence_ends_where_the_receptive_field_does(untrained):
    """The gradient of the last prediction, against changing one sample after the other."""
    from speechlib.evaluation.influence import influence

    model = untrained.model
    reach = 1 + (model.config.kernel_size - 1) * sum(model.config.dilations)
    wave, bands = torch.randn(1, 160) * 0.1, untrained.data.pack.features(0, "log_mel")[None, :, :2]
    found = influence(model, wave, bands)
    assert found.shape == (160,)
    assert (found[:reach] > 0).all()
    assert (found[reach:] == 0).all()
