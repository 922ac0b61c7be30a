"""Several processes learn what one learns: the same curve, weights and codebooks, and one of them writes.

`make test` shares a few trainings that differ in kind, `make soak` those of all systems (SPEECHLIB_PROCESSES=all).
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from speechlib import presets, processes, runs, systems, training
from speechlib.errors import SpeechlibError
from speechlib.models import shares
from speechlib.models.flowavenet import ActNorm
from speechlib.models.jitter import Jitter
from speechlib.models.quantizers import EMAQuantizer, GumbelQuantizer
from speechlib.models.wae import mmd

STEPS = 6
# The gradient of a bias before a BatchNorm is nothing but rounding errors, of which Adam makes whole steps: they move
# what is validated, and in time a code. Where there is such a bias, steps are as small as their gradients.
PLAIN = {"training.optimizer": "sgd"}
# Name -> system, preset, and what else is set. Batches of as many crops as processes are the hardest to share.
CASES = {
    # a codebook that follows by averages and is re-seeded; crops longer than many utterances: unequal padding
    "vqvae": ("vqvae", "smoke", {"training.n_frames": 180, "model.codebook_init": "kmeans", "model.reseed": 0.5}),
    "wgan": ("wgan", "smoke", {}),  # players that take turns, one of them with a penalty on its slope
    "wae": ("wae", "smoke", PLAIN),  # BatchNorm, and a distance between all points of a batch and as many draws
    # several batches a step, clipped; tiers by themselves, so that no weight waits for a gradient
    "melnet": (
        "melnet",
        "smoke",
        {
            "training.accumulate": 2,
            "training.grad_clip": 0.05,
            "training.part": "each",
            "training.n_frames": 100,
            "training.batch_size": 2,
            "model.layers": [2, 1],
        },
    ),
    # voices that are read off what speakers say, and kept
    "in_wae": ("wavenet_autoencoder", "smoke", {}),
    # a batch of one cannot be shared by rows: whole batches are dealt out
    "melnet dealt": ("melnet", "smoke", {"training.batch_size": 1, "training.accumulate": 2}),
}
OTHERS = {
    "adversarial_autoencoder": ("adversarial_autoencoder", "smoke", {"model.quantizer": "ema"}),
    "clarinet": ("clarinet", "smoke", {}),
    "flowavenet": ("flowavenet", "smoke", {}),
    "melnet": ("melnet", "smoke", {"training.n_frames": 160}),
    "prior": ("prior", "smoke", {"model.dropout": 0.1}),
    "recogniser": ("recogniser", "smoke", {}),
    "vae": ("vae", "smoke", {"model.dropout": 0.1}),
    "vae grid": ("vae", "grid", PLAIN | {"training.batch_size": 32}),
    "vqvae gradient": ("vqvae", "smoke", {"model.quantizer": "gradient", "training.accumulate": 2}),
    "vqvae gumbel": ("vqvae", "smoke", {"model.codebook_init": "normal", "model.quantizer": "gumbel"}),
    "vqvae softmax": ("vqvae", "smoke", {"model.codebook_init": "normal", "model.quantizer": "softmax"}),
    # no more codes than vectors: k-means would begin with some of them twice, and rounding choose between the two
    "vqvae_wavenet": ("vqvae_wavenet", "smoke", PLAIN | {"model.codebook_size": 12}),
    "wae_gan": ("wae_gan", "smoke", PLAIN),
    "wavenet": ("wavenet", "smoke", {"training.n_frames": 60}),
    "wavenet_autoencoder": ("wavenet_autoencoder", "smoke_svq", {"model.jitter": 0.12, "model.token_dropout": 0.05}),
    "wavenet_autoencoder vae": ("wavenet_autoencoder", "smoke_vae", {}),
}
ALL = os.environ.get("SPEECHLIB_PROCESSES") == "all"
SHARED = CASES | {f"all: {name}": case for name, case in OTHERS.items()} if ALL else CASES
pytestmark = pytest.mark.timeout(1800 if ALL else 300)
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]


def experiment(name: str, steps: int = STEPS):
    system, preset, changes = SHARED[name]
    common = {"device": "cpu", "precision": "fp32", "steps": steps, "log_every": 1, "validate_batches": 1}
    common |= {"validate_every": 50, "checkpoint_every": 50}
    small = {f"training.{key}": value for key, value in common.items()}
    return presets.get(system, preset, "folder", changes=small | changes)


# --- what the launched processes do: `told` names the work ---


def halt(at: int):
    """A progress that asks this process to stop when so many steps are done."""

    def progress(done: int, of: int, _text: str = "") -> None:
        if done == at and of == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    return progress


def learn(names, stop: str = "", go_on: str = "", at: int = 4) -> list[str]:
    """Train each, and stop one after `at` of its steps; a fingerprint of what each model was whenever all processes
    were to agree on the weights: before they did.

    What a run is judged by is left out: it is not shared, and takes longer than these trainings.
    """
    found: list[str] = []
    agree, judge = processes.Team.agree, systems.lifecycle.evaluate

    def noted(self, *states):
        for state in states:
            found.append(hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in state.values())).hexdigest())
        agree(self, *states)

    processes.Team.agree, systems.lifecycle.evaluate = noted, lambda trained: {}
    try:
        for name in names:
            systems.train(experiment(name))
        if stop:
            with pytest.raises(KeyboardInterrupt):
                systems.train(experiment(stop, 8), halt(at))
        if go_on:
            systems.train(experiment(go_on, 8))
    finally:
        processes.Team.agree, systems.lifecycle.evaluate = agree, judge
    return found


def oracle_of_parts(rank: int = 0, n: int = 1) -> dict[str, torch.Tensor]:
    """What layers make of a share of a batch of 4, and what gradient it leaves; of all of it where there is one
    process."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 10, generator=random) * torch.tensor([1.0, 3.0, 0.2, 5.0])[:, None, None]
    lengths = torch.tensor([10, 2, 7, 1])
    rows = slice(rank * 4 // n, (rank + 1) * 4 // n)
    torch.manual_seed(1)
    norm, weight = shares.BatchNorm1d(3), nn.Parameter(torch.ones(3, 1))
    ema = EMAQuantizer(6, 3, decay=0.5, init="kmeans", reseed=0.5)
    act, gumbel, jitter = ActNorm(3), GumbelQuantizer(5, 3), Jitter(0.5)
    torch.manual_seed(2)
    with shares.split(rank, n):
        mine = x[rows] * weight
        y = norm(mine)
        mine_lengths = lengths[rows]
        valid = (torch.arange(10) < mine_lengths[:, None]).float()
        loss = (y.square().mean(1) * valid).sum() / shares.even(valid.sum())
        points = shares.gathered(jitter(y)[:, :, :3].flatten(1))
        loss = loss + mmd(points, shares.gathered(shares.drawn(torch.randn, (len(mine), 9))), 1.0)
        loss = loss + shares.dropout(gumbel(y).z_q, 0.3, True).cos().mean()
        quantized = [ema(mine * (k + 1)) for k in range(3)]
        perplexity = ema.perplexity(quantized[-1].codes)
        act.fit(mine.detach())
        loss.backward()
    terms, stop = processes.Team(rank, n, torch.device("cpu")).join(
        [weight, norm.weight, norm.bias, gumbel.codebook], {"loss": loss, "perplexity": perplexity}, rank == 1
    )
    state = {f"norm.{name}": value for name, value in norm.state_dict().items()}
    state |= {f"ema.{name}": value for name, value in ema.state_dict().items()}
    state |= {"loc": act.loc, "scale": act.scale, "gumbel": gumbel.codebook.grad, "gain": norm.weight.grad}
    return {name: v.detach() for name, v in (state | terms | {"weight.grad": weight.grad}).items()}


def told(folder: Path) -> None:
    """What one of the launched processes does: `work.json` says; `rank.json` and `rank.pt` say what came of it."""
    torch.set_num_threads(1)
    work, team = json.loads((folder / "work.json").read_text()), processes.here()
    if work.get("fail") == team.index:
        _fail_at(3)
    torch.save(oracle_of_parts(team.index, team.count), folder / f"{team.index}.pt")
    found = learn(work["names"], work.get("stop", ""), work.get("go_on", ""))
    (folder / f"{team.index}.json").write_text(json.dumps(found))


def _fail_at(step: int) -> None:
    """From now on the objective of this process raises at its third call."""
    objective, calls = systems.lifecycle.SYSTEMS["vqvae"].objective, []

    def failing(model, batch):
        calls.append(1)
        if len(calls) == step:
            raise SpeechlibError("this process has met a batch that it cannot read")
        return objective(model, batch)

    systems.lifecycle.SYSTEMS["vqvae"].objective = failing


def launch(folder: Path, voices: Path, work: dict) -> subprocess.CompletedProcess:
    """Two processes on it, with outputs of their own in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "work.json").write_text(json.dumps(work))
    script = folder / "work.py"
    script.write_text(
        f"import sys\nfrom pathlib import Path\nimport test_processes\ntest_processes.told(Path({str(folder)!r}))\n"
    )
    running = begin([str(script)], folder, voices)
    try:
        output, errors = running.communicate(timeout=1500 if ALL else 240)
    finally:
        end(running)
    return subprocess.CompletedProcess(running.args, running.returncode, output, errors)


def begin(command: list[str], folder: Path, voices: Path) -> subprocess.Popen:
    """Two processes of it, and their launcher, in a session of their own."""
    return subprocess.Popen(
        [*LAUNCH, "--main_process_port", "0", *command],
        env=_environment(folder, voices),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(running: subprocess.Popen) -> None:
    """Nothing of a launch outlives its test."""
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def _environment(folder: Path, voices: Path) -> dict[str, str]:
    path = os.pathsep.join([os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))])
    places = {"SPEECHLIB_DATA": str(voices), "SPEECHLIB_OUTPUTS": str(folder / "outputs")}
    return os.environ | places | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def curve(run: runs.Run) -> list[dict]:
    """All that was written of each step of a run and of its parts, but for the clock's times."""
    lines = [line for one in [run, *run.parts()] for line in runs.read_lines(one.path / "metrics.jsonl")]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def assert_alike(found: list[dict], wanted: list[dict], rel: float = 1e-4) -> None:
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted):
        assert one.pop("part") == other.pop("part")
        assert one == pytest.approx(other, rel=rel, abs=1e-5)


