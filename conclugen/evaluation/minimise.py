"""Many small convex problems minimised at once, by limited-memory BFGS (Nocedal and Wright, algorithms 7.4 and 7.5).

Every step is a handful of operations on all problems together. A problem of 50 samples costs the overhead of each
operation and no arithmetic, so ten problems cost little more than one. SciPy's and torch's L-BFGS take one problem at a
time: five draws and six strengths took four times as long. Newton's method with Cholesky factors was rejected, because
a factor grows with the cube of width times classes.

Legend: D problems, N unknowns of each, h remembered steps.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Minimum", "minimise"]

_REMEMBERED = 10  # steps
_MOST_STEPS = 1000
_MOST_HALVINGS = 20
_SUFFICIENT = 1e-4  # share of the decrease that the slope promises (Armijo)
_ROUNDING = 4  # a value may rise by so many units in its last place

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps points (D, N) to values (D,) and gradients (D, N)."""
Done = Callable[[Tensor, Tensor], Tensor]
"""Maps values (D,) and gradients (D, N) to whether each problem is solved, (D,)."""


@dataclass(frozen=True)
class Minimum:
    """Where the minimisation ended.

    Attributes:
        point: (D, N).
        value: (D,).
        gradient: (D, N).
        steps: that were taken.
    """

    point: Tensor
    value: Tensor
    gradient: Tensor
    steps: int


def minimise(objective: Objective, start: Tensor, scale: Tensor, done: Done) -> Minimum:
    """Minimise D smooth convex functions.

    A problem that is solved stays where it is. The search ends when all are solved, or when no step makes any unsolved
    problem better in the precision of ``start``.

    Args:
        objective: the functions.
        start: (D, N) points to start from.
        scale: (D, N) about the inverse of each function's second derivatives; the better, the fewer steps.
        done: when a problem is solved.
    """
    point = start
    value, gradient = objective(point)
    memory = _Memory(scale)
    for step in range(_MOST_STEPS):
        searching = ~done(value, gradient)
        if not bool(searching.any()):
            return Minimum(point, value, gradient, step)
        direction = memory.direction(gradient)
        slope = (direction * gradient).sum(dim=1)  # [D]
        length = searching.to(point.dtype)
        for _ in range(_MOST_HALVINGS):
            there = point + length[:, None] * direction
            new_value, new_gradient = objective(there)
            allowed = value + _SUFFICIENT * length * slope + _ROUNDING * torch.finfo(value.dtype).eps * value.abs()
            too_far = searching & ~(new_value <= allowed)  # a value that is not finite is too far as well
            if not bool(too_far.any()):
                break
            length = torch.where(too_far, length / 2, length)
        else:
            return Minimum(point, value, gradient, step)
        memory.remember(there - point, new_gradient - gradient)
        point, value, gradient = there, new_value, new_gradient
    return Minimum(point, value, gradient, _MOST_STEPS)


class _Memory:
    """What the latest steps tell of the curvature."""

    def __init__(self, scale: Tensor) -> None:
        self._scale = scale
        self._factor: Tensor | float = 1.0
        self._pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_REMEMBERED)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return where to go from a point with this gradient (D, N): the two-loop recursion."""
        rest, shares = gradient, []
        for moved, change, inverse in reversed(self._pairs):
            share = inverse * (moved * rest).sum(dim=1, keepdim=True)
            rest = rest - share * change
            shares.append(share)
        result = rest * self._scale * self._factor
        for (moved, change, inverse), share in zip(self._pairs, reversed(shares), strict=True):
            result = result + moved * (share - inverse * (change * result).sum(dim=1, keepdim=True))
        return -result

    def remember(self, moved: Tensor, change: Tensor) -> None:
        """Add a step (D, N) and the change of the gradient along it; one that shows no curvature counts for nothing."""
        curvature = (moved * change).sum(dim=1, keepdim=True)
        scaled = (change * self._scale * change).sum(dim=1, keepdim=True)
        real = curvature > torch.finfo(change.dtype).tiny
        self._factor = torch.where(real, curvature / scaled, self._factor)
        self._pairs.append((moved, change, torch.where(real, 1 / curvature, 0.0)))
