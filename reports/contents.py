"""The contents of a report, before any file is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from reports.figures.style import Drawing
from reports.output.choice import ALL
from reports.output.page import Provenance
from reports.output.table import Table
from reports.statistics.findings import Finding
from reports.statistics.gaps import RowCounts

__all__ = ["Part", "PlannedFigure", "Report"]


@dataclass(frozen=True)
class PlannedFigure:
    """A figure of the report, which is drawn when its files are written."""

    name: str
    caption: str
    """The caption, which is also the text alternative for people who cannot see the figure."""
    draw: Callable[[], Drawing]
    """Draws the figure: a partial of a function of a module, so that another process can run it."""


@dataclass(frozen=True)
class Part:
    """A section of the report."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[PlannedFigure] = ()


@dataclass(frozen=True)
class Report:
    """The contents of a report, before any file is written."""

    title: str
    parts: Sequence[Part]
    provenance: Provenance
    main: Sequence[Table]
    """The tables that a terminal shows."""
    complete: bool = True
    """True if every planned cell has a result."""
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Numbers that only figures show: name -> frame."""
    findings: Sequence[Finding] = ()
    """The sentences that open the report, at most ten, in the order of `reports.statistics.findings`."""
    further: Sequence[Finding] = ()
    """All other findings."""
    labels: str = ALL
    """The label budget that the page shows first."""
    rows: RowCounts = field(default_factory=dict)
    """How many rows of sets with gaps have which modalities."""
