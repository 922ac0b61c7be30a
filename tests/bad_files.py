"""The catalogue of bad files: every kind, how it is made, and what must be said of it.

tests/test_bad_files.py puts each where such files lie (in a corpus, a batch, a submission, among runs) and proves two
things: the message names the file, the place where there is one, the reason and what to do; and everything beside it is
still there. Those whose message is None must work.
"""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from scipy.io import savemat
from test_timit_mat import arrays as timit_arrays
from test_timit_mat import write_v73

from speechlib import configs, runs
from speechlib.models.vqvae import VQVAE, VQVAEConfig

RATE = 16_000
DEEP = "[" * 20_000  # more brackets than any parser has stack for
DIGITS = "9" * 5_000  # more digits than Python turns into a number
LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 30))


class Kind(NamedTuple):
    """`file`: its name. `write`: its content, or what makes it at a path. `told`: a regular expression, None where
    nothing is wrong."""

    file: str
    write: bytes | str | Callable[[Path], object]
    told: str | None


def put(kind: Kind, folder: Path) -> Path:
    """The bad file, in a folder."""
    path = folder / kind.file
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(kind.write):
        kind.write(path)
    else:
        path.write_bytes(kind.write.encode() if isinstance(kind.write, str) else kind.write)
    return path


# -- audio: c.wav or c.flac beside a.wav and b.wav ---------------------------------------------------------------------


def tone(seconds=0.5, channels=1, rate=RATE) -> np.ndarray:
    """(S,) or (S, channels)"""
    wave = 0.3 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * rate)) / rate)
    return wave if channels == 1 else np.stack([wave] * channels, axis=1)


def sound(wave, format="WAV", rate=RATE, **how) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=format, **how)
    return buffer.getvalue()


def spoilt(value: float, count: int) -> bytes:
    wave = tone()
    wave[10 : 10 + count] = value
    return sound(wave, subtype="FLOAT")


