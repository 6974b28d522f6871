"""Paired tests of confirmed methods: which differences are settled, which are too small to matter, which are open.

Two methods are scored on the same samples, and with the same searches and confirmation seeds. So the test is a paired
one, of the difference for each seed (:mod:`reports.statistics.inference`). It covers searches, training and test
samples together.
"""

import gc
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from reports import EQUIVALENT
from reports.statistics.estimates import CONFIDENCE, Estimate
from reports.statistics.inference import Scores
from sweeps.ledger import BASELINES, method_of

__all__ = ["ALPHA", "COLUMNS", "holm", "pairs", "tied_with_best"]

ALPHA = 1 - CONFIDENCE
MOST = 100
"""The most additional seeds, or searches, that a verdict proposes."""
COLUMNS = (
    "dataset",
    "metric",
    "first",
    "second",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "family",
    "improvement",
    "verdict",
    "more_seeds",
    "more_searches",
    "seed_error",
    "search_error",
    "sample_error",
    "n_seeds",
    "n_searches",
)


def pairs(columns: Sequence[Scores], equivalent: float = EQUIVALENT) -> pd.DataFrame:
    """Return one row per (dataset, summary metric) and pair of confirmed methods on all of the sweep's modalities.

    ``difference`` is the first method's mean score minus the second's, over the ``n_seeds`` confirmation seeds of
    ``n_searches`` searches that both methods have. ``low..high`` is its 95 % interval, and ``p`` the p value of the
    two-sided test that it is 0, over searches, seeds and test samples together. ``seed_error``, ``search_error`` and
    ``sample_error`` are the parts of its standard error, as in :func:`reports.statistics.intervals.intervals`. With
    fewer than two common seeds, the interval and p are NaN.

    ``p_holm`` is corrected by Holm's method within a family, separately for every dataset and metric. The family
    ``subsets`` holds the pairs of two loss subsets (21 pairs if all seven were confirmed): the question of the
    ablation. The family ``baselines`` holds the pairs with a baseline. Two families keep additional baselines from
    weakening the tests of the ablation.

    ``improvement`` is the share of pairs of a run of the first method and a run of the second in which the first scores
    higher; equal scores count half (Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical
    Precipice). ``verdict`` is ``settled`` if p_holm is below 0.05, and ``equal`` if the interval lies within
    ``equivalent`` around 0. Otherwise it is ``open``, and ``more_seeds`` is the number of additional seeds of each
    search that would make it one of the two if all variances and the difference stay as they are. It is infinite if 100
    more would not. ``more_searches`` says the same of additional searches with as many seeds each. It is NaN for an
    open pair that was searched once, since nothing tells how much searches vary. If neither is finite, only more test
    samples can settle the pair.

    Args:
        columns: from :func:`reports.statistics.inference.confirmed_scores`.
        equivalent: the largest difference that does not matter.
    """
    tests = [(scores, first, second) for scores in columns for first, second in combinations(_compared(scores), 2)]
    estimates = [scores.contrast({first: 1.0, second: -1.0}) for scores, first, second in tests]
    rows = [row for test, estimate in zip(tests, estimates, strict=True) for row in _rows(*test, estimate)]
    names = [name for name in COLUMNS if name not in ("p_holm", "verdict", "more_seeds", "more_searches")]
    frame = pd.DataFrame(rows, columns=names)
    corrected = frame.groupby(["dataset", "metric", "family"])["p"].transform(holm)
    frame["p_holm"] = corrected
    verdicts = [
        _verdict(estimate, p_holm, equivalent)
        for estimate, p_holm in zip((e for by_metric in estimates for e in by_metric.values()), corrected, strict=True)
    ]
    frame["verdict"] = [verdict for verdict, *_ in verdicts]
    frame["more_seeds"] = np.array([more for _, more, _ in verdicts], float)
    frame["more_searches"] = np.array([more for *_, more in verdicts], float)
    return frame[list(COLUMNS)]


