"""Where things lie, and writing them so that nothing half-written is ever read.

Every path hangs on the project's root, never on the working directory: papermill, JupyterLab and nbval
each start kernels somewhere else.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BadFile

ROOT = Path(__file__).resolve().parent.parent


def data_dir() -> Path:
    """Corpora and our caches of them; SPEECHLIB_DATA moves it."""
    return Path(os.environ.get("SPEECHLIB_DATA") or ROOT / "data").expanduser().resolve()


def outputs_dir() -> Path:
    """Runs, batches and benchmarks; SPEECHLIB_OUTPUTS moves it."""
    return Path(os.environ.get("SPEECHLIB_OUTPUTS") or ROOT / "outputs").expanduser().resolve()


def resolve(path: str | Path) -> Path:
    """A path as a person writes it in a config: ~ and $VARIABLES expanded, relative ones under the root."""
    expanded = Path(os.path.expandvars(str(path))).expanduser()
    return expanded if expanded.is_absolute() else ROOT / expanded


@contextmanager
def atomic(path: str | Path):
    """Yield a temporary path beside `path`; it takes its place only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    part.touch(exist_ok=False)
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path):
    """The same for a folder: it appears whole or not at all. An existing one is replaced."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    part.mkdir()
    try:
        yield part
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _part(path: Path) -> Path:
    """A hidden name beside `path` that nobody else takes; tempfile's own would be readable by their maker only."""
    return path.parent / f".{path.name}.{secrets.token_hex(4)}.part"


def write_json(path: str | Path, value) -> None:
    with atomic(path) as part:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path):
    """The value in a JSON file. Raises BadFile where it is missing, truncated or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadFile(path, "does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadFile(
            path, f"is not JSON ({error}): truncated by a kill or a full disk? Delete it and rerun."
        ) from None


def fingerprint(*values) -> str:
    """12 hexadecimal digits that change when any of the (JSON-able) values does. An iterator counts as the list of what
    it gives, and never lies in memory as a whole."""
    digest = hashlib.sha256()
    for text in _json_list(values):
        digest.update(text.encode())
    return digest.hexdigest()[:12]


def _json_list(items: Iterable) -> Iterator[str]:
    """The pieces of json.dumps(items)."""
    before = "["
    for item in items:
        yield before
        if isinstance(item, Iterator):
            yield from _json_list(item)
        else:
            yield json.dumps(item, sort_keys=True, ensure_ascii=False, default=str)
        before = ", "
    yield "]" if before == ", " else "[]"
