"""Which differences between two confirmed methods are more than chance in the test samples.

Both methods are judged on the same samples, so that the test is paired: if it did not matter which of the two made an
output, exchanging their outputs for a random half of the samples would change the score difference by as much as there
is (approximate randomisation; Noreen 1989, Yeh 2000). McNemar's test was rejected because it tests accuracy only, a
t test over seeds because it has 3 to 5 values and takes the test set for given.

A sample's outputs are exchanged in all seeds and label draws at once: the outputs of several seeds for one sample are
no independent evidence.
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
_Tested = tuple[npt.NDArray[np.float64], int]
_ROUNDING = 2e-6  # of scores in single precision; one sample of one run among 10^5 changes a score by more


def pairs(
    ledgers: Sequence[Sequence[Record]], resamples: int = RESAMPLES, processes: Processes = ALONE
) -> pd.DataFrame:
    """Return one row per (dataset, summary metric) and two confirmed methods on all of the sweep's modalities.

    ``difference`` is the first's mean score minus the second's; ``low..high`` its 95 % paired bootstrap interval over
    test samples; ``p`` that of the two-sided randomisation test, over the ``n_seeds`` confirmation seeds that both
    have (NaN where there is none).

    ``p_holm`` is corrected by Holm's method within a family, apart for every dataset and metric. The pairs of two loss
    subsets are the family ``subsets`` (21 pairs if all seven were confirmed): what the ablation asks. Pairs with a
    baseline are another, ``baselines``, so that adding baselines does not make the ablation's answers weaker.

    Args:
        ledgers: of one or more sweeps.
        resamples: of the bootstrap, and of the randomisation.
        processes: which divide the columns among them.

    Raises:
        ReportError: runs were not tested on the same samples.
    """
    tested = [column for records in ledgers for column in columns(records)]
    resampled = bootstraps(tested, resamples, processes)
    randomised = processes.map(partial(_randomisation, resamples=resamples), tested)
    rows = [row for one in zip(tested, resampled, randomised, strict=True) for row in _rows(*one)]
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"])
    gc.freeze()  # multipletests collects garbage on each call, which takes the longer, the larger the ledgers are
    try:
        corrected = frame.groupby(["dataset", "metric", "family"])["p"].transform(_holm)
    finally:
        gc.unfreeze()
    frame.insert(COLUMNS.index("p_holm"), "p_holm", corrected)
    return frame


def tied_with_best(pairs: pd.DataFrame, table: pd.DataFrame) -> set[tuple[str, str, str]]:
    """Return (dataset, metric, method) of what is not significantly worse than the best of its column.

    The best itself is not among them, nor is a method that was not tested against it.

    Args:
        pairs: from :func:`pairs`.
        table: what is shown, with the columns dataset, metric, method and mean, as in the ablation table.
    """
    ranked = table.dropna(subset="mean").sort_values("mean", ascending=False, kind="stable")
    shown: dict[tuple[str, str], list[str]] = {}  # best first
    for dataset, metric, method in ranked[["dataset", "metric", "method"]].astype(str).to_numpy().tolist():
        shown.setdefault((dataset, metric), []).append(method)
    ties = set()
    tested = pairs.loc[pairs["p_holm"] >= ALPHA, ["dataset", "metric", "first", "second"]]
    for dataset, metric, *couple in tested.astype(str).to_numpy().tolist():
        best, *others = shown.get((dataset, metric), [""])
        if best in couple:
            ties |= {(dataset, metric, method) for method in couple if method in others}
    return ties


def _holm(p_values: "pd.Series[float]") -> "pd.Series[float]":
    """Holm's correction of those that exist."""
    tested = p_values.dropna()
    corrected = multipletests(tested, method="holm")[1] if len(tested) else []
    return pd.Series(corrected, tested.index, dtype=float).reindex(p_values.index)


def _rows(column: Column, resampled: Numbers, tested: Sequence[_Tested]) -> Iterator[tuple[object, ...]]:
    compared = _compared(column)
    scores = column.over_runs(column.scores())  # [M, 3]
    for (a, b), (p_values, n_seeds) in zip(combinations(compared, 2), tested, strict=True):
        first, second = column.methods[a], column.methods[b]
        differences = scores[a] - scores[b]
        low, high = np.percentile(resampled[a] - resampled[b], [2.5, 97.5], axis=-1)
        family = "baselines" if {first, second} & set(BASELINES) else "subsets"
        for k, metric in enumerate(SUMMARY_METRICS):
            bounds = (float(low[k]), float(high[k]))
            difference, p = float(differences[k]), float(p_values[k])
            yield column.dataset, metric, first, second, difference, *bounds, p, family, n_seeds


def _compared(column: Column) -> list[int]:
    """Places of the methods on all of the sweep's modalities."""
    return [place for place, method in enumerate(column.methods) if method_of(method) == method]


