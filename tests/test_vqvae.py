"""The VQ-VAE on features: sizes of the source, jitter, speakers, what a code sees, and that it learns."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechlib import configs, objectives
from speechlib.batches import Batch
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.models import MODELS
from speechlib.models.jitter import Jitter, jitter
from speechlib.models.standardise import Standardise
from speechlib.models.vqvae import DECODERS, VQVAE, VQVAEConfig

SMALL = VQVAEConfig(channels=16, code_dim=8, codebook_size=12)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def batch_of(inputs, targets=None, speaker=None, length=None):
    n, _, n_frames = inputs.shape
    whole = torch.full((n,), n_frames)
    zeros = torch.zeros(n, dtype=torch.long)
    return Batch(
        inputs,
        inputs if targets is None else targets,
        zeros if speaker is None else speaker,
        zeros,
        zeros,
        None,
        whole if length is None else length,
    )


# --- the source's sizes (VS-08, VS-12, mistake 2) ---


def test_parameter_counts_of_the_source():
    """Reference section 3.1: layer by layer, and in total with shared and with independent residual blocks."""
    model = VQVAE(VQVAEConfig(), n_features=39, n_targets=39, n_speakers=1)
    encoder, decoder = model.encoder, model.decoder
    by_layer = {
        encoder.conv_1: 90_624,
        encoder.conv_2: 1_770_240,
        encoder.down: 2_360_064,
        encoder.conv_4: 1_770_240,
        encoder.conv_5: 1_770_240,
        encoder.residual: 2 * 2_359_296,
        encoder.project: 147_520,
        model.quantizer: 2_816,
        decoder.conv_1: 148_224,
        decoder.residual: 2 * 2_359_296,
        decoder.conv_2: 1_770_240,
        decoder.conv_3: 1_770_240,
        decoder.conv_4: 59_943,
    }
    assert {layer: parameters(layer) for layer in by_layer} == by_layer
    assert parameters(model) == sum(by_layer.values()) == 21_097_575
    assert parameters(VQVAE(VQVAEConfig(share_residual_blocks=True), 39, 39, 1)) == 16_378_983


@pytest.mark.parametrize(("n_frames", "n_codes"), [(47, 24), (191, 96)])
def test_frames_codes_and_decoder_lengths(n_frames, n_codes):
    model, x = VQVAE(SMALL, 39, 39, 1).eval(), torch.randn(2, 39, n_frames)
    z_e = model.encode(x)
    assert z_e.shape == (2, 8, n_codes)
    assert model.decode(z_e).shape[2] == 2 * n_codes + 3  # 24 -> 51, of which the last 4 are cut
    assert model(x).prediction.shape == (2, 39, n_frames)


@settings(max_examples=30)
@given(st.integers(1, 100), st.integers(1, 5), st.sampled_from(DECODERS))
def test_any_length_and_stride_comes_back(n_frames, stride, decoder):
    model = VQVAE(replace(SMALL, channels=4, stride=stride, decoder=decoder), 3, 5, 1).eval()
    output = model(torch.randn(1, 3, n_frames))
    assert output.quantized.codes.shape == (1, n_frames // stride + 1)
    assert output.prediction.shape == (1, 5, n_frames)


def test_shared_residual_blocks_are_one_block_used_twice():
    torch.manual_seed(0)
    shared = VQVAE(replace(SMALL, share_residual_blocks=True), 3, 3, 1).eval()
    apart = VQVAE(SMALL, 3, 3, 1).eval()
    for name, value in shared.state_dict().items():
        for target in (name, name.replace("blocks.0", "blocks.1")):
            apart.state_dict()[target].copy_(value)
    x = torch.randn(2, 3, 20)
    torch.testing.assert_close(apart(x).prediction, shared(x).prediction)


# --- layout through the whole model (VS-09) ---


@pytest.mark.parametrize("quantizer", ["gradient", "ema"])
def test_batch_size_leaves_codes_of_an_item_unchanged(quantizer):
    torch.manual_seed(0)
    config = replace(SMALL, quantizer=quantizer, codebook_init="normal")
    model, x = VQVAE(config, 3, 3, 1).eval(), torch.randn(4, 3, 47)
    together = model.codes(x)
    assert all(torch.equal(model.codes(x[i : i + 1])[0], together[i]) for i in range(4))
    wrong = VQVAE(replace(config, source_layout=True), 3, 3, 1).eval()
    wrong.load_state_dict(model.state_dict())
    assert not torch.equal(wrong.codes(x[:1])[0], wrong.codes(x)[0])


# --- jitter (VS-11, mistake 4) ---


def sequential_jitter(z, replace_at, right):
    """A step at a time, as the source's loop does, on a copy."""
    out, length = z.clone(), z.shape[2]
    for i in range(z.shape[0]):
        for t in range(length):
            if replace_at[i, t] and length > 1:
                side = 1 if t == 0 else -1 if t == length - 1 else (1 if right[i, t] else -1)
                out[i, :, t] = z[i, :, t + side]
    return out


