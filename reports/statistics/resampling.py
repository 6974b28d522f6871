"""Scores of confirmed methods on resampled test samples, for intervals and paired tests.

A summary metric depends on a run's predictions through three counts per class: samples of the class (true), samples
predicted as the class (predicted), and samples that are both (hits). Under integer sample weights w, each count is a
product of w with 0/1 indicators. So the scores of all runs on thousands of resamples are a few matrix products. Single
precision keeps the counts exact. scikit-learn on each resample was rejected, because it takes an hour instead of
seconds; it is the oracle of the tests. Resamples are computed in blocks, so that memory does not grow with their
number.

A run is one confirmation seed and label draw of one method. A method's score is the mean over folds, draws and seeds.
The folds of a folded set are resampled separately.

Legend: C classes, n test samples of a fold, R runs, M methods, B resamples, 3 the metrics of SUMMARY_METRICS in order.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from reports.errors import ReportError
from reports.processes import ALONE, Processes
from reports.statistics.ablation import PlannedColumn, latest_config, planned_columns, planned_methods
from sweeps.ledger import SUMMARY_METRICS, Predictions, Record

__all__ = [
    "BLOCK",
    "RESAMPLES",
    "Column",
    "Counts",
    "Fold",
    "Numbers",
    "Run",
    "bootstrap",
    "bootstraps",
    "columns",
    "summaries",
]

RESAMPLES = 2000
"""Enough for Holm's correction: the smallest p value, 1 / 2001, is significant at 0.05 among up to 100 pairs."""
BLOCK = 2**21
"""Numbers in the largest array of a block of resamples: 8 MiB in single precision."""
_CACHED = 32  # columns; each takes some 100 kB, and keeps its predictions

Numbers = npt.NDArray[np.floating[Any]]
_cache: dict[tuple["Column", int], Numbers] = {}  # bootstraps, the oldest first


@dataclass(frozen=True)
class Run:
    """One confirmation seed and label draw of one method."""

    method: str
    """The method's name in the table."""
    seed: int
    """Index of the confirmation seed."""
    draw: int


@dataclass(frozen=True, eq=False)
class Counts:
    """Weighted numbers of test samples."""

    true: Numbers
    """(C, 1, B): samples of the class."""
    predicted: Numbers
    """(C, R, B): samples predicted as the class."""
    hits: Numbers
    """(C, R, B): samples of the class that are predicted as it."""
    total: Numbers
    """(B,): all samples."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Truth and every run's predictions on one test split."""

    truth: npt.NDArray[np.bool_]
    """(C, n): whether the sample is of the class."""
    predicted: npt.NDArray[np.integer[Any]]
    """(R, n) class indices; (C, R, n) of 0 and 1 if samples have several labels."""

    @property
    def multi_label(self) -> bool:
        """Whether samples have several labels."""
        return self.predicted.ndim == 3

    def counts(self, weights: Numbers) -> Counts:
        """Return the counts under sample weights (n, B), in the precision of the weights."""
        predicted: list[Numbers] = []
        hits: list[Numbers] = []
        total = weights.sum(axis=0)
        for label, of_label in enumerate(self.truth):
            as_label = self.predicted[label] == 1 if self.multi_label else self.predicted == label  # (R, n)
            if label < len(self.truth) - 1 or self.multi_label:
                predicted.append(as_label.astype(weights.dtype) @ weights)
            else:  # the remaining samples; a sum is cheaper than another product
                predicted.append(total - sum(predicted, np.zeros((len(as_label), 1), weights.dtype)))
            hits.append(as_label[:, of_label].astype(weights.dtype) @ weights[of_label])
        true = self.truth.astype(weights.dtype) @ weights
        return Counts(true[:, np.newaxis], np.stack(predicted), np.stack(hits), total)

    def scores(self, weights: Numbers) -> Numbers:
        """Return each run's metrics (3, R, B) under sample weights (n, B)."""
        return summaries(self.counts(weights), self.multi_label)


