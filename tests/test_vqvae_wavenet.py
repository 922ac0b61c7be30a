"""VQ-VAE with a WaveNet decoder: sizes, what the decoder is told, who learns from what, the mistakes of the source."""

import math
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F

from speechlib import configs, objectives, presets, runs, systems
from speechlib.batches import Batch
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.generation.eager_wavenet import EagerWaveNet
from speechlib.generation.numba_wavenet import NumbaWaveNet
from speechlib.generation.wavenet import generate
from speechlib.models.vqvae_wavenet import SOURCE_DECODER, VQWaveNet, VQWaveNetConfig
from speechlib.models.wavenet import WaveNet, WaveNetConfig
from speechlib.systems import lifecycle

DECODER = WaveNetConfig(
    n_layers=4, n_stacks=2, residual_channels=6, gate_channels=8, skip_channels=5, quantization_channels=16,
    scales=(8,), speaker_dim=3,
)  # fmt: skip
WAVE = VQWaveNetConfig(channels=5, strides=(2, 4), code_dim=4, codebook_size=6, decoder=DECODER)
MFCC = replace(WAVE, encoder="mfcc", strides=(2,), quantizer="ema", codebook_init="normal")
DRAWN = replace(MFCC, draw_channels=7, speaker_dim=3, decoder=replace(DECODER, scales=(4,), speaker_dim=0))
PAPERS = [name for name in presets.names()["vqvae_wavenet"] if name.startswith("paper")]


def build(config: VQWaveNetConfig, n_speakers=3, seed=0) -> VQWaveNet:
    torch.manual_seed(seed)
    n_features, n_bands = 0 if config.reads_wave else 13, 9 if config.draw_channels else 0
    model = VQWaveNet(config, n_features, n_speakers, n_bands).eval()
    for table in (model.voices, model.decoder.speakers):
        if table is not None:
            torch.nn.init.normal_(table.weight)
    return model


def batch_of(model: VQWaveNet, n=2, n_codes=5, seed=0) -> Batch:
    """Frames of 4 samples, two to a code."""
    random = torch.Generator().manual_seed(seed)
    frames, samples = 2 * n_codes, 8 * n_codes
    features = torch.randn(n, model.sizes["n_features"] or 13, frames, generator=random)
    bands = torch.randn(n, model.sizes["n_bands"] or 9, frames, generator=random)
    wave = (torch.randn(n, samples, generator=random) * 0.3).clamp(-1, 1)
    numbers = torch.arange(n)
    return Batch(features, bands, numbers % 3, numbers, 0 * numbers, wave, torch.full((n,), frames))


def source_of_codes(model: VQWaveNet, batch: Batch) -> torch.Tensor:
    return batch.audio if model.config.reads_wave else batch.inputs


# -- published sizes (VW-05, VW-11) ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scalar_input", "parameters"), [(True, 20_298_752), (False, 22_387_712)])
def test_the_sources_decoder_has_its_published_size(scalar_input, parameters):
    config = replace(VQWaveNetConfig(), decoder=replace(SOURCE_DECODER, scalar_input=scalar_input))
    with torch.device("meta"):
        decoder = VQWaveNet(config, n_speakers=109).decoder
    table = decoder.speakers.weight.numel()
    assert table == 109 * 64 == 6_976
    assert sum(p.numel() for p in decoder.parameters()) - table == parameters


def test_the_sources_model_sees_6170_samples_and_has_35_million_parameters():
    assert SOURCE_DECODER.receptive_field == 6_170
    assert SOURCE_DECODER.dilations == tuple(2**k for k in range(10)) * 3
    with torch.device("meta"):
        model = VQWaveNet(VQWaveNetConfig(), n_speakers=109)
    assert sum(p.numel() for p in model.parameters()) == 20_298_752 + 14_812_608 + 512 * 64 + 109 * 64 == 35_151_104


