"""Scores of confirmed methods on resampled test samples: what intervals and paired tests have in common.

A summary metric depends on a run's predictions only through three counts per class: samples of the class (true),
samples taken for it (predicted), and those that are both (hits). Under integer sample weights w these are products of
w with 0/1 indicators, so that the scores of all runs on thousands of resamples are a few matrix products, in single
precision, where counts are still exact. scikit-learn on each resample was rejected: it takes an hour for what takes
seconds here; it is the oracle of the tests. Resamples are made in blocks, so that memory does not grow with their
number.

A run is one confirmation seed and label draw of one method. A method's score is the mean over folds, draws and seeds;
the folds of a folded set are resampled each by itself.

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

from reports.processes import ALONE, Processes
from reports.statistics.ablation import PlannedColumn, ReportError, latest_config, planned_columns, planned_methods
from sweeps.ledger import SUMMARY_METRICS, Predictions, Record

__all__ = ["RESAMPLES", "Column", "Counts", "Fold", "Numbers", "Run", "bootstrap", "bootstraps", "columns", "summaries"]

RESAMPLES = 2000
"""Enough for Holm's correction: the least p value, 1 / 2001, is significant at 0.05 among up to 100 pairs."""
_BLOCK = 2**21  # numbers in the largest arrays of a block of resamples: 8 MiB
_KEPT = 32  # columns whose bootstrap is kept, some 100 kB each and their predictions

Numbers = npt.NDArray[np.floating[Any]]
_kept: dict[tuple["Column", int], Numbers] = {}  # the oldest first


@dataclass(frozen=True)
class Run:
    """One confirmation seed and label draw of one method."""

    method: str
    """As the table names it."""
    seed: int
    """Index of the confirmation seed."""
    draw: int


@dataclass(frozen=True, eq=False)
class Counts:
    """Weighted numbers of test samples."""

    true: Numbers
    """(C, 1, B)."""
    predicted: Numbers
    """(C, R, B)."""
    hits: Numbers
    """(C, R, B)."""
    total: Numbers
    """(B,)."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Truth and every run's predictions on one test split."""

    truth: npt.NDArray[np.bool_]
    """(C, n)."""
    predicted: npt.NDArray[np.integer[Any]]
    """(R, n) class indices; (C, R, n) of 0 and 1 where samples have several labels."""

    @property
    def multi_label(self) -> bool:
        """Whether samples have several labels."""
        return self.predicted.ndim == 3

    def counts(self, weights: Numbers) -> Counts:
        """Count under ``weights`` (n, B), in their precision."""
        predicted, hits = list[Numbers](), list[Numbers]()
        total = weights.sum(axis=0)
        for label, of_label in enumerate(self.truth):
            said = self.predicted[label] == 1 if self.multi_label else self.predicted == label  # (R, n)
            if label < len(self.truth) - 1 or self.multi_label:
                predicted.append(said.astype(weights.dtype) @ weights)
            else:  # what is taken for no other class
                predicted.append(total - sum(predicted, np.zeros((len(said), 1), weights.dtype)))
            hits.append(said[:, of_label].astype(weights.dtype) @ weights[of_label])
        true = self.truth.astype(weights.dtype) @ weights
        return Counts(true[:, np.newaxis], np.stack(predicted), np.stack(hits), total)

    def scores(self, weights: Numbers) -> Numbers:
        """(3, R, B): each run's metrics under ``weights`` (n, B)."""
        return summaries(self.counts(weights), self.multi_label)


def summaries(counts: Counts, multi_label: bool) -> Numbers:
    """(3, R, B): as `conclugen.evaluation.metrics` defines them: F1 without samples or predictions is 0."""
    named = counts.predicted + counts.true
    f1 = 2 * counts.hits / np.maximum(named, 1)  # counts are integers: below 1 is 0, and so are the hits
    support = counts.true / np.maximum(counts.true.sum(axis=0), 1)
    if multi_label:
        accuracy = 1 - (named - 2 * counts.hits).mean(axis=0) / counts.total
    else:
        accuracy = counts.hits.sum(axis=0) / counts.total
    by_name = {"weighted_f1": (f1 * support).sum(axis=0), "macro_f1": f1.mean(axis=0), "accuracy": accuracy}
    return np.stack([by_name[name] for name in SUMMARY_METRICS])


