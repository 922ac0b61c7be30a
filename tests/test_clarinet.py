"""ClariNet against torch.distributions, loops over samples, published sizes; and the mistakes of the source systems."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from speechlib import audio, configs, features, objectives, presets, runs, systems, training, widgets
from speechlib.batches import Batch
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.figures import clarinet as figures
from speechlib.figures.bending import bending
from speechlib.generation.clarinet import generate, stream
from speechlib.generation.eager_wavenet import EagerWaveNet
from speechlib.generation.synthesis import Synthesis
from speechlib.generation.wavenet import generate as generate_wavenet
from speechlib.models.clarinet import SOURCE_TEACHER, ClariNet, ClariNetConfig
from speechlib.models.distributions import Gaussian
from speechlib.models.flowavenet import FloWaveNet
from speechlib.models.upsampling import Smoothed, Transposed
from speechlib.models.wavenet import WaveNet, WaveNetConfig
from speechlib.systems import clarinet, toy_distillation, wavenet
from speechlib.systems.resynthesis import resynthesise

TEACHER = WaveNetConfig(
    output="gaussian", n_layers=4, n_stacks=2, residual_channels=6, gate_channels=8, skip_channels=5, front_kernel=3,
    front_relu=True, scales=(2, 3),
)  # fmt: skip
SMALL = ClariNetConfig(
    teacher=TEACHER, stacks=(1, 2), n_layers=2, residual_channels=5, gate_channels=8, skip_channels=6, front_kernel=3,
    stft_fft=16, stft_hop=4,
)  # fmt: skip
SOURCE_LIKE = replace(TEACHER, upsampling="transposed", condition_bias=True, weight_norm=True, unit_condition=True)
KINDS = {
    "frames": replace(SMALL, teacher=replace(TEACHER, companded=True)),
    "transposed": replace(SMALL, teacher=SOURCE_LIKE),
    "smoothed": replace(SMALL, teacher=replace(TEACHER, upsampling="smoothed", condition_kernel=3)),
    "speakers": replace(SMALL, teacher=replace(TEACHER, speaker_dim=3, context_channels=4)),
    "dilations of 3": replace(SMALL, dilation_base=3, stacks=(1, 1, 1, 2)),
}


def build(config=SMALL, n_condition=4, seed=0, spread=0.3) -> ClariNet:
    torch.manual_seed(seed)
    model = ClariNet(config, n_condition, 2 if config.teacher.speaker_dim else 0).eval()
    for name, parameter in model.named_parameters():  # biases begin at zero: a test would not miss them
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=spread)
        if "post_2" in name and "weight" in name and not name.endswith("original1"):
            parameter.data *= 0.3  # six random flows in a row explode
    return model


def given(model: ClariNet, frames=5, batch=2):
    torch.manual_seed(1)
    condition = torch.randn(batch, 4, frames) * 2 - 5
    speaker = torch.tensor([0, -1])[:batch] if model.sizes["n_speakers"] else None
    return torch.randn(batch, frames * model.hop), condition, speaker


def batch_of(frames=20, length=(20, 13)) -> Batch:
    torch.manual_seed(2)
    n = len(length)
    inputs, audio = torch.randn(n, 4, frames), torch.rand(n, frames * 6) - 0.5
    zeros = torch.zeros(n, dtype=torch.long)
    return Batch(inputs, inputs, zeros, zeros, zeros, audio, torch.tensor(length))


# -- published sizes, and what a sample hangs on -----------------------------------------------------------------------


def counted(part: torch.nn.Module) -> int:
    """Parameters without the gains of weight norm."""
    return sum(p.numel() for name, p in part.named_parameters() if not name.endswith("weight.original0"))


def test_source_sizes_are_the_published_ones():
    """VO-03, reference/vocoders.md 3.2 and 3.3."""
    with torch.device("meta"):
        model = ClariNet(presets.get("clarinet", "paper").model, 80)
    assert model.config == ClariNetConfig()
    assert counted(model.teacher) == 4_798_148
    assert counted(model.flows) == 5_237_772
    assert model.teacher.receptive_field == 2_078
    # published as 6 (2 * 1023 + 31) + 1 = 12,463: without the sample by which every flow lags behind the one before
    assert model.config.receptive_field == 12_463 + 6
    assert model.hop == 256


def test_the_copy_of_vqvae_speech_is_a_choice_of_stacks():
    config = ClariNetConfig(
        stacks=(1, 1, 1, 4), n_layers=6, dilation_base=3, residual_channels=128, gate_channels=512, skip_channels=128
    )
    assert [len(flow.dilations) for flow in config.flows] == [6, 6, 6, 24]
    assert config.flows[3].dilations[:7] == (1, 3, 9, 27, 81, 243, 1)


@pytest.mark.parametrize("name", ["frames", "transposed", "dilations of 3"])
def test_gradient_reaches_exactly_the_receptive_field(name):
    # wide, as the faintest path must not end at a ReLU that happens to be shut
    model = build(replace(KINDS[name], residual_channels=24, skip_channels=24)).double()
    field = model.config.receptive_field
    frames = -(-(field + 12) // model.hop)
    z, condition, _ = given(model, frames, 1)
    z = z.double().requires_grad_()
    t = z.shape[1] - 3
    model(z, condition.double()).sample[0, t].backward()
    reached = z.grad[0].nonzero().flatten()
    assert reached.max() == t  # its own noise, and nothing later
    assert reached.min() == t - field + 1


def test_mean_and_deviation_do_not_see_their_own_noise():
    model = build().double()
    z, condition, _ = given(model, 5, 1)
    z = z.double().requires_grad_()
    drawn = model(z, condition.double())
    (drawn.mean[0, 20] + drawn.log_scale[0, 20]).backward()
    assert z.grad[0, :20].abs().min() > 0
    assert (z.grad[0, 20:] == 0).all()


@pytest.mark.parametrize("upsampling", ["repeat", "transposed"])
def test_the_teacher_is_causal(upsampling):
    model = build(replace(SMALL, teacher=replace(SOURCE_LIKE, upsampling=upsampling))).teacher
    wave = torch.rand(1, 60) - 0.5
    other = wave.clone()
    other[0, 23] += 0.2
    condition = torch.randn(1, 4, 10)
    with torch.no_grad():
        changed = (model(wave, condition) != model(other, condition)).any(1)[0].nonzero().flatten()
    assert changed.min() == 24
    assert changed.max() <= 23 + model.receptive_field


@pytest.mark.parametrize("path", ["eager", "numba"])
@pytest.mark.parametrize("name", ["frames", "transposed"])
def test_the_teacher_speaks_by_cache_what_a_full_pass_says(name, path):
    """VO-03, with the transposed up-sampling, the second bias and the unit range that only ClariNet has; companded."""
    teacher = build(KINDS[name]).teacher
    condition = torch.randn(1, 4, 8) * 2 - 5
    wave = generate_wavenet(teacher, condition, path=path, seed=3)
    said = torch.zeros(1, 48)
    uniform = torch.from_numpy(np.random.default_rng([3, 0]).random((48, 2)))[None]
    with torch.no_grad():
        for t in range(48):  # everything again for every sample
            said[:, t] = teacher.distribution.sample(teacher(said, condition)[:, :, t], uniform[:, t])
    torch.testing.assert_close(wave, said, atol=1e-5, rtol=0)


# -- up-sampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scales", [(16, 16), (8, 10), (3, 5), (1, 2)])
def test_transposed_up_sampling_is_as_long_as_frames_times_hop(scales):
    layer = Transposed(scales)
    assert layer(torch.randn(2, 7, 5)).shape == (2, 7, 5 * math.prod(scales))
    if scales == (16, 16):
        assert [tuple(part.weight.shape) for part in layer.layers] == [(1, 1, 3, 32)] * 2
        assert [(part.stride, part.padding) for part in layer.layers] == [((1, 16), (1, 8))] * 2


def test_transposed_up_sampling_against_a_loop():
    torch.manual_seed(0)
    layer, x = Transposed((4,)), torch.randn(1, 3, 5)
    weight, bias = layer.layers[0].weight[0, 0], layer.layers[0].bias
    want = torch.zeros(3, 5 * 4)
    for channel in range(3):
        for t in range(5):
            for row in range(3):
                for tap in range(8):
                    place = (channel + row - 1, 4 * t + tap - 2)
                    if 0 <= place[0] < 3 and 0 <= place[1] < 20:
                        want[place] += x[0, channel, t] * weight[row, tap]
    torch.testing.assert_close(layer(x)[0], F.leaky_relu(want + bias, 0.4))


@pytest.mark.parametrize("layer", [Transposed((4, 3)), Smoothed(4, (4, 3), 3)])
def test_up_sampling_reaches_no_further_than_it_says(layer):
    x = torch.randn(1, 4, 15)
    other = x.clone()
    other[0, :, 7] += 1
    frames = (layer(x) != layer(other)).any(1)[0].nonzero().flatten() // 12
    assert frames.min() >= 7 - layer.reach
    assert frames.max() <= 7 + layer.reach


@pytest.mark.parametrize("system", ["clarinet", "flowavenet"])
def test_bands_are_in_the_range_of_the_source(system):
    """VO-01: waves of peak 0.999; 20 log10(max(1e-4, mel)) - 20, then (x + 100) / 100 within [0, 1]."""
    experiment = presets.get(system, "paper")
    (config,), pack = experiment.pack.features, experiment.pack
    assert (pack.peak_normalise, pack.peak, pack.trim, pack.high_pass) == (True, 0.999, "none", 0)
    assert (config.sample_rate, config.n_fft, config.hop_length, config.n_mels) == (22_050, 1024, 256, 80)
    assert (config.f_min, config.f_max) == (125.0, 7_600.0)
    assert config.floor <= 1e-4
    torch.manual_seed(0)
    wave = torch.randn(22_050) * torch.linspace(0, 1, 22_050) ** 4 * 5
    log_mel = features.extract(wave, config)
    power = features.magnitudes(wave, config).square()
    mel = torch.from_numpy(features.filter_bank(config)).float() @ power
    want = ((20 * torch.log10(mel.clamp(min=1e-4)) - 20 + 100) / 100).clamp(0, 1)
    with torch.device("meta"):
        model = WaveNet(SOURCE_TEACHER, 80) if system == "clarinet" else FloWaveNet(experiment.model, 80)
    found = model.inputs(log_mel[None])[0]
    torch.testing.assert_close(found, want, atol=1e-5, rtol=0)
    assert found.min() == 0
    assert found.max() == 1


# -- flows -------------------------------------------------------------------------------------------------------------


def slowly(model: ClariNet, z, condition, speaker) -> tuple[torch.Tensor, ...]:
    """Every flow by itself, sample by sample, by the step that WaveNets speak with."""
    frames = model.frames(condition, z.shape[1])
    x, mean, log_scale = z, torch.zeros_like(z), torch.zeros_like(z)
    for flow in model.flows:
        parameters = EagerWaveNet(flow, frames, speaker, len(z)).force(x)
        shift, log_s = parameters.unbind(1)
        for t in range(x.shape[1]):
            mean[:, t] = mean[:, t] * log_s[:, t].exp() + shift[:, t]
            log_scale[:, t] += log_s[:, t]
        x = torch.stack([x[:, t] * log_s[:, t].exp() + shift[:, t] for t in range(x.shape[1])], 1)
    return x, mean, log_scale


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_the_whole_is_the_composition_of_its_flows(name):
    """VO-04."""
    model = build(KINDS[name])
    z, condition, speaker = given(model)
    drawn = model(z, condition, speaker)
    x, mean, log_scale = slowly(model, z, condition, speaker)
    assert drawn.log_scale.min() > model.config.min_log_scale
    torch.testing.assert_close(drawn.sample, x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(drawn.mean, mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(drawn.log_scale, log_scale, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(drawn.sample, z * drawn.log_scale.exp() + drawn.mean, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_flow_by_hand():
    """z'[t] = z[t] exp(log s) + mu of one flow that always says mu = 0.5, log s = -1; then of two."""
    model = build(replace(SMALL, stacks=(1, 1)))
    for flow in model.flows:
        flow.post_2.weight.zero_()
        flow.post_2.bias.copy_(torch.tensor([0.5, -1.0]))
    z, condition, _ = given(model)
    drawn, e = model(z, condition), math.exp(-1)
    torch.testing.assert_close(drawn.sample, (z * e + 0.5) * e + 0.5)
    torch.testing.assert_close(drawn.mean, torch.full_like(z, 0.5 * e + 0.5))
    torch.testing.assert_close(drawn.log_scale, torch.full_like(z, -2.0))


