"""One batch shared out over the processes of a training, so that together they compute what one would alone.

    with split(rank, n):  every process has its rows of the batch, in order: the first of four holds the first quarter

A loss is then the mean over processes of their losses, and so is its gradient. That is the batch's own for a mean over
items; everything else asks here. A mean over what is valid divides by `even` (a process may hold more padding than
another), noise is `drawn` for the whole batch, statistics are summed (`total`, `BatchNorm`), and a distance between
sets of points sees all points (`gathered`). Outside of `split` each of these is what it would be without processes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Share(NamedTuple):
    rank: int = 0
    n: int = 1  # processes that hold a share each

    def rows(self, held: int) -> slice:
        """Where in the batch the `held` rows of this process are."""
        return slice(self.rank * held, (self.rank + 1) * held)


_share = Share()


@contextmanager
def split(rank: int, n: int) -> Iterator[None]:
    """Inside: what models and objectives are given is the share of process `rank` of a batch that n processes hold.

    All of them have to do the same inside, as they wait for one another.
    """
    global _share
    before, _share = _share, Share(rank, n)
    try:
        yield
    finally:
        _share = before


def total(values: Tensor) -> Tensor:
    """Values summed over the processes; gradients flow back into every process's own."""
    return _Sum.apply(values) if _share.n > 1 else values


def even(count: Tensor) -> Tensor:
    """A count () as it is on average: what a process divides its sum by, so that the mean over processes of these
    quotients is the sum of all over the count of all. At least the share of 1: nothing is divided by zero."""
    return total(count).clamp(min=1) / _share.n if _share.n > 1 else count.clamp(min=1)


def size(held: int) -> int:
    """How many rows the whole batch has, of which this process holds so many."""
    return held * _share.n


def drawn(draw: Callable[..., Tensor], shape: tuple[int, ...], dim: int = 0, **options) -> Tensor:
    """draw(shape, **options), drawn for the whole batch: the rows of this process along `dim`.

    Processes whose generators are in the same state get what one process would, each its own part.
    """
    held = shape[dim]
    whole = draw((*shape[:dim], size(held), *shape[dim + 1 :]), **options)
    return whole if _share.n == 1 else whole.movedim(dim, 0)[_share.rows(held)].movedim(0, dim)


def gathered(rows: Tensor) -> Tensor:
    """Rows (B, ...) of this process -> those of all, in the order of the batch."""
    if _share.n == 1:
        return rows
    places = [torch.zeros_like(rows)] * _share.n
    places[_share.rank] = rows
    return total(torch.cat(places))


def picked(rows: Tensor, places: Tensor) -> Tensor:
    """Those of all processes' rows (N, D each) that stand at `places` (K,) of the whole: (K, D), without a gradient.

    Processes hold as many rows each.
    """
    own = places - _share.rank * len(rows)
    here = (own >= 0) & (own < len(rows))
    return total(torch.where(here[:, None], rows.detach()[own.clamp(0, len(rows) - 1)], 0))


def agreed(values: Tensor) -> Tensor:
    """The first process's values everywhere: of what each of them works out, and may round otherwise."""
    if _share.n > 1:
        values = values.contiguous()
        dist.broadcast(values, src=0)
    return values


def dropout(x: Tensor, p: float, training: bool, whole_channels: bool = False) -> Tensor:
    """x (B, C, ...) with each value (or channel) at zero with probability p in training, the others raised."""
    if not training or p == 0:
        return x
    shape = (*x.shape[:2], *[1] * (x.ndim - 2)) if whole_channels else tuple(x.shape)
    # of ones, for one process too: which value is dropped would depend on how x happens to lie in memory
    return x * drawn(lambda shape: F.dropout(torch.ones(shape, device=x.device, dtype=x.dtype), p), shape)


class Dropout(nn.Module):
    """`dropout` as a module."""

    def __init__(self, p: float, whole_channels: bool = False):
        super().__init__()
        self.p, self.whole_channels = p, whole_channels

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training, self.whole_channels)


def follows(model: nn.Module) -> bool:
    """Whether a batch changes more of a model than gradients do: a module that says `follows_batches` has statistics of
    those that it has seen, or counts them, and the next batch has to come after it."""
    return any(getattr(module, "follows_batches", False) for module in model.modules())


class _SharedStatistics:
    """Mean and variance of the whole batch for a BatchNorm of torch, whose own SyncBatchNorm needs a GPU."""

    follows_batches = True

    def forward(self, x: Tensor) -> Tensor:
        if _share.n == 1 or not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        values, others = x.float(), [d for d in range(x.ndim) if d != 1]
        n = size(x.numel() // x.shape[1])
        mean = total(values.sum(others, keepdim=True)) / n
        variance = total((values - mean).square().sum(others, keepdim=True)) / n
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * n / (n - 1), self.momentum)
        y = (values - mean) * (variance + self.eps).rsqrt()
        if self.affine:
            shape = [-1, *[1] * (x.ndim - 2)]
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)


class BatchNorm1d(_SharedStatistics, nn.BatchNorm1d):
    pass


class BatchNorm2d(_SharedStatistics, nn.BatchNorm2d):
    pass


class _Sum(torch.autograd.Function):
    """The sum over processes. What each of them makes of it comes back to all: its gradient is the sum of theirs."""

    @staticmethod
    def forward(_context, values: Tensor) -> Tensor:
        values = values.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values)
        return values

    @staticmethod
    @once_differentiable  # a second derivative would be zero here, and nothing would say so
    def backward(_context, gradient: Tensor) -> Tensor:
        return _Sum.forward(None, gradient)
