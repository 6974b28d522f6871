"""Label budgets: how many labels a probe may use.

A budget is a number of labels per class, a fraction of the training samples, or all labels. Papers report both "5
labels per class" and "10 % of the labels". Records are stored under a budget's name, and seeds are derived from it.
This module loads no torch, so configurations can be checked without it.
"""

from dataclasses import dataclass
from decimal import Decimal

__all__ = ["LabelBudget"]


@dataclass(frozen=True)
class LabelBudget:
    """A label budget; the default is all labels.

    Attributes:
        per_class: labelled samples per class, at least 1.
        fraction: fraction of the training samples that are labelled, between 0 and 1.

    Raises:
        ValueError: both are given, or a value is out of range.
    """

    per_class: int | None = None
    fraction: float | None = None

    def __post_init__(self) -> None:
        if self.per_class is not None and self.fraction is not None:
            raise ValueError(f"a label budget is per class or a fraction, not both: {self.per_class}, {self.fraction}.")
        if self.per_class is not None and self.per_class < 1:
            raise ValueError(f"a label budget needs at least 1 label per class, got {self.per_class} per class.")
        if self.fraction is not None and not 0 < self.fraction < 1:
            raise ValueError(f"a label budget is a fraction between 0 and 1, got {self.fraction}.")

    def __str__(self) -> str:
        """Return the budget's name: ``"5"``, ``"10%"``, or ``""`` for all labels."""
        if self.fraction is not None:
            percent = Decimal(repr(self.fraction)).scaleb(2)  # decimal digits, so that 0.07 is 7%
            return f"{percent.normalize():f}%"
        return "" if self.per_class is None else str(self.per_class)
