"""A sweep from its YAML to its table: any field, no misspelling, nothing twice, the best one marked and made again."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace

import pandas
import pytest
import torch

from speechlib import configs, files, presets, runs, systems
from speechlib.__main__ import _experiments, _parser, main
from speechlib.errors import SpeechlibError, UnknownName

SMALL = {"training.steps": 4, "training.validate_every": 4, "training.checkpoint_every": 2, "model.channels": 8}


@pytest.fixture
def workspace(voices, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path


def expanded(tmp_path, text: str) -> dict:
    (tmp_path / "sweep.yml").write_text(text)
    return presets.expand(presets.read_sweep(tmp_path / "sweep.yml"))


def test_any_field_can_be_swept(tmp_path):
    members = expanded(
        tmp_path,
        """
system: melnet
preset: smoke
grid:
  corpus.name: [toy, folder]
  model.layers: [[2, 1], [3, 2, 1]]          # a list is one value
  training.learning_rate: [1e-5, 0.001]      # YAML itself takes the first for a text
  split.parts: [{train: 0.5, val: 0.5}]
  split.seed: [3]
  seed: [7]
""",
    )
    assert len(members) == 8
    one = members["name=folder layers=[3, 2, 1] learning_rate=1e-5 parts={'train': 0.5, 'val': 0.5} seed=3 seed=7"]
    assert (one.corpus.name, one.model.layers, one.training.learning_rate) == ("folder", (3, 2, 1), 1e-5)
    assert (one.split.parts, one.split.seed, one.seed) == ({"train": 0.5, "val": 0.5}, 3, 7)


def test_a_swept_corpus_is_that_of_what_an_experiment_builds_on():
    prior = presets.get("prior", "smoke", changes={"corpus.name": "folder", "corpus.root": "/x"})
    assert prior.corpus == prior.source.corpus == presets.CorpusConfig("folder", "/x")
    assert prior == presets.get("prior", "smoke", "folder", "/x")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("corpus: toyy", UnknownName, "unknown corpus 'toyy'. Did you mean 'toy'"),
        ("grid: {corpus.name: [toy, fodler]}", UnknownName, "unknown corpus 'fodler'. Did you mean 'folder'"),
        ("grid: {corpus.name: [3]}", SpeechlibError, "corpus.name needs str, got 3"),
        ("grid: {pack.trimm: [silence]}", UnknownName, "Did you mean 'trim'"),
        ("grid: {pack.trim: [silense]}", UnknownName, "Did you mean 'silence'"),
        ("grid: {inputs: [mfc]}", UnknownName, "Did you mean 'mfcc'"),
        ("grid: {training.learning_rate: [1e-5x]}", SpeechlibError, "needs float, got '1e-5x'"),
        ("seeds: []", SpeechlibError, "seeds is empty, and the sweep with it"),
        ("experiments: {}", SpeechlibError, "experiments is empty, and the sweep with it"),
        ("grid:", SpeechlibError, "Sweep.grid needs a mapping, got None"),
    ],
)
def test_a_mistake_is_said_before_anything_starts(tmp_path, text, error, words):
    with pytest.raises(error, match=words):
        expanded(tmp_path, text)


def test_what_is_named_twice_is_trained_once(workspace):
    first = presets.get("vqvae", "smoke", "folder", changes=SMALL)
    other = replace(first, seed=1)
    told = []
    found = systems.sweep([first, other, first, replace(other)], progress=lambda *values: told.append(values))
    assert [run.path for run in found] == [run.path for run in found[:2]] * 2
    assert [run.status for run in found] == ["done"] * 4
    assert told[-1][:2] == (8, 8)
    assert len(found[0].metrics()) == 4


def test_what_is_done_starts_nothing(workspace, monkeypatch):
    """Neither a process nor a reading of the corpus: a sweep of a thousand is looked at in seconds."""
    experiments = [presets.get("vqvae", "smoke", "folder", seed=seed, changes=SMALL) for seed in (0, 1)]
    for experiment in experiments:
        runs.create(experiment).mark("done", step=4)
    monkeypatch.setattr(systems.sweeps, "prepare", None)
    monkeypatch.setattr(systems.sweeps, "_train_elsewhere", None)
    for jobs in (1, 2):
        assert [run.status for run in systems.sweep(experiments, jobs)] == ["done"] * 2


def with_summaries(*summaries: dict | None) -> list[runs.Run]:
    """Runs with these summaries; one that has None failed."""
    made = [runs.create(presets.get("vqvae", "smoke", "folder", seed=seed)) for seed in range(len(summaries))]
    for run, summary in zip(made, summaries):
        run.mark("failed" if summary is None else "done", reason="loss is nan" if summary is None else "")
        if summary is not None:
            run.write_summary(summary)
    return made


def test_the_best_run_is_that_of_the_number_asked_for(workspace):
    nan = float("nan")
    made = with_summaries({"loss": 2.0, "nmi": 0.5}, {"loss": 1.0, "nmi": 0.3}, None, {"loss": nan, "nmi": 0.5})
    assert systems.best(made) == [made[1]]
    assert systems.best(made, "nmi", highest=True) == [made[0], made[3]]  # equal
    assert systems.best(made, "nmi") == [made[1]]
    assert systems.best([*made, made[1]]) == [made[1]]
    assert systems.best(made[2:3]) == systems.best([]) == []
    with pytest.raises(UnknownName, match="unknown number of these runs 'nim'. Did you mean 'nmi'"):
        systems.best(made, "nim")


def test_a_run_whose_status_is_damaged_fails_by_itself_and_goes_on_the_next_time(workspace, capsys):
    sweep = {"preset": "smoke", "corpus": "folder", "changes": SMALL, "grid": {"seed": [0, 1]}}
    (workspace / "seeds.yml").write_text(json.dumps(sweep))
    assert main(["sweep", str(workspace / "seeds.yml")]) == 0
    damaged = runs.list_runs()[0]
    (damaged.path / "status.json").write_text('{"status": ')
    capsys.readouterr()
    assert main(["sweep", str(workspace / "seeds.yml")]) == 1
    assert "2 trainings, 1 of them done" in capsys.readouterr().out
    assert (damaged.status, damaged.step) == ("failed", 0)
    assert "status.json: is not JSON" in damaged.reason
    assert main(["sweep", str(workspace / "seeds.yml")]) == 0
    assert damaged.status == "done"


def test_nothing_is_marked_by_a_loss_that_no_run_has(workspace, capsys, monkeypatch):
    """As where tiers are trained one by one; asked for by name it is missed."""
    monkeypatch.setattr(systems, "sweep", lambda *_: with_summaries({"nmi": 0.5}, {"nmi": 0.3}))
    sweep = {"preset": "smoke", "corpus": "folder", "grid": {"seed": [0, 1]}}
    (workspace / "seeds.yml").write_text(json.dumps(sweep))
    assert main(["sweep", str(workspace / "seeds.yml")]) == 0
    assert "best" not in capsys.readouterr().out
    assert main(["sweep", str(workspace / "seeds.yml"), "--best", "lowest:loss"]) == 2
    assert "unknown number of these runs 'loss'" in capsys.readouterr().err


def test_the_command_of_a_run_says_all_that_differs_from_its_preset():
    """Fields that only fit together too, and what builds on nothing where its preset builds on something."""
    prior = presets.get("prior", "smoke", "folder", seed=3)
    changes = {"training.learning_rate": 1e-5, "split.parts": {"train": 0.5, "val": 0.5}, "source.model.jitter": 0.25}
    changed = [configs.override(prior, changes), replace(presets.get("melnet", "paper"), source=None)]
    changed += [replace(presets.get("vae", "smoke"), source=presets.get("vae", "demo"))]
    changed += [replace(prior, source=presets.get("vqvae_wavenet", "smoke", "folder"))]  # of another system
    changed += presets.named_set(presets.MELNET_TIERS, "demo").values()
    changed += presets.named_set("vq29-mfcc39", "smoke", "folder").values()
    for experiment in changed:
        options = _parser().parse_args(shlex.split(presets.command(experiment))[3:])
        (again,) = _experiments(options)
        assert replace(again, preset=experiment.preset) == experiment, options.changes


def test_a_sweep_tells_all_and_its_best_run_is_made_again_by_one_command(workspace, capsys):
    sweep = {"preset": "smoke", "corpus": "folder", "changes": SMALL | {"training.precision": "fp32"}}
    sweep |= {"grid": {"training.learning_rate": [0.001, 1e30, 0.001]}}
    (workspace / "rates.yml").write_text(json.dumps(sweep))
    assert main(["sweep", str(workspace / "rates.yml"), "--best", "highest:codes_used"]) == 1
    told = capsys.readouterr().out
    assert "2 trainings, 0 of them done" in told
    table = pandas.read_csv(workspace / "outputs" / "sweeps" / "rates.csv", index_col="run")
    assert sorted(table["status"]) == ["done", "failed"]
    assert "training.learning_rate" in table["reason"].dropna().item()
    assert sorted(table["training.learning_rate"]) == [0.001, 1e30]
    (best,) = [run for run in runs.list_runs() if run.status == "done"]
    marked, command = told.splitlines()[-2:]
    assert marked.startswith("best, by its highest codes_used, ")
    assert best.name in marked
    assert main(["again", best.name]) == 0
    assert capsys.readouterr().out == f"{command.strip()}\n"
    elsewhere = os.environ | {"SPEECHLIB_OUTPUTS": str(workspace / "elsewhere"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *shlex.split(command)[1:]]
    subprocess.run(words, env=elsewhere, check=True, stdout=subprocess.DEVNULL, cwd=files.ROOT)
    weights, again = (
        runs.load_tensors(root / "runs" / best.name / "checkpoint.safetensors")[0]
        for root in (workspace / "outputs", workspace / "elsewhere")
    )
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert main(["sweep", str(workspace / "rates.yml")]) == 1
    assert "2 trainings, 1 of them done" in capsys.readouterr().out
    assert main(["sweep", str(workspace / "rates.yml"), "--best", "nmi"]) == 2
    assert "--best wants lowest:NUMBER or highest:NUMBER, got 'nmi'" in capsys.readouterr().err


def test_many_combinations_are_counted_before_they_start(workspace, capsys, monkeypatch):
    grid = {"split.seed": list(range(50)), "training.batch_size": list(range(1, 11)), "seed": [0, 1]}
    (workspace / "many.yml").write_text(json.dumps({"preset": "smoke", "grid": grid}))
    started = []
    monkeypatch.setattr(systems, "sweep", lambda experiments, *_: started.extend(experiments) or [])
    assert main(["sweep", str(workspace / "many.yml")]) == 0
    assert "1,000 trainings, 0 of them done" in capsys.readouterr().out
    assert len(started) == 1_000
