"""Downloads: resumed where they broke off, checked against a SHA-256, and unpacked without trusting the archive."""

import hashlib
import http.client
import lzma
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ..errors import BadFile, FullDisk, SpeechlibError
from ..files import beside, full_disk_told, is_full

_BLOCK = 1 << 20
_SMALL = 100 << 20  # bytes that any archive may unpack to
Progress = Callable[[int, int, str], None]  # bytes done, bytes in all (0: not known), what


def fetch(url: str, sha256: str, root: Path, into: Path, progress: Progress | None = None) -> Path:
    """Get the archive at `url` into `root` and unpack it into `into`, once: a second call finds it done.

    Raises SpeechlibError when the server does not answer or the disk is too small, BadFile when the archive is not the
    one expected (it is deleted) or would write outside `into`.
    """
    root.mkdir(parents=True, exist_ok=True)
    archive = root / url.rsplit("/", 1)[-1]
    done = root / f".{archive.name}.unpacked"
    if done.exists():
        return into
    if not archive.exists():
        part = archive.with_name(f"{archive.name}.part")
        _get(url, part, progress)
        _check(part, sha256)
        part.replace(archive)
    else:
        _check(archive, sha256)
    unpack(archive, into)
    done.touch()
    archive.unlink()
    return into


def unpack(archive: Path, into: Path) -> None:
    """Everything in a .zip or .tar.* below `into`; nothing of an archive that is damaged or not to be trusted.

    Raises BadFile for a member that would land elsewhere or is no file, and for more bytes than an archive of this size
    can mean; FullDisk where there is no room for them.
    """
    into.mkdir(parents=True, exist_ok=True)
    aside, room = beside(into / "unpacking"), _Room(archive)
    aside.mkdir()
    try:
        with full_disk_told(into):
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as file:
                    for member in file.infolist():
                        if not (aside / member.filename).resolve().is_relative_to(aside.resolve()):
                            raise BadFile(archive, f"would write outside {into}", member.filename)
                        room.take(member.file_size)
                        file.extract(member, aside)
            else:
                with tarfile.open(archive) as file:
                    for member in file:  # one by one: of a compressed archive nobody knows the sizes before
                        room.take(member.size)
                        file.extract(member, aside, filter="data")  # no absolute names, .., links to elsewhere, devices
                    file.fileobj.seek(file.offset)  # tarfile takes a damaged header for the end, which is zeros
                    if file.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
                        raise BadFile(archive, f"is damaged: no member follows the first {len(file.getmembers()):,}")
            for path in sorted(aside.rglob("*")):  # folders before what lies in them
                place = into / path.relative_to(aside)
                if path.is_dir() and not path.is_symlink():
                    place.mkdir(exist_ok=True)
                else:
                    path.replace(place)
    except tarfile.FilterError as error:
        raise BadFile(archive, f"would write outside {into}, or what is no file ({error})") from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise BadFile(archive, f"is not a whole archive ({error})") from None
    except RuntimeError as error:  # encrypted, or compressed in a way that is not known here
        raise BadFile(archive, f"cannot be unpacked ({error})") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


class _Room:
    """How much an archive may still unpack to. Speech hardly shrinks: hundredfold is a bomb."""

    def __init__(self, archive: Path):
        self.archive, self.most, self.taken = archive, max(100 * archive.stat().st_size, _SMALL), 0

    def take(self, size: int) -> None:
        self.taken += size
        if self.taken > self.most:
            told = f"{self.archive.stat().st_size:,} bytes that would unpack to {self.taken:,} or more"
            raise BadFile(self.archive, f"is a bomb: {told}")


def _get(url: str, part: Path, progress: Progress | None) -> None:
    """The rest of `url` appended to `part`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            if have and answer.status != 206:  # this server (or file://) begins anew
                have = 0
            size = int(answer.headers.get("Content-Length") or 0)
            free = shutil.disk_usage(part.parent).free
            if 2 * size > free:  # the archive and what is in it
                need = f"{2 * size / 1e9:.1f} GB (archive and contents)"
                raise SpeechlibError(f"{url} needs {need}, {part.parent} has {free / 1e9:.1f} GB free")
            with open(part, "ab" if have else "wb") as file:
                done = have
                while block := answer.read(_BLOCK):
                    file.write(block)
                    done += len(block)
                    if progress:
                        progress(done, have + size if size else 0, url)
            if done < have + size:  # of a connection that ends too early nobody raises anything
                told = f"it ended after {done:,} of {have + size:,} bytes"
                raise SpeechlibError(f"{url} could not be read ({told}); run again to resume after {part.name}")
    except urllib.error.HTTPError as error:
        if error.code == 416:  # asked for what comes after the end: all is there
            return
        raise SpeechlibError(f"{url}: the server answers {error.code} {error.reason}") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if is_full(error):
            raise FullDisk(part, error.strerror) from None
        reason = getattr(error, "reason", error)
        raise SpeechlibError(f"{url} could not be read ({reason}); run again to resume after {part.name}") from None


def _check(path: Path, sha256: str) -> None:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        size = path.stat().st_size
        path.unlink()
        raise BadFile(
            path, f"is not the archive expected (SHA-256 {digest[:12]}..., not {sha256[:12]}..., {size} bytes; deleted)"
        )
