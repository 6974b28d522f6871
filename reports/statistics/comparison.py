"""Two sweeps of the same data side by side: what another space, budget, version or set of features changed."""

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
    """Return one row per (dataset, method, metric) that both sweeps have a test score of.

    ``difference`` is the second's mean minus the first's, ``ci_low..ci_high`` its 95 % Student-t interval: over the
    differences of runs with the same seed where both sweeps have the same seeds (``paired``), else Welch's; NaN with
    fewer than two seeds in either.

    Raises:
        ReportError: they have no score in common.
    """
    scores = _scores(first), _scores(second)
    rows = [_row(cell, scores[0][cell], scores[1][cell]) for cell in scores[0] if cell in scores[1]]
    if not rows:
        raise ReportError(
            "--compare: the two sweeps have no test score of the same dataset and method; compare sweeps whose "
            "features.downstream use the same names."
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _scores(records: Sequence[Record]) -> dict[_Cell, dict[int, float]]:
    """Test scores by cell and seed."""
    if not records:
        raise ReportError("--compare: a sweep has no finished attempt yet.")
    config, found = latest_config(records), dict[_Cell, dict[int, float]]()
    for name, column in planned_columns(records).items():
        for method, recorded in planned_methods(config, column).items():
            for record in records:
                if record.stage != "confirm" or record.method != recorded:
                    continue
                for m in record.metrics:
                    if m.split == "test" and PlannedColumn.of(m) == column:
                        found.setdefault((name, method, m.metric), {})[record.seed] = m.value
    return found


def _row(cell: _Cell, first: Mapping[int, float], second: Mapping[int, float]) -> tuple[object, ...]:
    paired = first.keys() == second.keys()
    seeds = list(first), list(first if paired else second)
    a, b = [first[seed] for seed in seeds[0]], [second[seed] for seed in seeds[1]]
    low = high = math.nan
    if min(len(a), len(b)) > 1:
        tested = stats.ttest_rel(b, a) if paired else stats.ttest_ind(b, a, equal_var=False)
        low, high = tested.confidence_interval(0.95)
    means = fmean(a), fmean(b)
    return (*cell, means[0], _std(a), len(a), means[1], _std(b), len(b), means[1] - means[0], low, high, paired)


def _std(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else math.nan
