"""From an experiment to its finished run and back: the same steps for every system.

A system is one file of this room. It says how its model is made (`new`), what of the training part the model must know
(`fit`), what is lowered (`objective`), what is recorded on the way (`snapshot`) and what a run is judged by (`scores`);
and, where they are others than usual, what it learns from (`batches_of`), who takes turns (`players`) and what is heard
of it while it learns (`listen`).
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import ModuleType

import torch
from torch import Tensor, nn

from .. import alternation, configs, pretrained, processes, runs, training
from ..errors import BadFile, SpeechlibError, UnknownName
from ..models import shares
from ..presets import CODES, Experiment
from ..runs import Run
from ..training import Progress
from . import (
    adversarial_autoencoder,
    clarinet,
    flowavenet,
    melnet,
    parts,
    prior,
    recogniser,
    vae,
    vqvae,
    vqvae_wavenet,
    wae,
    wae_gan,
    wavenet,
    wavenet_autoencoder,
    wgan,
)
from .coded import code_pack
from .data import Data, Trained, crops, packed

SYSTEMS: dict[str, ModuleType] = {
    "clarinet": clarinet,
    "flowavenet": flowavenet,
    "melnet": melnet,
    "prior": prior,
    "recogniser": recogniser,
    "vae": vae,
    "vqvae": vqvae,
    "vqvae_wavenet": vqvae_wavenet,
    "wae": wae,
    "wae_gan": wae_gan,
    "wgan": wgan,
    "wavenet": wavenet,
    "wavenet_autoencoder": wavenet_autoencoder,
    "adversarial_autoencoder": adversarial_autoencoder,
}


NO_RUN = "there is no finished run of it"


def system_of(experiment: Experiment) -> ModuleType:
    if experiment.system not in SYSTEMS:
        raise UnknownName("system", experiment.system, SYSTEMS)
    return SYSTEMS[experiment.system]


def prepare(experiment: Experiment, progress: Progress | None = None, executor: Executor | None = None) -> Data:
    """What an experiment learns from, packed (by an `executor`, where one is given and no codes have to be made) and
    split. What is on disk already is opened, not made again.

    An experiment on codes learns those of its source, on the same utterances in the same parts: the codec is trained
    first, if it is not, and every utterance is encoded once. Raises SpeechlibError where the two do not agree.
    """
    team = processes.here()
    if experiment.inputs != CODES:
        with team.first_before_others():
            return packed(experiment, progress, executor)
    codec = source_of(replace(experiment, source=experiment.codec), progress)
    for name in ("corpus", "pack", "split"):
        own, its = getattr(experiment, name), getattr(codec.experiment, name)
        if own != its:
            raise SpeechlibError(f"{name} of the {experiment.system} is {own}, its source was trained with {its}")
    with team.first_before_others():
        return codec.data._replace(pack=code_pack(codec, progress))


def source_of(experiment: Experiment, progress: Progress | None = None, data: Data | None = None) -> Trained:
    """What an experiment builds on, trained: its finished run, else the checkpoint of the same experiment that ships
    with the package, else a run made now. `data`, where it is given, is what the source has learned from as well.
    Raises SpeechlibError for an experiment that builds on nothing."""
    source = experiment.source
    if source is None:
        raise SpeechlibError(f"the {experiment.system} builds on no other experiment: its `source` is empty")
    name = _shipped_as(source)
    return load_pretrained(name, data) if name else load(train(source, progress, data), data)


def shipped_for(experiment: Experiment) -> str:
    """The checkpoint that ships with the package and has learned for longer what this experiment learns: of its system,
    from the same utterances and features. Empty where there is none."""
    alike = ("system", "corpus", "pack", "split", "inputs", "targets", "codec")
    for name in pretrained.names():
        known = shipped(name)
        if all(getattr(known, part) == getattr(experiment, part) for part in alike):
            return name
    return ""


def _shipped_as(source: Experiment) -> str:
    """The checkpoint that ships with the package and is of this very experiment; empty where there is none, or where
    its run is done."""
    if runs.finished(source) is None:
        for name in pretrained.names():
            if replace(shipped(name), preset=source.preset) == source:
                return name
    return ""


def build(experiment: Experiment, data: Data) -> nn.Module:
    """The untrained model, with the statistics of the training part in it."""
    system = system_of(experiment)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.seed)
        model = system.new(experiment, len(data.pack.speakers))
    system.fit(model, experiment, data)
    return model


def describe(experiment: Experiment) -> str:
    """The system's own name for a model of these sizes on this corpus; empty for systems that have no such names."""
    system = system_of(experiment)
    return system.describe(experiment) if hasattr(system, "describe") else ""


