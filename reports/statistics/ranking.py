"""How well the search's objective ranks methods by their test scores.

For every column of the ablation table, each searched method gives two numbers: the validation objective of the trial
that won its search, and the mean test score of that configuration over confirmation seeds. A rank correlation near 1
says that the search optimised what counts in this column. The mean difference says how optimistic the objective was.
If methods were searched several times, each round of searches has a row of its own.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

import pandas as pd
from scipy import stats

from reports.statistics.ablation import latest_config
from reports.statistics.searches import confirmed_columns
from sweeps.ledger import Record

__all__ = ["ranking"]

COLUMNS = ("dataset", "search", "metric", "n_methods", "spearman", "kendall", "objective", "test", "difference")
_MIN_METHODS = 3  # fewer have no meaningful rank correlation


def ranking(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per column of the ablation table and round of searches with confirmed winners.

    ``objective`` is the mean validation objective of the trials that won. ``test`` is the mean of their
    test scores in the objective's metric, and ``difference`` is ``objective`` minus ``test``. Correlations are NaN for
    fewer than 3 methods, and for scores that are all equal.

    Args:
        ledgers: records of one or more sweeps.
    """
    return pd.DataFrame([row for records in ledgers for row in _rows(records)], columns=COLUMNS)


def _rows(records: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    metric = latest_config(records)["objective"]["metric"]
    for column, confirmed in confirmed_columns(records):
        for search in sorted({arm.search for arm in confirmed}):
            pairs = [(arm.objective, fmean(arm.test)) for arm in confirmed if arm.search == search]
            objective, test = (fmean(values) for values in zip(*pairs, strict=True))
            yield column, search, metric, len(pairs), *_correlations(pairs), objective, test, objective - test


def _correlations(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return Spearman's and Kendall's rank correlation."""
    first, second = zip(*pairs, strict=True)
    if len(pairs) < _MIN_METHODS or len(set(first)) == 1 or len(set(second)) == 1:
        return math.nan, math.nan
    return float(stats.spearmanr(first, second).statistic), float(stats.kendalltau(first, second).statistic)
