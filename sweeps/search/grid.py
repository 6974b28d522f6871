"""Points of a grid, in random order."""

import math
from collections.abc import Mapping
from typing import Any

from conclugen.seeds import derive_seed
from search_spaces import Parameter

__all__ = ["grid_point"]


_FEISTEL_ROUNDS = 4


def grid_point(parameters: Mapping[str, Parameter], number: int, seed: int) -> dict[str, Any]:
    """Return the values of trial ``number``: the default configuration first, then the grid's others in random order.

    Points are numbers of mixed radix, a digit for each parameter, so that none but the one asked for is made.

    Args:
        parameters: of a subset, each with finitely many values.
        number: below the number of points.
        seed: of the order.
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
    """Where a random permutation of 0..size-1, which ``seed`` decides, takes ``index``; takes no time to set up.

    A Feistel network permutes a power of 4 that is at least ``size``. What falls outside is permuted again until it
    falls inside (cycle walking: Black & Rogaway 2002), 4 times on average at most.
    """
    half = (max(1, size - 1).bit_length() + 1) // 2
    while True:
        left, right = divmod(index, 1 << half)
        for turn in range(_FEISTEL_ROUNDS):
            left, right = right, left ^ derive_seed(seed, turn, right) % (1 << half)
        index = (left << half) + right
        if index < size:
            return index
