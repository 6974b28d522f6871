"""The contribution of each loss, from all eight combinations of the three losses.

The seven loss subsets and the random head, which is trained with no loss, form a full 2^3 factorial experiment. A main
effect says what a loss adds on average over the combinations of the other two. An interaction says whether losses help
or hinder each other. Shapley values divide the whole gain, score of ConCluGen minus score of the random head, among the
losses without a remainder.

All effects are weighted sums of cells with the same search and confirmation seed. Their intervals are over searches,
seeds and test samples together (:mod:`reports.statistics.inference`). Missing cells are not estimated: a column of the
ablation table without all eight cells has no effects.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from math import factorial as orderings
from math import prod

import pandas as pd

from reports.statistics.inference import Scores
from reports.statistics.pairs import holm
from sweeps.ledger import SUMMARY_METRICS

__all__ = ["CELLS", "COLUMNS", "LOSSES", "TOTAL", "effects", "factorial"]

COLUMNS = (
    "dataset",
    "metric",
    "quantity",
    "kind",
    "value",
    "low",
    "high",
    "p",
    "p_holm",
    "seed_error",
    "search_error",
    "sample_error",
    "n_seeds",
    "n_searches",
)
LOSSES = ("Con", "Clu", "Gen")
TOTAL = "ConCluGen - random_head"
_EMPTY = "random_head"
_SUBSETS = [subset for size in range(len(LOSSES) + 1) for subset in combinations(LOSSES, size)]
CELLS = tuple("".join(subset) or _EMPTY for subset in _SUBSETS)
"""The methods that the eight combinations of losses are; the first has none."""


def factorial(columns: Sequence[Scores]) -> pd.DataFrame:
    """Return one row per (dataset, summary metric) and quantity of :func:`effects`.

    ``value`` is the mean over the ``n_seeds`` confirmation seeds of ``n_searches`` searches that all eight cells have.
    ``low..high`` is its 95 % interval over searches, seeds and test samples, and ``seed_error``, ``search_error`` and
    ``sample_error`` are the parts of its standard error, as in :func:`reports.statistics.intervals.intervals`. ``p`` is
    the p value of the test that it is 0. ``p_holm`` is corrected by Holm's method within the kind, such as the three
    Shapley values of a column. With a single seed, the interval and both p values are NaN. A column of the ablation
    table has no rows if it lacks a cell, or if its eight cells have no common seed.

    Args:
        columns: from :func:`reports.statistics.inference.confirmed_scores`.
    """
    names = [name for name in COLUMNS if name != "p_holm"]
    frame = pd.DataFrame([row for scores in columns for row in _rows(scores)], columns=names)
    frame["p_holm"] = frame.groupby(["dataset", "metric", "kind"])["p"].transform(holm)
    return frame[list(COLUMNS)]


def effects(cells: Mapping[tuple[str, ...], float]) -> dict[tuple[str, str], float]:
    """Map (kind, quantity) to the value of the effect.

    * ``main``: mean score with the loss minus mean score without it, over the four combinations of the other two.
    * ``interaction`` of two losses, such as ``Con x Clu``: half the difference between the effect of the first loss
      with the second and its effect without the second. ``interaction`` of all three: half the difference between the
      interaction of two losses with the third and their interaction without it. Source: Box, Hunter and Hunter,
      Statistics for Experimenters, chapter 5.
    * ``shapley``: the gain from adding the loss, averaged over the six orders of adding the losses one by one.
    * ``total``: the score with all three losses minus the score with none; the sum of the Shapley values.

    Args:
        cells: losses, in the order of LOSSES -> score; no losses for the random head.
    """
    result = {}
    for factors in _SUBSETS[1:]:
        signs = {cell: prod(1 if factor in cell else -1 for factor in factors) for cell in _SUBSETS}
        kind = "main" if len(factors) == 1 else "interaction"
        result[kind, " x ".join(factors)] = sum(signs[cell] * cells[cell] for cell in _SUBSETS) / 4
    for loss in LOSSES:
        result["shapley", loss] = sum(
            _weight(without) * (cells[tuple(name for name in LOSSES if name in (loss, *without))] - cells[without])
            for without in _SUBSETS
            if loss not in without
        )
    result["total", TOTAL] = cells[LOSSES] - cells[()]
    return result


def _weight(before: tuple[str, ...]) -> float:
    """Return the share of the orders of adding losses in which exactly ``before`` precede a given loss."""
    return orderings(len(before)) * orderings(len(LOSSES) - 1 - len(before)) / orderings(len(LOSSES))


@cache
def _weights() -> dict[tuple[str, str], dict[str, float]]:
    """Map (kind, quantity) to the weight of each cell's method in the effect."""
    weights: dict[tuple[str, str], dict[str, float]] = {}
    for cell in _SUBSETS:
        of_cell = effects({other: float(other == cell) for other in _SUBSETS})
        for effect, weight in of_cell.items():
            weights.setdefault(effect, {})["".join(cell) or _EMPTY] = weight
    return weights


def _rows(scores: Scores) -> Iterator[tuple[object, ...]]:
    weights = _weights()
    if not set(scores.methods) >= {method for of_methods in weights.values() for method in of_methods}:
        return
    estimates = {effect: scores.contrast(of_methods) for effect, of_methods in weights.items()}
    for metric in SUMMARY_METRICS:
        for (kind, quantity), by_metric in estimates.items():
            estimate = by_metric[metric]
            if estimate.n_seeds:
                errors = (estimate.seed_error, estimate.search_error, estimate.sample_error)
                numbers = (estimate.value, *estimate.interval(), estimate.p, *errors)
                yield (scores.dataset, metric, quantity, kind, *numbers, estimate.n_seeds, estimate.n_searches)
