"""The scores of confirmed methods, and their covariances over test samples.

Two runs have a covariance because they are tested on the same samples. It is estimated from influences
(`reports.statistics.outputs`), summed over each independent group of samples: the infinitesimal jackknife (Efron 1982,
The Jackknife, the Bootstrap and Other Resampling Plans, chapter 6), with the factor G / (G - 1) for G groups. Groups as
units are Obuchowski (1997, Biometrics 53:567). What follows for errors and tests is `reports.statistics.estimates`.

Samples may be grouped in several ways, such as by speaker and by dialogue. Then two samples are independent only if
they share no group. Cameron, Gelbach and Miller (2011, J. Bus. Econ. Stat. 29:238) add the covariances of the ways, and
subtract what was counted twice: that of the samples that share all groups. The connected parts of samples that share
groups were rejected as units: the speakers of MELD meet in dialogues, so nearly all samples are one part.

Their degrees of freedom are G - 1. Six speakers of MELD have most of its samples. So G is the effective number of
groups (Carter, Schnepel and Steigerwald 2017, Rev. Econ. Stat. 99:698) for samples of a group that go together
entirely, (sum of n_g^2)^2 / (sum of n_g^4). It is that of the way with fewest, as Cameron et al. propose.

Influences within a fold add up to 0. So a fold whose test samples are all of one group, as when each speaker is a fold,
would say nothing about other groups. Its samples share its distance from the mean of all folds then: a stratum with a
single unit is centred at the mean of all, as by `adjust` in the survey package of R (Lumley 2010, Complex Surveys). If
every fold is one group, this is the variance of the folds' scores, divided by their number.

Legend: S seeds, G groups, W ways to group, N test samples, M methods, R runs (a method, a search and a seed), 3 the
metrics of SUMMARY_METRICS in order.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from reports.processes import ALONE, Processes
from reports.statistics.estimates import Estimate, estimate
from reports.statistics.outputs import Column, Fold, Numbers, columns
from sweeps.ledger import SUMMARY_METRICS, Record

__all__ = ["RunKey", "Scores", "column_scores", "confirmed_scores"]

RunKey = tuple[int, int]
"""Number of a search, and index of a confirmation seed in it."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The test scores of one column of the ablation table, and how they vary together over test samples."""

    dataset: str
    """The column's name in the table."""
    runs: tuple[tuple[str, int, int], ...]
    """Method, search and confirmation seed of each run, the methods in the table's order."""
    scores: Numbers
    """(3, R): means over label draws and folds."""
    covariance: Numbers
    """(3, R, R): covariances over test samples."""
    n_samples: int
    n_groups: int
    """Groups of test samples; of several ways to group them, those of the way with fewest."""
    effective_groups: float
    """As many groups of equal size tell as much; at most ``n_groups``."""
    grouped_by: tuple[str, ...]
    """Names of the ways to group test samples; none if each is a group of its own."""

    @property
    def methods(self) -> list[str]:
        """The methods, in the table's order."""
        return list(self._indices)

    @cached_property
    def _indices(self) -> dict[str, dict[RunKey, int]]:
        indices: dict[str, dict[RunKey, int]] = {}
        for index, (method, *key) in enumerate(self.runs):
            indices.setdefault(method, {})[key[0], key[1]] = index
        return indices

    def by_seed(self, method: str) -> dict[RunKey, int]:
        """Map search and confirmation seed of a method's runs to the index of the run."""
        return self._indices.get(method, {})

    def contrast(self, weights: Mapping[str, float]) -> dict[str, Estimate]:
        """Estimate a weighted sum of methods' scores, by metric, over the runs that all of them have.

        Runs of several methods belong together if they have the same search and confirmation seed.

        Args:
            weights: method -> weight, such as 1 and -1 for a difference.
        """
        runs = [self.by_seed(method) for method in weights]
        keys = [key for key in runs[0] if all(key in of_method for of_method in runs)]
        indices = np.array([[of_method[key] for key in keys] for of_method in runs], int)  # [methods, S]
        weight = np.array(list(weights.values()))
        values = np.einsum("m,kms->ks", weight, self.scores[:, indices])
        joint = self.covariance[:, indices[:, :, np.newaxis, np.newaxis], indices]  # [3, methods, S, methods, S]
        covariance = np.einsum("m,kmsnt,n->kst", weight, joint, weight)
        searches = [search for search, _ in keys]
        return {
            metric: estimate(of_metric, covariances, self.effective_groups, searches)
            for metric, of_metric, covariances in zip(SUMMARY_METRICS, values, covariance, strict=True)
        }

    def independent_difference(self, first: str, second: str) -> dict[str, Estimate]:
        """Estimate the second method's score minus the first's, by metric, from runs that do not belong together.

        The variances between runs add up. Both methods were tested on the same samples, so K is that of the difference.
        """
        indices = [list(self.by_seed(method).values()) for method in (first, second)]
        common = self.covariance[:, indices[0]][:, :, indices[1]].mean(axis=(1, 2))
        estimates = zip(self.contrast({first: 1.0}).items(), self.contrast({second: 1.0}).values(), common, strict=True)
        return {
            metric: Estimate(
                other.value - one.value,
                self.effective_groups,
                max(0.0, one.shared + other.shared - 2 * float(of_both)),
                (*one.spreads, *other.spreads),
            )
            for (metric, one), other, of_both in estimates
        }


