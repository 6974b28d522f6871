"""What a place of a table shows: numbers as text, marks, and the words that headings are made of."""

import math
from collections.abc import Callable, Mapping

import pandas as pd

from reports.output.table import Cell, Mark
from reports.statistics.ablation import PlannedColumn
from sweeps.ledger import ERROR_METRICS

__all__ = [
    "Sources",
    "budget",
    "by_probe",
    "intervals",
    "keys",
    "marked",
    "modalities",
    "number",
    "p_value",
    "pivot",
    "plain",
    "signed",
    "spread",
    "words",
]

Sources = Mapping[tuple[str, str], tuple[str, ...]]
"""(dataset, method) as the ablation table has them -> keys of the confirmation records behind the cell."""

_NAMES = {
    "nll": "NLL",
    "brier": "Brier score",
    "ece": "ECE",
    "balanced_accuracy": "balanced accuracy",
    "average_precision": "average precision",
}


def marked(
    rows: pd.DataFrame,
    planned: Mapping[str, int],
    tied: set[tuple[str, str, str]],
    found: Sources,
    by: str = "dataset",
) -> pd.DataFrame:
    """The columns dataset, method, metric and cell; the best is looked for among the rows with the same ``by``."""
    means = rows["mean"].where(~rows["metric"].isin(ERROR_METRICS), -rows["mean"])
    best = means.groupby(rows[by]).transform("max") == means
    cells = []
    for row, leads in zip(rows.to_dict("records"), best, strict=True):
        mark: Mark = "plain"
        if leads:
            mark = "best"
        elif (row["dataset"], row["metric"], row["method"]) in tied:
            mark = "tied"
        text = result(row["mean"], row["std"], row["n_seeds"], planned[row["dataset"]])
        cells.append(Cell(text, mark, found.get((row["dataset"], row["method"]), ())))
    return rows[["dataset", "method", "metric"]].assign(cell=pd.Series(cells, rows.index, dtype=object))


def pivot(marked: pd.DataFrame, columns: str) -> pd.DataFrame:
    """A row per method, a column per dataset or metric, in the order of their first appearance."""
    wide = marked.pivot_table(index="method", columns=columns, values="cell", aggfunc="first", sort=False)
    return wide.astype(object).where(wide.notna(), "not planned").rename_axis(columns=None)


def result(mean: float, std: float, seeds: int, planned: int) -> str:
    if seeds == 0:
        return "no result"
    return spread(mean, std) if seeds == planned else f"{spread(mean, std)} ({seeds} of {planned} seeds)"


def spread(mean: float, std: float) -> str:
    """Mean ± standard deviation, or the mean where there is one seed."""
    return number(mean) if math.isnan(std) else f"{mean:.3f} ± {std:.3f}"


def number(value: float) -> str:
    """Three decimals; a dash for nothing."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def signed(value: float) -> str:
    """Three decimals with a sign."""
    return "–" if math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def p_value(value: float) -> str:
    """Three decimals, and no smaller than that."""
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def intervals(rows: pd.DataFrame, low: str, high: str, show: Callable[[float], str] = number) -> list[str]:
    """An interval for each row, in words."""
    return [
        "–" if math.isnan(a) or math.isnan(b) else f"{show(a)} to {show(b)}"
        for a, b in zip(rows[low], rows[high], strict=True)
    ]


def plain(value: object) -> str:
    """A value as it is, rounded."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        text = f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.3g}"
        return text.replace("-", "−", 1) if value < 0 else text
    return str(value)


def keys(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The (dataset, method, metric) of each row."""
    return list(frame[["dataset", "method", "metric"]].itertuples(index=False, name=None))


def by_probe(frame: pd.DataFrame) -> pd.DataFrame:
    """What the sweeps' own probes read."""
    own = [not PlannedColumn.named(str(name)).instrument for name in frame["dataset"]]
    return frame[pd.Series(own, frame.index, dtype=bool)]


def words(name: str) -> str:
    """The name of a metric, or of a column, as a heading has it."""
    return _NAMES.get(name, name.replace("_", " ").replace("f1", "F1"))


def modalities(method: str) -> str:
    """Those that a method is restricted to, in words."""
    return method.partition("[")[2].rstrip("]") or "all modalities"


def budget(dataset: str) -> tuple[str, int, float]:
    """Sorts the columns of a dataset: numbers per class, shares, all labels."""
    name, _, labels = dataset.partition("@")
    if not labels:
        return name, 2, 0.0
    return name, int(labels.endswith("%")), float(labels.rstrip("%"))
