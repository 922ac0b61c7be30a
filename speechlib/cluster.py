"""A Dask cluster to work on: notebooks of a batch, trainings of a sweep, shards of a pack, scores of ABX.

    dask scheduler                                              # on one machine; it prints its address
    dask worker tcp://HOST:8786 --nworkers 4 --nthreads 1 --memory-limit 0     # on every machine, in this environment
    python -m speechlib run --preset demo --cluster tcp://HOST:8786

Workers write where they would be written here: every machine sees the same data/ and outputs/, as folders of a network
disk are seen, under the same path. Nothing but descriptions and outcomes travels. A task whose worker dies is given to
another one; a training then goes on from its last checkpoint. A worker has one thread, as trainings in one process
would share their random numbers; without the limit of 0, Dask kills what takes more than its share of the memory.
"""

import hashlib
import importlib.metadata
import secrets
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from . import files
from .errors import SpeechlibError

TIMEOUT = 15  # seconds that a scheduler and the first worker have to answer
_PACKAGE = Path(__file__).parent


class Cluster:
    """A connection to a scheduler; a context manager.

    Raises SpeechlibError where nobody answers, where no worker is there, and where one has other code, other folders or
    several threads. Workers that come later are looked at with the first task they are given.
    """

    def __init__(self, address: str, timeout: float = TIMEOUT):
        try:
            import distributed
        except ImportError:
            raise SpeechlibError("clusters need Dask: pip install -e '.[cluster]'") from None
        try:
            self.client = distributed.Client(address, timeout=timeout, name="speechlib")
        except (OSError, ValueError) as error:
            raise SpeechlibError(
                f"no Dask scheduler answers at {address} ({error}): `dask scheduler` starts one and prints its address"
            ) from None
        try:
            self._check(address, timeout)
        except BaseException:
            self.client.close()
            raise

    def _check(self, address: str, timeout: float) -> None:
        try:
            self.client.wait_for_workers(1, timeout=timeout)
        except TimeoutError:
            raise SpeechlibError(
                f"the scheduler at {address} has no workers: `dask worker {address} --nthreads 1 --memory-limit 0` "
                "starts one"
            ) from None
        token = files.outputs_dir() / f".cluster-{secrets.token_hex(4)}"
        token.parent.mkdir(parents=True, exist_ok=True)
        token.touch()
        try:
            answers = self.client.run(_look, about(), str(token), on_error="return")
        finally:
            token.unlink()
        for worker, answer in answers.items():
            if isinstance(answer, SpeechlibError):
                raise answer
            if isinstance(answer, Exception):
                raise SpeechlibError(f"worker {worker} cannot use speechlib ({answer}): start it in this environment")

    @property
    def n_tasks(self) -> int:
        """How many tasks the workers do at once."""
        return sum(self.client.nthreads().values())

    @property
    def dashboard(self) -> str:
        """Address of the page that shows what the workers do."""
        return self.client.dashboard_link

    def submit(self, function: Callable, *arguments):
        """The future of function(*arguments) on some worker. One that is killed with its worker is tried again."""
        return self.client.submit(_alike, about(), function, *arguments, pure=False)

    def executor(self) -> Executor:
        """The cluster as an executor, for what is written for processes of one machine."""
        return _Executor(self)

    @contextmanager
    def listening(self, handler: Callable[[Any], None]):
        """Yield the topic that tasks `tell`, and call handler(message) for each thing told: in the thread of the
        connection, so it must not wait for the cluster."""
        topic = f"speechlib-{secrets.token_hex(8)}"
        self.client.subscribe_topic(topic, lambda event: handler(event[1]))
        try:
            yield topic
        finally:
            self.client.unsubscribe_topic(topic)

    def close(self) -> None:
        """What was submitted and is not done is not `wanted` any more."""
        self.client.close()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_) -> None:
        self.close()


@contextmanager
def executor(address: str):
    """Yield the executor of the cluster at `address`, and None where that is empty: work is done here, then."""
    if not address:
        yield None
        return
    with Cluster(address) as workers, workers.executor() as found:
        yield found


def outcome(future) -> Any:
    """The result. Raises what the task raised; SpeechlibError where its workers died, or it was cancelled."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        raise SpeechlibError("the workers that had it died, one after the other: out of memory?") from None
    except CancelledError as error:
        raise SpeechlibError(f"the cluster lost it ({error}): is the scheduler still there?") from None


def tell(topic: str, message) -> None:
    """From within a task: to whoever listens."""
    from distributed import get_worker

    get_worker().log_event(topic, message)


def wanted() -> bool:
    """From within a task: False once it was cancelled, or whoever submitted it is gone."""
    from distributed import get_worker

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is not None and task.state == "executing"


class _Executor(Executor):
    """Some more tasks under way than workers; errors are those of `outcome`."""

    def __init__(self, cluster: Cluster):
        self.cluster, self.waiting = cluster, ThreadPoolExecutor(2 * cluster.n_tasks)

    def submit(self, function, /, *arguments):
        return self.waiting.submit(lambda: outcome(self.cluster.submit(function, *arguments)))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.waiting.shutdown(wait, cancel_futures=cancel_futures)


def about() -> dict[str, str]:
    """What has to be the same on all machines: results must not depend on where they were made."""
    return {
        "the code": _digest(),
        "torch": importlib.metadata.version("torch"),
        "the data folder": str(files.data_dir()),
        "the outputs folder": str(files.outputs_dir()),
    }


@cache
def _digest() -> str:
    """Of the package as this process began with it."""
    code = [path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py"))]
    return hashlib.sha256(b"".join(code)).hexdigest()[:12]


def _look(ours: dict[str, str], token: str, dask_worker) -> None:
    """Raises SpeechlibError that says why a worker cannot be used."""
    name, n = f"worker {dask_worker.address}", dask_worker.state.nthreads
    for what, theirs in about().items():
        if theirs != ours[what]:
            raise SpeechlibError(f"{what} of {name} is {theirs}, where we are it is {ours[what]}")
    if n != 1:
        raise SpeechlibError(f"{name} has {n} threads: --nworkers {n} --nthreads 1 in their place")
    if token and not Path(token).exists():
        raise SpeechlibError(f"{name} does not see our {Path(token).parent}: a network disk has to hold it")


def _alike(ours: dict[str, str], function: Callable, *arguments) -> Any:
    """On a worker, which may have come after the others were looked at."""
    from distributed import get_worker

    _look(ours, "", get_worker())
    return function(*arguments)
