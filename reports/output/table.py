"""A table of a report; `reports.output.markup` writes it as files and HTML."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

__all__ = ["Cell", "Mark", "Table"]

Mark = Literal["plain", "best", "tied"]
"""``best``: the best of its column, bold. ``tied``: not significantly worse than the best, underlined."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table, as people see it."""

    text: str
    mark: Mark = "plain"
    records: tuple[str, ...] = ()
    """Keys of the ledger records behind the text."""


@dataclass(frozen=True)
class Table:
    """One table, with all its numbers for programs and its cells for people."""

    name: str
    """Name of its files, without suffix."""
    title: str
    caption: str
    """Meaning and computation of the numbers; plain text."""
    numbers: pd.DataFrame
    """All numbers, one value per cell; CSV and Parquet files hold them."""
    shown: pd.DataFrame
    """The cells of Markdown, LaTeX and HTML, each a Cell or str; column names are headings."""
    choices: pd.DataFrame | None = None
    """The reader's choice that shows each row of ``shown``: columns dataset, labels and metric, from
    :func:`reports.output.choice.choices_of`. An empty text means any choice. None: every row is always shown."""
