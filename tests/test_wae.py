"""WAE: counts of the source, MMD against a slow loop, and two players that leave each other's gradients alone."""

import pytest
import torch
import torch.nn.functional as F

from speechlib import objectives, presets
from speechlib.errors import SpeechlibError
from speechlib.models.wae import SCALES, WAE, WAEGAN, WAEConfig, mmd
from speechlib.windows import WindowBatch

SMALL = {"channels": (4, 6, 8), "hidden": 16, "latent_dim": 3, "critic_hidden": 8}


def a_model(kind=WAEGAN, **changes):
    torch.manual_seed(0)
    return kind(WAEConfig(**SMALL | changes), 5, 9)


def a_batch(n=6):
    x = torch.randn(n, 5, 9, generator=torch.Generator().manual_seed(0))
    return WindowBatch(x, *[torch.zeros(n, dtype=torch.long)] * 4)


def count(*modules) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def test_the_source_preset_has_the_parameters_of_the_source():
    """Reference section 3.2: F = 40, w = 19, z = 64."""
    experiment = presets.get("wae_gan", "source")
    model = WAEGAN(experiment.model, 40, experiment.training.n_frames)
    assert count(model.encoder, model.code) == 685_440
    assert count(model.decoder) == 686_659
    assert count(model.critic) == 882_244
    assert (experiment.model.prior_std, experiment.model.penalty_weight) == (5.0, 10.0)
    assert experiment.training.learning_rate == 1e-3


def test_mmd_is_that_of_a_slow_loop():
    torch.manual_seed(0)
    a, b, std = torch.randn(5, 3), torch.randn(5, 3) + 1, 1.5
    expected = 0.0
    for scale in SCALES:
        C = 2 * 3 * std**2 * scale
        k = lambda x, y: C / (C + float((x - y).square().sum()))  # noqa: B023, E731
        for i in range(5):
            for j in range(5):
                expected += ((k(a[i], a[j]) + k(b[i], b[j])) / 20 if i != j else 0) - 2 * k(a[i], b[j]) / 25
    assert mmd(a, b, std).item() == pytest.approx(expected, rel=1e-4)


def test_mmd_of_one_distribution_is_zero_on_average_and_grows_with_a_shift():
    torch.manual_seed(0)
    same = torch.stack([mmd(torch.randn(50, 8), torch.randn(50, 8), 1.0) for _ in range(200)])
    assert abs(same.mean()) < 3 * same.std() / 200**0.5
    assert (same < 0).any()  # unbiased: a biased one never is
    grown = [mmd(torch.randn(200, 8) + shift, torch.randn(200, 8), 1.0).item() for shift in (0.0, 0.5, 1.0, 2.0)]
    assert grown == sorted(grown)
    assert grown[1] > 10 * same.mean()
    with pytest.raises(SpeechlibError, match="two at least"):
        mmd(torch.randn(1, 3), torch.randn(1, 3), 1.0)


def test_terms_by_hand():
    model, batch = a_model(WAE, prior_std=2.0, penalty_weight=7.0).eval(), a_batch()
    model.inputs.fit(torch.full((5,), 2.0), torch.full((5,), 3.0))
    torch.manual_seed(1)
    terms = objectives.wae_mmd(model, batch)
    torch.manual_seed(1)
    draws, z = 2 * torch.randn(6, 3), model.encode(batch.inputs)
    error = ((model.predict(z) - (batch.inputs - 2) / 3) ** 2).sum((1, 2)).mean()
    assert terms["reconstruction"].item() == pytest.approx(error.item(), rel=1e-5)
    assert terms["squared_error"].item() == pytest.approx(error.item() / 45, rel=1e-5)
    assert terms["loss"].item() == pytest.approx((error + 7 * mmd(z, draws, 2.0)).item(), rel=1e-5)