@settings(max_examples=50)
@given(st.integers(1, 4), st.integers(1, 20), st.integers(0, 10_000))
def test_jitter_equals_the_sequential_one(n_items, length, seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n_items, 3, length, generator=generator)
    replace_at = torch.rand(n_items, length, generator=generator) < 0.5
    right = torch.rand(n_items, length, generator=generator) < 0.5
    assert torch.equal(jitter(z, replace_at, right), sequential_jitter(z, replace_at, right))


def test_jitter_rate_sides_and_ends():
    torch.manual_seed(0)
    steps = torch.arange(100_000.0).view(1, 1, -1)
    taken = Jitter(0.12)(steps)[0, 0].long() - torch.arange(100_000)
    assert (taken != 0).float().mean().item() == pytest.approx(0.12, abs=0.01)
    assert (taken == 1).sum() / (taken != 0).sum() == pytest.approx(0.5, abs=0.02)
    assert set(taken.tolist()) == {-1, 0, 1}
    always = Jitter(1.0)(steps[:, :, :50])[0, 0]
    assert always[0] == 1
    assert always[-1] == 48
    assert torch.equal(Jitter(1.0)(steps[:, :, :1]), steps[:, :, :1])


def test_every_item_of_a_batch_has_draws_of_its_own():
    torch.manual_seed(0)
    steps, layer = torch.arange(2000.0).expand(8, 1, -1), Jitter(0.5)
    moved = layer(steps)[:, 0] != steps[:, 0]  # (B, L)
    for i in range(8):
        for j in range(i):  # independent: both at a quarter of the places
            assert (moved[i] & moved[j]).float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert not torch.equal(layer(steps), layer(steps))


def test_jitter_takes_nothing_from_another_item():
    """VQ-VAE-WaveNet joined batch and time before it looked for neighbours (its mistake 7)."""
    torch.manual_seed(0)
    z = torch.randn(4, 3, 6, requires_grad=True)
    for i in range(4):
        (gradient,) = torch.autograd.grad(Jitter(1.0)(z)[i].sum(), z)
        assert (gradient.abs().sum((1, 2)) > 0).tolist() == [j == i for j in range(4)]


def test_jitter_is_off_in_eval_and_gradient_reaches_the_source_step():
    z = torch.randn(1, 2, 4, requires_grad=True)
    assert torch.equal(Jitter(1.0).eval()(z), z)
    second = torch.tensor([[False, True, False, False]])
    jitter(z, replace=second, right=second).sum().backward()  # step 1 is replaced by step 2
    assert z.grad[0, 0].tolist() == [1, 0, 2, 1]
    with pytest.raises(SpeechlibError, match="between 0 and 1"):
        Jitter(12)


# --- speakers (VS-12, mistake 3) ---


@pytest.mark.parametrize("decoder", DECODERS)
def test_speaker_table_is_trained_and_changes_the_output(decoder):
    torch.manual_seed(0)
    model = VQVAE(replace(SMALL, speaker_dim=40, decoder=decoder), 3, 3, 4).eval()
    x, speaker = torch.randn(2, 3, 20), torch.tensor([1, 3])
    first = model(x, speaker).prediction
    assert torch.equal(first, model(x, speaker).prediction)  # the source drew a new table at each pass
    assert not torch.allclose(first, model(x, torch.tensor([0, 3])).prediction)
    first.square().sum().backward()
    norms = model.speakers.weight.grad.norm(dim=1)
    assert (norms[[1, 3]] > 0).all()
    assert (norms[[0, 2]] == 0).all()
    assert torch.equal(model.codes(x), model.codes(x))  # codes need no speaker


def test_missing_and_unknown_speakers():
    model = VQVAE(replace(SMALL, speaker_dim=4), 3, 3, 4).eval()
    z_q = torch.randn(1, 8, 5)
    with pytest.raises(SpeechlibError, match="give the speaker"):
        model.decode(z_q)
    with pytest.raises(SpeechlibError, match=r"\[4\] for a model of 4"):
        model.decode(z_q, torch.tensor([4]))


# --- statistics (mistake 17) ---


