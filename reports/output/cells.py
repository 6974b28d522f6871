"""The contents of table cells: numbers as text, marks, and headings."""

import math
from collections.abc import Callable, Mapping

import pandas as pd

from reports.output.table import Cell, Mark
from reports.statistics.ablation import PlannedColumn
from sweeps.ledger import ERROR_METRICS

__all__ = [
    "SPREAD",
    "Sources",
    "budget_order",
    "decimals",
    "excludes_zero",
    "heading",
    "interval_texts",
    "marked_cells",
    "modality_names",
    "number",
    "p_value",
    "pivot",
    "plain",
    "probe_rows",
    "signed",
    "spread",
    "to_settle",
]

Sources = Mapping[tuple[str, str], tuple[str, ...]]
"""(dataset, method) of the ablation table -> keys of the confirmation records behind the cell."""

SPREAD = "mean ± standard deviation over confirmation runs (all seeds of all searches)"
"""What the cells of :func:`spread` are, for captions."""
_NAMES = {
    "nll": "NLL",
    "brier": "Brier score",
    "ece": "ECE",
    "balanced_accuracy": "balanced accuracy",
    "average_precision": "average precision",
}


def marked_cells(
    rows: pd.DataFrame,
    planned: Mapping[str, int],
    tied: set[tuple[str, str, str]],
    sources: Sources,
    by: str = "dataset",
) -> pd.DataFrame:
    """Make a cell of each row; return the columns dataset, method, metric and cell.

    Args:
        rows: rows of the ablation table's frame.
        planned: dataset -> planned confirmation seeds.
        tied: from :func:`reports.statistics.pairs.tied_with_best`.
        sources: records behind each cell.
        by: column of ``rows``; the best is marked among rows with the same value.
    """
    means = rows["mean"].where(~rows["metric"].isin(ERROR_METRICS), -rows["mean"])
    best = means.groupby(rows[by]).transform("max") == means
    cells = []
    for row, leads in zip(rows.to_dict("records"), best, strict=True):
        mark: Mark = "plain"
        if leads:
            mark = "best"
        elif (row["dataset"], row["metric"], row["method"]) in tied:
            mark = "tied"
        text = _score(row["mean"], row["std"], row["n_seeds"], planned[row["dataset"]])
        cells.append(Cell(text, mark, sources.get((row["dataset"], row["method"]), ())))
    return rows[["dataset", "method", "metric"]].assign(cell=pd.Series(cells, rows.index, dtype=object))


def pivot(cells: pd.DataFrame, columns: str) -> pd.DataFrame:
    """Arrange cells with a row per method and a column per dataset or metric, in the order of first appearance."""
    wide = cells.pivot_table(index="method", columns=columns, values="cell", aggfunc="first", sort=False)
    return wide.astype(object).where(wide.notna(), "not planned").rename_axis(columns=None)


def _score(mean: float, std: float, seeds: int, planned: int) -> str:
    """Format a score, with the number of its seeds if planned ones are missing."""
    if seeds == 0:
        return "no result"
    return spread(mean, std) if seeds == planned else f"{spread(mean, std)} ({seeds} of {planned} seeds)"


def spread(mean: float, std: float) -> str:
    """Format mean ± standard deviation, or the mean alone if there is one seed."""
    return number(mean) if math.isnan(std) else f"{mean:.3f} ± {std:.3f}"


def number(value: float) -> str:
    """Format with three decimals; NaN is a dash."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def signed(value: float) -> str:
    """Format with a sign and three decimals; NaN is a dash."""
    return "–" if math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def p_value(value: float) -> str:
    """Format with three decimals; a smaller value is ``< 0.001``, NaN is a dash."""
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval_texts(rows: pd.DataFrame, low: str, high: str, show: Callable[[float], str] = number) -> list[str]:
    """Format the interval of each row, such as ``0.1 to 0.2``, from the columns ``low`` and ``high``."""
    return [
        "–" if math.isnan(a) or math.isnan(b) else f"{show(a)} to {show(b)}"
        for a, b in zip(rows[low], rows[high], strict=True)
    ]


def excludes_zero(low: float, high: float) -> bool:
    """Return whether an interval excludes 0; an interval of NaN does not."""
    return low > 0 or high < 0


def to_settle(seeds: float, searches: float) -> str:
    """Say what would settle a pair, such as ``2 more seeds``; both numbers are 0 for one that is settled or equal."""
    choices = [
        f"{more:.0f} more {unit if more == 1 else plural}"
        for more, unit, plural in ((seeds, "seed", "seeds"), (searches, "search", "searches"))
        if math.isfinite(more) and more > 0
    ]
    if math.isinf(seeds) and not choices:
        return "more test samples"
    return " or ".join(choices) or "–"


def plain(value: object) -> str:
    """Format any value, a number with three digits or decimals; a missing value is a dash."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        text = f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.3g}"
        return text.replace("-", "−", 1) if value < 0 else text
    return str(value)


def decimals(value: object) -> str:
    """Format any value, a number with three decimals, so that the scores of a column compare."""
    return signed(value).removeprefix("+") if isinstance(value, float) else plain(value)


def probe_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose scores come from the sweeps' own probes, not from further instruments."""
    of_probe = [not PlannedColumn.named(str(name)).instrument for name in frame["dataset"]]
    return frame[pd.Series(of_probe, frame.index, dtype=bool)]


def heading(name: str) -> str:
    """Return the name of a metric, or of a column, as a heading."""
    return _NAMES.get(name, name.replace("_", " ").replace("f1", "F1"))


def modality_names(method: str) -> str:
    """Return the modalities that a method is restricted to, such as ``video-audio``, or ``all modalities``."""
    return method.partition("[")[2].rstrip("]") or "all modalities"


def budget_order(dataset: str) -> tuple[str, int, float]:
    """Return a sort key for the columns of a dataset: numbers per class, then fractions, then all labels."""
    name, _, labels = dataset.partition("@")
    if not labels:
        return name, 2, 0.0
    return name, int(labels.endswith("%")), float(labels.rstrip("%"))