def test_the_sources_loss_by_hand():
    """Reference section 4.2: cross entropy of sigmoid(x) and the decoder's sigmoid, a mean over elements, + 10 times
    the encoder's. Its encoder reads sigmoid(x)."""
    model, batch = a_model(activation="tanh", bounded_output=True, squashed=True).eval(), a_batch()
    read = []
    model.encoder.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0]))
    terms = objectives.wae_gan_coder(model, batch)
    assert torch.equal(read[0], batch.inputs.sigmoid())
    z = model.encode(batch.inputs)
    p, q = model.predict(z).sigmoid(), batch.inputs.sigmoid()
    entropy = -(q * p.log() + (1 - q) * (1 - p).log()).mean()
    fooling = -model.critic(z).sigmoid().log().mean()
    assert terms["reconstruction"].item() == pytest.approx(entropy.item(), rel=1e-5)
    assert terms["loss"].item() == pytest.approx((entropy + 10 * fooling).item(), rel=1e-5)


def test_the_sources_decoder_cannot_reach_loud_windows():
    """Mistake 8: sigmoid behind tanh stays within 0.269 and 0.731, so that cross entropy has a floor."""
    model = a_model(activation="tanh", bounded_output=True, squashed=True).eval()
    with torch.no_grad():
        drawn = model.predict(100 * torch.randn(200, 3)).sigmoid()
    assert drawn.min() >= 0.2689
    assert drawn.max() <= 0.7311
    assert presets.get("wae_gan", "source").model.squashed
    assert not any(presets.get(system, "demo").model.squashed for system in ("wae", "wae_gan"))


def test_players_of_wae_gan_by_hand():
    model, batch = a_model().eval(), a_batch()
    torch.manual_seed(1)
    critic = objectives.wae_gan_critic(model, batch)
    torch.manual_seed(1)
    draws, z = model.critic(torch.randn(6, 3)), model.critic(model.encode(batch.inputs))
    ones, zeros = torch.ones(6), torch.zeros(6)
    entropy = F.binary_cross_entropy_with_logits(draws, ones) + F.binary_cross_entropy_with_logits(z, zeros)
    assert critic["loss"].item() == pytest.approx(10 * entropy.item(), rel=1e-5)
    coder = objectives.wae_gan_coder(model, batch)
    fooling = F.binary_cross_entropy_with_logits(z, ones)
    assert coder["loss"].item() == pytest.approx((coder["reconstruction"] + 10 * fooling).item(), rel=1e-5)


def test_the_critics_step_gives_the_encoder_no_gradient():
    """Mistake 11: z was not detached, and its gradient was still there at the encoder's own step."""
    model = a_model()
    objectives.wae_gan_critic(model, a_batch())["loss"].backward()
    assert all(p.grad is None for p in [*model.encoder.parameters(), *model.decoder.parameters()])
    assert all(p.grad is not None for p in model.critic.parameters())


def test_a_window_is_squashed_nowhere():
    """Mistakes 7 and 8: a sigmoid twice in front, and one behind a tanh."""
    model = a_model(WAE, activation="tanh").eval()
    with torch.no_grad():
        model.decoder.draw.weight.mul_(100)
        assert model.decode(10 * torch.randn(50, 3)).abs().max() > 5
        apart = model.encode(torch.full((1, 5, 9), 3.0)) - model.encode(torch.full((1, 5, 9), 6.0))
    assert apart.abs().max() > 1e-3


def test_the_prior_has_its_scale_and_samples_come_from_it():
    model = a_model(WAE, prior_std=5.0).eval()
    torch.manual_seed(0)
    assert model.prior(4000).std().item() == pytest.approx(5, rel=0.05)
    assert model.sample(4).shape == (4, 5, 9)


def test_it_learns_one_window_by_heart():
    model, batch = a_model(channels=(8, 12, 16), hidden=32, penalty_weight=0.0).eval(), a_batch(1)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(200):
        terms = objectives.wae_gan_coder(model, batch)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    assert terms["squared_error"] < 0.05