@torch.no_grad()
def test_flows_may_begin_as_one_scale():
    model = ClariNet(replace(SMALL, start_scale=0.1), 4).eval()
    z, condition, _ = given(model)
    torch.testing.assert_close(model(z, condition).sample, 0.1 * z)
    assert torch.equal(model(z, condition).mean, torch.zeros_like(z))
    with pytest.raises(SpeechlibError, match="gaussian without weight_norm"):
        replace(SMALL, teacher=SOURCE_LIKE, start_scale=0.1)


# -- terms of the loss -------------------------------------------------------------------------------------------------


def test_divergence_is_that_of_torch_and_of_many_draws():
    """VO-02."""
    torch.manual_seed(0)
    mean, log_scale, other, other_scale = (torch.randn(500, dtype=torch.float64) for _ in range(4))
    ours = objectives.gaussian_kl(mean, log_scale, other, other_scale)
    p, q = Normal(mean, log_scale.exp()), Normal(other, other_scale.exp())
    torch.testing.assert_close(ours, kl_divergence(p, q))
    torch.testing.assert_close(objectives.gaussian_kl(other, other_scale, mean, log_scale), kl_divergence(q, p))
    assert (objectives.gaussian_kl(mean, log_scale, mean, log_scale) == 0).all()
    p, q = Normal(0.3, 0.5), Normal(-0.2, 0.8)
    x = p.sample((400_000,))
    drawn = (p.log_prob(x) - q.log_prob(x)).mean()
    told = objectives.gaussian_kl(*(torch.tensor(v) for v in (0.3, math.log(0.5), -0.2, math.log(0.8))))
    assert float(told) == pytest.approx(float(drawn), abs=0.005)


