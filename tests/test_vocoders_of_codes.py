"""Vocoders that read the codes of a codec: WaveNet, ClariNet and FloWaveNet in the place of its own decoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from speechlib import audio, configs, presets, runs, systems
from speechlib.errors import SpeechlibError
from speechlib.features import FeatureConfig
from speechlib.generation.eager_wavenet import EagerWaveNet
from speechlib.generation.numba_wavenet import NumbaWaveNet
from speechlib.models.standardise import CodeVectors
from speechlib.models.wavenet import WaveNet
from speechlib.systems import judging, vocoding
from speechlib.systems.resynthesis import resynthesise

CODE = 160  # samples
FEW = {"training.steps": 4, "training.precision": "fp32", "training.validate_every": 4}
SYSTEMS = ("wavenet", "flowavenet", "clarinet")


def experiment(system: str, **changes):
    """A small vocoder on the codes of a small codec, and a teacher of few steps where it has one."""
    found = presets.get(system, "codes_smoke", "folder", changes=FEW | changes)
    few = lambda one: one and configs.override(replace(one, source=few(one.source)), FEW)  # noqa: E731
    return replace(found, source=few(found.source))


@pytest.fixture(scope="module")
def trained(voices, tmp_path_factory):
    """{system: trained} on one codec."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        yield {system: systems.load(systems.train(experiment(system))) for system in SYSTEMS}


# -- codes as vectors --------------------------------------------------------------------------------------------------


def test_a_code_is_the_vector_of_its_codebook_standardised_over_what_is_said():
    codebook, said = torch.randn(5, 3), torch.tensor([0, 0, 0, 1, 4, 4])
    reader = CodeVectors(5, 3).fit(codebook, said)
    codes = torch.tensor([[[3, 0, 4, 4]]])
    vectors = codebook[said]
    one_hot = F.one_hot(codes[:, 0], 5).float()
    wanted = (one_hot @ codebook - vectors.mean(0)) / vectors.std(0, correction=0)
    torch.testing.assert_close(reader(codes), wanted.transpose(1, 2))
    again = CodeVectors(5, 3)
    again.load_state_dict(reader.state_dict())
    assert torch.equal(again(codes), reader(codes))


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        (torch.tensor([[[0, 5]]]), "codes run from 0 to 5, the codebook has 5: is this its codec"),
        (torch.tensor([[[-1, 2]]]), "codes run from -1 to 2"),
        (torch.zeros(1, 1, 4), "reads codes .*whole numbers, not torch.float32"),
    ],
)
def test_what_is_no_code_of_the_codebook_is_told(codes, told):
    with pytest.raises(SpeechlibError, match=told):
        CodeVectors(5, 3)(codes)


def test_another_codebook_does_not_fit():
    with pytest.raises(SpeechlibError, match=r"a codebook \(4, 3\) for a model of \(5, 3\)"):
        CodeVectors(5, 3).fit(torch.zeros(4, 3), torch.zeros(2, dtype=torch.long))


# -- the three of them -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SYSTEMS)
def test_it_learns_from_codes_and_says_them(trained, system):
    found = trained[system]
    pack = found.data.pack
    assert found.model.sizes["n_codes"] == 64
    assert found.model.sizes["n_speakers"] == len(pack.speakers) == 2
    for i in (0, len(pack) - 1):
        codes, speaker = pack.codes_of(i), int(pack.speaker[i])
        wave = systems.SYSTEMS[system].vocode(found, i, seed=3)
        assert wave.shape == (len(codes) * CODE,)
        assert wave.isfinite().all()
        assert torch.equal(wave, vocoding.vocode(codes, found, speaker=speaker, seed=3))
        assert not torch.equal(wave, vocoding.vocode(codes, found, speaker=1 - speaker, seed=3))
        assert not torch.equal(wave, vocoding.vocode(codes.roll(1), found, speaker=speaker, seed=3))
    summary = found.run.summary
    assert {"log_mel_distance", "noise_log_mel_distance"} <= summary.keys()
    assert vocoding.sample_rate(found, None) == 8_000


