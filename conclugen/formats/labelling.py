"""The one place where the values of a label column become classes: ``--label-map``.

A map names values, ``0=neutral,1=happy``, or divides a scale at thresholds, ``negative < 0 <= positive``. Both
operators of a threshold together say where the threshold itself belongs; with two ``<`` it belongs to no class, and its
rows are left out. Scales of MOSI, MOSEI and CH-SIMS have conventions, which are such thresholds under a name.

The conventions are those of the field's evaluation code (MMSA's metrics): sentiment is cut to whole numbers after
rounding half to even, and CH-SIMS is divided at 0, 0.1 and 0.7.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from conclugen.names import tidy
from conclugen.settings.wording import suggestion

__all__ = ["CONVENTIONS", "LabelMap", "LabelMapError", "is_scale", "parse_label_map"]

CONVENTIONS = {
    "mosi-2": "negative < 0 <= non-negative",
    "mosi-2-nonzero": "negative < 0 < positive",
    "mosi-3": "negative < 0 <= neutral <= 0 < positive",
    "mosi-5": "very negative <= -1.5 < negative < -0.5 <= neutral <= 0.5 < positive < 1.5 <= very positive",
    "mosi-7": "strongly negative < -2.5 <= negative <= -1.5 < weakly negative < -0.5 <= neutral <= 0.5 "
    "< weakly positive < 1.5 <= positive <= 2.5 < strongly positive",
    "sims-2": "negative <= 0 < positive",
    "sims-3": "negative <= -0.1 < neutral <= 0.1 < positive",
    "sims-5": "negative <= -0.7 < weakly negative <= -0.1 < neutral <= 0.1 < weakly positive <= 0.7 < positive",
}
"""Name -> thresholds. MOSEI's sentiment has the scale of MOSI, from -3 to 3; that of CH-SIMS is from -1 to 1."""
_DECIMALS = 5
"""Digits after the point that count: files hold 0.1 in single precision, which is more than 0.1."""
_FORM = (
    "name values, such as '0=neutral,1=happy', give thresholds, such as 'negative < 0 <= positive', or a convention: "
    f"{', '.join(CONVENTIONS)}"
)


class LabelMapError(ValueError):
    """A label map cannot be understood; the message says why."""


@dataclass(frozen=True)
class LabelMap:
    """What ``--label-map`` says.

    Attributes:
        names: value -> class; an empty class leaves the rows of the value out. Empty if there are thresholds.
        bounds: (class, lower, whether lower belongs to it, upper, whether upper belongs to it), from low to high.
    """

    names: dict[str, str]
    bounds: tuple[tuple[str, float, bool, float, bool], ...] = ()

    @property
    def classes(self) -> list[str]:
        """The classes in the order in which the map names them."""
        return list(dict.fromkeys([name for name, *_ in self.bounds] or [name for name in self.names.values() if name]))

    def apply(self, values: Sequence[object], problems: list[str]) -> list[str | None]:
        """Return the class of each value; None for rows that the map leaves out, or that have no value.

        Messages about values that it does not say anything about are appended to ``problems``.
        """
        texts = [None if value is None else value_text(value) for value in values]
        class_of: dict[str, str | None] = {}
        unknown = []
        for text in dict.fromkeys(text for text in texts if text is not None):
            if self.bounds:
                number = _number(text)
                if number is None:
                    unknown.append(text)
                else:
                    class_of[text] = self._divided(round(number, _DECIMALS))
            elif text in self.names:
                class_of[text] = self.names[text] or None
            else:
                unknown.append(text)
        if unknown:
            counts = Counter(texts)
            shown = ", ".join(f"{text!r} ({counts[text]:,})" for text in unknown[:10]) + (
                ", ..." if len(unknown) > 10 else ""
            )
            remedy = (
                "thresholds divide numbers, so name the values instead, such as '0=neutral,1=happy'"
                if self.bounds
                else f"name each of them, or leave its rows out by an empty name, such as {unknown[0]}="
            )
            problems.append(f"--label-map: says nothing about {shown}; {remedy}.")
        return [None if text is None else class_of.get(text) for text in texts]

    def _divided(self, value: float) -> str | None:
        for name, low, low_within, high, high_within in self.bounds:
            if (low < value or (low_within and low == value)) and (value < high or (high_within and value == high)):
                return name
        return None


