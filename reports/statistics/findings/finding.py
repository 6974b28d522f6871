"""One finding: a sentence, and what supports it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["TOPICS", "Finding", "Numbers", "Topic", "finite"]

Topic = Literal["best", "pretraining", "loss", "instrument", "labels", "open", "doubt"]
TOPICS: tuple[Topic, ...] = ("best", "pretraining", "loss", "instrument", "labels", "open", "doubt")
"""The most important first."""
Numbers = Mapping[str, float | str | int]


@dataclass(frozen=True)
class Finding:
    """One sentence about the results, with what supports it."""

    topic: Topic
    text: str
    """The sentence: plain text, with its numbers."""
    numbers: Numbers
    """The numbers behind the sentence, unrounded, by name; numbers that do not exist are left out."""
    table: str
    """Name of the report's table that has the numbers."""
    records: tuple[str, ...]
    """Keys of ledger records behind the sentence, each with its sweep, such as ``demo: confirm-Con-00000``."""


def finite(numbers: Numbers) -> Numbers:
    """Return the numbers that exist: NaN and infinity are no JSON."""
    return {name: value for name, value in numbers.items() if not isinstance(value, float) or math.isfinite(value)}