def test_the_codec_is_the_same_for_all_and_the_teacher_reads_its_codes(trained):
    packs = [one.data.pack for one in trained.values()]
    assert len({pack.codec for pack in packs}) == 1
    assert len(runs.list_runs()) == 5  # the codec, a teacher, and the three
    student = trained["clarinet"]
    teacher = systems.source_of(student.experiment)
    assert student.experiment.source.system == "wavenet"
    assert student.experiment.codec == student.experiment.source.source == trained["wavenet"].experiment.codec
    assert torch.equal(student.model.teacher.inputs.codebook, teacher.model.inputs.codebook)
    assert all(torch.equal(a, b) for a, b in zip(student.model.teacher.parameters(), teacher.model.parameters()))


def test_the_crops_are_what_the_codes_were_made_of(trained):
    """Code j stands for the samples from j x 160 on."""
    found = trained["wavenet"]
    pack, batch = found.data.pack, systems.crops(found.experiment, found.data).batch(2)
    assert (batch.inputs.shape[2] * CODE,) == batch.audio.shape[1:]
    for k, i in enumerate(batch.utterance.tolist()):
        first, length = int(batch.start[k]), int(batch.length[k])
        assert torch.equal(batch.inputs[k, 0, :length], pack.codes_of(i)[first : first + length])
        wave = pack.wave(i)[first * CODE : (first + length) * CODE]
        assert torch.equal(batch.audio[k, : len(wave)], wave)


@pytest.mark.parametrize("path", [EagerWaveNet, NumbaWaveNet])
def test_spoken_step_by_step_is_teacher_forcing(trained, path):
    model, pack = trained["wavenet"].model, trained["wavenet"].data.pack
    codes, speaker, wave = pack.codes_of(0)[None, None, :3], torch.tensor([1]), torch.rand(1, 3 * CODE) * 2 - 1
    with torch.no_grad():
        expected = model(wave, codes, speaker)
    got = path(model, codes, speaker, n_streams=1).force(wave)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * max(1, expected.abs().max().item()))


def test_all_vocoders_of_the_same_codes_are_found_and_judged(trained):
    found = trained["flowavenet"]
    says = vocoding.everything(found.experiment, found.data)
    assert {judging.NOISE, judging.GRIFFIN_LIM} <= says.keys()
    clips = judging.clips(found.data, "codes", 1, 0.5)
    assert clips[0].features.shape == (1, 25)
    noise = says[judging.NOISE](clips[0])
    assert len(noise) >= 0.5 * 8_000 - CODE
    table = judging.judge(found.data, clips, "codes", {"noise": lambda clip: noise})
    assert np.isfinite(table.loc["noise", "log_mel_distance"])
    inverted = judging.judge(found.data, clips, "codes", {"bands": says[judging.GRIFFIN_LIM]})
    assert inverted.loc["bands", "log_mel_distance"] < table.loc["noise", "log_mel_distance"]


def test_a_recording_of_anyone_is_said_by_its_codes(trained, tmp_path):
    found = trained["flowavenet"]
    pack, i = found.data.pack, 0
    audio.write(tmp_path / "me.wav", pack.wave(i), 8_000)
    (path,) = resynthesise(found, tmp_path / "me.wav", [pack.speakers[1]], tmp_path, seed=2)
    assert path.name == f"me_{pack.speakers[1]}.wav"
    said, rate = audio.read(path)
    expected = vocoding.vocode(pack.codes_of(i), found, speaker=1, seed=2)[: len(said)]
    assert rate == 8_000
    np.testing.assert_allclose(said, expected, atol=0.05)  # written with 16 bit, and its codes read off 16 bit


