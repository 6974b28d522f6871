"""The difference between two sweeps of the same data, such as two search spaces, budgets, versions or feature sets.

Both sweeps are tested on the same samples. So the difference of a method's scores in the two has a part of its error
that comes from the samples that they share (:mod:`reports.statistics.inference`). If the runs have the same seeds on
the same features, they are pairs. If one sweep has more seeds than the other, those in common are. Otherwise the
variances between the runs of each sweep add up.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from reports.errors import ReportError
from reports.statistics.ablation import (
    PlannedColumn,
    latest_config,
    planned_columns,
    planned_methods,
    run_statistics,
)
from reports.statistics.estimates import Estimate
from reports.statistics.inference import Scores, column_scores
from reports.statistics.outputs import joint, joint_columns
from reports.statistics.pairs import holm
from reports.statistics.shared_sets import same_features
from sweeps.ledger import Record

__all__ = ["COLUMNS", "comparison"]

COLUMNS = (
    "dataset",
    "method",
    "metric",
    "mean_first",
    "std_first",
    "n_first",
    "mean_second",
    "std_second",
    "n_second",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "seed_error",
    "search_error",
    "sample_error",
    "paired",
    "n_pairs",
    "unpaired_by",
)
_Cell = tuple[str, str]  # dataset, method
_Runs = dict[tuple[int, int, int], Mapping[str, float]]  # (search, index of the seed, seed) -> metric -> test score


def comparison(first: Sequence[Record], second: Sequence[Record]) -> pd.DataFrame:
    """Return one row per (dataset, method, metric) with a test score in both sweeps.

    ``difference`` is the second sweep's mean minus the first's, over the ``n_pairs`` seeds in common if they are pairs.
    ``low..high`` is its 95 % interval, and ``p`` the p value of the two-sided test that it is 0, over searches, seeds
    and test samples together. ``p_holm`` is corrected by Holm's method over the methods, separately for every dataset
    and metric. ``seed_error``, ``search_error`` and ``sample_error`` are the parts of the standard error, as in
    :func:`reports.statistics.intervals.intervals`.

    Runs are ``paired`` if both sweeps have the same seeds in the same searches, or one has all seeds of the other, on
    the same features. Otherwise ``unpaired_by`` says what differs. Only summary metrics of methods with two runs in
    each sweep have an interval; it is NaN for other metrics, and without the runs' predictions.

    Raises:
        ReportError: the sweeps have no score in common, or runs were not tested on the same samples.
    """
    runs = [_runs(records) for records in (first, second)]
    common = [cell for cell in runs[0] if cell in runs[1]]
    if not common:
        raise ReportError(
            "--compare: the two sweeps have no test score of the same dataset and method; compare sweeps whose "
            "features.downstream use the same names."
        )
    differences = {
        dataset: _differs(first, second, PlannedColumn.named(dataset).dataset)
        for dataset in dict.fromkeys(dataset for dataset, _ in common)
    }
    columns = {column.dataset: column_scores(column) for column in joint_columns(first, second)}
    rows: list[tuple[object, ...]] = []
    for dataset, method in common:
        one, other = (of_sweep[dataset, method] for of_sweep in runs)
        unpaired_by = " and ".join([*differences[dataset], *_other_runs(one, other)])
        estimates = {}
        if dataset in columns:
            estimates = _estimates(columns[dataset], method, not unpaired_by)
        rows += _rows((dataset, method), one, other, estimates, unpaired_by)
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"])
    frame["p_holm"] = frame.groupby(["dataset", "metric"])["p"].transform(holm)
    return frame[list(COLUMNS)]


def _runs(records: Sequence[Record]) -> dict[_Cell, _Runs]:
    """Map each cell to the test scores of its runs."""
    config = latest_config(records)
    confirmations: dict[str, list[Record]] = {}
    for record in records:
        if record.stage == "confirm":
            confirmations.setdefault(record.method, []).append(record)
    cells: dict[_Cell, _Runs] = {}
    for name, column in planned_columns(records).items():
        for method, searches in planned_methods(config, column).items():
            for search, recorded in enumerate(searches, 1):
                for record in confirmations.get(recorded, ()):
                    scores = {
                        m.metric: m.value for m in record.metrics if m.split == "test" and PlannedColumn.of(m) == column
                    }
                    if scores:
                        cells.setdefault((name, method), {})[search, record.number, record.seed] = scores
    return cells


def _differs(first: Sequence[Record], second: Sequence[Record], name: str) -> list[str]:
    return [] if same_features(first, second, name) else ["other features"]


def _other_runs(one: _Runs, other: _Runs) -> list[str]:
    """Return why the runs of two sweeps are no pairs, if neither sweep has all runs of the other."""
    if {search for search, *_ in one} != {search for search, *_ in other}:
        return ["another number of searches"]
    return [] if one.keys() <= other.keys() or other.keys() <= one.keys() else ["other seeds"]


def _estimates(scores: Scores, method: str, paired: bool) -> dict[str, Estimate]:
    """Estimate the difference of a method's scores in two sweeps, by metric; empty without predictions of both."""
    one, other = joint(method, 1), joint(method, 2)
    if not (scores.by_seed(one) and scores.by_seed(other)):
        return {}
    return scores.contrast({other: 1.0, one: -1.0}) if paired else scores.independent_difference(one, other)


def _rows(
    cell: _Cell, first: _Runs, second: _Runs, estimates: Mapping[str, Estimate], unpaired_by: str
) -> Iterator[tuple[object, ...]]:
    metrics = dict.fromkeys(metric for scores in first.values() for metric in scores)
    common = first.keys() & second.keys()
    pairs = [{run: scores for run, scores in runs.items() if run in common} for runs in (first, second)]
    for metric in metrics:
        one, other = (_statistics(runs, metric) for runs in (first, second))
        if not other[-1]:
            continue
        compared = (one[0], other[0]) if unpaired_by else tuple(_statistics(runs, metric)[0] for runs in pairs)
        n_pairs = 0 if unpaired_by else len(common)
        numbers = (math.nan,) * 6
        if (estimate := estimates.get(metric)) is not None:
            errors = (estimate.seed_error, estimate.search_error, estimate.sample_error)
            numbers = (*estimate.interval(), estimate.p, *errors)
        yield (*cell, metric, *one, *other, compared[1] - compared[0], *numbers, not unpaired_by, n_pairs, unpaired_by)


def _statistics(runs: _Runs, metric: str) -> tuple[float, float, int]:
    """Return mean, standard deviation and number of the runs' scores."""
    searches: dict[int, list[float]] = {}
    for (search, *_), scores in runs.items():
        if metric in scores:
            searches.setdefault(search, []).append(scores[metric])
    return run_statistics(list(searches.values()))
