"""The contribution of each loss, from all eight combinations of the three losses.

The seven loss subsets and the random head, which is trained with no loss, form a full 2^3 factorial experiment. A main
effect says what a loss adds on average over the combinations of the other two. An interaction says whether losses help
or hinder each other. Shapley values divide the whole gain, score of ConCluGen minus score of the random head, among the
losses without a remainder.

All effects are differences of cells with the same confirmation seed, and their intervals are over seeds. Missing cells
are not estimated: a column of the ablation table without all eight cells has no effects.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import factorial as orderings
from math import prod

import pandas as pd

from reports.statistics.ablation import PlannedColumn, latest_config, planned_columns, planned_methods, seed_statistics
from sweeps.ledger import SUMMARY_METRICS, Record

__all__ = ["COLUMNS", "LOSSES", "TOTAL", "effects", "factorial"]

COLUMNS = ("dataset", "metric", "quantity", "kind", "value", "std", "ci_low", "ci_high", "n_seeds")
LOSSES = ("Con", "Clu", "Gen")
TOTAL = "ConCluGen - random_head"
_EMPTY = "random_head"
_SUBSETS = [subset for size in range(len(LOSSES) + 1) for subset in combinations(LOSSES, size)]


def factorial(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per (dataset, summary metric) and quantity of :func:`effects`.

    The statistics are over the ``n_seeds`` confirmation seeds that all eight cells have: ``value`` is the mean, ``std``
    the sample standard deviation and ``ci_low..ci_high`` the 95 % Student-t interval. With a single seed, ``std`` and
    the interval are NaN. A column of the ablation table has no rows if it lacks a cell, or if its eight cells have no
    common seed.

    Args:
        ledgers: records of one or more sweeps.
    """
    return pd.DataFrame([row for records in ledgers for row in _rows(records)], columns=COLUMNS)


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


def _rows(records: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    config = latest_config(records)
    for name, column in planned_columns(records).items():
        recorded = planned_methods(config, column)
        names = {cell: "".join(cell) or _EMPTY for cell in _SUBSETS}
        if not recorded.keys() >= set(names.values()):
            continue
        cell_of = {recorded[method]: cell for cell, method in names.items()}
        scores: dict[tuple[str, int], dict[tuple[str, ...], float]] = {}  # (metric, seed) -> cell -> score
        for record in records:
            if record.stage == "confirm" and record.method in cell_of:
                for m in record.metrics:
                    if m.split == "test" and PlannedColumn.of(m) == column:
                        scores.setdefault((m.metric, record.number), {})[cell_of[record.method]] = m.value
        for metric in SUMMARY_METRICS:
            by_seed = [
                effects(cells)
                for (cells_metric, _), cells in scores.items()
                if cells_metric == metric and len(cells) == 8
            ]
            for kind, quantity in by_seed[0] if by_seed else ():
                value, std, low, high, n_seeds = seed_statistics([seed[kind, quantity] for seed in by_seed])
                yield name, metric, quantity, kind, value, std, low, high, n_seeds
