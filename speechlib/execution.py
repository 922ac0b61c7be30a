"""One notebook, executed by papermill in a process of its own: its memory, its hanging and its death stay its own.

    python -m speechlib.execution job.json      a Job as the runner in workbook.py writes it

The executed notebook and its page (.html) are written, and then the record of what happened: the runner reads the
record both as progress and as outcome. A process that finds its runner dead (standard input at its end) stops at once.

papermill's own account is not enough: it reports a notebook whose kernel was killed as completed.
"""

import logging
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from . import cluster, configs, files
from .errors import BadFile

START_TIMEOUT = 120  # seconds a kernel has to start, on a machine that is busy with others
_STOPS = 10  # seconds that a worker has to stop one

# nbconvert's own page, without what it would fetch: require.js, MathJax, Mermaid, the widget manager; and with GIFs.
PAGE = """{% extends "lab/index.html.j2" %}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block data_other scoped %}{% if type == "image/gif" %}
<div class="jp-RenderedImage jp-OutputArea-output">
<img alt="animation" src="data:image/gif;base64,{{ output.data["image/gif"] | escape_html }}">
</div>
{% endif %}{% endblock %}
{% block extra_css %}<style>main { max-width: 70rem; margin: 0 auto; padding: 1rem }</style>{% endblock %}
"""
# No live widgets: an explorer brings its still as HTML.
SHOWN = ("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "image/gif", "text/plain")


@dataclass(frozen=True)
class Job:
    """What to execute and where its results go. `timeout`: seconds any one cell may take."""

    source: str
    output: str
    page: str
    record: str
    parameters: dict
    timeout: int


def execute(job: Job, sockets: str) -> dict:
    """The record of one execution: status, cell, cells, exception, peak_memory (bytes).

    status is done, failed (a cell raised), died (the kernel was killed) or timed out (a cell took longer than
    job.timeout). Whatever was executed until then is in job.output, signed, and in job.page. The kernel is talked to
    through files in the folder `sockets`: kernels that start together cannot take each other's, as they can TCP ports.
    """
    import nbformat
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from nbformat.sign import NotebookNotary
    from papermill import PapermillExecutionError

    record = {"status": "running", "cell": 0, "cells": 0, "exception": None}
    part = Path(job.record).with_suffix(".part.ipynb")
    part.unlink(missing_ok=True)  # of an execution that was killed
    try:
        with files.full_disk_told(job.output):
            _papermill(job, part, record, sockets)
        record["status"] = "done"
    except PapermillExecutionError as error:
        reason = _one_line(f"{error.ename}: {error.evalue}")
        record |= {"status": "failed", "cell": error.exec_count, "exception": reason}
        logging.error("%s", error)  # its text is the traceback
    except DeadKernelError:
        record |= {"status": "died", "exception": "the kernel was killed: out of memory, or a crash in compiled code?"}
    except CellTimeoutError:
        record |= {"status": "timed out", "exception": f"took longer than {job.timeout} s"}
    except Exception as error:  # an invalid notebook, a kernel that does not start
        record |= {"status": "failed", "exception": _told(error)}
        logging.exception("not executed")
    if part.exists():
        try:
            notebook = nbformat.read(part, as_version=4)
            part.replace(job.output)
            NotebookNotary().sign(notebook)  # JupyterLab draws the widgets of trusted notebooks only
            with files.atomic(job.page) as page:
                page.write_text(_page(notebook, Path(job.source).stem), encoding="utf-8")
        except Exception as error:  # half a notebook, or no room for its page
            if record["status"] == "done":
                record |= {"status": "failed", "exception": _told(error)}
            logging.exception("not written")
            for old in (job.page, *([job.output] if part.exists() else ())):  # must not pass for what was not written
                Path(old).unlink(missing_ok=True)
        finally:
            part.unlink(missing_ok=True)
    else:  # what an older execution has left must not pass for this one's
        for old in (job.output, job.page):
            Path(old).unlink(missing_ok=True)
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * bytes_per_unit  # of the kernel: the largest child
    return record | {"peak_memory": peak}


def _papermill(job: Job, output: Path, record: dict, sockets: str) -> None:
    import papermill
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines
    from traitlets.config import Config

    class Client(PapermillNotebookClient):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            # nbclient plays Output widgets by sending on the channel it waits on, and may wait for ever (nbclient#312).
            self.widget_registry = {}

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, start_timeout, execution_timeout, **options):
            options |= {"startup_timeout": start_timeout, "timeout": execution_timeout}
            options.pop("input_path")
            return Client(nb_man, kernel_name=kernel_name, **options).execute()

    papermill_engines.register("speechlib", Engine)

    def on_cell_start(cell, cell_index):
        if cell.cell_type == "code":
            record["cell"] += 1
            files.write_json(job.record, record)

    def on_notebook_start(notebook):
        record["cells"] = sum(cell.cell_type == "code" for cell in notebook.cells)

    ipc = {"transport": "ipc", "ip": f"{sockets}/kernel"}
    papermill.execute_notebook(
        job.source,
        str(output),
        job.parameters,
        engine_name="speechlib",
        kernel_name="python3",
        progress_bar=False,
        log_output=True,
        cwd=str(files.ROOT),
        start_timeout=START_TIMEOUT,
        execution_timeout=job.timeout,
        coalesce_streams=True,
        config=Config({"KernelManager": ipc, "AsyncKernelManager": ipc}),
        on_notebook_start=on_notebook_start,
        on_cell_start=on_cell_start,
    )


