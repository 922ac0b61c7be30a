"""Run folders: found by what they are, whole or refused with a reason, and nothing in them is unpickled."""

import json
import os
import stat
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import dataclass, replace

import pytest
import torch

from speechlib import configs, files, presets, runs, systems
from speechlib.errors import BadFile, SpeechlibError, UnknownName
from speechlib.models.vqvae import VQVAE, VQVAEConfig


@dataclass(frozen=True)
class Experiment:
    system: str = "vqvae"
    preset: str = "smoke"
    size: int = 1
    name: str = ""
    parts: tuple[float, ...] = (0.8, 0.2)
    seed: int = 0


def test_a_run_is_named_by_what_it_is(workspace):
    run = runs.create(Experiment(seed=4))
    assert run.path.parent == workspace / "outputs" / "runs"
    assert run.name == f"vqvae-smoke-4-{runs.identity(configs.to_dict(Experiment(seed=4)))}"
    assert (run.system, run.preset, run.seed, run.status, run.step) == ("vqvae", "smoke", 4, "new", 0)
    assert run.experiment == {
        "system": "vqvae",
        "preset": "smoke",
        "size": 1,
        "name": "",
        "parts": [0.8, 0.2],
        "seed": 4,
    }
    assert run.config["format"] == runs.FORMAT
    assert run.config["versions"]["torch"] == torch.__version__
    assert runs.open(run.name).config == runs.open(run.path).config == run.config


def test_one_experiment_is_one_run_and_any_difference_another(workspace):
    first = runs.create(Experiment())
    assert runs.create(Experiment()).path == first.path
    assert runs.find(Experiment(preset="demo")).path == first.path  # the preset is a label only
    assert runs.find(Experiment(size=2)) is None
    assert runs.create(Experiment(size=2)).path != first.path


def test_names_within_names_stay_apart(workspace):
    """The source matched files by the beginning of a name (reference section 8, no. 13)."""
    names = ("a", "a_b", "ab", "a-b", "b")
    made = {name: runs.create(Experiment(name=name)) for name in names}
    for name, run in made.items():
        runs.append_line(run.path / "metrics.jsonl", {"step": 1, "part": "train", "loss": names.index(name)})
    assert len(runs.list_runs()) == len(names)
    for name in names:
        assert runs.find(Experiment(name=name)).path == made[name].path
        assert list(runs.find(Experiment(name=name)).metrics()["loss"]) == [names.index(name)]


def test_many_may_create_the_same_run_at_once(workspace):
    made, barrier = [], threading.Barrier(8)

    def create():
        barrier.wait()
        made.append(runs.create(Experiment()).path)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert [path.name for path in runs.folder().iterdir()] == [made[0].name]


def test_require_says_what_makes_the_run(workspace):
    with pytest.raises(SpeechlibError, match=r"vqvae run of preset 'smoke', seed 0, is missing: notebook 20 makes it"):
        runs.require(Experiment(), "notebook 20")
    run = runs.create(Experiment())
    run.mark("failed", 7, "loss is nan")
    with pytest.raises(SpeechlibError, match="is failed at step 7"):
        runs.require(Experiment(), "notebook 20")
    run.mark("done")
    assert runs.require(Experiment(), "notebook 20").path == run.path


