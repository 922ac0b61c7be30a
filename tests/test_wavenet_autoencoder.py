"""WaveNet autoencoders: sizes of the source, what instance norm takes away, and the source's mistakes, one by one."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from speechlib import alternation, audio, configs, objectives, presets, runs, systems
from speechlib.batches import Batch
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.evaluation.combine import combine
from speechlib.evaluation.levels import explained, levels
from speechlib.models.content_encoders import ContentEncoder, Edged, InstanceNorm
from speechlib.models.encoders import Residual
from speechlib.models.quantizers import GaussianBottleneck, GumbelQuantizer, QuantizerConfig, make_quantizer
from speechlib.models.speaker_encoders import AdaIN, BankReference, DenseBlock, SimpleReference
from speechlib.models.wavenet import WaveNetConfig
from speechlib.models.wavenet_autoencoder import (
    POINTS,
    SOURCE_DECODER,
    AdversarialWaveNetAutoencoder,
    WaveNetAutoencoder,
    WaveNetAutoencoderConfig,
)
from speechlib.systems import abx, entrant, lifecycle
from speechlib.systems.coded import code_pack
from speechlib.systems.codes import apart, joined

SYSTEM = "wavenet_autoencoder"
DECODER = WaveNetConfig(
    n_layers=4, n_stacks=2, residual_channels=6, gate_channels=8, skip_channels=5, quantization_channels=16,
    scales=(8,), speaker_dim=3,
)  # fmt: skip
PLAIN = WaveNetAutoencoderConfig(channels=7, code_dim=4, codebook_size=6, stride=2, decoder=DECODER)
IN = replace(PLAIN, normed=True, reference="simple", reference_channels=5, voice_dim=6, adain_layers=2)
SVQ = replace(PLAIN, quantizer="gradient", slices=(1, 3), codebook_init="normal")
DRAWN = replace(IN, draw_channels=7, speaker_dim=3, decoder=replace(DECODER, scales=(4,), speaker_dim=0))
ALL = [(system, name) for system in (SYSTEM, "adversarial_autoencoder") for name in presets.names()[system]]


def build(config=PLAIN, kind=WaveNetAutoencoder, seed=0) -> WaveNetAutoencoder:
    torch.manual_seed(seed)
    return kind(config, 13, 3, 9 if config.draw_channels else 0).eval()


def batch_of(n=2, n_codes=6, seed=0) -> Batch:
    """Frames of 4 samples, two to a code."""
    random = torch.Generator().manual_seed(seed)
    frames, samples = 2 * n_codes, 8 * n_codes
    features, bands = (torch.randn(n, channels, frames, generator=random) for channels in (13, 9))
    wave = (torch.randn(n, samples, generator=random) * 0.3).clamp(-1, 1)
    numbers = torch.arange(n)
    return Batch(features, bands, numbers % 3, numbers, 0 * numbers, wave, torch.full((n,), frames))


def size(module: nn.Module) -> int:
    """Parameters, the gains of weight norm left out."""
    return sum(p.numel() for name, p in module.named_parameters() if not name.endswith("original0"))


def blank(preset: str, n_speakers: int) -> WaveNetAutoencoder:
    with torch.device("meta"):
        experiment = presets.get(SYSTEM, preset)
        return lifecycle.system_of(experiment).new(experiment, n_speakers)


# -- sizes (WA-04, WA-10) ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stride", "code_dim", "parameters"), [(4, 64, 10_170_688), (4, 128, 10_219_904), (2, 64, 6_040_384)]
)
def test_content_encoders_have_the_published_sizes(stride, code_dim, parameters):
    with torch.device("meta"):
        encoder = ContentEncoder(39, code_dim, 768, stride)
    assert size(encoder) == parameters
    assert encoder(torch.empty(1, 39, 32, device="meta")).shape == (1, code_dim, 32 // stride)


def test_the_simple_reference_has_its_published_size():
    assert size(SimpleReference(39, 256, 64)) == 486_208


@pytest.mark.parametrize(
    ("preset", "unused", "parameters"),
    [
        ("in_wae", 2 * (64 * 64 * 3 + 64), 19_165_454),  # a convolution in each AdaIN of the source that nothing calls
        ("svq_wae", 0, 19_203_214),
        ("newest", 0, 7_528_846),
    ],
)
def test_models_have_the_published_sizes(preset, unused, parameters):
    model = blank(preset, n_speakers=153)
    assert size(model) + unused == parameters
    assert SOURCE_DECODER.receptive_field == 4_093
    assert model.decoder.receptive_field == 4_093 + 1  # the sample that the emphasis takes off, in the source's data


@pytest.mark.parametrize(("preset", "n_codes", "hop"), [("in_wae", 8, 640), ("in_wae_50hz", 16, 320)])
def test_32_frames_are_so_many_codes_and_5120_samples(preset, n_codes, hop):
    model = blank(preset, n_speakers=2)
    assert presets.get(SYSTEM, preset).training.n_frames == 32
    assert model.hop == hop
    codes = model.codes(torch.empty(1, 39, 32, device="meta"))
    assert codes.shape == (1, 64, n_codes)
    assert model.decoder.upsample(codes).shape == (1, 64, 5_120)


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("n_frames", [1, 2, 3, 5, 9, 10])
def test_any_length_has_its_codes(stride, n_frames):
    found = ContentEncoder(13, 4, 7, stride, normed=True)(torch.randn(2, 13, n_frames))
    assert found.shape == (2, 4, math.ceil(n_frames / stride))
    assert found.isfinite().all()


def test_mistake_7_relu_layers_have_weights_or_none():
    """The paper's feed-forward layers have lost their weights in the source: both are there."""
    with torch.device("meta"):
        free, fed = (ContentEncoder(39, 64, feed_forward=forward) for forward in (False, True))
    assert size(fed) - size(free) == 4 * (768 * 768 + 768)
    x = torch.randn(1, 7, 3)
    assert torch.equal(ContentEncoder(13, 4, 7).layers[-1](x), x + x.clamp(min=0))
    assert isinstance(ContentEncoder(13, 4, 7, feed_forward=True).layers[-1], Residual)


