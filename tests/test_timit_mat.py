"""The .mat layout of TIMIT frames: the same windows as recordings give, and a clear word on every way to be wrong."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat

from speechlib import presets, runs, systems, timit_mat, workbook
from speechlib.__main__ import main
from speechlib.errors import BadFile
from speechlib.features import FeatureConfig
from speechlib.packs import PackConfig
from speechlib.windows import Windows

LENGTHS = {"train": [30, 12, 25], "dev": [14], "test": [9, 21]}


def arrays():
    rng = np.random.default_rng(0)
    found = {}
    for part, lengths in LENGTHS.items():
        F = sum(lengths)
        found |= {part: rng.normal(size=(F, 120)), f"{part}len": np.array(lengths)}
        found[f"{part}_dict"] = np.repeat(rng.integers(0, 49, F // 3 + 1), 3)[:F, None]
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "frames.mat"


def write_v73(path, values):
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in values.items():
            file[name] = np.atleast_2d(value).T  # as MATLAB does: columns first
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def test_the_table_is_that_of_the_source():
    """Reference section 2.2: 49 phones, sil = 37."""
    assert len(timit_mat.PHONES) == len(set(timit_mat.PHONES)) == 49
    some = {0: "aa", 15: "epi", 16: "er", 33: "q", 37: "sil", 40: "cl", 41: "uh", 44: "vcl", 48: "zh"}
    assert {k: timit_mat.PHONES[k] for k in some} == some
    assert all(timit_mat.PHONES.index(name) == k for k, name in enumerate(timit_mat.PHONES))


def test_timits_61_symbols_fold_to_the_table():
    symbols = (
        "b d g p t k dx q jh ch s sh z zh f th v dh m n ng em en eng nx l r w y hh hv el iy ih eh ey ae aa aw ay ah ao "
        "oy ow uh uw ux er ax ix axr ax-h bcl dcl gcl pcl tcl kcl pau epi h#".split()
    )
    assert len(symbols) == 61
    assert {timit_mat.fold(symbol) for symbol in symbols} == set(timit_mat.PHONES)


@pytest.mark.parametrize("write", [savemat, write_v73], ids=["v5", "v7.3"])
def test_a_file_of_either_version_becomes_a_pack(path, write):
    values = arrays()
    write(path, values)
    pack, split = timit_mat.load(path)
    assert {part: len(indices) for part, indices in split.items()} == {"train": 3, "dev": 1, "test": 2}
    assert pack.n_frames.tolist() == sum(LENGTHS.values(), [])
    assert pack.features(1, "log_mel").shape == (120, 12)
    torch.testing.assert_close(pack.features(1, "log_mel").T, torch.tensor(values["train"][30:42]).float())
    found = Windows(pack, split["dev"], 4, 9)
    labels, k = values["dev_dict"].ravel(), found.n_windows - 1
    frames = found.start[k] + np.arange(9)
    sil = timit_mat.PHONES.index("sil")
    wanted = [int(labels[t]) if 0 <= t < 14 else sil for t in frames]
    told = [timit_mat.PHONES.index(found.phones[p]) for p in found.labels([k])[0]]
    assert told == [sil if p == timit_mat.PHONES.index("epi") else p for p in wanted]


def test_runs_of_one_label_are_segments():
    assert timit_mat._runs(np.array([3, 3, 5, 5, 5, 3])) == [(0, 2, 3), (2, 5, 5), (5, 6, 3)]


def test_it_trains_like_any_corpus(path, workspace):
    """Windows from the arrays, no audio: the parts are the file's own, dev judges."""
    values = arrays()
    savemat(path, values)
    changes = {"model.channels": [4, 4, 4], "training.steps": 2, "training.batch_size": 4, "training.n_frames": 9}
    experiment = presets.get("vae", "smoke", "timit_mat", str(path), changes=changes)
    run = systems.train(experiment)
    trained = systems.load(run)
    assert run.status == "done"
    assert trained.model.sizes == {"n_features": 40, "n_frames": 9}
    assert {part: len(found) for part, found in trained.data.split.items()} == {"train": 3, "val": 1, "test": 2}
    pack = trained.data.pack
    torch.testing.assert_close(pack.features(0, "log_mel").T, torch.tensor(values["train"][:30, :40]).float())
    mean = torch.tensor(values["train"][:, :40]).float().mean(0)
    torch.testing.assert_close(trained.model.inputs.mean, mean, rtol=1e-4, atol=1e-5)
    assert run.summary["val_elbo"] < 0