@pytest.mark.parametrize("preset", PAPERS)
def test_every_recipe_of_the_papers_is_built_and_its_crops_are_whole_codes(preset):
    experiment = presets.get("vqvae_wavenet", preset)
    with torch.device("meta"):
        model = systems.blank(experiment)
    hop = experiment.pack.features[0].hop_length
    assert experiment.training.n_frames * hop % model.hop == 0
    assert experiment.training.n_frames * hop > SOURCE_DECODER.receptive_field
    rate = experiment.pack.sample_rate / model.hop
    assert rate == {"paper_mfcc": 50, "paper_phones": 25, "paper_accent": 375}.get(preset, 250)


def test_recipes_hold_the_numbers_of_their_sources():
    paper, phones, accent = (presets.get("vqvae_wavenet", name) for name in ("paper", "paper_phones", "paper_accent"))
    assert (paper.model.codebook_size, paper.model.code_dim, paper.model.commitment_cost) == (512, 64, 0.25)
    assert (paper.training.batch_size, paper.training.learning_rate, paper.training.ema_decay) == (8, 8e-5, 0.999)
    assert paper.training.learning_rates[-1] == (400_000, 8e-6)
    assert presets.get("vqvae_wavenet", "paper_2017").model.kernel_size == 4
    assert (phones.model.codebook_size, phones.model.code_length) == (128, 640)  # VW-20: 25 Hz
    decoder = accent.model.decoder
    assert (accent.pack.sample_rate, decoder.output, decoder.min_log_scale) == (24_000, "gaussian", -8.0)  # VW-22
    assert accent.model.voices == "accent"


# -- shapes and lengths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["strided", "gated", "gated_strided"])
def test_a_wave_becomes_codes_and_parameters_of_each_of_its_samples(encoder):
    strides = (2, 2, 2) if encoder == "gated" else (2, 4)
    model = build(replace(WAVE, encoder=encoder, strides=strides, dilations=(1, 2, 4)))
    output = model(torch.rand(2, 40), speaker=torch.tensor([0, 2]))
    assert output.z_e.shape == output.quantized.z_q.shape == (2, 4, 5)
    assert output.quantized.codes.shape == (2, 5)
    assert output.parameters.shape == (2, 16, 40)
    assert model.hop == 8


@pytest.mark.parametrize("config", [MFCC, DRAWN])
def test_features_become_codes_and_parameters_of_each_sample_of_their_wave(config):
    model = build(config)
    batch = batch_of(model)
    output = model(batch.audio, batch.inputs, batch.speaker)
    assert output.quantized.codes.shape == (2, 5)
    assert output.parameters.shape == (2, 16, 40)
    assert model.hop == 8
    assert (output.drawn is None) == (config is MFCC)
    if config is DRAWN:
        assert output.drawn.shape == batch.targets.shape == (2, 9, 10)  # a frame of the features each


@pytest.mark.parametrize(
    ("preset", "multiple", "near"), [("paper", 64, "6528 or 6592"), ("paper_mfcc", 320, "6400 or 6720")]
)
def test_mistake_1_a_crop_that_is_no_whole_codes_is_refused_before_training(preset, multiple, near):
    """6,656 samples, the source's default, are no whole codes of 320: its condition fails deep in the decoder."""
    experiment = presets.get("vqvae_wavenet", preset, changes={"training.n_frames": 41})
    with torch.device("meta"), pytest.raises(SpeechlibError, match=f"6560 samples .* multiple of {multiple} .* {near}"):
        lifecycle.system_of(experiment).new(experiment, 2)


@pytest.mark.parametrize("config", [WAVE, MFCC, DRAWN])
def test_mistake_1_a_wave_that_is_no_whole_codes_is_refused_by_the_model(config):
    model = build(config)
    with pytest.raises(SpeechlibError, match="41 samples .* multiple of 8 is needed, such as 40 or 48"):
        model(torch.rand(1, 41), torch.randn(1, 13, 10), torch.zeros(1, dtype=torch.long))


@pytest.mark.parametrize(("config", "unit"), [(WAVE, "samples"), (MFCC, "frames")])
def test_what_is_shorter_than_a_code_is_refused(config, unit):
    model, stride = build(config), config.stride
    x = torch.zeros(1, stride - 1) if config.reads_wave else torch.zeros(1, model.sizes["n_features"], stride - 1)
    with pytest.raises(SpeechlibError, match=f"{stride - 1} {unit} are too short: a code stands for {stride}"):
        model.codes(x)


