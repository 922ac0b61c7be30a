"""Every notebook, executed by the runner at `smoke`, and executed a second time: same text, sound and numbers."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile

from speechlib import corpora, index_page, workbook
from speechlib.corpora import zerospeech

pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(1500)]
NAMES = [notebook.name for notebook in workbook.NOTEBOOKS]


@pytest.fixture(scope="module")
def batch(smoke_batch) -> Path:
    return Path(smoke_batch["SPEECHLIB_OUTPUTS"]) / "batches" / "smoke"


@pytest.fixture(scope="module")
def entries(batch) -> dict:
    return json.loads((batch / "manifest.json").read_text())["notebooks"]


def outputs(batch: Path, name: str, tag: str = ""):
    """The data {mime: value} of every output, of the cell with this tag only if one is given."""
    for cell in nbformat.read(batch / f"{name}.ipynb", as_version=4).cells:
        if not tag or tag in cell.metadata.get("tags", []):
            yield from (output.get("data", {}) for output in cell.get("outputs", []))


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(entries, batch, name):
    entry = entries[name]
    log = batch / entry.get("log", "none")
    assert entry["status"] == "done", f"{entry['exception']}\n{log.read_text()[-3000:] if log.exists() else ''}"


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_gives_the_same(smoke_batch, batch, name):
    """nbval, strict: text and sound are compared letter by letter in all cells but those that show times."""
    sanitize = Path(__file__).with_name("nbval_sanitize.cfg")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-cell-timeout=600",
        f"--nbval-sanitize-with={sanitize}",
    ]
    command += ["-q", "--color=no", "-p", "no:cacheprovider", "-p", "no:benchmark", f"{name}.ipynb"]
    result = subprocess.run(command, cwd=batch, env=smoke_batch, capture_output=True, text=True)
    assert result.returncode == 0, (result.stdout + result.stderr)[-6000:]


@pytest.mark.parametrize("name", NAMES)
def test_it_fills_its_card(batch, name):
    [figure] = [data for data in outputs(batch, name, "key-figure") if "image/png" in data]
    assert base64.b64decode(figure["image/png"]).startswith(b"\x89PNG")
    [numbers] = [data for data in outputs(batch, name, "key-numbers") if index_page.NUMBERS_MIME in data]
    assert numbers[index_page.NUMBERS_MIME]


@pytest.mark.parametrize("name", NAMES)
def test_its_sounds_are_sounds(batch, name):
    """Each decodes, lasts, is not silent and not clipped."""
    html = "".join("".join(data.get("text/html", "")) for data in outputs(batch, name))
    for sound in re.findall(r'src="data:audio/(?:flac|wav);base64,([^"]+)"', html):
        wave, rate = soundfile.read(io.BytesIO(base64.b64decode(sound)))
        assert len(wave) > 0.02 * rate
        assert 1e-4 < np.abs(wave).max() <= 1
        assert np.mean(np.abs(wave) > 0.999) < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_it_says_nothing_it_should_not(batch, name):
    """No warning, no progress bar left behind, no path of this machine."""
    notebook = nbformat.read(batch / f"{name}.ipynb", as_version=4)
    streams = [
        (cell.id, output.text)
        for cell in notebook.cells
        if "nbval-ignore-output" not in cell.metadata.get("tags", [])
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert streams == []
    assert (batch / f"{name}.ipynb").stat().st_size < 20e6


def test_codes_are_read_of_any_codec(smoke_batch, batch):
    """Notebooks 40, 41 and 42 about the codec of notebook 22."""
    command = [sys.executable, "-m", "speechlib", "run", "--preset", "smoke", "--only", "40", "41", "42"]
    command += ["-p", "system", "vqvae_wavenet", "--name", "codec", "--jobs", "2"]
    result = subprocess.run(command, env=smoke_batch, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    folder = batch.with_name("codec")
    for name in ("40_codebook_map", "41_alignments_and_bigrams", "42_clustering"):
        [numbers] = [data for data in outputs(folder, name, "key-numbers") if index_page.NUMBERS_MIME in data]
        assert numbers[index_page.NUMBERS_MIME]
        test_its_sounds_are_sounds(folder, name)


def told(folder: Path, name: str) -> str:
    """All that a notebook printed."""
    cells = nbformat.read(folder / f"{name}.ipynb", as_version=4).cells
    return "".join(o.text for cell in cells for o in cell.get("outputs", []) if o.output_type == "stream")


def test_of_one_voice_what_is_missing_is_said_and_the_rest_is_measured(smoke_batch, batch, voices):
    """Notebooks 24 and 42: nobody to turn into, no triples across speakers."""
    command = [sys.executable, "-m", "speechlib", "run", "--preset", "smoke", "--only", "20", "24", "42"]
    command += ["-p", "corpus", "folder", "-p", "corpus_root", str(voices / "folder" / "adam"), "--name", "alone"]
    result = subprocess.run(command, env=smoke_batch, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    folder = batch.with_name("alone")
    autoencoders, clustering = (told(folder, name) for name in ("24_wavenet_autoencoders", "42_clustering"))
    assert "nothing across speakers: no triple can be made" in autoencoders
    assert "adam is the only voice here" in autoencoders
    assert "context any, across speakers: no triple can be made" in clustering
    for name, key in (
        ("24_wavenet_autoencoders", "ABX within speakers, IN (%)"),
        ("42_clustering", "ABX error of z_e (%)"),
    ):
        [numbers] = [data for data in outputs(folder, name, "key-numbers") if index_page.NUMBERS_MIME in data]
        assert key in numbers[index_page.NUMBERS_MIME]


def test_a_language_without_items_has_a_bit_rate_and_no_abx_error(smoke_batch, batch, tmp_path):
    toy = corpora.load("toy", Path(smoke_batch["SPEECHLIB_DATA"]) / "toy")
    home = zerospeech.lay_out(toy, tmp_path / "laid", "surprise", utterances=8, spoken=2)
    zerospeech.item_file(home).unlink()
    command = [sys.executable, "-m", "speechlib", "run", "--preset", "smoke", "--only", "46", "--name", "surprise"]
    result = subprocess.run(
        [*command, "-p", "challenge_root", str(home)], env=smoke_batch, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    folder = batch.with_name("surprise")
    assert "ABXTasks/surprise.item is not there: no ABX error" in told(folder, "46_zerospeech")
    [numbers] = [d for d in outputs(folder, "46_zerospeech", "key-numbers") if index_page.NUMBERS_MIME in d]
    found = numbers[index_page.NUMBERS_MIME]
    assert found["bits per second of the codes"] > 0
    assert not [name for name in found if "ABX" in name or "phones" in name]


def test_a_second_batch_has_nothing_to_do(smoke_batch, batch, entries):
    command = [sys.executable, "-m", "speechlib", "run", "--preset", "smoke"]
    result = subprocess.run(command, env=smoke_batch, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    again = json.loads((batch / "manifest.json").read_text())["notebooks"]
    assert {entry["status"] for entry in again.values()} == {"cached"}


def test_every_sound_and_figure_of_the_index_is_inside_it(batch, entries):
    text = (batch.parent.parent / "index.html").read_text()
    assert text.count('src="data:image/png;base64,') == len(NAMES)
    assert text.count("<audio") >= 4
    for name in NAMES:
        assert f'href="batches/smoke/{name}.html"' in text
        assert os.path.getsize(batch / f"{name}.html") < 30e6
