"""Minimisation of many small convex problems at once by limited-memory BFGS (Nocedal and Wright, algorithms 7.4, 7.5).

Every step is a few operations on all problems together. For 50 samples, the overhead of operations dominates the
arithmetic, so ten problems cost little more than one. SciPy's and torch's L-BFGS solve one problem at a time: SciPy
takes 2.4 times as long for the demo's five draws at six strengths (docs/decisions/instrument.md). Newton's method with
Cholesky factors was rejected, because their cost grows with the cube of width times classes.

A vector is stored with its image under the metric M of its space. The method needs only inner products u^T M v, and
the images make them plain sums. The image of a sum is the sum of the images, so only the objective multiplies by M. In
the plain space a vector is its own image and is stored once.

Legend: D problems, N unknowns of each, I copies of a vector: 1, or 2 if the second is its image.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Minimum", "inner", "minimise"]

_REMEMBERED_STEPS = 10
_MOST_STEPS = 1000
_MOST_HALVINGS = 20
_SUFFICIENT_DECREASE = 1e-4  # share of the decrease that the slope predicts (Armijo)
_ROUNDING = 4  # units in the last place by which a value may rise

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps points (D, I, N) to values (D,) and gradients (D, I, N)."""
Done = Callable[[Tensor, Tensor], Tensor]
"""Maps values (D,) and gradients (D, I, N) to whether each problem is solved, (D,)."""


@dataclass(frozen=True)
class Minimum:
    """Result of a minimisation.

    Attributes:
        point: (D, I, N).
        value: (D,).
        gradient: (D, I, N).
        steps: number of steps.
    """

    point: Tensor
    value: Tensor
    gradient: Tensor
    steps: int


def minimise(objective: Objective, start: Tensor, scale: Tensor, done: Done) -> Minimum:
    """Minimise D smooth convex functions.

    A solved problem keeps its point. So does a problem that no step improves in the precision of ``start``. The search
    ends when no problem moves.

    Args:
        objective: the functions.
        start: (D, I, N) initial points.
        scale: (D, 1, N) estimates of the inverse second derivatives; better estimates need fewer steps.
        done: tells which problems are solved.
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
            new_point = point + length[:, None, None] * direction
            new_value, new_gradient = objective(new_point)
            rounding = _ROUNDING * torch.finfo(value.dtype).eps * value.abs()
            allowed = value + _SUFFICIENT_DECREASE * length * slope + rounding
            too_far = searching & ~(new_value <= allowed)  # also for NaN and infinity
            if not bool(too_far.any()):
                break
            length = torch.where(too_far, length / 2, length)
        else:
            stuck = stuck | too_far
            new_point = torch.where(too_far[:, None, None], point, new_point)
            new_gradient = torch.where(too_far[:, None, None], gradient, new_gradient)
            new_value = torch.where(too_far, value, new_value)
        memory.remember(new_point - point, new_gradient - gradient)
        point, value, gradient = new_point, new_value, new_gradient
    return Minimum(point, value, gradient, _MOST_STEPS)


def inner(first: Tensor, second: Tensor) -> Tensor:
    """Return the inner products (D,) of vectors (D, I, N)."""
    products: Tensor = torch.linalg.vecdot(first[:, 0], second[:, -1])
    return products


class _Memory:
    """Curvature that the latest steps have shown."""

    def __init__(self, scale: Tensor) -> None:
        self._scale = scale
        self._factor: Tensor | float = 1.0
        self._pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_REMEMBERED_STEPS)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the direction from a point with this gradient (D, I, N), by the two-loop recursion."""
        rest, shares = gradient, []
        for step, change, inverse in reversed(self._pairs):
            share = _factors(inverse * inner(step, rest))
            rest = torch.addcmul(rest, share, change, value=-1)
            shares.append(share)
        result = rest * (self._scale * self._factor)
        for (step, change, inverse), share in zip(self._pairs, reversed(shares), strict=True):
            result = torch.addcmul(result, step, share - _factors(inverse * inner(change, result)))
        return -result

    def remember(self, step: Tensor, change: Tensor) -> None:
        """Add a step (D, I, N) and the change of the gradient along it; a step without curvature has no effect."""
        curvature = inner(step, change)
        is_curved = curvature > torch.finfo(change.dtype).tiny
        scaled = inner(change * self._scale, change)
        self._factor = torch.where(_factors(is_curved), _factors(curvature / scaled), self._factor)
        self._pairs.append((step, change, torch.where(is_curved, 1 / curvature, 0.0)))


def _factors(values: Tensor) -> Tensor:
    """Reshape values (D,) to (D, 1, 1), to multiply vectors."""
    return values[:, None, None]
