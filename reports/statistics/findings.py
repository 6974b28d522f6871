"""What a report found, in sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Topic"]

Topic = Literal["best", "pretraining", "loss", "instrument", "labels", "open", "doubt"]


@dataclass(frozen=True)
class Finding:
    """One sentence about the results, with what supports it."""

    topic: Topic
    text: str
    """The sentence: plain text, with its numbers."""
    numbers: Mapping[str, float | str | int]
    """The numbers behind the sentence, unrounded, by name."""
    table: str
    """Name of the report's table that has the numbers."""
    records: tuple[str, ...]
    """Keys of ledger records behind the sentence, each with its sweep, such as ``demo: confirm-Con-00000``."""