def confirmed_scores(ledgers: Sequence[Sequence[Record]], processes: Processes = ALONE) -> list[Scores]:
    """Return the scores of every column of the ablation table with a confirmed method.

    Args:
        ledgers: records of one or more sweeps.
        processes: processes that share the columns.

    Raises:
        ReportError: runs were not tested on the same samples.
    """
    return processes.map(column_scores, [column for records in ledgers for column in columns(records)])


def column_scores(column: Column) -> Scores:
    """Score a column's runs, averaged over label draws and folds."""
    runs = list(dict.fromkeys((run.method, run.search, run.seed) for run in column.runs))
    place = {key: index for index, key in enumerate(runs)}
    average = np.zeros((len(runs), len(column.runs)))
    for index, run in enumerate(column.runs):
        average[place[run.method, run.search, run.seed], index] = 1
    average /= average.sum(axis=1, keepdims=True) * len(column.folds)
    influences = []
    with threadpool_limits(limits=1):  # a second thread slows down such small products
        by_fold = [fold.scores() @ average.T for fold in column.folds]  # [3, R] each, whose sum is the mean over folds
        scores = np.sum(by_fold, axis=0)
        for fold, of_fold in zip(column.folds, by_fold, strict=True):
            influence = average @ fold.influences()
            if _is_one_group(fold):
                beyond = of_fold - scores / len(column.folds)
                influence += beyond[..., np.newaxis] / fold.truth.shape[1]
            influences.append(influence)
        covariance = _covariance(np.concatenate(influences, axis=-1), column.groups)
    effective = min(map(_effective_number, column.groups))
    return Scores(
        column.dataset, tuple(runs), scores, covariance, column.n_samples, column.n_groups, effective,
        column.grouped_by,
    )  # fmt: skip


def _is_one_group(fold: Fold) -> bool:
    """Return whether all test samples of a fold are of one group, by one of the ways to group them."""
    return any(len(np.unique(of_way)) == 1 for of_way in fold.groups)


def _covariance(influences: Numbers, groups: npt.NDArray[np.integer[Any]]) -> Numbers:
    """Return the covariances (3, R, R) over test samples.

    Args:
        influences: (3, R, N) of each sample on each run's metrics.
        groups: (W, N).
    """
    ways = range(len(groups))
    signs: Counter[bytes] = Counter()  # partition of the samples -> how often it is added
    for several in chain.from_iterable(combinations(ways, size) for size in range(1, len(groups) + 1)):
        signs[_partition(groups[list(several)]).tobytes()] += 1 if len(several) % 2 else -1
    covariance = np.zeros((len(influences), influences.shape[1], influences.shape[1]))
    for partition, sign in signs.items():
        if sign:
            of_samples = np.frombuffer(partition, np.int64)
            order = np.argsort(of_samples, kind="stable")
            _, starts = np.unique(of_samples[order], return_index=True)
            sums = np.add.reduceat(influences[..., order], starts, axis=-1)  # [3, R, G]
            covariance += sign * len(starts) / max(1, len(starts) - 1) * (sums @ sums.transpose(0, 2, 1))
    return covariance


def _partition(groups: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Return the first sample (N,) that is in the same groups (W, N) as each sample.

    Equal groups have equal partitions. So a way whose groups lie within those of another way cancels out.
    """
    partition = np.zeros(groups.shape[1], np.int64)
    for of_way in groups:
        codes = partition * (of_way.max() + 1) + of_way
        _, first, of_samples = np.unique(codes, return_index=True, return_inverse=True)
        partition = first[of_samples].astype(np.int64)
    return partition


def _effective_number(groups: npt.NDArray[np.integer[Any]]) -> float:
    """Return how many groups of equal size tell as much as the groups of the samples (N,); two at least, if there are.

    Fewer than two would leave less than one degree of freedom.
    """
    squares = np.unique(groups, return_counts=True)[1].astype(float) ** 2
    return max(float(min(2, len(squares))), float(squares.sum() ** 2 / (squares**2).sum()))