# --- tests ---


@pytest.fixture(scope="module")
def together(voices, tmp_path_factory):
    """Outputs of two processes, and what each of them came out with: every case; and one that was stopped there, one
    that they took over from a single process."""
    folder = tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(folder / "outputs"))
        learn([], stop="wgan")
    done = launch(folder, voices, {"names": list(SHARED), "stop": "vqvae", "go_on": "wgan"})
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture
def of_two(together, voices, monkeypatch):
    """In the outputs of two processes."""
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(together / "outputs"))
    return together


@pytest.fixture
def of_one(voices, workspace, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))


def test_layers_make_of_shares_what_they_make_of_the_whole(together):
    """BatchNorm, masked means, noise, MMD, k-means, re-seeded codes, ActNorm and the gradients through all of them."""
    wanted = oracle_of_parts()
    for rank in range(2):
        found = torch.load(together / f"{rank}.pt", weights_only=True)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=f"{name} of process {rank}")


def test_layers_of_one_process_are_those_of_torch():
    torch.manual_seed(0)
    x, own, theirs = torch.randn(4, 3, 10), shares.BatchNorm1d(3), nn.BatchNorm1d(3)
    assert torch.equal(own(x), theirs(x))
    assert torch.equal(own.running_var, theirs.running_var)
    for ours, drop, whole in ((x, F.dropout, False), (x, F.dropout1d, True), (x[..., None], F.dropout2d, True)):
        torch.manual_seed(1)
        wanted = drop(ours, 0.4)
        torch.manual_seed(1)
        assert torch.equal(shares.dropout(ours, 0.4, True, whole), wanted)
    assert torch.equal(shares.even(torch.tensor(0)), torch.tensor(1))


