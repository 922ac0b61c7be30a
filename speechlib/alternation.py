"""The loop for two players on one model: a critic that is to be told apart, and a generator that is to fool it.

    for every step:  for every player, `updates` times:  seed(n) -> batch(n) -> its objective -> backward -> its weights

A step is one turn of all players, and every update has a batch and random numbers of its own, by (seed, n). What one
player lowers moves nobody else's weights: they get no gradient, and the optimiser passes over them. So one optimiser is
enough, with averages of its own for every weight, and a resumed training equals an uninterrupted one as in `training`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from . import processes, training
from .errors import SpeechlibError
from .journal import CodeUsage, Journal
from .runs import Run
from .training import Progress, TrainingConfig


class Player(NamedTuple):
    name: str
    objective: Callable  # (model, batch) -> terms, "loss" among them
    parts: tuple[str, ...]  # the submodules that it moves
    updates: int = 1  # in each step


def alternate(
    model: nn.Module,
    players: Sequence[Player],
    batches,
    config: TrainingConfig,
    run: Run,
    validation=None,
    objective: Callable | None = None,
    progress: Progress | None = None,
    listen: Callable[[nn.Module, int], None] | None = None,
) -> nn.Module:
    """Let the players take turns for config.steps steps, from the run's last checkpoint if it has one.

    Terms of the last update of each player are written, its loss as "<name>_loss". `objective` is what the validation
    part is judged by; `listen` is as in training.descend. Returns the model with the weights to use, in eval mode.
    Raises SpeechlibError for a weight that no player moves, or that two do; and for terms that are not finite, as
    training.descend does. Several processes share every player's batch.
    """
    if config.accumulate > 1:
        raise SpeechlibError(f"training.accumulate is {config.accumulate}: players that take turns have batches of one")
    team = processes.here().sharing(run.system, config.batch_size, 1)
    device = training.device_of(config)
    precision = training.precision_of(config, device)
    autocast = partial(torch.autocast, device.type, torch.bfloat16, enabled=precision == "bf16")
    model.to(device).train()
    training.freeze(model, config.frozen)
    if config.start_from and not run.training_state.exists():
        training.begin(model, config.start_from, run, config.frozen)
    weights = _weights(model, players)
    optimizer, average = training.make_optimizer(model, config), training.Average(model, config.ema_decay)
    usage = CodeUsage(model)  # not written: part of what every checkpoint keeps
    best = training.Best(config.best_by)
    done, seconds = training.resume(run, model, optimizer, average, usage, best)
    team.agree(model.state_dict(), average.state)
    rate = partial(training.learning_rate, config)
    journal = Journal(run, batches, rate, done, seconds) if team.is_first else None
    updates = [player for player in players for _ in range(player.updates)]
    try:
        with training.deterministic(), processes.Interruption() as interrupted:
            for step in range(done + 1, config.steps + 1):
                optimizer.param_groups[0]["lr"] = rate(step)
                terms, stop = {}, False
                for k, player in enumerate(updates):
                    n = (step - 1) * len(updates) + k
                    training.seed_step(run.seed, n)
                    _only(weights, player.name)
                    optimizer.zero_grad()
                    with team.split():
                        with autocast():
                            found = player.objective(model, team.share(batches.batch(n)))
                        found["loss"].backward()
                    found, asked = team.join(weights[player.name], found, bool(interrupted))
                    norm = nn.utils.clip_grad_norm_(weights[player.name], config.grad_clip or math.inf)
                    optimizer.step()
                    found |= {f"{player.name}_loss": found.pop("loss"), f"{player.name}_gradient_norm": norm}
                    terms, stop = terms | found, stop or asked
                average.update(step)
                if journal:
                    journal.note(step, range((step - 1) * len(updates), step * len(updates)), terms)
                    if training.due(step, config.log_every, config):
                        journal.log(step)
                    if validation is not None and training.due(step, config.validate_every, config):
                        with average.in_place(), autocast():
                            found = training.validate(model, objective, validation, config)
                        journal.write(step, "validation", found)
                        best.note(step, found, average.weights())
                    training.heard(listen, model, average, step, config)
                    stop = stop or (team.count == 1 and bool(interrupted))
                    if step % config.checkpoint_every == 0 or step == config.steps or stop:
                        journal.check()
                        training.keep(run, model, optimizer, average, usage, best, step, journal.seconds())
                    if progress:
                        progress(step, config.steps, journal.text)
                if stop:
                    team.wait()
                    raise KeyboardInterrupt
    except Exception as error:
        if journal:
            run.fail(error)
        raise
    finally:
        _only(weights, *weights)
        usage.close()
        if journal:
            journal.close()
    average.use()
    best.use(run, model)
    team.agree(model.state_dict())
    return model.eval()


def _weights(model: nn.Module, players: Sequence[Player]) -> dict[str, list[nn.Parameter]]:
    """Player -> the parameters that it moves."""
    owners: dict[str, list[str]] = {name: [] for name, p in model.named_parameters() if p.requires_grad}
    for player in players:
        for name in owners:
            if name.startswith(tuple(f"{part}." for part in player.parts)):
                owners[name].append(player.name)
    for name, found in owners.items():
        if len(found) != 1:
            raise SpeechlibError(f"{name} is moved by {' and '.join(found) or 'no player'}: one player each")
    parameters = dict(model.named_parameters())
    return {
        player.name: [parameters[name] for name, (owner,) in owners.items() if owner == player.name]
        for player in players
    }


def _only(weights: dict[str, list[nn.Parameter]], *moving: str) -> None:
    """Gradients for these players' weights and for no others."""
    for name, parameters in weights.items():
        for parameter in parameters:
            parameter.requires_grad_(name in moving)
