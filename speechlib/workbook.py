"""The notebooks in their order, and batch runs of them: a folder with the executed notebooks and a manifest.

    outputs/batches/demo/
        20_vqvae_on_features.ipynb  .html   executed and signed; the same as a page
        manifest.json                       git commit, versions, and per notebook: status, parameters, seconds,
                                            peak_memory (bytes), exception, fingerprint
        logs/                               what each notebook printed, its job and its record
    outputs/index.html                      a card per notebook (index_page.py)

A notebook is up to date while its source, its parameters, the package and the notebooks it needs are unchanged. The
manifest is replaced whole after every change, so a batch that was killed goes on where it stopped.
"""

import ast
import fcntl
import hashlib
import re
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from . import configs, corpora, execution, files, index_page, presets, runs, timit_mat
from .cluster import Cluster
from .cores import usable_cores
from .errors import BadFile, SpeechlibError, UnknownName

FORMAT = 1
PACKAGE = Path(__file__).parent
TIMEOUT = 1800  # seconds that one cell may take
HINTS = {kind.__name__: kind for kind in (str, int, float, bool, list, dict)}  # what a parameter may be


@dataclass(frozen=True)
class Notebook:
    """`needs`: the notebooks whose runs it reads. `makes`: the system whose run it leaves behind. `after`: those whose
    runs it reads where there are any: it waits for them, and does without where they fail."""

    name: str
    needs: tuple["Notebook", ...] = ()
    makes: str = ""
    folder: Path = files.ROOT / "notebooks"
    after: tuple["Notebook", ...] = ()

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.ipynb"

    @property
    def title(self) -> str:
        """The heading of its first cell."""
        headings = [line for line in _cells(self.path)[0].source.splitlines() if line.startswith("#")]
        return headings[0].lstrip("# ").strip() if headings else self.name


_WINDOWS = (
    Notebook("10_vae_on_phone_windows", makes="vae"),
    Notebook("11_wae_on_phone_windows", makes="wae"),
    Notebook("12_wgan_on_phone_windows", makes="wgan"),
)
_VQVAE = Notebook("20_vqvae_on_features", makes="vqvae")
_WAVENET = Notebook("21_wavenet", makes="wavenet")
_CODEC = Notebook("22_vqvae_with_wavenet", makes="vqvae_wavenet")
_AUTOENCODERS = Notebook("24_wavenet_autoencoders", makes="wavenet_autoencoder")
_CLARINET = Notebook("25_clarinet", makes="clarinet")
_FLOWAVENET = Notebook("26_flowavenet", makes="flowavenet", after=(_WAVENET, _CLARINET))
_MELNET = Notebook("31_melnet", makes="melnet")
_HEARD = (
    *_WINDOWS,
    _VQVAE,
    _WAVENET,
    _CODEC,
    _AUTOENCODERS,
    _CLARINET,
    _FLOWAVENET,
    _MELNET,
)  # what says a sentence again
NOTEBOOKS = (  # in reading order, which is an order they can run in
    Notebook("00_start_here"),
    Notebook("01_corpora"),
    Notebook("02_features_and_back"),
    Notebook("03_scales_of_a_spectrogram"),
    *_WINDOWS,
    Notebook("13_latent_arithmetic", needs=_WINDOWS[:1]),
    Notebook("14_digits_sanity"),
    Notebook("15_windows_compared", needs=_WINDOWS),
    Notebook("16_vae_sizes"),
    _VQVAE,
    _WAVENET,
    _CODEC,
    Notebook("23_prior_over_codes", needs=(_CODEC,), makes="prior"),
    _AUTOENCODERS,
    _CLARINET,
    _FLOWAVENET,
    Notebook("30_melnet_tier"),
    _MELNET,
    Notebook("32_melnet_studies", needs=(_MELNET,)),
    Notebook("40_codebook_map", needs=(_VQVAE,)),
    Notebook("41_alignments_and_bigrams", needs=(_VQVAE,)),
    Notebook("42_clustering", needs=(_VQVAE,)),
    Notebook("43_voices", needs=(_VQVAE, _CODEC, _AUTOENCODERS)),
    Notebook("44_sweeps"),
    Notebook("45_side_by_side", makes="recogniser", after=_HEARD),
    Notebook("46_zerospeech"),
)


