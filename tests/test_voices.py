"""Every codec speaks its codes in any voice, and is asked whether it listens to what it is told."""

import base64
import io
import re
import subprocess
import sys
from math import log
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechlib import configs, corpora, features, packs, presets, systems, widgets
from speechlib.errors import SpeechlibError
from speechlib.evaluation.condition_use import RIGHT
from speechlib.evaluation.listener import listening
from speechlib.systems import voices

SYSTEMS = ("vqvae", "vqvae_wavenet")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two voices of the toy corpus, a woman's and a man's."""
    root = tmp_path_factory.mktemp("voices")
    for voice in ("adam", "anika"):
        code = "import sys; from speechlib.corpora import toy; toy.speak(sys.argv[1], sys.argv[2])"
        subprocess.run([sys.executable, "-c", code, voice, str(root)], check=True)
    return corpora.load("folder", root)


@pytest.fixture(scope="module", params=SYSTEMS)
def codec(request, corpus, tmp_path_factory) -> systems.Trained:
    """An untrained model of each system, in which speakers make a difference."""
    experiment = presets.get(request.param, "smoke")
    pack = packs.build(corpus, experiment.pack, tmp_path_factory.mktemp("pack"))
    data = systems.Data(corpus, pack, {"train": list(range(0, 112, 2)), "val": list(range(1, 112, 2))})
    model = systems.build(experiment, data).eval()
    torch.nn.init.normal_(systems.lifecycle.system_of(experiment).speaker_table(model).weight)
    return systems.Trained(model, experiment, data, None)


def sounds(html) -> list[np.ndarray]:
    return [
        soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")[0]
        for data in re.findall(r'src="data:audio/(?:flac|wav);base64,([^"]+)"', html)
    ]


def test_a_conversion_lasts_as_long_as_its_utterance_or_as_was_asked(codec):
    pack = codec.data.pack
    short = int(np.argmin(pack.n_samples))
    asked = [(1, 0), (1, 1), (short, 1)]
    half = systems.convert(codec, asked, 0.5)
    assert [(s.utterance, s.speaker) for s in half] == asked
    assert {len(s.wave) for s in half} == {pack.config.sample_rate // 2}
    assert all(s.wave.isfinite().all() and s.wave.abs().max() <= 1.5 for s in half)
    assert not torch.equal(half[0].wave, half[1].wave)  # the voice is heard


def test_a_sheet_is_the_same_as_one_by_one(codec):
    """Streams do not touch each other, and the codes of a short one are held to the length of the longest."""
    pack = codec.data.pack
    short, long = int(np.argmin(pack.n_samples)), int(np.argmax(pack.n_samples))
    draws = systems.voicing(codec).draws
    (alone,) = systems.convert(codec, [(short, 1)], 0.2 if draws else 10)
    first, _ = systems.convert(codec, [(short, 1), (long, 0)], 0.2 if draws else 10)
    if draws:  # the last bands of the short one are drawn with an eye on the codes behind it
        end = len(alone.wave) - 8 * codec.model.hop
        torch.testing.assert_close(alone.wave[:end], first.wave[:end], atol=1e-3, rtol=0)
        return
    config = listening(pack.config.sample_rate)  # phases are guessed anew for each length: the bands are the same
    bands = [features.extract(s.wave, config)[:, :-10] for s in (alone, first)]
    assert (bands[0] - bands[1]).abs().mean() < 0.15 * bands[0].std()


def test_a_file_of_anyone_becomes_speech_of_the_speakers_with_its_codes_beside(codec, tmp_path):
    pack = codec.data.pack
    name = pack.utterances[1]
    (source,) = [cut.recording.sources[0].source for cut in codec.data.corpus.cuts if cut.id == name]
    speakers = [1, -1] if systems.voicing(codec).nobody else [1]
    said = systems.convert_file(codec, source, speakers, tmp_path / "said", 0.5)
    assert list(said) == ["anika", "no_speaker"][: len(speakers)]
    codes = np.load(tmp_path / "said" / f"{name}_codes.npy")
    expected = systems.encode(codec, [1])[0][1]
    assert np.mean(codes[:20] == expected[:20]) > 0.8  # int16 and the cut at 0.5 s make little difference
    for voice, wave in said.items():
        written, rate = soundfile.read(tmp_path / "said" / f"{name}_{voice}.wav", dtype="float32")
        assert rate == pack.config.sample_rate
        assert len(written) == len(wave) == pytest.approx(0.5 * rate, abs=0.04 * rate)
        assert written == pytest.approx(wave.clamp(-1, 1).numpy(), abs=1e-4)


def test_an_utterance_is_drawn_from_its_codes_in_any_voice(codec):
    """As long as its own features and at a level that those have: no more is asked of an untrained model."""
    kind = codec.experiment.frames("targets")
    own = codec.data.pack.features(1, kind)
    drawn = systems.reconstruct(codec, 1)
    assert drawn.shape == own.shape
    assert drawn.isfinite().all()
    assert (drawn.mean() - own.mean()).abs() < 3 * own.std()
    speaker = int(codec.data.pack.speaker[1])
    assert torch.equal(drawn, systems.reconstruct(codec, 1, speaker))
    assert not torch.equal(drawn, systems.reconstruct(codec, 1, 1 - speaker))


def test_its_use_of_the_condition_is_measured(codec):
    table = systems.condition_use(codec, n_items=12)
    named = {"nobody speaks"} if systems.voicing(codec).nobody else set()
    assert set(table.index) == {RIGHT, "codes of others", "another speaker", "both wrong", "codes of silence"} | named
    assert np.isfinite(table).all(axis=None)
    assert table.loc[RIGHT, ["rise", "low", "high"]].tolist() == [0, 0, 0]
    assert (table.loc["another speaker"] != table.loc[RIGHT]).any()  # it reaches the decoder
    assert table.equals(systems.condition_use(codec, n_items=12))


def told_rightly(codec, n=6):
    """The n-th crops, what the decoder is told of them, and its system."""
    experiment, model = codec.experiment, codec.model
    batch = systems.crops(configs.override(experiment, {"training.batch_size": n}), codec.data).batch(0)
    with torch.inference_mode():
        codes = model.codes(batch.audio if experiment.inputs == presets.WAVE else batch.inputs)
    return batch, codes, systems.lifecycle.system_of(experiment)


@torch.inference_mode()
def test_padding_is_no_error(codec):
    batch, codes, system = told_rightly(codec)
    half = batch._replace(length=batch.length // 2)
    expected = system.decoding_error(codec.model, half, codes, batch.speaker)
    frames = torch.arange(batch.targets.shape[2]) < half.length[:, None]
    silenced = half._replace(targets=batch.targets * frames[:, None])
    if batch.audio is not None:
        hop = batch.audio.shape[1] // batch.targets.shape[2]
        silenced = silenced._replace(audio=batch.audio * frames.repeat_interleave(hop, dim=1))
    found = system.decoding_error(codec.model, silenced, codes, batch.speaker)
    assert found.numpy() == pytest.approx(expected.numpy(), rel=1e-5)
    assert not torch.allclose(expected, system.decoding_error(codec.model, batch, codes, batch.speaker))


@torch.inference_mode()
def test_the_error_with_the_right_codes_is_what_is_learned(codec):
    """Of a WaveNet as a density: apart from the objective by the width of a class and the gain of the envelope."""
    batch, codes, system = told_rightly(codec)
    found = system.decoding_error(codec.model, batch, codes, batch.speaker)
    weights = batch.length / batch.length.sum()
    if systems.voicing(codec).draws:
        nll = codec.model.decoder.nll(batch.audio, *codec.model.condition(codes, batch.speaker), density=True)
        hop = batch.audio.shape[1] // batch.targets.shape[2]
        expected = torch.stack([row[: n * hop].mean() for row, n in zip(nll, batch.length)]).mul(weights).sum() / log(2)
    else:
        expected = system.objective(codec.model, batch)["reconstruction"]
    assert (found * weights).sum().item() == pytest.approx(expected.item(), rel=1e-4)


def test_mistake_5_nobody_is_no_speaker(codec):
    """The source's "None" was the first speaker of its table."""
    if not systems.voicing(codec).nobody:
        with pytest.raises(SpeechlibError, match="-1"):
            systems.convert(codec, [(1, -1)], 0.2)
        return
    nobody, first, second = systems.convert(codec, [(1, -1), (1, 0), (1, 1)], 0.2, temperature=0)
    assert not torch.equal(nobody.wave, first.wave)
    assert not torch.equal(nobody.wave, second.wave)