def test_the_teachers_likelihood_is_that_of_torch():
    torch.manual_seed(0)
    parameters, wave = torch.randn(3, 2, 50), torch.randn(3, 50)
    want = -Normal(parameters[:, 0], parameters[:, 1].exp()).log_prob(wave)
    torch.testing.assert_close(Gaussian().nll(parameters, wave), want)


@pytest.mark.parametrize("kl", ["qp", "pq"])
def test_terms_add_up_and_are_what_the_reference_says(kl):
    model, batch = build(replace(SMALL, kl=kl)), batch_of()
    torch.manual_seed(5)
    with torch.no_grad():
        terms = objectives.clarinet(model, batch)
    assert terms["loss"] == pytest.approx(float(terms["kl"] + 4 * terms["regulariser"] + terms["stft"]), rel=1e-5)
    torch.manual_seed(5)
    with torch.no_grad():
        drawn = model(torch.randn_like(batch.audio), batch.inputs)
        mean, log_scale = model.teacher(drawn.sample, batch.inputs).unbind(1)  # of the student's own sample
    inside = torch.stack([torch.arange(120) < 120, torch.arange(120) < 78])
    q = Normal(drawn.mean, drawn.log_scale.clamp(min=-6).exp())
    p = Normal(mean, log_scale.clamp(min=-6).exp())
    want = kl_divergence(q, p) if kl == "qp" else kl_divergence(p, q)
    assert terms["kl"] == pytest.approx(float(want[inside].mean()), rel=1e-4)
    assert terms["regulariser"] == pytest.approx(float((drawn.log_scale - log_scale)[inside].square().mean()), rel=1e-4)