@dataclass(frozen=True)
class Column:
    """One column of the ablation table: what every confirmed method predicted. Equal if all predictions are."""

    dataset: str
    """As the table names it, label budget and instrument included."""
    runs: tuple[Run, ...]
    """Methods in the table's order."""
    folds: tuple[Fold, ...] = field(compare=False)
    digest: bytes
    """Of all truths and predictions."""

    @cached_property
    def methods(self) -> list[str]:
        """Those that have predictions, in the table's order."""
        return list(dict.fromkeys(run.method for run in self.runs))

    @property
    def n_samples(self) -> int:
        """Test samples of all folds."""
        return sum(fold.truth.shape[1] for fold in self.folds)

    def only(self, methods: Collection[str]) -> "Column":
        """The same with nothing but ``methods``."""
        kept = [place for place, run in enumerate(self.runs) if run.method in methods]
        folds = tuple(Fold(fold.truth, fold.predicted[..., kept, :]) for fold in self.folds)
        return replace(self, runs=tuple(self.runs[place] for place in kept), folds=folds)

    def scores(self) -> Numbers:
        """(3, R): each run's metrics, means over the folds, in double precision."""
        by_fold = [fold.scores(np.ones((fold.truth.shape[1], 1)))[..., 0] for fold in self.folds]
        scores: Numbers = np.stack(by_fold).mean(axis=0)
        return scores

    def over_runs(self, scores: Numbers) -> Numbers:
        """(M, 3, ...): means of ``scores`` (3, R, ...) over the runs of each method."""
        names = np.array([run.method for run in self.runs])
        return np.stack([scores[:, names == method].mean(axis=1) for method in self.methods])

    def generators(self, purpose: str) -> list[np.random.Generator]:
        """A random stream per fold that depends on nothing but the names, so that a report can be made again."""
        seed = f"{purpose} of {self.dataset}".encode()
        return [np.random.default_rng([*seed, fold]) for fold in range(len(self.folds))]

    def blocks(self, resamples: int) -> Iterator[slice]:
        """Divide ``resamples`` so that the arrays of a block are small.

        A stream that is drawn from with one row per resample yields the same rows however they are divided.
        """
        largest = max(max(fold.truth.shape[1], 2 * len(fold.truth) * len(self.runs)) for fold in self.folds)
        size = max(1, _BLOCK // largest)
        return (slice(start, min(start + size, resamples)) for start in range(0, resamples, size))


def bootstrap(column: Column, resamples: int = RESAMPLES) -> Numbers:
    """(M, 3, B): each method's metrics on test samples drawn with replacement, the same ones for all methods."""
    scores = np.zeros((len(column.methods), len(SUMMARY_METRICS), resamples), np.float32)
    generators = column.generators("bootstrap")
    with threadpool_limits(limits=1):  # products this small only get slower where a second thread has to wait
        for block in column.blocks(resamples):
            for fold, generator in zip(column.folds, generators, strict=True):
                weights = _times_drawn(generator, fold.truth.shape[1], block.stop - block.start)
                scores[..., block] += column.over_runs(fold.scores(weights)) / len(column.folds)
    scores.setflags(write=False)
    return scores


def bootstraps(tested: Sequence[Column], resamples: int = RESAMPLES, processes: Processes = ALONE) -> list[Numbers]:
    """:func:`bootstrap` of each column; kept, as intervals and paired tests ask for the same."""
    new = sorted((column for column in tested if (column, resamples) not in _kept), key=_size, reverse=True)
    _kept.update(
        zip(((c, resamples) for c in new), processes.map(partial(bootstrap, resamples=resamples), new), strict=True)
    )
    found = [_kept[column, resamples] for column in tested]
    for oldest in list(_kept)[: max(0, len(_kept) - _KEPT)]:
        del _kept[oldest]
    return found


def _size(column: Column) -> int:
    """Grows with the time that resampling takes."""
    return sum(fold.truth.size * len(column.runs) for fold in column.folds)


def _times_drawn(generator: np.random.Generator, n: int, resamples: int) -> npt.NDArray[np.float32]:
    """(n, B): how often each of n samples is among n drawn with replacement."""
    drawn = generator.integers(0, n, (resamples, n)) + n * np.arange(resamples)[:, np.newaxis]
    times = np.bincount(drawn.ravel(), minlength=n * resamples).reshape(resamples, n)
    return np.ascontiguousarray(times.T, np.float32)


def columns(records: Sequence[Record]) -> Iterator[Column]:
    """Yield each column of one sweep's ablation table in which a method was confirmed.

    Raises:
        ReportError: runs were not tested on the same samples in the same order.
    """
    config = latest_config(records)
    saved: dict[tuple[str, PlannedColumn], list[tuple[int, Predictions]]] = {}
    for record in records:
        if record.stage == "confirm":
            for p in record.predictions:
                saved.setdefault((record.method, PlannedColumn.of(p)), []).append((record.number, p))
    for name, column in planned_columns(records).items():
        found: dict[Run, dict[int, Predictions]] = {}  # -> by fold
        for method, recorded in planned_methods(config, column).items():
            for seed, p in saved.get((recorded, column), ()):
                found.setdefault(Run(method, seed, p.draw), {})[p.fold] = p
        if found:
            yield _column(name, found)


def _column(dataset: str, found: dict[Run, dict[int, Predictions]]) -> Column:
    expected = next(iter(found.values()))
    folds, digest = [], hashlib.sha256()
    for number in sorted(expected):
        same = _identity(expected[number])
        for run, by_fold in found.items():
            if by_fold.keys() != expected.keys() or _identity(by_fold[number]) != same:
                first = next(iter(found))
                raise ReportError(
                    f"{dataset}: {run.method} (seed {run.seed}, draw {run.draw}) and {first.method} (seed {first.seed},"
                    f" draw {first.draw}) were not tested on the same samples in the same order, so that they cannot "
                    "be compared; run the one whose features are out of date again, in a folder of its own."
                )
        fold = _fold(expected[number], (by_fold[number] for by_fold in found.values()))
        folds.append(fold)
        for numbers in (fold.truth, fold.predicted):
            digest.update(str(numbers.shape).encode() + numbers.tobytes())
    return Column(dataset, tuple(found), tuple(folds), digest.digest())


def _identity(predictions: Predictions) -> tuple[object, ...]:
    """What all runs must agree in."""
    return list(predictions.classes), predictions.multi_label, list(predictions.truth)


def _fold(first: Predictions, predictions: Iterable[Predictions]) -> Fold:
    # Class indices and 0/1 labels fit 16 bits, and comparing them is what counting spends its time on besides products.
    predicted = np.array([np.asarray(p.predicted, np.int16) for p in predictions])
    truth = np.asarray(first.truth, np.int16)
    n_classes = len(first.classes)
    if not first.multi_label:
        return Fold(truth == np.arange(n_classes)[:, np.newaxis], predicted)
    by_class = np.ascontiguousarray(predicted.reshape(len(predicted), -1, n_classes).transpose(2, 0, 1))
    return Fold(truth.reshape(-1, n_classes).T == 1, by_class)
