"""What each system lowers: (model, batch) -> every term by name, "loss" among them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import SpeechlibError
from .models import shares
from .models.wae import mmd

if TYPE_CHECKING:
    from collections.abc import Callable

    from .batches import Batch
    from .models.quantizers import Quantized
    from .windows import WindowBatch


def vqvae(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Reconstruction of the standardised targets + what quantization adds (arXiv 1711.00937, eq. 3).

    Padding beyond an item's `length` does not count in the reconstruction.
    """
    output = model(batch.inputs, batch.speaker)
    reconstruction = _masked_mse(output.prediction, model.targets(batch.targets), batch)
    vq = quantization(output.quantized, model)
    return {"loss": reconstruction + vq.get("vq", 0), "reconstruction": reconstruction, **vq}


def quantization(quantized: Quantized, model: nn.Module) -> dict[str, Tensor]:
    """What quantization adds to a loss, "vq", with its terms, and the batch's "perplexity".

    vq = codebook + beta * commitment, or whichever of the terms the model's quantizer has: an EMA codebook has no loss
    of its own, a joint one has no other, a softmax and a Gaussian have their KL. A plain autoencoder adds nothing, and
    has no terms; nothing that has no codes has a perplexity. Of slices it is the mean over them; in evaluation each has
    its own beside it, "perplexity_1" ..., and their tuples "perplexity_joint".
    """
    config, terms = model.config, quantized.losses
    if not terms:
        return {}
    weights = {"commitment": config.commitment_cost, "kl": config.kl_cost}
    weighted = {f"{name}_weighted": weight * terms[name] for name, weight in weights.items() if name in terms}
    rest = (
        term * (config.codebook_cost if name == "codebook" else 1)
        for name, term in terms.items()
        if name not in weights
    )
    found = {"vq": sum(weighted.values()) + sum(rest), **weighted, **terms}
    if (codes := quantized.codes) is None:
        return found
    found["perplexity"] = model.quantizer.perplexity(codes)
    if codes.ndim == 3 and not model.training:  # of each slice and of tuples: to count these makes a GPU wait
        found |= {f"perplexity_{g}": value for g, value in enumerate(model.quantizer.perplexities(codes), 1)}
        found["perplexity_joint"] = model.quantizer.joint_perplexity(codes)
    return found


