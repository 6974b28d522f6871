"""The outputs of confirmed methods on test samples, their scores, and how each sample influences a score.

A run is one search, confirmation seed and label draw of one method. A summary metric depends on a run's predictions
through three counts per class: samples of the class (true), samples predicted as the class (predicted), and samples
that are both (hits). So a metric has a derivative by the weight of each sample, the sample's influence. Influences add
up over samples. The sampling error of a score, and its covariance with another score on the same samples, are sums of
their products (:mod:`reports.statistics.inference`). Resampling was rejected: thousands of resamples gave the same
errors.

Legend: C classes, n test samples of a fold, W ways to group samples (by speaker, by dialogue), R runs, S runs averaged
over label draws, 3 the metrics of SUMMARY_METRICS in order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from reports.errors import ReportError
from reports.statistics.ablation import PlannedColumn, latest_config, planned_columns, planned_methods
from sweeps.ledger import SUMMARY_METRICS, Predictions, Record

__all__ = ["Column", "Fold", "Numbers", "Run", "columns", "joint", "joint_columns"]

Numbers = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Run:
    """One search, confirmation seed and label draw of one method."""

    method: str
    """The method's name in the table."""
    seed: int
    """Index of the confirmation seed."""
    draw: int
    search: int = 1
    """Number of the search whose winner was confirmed."""


Outputs = dict[Run, dict[int, Predictions]]
"""Run -> fold -> predictions."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Truth and every run's predictions on one test split."""

    truth: npt.NDArray[np.bool_]
    """(C, n): whether the sample is of the class."""
    predicted: npt.NDArray[np.integer[Any]]
    """(R, n) class indices; (C, R, n) of 0 and 1 if samples have several labels."""
    groups: npt.NDArray[np.integer[Any]]
    """(W, n): the group of each sample among the groups of all folds. Samples that share none are independent."""

    @property
    def multi_label(self) -> bool:
        """Whether samples have several labels."""
        return self.predicted.ndim == 3

    @cached_property
    def _counts(self) -> tuple[Numbers, Numbers, Numbers]:
        """True samples (C, 1), predicted samples (C, R) and hits (C, R)."""
        predicted, hits = [], []
        for label, true in enumerate(self.truth):
            as_label = self._as_label(label)
            predicted.append(as_label.sum(axis=1))
            hits.append(as_label[:, true].sum(axis=1))
        true = self.truth.sum(axis=1, keepdims=True)
        return true.astype(float), np.array(predicted, float), np.array(hits, float)

    def _as_label(self, label: int) -> npt.NDArray[np.bool_]:
        """Return whether each run predicts the label for each sample: (R, n)."""
        is_label: npt.NDArray[np.bool_] = self.predicted[label] == 1 if self.multi_label else self.predicted == label
        return is_label

    @cached_property
    def _f1(self) -> Numbers:
        """F1 of each class (C, R); 0 for a class without samples and predictions."""
        true, predicted, hits = self._counts
        f1: Numbers = 2 * hits / np.maximum(predicted + true, 1)
        return f1

    @cached_property
    def _averages(self) -> dict[str, Numbers]:
        """Averaged metric -> weight of each class's F1 (C, 1)."""
        true, _, _ = self._counts
        return {"weighted_f1": true / max(1.0, true.sum()), "macro_f1": np.full_like(true, 1 / len(true))}

    def scores(self) -> Numbers:
        """Return each run's metrics (3, R) as `conclugen.evaluation.metrics` defines them."""
        true, predicted, hits = self._counts
        n = self.truth.shape[1]
        wrong_labels = (predicted + true - 2 * hits).sum(axis=0) / n
        # A wrong class is two wrong labels: one that is missing, and one that is too many.
        by_name = {"accuracy": 1 - wrong_labels / (len(true) if self.multi_label else 2)}
        by_name |= {name: (weights * self._f1).sum(axis=0) for name, weights in self._averages.items()}
        return np.stack([by_name[name] for name in SUMMARY_METRICS])

    def influences(self) -> Numbers:
        """Return the derivative of each run's metrics by the weight of each sample: (3, R, n), with a sum of 0.

        With F1 = 2 hits / (predicted + true), the F1 of class c changes by (2 hit - F1 (predicted + true)) / (sum of
        predicted and true) for the sample's own three indicators. The class's weight in the weighted F1 changes, too.
        """
        true, predicted, _ = self._counts
        n = self.truth.shape[1]
        total = max(1.0, float(true.sum()))
        n_true = self.truth.sum(axis=0)  # [n]
        by_name = {name: np.zeros((self.predicted.shape[-2], n)) for name in SUMMARY_METRICS}
        for label, is_true in enumerate(self.truth):
            as_label = self._as_label(label)
            f1 = self._f1[label][:, np.newaxis]  # [R, 1]
            indicators = as_label.astype(float) + is_true
            by_name["accuracy"] -= indicators == 1
            indicators *= -f1
            indicators += 2 * (as_label & is_true)
            indicators /= np.maximum(predicted[label] + true[label], 1)[:, np.newaxis]
            for name, weights in self._averages.items():
                by_name[name] += weights[label] * indicators
            by_name["weighted_f1"] += f1 * ((is_true - self._averages["weighted_f1"][label] * n_true) / total)
        wrong = by_name["accuracy"] / (len(self.truth) if self.multi_label else 2)
        by_name["accuracy"] = (wrong - wrong.mean(axis=1, keepdims=True)) / n
        return np.stack([by_name[name] for name in SUMMARY_METRICS])


