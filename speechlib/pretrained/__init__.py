"""Small checkpoints of ours that ship with the package, so that the first run sounds well.

    pretrained.names()                  what there is
    pretrained.card("wavenet")          what it is, and the command that made it
    runs.load_model(path("wavenet"))    the model; systems.load_pretrained adds experiment and data

A file is a run's checkpoint with float16 weights and, in its metadata, its card. All were trained on the `toy` corpus,
which is synthetic speech: no recording of a person is in them. README.md lists them; `release` writes both.
"""

from pathlib import Path

import torch

from .. import files, runs
from ..errors import SpeechlibError, UnknownName
from ..runs import Run

FOLDER = Path(__file__).parent
MAX_BYTES = 2_000_000  # of one checkpoint: it travels with every clone
_HEAD = """# Checkpoints that ship with the package

Small models of ours, float16 safetensors. Each was trained on synthetic speech only (`toy`: sentences written for this
project, spoken by espeak-ng), and comes under the licence of the package. `python -m speechlib release RUN NAME` wrote
them and this list; `pretrained.card(name)` tells the rest. bits or loss: last validation, lower is better. Steps and
minutes are those of the last stage; the command trains the stages before it as well (`speechlib/presets/`).

| name | system | parameters | bytes | corpus | steps | minutes on one core | validation | made by |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors")))


def path(name: str) -> Path:
    """The file of a checkpoint. Raises UnknownName with the names that exist."""
    if name not in names():
        raise UnknownName("pretrained checkpoint", name, names())
    return FOLDER / f"{name}.safetensors"


def find(name: str) -> Path:
    """The file of a shipped checkpoint, or of one given by its path (relative ones hang on the project's root)."""
    if name in names() or not (given := files.resolve(name)).is_file():
        return path(name)
    return given


def card(name: str) -> dict:
    """{name, system, bytes, experiment, parameters, validation, step, steps, seconds, command, versions, git}.

    validation: the last terms on the validation part by name; seconds: what the last stage of the training took; step
    of steps: how far it had come; command: what makes the run again; versions, git: of what made it.
    """
    _, metadata = runs.load_tensors(path(name))
    return {
        "name": name,
        "system": metadata["system"],
        "bytes": path(name).stat().st_size,
        "experiment": metadata["experiment"],
        **metadata["card"],
    }


def release(run: Run, name: str, command: str) -> Path:
    """Write the checkpoint of a finished or running run as pretrained `name`, and README.md anew.

    `command` is what trains the run (presets.command). A run whose parts are trained each by itself has a checkpoint
    once all of them are done; its steps, seconds and terms are those of all. Raises SpeechlibError for a run without
    validation or with a part that is not done, BadFile for one without a checkpoint, and SpeechlibError for a file of
    more than MAX_BYTES, which is then not kept.
    """
    if not name.replace("-", "_").isidentifier():
        raise SpeechlibError(f"{name!r} is no name for a checkpoint: letters, digits, _ and - are")
    parts = run.parts()
    if parts and not run.checkpoint.exists():
        states = ", ".join(f"{part.name} {part.status}" for part in parts)
        raise SpeechlibError(f"{run.name} is put together once all its parts are done ({states}): train on")
    tensors, metadata = runs.load_tensors(run.checkpoint)
    weights = dict(runs.load_model(run.checkpoint).named_parameters())
    each = [_validated(part, part.step) for part in parts] or [_validated(run, metadata["step"])]
    last = {term: value for terms in each for term, value in terms.items() if not parts or term != "loss"}
    last["seconds"] = sum(terms["seconds"] for terms in each)
    experiment = metadata["experiment"]
    experiment["corpus"]["root"] = ""  # a place on the machine that trained it
    made = {
        "parameters": sum(weight.numel() for weight in weights.values()),
        "validation": {term: value for term, value in last.items() if term not in ("step", "seconds")},
        "step": metadata["step"],
        "steps": experiment["training"]["steps"] * max(1, len(parts)),
        "seconds": last["seconds"],
        "command": command,
        "versions": run.config["versions"],
        "git": run.config["git"],
    }
    target = FOLDER / f"{name}.safetensors"
    with files.atomic(target) as part:
        # statistics and codebooks stay as they are: a deviation that becomes 0 divides
        kept = {key: _half(key, tensor) if key in weights else tensor for key, tensor in tensors.items()}
        runs.save_tensors(part, kept, metadata | {"card": made})
        if (size := part.stat().st_size) > MAX_BYTES:
            raise SpeechlibError(
                f"{name} would have {size:,} bytes, at most {MAX_BYTES:,} ship: make the model smaller"
            )
    with files.atomic(FOLDER / "README.md") as part:
        part.write_text(readme(), encoding="utf-8")
    return target


def _validated(run: Run, step: int) -> dict[str, float]:
    """The terms of the last validation up to a step."""
    lines = run.metrics("validation")
    lines = lines[lines["step"] <= step]
    if not len(lines):
        raise SpeechlibError(f"{run.name} has not been validated up to step {step}: train on")
    return lines.iloc[-1].to_dict()


def _half(name: str, weight: torch.Tensor) -> torch.Tensor:
    short = weight.half()
    if not short.isfinite().all():
        raise SpeechlibError(f"weight {name} is not finite in float16: did this training diverge?")
    return short


def readme() -> str:
    """README.md as the cards tell it."""
    rows = []
    for entry in map(card, names()):
        terms = ", ".join(f"{term} {value:.4g}" for term, value in entry["validation"].items())
        cells = [entry["name"], entry["system"], f"{entry['parameters']:,}", f"{entry['bytes']:,}"]
        cells += [entry["experiment"]["corpus"]["name"], f"{entry['step']:,} of {entry['steps']:,}"]
        rows.append(" | ".join([*cells, f"{entry['seconds'] / 60:.0f}", terms, f"`{entry['command']}`"]))
    return _HEAD + "".join(f"| {row} |\n" for row in rows)
