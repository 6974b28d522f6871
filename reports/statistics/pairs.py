"""Paired tests of confirmed methods: which differences are more than chance in the test samples.

Two methods are scored on the same samples, so the test is a paired one: approximate randomisation (Noreen 1989, Yeh
2000). Under the null hypothesis both methods are alike. Exchanging their outputs for a random half of the samples then
often gives a score difference as large as the observed one. McNemar's test was rejected because it tests accuracy only.
A t test over seeds was rejected because it has 3 to 5 values and takes the test set as fixed.

A sample's outputs are exchanged in all seeds and label draws at once: the outputs of several seeds for one sample are
not independent evidence.
"""

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from statsmodels.stats.multitest import multipletests
from threadpoolctl import threadpool_limits

from reports.processes import ALONE, Processes
from reports.statistics.resampling import RESAMPLES, Column, Fold, Numbers, bootstraps, columns
from sweeps.ledger import BASELINES, SUMMARY_METRICS, Record, method_of

__all__ = ["ALPHA", "COLUMNS", "pairs", "tied_with_best"]

ALPHA = 0.05
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
    "n_seeds",
)
_Test = tuple[npt.NDArray[np.float64], int]  # p values (3,) and the number of common seeds
_ROUNDING = 2e-6  # of scores in single precision; one sample of one run among 10^5 changes a score by more


def pairs(
    ledgers: Sequence[Sequence[Record]], resamples: int = RESAMPLES, processes: Processes = ALONE
) -> pd.DataFrame:
    """Return one row per (dataset, summary metric) and pair of confirmed methods on all of the sweep's modalities.

    ``difference`` is the first method's mean score minus the second's. ``low..high`` is its 95 % paired bootstrap
    interval over test samples. ``p`` is the p value of the two-sided randomisation test over the ``n_seeds``
    confirmation seeds that both methods have; it is NaN without a common seed.

    ``p_holm`` is corrected by Holm's method within a family, separately for every dataset and metric. The family
    ``subsets`` holds the pairs of two loss subsets (21 pairs if all seven were confirmed): the question of the
    ablation. The family ``baselines`` holds the pairs with a baseline. Two families keep additional baselines from
    weakening the tests of the ablation.

    Args:
        ledgers: records of one or more sweeps.
        resamples: number of bootstrap resamples, and of randomisations.
        processes: processes that share the columns.

    Raises:
        ReportError: runs were not tested on the same samples.
    """
    tested = [column for records in ledgers for column in columns(records)]
    scores = bootstraps(tested, resamples, processes)
    tests = processes.map(partial(_randomisation, resamples=resamples), tested)
    rows = [row for arguments in zip(tested, scores, tests, strict=True) for row in _rows(*arguments)]
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"])
    gc.freeze()  # multipletests collects garbage on each call, which is slow if the ledgers are large
    try:
        corrected = frame.groupby(["dataset", "metric", "family"])["p"].transform(_holm)
    finally:
        gc.unfreeze()
    frame.insert(COLUMNS.index("p_holm"), "p_holm", corrected)
    return frame


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


def _holm(p_values: "pd.Series[float]") -> "pd.Series[float]":
    """Correct the p values that exist by Holm's method; NaN stays NaN."""
    present = p_values.dropna()
    corrected = multipletests(present, method="holm")[1] if len(present) else []
    return pd.Series(corrected, present.index, dtype=float).reindex(p_values.index)


def _rows(column: Column, resampled: Numbers, tests: Sequence[_Test]) -> Iterator[tuple[object, ...]]:
    scores = column.over_runs(column.scores())  # [M, 3]
    for (a, b), (p_values, n_seeds) in zip(combinations(_compared(column), 2), tests, strict=True):
        first, second = column.methods[a], column.methods[b]
        differences = scores[a] - scores[b]
        low, high = np.percentile(resampled[a] - resampled[b], [2.5, 97.5], axis=-1)
        family = "baselines" if {first, second} & set(BASELINES) else "subsets"
        for k, metric in enumerate(SUMMARY_METRICS):
            bounds = (float(low[k]), float(high[k]))
            difference, p = float(differences[k]), float(p_values[k])
            yield column.dataset, metric, first, second, difference, *bounds, p, family, n_seeds


def _compared(column: Column) -> list[int]:
    """Return the indices of the methods on all of the sweep's modalities."""
    return [index for index, method in enumerate(column.methods) if method_of(method) == method]


