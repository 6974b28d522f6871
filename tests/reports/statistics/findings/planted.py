"""Builders of ledgers with planted scores, and of what findings are computed from."""

from collections.abc import Mapping, Sequence
from typing import Any

from reports import EQUIVALENT
from reports.output.tables import cell_sources
from reports.statistics.ablation import PlannedColumn, ablation
from reports.statistics.factorial import CELLS, factorial
from reports.statistics.findings.evidence import Evidence
from reports.statistics.instruments import instrument_effects
from reports.statistics.intervals import intervals
from reports.statistics.pairs import pairs
from reports.statistics.ranking import ranking
from reports.statistics.selection import selection
from reports.statistics.tuning import expected_best
from sweeps.ledger import BASELINES, SUMMARY_METRICS, Metric, Record, method_of
from tests.reports.records import config, record, scores_of

Scores = Mapping[str, Mapping[str, Sequence[float]]]
"""Column of the ablation table -> method -> one test score per confirmation seed."""


def runs(scores: Scores, validation: Scores | None = None, **changes: Any) -> list[Record]:
    """Return confirmation runs with these test scores, and the same on validation data unless given.

    Args:
        scores: test scores; every summary metric has them.
        validation: validation scores, where they differ from the test scores.
        changes: changed sections of the configuration.
    """
    columns = [PlannedColumn.named(name) for name in scores]
    methods = list(dict.fromkeys(method for by_method in scores.values() for method in by_method))
    own_names = list(dict.fromkeys(map(method_of, methods)))
    budgets = list(dict.fromkeys(column.labels for column in columns if column.labels))
    settings = config(
        **{
            "name": "s",
            "features": {"downstream": {column.dataset: "/somewhere" for column in columns}},
            "subsets": [method for method in own_names if method not in BASELINES],
            "baselines": [method for method in own_names if method in BASELINES],
            "probe": {
                "also": list(dict.fromkeys(column.instrument for column in columns if column.instrument)),
                "labels_per_class": [int(labels) for labels in budgets if not labels.endswith("%")],
                "label_fraction": [int(labels.rstrip("%")) / 100 for labels in budgets if labels.endswith("%")],
            },
            "budget": {"seeds": max(len(values) for of in scores.values() for values in of.values()), "searches": 1},
            **changes,
        }
    )
    by_split = {"test": scores, "val": scores if validation is None else validation}
    n_seeds = {method: max(len(of.get(method, ())) for of in scores.values()) for method in methods}
    return [
        record(
            "confirm", method, seed, config=settings, metrics=[
                Metric(column.dataset, split, column.labels, metric, values[seed], column.instrument)  # type: ignore[arg-type]
                for split, of_split in by_split.items()
                for name, by_method in of_split.items()
                for column in [PlannedColumn.named(name)]
                for values in [by_method.get(method, ())]
                if seed < len(values)
                for metric in SUMMARY_METRICS
            ],
        )
        for method in methods
        for seed in range(n_seeds[method])
    ]  # fmt: skip


def cells(effects: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Return the scores of all eight combinations of losses, to which each loss adds as much per seed; others add 0."""
    n_seeds = len(next(iter(effects.values())))
    return {
        cell: [
            0.5 + sum(values[seed] for loss, values in effects.items() if cell != "random_head" and loss in cell)
            for seed in range(n_seeds)
        ]
        for cell in CELLS
    }


def evidence(*ledgers: Sequence[Record], equivalent: float = EQUIVALENT) -> Evidence:
    """Return what a report of these ledgers computes, as if test samples made no difference."""
    scores = [column for records in ledgers for column in scores_of(records)]
    effects = factorial(scores)
    return Evidence(
        ledgers,
        ablation(ledgers),
        cell_sources(ledgers),
        intervals(scores),
        pairs(scores, equivalent),
        effects,
        instrument_effects(ledgers, effects),
        expected_best(ledgers),
        selection(ledgers),
        ranking(ledgers),
        equivalent,
    )