def test_an_encoder_is_the_layers_of_the_table():
    encoder = ContentEncoder(13, 4, 7, stride=4)
    weights = [module for module in encoder.modules() if isinstance(module, Edged)]
    assert [(w.kernel_size[0], w.stride[0]) for w in weights] == [(3, 1), (3, 1), (4, 2), (4, 2), (3, 1), (3, 1)]
    x = features = torch.randn(2, 13, 16)
    mirrored = [F.conv1d(F.pad(x, (1, 1), mode="reflect"), weights[0].weight, weights[0].bias).relu()]
    for k, residual in enumerate((True, False, False, True, True), 1):
        x = mirrored[-1]
        y = F.conv1d(F.pad(x, (1, 1), mode="reflect"), weights[k].weight, weights[k].bias, weights[k].stride).relu()
        mirrored.append(x + y if residual else y)
    x = mirrored[-1]
    for _ in range(4):
        x = x + x.relu()
    torch.testing.assert_close(encoder(features), encoder.project(x))


def test_edges_are_mirrored_also_where_there_is_little_to_mirror():
    layer = Edged(1, 1, 5)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[1.0, 10.0, 100.0, 1000.0, 10000.0]]]))
        layer.bias.zero_()
        seen = layer(torch.tensor([[[1.0, 2.0]]]))[0, 0]
        one = layer(torch.tensor([[[3.0]]]))[0, 0]
    assert seen.tolist() == [12121, 21212]  # 1 2 | 1 2 | 1 and on
    assert one.tolist() == [33333]
    with pytest.raises(UnknownName, match="edges of a convolution 'wrap'"):
        Edged(1, 1, 3, edges="wrap")


@pytest.mark.parametrize(("stride", "half_kernel", "edges"), [(2, 4, "reflect"), (4, 4, "reflect"), (4, 5, "zeros")])
def test_code_positions_are_the_middle_of_what_each_code_sees(stride, half_kernel, edges):
    model = build(replace(PLAIN, stride=stride, half_kernel=half_kernel, edges=edges, decoder=DECODER))
    x = torch.randn(1, 13, 200, requires_grad=True)
    model.encode(x)[0, :, 20].square().sum().backward()
    seen = x.grad.abs().sum((0, 1)).nonzero().flatten()
    assert (seen.min() + seen.max()) / 2 == model.code_positions(30)[20]


# -- instance norm and AdaIN (WA-05, WA-06) ----------------------------------------------------------------------------