def tied_with_best(pairs: pd.DataFrame, table: pd.DataFrame) -> set[tuple[str, str, str]]:
    """Return (dataset, metric, method) of every method that is not significantly worse than the best of its column.

    The result holds neither the best method itself nor methods that were not tested against it.

    Args:
        pairs: from :func:`pairs`.
        table: the rows that the report shows, with the columns dataset, metric, method and mean.
    """
    ranked = table.dropna(subset="mean").sort_values("mean", ascending=False, kind="stable")
    methods: dict[tuple[str, str], list[str]] = {}  # best first
    for dataset, metric, method in ranked[["dataset", "metric", "method"]].astype(str).to_numpy().tolist():
        methods.setdefault((dataset, metric), []).append(method)
    ties = set()
    undecided = pairs.loc[pairs["p_holm"] >= ALPHA, ["dataset", "metric", "first", "second"]]
    for dataset, metric, *pair in undecided.astype(str).to_numpy().tolist():
        best, *rest = methods.get((dataset, metric), [""])
        if best in pair:
            ties |= {(dataset, metric, method) for method in pair if method in rest}
    return ties


def holm(p_values: "pd.Series[float]") -> "pd.Series[float]":
    """Correct the p values that exist by Holm's method; NaN stays NaN."""
    present = p_values.dropna()
    gc.freeze()  # multipletests collects garbage on each call, which is slow if the ledgers are large
    try:
        corrected = multipletests(present, method="holm")[1] if len(present) else []
    finally:
        gc.unfreeze()
    return pd.Series(corrected, present.index, dtype=float).reindex(p_values.index)


def _rows(scores: Scores, first: str, second: str, by_metric: dict[str, Estimate]) -> Iterator[tuple[object, ...]]:
    family = "baselines" if {first, second} & set(BASELINES) else "subsets"
    runs = [list(scores.by_seed(method).values()) for method in (first, second)]
    for k, (metric, estimate) in enumerate(by_metric.items()):
        values = [scores.scores[k, of_method] for of_method in runs]
        higher = np.sign(values[0][:, np.newaxis] - values[1]).mean()
        # Without a common seed, the difference is that of the means over all seeds of each.
        difference = estimate.value if estimate.n_seeds else values[0].mean() - values[1].mean()
        errors = (estimate.seed_error, estimate.search_error, estimate.sample_error)
        yield (
            scores.dataset, metric, first, second, float(difference), *estimate.interval(), estimate.p, family,
            float(1 + higher) / 2, *errors, estimate.n_seeds, estimate.n_searches,
        )  # fmt: skip


def _compared(scores: Scores) -> list[str]:
    """Return the methods on all of the sweep's modalities."""
    return [method for method in scores.methods if method_of(method) == method]


def _verdict(estimate: Estimate, p_holm: float, equivalent: float) -> tuple[str, float, float]:
    """Return the verdict on a difference, and the additional seeds and searches that would settle it."""
    if math.isnan(p_holm):
        return "open", math.nan, math.nan
    if p_holm < ALPHA:
        return "settled", 0, 0
    if _equal(estimate, equivalent):
        return "equal", 0, 0
    # Holm's correction multiplies the p value by a factor, which is taken to stay as it is.
    level = ALPHA * estimate.p / p_holm if estimate.p < p_holm < 1 else ALPHA
    more_seeds = _fewest(lambda more: _decided(estimate.more_seeds(more), level, equivalent))
    if estimate.n_searches < 2:
        return "open", more_seeds, math.nan
    return "open", more_seeds, _fewest(lambda more: _decided(estimate.more_searches(more), level, equivalent))


def _fewest(enough: Callable[[int], bool]) -> float:
    """Return the smallest number from 1 to MOST that is enough; infinity if none is."""
    numbers = range(1, MOST + 1)
    place = bisect_left(numbers, True, key=enough)
    return numbers[place] if place < len(numbers) else math.inf


def _decided(estimate: Estimate, level: float, equivalent: float) -> bool:
    return estimate.p < level or _equal(estimate, equivalent)


def _equal(estimate: Estimate, equivalent: float) -> bool:
    low, high = estimate.interval()
    return -equivalent < low and high < equivalent