def test_a_sum_over_processes_has_no_second_derivative():
    """It would be zero, and a penalty on a slope would count for nothing."""
    x = torch.ones(2, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shares.dist, "all_reduce", lambda values: None)
        (slope,) = torch.autograd.grad(shares._Sum.apply(x * x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize("name", SHARED)
def test_two_processes_have_the_curve_of_one(together, of_one, monkeypatch, name):
    with monkeypatch.context() as patch:
        patch.setenv("SPEECHLIB_OUTPUTS", str(together / "outputs"))
        run = runs.find(experiment(name))
        assert run.status == "done"
        found = curve(run)
        source = run.experiment["source"] and runs.find(experiment(name).source).path
    if source:  # the teacher or codec of both: another's codes would be another task
        shutil.copytree(source, runs.folder() / source.name)
    learn([name])
    # whose samples are whitened by what it draws: one at the edge of a mu-law class may fall into the next
    assert_alike(found, curve(runs.find(experiment(name))), rel=2e-3 if "vqvae_wavenet" in name else 1e-4)


def test_all_processes_have_the_same_weights_before_they_agree_on_them(together):
    first, second = (json.loads((together / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert len(first) >= 3 * len(SHARED)  # at the beginning with their average, and at the end


def test_only_the_first_process_writes(of_two):
    """Every line once, one board of events, and nothing left over."""
    for name in SHARED:
        run = runs.find(experiment(name))
        for one in run.parts() or [run]:
            steps = [line["step"] for line in runs.read_lines(one.path / "metrics.jsonl") if line["part"] == "train"]
            assert steps == list(range(1, STEPS + 1))
            assert len(list((one.path / "tensorboard").iterdir())) == 1
    left = [path for path in (of_two / "outputs").rglob("*") if path.name.startswith(".") and path.name != ".lock"]
    assert left == []


def test_one_process_goes_on_from_two(of_two, voices, monkeypatch, tmp_path):
    """Two were told to stop in their fifth step: it is ended and kept, and the curve goes on from there."""
    run = runs.find(experiment("vqvae", 8))
    assert (run.status, run.step) == ("interrupted", 5)
    learn(["vqvae"], go_on="vqvae")
    found = curve(run)
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path))
    learn([], go_on="vqvae")
    assert_alike(found, curve(runs.find(experiment("vqvae", 8))))


def test_two_processes_go_on_from_one(of_two, monkeypatch, tmp_path):
    run = runs.find(experiment("wgan", 8))
    assert run.status == "done"
    found = curve(run)
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path))
    learn([], go_on="wgan")
    assert_alike(found, curve(runs.find(experiment("wgan", 8))))


def test_an_interruption_is_a_checkpoint_and_changes_nothing(of_one, monkeypatch, tmp_path):
    learn([], stop="vqvae")
    assert runs.find(experiment("vqvae", 8)).step == 5
    learn([], go_on="vqvae")
    found = runs.find(experiment("vqvae", 8))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "uninterrupted"))
    learn([], go_on="vqvae")
    whole = runs.find(experiment("vqvae", 8))
    assert curve(found) == curve(whole)
    one, other = (runs.load_tensors(run.training_state)[0] for run in (found, whole))
    assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


