"""Many trainings: one after the other, several processes at a time, or on the workers of a cluster."""

import multiprocessing
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import torch

from .. import cluster, processes, runs
from ..cluster import Cluster
from ..errors import SpeechlibError
from ..presets import Experiment
from ..runs import Run
from ..training import Progress
from .lifecycle import prepare, train

_INTERRUPTED = 130  # exit code of a process that was told to stop


def sweep(
    experiments: Iterable[Experiment],
    jobs: int = 1,
    progress: Progress | None = None,
    workers: Cluster | None = None,
) -> list[Run]:
    """Train all, in order: one after the other here, or `jobs` at a time in processes with one thread each, or as many
    at a time as the `workers` of a cluster take.

    What is finished is not trained again; one that fails is marked failed, with its reason, and stops no other. Raises
    SpeechlibError under `accelerate launch`, whose processes train one model and stop together.
    """
    if (count := processes.here().count) > 1:
        raise SpeechlibError(
            f"{count} processes were launched to train one model, this is a sweep: start it without `accelerate "
            "launch` (--jobs trains several at a time), or launch its trainings one by one"
        )
    experiments, data = list(experiments), {}
    for key, experiment in {_data_of(experiment): experiment for experiment in experiments}.items():
        with suppress(SpeechlibError):  # packed and read once, here; what cannot be had, its runs will say
            data[key] = prepare(experiment, executor=workers and workers.executor())
    steps, stopped = {i: 0 for i in range(len(experiments))}, threading.Event()
    total = sum(experiment.training.steps for experiment in experiments)

    def one(i: int) -> Run:
        own = experiments[i].training.steps

        def tell(done: int, of: int, text: str = "") -> None:
            steps[i] = done * own // max(of, 1)  # of several stages, or of what is packed first
            if progress:
                progress(sum(steps.values()), total, f"{i + 1}/{len(experiments)} {text}")

        run = runs.create(experiments[i])
        try:
            if workers is not None:
                _train_on(workers, experiments[i], tell)
            elif jobs == 1:
                train(experiments[i], tell, data.get(_data_of(experiments[i])))
            else:
                _train_elsewhere(experiments[i], tell)
        except Exception as error:
            if not stopped.is_set():
                run.mark("failed", reason=str(error) or type(error).__name__)
        tell(own, own)
        return run

    if workers is None and jobs == 1:
        return [one(i) for i in steps]
    # one thread here per training there: it only waits, and all are given away at once
    with ThreadPoolExecutor(jobs if workers is None else max(len(experiments), 1)) as pool:
        try:
            return list(pool.map(one, steps))
        except BaseException:
            stopped.set()
            if workers is not None:
                workers.close()  # what is under way there is not wanted any more, and nobody waits for it
            raise


def _data_of(experiment: Experiment) -> str:
    """The same for experiments that learn from the same data."""
    e = experiment
    return repr((e.corpus, e.pack, e.split, getattr(e.model, "voices", "speaker"), e.inputs, e.source))


def _train_elsewhere(experiment: Experiment, progress: Progress) -> None:
    """`train` in a process of its own, which may die without taking this one along."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_train_child, args=(experiment, there), daemon=True)
    process.start()
    there.close()
    try:
        while True:
            progress(*here.recv())
    except EOFError:
        process.join()
    if process.exitcode not in (0, _INTERRUPTED):
        reason = runs.find(experiment).reason
        raise SpeechlibError(reason or f"its process ended with exit code {process.exitcode}: out of memory?")


def _train_child(experiment: Experiment, parent) -> None:
    torch.set_num_threads(1)
    try:
        train(experiment, lambda *told: parent.send(told))
    except Exception:  # the run says why
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None


def _train_on(workers: Cluster, experiment: Experiment, progress: Progress) -> None:
    """`train` on some worker; one that dies is replaced by another, which goes on from the last checkpoint."""
    with workers.listening(lambda told: progress(*told)) as topic:
        cluster.outcome(workers.submit(_train_there, experiment, topic))


def _train_there(experiment: Experiment, topic: str) -> None:
    torch.set_num_threads(1)

    def tell(*told) -> None:
        if not cluster.wanted():
            raise KeyboardInterrupt
        cluster.tell(topic, told)

    with suppress(KeyboardInterrupt):  # which would end the worker too
        train(experiment, tell)
