"""Learning-rate schedule: linear warm-up, then cosine annealing with warm restarts (Loshchilov & Hutter 2017)."""

import math

__all__ = ["learning_rate_factor"]

_WARMUP_START = 0.1


def learning_rate_factor(
    epoch: int, *, warmup: int, period: int, growth: int = 1, decay: float = 1.0, floor: float = 0.0
) -> float:
    """Return the factor on the base learning rate in ``epoch`` (0-based).

    Args:
        epoch: number of the epoch.
        warmup: epochs of linear increase from 0.1 to 1.
        period: length in epochs of the first cosine cycle.
        growth: factor from one cycle's length to the next's.
        decay: factor from one cycle's height above the floor to the next's.
        floor: factor at the end of a cycle.
    """
    if epoch < warmup:
        return _WARMUP_START + (1 - _WARMUP_START) * epoch / warmup
    position, height = epoch - warmup, 1 - floor
    while position >= period:
        position -= period
        period *= growth
        height *= decay
    return floor + height * (1 + math.cos(math.pi * position / period)) / 2
