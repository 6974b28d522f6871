"""Published numbers, read from a CSV file, for comparison with measured ones."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from conclugen.files.tables import TableError, TextTable, read_table
from reports.errors import ReportError

__all__ = ["COLUMNS", "published"]

COLUMNS = ("dataset", "method", "metric", "value", "source")
_HIGHEST = {"nll": math.inf, "brier": 2.0}
"""Metric -> its largest value; 1 for others."""
_DECIMAL = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def published(file: Path, table: pd.DataFrame, encoding: str | None = None) -> pd.DataFrame:
    """Read a CSV file with the columns dataset, method, metric and value, and optionally source.

    Args:
        file: the file.
        table: the ablation table; the file may name only the table's datasets and metrics, but any method.
        encoding: the file's encoding; see :func:`conclugen.files.tables.read_table`.

    Returns:
        A frame with the columns COLUMNS, its rows in the file's order.

    Raises:
        ReportError: the file cannot be read, or has problems; the message has one line for each.
    """
    problems: list[str] = []
    try:
        rows = read_table(file, COLUMNS[:-1], problems, encoding=encoding)
    except TableError as error:
        raise ReportError("\n".join(map(_named, error.problems))) from None
    problems += _problems(rows, table)
    if not rows and not problems:
        problems.append(f"{file}: has no row below its header; give one for each published number.")
    if problems:
        raise ReportError("\n".join(map(_named, sorted(problems, key=_line))))
    return pd.DataFrame([{"source": "", **row} for _, row in rows], columns=COLUMNS).astype({"value": float})


def _problems(rows: TextTable, table: pd.DataFrame) -> Iterator[str]:
    if unknown := [name for name in rows.columns if name not in COLUMNS]:
        yield f"{rows.file}: has the unknown column {', '.join(unknown)}; columns are {', '.join(COLUMNS)}."
    allowed = {name: list(dict.fromkeys(table[name])) for name in ("dataset", "metric")}
    first_lines: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        place = f"{rows.file}: line {line}:"
        if list(row.values()) == list(rows.columns):
            yield f"{place} repeats the header; remove it."
            continue
        for name, values in allowed.items():
            if row[name] not in values:
                yield f"{place} {name} {row[name]!r} is not in this report; use one of {', '.join(values)}."
        if not row["method"]:
            yield f"{place} method is empty; give the name of the method."
        if (problem := _value_problem(row["metric"], row["value"])) is not None:
            yield f"{place} value {row['value']!r} {problem}"
        first = first_lines.setdefault(tuple(row.get(name, "") for name in COLUMNS if name != "value"), line)
        if first != line:
            yield f"{place} gives the number of line {first} again; keep one of them, or name its source."


def _value_problem(metric: str, text: str) -> str | None:
    """Return why a text is no value of a metric, and how to mend it; None if it is one."""
    highest = _HIGHEST.get(metric, 1.0)
    rule = "must be a number from 0 on" if math.isinf(highest) else f"must be a number from 0 to {highest:g}"
    if _DECIMAL.fullmatch(text) and 0 <= float(text) <= highest:
        return None
    if re.fullmatch(r"\d*,\d+", text):
        return f"{rule}; write {text.replace(',', '.')}, with a point."
    percentage = text.removesuffix("%").rstrip()
    if highest == 1 and _DECIMAL.fullmatch(percentage) and 0 <= float(percentage) <= 100:
        return f"{rule}; divide percentages by 100: {float(percentage) / 100:.6g}."
    return f"{rule}."


def _named(problem: str) -> str:
    """Return a problem behind the option that it is about."""
    return problem if problem.startswith("--encoding ") else f"--published {problem}"


def _line(problem: str) -> int:
    """Return the number of the line that a problem is about; problems of the whole file come first."""
    match = re.search(r": line (\d+): ", problem)
    return int(match[1]) if match else 0
