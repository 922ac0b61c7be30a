"""One loop that lowers one loss, to the bit the same whether or not it was killed on the way.

    for every step n:  seed(n) -> batch(n) -> objective -> backward -> clip -> optimiser -> average -> log, check, keep

Two rules make a resumed training equal an uninterrupted one: the n-th batch is a function of (seed, n), and so are the
n-th step's random numbers (jitter, noise, re-seeded codes), as torch is seeded anew for each step. What is left to keep
is weights, their average and the optimiser's state, all plain tensors.

On several devices (`accelerate launch -m speechlib train ...`) each process has its share of every batch, gradients are
averaged, and the first process writes: what is learned is the same (see `processes`). An interruption (SIGINT, SIGTERM)
ends with the step that is under way (of several processes, that comes after what the first writes), and with a
checkpoint.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from . import files, pretrained, processes, runs
from .errors import BadFile, SpeechlibError, UnknownName
from .journal import CodeUsage, Journal
from .models import shares
from .runs import Run

Progress = Callable[[int, int, str], None]  # (done, total, text): called often, never by default


@dataclass(frozen=True)
class TrainingConfig:
    steps: int = 1000
    batch_size: int = 32
    accumulate: int = 1  # batches whose gradients, averaged, make one step
    n_frames: int = 47  # length of a crop
    learning_rate: float = 2e-4
    schedule: str = "constant"  # constant, or cosine: down to zero at the last step
    learning_rates: tuple[tuple[int, float], ...] = ()  # (step, rate): from that step on, instead of learning_rate
    warmup: int = 0  # steps over which the learning rate rises to its value
    optimizer: str = "adam"  # adam, adamw, rmsprop, or sgd: with Nesterov's momentum
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam's two averages; RMSprop's momentum and average; SGD's momentum
    eps: float = 1e-8  # of Adam's and RMSprop's denominator
    amsgrad: bool = False
    weight_decay: float = 0.0
    grad_clip: float = 0.0  # largest gradient norm; 0 = not clipped
    ema_decay: float = 0.0  # of the averaged weights that are validated and kept; 0 = the weights themselves
    precision: str = "auto"  # auto (bf16 where the device computes in it), bf16 or fp32
    device: str = "auto"  # auto, or as torch names it: cpu, cuda, cuda:1
    log_every: int = 10
    validate_every: int = 100
    validate_batches: int = 4
    best_by: str = ""  # the validation term whose lowest value marks the weights to use; "" = the last ones
    checkpoint_every: int = 500
    record_gradients: bool = False
    record_codebook: bool = False
    record_histograms: bool = False  # TensorBoard: z_e, codebook, codes, distances, speakers, weights, gradients
    record_every: int = 100  # steps between two recordings
    sample_every: int = 0  # steps between two waves of what is learned in the run's samples/; 0 = none
    start_from: str = ""  # weights to begin with: the name of a shipped checkpoint, or a path of one
    frozen: tuple[str, ...] = ()  # submodules that stay as they begin: neither weights nor buffers of theirs move
    part: str = ""  # of the model (melnet: tier_1, ...): the only one trained; each: one after the other, by itself

    def __post_init__(self):
        for name, known in (
            ("schedule", ("constant", "cosine")),
            ("optimizer", ("adam", "adamw", "rmsprop", "sgd")),
            ("precision", ("auto", "bf16", "fp32")),
        ):
            if getattr(self, name) not in known:
                raise UnknownName(f"training.{name}", getattr(self, name), known)
        for name in (
            "steps",
            "batch_size",
            "accumulate",
            "n_frames",
            "log_every",
            "validate_every",
            "checkpoint_every",
            "record_every",
        ):
            if getattr(self, name) < 1:
                raise SpeechlibError(f"training.{name} is {getattr(self, name)}, needs 1 or more")
        if not self.learning_rate > 0:
            raise SpeechlibError(f"training.learning_rate is {self.learning_rate}, needs more than 0")
        first = [step for step, _ in self.learning_rates]
        if first != sorted(set(first)) or any(rate <= 0 for _, rate in self.learning_rates):
            raise SpeechlibError(
                f"training.learning_rates {self.learning_rates}: rising steps, each with a rate above 0"
            )
        if not 0 <= self.ema_decay < 1:
            raise SpeechlibError(f"training.ema_decay is {self.ema_decay}, needs 0 (off) to less than 1")


def descend(
    model: nn.Module,
    objective: Callable,
    batches,
    config: TrainingConfig,
    run: Run,
    validation=None,
    snapshot: Callable[[nn.Module], dict[str, Tensor]] | None = None,
    progress: Progress | None = None,
    listen: Callable[[nn.Module, int], None] | None = None,
) -> nn.Module:
    """Lower objective(model, batch)["loss"] for config.steps steps, from the run's last checkpoint if it has one.

    batches and validation have `batch(n)` and a length, the batches of an epoch (batches.Crops). snapshot(model) gives
    what is recorded with `record_codebook` and `record_histograms`, listen(model, step) writes the waves of
    `sample_every`. Returns the model with the weights to use (averaged where averaged), in eval mode. Raises
    SpeechlibError that names term, step and utterances when a term is no longer finite, and marks the run failed, as it
    does for any other error.
    """
    team = processes.here()
    device = device_of(config)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision_of(config, device) == "bf16")
    model.to(device).train()
    freeze(model, config.frozen)
    if config.start_from and not run.training_state.exists():
        begin(model, config.start_from, run, config.frozen)
    optimizer = make_optimizer(model, config)
    average = Average(model, config.ema_decay)
    usage, epoch = CodeUsage(model), -(-len(batches) // config.accumulate)  # in steps
    best = Best(config.best_by)
    done, seconds = resume(run, model, optimizer, average, usage, best)
    team = team.sharing(run.system, config.batch_size, config.accumulate, shares.follows(model))
    team.agree(model.state_dict(), average.state)
    rate = partial(learning_rate, config)
    journal = Journal(run, batches, rate, done, seconds) if team.is_first else None
    try:
        with deterministic(), processes.Interruption() as interrupted:
            for step in range(done + 1, config.steps + 1):
                if (step - 1) % epoch == 0:
                    usage.clear()
                optimizer.zero_grad()
                passes, taken = [], team.taken(step, config.accumulate)
                for n in taken:
                    seed_step(run.seed, n)
                    with team.split():
                        with autocast:
                            passes.append(objective(model, team.share(batches.batch(n))))
                        (passes[-1]["loss"] / len(taken)).backward()
                terms = {name: sum(t[name].detach().float() for t in passes) / len(passes) for name in passes[0]}
                terms, stop = team.join(model.parameters(), terms, bool(interrupted))
                recording = journal and due(step, config.record_every, config)
                if recording and config.record_gradients:
                    journal.gradients(step, model)
                if recording and config.record_histograms:
                    journal.layers(step, model)
                norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip or math.inf)
                optimizer.param_groups[0]["lr"] = rate(step)
                optimizer.step()
                average.update(step)
                if journal:
                    together = range((step - 1) * config.accumulate, step * config.accumulate)
                    journal.note(step, together, terms | {"gradient_norm": norm})
                    if due(step, config.log_every, config):
                        journal.log(step)
                    if validation is not None and due(step, config.validate_every, config):
                        with average.in_place(), autocast:
                            found = validate(model, objective, validation, config)
                        journal.write(step, "validation", found)
                        best.note(step, found, average.weights())
                    if recording and snapshot is not None:
                        with average.in_place():
                            tensors = snapshot(model)
                        if config.record_codebook:
                            journal.codebook(step, tensors)
                        if config.record_histograms:
                            journal.histograms(step, tensors)
                    heard(listen, model, average, step, config)
                    if usage.counts and (step % epoch == 0 or step == config.steps):
                        journal.codes(step, step / epoch, usage.counts)
                    stop = stop or (team.count == 1 and bool(interrupted))  # several have agreed, and keep to it
                    if step % config.checkpoint_every == 0 or step == config.steps or stop:
                        journal.check()
                        keep(run, model, optimizer, average, usage, best, step, journal.seconds())
                    if progress:
                        progress(step, config.steps, journal.text)
                if stop:
                    team.wait()  # for the checkpoint: a launcher ends those that are left when one is gone
                    raise KeyboardInterrupt
    except Exception as error:
        if journal:
            run.fail(error)
        raise
    finally:
        usage.close()
        if journal:
            journal.close()
    average.use()
    best.use(run, model)
    team.agree(model.state_dict())  # the best weights are those of the first process
    return model.eval()


def freeze(model: nn.Module, names: Iterable[str]) -> None:
    """Submodules that stay as they are: no gradient moves their parameters, and in eval mode no batch their buffers.

    Raises UnknownName for a name that is no submodule, SpeechlibError where nothing is left to train.
    """
    for name in names:
        parts = [part for part, _ in model.named_modules() if part]
        if name not in parts:
            raise UnknownName("submodule in training.frozen", name, parts)
        model.get_submodule(name).requires_grad_(False).eval()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise SpeechlibError(f"training.frozen {tuple(names)} leaves nothing to train")


def device_of(config: TrainingConfig) -> torch.device:
    """The device that the config asks for. Raises SpeechlibError where this machine has none of the kind, and where
    several processes, which have one each, are to share it."""
    team = processes.here()
    if config.device in ("auto", str(team.device)):
        return team.device
    if team.count > 1:
        raise SpeechlibError(
            f"training.device is {config.device!r}, and {team.count} processes have a device each: leave it auto "
            "(ACCELERATE_USE_CPU=1 before the launch takes CPU cores)"
        )
    try:
        return torch.empty(0, device=config.device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SpeechlibError(f"training.device is {config.device!r}: {reason}. Use auto or cpu") from None


def precision_of(config: TrainingConfig, device: torch.device) -> str:
    """fp32 or bf16: with `auto`, bf16 where the device multiplies in it, as it then takes about half the time."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else "fp32"


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    common = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            parameters, momentum=config.betas[0], alpha=config.betas[1], eps=config.eps, **common
        )
    common["fused"] = True
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=config.betas[0], nesterov=config.betas[0] > 0, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(parameters, betas=config.betas, eps=config.eps, amsgrad=config.amsgrad, **common)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Of step 1, 2, ... config.steps: a linear rise over `warmup` steps, then constant, in stairs (`learning_rates`)
    or a cosine down to zero."""
    rise = min(1.0, step / config.warmup) if config.warmup else 1.0
    rate = ([config.learning_rate] + [rate for first, rate in config.learning_rates if step >= first])[-1]
    if config.schedule == "constant":
        return rate * rise
    progress = max(0, step - config.warmup) / max(1, config.steps - config.warmup)
    return rate * rise * (1 + math.cos(math.pi * progress)) / 2


def seed_step(seed: int, n: int) -> None:
    """Seed torch for batch n; neighbouring (seed, n) share nothing."""
    torch.manual_seed(int(np.random.SeedSequence((seed, n)).generate_state(1)[0]))


@contextmanager
def deterministic():
    """Inside: torch's random numbers are ours and its operations repeatable; outside: as the caller had them."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is repeatable only with a fixed workspace
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory
    torch.backends.cudnn.benchmark = torch.utils.deterministic.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory = cudnn