@pytest.mark.parametrize(("stride", "places"), [(4, 5), (2, 4)])
def test_after_every_second_layer_channels_have_mean_0_and_deviation_1(stride, places):
    encoder, found = ContentEncoder(13, 4, 7, stride, normed=True), []
    for layer in encoder.layers:
        if isinstance(layer, InstanceNorm):
            layer.register_forward_hook(lambda _, inputs, output: found.append((inputs[0], output)))
    assert [isinstance(layer, InstanceNorm) for layer in encoder.layers] == [False, False, True] * places
    encoder(5 * torch.randn(3, 13, 40) + 2)
    assert len(found) == places
    for before, after in found:
        assert after.mean(2).abs().max() < 1e-5
        variance = before.var(2, correction=0)  # a channel that is nearly still stays so
        torch.testing.assert_close(after.var(2, correction=0), variance / (variance + 1e-5), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(after, nn.InstanceNorm1d(before.shape[1])(before), atol=1e-5, rtol=1e-4)


def test_level_and_gain_of_a_channel_do_not_reach_the_code():
    """What a voice or a microphone adds to all of an utterance is gone behind the first norm."""
    norm, x = InstanceNorm(), torch.randn(2, 7, 30)
    torch.testing.assert_close(norm(3 * x + 5), norm(x), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_mistake_14_one_code_and_the_shortest_test_file_are_finite(training):
    """88 ms are 9 frames, 3 codes; a single one has no deviation and becomes 0."""
    assert InstanceNorm().train(training)(torch.randn(2, 5, 1)).tolist() == [[[0.0]] * 5] * 2
    experiment = presets.get(SYSTEM, "in_wae", changes={"model.channels": 8, "model.reference_channels": 8})
    model = systems.blank(experiment).train(training)
    from speechlib.features import extract

    wave = 0.1 * torch.randn(1, round(0.088 * 16_000))
    features = extract(wave, experiment.pack.features[0])
    for read, n in ((features, 3), (features[..., :1], 1)):
        rows = model.codes(read)
        assert rows.shape == (1, 64, n)
        assert rows.isfinite().all()
        assert model.told(rows, voice=model.voice_of(read)).isfinite().all()


def test_mistake_8_adain_gives_the_level_and_deviation_of_the_voice():
    torch.manual_seed(0)
    layer, z, voice = AdaIN(4, 6), 3 * torch.randn(2, 4, 50) + 7, torch.randn(2, 6)
    level, deviation = (voice @ layer.style.weight.T + layer.style.bias).chunk(2, dim=1)
    out = layer(z, voice)
    torch.testing.assert_close(out.mean(2), level, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out.std(2, correction=0), deviation.abs(), atol=1e-3, rtol=1e-3)
    submitted = AdaIN(4, 6, normed=False)
    submitted.load_state_dict(layer.state_dict())
    torch.testing.assert_close(submitted(z, voice), z * deviation[..., None] + level[..., None])
    assert not torch.allclose(submitted(z, voice).mean(2), level, atol=1)


def test_mistake_17_both_layers_of_a_dense_block_are_used():
    block, x = DenseBlock(5, dropout=0.0), torch.randn(3, 5)
    torch.testing.assert_close(block(x), x + block.second(block.first(x).relu()).relu())
    block(x).sum().backward()
    assert min(block.first.weight.grad.abs().max(), block.second.weight.grad.abs().max()) > 0


def test_the_bank_reads_a_voice_off_any_length():
    bank = BankReference(13, 8, 6).eval()
    assert [layer.kernel_size[0] for layer in bank.bank] == list(range(1, 9))
    assert [bank(torch.randn(2, 13, n)).shape for n in (1, 7, 32)] == [(2, 6)] * 3


def test_variants_are_a_config_each():
    bank, told, submitted = (blank(f"in_wae_{name}", 4) for name in ("bank", "reference", "submitted"))
    assert isinstance(bank.reference, BankReference)
    assert len(bank.adain) == 6
    assert bank.decoder.speakers.weight.shape == (4, 32)
    assert told.decoder.speakers is None  # NewINAE: the voice that is read takes its place
    assert told.decoder.sizes["n_condition"] == 64 + 64
    assert [isinstance(layer.norm, nn.Identity) for layer in submitted.adain] == [True, True]


# -- bottlenecks (WA-07, WA-08) ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preset", "codebook", "commitment"), [("svq_wae", 1.0, 0.25), ("svq_wae_swapped", 0.25, 1.0)])
def test_mistake_5_codebook_counts_1_and_commitment_a_quarter_unless_asked(preset, codebook, commitment):
    """The source's sliced quantizer has the two weights the wrong way round."""
    torch.manual_seed(0)
    config = replace(presets.get(SYSTEM, preset).model, code_dim=6, slices=(2, 4), codebook_size=5)
    quantizer, z_e = make_quantizer(config), torch.randn(3, 6, 20, requires_grad=True)
    model = nn.Module()
    model.config, model.quantizer = config, quantizer
    quantized = quantizer(z_e)
    vq = objectives.quantization(quantized, model)["vq"]
    books = [q.codebook for q in quantizer.slices]
    got = torch.autograd.grad(vq, [z_e, *books], retain_graph=True)
    plain = torch.autograd.grad(quantized.losses["commitment"] + quantized.losses["codebook"], [z_e, *books])
    torch.testing.assert_close(got[0], commitment * plain[0])
    for moved, alone in zip(got[1:], plain[1:]):
        torch.testing.assert_close(moved, codebook * alone)
        assert alone.abs().max() > 0


def test_slices_have_sizes_of_their_own_and_do_not_hear_each_other():
    config = replace(SVQ, slice_sizes=(3, 11))
    quantizer = make_quantizer(config)
    assert [tuple(book.shape) for book in quantizer.codebooks] == [(3, 1), (11, 3)]
    z_e = torch.randn(2, 4, 50)
    other = torch.cat([z_e[:, :1], torch.randn(2, 3, 50)], dim=1)
    before, after = quantizer(z_e), quantizer(other)
    assert torch.equal(before.codes[:, 0], after.codes[:, 0])
    assert not torch.equal(before.codes[:, 1], after.codes[:, 1])
    with pytest.raises(SpeechlibError, match=r"slice_sizes \(3,\): a size of 1 or more for each of slices"):
        replace(SVQ, slice_sizes=(3,))


@pytest.mark.parametrize("slices", [(4,), (2, 2), (1, 1, 1, 1)])
def test_perplexities_of_slices_and_of_their_tuples(slices):
    quantizer = make_quantizer(replace(SVQ, slices=slices))
    codes = torch.randint(6, (3, len(slices), 40))
    rows = codes.transpose(1, 2).flatten(0, 1).tolist()

    def count(items):
        shares = np.array([items.count(item) / len(items) for item in set(items)])
        return np.exp(-(shares * np.log(shares)).sum())

    each = [count([row[g] for row in rows]) for g in range(len(slices))]
    assert quantizer.perplexities(codes).tolist() == pytest.approx(each)
    assert quantizer.perplexity(codes).item() == pytest.approx(np.mean(each))
    joint = quantizer.joint_perplexity(codes).item()
    assert joint == pytest.approx(count([tuple(row) for row in rows]))
    assert max(each) - 1e-3 <= joint <= np.prod(each) + 1e-3


def test_validation_tells_the_perplexity_of_each_slice():
    model, batch = build(SVQ), batch_of()
    terms = objectives.vqvae_wavenet(model, batch)
    assert terms["perplexity"] == (terms["perplexity_1"] + terms["perplexity_2"]) / 2
    assert terms["perplexity_joint"] >= max(terms["perplexity_1"], terms["perplexity_2"]) - 1e-4
    assert "perplexity_1" not in objectives.vqvae_wavenet(model.train(), batch)


def test_codes_of_slices_are_one_number_and_come_apart_again():
    experiment = presets.get(SYSTEM, "smoke_svq", changes={"model.slice_sizes": [3, 5, 2, 64]})
    codes = np.stack([np.random.default_rng(k).integers(0, n, 30) for k, n in enumerate((3, 5, 2, 64))])
    one = joined(experiment, codes)
    assert np.array_equal(one, codes[0] + 3 * codes[1] + 15 * codes[2] + 30 * codes[3])
    assert np.array_equal(apart(experiment, one), codes)
    assert systems.n_codes(experiment) == 3 * 5 * 2 * 64


def test_mistake_6_ema_runs_on_a_cpu_and_codes_that_nobody_chose_stay():
    """In the source the sums start at zero: the first step turns every unused code into the zero vector."""
    torch.manual_seed(0)
    quantizer = make_quantizer(replace(SVQ, quantizer="ema", ema_decay=0.99)).train()
    before = [book.clone() for book in quantizer.codebooks]
    codes = quantizer(3 + 0.01 * torch.randn(2, 4, 10)).codes
    for g, (old, new) in enumerate(zip(before, quantizer.codebooks)):
        used = torch.bincount(codes[:, g].flatten(), minlength=6) > 0
        assert 0 < used.sum() < 6
        torch.testing.assert_close(new[~used], old[~used], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(new[used], old[used], atol=1e-3)


def test_mistake_13_what_the_config_says_reaches_the_quantizer():
    ema = blank("svq_wae_ema", 2).quantizer
    assert [type(q).__name__ for q in ema.slices] == ["EMAQuantizer"] * 2
    assert [tuple(book.shape) for book in ema.codebooks] == [(256, 64), (128, 64)]
    assert {q.decay for q in ema.slices} == {0.99}
    changes = {"model.codebook_size": 77, "model.slice_sizes": [], "model.ema_decay": 0.9}
    other = systems.blank(presets.get(SYSTEM, "svq_wae_ema", changes=changes | {"model.channels": 8})).quantizer
    assert [len(book) for book in other.codebooks] == [77, 77]
    assert {q.decay for q in other.slices} == {0.9}


def test_the_temperature_falls_with_training_passes_and_rests_otherwise():
    """In the source a decay is computed and nothing reads it."""
    quantizer = GumbelQuantizer(5, 4, temperatures=(2.0, 0.5), cooling=10)
    z_e, found = torch.randn(1, 4, 3), []
    for _ in range(12):
        found.append(quantizer.temperature.item())
        quantizer.train()(z_e)
        quantizer.eval()(z_e)
    assert found == pytest.approx([2 * 0.25 ** min(n / 10, 1) for n in range(12)])


def test_gumbel_draws_codes_as_often_as_they_are_likely_and_settles():
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(3, 2, temperatures=(0.01, 0.01)).train()
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.5]]))
    z_e = torch.tensor([0.4, 0.3])[None, :, None].expand(1, 2, 20_000)
    distances = (torch.tensor([0.4, 0.3]) - quantizer.codebook).square().sum(1)
    with torch.no_grad():
        drawn = quantizer(z_e).z_q[0].T  # cold: nearly one of the three
        chosen = torch.cdist(drawn, quantizer.codebook).argmin(1)
        quantized = quantizer.eval()(z_e)
    torch.testing.assert_close(torch.bincount(chosen) / 20_000, (-distances).softmax(0), atol=0.015, rtol=0)
    q = (-distances).softmax(0)
    assert quantized.losses["kl"].item() == pytest.approx(math.log(3) + (q * q.log()).sum().item(), abs=1e-5)
    assert torch.equal(quantized.z_q, quantizer.embed(quantized.codes))
    assert (quantized.codes == distances.argmin()).all()


