"""VAE on windows: counts of the source, closed forms, no mixing of items, and a bound that is one."""

import math

import pytest
import torch
from torch import distributions

from speechlib import objectives, presets
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.models.vae import VAE, Gaussian, VAEConfig
from speechlib.models.window_coders import NETWORKS
from speechlib.windows import WindowBatch

SMALL = {"channels": (4, 6, 8), "hidden": 16, "latent_dim": 3}


def a_model(n_features=5, n_frames=9, **changes) -> VAE:
    torch.manual_seed(0)
    model = VAE(VAEConfig(**SMALL | changes), n_features, n_frames)
    model.inputs.fit(torch.full((n_features,), 2.0), torch.full((n_features,), 3.0))
    return model


def a_batch(model, n=6, seed=0) -> WindowBatch:
    shape = n, model.sizes["n_features"], model.sizes["n_frames"]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3 + 2
    return WindowBatch(x, *[torch.zeros(n, dtype=torch.long)] * 4)


def count(model) -> int:
    return sum(p.numel() for p in model.parameters())


# the source's networks


@pytest.mark.parametrize(("F", "expected"), [(40, 1_434_882), (64, 1_437_954), (80, 1_440_002)])
def test_the_source_preset_has_the_parameters_of_the_source(F, expected):
    """Reference section 3.4, z = 128, fixed sigma."""
    experiment = presets.get("vae", "source")
    assert count(VAE(experiment.model, F, experiment.training.n_frames)) == expected
    assert experiment.training.n_frames == 19


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"posterior_std": 0.0, "bias": False}, 1_434_882 + 512 * 128),
        ({"network": "gated"}, 1_756_166),
        ({"network": "lstm", "latent_dim": 64, "bounded_output": False}, 6_672_552),
    ],
    ids=["learned variance", "gated", "lstm"],
)
def test_the_variants_have_the_parameters_of_the_source(changes, expected):
    """Reference sections 3.4 and 3.5, F = 40."""
    source = {"latent_dim": 128, "bounded_output": True, "reconstruction": "squared_error"}
    assert count(VAE(VAEConfig(**source | changes), 40, 19)) == expected


def test_tanh_and_leaky_are_the_options_of_the_source():
    kinds = [{type(m).__name__ for m in a_model(activation=name).modules()} for name in ("tanh", "leaky_relu")]
    assert [("Tanh" in kind, "LeakyReLU" in kind) for kind in kinds] == [(True, False), (False, True)]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("w", [8, 9, 11, 19, 20])
def test_every_network_keeps_bands_and_frames(network, w):
    model = a_model(12, w, network=network).eval()
    output = model(a_batch(model).inputs)
    assert output.likelihood.mean.shape == output.likelihood.log_variance.shape == (6, 12, w)
    assert output.posterior.mean.shape == (6, 3)
    assert sum(layer.parameters for layer in model.summary()) == count(model)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("training", [False, True])
def test_no_item_of_a_batch_depends_on_another(network, training):
    """Mistake 16: the source's LSTM viewed where it had to transpose, and mixed time with the batch."""
    if training and network != "lstm":
        return  # BatchNorm mixes in training, and is meant to
    model = a_model(network=network).train(training)
    x = a_batch(model).inputs.requires_grad_()
    (gradient,) = torch.autograd.grad(model.encode(x).mean[2].sum(), x)
    assert gradient[2].abs().sum() > 0
    assert not gradient[[0, 1, 3, 4, 5]].any()
    z = torch.randn(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.likelihood(z).mean[1].sum(), z)
    assert gradient[1].abs().sum() > 0
    assert not gradient[[0, 2, 3]].any()


# closed forms


def test_kl_and_density_are_those_of_torch():
    mean, log_variance, x = torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    ours, theirs = Gaussian(mean, log_variance), distributions.Normal(mean, (log_variance / 2).exp())
    prior = distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(ours.kl(), distributions.kl_divergence(theirs, prior), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.log_density(x), theirs.log_prob(x), rtol=1e-5, atol=1e-5)


def test_a_fixed_posterior_cannot_go_below_its_floor():
    """Reference section 7: sigma 0.1 costs 1.808 nats per dimension, whatever is learned."""
    config = VAEConfig(posterior_std=0.1, latent_dim=128)
    assert config.kl_floor == pytest.approx(231.4, abs=0.1)
    assert config.kl_floor / 128 == pytest.approx(0.5 * (0.01 + 4.605 - 1), abs=1e-3)
    still = Gaussian(torch.zeros(1, 128), torch.full((1, 128), 2 * math.log(0.1)))
    assert still.kl().sum().item() == pytest.approx(config.kl_floor, rel=1e-5)
    assert VAEConfig().kl_floor == 0


def test_the_objective_is_minus_the_elbo_by_hand():
    model = a_model().eval()
    batch = a_batch(model)
    torch.manual_seed(1)
    terms = objectives.vae(model, batch)
    torch.manual_seed(1)
    output, target = model(batch.inputs), (batch.inputs - 2) / 3
    spread = (output.likelihood.log_variance / 2).exp()
    log_p = distributions.Normal(output.likelihood.mean, spread).log_prob(target).sum((1, 2))
    posterior = distributions.Normal(output.posterior.mean, (output.posterior.log_variance / 2).exp())
    kl = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(1)
    assert terms["elbo"].item() == pytest.approx((log_p - kl).mean().item(), rel=1e-5)
    assert terms["loss"] == -terms["elbo"]
    assert terms["elbo_per_element"].item() == pytest.approx(terms["elbo"].item() / 45)
    assert list(terms)[0] == "loss"


