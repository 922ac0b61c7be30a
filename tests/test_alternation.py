"""Two players on one model: turns counted, weights moved by their own player only, and resumed to the bit."""

from dataclasses import dataclass, replace

import pytest
import torch
from test_training import Batches, assert_same, content, stop_at
from torch import nn

from speechlib import alternation, runs
from speechlib.alternation import Player
from speechlib.errors import SpeechlibError
from speechlib.training import TrainingConfig


@dataclass(frozen=True)
class DuelConfig:
    width: int = 4


class Duel(nn.Module):
    """A critic of points and a generator of points, with noise and a buffer."""

    def __init__(self, config: DuelConfig):
        super().__init__()
        self.config, self.sizes = config, {}
        self.critic = nn.Sequential(nn.Linear(4, config.width), nn.Tanh(), nn.Linear(config.width, 1))
        self.generator = nn.Sequential(nn.Linear(2, config.width), nn.BatchNorm1d(config.width), nn.Linear(4, 4))

    def fake(self, n):
        return self.generator(torch.randn(n, 2))


CALLS = []


def critic_objective(model, batch):
    CALLS.append("critic")
    with torch.no_grad():
        fake = model.fake(8)
    told = model.critic(fake).mean() - model.critic(batch.inputs).mean()
    return {"loss": told + 0.1 * model.critic(batch.inputs).square().mean(), "told": told}


def generator_objective(model, batch):
    CALLS.append("generator")
    return {"loss": -model.critic(model.fake(8)).mean()}


@dataclass(frozen=True)
class Experiment:
    training: TrainingConfig
    system: str = "duel"
    preset: str = "test"
    seed: int = 3


CONFIG = TrainingConfig(
    steps=12, learning_rate=0.02, betas=(0.0, 0.9), grad_clip=1.0, ema_decay=0.9, log_every=1, precision="fp32",
    validate_every=4, checkpoint_every=5,
)  # fmt: skip
PLAYERS = (
    Player("critic", critic_objective, ("critic",), 5),
    Player("generator", generator_objective, ("generator",)),
)


def duel(progress=None, players=PLAYERS, bad=None, **changes):
    CALLS.clear()
    torch.manual_seed(7)
    model, config = Duel(DuelConfig()), replace(CONFIG, **changes)
    run = runs.create(Experiment(config))
    validation = Batches(seed=1)
    trained = alternation.alternate(
        model, players, Batches(bad=bad), config, run, validation, critic_objective, progress
    )
    return run, trained


@pytest.mark.parametrize("step", [1, 5, 7, 11])
def test_a_resumed_game_equals_an_uninterrupted_one_to_the_bit(workspace, monkeypatch, step):
    whole, _ = duel()
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(workspace / "other"))
    with pytest.raises(KeyboardInterrupt):
        duel(stop_at(step))
    torch.rand(17)
    resumed, _ = duel()
    assert whole.path != resumed.path
    assert_same(content(whole), content(resumed))


def test_exactly_n_critic_updates_come_before_each_of_the_generator(workspace):
    """Mistake 5: by `i % 5` inside an epoch, the first generator step of each followed a single critic step."""
    duel(steps=3, validate_every=10_000)
    turns = [name for name in CALLS if name]
    trained = [*["critic"] * 5, "generator"]
    validations = 4  # batches at the first and at the last step
    assert turns == trained + ["critic"] * validations + 2 * trained + ["critic"] * validations


def test_every_update_has_a_batch_of_its_own(workspace):
    seen = []

    class Noted(Batches):
        def batch(self, n):
            seen.append(n)
            return super().batch(n)

    torch.manual_seed(0)
    run = runs.create(Experiment(CONFIG))
    alternation.alternate(Duel(DuelConfig()), PLAYERS, Noted(), replace(CONFIG, steps=3), run)
    assert seen == list(range(18))


def test_a_player_moves_its_own_weights_only(workspace):
    """Mistake 11, and Adam's habit of moving what has no gradient but a past."""
    torch.manual_seed(7)
    start = {name: p.clone() for name, p in Duel(DuelConfig()).named_parameters()}
    still = [PLAYERS[0], PLAYERS[1]._replace(objective=lambda model, batch: {"loss": _nothing(model)})]
    _, model = duel(players=still, ema_decay=0.0, weight_decay=0.0)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, start[name]) == name.startswith("generator"), name


def _nothing(model):
    return sum(p.sum() * 0 for p in model.generator.parameters())


def test_terms_of_both_players_are_written(workspace):
    run, model = duel()
    log, validation = run.metrics(), run.metrics("validation")
    assert list(log["step"]) == list(range(1, 13))
    names = {"critic_loss", "generator_loss", "critic_gradient_norm", "generator_gradient_norm", "told"}
    assert names <= set(log)
    assert list(validation["step"]) == [1, 4, 8, 12]
    assert not model.training
    assert all(p.requires_grad for p in model.parameters())
    assert log["told"].iloc[-1] < log["told"].iloc[0]


def test_weights_without_a_player_or_with_two_are_named(workspace):
    with pytest.raises(SpeechlibError, match=r"generator\.0\.weight is moved by no player"):
        duel(players=PLAYERS[:1])
    twice = [PLAYERS[0], PLAYERS[1]._replace(parts=("generator", "critic"))]
    with pytest.raises(SpeechlibError, match=r"critic\.0\.weight is moved by critic and generator"):
        duel(players=twice)


def test_a_nan_stops_the_game_and_names_the_term(workspace):
    of_its_step = "utterance 6, .*, utterance 8, .* and 5 more"  # of batches 6 to 11: all that its players saw
    with pytest.raises(SpeechlibError, match=rf"step 2: the term .* is nan.*{of_its_step}"):
        duel(bad=8)
    assert runs.find(Experiment(CONFIG)).status == "failed"


def test_the_best_weights_of_a_game_are_those_of_an_uninterrupted_one(workspace, monkeypatch):
    settings = {"best_by": "told", "validate_every": 1}
    whole, model = duel(**settings)
    seen = whole.metrics("validation")
    best, about = runs.load_tensors(whole.best)
    assert about["step"] == seen["step"][seen["told"].idxmin()]
    assert all(torch.equal(tensor, best[name]) for name, tensor in model.state_dict().items())
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(workspace / "other"))
    with pytest.raises(KeyboardInterrupt):
        duel(stop_at(7), **settings)
    resumed, _ = duel(**settings)
    assert_same(content(whole), content(resumed))
    again = runs.load_tensors(resumed.best)[0]
    assert all(torch.equal(best[name], again[name]) for name in best)
