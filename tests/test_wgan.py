"""WGAN-GP: signs, slopes and counts."""

import pytest
import torch
from torch import nn

from speechlib import objectives, presets
from speechlib.errors import SpeechlibError
from speechlib.models.wgan import WGAN, WGANConfig
from speechlib.windows import WindowBatch

SMALL = {"channels": (2, 3, 4), "latent_dim": 5}


def a_model(n_features=10, n_frames=9, **changes) -> WGAN:
    torch.manual_seed(0)
    return WGAN(WGANConfig(**SMALL | changes), n_features, n_frames)


def a_batch(n=8, n_features=10, n_frames=9):
    x = torch.randn(n, n_features, n_frames, generator=torch.Generator().manual_seed(0))
    return WindowBatch(x, *[torch.zeros(n, dtype=torch.long)] * 4)


class LinearCritic(nn.Module):
    """D(x) = slope * sum(x) / sqrt(size): its gradient has the norm `slope` everywhere."""

    def __init__(self, slope):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(float(slope)))

    def forward(self, x):
        return self.slope * x.flatten(1).sum(1) / x[0].numel() ** 0.5


def test_the_source_preset_has_the_parameters_and_shapes_of_the_source():
    """Reference section 3.1: windows of 9 frames x 120 values."""
    experiment = presets.get("wgan", "source")
    model = WGAN(experiment.model, 120, experiment.training.n_frames)
    counts = [sum(p.numel() for p in part.parameters()) for part in (model.generator, model.critic)]
    assert counts == [1_552_961, 1_031_169]
    assert model.generate(2).shape == (2, 120, 9)
    shapes = [row.output[1:] for row in model.summary() if row.name.startswith("critic")]
    assert shapes == [(64, 15, 18), (128, 8, 9), (256, 4, 5), (1,)]
    training = experiment.training
    assert (training.learning_rate, training.betas, training.batch_size, experiment.model.n_critic) == (
        1e-4,
        (0.0, 0.9),
        50,
        5,
    )


@pytest.mark.parametrize(("F", "w"), [(80, 20), (40, 19), (64, 11), (10, 9), (5, 8)])
def test_the_grid_keeps_bands_and_frames(F, w):
    """Mistake 3: 9 x 120 values read as 30 x 36, behind a sigmoid."""
    model = a_model(F, w)
    assert model.generate(3).shape == (3, F, w)
    assert model(torch.randn(3, F, w)).shape == (3,)
    assert model.generator(1000 * torch.randn(3, 5)).abs().max() > 5  # linear, not squashed
    assert sum(row.parameters for row in model.summary()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("F", "w"), [(80, 20), (40, 19), (10, 9), (5, 8)])
def test_kernels_over_all_bands_keep_the_frames(F, w):
    """A frame that moves moves what the critic reads of it; a draw has all frames and any value."""
    model = a_model(F, w, network="conv")
    assert model.generate(3).shape == (3, F, w)
    assert model(torch.randn(3, F, w)).shape == (3,)
    assert model.generator(1000 * torch.randn(3, 5)).abs().max() > 5
    x = torch.zeros(1, F, w, requires_grad=True)
    layer = model.critic[0](x)[0]  # (channels, w)
    (gradient,) = torch.autograd.grad(layer[:, 4].sum(), x)
    reached = gradient[0].abs().sum(0).nonzero().flatten().tolist()
    assert reached == [3, 4, 5]
    assert sum(row.parameters for row in model.summary()) == sum(p.numel() for p in model.parameters())


def test_losses_of_a_linear_critic_by_hand():
    """Mistake 1: the signs. Critic: E[D(fake)] - E[D(real)] + 10 (slope - 1)^2; generator: -E[D(fake)]."""
    model, batch = a_model(), a_batch()
    for slope in (1.0, 3.0):
        model.critic = LinearCritic(slope)
        torch.manual_seed(1)
        terms = objectives.wgan_critic(model, batch)
        torch.manual_seed(1)
        fake = model.generate(8)
        told = model.critic(fake).mean() - model.critic(batch.inputs).mean()
        assert terms["loss"].item() == pytest.approx((told + 10 * (slope - 1) ** 2).item(), abs=1e-4)
        assert terms["slope"].item() == pytest.approx(slope, rel=1e-4)
        assert terms["negative_critic_loss"] == -terms["loss"]
        torch.manual_seed(1)
        assert objectives.wgan_generator(model, batch)["loss"].item() == pytest.approx(
            -model.critic(fake).mean().item(), abs=1e-6
        )


def test_a_unit_slope_costs_nothing():
    model = a_model()
    model.critic = LinearCritic(1.0)
    assert objectives.wgan_critic(model, a_batch())["penalty"].item() == pytest.approx(0, abs=1e-8)


def test_real_and_fake_pull_the_critic_in_opposite_directions():
    """After a step of the critic D(real) - D(fake) has grown; after one of the generator D(fake) has."""
    model, batch = a_model(), a_batch()
    told = []
    for player, objective in ((model.critic, objectives.wgan_critic), (model.generator, objectives.wgan_generator)):
        optimizer = torch.optim.SGD(player.parameters(), 1e-3)
        z = torch.randn(8, 5, generator=torch.Generator().manual_seed(2))
        for _ in range(2):
            with torch.no_grad():
                real, fake = model.critic(batch.inputs).mean(), model.critic(model.generator(z)).mean()
            told.append((real - fake).item() if player is model.critic else fake.item())
            torch.manual_seed(3)
            optimizer.zero_grad()
            objective(model, batch)["loss"].backward()
            optimizer.step()
    assert told[1] > told[0]
    assert told[3] > told[2]


def test_one_interpolation_share_per_sample():
    """Mistake 2: drawn per element, points lie in a box and not on the line between their pair."""
    seen = []

    def critic(x):
        seen.append(x)
        return x.flatten(1).sum(1)

    real, fake = torch.randn(6, 4, 3), torch.randn(6, 4, 3)
    objectives.slopes(critic, real, fake)
    share = (seen[0] - real) / (fake - real)
    torch.testing.assert_close(share, share[:, :1, :1].expand_as(share), rtol=1e-3, atol=1e-3)
    assert share[:, 0, 0].std() > 0.05
    assert ((share > -1e-3) & (share < 1 + 1e-3)).all()


def test_players_leave_each_other_alone():
    model = a_model()
    objectives.wgan_critic(model, a_batch())["loss"].backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert any(p.grad.abs().sum() > 0 for p in model.critic.parameters())


@pytest.mark.parametrize("network", ["grid", "conv"])
def test_no_item_of_a_batch_depends_on_another(network):
    model, x = a_model(network=network), torch.randn(4, 10, 9, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.critic(x)[1], x)
    assert gradient[1].abs().sum() > 0
    assert not gradient[[0, 2, 3]].any()


def test_other_windows_than_the_sources_are_refused():
    with pytest.raises(SpeechlibError, match="120 values and 9 frames, these have 80 and 20"):
        WGAN(WGANConfig(network="source"), 80, 20)