def summaries(counts: Counts, multi_label: bool) -> Numbers:
    """Return each run's metrics (3, R, B) as `conclugen.evaluation.metrics` defines them.

    The F1 of a class without samples and predictions is 0.
    """
    denominator = counts.predicted + counts.true
    f1 = 2 * counts.hits / np.maximum(denominator, 1)  # an integer below 1 is 0, and then there are no hits
    support = counts.true / np.maximum(counts.true.sum(axis=0), 1)
    if multi_label:
        accuracy = 1 - (denominator - 2 * counts.hits).mean(axis=0) / counts.total
    else:
        accuracy = counts.hits.sum(axis=0) / counts.total
    by_name = {"weighted_f1": (f1 * support).sum(axis=0), "macro_f1": f1.mean(axis=0), "accuracy": accuracy}
    return np.stack([by_name[name] for name in SUMMARY_METRICS])


@dataclass(frozen=True)
class Column:
    """The predictions of every confirmed method in one column of the ablation table.

    Two columns are equal if their names, runs and predictions are.
    """

    dataset: str
    """The column's name in the table, label budget and instrument included."""
    runs: tuple[Run, ...]
    """Runs, with the methods in the table's order."""
    folds: tuple[Fold, ...] = field(compare=False)
    digest: bytes
    """SHA-256 of all truths and predictions."""

    @cached_property
    def methods(self) -> list[str]:
        """Methods with predictions, in the table's order."""
        return list(dict.fromkeys(run.method for run in self.runs))

    @property
    def n_samples(self) -> int:
        """Number of test samples of all folds."""
        return sum(fold.truth.shape[1] for fold in self.folds)

    def only(self, methods: Collection[str]) -> "Column":
        """Return the column without the runs of other methods."""
        indices = [index for index, run in enumerate(self.runs) if run.method in methods]
        folds = tuple(Fold(fold.truth, fold.predicted[..., indices, :]) for fold in self.folds)
        return replace(self, runs=tuple(self.runs[index] for index in indices), folds=folds)

    def scores(self) -> Numbers:
        """Return each run's metrics (3, R), means over the folds, in double precision."""
        by_fold = [fold.scores(np.ones((fold.truth.shape[1], 1)))[..., 0] for fold in self.folds]
        scores: Numbers = np.stack(by_fold).mean(axis=0)
        return scores

    def over_runs(self, scores: Numbers) -> Numbers:
        """Average ``scores`` (3, R, ...) over the runs of each method: (M, 3, ...)."""
        names = np.array([run.method for run in self.runs])
        return np.stack([scores[:, names == method].mean(axis=1) for method in self.methods])

    def generators(self, purpose: str) -> list[np.random.Generator]:
        """Return a random stream per fold; it depends only on the names, so that a report is reproducible."""
        seed = f"{purpose} of {self.dataset}".encode()
        return [np.random.default_rng([*seed, fold]) for fold in range(len(self.folds))]

    def blocks(self, resamples: int, block: int = BLOCK) -> Iterator[slice]:
        """Divide the resamples into blocks whose largest array has at most ``block`` numbers.

        A random stream that gives one row per resample gives the same rows however the resamples are divided.
        """
        largest = max(max(fold.truth.shape[1], 2 * len(fold.truth) * len(self.runs)) for fold in self.folds)
        size = max(1, block // largest)
        return (slice(start, min(start + size, resamples)) for start in range(0, resamples, size))


def bootstrap(column: Column, resamples: int = RESAMPLES, block: int = BLOCK) -> Numbers:
    """Return each method's metrics (M, 3, B) on test samples drawn with replacement, the same for all methods.

    Args:
        column: the predictions.
        resamples: B.
        block: numbers in the largest array of a block of resamples; it bounds the memory, not the result.
    """
    scores = np.zeros((len(column.methods), len(SUMMARY_METRICS), resamples), np.float32)
    generators = column.generators("bootstrap")
    with threadpool_limits(limits=1):  # a second thread slows down such small products
        for part in column.blocks(resamples, block):
            for fold, generator in zip(column.folds, generators, strict=True):
                weights = _bootstrap_weights(generator, fold.truth.shape[1], part.stop - part.start)
                scores[..., part] += column.over_runs(fold.scores(weights)) / len(column.folds)
    scores.setflags(write=False)
    return scores


def bootstraps(tested: Sequence[Column], resamples: int = RESAMPLES, processes: Processes = ALONE) -> list[Numbers]:
    """Return the :func:`bootstrap` of each column; a cache shares it between intervals and paired tests."""
    new = sorted((column for column in tested if (column, resamples) not in _cache), key=_size, reverse=True)
    results = processes.map(partial(bootstrap, resamples=resamples), new)
    _cache.update(zip(((column, resamples) for column in new), results, strict=True))
    scores = [_cache[column, resamples] for column in tested]
    for oldest in list(_cache)[: max(0, len(_cache) - _CACHED)]:
        del _cache[oldest]
    return scores


def _size(column: Column) -> int:
    """Return a number that grows with the time for resampling."""
    return sum(fold.truth.size * len(column.runs) for fold in column.folds)


def _bootstrap_weights(generator: np.random.Generator, n: int, resamples: int) -> npt.NDArray[np.float32]:
    """Count, as (n, B), how often each of n samples is among n drawn with replacement."""
    indices = generator.integers(0, n, (resamples, n)) + n * np.arange(resamples)[:, np.newaxis]
    counts = np.bincount(indices.ravel(), minlength=n * resamples).reshape(resamples, n)
    return np.ascontiguousarray(counts.T, np.float32)


def columns(records: Sequence[Record]) -> Iterator[Column]:
    """Yield each column of one sweep's ablation table that has a confirmed method.

    Raises:
        ReportError: runs were not tested on the same samples in the same order.
    """
    config = latest_config(records)
    by_method: dict[tuple[str, PlannedColumn], list[tuple[int, Predictions]]] = {}
    for record in records:
        if record.stage == "confirm":
            for p in record.predictions:
                by_method.setdefault((record.method, PlannedColumn.of(p)), []).append((record.number, p))
    for name, column in planned_columns(records).items():
        runs: dict[Run, dict[int, Predictions]] = {}  # run -> fold -> predictions
        for method, recorded in planned_methods(config, column).items():
            for seed, p in by_method.get((recorded, column), ()):
                runs.setdefault(Run(method, seed, p.draw), {})[p.fold] = p
        if runs:
            yield _column(name, runs)


def _column(dataset: str, runs: dict[Run, dict[int, Predictions]]) -> Column:
    first, expected = next(iter(runs.items()))
    folds = []
    digest = hashlib.sha256()
    for number in sorted(expected):
        samples = _samples(expected[number])
        for run, by_fold in runs.items():
            if by_fold.keys() != expected.keys() or _samples(by_fold[number]) != samples:
                raise ReportError(
                    f"{dataset}: {run.method} (seed {run.seed}, draw {run.draw}) and {first.method} (seed {first.seed},"
                    f" draw {first.draw}) were not tested on the same samples in the same order, so they cannot be "
                    "compared; run the one with outdated features again, in a folder of its own."
                )
        fold = _fold(expected[number], (by_fold[number] for by_fold in runs.values()))
        folds.append(fold)
        for numbers in (fold.truth, fold.predicted):
            digest.update(str(numbers.shape).encode() + numbers.tobytes())
    return Column(dataset, tuple(runs), tuple(folds), digest.digest())


def _samples(predictions: Predictions) -> tuple[object, ...]:
    """Return the identity of the test samples, in which all runs must agree."""
    return list(predictions.classes), predictions.multi_label, list(predictions.truth)


def _fold(first: Predictions, predictions: Iterable[Predictions]) -> Fold:
    # 16 bits hold class indices and 0/1 labels. Counting spends most of its time on their comparison and on products.
    predicted = np.array([np.asarray(p.predicted, np.int16) for p in predictions])
    truth = np.asarray(first.truth, np.int16)
    n_classes = len(first.classes)
    if not first.multi_label:
        return Fold(truth == np.arange(n_classes)[:, np.newaxis], predicted)
    by_class = np.ascontiguousarray(predicted.reshape(len(predicted), -1, n_classes).transpose(2, 0, 1))
    return Fold(truth.reshape(-1, n_classes).T == 1, by_class)
