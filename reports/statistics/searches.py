"""The search of each method as the ledger has it: full trials, the best of them, and the search space.

Only a full trial, one that ran its whole budget, counts as a result. A pruned trial was scored before its end, and a
failed one has no score. The best trial is the one that the search itself took (`sweeps.search.study`): the earliest
among equals.

Records hold only the name or path of the search space, which may mean another space today. A space is used only if it
contains all values that were tried. Otherwise callers use the values themselves.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.statistics.ablation import PlannedColumn, latest_config, planned_columns, planned_methods
from search_spaces import Parameter, SpaceError, load_space
from sweeps.ledger import LOSSES, TUNED_BASELINES, Record, label_budgets, method_of

__all__ = [
    "ConfirmedMethod",
    "best_trial",
    "confirmed_best",
    "confirmed_columns",
    "default_value",
    "full_trials",
    "recorded_methods",
    "scores",
    "searched_methods",
    "searched_space",
    "searches_of",
    "trial_history",
    "varying",
]


def recorded_methods(config: Mapping[str, Any]) -> list[str]:
    """Return the names of every planned method in the records, in the order of the tables."""
    names_by_budget = [
        planned_methods(config, PlannedColumn("", labels, "")).values() for labels in label_budgets(config["probe"])
    ]
    return list(dict.fromkeys(name for names in names_by_budget for name in names))


def searched_methods(config: Mapping[str, Any]) -> list[str]:
    """Return the :func:`recorded_methods` with a search of their own; the others use another method's, or none."""
    nested = "modalities" in config["search"]["nested"]
    searched = (*config["subsets"], *(name for name in TUNED_BASELINES if name in config["baselines"]))
    return [name for name in recorded_methods(config) if method_of(name) in searched and (nested or "[" not in name)]


def searches_of(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Map every searched method to all its search trials, however they ended, in the order of the records."""
    searches: dict[str, list[Record]] = {}
    for record in records:
        if record.stage == "search":
            searches.setdefault(record.method, []).append(record)
    return searches


def full_trials(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Map every searched method to its full trials in the order of their numbers, or to an empty list."""
    trials: dict[str, list[Record]] = {name: [] for name in searched_methods(latest_config(records))}
    for name, search in searches_of(records).items():
        if full := [record for record in search if record.state == "complete" and record.value is not None]:
            trials[name] = full
    return {name: sorted(full, key=lambda record: record.number) for name, full in trials.items()}


def trial_history(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per search trial, with the methods in the order of the tables.

    Args:
        ledgers: records of one or more sweeps.
    """
    rows = [
        (record.sweep, record.method, record.number, record.value, record.state)
        for records in ledgers
        for searches in [searches_of(records)]
        for method in dict.fromkeys([*full_trials(records), *searches])
        for record in searches.get(method, [])
    ]
    return pd.DataFrame(rows, columns=("sweep", "method", "number", "value", "state"))


def best_trial(trials: Sequence[Record]) -> Record | None:
    """Return the best of a method's full trials, the earliest among equals; None if there is no trial."""
    return max(trials, key=lambda record: (_value(record), -record.number), default=None)


def default_value(trials: Sequence[Record]) -> float:
    """Return the objective of the default configuration; NaN if it has no full trial."""
    return next((_value(record) for record in trials if record.origin == "default"), math.nan)


def confirmed_best(records: Sequence[Record]) -> dict[str, tuple[Record, list[Record]]]:
    """Map each searched method to its best full trial and the complete confirmation runs of that configuration.

    Methods without both are left out. In an extended sweep, the best configuration may be new and not yet confirmed;
    the confirmation runs of the former best do not count for it.
    """
    confirmations: dict[str, list[Record]] = {}
    for record in records:
        if record.stage == "confirm" and record.state == "complete":
            confirmations.setdefault(record.method, []).append(record)
    confirmed = {}
    for method, trials in full_trials(records).items():
        best = best_trial(trials)
        if best is None:
            continue
        runs = [run for run in confirmations.get(method, []) if run.hyperparameters == best.hyperparameters]
        if runs:
            confirmed[method] = (best, runs)
    return confirmed


@dataclass(frozen=True)
class ConfirmedMethod:
    """A searched and confirmed method in one column of the ablation table."""

    name: str
    """The method's name in the table."""
    recorded: str
    """Its name in the records."""
    best: float
    """The objective of its best full trial."""
    val: Sequence[float]
    """Validation scores of the confirmation runs in this column, in the objective's metric."""
    test: Sequence[float]
    """Test scores of these runs."""


def confirmed_columns(records: Sequence[Record]) -> Iterator[tuple[str, list[ConfirmedMethod]]]:
    """Yield each column of the ablation table, with the methods of :func:`confirmed_best` that have test scores.

    Columns of further instruments are left out: the search did not use them.
    """
    config = latest_config(records)
    confirmed = confirmed_best(records)
    metric = config["objective"]["metric"]
    for column_name, column in planned_columns(records).items():
        if column.instrument:
            continue
        methods = []
        for name, recorded in planned_methods(config, column).items():
            best, runs = confirmed.get(recorded, (None, []))
            if best is None or best.value is None:
                continue
            val, test = (scores(runs, split, column, metric) for split in ("val", "test"))
            if test:
                methods.append(ConfirmedMethod(name, recorded, best.value, val, test))
        yield column_name, methods


def scores(runs: Sequence[Record], split: str, column: PlannedColumn, metric: str) -> list[float]:
    """Return one metric of the runs that have it, in their order."""
    return [
        m.value
        for run in runs
        for m in run.metrics
        if (m.split, m.metric) == (split, metric) and PlannedColumn.of(m) == column
    ]


def varying(trials: Sequence[Record]) -> list[str]:
    """Return the names of the hyperparameters that differ between trials."""
    names = {name for record in trials for name in record.hyperparameters}
    return sorted(name for name in names if len({record.hyperparameters.get(name) for record in trials}) > 1)


def searched_space(trials: Sequence[Record]) -> dict[str, Parameter] | None:
    """Return the parameters that a method's search could choose.

    Args:
        trials: trials of the method's search, at least one.

    Returns:
        Name -> parameter. None if the space that the latest record names is no longer readable, or lacks a value that
        was tried: then it is not the space of the search.
    """
    try:
        space = load_space(latest_config(trials)["space"])
    except SpaceError:
        return None
    parameters = space.for_losses(LOSSES[method_of(trials[0].method)])
    free = {name: parameter for name, parameter in parameters.items() if parameter.fixed is None}
    contains_all = all(
        name in record.hyperparameters and _contains(parameter, record.hyperparameters[name])
        for record in trials
        for name, parameter in parameters.items()
    )
    return free if contains_all and set(varying(trials)) <= set(free) else None


def _contains(parameter: Parameter, value: Any) -> bool:
    nearest = parameter.nearest(value)
    if isinstance(nearest, float):  # samplers round multiples of a step differently
        return math.isclose(nearest, value, rel_tol=1e-9, abs_tol=1e-12)
    return bool(nearest == value)


def _value(record: Record) -> float:
    return math.nan if record.value is None else record.value
