"""Published numbers, read from a CSV file, for comparison with measured ones."""

import math
from pathlib import Path

import pandas as pd

from reports.statistics.ablation import ReportError
from sweeps.ledger import ERROR_METRICS

__all__ = ["COLUMNS", "published"]

COLUMNS = ("dataset", "method", "metric", "value", "source")


def published(file: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Read a CSV file with the columns dataset, method, metric and value, and optionally source.

    Args:
        file: the file.
        table: the ablation table; the file may name only the table's datasets and metrics, but any method.

    Returns:
        A frame with the columns COLUMNS, its rows in the file's order.

    Raises:
        ReportError: the file has problems; the message has one line for each.
        OSError: the file cannot be read.
    """
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ReportError(f"--published {file}: not a CSV file: {' '.join(str(error).split())}.") from None
    if missing := [name for name in COLUMNS[:-1] if name not in frame.columns]:
        raise ReportError(
            f"--published {file}: no column {', '.join(missing)}; the first line must be {','.join(COLUMNS)}."
        )
    allowed = {name: list(dict.fromkeys(table[name])) for name in ("dataset", "metric")}
    problems = []
    for line, row in enumerate(frame.to_dict("records"), start=2):
        place = f"--published {file}, line {line}:"
        for name, values in allowed.items():
            if row[name] not in values:
                problems.append(f"{place} {name} {row[name]!r} is not in this report; use one of {', '.join(values)}.")
        if not row["method"]:
            problems.append(f"{place} method is empty; give the name of the method.")
        highest = math.inf if row["metric"] in ERROR_METRICS else 1
        if not 0 <= _number(row["value"]) <= highest:
            problems.append(f"{place} value {row['value']!r} must be a number from 0 to 1; divide percentages by 100.")
    if problems:
        raise ReportError("\n".join(problems))
    source = frame["source"] if "source" in frame.columns else ""
    return frame.assign(value=frame["value"].map(_number).astype(float), source=source)[list(COLUMNS)]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
