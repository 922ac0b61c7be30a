"""outputs/index.html: a card per notebook with its status, numbers, figure and sound, and a table of all runs.

One file without scripts from elsewhere: figures and sounds are inside, links are relative, so it opens from the file
system and can be copied with the folder. What a card shows comes from the executed notebook's cells tagged
`key-figure`, `key-numbers` and `key-player`.
"""

import base64
import math
import re
from contextlib import suppress
from datetime import datetime
from html import unescape
from pathlib import Path

from . import files, runs
from .errors import BadFile, SpeechlibError

NUMBERS_MIME = "application/vnd.speechlib.numbers+json"  # as widgets.key_numbers writes it
MOST_PLAYERS = 4
EXECUTED = ("done", "cached", "failed", "died", "timed out")
STATES = ("done", "cached", "running", "waiting", "failed", "died", "timed out", "not run", "interrupted")


def path() -> Path:
    return files.outputs_dir() / "index.html"


def latest() -> str:
    """The name of the batch that was run last. Raises SpeechlibError where there is none."""
    manifests = _manifests()
    if not manifests:
        raise SpeechlibError(f"no batch in {files.outputs_dir() / 'batches'}: `python -m speechlib run` makes one")
    return manifests[0]["name"]


def write(name: str) -> Path:
    """The page of batch `name`, in its folder and as outputs/index.html; the path of the latter."""
    folder = files.outputs_dir() / "batches" / name
    manifest = manifest_of(folder / "manifest.json")
    content = {
        "batch": manifest,
        "counts": _counts(manifest["notebooks"].values()),
        "seconds": sum(entry.get("seconds") or 0 for entry in manifest["notebooks"].values()),
        "cards": [_card(folder, name, entry) for name, entry in manifest["notebooks"].items()],
        "runs": _runs(),
    }
    template, batches = _template(), [manifest["name"] for manifest in _manifests()]
    for place, here, up in ((folder / "index.html", "", "../"), (path(), f"batches/{name}/", "batches/")):
        with files.atomic(place) as part:
            part.write_text(template.render(content, here=here, up=up, batches=batches), encoding="utf-8")
    return path()


def pictures(name: str, folder: Path) -> list[Path]:
    """The key figures of batch `name` as `<notebook>.png` in a folder. Raises SpeechlibError where there are none."""
    batch, written = files.outputs_dir() / "batches" / name, []
    if not (batch / "manifest.json").exists():
        raise SpeechlibError(
            f"no batch {name!r} in {batch.parent}: there are {', '.join(m['name'] for m in _manifests())}"
        )
    for notebook, entry in manifest_of(batch / "manifest.json")["notebooks"].items():
        if figure := _card(batch, notebook, entry)["figure"]:
            written.append(folder / f"{notebook}.png")
            with files.atomic(written[-1]) as part:
                part.write_bytes(base64.b64decode(figure))
    if not written:
        raise SpeechlibError(f"no notebook of batch {name!r} has a key figure: was any of them executed?")
    return written


def manifest_of(path: Path) -> dict:
    """What a batch says of itself. Raises BadFile where that cannot be read."""
    manifest = files.read_json(path)
    kinds = {"name": str, "started": str, "git": str | None, "versions": dict, "notebooks": dict}
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(key), kind) for key, kind in kinds.items()):
        raise BadFile(path, f"is not the manifest of a batch ({', '.join(kinds)}): delete it and run the batch again")
    try:
        datetime.fromisoformat(manifest["started"])
    except ValueError as error:
        raise BadFile(path, f"is damaged ({error}): delete it and run the batch again", "started") from None
    for name, entry in manifest["notebooks"].items():
        whole = isinstance(entry, dict) and isinstance(entry.get("status"), str) and Path(name).name == name
        if not whole or not isinstance(entry.get("seconds"), int | float | None):
            raise BadFile(path, "is damaged: delete it and run the batch again", name)
    return manifest | {"name": path.parent.name}