def _randomisation(column: Column, resamples: int) -> list[_Tested]:
    """For each two methods that are compared, the p values (3,) and the number of seeds that both have."""
    column = column.only([column.methods[place] for place in _compared(column)])
    common = [_common_runs(column, *couple) for couple in combinations(column.methods, 2)]
    # [P, 3, 1 + B]: score differences as they are, then with outputs exchanged; P couples.
    differences = np.zeros((len(common), len(SUMMARY_METRICS), 1 + resamples))
    generators = column.generators("randomisation")
    with threadpool_limits(limits=1):
        for block in column.blocks(1 + resamples):
            for fold, generator in zip(column.folds, generators, strict=True):
                exchanged = generator.random((block.stop - block.start, fold.truth.shape[1]), np.float32) < 0.5
                if block.start == 0:
                    exchanged[0] = False
                halves = _Halves.of(fold, exchanged)
                for differ, (first, second) in zip(differences, common, strict=True):
                    if first:
                        differ[:, block] += halves.difference(_place(first), _place(second)) / len(column.folds)
    tested = []
    for differ, (first, _) in zip(differences, common, strict=True):
        sizes = np.abs(differ)
        hits = (sizes[:, 1:] >= sizes[:, :1] - _ROUNDING).sum(axis=-1)
        p_values = (1 + hits) / (1 + resamples) if first else np.full(len(SUMMARY_METRICS), np.nan)
        tested.append((p_values, len({column.runs[run].seed for run in first})))
    return tested


def _common_runs(column: Column, first: str, second: str) -> tuple[list[int], list[int]]:
    """Places of the runs of two methods that have seed and draw in common, in the same order."""
    places = [
        {(run.seed, run.draw): place for place, run in enumerate(column.runs) if run.method == method}
        for method in (first, second)
    ]
    both = [key for key in places[0] if key in places[1]]
    return [places[0][key] for key in both], [places[1][key] for key in both]


def _place(runs: list[int]) -> slice | list[int]:
    """The same runs, without a copy of their numbers where they stand together."""
    together = runs == list(range(runs[0], runs[0] + len(runs)))
    return slice(runs[0], runs[0] + len(runs)) if together else runs


@dataclass(frozen=True, eq=False)
class _Halves:
    """Counts of every run on the samples whose outputs stay with it, and on those whose outputs are exchanged.

    Counts add up over samples: after an exchange, a method has its own of the first and the other's of the second. So
    every run is counted once, and a couple costs sums only. Accuracy is such a sum itself.
    """

    staying: Numbers
    """(2, C, R, B): hits, and predictions and true samples."""
    moving: Numbers
    """(2, C, R, B): hits, and predictions."""
    right: tuple[Numbers, Numbers]
    """(R, B) each: the sums that accuracy is the mean of, over the samples that stay and those that move."""
    weights: Numbers
    """(2, C): of the classes' F1 in the weighted and in the macro average."""

    @classmethod
    def of(cls, fold: Fold, exchanged: npt.NDArray[np.bool_]) -> Self:
        """Count with outputs ``exchanged`` (B, n)."""
        n = fold.truth.shape[1]
        whole = fold.counts(np.ones((n, 1), np.float32))
        moved = fold.counts(np.ascontiguousarray(exchanged.T, np.float32))
        # A class without samples has no hits: any number but 0 to divide them by gives its F1 of 0.
        named = whole.predicted + np.maximum(whole.true, 1)
        staying = np.stack([whole.hits - moved.hits, named - moved.predicted])
        moving = np.stack([moved.hits, moved.predicted])
        if fold.multi_label:  # every label is judged
            right = [(2 * hits - others).mean(axis=0) / n for hits, others in (staying, moving)]
        else:
            right = [hits.sum(axis=0) / n for hits, _ in (staying, moving)]
        support = whole.true[:, 0, 0] / max(1.0, float(whole.true.sum()))
        weights = np.stack([support, np.full_like(support, 1 / len(support))])
        return cls(staying, moving, (right[0], right[1]), weights)

    def difference(self, first: slice | list[int], second: slice | list[int]) -> Numbers:
        """(3, B): the first's score minus the second's, means over their runs."""
        f1 = self._f1(first, second) - self._f1(second, first)  # [C, B]
        stay, move = self.right
        right = stay[first] - stay[second] - move[first] + move[second]
        by_name = dict(zip(("weighted_f1", "macro_f1"), self.weights @ f1, strict=True))
        by_name["accuracy"] = right.mean(axis=0)
        return np.stack([by_name[name] for name in SUMMARY_METRICS])

    def _f1(self, own: slice | list[int], other: slice | list[int]) -> Numbers:
        """(C, B): the F1 of each class of a method that gave its outputs for the other's; mean over the runs."""
        hits, named = (stay[:, own] + move[:, other] for stay, move in zip(self.staying, self.moving, strict=True))
        hits /= named
        mean: Numbers = 2 * hits.mean(axis=1)
        return mean
