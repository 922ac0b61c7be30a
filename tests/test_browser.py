"""A real JupyterLab in headless Chromium, and the index page from the file system: what a person meets.

Chromium is Debian's (`apt-get install chromium`); where there is none these tests are skipped, and say so.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from speechlib import workbook

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500), NEEDS_CHROMIUM]
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --autoplay-policy=no-user-gesture-required"
).split()
READY = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
FINISHED = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const cells = panel.content.widgets.filter(cell => cell.model.type === "code");
  const failed = cells.some(cell => cell.model.outputs.toJSON().some(output => output.output_type === "error"));
  return failed || cells.every(cell => cell.model.executionCount > 0)
    && panel.sessionContext.session?.kernel?.status === "idle";
}"""
PLAYS = """async audio => {
  const wait = seconds => new Promise(done => setTimeout(done, 1000 * seconds));
  await Promise.race([audio.play(), wait(10)]);
  await wait(0.4);
  return {ready: audio.readyState, duration: audio.duration, at: audio.currentTime, error: audio.error?.message};
}"""


@pytest.fixture(scope="module")
def page():
    """A page that remembers every request to another machine in `outside`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        page.outside = []

        def inspect(request):
            if request.url.split(":")[0] not in ("data", "blob", "file") and "//127.0.0.1:" not in request.url:
                page.outside.append(request.url)

        page.on("request", inspect)
        yield page
        browser.close()


@contextmanager
def jupyterlab(root: Path, environment: dict[str, str], scratch: Path):
    """Its address and token. The server is stopped whatever happens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    names = ("JUPYTER_CONFIG", "JUPYTERLAB_SETTINGS", "JUPYTERLAB_WORKSPACES")
    places = {f"{name}_DIR": str(scratch / name) for name in names}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}",
        "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with (scratch / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment | places, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            until = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5)
                    break
                except OSError:
                    if server.poll() is not None or time.monotonic() > until:
                        pytest.fail((scratch / "server.log").read_text())
                    time.sleep(0.2)
            for wrong in ("", "?token=", "?token=0"):  # the server gives nothing to who does not know its token
                with pytest.raises(urllib.error.HTTPError, match="403"):
                    urllib.request.urlopen(f"{address}/api/contents{wrong}", timeout=5)
            yield address, token
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="module")
def lab(smoke_batch, tmp_path_factory):
    """Name of an executed notebook -> its address in a JupyterLab that draws all cells, also those out of view."""
    scratch = tmp_path_factory.mktemp("jupyter")
    settings = scratch / "JUPYTERLAB_SETTINGS" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"windowingMode": "none"}))
    copy = shutil.copytree(Path(smoke_batch["SPEECHLIB_OUTPUTS"]) / "batches" / "smoke", scratch / "smoke")  # it saves
    with jupyterlab(copy, smoke_batch, scratch) as (address, token):
        yield lambda name: f"{address}/lab/tree/{name}.ipynb?token={token}&reset"


SPEAKS = """
import time, torch
from speechlib.widgets import Streaming

class Tone:  # 10 s in 200 blocks, said in no time, in half a minute, in no time
    n_samples, waits = 80_000, [0, 0.15, 0]

    def __iter__(self):
        wait = self.waits.pop(0)
        for block in torch.sin(torch.arange(self.n_samples) * 0.3).split(400):
            time.sleep(wait)
            yield block[None]

Streaming("a tone", {}, Tone, 8000)
"""


@pytest.fixture
def speaking(tmp_path):
    """The address of a notebook, not yet run, in which something is spoken slowly."""
    (tmp_path / "root").mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}  # else JupyterLab asks for one
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SPEAKS)], metadata=kernel)
    nbformat.write(notebook, tmp_path / "root" / "speaking.ipynb")
    with jupyterlab(tmp_path / "root", dict(os.environ), tmp_path) as (address, token):
        yield f"{address}/lab/tree/speaking.ipynb?token={token}&reset"


