"""Features of anything through any vocoder: what is converted, what is refused, what stands in, how speed is told."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from speechlib import features, inversion, presets, pretrained, runs, systems, widgets
from speechlib.errors import SpeechlibError
from speechlib.evaluation import flows
from speechlib.features import FeatureConfig
from speechlib.figures import flowavenet as figures
from speechlib.generation import clarinet as clarinet_generation
from speechlib.generation import flowavenet as flowavenet_generation
from speechlib.generation import wavenet as wavenet_generation
from speechlib.models import MODELS
from speechlib.models.clarinet import ClariNetConfig
from speechlib.models.flowavenet import FloWaveNet, FloWaveNetConfig
from speechlib.models.wavenet import WaveNetConfig
from speechlib.presets import CorpusConfig
from speechlib.systems import flowavenet, judging, vocoding

TINY = {"model.n_blocks": 2, "model.n_flows": 1, "model.channels": 8, "training.steps": 3}
BANDS = FeatureConfig("log_mel", 8_000, n_fft=256, win_length=256, hop_length=80, n_mels=60)


def experiment(**changes):
    return presets.get("flowavenet", "smoke", "folder", changes=TINY | changes)


@pytest.fixture(scope="module")
def workspace(voices, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        yield


@pytest.fixture(scope="module")
def data(workspace):
    return systems.prepare(experiment())


@pytest.fixture(scope="module")
def run(data):
    return systems.train(experiment(), data=data)


@pytest.fixture(scope="module")
def trained(run, data):
    return systems.load(run, data)


@pytest.fixture
def clip(data):
    return judging.clips(data, "log_mel", 1, 0.5)[0]


# -- the system --------------------------------------------------------------------------------------------------------


def test_a_run_is_judged_by_likelihood_and_ear(run):
    assert run.status == "done"
    assert {"loss", "prior", "log_det_actnorm", "log_det_coupling", "log_det_envelope"} <= run.summary.keys()
    assert {"log_mel_distance", "noise_log_mel_distance"} <= run.summary.keys()


def test_it_begins_with_actnorm_fitted_to_its_first_batch(data):
    one, other = (systems.build(experiment(), data) for _ in range(2))
    assert one.initialised
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name  # a function of the seed: a resumed run is the same
    batch = systems.crops(experiment(), data).batch(0)
    one.eval()
    with torch.inference_mode():
        latents = one(batch.audio, batch.inputs).latents
    assert all(abs(z.mean()) < 0.5 and abs(z.std() - 1) < 0.5 for z in latents)


def test_a_resumed_training_is_the_same(data, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path))
    once = experiment(**{"training.steps": 4, "training.checkpoint_every": 2})
    whole = systems.load(systems.train(once, data=data), data).model.state_dict()
    run = runs.find(once)
    half = replace(once, training=replace(once.training, steps=2))
    stopped = systems.train(half, data=data)
    tensors, about = runs.load_tensors(stopped.training_state)
    identity = runs.identity(run.experiment)
    for path in (run.path / "summary.json", run.path / "status.json", run.checkpoint):
        path.unlink()
    runs.save_tensors(run.training_state, tensors, about | {"identity": identity})
    again = systems.load(systems.train(once, data=data), data).model.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_vocode_says_an_utterance_or_features(trained, data):
    said = flowavenet.vocode(trained, 0)
    assert said.shape == (int(data.pack.n_frames[0]) * 80,)
    assert torch.equal(said, flowavenet.vocode(trained, data.pack.features(0, "log_mel")))
    assert said.abs().max() <= 1
    assert not torch.equal(said, flowavenet.vocode(trained, 0, seed=1))
    with pytest.raises(SpeechlibError, match="no top_p, but a lower temperature"):
        flowavenet.vocode(trained, 0, top_p=0.9)


def test_truth_and_what_is_said_are_written_on_the_way(data):
    heard = experiment(**{"training.sample_every": 2, "training.steps": 2})
    samples = systems.train(heard, data=data).path / "samples"
    assert {path.name for path in samples.glob("*.wav")} >= {"recording.wav", "step-00000002.wav"}


def test_with_speakers_it_knows_them(data):
    knows = experiment(**{"model.speaker_dim": 2})
    model = systems.build(knows, data)
    assert model.sizes["n_speakers"] == 2
    one, other = (flowavenet.vocode(systems.Trained(model.eval(), knows, data, None), 0, speaker=s) for s in (0, -1))
    assert one.shape == other.shape


def test_what_does_not_divide_is_said_at_the_start(data):
    with pytest.raises(SpeechlibError, match=r"scales .8, 8. make 64 samples of a frame, log_mel has a hop of 80"):
        systems.build(experiment(**{"model.scales": [8, 8]}), data)
    with pytest.raises(SpeechlibError, match="training.n_frames 25 x 80 samples do not divide by 64"):
        systems.build(experiment(**{"model.n_blocks": 6}), data)
    one = experiment(**{"model.envelope_fft": 512})
    with pytest.raises(SpeechlibError, match="model.envelope_fft is 512, log_mel has n_fft 256"):
        systems.build(one, data)


# -- any features, any vocoder -----------------------------------------------------------------------------------------


def test_features_through_a_run_are_what_its_system_says(run, trained, clip):
    said = vocoding.vocode(clip.features, run, BANDS, temperature=0.5, seed=3)
    assert torch.equal(said, flowavenet.vocode(trained, clip.features, -1, temperature=0.5, seed=3))
    assert torch.equal(said, vocoding.vocode(clip.features, trained, BANDS, temperature=0.5, seed=3))
    assert vocoding.sample_rate(trained, BANDS) == 8_000


def test_without_a_vocoder_griffin_lim_says_so(clip, capsys):
    said = vocoding.vocode(clip.features, None, BANDS)
    assert capsys.readouterr().out == "no vocoder given: log_mel at 8000 Hz is heard through Griffin-Lim\n"
    assert torch.allclose(said, torch.as_tensor(judging.rivals(BANDS)[judging.GRIFFIN_LIM](clip)))
    lines = []
    vocoding.vocode(clip.features, None, BANDS, say=lines.append)
    assert len(lines) == 1
    assert capsys.readouterr().out == ""


def test_the_same_config_is_left_alone(clip):
    assert vocoding.converted(clip.features, BANDS, BANDS) is clip.features


@pytest.mark.parametrize("hop", [40, 160, 100])
def test_frames_of_another_rate_come_near_those_that_would_be_measured(data, hop):
    wave = data.pack.wave(0)
    given = replace(BANDS, hop_length=hop)
    measured = features.extract(wave, BANDS)
    made = vocoding.converted(features.extract(wave, given), given, BANDS)
    assert abs(made.shape[1] - measured.shape[1]) <= 2
    n = min(made.shape[1], measured.shape[1])
    error = (made - measured[:, :n] if n == made.shape[1] else made[:, :n] - measured).abs().mean()
    assert error < (0.05 if hop == 40 else 0.6)
    assert error < 0.5 * (measured - measured.mean(1, keepdim=True)).abs().mean()


def test_bands_of_another_sample_rate_get_its_level(data):
    """The same sound at twice the rate, with the same bands and the same window in seconds."""
    wave = data.pack.wave(0).cpu().numpy()
    spectrum = np.fft.rfft(wave[: len(wave) // 2 * 2])
    twice = 2 * np.fft.irfft(np.concatenate([spectrum, np.zeros(len(spectrum) - 1)]))
    fast = replace(BANDS, sample_rate=16_000, n_fft=512, win_length=512, hop_length=160, f_max=3_500.0)
    slow = replace(BANDS, f_max=3_500.0)
    measured = features.extract(torch.from_numpy(wave), slow)
    made = vocoding.converted(features.extract(torch.from_numpy(twice.astype(np.float32)), fast), fast, slow)
    n = min(made.shape[1], measured.shape[1])
    loud = measured[:, :n] > measured.max() - 8
    assert (made[:, :n] - measured[:, :n])[loud].abs().mean() < 0.05


@pytest.mark.parametrize(
    "changes",
    [{"n_mels": 40}, {"f_min": 50.0}, {"f_max": 3_000.0}, {"win_length": 200}, {"n_deltas": 1}, {"kind": "log_fbank"}],
)
def test_bands_that_were_never_measured_are_not_made(changes):
    given = replace(BANDS, **changes)
    with pytest.raises(SpeechlibError) as told:
        vocoding.converted(torch.zeros(features.n_features(given), 10), given, BANDS)
    message = str(told.value)
    assert message.count("8000 Hz") == 2  # both are named
    assert f"{given.n_mels} bands" in message
    assert "Griffin-Lim" in message


def test_what_cannot_be_heard_is_refused(run, trained, data, clip):
    for given, message in (
        (clip.features[:50], r"C = 60, got \(50, 50\)"),
        (clip.features[None], r"got \(1, 60, 50\)"),
        (clip.features[:, :0], r"got \(60, 0\)"),
        (clip.features.numpy().tolist(), "got list"),
        (clip.features * np.nan, "3000 of 3000 features are NaN"),
    ):
        with pytest.raises(SpeechlibError, match=message):
            vocoding.vocode(given, trained, BANDS)
    with pytest.raises(SpeechlibError, match="Griffin-Lim has no temperature"):
        vocoding.vocode(clip.features, None, BANDS, temperature=1.0)
    codec = trained._replace(experiment=presets.get("vqvae", "smoke", "folder"))
    with pytest.raises(SpeechlibError, match="a vqvae makes no waves of features"):
        vocoding.vocode(clip.features, codec, BANDS)
    with pytest.raises(SpeechlibError, match="no_such"):
        vocoding.vocode(clip.features, "no_such", BANDS)
    unfinished = runs.create(experiment(**{"training.steps": 9}))
    with pytest.raises(SpeechlibError, match="is new at step 0: train it to its end"):
        vocoding.vocode(clip.features, unfinished, BANDS)


# -- beside each other -------------------------------------------------------------------------------------------------


def test_every_vocoder_that_there_is(data, run, monkeypatch):
    monkeypatch.setattr(pretrained, "names", lambda: ())
    assert list(vocoding.everything(experiment(), data)) == [judging.NOISE, judging.GRIFFIN_LIM]  # no preset as it is
    monkeypatch.setitem(presets.PRESETS["flowavenet"], "smoke", replace(experiment(), corpus=CorpusConfig("toy")))
    says = vocoding.everything(experiment(), data)
    assert list(says) == [judging.NOISE, judging.GRIFFIN_LIM, "flowavenet, smoke"]
    assert list(vocoding.everything(experiment(), data, flowavenet={"seed": 4})) == list(says)
    assert vocoding.trained_vocoders(replace(experiment(), seed=1), data) == {}
    other = replace(experiment(), pack=replace(data.pack.config, high_pass=70.0))
    assert vocoding.trained_vocoders(other, data) == {}


def refuse(_vocoder):
    raise SpeechlibError("its checkpoint is gone")


def test_features_are_heard_through_whoever_takes_them(trained, run, clip, monkeypatch):
    """A run of their own kind; bands that no vocoder was trained on by an inversion, and one is told which."""
    monkeypatch.setattr(pretrained, "names", lambda: ())
    lines = []
    said = vocoding.through(BANDS, say=lines.append)(clip.features)
    assert lines.pop() == f"heard through the flowavenet {run.name}"
    assert torch.equal(said, flowavenet.vocode(trained, clip.features, -1))
    monkeypatch.setattr(vocoding, "_loaded", refuse)
    vocoding.through(BANDS, say=lines.append)  # a damaged run is no reason to hear nothing
    assert f"{run.name} is left out: its checkpoint is gone" in lines
    assert lines[-1].startswith("no vocoder here takes")
    lines.clear()
    other = replace(BANDS, n_mels=40)
    bands = features.extract(torch.from_numpy(clip.wave), other)
    said = vocoding.through(other, say=lines.append)(bands)
    assert lines.pop().startswith("no vocoder here takes log_mel (8000 Hz, 40 bands")
    assert torch.equal(said, torch.as_tensor(inversion.to_audio(bands, other)))
    vocoding.through(other, inversion.refine, lines.append)
    assert lines.pop().endswith("heard through inversion.refine")
    assert vocoding.fits(replace(BANDS, hop_length=40), BANDS)
    assert not vocoding.fits(other, BANDS)


def test_the_table_has_distance_and_speed(data, run, clip, monkeypatch):
    monkeypatch.setattr(pretrained, "names", lambda: ())
    monkeypatch.setitem(presets.PRESETS["flowavenet"], "smoke", replace(experiment(), corpus=CorpusConfig("toy")))
    table = vocoding.compare(data, [clip], "log_mel", vocoding.everything(experiment(), data))
    assert {"log_mel_distance", "phones", "samples_per_second", "real_time", "latency"} <= set(table)
    assert list(table.index) == [judging.NOISE, judging.GRIFFIN_LIM, "flowavenet, smoke"]
    assert (table[["samples_per_second", "real_time", "latency", "log_mel_distance"]] > 0).all(axis=None)


def test_speed_by_a_clock_of_our_own(clip):
    now = [0.0]

    def slow_blocks(clip):
        for seconds in (0.5, 1.0, 0.5):
            now[0] += seconds
            yield torch.zeros(1, 1000)

    def at_once(clip):
        now[0] += 0.25
        return torch.zeros(4000)

    table = vocoding.speed({"blocks": slow_blocks, "at once": at_once}, clip, 8_000, clock=lambda: now[0])
    assert table.loc["blocks"].tolist() == [1500, 1500 / 8000, 0.5]
    assert table.loc["at once"].tolist() == [16_000, 2, 0.25]
    with pytest.raises(SpeechlibError, match="nothing said nothing"):
        vocoding.speed({"nothing": lambda clip: iter(())}, clip, 8_000)


# -- looked at ---------------------------------------------------------------------------------------------------------


def test_inversion_errors_are_small_and_in_order(trained, clip):
    wave = torch.from_numpy(clip.wave)[None]
    errors = flows.inversion_errors(trained.model, wave, clip.features[None])
    assert len(errors) == trained.model.config.n_blocks
    assert max(errors) < 1e-4
    trained_double = trained.model.blocks[0].flows[0].norm
    before = trained_double.loc.data.clone()
    try:  # a way back that is another: the error is seen at the block where it happens, and not behind it
        reverse = type(trained_double).reverse
        trained_double.reverse = lambda y: reverse(trained_double, y) + 0.5
        broken = flows.inversion_errors(trained.model, wave, clip.features[None])
    finally:
        del trained_double.reverse
    assert broken[0] > 0.1
    assert broken[1:] == errors[1:]
    assert torch.equal(before, trained_double.loc)


def test_stages_end_where_reverse_does():
    torch.manual_seed(0)
    config = FloWaveNetConfig(n_blocks=1, n_flows=3, n_layers=1, channels=4, kernel_size=1, weight_norm=False)
    model = FloWaveNet(config).eval()
    for flow in model.blocks[0].flows:
        torch.nn.init.normal_(flow.network.last.weight, std=0.5)
        flow.norm.scale.data.uniform_(0.5, 2)
    latents = torch.randn(5, 2, 1)
    found = flows.stages(model, latents)
    assert len(found) == 3
    with torch.inference_mode():
        assert torch.allclose(found[-1].flatten(1), model.reverse([latents]))
    with pytest.raises(SpeechlibError, match="a model of one block, this one has 2"):
        flows.stages(FloWaveNet(replace(config, n_blocks=2)), latents)


def test_lines_of_a_tone_are_found():
    time = np.arange(16_000) / 8_000
    noise = np.random.default_rng(0).standard_normal(len(time))
    quiet = flows.squeeze_lines(noise, 8_000, 5)
    assert [line.hertz for line in quiet] == [4000, 2000, 1000, 500, 250]
    assert max(line.level for line in quiet) < 10  # mistake 8: listed, and nothing where there is nothing
    tone = flows.squeeze_lines(noise + 0.5 * np.sin(2 * np.pi * 1000 * time), 8_000, 5)
    assert tone[2].level > 15
    assert max(line.level for line in tone[:2] + tone[3:]) < 10
    with pytest.raises(SpeechlibError, match="too few to tell lines"):
        flows.squeeze_lines(noise[:100], 8_000, 5)


def test_figures_show_what_they_are_given():
    (ax,) = figures.there_and_back({"trained": [1e-6, 0.0]}, 1e-4).axes
    assert ax.lines[0].get_ydata().tolist() == [1e-6, 1e-9]  # nothing at all has no place on a logarithmic axis
    _, below = figures.surprise(np.zeros(800), 8_000, [1.0, 3.0], 400, baseline=0.5).axes
    assert below.lines[0].get_xdata().tolist() == [0.025, 0.075]
    assert [text.get_text() for text in below.get_legend().get_texts()] == ["mean: 2.00", "untrained: 0.50"]
    assert len(figures.temperatures([0, 1], [0, 2], [-9, 0], [5, 4]).axes) == 3
    (ax,) = figures.lines({"silence": [(4000.0, 12.0), (2000.0, 1.0)], "noise": [(4000.0, 0.0), (2000.0, 2.0)]}).axes
    assert [bar.get_height() for bar in ax.patches] == [12, 1, 0, 2]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4000 Hz", "2000 Hz"]


def test_the_slider_says_it_anew(trained, data):
    widget = widgets.vocoder_explorer(trained, seconds=0.3)
    first = widget.views["sound"].value
    assert "samples/s" in widget.views["told"].value
    widget.controls["temperature"].value = 0.1
    assert widget.views["sound"].value != first
    assert "temperature 0.10" in widget.views["sound"].value
    assert "<audio" in widget.still()
    assert "<img" in widget.still()


# -- one condition for all ---------------------------------------------------------------------------------------------

WAVE_NET = {"n_layers": 4, "n_stacks": 1, "residual_channels": 4, "gate_channels": 8, "skip_channels": 4}
VOCODERS = {  # scales -> the model's config, and what speaks by it
    "wavenet": (
        lambda scales: WaveNetConfig(**WAVE_NET, scales=scales, speaker_dim=2),
        partial(wavenet_generation.generate, path="eager"),
    ),
    "clarinet": (
        lambda scales: ClariNetConfig(
            WaveNetConfig(output="gaussian", **WAVE_NET, scales=scales, speaker_dim=2),
            stacks=(1, 1),
            n_layers=2,
            **{name: size for name, size in WAVE_NET.items() if "channels" in name},
        ),
        clarinet_generation.generate,
    ),
    "flowavenet": (
        lambda scales: FloWaveNetConfig(2, 2, channels=4, scales=scales, speaker_dim=2, weight_norm=False),
        flowavenet_generation.generate,
    ),
}


@pytest.mark.parametrize("system", VOCODERS)
@pytest.mark.parametrize(("scales", "n_channels"), [((4, 2), 39), ((4, 8), 6)], ids=["mfcc", "codes"])
def test_any_features_are_a_condition(system, scales, n_channels):
    """VS-15: MFCC with their differences, or the vectors of codes at a quarter of their rate, and a speaker, for all
    three vocoders alike: what they say is as long as the condition, and hangs on it and on who speaks."""
    torch.manual_seed(0)
    config, generate = VOCODERS[system][0](scales), VOCODERS[system][1]
    model = MODELS[system](config, n_channels, 3).eval()
    for name, weight in model.named_parameters():  # couplings begin as the identity
        if "network.last" in name:
            torch.nn.init.normal_(weight, std=0.3)
    codebook = torch.randn(8, n_channels)
    one, other = (codebook[torch.tensor(codes)].T[None] for codes in ([0, 3, 3, 1, 7], [0, 3, 3, 2, 7]))
    said = generate(model, one, torch.tensor([1]), seed=0)
    assert said.shape == (1, 5 * math.prod(scales))
    assert torch.equal(said, generate(model, one, torch.tensor([1]), seed=0))
    assert not torch.equal(said, generate(model, other, torch.tensor([1]), seed=0))
    assert not torch.equal(said, generate(model, one, torch.tensor([-1]), seed=0))
    with pytest.raises(SpeechlibError, match=rf"needs a condition \(B, {n_channels}, T\)"):
        generate(model, one[:, 1:], torch.tensor([1]))