@pytest.mark.parametrize("name", ["vqvae", "wgan"])
@pytest.mark.parametrize("at", ["in", "after"])
def test_an_interruption_of_the_last_step_is_obeyed(of_one, monkeypatch, name, at):
    """While it is under way or when it is done: what would come next, another tier or training, does not begin."""
    if at == "after":
        learn([], stop=name, at=8)
    else:
        update = training.Average.update

        def told(self, step):
            update(self, step)
            if step == 8:
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(training.Average, "update", told)
            learn([], stop=name, at=-1)
    run = runs.find(experiment(name, 8))
    assert (run.status, run.step) == ("interrupted", 8)
    learn([], go_on=name)
    assert runs.find(experiment(name, 8)).status == "done"


def test_one_process_that_fails_ends_the_others(voices, tmp_path, monkeypatch):
    done = launch(tmp_path / "failing", voices, {"names": ["vqvae"], "fail": 1})
    assert done.returncode != 0
    assert "this process has met a batch that it cannot read" in done.stderr
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path / "failing" / "outputs"))
    run = runs.find(experiment("vqvae"))
    assert run.status in ("failed", "interrupted")  # as the launcher ends the first before it has written, or after
    assert run.step == 0


def test_the_command_line_with_two_processes_ends_a_step_when_it_is_told_to(voices, tmp_path):
    """SIGTERM to the launcher, which passes it on: a checkpoint, and soon an end."""
    changes = {"steps": 100_000, "log_every": 1, "checkpoint_every": 100_000, "validate_every": 100_000}
    sets = [word for key, value in changes.items() for word in ("--set", f"training.{key}={value}")]
    command = ["-m", "speechlib", "train", "vqvae", "--preset", "smoke", "--corpus", "folder", *sets]
    running = begin(command, tmp_path, voices)
    try:
        while not any((tmp_path / "outputs").glob("runs/*/metrics.jsonl")):
            assert running.poll() is None, running.communicate()[1][-2000:]
            time.sleep(0.2)
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=60)
    finally:
        end(running)
    (folder,) = (tmp_path / "outputs" / "runs").glob("vqvae-*")
    run = runs.open(folder)
    assert run.status == "interrupted", errors[-2000:]
    assert run.step > 0
    assert runs.load_tensors(run.training_state)[1]["step"] == run.step
    assert run.metrics()["step"].iloc[-1] == run.step


# --- what cannot be shared ---