def _manifests() -> list[dict]:
    """Of all batches that can be read, the latest first."""
    found = []
    for manifest in (files.outputs_dir() / "batches").glob("*/manifest.json"):
        with suppress(BadFile):
            found.append(manifest_of(manifest))
    return sorted(found, key=lambda manifest: manifest["started"], reverse=True)


def _template():
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"clock": clock, "number": number, "day": _day}
    return environment.get_template("index_page.html")


def _card(folder: Path, name: str, entry: dict) -> dict:
    """What the template shows of one notebook; of one that was not executed, no older results."""
    card = {"name": name, "title": name, "entry": entry, "numbers": {}, "figure": None, "players": [], "links": {}}
    links = {"read": f"{name}.html", "notebook": f"{name}.ipynb", "log": f"logs/{name}.log"}
    if entry["status"] in EXECUTED:
        card["links"] = {text: link for text, link in links.items() if (folder / link).exists()}
    if "notebook" not in card["links"]:
        return card
    try:
        _read_card(card, files.read_json(folder / links["notebook"])["cells"])
    except (BadFile, KeyError, TypeError, AttributeError) as error:
        reason = error.reason if isinstance(error, BadFile) else "is no notebook"
        card["entry"] = entry | {"exception": f"{links['notebook']} {reason}"}
    return card


def _read_card(card: dict, cells: list[dict]) -> None:
    """Title, numbers, figure and players of an executed notebook."""
    headings = [line for cell in cells for line in "".join(cell["source"]).splitlines()
                if cell["cell_type"] == "markdown" and line.startswith("# ")]  # fmt: skip
    card["title"] = headings[0].lstrip("# ").strip() if headings else card["name"]
    for cell in cells:
        tags = cell["metadata"].get("tags", ())
        for data in (output.get("data", {}) for output in cell.get("outputs", ())):
            if "key-numbers" in tags and NUMBERS_MIME in data:
                shown = "".join(data["text/plain"])  # in the author's order; JSON in a notebook is sorted by name
                card["numbers"] |= dict(sorted(data[NUMBERS_MIME].items(), key=lambda item: shown.find(f"{item[0]}: ")))
            if "key-figure" in tags and "image/png" in data and not card["figure"]:
                card["figure"] = "".join(data["image/png"]).replace("\n", "")
            if "key-player" in tags:
                card["players"] += _players("".join(data.get("text/html", "")))
    card["players"] = card["players"][:MOST_PLAYERS]


def _players(page: str) -> list[dict]:
    """The attributes of each <audio> in a piece of HTML that holds its sound."""
    found = [dict(re.findall(r'(\w+)="([^"]*)"', tag)) for tag in re.findall(r"<audio[^>]*>", page)]
    return [
        {"title": unescape(f.get("title", "")), "src": f["src"]} for f in found if f.get("src", "").startswith("data:")
    ]


def _counts(entries) -> list[tuple[str, int]]:
    states = [entry["status"] for entry in entries]
    return [(state, states.count(state)) for state in STATES if state in states]


def _runs() -> dict:
    """Columns and rows of the table of runs: what they are, and the numbers in their summaries."""
    readable = [run for run in runs.list_runs() if isinstance(run, runs.Run)]
    summaries = [run.summary for run in readable]
    columns = list(dict.fromkeys(key for told in summaries for key, value in told.items() if _is_number(value)))
    rows = [(run, [told.get(column) for column in columns]) for run, told in zip(readable, summaries)]
    return {"columns": columns, "rows": rows}


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def clock(seconds: float | None) -> str:
    """75.2 -> 1:15"""
    return "" if seconds is None else f"{round(seconds) // 60}:{round(seconds) % 60:02d}"


def number(value) -> str:
    """Three significant digits, whole numbers whole; a text as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if not _is_number(value):
        return "" if value is None else str(value)
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def _day(time: str) -> str:
    return datetime.fromisoformat(time).strftime("%-d %B %Y, %H:%M")
