"""How well the search's objective ranked what was confirmed: is the configuration that won a search good on test?

For every column of the ablation table, the objective of each searched method (its best trial's, on validation) is set
against the test score that its configuration then got, averaged over confirmation seeds. A rank correlation near 1 says
that the search optimised what counts there; the mean difference says how much of the objective was luck in choosing.
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

COLUMNS = ("dataset", "metric", "n_methods", "spearman", "kendall", "objective", "test", "difference")
_FEWEST = 3  # methods that a rank correlation can be computed for and mean anything


def ranking(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per column of the ablation table in which methods were searched and confirmed.

    ``objective`` is the mean over those methods of their best full-budget trial's validation objective, ``test`` that
    of their test scores in the objective's metric, ``difference`` the first minus the second. Correlations of fewer
    than 3 methods, or of scores that are all equal, are NaN.

    Args:
        ledgers: of one or more sweeps.
    """
    return pd.DataFrame([row for records in ledgers for row in _rows(records)], columns=COLUMNS)


def _rows(records: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    metric = latest_config(records)["objective"]["metric"]
    for column, methods in confirmed_columns(records):
        if pairs := [(one.best, fmean(one.test)) for one in methods]:
            objective, test = (fmean(values) for values in zip(*pairs, strict=True))
            yield column, metric, len(pairs), *_correlations(pairs), objective, test, objective - test


def _correlations(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Spearman's and Kendall's."""
    first, second = zip(*pairs, strict=True)
    if len(pairs) < _FEWEST or len(set(first)) == 1 or len(set(second)) == 1:
        return math.nan, math.nan
    return float(stats.spearmanr(first, second).statistic), float(stats.kendalltau(first, second).statistic)
