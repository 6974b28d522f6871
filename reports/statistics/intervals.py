"""Intervals of the numbers of the ablation table, with the two parts of their errors.

The part of the seeds says how far another confirmation seed (initial weights, data order, label draws) may change a
score. The part of the samples says how far another test set of the same size may change it. The interval covers both.
"""

import math
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
    "sample_error",
    "n_seeds",
    "n_samples",
    "n_groups",
    "grouped_by",
)


def intervals(columns: Sequence[Scores]) -> pd.DataFrame:
    """Return one row per (dataset, confirmed method, summary metric).

    ``low..high`` is the 95 % interval over confirmation seeds and test samples together, and ``error`` the standard
    error. ``seed_error`` and ``sample_error`` are its parts: their squares add up to the square of the whole. All of
    them are NaN for a single seed. Test samples count as ``n_groups`` groups, made by ``grouped_by``, such as speaker;
    if that is empty, each sample is a group. Of several ways, such as speaker and dialogue, the one with fewest groups
    is counted. Methods without predictions have no row.

    Args:
        columns: from :func:`reports.statistics.inference.confirmed_scores`.
    """
    return pd.DataFrame([row for scores in columns for row in _rows(scores)], columns=COLUMNS)


def _rows(scores: Scores) -> Iterator[tuple[object, ...]]:
    for method in scores.methods:
        for metric, estimate in scores.contrast({method: 1.0}).items():
            errors = (estimate.error, math.sqrt(estimate.between / estimate.n_seeds), math.sqrt(estimate.shared))
            numbers = (estimate.value, *estimate.interval(), *errors)
            counts = (estimate.n_seeds, scores.n_samples, scores.n_groups)
            yield scores.dataset, method, metric, *numbers, *counts, ", ".join(scores.grouped_by)