def blank(experiment: Experiment) -> nn.Module:
    """The model before it has seen any data: for one speaker, and without statistics."""
    return system_of(experiment).new(experiment, 1)


def summary(experiment: Experiment):
    """DataFrame of the model's layers: kind, parameters and, where the model can tell, the shape for one crop.

    Needs no data (one speaker is assumed).
    """
    import pandas

    model = blank(experiment)
    if hasattr(model, "summary"):
        return pandas.DataFrame(model.summary(experiment.training.n_frames)).set_index("name")
    own = {name: list(part.parameters(recurse=False)) for name, part in model.named_modules()}
    rows = [
        (name, type(model.get_submodule(name)).__name__.removeprefix("Parametrized"), sum(p.numel() for p in weights))
        for name, weights in own.items()
        if weights
    ]
    return pandas.DataFrame(rows, columns=["name", "kind", "parameters"]).set_index("name")


def train(experiment: Experiment, progress: Progress | None = None, data: Data | None = None) -> Run:
    """The finished run of an experiment: as it is if there is one, else trained (on) and evaluated.

    `data` spares preparing it again. Any error marks the run failed, with the reason; SpeechlibError is for what a user
    can mend.
    """
    run, team = runs.finished(experiment), processes.here()
    if run is None:
        _shareable(team, experiment)
    if team.first_says(run is not None):
        return run or runs.find(experiment)
    with team.first_before_others():
        run = runs.create(experiment)
    return _finish(run, experiment, progress, data)


def train_part(experiment: Experiment, part: str, progress: Progress | None = None, data: Data | None = None) -> Run:
    """The finished training of one part ("tier_2") of an experiment whose parts are trained each by itself
    (training.part = "each"), in its folder inside the experiment's run: as it is if there is one, else trained (on).

    Raises UnknownName for a part that there is not, BadFile where the folder holds one of another model.
    """
    system = system_of(experiment)
    alone = parts.alone(experiment, system, part)
    team = processes.here()
    _shareable(team, alone)
    with team.first_before_others():
        whole = runs.create(experiment)
        run = runs.inside(whole, part, alone)
    parts.check(run, experiment_of(run), alone, system)
    if run.status == "done":
        return run
    if team.is_first:
        parts.count(whole)
    try:
        return _finish(run, alone, progress, data)
    finally:
        if team.is_first:
            parts.count(whole)


def _shareable(team: processes.Team, experiment: Experiment) -> None:
    """Raises SpeechlibError, before anything is begun, where the processes cannot share the batches of an experiment,
    or of one that has to be trained before it."""
    config = experiment.training
    dealt = config.batch_size % team.count > 0
    team.sharing(experiment.system, config.batch_size, config.accumulate, dealt and shares.follows(blank(experiment)))
    if experiment.source is not None and not _shipped_as(experiment.source):
        run = runs.find(experiment.source)
        if run is None or run.status != "done":
            _shareable(team, experiment.source)


