"""WaveNet against a loop over samples, one-hot convolution, published sizes; what a sample may depend on."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from speechlib import configs, mu_law, objectives
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.models.convolutions import convolved
from speechlib.models.distributions import MuLaw
from speechlib.models.upsampling import Smoothed
from speechlib.models.wavenet import Front, Layer, WaveNet, WaveNetConfig, added

SMALL = WaveNetConfig(
    n_layers=4,
    n_stacks=2,
    residual_channels=6,
    gate_channels=8,
    skip_channels=5,
    quantization_channels=16,
    scales=(2, 3),
)
R9Y9 = WaveNetConfig(
    n_layers=24, n_stacks=4, kernel_size=3, residual_channels=128, gate_channels=256, skip_channels=128,
    upsampling="smoothed", condition_kernel=5,
)  # fmt: skip
VW = WaveNetConfig(
    n_layers=30, n_stacks=3, kernel_size=3, residual_channels=256, gate_channels=512, skip_channels=512,
    front_kernel=32, front_skip=True, condition_post=True, residual_scale=1.0, skip_scale=1.0,
)  # fmt: skip


def build(config: WaveNetConfig, n_condition=0, n_speakers=0, seed=0) -> WaveNet:
    torch.manual_seed(seed)
    model = WaveNet(config, n_condition, n_speakers).eval()
    for parameter in model.parameters():  # biases begin at zero: a test would not miss them
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


# -- published sizes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "n_condition", "parameters"),
    [
        (replace(R9Y9, n_layers=30, n_stacks=3), 80, 4_676_388),  # r9y9, mulaw256
        (replace(R9Y9, output="logistic"), 80, 3_702_210),  # mol
        (replace(R9Y9, output="gaussian"), 80, 3_698_598),
        (replace(VW, scalar_input=True), 128, 20_298_752),  # VQ-VAE-WaveNet's decoder
        (VW, 128, 22_387_712),  # with one-hot input: an embedding has as many
    ],
)
def test_parameters_are_as_many_as_published(config, n_condition, parameters):
    with torch.device("meta"):
        model = WaveNet(config, n_condition)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("config", "samples"),
    [
        (replace(R9Y9, n_layers=30, n_stacks=3), 6_139),
        (R9Y9, 505),
        (VW, 6_170),
        (WaveNetConfig(n_layers=20, n_stacks=2, kernel_size=2, front_kernel=32), 2_078),  # ClariNet's teacher
    ],
)
def test_receptive_field_is_the_published_one(config, samples):
    assert config.receptive_field == samples


# -- what a sample depends on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel_size", [2, 3])
@pytest.mark.parametrize("front_kernel", [1, 4])
@pytest.mark.parametrize("output", ["logistic", "gaussian"])
def test_gradient_reaches_exactly_the_receptive_field(kernel_size, front_kernel, output):
    config = replace(SMALL, output=output, kernel_size=kernel_size, front_kernel=front_kernel, n_layers=6)
    model, field = build(config), config.receptive_field
    wave = (torch.rand(1, field + 10) * 2 - 1).requires_grad_()
    t = field + 4
    model(wave)[0, :, t].square().sum().backward()
    reached = wave.grad[0].nonzero().flatten()
    assert reached.min() == t - field
    assert reached.max() == t - 1  # the sample before, never the sample itself
    assert model.receptive_field == field


@pytest.mark.parametrize("scalar_input", [False, True])
def test_changing_a_sample_changes_only_what_follows_within_the_receptive_field(scalar_input):
    config = replace(SMALL, kernel_size=3, front_kernel=3, scalar_input=scalar_input)
    model, field = build(config), config.receptive_field
    wave = torch.rand(1, field + 30) * 2 - 1
    other = wave.clone()
    other[0, 12] = -other[0, 12].sign() * 0.9
    with torch.no_grad():
        changed = (model(wave) != model(other)).any(1)[0].nonzero().flatten()
    assert changed.min() == 13
    assert changed.max() == 12 + field


def test_items_of_a_batch_do_not_see_each_other():
    model = build(replace(SMALL, speaker_dim=3), n_condition=4, n_speakers=2)
    wave, condition, speaker = torch.rand(3, 12) * 2 - 1, torch.randn(3, 4, 2), torch.tensor([0, 1, 1])
    with torch.no_grad():
        together = model(wave, condition, speaker)
        alone = torch.cat([model(*(x[i : i + 1] for x in (wave, condition, speaker))) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_a_frame_enters_where_it_begins():
    model = build(SMALL, n_condition=4)
    wave, condition = torch.rand(1, 24) * 2 - 1, torch.randn(1, 4, 4)
    other = condition.clone()
    other[:, :, 2] += 1
    with torch.no_grad():
        changed = (model(wave, condition) != model(wave, other)).any(1)[0].nonzero().flatten()
    assert changed.min() == 2 * 6


def test_a_frame_is_read_with_exactly_its_neighbours_within_reach():
    model = build(replace(SMALL, context_channels=32), n_condition=4)
    torch.nn.init.normal_(model.context.layers[-1].weight)
    wave, condition = torch.rand(1, 6 * 12) * 2 - 1, torch.randn(1, 4, 12)
    other = condition.clone()
    other[:, :, 6] += 1
    with torch.no_grad():
        frames = (model.frames(condition) != model.frames(other)).any(1)[0].nonzero().flatten()
        samples = (model(wave, condition) != model(wave, other)).any(1)[0].nonzero().flatten()
    assert frames.tolist() == list(range(6 - model.context.reach, 6 + model.context.reach + 1))
    assert samples.min() == 6 * (6 - model.context.reach)


def test_context_changes_nothing_until_it_has_learned():
    alone, context = (build(replace(SMALL, context_channels=width), n_condition=4) for width in (0, 5))
    torch.nn.init.zeros_(context.context.layers[-1].bias)  # as it was made: `build` draws biases
    context.load_state_dict(alone.state_dict(), strict=False)
    wave, condition = torch.rand(1, 18) * 2 - 1, torch.randn(1, 4, 3)
    torch.testing.assert_close(context(wave, condition), alone(wave, condition), rtol=0, atol=0)


# -- against something simpler -----------------------------------------------------------------------------------------


def slowly(model: WaveNet, wave, condition, speaker):
    """The formulas of the docstring, sample by sample and tap by tap, in float64. wave (S,) -> (P, S)."""
    c, w = model.config, {name: p.detach().double() for name, p in model.named_parameters()}
    half, x_of = c.gate_channels // 2, []
    classes = mu_law.encode(wave, c.quantization_channels)
    start = mu_law.encode(torch.zeros(1), c.quantization_channels)
    inputs = torch.cat([start, classes])[: len(wave)]  # one sample later
    table = w["front.table.weight"].unflatten(1, (c.front_kernel, c.residual_channels))
    history = [[] for _ in range(c.n_layers)]
    for t in range(len(wave)):
        x = w["front.bias"].clone()
        for tap in range(c.front_kernel):
            source = t - (c.front_kernel - 1 - tap)
            if source >= 0:
                x = x + table[inputs[source], tap]
        total = torch.zeros(c.skip_channels, dtype=torch.float64)
        for l, dilation in enumerate(c.dilations):
            history[l].append(x)
            z = w[f"layers.{l}.gate.bias"].clone()
            for tap in range(c.kernel_size):
                source = t - (c.kernel_size - 1 - tap) * dilation
                if source >= 0:
                    z = z + w[f"layers.{l}.gate.weight"][:, :, tap] @ history[l][source]
            rows = slice(l * c.gate_channels, (l + 1) * c.gate_channels)
            z = z + w["condition.weight"][rows, :, 0] @ condition[:, t // c.hop].double()
            z = z + w["speaker.weight"][rows, :, 0] @ w["speakers.weight"][speaker]
            h = z[:half].tanh() * z[half:].sigmoid()
            both = w[f"layers.{l}.out.weight"][:, :, 0] @ h + w[f"layers.{l}.out.bias"]
            x = (x + both[: c.residual_channels]) * math.sqrt(0.5)
            total = total + both[c.residual_channels :]
        hidden = (total * math.sqrt(1 / c.n_layers)).relu()
        hidden = (w["post_1.weight"][:, :, 0] @ hidden + w["post_1.bias"]).relu()
        x_of.append(w["post_2.weight"][:, :, 0] @ hidden + w["post_2.bias"])
    return torch.stack(x_of, dim=1)


def test_forward_is_the_formula_sample_by_sample():
    config = replace(SMALL, kernel_size=3, front_kernel=2, speaker_dim=3)
    model = build(config, n_condition=4, n_speakers=5)
    wave, condition = torch.rand(1, 24) * 2 - 1, torch.randn(1, 4, 4)
    with torch.no_grad():
        quickly = model(wave, condition, torch.tensor([3]))[0]
    torch.testing.assert_close(quickly.double(), slowly(model, wave[0], condition[0], 3), rtol=1e-5, atol=1e-5)


def test_embedding_is_the_convolution_of_one_hot_classes():
    front = Front(replace(SMALL, front_kernel=3))
    wave = torch.rand(2, 20) * 2 - 1
    one_hot = F.one_hot(mu_law.encode(wave, 16), 16).transpose(1, 2).float()
    weight = front.table.weight.unflatten(1, (3, 6)).permute(2, 0, 1)  # (R, Q, k)
    torch.testing.assert_close(front(wave), F.conv1d(F.pad(one_hot, (2, 0)), weight, front.bias))


def test_projecting_before_repeating_is_projecting_after():
    model = build(SMALL, n_condition=4)
    condition = torch.randn(2, 4, 3)
    pieces = model.conditions(condition, None, 18)
    expected = model.condition(condition.repeat_interleave(6, dim=2)).split(8, dim=1)
    for piece, other in zip(pieces, expected):
        torch.testing.assert_close(piece.repeat_interleave(6, dim=2), other)
        torch.testing.assert_close(added(torch.zeros(2, 8, 18), piece), other)


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (2, 8), (3, 4), (5, 1)])
def test_channels_side_by_side_are_the_same_convolution(kernel, dilation):
    """And so are its gradients, in both orders of memory; what comes out lies side by side."""
    torch.manual_seed(kernel)
    layer, x = torch.nn.Conv1d(5, 7, kernel, dilation=dilation), torch.randn(2, 5, 19)
    plain = F.conv1d(F.pad(x, ((kernel - 1) * dilation, 0)), layer.weight, layer.bias, dilation=dilation)
    upstream = torch.randn_like(plain)
    expected = torch.autograd.grad(plain, list(layer.parameters()), upstream)
    for given in (x, x.transpose(1, 2).contiguous().transpose(1, 2)):
        got = convolved(layer, given)
        torch.testing.assert_close(got, plain)
        assert got.transpose(1, 2).is_contiguous()
        for gradient, other in zip(torch.autograd.grad(got, list(layer.parameters()), upstream), expected):
            torch.testing.assert_close(gradient, other)


def test_channels_stay_side_by_side_through_a_layer_and_back():
    """The order that makes bfloat16 quick is easily lost: a pad, a split of channels, or its gradient would undo it."""
    config = replace(SMALL, scales=(2, 3), dropout=0.1)
    layer, x = Layer(config, 2), torch.randn(2, 18, 6, requires_grad=True)
    residual, skip = layer(x.transpose(1, 2), torch.randn(2, 8, 3))
    assert residual.transpose(1, 2).is_contiguous()
    assert skip.stride(1) == 1
    upstream = [torch.randn(2, 18, part.shape[1]).transpose(1, 2) for part in (residual, skip)]
    (gradient,) = torch.autograd.grad((residual, skip), x, upstream)
    assert gradient.is_contiguous()


@pytest.mark.parametrize("n_samples", [13, 15, 18])
def test_a_last_frame_need_not_be_whole(n_samples):
    """Its samples are those of the whole one."""
    model = build(replace(SMALL, condition_post=True), n_condition=4)
    wave, condition = torch.rand(2, 18) * 2 - 1, torch.randn(2, 4, 3)
    with torch.no_grad():
        whole, part = model(wave, condition), model(wave[:, :n_samples], condition)
    assert part.shape[2] == n_samples
    torch.testing.assert_close(part, whole[:, :, :n_samples])


def test_nll_is_that_of_the_next_sample():
    model = build(SMALL)
    wave = torch.rand(2, 30) * 2 - 1
    parameters = model(wave)
    expected = -parameters.log_softmax(1).gather(1, mu_law.encode(wave, 16)[:, None])[:, 0]
    torch.testing.assert_close(model.nll(wave), expected)
    assert model.distribution == MuLaw(16)


# -- conditions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scales", [(4, 4), (5,), (3, 2, 7)])
def test_smoothed_condition_has_exactly_hop_samples_per_frame_and_keeps_a_constant(scales):
    upsample = Smoothed(2, scales, kernel_size=3)
    torch.nn.init.dirac_(upsample.mix.weight)
    out = upsample(torch.ones(1, 2, 9))
    assert out.shape == (1, 2, 9 * math.prod(scales))
    inner = out[:, :, 3 * math.prod(scales) : -3 * math.prod(scales)]
    torch.testing.assert_close(inner, torch.ones_like(inner))  # filters begin as means


def test_smoothed_condition_treats_channels_alike_and_apart():
    upsample = Smoothed(2, (4,))
    torch.nn.init.dirac_(upsample.mix.weight)
    frames = torch.randn(1, 2, 5)
    out = upsample(frames)
    torch.testing.assert_close(out.flip(1), upsample(frames.flip(1)))
    torch.testing.assert_close(upsample(frames * torch.tensor([1.0, 0.0])[:, None])[:, 0], out[:, 0])


@pytest.mark.parametrize("upsampling", ["repeat", "smoothed"])
@pytest.mark.parametrize("n_samples", [17, 23])
def test_condition_and_wave_of_different_length_are_refused_with_both_numbers(upsampling, n_samples):
    model = build(replace(SMALL, upsampling=upsampling), n_condition=4)
    condition = torch.randn(1, 4, 3)
    for fitting in (12, 15, 18):  # from the last frame's beginning to its end
        assert model(torch.zeros(1, fitting), condition).shape == (1, 16, fitting)
    with pytest.raises(SpeechlibError, match=rf"{n_samples + 6} samples, 3 frames x 6 samples = 18"):
        model(torch.zeros(1, n_samples + 6), condition)


def test_nobody_is_not_one_of_the_speakers():
    model = build(replace(SMALL, speaker_dim=3), n_speakers=4)
    nobody, *speakers = model.speaker_vector(torch.tensor([-1, 0, 1, 2, 3]))
    assert nobody.abs().max() == 0
    assert all((nobody - speaker).abs().max() > 1e-3 for speaker in speakers)


def test_what_does_not_fit_is_refused():
    plain, spoken = build(SMALL), build(replace(SMALL, speaker_dim=3), n_condition=4, n_speakers=2)
    wave, condition = torch.zeros(1, 12), torch.zeros(1, 4, 2)
    with pytest.raises(SpeechlibError, match="takes none"):
        plain(wave, condition)
    with pytest.raises(SpeechlibError, match="knows none"):
        plain(wave, None, torch.tensor([0]))
    with pytest.raises(SpeechlibError, match=r"\(B, 4, T\), got none"):
        spoken(wave, None, torch.tensor([0]))
    with pytest.raises(SpeechlibError, match=r"\(1, 5, 2\)"):
        spoken(wave, torch.zeros(1, 5, 2), torch.tensor([0]))
    with pytest.raises(SpeechlibError, match="give their indices"):
        spoken(wave, condition)
    with pytest.raises(SpeechlibError, match=r"speakers \[2\] for a model of 2"):
        spoken(wave, condition, torch.tensor([2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layers": 5}, "5 layers do not divide into 2 stacks"),
        ({"gate_channels": 7}, "even"),
        ({"kernel_size": 1}, "at least 2"),
        ({"condition_kernel": 2}, "odd"),
        ({"scales": ()}, "scales"),
    ],
)
def test_configs_that_make_no_sense_are_refused(change, message):
    with pytest.raises(SpeechlibError, match=message):
        replace(SMALL, **change)


def test_unknown_names_are_refused():
    with pytest.raises(UnknownName, match="mu_law"):
        replace(SMALL, output="mulaw")
    with pytest.raises(UnknownName, match="repeat"):
        replace(SMALL, upsampling="nearest")
    with pytest.raises(SpeechlibError, match="both or none"):
        WaveNet(SMALL, n_speakers=3)


# -- as a module -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["mu_law", "logistic", "gaussian"])
@pytest.mark.parametrize("weight_norm", [False, True])
def test_every_parameter_is_reached_by_the_loss(output, weight_norm):
    """So that training on several devices need not look for idle ones."""
    config = replace(
        SMALL, output=output, weight_norm=weight_norm, speaker_dim=3, front_skip=True, condition_post=True,
        upsampling="smoothed",
    )  # fmt: skip
    model = build(config, n_condition=4, n_speakers=2).train()
    model.nll(torch.rand(2, 12) * 2 - 1, torch.randn(2, 4, 2), torch.tensor([0, 1])).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("output", ["mu_law", "logistic", "gaussian"])
def test_it_learns_a_tone(output):
    torch.manual_seed(0)
    model = WaveNet(
        replace(SMALL, output=output, residual_channels=16, gate_channels=32, skip_channels=16, n_mixtures=3)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    phase = torch.rand(4, 1) * 2 * math.pi
    wave = 0.6 * torch.sin(0.3 * torch.arange(64) + phase)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.nll(wave).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.7  # nats per sample: at least one bit


def test_condition_is_standardised_inside():
    model, wave, condition = build(SMALL, n_condition=4), torch.rand(1, 12) * 2 - 1, torch.randn(1, 4, 2)
    with torch.no_grad():
        before = model(wave, condition)
        model.inputs.fit(torch.full((4,), -50.0), torch.full((4,), 12.0))
        after = model(wave, condition * 12 - 50)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


def test_padding_does_not_count_in_the_objective():
    model = build(replace(SMALL, speaker_dim=3), n_condition=4, n_speakers=2)
    wave, condition, speaker = torch.rand(2, 24) * 2 - 1, torch.randn(2, 4, 4), torch.tensor([0, 1])
    batch = SimpleNamespace(audio=wave, inputs=condition, speaker=speaker, length=torch.tensor([4, 2]))
    with torch.no_grad():
        nll = model.nll(wave, condition, speaker)
        terms = objectives.wavenet(model, batch)
    expected = torch.cat([nll[0], nll[1, :12]]).mean()
    torch.testing.assert_close(terms["loss"], expected)
    torch.testing.assert_close(terms["bits"], expected / math.log(2))
    batch.audio = None
    with pytest.raises(SpeechlibError, match="audio=True"):
        objectives.wavenet(model, batch)


def test_a_model_that_knows_nothing_gives_log2_of_its_classes_in_bits():
    model = build(SMALL)
    torch.nn.init.zeros_(model.post_2.weight)
    torch.nn.init.zeros_(model.post_2.bias)
    wave = torch.rand(2, 24) * 2 - 1
    batch = SimpleNamespace(audio=wave, inputs=torch.zeros(2, 1, 4), speaker=None, length=torch.tensor([4, 4]))
    assert objectives.wavenet(model, batch)["bits"].item() == pytest.approx(4)  # 16 classes


def test_config_travels_as_plain_values():
    config = replace(SMALL, skip_scale=1.0)
    assert configs.from_dict(WaveNetConfig, configs.to_dict(config)) == config
