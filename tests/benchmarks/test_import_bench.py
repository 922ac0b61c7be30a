"""Seconds that `import speechlib` takes in a fresh interpreter."""

import subprocess
import sys

CODE = "import time; t = time.perf_counter(); import speechlib; print(time.perf_counter() - t)"
HEAVY = "import sys, speechlib; print(*({'torch', 'numpy', 'lhotse', 'matplotlib', 'pandas'} & set(sys.modules)))"


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import(benchmark):
    seconds = []
    benchmark.pedantic(lambda: seconds.append(float(python(CODE))), rounds=5, warmup_rounds=1)
    assert python(HEAVY) == ""
    if not benchmark.disabled:
        benchmark.extra_info |= {
            "name": "import speechlib",
            "figure": min(seconds),
            "unit": "seconds",
            "target": 0.3,
            "direction": "lower",
        }