def select(notebooks: Iterable[Notebook], only: Iterable[str] = (), start: str | None = None) -> list[Notebook]:
    """Those that `only` names (all where it is empty), from `start` on; 20 is short for 20_vqvae_on_features.

    Raises UnknownName, and SpeechlibError where nothing is left.
    """
    notebooks = list(notebooks)
    wanted = [_named(notebooks, name) for name in only] or notebooks
    first = notebooks.index(_named(notebooks, start)) if start else 0
    chosen = [notebook for notebook in notebooks[first:] if notebook in wanted]
    if not chosen:
        raise SpeechlibError(f"nothing to run: what `only` names comes before {notebooks[first].name}")
    return chosen


def _named(notebooks: list[Notebook], name: str) -> Notebook:
    found = [n for n in notebooks if name in (n.name, n.name.partition("_")[0])]
    if not found:
        raise UnknownName("notebook", name, [notebook.name for notebook in notebooks])
    return found[0]


def maker(system: str) -> str:
    """Which notebook leaves a run of this system behind: "notebook 20 (20_vqvae_on_features)"."""
    made = {notebook.makes: notebook for notebook in NOTEBOOKS if notebook.makes}
    if system not in made:
        raise UnknownName("system that a notebook trains", system, made)
    return f"notebook {made[system].name.partition('_')[0]} ({made[system].name})"


# Parameters


class Parameter(NamedTuple):
    """A line of a parameters cell: `seed: int = 0  # seed of weights, batches and split`."""

    hint: type
    default: Any
    comment: str


def parameters(notebook: Notebook) -> dict[str, Parameter]:
    """What the cell tagged `parameters` declares, by name.

    Raises BadFile for a line there that is no annotated plain value, or a notebook that cannot be read.
    """
    found = {}
    for cell in _cells(notebook.path):
        if "parameters" not in (cell.metadata.get("tags") or ()):
            continue
        for line in filter(None, map(str.strip, cell.source.splitlines())):
            try:
                [statement] = ast.parse(line).body or [None]
                if statement is not None:  # None: a line of comment
                    default = ast.literal_eval(statement.value)
                    hint = HINTS[statement.annotation.id]
                    found[statement.target.id] = Parameter(hint, default, line.partition("#")[2].strip())
            except (SyntaxError, ValueError, TypeError, AttributeError, KeyError, RecursionError, MemoryError):
                reason = "the parameters cell holds lines like `seed: int = 0  # what it is`, and nothing else"
                raise BadFile(notebook.path, reason, line) from None
    return found


