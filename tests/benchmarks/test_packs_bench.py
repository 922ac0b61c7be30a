"""Packing a corpus of FLAC files by two processes, opening the pack, and gathering crops from it."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from speechlib import packs
from speechlib.batches import Crops
from speechlib.packs import PackConfig

RATE, SECONDS = 16_000, 30


def record(benchmark, name: str, figure: float, unit: str, target: float, direction: str) -> None:
    benchmark.extra_info |= {"name": name, "figure": figure, "unit": unit, "target": target, "direction": direction}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, request):
    """An hour of FLAC, of noise as loud as speech is; a minute of it where benchmarks are off."""
    from lhotse import CutSet, Recording, SupervisionSegment

    folder, cuts = tmp_path_factory.mktemp("flac"), []
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(SECONDS * RATE) * 0.05 * (1 + np.sin(np.arange(SECONDS * RATE) / 3000))
    for k in range(120 if request.config.getoption("benchmark_enable") else 2):
        path = folder / f"u{k:03d}.flac"
        soundfile.write(path, np.roll(wave, 4001 * k), RATE)
        recording = Recording.from_file(path, force_read_audio=False)
        cut = recording.to_cut()
        cut.id = recording.id
        cut.supervisions = [SupervisionSegment(cut.id, cut.id, 0, cut.duration, speaker="anna")]
        cuts.append(cut)
    return SimpleNamespace(name="bench", cuts=CutSet.from_cuts(cuts), skipped=())


def test_build(benchmark, corpus, tmp_path):
    def build():
        shutil.rmtree(tmp_path / "packs", ignore_errors=True)
        return packs.build(corpus, PackConfig(), tmp_path / "packs", jobs=2)

    pack = benchmark.pedantic(build, rounds=3)
    assert not pack.skipped
    if not benchmark.disabled:
        hours = pack.n_samples.sum() / RATE / 3600
        figure = hours / (benchmark.stats.stats.min / 60)
        record(benchmark, "packs: an hour of FLAC", figure, "hours of audio per minute, two cores", 10, "higher")


def test_open(benchmark, corpus, tmp_path):
    path = packs.build(corpus, PackConfig(), tmp_path).path
    assert len(benchmark(packs.open, path)) == len(corpus.cuts)
    if not benchmark.disabled:
        record(benchmark, "packs: open", benchmark.stats.stats.median * 1000, "ms", 20, "lower")


def test_crops(benchmark, corpus, tmp_path):
    pack = packs.build(corpus, PackConfig(), tmp_path)
    crops = Crops(pack, range(len(pack)), 32, 48, targets="log_mel", audio=True)
    numbers = iter(range(10**9))
    assert benchmark(lambda: crops.batch(next(numbers))).inputs.shape == (32, 39, 48)
    if not benchmark.disabled:
        median = benchmark.stats.stats.median * 1000
        record(benchmark, "batches: 32 crops of 48 frames with targets and audio", median, "ms", 5, "lower")