def test_speaker_vectors_are_rows_of_the_table(codec):
    vectors = systems.speaker_vectors(codec)
    assert vectors.shape[0] == len(codec.data.pack.speakers) == 2
    assert not np.allclose(vectors[0], vectors[1])


def test_a_system_with_one_voice_says_so(codec):
    experiment = configs.override(codec.experiment, {"model.speaker_dim": 0})
    alone = systems.Trained(systems.build(experiment, codec.data).eval(), experiment, codec.data, None)
    for call in (lambda: systems.convert(alone, [(0, 0)]), lambda: systems.condition_use(alone),
                 lambda: systems.speaker_vectors(alone), lambda: widgets.voice_explorer(alone)):  # fmt: skip
        with pytest.raises(SpeechlibError, match="one voice"):
            call()
    codes = systems.encode(alone, [1])[0][1]
    (wave,) = systems.speak(alone, [codes[:10]], [0])
    assert wave.isfinite().all()
    assert len(wave) == pytest.approx(0.2 * codec.data.pack.config.sample_rate, rel=0.06)


@pytest.mark.parametrize(
    ("codes", "speakers", "message"),
    [
        ([[0, 999]], [0], "codes run from 0 to 999, the codebook has"),
        ([[-1]], [0], "codes run from -1"),
        ([[]], [0], r"1 sequences of \[0\] codes for 1 speakers"),
        ([[1], [2]], [0], r"2 sequences of \[1, 1\] codes for 1 speakers"),
        ([[1, 2]], [99], r"speakers \[99\] for a model of 2"),
    ],
)
def test_codes_and_speakers_that_do_not_fit_are_refused(codec, codes, speakers, message):
    with pytest.raises(SpeechlibError, match=message):
        systems.speak(codec, [np.array(c, dtype=int) for c in codes], speakers)