def changed(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def with_samples(content: bytes, count: int) -> bytes:
    """A FLAC whose header promises so many samples (36 bits from byte 21 on)."""
    return changed(content, 22, count.to_bytes(4, "big"))[:21] + bytes([content[21] | 0xF]) + count.to_bytes(
        4, "big"
    ) + content[26:]  # fmt: skip


WAV, FLAC = sound(tone()), sound(tone(), "FLAC")
AUDIO = {
    "empty": Kind("c.wav", b"", r"is empty \(0 bytes\)"),
    "a header without samples": Kind("c.wav", WAV[:44], "is truncated: 0 bytes of samples where the header says 16000"),
    "cut WAV": Kind("c.wav", WAV[:9000], "is truncated: 8956 bytes of samples where the header says 16000"),
    "cut FLAC": Kind("c.flac", FLAC[: len(FLAC) // 2], "cannot be decoded .*: is it audio, and whole?"),
    "FLAC cut in its header": Kind("c.flac", FLAC[:30], "is not audio that can be read|cannot be decoded"),
    "a letter": Kind("c.wav", "Dear Sir or Madam, " * 50, "is not audio that can be read|cannot be decoded"),
    "noise for bytes": Kind("c.mp3", bytes(range(1, 251)) * 20, "is not audio that can be read|cannot be decoded"),
    "MPEG tags alone": Kind("c.mp3", b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(50), "not audio|cannot be decoded"),
    "NaN samples": Kind("c.wav", spoilt(np.nan, 3), "holds 3 NaN or infinite samples of 8000"),
    "infinite samples": Kind("c.wav", spoilt(np.inf, 2), "holds 2 NaN or infinite samples of 8000"),
    "no samples": Kind("c.wav", sound(tone(0)), "holds no samples"),
    "one sample per second": Kind(
        "c.wav", changed(WAV, 24, struct.pack("<I", 1)), "says that it has 1 samples per second, 1,000 to 1,000,000 are"
    ),
    "two thousand million samples per second": Kind(
        "c.wav", changed(WAV, 24, struct.pack("<I", 2_000_000_000)), "2,000,000,000 samples per second.* header damaged"
    ),
    "no rate": Kind("c.wav", changed(WAV, 24, bytes(4)), "not audio|cannot be decoded"),
    "no channels": Kind("c.wav", changed(WAV, 22, bytes(2)), "not audio|cannot be decoded"),
    "an unknown codec": Kind("c.wav", changed(WAV, 20, b"\x34\x12"), "not audio|cannot be decoded"),
    "WAV that promises two gigabytes": Kind(
        "c.wav", changed(WAV, 40, struct.pack("<I", 0x7FFE0000)), "is truncated: 16000 bytes .* header says 2147352576"
    ),
    "FLAC that promises sixty thousand million samples": Kind(
        "c.flac",
        with_samples(FLAC, 0xF0000000),
        r"6\d,\d{3},\d{3},\d{3} samples in [0-9,]+ bytes: its header is damaged",
    ),
    "silence": Kind("c.wav", sound(np.zeros(8000)), "is constant: all 8000 samples are 0"),
    "a constant": Kind("c.wav", sound(np.full(8000, 0.25)), "is constant: all 8000 samples are 0.25"),
    "ten samples": Kind("c.wav", sound(tone()[:10]), "is too short: 10 samples at 16000 Hz, one frame needs 400"),
    "a link to nothing": Kind("c.wav", lambda path: path.symlink_to("nowhere.wav"), "No such file|does not exist"),
    "a link to itself": Kind("c.wav", lambda path: path.symlink_to(path.name), "Too many levels|does not exist"),
    "eight channels": Kind("c.wav", sound(tone(channels=8)), None),
    "eight bits": Kind("c.wav", sound(tone(), subtype="PCM_U8"), None),
    "something after the samples": Kind("c.wav", WAV + b"LIST\x04\x00\x00\x00abcd", None),
    "a folder called like a recording": Kind(
        "c.wav", lambda path: (path.mkdir(), (path / "c.wav").write_bytes(WAV)), None
    ),
    "a name with spaces, umlauts and signs": Kind("c ünïcødé 语音 #1 %20.wav", WAV, None),
}

# -- labels of c.wav (0.5 s): the recording is kept whatever they hold -------------------------------------------------

GRID = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n0.5\n<exists>\n{}\n'
TIER = '"IntervalTier"\n"phones"\n0\n0.5\n{}\n{}\n'
LEFT_OUT = "labels left out, recording kept: "
LABELS = {
    "fewer than no intervals": Kind(
        "c.TextGrid",
        '"ooTextFile" "TextGrid" 0 1 <exists> 3 "IntervalTier" "x" 0 -2 -2 9',
        LEFT_OUT + "tier 'x' promises -2",
    ),
    "a million tiers": Kind(
        "c.TextGrid",
        '"ooTextFile" "TextGrid" 0 1 <exists> 1000000 "IntervalTier" "x" 0 1 0',
        LEFT_OUT + "promises 1,000,000 tiers",
    ),
    "a letter": Kind("c.phn", "what is this", f"{LEFT_OUT}expected `start end symbol`, found 'what is this' .line 1."),
    "two columns": Kind("c.phn", "0 800 sil\n800 1600\n", LEFT_OUT + r".* found '800 1600' \(line 2\)"),
    "another order of columns": Kind("c.phn", "sil 0 800\n", LEFT_OUT + r".* found 'sil 0 800' \(line 1\)"),
    "times that are no numbers": Kind("c.phn", "0 800 sil\n800 nan aa\n", LEFT_OUT + r".*'800 nan aa' \(line 2\)"),
    "times without end": Kind("c.phn", "0 inf sil\n", LEFT_OUT + r".*'0 inf sil' \(line 1\)"),
    "no lines": Kind("c.phn", "\n\n", LEFT_OUT + "holds no labels"),
    "bytes": Kind("c.phn", bytes(range(256)) * 4, LEFT_OUT + "expected `start end symbol`"),
    "times beyond the recording": Kind(
        "c.phn", "0 3200 sil\n3200 24000 aa\n", r"labels end 1.00 s after the recording \(0.50 s\) and were clipped"
    ),
    "an end before its beginning": Kind(
        "c.phn", "0 4000 sil\n6000 4000 aa\n", "1 labels end before they begin, the first is 'aa' from 0.375 to 0.25 s"
    ),
    "overlaps": Kind(
        "c.phn",
        "0 4000 sil\n3000 8000 aa\n",
        "1 phones begin before the one before them ends, the first are 'sil' until 0.25 s and 'aa' from 0.1875 s",
    ),
    "a link to nothing": Kind("c.lab", lambda path: path.symlink_to("nowhere.lab"), LEFT_OUT + "No such file"),
    "Festival without its columns": Kind("c.lab", "#\n0.2 125\n", LEFT_OUT + r"expected `end colour symbol`.*line 2"),
    "a TextGrid without a tier": Kind("c.TextGrid", GRID.format(0), "holds no labels: an empty tier?"),
    "an empty tier": Kind("c.TextGrid", GRID.format(1) + TIER.format(0, ""), "holds no labels: an empty tier?"),
    "a cut TextGrid": Kind(
        "c.TextGrid", GRID.format(1) + TIER.format(3, '0\n0.2\n"sil"'), "'phones' promises 3 intervals .* truncated?"
    ),
    "a TextGrid of numbers without end": Kind("c.TextGrid", GRID.format("1e999"), "is not a whole TextGrid: truncated"),
    "half of UTF-16": Kind("c.TextGrid", GRID.format(0).encode("utf-16")[:101], "does not begin like a TextGrid"),
    "half of JSON": Kind("c.phone.json", '{"w": [{"t": "a", "b": 0', "is not a PocketSphinx alignment"),
    "brackets without end": Kind("c.phone.json", DEEP, "is not a PocketSphinx alignment .RecursionError"),
    "words without times": Kind(
        "c.phone.json", '{"w": [{"t": "a"}]}', "is not a PocketSphinx alignment .KeyError: 'b'"
    ),
    "a byte order mark and CRLF": Kind("c.phn", b"\xef\xbb\xbf0 4000 sil\r\n4000 8000 aa\r\n", None),
    "UTF-16 and CRLF": Kind(
        "c.TextGrid",
        (GRID.format(1) + TIER.format(1, '0\n0.5\n"aa"')).replace("\n", "\r\n").encode("utf-16"),
        None,
    ),
    "Latin-1": Kind("c.phn", "0 8000 ä\n".encode("latin-1"), None),
}

# -- metadata.csv of recordings a, b and c -----------------------------------------------------------------------------

HEADER = "id,speaker,text\n"
ROWS = HEADER + "a,ann,one\nb,bob,two\nc,ann,three\n"
TABLES = {
    "empty": Kind("metadata.csv", "", "table left out: is empty"),
    "bytes": Kind(
        "metadata.csv", b"\xff\xfe\x00\x01" + bytes(range(256)), "table left out: is not a text table in UTF"
    ),
    "UTF-16": Kind("metadata.csv", ROWS.encode("utf-16"), "table left out: is not a text table in UTF-8"),
    "other columns": Kind("metadata.csv", "colour,size\nred,3\n", "table left out: no line of it names a recording"),
    "a header alone": Kind("metadata.csv", HEADER, "table left out: no line of it names a recording"),
    "a quote mark that is never closed": Kind(
        "metadata.csv",
        HEADER + 'a,ann,"one\nb,bob,two\nc,ann,three\n',
        "its last cell has no end.*quote mark that is never closed",
    ),
    "a comma in a text": Kind(
        "metadata.csv", ROWS + "d,eve,hello, you\n", "metadata.csv: d: has 4 cells, the header 3: is `,` in a text that"
    ),
    "a recording that is not there": Kind("metadata.csv", ROWS + "d,eve,four\n", "d: there is no such recording"),
    "a recording twice": Kind(
        "metadata.csv", ROWS + "a,ann,other\n", "a: a later line names the same recording and counts"
    ),
    "a link to nothing": Kind(
        "metadata.csv", lambda path: path.symlink_to("nowhere.csv"), "left out: is not a text table.* No such file"
    ),
    "a folder": Kind("metadata.csv", lambda path: path.mkdir(), "left out: is not a text table .*directory"),
    "a byte order mark, CRLF and empty lines": Kind(
        "metadata.csv", b"\xef\xbb\xbf" + ROWS.replace("\n", "\r\n\r\n").encode(), None
    ),
    "lines that end early": Kind("metadata.csv", HEADER + "a,ann\nb,bob,two\nc,ann\n", None),
}

# -- sweeps and parameters: YAML ---------------------------------------------------------------------------------------

YAML = {
    "bytes": Kind("s.yml", b"\xff\xfe\x00", "s.yml: is not YAML"),
    "half of it": Kind("s.yml", "preset: [", "s.yml: is not YAML: .*line 1"),
    "a list": Kind("s.yml", "- 1\n- 2", r"s.yml: needs the keys of a sweep .*, holds \[1, 2\]"),
    "nothing": Kind("s.yml", "", "s.yml: needs the keys of a sweep .*, holds None"),
    "a folder": Kind("s.yml", lambda path: path.mkdir(), "s.yml: cannot be opened .Is a directory"),
    "not there": Kind("s.yml", lambda path: None, "s.yml: does not exist"),
    "an object to be made": Kind("s.yml", "!!python/object/apply:os.system ['true']", "s.yml: is not YAML"),
    "a billion laughs": Kind("s.yml", LAUGHS, r"s.yml: is not YAML: \*a0: write it out"),
    "a month 13": Kind("s.yml", "preset: 2020-13-01", "s.yml: is not YAML: month must be"),
    "brackets without end": Kind("s.yml", "[\n" * 2_000, "s.yml: is not YAML: maximum recursion"),
    "a number of 5,000 digits": Kind("s.yml", f"seeds: [{DIGITS}]", "s.yml: is not YAML: Exceeds the limit"),
    "a key that is misspelt": Kind("s.yml", "prest: smoke", "unknown field of Sweep 'prest'. Did you mean 'preset'"),
    "an unknown preset": Kind("s.yml", "preset: smoek", "Did you mean 'smoke'"),
    "an unknown field in its grid": Kind("s.yml", "grid: {model.codebok_size: [3]}", "Did you mean 'codebook_size'"),
    "an unknown field in its changes": Kind("s.yml", "changes: {training.stepps: 3}", "Did you mean 'steps'"),
    "an unknown field in an experiment": Kind("s.yml", "experiments: {a: {model.jiter: 0.1}}", "Did you mean 'jitter'"),
    "an experiment that is a number": Kind("s.yml", "experiments: {a: 3}", "experiments.a needs a mapping of changes"),
    "a value for a list": Kind("s.yml", "grid: {model.codebook_size: 3}", "needs a list of values, got 3"),
    "an empty list": Kind("s.yml", "grid: {model.codebook_size: []}", "needs a list of values"),
    "a word for a number": Kind("s.yml", "grid: {model.codebook_size: [3, many]}", "needs int, got 'many'"),
    "a seed that is a word": Kind("s.yml", "seeds: [a]", r"Sweep.seeds\[0\] needs int"),
    "a rate that is no number": Kind(
        "s.yml", "changes: {training.learning_rate: .nan}", "training.learning_rate is not a number: nan"
    ),
    "ten million trainings": Kind(
        "s.yml",
        "grid: " + json.dumps({f"model.{f}": [*range(1, 101)] for f in ("codebook_size", "code_dim", "channels")})
        + "\nseeds: " + json.dumps([*range(10)]),
        "has 10,000,000 trainings, at most 10,000",
    ),
}  # fmt: skip

# -- checkpoints -------------------------------------------------------------------------------------------------------


def small(**changes) -> VQVAE:
    torch.manual_seed(0)
    config = {"channels": 4, "code_dim": 2, "codebook_size": 3} | changes
    return VQVAE(VQVAEConfig(**config), n_features=2, n_targets=2, n_speakers=0)


def saved(path: Path, tensors=None, model=None, **metadata) -> None:
    """A checkpoint of `small()`, with other tensors or metadata."""
    model = model or small()
    about = {"format": runs.FORMAT, "system": "vqvae", "config": configs.to_dict(model.config), "sizes": model.sizes}
    runs.save_tensors(path, {**model.state_dict(), **(tensors or {})}, about | metadata)


def with_config(**changes) -> Callable[[Path], None]:
    return lambda path: saved(path, config=configs.to_dict(small().config) | changes)


def with_tensor(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    name = next(iter(small().state_dict()))
    return lambda path: saved(path, {name: change(small().state_dict()[name])})


def cut(write: Callable[[Path], object], keep: float) -> Callable[[Path], object]:
    """What `write` makes, without its end."""

    def half(path: Path) -> None:
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])

    return half


def a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": [1.0]}))


HEADER_ALONE = b'{"__metadata__":{"format":"1"}}'
CHECKPOINTS = {
    "not there": Kind("m.safetensors", lambda path: None, "does not exist: has this run reached its first checkpoint"),
    "empty": Kind("m.safetensors", b"", "is truncated or no safetensors file .*: delete it and train again"),
    "half of it": Kind("m.safetensors", cut(saved, 0.5), "is truncated or no safetensors file"),
    "all but its last bytes": Kind("m.safetensors", cut(saved, 0.999), "is truncated or no safetensors file"),
    "a pickle": Kind("m.safetensors", a_pickle, "is truncated or no safetensors file"),
    "of torch.save": Kind("m.safetensors", lambda p: torch.save(small().state_dict(), p), "or no safetensors file"),
    "a header of an exabyte": Kind("m.safetensors", struct.pack("<Q", 1 << 60) + b"{}", "or no safetensors file"),
    "a tensor of a petabyte": Kind(
        "m.safetensors",
        (lambda h: struct.pack("<Q", len(h)) + h)(
            b'{"w":{"dtype":"F32","shape":[1000000,1000000,250],"data_offsets":[0,1000000000000000]}}'
        ),
        "or no safetensors file",
    ),
    "a header that says nothing": Kind(
        "m.safetensors", struct.pack("<Q", len(HEADER_ALONE)) + HEADER_ALONE, "has been changed|says no|unknown model"
    ),
    "another version": Kind(
        "m.safetensors", lambda p: saved(p, format=7), "has checkpoint format 7, .* reads format 1"
    ),
    "an unknown system": Kind("m.safetensors", lambda p: saved(p, system="vqvea"), "unknown model .* mean 'vqvae'"),
    "no config": Kind("m.safetensors", lambda p: saved(p, config=None), "says no config: its header is damaged"),
    "no sizes": Kind("m.safetensors", lambda p: saved(p, sizes=[2]), "says no sizes: its header is damaged"),
    "a config of brackets": Kind(
        "m.safetensors",
        lambda p: p.write_bytes(_safetensors_header({"format": "1", "system": '"vqvae"', "config": DEEP})),
        "or no safetensors file .maximum recursion",
    ),
    "an unknown field": Kind("m.safetensors", with_config(chanels=8), "holds a config that .* Did you mean 'channels'"),
    "a word for a number": Kind("m.safetensors", with_config(channels="many"), "channels needs int, got 'many'"),
    "a width that is no number": Kind("m.safetensors", with_config(jitter=float("nan")), "jitter is not a number: nan"),
    "another config": Kind(
        "m.safetensors", with_config(code_dim=3), r"is of another config: .* is \(.*\) there and \(.*\) in the model"
    ),
    "no channels": Kind("m.safetensors", with_config(channels=0), "channels must be at least 1, got 0"),
    "a probability of three": Kind(
        "m.safetensors", with_config(jitter=3.0), "of which no VQVAE can be made .jitter is a"
    ),
    "fewer channels than none": Kind("m.safetensors", with_config(channels=-4), "channels must be at least 1, got -4"),
    "a thousand million channels": Kind(
        "m.safetensors",
        with_config(channels=10**9),
        "is too small for its config: config.channels is 1,000,000,000 in a",
    ),
    "other sizes": Kind("m.safetensors", lambda p: saved(p, sizes={"n_frames": 2}), "names sizes that VQVAE does not"),
    "a weight too many": Kind(
        "m.safetensors", lambda p: saved(p, {"more": torch.zeros(2)}), r"more is \(2,\) there and None in the model"
    ),
    "weights that are not finite": Kind(
        "m.safetensors", with_tensor(lambda t: t * torch.nan), "weights of .* that are not finite: did the training div"
    ),
    "weights of eight bits that are not finite": Kind(
        "m.safetensors", with_tensor(lambda t: (t * torch.nan).to(torch.float8_e4m3fn)), "that are not finite"
    ),
    "weights that are whole numbers": Kind(
        "m.safetensors", with_tensor(lambda t: t.to(torch.int64)), "holds torch.int64, the model torch.float32"
    ),
    "weights that are complex": Kind(
        "m.safetensors", with_tensor(lambda t: t.to(torch.complex64)), "holds torch.complex64, the model torch.float32"
    ),
}


def _safetensors_header(metadata: dict[str, str]) -> bytes:
    header = json.dumps({"__metadata__": metadata}).encode()
    return struct.pack("<Q", len(header)) + header


# -- notebooks ---------------------------------------------------------------------------------------------------------


def notebook(*lines: str, tags=("parameters",)) -> str:
    cell = {"cell_type": "code", "id": "a", "metadata": {"tags": [*tags]}, "source": "\n".join(lines)}
    cell |= {"outputs": [], "execution_count": None}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


ONLY = r"10_bad.ipynb \({}\): the parameters cell holds lines like `seed: int = 0  # what it is`, and nothing else"
NOTEBOOKS = {
    "not there": Kind("10_bad.ipynb", lambda path: None, "10_bad.ipynb: does not exist"),
    "a folder": Kind("10_bad.ipynb", lambda path: path.mkdir(), "10_bad.ipynb: cannot be opened .Is a directory"),
    "empty": Kind("10_bad.ipynb", b"", "10_bad.ipynb: is no notebook"),
    "half of it": Kind("10_bad.ipynb", notebook("seed: int = 0")[:70], "10_bad.ipynb: is no notebook"),
    "bytes": Kind("10_bad.ipynb", b"\xff\xfe\x00{}", "10_bad.ipynb: is no notebook"),
    "brackets without end": Kind("10_bad.ipynb", DEEP, "10_bad.ipynb: is no notebook .maximum recursion"),
    "a list": Kind("10_bad.ipynb", "[]", "10_bad.ipynb: is no notebook"),
    "a cell without source": Kind(
        "10_bad.ipynb", notebook("seed: int = 0").replace('"source"', '"sauce"'), "is no notebook .a cell has no source"
    ),
    "no cells": Kind(
        "10_bad.ipynb", '{"cells": null, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "is no notebook"
    ),
    "a number of cells": Kind(
        "10_bad.ipynb", '{"cells": 3, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "is no notebook"
    ),
    "metadata that are a list": Kind(
        "10_bad.ipynb", notebook("x: int = 0").replace('"metadata": {}', '"metadata": []'), "is no notebook"
    ),
    "a version that is a letter": Kind(
        "10_bad.ipynb", notebook("x: int = 0").replace('"nbformat_minor": 5', '"nbformat_minor": "x"'), "is no notebook"
    ),
    "a mapping that cannot be": Kind("10_bad.ipynb", notebook("x: dict = {[1]: 2}"), "the parameters cell holds lines"),
    "a number of a thousand signs": Kind(
        "10_bad.ipynb", notebook("x: int = " + "-" * 20_000 + "1"), "the parameters cell holds lines"
    ),
    "a parameter without its kind": Kind("10_bad.ipynb", notebook("x = 1"), ONLY.format("x = 1")),
    "a parameter that is computed": Kind("10_bad.ipynb", notebook("x: int = 1 + y"), ONLY.format("x: int = 1 . y")),
    "a parameter of another kind": Kind("10_bad.ipynb", notebook("x: Path = 1"), ONLY.format("x: Path = 1")),
    "a parameter without a value": Kind("10_bad.ipynb", notebook("x: int"), ONLY.format("x: int")),
    "code among the parameters": Kind("10_bad.ipynb", notebook("import os"), ONLY.format("import os")),
    "no parameters": Kind("10_bad.ipynb", notebook("print(1)", tags=()), None),
}

# -- run folders, and files of batches ---------------------------------------------------------------------------------

WHOLE = {"format": 1, "system": "vqvae", "preset": "smoke", "seed": 0, "experiment": {}}
RUNS = {
    "no config": Kind("config.json", lambda path: None, "config.json: does not exist"),
    "an empty config": Kind("config.json", b"", "config.json: is not JSON .*truncated by a kill or a full disk?"),
    "half of a config": Kind("config.json", json.dumps(WHOLE)[:30], "config.json: is not JSON"),
    "a config that is a folder": Kind("config.json", lambda path: path.mkdir(), "config.json: cannot be opened"),
    "a config that is a list": Kind(
        "config.json", "[1]", "config.json: is not the config of a run: it has no `format`"
    ),
    "a config of 5,000 digits": Kind("config.json", DIGITS, "config.json: is not JSON .Exceeds the limit"),
    "another version": Kind(
        "config.json", json.dumps(WHOLE | {"format": 99, "versions": {"speechlib": "9.9"}}), "99 .made by speechlib 9.9"
    ),
    "another version that says nothing of itself": Kind(
        "config.json", json.dumps(WHOLE | {"format": 99, "versions": [3]}), "run format 99 .made by speechlib unknown"
    ),
    "no experiment": Kind(
        "config.json", json.dumps(WHOLE | {"experiment": None}), "config.json: lacks experiment: delete the folder"
    ),
    "a system that is a number": Kind("config.json", json.dumps(WHOLE | {"system": 3}), "config.json: lacks system"),
    "half of a status": Kind("status.json", '{"state": "do', "status.json: is not JSON"),
    "a status that is a list": Kind("status.json", "[]", "status.json: holds no mapping of state, step, reason"),
    "a status without its step": Kind("status.json", '{"state": "done"}', "status.json: holds no mapping of state, st"),
    "half of a summary": Kind("summary.json", '{"nmi": 0.', "summary.json: is not JSON"),
    "a summary that is a list": Kind("summary.json", "[0.4]", "summary.json: holds no mapping: delete the folder"),
    "half of a tier's config": Kind("tier_1/config.json", json.dumps(WHOLE)[:30], "tier_1/config.json: is not JSON"),
}
MANIFESTS = {
    "empty": Kind("manifest.json", b"", "manifest.json: is not JSON"),
    "half of it": Kind("manifest.json", '{"name": "bad", "noteb', "truncated by a kill or a full disk"),
    "a list": Kind("manifest.json", "[]", "manifest.json: is not the manifest of a batch"),
    "without a beginning": Kind("manifest.json", '{"name": "bad"}', "manifest.json: is not the manifest of a batch"),
    "a commit that is a number": Kind(
        "manifest.json",
        '{"name": "bad", "started": "2026-01-02T03:04:05+00:00", "git": 3, "versions": {}, "notebooks": {}}',
        "manifest.json: is not the manifest of a batch",
    ),
    "another calendar": Kind(
        "manifest.json",
        '{"name": "bad", "started": "yesterday", "versions": {}, "notebooks": {}}',
        r"manifest.json \(started\): is damaged .*'yesterday'",
    ),
    "a time that is a word": Kind(
        "manifest.json",
        '{"name": "bad", "started": "2026-01-02T03:04", "versions": {}, '
        '"notebooks": {"00_a": {"status": "done", "seconds": "x"}}}',
        r"manifest.json \(00_a\): is damaged: delete it",
    ),
    "a notebook without its state": Kind(
        "manifest.json",
        '{"name": "bad", "started": "2026-01-02T03:04", "versions": {}, "notebooks": {"00_a": {}}}',
        r"manifest.json \(00_a\): is damaged: delete it",
    ),
    "a notebook that lies elsewhere": Kind(
        "manifest.json",
        '{"name": "bad", "started": "2026-01-02T03:04", "versions": {}, "notebooks": {"../../x": {"status": "done"}}}',
        r"manifest.json \(../../x\): is damaged: delete it",
    ),
}
LINE = '{"step": 1, "part": "train", "loss": 0.5}\n'
JOURNALS = {
    "half a line at its end": Kind("metrics.jsonl", LINE + LINE[:20], None),
    "half a line in its middle": Kind(
        "metrics.jsonl", LINE + LINE[:20] + "\n" + LINE, r"metrics.jsonl \(line 2\): is damaged .*delete the run"
    ),
    "bytes": Kind("metrics.jsonl", LINE.encode() + b"\xff\xfe\n", r"metrics.jsonl \(line 2\): is damaged"),
    "a number for a line": Kind("metrics.jsonl", LINE + "3\n", r"metrics.jsonl \(line 2\): is damaged .not a mapping"),
    "brackets without end": Kind("metrics.jsonl", DEEP + "\n", r"metrics.jsonl \(line 1\): is damaged"),
}

# -- items, embeddings and recordings of a submission ------------------------------------------------------------------

ITEMS = "#file onset offset #phone prev-phone next-phone speaker\n"
ITEM_FILES = {
    "not there": Kind("x.item", lambda path: None, "x.item: No such file"),
    "empty": Kind("x.item", b"", r"x.item \(line 1\): has no #file, onset"),
    "bytes": Kind("x.item", b"#file\xff\xfe", "x.item: is no text in UTF-8"),
    "no header": Kind("x.item", "u 0.1 0.2 a b c s\n", r"\(line 1\): has no .*in its header, wanted `#file onset"),
    "a column is missing": Kind("x.item", ITEMS.replace("prev-phone ", ""), "has no prev-phone in its header"),
    "a field is missing": Kind(
        "x.item", ITEMS + "u 0.1 0.2 a b c s\nu 0.1 0.2 a b c\n", r"x.item \(line 3\): has 6 fields, its header 7"
    ),
    "a comma in a number": Kind("x.item", ITEMS + "u 0,1 0.2 a b c s\n", r"\(line 2\): has no numbers for onset .*0,1"),
    "no length": Kind("x.item", ITEMS + "u 0.2 0.2 a b c s\n", r"\(line 2\): runs from 0.2 s to 0.2 s"),
    "a length below zero": Kind("x.item", ITEMS + "u 0.2 0.1 a b c s\n", r"\(line 2\): runs from 0.2 s to 0.1 s"),
    "an onset below zero": Kind("x.item", ITEMS + "u -0.1 0.2 a b c s\n", r"\(line 2\): runs from -0.1 s"),
    "a time that is no number": Kind("x.item", ITEMS + "u nan 0.2 a b c s\n", r"\(line 2\): runs from nan s"),
    "a time without end": Kind("x.item", ITEMS + "u 0.1 inf a b c s\n", r"\(line 2\): .*to inf s"),
    "a header alone": Kind("x.item", ITEMS, "x.item: has no items, only a header"),
    "a file that nobody encoded": Kind(
        "x.item", ITEMS + "v 0.1 0.2 a b c s\n", "1 files of the items have no repres.* v"
    ),
    "an item behind the end": Kind("x.item", ITEMS + "u 5 6 a b c s\n", "5 to 6 s of u .* there are 10 rows"),
}

EMBEDDINGS = {
    "no rows": Kind("S002_2.txt", b"", "holds no rows"),
    "a word": Kind("S002_2.txt", "1 2\n3 x\n", "line 2: holds 'x', which is no number"),
    "tabs": Kind("S002_2.txt", "1\t2\n", "line 1: holds .* which is no number"),
    "commas": Kind("S002_2.txt", "1,2\n", "line 1: holds '1,2', which is no number"),
    "two spaces": Kind("S002_2.txt", "1 2\n3  4\n", "line 2: has two spaces together"),
    "rows of two lengths": Kind("S002_2.txt", "1 2\n3\n", "line 2: has 1 numbers, the rows before it have 2"),
    "NaN": Kind("S002_2.txt", "1 2\n3 nan\n", "holds NaN or infinite numbers, first in row 2"),
    "infinite numbers": Kind("S002_2.txt", "1 2\n3 1e999\n", "holds NaN or infinite numbers, first in row 2"),
    "bytes": Kind("S002_2.txt", b"\xff\xfe\x00", "is not text"),
    "a folder": Kind("S002_2.txt", lambda path: path.mkdir(), "is not text .*directory"),
    "rows of another size": Kind("S002_2.txt", "1 2 3\n", "has rows of 3 numbers, 2 other files have 2"),
    "an empty recording": Kind("V001_2.wav", b"", r"is empty \(0 bytes\)"),
    "a cut recording": Kind("V001_2.wav", WAV[:9000], "is truncated"),
    "a recording that is a letter": Kind("V001_2.wav", "Dear Sir", "cannot be decoded"),
    "NaN in a recording": Kind("V001_2.wav", spoilt(np.nan, 3), "holds 3 NaN or infinite samples"),
    "a recording of another rate": Kind("V001_2.wav", sound(tone(), rate=8000), "has 8000 Hz"),
    "a silent recording": Kind("V001_2.wav", sound(np.zeros(800)), "is silent"),
    "metadata that is none": Kind("../../metadata.yaml", "a: [", "is not YAML"),
    "metadata of laughs": Kind("../../metadata.yaml", LAUGHS, r"is not YAML: \*a0: write it out"),
    "metadata of one word": Kind("../../metadata.yaml", "hello", "needs `key: value` lines, holds 'hello'"),
    "a key of another kind": Kind(
        "../../metadata.yaml",
        "abx distance: dtw_cosine\nsystem description: x\nusing parallel train: maybe\nusing external data: false\n",
        "`using parallel train` is 'maybe'",
    ),
}

# -- packs: (file to be spoilt, how) -----------------------------------------------------------------------------------


def keep_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one_byte(path: Path) -> None:
    """Another byte in the middle of the file, its length kept."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def json_without(key: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != key}))

    return write


PACKS = {
    "cut audio": Kind("audio.npy", keep_half, "is not whole .*: delete the folder and build it again"),
    "cut features": Kind("frames-mfcc.npy", keep_half, "is not whole"),
    "cut numbers": Kind("index.npz", keep_half, "is not whole"),
    "no labels": Kind("phones.npy", os.unlink, "is not whole"),
    "objects for labels": Kind(
        "phones.npy", lambda p: np.save(p, np.array([{}], object), allow_pickle=True), "is not whole .*Python objects"
    ),
    "half of its index": Kind("index.json", keep_half, "index.json: is not JSON"),
    "an index that is a list": Kind("index.json", "[]", "is a pack of format unknown, this version reads 1"),
    "another version": Kind("index.json", '{"format": 99}', "is a pack of format 99, this version reads 1: delete it"),
    "an index without its speakers": Kind("index.json", json_without("speakers"), "is not whole .KeyError: 'speakers'"),
    "an index of other fields": Kind(
        "index.json",
        lambda p: p.write_text(p.read_text().replace('"top_db"', '"top"')),
        "is not whole .*unknown field of PackConfig 'top'",
    ),
}
SHARDS = {"empty": lambda path: path.write_bytes(b""), "cut": keep_half, "another byte": one_byte}

# -- arrays ------------------------------------------------------------------------------------------------------------


def archive(**arrays: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in arrays.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


TOKENS = {
    "not there": Kind("codes_20ms.npz", lambda path: None, "codes_20ms.npz: holds no saved arrays"),
    "empty": Kind("codes_20ms.npz", b"", "codes_20ms.npz: holds no saved arrays"),
    "no arrays": Kind("codes_20ms.npz", archive(codes=b"text"), "codes_20ms.npz: holds no saved arrays"),
    "a pickle": Kind("codes_20ms.npz", pickle.dumps([1]), "codes_20ms.npz: holds no saved arrays"),
}


def frames(spoil: Callable[[dict], object] = lambda arrays: None) -> Callable[[Path], object]:
    """A file of TIMIT frames, spoilt."""

    def write(path: Path) -> None:
        arrays = timit_arrays()
        spoil(arrays)
        savemat(path, arrays)

    return write


NO_MATLAB = "x.mat: is no MATLAB file, or cut short"
MATLAB = {
    "not there": Kind("x.mat", lambda path: None, "x.mat: does not exist"),
    "a letter": Kind("x.mat", b"no matlab" * 30, NO_MATLAB),
    "half of it": Kind("x.mat", cut(frames(), 0.5), NO_MATLAB),
    "half of one of version 7.3": Kind("x.mat", cut(lambda path: write_v73(path, timit_arrays()), 0.5), NO_MATLAB),
    "a missing array": Kind("x.mat", frames(lambda v: v.pop("dev_dict")), "has no array 'dev_dict'; it holds dev, dev"),
    "cells for an array": Kind(
        "x.mat", frames(lambda v: v.update(dev_dict=np.array([{}, "a"], object))), "has no array 'dev_dict'; it holds"
    ),
    "lengths that do not add up": Kind(
        "x.mat",
        frames(lambda v: v.update(trainlen=np.array([30, 12, 24]))),
        r"x.mat \(trainlen\): lengths of 3 utterances add up to 66, train has 67 frames",
    ),
    "lengths that are no whole numbers": Kind(
        "x.mat",
        frames(lambda v: v.update(devlen=np.array([13.5]))),
        r"x.mat \(devlen\): holds values that are no whole",
    ),
    "a label too few": Kind(
        "x.mat", frames(lambda v: v.update(dev_dict=np.zeros(13))), r"\(dev_dict\): has 13 labels for 14 frames of dev"
    ),
    "a label beyond the table": Kind(
        "x.mat",
        frames(lambda v: v["test_dict"].__setitem__(4, 49)),
        r"\(test_dict\): frame 4 has label 49, the table ends at 48 .*: are labels counted from 1",
    ),
    "NaN": Kind(
        "x.mat", frames(lambda v: v["train"].__setitem__((2, 2), np.nan)), r"x.mat \(train\): needs finite numbers"
    ),
    "parts of different width": Kind(
        "x.mat",
        frames(lambda v: v.update(test=v["test"][:, :40])),
        "another number of columns .*'dev': 120, 'test': 40",
    ),
}
SPLITS = {
    "half of it": Kind("split.json", '{"train": ["a", ', "split.json: is not JSON"),
    "a list": Kind("split.json", '["a"]', "split.json: is not a split: expected {part: .utterance ids.}"),
    "lists for ids": Kind("split.json", '{"train": [["a"]]}', "split.json: is not a split"),
    "an id in two parts": Kind("split.json", '{"train": ["a"], "val": ["a"]}', "has 1 ids more than once, such as a"),
}
