"""A hundred thousand short utterances, or hours in one recording, made on the spot and sent through the house.

    python tests/large.py FOLDER utterances 1000 100000
    python tests/large.py FOLDER hours 0.1 3

print a line of JSON for each size: of every stage its CPU seconds, and the most bytes of memory so far.
"""

import json
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from speechlib.features import FeatureConfig
from speechlib.packs import PackConfig

RATE, LENGTH = 8_000, 2_400  # hertz; samples of a short utterance
SHORT = PackConfig(RATE, (FeatureConfig("log_mel", RATE, 256, 256, 80, n_mels=40),))
LONG = PackConfig(trim="silence", high_pass=70.0)
PHONES = "aiout"


def utterances(root: Path, n: int, first: int = 0) -> Path:
    """`n` recordings of 0.3 s by 50 speakers, no two alike, with three phones each."""
    noise = (np.random.default_rng(0).standard_normal(LENGTH + first + n) * 3_000).astype("<i2")
    header = b"RIFF" + struct.pack("<I", 36 + 2 * LENGTH) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16) + b"data" + struct.pack("<I", 2 * LENGTH)
    for speaker in range(50):
        (root / f"s{speaker:02d}").mkdir(parents=True, exist_ok=True)
    for k in range(first, first + n):
        name = root / f"s{k % 50:02d}" / f"u{k:06d}"
        name.with_suffix(".wav").write_bytes(header + noise[k : k + LENGTH].tobytes())
        name.with_suffix(".phn").write_text(f"0 800 a\n800 1600 t\n1600 2400 {PHONES[k % 5]}\n")
    return root


def recording(root: Path, hours: float, rate: int = 16_000) -> Path:
    """One recording, written minute by minute, with ten phones in each second, and a short one beside it."""
    import soundfile

    root.mkdir(parents=True)
    rng, step = np.random.default_rng(0), rate // 10
    swell = 0.05 * (1 + np.sin(np.arange(60 * rate) / 3000))
    with soundfile.SoundFile(root / "long.wav", "w", rate, 1, "PCM_16") as file:
        for _ in range(round(60 * hours)):
            file.write((rng.standard_normal(60 * rate) * swell).astype(np.float32))
    soundfile.write(root / "short.wav", rng.standard_normal(rate) * 0.1, rate)
    phones = (f"{k * step} {(k + 1) * step} {PHONES[k % 5]}\n" for k in range(round(36_000 * hours)))
    (root / "long.phn").write_text("".join(phones))
    return root


def travel(folder: Path, root: Path, config: PackConfig):
    """A corpus through every room up to batches, its pack under `folder`: yields the name of each stage once it is
    through."""
    from speechlib import batches, corpora, packs, windows
    from speechlib.corpora import splits

    corpus = corpora.load("folder", root)
    yield "load"
    pack = packs.build(corpus, config, folder / "packs")
    yield "pack"
    assert len(packs.build(corpus, config, folder / "packs")) == len(corpus.cuts)
    yield "open"
    corpora.describe(corpus), corpora.inventory(corpus)
    yield "describe"
    parts = splits.split(corpus.cuts, {"train": 0.5, "val": 0.5})
    train = [pack.index_of(name) for name in parts["train"]]
    yield "split"
    kind = config.features[-1].kind
    packs.statistics(pack, range(len(pack)), kind)
    yield "statistics"
    crops = batches.Crops(pack, range(len(pack)), 32, 24, inputs=kind, audio=True)
    assert sum(len(crops.batch(n)) for n in range(len(crops)))
    yield "crops"
    found = windows.Windows(pack, train, 32, 20, kind=kind)
    for n in range(len(pack) // 32):
        found.batch(n)
    yield "windows"


def main(folder: str, what: str, *sizes: str) -> None:
    import torch

    torch.set_num_threads(1)
    place = Path(folder)
    for _ in travel(place / "first", utterances(place / "first" / "corpus", 200), SHORT):  # imports, tables, compilers
        pass
    for k, size in enumerate(sizes):
        here = place / f"{k}"
        root = here / "corpus"
        if what == "hours":
            recording(root, float(size))
        else:
            utterances(root, int(size))
        seconds, peak, began = {}, {}, time.process_time()
        for stage in travel(here, root, LONG if what == "hours" else SHORT):
            seconds[stage] = time.process_time() - began
            peak[stage] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            began = time.process_time()
        print(json.dumps({"size": float(size), "seconds": seconds, "peak": peak}), flush=True)


def measured(folder: Path, what: str, *sizes: float) -> list[dict]:
    """What a process of its own has to say of one size after the other; its memory only ever grows."""
    command = [sys.executable, __file__, str(folder), what, *map(str, sizes)]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in told.splitlines()]


if __name__ == "__main__":
    main(*sys.argv[1:])