def test_the_divergence_has_a_floor_and_the_regulariser_has_none():
    """The copy in VQ-VAE-Speech regularises clamped values: at -20 nothing would pull them up."""
    model, batch = build(replace(SMALL, stacks=(1,))), batch_of()
    with torch.no_grad():
        model.flows[0].post_2.weight.zero_()
        model.flows[0].post_2.bias.copy_(torch.tensor([0.0, -20.0]))
        model.teacher.post_2.weight.zero_()
        model.teacher.post_2.bias.copy_(torch.tensor([0.0, -1.0]))
    terms = objectives.clarinet(model, batch)
    want = objectives.gaussian_kl(*(torch.tensor(v) for v in (0.0, -6.0, 0.0, -1.0)))
    assert float(terms["kl"].detach()) == pytest.approx(float(want), rel=1e-5)
    assert float(terms["regulariser"].detach()) == pytest.approx(19**2, rel=1e-5)
    terms["regulariser"].backward()
    assert float(model.flows[0].post_2.bias.grad[1]) == pytest.approx(2 * -19)


@torch.no_grad()
def test_sampling_has_the_floor_of_the_loss():
    """reference/vocoders.md 8.9: log-std of -20 samples with the clamped deviation, of teacher and student."""
    model = build(replace(SMALL, stacks=(1,)))
    for network in (model.flows[0], model.teacher):
        network.post_2.weight.zero_()
        network.post_2.bias.copy_(torch.tensor([0.0, -20.0]))
    z, condition, _ = given(model, 400, 1)
    assert model(z, condition).sample.std() == pytest.approx(math.exp(-6), rel=0.05)
    assert generate(model, condition).std() == pytest.approx(math.exp(-6), rel=0.05)
    assert generate_wavenet(model.teacher, condition).std() == pytest.approx(math.exp(-9), rel=0.05)
    assert Gaussian().nll(torch.tensor([[[0.0], [-20.0]]]), torch.zeros(1, 1)) == pytest.approx(
        -9 + 0.5 * math.log(2 * math.pi)
    )


@pytest.mark.parametrize("window", [True, False])
def test_spectrograms_are_compared_under_a_window(window):
    """reference/vocoders.md 8.3: zero for equal signals, another value without the window."""
    torch.manual_seed(0)
    wave, other = torch.randn(2, 100), torch.randn(2, 100)
    assert objectives.stft_distance(wave, wave, 16, 4, window) == 0
    found = objectives.stft_distance(wave, other, 16, 4, window)
    assert abs(found - objectives.stft_distance(wave, other, 16, 4, not window)) > 0.01
    shape = torch.hann_window(16) if window else torch.ones(16)
    total, count = 0.0, 0
    for a, b in zip(*(F.pad(x, (8, 8), mode="reflect").numpy() for x in (wave, other))):
        for start in range(0, len(a) - 15, 4):
            spectra = [np.abs(np.fft.rfft(x[start : start + 16] * shape.numpy())) for x in (a, b)]
            total, count = total + np.square(spectra[0] - spectra[1]).sum(), count + len(spectra[0])
    assert found == pytest.approx(total / count, rel=1e-4)
    wave.zero_().requires_grad_()
    objectives.stft_distance(wave, other, 16, 4, window).backward()
    assert wave.grad.isfinite().all()  # a magnitude of 0 has no slope of its own


