"""`compiled`: numba's njit as the inner loops of generation and evaluation need it.

Arrays are not reference-counted (each view of a row would cost two atomic operations: half the time of a small step),
so nothing may be allocated inside. The loops release the GIL: threads run them side by side. Division follows numpy:
Python's would check each one.

Machine code is kept for the next process, as with `cache=True`. Numba looks for changes in the file of a function only,
while a loop contains whatever it calls from other files: here a change in any file of its room, or in this one, counts.
"""

import hashlib
import warnings
from functools import cache, partial
from pathlib import Path

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache


def compiled(function=None, *, allocates: bool = False, **options):
    """Decorator, with or without options of njit. A function that makes arrays says `allocates`."""
    if function is None:
        return partial(compiled, allocates=allocates, **options)
    dispatcher = njit(fastmath=True, nogil=True, error_model="numpy", _nrt=allocates, **options)(function)
    try:
        dispatcher._cache = _cache_beside(Path(function.__code__.co_filename).parent)(function)
    except RuntimeError:  # of numba, where neither the folder nor a user's own can be written
        told = "no folder to keep compiled code in: every process compiles anew (set NUMBA_CACHE_DIR)"
        warnings.warn(told, stacklevel=2)
    return dispatcher


@cache
def _cache_beside(room: Path) -> type[FunctionCache]:
    """Numba's cache, with a digest of all code in the folder, and of this file, in the place of that of one file."""
    digest = hashlib.sha256()
    for path in [*sorted(room.glob("*.py")), Path(__file__)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    stamp = {"get_source_stamp": lambda self: digest.hexdigest()}
    places = [type(place.__name__, (place,), stamp) for place in CompileResultCacheImpl._locator_classes]
    contents = type("RoomContents", (CompileResultCacheImpl,), {"_locator_classes": places})
    return type("RoomCache", (FunctionCache,), {"_impl_class": contents})