def test_evaluation_and_loading_take_the_best_weights_where_asked(path, workspace):
    savemat(path, arrays())
    changes = {"model.channels": [4, 4, 4], "training.steps": 8, "training.batch_size": 8, "training.n_frames": 9}
    changes |= {"training.best_by": "kl", "training.validate_every": 1}  # it grows from nothing: the best comes early
    run = systems.train(presets.get("vae", "smoke", "timit_mat", str(path), changes=changes))
    seen = run.metrics("validation")
    assert run.summary["best_step"] == seen["step"][seen["kl"].idxmin()] < 8
    assert run.summary["kl"] == seen["kl"].min()
    best, last = systems.load(run), systems.load(run, best=False)
    kept = runs.load_tensors(run.best)[0], runs.load_tensors(run.checkpoint)[0]
    for trained, tensors in zip((best, last), kept):
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in trained.model.state_dict().items())
    assert not torch.equal(best.model.mean.weight, last.model.mean.weight)
    assert systems.evaluate(best)["val_kl"] == pytest.approx(run.summary["val_kl"])


def test_the_sources_gan_reads_all_120_columns_and_a_command_trains_it(path, workspace, capsys):
    savemat(path, arrays())
    command = ["train", "wgan", "--preset", "source", "--corpus", "timit_mat", "--corpus-root", str(path)]
    small = {"channels": "[2, 2, 2]", "latent_dim": 3, "n_critic": 1}
    for name, value in small.items():
        command += ["--set", f"model.{name}={value}"]
    assert main([*command, "--set", "training.steps=1", "--set", "training.batch_size=4"]) == 0
    assert "done" in capsys.readouterr().out


def test_notebooks_take_it_as_their_corpus():
    chosen = workbook.select(workbook.NOTEBOOKS, ["10"])
    (values,) = workbook.assign(chosen, {"corpus": "timit_mat", "changes": "{model.latent_dim: 8}"}).values()
    assert (values["corpus"], values["changes"]) == ("timit_mat", {"model.latent_dim": 8})


def test_the_folder_is_as_good_as_the_file(tmp_path):
    assert timit_mat.find(tmp_path) == tmp_path / timit_mat.FILE
    assert timit_mat.find(tmp_path / "mine.mat") == tmp_path / "mine.mat"
    experiment = presets.get("vae", "demo", "timit_mat", str(tmp_path))
    with pytest.raises(BadFile, match="does not exist"):
        systems.prepare(experiment)


def test_columns_that_are_not_there_are_told(path):
    savemat(path, arrays())
    experiment = presets.get("vae", "smoke", "timit_mat", str(path))
    experiment = replace(experiment, pack=PackConfig(features=(FeatureConfig("log_mel", n_mels=80),)))
    with pytest.raises(BadFile, match="has 120 columns, 80 are asked for"):
        systems.prepare(experiment)


def test_the_numbers_of_timit(real_data):
    """Reference section 2.1."""
    if not (path := timit_mat.find(real_data / "timit_mat")).exists():
        pytest.skip(f"{path.name} is not among the real recordings: TIMIT is licensed (LDC93S1)")
    pack, split = timit_mat.load(path)
    assert [len(split[part]) for part in timit_mat.PARTS] == [3696, 400, 192]
    frames = [int(pack.n_frames[split[part]].sum()) for part in timit_mat.PARTS]
    assert frames == [1_124_823, 122_487, 57_919]