def assign(notebooks: Iterable[Notebook], values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Notebook name -> all its parameters, those among `values` set. A text is read as the declared type.

    Each value goes to the notebooks that declare it. Raises UnknownName for one that none of them declares,
    SpeechlibError for one of another type.
    """
    declared = {notebook.name: parameters(notebook) for notebook in notebooks}
    known = {name for found in declared.values() for name in found}
    for name in values:
        if name not in known:
            raise UnknownName("parameter of these notebooks", name, known)
    return {
        notebook: {name: _value(name, p, values.get(name, p.default)) for name, p in found.items()}
        for notebook, found in declared.items()
    }


def _value(name: str, parameter: Parameter, value):
    hint = parameter.hint
    if isinstance(value, str) and hint is not str:
        try:
            value = files.parse_yaml(value)
        except SpeechlibError:
            raise SpeechlibError(f"{name} needs {hint.__name__}, got {value!r}") from None
    value = configs.typed(hint, value, name)
    if name == "preset" and value not in (known := {n for names in presets.names().values() for n in names}):
        raise UnknownName("preset", value, known)
    if name == "corpus" and value and value not in (*corpora.names(), timit_mat.NAME):
        raise UnknownName("corpus", value, (*corpora.names(), timit_mat.NAME))
    return value


# Batches


def folder(name: str) -> Path:
    """Where a batch lies."""
    return files.outputs_dir() / "batches" / name


def run(
    name: str,
    notebooks: Iterable[Notebook] = NOTEBOOKS,
    values: dict[str, Any] | None = None,
    jobs: int = 1,
    force: bool = False,
    timeout: int = TIMEOUT,
    report: Callable[[str, str, dict], None] = lambda event, notebook, entry: None,
    cluster: Cluster | None = None,
) -> dict[str, dict]:
    """Execute the notebooks that are not up to date into the batch `name`; notebook name -> its manifest entry.

    `values`: parameters by name. `force`: execute what is up to date as well. `timeout`: seconds for any one cell.
    `cluster`: where to execute them, `jobs` at a time on all of its workers together.
    `report(event, notebook, entry)` is told of every "started", "progress" and "finished".
    Everything is checked before anything starts: raises SpeechlibError for a wrong parameter, and where another
    process runs this batch. A notebook that fails raises nothing: its entry has the status failed, died or timed out
    and says why; those that need it are `not run`, as is one that cannot be read, and the others go on.
    """
    notebooks, values = list(notebooks), values or {}
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise SpeechlibError(f"batch name {name!r}: letters, digits, '.', '_' and '-' are possible")
    if jobs < 1 or timeout < 1:
        raise SpeechlibError(f"jobs and timeout start at 1, got {jobs} and {timeout}")
    broken = _unreadable(notebooks)
    try:
        given = assign((notebook for notebook in notebooks if notebook.name not in broken), values)
    except UnknownName as error:
        raise SpeechlibError("; ".join([str(error), *broken.values()])) if broken else error
    given |= dict.fromkeys(broken, {})
    prints = {notebook.name: fingerprint(notebook, values) for notebook in notebooks}
    with _locked(folder(name)):
        batch = _Batch(name, notebooks, given, prints, report, cluster)
        batch.leave_out(broken)
        try:
            while batch.waiting or batch.running:
                batch.step(jobs, force, timeout)
                time.sleep(0.05)
        finally:
            batch.close()
    return {notebook.name: batch.entries[notebook.name] for notebook in notebooks}


def fingerprint(notebook: Notebook, values: dict[str, Any]) -> str:
    """What its results hang on: source, parameters, package, libraries, and the same of the notebooks it needs; of one
    that cannot be read, the reason why."""
    if broken := _unreadable([notebook]):
        return files.fingerprint(broken)
    kept = sorted(path for kind in ("*.py", "*.safetensors") for path in PACKAGE.rglob(kind))
    package = [hashlib.sha256(path.read_bytes()).hexdigest() for path in kept]
    source = hashlib.sha256(notebook.path.read_bytes()).hexdigest()
    declared = parameters(notebook)
    own = assign([notebook], {name: value for name, value in values.items() if name in declared})
    needs = [fingerprint(need, values) for need in (*notebook.needs, *notebook.after)]
    return files.fingerprint(package, source, runs.versions(), own, needs)


def _unreadable(notebooks: Iterable[Notebook]) -> dict[str, str]:
    """Notebook name -> why its file cannot be executed."""
    found = {}
    for notebook in notebooks:
        try:
            parameters(notebook)
        except BadFile as error:
            found[notebook.name] = str(error)
    return found


class _Batch:
    """The state of one `run`: manifest entries by name, notebooks that wait, processes under way."""

    def __init__(
        self,
        name: str,
        notebooks: list[Notebook],
        given: dict,
        fingerprints: dict,
        report: Callable,
        cluster: Cluster | None,
    ):
        self.name, self.folder, self.report, self.cluster = name, folder(name), report, cluster
        self.given, self.fingerprints = given, fingerprints
        self.waiting, self.running = list(notebooks), {}
        path = self.folder / "manifest.json"
        manifest = index_page.manifest_of(path) if path.exists() else {}
        self.before = manifest["notebooks"] if manifest.get("format") == FORMAT else {}
        for entry in self.before.values():
            if entry["status"] in ("waiting", "running"):  # its runner was killed
                entry["status"] = "interrupted"
        self.entries = self.before | {notebook.name: {"status": "waiting"} for notebook in notebooks}
        self.started, self.git, self.versions = _now(), runs.git_commit(), runs.versions()
        (self.folder / "logs").mkdir(exist_ok=True)
        self.write()

    def step(self, jobs: int, force: bool, timeout: int) -> None:
        """Look at what is running; start or settle what can be."""
        for notebook, process in list(self.running.items()):
            record = process.poll()
            if record["status"] == "running":
                self.report("progress", notebook.name, self.entries[notebook.name] | record)
            else:
                del self.running[notebook]
                self.finish(notebook, record)
        for notebook in list(self.waiting):
            states = {
                one.name: self.entries[one.name]["status"]
                for one in (*notebook.needs, *notebook.after)
                if one.name in self.given
            }
            if any(status in ("waiting", "running") for status in states.values()):
                continue
            missing = [need.name for need in notebook.needs if states.get(need.name, "done") not in ("done", "cached")]
            if missing:
                self.finish(notebook, {"status": "not run", "exception": f"needs {missing[0]}: {states[missing[0]]}"})
            elif not force and self.is_up_to_date(notebook):
                self.finish(notebook, self.before[notebook.name] | {"status": "cached"})
            elif len(self.running) < jobs:
                self.start(notebook, jobs, timeout)
            else:
                continue
            self.waiting.remove(notebook)

    def leave_out(self, broken: dict[str, str]) -> None:
        """Settle the notebooks that cannot be read, with the reasons."""
        for notebook in [notebook for notebook in self.waiting if notebook.name in broken]:
            self.waiting.remove(notebook)
            self.finish(notebook, {"status": "not run", "exception": broken[notebook.name]})

    def is_up_to_date(self, notebook: Notebook) -> bool:
        before = self.before.get(notebook.name, {})
        return (
            before.get("status") in ("done", "cached")
            and before.get("fingerprint") == self.fingerprints[notebook.name]
            and all((self.folder / f"{notebook.name}.{kind}").exists() for kind in ("ipynb", "html"))
            and (not notebook.makes or _has_run(notebook.makes, self.given[notebook.name]))
            and before.get("read", []) == self.read(notebook)
        )

    def read(self, notebook: Notebook) -> list[str]:
        """The systems that it finds a run of, among those made by the notebooks it comes after."""
        given = self.given[notebook.name]
        return [other.makes for other in notebook.after if other.makes and _has_run(other.makes, given)]

    def start(self, notebook: Notebook, jobs: int, timeout: int) -> None:
        given = self.given[notebook.name]
        declared = parameters(notebook)
        changed = {name: value for name, value in given.items() if value != declared[name].default}
        job = execution.Job(
            source=str(notebook.path),
            output=str(self.folder / f"{notebook.name}.ipynb"),
            page=str(self.folder / f"{notebook.name}.html"),
            record=str(self.folder / "logs" / f"{notebook.name}.json"),
            parameters=changed,
            timeout=timeout,
        )
        log = self.folder / "logs" / f"{notebook.name}.log"
        if self.cluster is None:
            self.running[notebook] = execution.Process(job, log, max(1, usable_cores() // jobs))
        else:
            self.running[notebook] = execution.RemoteProcess(job, log, self.cluster)
        entry = {"status": "running", "parameters": given, "log": f"logs/{notebook.name}.log"}
        entry |= {"read": self.read(notebook)} if notebook.after else {}
        self.entries[notebook.name] = entry | {"fingerprint": self.fingerprints[notebook.name], "started": _now()}
        self.write()
        self.report("started", notebook.name, self.entries[notebook.name])

    def finish(self, notebook: Notebook, record: dict) -> None:
        entry = self.entries[notebook.name] | record
        self.entries[notebook.name] = entry
        self.write()
        index_page.write(self.name)
        self.report("finished", notebook.name, entry)

    def close(self) -> None:
        """Also after an interruption: whatever is still running is stopped."""
        for notebook, process in self.running.items():
            process.stop()
            self.entries[notebook.name]["status"] = "interrupted"
        self.write(finished=_now())
        index_page.write(self.name)

    def write(self, finished: str | None = None) -> None:
        manifest = {"format": FORMAT, "name": self.name, "started": self.started, "finished": finished}
        manifest |= {"git": self.git, "versions": self.versions, "notebooks": dict(sorted(self.entries.items()))}
        files.write_json(self.folder / "manifest.json", manifest)


def _has_run(system: str, given: dict) -> bool:
    """Whether the run that an executed notebook left is still there: people delete outputs/runs to save space."""
    found = [run for run in runs.list_runs() if isinstance(run, runs.Run)]
    return any((run.system, run.preset, run.seed) == (system, given.get("preset"), given.get("seed"))
               and run.status == "done" for run in found)  # fmt: skip


def _cells(path: Path) -> list:
    import nbformat

    try:
        cells = nbformat.read(path, as_version=4).cells
        if not all(isinstance(cell.get("source"), str) for cell in cells):  # what nbformat only warns of
            raise ValueError("a cell has no source")
        return cells
    except OSError as error:
        raise files.unopened(path, error) from None
    except Exception as error:  # nbformat fails in as many ways as a notebook has fields
        raise BadFile(path, f"is no notebook ({error})") from None


@contextmanager
def _locked(path: Path):
    """One runner per batch folder. The lock goes with the process that holds it, however that ends."""
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpeechlibError(f"another process runs the batch {path.name!r}: wait for it, or use --name") from None
        yield


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