@dataclass(frozen=True, eq=False)
class Column:
    """The predictions of every confirmed method in one column of the ablation table."""

    dataset: str
    """The column's name in the table, label budget and instrument included."""
    runs: tuple[Run, ...]
    """Runs, with the methods in the table's order."""
    folds: tuple[Fold, ...]
    grouped_by: tuple[str, ...] = ()
    """Names of the W ways to group samples; none if each sample is a group of its own, which is one way."""

    @property
    def n_samples(self) -> int:
        """Number of test samples of all folds."""
        return sum(fold.truth.shape[1] for fold in self.folds)

    @cached_property
    def groups(self) -> npt.NDArray[np.integer[Any]]:
        """The groups of the samples of all folds, one fold after the other: (W, N)."""
        return np.concatenate([fold.groups for fold in self.folds], axis=1)

    @property
    def n_groups(self) -> int:
        """Number of groups of test samples of all folds, of the way that has fewest."""
        return min(len(np.unique(of_way)) for of_way in self.groups)


def columns(records: Sequence[Record]) -> Iterator[Column]:
    """Yield each column of one sweep's ablation table that has a confirmed method.

    Raises:
        ReportError: runs were not tested on the same samples in the same order.
    """
    for name, runs in _outputs(records):
        yield _column(name, runs)


def joint_columns(first: Sequence[Record], second: Sequence[Record]) -> Iterator[Column]:
    """Yield each column that two sweeps have in common, with the runs of both; the methods are named by :func:`joint`.

    Raises:
        ReportError: runs were not tested on the same samples in the same order.
    """
    others = dict(_outputs(second))
    for name, runs in _outputs(first):
        if name in others:
            together = {replace(run, method=joint(run.method, 1)): by_fold for run, by_fold in runs.items()}
            together |= {replace(run, method=joint(run.method, 2)): by_fold for run, by_fold in others[name].items()}
            yield _column(name, together)


def joint(method: str, sweep: int) -> str:
    """Return the name of a method of the first or the second sweep in :func:`joint_columns`."""
    return f"{method} in sweep {sweep}"


def _outputs(records: Sequence[Record]) -> Iterator[tuple[str, Outputs]]:
    """Yield the name of each column with a confirmed method, and the outputs of its runs."""
    config = latest_config(records)
    by_method: dict[tuple[str, PlannedColumn], list[tuple[int, Predictions]]] = {}
    for record in records:
        if record.stage == "confirm":
            for p in record.predictions:
                by_method.setdefault((record.method, PlannedColumn.of(p)), []).append((record.number, p))
    for name, column in planned_columns(records).items():
        runs: Outputs = {}
        for method, searches in planned_methods(config, column).items():
            for search, recorded in enumerate(searches, 1):
                for seed, p in by_method.get((recorded, column), ()):
                    runs.setdefault(Run(method, seed, p.draw, search), {})[p.fold] = p
        if runs:
            yield name, runs


def _column(dataset: str, runs: Outputs) -> Column:
    first, expected = next(iter(runs.items()))
    # Records of an earlier version have fewer groups, or none; a sweep that was resumed since may hold both.
    grouped = max(runs.values(), key=lambda by_fold: len(next(iter(by_fold.values())).groupings))
    folds: list[Fold] = []
    n_samples = 0
    for number in sorted(expected):
        samples = _samples(expected[number])
        for run, by_fold in runs.items():
            if by_fold.keys() != expected.keys() or _samples(by_fold[number]) != samples:
                raise ReportError(
                    f"{dataset}: {run.method} (seed {run.seed}, draw {run.draw}) and {first.method} (seed {first.seed},"
                    f" draw {first.draw}) were not tested on the same samples in the same order, so they cannot be "
                    "compared; run the one with outdated features again, in a folder of its own."
                )
        groups = np.array(list(grouped[number].groupings.values()), int)
        fold = _fold([by_fold[number] for by_fold in runs.values()], groups, n_samples)
        folds.append(fold)
        n_samples += fold.truth.shape[1]
    names = next(iter(grouped.values())).groupings
    return Column(dataset, tuple(runs), tuple(folds), tuple(names))


def _samples(predictions: Predictions) -> tuple[object, ...]:
    """Return the identity of the test samples, in which all runs must agree."""
    return list(predictions.classes), predictions.multi_label, list(predictions.truth)


def _fold(by_run: Sequence[Predictions], groups: npt.NDArray[np.integer[Any]], n_before: int) -> Fold:
    """Return the fold of predictions with the same truth.

    Args:
        by_run: each run's predictions.
        groups: (W, n); W is 0 if each sample is a group of its own.
        n_before: number of samples of earlier folds.
    """
    first = by_run[0]
    # 16 bits hold class indices and 0/1 labels. Counting spends most of its time on their comparison.
    predicted = np.array([np.asarray(p.predicted, np.int16) for p in by_run])
    truth = np.asarray(first.truth, np.int16)
    n_classes = len(first.classes)
    if first.multi_label:
        predicted = np.ascontiguousarray(predicted.reshape(len(predicted), -1, n_classes).transpose(2, 0, 1))
        is_true = truth.reshape(-1, n_classes).T == 1
    else:
        is_true = truth == np.arange(n_classes)[:, np.newaxis]
    each = n_before + np.arange(is_true.shape[1])
    return Fold(is_true, predicted, groups if len(groups) else each[np.newaxis])
