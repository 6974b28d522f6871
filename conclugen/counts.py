"""Counts in messages: "1 trial", "2 trials". This is the only place that knows how a plural is made."""

from collections.abc import Mapping

__all__ = ["counted", "shown_counts"]


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return ``number`` and its noun, with separators between thousands.

    Args:
        number: how many there are.
        noun: the noun in the singular.
        plural: its plural, where that is not the singular with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def shown_counts(counts: Mapping[str, int]) -> str:
    """Return ``counts``, what is counted -> its number, such as ``70 video+text, 2 text``."""
    return ", ".join(f"{number:,} {what}" for what, number in counts.items())