def test_inputs_and_targets_have_statistics_of_their_own():
    torch.manual_seed(0)
    x, y = 7 + 3 * torch.randn(8, 3, 500), -40 + 0.1 * torch.randn(8, 5, 500)
    model = VQVAE(SMALL, 3, 5, 1)
    model.inputs.fit(x.mean((0, 2)), x.std((0, 2)))
    model.targets.fit(y.mean((0, 2)), y.std((0, 2)))
    for part, values in ((model.inputs, x), (model.targets, y)):
        standard = part(values)
        assert standard.mean((0, 2)).abs().max() < 0.01
        assert (standard.std((0, 2)) - 1).abs().max() < 0.01
        torch.testing.assert_close(part.inverse(standard), values, rtol=1e-4, atol=1e-4)
    decoded = model.eval().decode(model.quantize(model.encode(x)).z_q, n_frames=500)
    assert (decoded.mean((0, 2)) + 40).abs().max() < 1  # decode gives the targets' own units
    assert set(model.state_dict()) >= {"inputs.mean", "inputs.std", "targets.mean", "targets.std"}


def test_standardise_bad_and_constant_features():
    flat = Standardise(2).fit([1.0, 2.0], [0.0, 4.0])
    assert flat(torch.full((1, 2, 1), 2.0)).flatten().tolist() == [1.0, 0.0]
    with pytest.raises(SpeechlibError, match="3 means and 3 deviations for 2 features"):
        Standardise(2).fit([0.0] * 3, [1.0] * 3)
    with pytest.raises(SpeechlibError, match="NaN"):
        Standardise(1).fit([float("nan")], [1.0])


# --- what a code sees, and where it stands (VS-13) ---


def all_positive(model):
    """Every ReLU open, so that a zero gradient means that there is no path."""
    with torch.no_grad():
        for p in model.parameters():
            p.abs_()
    return model.eval()


def reach(gradient):
    touched = gradient[0].abs().sum(0).nonzero().flatten()
    return touched[0].item(), touched[-1].item()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("residual_layers", [0, 2])
def test_receptive_field_by_gradient(decoder, stride, residual_layers):
    config = replace(SMALL, stride=stride, residual_layers=residual_layers, decoder=decoder)
    model = all_positive(VQVAE(config, 3, 5, 1))
    x = torch.rand(1, 3, 120, requires_grad=True)
    code = 60 // stride
    model.encode(x)[0, :, code].sum().backward()
    first, last = reach(x.grad)
    assert last - first + 1 == model.receptive_field().frames_per_code
    assert (first + last) / 2 == model.code_positions(code + 1)[code]  # the window is centred where we say

    z = torch.rand(1, 8, 61, requires_grad=True)
    seen = []
    for frame in range(30, 30 + stride):
        z.grad = None
        model.decode(z)[0, :, frame].sum().backward()
        first, last = reach(z.grad)
        seen.append(last - first + 1)
    assert max(seen) == model.receptive_field().codes_per_frame


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_frame_decoder_draws_the_frames_around_each_code(stride):
    model = all_positive(VQVAE(replace(SMALL, stride=stride, decoder="frames"), 3, 5, 1))
    z = torch.rand(1, 8, 9, requires_grad=True)
    frames = model.decode(z)
    for frame in range(frames.shape[2] - stride):
        (gradient,) = torch.autograd.grad(frames[0, :, frame].sum(), z, retain_graph=True)
        code, last = reach(gradient)
        assert code == last
        assert abs(frame - model.code_positions(9)[code]) <= stride / 2


