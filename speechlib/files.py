"""Where things lie, and writing them so that nothing half-written is ever read.

Every path hangs on the project's root, never on the working directory: papermill, JupyterLab and nbval
each start kernels somewhere else.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BadFile, FullDisk, SpeechlibError

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
def full_disk_told(path: str | Path):
    """Raise FullDisk, with `path`, for whatever the block raises because there is no room to write."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise FullDisk(path, error.strerror or str(error)) from None


def is_full(error: OSError) -> bool:
    """Whether a disk, a quota or a limit on the size of files is what stopped a write."""
    counted = error.errno is None and re.fullmatch(r"\d+ requested and \d+ written", str(error))  # NumPy tells no more
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or bool(counted)


@contextmanager
def atomic(path: str | Path):
    """Yield a temporary path beside `path`; it takes its place only when the block ends without an error.

    Raises FullDisk where there is no room for it.
    """
    path = Path(path)
    with full_disk_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = beside(path)
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
    with full_disk_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = beside(path)
        part.mkdir()
        try:
            yield part
            if path.exists():
                shutil.rmtree(path)
            part.replace(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def beside(path: Path) -> Path:
    """A hidden name beside `path` that nobody else takes; tempfile's own would be readable by their maker only."""
    return path.parent / f".{path.name}.{secrets.token_hex(4)}.part"


def write_json(path: str | Path, value) -> None:
    with atomic(path) as part:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path):
    """The value in a JSON file. Raises BadFile where it is missing, truncated or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise unopened(path, error) from None
    except (ValueError, RecursionError) as error:  # also numbers of 5,000 digits, and brackets without end
        raise BadFile(
            path, f"is not JSON ({error}): truncated by a kill or a full disk? Delete it and rerun."
        ) from None


def read_mapping(path: str | Path, wanted: str) -> dict:
    """What a YAML file says, `key: value` by `key: value`; `wanted` tells in errors which keys there are.

    Raises BadFile where it is missing, not YAML, no mapping, or says by aliases (*name) more than it holds.
    """
    try:
        values = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise unopened(path, error) from None
    except ValueError as error:
        raise BadFile(path, f"is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise BadFile(path, f"{wanted}, holds {values!r:.80}")
    return values


def parse_yaml(text: str):
    """The plain values of a YAML text. Raises SpeechlibError, in one line, for all that it cannot be read as.

    Aliases are refused: by nine of them in nine lines a file of 400 bytes holds a billion values.
    """
    import yaml

    class Plain(yaml.SafeLoader):
        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                alias = self.peek_event()
                raise yaml.composer.ComposerError(None, None, f"*{alias.anchor}: write it out", alias.start_mark)
            return super().compose_node(parent, index)

    try:
        return yaml.load(text, Plain)
    except Exception as error:  # a date in month 13, brackets without end: PyYAML fails in as many ways as it has types
        raise SpeechlibError(" ".join(str(error).split())[:300] or type(error).__name__) from None


def unopened(path: str | Path, error: OSError) -> BadFile:
    """The BadFile of a file that is not there, is a folder, or may not be read."""
    missing = isinstance(error, FileNotFoundError)
    return BadFile(path, "does not exist" if missing else f"cannot be opened ({error.strerror or error})")


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
