"""The gain from tuning: how much each method improved on its default configuration, and how fast.

A badly tuned subset must not pass for a bad loss. If the expected best still rises at the last trial, more trials would
have helped. All numbers here are objectives on validation data. These are optimistic for the configuration that they
chose; `reports.statistics.selection` measures by how much.

The expected best of n trials is the best objective of n out of all N trials, averaged over all choices of the n.
Dodge et al. (2019, Show Your Work, arXiv 1909.03004) introduced the curve. Tang et al. (2020, Showing Your Work Doesn't
Always Work, arXiv 2004.13705) showed that its plug-in estimator, which draws with replacement, is biased downwards.
They gave the unbiased U-statistic that is used here. With the objectives in ascending order, v_1 <= ... <= v_N,

    E_n = sum over i of  C(i-1, n-1) / C(N, n) * v_i,

since v_i is the best if the other n-1 trials are among the i-1 below it. The formula treats trials as exchangeable,
which holds only roughly if the sampler learns. The curve describes a search over the same trials in random order.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.statistics.searches import best_trial, default_value, full_trials, method_and_search
from sweeps.ledger import Record

__all__ = ["expected_best", "tuning"]

COLUMNS = ("sweep", "method", "search", "default", "best", "gain", "n_complete")
CURVE_COLUMNS = ("sweep", "method", "search", "n_trials", "expected", "default")


def tuning(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per sweep, searched method and search.

    ``default`` is the objective of the default configuration. ``best`` is the objective of the best of ``n_complete``
    full trials, and ``gain`` is ``best`` minus ``default``. They are NaN if there is no such trial.

    Args:
        ledgers: records of one or more sweeps.
    """
    rows = []
    for records in ledgers:
        for arm, trials in full_trials(records).items():
            default = default_value(trials)
            trial = best_trial(trials)
            best = math.nan if trial is None or trial.value is None else trial.value
            rows.append((records[0].sweep, *method_and_search(arm), default, best, best - default, len(trials)))
    return pd.DataFrame(rows, columns=COLUMNS)


def expected_best(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return the expected best objective of ``n_trials`` full trials, from one trial to all that a search has.

    Pruned and failed trials do not count. ``default`` repeats the objective of the default configuration.

    Args:
        ledgers: records of one or more sweeps.
    """
    rows = []
    for records in ledgers:
        for arm, trials in full_trials(records).items():
            values = np.sort([record.value for record in trials if record.value is not None])
            default = default_value(trials)
            rows += [
                (records[0].sweep, *method_and_search(arm), n, _expected_best(values, n), default)
                for n in range(1, len(values) + 1)
            ]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def _expected_best(values: npt.NDArray[np.float64], n: int) -> float:
    """Return E_n of values (N,) in ascending order.

    Binomials of thousands of trials overflow floating-point numbers. So each weight is the next higher one times their
    ratio, C(i-2, n-1) / C(i-1, n-1) = (i-n) / (i-1), from the largest down.
    """
    size = len(values)
    ranks = np.arange(size, n, -1)  # (N-n,): each i > n; the value below it has a weight, too
    weights = n / size * np.cumprod(np.concatenate([[1.0], (ranks - n) / (ranks - 1)]))  # (N-n+1,), from v_N down
    return float(weights @ values[n - 1 :][::-1])
