"""Priors of a search space: where a user expects the good values of a parameter.

The prior of a range is ``[centre, spread]``. Under ``log: true`` it is a log-normal distribution with this median, and
the spread is the standard deviation of the natural logarithm: 0.7 is a factor of 2. Otherwise it is a normal
distribution with this mean and standard deviation. Both are cut at the ends of the range. The prior of choices is
``{choice: weight}``; choices that it does not name have the weight 1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conclugen.settings.wording import shown
from search_spaces.parameter import Parameter, Scalar

__all__ = ["Prior", "prior_of"]


_LEAST_DENSITY = 0.01  # so that trials can show that a prior is wrong


@dataclass(frozen=True)
class Prior:
    """The prior of one parameter, as a density on its coordinate from 0 to 1."""

    text: str
    """The prior in words, for people."""
    weights: tuple[float, ...] = ()
    """The weight of each choice; empty for a range."""
    centre: float = 0.5
    """The most likely value of a range, as a coordinate."""
    spread: float = 1.0
    """The standard deviation of a range's prior, in coordinates."""

    def density(self, coordinate: float) -> float:
        """Return the density at a coordinate, up to a factor: at most 1, and never less than a hundredth."""
        if self.weights:
            weight = self.weights[min(int(coordinate * len(self.weights)), len(self.weights) - 1)] / max(self.weights)
        else:
            weight = math.exp(-0.5 * ((coordinate - self.centre) / self.spread) ** 2)
        return max(weight, _LEAST_DENSITY)


def prior_of(parameter: Parameter, given: Any) -> Prior:
    """Return the prior that a user has given for a parameter.

    Raises:
        ValueError: the prior does not fit the parameter; the message says what would.
    """
    if parameter.fixed is not None:
        raise ValueError("has a fixed value, which needs no prior; leave it out.")
    if parameter.choices is not None:
        return _of_choices(parameter.choices, given)
    if not isinstance(given, list | tuple) or len(given) != 2 or not all(map(_is_number, given)) or given[1] <= 0:
        raise ValueError(f"{given!r}: must be [centre, spread], two numbers, the second greater than 0.")
    low, high = (float(end) for end in parameter.extremes() if _is_number(end))
    centre, spread = map(float, given)
    if not low <= centre <= high:
        raise ValueError(f"{given!r}: the centre must lie in {low:g}..{high:g}.")
    if parameter.log:
        text = f"about {centre:g}, within a factor of {math.exp(spread):.3g}"
        low, high, centre = math.log(low), math.log(high), math.log(centre)
    else:
        text = f"about {centre:g} ± {spread:g}"
    width = high - low or 1.0
    return Prior(text, centre=(centre - low) / width, spread=spread / width)


def _of_choices(choices: tuple[Scalar, ...], given: Any) -> Prior:
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{given!r}: must be weights of choices, such as {{{choices[0]}: 2}}.")
    weights = {str(choice): weight for choice, weight in given.items()}  # the keys of a YAML file are words
    names = [shown(choice).strip("'") for choice in choices]
    unknown = [name for name in weights if name not in names]
    if unknown:
        raise ValueError(f"{unknown[0]}: is none of the choices {list(choices)}.")
    wrong = [weight for weight in weights.values() if not _is_number(weight) or weight <= 0]
    if wrong:
        raise ValueError(f"{wrong[0]!r}: a weight must be a number greater than 0.")
    text = ", ".join(f"{name} ×{weight:g}" for name, weight in weights.items())
    return Prior(text, tuple(float(weights.get(name, 1.0)) for name in names))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
