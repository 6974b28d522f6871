"""How many labels a probe may use: so many per class, a share of the training samples, or all of them.

Papers use either: "5 labels per class" and "10 % of the labels". A budget has one spelling, which configurations are
written in, records are stored under and seeds are derived from. Loads no torch, so that configurations can be checked
without it.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

__all__ = ["LabelBudget"]

_ALLOWED = "a number of labels per class from 1 on, a percentage between 0% and 100% such as '10%', or null for all"
_PERCENTAGE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")


@dataclass(frozen=True)
class LabelBudget:
    """A label budget; the default is all labels.

    Attributes:
        per_class: labelled samples per class, at least 1.
        fraction: share of the training samples that are labelled, between 0 and 1.

    Raises:
        ValueError: both are given, or one is out of its range.
    """

    per_class: int | None = None
    fraction: float | None = None

    def __post_init__(self) -> None:
        if self.per_class is not None and self.fraction is not None:
            raise ValueError(f"a label budget is per class or a fraction, not both: {self.per_class}, {self.fraction}.")
        if self.per_class is not None and self.per_class < 1:
            raise ValueError(f"label budget: expected {_ALLOWED}; got {self.per_class} per class.")
        if self.fraction is not None and not 0 < self.fraction < 1:
            raise ValueError(f"label budget: expected {_ALLOWED}; got the fraction {self.fraction}.")

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a budget from a configuration or from its own text.

        Args:
            value: ``5`` or ``"5"`` for labels per class, ``"10%"`` for a share, None or ``""`` for all.

        Raises:
            ValueError: it is none of these.
        """
        if value is None:
            return cls()
        if isinstance(value, cls):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return cls(per_class=value)
        if isinstance(value, str):
            text = value.strip()
            if not text:
                return cls()
            if text.isascii() and text.isdigit():
                return cls(per_class=int(text))
            if percentage := _PERCENTAGE.fullmatch(text):
                return cls(fraction=float(Decimal(percentage[1]).scaleb(-2)))
        raise ValueError(f"label budget: expected {_ALLOWED}; got {value!r}.")

    def __str__(self) -> str:
        """Return the text that :meth:`parse` reads: ``"5"``, ``"10%"``, or ``""`` for all."""
        if self.fraction is not None:
            percent = Decimal(repr(self.fraction)).scaleb(2)  # decimal digits, so that 0.07 is 7%
            return f"{percent.normalize():f}%"
        return "" if self.per_class is None else str(self.per_class)
