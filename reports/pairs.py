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
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from statsmodels.stats.multitest import multipletests

from reports.resampling import RESAMPLES, Column, Counts, bootstrap, columns, summaries
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
_ROUNDING = 2e-6  # of scores in single precision; one sample of one run among 10^5 changes a score by more


def pairs(ledgers: Sequence[Sequence[Record]], resamples: int = RESAMPLES) -> pd.DataFrame:
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

    Raises:
        ReportError: runs were not tested on the same samples.
    """
    rows = [row for records in ledgers for column in columns(records) for row in _rows(column, resamples)]
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


def _rows(column: Column, resamples: int) -> Iterator[tuple[object, ...]]:
    compared = [place for place, method in enumerate(column.methods) if method_of(method) == method]
    scores = column.over_runs(column.scores())  # [M, 3]
    resampled = bootstrap(column, resamples)  # [M, 3, B]
    couples = list(combinations(compared, 2))
    named = [(column.methods[a], column.methods[b]) for a, b in couples]
    tested = _randomisation(column.only([column.methods[place] for place in compared]), named, resamples)
    for (a, b), (first, second), (p_values, n_seeds) in zip(couples, named, tested, strict=True):
        differences = scores[a] - scores[b]
        low, high = np.percentile(resampled[a] - resampled[b], [2.5, 97.5], axis=-1)
        family = "baselines" if {first, second} & set(BASELINES) else "subsets"
        for k, metric in enumerate(SUMMARY_METRICS):
            bounds = (float(low[k]), float(high[k]))
            difference, p = float(differences[k]), float(p_values[k])
            yield column.dataset, metric, first, second, difference, *bounds, p, family, n_seeds


def _randomisation(
    column: Column, couples: Sequence[tuple[str, str]], resamples: int
) -> Iterator[tuple[npt.NDArray[np.float64], int]]:
    """For each couple, the p values (3,) and the number of seeds that both have."""
    common = [_common_runs(column, *couple) for couple in couples]
    # [P, 3, 1 + B]: score differences as they are, then with outputs exchanged; P couples.
    differences = np.zeros((len(couples), len(SUMMARY_METRICS), 1 + resamples))
    generators = column.generators("randomisation")
    for block in column.blocks(1 + resamples):
        for fold, generator in zip(column.folds, generators, strict=True):
            n = fold.truth.shape[1]
            exchanged = generator.random((block.stop - block.start, n), np.float32) < 0.5
            if block.start == 0:
                exchanged[0] = False
            whole = fold.counts(np.ones((n, 1), np.float32))
            moved = fold.counts(np.ascontiguousarray(exchanged.T, np.float32))
            for differ, (first, second) in zip(differences, common, strict=True):
                if first:
                    one, other = _exchanged(whole, moved, first, second)
                    scores = summaries(one, fold.multi_label) - summaries(other, fold.multi_label)
                    differ[:, block] += scores.mean(axis=1, dtype=np.float64) / len(column.folds)
    for differ, (first, _) in zip(differences, common, strict=True):
        sizes = np.abs(differ)
        hits = (sizes[:, 1:] >= sizes[:, :1] - _ROUNDING).sum(axis=-1)
        p_values = (1 + hits) / (1 + resamples) if first else np.full(len(SUMMARY_METRICS), np.nan)
        yield p_values, len({column.runs[run].seed for run in first})


def _common_runs(column: Column, first: str, second: str) -> tuple[list[int], list[int]]:
    """Places of the runs of two methods that have seed and draw in common, in the same order."""
    places = [
        {(run.seed, run.draw): place for place, run in enumerate(column.runs) if run.method == method}
        for method in (first, second)
    ]
    both = [key for key in places[0] if key in places[1]]
    return [places[0][key] for key in both], [places[1][key] for key in both]


def _exchanged(whole: Counts, moved: Counts, first: list[int], second: list[int]) -> tuple[Counts, Counts]:
    """Counts of two methods whose outputs were exchanged for some samples.

    Counts add up over samples: what each has is its own, less its own of the samples moved, plus the other's of them.
    """
    hits = moved.hits[:, second] - moved.hits[:, first]
    predicted = moved.predicted[:, second] - moved.predicted[:, first]
    return (
        Counts(whole.true, whole.predicted[:, first] + predicted, whole.hits[:, first] + hits, whole.total),
        Counts(whole.true, whole.predicted[:, second] - predicted, whole.hits[:, second] - hits, whole.total),
    )
