"""Published numbers, read from a CSV file, for comparison with measured ones.

The file has one form, and a spreadsheet writes others. pandas reads some of them as something else: it shifts all
columns by one if every row ends in a comma, and counts lines without the blank ones. So the rows come from Python's csv
module, and every other form is refused with its line.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from reports.statistics.ablation import ReportError

__all__ = ["COLUMNS", "published"]

COLUMNS = ("dataset", "method", "metric", "value", "source")
_HIGHEST = {"nll": math.inf, "brier": 2.0}
"""Metric -> its largest value; 1 for others."""
_DECIMAL = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def published(file: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Read a CSV file with the columns dataset, method, metric and value, and optionally source.

    Blank lines, and empty cells after the last column, mean nothing.

    Args:
        file: the file, in UTF-8, with commas between cells and points in numbers.
        table: the ablation table; the file may name only the table's datasets and metrics, but any method.

    Returns:
        A frame with the columns COLUMNS, its rows in the file's order.

    Raises:
        ReportError: the file cannot be read, or has problems; the message has one line for each.
    """
    problems: list[str] = []
    allowed = {name: list(dict.fromkeys(table[name])) for name in ("dataset", "metric")}
    rows: list[dict[str, str]] = []
    first_lines: dict[tuple[str, ...], int] = {}
    for line, row in _rows(file, problems):
        rows.append(row)
        place = f"--published {file}, line {line}:"
        for name, values in allowed.items():
            if row[name] not in values:
                problems.append(f"{place} {name} {row[name]!r} is not in this report; use one of {', '.join(values)}.")
        if not row["method"]:
            problems.append(f"{place} method is empty; give the name of the method.")
        if (problem := _value_problem(row["metric"], row["value"])) is not None:
            problems.append(f"{place} value {row['value']!r} {problem}")
        first = first_lines.setdefault(tuple(row[name] for name in COLUMNS if name != "value"), line)
        if first != line:
            problems.append(f"{place} gives the number of line {first} again; keep one of them, or name its source.")
    if not rows and not problems:
        problems.append(f"--published {file}: has no row below its first line; give one for each published number.")
    if problems:
        raise ReportError("\n".join(problems))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"value": float})


def _rows(file: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row with the number of its first line in the file; append other problems of form to ``problems``."""
    reader = csv.reader(io.StringIO(_text(file, problems), newline=""), strict=True, skipinitialspace=True)
    names: list[str] | None = None
    begin = 1
    while True:
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            break
        except csv.Error as error:
            problems.append(f"--published {file}, line {begin}: is not CSV: {error}; mend its quotes.")
            return
        line, begin = begin, reader.line_num + 1
        if not any(cells):
            continue
        if names is None:
            names = _without_empty_end(cells)
            if header_problems := list(_header_problems(names)):
                problems += [f"--published {file}, line {line}: {problem}" for problem in header_problems]
                return
        elif len(row := _without_empty_end(cells)) > len(names):
            problems.append(
                f"--published {file}, line {line}: has {len(row)} cells below {len(names)} columns; put quotes around "
                "a text or number that contains a comma."
            )
        elif row == names:
            problems.append(f"--published {file}, line {line}: repeats the first line; remove it.")
        else:
            yield line, dict.fromkeys(COLUMNS, "") | dict(zip(names, row, strict=False))
    if names is None and not problems:
        problems.append(f"--published {file}: is empty; the first line must be {','.join(COLUMNS)}.")


def _text(file: Path, problems: list[str]) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        problems.append(f"--published {file}: cannot be read: {error.strerror}; give a CSV file.")
        return ""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problems.append(f"--published {file}, line {line}: is not UTF-8; save the file as CSV in UTF-8.")
        return ""


def _without_empty_end(cells: Sequence[str]) -> list[str]:
    return list(cells[: max((number for number, cell in enumerate(cells, 1) if cell), default=0)])


def _header_problems(names: Sequence[str]) -> Iterator[str]:
    expected = f"the first line must be {','.join(COLUMNS)}"
    for letter, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and letter in names[0]:
            yield f"separates cells by {word}; save the file with commas, and with points in numbers."
            return
    if missing := [name for name in COLUMNS[:-1] if name not in names]:
        yield f"no column {', '.join(missing)}; {expected}."
    if unknown := [name for name in dict.fromkeys(names) if name not in COLUMNS]:
        yield f"unknown column {', '.join(map(repr, unknown))}; {expected}."
    for name in COLUMNS:
        if names.count(name) > 1:
            yield f"column {name} is given {names.count(name)} times; keep one."


def _value_problem(metric: str, text: str) -> str | None:
    """Return why a text is no value of a metric, and how to mend it; None if it is one."""
    highest = _HIGHEST.get(metric, 1.0)
    allowed = "from 0 on" if math.isinf(highest) else f"from 0 to {highest:g}"
    rule = f"must be a number {allowed}"
    if _DECIMAL.fullmatch(text) and 0 <= float(text) <= highest:
        return None
    if re.fullmatch(r"\d*,\d+", text):
        return f"{rule}; write {text.replace(',', '.')}, with a point."
    percentage = text.removesuffix("%").rstrip()
    if highest == 1 and _DECIMAL.fullmatch(percentage) and 0 <= float(percentage) <= 100:
        return f"{rule}; divide percentages by 100: {float(percentage) / 100:.6g}."
    return f"{rule}."
