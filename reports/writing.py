"""Writes the files of a report.

Every table is written as CSV, Parquet, Markdown and LaTeX under its name, and every figure as SVG, PDF
and PNG. `index.html` shows everything on one page, and `tables.tex` is a document that inputs the LaTeX tables.
`findings.md` and `findings.tex` say in sentences what was found.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from conclugen.files.durable import write_whole
from reports.contents import PlannedFigure, Report
from reports.figures.style import drawn, write_figure
from reports.folder import replaced_report
from reports.output.findings import latex_findings, markdown_findings
from reports.output.markup import write_table
from reports.output.page import PageFigure, Section, page
from reports.output.table import Table
from reports.processes import ALONE, Processes

__all__ = ["write_report"]

_MAX_DOWNLOAD = 64_000  # bytes; the page contains CSV files up to this size, and links to larger ones


def write_report(content: Report, out: Path, processes: Processes = ALONE) -> list[Path]:
    """Write all files of a report in place of the earlier report's; return their paths, ``index.html`` first.

    Args:
        content: the report.
        out: folder of the files; it is created if missing.
        processes: processes that share the files.

    Raises:
        ReportError: the folder holds a file of the same name that is not of a report.
        OSError: a file cannot be written; the earlier report stays.
    """
    with replaced_report(out) as folder:
        names = [path.name for path in _write_files(content, folder, processes)]
    return [out / name for name in names]


def _write_files(content: Report, out: Path, processes: Processes) -> list[Path]:
    drawings = [figure for part in content.parts for figure in part.figures]
    tables = [table for part in content.parts for table in part.tables]
    written = processes.map(partial(_write, out), [*drawings, *tables])  # figures first, as they take longest
    files = [file for files, _ in written for file in files]
    interactive = dict(zip((figure.name for figure in drawings), (shown for _, shown in written), strict=False))
    sections = []
    for part in content.parts:
        shown = [
            PageFigure(figure.name, figure.caption, specification)
            for figure in part.figures
            if (specification := interactive[figure.name]) is not None  # the others are in files only
        ]
        sections.append(Section(part.title, part.text, part.tables, shown))
    for name, frame in content.frames.items():
        files += _write_frame(frame, name, out)
    downloads: dict[str, bytes | str] = {}
    for file in files:
        small = file.suffix == ".csv" and file.stat().st_size <= _MAX_DOWNLOAD
        downloads[file.name] = file.read_bytes() if small else file.name
    document = out / "tables.tex"
    write_whole(document, _document(tables).encode())
    findings = {
        "findings.md": markdown_findings(content.findings, content.further),
        "findings.tex": latex_findings(content.findings),
    }
    for name, text in findings.items():
        write_whole(out / name, text.encode())
        files.append(out / name)
    index = out / "index.html"
    text = page(
        content.title, sections, content.provenance, downloads, content.findings, content.further, content.labels
    )
    write_whole(index, text.encode())
    return [index, document, *files]


def _write(out: Path, item: PlannedFigure | Table) -> tuple[list[Path], dict[str, Any] | None]:
    """Write the files of a table or figure; return their paths, and the specification of an interactive figure."""
    if isinstance(item, Table):
        return write_table(item, out), None
    drawing = drawn(item.draw)
    return write_figure(drawing, item.name, out), drawing.interactive


def _document(tables: Sequence[Table]) -> str:
    """Return a LaTeX document with the findings and all tables."""
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[a4paper,margin=2cm]{geometry}",
            r"\usepackage{booktabs,graphicx}",
            r"\extrafloats{1000}\maxdeadcycles=1000",  # without text between tables, all may wait for the end
            r"\begin{document}",
            r"\input{findings}",
            *(rf"\input{{{table.name}}}" for table in tables),
            r"\end{document}",
            "",
        ]
    )


def _write_frame(frame: pd.DataFrame, name: str, out: Path) -> list[Path]:
    csv = out / f"{name}.csv"
    parquet = out / f"{name}.parquet"
    write_whole(csv, frame.to_csv(index=False, float_format="%.10g").encode())
    write_whole(parquet, frame.to_parquet(index=False))
    return [csv, parquet]
