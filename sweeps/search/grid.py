"""The points of a grid, in random order."""

import math
from collections.abc import Mapping
from typing import Any

from conclugen.seeds import derive_seed
from search_spaces import Parameter

__all__ = ["grid_point"]


_FEISTEL_ROUNDS = 4


def grid_point(parameters: Mapping[str, Parameter], number: int, seed: int) -> dict[str, Any]:
    """Return the values of trial ``number``: the default configuration first, then the other points in random order.

    A point is a number of mixed radix, with a digit for each parameter. So one point is made without the others.

    Args:
        parameters: the arm's parameters, each with finitely many values.
        number: the trial's number, below the number of points.
        seed: decides the order.
    """
    free = {name: parameter for name, parameter in parameters.items() if parameter.fixed is None}
    sizes = {name: parameter.count or 0 for name, parameter in free.items()}
    default = 0
    for name, parameter in free.items():
        default = default * sizes[name] + parameter.index(parameter.start)
    point = default
    if number > 0:
        point = _shuffled(number - 1, math.prod(sizes.values()) - 1, seed)
        point += point >= default
    values = {}
    for name in reversed(free):
        point, digit = divmod(point, sizes[name])
        values[name] = free[name].value(digit)
    return values


def _shuffled(index: int, size: int, seed: int) -> int:
    """Return where a random permutation of 0..size-1 takes ``index``; ``seed`` decides the permutation.

    A Feistel network permutes 0..p-1, where p is the first power of 4 not below ``size``; it needs no set-up. A result
    outside 0..size-1 is permuted again until it falls inside (cycle walking: Black & Rogaway 2002). That takes at most
    4 permutations on average.
    """
    half = (max(1, size - 1).bit_length() + 1) // 2
    while True:
        left, right = divmod(index, 1 << half)
        for turn in range(_FEISTEL_ROUNDS):
            left, right = right, left ^ derive_seed(seed, turn, right) % (1 << half)
        index = (left << half) + right
        if index < size:
            return index
