"""Each term of the objective from the model's own outputs, by hand."""

import pytest
import torch

from speechlib import objectives
from speechlib.batches import Batch
from speechlib.errors import SpeechlibError
from speechlib.models.quantizers import QUANTIZERS
from speechlib.models.vqvae import VQVAE, VQVAEConfig


def a_batch(length=(20, 20)):
    generator = torch.Generator().manual_seed(0)
    zeros = torch.zeros(2, dtype=torch.long)
    inputs, targets = torch.randn(2, 3, 20, generator=generator), torch.randn(2, 5, 20, generator=generator)
    return Batch(inputs, targets, zeros, zeros, zeros, None, torch.tensor(length))


def a_model(**changes):
    torch.manual_seed(0)
    model = VQVAE(VQVAEConfig(**{"channels": 8, "code_dim": 4, "codebook_size": 6} | changes), 3, 5, 1).eval()
    model.targets.fit(torch.full((5,), 2.0), torch.full((5,), 3.0))
    return model


def test_terms_of_the_gradient_quantizer():
    model, batch = a_model(commitment_cost=0.4), a_batch()
    terms, output = objectives.vqvae(model, batch), model(batch.inputs)
    assert list(terms)[0] == "loss"
    gap = (model.encode(batch.inputs) - output.quantized.z_q).square().mean()
    error = (output.prediction - (batch.targets - 2) / 3).square().mean()
    expected = {
        "reconstruction": error,
        "commitment": gap,
        "commitment_weighted": 0.4 * gap,
        "codebook": gap,
        "vq": 1.4 * gap,
        "loss": error + 1.4 * gap,
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-5), name
    assert 1 <= terms["perplexity"] <= 6


def test_an_ema_codebook_adds_commitment_only():
    model, batch = a_model(quantizer="ema"), a_batch()
    terms = objectives.vqvae(model, batch)
    assert "codebook" not in terms
    assert terms["vq"].item() == pytest.approx(0.25 * terms["commitment"].item())
    assert terms["loss"].item() == pytest.approx((terms["reconstruction"] + terms["vq"]).item())


def test_padding_does_not_count_in_the_reconstruction():
    model, batch = a_model(), a_batch(length=(20, 7))
    terms, output = objectives.vqvae(model, batch), model(batch.inputs)
    error = (output.prediction - (batch.targets - 2) / 3).square()
    expected = (error[0].sum() + error[1, :, :7].sum()) / (5 * 27)
    assert terms["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-5)
    worse = batch._replace(
        targets=torch.cat([batch.targets[:, :, :7], batch.targets[:, :, 7:] + 99], 2), length=torch.tensor([7, 7])
    )
    same = batch._replace(length=torch.tensor([7, 7]))
    assert objectives.vqvae(model, worse)["reconstruction"] == objectives.vqvae(model, same)["reconstruction"]


def test_gradient_reaches_encoder_codebook_and_decoder():
    model = a_model(speaker_dim=2).train()
    objectives.vqvae(model, a_batch())["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.encoder.conv_1.weight.grad.norm() > 0
    assert model.quantizer.codebook.grad.norm() > 0


def test_gradient_of_the_whole_loss_is_that_of_its_formula():
    """The encoder's gradient: the decoder's at z_q, passed straight through, plus commitment's."""
    model, batch = a_model(), a_batch()
    z_e = model.encode(batch.inputs).detach().requires_grad_()
    quantized = model.quantize(z_e)
    terms = objectives.vqvae(model, batch)
    error = (model._predict(quantized.z_q, None, 20) - model.targets(batch.targets)).square().mean()
    (straight,) = torch.autograd.grad(error + 0.25 * quantized.losses["commitment"], z_e)
    z_q = quantized.z_q.detach().requires_grad_()
    (at_z_q,) = torch.autograd.grad((model._predict(z_q, None, 20) - model.targets(batch.targets)).square().mean(), z_q)
    torch.testing.assert_close(straight, at_z_q + 0.25 * 2 * (z_e - z_q) / z_e.numel())
    assert terms["reconstruction"].item() == pytest.approx(error.item(), rel=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_number_shows_in_the_loss(bad):
    """Training stops on it and names the term; the model does not hide it."""
    batch = a_batch()
    batch.inputs[1, 2, 5] = bad
    assert not objectives.vqvae(a_model(), batch)["loss"].isfinite()


def gradient_norms(term, *targets):
    found = torch.autograd.grad(term, targets, retain_graph=True, allow_unused=True)
    return [0.0 if gradient is None else gradient.norm().item() for gradient in found]


@pytest.mark.parametrize("kind", ["gradient", "joint"])
def test_the_codebook_learns_from_the_term_of_quantization_only(kind):
    """VW-08: what the decoder wants reaches the encoder straight through, and the codebook not at all."""
    model = a_model(quantizer=kind)
    terms = objectives.vqvae(model, a_batch())
    codebook, encoder = model.quantizer.codebook, model.encoder.conv_1.weight
    decoder_moves, vq_moves = (gradient_norms(terms[name], codebook, encoder) for name in ("reconstruction", "vq"))
    assert decoder_moves[0] == 0
    assert min(*vq_moves, decoder_moves[1]) > 0
    if kind == "gradient":  # each from a term of its own
        assert gradient_norms(terms["codebook"], encoder) == gradient_norms(terms["commitment"], codebook) == [0]
    assert list(terms)[-2] in ("codebook", "joint")


def test_a_softmax_adds_its_weighted_kl_and_learns_codes_from_the_decoder():
    """VW-21: the prior's term shapes the encoder only; codes learn from what they are used for."""
    model = a_model(quantizer="softmax", codebook_init="normal", kl_cost=0.3)
    terms = objectives.vqvae(model, a_batch())
    assert terms["vq"].item() == pytest.approx(0.3 * terms["kl"].item())
    codebook, encoder = model.quantizer.codebook, model.encoder.conv_1.weight
    assert min(gradient_norms(terms["reconstruction"], codebook, encoder)) > 0
    assert gradient_norms(terms["kl"], codebook) == [0]


def test_a_plain_autoencoder_has_one_term_and_no_perplexity():
    """VW-09, use_vq = false."""
    model = a_model(quantizer="none")
    terms = objectives.vqvae(model, a_batch())
    assert terms.keys() == {"loss", "reconstruction"}
    assert terms["loss"] == terms["reconstruction"]
    with pytest.raises(SpeechlibError, match="has no codes"):
        model.codes(a_batch().inputs)


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_every_quantizer_lowers_its_loss(kind):
    model, batch = a_model(quantizer=kind, codebook_init="normal").train(), a_batch()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = objectives.vqvae(model, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
