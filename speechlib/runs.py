"""The run folder: one training, whole in one place, named by what it is.

    outputs/runs/vqvae-demo-0-3f2a9c01b7de/      system - preset - seed - fingerprint of the resolved experiment
        config.json            {format, system, preset, seed, experiment, versions, git}
        status.json            {state, step, reason}
        start.json             what training.start_from gave: weights taken and not taken
        metrics.jsonl          one line per logged step, training and validation (TensorBoard: tensorboard/)
        checkpoint.safetensors the model to use (averaged weights where averaged), with its config and sizes
        best.safetensors       the same at the step that training.best_by chose, where it is given: these are used then
        training.safetensors   what a killed training continues from: weights, their average, optimiser, step
        recordings/            gradients.jsonl, usage.jsonl (codes per epoch), codebook-00000100.safetensors
        samples/ figures/ summary.json
        tier_1/ tier_2/ ...    where parts are trained each by itself (training.part): a folder like this one for each

A run is its resolved experiment: two names for one experiment are one run, and no name is ever matched by its
beginning. Nothing in the folder is pickled.
"""

import fcntl
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from . import configs, files
from .errors import BadFile, FullDisk, SpeechlibError, UnknownName

FORMAT = 1
PACKAGES = ("torch", "torchaudio", "numpy", "accelerate", "librosa", "lhotse", "scikit-learn")