def test_hot_gumbel_moves_every_code():
    quantizer = make_quantizer(replace(SVQ, quantizer="gumbel")).train()
    quantizer(torch.randn(2, 4, 5)).z_q.square().sum().backward()
    assert all((q.codebook.grad.abs().sum(1) > 0).all() for q in quantizer.slices)


def test_a_gaussian_bottleneck_has_its_kl_and_gives_the_mean_in_evaluation():
    z_e = torch.randn(2, 6, 9)
    mean, log_var = z_e.chunk(2, dim=1)
    bottleneck = GaussianBottleneck().eval()
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (log_var / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    assert bottleneck(z_e).losses["kl"].item() == pytest.approx(expected.sum(1).mean().item(), rel=1e-5)
    assert torch.equal(bottleneck(z_e).z_q, mean)
    wide = torch.cat([mean, torch.full_like(mean, 200.0)], dim=1)  # whose deviation is more than a float32 holds
    assert torch.equal(bottleneck(wide).z_q, mean)
    torch.manual_seed(0)
    many = bottleneck.train()(z_e[:1, :, :1].expand(20_000, -1, -1)).z_q
    torch.testing.assert_close(many.mean(0), mean[0, :, :1], atol=0.05, rtol=0.05)
    torch.testing.assert_close(many.std(0), (log_var[0, :, :1] / 2).exp(), atol=0.05, rtol=0.05)
    with pytest.raises(SpeechlibError, match="has no codes, nor has a VAE"):
        bottleneck.embed(torch.zeros(1, 1, dtype=torch.long))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quantizer": "gumbel", "codebook_init": "kmeans"}, "neither a k-means start nor source_layout"),
        ({"quantizer": "gaussian", "slices": (2, 62)}, "'gaussian' knows neither slices"),
        ({"temperatures": (0.1, 1.0)}, "must fall, or stay, and end above 0"),
        ({"codebook_cost": -1.0}, "codebook_cost must not be negative"),
        ({"cooling": 0}, "cooling must be at least 1"),
    ],
)
def test_bottlenecks_that_cannot_be(changes, words):
    with pytest.raises(SpeechlibError, match=words):
        QuantizerConfig(**changes)


# -- what the decoder is told (WA-09) ----------------------------------------------------------------------------------


def test_mistake_18_a_jittered_code_is_one_of_its_three_neighbours():
    """In place, replacements would run on along the sequence."""
    model = build(replace(PLAIN, jitter=0.6)).train()
    z = torch.arange(40.0).expand(3, 4, 40).clone()
    told = model.told(z)
    step = told[:, 0] - torch.arange(40.0)
    assert set(step.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert torch.equal(told[:, 0], told[:, 3])  # whole tokens
    assert torch.equal(model.eval().told(z), z)


@pytest.mark.parametrize(("axis", "whole"), [("time", 1), ("feature", 2)])
def test_dropout_takes_whole_tokens_or_whole_channels(axis, whole):
    torch.manual_seed(0)
    model, z = build(replace(PLAIN, code_dim=60, token_dropout=0.25, dropout_axis=axis)).train(), torch.ones(9, 60, 80)
    told = model.told(z)
    gone = (told == 0).all(whole)
    assert torch.equal(gone, (told == 0).any(whole))
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.06)
    assert told.max().item() == pytest.approx(1 / 0.75)
    assert torch.equal(model.eval().told(z), z)


def test_a_voice_is_read_off_a_reference_or_known_by_the_speakers_number():
    torch.manual_seed(0)
    model, batch = build(IN).train(), batch_of(3)
    assert (model.known_voices == 0).all()
    model(batch.audio, batch.inputs, torch.tensor([0, 0, 2]))
    model.eval()
    read = model.voice_of(batch.inputs).detach()
    torch.testing.assert_close(model.known_voices, torch.stack([read[:2].mean(0), 0 * read[0], read[2]]))
    codes = model.codes(batch.inputs).detach()
    by_number, by_voice = (model.told(codes[:1], *who) for who in ((torch.tensor([2]),), (None, read[2:])))
    torch.testing.assert_close(by_number, by_voice)
    nobody = model.told(codes[:1], torch.tensor([-1]))
    torch.testing.assert_close(nobody, model.told(codes[:1], voice=torch.zeros(1, 6)))
    assert not torch.allclose(by_number, nobody)
    before = model.known_voices.clone()
    model(batch.audio, batch.inputs, batch.speaker)
    assert torch.equal(model.known_voices, before)  # in evaluation nothing moves
    model.train()(batch.audio[:1], batch.inputs[:1], torch.tensor([2]))
    torch.testing.assert_close(model.known_voices[2], torch.lerp(before[2], read[0], 0.02))
    with pytest.raises(SpeechlibError, match="reads no voice off a reference"):
        build(PLAIN).voice_of(batch.inputs)


def test_told_by_reference_the_voice_stands_beside_every_code():
    config = replace(IN, voice_by="reference", decoder=replace(DECODER, speaker_dim=0))
    model = build(config)
    condition, told = model.condition(torch.randn(2, 4, 5), voice=torch.arange(12.0).view(2, 6))
    assert condition.shape == (2, 4 + 6, 5)
    assert told is None
    assert torch.equal(condition[:, 4:], torch.arange(12.0).view(2, 6, 1).expand(-1, -1, 5))


@pytest.mark.parametrize("config", [PLAIN, IN, SVQ, DRAWN])
def test_points_are_what_the_model_does(config):
    model, batch = build(config), batch_of()
    found = model.represent(batch.inputs, batch.speaker)
    assert tuple(found) == POINTS
    output = model(batch.audio, batch.inputs, batch.speaker)
    torch.testing.assert_close(found["projection"], output.z_e)
    torch.testing.assert_close(found["bottleneck"], output.quantized.z_q)
    torch.testing.assert_close(model.encoder.project(found["encoder"]), output.z_e)
    if config is not DRAWN:
        inner = model.decoder.predict(output.target, found["condition"], batch.speaker)
        torch.testing.assert_close(inner, output.parameters)
    codes = model.codes(batch.inputs)
    assert torch.equal(codes, found["bottleneck"] if config is not SVQ else output.quantized.codes)