def test_crops_have_the_codes_of_the_whole_in_their_interior():
    torch.manual_seed(0)
    model, x = VQVAE(replace(SMALL, codebook_init="normal"), 3, 3, 1).eval(), torch.randn(1, 3, 200)
    whole, start, n_frames = model.codes(x)[0], 60, 80
    crop = model.codes(x[:, :, start : start + n_frames])[0]
    edge = -(-model.receptive_field().frames_per_code // 4)  # half a receptive field, in codes of two frames
    assert torch.equal(crop[edge:-edge], whole[start // 2 :][edge : len(crop) - edge])


def test_summary_lists_all_layers_shapes_and_parameters():
    normed = replace(SMALL, speaker_dim=4, weight_norm=True)
    for config in (SMALL, normed, replace(SMALL, share_residual_blocks=True), replace(SMALL, slices=(3, 5))):
        model = VQVAE(config, 39, 80, 2)
        rows = model.summary(47)
        assert sum(row.parameters for row in rows) == parameters(model)
        shapes = {row.name: row.output for row in rows}
        assert shapes["encoder.conv_1"] == (1, 16, 47)
        assert shapes["encoder.down"] == (1, 16, 24)
        assert shapes["quantizer"] == (1, 8, 24)
        assert shapes["decoder.conv_2"] == (1, 16, 48)
        assert shapes["decoder.conv_3"] == (1, 16, 50)
        assert shapes["decoder.conv_4"] == (1, 80, 51)
        assert {row.kind for row in rows} >= {"Conv1d", "ConvTranspose1d", type(model.quantizer).__name__}
        assert model.training
        assert not model.encoder.conv_1._forward_hooks


def test_weight_norm_on_every_convolution_with_a_kaiming_start():
    torch.manual_seed(0)
    model = VQVAE(VQVAEConfig(channels=256, weight_norm=True), 39, 39, 1)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv1d | torch.nn.ConvTranspose1d)]
    assert all(torch.nn.utils.parametrize.is_parametrized(conv, "weight") for conv in convolutions)
    layer = model.encoder.conv_2
    assert layer.weight.std().item() == pytest.approx((2 / (256 * 3)) ** 0.5, rel=0.02)
    scale = layer.parametrizations.weight.original0
    torch.testing.assert_close(layer.weight.norm(dim=(1, 2)), scale.flatten())  # w = g v / |v|


# --- learning ---


@pytest.mark.parametrize(
    "changes",
    [
        {"quantizer": "ema", "codebook_init": "kmeans", "reseed": 0.1},
        {"quantizer": "ema", "codebook_init": "kmeans", "reseed": 0.1, "decoder": "frames"},
        {"quantizer": "gradient", "codebook_init": "kmeans"},
        {"quantizer": "ema", "codebook_init": "kmeans", "reseed": 0.1, "slices": (3, 5)},
        {"quantizer": "ema", "codebook_init": "kmeans", "reseed": 0.1, "ema_decay": 0.9, "weight_norm": True},
    ],
    ids=["ema", "frames", "gradient", "slices", "weight norm"],
)
def test_learns_one_batch(changes):
    """Three steady sounds in a row, with noise: after a while their spectra come back."""
    torch.manual_seed(0)
    sounds = torch.randn(3, 6)
    order = torch.randint(3, (8, 1, 8)).expand(-1, 6, -1)
    x = torch.gather(sounds.t().expand(8, 6, 3), 2, order).repeat_interleave(6, 2) + 0.05 * torch.randn(8, 6, 48)
    batch = batch_of(x)
    model = VQVAE(replace(SMALL, channels=32, **changes), 6, 6, 1)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    start = objectives.vqvae(model, batch)["reconstruction"].item()
    for _ in range(150):
        terms = objectives.vqvae(model, batch)
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
    assert terms["reconstruction"].item() < 0.2 * start
    assert terms["reconstruction"].item() < 0.2 * x.var().item()
    assert terms["perplexity"] > 2.5


def test_eval_moves_nothing_and_repeats():
    torch.manual_seed(0)
    model = VQVAE(replace(SMALL, quantizer="ema", reseed=0.5, jitter=0.9), 3, 3, 1).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(2, 3, 30)
    assert torch.equal(model(x).prediction, model(x).prediction)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- configs, names and bad input ---


def test_registry_and_config_round_trip():
    assert MODELS["vqvae"] is VQVAE
    config = VQVAEConfig(slices=(32, 32), quantizer="ema")
    assert configs.from_dict(VQVAEConfig, configs.to_dict(config)) == config
    with pytest.raises(UnknownName, match="Did you mean 'vqvae'"):
        MODELS["vqvea"]
    assert VQVAE(SMALL, 3, 5, 7).sizes == {"n_features": 3, "n_targets": 5, "n_speakers": 7}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantizer": "emma"}, "Did you mean 'ema'"),
        ({"decoder": "wavenet"}, "deconv, frames"),
        ({"slices": (32, 31)}, "sum to 63, code_dim is 64"),
        ({"slices": (32, 32), "source_layout": True}, "leave slices empty"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"speaker_dim": -1}, "speaker_dim must not be negative, got -1"),
        ({"jitter": 12.0}, "between 0 and 1"),
        ({"codebook_init": "zeros"}, "uniform"),
    ],
)
def test_bad_configs_say_what_is_wrong(changes, message):
    with pytest.raises(SpeechlibError, match=message):
        VQVAE(VQVAEConfig(**{"channels": 4} | changes), 3, 3, 1)


def test_wrong_shapes_say_both_numbers():
    model = VQVAE(SMALL, 3, 3, 1)
    with pytest.raises(SpeechlibError, match=r"\(1, 4, 9\), the model takes \(B, 3, T\)"):
        model.encode(torch.randn(1, 4, 9))
    with pytest.raises(SpeechlibError, match="5 codes give 13 frames at most, 14"):
        model.decode(torch.randn(1, 8, 5), n_frames=14)