HOLD = """
import sys
from speechlib import runs
run = runs.open(sys.argv[1])
with run.locked():
    run.mark("running", 3)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_running_is_what_a_living_process_holds(workspace):
    run = runs.create(Experiment())
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, run.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    assert (run.status, run.step) == ("running", 3)
    holder.kill()
    holder.wait()
    assert (run.status, run.step) == ("interrupted", 3)
    with run.locked():
        assert run.status == "running"


def test_damaged_files_of_a_run_are_listed_too(workspace):
    cut, empty, refused = (runs.create(Experiment(size=size)) for size in (1, 2, 3))
    (cut.path / "summary.json").write_text('{"nmi": 0.')
    (empty.path / "config.json").unlink()

    def check(run):
        if run.experiment["size"] == 3:
            raise SpeechlibError("size 3 is unknown here")

    reasons = {entry.path: entry.reason for entry in runs.list_runs(check)}
    assert "truncated" in reasons[cut.path]
    assert "does not exist" in reasons[empty.path]
    assert reasons[refused.path] == "size 3 is unknown here"


def test_a_misspelt_run_is_told_which_there_are(workspace):
    run = runs.create(Experiment())
    with pytest.raises(UnknownName, match=f"Did you mean '{run.name}'"):
        runs.open(run.name[:-1])
    with pytest.raises(SpeechlibError, match="no run at"):
        runs.open(workspace / "elsewhere")


def test_lines_survive_a_kill_in_the_middle_of_one(workspace):
    run = runs.create(Experiment())
    path = run.path / "metrics.jsonl"
    for step in range(1, 6):
        runs.append_line(path, {"step": step, "part": "train", "loss": 1 / step})
    with path.open("a") as file:
        file.write('{"step": 6, "pa')
    assert list(run.metrics()["step"]) == [1, 2, 3, 4, 5]
    for step in (2, 4):
        (run.folder("recordings") / f"codebook-{step:08d}.safetensors").write_bytes(b"")
    runs.rewind(run, 3)
    assert list(run.metrics()["step"]) == [1, 2, 3]
    assert [path.name for path in run.codebooks()] == ["codebook-00000002.safetensors"]
    runs.append_line(path, {"step": 4, "part": "train", "loss": 0.0})
    assert list(run.metrics()["loss"]) == [1.0, 0.5, 1 / 3, 0.0]
    assert list(run.metrics("validation").columns) == ["step"]
    path.write_text('{"step": 1, "part": "train"}\nxx\n')
    with pytest.raises(BadFile, match=r"line 2.*damaged"):
        run.metrics()


def test_compare_shows_what_differs_and_nothing_else(workspace):
    made = [
        runs.create(Experiment(size=size, parts=parts)) for size, parts in ((1, (1.0,)), (2, (1.0,)), (2, (0.5, 0.5)))
    ]
    made[1].write_summary({"nmi": 0.4})
    table = runs.compare(made)
    assert list(table.index) == [run.name for run in made]
    assert list(table.columns) == ["size", "parts", "status", "nmi"]
    assert list(table["size"]) == [1, 2, 2]
    assert table["nmi"].iloc[1] == 0.4
    assert list(runs.compare(made[:1]).columns) == ["status"]
    assert len(runs.compare([])) == 0


def model(seed=0, **changes):
    torch.manual_seed(seed)
    small = VQVAEConfig(channels=8, code_dim=4, codebook_size=5, speaker_dim=3, quantizer="ema")
    return VQVAE(replace(small, **changes), n_features=6, n_targets=7, n_speakers=2)


def test_a_checkpoint_needs_no_other_file(tmp_path):
    original = model(share_residual_blocks=True, jitter=0.12).eval()
    original.inputs.fit(torch.randn(6), torch.rand(6))
    runs.save_model(tmp_path / "model.safetensors", original, "vqvae", step=12)
    loaded = runs.load_model(tmp_path / "model.safetensors")
    assert loaded.config == original.config
    assert not loaded.training
    x, speaker = torch.randn(2, 6, 20), torch.tensor([0, 1])
    for one, other in zip(original(x, speaker)[:2], loaded(x, speaker)[:2]):
        assert torch.equal(one, other)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    diverged, path = model(), tmp_path / "model.safetensors"
    with torch.no_grad():
        diverged.encoder.conv_1.bias[:2] = torch.nan
    runs.save_model(path, diverged, "vqvae")
    with pytest.raises(BadFile, match=r"2 of \d+ weights of encoder.conv_1.bias that are not finite"):
        runs.load_model(path)


@pytest.mark.parametrize("size", [10**9, 40_000])
@pytest.mark.parametrize("where", ["config", "sizes"])
def test_a_config_cannot_ask_for_more_than_the_file_holds(tmp_path, size, where):
    """Sixteen gigabytes, or a loop without end, in a file that someone put on the internet."""
    path, small = tmp_path / "model.safetensors", model()
    metadata = {"format": 1, "system": "vqvae", "sizes": small.sizes, "config": configs.to_dict(small.config)}
    metadata[where] |= {"channels": size} if where == "config" else {"n_features": size}
    runs.save_tensors(path, small.state_dict(), metadata)
    tracemalloc.start()
    with pytest.raises(BadFile, match=rf"{size:,} in a file of|is of another config"):
        runs.load_model(path)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize("system", presets.names())
def test_every_model_has_an_outline_that_takes_no_memory(system):
    """What load_model compares a file with: constructors that compute with weights would fail here."""
    experiment = presets.get(system, "smoke")
    with torch.device("meta"):
        outline = systems.blank(experiment)
    assert {parameter.device.type for parameter in outline.parameters()} == {"meta"}


def test_checkpoints_that_cannot_be_used_say_why(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(BadFile, match="does not exist"):
        runs.load_model(path)
    runs.save_model(path, model(), "vqvae")
    whole = path.read_bytes()
    for cut in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(BadFile, match="truncated or no safetensors file"):
            runs.load_model(path)
    torch.save({"weight": torch.ones(1)}, path)  # a pickle is never opened
    with pytest.raises(BadFile, match="no safetensors file"):
        runs.load_model(path)

    tensors, metadata = model().state_dict(), {"format": 1, "system": "vqvae", "sizes": model().sizes}
    runs.save_tensors(path, tensors, metadata | {"config": configs.to_dict(model(code_dim=6).config)})
    with pytest.raises(BadFile, match=r"another config: decoder.conv_1.weight is \(8, 7, 3\) there and \(8, 9, 3\) in"):
        runs.load_model(path)
    runs.save_tensors(path, tensors, metadata | {"config": {"chanels": 8}})
    with pytest.raises(BadFile, match=r"model.safetensors: holds a config that .* Did you mean 'channels'"):
        runs.load_model(path)
    runs.save_tensors(path, tensors, metadata | {"format": 7})
    with pytest.raises(BadFile, match="checkpoint format 7"):
        runs.load_model(path)
    runs.save_tensors(path, tensors, metadata | {"system": "vqvea"})
    with pytest.raises(BadFile, match=r"model.safetensors: unknown model .* Did you mean 'vqvae'"):
        runs.load_model(path)


def test_tensors_and_metadata_come_back_as_they_were(tmp_path):
    shared = torch.randn(3)
    tensors = {
        "a": shared,
        "b": shared,
        "scalar": torch.tensor(2),
        "flag": torch.tensor(True),
        "cut": torch.randn(4, 4).T,
    }
    runs.save_tensors(tmp_path / "x.safetensors", tensors, {"step": 3, "config": {"list": [1, None], "text": "Zoë"}})
    found, metadata = runs.load_tensors(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert metadata == {"step": 3, "config": {"list": [1, None], "text": "Zoë"}}


def test_without_git_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    assert runs.git_commit() is None
    monkeypatch.setenv("PATH", "")
    assert runs.git_commit() is None


def test_folders_of_samples_and_figures_are_made_on_demand(workspace):
    run = runs.create(Experiment())
    assert json.loads((run.path / "config.json").read_text()) == run.config
    assert run.folder("samples").is_dir()
    assert not (run.path / "figures").exists()


def test_a_setting_that_came_later_counts_as_its_default_in_older_runs(workspace):
    """Updating the package must not train everything again."""
    old = runs.create(Experiment(size=7))
    config = files.read_json(old.path / "config.json")
    del config["experiment"]["name"]  # as if the version that made it had not known it
    files.write_json(old.path / "config.json", config)
    there = old.path.rename(old.path.with_name("vqvae-smoke-0-0123456789ab"))
    assert runs.find(Experiment(size=7)).path == there
    assert runs.find(Experiment(size=7, preset="demo")).path == there
    assert runs.find(Experiment(size=8)) is None
    assert runs.find(Experiment(size=7, name="other")) is None


def test_the_weights_to_use_are_the_best_ones_where_the_validation_chose(tmp_path):
    run = runs.Run(tmp_path, {"experiment": {"training": {"best_by": ""}}})
    assert run.weights == run.checkpoint
    assert replace(run, config={"experiment": {"training": {"best_by": "loss"}}}).weights == run.best


def test_a_run_can_be_read_by_those_whom_its_maker_lets_read(workspace):
    """As on the disk that the workers of a cluster share; what tempfile makes is its maker's alone."""
    before = os.umask(0o022)
    try:
        run = runs.create(presets.get("vqvae", "smoke"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o755