def _finish(run: Run, experiment: Experiment, progress: Progress | None, data: Data | None) -> Run:
    """Train and evaluate in the folder of `run`, or wait for another process that does."""
    team = processes.here()
    with run.locked() if team.is_first else nullcontext():
        team.wait()
        if run.status == "done":  # another training finished it while this one waited for the lock
            return run
        try:
            data = data or prepare(experiment, progress)
            model = _descend(experiment, data, run, progress)
            if team.is_first:
                with processes.alone():
                    run.write_summary(evaluate(Trained(model, experiment, data, run)))
                run.mark("done")
            team.wait()  # so that all of them see it done
        except Exception as error:
            if team.is_first:
                run.fail(error)
            raise
    return run


def _descend(experiment: Experiment, data: Data, run: Run, progress: Progress | None) -> nn.Module:
    system = system_of(experiment)
    if experiment.training.part:
        parts.names(experiment, system)  # refuses a system that has none
    model = build(experiment, data)
    if experiment.training.part == parts.EACH:
        found = [train_part(experiment, *told, data) for told in parts.progresses(experiment, system, progress)]
        return parts.assemble(model, run, found, experiment, system)
    data = data._replace(pack=data.pack.to(training.device_of(experiment.training)))
    batches_of = getattr(system, "batches_of", crops)
    validation = batches_of(experiment, data, "val")
    config, snapshot = experiment.training, None
    if config.record_codebook or config.record_histograms:
        snapshot = _snapshot(experiment, validation.batch(0))
    listen = None
    if config.sample_every:
        if not hasattr(system, "listen"):
            raise SpeechlibError(f"training.sample_every is {config.sample_every}: a {experiment.system} is not heard")
        listen = partial(system.listen, experiment, data, run)
    if experiment.source and experiment.source.system == experiment.system:  # a stage before: go on from its weights
        config = replace(config, start_from=str(train(experiment.source, progress).weights))
    elif experiment.source not in (None, experiment.codec) and not config.start_from:  # a teacher: a part, and frozen
        found = _shipped_as(experiment.source) or str(train(experiment.source, progress).weights)
        config = replace(config, start_from=found)
    if config.part and config.start_from:
        parts.refuse_others(model, pretrained.find(config.start_from), experiment, system)
    if hasattr(system, "players"):
        _records_nothing(experiment)
        turns = system.players(experiment), batches_of(experiment, data), config
        return alternation.alternate(model, *turns, run, validation, system.objective, progress, listen)
    return training.descend(
        model, system.objective, batches_of(experiment, data), config, run, validation, snapshot, progress, listen
    )


def _records_nothing(experiment: Experiment) -> None:
    """Raises SpeechlibError where something is to be recorded of players that take turns: nobody does."""
    asked = [name for name, value in vars(experiment.training).items() if name.startswith("record_") and value is True]
    if asked:
        raise SpeechlibError(f"training.{asked[0]} is on: nothing is recorded of a {experiment.system}, turn it off")


def _snapshot(experiment: Experiment, batch) -> Callable | None:
    """What a system records of its codebook, and of its speakers; None for one that has none."""
    system = system_of(experiment)
    if not hasattr(system, "snapshot"):
        if experiment.training.record_codebook:
            raise SpeechlibError(f"training.record_codebook is on, and a {experiment.system} has no codebook")
        return None
    recorded = system.snapshot(experiment, batch)

    def record(model: nn.Module) -> dict[str, Tensor]:
        table = system.speaker_table(model)
        return recorded(model) | ({} if table is None else {"speaker_vectors": table.weight})

    return record if recorded else None


def evaluate(trained: Trained) -> dict[str, float]:
    """What a run is judged by, on its validation part: the terms of its objective at the last step (at the best one,
    where training.best_by is given), the system's own scores, what it cost.

    Where parts are trained each by itself, their terms are in their own summaries.
    """
    experiment, split = trained.experiment, trained.data.split
    config, trainings = experiment.training, trained.run.parts() or [trained.run]
    frames = config.accumulate * config.batch_size * config.n_frames  # of a step
    frame_rate = trained.data.pack.config_of(experiment.frames("inputs")).frame_rate
    own = system_of(experiment).scores(trained)
    return {
        **({} if config.part == parts.EACH else _last_terms(trained.run)),
        **own,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "steps": config.steps,
        "audio_seconds": own.get("audio_seconds", config.steps * frames / frame_rate),
        "train_utterances": len(split["train"]),
        "val_utterances": len(split["val"]),
        "seconds": sum(float(run.metrics("train")["seconds"].iloc[-1]) for run in trainings),
    }


