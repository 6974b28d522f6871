"""Points of the joint model: configurations of all arms as vectors of one length.

A configuration of an arm is first a row of the unit cube, with a coordinate for each hyperparameter that the arm
searches. A row becomes a point, whose dimensions are those of all arms together:

* a range, or choices that are numbers: one dimension from 0 to 1, even in the logarithm for logarithmic ranges and for
  choices that span more than a factor of three;
* other choices: one dimension each, of 0 and 1;
* weights of losses: the logarithm of their ratio to the weight of the subset's first loss, because AdamW is blind to a
  factor that all weights share;
* a dimension for each loss, each baseline that is searched, each modality and each label budget that tells arms apart,
  and each earlier sweep whose trials are read.

A dimension that an arm does not search is 0.5 there.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conclugen.subsets import SUBSETS, Loss
from search_spaces import Parameter, Space, weight_of
from sweeps.config import Arm

__all__ = ["Encoding", "Floats"]

Floats = NDArray[np.float64]
_UNUSED = 0.5
_LEAST_WEIGHT = 1e-6  # a weight of 0 has no logarithm
_WIDE = 3.0  # choices that span more than this factor are even in the logarithm
_DECADES_OF_WEIGHTS = 4.0  # a ratio of weights within so many factors of ten has its dimension from 0 to 1
_LENGTH = 0.5  # prior median of a hyperparameter's length scale, in a space with one hyperparameter
_LENGTH_OF_KINDS = 2.0  # of the dimensions that tell arms apart
_WEIGHTS = frozenset(map(weight_of, Loss))


class Encoding:
    """Turns configurations into points, and rows of the unit cube into configurations.

    Args:
        space: the search space.
        arms: the arms of the sweep.
        earlier: number of earlier sweeps whose trials are read.
    """

    def __init__(self, space: Space, arms: Iterable[Arm], earlier: int = 0) -> None:
        self._space = space
        self._priors = space.priors
        arms = list(arms)
        self._axes = {
            name: _Axis(parameter)
            for name, parameter in space.parameters.items()
            if parameter.fixed is None and any(name in arm.parameters(space) for arm in arms)
        }
        places = dict[str, slice]()
        used = 0
        for name, axis in self._axes.items():
            places[name] = slice(used, used + axis.width)
            used += axis.width
        self._places = places
        self._searched = used
        # Sorted: another order of the dimensions rounds otherwise, and Python's sets have another one in each process.
        self._kinds = sorted({kind for arm in arms for kind in _kinds(arm)})
        self._earlier = earlier

    @property
    def dimensions(self) -> int:
        """The number of dimensions of a point."""
        return self._searched + len(self._kinds) + self._earlier

    @property
    def usual_lengths(self) -> Floats:
        """The length scales ``[dimensions]`` that are likely before any trial has ended.

        They grow with the root of the number of hyperparameters, so that a typical distance between two configurations
        is about one length whatever the space (Hvarfner et al. 2024, "Vanilla Bayesian optimization performs great in
        high dimensions"). Arms are more alike than not.
        """
        others = self.dimensions - self._searched
        root = math.sqrt(max(1, self._searched))
        return np.concatenate([np.full(self._searched, _LENGTH * root), np.full(others, _LENGTH_OF_KINDS)])

    def axes(self, arm: Arm) -> dict[str, "_Axis"]:
        """Return name -> axis, for each hyperparameter that the arm searches, in the order of coordinates."""
        return {name: self._axes[name] for name in arm.parameters(self._space) if name in self._axes}

    def density(self, arm: Arm, rows: Floats) -> Floats:
        """Return the density ``[rows]`` of the user's prior at rows of the unit cube, at most 1; 1 without a prior."""
        density = np.ones(len(rows))
        for column, (name, axis) in enumerate(self.axes(arm).items()):
            if (prior := self._priors.get(name)) is not None:
                places = rows[:, column] if prior.weights else axis.features(rows[:, column])[:, 0]
                density *= [prior.density(place) for place in places.tolist()]
        return density

    def values(self, arm: Arm, row: Floats) -> dict[str, Any]:
        """Return the configuration at a row ``[coordinates]`` of the unit cube."""
        return {
            name: axis.value(float(coordinate))
            for (name, axis), coordinate in zip(self.axes(arm).items(), row, strict=True)
        }

    def row(self, arm: Arm, values: Mapping[str, Any]) -> Floats | None:
        """Return the row ``[coordinates]`` of a configuration; None if a value is missing or compares with none."""
        coordinates = [
            axis.coordinate(values[name]) if name in values else None for name, axis in self.axes(arm).items()
        ]
        return None if None in coordinates else np.array(coordinates, dtype=np.float64)

    def points(self, arm: Arm, rows: Floats, task: int = 0) -> Floats:
        """Return the points ``[rows, dimensions]`` of rows ``[rows, coordinates]`` of the unit cube.

        Args:
            arm: the arm of the rows.
            rows: configurations.
            task: 0 for this sweep, or the number of an earlier one.
        """
        points = np.full((len(rows), self.dimensions), _UNUSED)
        weights = dict[str, Floats]()
        for column, (name, axis) in enumerate(self.axes(arm).items()):
            if name in _WEIGHTS:
                weights[name] = axis.logarithms(rows[:, column])
            else:
                points[:, self._places[name]] = axis.features(rows[:, column])
        if weights:
            self._put_ratios(points, arm, weights)
        kinds = _kinds(arm)
        for index, kind in enumerate(self._kinds):
            points[:, self._searched + index] = float(kind in kinds)
        for index in range(self._earlier):
            points[:, self._searched + len(self._kinds) + index] = float(task == index + 1)
        return points

    def _put_ratios(self, points: Floats, arm: Arm, weights: Mapping[str, Floats]) -> None:
        """Enter the logarithms of ratios of weights; ``weights`` are logarithms."""
        parameters = arm.parameters(self._space)

        def logarithm(name: str) -> Floats | float:
            fixed = parameters[name].fixed if name in parameters else 1.0
            return weights[name] if name in weights else math.log10(max(float(fixed or 0.0), _LEAST_WEIGHT))

        first, *others = map(weight_of, arm.losses)
        for name in others:
            if name in self._places:
                ratio = (logarithm(name) - logarithm(first)) / _DECADES_OF_WEIGHTS + 0.5
                points[:, self._places[name]] = np.broadcast_to(ratio, len(points))[:, None]


class _Axis:
    """A searched hyperparameter as a coordinate from 0 to 1 and as dimensions of a point."""

    def __init__(self, parameter: Parameter) -> None:
        self._parameter = parameter
        self.count = parameter.count
        self._table = None if parameter.choices is None else _positions(parameter.choices)
        self.width = 1 if self._table is None else self._table.shape[1]

    def value(self, coordinate: float) -> Any:
        """Return the value at a coordinate; all values of a list have equal shares."""
        parameter = self._parameter
        if self.count is not None:
            return parameter.value(min(int(coordinate * self.count), self.count - 1))
        low, high = self._ends
        scaled = low + coordinate * (high - low)
        return parameter.nearest(math.exp(scaled) if parameter.log else scaled)

    def coordinate(self, value: Any) -> float | None:
        """Return the coordinate of the allowed value nearest to ``value``; None if none compares with it."""
        nearest = self._parameter.nearest(value)
        if nearest is None:
            return None
        if self.count is not None:
            return (self._parameter.index(nearest) + 0.5) / self.count
        low, high = self._ends
        number = math.log(float(nearest)) if self._parameter.log else float(nearest)
        return (number - low) / (high - low) if high > low else 0.5

    def features(self, coordinates: Floats) -> Floats:
        """Return the dimensions ``[rows, width]`` of coordinates ``[rows]``."""
        if self.count is None:
            return coordinates[:, None]
        indices = np.minimum((coordinates * self.count).astype(np.int64), self.count - 1)
        if self._table is not None:
            features: Floats = self._table[indices]
            return features
        return (indices / max(1, self.count - 1))[:, None]

    def logarithms(self, coordinates: Floats) -> Floats:
        """Return the logarithms, to base 10, of the values at coordinates ``[rows]``."""
        values = [max(float(self.value(float(coordinate))), _LEAST_WEIGHT) for coordinate in coordinates]
        return np.array([math.log10(value) for value in values])

    @property
    def _ends(self) -> tuple[float, float]:
        low, high = (float(end) for end in self._parameter.extremes())
        return (math.log(low), math.log(high)) if self._parameter.log else (low, high)


def _positions(choices: Sequence[Any]) -> Floats:
    """Return the dimensions ``[choices, width]`` of each choice."""
    numbers = [choice for choice in choices if isinstance(choice, int | float) and not isinstance(choice, bool)]
    if len(numbers) < len(choices):
        names = np.eye(len(choices)) / math.sqrt(2)  # so that two choices are 1 apart
        flags: Floats = names[:, :1] * math.sqrt(2) if len(choices) == 2 else names
        return flags
    wide = min(numbers) > 0 and max(numbers) > _WIDE * min(numbers)
    scaled = np.log(numbers) if wide else np.array(numbers, dtype=np.float64)
    span = float(np.ptp(scaled))
    positions: Floats = ((scaled - scaled.min()) / (span or 1.0))[:, None]
    return positions


def _kinds(arm: Arm) -> frozenset[str]:
    """Return what tells the arm from others, apart from its hyperparameters and the number of its search."""
    method = set(arm.losses) if arm.method in SUBSETS else {arm.method}
    modalities = {f"modality {name}" for name in arm.modalities}
    labels = set() if arm.labels is None else {f"labels {arm.labels}"}
    return frozenset(method | modalities | labels)