def test_what_lies_behind_an_utterance_does_not_count():
    model, batch = build(), batch_of()
    other = batch._replace(audio=batch.audio.clone())
    other.audio[1, 78:] += 0.3
    found = []
    for one in (batch, other):
        torch.manual_seed(0)
        with torch.no_grad():
            found.append({name: float(value) for name, value in objectives.clarinet(model, one).items()})
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["kl", "regulariser", "stft"])
def test_a_term_of_weight_0_is_told_and_moves_nothing(name):
    weights = dict.fromkeys(("kl_weight", "regulariser_weight", "stft_weight"), 0.0) | {f"{name}_weight": 2.0}
    terms = objectives.clarinet(build(replace(SMALL, **weights)), batch_of())
    assert set(terms) == {"loss", "kl", "regulariser", "stft"}
    assert terms["loss"] == 2 * terms[name]


def test_an_average_goes_the_right_way():
    """reference/vocoders.md 8.2: after one update from 0 to 1 with decay .999 the shadow is .001."""
    model = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(model.weight)
    average = training.Average(model, 0.999)
    torch.nn.init.ones_(model.weight)
    average.update(100_000)  # the first steps' decay is less
    assert average.state["weight"].item() == pytest.approx(0.001, rel=1e-3)


# -- drawing -----------------------------------------------------------------------------------------------------------


def noise(n_streams: int, n_samples: int, seed=0) -> torch.Tensor:
    draws = [np.random.default_rng([seed, b]).standard_normal(n_samples, np.float32) for b in range(n_streams)]
    return torch.from_numpy(np.stack(draws))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("block", [1, 12, 30, 1000])
@torch.no_grad()
def test_blocks_of_any_size_are_the_whole_pass(name, block):
    """Longer and shorter than the receptive field; weight norm folded."""
    model = build(KINDS[name], spread=0.1)
    _, condition, speaker = given(model, 23)
    want = model(noise(2, 23 * 6), condition, speaker).sample.clamp(-1, 1)
    coming = stream(model, condition, speaker, block=block)
    blocks = list(coming)
    assert all(part.shape[1] <= max(block, 6) for part in blocks)
    torch.testing.assert_close(torch.cat(blocks, 1), want, atol=2e-5, rtol=0)


@torch.no_grad()
def test_utterances_side_by_side_are_each_by_itself():
    model = build(KINDS["speakers"])
    _, condition, speaker = given(model, 9)
    together = generate(model, condition, speaker, seed=4)
    alone = generate(model, condition[:1], speaker[:1], seed=4)
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)
    assert not torch.equal(generate(model, condition, speaker, seed=5), together)
    voices = generate(model, condition[:1], torch.tensor([0, 1, -1]))
    assert voices.shape == (3, 54)
    torch.testing.assert_close(
        generate(model, condition[:1], torch.tensor([1]), n_streams=2)[0],
        generate(model, condition[:1], torch.tensor([1]))[0],
        atol=1e-5,
        rtol=0,
    )


@torch.no_grad()
def test_temperature_widens_the_noise():
    model = build(replace(SMALL, stacks=(1,)))
    model.flows[0].post_2.weight.zero_()
    model.flows[0].post_2.bias.copy_(torch.tensor([0.0, -3.0]))
    condition = torch.randn(1, 4, 100)
    full, half = (generate(model, condition, temperature=t) for t in (1.0, 0.5))
    torch.testing.assert_close(half, 0.5 * full)


@torch.no_grad()
def test_bfloat16_says_nearly_the_same():
    model = build(KINDS["transposed"], spread=0.1)
    _, condition, _ = given(model, 50, 1)
    exact, short = (generate(model, condition, precision=name) for name in ("float32", "bfloat16"))
    assert 0 < (exact - short).std() < 0.03 * exact.std()


@torch.no_grad()
def test_an_envelope_makes_a_wave_of_the_excitation():
    config = features.FeatureConfig("log_mel", 8_000, n_fft=64, win_length=64, hop_length=16, n_mels=12)
    model = build(replace(SMALL, teacher=replace(TEACHER, scales=(16,), envelope=6, envelope_fft=64)), 12)
    wavenet.fit_envelope(model.teacher, config)
    condition = features.extract(torch.randn(400) * 0.1, config)[None]
    filters = model.filters(condition, condition.shape[2] * 16)
    inner = model(noise(1, condition.shape[2] * 16), condition).sample.clamp(-1, 1)
    want = Synthesis(filters, 1, torch.zeros(1, 0))(inner)
    torch.testing.assert_close(generate(model, condition, block=48), want, atol=1e-4, rtol=0)
    assert not torch.allclose(want, inner, atol=1e-2)