def wavenet(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """-log p of each sample given those before it, in nats, and the same in bits; padding does not count.

    The batch's inputs are the condition of a model that takes one. Raises SpeechlibError for a batch without audio.
    """
    if batch.audio is None:
        raise SpeechlibError("WaveNet learns from waves, this batch has none: Crops(..., audio=True)")
    condition = batch.inputs if model.sizes["n_condition"] else None
    speaker = batch.speaker if model.sizes["n_speakers"] else None
    nll = model.nll(dithered(batch.audio, model.config.dither), condition, speaker)
    loss = _mean_inside(nll, batch)
    return {"loss": loss, "bits": loss / math.log(2)}


def clarinet(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Divergence of student and teacher + 4 (difference of their log-deviations)^2 + distance of the spectrogram of
    what was drawn to that of the recording (arXiv 1807.07281), weighted by the model's config.

    The teacher tells how it would go on from the student's own sample. "kl" is in nats per sample, with deviations kept
    above model.config.min_log_scale; the regulariser sees them as they are. Where the wave is learned as its
    excitation, spectrograms are those of the excitation: every band counts alike. Padding does not count. A term of
    weight 0 is told, and moves nothing. Raises SpeechlibError for a batch without audio.
    """
    if batch.audio is None:
        raise SpeechlibError("ClariNet learns from waves, this batch has none: Crops(..., audio=True)")
    config = model.config
    speaker = batch.speaker if model.sizes["n_speakers"] else None
    with torch.no_grad():
        target = model.teacher.inner(dithered(batch.audio, config.teacher.dither), batch.inputs)
    drawn = model(shares.drawn(torch.randn, target.shape, device=target.device), batch.inputs, speaker)
    mean, log_scale = model.teacher.predict(drawn.sample, batch.inputs, speaker).float().unbind(1)
    student = drawn.mean, drawn.log_scale.clamp(min=config.min_log_scale)
    teacher = mean, log_scale.clamp(min=config.min_log_scale)
    ordered = (student, teacher) if config.kl == "qp" else (teacher, student)
    valid = inside(batch, target.shape[1])
    terms = {
        "kl": _mean_inside(gaussian_kl(*ordered[0], *ordered[1]), batch),
        "regulariser": _mean_inside((drawn.log_scale - log_scale).square(), batch),
        "stft": stft_distance(
            drawn.sample * valid, target * valid, config.stft_fft, config.stft_hop, config.stft_window
        ),
    }
    weights = {"kl": config.kl_weight, "regulariser": config.regulariser_weight, "stft": config.stft_weight}
    # the loss comes last: where it is not finite, the term that made it so is found and named before it
    return terms | {"loss": sum(weight * terms[name] for name, weight in weights.items() if weight)}


def gaussian_kl(mean: Tensor, log_scale: Tensor, other_mean: Tensor, other_log_scale: Tensor) -> Tensor:
    """KL(N(mean, exp(log_scale)) || N(other_mean, exp(other_log_scale))) in nats, elementwise."""
    ratio = 2 * (log_scale - other_log_scale)  # log of that of the variances
    distance = ((mean - other_mean) * (-other_log_scale).exp()).square()
    return 0.5 * (ratio.exp() - 1 - ratio + distance)


def stft_distance(wave: Tensor, target: Tensor, n_fft: int, hop: int, window: bool = True) -> Tensor:
    """Mean squared difference of the magnitudes of two waves (B, S): frames of n_fft samples under a Hann window, or
    under none. Raises SpeechlibError for waves shorter than half a frame, which cannot be mirrored at their ends."""
    if wave.shape[1] <= n_fft // 2:
        raise SpeechlibError(f"waves of {wave.shape[1]} samples are too short for stft_fft {n_fft}: longer crops")
    shape = torch.hann_window if window else torch.ones
    spectra = torch.stft(
        torch.cat([wave, target]).float(), n_fft, hop, window=shape(n_fft, device=wave.device), return_complex=True
    )
    # a magnitude of 0 has no slope
    ours, theirs = (spectra.real.square() + spectra.imag.square() + 1e-12).sqrt().chunk(2)
    return (ours - theirs).square().mean()


def flowavenet(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """-log density of the wave in nats per sample; padding does not count.

    loss = prior - log_det_actnorm - log_det_coupling (- log_det_envelope, which no training moves, where an excitation
    flows): "prior" is -log density of the latents, a log_det the logarithm of the volume that those steps make of one.
    The batch's inputs are the condition of a model that takes one. Raises SpeechlibError for a batch without audio.
    """
    if batch.audio is None:
        raise SpeechlibError("FloWaveNet learns from waves, this batch has none: Crops(..., audio=True)")
    condition = batch.inputs if model.sizes["n_condition"] else None
    speaker = batch.speaker if model.sizes["n_speakers"] else None
    found = model(dithered(batch.audio, model.config.dither), condition, speaker).log_prob  # {term: (B, cells)}
    means = {name: _mean_inside(cells, batch) / model.config.squeeze for name, cells in found.items()}
    terms = {"prior": -means.pop("prior")} | {f"log_det_{name}": value for name, value in means.items()}
    return {"loss": terms["prior"] - sum(means.values()), **terms}


def vqvae_wavenet(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """-log p of each sample given those before it and the codes, in nats, + what quantization adds, + the squared error
    of what is drawn on the way (standardised bands), where something is.

    Padding does not count; "bits" is the likelihood in bits. Raises SpeechlibError for a batch without
    audio.
    """
    return _coded(model, batch)[0]


def _coded(model: nn.Module, batch: Batch) -> tuple[dict[str, Tensor], NamedTuple]:
    """The terms of `vqvae_wavenet` and the model's output."""
    if batch.audio is None:
        raise SpeechlibError("the decoder learns from waves, this batch has none: Crops(..., audio=True)")
    wave = dithered(batch.audio, model.config.decoder.dither)
    features = batch.inputs if model.sizes["n_features"] else None
    speaker = batch.speaker if model.sizes["n_speakers"] else None
    # a decoder that is frozen while bands are drawn for it has nothing to learn, and is most of the work
    decode = not (model.training and model.drawing and not any(p.requires_grad for p in model.decoder.parameters()))
    output = model(wave, features, speaker, decode)
    terms = quantization(output.quantized, model)
    if output.drawn is not None:
        bands = model.bands
        terms["drawn"] = _masked_mse(bands(output.drawn), bands(batch.targets), batch)
    loss = terms.get("vq", 0) + terms.get("drawn", 0)
    if decode:
        nll = _mean_inside(model.decoder.distribution.nll(output.parameters, output.target), batch)
        loss, terms = loss + nll, {"nll": nll, "bits": nll / math.log(2), **terms}
    return {"loss": loss, **terms}, output


def adversarial_coder(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """What `vqvae_wavenet` lowers - lambda * cross entropy of the critic that guesses the speaker from z_q."""
    terms, output = _coded(model, batch)
    entropy = F.cross_entropy(model.critic(output.quantized.z_q).float(), batch.speaker)
    loss = terms["loss"] - model.config.adversarial_weight * entropy
    return terms | {"loss": loss, "speaker_entropy": entropy}


def adversarial_critic(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Cross entropy of guessing the speaker from z_q, which gets no gradient; "named" is the share guessed right."""
    training = model.quantizer.training
    with torch.no_grad():
        model.quantizer.eval()  # a codebook that follows by averages follows the encoder's turns, not the critic's
        z_q = model.quantize(model.encode(batch.inputs)).z_q
        model.quantizer.train(training)
    logits = model.critic(z_q).float()
    named = (logits.argmax(1) == batch.speaker).float().mean()
    return {"loss": F.cross_entropy(logits, batch.speaker), "named": named}


def vae(model: nn.Module, batch: WindowBatch) -> dict[str, Tensor]:
    """gamma * reconstruction + lambda * KL of one sample of z, as means over the windows of a batch.

    A Gaussian decoder's reconstruction is -log p(x | z) of the standardised window, in nats: with both weights 1 the
    loss is minus the ELBO (Kingma & Welling 2014, eq. 3). "squared_error" is the decoder's mean against the window, per
    element. The source's losses are summed over the elements of a window, and are no bound: they tell no ELBO.
    """
    config, target = model.config, model.inputs(batch.inputs)
    posterior, _, likelihood = model(batch.inputs)
    kl = posterior.kl().sum(1).mean()
    squared = (target - likelihood.mean).square()
    if config.reconstruction == "gaussian":
        reconstruction = -likelihood.log_density(target).sum((1, 2)).mean()
    elif config.reconstruction == "squared_error":
        reconstruction = squared.sum((1, 2)).mean()
    else:  # between squashed windows, as the source compares them
        entropy = F.binary_cross_entropy_with_logits(likelihood.mean, target.sigmoid(), reduction="none")
        reconstruction = entropy.sum((1, 2)).mean()
    loss = config.reconstruction_weight * reconstruction + config.kl_weight * kl
    terms = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "squared_error": squared.mean()}
    if config.reconstruction == "gaussian":
        elbo = -(reconstruction + kl)
        terms |= {"elbo": elbo, "elbo_per_element": elbo / target[0].numel()}
    return terms


def prior(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """-log p of each code given those before it, in nats, and the same in bits; padding does not count.

    The batch's inputs are codes (B, 1, L).
    """
    nll = model.nll(batch.inputs[:, 0], batch.speaker if model.sizes["n_speakers"] else None)
    loss = _mean_inside(nll, batch)
    return {"loss": loss, "bits": loss / math.log(2)}


def recogniser(model: nn.Module, batch) -> dict[str, Tensor]:
    """-log p of the phones of an utterance, summed over all ways to lay them out in time (Graves et al. 2006, eq. 14),
    in nats per phone, and the same in bits; "blank" is the share of places at which nothing is the likeliest symbol.

    The batch is one of systems.recogniser.Spelled.
    """
    logits, length = model(batch.inputs, batch.length)
    chances = logits.float().log_softmax(1).permute(2, 0, 1)  # (L, B, 1 + P)
    told = (tensor.cpu() for tensor in (chances, batch.phones, length, batch.n_phones))  # a GPU's is not repeatable
    nll = F.ctc_loss(*told, reduction="none").to(logits.device) / batch.n_phones.clamp(min=1)
    valid = torch.arange(logits.shape[2], device=logits.device) < length[:, None]  # (B, L)
    blank = ((logits.argmax(1) == 0) & valid).sum() / shares.even(valid.sum())
    loss = nll.mean()
    return {"loss": loss, "bits": loss / math.log(2), "blank": blank}


def melnet(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """-log density in nats per value of the grid, of all tiers together; padding does not count.

    "tier_1", "tier_2", ... are the same of each tier's own values, "tier_1_frame" ... the sums over its bins, which is
    what the source system logs. A tier that is absent or whose weights are frozen is left out, in validation as well:
    it learns nothing.
    """
    x = model.inputs(batch.inputs)
    if model.config.dither:
        x = x + model.config.dither * shares.drawn(torch.randn, x.shape, device=x.device)
    speaker = batch.speaker if model.sizes["n_speakers"] else None
    total, n_values, terms = 0, 0, {}
    there = [list(tier.parameters()) for tier in model.tiers]
    learn = [any(p.requires_grad for p in weights) for weights in there]
    asked = learn if any(learn) else [bool(weights) for weights in there]
    for number, (tier, grid) in enumerate(zip(model.tiers, model.grids(x, batch.length)), 1):
        if not asked[number - 1]:
            continue
        nll = tier.nll(grid, speaker).sum()
        values = shares.even(grid.n_values)
        total, n_values = total + nll, n_values + values
        terms[f"tier_{number}"] = nll / values
        terms[f"tier_{number}_frame"] = nll / shares.even(grid.length.sum())
    return {"loss": total / n_values, **terms}


def wae_mmd(model: nn.Module, batch: WindowBatch) -> dict[str, Tensor]:
    """Squared error of a window + lambda * MMD of its points and as many draws (arXiv 1711.01558, algorithm 2).

    The MMD is that of the whole batch, however many processes share it: it is no mean over points.
    """
    z, prediction = model(batch.inputs)
    terms = _rebuilt(model, prediction, batch.inputs)
    penalty = mmd(*map(shares.gathered, (z, model.prior(len(z)))), model.config.prior_std)
    return {"loss": terms["reconstruction"] + model.config.penalty_weight * penalty, **terms, "mmd": penalty}


def wae_gan_coder(model: nn.Module, batch: WindowBatch) -> dict[str, Tensor]:
    """Squared error of a window + lambda * -log of the critic's belief that its point is a draw (arXiv 1711.01558,
    algorithm 1, in the form that does not saturate)."""
    z, prediction = model(batch.inputs)
    terms = _rebuilt(model, prediction, batch.inputs)
    fooling = F.softplus(-model.critic(z).float()).mean()
    return {"loss": terms["reconstruction"] + model.config.penalty_weight * fooling, **terms, "fooling": fooling}


def wae_gan_critic(model: nn.Module, batch: WindowBatch) -> dict[str, Tensor]:
    """lambda * cross entropy of telling draws from points, which get no gradient; "told" is the share told apart."""
    with torch.no_grad():
        z = model.encode(batch.inputs)
    draws, points = model.critic(model.prior(len(z))).float(), model.critic(z).float()
    entropy = F.softplus(-draws).mean() + F.softplus(points).mean()
    told = ((draws > 0).float().mean() + (points < 0).float().mean()) / 2
    return {"loss": model.config.penalty_weight * entropy, "cross_entropy": entropy, "told": told}


def wgan_critic(model: nn.Module, batch: WindowBatch) -> dict[str, Tensor]:
    """E[D(fake)] - E[D(real)] + lambda * E[(slope - 1)^2] (arXiv 1704.00028, eq. 3), slopes taken at one point on the
    line between each pair. "negative_critic_loss" is the curve by which the paper judges convergence."""
    real = model.inputs(batch.inputs)
    with torch.no_grad():
        fake = model.generate(len(real))
    slope = slopes(model.critic, real, fake)
    wasserstein = model.critic(real).mean() - model.critic(fake).mean()
    penalty = (slope - 1).square().mean()
    loss = model.config.penalty_weight * penalty - wasserstein
    terms = {"negative_critic_loss": -loss.detach(), "wasserstein": wasserstein, "penalty": penalty}
    return {"loss": loss, **terms, "slope": slope.mean()}


def wgan_generator(model: nn.Module, batch: WindowBatch) -> dict[str, Tensor]:
    """-E[D(fake)], for as many fakes as the batch has windows."""
    return {"loss": -model.critic(model.generate(len(batch.inputs))).mean()}


def wgan_distance(model: nn.Module, batch: WindowBatch) -> dict[str, Tensor]:
    """E[D(real)] - E[D(fake)] without a step: on windows that the critic has not seen, it tells a critic that has
    learned by heart from one that has learned what is real."""
    distance = model(batch.inputs).mean() - model.critic(model.generate(len(batch.inputs))).mean()
    return {"loss": -distance, "wasserstein": distance}


def slopes(critic: Callable, real: Tensor, fake: Tensor) -> Tensor:
    """Norm (B,) of the critic's gradient at a random point between each pair: one share per pair, of any shape."""
    share = shares.drawn(torch.rand, (len(real), *[1] * (real.ndim - 1)), device=real.device)
    point = torch.lerp(real, fake, share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
    return gradient.flatten(1).norm(dim=1)


def _rebuilt(model: nn.Module, prediction: Tensor, inputs: Tensor) -> dict[str, Tensor]:
    """What a WAE lowers, the squared error per window, and the same per element, which is compared. The source lowers
    the cross entropy of squashed windows, per element."""
    target = model.inputs(inputs)
    squared = (prediction - target).square()
    if model.config.squashed:
        reconstruction = F.binary_cross_entropy_with_logits(prediction, target.sigmoid())
    else:
        reconstruction = squared.sum((1, 2)).mean()
    return {"reconstruction": reconstruction, "squared_error": squared.mean()}


def dithered(wave: Tensor, deviation: float) -> Tensor:
    """Wave (B, S) with white noise added. In digital silence every sample is sure to follow: a model that has learned
    so never begins to speak again."""
    if not deviation:
        return wave
    return (wave + deviation * shares.drawn(torch.randn, wave.shape, device=wave.device)).clamp(-1, 1)


def inside(batch: Batch, n: int) -> Tensor:
    """Which of n equal pieces (B, n) of a crop end within the batch's valid frames: its samples, or larger ones."""
    length = n / batch.inputs.shape[2]
    return torch.arange(1, n + 1, device=batch.inputs.device) <= batch.length[:, None] * length


def _mean_inside(values: Tensor, batch: Batch) -> Tensor:
    """Mean of values (B, S), or of cells of several samples (B, cells), over those within the valid frames."""
    valid = inside(batch, values.shape[1])
    return (values * valid).sum() / shares.even(valid.sum())


def _masked_mse(prediction: Tensor, target: Tensor, batch: Batch) -> Tensor:
    """Mean squared error of (B, C, T) over the valid frames."""
    return _mean_inside((prediction.float() - target).square().mean(1), batch)