class Average:
    """Exponential moving average of weights (Polyak); decay 0 leaves everything to the weights themselves.

    The decay of step n is min(decay, (1 + n) / (10 + n)), so that the random start is soon forgotten. Buffers that
    hold floats (codebooks, their counts) are averaged with the weights they belong to; others are taken as they are.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        self.state = {name: t.clone() for name, t in model.state_dict().items()} if decay else {}

    def weights(self) -> dict[str, Tensor]:
        """The weights to use."""
        return self.state or self.model.state_dict()

    @torch.no_grad()
    def update(self, step: int) -> None:
        if not self.state:
            return
        now = self.model.state_dict()
        floats = [name for name, tensor in now.items() if tensor.is_floating_point()]
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([self.state[name] for name in floats], [now[name] for name in floats], 1 - decay)
        for name in now.keys() - set(floats):
            self.state[name].copy_(now[name])

    @contextmanager
    def in_place(self):
        """Inside: the model has the averaged weights and is in eval mode."""
        raw = {name: tensor.clone() for name, tensor in self.model.state_dict().items()} if self.state else None
        modes = [(module, module.training) for module in self.model.modules()]  # frozen ones are in eval mode already
        self.use()
        self.model.eval()
        try:
            yield
        finally:
            if raw:
                self.model.load_state_dict(raw)
            for module, training in modes:
                module.training = training

    def use(self) -> None:
        if self.state:
            self.model.load_state_dict(self.state)


class Best:
    """The weights at whose validation `term` was lowest so far; nothing where `term` is empty.

    They are kept in memory until the next checkpoint, so that the run's best weights are never of a later step than its
    last ones, and a resumed training finds them as an uninterrupted one has left them.
    """

    def __init__(self, term: str):
        self.term, self.value, self.step = term, math.inf, 0
        self.unsaved: dict[str, Tensor] = {}

    def note(self, step: int, found: dict[str, float], weights: dict[str, Tensor]) -> None:
        """Raises UnknownName for a term that the validation does not have."""
        if not self.term:
            return
        if self.term not in found:
            raise UnknownName("training.best_by: term of the validation", self.term, found)
        if found[self.term] < self.value:
            self.value, self.step = found[self.term], step
            self.unsaved = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def keep(self, run: Run, model: nn.Module) -> dict[str, float]:
        """Write what is new; what `restore` needs."""
        if self.unsaved:
            about = {"step": self.step, "experiment": run.experiment, self.term: self.value}
            runs.save_model(run.best, model, run.system, self.unsaved, **about)
            self.unsaved = {}
        return {"value": self.value, "step": self.step} if self.step else {}

    def restore(self, kept: dict[str, float]) -> None:
        self.value, self.step = kept.get("value", math.inf), kept.get("step", 0)

    def use(self, run: Run, model: nn.Module) -> None:
        if self.step:
            runs.load_weights(model, runs.load_tensors(run.best)[0], run.best)


@torch.inference_mode()
def validate(model: nn.Module, objective: Callable, batches, config: TrainingConfig) -> dict[str, float]:
    """Mean of every term over the first `validate_batches` batches."""
    count = max(1, config.validate_batches)
    terms = [objective(model, batches.batch(n)) for n in range(count)]
    return {name: sum(float(t[name]) for t in terms) / count for name in terms[0]}


def begin(model: nn.Module, start_from: str, run: Run, frozen: tuple[str, ...] = ()) -> None:
    """Take from a checkpoint the weights and statistics whose names and shapes are the model's own, or those of one of
    its parts: a vocoder becomes the decoder of a codec.

    What was taken and what was not goes to the run's start.json. Raises SpeechlibError where nothing fits or a part of
    what is `frozen` does not: it would stay random; UnknownName where there is no such checkpoint.
    """
    path = pretrained.find(start_from)
    tensors, metadata = runs.load_tensors(path)
    own = model.state_dict()
    parts = ["", *(f"{name}." for name, _ in model.named_children())]
    tensors = max(({part + name: t for name, t in tensors.items()} for part in parts), key=lambda t: _fitting(t, own))
    taken = {name: t for name, t in tensors.items() if name in own and own[name].shape == t.shape}
    if not taken:
        raise SpeechlibError(
            f"training.start_from {start_from!r} is a {metadata.get('system', 'file')} of which nothing has a place in "
            f"this {run.system}: they share no name and shape"
        )
    for name in own.keys() - taken.keys():
        if name.startswith(tuple(f"{part}." for part in frozen)):
            there = "missing" if name not in tensors else tuple(tensors[name].shape)
            raise SpeechlibError(
                f"training.frozen {frozen} would keep {name} as it was drawn: it is {there} in {start_from!r} and "
                f"{tuple(own[name].shape)} here. Are encoder and quantizer those of the other model?"
            )
    model.load_state_dict(own | taken)
    report = {
        "from": start_from,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "taken": sorted(taken),
        "left_there": {name: list(t.shape) for name, t in tensors.items() if name not in taken},
        "new_here": {name: list(t.shape) for name, t in own.items() if name not in taken},
    }
    if processes.here().is_first:
        files.write_json(run.path / "start.json", report)


def _fitting(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> int:
    return sum(name in own and own[name].shape == t.shape for name, t in tensors.items())


def keep(
    run: Run,
    model: nn.Module,
    optimizer,
    average: Average,
    usage: CodeUsage,
    best: Best,
    step: int,
    seconds: float,
) -> None:
    """Write the checkpoint to use and the state to continue from.

    A kill at any moment does no harm: resuming reads only training.safetensors, which is replaced in one stroke.
    """
    runs.save_model(run.checkpoint, model, run.system, average.weights(), step=step, experiment=run.experiment)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.state.items()}
    tensors |= {f"usage.{name}": counts for name, counts in usage.counts.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items() if value is not None}
    about = {"step": step, "seconds": seconds, "identity": runs.identity(run.experiment), "best": best.keep(run, model)}
    runs.save_tensors(run.training_state, tensors, about)
    run.mark("running", step=step)


def resume(run: Run, model: nn.Module, optimizer, average: Average, usage: CodeUsage, best: Best) -> tuple[int, float]:
    """Restore what `keep` wrote. Returns the steps done and the seconds they took; (0, 0) where nothing was kept.

    Raises BadFile for a truncated state and for one of another experiment.
    """
    if not run.training_state.exists():
        return 0, 0.0
    tensors, metadata = _training_state(run)
    runs.load_weights(model, _part(tensors, "model."), run.training_state)
    for own, kept in ((average.state, "average."), (usage.counts, "usage.")):
        for name, tensor in _part(tensors, kept).items():
            own[name].copy_(tensor)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, "optimizer.").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    best.restore(metadata.get("best", {}))
    return metadata["step"], metadata["seconds"]


def raw_weights(run: Run) -> dict[str, Tensor]:
    """The weights themselves at the last checkpoint, where the checkpoint holds their average. Raises BadFile."""
    return _part(_training_state(run)[0], "model.")


def _training_state(run: Run) -> tuple[dict[str, Tensor], dict]:
    tensors, metadata = runs.load_tensors(run.training_state)
    if metadata.get("identity") != runs.identity(run.experiment):
        raise BadFile(run.training_state, "belongs to another experiment: delete it and train again")
    return tensors, metadata


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def bar(description: str = "training") -> Progress:
    """A progress bar with the time left, for notebooks and the command line."""
    from tqdm.auto import tqdm

    display = tqdm(desc=description, disable=os.environ.get("RANK", "0") != "0")  # one bar for several processes

    def show(done: int, total: int, text: str = "") -> None:
        if total != display.total:  # the first call, or another stage: packing, then training
            display.reset(total)
        display.set_postfix_str(text, refresh=False)
        display.update(done - display.n)
        if done >= total:
            display.refresh()

    return show


def heard(
    listen: Callable[[nn.Module, int], None] | None,
    model: nn.Module,
    average: Average,
    step: int,
    config: TrainingConfig,
) -> None:
    """Let the averaged model be heard where the step is one of `sample_every`."""
    if listen is not None and config.sample_every and due(step, config.sample_every, config):
        with average.in_place(), processes.alone():
            listen(model, step)


def due(step: int, every: int, config: TrainingConfig) -> bool:
    """Whether a step is one of every so many, the first or the last."""
    return step % every == 0 or step in (1, config.steps)