def test_stopping_and_progress():
    model = build()
    _, condition, _ = given(model, 10)
    told = []
    options = {"block": 12, "progress": lambda *said: told.append(said), "stop": lambda: len(told) == 3}
    assert generate(model, condition, **options).shape == (2, 36)
    assert [done for done, *_ in told] == [12, 24, 36]
    assert "samples/s" in told[0][2]
    assert generate(model, condition, n_samples=31, block=12).shape == (2, 31)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher": replace(TEACHER, output="mu_law")}, "output is 'mu_law': a student of Gaussian flows needs"),
        ({"stacks": ()}, "stacks"),
        ({"stacks": (1, 0)}, r"stacks \(1, 0\) must be whole numbers from 1"),
        ({"kl": "qq"}, "unknown kl 'qq'"),
        ({"kl_weight": -1.0}, "not negative"),
        ({"kl_weight": 0.0, "regulariser_weight": 0.0, "stft_weight": 0.0}, "one above 0"),
        ({"stft_hop": 17}, r"stft_hop 17 must lie in 1..stft_fft \(16\)"),
        ({"gate_channels": 7}, "gate_channels is 7"),
        ({"kernel_size": 1}, "kernel_size 1 must be at least 2"),
        ({"dilation_base": 0}, "dilation_base is 0"),
        ({"start_scale": -1.0}, "start_scale is -1.0: from 0 on"),
    ],
)
def test_impossible_choices_are_told(changes, words):
    with pytest.raises(SpeechlibError, match=words):
        replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0}, "temperature 0 must be above 0"),
        ({"temperature": -0.5}, "temperature -0.5 must be above 0"),
        ({"temperature": math.nan}, "temperature nan"),
        ({"precision": "int8"}, "unknown precision 'int8'"),
        ({"block": 0}, "block is 0: at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"n_streams": 3}, "items do not agree: condition 2, n_streams 3"),
        ({"n_samples": 31}, "31 samples cannot be drawn; the condition covers 30"),
        ({"n_samples": 0}, "0 samples cannot be drawn"),
    ],
)
def test_what_cannot_be_drawn_says_why(options, words):
    model = build()
    _, condition, _ = given(model)
    with pytest.raises(SpeechlibError, match=words):
        generate(model, condition, **options)


def test_what_does_not_fit_is_refused():
    model = build()
    z, condition, _ = given(model)
    assert model(z[:, :24], condition).sample.shape == (2, 24)  # a last frame may be cut short
    for n in (23, 31):
        with pytest.raises(SpeechlibError, match=rf"wave of {n} samples, 5 frames x 6 samples = 30"):
            model(torch.randn(2, n), condition)
    with pytest.raises(SpeechlibError, match=r"needs a condition \(B, 4, T\), got one of shape \(2, 3, 5\)"):
        generate(model, condition[:, :3])
    with pytest.raises(SpeechlibError, match="condition is not finite"):
        generate(model, condition * math.nan)
    with pytest.raises(SpeechlibError, match="knows none"):
        generate(model, condition, torch.tensor([0, 1]))
    with pytest.raises(SpeechlibError, match="noise alone is no speech"):
        ClariNet(SMALL, 0)
    with pytest.raises(SpeechlibError, match="this batch has none"):
        objectives.clarinet(model, batch_of()._replace(audio=None))
    with pytest.raises(SpeechlibError, match="waves of 8 samples are too short for stft_fft 16"):
        objectives.stft_distance(z[:, :8], z[:, :8], 16, 4)
    with torch.no_grad():
        model.flows[1].post_1.bias[0] = math.nan
    with pytest.raises(SpeechlibError, match="flows.1.post_1.bias are not finite"):
        generate(model, condition)


# -- the system --------------------------------------------------------------------------------------------------------

