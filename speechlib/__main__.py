"""python -m speechlib ...: batch runs of the notebooks, and single trainings, corpora and sweeps without them."""

import argparse
import sys

from .errors import SpeechlibError


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 where everything went well, 1 where a notebook or a run failed, 2 for a mistake in the call."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except SpeechlibError as error:
        print(f"speechlib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("speechlib: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m speechlib", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="execute the notebooks that are not up to date")
    run.set_defaults(command=_run)
    run.add_argument("--preset", default="smoke", help="smoke, demo or paper (default: smoke)")
    run.add_argument("--only", nargs="+", default=[], metavar="NOTEBOOK",
                     help="these notebooks; 20 is short for 20_vqvae_on_features")  # fmt: skip
    run.add_argument("--from", dest="start", metavar="NOTEBOOK", help="this notebook and those after it")
    run.add_argument("-p", nargs=2, action="append", default=[], dest="values", metavar=("NAME", "VALUE"),
                     help="set a parameter in every notebook that declares it")  # fmt: skip
    run.add_argument("--params", metavar="FILE.yml", help="parameters from a YAML file; -p comes after it")
    run.add_argument("--name", help="the batch folder under outputs/batches (default: the preset)")
    run.add_argument("--jobs", type=int, default=1, help="notebooks at a time (default: 1)")
    run.add_argument("--force", action="store_true", help="execute what is up to date as well")
    run.add_argument("--timeout", type=int, default=1800, metavar="SECONDS", help="limit for one cell (default: 1800)")
    return parser


def _run(options) -> int:
    from . import files, workbook

    values = {"preset": options.preset}
    if options.params:
        values |= _yaml(options.params)
    values |= dict(options.values)
    notebooks = workbook.select(workbook.NOTEBOOKS, options.only, options.start)
    name = options.name or str(values["preset"])
    console = _Console()
    entries = workbook.run(name, notebooks, values, options.jobs, options.force, options.timeout, console.report)
    console.clear()
    print(f"{files.outputs_dir() / 'index.html'}")
    return 0 if all(entry["status"] in ("done", "cached") for entry in entries.values()) else 1


def _yaml(path: str) -> dict:
    import yaml

    from . import files
    from .errors import BadFile

    path = files.resolve(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadFile(path, "does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadFile(path, f"is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise BadFile(path, f"holds no `name: value` lines but {type(values).__name__}")
    return values


class _Console:
    """A line per notebook when it is finished and, on a terminal, a last line that tells what is under way."""

    def __init__(self):
        self.live = sys.stdout.isatty()
        self.running: dict[str, str] = {}

    def report(self, event: str, name: str, entry: dict) -> None:
        cell, cells, seconds = (entry.get(key, 0) for key in ("cell", "cells", "seconds"))
        self.running[name] = f"{name} cell {cell}/{cells or '?'} {_clock(seconds)}"
        if event == "finished":
            del self.running[name]
            self.clear()
            print(self.line(name, entry), flush=True)
        elif event == "started" and not self.live:
            print(f"{name:28} started", flush=True)
        if self.live:
            self.clear()
            print("  ".join(self.running.values()), end="", flush=True)

    def clear(self) -> None:
        if self.live:
            print("\r\033[K", end="")

    def line(self, name: str, entry: dict) -> str:
        status = entry["status"]
        if status in ("done", "cached"):
            return f"{name:28} {status:10} {_clock(entry['seconds']):>6} {entry['peak_memory'] / 2**20:6.0f} MB"
        place = f"In [{entry['cell']}]: " if entry.get("cell") else ""
        log = f"  {entry['log']}" if "log" in entry else ""
        return f"{name:28} {status:10} {place}{entry['exception']}{log}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    sys.exit(main())
