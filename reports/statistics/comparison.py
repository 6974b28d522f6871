"""The difference between two sweeps of the same data, such as two search spaces, budgets, versions or feature sets."""

import math
import warnings
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import pandas as pd
from scipy import stats

from reports.errors import ReportError
from reports.statistics.ablation import (
    PlannedColumn,
    latest_config,
    planned_columns,
    planned_methods,
    seed_statistics,
)
from reports.statistics.shared_sets import same_features
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
    If both sweeps have the same seeds on the same features, the interval is over the differences of runs with the same
    seed (``paired``). Otherwise it is Welch's. It is NaN if either sweep has fewer than two seeds.

    Raises:
        ReportError: the sweeps have no score in common.
    """
    first_scores = _scores(first)
    second_scores = _scores(second)
    common = [cell for cell in first_scores if cell in second_scores]
    if not common:
        raise ReportError(
            "--compare: the two sweeps have no test score of the same dataset and method; compare sweeps whose "
            "features.downstream use the same names."
        )
    names = dict.fromkeys(PlannedColumn.named(column).dataset for column, _, _ in common)
    same = {name: same_features(first, second, name) for name in names}
    rows = [
        _row(cell, first_scores[cell], second_scores[cell], same[PlannedColumn.named(cell[0]).dataset])
        for cell in common
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _scores(records: Sequence[Record]) -> dict[_Cell, dict[int, float]]:
    """Map each cell to its test scores by seed."""
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


def _row(
    cell: _Cell, first: Mapping[int, float], second: Mapping[int, float], same_features: bool
) -> tuple[object, ...]:
    paired = same_features and first.keys() == second.keys()
    a = list(first.values())
    b = [second[seed] for seed in (first if paired else second)]
    mean_a, mean_b = fmean(a), fmean(b)
    if paired:
        _, _, *interval, _ = seed_statistics([y - x for x, y in zip(a, b, strict=True)])
    else:
        interval = _welch(a, b)
    return (*cell, mean_a, _std(a), len(a), mean_b, _std(b), len(b), mean_b - mean_a, *interval, paired)


def _welch(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return Welch's 95 % interval of the second mean minus the first; NaN if either has fewer than two values."""
    if min(len(first), len(second)) < 2:
        return [math.nan, math.nan]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy doubts its digits if all seeds have the same score
        low, high = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    return [float(low), float(high)]


def _std(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else math.nan
