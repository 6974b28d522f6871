"""Training with several workers: N workers with B/N rows each compute what one worker computes with B rows.

This is the only module that uses torch.distributed. Without a process group, or with one process in it, every function
is the identity. So the rest of the package is written for one worker and never asks how many there are.

Why the gradients are exact. Let θ_r be rank r's copy of the parameters and L_r its loss. Through the collectives, L_r
depends on all copies. Every backward collective here is the adjoint of its forward one. So a backward pass on all ranks
gives rank r the derivative of sum_s L_s with respect to θ_r. All copies equal θ. The sum of these derivatives over r is
therefore the total derivative d/dθ sum_s L_s(θ, ..., θ), and their mean is d/dθ of the mean loss (1/N) sum_s L_s.

A training step therefore needs one invariant: the mean of the losses over ranks is the loss of the whole batch. A loss
that every rank computes from all B rows (Con, Clu) satisfies it, because all L_s are equal. A mean over a rank's own
rows (Gen) satisfies it, because all ranks have equally many rows.

Rejected: DistributedDataParallel, which renames the parameters and expects one forward pass per backward pass;
SyncBatchNorm, which refuses CPUs; a B/N x B share of the contrastive loss per rank, which saves little compared with
the heads and makes the ranks' losses differ.

Legend: N ranks, b = B/N rows of a rank, C features.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = [
    "GlobalBatchNorm1d",
    "PeerLostError",
    "average",
    "average_gradients",
    "broadcast",
    "collective",
    "gather",
    "rank_and_size",
]

_MOMENTUM = 0.1  # of running statistics, torch's default


def rank_and_size() -> tuple[int, int]:
    """Return this process's rank and the number of ranks N; (0, 1) outside a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class PeerLostError(RuntimeError):
    """A collective operation failed because another rank is gone."""


@contextmanager
def collective() -> Iterator[None]:
    """Turn the RuntimeError of a failed collective operation into a :class:`PeerLostError`.

    Raises:
        PeerLostError: the operation failed.
    """
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError(str(error)) from error


def gather(x: Tensor) -> Tensor:
    """Return the rows of all ranks in rank order: (b, ...) -> (N b, ...), the same b on every rank; differentiable."""
    gathered: Tensor = x if rank_and_size()[1] == 1 else _Gather.apply(x)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    """All-gather along rows; its adjoint sums the gradient over ranks and keeps this rank's rows."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(rank_and_size()[1])]
        with collective():
            dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        rank, size = rank_and_size()
        total = gradient.clone(memory_format=torch.contiguous_format)  # other nodes of autograd's graph may share it
        with collective():
            dist.all_reduce(total)
        return total.chunk(size)[rank]


def average(x: Tensor) -> Tensor:
    """Return the mean of ``x`` over ranks, equal to the last bit on each rank; not differentiable."""
    size = rank_and_size()[1]
    if size == 1:
        return x
    total = x.detach().clone(memory_format=torch.contiguous_format)
    with collective():
        dist.all_reduce(total)
    return total / size


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over ranks.

    A parameter without a gradient on one rank must have none on any rank.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if rank_and_size()[1] == 1 or not gradients:
        return
    flat = average(torch.cat([gradient.flatten() for gradient in gradients]))  # one collective for all gradients
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def broadcast(x: Tensor) -> Tensor:
    """Return rank 0's ``x``; not differentiable."""
    if rank_and_size()[1] == 1:
        return x
    copy = x.detach().clone(memory_format=torch.contiguous_format)
    with collective():
        dist.broadcast(copy, src=0)
    return copy


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation over the rows of all ranks; on one worker it equals nn.BatchNorm1d.

    Args:
        num_features: C.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, momentum=_MOMENTUM)

    def forward(self, input: Tensor, present: Tensor | None = None) -> Tensor:  # noqa: A002  # the parent's name
        """Normalise (b, C), every rank with the same b.

        Args:
            input: (b, C).
            present: (b,) which rows count in the statistics, any number of them on a rank; None for all rows.
        """
        size = rank_and_size()[1]
        if not self.training or (size == 1 and present is None):
            return super().forward(input)
        x = input.to(self.weight.dtype)  # autocast makes the input bfloat16; as in torch, the statistics are float32
        if present is not None:
            mean, variance = self._statistics_of(x, present)
        else:
            rank_variance, rank_mean = torch.var_mean(x, dim=0, correction=0)
            means, variances = gather(torch.stack([rank_mean, rank_variance])[None]).unbind(dim=1)  # [N, C] each
            mean = means.mean(dim=0)
            # Law of total variance: it needs one collective and is stable, unlike E[x^2] - E[x]^2.
            variance = variances.mean(dim=0) + means.var(dim=0, correction=0)
            with torch.no_grad():
                rows = size * len(x)
                self.get_buffer("running_mean").lerp_(mean, _MOMENTUM)
                self.get_buffer("running_var").lerp_(variance * rows / (rows - 1), _MOMENTUM)
                self.get_buffer("num_batches_tracked").add_(1)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias

    def _statistics_of(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance, (C,) each, of all ranks' rows in ``present`` (b,), and track them; 0 if none is."""
        there = present[:, None]
        count = present.sum()
        rank_mean = torch.where(there, x, 0).sum(dim=0) / count.clamp(min=1)
        rank_variance = torch.where(there, (x - rank_mean) ** 2, 0).sum(dim=0) / count.clamp(min=1)
        moments = torch.stack([rank_mean, rank_variance, count.to(x.dtype).expand(len(rank_mean))])
        means, variances, counts = gather(moments[None]).unbind(dim=1)  # [N, C] each
        rows = counts[:, 0].sum()
        shares = counts / rows.clamp(min=1)
        mean = (shares * means).sum(dim=0)
        variance = (shares * (variances + (means - mean) ** 2)).sum(dim=0)
        with torch.no_grad():
            step = _MOMENTUM * (rows > 0)  # without a row, the running statistics stay
            self.get_buffer("running_mean").lerp_(mean, step)
            self.get_buffer("running_var").lerp_(variance * rows / (rows - 1).clamp(min=1), step)
            self.get_buffer("num_batches_tracked").add_(rows > 0)
        return mean, variance