TINY = {
    "n_layers": 4, "residual_channels": 8, "gate_channels": 16, "skip_channels": 8, "context_channels": 8,
}  # fmt: skip
SHORT = {"steps": 3, "batch_size": 2, "n_frames": 10, "validate_batches": 1, "checkpoint_every": 1, "precision": "fp32"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two voices with their phones."""
    root = tmp_path_factory.mktemp("data")
    (root / "folder").mkdir()
    code = "import sys; from speechlib.corpora import toy; [toy.speak(v, sys.argv[1]) for v in ('adam', 'anika')]"
    subprocess.run([sys.executable, "-c", code, str(root / "folder")], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(root))
        patch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        yield systems.prepare(tiny())


def tiny(**changes):
    sizes = {f"{place}.{name}": value for place in ("model.teacher", "source.model") for name, value in TINY.items()}
    student = {"model.stacks": (1, 1), "model.n_layers": 3}
    short = {f"{place}.{name}": value for place in ("training", "source.training") for name, value in SHORT.items()}
    return presets.get("clarinet", "smoke", "folder", changes=sizes | student | short | changes)


@pytest.fixture(scope="module")
def trained(data):
    return systems.load(systems.train(tiny(), data=data), data)


def test_the_teacher_is_trained_first_and_stays_as_it_was(trained):
    """VO-05. The run's checkpoint holds it: nothing else is needed to load it."""
    source = runs.find(trained.experiment.source)
    assert source.status == "done"
    weights = runs.load_tensors(source.checkpoint)[0]
    held = runs.load_tensors(trained.run.checkpoint)[0]
    assert {f"teacher.{name}" for name in weights} == {name for name in held if name.startswith("teacher.")}
    assert all(torch.equal(weights[name], held[f"teacher.{name}"]) for name in weights)
    begun = systems.build(trained.experiment, trained.data).state_dict()
    moved = [name for name in held if name.startswith("flows.") and not torch.equal(begun[name], held[name])]
    assert len(moved) > 10
    assert trained.run.metrics("validation").columns.tolist()[1:5] == ["kl", "regulariser", "stft", "loss"]
    summary = trained.run.summary
    assert np.isfinite([summary[f"{who}log_mel_distance"] for who in ("", "noise_")]).all()


def test_vocode_takes_an_utterance_or_features(trained):
    index = trained.data.split["val"][0]
    x = trained.data.pack.features(index, "log_mel")[:, :6]
    said = clarinet.vocode(trained, x, seed=3)
    assert said.shape == (6 * 80,)
    assert said.abs().max() <= 1
    whole = clarinet.vocode(trained, index, seed=3)
    assert whole.shape == (int(trained.data.pack.n_frames[index]) * 80,)
    torch.testing.assert_close(said[:160], whole[:160], atol=1e-4, rtol=0)  # context reads three frames ahead
    blocks = list(clarinet.speaking(trained, x, seed=3, block=160))
    torch.testing.assert_close(torch.cat(blocks, 1)[0], said, atol=1e-5, rtol=0)
    assert wavenet.vocode(clarinet.teacher(trained), x).shape == (480,)
    with pytest.raises(SpeechlibError, match=r"needs a condition \(B, 60, T\)"):
        clarinet.vocode(trained, torch.zeros(39, 5))


def test_a_recording_is_said_again(trained, tmp_path):
    """`python -m speechlib generate clarinet FILE`."""
    audio.write(tmp_path / "me.wav", 0.3 * np.random.default_rng(0).standard_normal(8000).astype(np.float32), 8000)
    (path,) = resynthesise(trained, tmp_path / "me.wav", folder=tmp_path, seconds=0.5, temperature=0.7, seed=1)
    wave, rate = audio.read(path)
    assert (path.name, wave.shape, rate) == ("me_clarinet.wav", (4000,), 8000)
    assert np.abs(wave).max() > 0
    for options, words in (({"top_p": 0.9}, "has a temperature and no nucleus"), ({"temperature": 0.0}, "above 0")):
        with pytest.raises(SpeechlibError, match=words):
            resynthesise(trained, tmp_path / "me.wav", folder=tmp_path, **options)


def test_a_resumed_distillation_is_the_same(data, trained, tmp_path, monkeypatch):
    """VO-08: killed after two steps, it goes on with its own weights and the same teacher."""
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path))

    def stop(done, total, text):
        if done == 2 and runs.find(tiny()):
            raise KeyboardInterrupt

    systems.train(tiny().source, data=data)
    with pytest.raises(KeyboardInterrupt):
        systems.train(tiny(), stop, data)
    again = runs.load_tensors(systems.train(tiny(), data=data).checkpoint)[0]
    whole = runs.load_tensors(trained.run.checkpoint)[0]
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_samples_are_written_while_it_learns(data):
    run = systems.train(tiny(**{"training.sample_every": 2, "model.kl": "pq"}), data=data)
    names = sorted(path.name for path in run.folder("samples").iterdir())
    assert names == ["recording.wav", "step-00000001.wav", "step-00000002.wav", "step-00000003.wav"]


def test_a_term_that_is_not_finite_is_named(data, monkeypatch):
    found = objectives.stft_distance
    monkeypatch.setattr(objectives, "stft_distance", lambda *given: found(*given) * math.nan)
    with pytest.raises(SpeechlibError, match="the term 'stft' is nan"):
        systems.train(tiny(**{"training.learning_rate": 1e-4}), data=data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"source.model.start_scale": 0.0, "source.model.companded": False, "source.model.output": "mu_law"},
            "is not what `source` trains",
        ),
        ({"source.model.n_layers": 6}, "Change both: model.teacher.NAME and source.model.NAME"),
        ({"source.pack.sample_rate": 16_000}, "of the pack's audio|16000 Hz"),
        (
            {"model.teacher.scales": (8, 8), "source.model.scales": (8, 8)},
            "make 64 samples of a frame, .* a hop of 80",
        ),
        ({"training.frozen": ()}, r"training.frozen is \(\): 'teacher' must be in it"),
    ],
)
def test_a_teacher_of_another_kind_is_refused(changes, words):
    with pytest.raises(SpeechlibError, match=words):
        systems.blank(tiny(**changes))