def test_what_does_not_fit_together_is_told():
    with pytest.raises(UnknownName, match="reference 'simpel'"):
        replace(IN, reference="simpel")
    with pytest.raises(SpeechlibError, match="a voice is read where something uses it"):
        replace(PLAIN, reference="simple")
    with pytest.raises(SpeechlibError, match="a voice is read where something uses it"):
        replace(PLAIN, adain_layers=2)
    with pytest.raises(SpeechlibError, match="decoder.speaker_dim 3 must be 0"):
        replace(IN, voice_by="reference")
    with pytest.raises(SpeechlibError, match="stride 3: a code stands for 4 or 2 frames"):
        replace(PLAIN, stride=3)
    with pytest.raises(SpeechlibError, match="token_dropout is 1"):
        replace(PLAIN, token_dropout=1.0)
    with pytest.raises(SpeechlibError, match="decoder.speaker_dim is the WaveNet's"):
        replace(PLAIN, speaker_dim=4)
    with pytest.raises(SpeechlibError, match=r"features of shape \(1, 39, 8\), the encoder takes \(B, 13, T\)"):
        build().encode(torch.randn(1, 39, 8))
    with pytest.raises(SpeechlibError, match="41 samples are no whole codes"):
        build()(torch.zeros(1, 41), torch.randn(1, 13, 10), torch.tensor([0]))
    experiment = presets.get(SYSTEM, "in_wae", changes={"training.n_frames": 33})
    with pytest.raises(SpeechlibError, match="33 x 160 = 5280 samples are no whole codes: a multiple of 640"):
        systems.blank(experiment)
    experiment = presets.get(SYSTEM, "in_wae", changes={"model.stride": 2})
    with pytest.raises(SpeechlibError, match="a code of 2 frames x 160 samples, decoder.scales .* make it 640"):
        systems.blank(experiment)


# -- who learns from what ----------------------------------------------------------------------------------------------


def test_an_encoder_against_a_critic():
    """WA-08: loss = likelihood - weight * cross entropy; the critic moves nobody, and is moved by nobody."""
    config = replace(PLAIN, critic_channels=5, adversarial_weight=0.3)
    model, batch = build(config, AdversarialWaveNetAutoencoder), batch_of(3)
    coder, critic = objectives.adversarial_coder(model, batch), objectives.adversarial_critic(model, batch)
    plain = objectives.vqvae_wavenet(model, batch)["loss"]
    assert coder["loss"].item() == pytest.approx(plain.item() - 0.3 * critic["loss"].item(), rel=1e-5)
    assert 0 <= critic["named"] <= 1
    critic["loss"].backward()
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None} == {"critic"}
    experiment = presets.get("adversarial_autoencoder", "smoke", changes={"model.quantizer": "gradient"})
    players = lifecycle.system_of(experiment).players(experiment)
    owners = alternation._weights(systems.blank(experiment), players)
    assert all(owners.values())


