"""A model whose parts are trained each by itself: one run, in which every part has a folder of its own.

    outputs/runs/melnet-demo-0-0f36.../
        tier_1/ tier_2/ ...        each with all that a run has: config, metrics, checkpoint, optimiser, step, summary
        checkpoint.safetensors     the whole model, put together once every part is done

A part is an experiment like any other (`training.part` names it), so it is trained, killed, resumed and compared as
one, here or on another machine: a folder that was trained elsewhere is taken as it is, once it is seen to be what this
run wants. The parts of a MelNet are its tiers. They share no weights, each begins as it would in company, sees the same
crops with the same noise, and so learns the same, as long as no gradient is clipped: the norm of one tier is less than
that of all.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from .. import configs, processes, runs
from ..errors import BadFile, SpeechlibError, UnknownName
from ..presets import Experiment
from ..runs import Run
from ..training import Progress

EACH = "each"  # training.part: all parts, one after the other
_TOLD = 3  # settings that an error names


def names(experiment: Experiment, system: ModuleType) -> tuple[str, ...]:
    """What the parts of this model are called. Raises SpeechlibError for a system whose model has none."""
    if not hasattr(system, "parts"):
        raise SpeechlibError(f"training.part is {experiment.training.part!r}: a {experiment.system} is trained as one")
    return system.parts(experiment)


def alone(experiment: Experiment, system: ModuleType, part: str) -> Experiment:
    """The training of one part. Raises UnknownName for a part that the model does not have."""
    if part not in (known := names(experiment, system)):
        raise UnknownName(f"part of this {experiment.system}", part, known)
    return replace(experiment, training=replace(experiment.training, part=part))


def progresses(
    experiment: Experiment, system: ModuleType, progress: Progress | None
) -> Iterator[tuple[str, Progress | None]]:
    """Each part with a progress of its own, which counts the steps of all."""
    known, steps = names(experiment, system), experiment.training.steps
    for k, part in enumerate(known):

        def tell(done: int, _of: int, text: str = "", before: int = k * steps, part: str = part) -> None:
            progress(before + done, len(known) * steps, f"{part} {text}")

        yield part, progress and tell


def check(run: Run, found: Experiment, wanted: Experiment, system: ModuleType) -> None:
    """Whether the folder of a part holds the training that is wanted. Raises BadFile that names both models."""
    found = replace(found, preset=wanted.preset)
    if found == wanted:
        return
    theirs, ours = (configs.flatten(experiment) for experiment in (found, wanted))
    differ = [name for name in ours if theirs.get(name) != ours[name]]
    told = "; ".join(f"{name} {theirs.get(name)!r} there, {ours[name]!r} here" for name in differ[:_TOLD])
    more = f" and {len(differ) - _TOLD} more" if len(differ) > _TOLD else ""
    kinds = (f"{experiment.training.part} of {system.describe(experiment)}" for experiment in (found, wanted))
    raise BadFile(
        run.path, "is {}, this run needs {}: ".format(*kinds) + f"{told}{more}. Move it away, and train again"
    )


def count(run: Run) -> None:
    """The whole has begun; its steps are those of its parts."""
    run.mark("running", step=sum(part.step for part in run.parts()))


def refuse_others(model: nn.Module, path: str | Path, wanted: Experiment, system: ModuleType) -> None:
    """Raises BadFile, naming both models, where a checkpoint to begin with lacks a weight of the part (a parameter of
    `model`) or has it in another size: what does not fit would silently begin at random."""
    tensors, metadata = runs.load_tensors(Path(path))
    bad = [name for name, p in model.named_parameters() if name not in tensors or tensors[name].shape != p.shape]
    if not bad:
        return
    its = _kind(metadata, wanted, system)
    there = "missing" if bad[0] not in tensors else tuple(tensors[bad[0]].shape)
    raise BadFile(
        path,
        f"is of {its}, {wanted.training.part} of {system.describe(wanted)} cannot begin with it: {bad[0]} is {there} "
        f"there and {tuple(model.get_parameter(bad[0]).shape)} here",
    )


def _kind(metadata: dict, wanted: Experiment, system: ModuleType) -> str:
    """What a checkpoint is, from its metadata."""
    if metadata.get("system") != wanted.system or "experiment" not in metadata:
        return f"a {metadata.get('system', 'file of another program')}"
    return system.describe(configs.from_dict(Experiment, metadata["experiment"]))


def assemble(model: nn.Module, run: Run, trained: list[Run], experiment: Experiment, system: ModuleType) -> nn.Module:
    """The whole model, in eval mode, of its parts; written as the checkpoint of their run.

    Raises BadFile for a part that is of another model, or knows the statistics of other data.
    """
    writes = processes.here().is_first
    if writes:
        count(run)
    for path in dict.fromkeys((run.checkpoint, run.weights)):  # the last weights, then those to use
        whole: dict[str, Tensor] = {}
        for part in trained:
            tensors, metadata = runs.load_tensors(part.path / path.name)
            if metadata.get("config") != configs.to_dict(model.config):
                kinds = f"{_kind(metadata, experiment, system)}, this run is {system.describe(experiment)}"
                raise BadFile(part.path / path.name, f"is of {kinds}: train {part.name} again")
            for name in tensors.keys() & whole.keys():
                if not torch.equal(tensors[name], whole[name]):
                    raise BadFile(part.path / path.name, f"knows other data than {trained[0].path}: {name} differs")
            whole |= tensors
        runs.load_weights(model, whole, run.path)
        if writes:
            runs.save_model(path, model, run.system, step=run.step, experiment=run.experiment)
    return model.eval()
