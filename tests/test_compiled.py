"""Compiled code that is kept for the next process is never older than its sources."""

import subprocess
import sys

import pytest

INNER = """
from speechlib.compiled import compiled

@compiled
def inner(x):
    return x + {added}
"""
OUTER = """
import inner
from speechlib.compiled import compiled

@compiled
def outer(x):
    return 10 * inner.inner(x)

print(outer(1), sum(outer.stats.cache_hits.values()), outer.targetoptions["nogil"])
"""


def run(folder) -> list[str]:
    done = subprocess.run([sys.executable, "outer.py"], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_change_in_a_called_file_reaches_the_kept_code_of_its_callers(tmp_path):
    """Numba itself would go on with the first version: outer.py has not changed."""
    (tmp_path / "outer.py").write_text(OUTER)
    for added, expected in ((1, "20"), (2, "30")):
        (tmp_path / "inner.py").write_text(INNER.format(added=added))
        assert run(tmp_path)[:2] == [expected, "0"]
        assert run(tmp_path)[:2] == [expected, "1"]  # kept, and used


def test_where_nothing_can_be_kept_it_is_compiled_anew_and_said(monkeypatch):
    from numba.core.caching import CompileResultCacheImpl

    from speechlib import compiled

    monkeypatch.setattr(CompileResultCacheImpl, "_locator_classes", [])  # as where no folder can be written
    compiled._cache_beside.cache_clear()
    with pytest.warns(UserWarning, match="no folder to keep compiled code in"):
        twice = compiled.compiled(lambda x: 2 * x)
    compiled._cache_beside.cache_clear()
    assert twice(21) == 42


def test_numba_alone_would_be_stale(tmp_path):
    """What the room's cache is for; when this fails, it is no longer needed."""
    plain = [text.replace("compiled import compiled", "compiled import njit as compiled") for text in (INNER, OUTER)]
    plain = [text.replace("@compiled", "@compiled(cache=True, nogil=True)") for text in plain]
    (tmp_path / "outer.py").write_text(plain[1])
    for added in (1, 2):
        (tmp_path / "inner.py").write_text(plain[0].format(added=added))
        assert run(tmp_path)[0] == "20"
