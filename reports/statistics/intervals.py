"""Intervals of the numbers of the ablation table, with the three parts of their errors.

The part of the seeds says how far another confirmation seed (initial weights, data order, label draws) may change a
score. The part of the searches says how far the winner of another search may change it. The part of the samples says
how far another test set of the same size may change it. The interval covers all that was repeated.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

from reports.statistics.inference import Scores

__all__ = ["COLUMNS", "intervals"]

COLUMNS = (
    "dataset",
    "method",
    "metric",
    "mean",
    "low",
    "high",
    "error",
    "seed_error",
    "search_error",
    "sample_error",
    "n_seeds",
    "n_searches",
    "n_samples",
    "n_groups",
    "grouped_by",
)


def intervals(columns: Sequence[Scores]) -> pd.DataFrame:
    """Return one row per (dataset, confirmed method, summary metric).

    ``mean`` is the mean over searches of the mean over their seeds, ``n_seeds`` in all. ``low..high`` is its 95 %
    interval over searches, seeds and test samples together, within 0 and 1 as scores are. ``error`` is the standard
    error. ``seed_error``, ``search_error`` and ``sample_error`` are its parts: their squares add up to the square of
    the whole. They are NaN for a single seed, except ``search_error``: it is 0 for a single search, since nothing is
    known of others. If each of several searches has one seed, ``seed_error`` is NaN and ``search_error`` holds both
    parts.

    Test samples count as ``n_groups`` groups, made by ``grouped_by``, such as speaker; if that is empty, each sample is
    a group. Of several ways, such as speaker and dialogue, the one with fewest groups is counted. Methods without
    predictions have no row.

    Args:
        columns: from :func:`reports.statistics.inference.confirmed_scores`.
    """
    return pd.DataFrame([row for scores in columns for row in _rows(scores)], columns=COLUMNS)


def _rows(scores: Scores) -> Iterator[tuple[object, ...]]:
    for method in scores.methods:
        for metric, estimate in scores.contrast({method: 1.0}).items():
            errors = (estimate.error, estimate.seed_error, estimate.search_error, estimate.sample_error)
            counts = (estimate.n_seeds, estimate.n_searches, scores.n_samples, scores.n_groups)
            low, high = estimate.interval()
            numbers = (estimate.value, max(low, 0.0), min(high, 1.0), *errors, *counts)
            yield (scores.dataset, method, metric, *numbers, ", ".join(scores.grouped_by))
