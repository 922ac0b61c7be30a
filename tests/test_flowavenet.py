"""FloWaveNet against hand-worked flows, autograd's Jacobian, the published size; what goes in comes back out."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import AffineTransform, Independent, Normal, TransformedDistribution

from speechlib import configs, objectives, runs
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.generation.flowavenet import folded, generate
from speechlib.models.flowavenet import (
    ActNorm,
    Flow,
    FloWaveNet,
    FloWaveNetConfig,
    Network,
    noise,
    squeezed,
    stretched,
)  # fmt: skip
from speechlib.models.upsampling import Transposed

TOY = FloWaveNetConfig(n_blocks=2, n_flows=2, blocks_per_split=1, channels=8, scales=(2, 4))  # one split, hop 8
SMALL = replace(TOY, n_blocks=3, blocks_per_split=2, condition_channels=4, speaker_dim=2, context_channels=6)


def build(config: FloWaveNetConfig, n_condition=0, n_speakers=0, seed=0, moved=0.3) -> FloWaveNet:
    """A model of which every part does something: at first the last layers are zero."""
    torch.manual_seed(seed)
    model = FloWaveNet(config, n_condition, n_speakers).eval()
    for name, parameter in model.named_parameters():
        if ".last." in name or name.endswith(("bias", "loc", "network.scale", "prior.scale")):
            torch.nn.init.normal_(parameter, std=moved)
    return model


def batch_of(model: FloWaveNet, n_frames=6, n=2):
    sizes, hop = model.sizes, model.config.hop
    torch.manual_seed(5)
    condition = torch.randn(n, sizes["n_condition"], n_frames) if sizes["n_condition"] else None
    speaker = torch.arange(n) % sizes["n_speakers"] if sizes["n_speakers"] else None
    return 0.3 * torch.randn(n, n_frames * hop), condition, speaker


# -- sizes -------------------------------------------------------------------------------------------------------------


def test_as_many_parameters_as_published():
    with torch.device("meta"):
        model = FloWaveNet(replace(FloWaveNetConfig(), weight_norm=False), 80)  # its gains are not counted
    assert sum(p.numel() for p in model.parameters()) == 182_469_170
    assert round(sum(p.numel() for p in model.blocks[7].parameters()) / 1e6, 1) == 70.1


def test_weight_norm_adds_its_gains_only():
    model, plain = (FloWaveNet(replace(TOY, weight_norm=normed), 5) for normed in (True, False))
    counted = [(name, p.numel()) for name, p in model.named_parameters()]
    gains = sum(n for name, n in counted if name.endswith("weight.original0"))
    assert sum(n for _, n in counted) - gains == sum(p.numel() for p in plain.parameters())
    assert gains > 0


def test_half_leaves_behind_block_4():
    config = FloWaveNetConfig()
    assert config.splits == (False, False, False, True, False, False, False, False)
    assert config.channels_of_blocks == (2, 4, 8, 16, 16, 32, 64, 128)
    assert (config.squeeze, config.hop) == (256, 256)
    with torch.device("meta"):
        model = FloWaveNet(replace(config, n_flows=1, channels=2))
        shapes = [tuple(z.shape) for z in model.cut(torch.zeros(1, 512))]
    assert shapes == [(1, 8, 512 // 16), (1, 128, 512 // 256)]


@pytest.mark.parametrize(
    ("n_blocks", "per_split", "splits"),
    [(8, 8, 0), (8, 2, 3), (4, 2, 1), (3, 2, 1), (5, 1, 4), (1, 1, 0)],
)
def test_all_samples_arrive_as_latents(n_blocks, per_split, splits):
    config = replace(TOY, n_blocks=n_blocks, blocks_per_split=per_split, n_flows=1, channels=2)
    assert sum(config.splits) == splits
    model, wave = build(config), 0.1 * torch.randn(1, 2 * config.squeeze)
    latents = model(wave).latents
    assert len(latents) == splits + 1
    assert [z.shape for z in latents] == [z.shape for z in model.cut(wave)]
    assert sum(z.numel() for z in latents) == wave.numel()


def test_squeeze_puts_even_and_odd_side_by_side():
    x = torch.arange(16.0).view(1, 2, 8)
    y = squeezed(x)
    assert y.tolist() == [[[0, 2, 4, 6], [1, 3, 5, 7], [8, 10, 12, 14], [9, 11, 13, 15]]]
    assert torch.equal(stretched(y), x)


@pytest.mark.parametrize("scales", [(16, 16), (8, 10), (2,)])
def test_frames_become_exactly_so_many_samples(scales):
    up = Transposed(scales)
    assert up(torch.randn(2, 5, 7)).shape == (2, 5, 7 * math.prod(scales))
    frames = torch.zeros(1, 3, 21, requires_grad=True)
    up(frames)[0, 1, 10 * math.prod(scales)].backward()
    heard = frames.grad[0].abs().sum(0).nonzero().flatten()
    assert (heard - 10).abs().max() <= up.reach


# -- there and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config", [TOY, SMALL, replace(SMALL, causal=True), replace(SMALL, log_scale_limit=0.3, envelope=4, envelope_fft=8)]
)
def test_reverse_undoes_forward(config):
    model = build(config, *((5, 3) if config.speaker_dim else (0, 0)))
    if config.envelope:
        model.excitation.fit(torch.rand(5, 5) + torch.eye(5), torch.hann_window(8))
    wave, condition, speaker = batch_of(model)
    with torch.inference_mode():
        latents = model(wave, condition, speaker).latents
        back = model.reverse(latents, condition, speaker)
    inner = model.inner(wave, condition)
    assert (back - inner).abs().max() < 1e-4 * max(1, float(inner.abs().max()))
    assert not torch.allclose(model.cut(inner)[0], latents[0], atol=0.1)  # it did something


@pytest.mark.parametrize("config", [TOY, replace(TOY, causal=True, log_scale_limit=0.3), SMALL])
def test_log_determinant_is_that_of_autograd(config):
    model = build(config, *((5, 3) if config.speaker_dim else (0, 0))).double()
    wave, condition, speaker = batch_of(model, n_frames=2, n=1)
    condition = None if condition is None else condition.double()

    def flat(x):
        return torch.cat([z.flatten() for z in model(x[None], condition, speaker).latents])

    # Network gives float32: the Jacobian in double of a float32 step is good to six digits
    jacobian = torch.autograd.functional.jacobian(flat, wave[0].double())
    log_det = torch.linalg.slogdet(jacobian).logabsdet
    found = model(wave.double(), condition, speaker)
    normals = sum(Normal(0.0, 1.0).log_prob(z).sum() for z in found.latents)
    told = sum(term.sum() for term in found.log_prob.values())
    assert torch.allclose(told, normals + log_det, atol=1e-3)
    assert torch.allclose(model.log_prob(wave.double(), condition, speaker) * wave.shape[1], told)


def test_one_flow_by_hand():
    """x = (a, b): actnorm 2 (x + 1) and 3 (x - 1), then (b - t) / s with t = 0.5, log s = 0.7, then the swap."""
    flow = Flow(replace(TOY, weight_norm=False), 2, 0)
    flow.norm.loc.data[:] = torch.tensor([[1.0], [-1.0]])
    flow.norm.scale.data[:] = torch.tensor([[2.0], [3.0]])
    flow.network.last.bias.data[:] = torch.tensor([0.7, 0.5])  # its weight is zero: the same for every a
    y, log_det = flow(torch.tensor([[[0.25], [2.0]]]), None)
    assert torch.allclose(y, torch.tensor([[[(3 * (2 - 1) - 0.5) * math.exp(-0.7)], [2 * 1.25]]]))
    assert torch.allclose(log_det, torch.tensor([[-0.7]]))
    assert torch.allclose(flow.norm.log_det(), torch.tensor(math.log(6)))
    flow.network.scale.data[0] = math.log(2) / 3  # exp(3 scale) doubles what the last layer gives
    assert torch.allclose(flow(torch.zeros(1, 2, 1), None)[1], torch.tensor([[-1.4]]))
    flow.limit = 0.5
    assert torch.allclose(flow(torch.zeros(1, 2, 1), None)[1], torch.tensor([[-0.5 * math.tanh(1.4 / 0.5)]]))


def test_density_of_an_affine_flow_is_that_of_torch():
    model = FloWaveNet(replace(TOY, n_blocks=1, n_flows=1, weight_norm=False))
    flow = model.blocks[0].flows[0]
    flow.norm.loc.data[:] = torch.tensor([[0.3], [-0.2]])
    flow.norm.scale.data[:] = torch.tensor([[2.0], [-0.5]])
    flow.network.last.bias.data[:] = torch.tensor([0.4, 0.1])
    wave = torch.randn(3, 2)
    # even samples: (z / 2) - 0.3; odd ones: (z e^0.4 + 0.1) / -0.5 + 0.2
    loc, scale = torch.tensor([-0.3, 0.1 / -0.5 + 0.2]), torch.tensor([0.5, math.exp(0.4) / -0.5])
    base = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
    wanted = TransformedDistribution(base, AffineTransform(loc, scale, event_dim=1)).log_prob(wave)
    assert torch.allclose(model.eval().log_prob(wave) * 2, wanted, atol=1e-5)


def test_untrained_couplings_move_nothing():
    torch.manual_seed(0)
    model, wave = FloWaveNet(replace(TOY, blocks_per_split=2)).eval(), torch.randn(1, 16)
    (latent,) = model(wave).latents
    assert torch.equal(latent.flatten().sort().values, wave.flatten().sort().values)
    assert torch.allclose(model.log_prob(wave), Normal(0.0, 1.0).log_prob(wave).mean(1), atol=1e-6)


def test_envelope_counts_in_the_density():
    """Of the wave, not of its excitation: a density of x at twice the level is half as high."""
    config = replace(SMALL, envelope=4, envelope_fft=8, speaker_dim=0)
    model = build(config, 5)
    model.excitation.fit(torch.rand(5, 5) + torch.eye(5), torch.hann_window(8))
    wave, condition, _ = batch_of(model, n=1)
    terms = model(wave, condition).log_prob
    filters = model.filters(condition, wave.shape[1])
    assert torch.allclose(
        terms["envelope"].sum(), -filters.gain.log().repeat_interleave(filters.length).sum(), rtol=1e-5
    )
    plain = build(replace(config, envelope=0), 5)
    inside = plain(model.inner(wave, condition), condition).log_prob  # the same weights: drawn in the same order
    assert torch.allclose(inside["prior"], terms["prior"], rtol=1e-4)


# -- what may depend on what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [TOY, replace(TOY, n_layers=1, kernel_size=5), replace(TOY, causal=True)])
def test_nothing_reaches_farther_than_told(config):
    model = build(replace(config, n_flows=1))
    white = torch.zeros(1, 2 * (2 * model.reach // 8) * 8)
    at = white.shape[1] // 2 + 1
    with torch.enable_grad():
        white.requires_grad_()
        model.reverse(model.cut(white))[0, at].backward()
    heard = white.grad[0].nonzero().flatten()
    assert at - heard.min() <= model.reach
    assert heard.max() - at <= (model.config.squeeze if config.causal else model.reach)
    assert len(heard) > model.config.squeeze


def test_causal_networks_hear_no_future():
    network = build(replace(TOY, causal=True)).blocks[0].flows[0].network
    x = torch.randn(1, 1, 20)
    later = x.clone()
    later[..., 10:] += 1
    assert torch.equal(network(x, None)[..., :10], network(later, None)[..., :10])
    assert not torch.equal(network(x, None)[..., 10:], network(later, None)[..., 10:])
    both = build(TOY).blocks[0].flows[0].network
    assert not torch.equal(both(x, None)[..., :10], both(later, None)[..., :10])


def test_network_is_the_wavenet_it_says():
    """Layer by layer with plain convolutions, filter and gate as two."""
    torch.manual_seed(0)
    F = torch.nn.functional
    network = Network(replace(TOY, weight_norm=False), 3, 4, 5)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, c = torch.randn(2, 3, 11), torch.randn(2, 4, 11)
    h, total = F.relu(F.conv1d(x, network.front.weight, network.front.bias, padding=1)), 0
    heard = F.conv1d(c, network.condition.weight, network.condition.bias)
    for n, (gate, out) in enumerate(zip(network.gates, network.outs)):
        z = F.conv1d(h, gate.weight, gate.bias, padding=2**n, dilation=2**n) + heard[:, 16 * n : 16 * n + 16]
        z = out(z[:, :8].tanh() * z[:, 8:].sigmoid())
        h, total = (h + z[:, :8]) * math.sqrt(0.5), total + z[:, 8:]
    wanted = network.last(F.relu(network.post(F.relu(total)))) * (3 * network.scale).exp()
    assert torch.allclose(network(x, c), wanted, atol=1e-5)


def test_halves_of_the_condition_take_turns():
    model = build(replace(TOY, n_blocks=1), 2)
    x = torch.randn(1, 2, 8)
    first, second = torch.zeros(1, 4, 8), torch.zeros(1, 4, 8)
    first[:, :2], second[:, 2:] = 1, 1  # each of them is heard by one of the two flows
    alone = build(replace(TOY, n_blocks=1, n_flows=1), 2)
    assert not torch.equal(alone.blocks[0](x, first)[0], alone.blocks[0](x, second)[0])
    assert torch.equal(alone.blocks[0](x, second)[0], alone.blocks[0](x, torch.zeros(1, 4, 8))[0])
    assert not torch.equal(model.blocks[0](x, second)[0], model.blocks[0](x, torch.zeros(1, 4, 8))[0])


def test_nobody_is_unlike_every_speaker():
    model = build(SMALL, 5, 3)
    wave, condition, _ = batch_of(model, n=1)
    with torch.inference_mode():
        heard = [model.log_prob(wave, condition, torch.tensor([s])).item() for s in (-1, 0, 1, 2)]
    assert len(set(heard)) == 4


# -- ActNorm -----------------------------------------------------------------------------------------------------------


def test_actnorm_fits_mean_and_deviation():
    norm, x = ActNorm(3), torch.randn(4, 3, 50) * torch.tensor([[0.1], [1.0], [30.0]]) + 7
    norm.fit(x)
    y = norm(x)
    assert torch.allclose(y.mean((0, 2)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(y.transpose(0, 1).flatten(1).std(1, unbiased=False), torch.ones(3), atol=1e-3)
    assert torch.allclose(norm.reverse(y), x, atol=1e-4)


def test_the_first_batch_of_a_training_fits_every_actnorm():
    torch.manual_seed(0)
    model = FloWaveNet(SMALL, 5, 3)
    wave, condition, speaker = batch_of(model, n=8)
    seen = []
    for block in model.blocks:
        for flow in block.flows:
            flow.network.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    model.eval()(wave, condition, speaker)
    assert not model.initialised  # what is only judged is not learned from
    model.train()(wave, condition, speaker)
    assert model.initialised
    for x in seen[-len(model.blocks) * SMALL.n_flows :]:  # a half of what ActNorm gave
        assert abs(x.mean()) < 0.02
        assert abs(x.std() - 1) < 0.05
    with pytest.raises(SpeechlibError, match="fitted already"):
        model.initialise(wave, condition, speaker)


def test_a_checkpoint_knows_that_it_is_initialised(tmp_path):
    """Mistake 7: the flag travels, so that a batch behind a load moves neither loc nor scale."""
    torch.manual_seed(0)
    model = FloWaveNet(SMALL, 5, 3).train()
    model(*batch_of(model))
    runs.save_model(tmp_path / "flow.safetensors", model, "flowavenet")
    again = runs.load_model(tmp_path / "flow.safetensors").train()
    before = {name: tensor.clone() for name, tensor in again.state_dict().items()}
    wave, condition, speaker = batch_of(again)
    again(5 * wave + 1, condition, speaker)
    assert again.initialised
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, before[name]), name
        assert torch.equal(tensor, model.state_dict()[name]), name


@pytest.mark.parametrize("wave", [torch.zeros(2, 48), torch.full((2, 48), 0.25)])
def test_silence_survives(wave):
    model = FloWaveNet(TOY).train()
    terms = objectives.flowavenet(model, batch_for(model, wave))
    assert all(value.isfinite() for value in terms.values())
    terms["loss"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    with torch.inference_mode():
        assert model.eval().reverse(model.draw(48)).isfinite().all()


# -- the loss ----------------------------------------------------------------------------------------------------------


def batch_for(model: FloWaveNet, wave, length=None, condition=None, speaker=None) -> SimpleNamespace:
    n_frames = wave.shape[1] // model.config.hop
    inputs = torch.zeros(len(wave), 1, n_frames) if condition is None else condition
    length = torch.full((len(wave),), n_frames) if length is None else torch.as_tensor(length)
    return SimpleNamespace(inputs=inputs, audio=wave, length=length, speaker=speaker)


def test_terms_of_the_loss_add_up():
    model = build(SMALL, 5, 3)
    wave, condition, speaker = batch_of(model)
    terms = objectives.flowavenet(model, batch_for(model, wave, None, condition, speaker))
    assert list(terms) == ["loss", "prior", "log_det_actnorm", "log_det_coupling"]
    assert torch.allclose(terms["loss"], -model.log_prob(wave, condition, speaker).mean(), atol=1e-5)
    rest = terms["prior"] - terms["log_det_actnorm"] - terms["log_det_coupling"]
    assert torch.allclose(terms["loss"], rest)


def test_padding_does_not_count():
    model = build(replace(TOY, channels=2))
    wave = torch.randn(2, 48)
    found = model(wave).log_prob
    cells = sum(found.values())
    terms = objectives.flowavenet(model, batch_for(model, wave, [6, 2]))
    wanted = -torch.cat([cells[0], cells[1, : 2 * 8 // 4]]).mean() / 4
    assert torch.allclose(terms["loss"], wanted, atol=1e-5)


def test_dither_keeps_a_constant_from_being_certain():
    torch.manual_seed(0)
    dithered = objectives.dithered(torch.zeros(1, 4800), 1e-2)
    assert 0.009 < dithered.std() < 0.011


def test_training_lowers_the_loss_of_something_simple():
    """Noise at a level that the condition tells: the flow finds the level, and comes near its entropy."""
    torch.manual_seed(0)
    model = FloWaveNet(replace(TOY, weight_norm=False), 1).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    losses = []
    for _ in range(100):
        level = torch.randn(16, 1, 4)
        wave = torch.randn(16, 32) * (1.5 * level).exp().repeat_interleave(8, dim=2)[:, 0]
        loss = objectives.flowavenet(model, batch_for(model, wave, None, level))["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    entropy = 0.5 * math.log(2 * math.pi * math.e)  # and 1.5 times the level, whose mean is 0
    assert losses[0] > entropy + 0.8
    assert np.mean(losses[-20:]) < entropy + 0.25
    assert np.mean(losses[-20:]) > entropy - 0.15


# -- generation --------------------------------------------------------------------------------------------------------


def spoken(config=SMALL, n_frames=9, n=1, **options):
    model = build(config, 5, 3 if config.speaker_dim else 0, moved=0.1)
    torch.manual_seed(7)
    condition = torch.randn(n, 5, n_frames)
    speaker = torch.zeros(n, dtype=torch.long) if config.speaker_dim else None
    return model, condition, speaker, generate(model, condition, speaker, **options)


def test_weight_norm_is_folded_and_says_the_same():
    model, condition, speaker, wave = spoken()
    plain = folded(model)
    assert not any("original" in name for name, _ in plain.named_parameters())
    assert any("original" in name for name, _ in model.named_parameters())  # the model is left alone
    assert folded(plain) is plain
    white = model.cut(noise(72, temperature=0.8))
    with torch.inference_mode():
        assert torch.allclose(model.reverse(white, condition, speaker).clamp(-1, 1), wave, atol=1e-5)
    assert wave.shape == (1, 72)


@pytest.mark.parametrize("config", [SMALL, replace(TOY, n_flows=1), replace(SMALL, causal=True)])
@pytest.mark.parametrize("chunk", [1, 50, 200])
def test_pieces_are_the_whole(config, chunk):
    model, condition, speaker, whole = spoken(config, n_frames=80)
    pieces = generate(model, condition, speaker, chunk=chunk)
    assert torch.allclose(pieces, whole, atol=1e-5)


def test_pieces_must_hear_their_surroundings(monkeypatch):
    """The test above would not notice pieces that need no surroundings: with none they differ."""
    model, condition, speaker, whole = spoken(n_frames=80)
    monkeypatch.setattr(FloWaveNetConfig, "reach", 0)
    monkeypatch.setattr(FloWaveNet, "frames_around", 0)
    assert not torch.allclose(generate(model, condition, speaker, chunk=200), whole, atol=1e-3)


def test_lengths_that_do_not_divide_are_made_longer_and_cut():
    config = replace(SMALL, n_blocks=5)  # 32 samples become one position, a frame has 8
    model, condition, speaker, wave = spoken(config, n_frames=9)
    assert wave.shape == (1, 72)
    longer = torch.cat([condition, condition[:, :, -1:].expand(-1, -1, 3)], dim=2)
    assert torch.equal(wave, generate(model, longer, speaker)[:, :72])
    assert torch.allclose(wave, generate(model, condition, speaker, chunk=1), atol=1e-5)


def test_an_utterance_does_not_depend_on_its_batch():
    model, condition, speaker, _ = spoken(n=1)
    three = torch.randn(3, 5, 9)
    together = generate(model, three, torch.tensor([0, 1, 2]))
    alone = generate(model, three[:1], torch.tensor([0]))
    assert torch.allclose(together[:1], alone, atol=1e-5)
    many = generate(model, condition, torch.tensor([0, 1, 2]))  # one condition for all
    assert many.shape == (3, 72)
    assert not torch.allclose(many[0], many[1])
    assert torch.equal(noise(20, 3)[:1, :10], noise(10, 1))


def test_seeds_and_temperatures():
    model, condition, speaker, wave = spoken()
    assert torch.equal(wave, generate(model, condition, speaker, seed=0))
    assert not torch.equal(wave, generate(model, condition, speaker, seed=1))
    still = generate(model, condition, speaker, temperature=0.0)
    assert torch.equal(still, generate(model, condition, speaker, temperature=0.0, seed=3))


def test_a_higher_temperature_varies_more():
    model, condition, speaker, _ = spoken()
    spread = []
    for temperature in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        with torch.inference_mode():
            said = [
                model.reverse(model.draw(72, temperature=temperature, seed=s), condition, speaker) for s in range(8)
            ]
        spread.append(torch.cat(said).var(0).mean().item())
    assert spread == sorted(spread)
    assert spread[0] == 0 < spread[1]


def test_bfloat16_is_near():
    model, condition, speaker, wave = spoken()
    rough = generate(model, condition, speaker, precision="bfloat16")
    assert not torch.equal(rough, wave)
    assert (rough - wave).norm() < 0.05 * wave.norm()
    with pytest.raises(SpeechlibError, match="folded into bfloat16 before"):
        folded(folded(model, "bfloat16"))


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_blocks": 0}, "n_blocks is 0"),
        ({"n_flows": 0}, "n_flows is 0"),
        ({"blocks_per_split": 0}, "blocks_per_split is 0"),
        ({"kernel_size": 4}, "kernel_size 4 must be odd"),
        ({"scales": (16, 5)}, "scales .16, 5. must be even"),
        ({"scales": ()}, "must be even numbers"),
        ({"dither": -1.0}, "dither is -1"),
    ],
)
def test_impossible_configs(changes, message):
    with pytest.raises(SpeechlibError, match=message):
        FloWaveNetConfig(**changes)


def test_sizes_that_do_not_agree():
    with pytest.raises(SpeechlibError, match="3 speakers with vectors of size 0"):
        FloWaveNet(TOY, 5, 3)
    with pytest.raises(SpeechlibError, match="condition_channels 4 is about a condition"):
        FloWaveNet(replace(TOY, condition_channels=4))
    with pytest.raises(UnknownName):
        configs.from_dict(FloWaveNetConfig, {"n_block": 8})


def test_what_does_not_fit_is_refused():
    model = build(SMALL, 5, 3)
    wave, condition, speaker = batch_of(model)
    for given, message in (
        ((wave[:, :-1], condition, speaker), "47 samples do not divide by 8.*cut or pad to 48"),
        ((wave[:, :0], condition, speaker), "0 samples do not divide"),
        ((wave, None, speaker), "needs a condition .B, 5, T., got none"),
        ((wave, condition[:, :4], speaker), r"got one of shape \(2, 4, 6\)"),
        ((wave, condition[..., :4], speaker), "48 samples, 4 frames x 8 samples = 32"),
        ((wave[0], condition, speaker), "wanted floats .B, S."),
        ((wave.long(), condition, speaker), "int64: wanted floats"),
        ((wave, condition, None), "was trained with speakers"),
        ((wave, condition, torch.tensor([0, 9])), "counted from 0"),
    ):
        with pytest.raises(SpeechlibError, match=message):
            model(*given)
    with pytest.raises(SpeechlibError, match="takes none"):
        build(TOY)(wave, condition)
    with pytest.raises(SpeechlibError, match="knows none"):
        build(TOY, 5)(wave, condition, speaker)
    with pytest.raises(SpeechlibError, match="this batch has none"):
        objectives.flowavenet(model, SimpleNamespace(audio=None))


def test_a_layer_that_breaks_is_named():
    model = build(TOY)
    wave = torch.randn(1, 48)
    model.blocks[1].flows[1].network.last.bias.data[0] = math.nan
    with pytest.raises(SpeechlibError, match="not finite at block 2, flow 2: 12 of 12 positions"):
        model(wave)
    model = build(TOY)
    model.blocks[0].flows[1].norm.scale.data[0] = 0
    with pytest.raises(SpeechlibError, match="ActNorm is not finite at block 1, flow 2"):
        model(wave)
    model = build(TOY)
    model.blocks[0].prior.last.bias.data[-1] = math.inf
    with pytest.raises(SpeechlibError, match="not finite at block 1, prior"):
        model(wave)


def test_generation_refuses_what_it_cannot_say():
    model, condition, speaker, _ = spoken()
    for given, options, message in (
        ((None, speaker), {}, "needs a condition"),
        ((condition[0], speaker), {}, r"got one of shape \(5, 9\)"),
        ((condition[:, :, :0], speaker), {}, "needs a condition"),
        ((condition * math.nan, speaker), {}, "condition is not finite"),
        ((condition, speaker), {"temperature": -0.1}, "temperature is -0.1"),
        ((condition, speaker), {"temperature": math.nan}, "temperature is nan"),
        ((condition, speaker), {"seed": -1}, "seed is -1"),
        ((condition, speaker), {"chunk": 0}, "chunk is 0"),
        ((condition.expand(2, -1, -1), torch.zeros(3, dtype=torch.long)), {}, "2 conditions for 3 speakers"),
    ):
        with pytest.raises(SpeechlibError, match=message):
            generate(model, *given, **options)
    with pytest.raises(UnknownName, match="precision"):
        generate(model, condition, speaker, precision="float8")
    with pytest.raises(SpeechlibError, match="without a condition"):
        generate(build(TOY), condition)
    model.blocks[0].flows[0].norm.loc.data[0] = math.nan
    with pytest.raises(SpeechlibError, match="did this training diverge"):
        generate(model, condition, speaker)
