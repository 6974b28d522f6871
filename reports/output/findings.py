"""Findings as Markdown, as LaTeX, as JSON, and for a terminal."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import rich.table
from rich.text import Text

from conclugen.counts import counted
from reports.output.markup import latex_label, latex_text, markdown_text
from reports.statistics.findings import Finding
from reports.statistics.gaps import RowCounts

__all__ = ["document", "latex_findings", "markdown_findings", "terminal_findings"]

_RECORDS = 3
"""Records that Markdown names for each finding; JSON has all of them."""


def markdown_findings(findings: Sequence[Finding], further: Sequence[Finding]) -> str:
    """Return numbered sentences, each with a link to its table and the first of its records.

    Args:
        findings: the findings that open the report.
        further: all others.
    """
    lines = ["## What was found", "", *_markdown_items(findings), ""]
    if further:
        lines += ["## Further findings", "", *_markdown_items(further), ""]
    return "\n".join(lines)


def _markdown_items(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return ["Nothing: no method has a test score yet."]
    return [f"{n}. {markdown_text(finding.text)} ({_sources(finding)})" for n, finding in enumerate(findings, 1)]


def _sources(finding: Finding) -> str:
    link = f"[{markdown_text(finding.table)}]({finding.table}.md)"
    keys = [f"`{key}`" for key in finding.records[:_RECORDS]]
    if (more := len(finding.records) - len(keys)) > 0:
        keys.append(f"{more} more records")
    return ", ".join([link, *keys])


def latex_findings(findings: Sequence[Finding]) -> str:
    r"""Return the sentences as an ``itemize`` for a paper that includes the tables which they refer to."""
    items = [
        rf"  \item {latex_text(finding.text)} (Table~\ref{{{latex_label(finding.table)}}})" for finding in findings
    ]
    if not items:
        return "% No method has a test score yet.\n"
    return "\n".join([r"\begin{itemize}", *items, r"\end{itemize}", ""])


def terminal_findings(findings: Sequence[Finding], n_further: int) -> rich.table.Table:
    """Return the numbered sentences, and how many others findings.md has; the terminal wraps them to its width."""
    grid = rich.table.Table.grid(padding=(0, 1))
    grid.add_column(justify="right")
    grid.add_column()
    for number, finding in enumerate(findings, 1):
        grid.add_row(f"{number}.", Text(finding.text))
    if n_further:
        grid.add_row("", f"findings.md has {counted(n_further, 'more finding')}.")
    return grid


def document(
    findings: Sequence[Finding],
    further: Sequence[Finding],
    out: Path,
    files: Sequence[Path],
    *,
    complete: bool,
    rows: RowCounts = MappingProxyType({}),
) -> dict[str, Any]:
    """Return what ``conclugen report --json`` prints.

    Args:
        findings: the findings that open the report.
        further: all others.
        out: folder of the report.
        files: the report's files.
        complete: whether every planned result exists.
        rows: how many rows of sets with gaps have which modalities.
    """
    return {
        "complete": complete,
        "folder": str(out),
        "files": [file.name for file in files],
        "rows_by_modalities": dict(rows),
        "findings": [asdict(finding) for finding in findings],
        "further": [asdict(finding) for finding in further],
    }