def _page(notebook, title: str) -> str:
    """The notebook as one HTML file that asks nothing of the network."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    shown = Config({"NbConvertBase": {"display_data_priority": list(SHOWN)}})
    exporter = HTMLExporter(config=shown, raw_template=PAGE, theme="light", embed_images=True)
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return page


def _told(error: Exception) -> str:
    return _one_line(f"{type(error).__name__}: {error}")


def _one_line(text: str, limit: int = 300) -> str:
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


class Process:
    """The runner's hold on a notebook that executes elsewhere.

    `threads`: OMP_NUM_THREADS of its kernel, unless whoever started the runner has set that (on a busy machine 1 may be
    ten times as quick as all cores).
    """

    def __init__(self, job: Job, log: Path, threads: int):
        Path(job.record).unlink(missing_ok=True)  # of an earlier execution
        self.record, self.started = Path(job.record), time.time()
        description = self.record.with_suffix(".job.json")
        files.write_json(description, asdict(job))
        command = [sys.executable, "-m", "speechlib.execution", str(description)]
        # The kernel named python3 has to be this environment's, not one that its user installed elsewhere.
        environment = {"OMP_NUM_THREADS": str(threads), "JUPYTER_PREFER_ENV_PATH": "1"} | os.environ
        with log.open("w") as out:
            streams = {"stdin": subprocess.PIPE, "stdout": out, "stderr": subprocess.STDOUT}
            self.popen = subprocess.Popen(command, env=environment, start_new_session=True, **streams)

    def poll(self) -> dict:
        """The record so far; its status is `running` until the process is gone."""
        code = self.popen.poll()
        record = files.read_json(self.record) if self.record.exists() else {"status": "running", "cell": 0, "cells": 0}
        record |= {"seconds": round(time.time() - self.started, 1)}
        if code is None:
            return record | {"status": "running"}
        if record["status"] == "running":
            record |= {"status": "died", "exception": f"the process that executes it ended with code {code}"}
        return record

    def stop(self) -> None:
        self.popen.stdin.close()  # what _stop_with_runner waits for
        self.popen.wait()


class RemoteProcess:
    """The same of a notebook that executes on some worker of a cluster."""

    def __init__(self, job: Job, log: Path, workers: cluster.Cluster):
        Path(job.record).unlink(missing_ok=True)
        self.record, self.started = Path(job.record), time.time()
        self.future = workers.submit(_on_worker, asdict(job), str(log))

    def poll(self) -> dict:
        """The record so far, which lies where both see it; the time spent waiting for a worker is counted."""
        so_far = self._told()
        if not self.future.done():
            return so_far | {"status": "running", "seconds": round(time.time() - self.started, 1)}
        try:
            return cluster.outcome(self.future)
        except Exception as error:
            ended = {"status": "died", "exception": _one_line(str(error))}
            return so_far | ended | {"seconds": round(time.time() - self.started, 1)}

    def _told(self) -> dict:
        """The record, where there is one: a worker that begins again takes it away, disks of others come late."""
        try:
            return files.read_json(self.record)
        except BadFile:
            return {"cell": 0, "cells": 0}

    def stop(self) -> None:
        """Returns when the notebook is stopped, or does not say so in time."""
        self.future.cancel()
        late = time.time() + _STOPS
        while self._told().get("status") == "running" and time.time() < late:
            time.sleep(0.1)


def _on_worker(job: dict, log: str) -> dict:
    """The record of a notebook that this worker executes, in a process of its own with one thread."""
    process = Process(configs.from_dict(Job, job), Path(log), threads=1)
    while (record := process.poll())["status"] == "running":
        if not cluster.wanted():
            process.stop()
            files.write_json(job["record"], record | {"status": "interrupted"})
            break
        time.sleep(0.1)
    return record


def _stop_with_runner(sockets: str) -> None:
    import psutil

    os.read(0, 1)  # returns when the runner, which holds the other end, is gone
    for process in psutil.Process().children(recursive=True):
        process.kill()
    shutil.rmtree(sockets, ignore_errors=True)
    os._exit(1)


def main(path: str) -> None:
    job = configs.from_dict(Job, files.read_json(path))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    with tempfile.TemporaryDirectory(prefix="speechlib-") as sockets:
        threading.Thread(target=_stop_with_runner, args=(sockets,), daemon=True).start()
        files.write_json(job.record, execute(job, sockets))


if __name__ == "__main__":
    main(sys.argv[1])
