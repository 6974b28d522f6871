"""What tuning was worth: how much each method gained over its default configuration, and how fast.

A badly tuned subset is not to be mistaken for a bad loss: one whose expected best still rises at its last trial would
have gained from more of them. Everything here is the objective, on validation data; that it is optimistic for whatever
was chosen by it is what `reports.statistics.selection` measures.

The expected best of n trials is the mean, over all ways to take n of the N trials that there are, of the best one's
objective (Dodge et al. 2019, Show Your Work, arXiv 1909.03004, introduced the curve; Tang et al. 2020, Showing Your
Work Doesn't Always Work, arXiv 2004.13705, showed that its plug-in estimator, which draws with replacement, is biased
downwards, and gave this one, a U-statistic, which is not). With v_1 <= ... <= v_N in order,

    E_n = sum over i of  C(i-1, n-1) / C(N, n) * v_i,

as v_i is the best where the other n-1 are among the i-1 below it. The trials are taken as exchangeable, which a sampler
that learns makes them only roughly: the curve says how a search in random order would have gone.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.statistics.searches import best_trial, default_value, full_trials
from sweeps.ledger import Record

__all__ = ["expected_best", "tuning"]

COLUMNS = ("sweep", "method", "default", "best", "gain", "n_complete")
CURVE_COLUMNS = ("sweep", "method", "n_trials", "expected", "default")


def tuning(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per sweep and searched method.

    ``default`` is the objective of the default configuration, ``best`` that of the best of ``n_complete`` full trials,
    ``gain`` their difference; NaN where there is no such trial.

    Args:
        ledgers: of one or more sweeps.
    """
    rows = []
    for records in ledgers:
        for method, trials in full_trials(records).items():
            found, default = best_trial(trials), default_value(trials)
            best = math.nan if found is None or found.value is None else found.value
            rows.append((records[0].sweep, method, default, best, best - default, len(trials)))
    return pd.DataFrame(rows, columns=COLUMNS)


def expected_best(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return the expected best objective of ``n_trials`` full trials, for every number that a method has.

    Pruned and failed trials are not among them. ``default`` repeats the objective of the default configuration.

    Args:
        ledgers: of one or more sweeps.
    """
    rows = []
    for records in ledgers:
        for method, trials in full_trials(records).items():
            values = np.sort([record.value for record in trials if record.value is not None])
            default = default_value(trials)
            rows += [
                (records[0].sweep, method, n, _expected_best(values, n), default) for n in range(1, len(values) + 1)
            ]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def _expected_best(values: npt.NDArray[np.float64], n: int) -> float:
    """E_n of values (N,) in ascending order.

    Weights come by their ratios from the largest down, C(i-2, n-1) / C(i-1, n-1) = (i-n) / (i-1): binomials of
    thousands of trials are no floating-point numbers.
    """
    size = len(values)
    places = np.arange(size, n, -1)  # (N-n,): i of those that have a next lower one with a weight
    weights = n / size * np.cumprod(np.concatenate([[1.0], (places - n) / (places - 1)]))  # (N-n+1,), from v_N down
    return float(weights @ values[n - 1 :][::-1])