def parse_label_map(text: str) -> LabelMap:
    """Return what ``text`` says.

    Raises:
        LabelMapError: it cannot be understood.
    """
    if text in CONVENTIONS:
        return _thresholds(CONVENTIONS[text])
    if "<" in text:
        return _thresholds(text)
    names: dict[str, str] = {}
    for part in text.split(","):
        value, equals, name = part.partition("=")
        if not equals or not value.strip():
            raise LabelMapError(
                f"--label-map {text}: {part.strip()!r} is no value=class; {_FORM}.{suggestion(text, CONVENTIONS)}"
            )
        value = value_text(_number(value.strip()) if _number(value.strip()) is not None else value)
        if value in names:
            raise LabelMapError(f"--label-map {text}: {value!r} is named twice; name it once.")
        names[value] = tidy(name)
    return LabelMap(names)


def _thresholds(text: str) -> LabelMap:
    """Return the map of thresholds such as ``low < -1 <= middle <= 1 < high``."""
    parts = [part.strip() for part in re.split(r"(<=|<)", text)]
    # name, operator, threshold, operator, name, ...
    names, first, thresholds, second = parts[0::4], parts[1::4], parts[2::4], parts[3::4]
    limits = [_number(threshold) for threshold in thresholds]
    if len(names) != len(thresholds) + 1 or not len(first) == len(second) == len(thresholds) or not all(names):
        raise LabelMapError(f"--label-map {text}: classes and thresholds do not alternate; {_FORM}.")
    if wrong := [threshold for threshold, limit in zip(thresholds, limits, strict=True) if limit is None]:
        raise LabelMapError(f"--label-map {text}: {', '.join(wrong)} is no number; {_FORM}.")
    numbers = [limit for limit in limits if limit is not None]
    for threshold, left, right in zip(thresholds, first, second, strict=True):
        if left == right == "<=":
            raise LabelMapError(f"--label-map {text}: {threshold} is in two classes; write one of the two signs as <.")
    within = [(left == "<=", right == "<=") for left, right in zip(first, second, strict=True)]
    for (low, (_, from_low)), (high, (to_high, _)) in pairwise(zip(numbers, within, strict=True)):
        if low > high or (low == high and not (from_low and to_high)):
            raise LabelMapError(f"--label-map {text}: {high:g} comes after {low:g}; let thresholds rise.")
    if len(set(names)) < len(names):
        raise LabelMapError(f"--label-map {text}: a class is named twice; name each once.")
    lows = [(-np.inf, True), *((limit, right) for limit, (_, right) in zip(numbers, within, strict=True))]
    highs = [*((limit, left) for limit, (left, _) in zip(numbers, within, strict=True)), (np.inf, True)]
    return LabelMap({}, tuple((tidy(name), *low, *high) for name, low, high in zip(names, lows, highs, strict=True)))


def is_scale(values: Sequence[object]) -> bool:
    """Return whether values are numbers of a scale: some are not whole, so they are no classes."""
    numbers = [value for value in values if isinstance(value, int | float | np.number) and not isinstance(value, bool)]
    return any(bool(np.isfinite(value)) and float(value) % 1 > 0 for value in numbers)


def value_text(value: object) -> str:
    """Return a value as users write it: a whole number without a point, any other text tidied."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating):
        number = round(float(value), _DECIMALS)
        return str(int(number)) if np.isfinite(number) and number % 1 == 0 else str(number)
    return tidy(str(value))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
