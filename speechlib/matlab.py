"""Arrays of MATLAB files, read where a damaged one can do no harm."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from .errors import BadFile


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array, of the arrays of numbers or text in a .mat file of any version; structs and cells are left out.

    A damaged file makes scipy write where it must not (five bytes too many in the header end in a bus error): it
    reads in a process of its own, which sends plain arrays and is not trusted with more. Raises BadFile where the file
    is missing, of another kind, or cut short.
    """
    if not Path(path).is_file():
        raise BadFile(path, "does not exist")
    code = f"import sys; from {__name__} import _send; _send(sys.argv[1])"
    with tempfile.TemporaryFile() as sent:
        alone = subprocess.run([sys.executable, "-c", code, str(path)], stdout=sent, stderr=subprocess.PIPE)
        if alone.returncode:
            told = alone.stderr.decode(errors="replace").strip().splitlines()[-1:] if alone.returncode > 0 else []
            reason = told[0] if told else f"the process that read it died of signal {-alone.returncode}"
            raise BadFile(path, f"is no MATLAB file, or cut short ({reason})")
        sent.seek(0)
        try:
            with np.load(sent, allow_pickle=False) as arrays:
                return {name.removeprefix(_MARK): array for name, array in arrays.items()}
        except Exception as error:  # the process that read it was made to send something else, whatever that is
            raise BadFile(path, f"is no MATLAB file, or cut short ({error})") from None


_MARK = "array "  # before a name: `file` would be an argument of np.savez


def _send(path: str) -> None:
    from scipy.io import loadmat

    try:
        arrays = loadmat(path)
    except NotImplementedError:  # version 7.3 is HDF5
        import h5py

        with h5py.File(path) as file:  # MATLAB writes columns first: what h5py reads is transposed
            arrays = {name: array[()].T for name, array in file.items() if isinstance(array, h5py.Dataset)}
    plain = {name: a for name, a in arrays.items() if isinstance(a, np.ndarray) and not a.dtype.hasobject}
    np.savez(sys.stdout.buffer, **{_MARK + name: array for name, array in plain.items()})
