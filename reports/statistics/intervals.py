"""How sure the numbers of the ablation table are, in two ways that answer two questions.

The interval over seeds says how far another confirmation seed (initial weights, data order, label draws) may move a
score; that over samples, how far another test set of this size may. They are not combined into one: a reader who
compares methods on this test set needs the first, one who compares them for other data the second.
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

    ``seed_low..seed_high`` is the 95 % Student-t interval over ``n_seeds`` confirmation seeds, NaN for a single one;
    ``sample_low..sample_high`` the 95 % percentile bootstrap over the ``n_samples`` test samples of all folds. Methods
    without predictions have no row.

    Args:
        ledgers: of one or more sweeps.
        resamples: of the bootstrap.
        processes: which divide the columns among them.

    Raises:
        ReportError: runs were not tested on the same samples.
    """
    tested = [column for records in ledgers for column in columns(records)]
    resampled = bootstraps(tested, resamples, processes)
    return pd.DataFrame([row for one in zip(tested, resampled, strict=True) for row in _rows(*one)], columns=COLUMNS)


def _rows(column: Column, resampled: Numbers) -> Iterator[tuple[object, ...]]:
    scores = column.scores()  # [3, R]
    bounds = np.percentile(resampled, [2.5, 97.5], axis=-1)  # [2, M, 3]
    for method, low, high in zip(column.methods, *bounds, strict=True):
        seeds = np.array([run.seed if run.method == method else -1 for run in column.runs])
        by_seed = [scores[:, seeds == seed].mean(axis=1) for seed in np.unique(seeds[seeds >= 0])]
        for place, metric in enumerate(SUMMARY_METRICS):
            mean, _, *over_seeds, n_seeds = seed_statistics([float(values[place]) for values in by_seed])
            over_samples = (float(low[place]), float(high[place]))
            yield column.dataset, method, metric, mean, *over_seeds, *over_samples, n_seeds, column.n_samples