@dataclass(frozen=True)
class Run:
    path: Path
    config: dict

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def system(self) -> str:
        return self.config["system"]

    @property
    def preset(self) -> str:
        return self.config["preset"]

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def status(self) -> str:
        """new, running, interrupted, done or failed. A run is running while a process holds its lock."""
        state = self._status()["state"]
        return "interrupted" if state == "running" and not self._is_locked() else state

    @property
    def reason(self) -> str:
        """Why it failed; empty for all others."""
        return self._status()["reason"]

    @property
    def step(self) -> int:
        """The step of the last checkpoint."""
        return self._status()["step"]

    def mark(self, state: str, step: int | None = None, reason: str = "") -> None:
        step = self.step if step is None else step
        files.write_json(self.path / "status.json", {"state": state, "step": step, "reason": reason})

    def fail(self, error: Exception) -> None:
        """Mark it failed, with the reason. Where the disk is too full to say so it counts as interrupted."""
        step = 0  # of a status that is damaged: the next training finds its checkpoint
        with suppress(BadFile):
            step = self.step
        with suppress(FullDisk):
            self.mark("failed", step, str(error) or type(error).__name__)

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def weights(self) -> Path:
        """The checkpoint to use: the one that training.best_by has chosen where it is given, else the last."""
        return self.best if self.experiment["training"].get("best_by") else self.checkpoint

    @property
    def best(self) -> Path:
        """The weights that training.best_by has chosen, beside those of the last checkpoint."""
        return self.path / "best.safetensors"

    @property
    def training_state(self) -> Path:
        return self.path / "training.safetensors"

    @property
    def experiment(self) -> dict:
        """The resolved experiment as plain values; `systems.experiment_of` makes a config of it."""
        return self.config["experiment"]

    @property
    def summary(self) -> dict:
        """What the evaluation after training found; empty before it."""
        path = self.path / "summary.json"
        return _mapping(path) if path.exists() else {}

    def write_summary(self, values: dict) -> None:
        files.write_json(self.path / "summary.json", values)

    def folder(self, name: str) -> Path:
        """recordings, samples or figures, made when first asked for."""
        (self.path / name).mkdir(exist_ok=True)
        return self.path / name

    def parts(self) -> list["Run"]:
        """The trainings of its parts by name, where they are trained each by itself."""
        found = sorted(path.parent for path in self.path.glob("*/config.json"))
        return [open(path) for path in found if not path.name.startswith(".")]

    def metrics(self, part: str = "train"):
        """DataFrame of the lines of one part, a column per term: train, validation, epoch (the codes used in each),
        histograms (mean and variance of what TensorBoard has histograms of)."""
        import pandas

        lines = [line for line in read_lines(self.path / "metrics.jsonl") if line["part"] == part]
        return pandas.DataFrame(lines, columns=list(lines[0]) if lines else ["step", "part"]).drop(columns="part")

    def gradients(self) -> list[dict]:
        """The recorded gradients in order: {step, layers: {name: [largest, mean absolute value]}}."""
        return read_lines(self.path / "recordings" / "gradients.jsonl")

    def usage(self) -> list[dict]:
        """How often each code was chosen in every epoch, in order: {step, epochs, codebooks: {name: counts (K,)}}."""
        return read_lines(self.path / "recordings" / "usage.jsonl")

    def codebooks(self) -> list[Path]:
        """The recorded codebooks in order of their steps."""
        return sorted(self.path.glob("recordings/codebook-*.safetensors"))

    @contextmanager
    def locked(self):
        """Hold the run for this process: a second one waits here until the first is through or dead."""
        with (self.path / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _is_locked(self) -> bool:
        try:
            with (self.path / ".lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _status(self) -> dict:
        path = self.path / "status.json"
        return _mapping(path, "state", "step", "reason") if path.exists() else {"state": "new", "step": 0, "reason": ""}


class Unreadable(NamedTuple):
    """A folder among the runs that this version cannot read, and why."""

    path: Path
    reason: str


def folder() -> Path:
    return files.outputs_dir() / "runs"


def identity(experiment: dict) -> str:
    """12 digits for a resolved experiment. The preset is only its label: the same values are the same run."""
    return files.fingerprint({key: value for key, value in experiment.items() if key != "preset"})


def create(experiment) -> Run:
    """The run of an experiment (a config with system, preset and seed): made, or opened where there is one."""
    run = find(experiment)
    if run is not None:
        return run
    return _make(folder() / _name(experiment, identity(configs.to_dict(experiment))), experiment)


def _name(experiment, fingerprint: str) -> str:
    return f"{experiment.system}-{experiment.preset}-{experiment.seed}-{fingerprint}"


def inside(run: Run, name: str, experiment) -> Run:
    """The training of a part of a run, in its folder `name`: made, or opened where there is one."""
    path = run.path / name
    return open(path) if path.exists() else _make(path, experiment)


def _make(path: Path, experiment) -> Run:
    config = {"format": FORMAT, "system": experiment.system, "preset": experiment.preset, "seed": experiment.seed}
    config |= {"experiment": configs.to_dict(experiment), "versions": versions(), "git": git_commit()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = files.beside(path)
    part.mkdir()
    try:
        files.write_json(part / "config.json", config)
    except BaseException:
        shutil.rmtree(part)
        raise
    try:
        part.rename(path)
    except OSError:  # another process made it in the meantime
        shutil.rmtree(part)
    return open(path)


def open(path: str | Path) -> Run:
    """The run in a folder; a bare name is looked for among the runs.

    Raises SpeechlibError where there is none, BadFile for a folder that another version made or that is damaged.
    """
    path = Path(path) if len(Path(path).parts) > 1 else folder() / path
    if not path.is_dir():
        known = [entry.name for entry in _entries()]
        raise SpeechlibError(f"no run at {path}") if path.parent != folder() else UnknownName("run", path.name, known)
    config = files.read_json(path / "config.json")
    if not isinstance(config, dict) or "format" not in config:
        raise BadFile(path / "config.json", "is not the config of a run: it has no `format`")
    if config["format"] != FORMAT:
        versions = config.get("versions")
        made_by = versions.get("speechlib", "unknown") if isinstance(versions, dict) else "unknown"
        raise BadFile(
            path / "config.json",
            f"has run format {config['format']} (made by speechlib {made_by}), this version reads format {FORMAT}: "
            "read it with that version, or delete the folder and train again",
        )
    kinds = {"system": str, "preset": str, "seed": int, "experiment": dict}
    if missing := sorted(key for key, kind in kinds.items() if not isinstance(config.get(key), kind)):
        raise BadFile(path / "config.json", f"lacks {', '.join(missing)}: delete the folder and train again")
    return Run(path, config)


def find(experiment) -> Run | None:
    """The run of exactly this experiment, or None. A setting that was not there yet counts as its default."""
    plain = configs.to_dict(experiment)
    fingerprint = identity(plain)
    if (own := folder() / _name(experiment, fingerprint)).is_dir():
        return open(own)
    entries = _entries()
    for path in entries:
        if path.name.rsplit("-", 1)[-1] == fingerprint:
            return open(path)
    # An older version may have trained it: all that its config says is so here, preset aside.
    kind = type(experiment)
    wanted = identity(configs.to_dict(configs.from_dict(kind, plain)))  # in the types that a file is read with
    for path in entries:
        if path.name.startswith(f"{experiment.system}-") and _identity_today(path, kind) == wanted:
            return open(path)
    return None


def _identity_today(path: Path, kind: type) -> str | None:
    """Of a run's experiment, with what its config does not know yet at the defaults; None where it cannot be read."""
    try:
        changed = (path / "config.json").stat()
    except OSError:
        return None
    return _identity_of_file(path, kind, changed.st_mtime_ns, changed.st_size)


@lru_cache(maxsize=1 << 16)  # a sweep of a thousand asks for each of its runs whether it is one of a thousand others
def _identity_of_file(path: Path, kind: type, _mtime_ns: int, _size: int) -> str | None:
    try:
        return identity(configs.to_dict(configs.from_dict(kind, open(path).experiment)))
    except SpeechlibError:
        return None


def finished(experiment) -> Run | None:
    """The run of exactly this experiment if it is done, else None."""
    run = find(experiment)
    return run if run is not None and run.status == "done" else None


def require(experiment, made_by: str) -> Run:
    """The finished run of this experiment. Raises SpeechlibError that names what makes it (`made_by`)."""
    run = find(experiment)
    if run is None or run.status != "done":
        state = "is missing" if run is None else f"is {run.status} at step {run.step} ({run.path})"
        raise SpeechlibError(
            f"the {experiment.system} run of preset {experiment.preset!r}, seed {experiment.seed}, {state}: "
            f"{made_by} makes it"
        )
    return run


def list_runs(check=None) -> list[Run | Unreadable]:
    """Every run, by name. One that cannot be opened, or that `check(run)` refuses, is listed as Unreadable."""
    found = []
    for path in _entries():
        try:
            run = open(path)
            for one in (run, *run.parts()):
                one.status, one.summary  # noqa: B018  a damaged status or summary makes it unreadable as well
            if check is not None:
                check(run)
            found.append(run)
        except (SpeechlibError, OSError) as error:
            found.append(Unreadable(path, str(error)))
    return found


def _mapping(path: Path, *keys: str) -> dict:
    """What a JSON file of a run holds. Raises BadFile where that is no mapping with these keys."""
    values = files.read_json(path)
    if not isinstance(values, dict) or not values.keys() >= set(keys):
        wanted = f" of {', '.join(keys)}" if keys else ""
        raise BadFile(path, f"holds no mapping{wanted}: delete the folder and train again")
    return values


def compare(runs: list[Run]):
    """DataFrame, a row per run: the settings in which they differ, then status, why it failed where one has, and
    summary."""
    import pandas

    settings = pandas.DataFrame([_leaves(run.experiment) for run in runs], index=[run.name for run in runs])
    differ = [name for name in settings if settings[name].map(json.dumps).nunique() > 1]
    states = [{"status": run.status} | ({"reason": run.reason} if run.reason else {}) for run in runs]
    rows = [state | run.summary for state, run in zip(states, runs)]
    results = pandas.DataFrame(rows, index=settings.index)
    if "reason" in results:
        results.insert(1, "reason", results.pop("reason"))
    return pandas.concat([settings[differ], results], axis=1)


def append_line(path: Path, line: dict) -> None:
    with files.full_disk_told(path):
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_lines(path: Path) -> list[dict]:
    """The lines of a .jsonl file. A last line that a kill cut short is not there; any other damage raises BadFile."""
    if not path.exists():
        return []
    *whole, _cut_short = path.read_bytes().split(b"\n")
    lines = []
    for number, line in enumerate(whole, start=1):
        try:
            lines.append(json.loads(line))
            if not isinstance(lines[-1], dict):
                raise ValueError("not a mapping")
        except (ValueError, RecursionError) as error:
            raise BadFile(path, f"is damaged ({error}): delete the run and train again", f"line {number}") from None
    return lines


def rewind(run: Run, step: int) -> None:
    """Forget what was logged and recorded after `step`: a resumed training writes it again."""
    recordings = run.path / "recordings"
    for path in (run.path / "metrics.jsonl", recordings / "gradients.jsonl", recordings / "usage.jsonl"):
        if path.exists():
            kept = [json.dumps(line) + "\n" for line in read_lines(path) if line["step"] <= step]
            with files.atomic(path) as part:
                part.write_text("".join(kept), encoding="utf-8")
    for path in run.codebooks():
        if int(path.stem.rsplit("-", 1)[-1]) > step:
            path.unlink()


def save_tensors(path: Path, tensors: dict, metadata: dict) -> None:
    """A safetensors file that is there whole or not at all; metadata values are stored as JSON."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # Clones: safetensors refuses tensors that share memory, as the weights of shared blocks do.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with files.atomic(path) as part:
        try:
            save_file(plain, part, {key: json.dumps(value) for key, value in metadata.items()})
        except SafetensorError as error:
            if found := re.search(r"\(os error (\d+)\)", str(error)):  # a full disk, as every other writer tells it
                raise OSError(int(found[1]), os.strerror(int(found[1]))) from None
            raise


def load_tensors(path: Path) -> tuple[dict, dict]:
    """(tensors, metadata) of a safetensors file. Raises BadFile where it is missing, truncated or something else."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise BadFile(path, "does not exist: has this run reached its first checkpoint?")
    try:
        Path(path).open("rb").close()  # of what may not be read, safetensors says that it is not there
    except OSError as error:
        raise files.unopened(path, error) from None
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return tensors, {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    except (SafetensorError, ValueError, RecursionError) as error:
        raise BadFile(path, f"is truncated or no safetensors file ({error}): delete it and train again") from None


def save_model(path: Path, model, system: str, weights: dict | None = None, **more) -> None:
    """Weights (of `model`, or `weights` in their place) with all that is needed to build the model again."""
    metadata = {"format": FORMAT, "system": system, "config": configs.to_dict(model.config), "sizes": model.sizes}
    save_tensors(path, model.state_dict() if weights is None else weights, metadata | more)


def load_model(path: str | Path):
    """The model in a checkpoint, in eval mode, from this one file.

    Raises BadFile for a damaged file, another format, weights that do not fit the config they travel with, and weights
    that are not finite. What a config asks for is compared with what is there before any memory is taken for it.
    """
    from typing import get_type_hints

    import torch

    from .models import MODELS

    tensors, metadata = load_tensors(Path(path))
    if metadata.get("format") != FORMAT:
        raise BadFile(path, f"has checkpoint format {metadata.get('format')}, this version reads format {FORMAT}")
    try:
        kind = MODELS[str(metadata.get("system"))]
    except UnknownName as error:
        raise BadFile(path, str(error)) from None
    for name in ("config", "sizes"):
        if not isinstance(metadata.get(name), dict):
            raise BadFile(path, f"says no {name}: its header is damaged. Delete it and train again")
    try:
        config = configs.from_dict(get_type_hints(kind.__init__)["config"], metadata["config"])
    except SpeechlibError as error:
        raise BadFile(path, f"holds a config that this version does not read: {error}") from None
    size = Path(path).stat().st_size
    most = max(size, 1 << 16)  # no layer or channel without a byte, and frequencies of a tiny model are numbers too
    for name, value in _numbers({"config": metadata["config"], "sizes": metadata["sizes"]}):
        if value > most:
            raise BadFile(path, f"is too small for its config: {name} is {value:,} in a file of {size:,} bytes")
    try:
        with torch.device("meta"):
            check_weights(kind(config, **metadata["sizes"]), tensors, path)
    except BadFile:
        raise
    except TypeError as error:
        raise BadFile(path, f"names sizes that {kind.__name__} does not have ({error})") from None
    except Exception as error:  # no channels, a stride of 0, -1 layers: constructors fail in as many ways
        raise BadFile(path, f"holds a config of which no {kind.__name__} can be made ({error})") from None
    model = kind(config, **metadata["sizes"])
    load_weights(model, tensors, path)
    for name, tensor in tensors.items():
        if not (finite := tensor.float().isfinite()).all():  # of 8 bits torch cannot say it
            bad = f"{int((~finite).sum())} of {tensor.numel()} weights of {name}"
            raise BadFile(path, f"holds {bad} that are not finite: did the training diverge?")
    return model.eval()


def _numbers(values, name: str = "") -> Iterator[tuple[str, float]]:
    """All numbers in nested dicts and lists, with the dotted name of each."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _numbers(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, list):
        for value in values:
            yield from _numbers(value, name)
    elif isinstance(values, int | float):
        yield name, values


def load_weights(model, tensors: dict, path: str | Path) -> None:
    """model.load_state_dict, with an error that names the first weight that does not fit."""
    check_weights(model, tensors, path)
    model.load_state_dict(tensors)


def check_weights(model, tensors: dict, path: str | Path) -> None:
    """Raises BadFile that names the first weight whose shape is another one in the model."""
    wanted = model.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        here, there = wanted.get(name), tensors.get(name)
        if here is None or there is None or here.shape != there.shape:
            shapes = [None if tensor is None else tuple(tensor.shape) for tensor in (there, here)]
            reason = f"is of another config: {name} is {shapes[0]} there and {shapes[1]} in the model"
            raise BadFile(path, f"{reason}. Delete it and train again")
        if here.is_floating_point() != there.is_floating_point():
            raise BadFile(path, f"{name} holds {there.dtype}, the model {here.dtype}. Delete it and train again")


def versions() -> dict[str, str]:
    from . import __version__

    found = {"speechlib": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def git_commit() -> str | None:
    """The commit of the sources, with a + where the working tree differs; None where git or a repository is absent."""
    command = ["git", "-C", str(files.ROOT)]
    try:
        head = subprocess.run([*command, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changes = subprocess.run([*command, "diff", "HEAD", "--quiet"], capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if changes.returncode else "")


def _entries() -> list[Path]:
    place = folder()
    try:
        with os.scandir(place) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except FileNotFoundError:
        return []
    return [place / name for name in names]


def _leaves(values: dict, prefix: str = "") -> dict:
    leaves: dict = {}
    for key, value in values.items():
        leaves |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return leaves