def test_a_student_without_a_teacher_is_refused():
    with pytest.raises(SpeechlibError, match="needs `source`, the experiment of its teacher"):
        systems.blank(replace(tiny(), source=None))


def test_a_teacher_at_another_rate_is_refused():
    ours = tiny()
    mel = replace(ours.pack.features[0], sample_rate=16_000)
    theirs = replace(ours.source, pack=replace(ours.pack, sample_rate=16_000, features=(mel,)))
    with pytest.raises(SpeechlibError, match="teacher speaks at 16000 Hz, the student's waves are at 8000 Hz"):
        systems.blank(replace(ours, source=theirs))
    mel = replace(ours.pack.features[0], hop_length=64)
    theirs = replace(ours.source, pack=replace(ours.pack, features=(mel,)))
    with pytest.raises(SpeechlibError, match="pack of the student is .*hop_length=80.* trained with .*hop_length=64"):
        systems.blank(replace(ours, source=theirs))
    codec = presets.get("vqvae", "smoke")
    with pytest.raises(SpeechlibError, match="a wavenet; it is a vqvae"):
        systems.blank(replace(ours, source=codec))


def test_presets_are_told_from_other_models_and_are_the_sources():
    paper = presets.get("clarinet", "paper")
    assert configs.from_dict(presets.Experiment, configs.to_dict(paper)) == paper
    assert paper.source == presets.get("wavenet", "paper_teacher")
    for one in (paper, paper.source):
        assert (one.training.learning_rate, one.training.grad_clip, one.training.ema_decay) == (1e-3, 10.0, 0.9999)
        assert one.training.learning_rates == ((200_000, 5e-4), (400_000, 2.5e-4), (600_000, 1.25e-4))
        assert one.training.n_frames * one.model.hop == 15_872
        assert one.training.best_by == "loss"  # VO-08: what was saved on the way is heard, and the best is kept
        assert one.training.sample_every
        assert (one.training.batch_size, one.split.parts) == (8, {"train": 0.9, "val": 0.1})
    assert (paper.model.kl, paper.model.min_log_scale, paper.model.regulariser_weight) == ("qp", -6.0, 4.0)
    with pytest.raises(UnknownName, match="unknown kl 'pp'"):
        presets.get("clarinet", "demo", changes={"model.kl": "pp"})


# -- what the notebook shows -------------------------------------------------------------------------------------------


def test_two_samples_are_bent_into_the_teachers_density():
    found = toy_distillation.distil((0, 200))
    assert found.kl[-1] < 0.1 * found.kl[0]
    assert found.kl == toy_distillation.distil((0, 200)).kl  # seeded, whatever was drawn before
    noise, lines = found.stages[0]
    assert lines.shape[2] == 2
    points = found.stages[200][0]
    mean, log_scale = toy_distillation.teach(points[:, 0])
    far = ((points - mean) / log_scale.exp())[:, 1].abs()
    assert far.median() < 1.2 < ((noise - mean) / log_scale.exp())[:, 1].abs().median()
    figure = bending({"before": found.stages[0], "after": found.stages[200]}, found.teacher, figures.OURS)
    assert [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes] == ["before", "after"]
    assert len(figure.axes[0].lines) == 1 + len(lines) + 1


def test_figures_say_what_they_measure():
    figure = figures.surprise({"recording": np.full(4000, -1.5), "student": np.zeros(4000)}, 8000)
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["recording: -1.50 nats per sample", "student: 0.00 nats per sample"]
    figure = figures.speeds({"teacher": 1e4, "student": 1e5}, 8000)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["teacher", "student"]
    assert {"10,000", "100,000"} <= {text.get_text() for text in figure.axes[0].texts}


def test_the_explorer_has_a_still_and_follows_its_slider(trained):
    shown = widgets.vocoder_explorer(trained, seconds=0.3, temperature=0.5)
    before = shown.views["sound"].value
    assert "clarinet, temperature 0.50" in before
    assert before in shown.still()
    shown.controls["temperature"].value = 1.0
    assert "temperature 1.00" in shown.views["sound"].value
    assert "image/webp" in shown.views["speech"].value
    shown.controls["temperature"].value = 0.0
    assert shown.controls["temperature"].value == 0.05  # without noise nothing flows
    assert "temperature 0.05" in shown.views["sound"].value