@pytest.mark.parametrize("decoder", [DRAWN.decoder, replace(DRAWN.decoder, emphasis=0.85)])
def test_condition_and_wave_of_different_length_are_refused_with_both_numbers(decoder):
    """Also where the wave is whitened before the network sees the condition."""
    model = build(replace(DRAWN, decoder=decoder))
    with pytest.raises(SpeechlibError, match="wave of 16 samples, 2 frames x 4 samples = 8: condition and wave must"):
        model(torch.zeros(1, 16), torch.zeros(1, 13, 2), torch.tensor([0]))


def test_codes_of_any_length_are_those_of_the_whole_codes_in_it():
    for model, x in ((build(WAVE), torch.rand(1, 47)), (build(MFCC), torch.randn(1, 13, 11))):
        stride = model.config.stride
        assert model.codes(x).shape == (1, 5)
        assert torch.equal(model.codes(x), model.codes(x[..., : x.shape[-1] // stride * stride]))


@pytest.mark.parametrize(
    "config", [MFCC, replace(MFCC, strides=(4,), decoder=replace(DECODER, scales=(16,))), replace(WAVE, kernel_size=4)]
)
def test_code_positions_are_the_middle_of_what_each_code_sees(config):
    model = build(config)
    steps = 30 * model.config.stride
    x = torch.randn(1, steps) if config.reads_wave else torch.randn(1, 13, steps)
    x.requires_grad_()
    model.encode(x)[0, :, 15].square().sum().backward()
    seen = x.grad.abs().flatten(0, -2).sum(0).nonzero().flatten()
    assert (seen.min() + seen.max()) / 2 == model.code_positions(30)[15]


def test_what_does_not_fit_together_is_told():
    with pytest.raises(UnknownName, match="encoder 'strided_'"):
        replace(WAVE, encoder="strided_")
    with pytest.raises(SpeechlibError, match=r"strides \(2, 2\) make a code of 4 samples, decoder.scales \(8,\) 8"):
        replace(WAVE, strides=(2, 2))
    with pytest.raises(SpeechlibError, match="6 dilations need strides"):
        replace(WAVE, encoder="gated")
    with pytest.raises(SpeechlibError, match="condition_kernel 2 must be odd"):
        replace(WAVE, condition_kernel=2)
    with pytest.raises(SpeechlibError, match="13 features for the encoder 'strided'"):
        VQWaveNet(WAVE, 13, 3)
    with pytest.raises(SpeechlibError, match="a wave of shape"):
        build(WAVE).encode(torch.randn(1, 13, 16))
    with pytest.raises(SpeechlibError, match=r"the encoder takes \(B, 13, T\)"):
        build(MFCC).encode(torch.randn(1, 39, 16))


# -- what the decoder is told ------------------------------------------------------------------------------------------


def test_a_code_is_held_for_its_hop_and_changes_nothing_before_it():
    model = build(WAVE)
    wave, codes = torch.rand(1, 40), torch.tensor([[0, 1, 2, 3, 4]])
    other = torch.tensor([[0, 1, 5, 3, 4]])
    with torch.no_grad():
        before, after = (
            model.decoder(wave, *model.condition(c, torch.zeros(1, dtype=torch.long))) for c in (codes, other)
        )
    changed = (before != after).any(1)[0].nonzero().flatten()
    assert changed.min() == 2 * 8
    assert changed.max() == 3 * 8 - 1 + sum(DECODER.dilations[1:])  # it enters at the first layer's gate


def test_a_convolution_over_codes_hears_one_neighbour_to_each_side():
    model = build(replace(WAVE, condition_channels=4))
    codes = torch.zeros(1, 9, dtype=torch.long)
    other = codes.clone()
    other[0, 4] = 3
    with torch.no_grad():
        told = [model.condition(c, torch.zeros(1, dtype=torch.long))[0] for c in (codes, other)]
    assert told[0].shape == (1, 4, 9)
    assert (told[0] != told[1]).any(1)[0].nonzero().flatten().tolist() == [3, 4, 5]


def test_codes_and_their_vectors_are_one_condition_and_jitter_rests_in_evaluation():
    model = build(replace(WAVE, jitter=0.9))
    nobody = torch.tensor([-1])
    codes = torch.randint(6, (1, 50))
    z_q = model.quantizer.embed(codes)
    assert torch.equal(model.condition(codes, nobody)[0], model.condition(z_q, nobody)[0])
    assert torch.equal(model.condition(codes, nobody)[0], z_q)
    assert not torch.equal(model.train().condition(codes, nobody)[0], z_q)


@pytest.mark.parametrize("config", [WAVE, DRAWN])
def test_mistake_5_nobody_is_a_zero_vector_unlike_every_speaker(config):
    """In the source, no speaker is an empty one-hot, whose argmax is the first speaker."""
    model = build(config)
    codes, everyone = torch.randint(6, (1, 5)).expand(4, -1), torch.tensor([-1, 0, 1, 2])
    wave = torch.rand(1, 40).expand(4, -1)
    with torch.no_grad():
        condition, told = model.condition(codes, everyone)
        parameters = model.decoder(wave, condition, told)
    for speaker in (1, 2, 3):
        assert not torch.allclose(parameters[0], parameters[speaker])
    table = model.speakers.weight.detach().clone()
    with torch.no_grad():
        model.speakers.weight[0] = 0
        silent = model.decoder(wave[:1], *model.condition(codes[:1], torch.tensor([0])))
        model.speakers.weight.copy_(table)
    torch.testing.assert_close(parameters[:1], silent)
    with pytest.raises(SpeechlibError, match="for a model of 3"):
        model.decoder(wave[:1], *model.condition(codes[:1], torch.tensor([3])))


def test_a_model_without_speakers_takes_none():
    model = build(replace(WAVE, decoder=replace(DECODER, speaker_dim=0)), n_speakers=0)
    batch = batch_of(model)
    assert objectives.vqvae_wavenet(model, batch)["loss"].isfinite()
    assert model.speakers is None


def test_the_decoder_has_the_names_and_shapes_of_a_vocoder():
    """So that it can start from a vocoder's weights."""
    model = build(DRAWN)
    vocoder = WaveNet(DRAWN.decoder, n_condition=9)
    own = {n.removeprefix("decoder."): t.shape for n, t in model.state_dict().items() if n.startswith("decoder.")}
    assert own == {name: tensor.shape for name, tensor in vocoder.state_dict().items()}


# -- generation (VW-12, VS-14) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [EagerWaveNet, NumbaWaveNet])
@pytest.mark.parametrize("config", [replace(WAVE, condition_channels=4), DRAWN])
def test_stepping_through_codes_gives_the_parameters_of_teacher_forcing(path, config):
    """Mistake 8: the source steps through another computation than the one it trains."""
    model = build(config)
    batch = batch_of(model)
    with torch.no_grad():
        output = model(batch.audio, batch.inputs, batch.speaker)
        condition, told = model.condition(output.quantized.codes, batch.speaker)
    engine = path(model.decoder, condition, told, n_streams=2)
    stepped = torch.cat([engine.force(piece) for piece in batch.audio.split([1, 7, 32], dim=1)], dim=2)
    torch.testing.assert_close(stepped, output.parameters, rtol=0, atol=1e-4)


def test_generation_lasts_as_long_as_its_codes():
    model = build(WAVE)
    wave = generate(model.decoder, *model.condition(torch.randint(6, (2, 5)), torch.tensor([0, -1])), path="eager")
    assert wave.shape == (2, 5 * 8)


# -- who learns from what (VW-08) --------------------------------------------------------------------------------------


def test_straight_through_the_encoder_gets_the_gradient_of_the_decoders_condition():
    model = build(WAVE)
    batch = batch_of(model)
    z_e = model.encode(batch.audio).detach().requires_grad_()
    quantized = model.quantize(z_e)
    parameters = model.decoder(batch.audio, *model.condition(quantized.z_q, batch.speaker))
    model.decoder.distribution.nll(parameters, batch.audio).mean().backward()
    z_q = quantized.z_q.detach().requires_grad_()
    parameters = model.decoder(batch.audio, *model.condition(z_q, batch.speaker))
    model.decoder.distribution.nll(parameters, batch.audio).mean().backward()
    assert z_q.grad.abs().max() > 0
    torch.testing.assert_close(z_e.grad, z_q.grad)


@pytest.mark.parametrize(
    ("term", "learns"),
    [
        ("nll", {"encoder", "decoder"}),
        ("codebook", {"quantizer"}),
        ("commitment", {"encoder"}),
        ("loss", {"encoder", "decoder", "quantizer"}),
    ],
)
def test_each_term_teaches_its_own_part(term, learns):
    model = build(WAVE).train()
    objectives.vqvae_wavenet(model, batch_of(model))[term].backward()
    moved = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert moved == learns


@pytest.mark.parametrize("config", [WAVE, MFCC, DRAWN])
def test_mistake_6_every_term_of_the_loss_is_told_and_they_sum_to_it(config):
    model = build(config)
    batch = batch_of(model)
    terms = {name: value.item() for name, value in objectives.vqvae_wavenet(model, batch).items()}
    sum_of = terms["nll"] + 0.25 * terms["commitment"] + terms.get("codebook", 0) + terms.get("drawn", 0)
    assert terms["loss"] == pytest.approx(sum_of)
    assert terms["bits"] == pytest.approx(terms["nll"] / math.log(2))
    assert terms["vq"] == pytest.approx(0.25 * terms["commitment"] + terms.get("codebook", 0))
    codes = model(batch.audio, batch.inputs, batch.speaker).quantized.codes
    share = np.bincount(codes.flatten(), minlength=6) / codes.numel()
    assert terms["perplexity"] == pytest.approx(np.exp(-sum(p * np.log(p) for p in share if p)), rel=1e-5)


def test_the_likelihood_is_the_cross_entropy_of_mu_law_classes_and_padding_does_not_count():
    model = build(WAVE)
    batch = batch_of(model)._replace(length=torch.tensor([10, 6]))
    with torch.no_grad():
        logits = model(batch.audio, speaker=batch.speaker).parameters
        classes = ((batch.audio.sign() * torch.log1p(15 * batch.audio.abs()) / math.log(16) + 1) / 2 * 15 + 0.5).long()
        nll = F.cross_entropy(logits, classes, reduction="none")
        found = objectives.vqvae_wavenet(model, batch)["nll"]
        torch.testing.assert_close(model.nll(batch.audio, speaker=batch.speaker), nll)
    torch.testing.assert_close(found, torch.cat([nll[0], nll[1, :24]]).mean())


def test_a_frozen_decoder_is_spared_while_bands_are_drawn_for_it():
    model = build(DRAWN).train()
    model.decoder.requires_grad_(False)
    batch = batch_of(model)
    assert "nll" not in objectives.vqvae_wavenet(model, batch)
    assert "nll" in objectives.vqvae_wavenet(model.eval(), batch)  # validated all the same


def test_drawn_bands_are_compared_frame_by_frame_in_their_own_units():
    model = build(DRAWN)
    model.bands.fit(torch.arange(9.0), torch.full((9,), 2.0))
    batch = batch_of(model)._replace(length=torch.tensor([10, 4]))
    with torch.no_grad():
        drawn = model(batch.audio, batch.inputs, batch.speaker).drawn
        error = ((drawn - batch.targets) / 2).square().mean(1)
        found = objectives.vqvae_wavenet(model, batch)["drawn"]
    torch.testing.assert_close(found, torch.cat([error[0], error[1, :4]]).mean())


def test_a_batch_without_audio_is_refused():
    model = build(WAVE)
    with pytest.raises(SpeechlibError, match="this batch has none"):
        objectives.vqvae_wavenet(model, batch_of(model)._replace(audio=None))


@pytest.mark.parametrize("config", [WAVE, DRAWN])
def test_one_batch_is_learned(config):
    torch.manual_seed(0)
    model = build(replace(config, codebook_init="normal")).train()
    batch = batch_of(model)
    tone = 0.5 * torch.sin(torch.arange(40) * torch.tensor([[0.3], [0.9]]))
    batch = batch._replace(audio=tone)
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    losses = []
    for _ in range(80):
        terms = objectives.vqvae_wavenet(model, batch)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(float(terms["nll"].detach()))
    assert losses[0] > 2
    assert min(losses[-10:]) < 0.7


# -- from corpus to scores ---------------------------------------------------------------------------------------------


def test_a_checkpoint_is_the_model_again(tmp_path):
    model = build(DRAWN)
    runs.save_model(tmp_path / "model.safetensors", model, "vqvae_wavenet")
    again = runs.load_model(tmp_path / "model.safetensors")
    assert again.config == model.config
    x = torch.randn(1, 13, 12)
    assert torch.equal(again.codes(x), model.codes(x))
    assert configs.from_dict(VQWaveNetConfig, configs.to_dict(DRAWN)) == DRAWN


@pytest.mark.parametrize("inputs", ["wave", "mfcc"])
def test_an_untrained_model_is_scored_on_its_codes(voices, monkeypatch, inputs):
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    experiment = presets.get("vqvae_wavenet", "smoke", "folder")
    if inputs == "wave":
        encoder = {"encoder": "strided", "strides": (2, 4, 4, 5), "normed": False}
        experiment = replace(experiment, inputs="wave", model=replace(experiment.model, **encoder))
    data = systems.prepare(experiment)
    model = systems.build(experiment, data).eval()
    scores = lifecycle.system_of(experiment).scores(systems.Trained(model, experiment, data, None))
    assert scores["codes_used"] + scores["dead_codes"] == experiment.model.codebook_size
    assert 1 <= scores["perplexity"] <= scores["codes_used"]
    assert 0 < scores["majority_accuracy"] < 0.5
    assert {"nmi", "kmeans_nmi", "phone_accuracy"} <= scores.keys()
    table = systems.tokens(systems.Trained(model, experiment, data, None))
    first = table[table["step"] == 0]["time"]
    assert first.nunique() == 1
    step = model.hop / experiment.pack.sample_rate
    assert 0 < first.iloc[0] < step
    assert table["time"].diff()[1] == pytest.approx(step)


def test_accents_of_the_corpus_may_be_the_voices(workspace):
    """VW-22. Speakers of one accent share a vector; who has none is of the voice "unknown"."""
    home = workspace / "data" / "vctk"
    random = np.random.default_rng(0)
    for speaker in ("p225", "p226", "p248", "p280"):
        (home / "wav48" / speaker).mkdir(parents=True)
        for number in (1, 2):
            wave = random.normal(0, 0.1, 48_000)
            soundfile.write(home / "wav48" / speaker / f"{speaker}_00{number}.wav", wave, 48_000)
    rows = ["ID AGE GENDER ACCENTS REGION", "225 23 F English Southern", "226 22 M English Surrey", "248 23 F Indian"]
    (home / "speaker-info.txt").write_text("\n".join(rows))
    experiment = presets.get("vqvae_wavenet", "smoke", "vctk", changes={"model.voices": "accent"})
    pack = systems.prepare(experiment).pack
    assert pack.speakers == ["English", "Indian", "unknown"]
    assert pack.genders == [None, "F", None]
    assert [pack.speakers[s] for s in pack.speaker] == ["English"] * 4 + ["Indian"] * 2 + ["unknown"] * 2
    model = systems.build(experiment, systems.prepare(experiment))
    assert model.speakers.weight.shape[0] == 3
    by_speaker = configs.override(experiment, {"model.voices": "speaker"})
    assert systems.prepare(by_speaker).pack.speakers == ["p225", "p226", "p248", "p280"]
    with pytest.raises(SpeechlibError, match="no utterance of vctk has a field of that name"):
        systems.prepare(configs.override(experiment, {"model.voices": "dialect"}))
