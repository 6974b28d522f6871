"""Standard errors, intervals and tests that cover test samples and training runs together.

A confirmed score varies for two reasons: another confirmation seed (initial weights, data order, label draws) and other
test samples. All seeds are tested on the same samples, so the two are crossed. This is the design of multi-reader
multi-case studies in radiology, with seeds as readers and test samples as cases. Obuchowski and Rockette (1995, Commun.
Statist. Simula. 24:285) estimate the variance of a score, or of a difference of scores, averaged over S seeds:

    V = B / S + max(0, K)

B is the sample variance of the S values. It holds everything that differs between seeds, the samples' reaction to the
seed included. K is the covariance of the values of two seeds, which they have because the samples are the same. V / B
tells how much more seeds would help; nothing but more test data makes K smaller.

K is estimated from influences (`reports.statistics.outputs`), summed over each independent group of samples: the
infinitesimal jackknife (Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans, chapter 6), with the
factor G / (G - 1) for G groups. Groups as units are Obuchowski (1997, Biometrics 53:567).

Samples may be grouped in several ways, such as by speaker and by dialogue. Then two samples are independent only if
they share no group. Cameron, Gelbach and Miller (2011, J. Bus. Econ. Stat. 29:238) add the covariances of the ways, and
subtract what was counted twice: that of the samples that share all groups. The connected parts of samples that share
groups were rejected as units: the speakers of MELD meet in dialogues, so nearly all samples are one part.

Value / error has Student's t distribution with Satterthwaite's degrees of freedom, as in Hillis (2007, Statist. Med.
26:596). Hillis takes K as known. Here K has G - 1 degrees, because there may be few speakers. Six speakers of MELD have
most of its samples. So G is the effective number of groups (Carter, Schnepel and Steigerwald 2017, Rev. Econ. Stat.
99:698) for samples of a group that go together entirely, (sum of n_g^2)^2 / (sum of n_g^4). It is that of the way with
fewest, as Cameron et al. propose. With three seeds, B is sometimes far below what the samples alone imply (W: the mean
variance of one seed's value over samples, minus K). Hillis' degrees are then too large. So the degrees are computed
with max(B, W) in place of B.

Rejected, with the numbers of ``python -m benchmarks.inference`` in docs/decisions/statistics.md: the bootstrap over
samples, which takes the heads as given; Student's t over seeds, which takes the samples as given; the bootstrap over
both (Owen 2007, Ann. Appl. Statist. 1:386), whose intervals are too wide where seeds hardly matter, and too narrow
where three seeds matter much.

Legend: S seeds, G groups, W ways to group, N test samples, M methods, R runs (a method and a seed), 3 the metrics of
SUMMARY_METRICS in order.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit
from threadpoolctl import threadpool_limits

from reports.processes import ALONE, Processes
from reports.statistics.outputs import Column, Numbers, columns
from sweeps.ledger import SUMMARY_METRICS, Record

__all__ = ["CONFIDENCE", "Estimate", "Scores", "confirmed_scores", "estimate"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, with the variances of its error. Statistics that do not exist are NaN."""

    value: float
    n_seeds: int
    n_groups: float
    """Effective number of independent groups of test samples."""
    between: float
    """B: sample variance of the value between seeds; NaN for one seed."""
    shared: float
    """max(0, K): covariance of the values of two seeds through the samples that they share."""
    own: float
    """max(0, W): variance of one seed's value over samples that it does not share with other seeds."""

    @property
    def error(self) -> float:
        """Standard error over seeds and samples together."""
        return math.sqrt(self.between / self.n_seeds + self.shared) if self.n_seeds else math.nan

    @property
    def degrees(self) -> float:
        """Satterthwaite's degrees of freedom; infinite where nothing varies."""
        of_seeds = max(self.between, self.own) / self.n_seeds
        squares = of_seeds**2 / (self.n_seeds - 1) + self.shared**2 / (self.n_groups - 1)
        return (of_seeds + self.shared) ** 2 / squares if squares else math.inf

    @property
    def p(self) -> float:
        """P value of the two-sided test that the value is 0; 1 if nothing varies and the value is 0."""
        if not self.error > 0:
            return math.nan if math.isnan(self.error) else float(self.value == 0)
        return float(2 * stdtr(self.degrees, -abs(self.value) / self.error))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return the bounds of the interval with this confidence."""
        half = 0.0
        if self.error != 0:  # NaN included
            half = math.nan
            if not math.isnan(self.error):
                half = self.error * float(stdtrit(self.degrees, (1 + confidence) / 2))
        return self.value - half, self.value + half

    def with_seeds(self, n_seeds: int) -> "Estimate":
        """Return what is to be expected of more seeds: the same value and variances, averaged over ``n_seeds``."""
        return replace(self, n_seeds=n_seeds, between=max(self.between, self.own))


def estimate(values: Numbers, covariance: Numbers, n_groups: float) -> Estimate:
    """Estimate the mean of one value per seed.

    Args:
        values: (S,) one value per seed.
        covariance: (S, S) covariances of the values over test samples.
        n_groups: G, the effective number of independent groups of samples.
    """
    n = len(values)
    if n < 2 or n_groups < 2:
        mean = float(values.mean()) if n else math.nan
        return Estimate(mean, n, n_groups, math.nan, math.nan, math.nan)
    variances = float(np.trace(covariance))
    shared = max(0.0, (float(covariance.sum()) - variances) / (n * (n - 1)))
    own = max(0.0, variances / n - shared)
    return Estimate(float(values.mean()), n, n_groups, float(values.var(ddof=1)), shared, own)


@dataclass(frozen=True, eq=False)
class Scores:
    """The test scores of one column of the ablation table, and how they vary together over test samples."""

    dataset: str
    """The column's name in the table."""
    runs: tuple[tuple[str, int], ...]
    """Method and confirmation seed of each run, the methods in the table's order."""
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
        return list(dict.fromkeys(method for method, _ in self.runs))

    def by_seed(self, method: str) -> dict[int, int]:
        """Map each confirmation seed of a method to the index of its run."""
        return {seed: index for index, (name, seed) in enumerate(self.runs) if name == method}

    def contrast(self, weights: Mapping[str, float]) -> dict[str, Estimate]:
        """Estimate a weighted sum of methods' scores, by metric, over the confirmation seeds that all of them have.

        Args:
            weights: method -> weight, such as 1 and -1 for a difference.
        """
        runs = [self.by_seed(method) for method in weights]
        seeds = [seed for seed in runs[0] if all(seed in of_method for of_method in runs)]
        indices = np.array([[of_method[seed] for seed in seeds] for of_method in runs], int)  # [methods, S]
        weight = np.array(list(weights.values()))
        values = np.einsum("m,kms->ks", weight, self.scores[:, indices])
        joint = self.covariance[:, indices[:, :, np.newaxis, np.newaxis], indices]  # [3, methods, S, methods, S]
        covariance = np.einsum("m,kmsnt,n->kst", weight, joint, weight)
        return {
            metric: estimate(of_metric, covariances, self.effective_groups)
            for metric, of_metric, covariances in zip(SUMMARY_METRICS, values, covariance, strict=True)
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
    runs = list(dict.fromkeys((run.method, run.seed) for run in column.runs))
    place = {key: index for index, key in enumerate(runs)}
    average = np.zeros((len(runs), len(column.runs)))
    for index, run in enumerate(column.runs):
        average[place[run.method, run.seed], index] = 1
    average /= average.sum(axis=1, keepdims=True) * len(column.folds)
    scores = np.zeros((len(SUMMARY_METRICS), len(runs)))
    influences = []
    with threadpool_limits(limits=1):  # a second thread slows down such small products
        for fold in column.folds:
            scores += fold.scores() @ average.T
            influences.append(average @ fold.influences())
        covariance = _covariance(np.concatenate(influences, axis=-1), column.groups)
    effective = min(map(_effective_number, column.groups))
    return Scores(
        column.dataset, tuple(runs), scores, covariance, column.n_samples, column.n_groups, effective,
        column.grouped_by,
    )  # fmt: skip


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