def test_no_seconds_are_refused_and_no_questions_have_no_answers(codec):
    for seconds in (0, -1, float("nan")):
        with pytest.raises(SpeechlibError, match="leave nothing to say"):
            systems.convert(codec, [(0, 0)], seconds)
    assert systems.convert(codec, []) == []


def test_a_system_without_codes_speaks_none(codec):
    with pytest.raises(SpeechlibError, match="wavenet speaks no codes"):
        systems.voicing(codec._replace(experiment=presets.get("wavenet", "smoke")))


def test_voice_explorer(codec):
    explorer = widgets.voice_explorer(codec, seconds=0.3)
    rate = codec.data.pack.config.sample_rate
    original, converted = sounds(explorer.views["sound"].value)
    assert len(original) == len(converted) == round(0.3 * rate)
    assert "original (adam" in explorer.views["sound"].value
    assert "<img" in explorer.views["speech"].value
    assert explorer.controls["voice"].value == 1  # the other one
    explorer.controls["voice"].value = 0
    again = sounds(explorer.views["sound"].value)
    assert np.array_equal(again[0] / np.abs(again[0]).max(), original / np.abs(original).max()) or len(again) == 2
    assert not np.array_equal(again[1], converted)
    if systems.voicing(codec).draws:
        explorer.controls["seed"].value = 3
        drawn = sounds(explorer.views["sound"].value)
        assert not np.array_equal(drawn[1], again[1])
        explorer.controls["temperature"].value = 0.0
        assert not np.array_equal(sounds(explorer.views["sound"].value)[1], drawn[1])
        explorer.controls["voice"].value = -1
        assert "voice nobody" in explorer.views["sound"].value
    else:
        assert set(explorer.controls) == {"utterance", "voice"}
    assert explorer.views["note"].value == ""
    assert explorer.still().count("<audio") == 2


def test_no_speaker_leaves_the_folder():
    assert voices.file_name(Path("elsewhere/me.wav"), "../a/b") == "me_..-a-b.wav"
