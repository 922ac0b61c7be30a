"""python -m speechlib: batch runs of the notebooks, and trainings, corpora and sweeps without them."""

import argparse
import json
import os
import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path

from .errors import FullDisk, SpeechlibError
from .files import is_full


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 where all went well, 1 where a notebook or a training failed, 2 for a mistake in the call."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except SpeechlibError as error:
        rank = os.environ.get("RANK", "0")  # under accelerate launch
        print("speechlib" + f", process {rank}" * (rank != "0") + f": {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not is_full(error):
            raise
        print(f"speechlib: {FullDisk(error.filename or options.command.__name__, str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nspeechlib: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m speechlib", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(function, summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(function.__name__.strip("_"), help=summary, description=summary)
        command.set_defaults(command=function)
        return command

    command = add(_run, "execute the notebooks that are not up to date, in their order")
    command.add_argument("--preset", help="smoke, demo or paper (default: what the notebooks say, smoke)")
    command.add_argument("--only", nargs="+", default=[], metavar="NOTEBOOK", help="20 is short for 20_vqvae_...")
    command.add_argument("--from", dest="start", metavar="NOTEBOOK", help="this notebook and those after it")
    command.add_argument("-p", dest="values", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
                         help="a parameter, for the notebooks that declare it; several are possible")  # fmt: skip
    command.add_argument("--params", metavar="FILE.yml", help="parameters as YAML; -p comes after it")
    command.add_argument("--name", help="the folder under outputs/batches (default: the preset)")
    command.add_argument(
        "--jobs",
        type=int,
        help="notebooks at a time, each on its share of the cores, or on "
        "OMP_NUM_THREADS of them: 1 is best on a busy machine (default: 1, or what the cluster takes)",
    )
    command.add_argument("--cluster", metavar="tcp://HOST:PORT", help="execute them on the workers of a Dask cluster")
    command.add_argument("--force", action="store_true", help="execute what is up to date as well")
    command.add_argument("--timeout", type=int, default=1800, metavar="SECONDS", help="for one cell (default: 1800)")

    add(_index, "write outputs/index.html again")
    command = add(_pictures, "the key figures of an executed batch as PNG files")
    command.add_argument("batch", nargs="?", help="its name (default: the last one)")
    command.add_argument("--out", metavar="FOLDER", help="(default: the project's outputs/gallery)")

    command = add(_list, "every run with its status and summary")
    command.add_argument("--json", action="store_true", help="as JSON, with everything in the summaries")

    def experiment(command: argparse.ArgumentParser, preset: str | None) -> None:
        command.add_argument("--preset", default=preset, help=f"smoke, demo or paper (default: {preset or 'its own'})")
        command.add_argument("--corpus", default="", help="instead of the preset's own")
        command.add_argument("--corpus-root", default="", metavar="FOLDER", help="where that corpus lies")

    command = add(_train, "train a system, or go on with a training; a finished one is only reported")
    command.add_argument("system", help="vqvae, wavenet, melnet, ...: a name that is none is told all")
    experiment(command, "demo")
    command.add_argument("--seed", type=int, default=0, help="of weights, batches and noise (default: 0)")
    command.add_argument("--set", dest="changes", action="append", default=[], metavar="NAME=VALUE",
                         help="a field by its dotted name: model.codebook_size=100; several are possible")  # fmt: skip
    command.add_argument("--tiers-in-order", action="store_true",
                         help="of a MelNet: each by itself, in a folder of its own inside the run")  # fmt: skip
    command.add_argument("--tier", dest="tiers", type=int, nargs="+", default=[], metavar="N",
                         help="of these that or those only, from 1 on; the last one completes the whole")  # fmt: skip
    command.add_argument("--from-yaml", metavar="FILE|FOLDER",
                         help="a training file of MelNet's source system, or all in a folder")  # fmt: skip

    command = add(_sweep, "train many: a YAML file of a sweep, or one of the named sets")
    command.add_argument("sweep", metavar="FILE.yml|SET")
    experiment(command, None)
    command.add_argument("--jobs", type=int, help="trainings at a time (default: 1; a cluster takes one per worker)")
    command.add_argument("--best", metavar="lowest:NUMBER|highest:NUMBER",
                         help="which run is marked, by a number of the summaries (lowest:loss)")  # fmt: skip
    command.add_argument("--cluster", metavar="tcp://HOST:PORT", help="train on the workers of a Dask cluster")

    command = add(_again, "print the command that trains a run again, on this or another machine")
    command.add_argument("run", help="its folder, or its name among the runs")

    command = add(_summary, "the layers of a system's model: shapes, parameters, receptive field")
    command.add_argument("system", help="vqvae, wavenet, melnet, ...: a name that is none is told all")
    experiment(command, "demo")

    command = add(_release, "ship the checkpoint of a run with the package: speechlib/pretrained/NAME.safetensors")
    command.add_argument("run", help="its folder, or its name among the runs")
    command.add_argument("name", help="what it will be called")

    command = add(_generate, "say a recording by a trained vocoder or codec, or draw speech by a trained MelNet")
    command.add_argument("model", metavar="RUN|CHECKPOINT|SYSTEM",
                         help="a run, a shipped checkpoint, or a system: its last finished run")  # fmt: skip
    command.add_argument("file", nargs="?", metavar="FILE", help="audio of any rate; a MelNet takes none")
    command.add_argument("--speakers", nargs="+", default=[], metavar="NAME",
                         help="speakers of its corpus, or none; of a MelNet's clips one after the other")  # fmt: skip
    command.add_argument("--mode", choices=("sample", "greedy"), default="sample", help="draw, or take the likeliest")
    command.add_argument("--temperature", type=float, help="of what is drawn (default: 1)")
    command.add_argument("--top-p", type=float, help="draw from the nucleus of that mass (default: 1, from all)")
    command.add_argument("--seconds", type=float, help="of the file's beginning (default: 10), of a clip (1.5)")
    command.add_argument("--seed", type=int, help="of what is drawn (default: 0)")
    command.add_argument("--out", default=".", metavar="FOLDER", help="where sounds and the rest go (default: here)")
    drawn = command.add_argument_group("MelNet")
    drawn.add_argument("--frames", type=int, help="of a clip, instead of --seconds")
    drawn.add_argument("--clips", type=int, metavar="N", help="drawn side by side (default: 1)")
    drawn.add_argument("--prime", metavar="FILE", help="audio that clips begin with")
    drawn.add_argument("--real-tiers", type=int, metavar="K", help="kept of a recording of the corpus, the rest drawn")
    drawn.add_argument("--utterance", metavar="NAME", help="that recording (default: the first of the validation part)")

    command = add(_corpus, "read a corpus: its speakers, and the files that cannot be used")
    command.add_argument("name", help="toy, vctk, librispeech, ljspeech, timit, zerospeech, folder or manifest")
    command.add_argument("--root", help="its folder (default: data/NAME)")
    command.add_argument("--download", action="store_true", help="fetch it first, where it is public")
    command.add_argument("--items", metavar="FILE.item", help="write its phones as ABX tools read them")

    command = add(_submission, "a ZeroSpeech submission: look for mistakes, count its bits, pack it up")
    command.add_argument("action", choices=("validate", "bitrate", "zip"), help="zip does so only if nothing is wrong")
    command.add_argument("folder", metavar="FOLDER", help="with metadata.yaml and 2019/")
    command.add_argument("--root", help="the challenge's data or lists (default: data/zerospeech)")
    command.add_argument("--out", metavar="FILE", help="of zip (FOLDER.zip), or of bitrate: scores as official JSON")
    return parser


def _run(options) -> int:
    from . import files, index_page, workbook

    given = files.read_mapping(options.params, "wants a `name: value` per line") if options.params else {}
    values = given | dict(options.values)
    if options.preset:
        values["preset"] = options.preset
    notebooks = workbook.select(workbook.NOTEBOOKS, options.only, options.start)
    name = options.name or str(values.get("preset", "smoke"))
    console = _Console(workbook.folder(name))
    with _cluster(options.cluster) as workers:
        jobs = options.jobs if options.jobs is not None else workers.n_tasks if workers else 1
        entries = workbook.run(name, notebooks, values, jobs, options.force, options.timeout, console.report, workers)
    failed = [entry for entry in entries.values() if entry["status"] not in ("done", "cached")]
    print(f"{len(entries) - len(failed)} of {len(entries)} notebooks up to date: {_short(index_page.path())}")
    return 1 if failed else 0


def _index(options) -> None:
    from . import index_page

    print(_short(index_page.write(index_page.latest())))


def _pictures(options) -> None:
    from . import files, index_page

    folder = Path(options.out) if options.out else files.ROOT / "outputs" / "gallery"
    for path in index_page.pictures(options.batch or index_page.latest(), folder):
        print(_short(path))


def _list(options) -> None:
    from . import index_page, runs, systems

    experiments = {}  # read once for each run, there may be a thousand

    def check(run) -> None:
        experiments[run.path] = systems.experiment_of(run)

    rows = [_run_row(run, experiments.get(run.path)) for run in runs.list_runs(check)]
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    for row in [] if options.json else rows:
        numbers = [f"{key} {index_page.number(value)}" for key, value in row["summary"].items() if key in _TOLD]
        told = [row["description"], *(numbers or (f"{name} {state}" for name, state in row["parts"].items()))]
        print(f"{row['name']:44} {row['status']:12} {row['reason'] or '  '.join(filter(None, told))}".rstrip())


_TOLD = ("nmi", "kmeans_nmi", "bigram_diagonal", "codes_used", "perplexity", "reconstruction")
_TOLD += ("phone_error_rate", "nll", "bits", "log_mel_distance", "noise_log_mel_distance", "pitch_kept", "steps")


def _run_row(run, experiment) -> dict:
    from . import runs, systems

    if isinstance(run, runs.Unreadable):
        row = {"name": run.path.name, "system": None, "preset": None, "seed": None, "status": "unreadable"}
        return row | {"reason": run.reason, "summary": {}, "description": "", "parts": {}}
    keys = ("name", "system", "preset", "seed", "status", "reason", "step", "summary")
    row = {key: getattr(run, key) for key in keys} | {"description": systems.describe(experiment)}
    return row | {"parts": {part.name: f"{part.status} at {part.step}" for part in run.parts()}}


def _train(options) -> int:
    from . import processes, systems, training

    if processes.launched_in_vain():
        print(
            "speechlib: this is the only process; without GPUs, `accelerate launch --multi_gpu` starts more",
            file=sys.stderr,
        )
    experiments = _experiments(options)
    if len(experiments) > 1:
        found = systems.sweep(experiments, progress=training.bar())
    else:
        found = [_train_one(experiments[0], options.tiers)]
    return _report(found) if processes.here().is_first else 0  # several devices: one tells


def _train_one(experiment, tiers: list[int]):
    """The finished run; with `tiers` that of the last of them, or the whole where no other is left to be trained."""
    from . import runs, systems, training

    for tier in tiers:
        part = systems.train_part(experiment, f"tier_{tier}", training.bar(f"tier {tier}"))
    if tiers:
        done = [run for run in runs.create(experiment).parts() if run.status == "done"]
        if len(done) < experiment.model.n_tiers:
            return part
    return systems.train(experiment, training.bar())


def _experiments(options) -> list:
    from . import presets

    changes = dict(_change(text) for text in options.changes)
    if options.tiers or options.tiers_in_order:
        changes["training.part"] = "each"
    given = (options.corpus, options.corpus_root, options.seed, changes)
    if not options.from_yaml:
        return [presets.get(options.system, options.preset, *given)]
    if options.system != "melnet":
        raise SpeechlibError(f"--from-yaml reads trainings of a MelNet, not of {options.system!r}")
    found = list(presets.read_melnet_yaml(options.from_yaml, *given).values())
    if options.tiers and len(found) > 1:
        raise SpeechlibError(f"--tier is of one training, {options.from_yaml} holds {len(found)}: give one file")
    return found


def _sweep(options) -> int:
    from . import configs, presets, runs, systems, training

    corpus = (options.corpus, options.corpus_root)
    if options.sweep in (known := presets.NAMED_SETS):
        experiments = presets.named_set(options.sweep, options.preset or "paper", *corpus)
    elif Path(options.sweep).suffix not in (".yml", ".yaml"):
        raise SpeechlibError(f"no sweep {options.sweep!r}: give a .yml file or one of {', '.join(known)}")
    else:
        given = dict(zip(("preset", "corpus", "corpus_root"), (options.preset, *corpus)))
        sweep = presets.read_sweep(Path(options.sweep))
        experiments = presets.expand(replace(sweep, **{key: value for key, value in given.items() if value}))
    if options.cluster and options.jobs is not None:
        raise SpeechlibError(f"--jobs {options.jobs} is of this machine: a cluster trains as many as it has workers")
    how, _, by = (options.best or "lowest:loss").partition(":")
    if how not in ("lowest", "highest") or not by:
        raise SpeechlibError(f"--best wants lowest:NUMBER or highest:NUMBER, got {options.best!r}")
    distinct = {runs.identity(configs.to_dict(one)): one for one in experiments.values()}
    done = sum(systems.sweeps.finished_run(one) is not None for one in distinct.values())
    print(f"{len(distinct):,} trainings, {done:,} of them done", flush=True)
    with _cluster(options.cluster) as workers:
        found = systems.sweep(distinct.values(), options.jobs or 1, training.bar(), workers)
    code, best = _report(found, Path(options.sweep).stem), []
    if options.best or any(by in run.summary for run in found if run.status == "done"):
        best = systems.best(found, by, how == "highest")
    for run in best:
        tie = f" (one of {len(best)} that are equal)" if len(best) > 1 else ""
        print(f"best, by its {how} {by}, {run.summary[by]:.4g}{tie}: {run.name}\n  {_command(run)}")
    return code


def _again(options) -> None:
    from . import runs

    print(_command(runs.open(options.run)))


def _command(run) -> str:
    from . import presets, systems

    return presets.command(systems.experiment_of(run))


def _cluster(address: str | None):
    """A context with the cluster that was asked for, or None."""
    if not address:
        return nullcontext()
    from .cluster import Cluster

    workers = Cluster(address)
    print(f"{workers.n_tasks} at a time on {address}; what they do: {workers.dashboard}")
    return workers


def _report(found: list, name: str = "") -> int:
    """What became of trainings, those that failed too; `name`: also as a table on disk."""
    from . import files, runs

    for run in found:
        print(f"{_short(run.path)}: {run.status}{f' ({run.reason})' if run.reason else ''}")
    finished = [run for run in found if run.status == "done"]
    if finished and len(found) <= _SIDE_BY_SIDE:
        print(runs.compare(finished).T.to_string(float_format="{:.3g}".format))
    if name:
        path = files.outputs_dir() / "sweeps" / f"{name}.csv"
        with files.atomic(path) as part:
            runs.compare(found).rename_axis("run").to_csv(part)
        print(f"{len(finished):,} of {len(found):,} done: {_short(path)}")
    return 0 if len(finished) == len(found) else 1


_SIDE_BY_SIDE = 12  # runs that a terminal shows as columns


def _summary(options) -> None:
    from . import presets, systems

    experiment = presets.get(options.system, options.preset, options.corpus, options.corpus_root)
    field, table = getattr(systems.blank(experiment), "receptive_field", None), systems.summary(experiment)
    print(table.to_string())
    shapes = f"; shapes for one crop of {experiment.training.n_frames} frames" if "output" in table else ""
    print(f"{table['parameters'].sum():,} parameters{shapes}")
    if name := systems.describe(experiment):
        print(name)
    if callable(field):
        seen = field()
        print(f"a code sees {seen.frames_per_code} frames; a frame is drawn from {seen.codes_per_frame} code(s)")
    elif field is not None:
        print(f"what comes next is predicted from the last {field:,}")


def _release(options) -> None:
    from . import presets, pretrained, runs, systems

    run = runs.open(options.run)
    path = pretrained.release(run, options.name, presets.command(systems.experiment_of(run)))
    card = pretrained.card(options.name)
    print(f"{_short(path)}: {card['bytes']:,} bytes, step {card['step']:,} of {card['steps']:,}; README.md lists it")


_NO_FILE = "only a MelNet draws clips, and it takes no FILE: leave it out, or give it as --prime"


def _generate(options) -> None:
    temperature = 0.0 if options.mode == "greedy" else options.temperature
    drawn = {"temperature": temperature, "seed": options.seed}
    given = {name: value for name, value in drawn.items() if value is not None}
    of_clips = {"n_frames": options.frames, "n_clips": options.clips, "prime": options.prime,
                "n_real": options.real_tiers, "utterance": options.utterance}  # fmt: skip
    of_clips = {name: value for name, value in of_clips.items() if value is not None}
    if options.file is None:
        paths = _draw(options, given | of_clips)
    elif of_clips:
        raise SpeechlibError(_NO_FILE)
    else:
        paths = _resynthesise(options, given)
    for path in paths:
        print(_short(path))


def _resynthesise(options, given: dict) -> list[Path]:
    from . import audio
    from .systems.resynthesis import resynthesise

    rate = audio.read(options.file, duration=1.0)[1]  # what is no audio is said before a corpus is opened
    trained = _trained(options.model)
    if trained.experiment.system == "melnet":
        raise SpeechlibError(_NO_FILE)
    if rate != (wanted := trained.data.pack.config.sample_rate):
        print(f"{options.file}: resampled from {rate:,} to {wanted:,} Hz")
    if options.top_p is not None:
        given["top_p"] = options.top_p
    seconds = 10.0 if options.seconds is None else options.seconds
    return resynthesise(trained, options.file, options.speakers, options.out, seconds, **given)


def _draw(options, given: dict) -> list[Path]:
    from . import audio, training
    from .systems.drawing import draw

    if options.prime is not None:
        audio.read(options.prime, duration=1.0)  # what is no audio is said before a corpus is opened
    trained = _trained(options.model)
    if (system := trained.experiment.system) != "melnet":
        raise SpeechlibError(f"a {system} says a recording: give an audio FILE. Only a MelNet draws without one")
    if options.top_p is not None:
        raise SpeechlibError("a MelNet knows no --top-p: lower its --temperature")
    bar = cache(lambda: training.bar("drawing"))  # appears once something is drawn, not above an error

    def progress(*line) -> None:
        bar()(*line)

    return draw(trained, options.out, seconds=options.seconds, speakers=options.speakers, progress=progress, **given)


def _trained(name: str):
    """A run by its folder or name, the last finished run of a system, or a checkpoint that ships with the package."""
    from . import pretrained, runs, systems
    from .errors import UnknownName

    if len(Path(name).parts) > 1 or (runs.folder() / name).is_dir():
        return systems.load(runs.open(name))
    whole = [run for run in runs.list_runs(check=systems.experiment_of) if isinstance(run, runs.Run)]
    if done := [run for run in whole if run.system == name and run.status == "done"]:
        last = max(done, key=lambda run: run.checkpoint.stat().st_mtime)
        print(f"{name}: {last.name}")
        return systems.load(last)
    if name in pretrained.names():
        return systems.load_pretrained(name)
    known = [run.name if isinstance(run, runs.Run) else run.path.name for run in runs.list_runs()]
    raise UnknownName("run or checkpoint", name, [*pretrained.names(), *known])


def _corpus(options) -> None:
    from . import corpora

    if options.download:
        print(f"downloaded to {corpora.download(options.name, options.root)}")
    corpus = corpora.load(options.name, options.root)
    print(corpora.describe(corpus).to_string(float_format="{:.1f}".format))
    print(f"{len(corpus.cuts)} utterances; {len(corpus.skipped)} files or labels left out")
    for skipped in corpus.skipped:
        print(f"  {skipped.path}: {skipped.reason}")
    if options.items:
        from .corpora import items

        found = items.items_of_cuts(corpus.cuts)
        print(f"{len(found):,} items: {_short(items.write_items(found, options.items))}")


def _submission(options) -> int:
    from . import files
    from .challenge import results, submission, validation
    from .corpora import zerospeech

    folder = Path(options.folder)
    root = files.resolve(options.root) if options.root else files.data_dir() / "zerospeech"
    tasks = zerospeech.tasks(root) if options.root or options.action == "bitrate" or root.exists() else []
    if options.action == "bitrate":
        return _bitrates(folder, tasks, options.out, results)
    findings = validation.validate(folder, tasks)
    for found in findings[:_FINDINGS]:
        print(f"{found.severity:8} {found.path}: {found.problem}; {found.advice}")
    if len(findings) > _FINDINGS:
        print(f"... and {len(findings) - _FINDINGS} more")
    n_errors = sum(found.severity == "error" for found in findings)
    print(f"{n_errors} errors, {len(findings) - n_errors} warnings: {'not valid' if n_errors else 'valid'}")
    if options.action == "zip" and not n_errors:
        print(_short(submission.export(folder, options.out or f"{folder.resolve()}.zip")))
    return 1 if n_errors else 0


_FINDINGS = 50  # told one by one: of 14,000 missing files the first few tell enough


def _bitrates(folder: Path, tasks: list, out: str | None, results) -> int:
    from . import files

    handed_in = [task for task in tasks if (folder / task.edition / task.language).is_dir()]
    if not handed_in:
        raise SpeechlibError(
            f"{folder} holds none of {', '.join(t.language for t in tasks)}: is --root the right data?"
        )
    for task in handed_in:
        listed = "" if task.is_official else " (all test files: there is no official list)"
        for part, found in results.bitrates(folder, task).items():
            print(f"{task.edition}/{task.language}/{part}: {found}{listed}")
    if out:
        files.write_json(out, results.score(folder, handed_in))
        print(_short(Path(out)))
    return 0


def _change(text: str) -> tuple:
    """ "model.codebook_size=100" -> ("model.codebook_size", 100)"""
    from .files import parse_yaml

    name, equals, value = text.partition("=")
    if not equals:
        raise SpeechlibError(f"--set wants NAME=VALUE, got {text!r}")
    try:
        return name.strip(), parse_yaml(value)
    except SpeechlibError:
        raise SpeechlibError(f"--set {name}: {value!r} cannot be read") from None


class _Console:
    """A line per notebook when it is settled and, on a terminal, a last line with what is under way."""

    def __init__(self, folder: Path):
        self.folder, self.live = folder, sys.stdout.isatty()
        self.running: dict[str, str] = {}
        self.shown = ""

    def report(self, event: str, name: str, entry: dict) -> None:
        from .index_page import clock

        if event == "finished":
            self.running.pop(name, None)
            self._show("")
            print(self._line(name, entry), flush=True)
        else:
            cell, cells, seconds = (entry.get(key, 0) for key in ("cell", "cells", "seconds"))
            self.running[name] = f"{name} cell {cell}/{cells or '?'} {clock(seconds)}"
            if event == "started" and not self.live:
                print(f"{name:28} started", flush=True)
        self._show("  ".join(self.running.values()))

    def _show(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        if self.live and text != self.shown:
            print(f"\r\033[K{text}", end="", flush=True)
            self.shown = text

    def _line(self, name: str, entry: dict) -> str:
        from .index_page import clock

        status = entry["status"]
        if status in ("done", "cached"):
            return f"{name:28} {status:10} {clock(entry['seconds']):>6} {entry['peak_memory'] / 2**20:7,.0f} MB"
        cell = f"In [{entry['cell']}]: " if entry.get("cell") else ""
        log = f" -> {_short(self.folder / entry['log'])}" if "log" in entry else ""
        return f"{name:28} {status:10} {cell}{entry['exception']}{log}"


def _short(path: Path) -> str:
    """As it can be typed from here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