def open_notebook(page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(READY)


def run_all(page) -> None:
    for command in ("clear-all-cell-outputs", "run-all-cells"):
        page.evaluate(f"() => {{ window.jupyterapp.commands.execute('notebook:{command}') }}")
    page.wait_for_function(FINISHED, timeout=240_000)
    errors = page.locator('[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()
    assert errors == []


def test_sounds_of_an_executed_notebook_play_in_jupyterlab(page, lab):
    open_notebook(page, lab("00_start_here"))
    page.wait_for_selector("audio")
    sounds = [player.evaluate(PLAYS) for player in page.query_selector_all("audio")]
    for sound in sounds:
        assert sound["error"] is None
        assert sound["ready"] == 4
        assert sound["duration"] > 1
        assert sound["at"] > 0.1
    assert page.outside == []


def test_another_speaker_is_heard_when_one_is_chosen(page, lab):
    open_notebook(page, lab("01_corpora"))
    run_all(page)
    explorer = page.locator(".jp-OutputArea .widget-vbox:has(select):has(audio)").last
    before = explorer.locator("audio").get_attribute("src")
    explorer.locator("select").first.select_option(index=3)
    page.wait_for_function(
        "before => [...document.querySelectorAll('.widget-vbox audio')].some(audio => audio.src !== before)", arg=before
    )
    sound = explorer.locator("audio").element_handle().evaluate(PLAYS)
    assert sound["ready"] == 4
    assert sound["at"] > 0.1
    assert page.outside == []


def test_another_part_is_heard_when_the_slider_moves(page, lab):
    open_notebook(page, lab("41_alignments_and_bigrams"))
    run_all(page)
    explorer = page.locator(".jp-OutputArea .widget-vbox:has(.noUi-handle):has(audio)").last
    before = explorer.locator("audio").first.get_attribute("src")
    explorer.locator(".noUi-handle").first.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "before => [...document.querySelectorAll('.widget-vbox audio')].every(audio => audio.src !== before)",
        arg=before,
    )
    assert explorer.locator("audio").first.element_handle().evaluate(PLAYS)["ready"] == 4
    assert page.outside == []


def test_speech_is_heard_before_its_end_and_stopped_in_the_middle(page, speaking):
    """Its beginning plays while the rest is still being made, and "stop" keeps what has been made until then."""
    open_notebook(page, speaking)
    run_all(page)
    widget = page.locator(".jp-OutputArea .widget-vbox:has(button)").last
    assert widget.locator("audio").element_handle().evaluate(PLAYS)["duration"] == pytest.approx(10, abs=0.01)
    speak, stop = (widget.get_by_role("button", name=name) for name in ("speak", "stop"))
    assert stop.is_disabled()
    speak.click()
    page.get_by_text("its beginning, to play now").wait_for()
    assert speak.is_disabled()
    sound = widget.locator("audio").element_handle()
    beginning = sound.evaluate(PLAYS)
    page.wait_for_function("audio => audio.currentTime > 0.1", arg=sound)  # while the kernel is busy as well
    assert beginning["ready"] == 4
    assert 0.5 <= beginning["duration"] < 1
    stop.click()
    page.get_by_text("until stop").wait_for()
    kept = widget.locator("audio").element_handle().evaluate(PLAYS)
    assert beginning["duration"] < kept["duration"] < 10
    speak.click()  # again, to the end
    page.get_by_text("all of it").wait_for()
    assert widget.locator("audio").element_handle().evaluate(PLAYS)["duration"] == pytest.approx(10, abs=0.01)
    assert page.outside == []


def test_index_page_opens_from_the_file_system(page, smoke_batch):
    index = Path(smoke_batch["SPEECHLIB_OUTPUTS"]) / "index.html"
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(index.as_uri())
    assert page.locator("article.card").count() == len(workbook.NOTEBOOKS)
    for image in page.locator("article.card img").all():  # those far below load when they come into view
        image.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('article.card img')].every(image => image.complete)")
    widths = page.eval_on_selector_all("article.card img", "images => images.map(image => image.naturalWidth)")
    assert len(widths) == len(workbook.NOTEBOOKS)
    assert min(widths) > 300
    sound = page.query_selector("audio").evaluate(PLAYS)
    assert sound["ready"] == 4
    assert sound["at"] > 0.1
    too_wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert too_wide == 0
    page.click("article.card h2 a")
    assert page.locator("h1").first.inner_text().startswith("Start here")
    assert errors == []
    assert page.outside == []
