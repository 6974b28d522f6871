"""A table of a report, apart from how it is written: `reports.render` turns it into files."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

__all__ = ["Cell", "Mark", "Table"]

Mark = Literal["plain", "best", "tied"]


@dataclass(frozen=True)
class Cell:
    """What one place of a table shows."""

    text: str
    mark: Mark = "plain"
    """``best`` of its column, shown bold; ``tied``, not significantly worse than the best, shown underlined."""
    records: tuple[str, ...] = ()
    """Keys of the ledger records that it was computed from."""


@dataclass(frozen=True)
class Table:
    """One table: every number for machines, and what people see."""

    name: str
    """Of its files, without suffix."""
    title: str
    caption: str
    """What the numbers are and how they were computed; plain text."""
    numbers: pd.DataFrame
    """Every number behind it, one value per cell; written to CSV and Parquet."""
    shown: pd.DataFrame
    """What Markdown, LaTeX and HTML show: values are Cell or str; column names are headings."""
