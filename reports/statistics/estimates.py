"""Standard errors, intervals and tests that cover test samples, training runs and searches together.

A confirmed score varies for three reasons: another confirmation seed (initial weights, data order, label draws),
another search of hyperparameters, and other test samples. Seeds are nested in searches. All runs are tested on the same
samples, so samples are crossed with both. This is the design of multi-reader multi-case studies in radiology, with runs
as readers and test samples as cases. Obuchowski and Rockette (1995, Commun. Statist. Simula. 24:285) estimate the
variance of a score, or of a difference of scores, averaged over N units:

    V = B / N + max(0, K)

The unit is the search if there are two or more, and its value is the mean over its seeds (the method of unweighted
means: Burdick and Graybill 1992, Confidence Intervals on Variance Components, chapter 4). Otherwise the unit is the
seed. B is the sample variance of the N values. It holds everything that differs between units, the samples' reaction to
the unit included. K is the covariance of the values of two units, which they have because the samples are the same
(:mod:`reports.statistics.inference`). Searches as a source of variance are Bouthillier et al. (2021, Accounting for
Variance in Machine Learning Benchmarks, MLSys): seeds of one winner say nothing about the winner of another search.

Value / error has Student's t distribution with Satterthwaite's degrees of freedom, as in Hillis (2007, Statist. Med.
26:596). Hillis takes K as known. Here K has G - 1 degrees, because there may be few speakers; G is the effective number
of groups. With three seeds, B is sometimes far below what the samples alone imply (W: the mean variance of one unit's
value over samples, minus K). Hillis' degrees are then too large. So the degrees are computed with max(B, W) in place of
B.

Searches are fewer still, and nothing but B says how much they vary. If B is too small by chance, Satterthwaite's
degrees are too many, and small p values are far too small: among seven equal methods with three searches, 12 % of
families had a finding after Holm's correction. So an interval over searches has the half-width
sqrt(t_B^2 B / N + t_K^2 K), where each t is the quantile with its own degrees, N - 1 and G - 1. It covers the truth at
least as often as it says (Banerjee 1960, Sankhya 22:351). Its p value is 1 minus the confidence at which the interval
reaches 0.

Rejected, with the numbers of ``python -m benchmarks.inference`` in docs/decisions/statistics.md: the bootstrap over
samples, which takes the heads as given; Student's t over seeds, which takes the samples as given; the bootstrap over
both (Owen 2007, Ann. Appl. Statist. 1:386), whose intervals are too wide where seeds hardly matter, and too narrow
where three seeds matter much.

Legend: N units, S seeds, G groups.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

from reports.statistics.outputs import Numbers

__all__ = ["CONFIDENCE", "Estimate", "Spread", "estimate"]

CONFIDENCE = 0.95
_LEAST = -15.0
"""Decimal logarithm of the smallest p value over searches."""


@dataclass(frozen=True)
class Spread:
    """How much a value varies between training runs. Statistics that do not exist are NaN."""

    n_searches: int
    n_seeds: int
    """Confirmation seeds, of all searches together."""
    between: float
    """B: sample variance of the value between units; NaN for one unit."""
    own: float
    """max(0, W): variance of one unit's value over samples that it does not share with other units."""
    within: float = math.nan
    """Variance of one search's value by its seeds; NaN for a single search, or if no search has two seeds."""

    @property
    def units(self) -> int:
        """N: the searches if there are several, otherwise the seeds."""
        return self.n_searches if self.n_searches > 1 else self.n_seeds

    @property
    def variance(self) -> float:
        """Variance of the mean over units."""
        return self.between / self.units if self.units else math.nan

    @property
    def of_seeds(self) -> float:
        """The part of the variance that more seeds make smaller; NaN if each of several searches has one seed."""
        if self.n_searches <= 1:
            return self.variance
        return math.nan if math.isnan(self.within) else min(self.variance, self.within / self.units)

    @property
    def of_searches(self) -> float:
        """The rest, which only more searches make smaller; 0 for a single search."""
        if self.n_searches <= 1:
            return 0.0
        return self.variance if math.isnan(self.within) else max(0.0, self.variance - self.within / self.units)

    @property
    def _expected(self) -> float:
        """The variance of a unit to expect of other runs: at least what samples and seeds imply."""
        return float(np.nanmax([self.between, self.own, self.within]))

    def more_seeds(self, more: int) -> "Spread":
        """Return what is to be expected of so many more seeds in each search."""
        if self.n_searches <= 1:
            return replace(self, n_seeds=self.n_seeds + more, between=self._expected)
        n_seeds = self.n_seeds + more * self.n_searches
        within = self.within * self.n_seeds / n_seeds
        between = self._expected if math.isnan(within) else self._expected - self.within + within
        return replace(self, n_seeds=n_seeds, within=within, between=between, own=min(self.own, between))

    def more_searches(self, more: int) -> "Spread":
        """Return what is to be expected of so many more searches with as many seeds each."""
        searches = self.n_searches + more
        n_seeds = self.n_seeds * searches // self.n_searches
        return replace(self, n_searches=searches, n_seeds=n_seeds, between=self._expected)


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, with the variances of its error. Statistics that do not exist are NaN."""

    value: float
    n_groups: float
    """Effective number of independent groups of test samples."""
    shared: float
    """max(0, K): covariance of the values of two units through the samples that they share."""
    spreads: tuple[Spread, ...]
    """One; two for the difference of independent runs."""

    @property
    def n_seeds(self) -> int:
        """Confirmation seeds, of all searches together; the fewer if runs are independent."""
        return min(spread.n_seeds for spread in self.spreads)

    @property
    def n_searches(self) -> int:
        """Searches; the fewer if runs are independent."""
        return min(spread.n_searches for spread in self.spreads)

    @property
    def error(self) -> float:
        """Standard error over searches, seeds and samples together."""
        return math.sqrt(math.fsum(spread.variance for spread in self.spreads) + self.shared)

    @property
    def seed_error(self) -> float:
        """The part of the error that more seeds make smaller. The squares of the three parts add up to the whole."""
        return math.sqrt(math.fsum(spread.of_seeds for spread in self.spreads))

    @property
    def search_error(self) -> float:
        """The part of the error that only more searches make smaller; 0 if every method was searched once."""
        return math.sqrt(math.fsum(spread.of_searches for spread in self.spreads))

    @property
    def sample_error(self) -> float:
        """The part of the error that only more test samples make smaller."""
        return math.sqrt(self.shared)

    @cached_property
    def degrees(self) -> float:
        """Satterthwaite's degrees of freedom if methods were searched once; infinite where nothing varies."""
        variances = [max(spread.between, spread.own) / spread.units for spread in self.spreads]
        squares = self.shared**2 / (self.n_groups - 1)
        squares += sum(v**2 / (spread.units - 1) for v, spread in zip(variances, self.spreads, strict=True))
        return (sum(variances) + self.shared) ** 2 / squares if squares else math.inf

    @property
    def p(self) -> float:
        """P value of the two-sided test that the value is 0; 1 if nothing varies and the value is 0."""
        if not self.error > 0:
            return math.nan if math.isnan(self.error) else float(self.value == 0)
        if not self._several_searches:
            return float(2 * stdtr(self.degrees, -abs(self.value) / self.error))
        if self.value == 0:
            return 1.0
        beyond = partial(self._beyond_zero, abs(self.value))
        return float(10.0 ** (brentq(beyond, _LEAST, 0.0) if beyond(_LEAST) > 0 else _LEAST))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return the bounds of the interval with this confidence."""
        half = 0.0
        if self.error != 0:  # NaN included
            half = math.nan if math.isnan(self.error) else self._half_width((1 - confidence) / 2)
        return self.value - half, self.value + half

    @property
    def _several_searches(self) -> bool:
        return any(spread.n_searches > 1 for spread in self.spreads)

    def _half_width(self, tail: float) -> float:
        """Return half the width of the interval that leaves out this probability at either end."""
        if not self._several_searches:
            return self.error * -float(stdtrit(self.degrees, tail))
        of_runs = [(spread.variance, float(spread.units - 1)) for spread in self.spreads]
        parts = [*of_runs, (self.shared, self.n_groups - 1.0)]
        return math.sqrt(math.fsum(variance * float(stdtrit(degrees, tail)) ** 2 for variance, degrees in parts))

    def _beyond_zero(self, distance: float, exponent: float) -> float:
        """Return by how much the interval with the p value 10^exponent reaches over a distance."""
        return self._half_width(10.0**exponent / 2) - distance

    def more_seeds(self, more: int) -> "Estimate":
        """Return what is to be expected of so many more seeds in each search, with the same value and variances."""
        return replace(self, spreads=tuple(spread.more_seeds(more) for spread in self.spreads))

    def more_searches(self, more: int) -> "Estimate":
        """Return what is to be expected of so many more searches, with the same value and variances."""
        return replace(self, spreads=tuple(spread.more_searches(more) for spread in self.spreads))


def estimate(values: Numbers, covariance: Numbers, n_groups: float, searches: Sequence[int] = ()) -> Estimate:
    """Estimate the mean of one value per run.

    Args:
        values: (S,) one value per seed.
        covariance: (S, S) covariances of the values over test samples.
        n_groups: G, the effective number of independent groups of samples.
        searches: (S,) the search of each value; empty for a single search.
    """
    n_seeds = len(values)
    n_searches = len(set(searches)) or min(1, n_seeds)
    within = math.nan
    if n_searches > 1:
        of_search = np.array(searches) == np.unique(searches)[:, np.newaxis]  # [N, S]
        counts = of_search.sum(axis=1)
        average = of_search / counts[:, np.newaxis]
        if n_seeds > n_searches:
            squares = float(((values - (average @ values) @ of_search) ** 2).sum())
            within = squares / (n_seeds - n_searches) * float((1 / counts).mean())
        values, covariance = average @ values, average @ covariance @ average.T
    n = len(values)
    if n < 2 or n_groups < 2:
        mean = float(values.mean()) if n else math.nan
        return Estimate(mean, n_groups, math.nan, (Spread(n_searches, n_seeds, math.nan, math.nan),))
    variances = float(np.trace(covariance))
    shared = (float(covariance.sum()) - variances) / (n * (n - 1))
    own = max(0.0, variances / n - max(0.0, shared))
    spread = Spread(n_searches, n_seeds, float(values.var(ddof=1)), own, within)
    return Estimate(float(values.mean()), n_groups, max(0.0, shared), (spread,))
