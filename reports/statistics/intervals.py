"""Intervals for the numbers of the ablation table: two kinds, which answer two questions.

The interval over seeds says how far another confirmation seed (initial weights, data order, label draws) may change a
score. The interval over samples says how far another test set of the same size may change it. The two are not combined.
A comparison of methods on this test set needs the first; a comparison for other data needs the second.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from reports.processes import ALONE, Processes
from reports.statistics.ablation import seed_statistics
from reports.statistics.resampling import RESAMPLES, Column, Numbers, bootstraps, columns
from sweeps.ledger import SUMMARY_METRICS, Record

__all__ = ["COLUMNS", "intervals"]

COLUMNS = (
    "dataset",
    "method",
    "metric",
    "mean",
    "seed_low",
    "seed_high",
    "sample_low",
    "sample_high",
    "n_seeds",
    "n_samples",
)


def intervals(
    ledgers: Sequence[Sequence[Record]], resamples: int = RESAMPLES, processes: Processes = ALONE
) -> pd.DataFrame:
    """Return one row per (dataset, confirmed method, summary metric).

    ``seed_low..seed_high`` is the 95 % Student-t interval over ``n_seeds`` confirmation seeds; it is NaN for a single
    seed. ``sample_low..sample_high`` is the 95 % percentile bootstrap interval over the ``n_samples`` test samples of
    all folds. Methods without predictions have no row.

    Args:
        ledgers: records of one or more sweeps.
        resamples: number of bootstrap resamples.
        processes: processes that share the columns.

    Raises:
        ReportError: runs were not tested on the same samples.
    """
    tested = [column for records in ledgers for column in columns(records)]
    scores = bootstraps(tested, resamples, processes)
    rows = [row for column, resampled in zip(tested, scores, strict=True) for row in _rows(column, resampled)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(column: Column, resampled: Numbers) -> Iterator[tuple[object, ...]]:
    scores = column.scores()  # [3, R]
    bounds = np.percentile(resampled, [2.5, 97.5], axis=-1)  # [2, M, 3]
    for method, low, high in zip(column.methods, *bounds, strict=True):
        seeds = np.array([run.seed if run.method == method else -1 for run in column.runs])
        by_seed = [scores[:, seeds == seed].mean(axis=1) for seed in np.unique(seeds[seeds >= 0])]
        for index, metric in enumerate(SUMMARY_METRICS):
            mean, _, *over_seeds, n_seeds = seed_statistics([float(values[index]) for values in by_seed])
            over_samples = (float(low[index]), float(high[index]))
            yield column.dataset, method, metric, mean, *over_seeds, *over_samples, n_seeds, column.n_samples
