"""Several processes that train one model.

    accelerate launch --num_processes 4 -m speechlib train ...                 a GPU each
    accelerate launch --multi_gpu --num_processes 2 -m speechlib train ...     CPU cores

A step takes the batches that one process would take. Each of them is shared out by rows, the loss and its terms are
those of the whole batch (`models.shares`), and gradients are averaged once a step, before they are clipped. So nothing
but rounding tells how many processes there were, and a training goes on with more of them, or with fewer. Where a batch
has no rows to share (a MelNet's of one clip, 32 of them a step), whole batches are dealt out instead.

Two things are not shared, and differ: dropout between the layers of an LSTM, which torch draws by itself, and the
`source_layout` of codes, whose rows mix the items of a batch.

Process 0 writes: run folder, packs, checkpoints, whatever is printed. What only it does (validation, scores) is done
`alone`, while the others wait.
"""

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .errors import SpeechlibError
from .models import shares

_PATIENCE = timedelta(days=7)  # of those that wait while the first packs a corpus or judges a model
_ECHO = 2.0  # seconds in which a second Ctrl-C is the first, passed on by the launcher
_alone = False


class LostProcess(SpeechlibError):
    """Another process of this training is gone, and no step can be taken without it."""


class Team(NamedTuple):
    """This process among those of a training."""

    index: int
    count: int
    device: torch.device  # its own
    by_rows: bool = True  # whether a batch is shared out, or batches are dealt out

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def wait(self) -> None:
        """Until all have come so far."""
        if self.count > 1:
            with _lost():
                dist.barrier()

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first process goes through; then the others, which find what it has made."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def sharing(self, system: str, batch_size: int, accumulate: int, follows: bool = False) -> "Team":
        """How this team shares the `accumulate` batches of a step.

        Raises SpeechlibError where it cannot; batches of a model that follows them (`shares.follows`) cannot be dealt
        out, as each has to see what the one before it has changed.
        """
        by_rows = batch_size % self.count == 0
        if by_rows or (accumulate % self.count == 0 and not follows):
            return self._replace(by_rows=by_rows)
        fitting = [n for n in range(1, self.count) if batch_size % n == 0]
        larger = -(-batch_size // self.count) * self.count
        raise SpeechlibError(
            f"{self.count} processes cannot share a {system}'s batches of {batch_size} evenly: take "
            f"--set training.batch_size={larger}, or --num_processes {fitting[-1]}"
        )

    def taken(self, step: int, accumulate: int) -> range:
        """The numbers of the batches of step 1, 2, ... that this process sees."""
        batches = range((step - 1) * accumulate, step * accumulate)
        # the first process takes the last batch, and is left with the random numbers that one process would have
        return batches if self.by_rows else batches[self.count - 1 - self.index :: self.count]

    def share(self, batch: NamedTuple) -> NamedTuple:
        """Its rows of a batch, a tuple of tensors (B, ...) or None; all of a batch that was dealt out."""
        if self.count == 1 or not self.by_rows:
            return batch
        held, left = divmod(len(batch[0]), self.count)
        if left:
            raise SpeechlibError(f"{self.count} processes cannot share a batch of {len(batch[0])} evenly")
        rows = shares.Share(self.index, self.count).rows(held)
        return type(batch)(*(None if values is None else values[rows] for values in batch))

    @contextmanager
    def split(self) -> Iterator[None]:
        """Inside, objectives see a share (`models.shares.split`)."""
        with _lost(), shares.split(self.index, self.count if self.by_rows else 1):
            yield

    def join(
        self, parameters: Iterable[nn.Parameter], terms: dict[str, Tensor], stop: bool
    ) -> tuple[dict[str, Tensor], bool]:
        """Gradients (in place) and terms averaged over the processes, and whether any of them wants to stop: one
        message a step. Weights without a gradient keep none, as they have none anywhere."""
        if self.count == 1:
            return terms, stop
        gradients = [p.grad for p in parameters if p.grad is not None]
        told = [term.detach().float() for term in terms.values()]
        told.append(torch.tensor(float(stop), device=told[0].device))
        message = torch.cat([part.flatten() for part in (*told, *gradients)])
        with _lost():
            dist.all_reduce(message)
        message /= self.count
        *told, stop = message[: len(told)]
        for gradient, average in zip(gradients, message[len(told) + 1 :].split([g.numel() for g in gradients])):
            gradient.copy_(average.view_as(gradient))
        return dict(zip(terms, told)), bool(stop > 0)

    def first_says(self, value: bool) -> bool:
        """What the first process says, to all: of what may change while they look."""
        if self.count == 1:  # whoever only opens a finished run has no use for a device
            return value
        said = torch.tensor(value, device=self.device)
        self.agree({"said": said})
        return bool(said)

    def agree(self, *states: dict[str, Tensor]) -> None:
        """Everywhere the tensors of the first process, in place: what each has measured or read may differ in the last
        digit on another machine."""
        if self.count > 1:
            with _lost(), torch.no_grad():
                for state in states:
                    for tensor in state.values():
                        dist.broadcast(tensor, src=0)


def here() -> Team:
    """This process among those that `accelerate launch` (or torchrun) started; alone without it."""
    from accelerate import Accelerator, InitProcessGroupKwargs

    # Without a GPU Accelerate has to be told, else every process believes that it is alone.
    cores = "LOCAL_RANK" in os.environ and not torch.accelerator.is_available()
    told = InitProcessGroupKwargs(timeout=_PATIENCE)
    found = Accelerator(cpu=cores, mixed_precision="no", kwargs_handlers=[told])  # autocast is ours: precision_of
    device = torch.device("cpu") if found.device.type == "cpu" else found.device
    return Team(0, 1, device) if _alone else Team(found.process_index, found.num_processes, device)


def launched_in_vain() -> bool:
    """Whether `accelerate launch` was asked for several processes and started this one only, as it does on a machine
    without GPUs where it is not told --multi_gpu."""
    return {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"} <= os.environ.keys() and here().count == 1


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process does what no other one takes part in."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


class Interruption:
    """Inside `with`, SIGINT and SIGTERM are noted, so that a step can be ended and kept; a later Ctrl-C interrupts it.

    One that came and that nobody has looked at raises KeyboardInterrupt at the end. In a thread other than the main one
    nothing is noted, as signals go elsewhere; nor is one that this process was started to ignore.
    """

    def __init__(self):
        self.since = 0.0  # when it came; 0 = not yet
        self._before: dict[int, object] = {}

    def __bool__(self) -> bool:
        return self.since > 0

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: of another language's making
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind, *_error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self and kind is None:
            raise KeyboardInterrupt

    def _note(self, number: int, _frame) -> None:
        now = time.monotonic()
        if number == signal.SIGINT and self and now - self.since > _ECHO:
            raise KeyboardInterrupt
        self.since = self.since or now


@contextmanager
def _lost() -> Iterator[None]:
    """LostProcess instead of what a backend says of a connection that is closed."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise LostProcess(
                "another process of this training has ended: what it wrote says why, and the same command goes on"
            ) from None
        raise
