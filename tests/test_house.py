"""The house in order: style, rooms, pins, notebooks as they are committed, and commands that exist."""

import ast
import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

import speechlib
from speechlib import workbook
from speechlib.__main__ import _parser

ROOT = Path(speechlib.__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def tracked() -> list[Path]:
    listed = run("git", "ls-files").stdout.split("\n")
    found = [ROOT / name for name in listed if name and (ROOT / name).is_file()]
    return found or pytest.skip("no git checkout: the files of the project are not known")


@pytest.mark.parametrize("command", [("check",), ("format", "--check")])
def test_ruff_has_nothing_to_say(command):
    result = run(sys.executable, "-m", "ruff", *command, "speechlib", "tests")
    assert result.returncode == 0, result.stdout + result.stderr


def test_rooms_import_only_earlier_ones():
    result = run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c(['--no-cache'])")
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_module_imports():
    elsewhere = {"speechlib.generation.triton_wavenet": "triton"}  # which comes with torch for CUDA
    for module in pkgutil.walk_packages(speechlib.__path__, "speechlib."):
        if module.name in elsewhere and importlib.util.find_spec(elsewhere[module.name]) is None:
            continue
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_importing_the_package_imports_nothing_heavy():
    heavy = ("torch", "numpy", "librosa", "matplotlib", "pandas", "lhotse", "IPython")
    code = f"import sys, speechlib; print([name for name in {heavy} if name in sys.modules])"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


def test_no_paths_of_one_machine():
    pattern = re.compile(rb"/(?:home|Users|root|work)/[a-z]")
    assert [path for path in tracked() if pattern.search(path.read_bytes())] == []


# One list of dependencies, one list of pins


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def plain(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement).group().lower().replace("_", "-")


def test_every_dependency_is_pinned():
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = {plain(name) for names in (PROJECT["project"]["dependencies"], *extras) for name in names}
    assert wanted - {plain(name) for name in pins()} == set()


def test_pins_are_public_versions():
    assert [pin for pin in pins().items() if not re.fullmatch(r"[0-9][0-9a-z.]*", pin[1])] == []


def test_conda_takes_the_same_lists():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *others, last = environment["dependencies"]
    assert last == {"pip": ["-c constraints.txt", "-e .[test]"]}
    assert [name for name in others if not re.match(r"python=3\.1[12]|pip|make", name)] == []


# Notebooks as they are committed


def test_every_notebook_is_declared():
    assert [path.stem for path in NOTEBOOKS] == [notebook.name for notebook in workbook.NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert "language_info" not in notebook.metadata  # the version of whoever edited last
    assert "widgets" not in notebook.metadata
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_a_short_lecture(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert cells[-1].source.strip()
    for before, cell in zip(cells, cells[1:]):
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or "parameters" in tags:
            continue
        tree = ast.parse(cell.source)
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 10 or all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in tree.body[:-1]), (
            cell.id
        )
        made = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        assert not made, f"{cell.id}: functions and classes live in the package"
        assert before.source.strip()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_says_what_its_parameters_are(path):
    found = workbook.parameters(workbook.Notebook(path.stem))
    assert found
    assert [name for name, parameter in found.items() if not parameter.comment] == []
    assert "preset" not in found or found["preset"].default == "smoke"  # 02 neither trains nor reads a run


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_a_card(path):
    cells = nbformat.read(path, as_version=4).cells
    tags = [tag for cell in cells for tag in cell.metadata.get("tags", []) if tag.startswith("key-")]
    assert {"key-figure", "key-numbers"} <= set(tags)
    assert len(tags) == len(set(tags))


# Commands exist


def test_make_lists_its_targets():
    alone = ("env", "-u", "MAKELEVEL", "-u", "MAKEFLAGS")  # `make test` runs this test: not as its child
    listed = [line.split()[0] for line in run(*alone, "make").stdout.splitlines()]
    assert listed == ["help", "workbook", "smoke", "test", "bench", "soak", "lab", "clean"]


def test_commands_that_are_told_exist():
    commands = _parser()._subparsers._group_actions[0].choices
    for path in (*tracked(), *NOTEBOOKS):
        if path.suffix in (".md", ".ipynb", ".py", ".yml") or path.name == "Makefile":
            told = re.findall(r"python -m speechlib ([a-z]+)", path.read_text())
            assert set(told) <= set(commands), path


def test_ci_runs_the_test_command_of_the_readme():
    assert "exec make test" in (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^    make test\b", (ROOT / "README.md").read_text(), re.MULTILINE)
