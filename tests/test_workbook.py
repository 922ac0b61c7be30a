"""The runner on notebooks made for the purpose: one that works, and one for every way to fail."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from speechlib import execution, index_page, workbook
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.workbook import Notebook

PARAMETERS = 'preset: str = "smoke"  # smoke, demo or paper\nseed: int = 0  # seed of everything'
QUIET = """
import ipywidgets
ipywidgets.interact(lambda x: print(x), x=(0, 9))
print("seed", seed)
"""


def make(folder: Path, name: str, *cells: str, parameters: str = PARAMETERS, needs=()) -> Notebook:
    heading, tagged = new_markdown_cell(f"# About {name}"), {"tags": ["parameters"]}
    notebook = new_notebook(cells=[heading, new_code_cell(parameters, metadata=tagged), *map(new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return Notebook(name, tuple(needs), folder=folder)


def test_who_makes_the_run_of_a_system():
    assert workbook.maker("vqvae") == "notebook 20 (20_vqvae_on_features)"
    with pytest.raises(UnknownName, match="'vqva'"):
        workbook.maker("vqva")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """(folder of the batch, its entries, events): one batch with every outcome there is."""
    root = tmp_path_factory.mktemp("outcomes")
    here = root / "notebooks"
    error = make(here, "10_error", "print('before')", "1 / 0", "print('after')")
    notebooks = [
        make(here, "00_fine", QUIET),
        error,
        make(here, "20_dead", "import os; os._exit(1)"),
        make(here, "30_slow", "import time; time.sleep(60)"),
        make(here, "40_needs_error", "print(1)", needs=[error]),
    ]
    events = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_OUTPUTS", str(root / "outputs"))
        entries = workbook.run(
            "all", notebooks, {"seed": "7"}, jobs=2, timeout=4, report=lambda *event: events.append(event)
        )  # fmt: skip
        yield workbook.folder("all"), entries, events


def test_every_outcome_has_its_status(outcomes):
    _, entries, _ = outcomes
    states = {name: entry["status"] for name, entry in entries.items()}
    assert states == {
        "00_fine": "done", "10_error": "failed", "20_dead": "died", "30_slow": "timed out", "40_needs_error": "not run"
    }  # fmt: skip


def test_a_failed_cell_is_named_with_its_exception(outcomes):
    folder, entries, _ = outcomes
    entry = entries["10_error"]
    assert (entry["cell"], entry["exception"]) == (
        4,
        "ZeroDivisionError: division by zero",
    )  # In [2] sets the parameters
    executed = nbformat.read(folder / "10_error.ipynb", as_version=4)
    printed = [output.text for cell in executed.cells for output in cell.get("outputs", []) if "text" in output]
    assert printed == ["before\n"]
    assert "ZeroDivisionError" in (folder / entry["log"]).read_text()


def test_a_dead_kernel_and_a_timeout_are_told_apart(outcomes):
    _, entries, _ = outcomes
    assert "kernel was killed" in entries["20_dead"]["exception"]
    assert entries["30_slow"]["exception"] == "took longer than 4 s"
    assert entries["30_slow"]["seconds"] < 40


def test_what_was_there_before_does_not_pass_for_what_could_not_begin(workspace):
    """A notebook that cannot be executed at all leaves the notebook and page of nobody."""
    source = make(workspace / "notebooks", "00_gone", "print(1)")
    source.path.write_text("no notebook any more")
    results = [workspace / f"00_gone.{end}" for end in ("ipynb", "html", "json")]
    for result in results:
        result.write_text("of an older execution")
    job = execution.Job(str(source.path), *map(str, results), {}, 4)
    assert execution.execute(job, str(workspace))["status"] == "failed"
    assert not any(result.exists() for result in results[:2])


def test_what_needs_a_failed_notebook_is_not_run_and_says_why(outcomes):
    folder, entries, _ = outcomes
    assert entries["40_needs_error"]["exception"] == "needs 10_error: failed"
    assert not (folder / "40_needs_error.ipynb").exists()


def test_manifest_tells_everything(outcomes):
    folder, entries, _ = outcomes
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["notebooks"] == entries
    assert manifest["finished"] >= manifest["started"]
    assert {"git", "versions"} <= manifest.keys()
    fine = entries["00_fine"]
    assert fine["parameters"] == {"preset": "smoke", "seed": 7}
    assert fine["exception"] is None
    assert fine["peak_memory"] > 20 * 2**20
    assert fine["seconds"] > 0


def test_progress_is_reported(outcomes):
    _, _, events = outcomes
    fine = [(event, entry.get("cell")) for event, name, entry in events if name == "00_fine"]
    assert fine[0][0] == "started"
    assert fine[-1] == ("finished", 3)
    assert {"started", "progress", "finished"} == {event for event, _, _ in events}


def test_executed_notebook_is_trusted_and_has_its_widgets(outcomes):
    folder, _, _ = outcomes
    executed = nbformat.read(folder / "00_fine.ipynb", as_version=4)
    assert NotebookNotary().check_signature(executed)
    assert executed.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert "seed 7\n" in "".join(o.get("text", "") for cell in executed.cells for o in cell.get("outputs", []))


def test_pages_ask_nothing_of_the_network(outcomes):
    folder, _, _ = outcomes
    pages = [*folder.glob("*.html"), index_page.path()]
    assert len(pages) == 6
    for page in pages:
        asked = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)|url\(["']?([^)"']*)|@import""", page.read_text())
        outside = [address for pair in asked for address in pair if address.startswith(("http", "//"))]
        assert outside == [], page


