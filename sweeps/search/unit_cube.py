"""The unit cube in which CMA-ES searches: a coordinate in [0, 1] for each numeric hyperparameter.

The mapping equals Optuna's own, which is private and has changed: Optuna 4.0 rounds halves to even, 5.0 upwards. With
this mapping, the same seed proposes the same values on all versions.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution, IntDistribution

__all__ = ["NumericDistribution", "UnitCube"]

NumericDistribution = FloatDistribution | IntDistribution


class UnitCube:
    """Maps values of hyperparameters to points of the cube and back.

    A logarithmic range is even in the logarithm. A range with a step, such as one of integers, is half a step longer at
    both ends, so that all its values have equal shares of the cube.

    Args:
        space: name -> distribution, each with more than one value, in the order of the coordinates.
    """

    def __init__(self, space: Mapping[str, NumericDistribution]) -> None:
        self._space = space
        bounds = np.array([_bounds(distribution) for distribution in space.values()])
        self._low = bounds[:, 0]
        self._width = bounds[:, 1] - bounds[:, 0]

    @property
    def dimensions(self) -> int:
        """The number of hyperparameters."""
        return len(self._space)

    def point(self, values: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the point ``[dimensions]`` of a configuration.

        Args:
            values: name -> value; names that the space lacks are ignored.
        """
        scaled = [_scaled(values[name], distribution.log) for name, distribution in self._space.items()]
        point: NDArray[np.float64] = (np.array(scaled) - self._low) / self._width
        return point

    def values(self, point: NDArray[np.float64]) -> dict[str, int | float]:
        """Return the configuration at, or nearest to, a point ``[dimensions]``."""
        scaled = (self._low + point * self._width).tolist()
        return {
            name: _integer(number, distribution)
            if isinstance(distribution, IntDistribution)
            else _float(number, distribution)
            for (name, distribution), number in zip(self._space.items(), scaled, strict=True)
        }


def _scaled(value: float, log: bool) -> float:
    return math.log(value) if log else float(value)


def _bounds(distribution: NumericDistribution) -> tuple[float, float]:
    """Return the ends of a range in the cube's scale, before division by the width."""
    half_step = 0.5 * (distribution.step or 0)
    return _scaled(distribution.low - half_step, distribution.log), _scaled(
        distribution.high + half_step, distribution.log
    )


def _integer(number: float, distribution: IntDistribution) -> int:
    if distribution.log:
        value = round(math.exp(number))
    else:
        value = math.floor((number - distribution.low) / distribution.step + 0.5) * distribution.step + distribution.low
    return min(max(value, distribution.low), distribution.high)


def _float(number: float, distribution: FloatDistribution) -> float:
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is not None:
        return min(max(round((number - low) / step) * step + low, low), high)
    value = math.exp(number) if distribution.log else number
    return min(max(value, low), math.nextafter(high, high - 1))
