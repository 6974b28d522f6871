"""The difference between two sweeps of the same data, such as two search spaces, budgets, versions or feature sets."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import pandas as pd
from scipy import stats

from reports.statistics.ablation import PlannedColumn, ReportError, latest_config, planned_columns, planned_methods
from sweeps.ledger import Record

__all__ = ["COLUMNS", "comparison"]

COLUMNS = (
    "dataset",
    "method",
    "metric",
    "mean_first",
    "std_first",
    "n_first",
    "mean_second",
    "std_second",
    "n_second",
    "difference",
    "ci_low",
    "ci_high",
    "paired",
)
_Cell = tuple[str, str, str]  # dataset, method, metric


def comparison(first: Sequence[Record], second: Sequence[Record]) -> pd.DataFrame:
    """Return one row per (dataset, method, metric) with a test score in both sweeps.

    ``difference`` is the second sweep's mean minus the first's, and ``ci_low..ci_high`` its 95 % Student-t interval.
    If both sweeps have the same seeds, the interval is over the differences of runs with the same seed (``paired``).
    Otherwise it is Welch's. It is NaN if either sweep has fewer than two seeds.

    Raises:
        ReportError: a sweep has no record, or the sweeps have no score in common.
    """
    first_scores = _scores(first)
    second_scores = _scores(second)
    common = [cell for cell in first_scores if cell in second_scores]
    if not common:
        raise ReportError(
            "--compare: the two sweeps have no test score of the same dataset and method; compare sweeps whose "
            "features.downstream use the same names."
        )
    return pd.DataFrame([_row(cell, first_scores[cell], second_scores[cell]) for cell in common], columns=COLUMNS)


def _scores(records: Sequence[Record]) -> dict[_Cell, dict[int, float]]:
    """Map each cell to its test scores by seed."""
    if not records:
        raise ReportError("--compare: a sweep has no finished job yet.")
    config = latest_config(records)
    scores: dict[_Cell, dict[int, float]] = {}
    for name, column in planned_columns(records).items():
        for method, recorded in planned_methods(config, column).items():
            for record in records:
                if record.stage != "confirm" or record.method != recorded:
                    continue
                for m in record.metrics:
                    if m.split == "test" and PlannedColumn.of(m) == column:
                        scores.setdefault((name, method, m.metric), {})[record.seed] = m.value
    return scores


def _row(cell: _Cell, first: Mapping[int, float], second: Mapping[int, float]) -> tuple[object, ...]:
    paired = first.keys() == second.keys()
    a = list(first.values())
    b = [second[seed] for seed in (first if paired else second)]
    low = high = math.nan
    if min(len(a), len(b)) > 1:
        test = stats.ttest_rel(b, a) if paired else stats.ttest_ind(b, a, equal_var=False)
        low, high = test.confidence_interval(0.95)
    mean_a, mean_b = fmean(a), fmean(b)
    return (*cell, mean_a, _std(a), len(a), mean_b, _std(b), len(b), mean_b - mean_a, low, high, paired)


def _std(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else math.nan