def test_bands_drawn_from_codes_are_said_by_vocoders_of_bands(trained):
    """As the codec's own WaveNet is told them; and a vocoder of codes is given the codes themselves."""
    found = trained["flowavenet"]
    codec, (clip,) = systems.source_of(found.experiment), judging.clips(found.data, "codes", 1, 0.3)
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(systems.SYSTEMS["wavenet"], "vocode", lambda *asked, **_: told.append(asked) or torch.ones(3))
        shipped = systems.load_pretrained("wavenet")
        says = vocoding.by_codes(codec, {"by codes": found, "by bands": shipped, "Griffin-Lim": None})
        assert torch.equal(says["by bands"](clip), torch.ones(3))
    (_, bands, speaker), codes = told[0], clip.features[0]
    voice = torch.tensor([clip.speaker]) if codec.model.speakers is not None else None
    with torch.no_grad():
        assert torch.equal(bands, codec.model.condition(codes[None], voice)[0][0])
    assert speaker == clip.speaker
    assert torch.equal(says["by codes"](clip), vocoding.vocode(codes, found, speaker=clip.speaker, temperature=0.8))
    assert len(says["Griffin-Lim"](clip)) >= (len(codes) - 1) * CODE
    with pytest.raises(SpeechlibError, match=r"this vqvae draws no bands from its codes"):
        vocoding.drawn(systems.Trained(None, presets.get("vqvae", "smoke"), None, None), codes, 0)


# -- what does not fit -------------------------------------------------------------------------------------------------


def test_codes_and_features_are_told_apart(trained):
    found, bands = trained["flowavenet"], FeatureConfig("log_mel", 8_000, 256, 200, 80, 40)
    codes = found.data.pack.codes_of(0)
    with pytest.raises(SpeechlibError, match="this flowavenet reads the codes of its codec"):
        vocoding.vocode(torch.zeros(40, 9), found, bands)
    for wrong in (codes[None], codes.float(), [1, 2]):
        with pytest.raises(SpeechlibError, match=r"what has no config is codes \(L,\)"):
            vocoding.vocode(wrong, found)
    with pytest.raises(SpeechlibError, match="codes run from .* to 64, the codebook has 64"):
        vocoding.vocode(torch.tensor([0, 64]), found)
    with pytest.raises(SpeechlibError, match="and a vocoder that reads codes"):
        vocoding.vocode(codes, None)
    with pytest.raises(SpeechlibError, match="reads log_mel, not codes: train one with inputs=codes"):
        vocoding.vocode(codes, "wavenet")
    with pytest.raises(SpeechlibError, match="steering keeps speech near the bands asked for"):
        systems.wavenet.steered(trained["wavenet"], 0)


def test_a_codec_that_was_trained_anew_is_noticed(trained):
    found = trained["wavenet"]
    pack = found.data.pack.to("cpu")
    pack.codebook = pack.codebook + 1
    with pytest.raises(SpeechlibError, match=r"has learned the codes of another codebook: delete .* train it again"):
        systems.wavenet.vocode(found._replace(data=found.data._replace(pack=pack)), 0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model.scales": [8, 10]}, r"make 80 samples of a frame, codes has a hop of 160"),
        ({"model.envelope": 24}, "codes have no envelope"),
        ({"model.unit_condition": True}, "codes have no range"),
    ],
)
@pytest.mark.parametrize("system", ["wavenet", "flowavenet"])
def test_what_codes_cannot_be_is_told(system, changes, told):
    with pytest.raises(SpeechlibError, match=told):
        systems.blank(experiment(system, **changes))


def test_codes_of_nobody():
    with pytest.raises(SpeechlibError, match="on codes needs `source`, the experiment whose codes it reads"):
        systems.blank(replace(experiment("wavenet"), source=None))


def test_a_model_of_bands_is_as_it_was():
    """Checkpoints that were written before codes were read name no number of them."""
    sizes = {"n_condition": 4, "n_speakers": 0}
    model = WaveNet(presets.get("wavenet", "smoke").model, **sizes)
    assert model.sizes == sizes | {"n_codes": 0}