def _randomisation(column: Column, resamples: int) -> list[_Test]:
    """Test every pair of the compared methods."""
    column = column.only([column.methods[index] for index in _compared(column)])
    common = [_common_runs(column, *pair) for pair in combinations(column.methods, 2)]
    # [P, 3, 1 + B]: the observed score differences, then those after exchanges; P pairs.
    differences = np.zeros((len(common), len(SUMMARY_METRICS), 1 + resamples))
    generators = column.generators("randomisation")
    with threadpool_limits(limits=1):
        for block in column.blocks(1 + resamples):
            for fold, generator in zip(column.folds, generators, strict=True):
                exchanged = generator.random((block.stop - block.start, fold.truth.shape[1]), np.float32) < 0.5
                if block.start == 0:
                    exchanged[0] = False
                halves = _Halves.of(fold, exchanged)
                for difference, (first, second) in zip(differences, common, strict=True):
                    if first:
                        difference[:, block] += halves.difference(_index(first), _index(second)) / len(column.folds)
    tests = []
    for difference, (first, _) in zip(differences, common, strict=True):
        sizes = np.abs(difference)
        as_large = (sizes[:, 1:] >= sizes[:, :1] - _ROUNDING).sum(axis=-1)
        p_values = (1 + as_large) / (1 + resamples) if first else np.full(len(SUMMARY_METRICS), np.nan)
        tests.append((p_values, len({column.runs[run].seed for run in first})))
    return tests


def _common_runs(column: Column, first: str, second: str) -> tuple[list[int], list[int]]:
    """Return the indices of two methods' runs with the same seed and draw, in the same order."""
    first_runs, second_runs = (
        {(run.seed, run.draw): index for index, run in enumerate(column.runs) if run.method == method}
        for method in (first, second)
    )
    common = [key for key in first_runs if key in second_runs]
    return [first_runs[key] for key in common], [second_runs[key] for key in common]


def _index(runs: list[int]) -> slice | list[int]:
    """Return an index of the runs: a slice for adjacent runs, as a list of indices would copy their numbers."""
    adjacent = runs == list(range(runs[0], runs[0] + len(runs)))
    return slice(runs[0], runs[0] + len(runs)) if adjacent else runs


@dataclass(frozen=True, eq=False)
class _Halves:
    """Counts of every run, separately for the samples that keep their outputs and those that exchange them.

    Counts add up over samples. After an exchange, a method has its own counts for the samples that keep their outputs,
    and the other method's counts for the rest. So every run is counted once, and each pair of methods needs sums only.
    Accuracy is such a sum, too.
    """

    staying: Numbers
    """(2, C, R, B): hits, and predictions, of the samples that keep their outputs; the true samples of both halves are
    added to the predictions."""
    moving: Numbers
    """(2, C, R, B): hits, and predictions, of the samples that exchange their outputs."""
    right: tuple[Numbers, Numbers]
    """(R, B) each: each half's contribution to the accuracy, of the samples that keep and those that exchange."""
    weights: Numbers
    """(2, C): weights of the classes' F1 in the weighted and in the macro average."""

    @classmethod
    def of(cls, fold: Fold, exchanged: npt.NDArray[np.bool_]) -> Self:
        """Count a fold's outputs; ``exchanged`` (B, n) is true for the samples that exchange them."""
        n = fold.truth.shape[1]
        whole = fold.counts(np.ones((n, 1), np.float32))
        half = fold.counts(np.ascontiguousarray(exchanged.T, np.float32))
        # A class without samples has no hits, so any divisor but 0 gives its F1 of 0.
        denominator = whole.predicted + np.maximum(whole.true, 1)
        staying = np.stack([whole.hits - half.hits, denominator - half.predicted])
        moving = np.stack([half.hits, half.predicted])
        if fold.multi_label:  # accuracy is over labels; a constant cancels in differences
            right = [(2 * hits - named).mean(axis=0) / n for hits, named in (staying, moving)]
        else:
            right = [hits.sum(axis=0) / n for hits, _ in (staying, moving)]
        support = whole.true[:, 0, 0] / max(1.0, float(whole.true.sum()))
        weights = np.stack([support, np.full_like(support, 1 / len(support))])
        return cls(staying, moving, (right[0], right[1]), weights)

    def difference(self, first: slice | list[int], second: slice | list[int]) -> Numbers:
        """Return the first method's score minus the second's (3, B), means over their runs."""
        f1 = self._f1(first, second) - self._f1(second, first)  # [C, B]
        stay, move = self.right
        right = stay[first] - stay[second] - move[first] + move[second]
        by_name = dict(zip(("weighted_f1", "macro_f1"), self.weights @ f1, strict=True))
        by_name["accuracy"] = right.mean(axis=0)
        return np.stack([by_name[name] for name in SUMMARY_METRICS])

    def _f1(self, method: slice | list[int], other: slice | list[int]) -> Numbers:
        """Return the F1 of each class (C, B), mean over runs, of ``method`` after its exchange with ``other``."""
        hits, denominator = (
            stay[:, method] + move[:, other] for stay, move in zip(self.staying, self.moving, strict=True)
        )
        hits /= denominator
        mean: Numbers = 2 * hits.mean(axis=1)
        return mean