def test_a_codebook_that_follows_does_not_follow_the_critics_turns():
    config = replace(SVQ, quantizer="ema", critic_channels=5)
    model = build(config, AdversarialWaveNetAutoencoder).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    objectives.adversarial_critic(model, batch_of(3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.quantizer.training


@pytest.mark.parametrize(("system", "preset"), ALL)
def test_every_preset_is_built_and_takes_a_step(system, preset):
    """Mistake 1. At reduced width; features, codes and crops are its own."""
    experiment = presets.get(system, preset)
    of = experiment.model
    narrow = {"n_layers": 4, "residual_channels": 4, "gate_channels": 4, "skip_channels": 4, "context_channels": 0}
    decoder = replace(of.decoder, **narrow, n_stacks=2, speaker_dim=2 if of.decoder.speaker_dim else 0)
    small = {"channels": 6, "reference_channels": 6, "codebook_size": 5, "codebook_init": "normal"}
    model = replace(of, **small, slice_sizes=tuple(3 + g for g in range(len(of.slice_sizes))), decoder=decoder)
    experiment = replace(experiment, model=model)
    torch.manual_seed(0)
    network = lifecycle.system_of(experiment).new(experiment, 3).train()
    if of.decoder.envelope:  # what only data tell it
        network.decoder.excitation = None
    hop, frames = experiment.pack.features[0].hop_length, experiment.training.n_frames
    features = torch.randn(2, 39, frames)
    bands = torch.randn(2, max(1, network.sizes["n_bands"]), frames)
    numbers, wave = torch.arange(2), 0.1 * torch.randn(2, frames * hop)
    batch = Batch(features, bands, numbers, numbers, 0 * numbers, wave, torch.full((2,), frames))
    optimizer = torch.optim.Adam(network.parameters(), experiment.training.learning_rate)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    players = getattr(lifecycle.system_of(experiment), "players", None)
    for objective in (
        [p.objective for p in players(experiment)] if players else [lifecycle.system_of(experiment).objective]
    ):
        optimizer.zero_grad()
        loss = objective(network, batch)["loss"]
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    after = dict(network.named_parameters())
    assert all(p.isfinite().all() for p in after.values())
    moved = {name.split(".")[0] for name, p in after.items() if not torch.equal(before[name], p)}
    assert moved >= {"encoder"} | ({"drawing"} if of.draw_channels else {"decoder"})


def test_sources_are_the_numbers_of_section_4():
    paper, svq, newest = (presets.get(SYSTEM, name) for name in ("in_wae", "svq_wae", "newest"))
    assert runs.identity(configs.to_dict(paper)) == runs.identity(configs.to_dict(presets.get(SYSTEM, "paper")))
    assert (paper.training.learning_rate, paper.training.learning_rates) == (4e-4, ((400_000, 2e-4),))
    assert (paper.training.batch_size, newest.training.batch_size, paper.training.ema_decay) == (10, 40, 0.9999)
    assert (paper.training.grad_clip, svq.training.grad_clip) == (0.0, 100.0)
    assert paper.training.n_frames * 160 == 5_120
    decoder, pack = paper.model.decoder, paper.pack
    assert (decoder.emphasis, decoder.emphasis_scale, decoder.speaker_dim) == (0.85, 0.55, 32)
    assert (pack.high_pass, pack.top_db, pack.peak_normalise, paper.split.by) == (70.0, 60.0, False, "stratified")
    assert (svq.model.code_dim, svq.model.slices, svq.model.codebook_size) == (128, (32,) * 4, 256)
    categorical = presets.get(SYSTEM, "categorical").model
    assert (categorical.codebook_size, categorical.code_dim, categorical.temperatures) == (128, 128, (1.0, 0.1))
    assert presets.get(SYSTEM, "in_wae_50hz").model.decoder.speaker_dim == 64
    adversarial = presets.get("adversarial_autoencoder", "paper").model
    assert (adversarial.adversarial_weight, adversarial.adain_layers, adversarial.adain_relu) == (0.01, 4, True)


def test_mistake_16_a_key_that_nothing_reads_is_an_error():
    with pytest.raises(UnknownName, match="dev_batch_size"):
        configs.override(presets.get(SYSTEM, "in_wae"), {"training.dev_batch_size": 8})
    with pytest.raises(UnknownName, match="frame_rate"):
        configs.from_dict(WaveNetAutoencoderConfig, {"frame_rate": 25})


# -- from corpus to speech ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(voices, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path


def tiny(preset="smoke", system=SYSTEM, **changes):
    steps = {"training.steps": 4, "training.checkpoint_every": 2, "training.batch_size": 2, "training.n_frames": 16}
    steps |= {"training.validate_every": 4, "training.precision": "fp32", "training.ema_decay": 0.9}
    narrow = {"n_layers": 2, "residual_channels": 4, "gate_channels": 4, "skip_channels": 4, "context_channels": 0}
    scratch = {"training.start_from": "", "training.frozen": []}
    decoder = {f"model.decoder.{name}": value for name, value in narrow.items()}
    return presets.get(system, preset, "folder", changes=steps | scratch | decoder | changes)


@pytest.fixture(scope="module")
def trained(voices, tmp_path_factory):
    """preset -> untrained, with data of two voices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        found, data = {}, None
        for preset in ("smoke", "smoke_plain", "smoke_svq"):
            experiment = tiny(preset)
            data = data or systems.prepare(experiment)
            model = systems.build(experiment, data).eval()
            if model.reference is not None:
                nn.init.normal_(model.known_voices)
            found[preset] = systems.Trained(model, experiment, data, None)
        return found


@pytest.mark.parametrize(("preset", "system"), [("smoke", SYSTEM), ("smoke", "adversarial_autoencoder")])
def test_mistakes_10_and_15_killed_and_resumed_or_run_again_it_is_the_same_to_the_bit(
    folder, monkeypatch, preset, system
):
    """The averaged weights and the voices that are known are part of what is kept; a seed is all that chance has."""
    experiment = tiny(preset, system)
    whole = systems.train(experiment)

    def die(done, total, text):
        if total == 4 and done == 3:
            raise RuntimeError("killed")

    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(folder / "again"))
    with pytest.raises(RuntimeError, match="killed"):
        systems.train(experiment, die)
    resumed = systems.train(experiment)
    assert resumed.path != whole.path
    for file in ("checkpoint.safetensors", "training.safetensors"):
        kept, again = (runs.load_tensors(run.path / file)[0] for run in (whole, resumed))
        assert kept.keys() == again.keys()
        assert all(torch.equal(tensor, again[name]) for name, tensor in kept.items())
    names = kept.keys()
    assert any(name.startswith("average.") for name in names)
    assert ("average.known_voices" in names) == (system == SYSTEM)
    term = "loss" if system == SYSTEM else "coder_loss"
    assert whole.metrics()[term].tolist() == resumed.metrics()[term].tolist()
    assert {"phone_read", "speaker_read"} <= whole.summary.keys()
    assert systems.load(resumed).experiment == experiment


@pytest.mark.parametrize("preset", ["smoke_svq", "smoke_vae", "smoke_vq"])
def test_every_bottleneck_is_trained_and_scored(folder, preset):
    run = systems.train(tiny(preset, **{"training.record_every": 2}))
    assert np.isfinite(run.metrics("validation")["loss"]).all()
    assert ("nmi" in run.summary) == (preset != "smoke_vae")
    assert ("kl" in run.summary) == (preset == "smoke_vae")
    if preset == "smoke_svq":
        assert {"perplexity_1", "perplexity_4", "perplexity_joint", "codes_used"} <= run.summary.keys()


def test_rows_of_an_entry_are_what_the_decoder_is_told(trained):
    """A VAE's encoder gives a deviation beside each mean, which is no part of a code's vector; codes it has none."""
    codec = trained["smoke"]
    experiment = tiny("smoke_vae")
    vae = systems.Trained(systems.build(experiment, codec.data).eval(), experiment, codec.data, None)
    x, size = codec.data.pack.features(0, experiment.inputs), experiment.model.code_dim
    told, given = (entrant.encoder(vae, point)(x) for point in ("z_q", "z_e"))
    assert (told.shape[1], given.shape[1]) == (size, 2 * size)
    np.testing.assert_array_equal(told, given[:, :size])
    assert abx.stages(vae)["z_e"].rows[codec.data.pack.utterances[codec.data.split["val"][0]]].shape[1] == size
    with pytest.raises(SpeechlibError, match="has no codes: its rows are z_q or z_e"):
        entrant.encoder(vae, "codes")


def test_what_is_said_does_not_depend_on_what_is_said_beside_it(trained, monkeypatch):
    """AdaIN takes the level of all codes of a sequence: codes that only fill it up must not be among them."""
    heard = []
    module = systems.SYSTEMS[SYSTEM]
    monkeypatch.setattr(
        module, "speak", lambda _, codes, *rest, **more: heard.append(codes) or torch.zeros(len(codes), 2)
    )
    short, long = (np.random.default_rng(0).normal(size=(16, n)).astype(np.float32) for n in (3, 7))
    assert [len(wave) for wave in systems.speak(trained["smoke"], [long, short, long], [0, 1, 1])] == [2, 2, 2]
    assert [tuple(codes.shape) for codes in heard] == [(1, 16, 3), (2, 16, 7)]
    heard.clear()
    systems.speak(trained["smoke_plain"], [long, short], [0, 1])  # nothing there takes a mean: one call for all
    assert [tuple(codes.shape) for codes in heard] == [(2, 16, 7)]


def test_mistake_4_short_utterances_go_with_their_speakers(trained):
    """In the source paths are filtered and the list of speakers is not."""
    experiment, data = trained["smoke"].experiment, trained["smoke"].data
    pack = data.pack
    middle = int(np.median(pack.n_frames[data.split["train"]])) // 4 * 4
    experiment = configs.override(experiment, {"training.n_frames": middle, "training.batch_size": 8})
    crops = lifecycle.system_of(experiment).batches_of(experiment, data)
    assert 0 < len(crops.indices) < len(data.split["train"])
    batch = crops.batch(0)
    assert (batch.length == middle).all()
    assert batch.speaker.tolist() == [int(pack.speaker[i]) for i in batch.utterance]
    prefixes = {pack.utterances[i].split("_")[0].split("-")[0] for i in batch.utterance}
    assert prefixes <= {pack.utterances[i].split("_")[0].split("-")[0] for i in data.split["train"]}
    with pytest.raises(SpeechlibError, match="training.n_frames is 4000, the longest utterance of part 'train' has"):
        lifecycle.system_of(experiment).batches_of(configs.override(experiment, {"training.n_frames": 4000}), data)


def test_mistake_12_a_vector_for_each_speaker_of_the_corpus(trained):
    model, pack = trained["smoke"].model, trained["smoke"].data.pack
    assert len(model.speakers.weight) == len(model.known_voices) == len(pack.speakers) == 2
    assert systems.speaker_vectors(trained["smoke"]).shape == (2, 8)


@pytest.mark.parametrize("preset", ["smoke", "smoke_plain", "smoke_svq"])
def test_any_utterance_is_said_in_any_voice(trained, preset):
    codec = trained[preset]
    asked = [(1, 0), (1, 1), (2, -1)]
    said = systems.convert(codec, asked, 0.25)
    assert [len(one.wave) for one in said] == [2000] * 3
    assert not torch.equal(said[0].wave, said[1].wave)
    codes, times = systems.encode(codec, [1])
    n_codes = math.ceil(codec.data.pack.n_frames[1] / 2)
    assert codes[1].shape == ((n_codes,) if preset == "smoke_svq" else (16, n_codes))
    assert times[1][:2] == pytest.approx([0.005, 0.025])
    bands = systems.reconstruct(codec, 1)
    assert bands.shape == codec.data.pack.features(1, "log_mel").shape
    if preset != "smoke_svq":
        z = codec.model.represent(codec.data.pack.features(1, "mfcc")[None], torch.tensor([0]))["bottleneck"]
        assert np.array_equal(codes[1], z[0].detach().numpy())  # before AdaIN
        with pytest.raises(SpeechlibError, match="has no codes, and so no tokens"):
            systems.tokens(codec)
        with pytest.raises(SpeechlibError, match="has no codebook .* nothing reads its codes"):
            code_pack(codec)


def test_a_target_utterance_gives_its_voice(trained):
    codec = trained["smoke"]
    numbered, read, other = (
        systems.convert(codec, [(1, 0)], 0.25, **references)[0].wave
        for references in ({}, {"references": [5]}, {"references": [codec.data.pack.features(60, "mfcc")]})
    )
    assert not torch.equal(numbered, read)
    assert not torch.equal(read, other)
    with pytest.raises(SpeechlibError, match="1 references for 2 utterances"):
        systems.convert(codec, [(1, 0), (2, 0)], 0.25, references=[5])


def test_a_voice_of_an_entry_is_read_off_its_reference(trained):
    """WA-13. Names of the training keep their number beside it; of a stranger only the reference is known."""
    codec, plain = trained["smoke"], trained["smoke_plain"]
    pack = codec.data.pack
    x, reference = pack.features(1, "mfcc")[:, :26], pack.features(60, "mfcc")
    codes = codec.model.codes(x[None])[0].detach().numpy()
    said = entrant.voice(codec, {"adam": reference, "stranger": reference})
    for name, number in (("adam", pack.speakers.index("adam")), ("stranger", -1)):
        (expected,) = systems.speak(codec, [codes], [number], references=[reference])
        assert np.array_equal(said(x, name), expected.numpy())
    (by_number,) = systems.speak(codec, [codes], [pack.speakers.index("anika")])
    assert np.array_equal(said(x, "anika"), by_number.numpy())
    with pytest.raises(UnknownName, match="'nobody'.*There are: adam, anika, stranger"):
        said(x, "nobody")
    assert (systems.takes_references(codec), systems.takes_references(plain)) == (True, False)
    for call in (
        lambda: entrant.voice(plain, {"adam": reference}),
        lambda: systems.speak(plain, [codes], [0], references=[reference]),
    ):
        with pytest.raises(SpeechlibError, match="this wavenet_autoencoder reads no voice off a reference"):
            call()


def test_a_recording_of_anyone_is_said_by_the_speakers(trained, tmp_path):
    codec = trained["smoke"]
    name = codec.data.pack.utterances[1]
    (source,) = [cut.recording.sources[0].source for cut in codec.data.corpus.cuts if cut.id == name]
    said = systems.convert_file(codec, source, [1, -1], tmp_path, 0.25)
    assert list(said) == [codec.data.pack.speakers[1], "no_speaker"]
    kept = np.load(tmp_path / f"{name}_codes.npy")
    assert kept.shape == (16, 13)  # vectors of 26 frames
    assert {len(wave) for wave in said.values()} == {13 * 160}


def test_voices_may_be_told_by_adain_alone_or_not_at_all(trained):
    codec = trained["smoke"]
    for preset, has in (("smoke", True), ("smoke_plain", False)):
        experiment = configs.override(trained[preset].experiment, {"model.speaker_dim": 0})
        alone = systems.Trained(systems.build(experiment, codec.data).eval(), experiment, codec.data, None)
        assert systems.has_voices(alone) == has
        codes = systems.encode(alone, [1])[0][1][:, :5]
        assert systems.speak(alone, [codes], [1])[0].shape == (5 * 160,)
        if has:
            with pytest.raises(SpeechlibError, match=r"speakers \[9\] for a model of 2"):
                systems.speak(alone, [codes], [9])
        else:
            with pytest.raises(SpeechlibError, match="has one voice"):
                systems.convert(alone, [(1, 0)])


@pytest.mark.parametrize("preset", ["smoke", "smoke_svq"])
def test_the_decoder_is_asked_whether_it_listens(trained, preset):
    table = systems.condition_use(trained[preset], n_items=4)
    assert np.isfinite(table.to_numpy()).all()
    assert table.loc["codes of others", "error"] != table.loc["another speaker", "error"]


@pytest.mark.parametrize("system", [SYSTEM, "adversarial_autoencoder"])
def test_it_is_heard_while_it_learns(folder, system):
    """WA-11: behind the true past, and behind its own; and what is heard moves nothing."""
    experiment = tiny(system=system, **{"training.sample_every": 3})
    run = systems.train(experiment)
    samples = {path.stem: audio.read(path, 8_000)[0] for path in run.folder("samples").iterdir()}
    steps = [f"step-0000000{step}_{way}" for step in (1, 3, 4) for way in ("forced", "free")]
    assert sorted(samples) == ["recording", *steps]
    recording = samples.pop("recording")
    assert {len(wave) for wave in samples.values()} == {len(recording)}
    silent = systems.train(configs.override(experiment, {"training.sample_every": 0}))
    one, other = (runs.load_tensors(r.checkpoint)[0] for r in (run, silent))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    data = systems.prepare(experiment)
    where = data.pack.wave(data.split["val"][0])[: len(recording)]
    assert recording == pytest.approx(where.numpy(), abs=1e-4)


def test_forced_samples_are_the_likeliest_ones_behind_the_true_past(trained, tmp_path):
    """A model that is sure of silence in its excitation says what linear prediction expects of the true past."""
    codec = trained["smoke"]
    model, data = codec.model, codec.data
    run = runs.Run(tmp_path, {})
    with torch.no_grad():
        kept = {name: tensor.clone() for name, tensor in model.decoder.post_2.state_dict().items()}
        model.decoder.post_2.weight.zero_()
        model.decoder.post_2.bias.copy_(-((torch.arange(256) - 127.5).abs()))
    lifecycle.system_of(codec.experiment).listen(codec.experiment, data, run, model, 7)
    model.decoder.post_2.load_state_dict(kept)
    wave, said = (
        audio.read(tmp_path / "samples" / f"{n}.wav", 8_000)[0] for n in ("recording", "step-00000007_forced")
    )
    features = data.pack.features(data.split["val"][0], "mfcc")[None, :, : len(wave) // 80]
    speaker = torch.tensor([int(data.pack.speaker[data.split["val"][0]])])
    with torch.no_grad():
        condition, _ = model.condition(model.codes(features), speaker)
        filters = model.decoder.filters(condition, len(wave))
    padded = np.concatenate([np.zeros(24), wave])
    for t in range(2_000, 2_200):
        a = filters.coefficients[0, :, t // filters.length].numpy()
        expected = (a * padded[t : t + 24][::-1]).sum()
        if abs(wave[t] - expected) < filters.gain[0, t // filters.length]:  # the excitation is not clipped
            near = 0.01 * float(filters.gain[0, t // filters.length]) + 1e-3
            assert said[t] == pytest.approx(np.clip(expected, -1, 1), abs=near)


def test_what_cannot_be_heard_is_told(folder):
    with pytest.raises(SpeechlibError, match="training.sample_every is 2: a vqvae is not heard"):
        systems.train(presets.get("vqvae", "smoke", "folder", changes={"training.sample_every": 2}))


def test_a_checkpoint_is_the_model_again(tmp_path):
    for config, kind, name in ((IN, WaveNetAutoencoder, SYSTEM), (SVQ, AdversarialWaveNetAutoencoder, ALL[-1][0])):
        model = build(config, kind)
        runs.save_model(tmp_path / "model.safetensors", model, name)
        again = runs.load_model(tmp_path / "model.safetensors")
        assert type(again) is kind
        assert again.config == config
        x = torch.randn(1, 13, 11)
        assert torch.equal(again.codes(x), model.codes(x))


# -- probes (WA-21) and their tool -------------------------------------------------------------------------------------


def test_represented_codes_have_the_phone_and_the_speaker_of_their_time(trained):
    codec, pack = trained["smoke"], trained["smoke"].data.pack
    found = systems.represent(codec, [1, 57])
    n = [math.ceil(pack.n_frames[i] / 2) for i in (1, 57)]
    assert {name: x.shape for name, x in found.points.items()} == {
        "encoder": (sum(n), 32), "projection": (sum(n), 16), "bottleneck": (sum(n), 16), "condition": (sum(n), 16),
    }  # fmt: skip
    assert found.utterance.tolist() == [1] * n[0] + [57] * n[1]
    assert found.labels["speaker"].tolist() == [pack.speakers[pack.speaker[i]] for i in found.utterance]
    codes, times = systems.encode(codec, [57])
    assert np.array_equal(found.points["bottleneck"][n[0] :], codes[57].T)
    assert found.time[n[0] :].tolist() == times[57].tolist()
    for row in range(0, sum(n), 7):
        inside = [p.symbol for p in pack.phones(found.utterance[row]) if p.start <= found.time[row] < p.end]
        assert (inside == []) if found.labels["phone"][row] == "" else inside[0].startswith(found.labels["phone"][row])


def test_the_level_of_a_voice_does_not_reach_the_code_of_in(trained):
    """The issue's trend at its root, before any training: in the code of a plain encoder speakers have levels."""
    share = {}
    for preset in ("smoke", "smoke_plain"):
        found = systems.represent(trained[preset], range(0, 112, 4), ("bottleneck",))
        of = levels(found.points["bottleneck"], found.utterance, found.labels["speaker"])
        share[preset] = explained(of).max()
    assert share["smoke"] < 1e-6
    assert share["smoke_plain"] > 0.05


def test_the_table_has_a_row_for_each_model_and_point(trained):
    chosen = {"IN": trained["smoke"], "AE": trained["smoke_plain"]}
    table, commonest = systems.probe_table(chosen, "train", n_utterances=16, limit=500)
    assert [*table.index] == [(model, point) for model in chosen for point in POINTS]
    assert commonest.keys() == set(table)
    assert [*table.columns] == ["phone", "speaker"]  # nobody says who of the two is a woman
    assert table.to_numpy().min() >= 0
    assert table.loc[("AE", "encoder"), "speaker"] > 0.6  # two voices, unlike each other even at random weights
    same = table.loc[("AE", "projection")], table.loc[("AE", "bottleneck")]
    assert same[0].equals(same[1])  # nothing happens between them
    with pytest.raises(SpeechlibError, match="tells nothing of its points"):
        systems.represent(trained["smoke"]._replace(model=nn.Linear(1, 1)), [1])


def test_features_of_two_systems_side_by_side():
    a, b = {"u": np.ones((3, 2))}, {"u": 4 * np.ones((3, 1)) * [[1], [-1], [1]]}
    assert combine(a, b)["u"].tolist() == [[1, 1, 4], [1, 1, -4], [1, 1, 4]]
    assert np.concatenate(list(combine(b, scale=True).values())).std() == pytest.approx(1)
    with pytest.raises(SpeechlibError, match="the same ones of each"):
        combine(a, {"v": np.ones((3, 1))})
    with pytest.raises(SpeechlibError, match=r"\[3, 2\] vectors of u: systems are combined at one rate"):
        combine(a, {"u": np.ones((2, 1))})
