"""Many small convex problems minimised at once, by limited-memory BFGS (Nocedal and Wright, algorithms 7.4 and 7.5).

Every step is a handful of operations on all problems together. A problem of 50 samples costs the overhead of each
operation and no arithmetic, so ten problems cost little more than one. SciPy's and torch's L-BFGS take one problem at a
time: SciPy's takes 2.4 times as long for the demo's five draws at six strengths (LOG.md). Newton's method with Cholesky
factors was rejected, because a factor grows with the cube of width times classes.

Vectors come with their image under the metric M of the space they live in, so that inner products u^T M v, which are
all that the method needs, are sums. Sums of vectors have sums of images: only the objective ever multiplies by M. In
the plain space, where a vector is its own image, there is nothing to add.

Legend: D problems, N unknowns of each, I the copies of a vector: 1, or 2 where the second is its image.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Minimum", "inner", "minimise"]

_REMEMBERED = 10  # steps
_MOST_STEPS = 1000
_MOST_HALVINGS = 20
_SUFFICIENT = 1e-4  # share of the decrease that the slope promises (Armijo)
_ROUNDING = 4  # a value may rise by so many units in its last place

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps points (D, I, N) to values (D,) and gradients (D, I, N)."""
Done = Callable[[Tensor, Tensor], Tensor]
"""Maps values (D,) and gradients (D, I, N) to whether each problem is solved, (D,)."""


@dataclass(frozen=True)
class Minimum:
    """Where the minimisation ended.

    Attributes:
        point: (D, I, N).
        value: (D,).
        gradient: (D, I, N).
        steps: that were taken.
    """

    point: Tensor
    value: Tensor
    gradient: Tensor
    steps: int


def minimise(objective: Objective, start: Tensor, scale: Tensor, done: Done) -> Minimum:
    """Minimise D smooth convex functions.

    A problem that is solved stays where it is, and so does one that no step makes better in the precision of ``start``.
    The search ends when all do.

    Args:
        objective: the functions.
        start: (D, I, N) points to start from.
        scale: (D, 1, N) about the inverse of each function's second derivatives; the better, the fewer steps.
        done: when a problem is solved.
    """
    point = start
    value, gradient = objective(point)
    memory, stuck = _Memory(scale), torch.zeros_like(value, dtype=torch.bool)
    for step in range(_MOST_STEPS):
        searching = ~(done(value, gradient) | stuck)
        if not bool(searching.any()):
            return Minimum(point, value, gradient, step)
        direction = memory.direction(gradient)
        slope = inner(direction, gradient)  # [D]
        length = searching.to(point.dtype)
        for _ in range(_MOST_HALVINGS):
            there = point + length[:, None, None] * direction
            new_value, new_gradient = objective(there)
            allowed = value + _SUFFICIENT * length * slope + _ROUNDING * torch.finfo(value.dtype).eps * value.abs()
            too_far = searching & ~(new_value <= allowed)  # a value that is not finite is too far as well
            if not bool(too_far.any()):
                break
            length = torch.where(too_far, length / 2, length)
        else:
            stuck = stuck | too_far
            there, new_gradient = (
                torch.where(too_far[:, None, None], old, new) for old, new in ((point, there), (gradient, new_gradient))
            )
            new_value = torch.where(too_far, value, new_value)
        memory.remember(there - point, new_gradient - gradient)
        point, value, gradient = there, new_value, new_gradient
    return Minimum(point, value, gradient, _MOST_STEPS)


def inner(first: Tensor, second: Tensor) -> Tensor:
    """Return the inner products (D,) of vectors (D, I, N)."""
    products: Tensor = torch.linalg.vecdot(first[:, 0], second[:, -1])
    return products


class _Memory:
    """What the latest steps tell of the curvature."""

    def __init__(self, scale: Tensor) -> None:
        self._scale = scale
        self._factor: Tensor | float = 1.0
        self._pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_REMEMBERED)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return where to go from a point with this gradient (D, I, N): the two-loop recursion."""
        rest, shares = gradient, []
        for moved, change, inverse in reversed(self._pairs):
            share = _factors(inverse * inner(moved, rest))
            rest = torch.addcmul(rest, share, change, value=-1)
            shares.append(share)
        result = rest * (self._scale * self._factor)
        for (moved, change, inverse), share in zip(self._pairs, reversed(shares), strict=True):
            result = torch.addcmul(result, moved, share - _factors(inverse * inner(change, result)))
        return -result

    def remember(self, moved: Tensor, change: Tensor) -> None:
        """Add a step (D, I, N) and the change of the gradient along it; where it shows no curvature, nothing."""
        curvature = inner(moved, change)
        real = curvature > torch.finfo(change.dtype).tiny
        scaled = inner(change * self._scale, change)
        self._factor = torch.where(_factors(real), _factors(curvature / scaled), self._factor)
        self._pairs.append((moved, change, torch.where(real, 1 / curvature, 0.0)))


def _factors(of_problems: Tensor) -> Tensor:
    """(D,) -> (D, 1, 1), to multiply vectors."""
    return of_problems[:, None, None]
