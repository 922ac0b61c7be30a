"""How long a newcomer waits: every notebook at `smoke`, from an empty workspace, two at a time."""

import os
import subprocess
import sys
import time

import pytest


@pytest.mark.timeout(1500)
def test_smoke(benchmark, tmp_path):
    if benchmark.disabled:
        pytest.skip("tests/test_notebooks.py runs the same; its time is taken by `make bench`")
    places = {"SPEECHLIB_DATA": str(tmp_path / "data"), "SPEECHLIB_OUTPUTS": str(tmp_path / "outputs")}
    command = [sys.executable, "-m", "speechlib", "run", "--preset", "smoke", "--jobs", "2"]
    started = time.perf_counter()
    benchmark.pedantic(subprocess.run, args=(command,), kwargs={"env": os.environ | places, "check": True}, rounds=1)
    benchmark.extra_info |= {
        "name": "every notebook at smoke",
        "figure": time.perf_counter() - started,
        "unit": "seconds, two at a time, from an empty workspace",
        "target": 480,
        "direction": "lower",
    }
