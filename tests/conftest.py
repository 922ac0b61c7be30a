"""Shared fixtures: real recordings where there are some, and threads kept to one so that step loops stay quick."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

# Properties are tried on the same examples each time, and no test depends on how busy the machine is. `make soak` draws
# others, and as many as SPEECHLIB_EXAMPLES says.
settings.register_profile(
    "steady",
    derandomize="SPEECHLIB_EXAMPLES" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("steady")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With several workers (`-n 2`) one does all of a file, and one both that are about the smoke batch."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0]).name
            return "smoke batch" if file in ("test_notebooks.py", "test_browser.py") else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings. Tests that ask for it are skipped, with the reason, where there is none."""
    root = os.environ.get("SPEECHLIB_REAL_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("no real recordings: set SPEECHLIB_REAL_DATA to a folder of them")
    return Path(root)


@pytest.fixture(scope="session")
def one_voice(tmp_path_factory):
    """One speaker of the toy corpus, with phones and words: speech in a second (espeak wants a process of its own)."""
    from speechlib import corpora

    root = tmp_path_factory.mktemp("one_voice")
    code = "import sys; from speechlib.corpora import toy; toy.speak('adam', sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)
    return corpora.load("folder", root)


@pytest.fixture(scope="session")
def voices(tmp_path_factory) -> Path:
    """Data for a folder corpus: two voices of the toy corpus with their phones, packed once for all tests."""
    root = tmp_path_factory.mktemp("voices")
    (root / "folder").mkdir()
    for voice in ("adam", "anika"):
        code = "import sys; from speechlib.corpora import toy; toy.speak(sys.argv[1], sys.argv[2])"
        subprocess.run([sys.executable, "-c", code, voice, str(root / "folder")], check=True)
    return root


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """A project with empty data and outputs of its own."""
    monkeypatch.setenv("SPEECHLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path


@pytest.fixture(scope="session")
def smoke_batch(tmp_path_factory) -> dict[str, str]:
    """The environment of a workspace in which the runner executed every notebook at `smoke`: executed once for all."""
    root = tmp_path_factory.mktemp("smoke")
    places = {"SPEECHLIB_DATA": str(root / "data"), "SPEECHLIB_OUTPUTS": str(root / "outputs")}
    environment = os.environ | places
    command = [sys.executable, "-m", "speechlib", "run", "--preset", "smoke", "--jobs", "2", "--timeout", "600"]
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    (root / "told.txt").write_text(told)
    print(told)
    return environment
