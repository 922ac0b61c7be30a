"""Many trainings: one after the other, several processes at a time, or on the workers of a cluster."""

import math
import multiprocessing
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import torch

from .. import cluster, configs, processes, runs
from ..cluster import Cluster
from ..errors import BadFile, SpeechlibError, UnknownName
from ..presets import Experiment
from ..runs import Run
from ..training import Progress
from .lifecycle import opens, prepare, train

_INTERRUPTED = 130  # exit code of a process that was told to stop
_GIVEN_AWAY = 256  # trainings that a cluster is given at once: a thread waits for each of them


def sweep(
    experiments: Iterable[Experiment],
    jobs: int = 1,
    progress: Progress | None = None,
    workers: Cluster | None = None,
) -> list[Run]:
    """Train all, in order: one after the other here, or `jobs` at a time in processes with one thread each, or as many
    at a time as the `workers` of a cluster take.

    A run per experiment, in their order; one that is named twice is trained once. What is finished is not trained
    again; one that fails is marked failed, with its reason, and stops no other. Raises SpeechlibError under `accelerate
    launch`, whose processes train one model and stop together.
    """
    if (count := processes.here().count) > 1:
        raise SpeechlibError(
            f"{count} processes were launched to train one model, this is a sweep: start it without `accelerate "
            "launch` (--jobs trains several at a time), or launch its trainings one by one"
        )
    named, data = list(experiments), {}
    keys = [runs.identity(configs.to_dict(experiment)) for experiment in named]
    distinct = dict(zip(keys, named))
    experiments = list(distinct.values())
    finished = {i: run for i, run in enumerate(map(finished_run, experiments)) if run}
    unfinished = [experiment for i, experiment in enumerate(experiments) if i not in finished]
    for key, experiment in {repr(opens(experiment)): experiment for experiment in unfinished}.items():
        if workers is not None and experiment.codec is not None:
            continue  # a codec may have to be trained first: by a worker
        with suppress(Exception):  # packed and read once, here; what cannot be had, its runs will say
            data[key] = prepare(experiment, executor=workers and workers.executor())
    steps, stopped = {i: 0 for i in range(len(experiments))}, threading.Event()
    total = sum(experiment.training.steps for experiment in experiments)

    def one(i: int) -> Run:
        own = experiments[i].training.steps

        def tell(done: int, of: int, text: str = "") -> None:
            steps[i] = done * own // max(of, 1)  # of several stages, or of what is packed first
            if progress:
                progress(sum(steps.values()), total, f"{i + 1}/{len(experiments)} {text}")

        if i in finished:
            tell(own, own)
            return finished[i]
        run = runs.create(experiments[i])
        try:
            if workers is not None:
                _train_on(workers, experiments[i], tell)
            elif jobs == 1:
                train(experiments[i], tell, data.get(repr(opens(experiments[i]))))
            else:
                _train_elsewhere(experiments[i], tell)
        except Exception as error:
            if not stopped.is_set():
                run.fail(error)
        tell(own, own)
        return run

    if workers is None and jobs == 1:
        found = dict(zip(distinct, map(one, steps)))
        return [found[key] for key in keys]
    # one thread here per training there: it only waits, and more are given away than there are workers
    at_once = jobs if workers is None else min(len(experiments), max(_GIVEN_AWAY, 2 * workers.n_tasks))
    with ThreadPoolExecutor(max(at_once, 1)) as pool:
        try:
            found = dict(zip(distinct, pool.map(one, steps)))
            return [found[key] for key in keys]
        except BaseException:
            stopped.set()
            if workers is not None:
                workers.close()  # what is under way there is not wanted any more, and nobody waits for it
            raise


def finished_run(experiment: Experiment) -> Run | None:
    """The run of this experiment if it is done; of one whose status is damaged nobody knows."""
    run = runs.find(experiment)
    with suppress(BadFile):
        return run if run is not None and run.status == "done" else None
    return None


def best(found: Iterable[Run], by: str = "loss", highest: bool = False) -> list[Run]:
    """The finished runs in whose summary the number `by` is lowest (or highest): several where they are equal, none
    where no run has a finite one. Raises UnknownName where none has any number of that name, and some have others."""
    done = list({run.path: run for run in found if run.status == "done"}.values())
    summaries = [run.summary for run in done]
    known = {name for told in summaries for name, value in told.items() if isinstance(value, int | float)}
    if known and by not in known:
        raise UnknownName("number of these runs", by, known)
    values = [told.get(by, math.nan) for told in summaries]
    finite = [value for value in values if math.isfinite(value)]
    wanted = (max if highest else min)(finite, default=None)
    return [run for run, value in zip(done, values) if value == wanted]


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