def team(count: int, index: int = 0) -> processes.Team:
    return processes.Team(index, count, torch.device("cpu"))


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_begins(of_one, monkeypatch):
    monkeypatch.setattr(processes, "here", lambda: team(3))
    with pytest.raises(
        SpeechlibError, match=r"3 processes cannot share a vqvae's batches of 8.*batch_size=9, or --num_processes 2"
    ):
        systems.train(experiment("vqvae"))
    assert not runs.folder().exists()


def test_a_device_is_not_shared(monkeypatch):
    monkeypatch.setattr(processes, "here", lambda: team(2))
    assert training.device_of(training.TrainingConfig(device="cpu")).type == "cpu"
    with pytest.raises(SpeechlibError, match="'cuda:1', and 2 processes have a device each: leave it auto"):
        training.device_of(training.TrainingConfig(device="cuda:1"))


def test_a_sweep_is_not_shared(monkeypatch):
    monkeypatch.setattr(processes, "here", lambda: team(2))
    with pytest.raises(SpeechlibError, match="2 processes were launched to train one model, this is a sweep"):
        systems.sweep([experiment("vqvae")])


def test_what_a_codebook_counts_cannot_be_dealt_out():
    """Each of a step's batches sees the codebook that the one before it has left."""
    assert team(2).sharing("vqvae", 8, 4).by_rows
    assert not team(2).sharing("melnet", 1, 4).by_rows
    with pytest.raises(SpeechlibError, match="batches of 1 evenly"):
        team(2).sharing("vqvae", 1, 4, follows=True)
    with pytest.raises(SpeechlibError, match="batches of 1 evenly"):
        team(2).sharing("melnet", 1, 3)
    followers = {name for name in SHARED if shares.follows(systems.blank(experiment(name)))}
    assert {"vqvae", "wae"} <= followers
    assert not {"wgan", "melnet"} & followers


def test_every_batch_of_a_step_is_seen_once():
    for by_rows, wanted in ((True, [8, 9, 10, 11] * 2), (False, [8, 9, 10, 11])):
        teams = [team(2, index)._replace(by_rows=by_rows) for index in range(2)]
        assert sorted(n for one in teams for n in one.taken(3, 4)) == sorted(wanted)


def test_a_share_is_rows_of_every_tensor():
    batch = training_batch()
    halves = [team(2, index).share(batch) for index in range(2)]
    assert torch.equal(torch.cat([half.inputs for half in halves]), batch.inputs)
    assert halves[0].audio is None
    with pytest.raises(SpeechlibError, match="3 processes cannot share a batch of 8"):
        team(3).share(batch)


def training_batch():
    from speechlib.batches import Batch

    n = torch.arange(8)
    return Batch(torch.randn(8, 2, 5), torch.randn(8, 2, 5), n, n, n, None, n)


def test_a_launch_without_its_processes_is_noticed(monkeypatch):
    """`accelerate launch --cpu --num_processes 2` starts one."""
    assert not processes.launched_in_vain()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert processes.launched_in_vain()


def test_a_later_interrupt_does_not_wait(monkeypatch):
    monkeypatch.setattr(processes, "_ECHO", 0.0)
    seen, before = [], signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run where it is ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt_twice(seen)
        assert seen == [False, True]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt_twice(seen: list[bool]) -> None:
    with processes.Interruption() as interrupted:
        for _ in range(2):
            seen.append(bool(interrupted))
            os.kill(os.getpid(), signal.SIGINT)
        seen.append("went on")


def test_an_interruption_that_nobody_looked_at_is_raised_at_the_end():
    with pytest.raises(KeyboardInterrupt), processes.Interruption():
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_error_says_more_than_an_interruption():
    def interrupted_and_wrong():
        with processes.Interruption():
            os.kill(os.getpid(), signal.SIGTERM)
            raise SpeechlibError("loss is nan")

    with pytest.raises(SpeechlibError, match="loss is nan"):
        interrupted_and_wrong()


def test_what_a_process_was_started_to_ignore_it_ignores(monkeypatch):
    """As the shell does for what it starts in the background, and nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with processes.Interruption() as interrupted:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interrupted
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_one_process_asks_nobody_and_no_device():
    assert processes.Team(0, 1, torch.device("cuda")).first_says(True) is True


def test_what_one_process_does_alone_waits_for_nobody():
    with processes.alone():
        assert processes.here().count == 1
        processes.here().wait()
    assert training.device_of(training.TrainingConfig()) == processes.here().device