def test_index_links_lead_somewhere(outcomes):
    folder, _, _ = outcomes
    for page in (folder / "index.html", index_page.path()):
        links = re.findall(r'href="([^"#]+)"', page.read_text())
        assert len(links) > 10
        assert [link for link in links if not (page.parent / link).exists()] == []


# Threads

THREADS = """
import os
print("threads", os.environ["OMP_NUM_THREADS"])
"""


@pytest.mark.parametrize(("jobs", "own", "expected"), [(2, None, "3"), (8, None, "1"), (2, "5", "5")])
def test_kernels_share_the_cores_unless_their_user_says_otherwise(workspace, monkeypatch, jobs, own, expected):
    """Six cores: three for each of two notebooks, at least one for each of eight."""
    monkeypatch.setattr(workbook, "usable_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    told = make(workspace / "notebooks", "00_told", THREADS)
    assert statuses("threads", [told], jobs=jobs) == ["done"]
    executed = nbformat.read(workbook.folder("threads") / "00_told.ipynb", as_version=4)
    assert [o.text for cell in executed.cells for o in cell.get("outputs", [])] == [f"threads {expected}\n"]


# What is up to date


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package that nobody edits while the tests run."""
    monkeypatch.setattr(workbook, "PACKAGE", tmp_path / "package")
    (tmp_path / "package").mkdir()
    return tmp_path / "package"


@pytest.fixture
def pair(workspace, package):
    """Two quick notebooks, of which the second needs the first."""
    first = make(workspace / "notebooks", "00_first", "print(seed)")
    return first, make(
        workspace / "notebooks", "10_second", "print(2)", parameters="n: int = 3  # steps", needs=[first]
    )


def statuses(*arguments, **options) -> list[str]:
    return [entry["status"] for entry in workbook.run(*arguments, **options).values()]


def test_what_is_unchanged_is_skipped_and_what_changed_is_not(pair):
    first, second = pair
    assert statuses("b", pair) == ["done", "done"]
    before = (workbook.folder("b") / "00_first.ipynb").stat().st_mtime_ns
    assert statuses("b", pair) == ["cached", "cached"]
    assert (workbook.folder("b") / "00_first.ipynb").stat().st_mtime_ns == before
    assert statuses("b", [second], force=True) == ["done"]
    assert statuses("b", pair) == ["cached", "cached"]
    (workbook.folder("b") / "00_first.html").unlink()
    assert statuses("b", pair) == ["done", "cached"]
    assert statuses("b", [replace(first, makes="vqvae")]) == ["done"]  # the run it left was deleted


def test_a_notebook_after_others_waits_for_them_and_does_without_those_that_fail(workspace, package):
    here = workspace / "notebooks"
    slow = make(here, "00_slow", f"import time; time.sleep(1); open({str(workspace / 'made')!r}, 'w').close()")
    broken = make(here, "10_broken", "1 / 0")
    last = replace(make(here, "20_last", f"open({str(workspace / 'made')!r})"), after=(slow, broken))
    assert statuses("b", [last, slow, broken]) == ["done", "done", "failed"]
    assert statuses("c", [last]) == ["done"]  # those that are not in the batch are not waited for
    before = workbook.fingerprint(last, {})
    make(here, "00_slow", "print('other')")
    assert workbook.fingerprint(last, {}) != before


def test_a_notebook_after_others_runs_again_where_other_runs_are_there(workspace, package, monkeypatch):
    here, there = workspace / "notebooks", set()
    first = replace(make(here, "00_first", "print(1)"), makes="vqvae")
    last = replace(make(here, "10_last", "print(2)"), after=(first,))
    monkeypatch.setattr(workbook, "_has_run", lambda system, given: system in there)
    assert statuses("b", [last]) == ["done"]
    assert statuses("b", [last]) == ["cached"]
    there.add("vqvae")  # trained since
    assert statuses("b", [last]) == ["done"]
    assert statuses("b", [last]) == ["cached"]
    there.clear()  # deleted since
    assert statuses("b", [last]) == ["done"]


def test_fingerprint_hangs_on_source_parameters_package_and_needs(pair, package):
    first, second = pair
    seen = [workbook.fingerprint(second, {})]

    def changed(values=None) -> bool:
        seen.append(workbook.fingerprint(second, values or {}))
        return seen[-1] not in seen[:-1]

    assert not changed()
    assert not changed({"n": 3})  # its default
    assert not changed({"n": "3"})
    assert changed({"n": 4})
    assert changed({"seed": 1})  # of the notebook it needs
    assert not changed({"elsewhere": 1})
    (package / "module.py").write_text("x = 1")
    assert changed()
    make(second.folder, "10_second", "print(3)", parameters="n: int = 3  # steps")
    assert changed()
    make(first.folder, "00_first", "print(seed + 1)")
    assert changed()


def test_a_killed_runner_leaves_nothing_running_and_the_next_one_goes_on(workspace, package):
    here, mark = workspace / "notebooks", workspace / "pid"
    once = f"""
import os, pathlib, time
mark = pathlib.Path({str(mark)!r})
first_time = not mark.exists()
mark.write_text(str(os.getpid()))
time.sleep(60 if first_time else 0)
"""
    notebooks = [make(here, "00_quick", "print(1)"), make(here, "10_stuck", once)]
    command = (
        f"from pathlib import Path; from speechlib import workbook; workbook.PACKAGE = Path({str(package)!r}); "
        f"workbook.run('b', [workbook.Notebook(n, folder=Path({str(here)!r})) for n in ('00_quick', '10_stuck')])"
    )
    runner = subprocess.Popen([sys.executable, "-c", command])
    try:
        wait_for(lambda: mark.exists() and mark.read_text())
        manifest = json.loads((workbook.folder("b") / "manifest.json").read_text())
        assert [entry["status"] for entry in manifest["notebooks"].values()] == ["done", "running"]
        with pytest.raises(SpeechlibError, match="another process runs the batch 'b'"):
            workbook.run("b", notebooks)
    finally:
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    kernel = int(mark.read_text())
    wait_for(lambda: not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE)
    assert statuses("b", notebooks) == ["cached", "done"]


def wait_for(condition, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def test_an_interrupted_batch_says_so_and_stops_its_kernels(workspace):
    slow = make(workspace / "notebooks", "00_slow", "import time; time.sleep(60)")

    def interrupt(event, name, entry):
        if entry.get("cell") == 2:
            raise KeyboardInterrupt

    before = set(psutil.Process().children(recursive=True))  # other tests leave multiprocessing's tracker behind
    with pytest.raises(KeyboardInterrupt):
        workbook.run("b", [slow], report=interrupt)
    manifest = json.loads((workbook.folder("b") / "manifest.json").read_text())
    assert manifest["notebooks"]["00_slow"]["status"] == "interrupted"
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_batch_belongs_to_one_runner(pair):
    workbook.folder("b").mkdir(parents=True)
    with (workbook.folder("b") / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(SpeechlibError, match="another process"):
            workbook.run("b", pair)


# Checked before anything starts


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"sede": 1}, "unknown parameter of these notebooks 'sede'. Did you mean 'seed'"),
        ({"seed": "many"}, "seed needs int, got 'many'"),
        ({"seed": 1.5}, "seed needs int, got 1.5"),
        ({"seed": "[1"}, "seed needs int"),
        ({"preset": "smok"}, "unknown preset 'smok'. Did you mean 'smoke'"),
    ],
)
def test_wrong_parameters_stop_before_anything_starts(pair, values, error):
    with pytest.raises(SpeechlibError, match=re.escape(error)):
        workbook.run("b", pair, values)
    assert not workbook.folder("b").exists()


def test_a_parameter_goes_to_the_notebooks_that_declare_it(pair):
    assert workbook.assign(pair, {"n": "5", "preset": "paper"}) == {
        "00_first": {"preset": "paper", "seed": 0},
        "10_second": {"n": 5},
    }
    with pytest.raises(UnknownName, match="There are: n"):
        workbook.assign(pair[1:], {"seed": 1})


def test_texts_are_read_as_the_declared_type(tmp_path):
    types = 'a: str = ""  # x\nb: float = 0.5  # x\nc: bool = False  # x\n#\n\nd: list = [1]  # x\ne: dict = {}  # x'
    notebook = make(tmp_path, "00_types", parameters=types)
    texts = {"a": "1.50", "b": "2", "c": "true", "d": "[1, two]", "e": "{k: 1}"}
    assert workbook.assign([notebook], texts)["00_types"] == {
        "a": "1.50",
        "b": 2.0,
        "c": True,
        "d": [1, "two"],
        "e": {"k": 1},
    }
    assert workbook.parameters(notebook)["b"] == (float, 0.5, "x")


def test_select():
    notebooks = [Notebook("00_a"), Notebook("10_b"), Notebook("20_c")]
    assert workbook.select(notebooks) == notebooks
    assert [n.name for n in workbook.select(notebooks, ["20", "00_a"])] == ["00_a", "20_c"]
    assert [n.name for n in workbook.select(notebooks, start="10")] == ["10_b", "20_c"]
    assert [n.name for n in workbook.select(notebooks, ["00", "20"], start="10")] == ["20_c"]
    with pytest.raises(UnknownName, match="unknown notebook '2'"):
        workbook.select(notebooks, ["2"])
    with pytest.raises(SpeechlibError, match="nothing to run"):
        workbook.select(notebooks, ["00"], start="10")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
def test_a_batch_name_is_one_folder(pair, name):
    with pytest.raises(SpeechlibError, match="batch name"):
        workbook.run(name, pair)


def test_jobs_and_timeout_start_at_one(pair):
    with pytest.raises(SpeechlibError, match="jobs and timeout start at 1, got 0 and 5"):
        workbook.run("b", pair, jobs=0, timeout=5)


# The index page


def test_a_card_shows_what_its_cells_tag_and_escapes_all_text(workspace):
    outputs = [
        {"image/png": "iVBORw0KGgo=\n", "text/plain": "figure"},
        {"text/html": '<audio controls src="data:audio/flac;base64,AAAA"></audio>', "text/plain": "player"},
        {index_page.NUMBERS_MIME: {"NMI <of codes>": 0.41234, "codes used": 1024}, "text/plain": "numbers"},
    ]
    tags = ["key-figure", "key-player", "key-numbers"]
    cells = [new_markdown_cell("# Codes <b>&</b> phones")]
    for tag, data in zip(tags, outputs):
        output = nbformat.v4.new_output("execute_result", data=data, execution_count=1)
        cells.append(new_code_cell("", metadata={"tags": [tag]}, outputs=[output]))
    folder = workbook.folder("mine")
    folder.mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells), folder / "00_codes.ipynb")
    entry = {"status": "failed", "cell": 3, "exception": "ValueError: <script>", "seconds": 75.2, "peak_memory": 1}
    manifest = {"name": "mine", "started": "2026-01-02T03:04:05+00:00", "git": None, "notebooks": {"00_codes": entry}}
    versions = {"speechlib": "1", "python": "3", "torch": "2"}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"versions": versions}))
    text = index_page.write(index_page.latest()).read_text()
    for expected in (
        'href="batches/mine/00_codes.ipynb"',
        "Codes &lt;b&gt;&amp;&lt;/b&gt; phones", "NMI &lt;of codes&gt;", "<dd>0.412</dd>", "<dd>1,024</dd>", "1:15",
        'src="data:image/png;base64,iVBORw0KGgo="', "audio/flac", "In [3]: ValueError: &lt;script&gt;",
        "2 January 2026",
    ):  # fmt: skip
        assert expected in text
    (picture,) = index_page.pictures("mine", workspace / "gallery")
    assert picture == workspace / "gallery" / "00_codes.png"
    assert picture.read_bytes() == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(SpeechlibError, match="no batch 'yours' in .*: there are mine"):
        index_page.pictures("yours", workspace)
    nbformat.write(new_notebook(cells=cells[:1]), folder / "00_codes.ipynb")
    with pytest.raises(SpeechlibError, match="no notebook of batch 'mine' has a key figure"):
        index_page.pictures("mine", workspace)
    waiting = manifest | {"versions": versions, "notebooks": {"00_codes": {"status": "not run", "exception": "needs"}}}
    (folder / "manifest.json").write_text(json.dumps(waiting))
    text = index_page.write("mine").read_text()
    assert "image/png" not in text  # older results are not shown as if they were of this batch
    assert 'href="batches/mine/00_codes.ipynb"' not in text


def test_no_batch_no_page(workspace):
    with pytest.raises(SpeechlibError, match="no batch in"):
        index_page.latest()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.41234, "0.412"), (1024, "1,024"), (12345.6, "12,346"), (None, ""), ("cpu", "cpu"), (float("nan"), "nan")],
)
def test_numbers_have_three_digits(value, text):
    assert index_page.number(value) == text


def test_workbook_is_in_an_order_it_can_run_in():
    names = [notebook.name for notebook in workbook.NOTEBOOKS]
    assert names == sorted(names)
    for notebook in workbook.NOTEBOOKS:
        assert all(need.name < notebook.name and need in workbook.NOTEBOOKS for need in notebook.needs)
        assert notebook.title != notebook.name
        assert os.path.exists(notebook.path)