@pytest.mark.parametrize("kind", ["squared_error", "cross_entropy"])
def test_the_losses_of_the_source_by_hand(kind):
    model = a_model(reconstruction=kind, reconstruction_weight=3.0, kl_weight=0.5, posterior_std=0.1).eval()
    batch = a_batch(model)
    torch.manual_seed(1)
    terms = objectives.vae(model, batch)
    torch.manual_seed(1)
    drawn, target = model(batch.inputs).likelihood.mean, (batch.inputs - 2) / 3
    error = (drawn - target) ** 2
    if kind == "cross_entropy":
        p, q = target.sigmoid(), drawn.sigmoid()
        error = -(p * q.log() + (1 - p) * (1 - q).log())
    assert terms["reconstruction"].item() == pytest.approx(error.sum((1, 2)).mean().item(), rel=1e-4)
    assert terms["loss"].item() == pytest.approx(3 * terms["reconstruction"].item() + 0.5 * terms["kl"].item())
    assert "elbo" not in terms


def test_the_elbo_is_a_bound_and_importance_sampling_closes_in_on_it():
    """Mistake 17: no decoder variance, hence no likelihood. On one latent dimension the integral can be done."""
    model = a_model(2, 8, channels=(4, 4, 4), latent_dim=1).eval()
    batch = a_batch(model, 3)
    z = torch.linspace(-8, 8, 4001)[:, None]
    with torch.no_grad():
        p, prior = model.likelihood(z), distributions.Normal(0.0, 1.0)
        target = model.inputs(batch.inputs)
        log_p = p.log_density(target[:, None]).sum((2, 3)) + prior.log_prob(z[:, 0])
        exact = torch.logsumexp(log_p, 1) + math.log(16 / 4000)
        torch.manual_seed(0)
        elbo = torch.stack([objectives.vae(model, batch)["elbo"] for _ in range(300)]).mean()
        estimate = model.log_likelihood(batch.inputs, 2000)
    assert elbo < exact.mean()
    torch.testing.assert_close(estimate, exact, rtol=1e-3, atol=0.05)


# what it must be able to do


@pytest.mark.parametrize("network", NETWORKS)
def test_it_learns_one_batch_by_heart(network):
    """One window, far from the mean (mistake 14), in eval mode, where BatchNorm leaves it alone: no error is left."""
    loss = {"reconstruction": "squared_error", "kl_weight": 0.0, "posterior_std": 1e-3}
    model = a_model(network=network, channels=(8, 12, 16), hidden=32, **loss).eval()
    batch, optimizer = a_batch(model, 1), torch.optim.Adam(model.parameters(), 0.02)
    batch.inputs.sub_(6)
    for _ in range(225):
        terms = objectives.vae(model, batch)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    assert terms["squared_error"] < 0.05


def test_only_the_sources_output_is_bounded():
    """Mistakes 8 and 14: with an activation behind the last layer some windows cannot be drawn."""
    far = 100 * torch.randn(50, 3)
    largest = {}
    for bounded in (True, False):
        model = a_model(activation="tanh", bounded_output=bounded, reconstruction="squared_error").eval()
        with torch.no_grad():
            (model.decoder.draw[1] if bounded else model.decoder.draw).weight.mul_(100)
            largest[bounded] = model.likelihood(far).mean.abs().max().item()
    assert largest[True] <= 1
    assert largest[False] > 5


def test_variance_has_a_floor():
    model = a_model(least_std=0.2).eval()
    with torch.no_grad():
        model.decoder.draw.bias.fill_(-100.0)
        variance = model.likelihood(torch.randn(2, 3)).log_variance.exp()
    torch.testing.assert_close(variance, torch.full_like(variance, 0.04))


def test_samples_are_in_the_units_of_the_features():
    model = a_model().eval()
    torch.manual_seed(3)
    drawn = model.sample(5)
    torch.manual_seed(3)
    z = torch.randn(5, 3)
    torch.testing.assert_close(drawn, model.likelihood(z).mean * 3 + 2)
    torch.testing.assert_close(model.latents(drawn), model.encode(drawn).mean)


def test_what_does_not_fit_is_named():
    model = a_model()
    with pytest.raises(SpeechlibError, match=r"windows of shape \(2, 5, 10\), the model takes \(B, 5, 9\)"):
        model(torch.zeros(2, 5, 10))
    with pytest.raises(UnknownName, match="Did you mean 'gated'"):
        VAEConfig(network="gate")
    with pytest.raises(UnknownName, match="squared_error"):
        VAEConfig(reconstruction="mse")
    with pytest.raises(SpeechlibError, match="no variance"):
        VAEConfig(bounded_output=True)
    with pytest.raises(SpeechlibError, match="6 frames are too short"):
        VAE(VAEConfig(), 5, 6)