def _last_terms(run: Run) -> dict[str, float]:
    validation, chosen = run.metrics("validation"), {}
    if run.experiment["training"].get("best_by"):
        chosen = {"best_step": runs.load_tensors(run.best)[1]["step"]}
        validation = validation[validation["step"] == chosen["best_step"]]
    terms = validation.iloc[-1].drop(["step", "seconds"])
    return {name: float(value) for name, value in terms.items()} | chosen


def load(run: Run, data: Data | None = None, averaged: bool = True, best: bool = True) -> Trained:
    """A run with its model (on the CPU, in eval mode) and data (`data` spares preparing it again).

    Where the validation chose a step (training.best_by) its weights are taken, unless `best` is False: then the last
    ones. Where weights were averaged (training.ema_decay), `averaged` says which of the last ones to take: their
    average, or the weights themselves. Raises BadFile where the run is of another version or its checkpoint is damaged.
    """
    experiment = experiment_of(run)
    model = runs.load_model(run.weights if best and averaged else run.checkpoint)
    if not averaged:
        raw = [training.raw_weights(part) for part in run.parts() or [run]]
        runs.load_weights(model, {name: t for weights in raw for name, t in weights.items()}, run.training_state)
    return Trained(model, experiment, data or prepare(experiment), run)


def at_hand(
    experiments: Mapping[str, Experiment], data: Data | None = None
) -> tuple[dict[str, Trained], dict[str, str]]:
    """(those of the experiments that are trained, why the others are not here), both by name.

    What several of them learn from is opened once; `data` spares that too.
    """
    found: dict[str, Trained] = {}
    absent = {}
    for name, experiment in experiments.items():
        try:
            if (run := runs.finished(experiment)) is None:
                absent[name] = NO_RUN
            else:
                found[name] = load(run, data or data_of(experiment, found.values()))
        except SpeechlibError as error:
            absent[name] = str(error)
    return found, absent


def data_of(experiment: Experiment, others: Iterable[Trained]) -> Data | None:
    """What an experiment learns from, where one of the others has it open."""
    return next((other.data for other in others if opens(other.experiment) == opens(experiment)), None)


def opens(experiment: Experiment) -> tuple:
    """All that `prepare` goes by: the same for experiments that learn from the same data."""
    voices = getattr(experiment.model, "voices", "speaker")
    return experiment.corpus, experiment.pack, experiment.split, voices, experiment.codec


def load_pretrained(name: str, data: Data | None = None) -> Trained:
    """A checkpoint that ships with the package, in place of a run of one's own; `run` is None.

    `data` is taken where it is packed as the checkpoint's was, and has as many speakers as it knows, if it knows
    any. Raises UnknownName with the names that exist.
    """
    model, experiment = runs.load_model(pretrained.path(name)), shipped(name)
    n_speakers = model.sizes.get("n_speakers", 0)
    if data is None or data.pack.config != experiment.pack or n_speakers not in (0, len(data.pack.speakers)):
        data = prepare(experiment)
    return Trained(model, experiment, data, None)


def shipped(name: str) -> Experiment:
    """What a checkpoint that ships with the package was trained by."""
    return configs.from_dict(Experiment, pretrained.card(name)["experiment"])


def experiment_of(run: Run) -> Experiment:
    """The experiment that a run resolved. Raises BadFile for keys or values that this version does not know."""
    try:
        return configs.from_dict(Experiment, run.experiment)
    except SpeechlibError as error:
        made_by = run.config.get("versions", {}).get("speechlib", "another version")
        reason = (
            f"was made by speechlib {made_by} with settings unknown here ({error}): train again, or use that version"
        )
        raise BadFile(run.path / "config.json", reason) from None
