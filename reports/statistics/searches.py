"""The search of each method as the ledger has it: full trials, the best of them, and the search space.

Only a full trial, one that ran its whole budget, counts as a result. A pruned trial was scored before its end, and a
failed one has no score. The best trial has the highest objective, the earliest among equals. The winner is the trial
whose configuration the sweep confirms (`sweeps.ledger.winners`): the best trial, or the best finalist.

A method may be searched several times. Each search is an arm of its own, with a name of its own in the records.

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
from sweeps.ledger import (
    LOSSES,
    TUNED_BASELINES,
    EarlyEnd,
    Record,
    label_budgets,
    method_of,
    search_of,
    winner,
    without_search,
)

__all__ = [
    "ConfirmedSearch",
    "Outcome",
    "best_trial",
    "confirmed_columns",
    "confirmed_winners",
    "default_value",
    "early_ends",
    "early_ends_in_words",
    "full_trials",
    "method_and_search",
    "outcomes",
    "recorded_methods",
    "scores",
    "searched_methods",
    "searched_space",
    "searches_of",
    "trial_history",
    "varying",
]


def recorded_methods(config: Mapping[str, Any]) -> list[str]:
    """Return the names of every planned method and search in the records, in the order of the tables."""
    by_budget = [
        planned_methods(config, PlannedColumn("", labels, "")).values() for labels in label_budgets(config["probe"])
    ]
    return list(dict.fromkeys(name for methods in by_budget for searches in methods for name in searches))


def method_and_search(recorded: str) -> tuple[str, int]:
    """Return the name of a method without its search, and the number of the search, from its name in the records."""
    return without_search(recorded), search_of(recorded)


def searched_methods(config: Mapping[str, Any]) -> list[str]:
    """Return the :func:`recorded_methods` with a search of their own; the others use another method's, or none."""
    nested = "modalities" in config["search"]["nested"]
    searched = (*config["subsets"], *(name for name in TUNED_BASELINES if name in config["baselines"]))
    return [name for name in recorded_methods(config) if method_of(name) in searched and (nested or "[" not in name)]


def searches_of(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Map every arm, as records name it, to all its search trials, however they ended, in the records' order."""
    searches: dict[str, list[Record]] = {}
    for record in records:
        if record.stage == "search":
            searches.setdefault(record.method, []).append(record)
    return searches


def early_ends(records: Sequence[Record]) -> Mapping[str, EarlyEnd]:
    """Map each arm, as records name it, to the early end of its search; arms that used their budget are left out."""
    return max(records, key=lambda record: record.ended).early_ends


def early_ends_in_words(records: Sequence[Record]) -> list[str]:
    """Return a sentence for each search that ended early."""
    planned = latest_config(records)["budget"]["trials_per_subset"]
    return [f"The search of {arm} {end.in_words(planned)}." for arm, end in early_ends(records).items()]


def full_trials(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Map every arm, as records name it, to its full trials in the order of their numbers, or to an empty list."""
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
        (record.sweep, *method_and_search(record.method), record.number, record.value, record.state)
        for records in ledgers
        for searches in [searches_of(records)]
        for method in dict.fromkeys([*full_trials(records), *searches])
        for record in searches.get(method, [])
    ]
    return pd.DataFrame(rows, columns=("sweep", "method", "search", "number", "value", "state"))


def best_trial(trials: Sequence[Record]) -> Record | None:
    """Return the best of an arm's full trials, the earliest among equals; None if there is no trial."""
    return max(trials, key=lambda record: (_value(record), -record.number), default=None)


def default_value(trials: Sequence[Record]) -> float:
    """Return the objective of the default configuration; NaN if it has no full trial."""
    return next((_value(record) for record in trials if record.origin == "default"), math.nan)


@dataclass(frozen=True)
class Outcome:
    """How the search of an arm ended."""

    best: Record
    """Its best full trial."""
    winner: Record
    """The trial whose configuration is confirmed."""
    finalist_runs: Sequence[Record]
    """The runs of its finalists, however they ended; empty if none was trained anew."""


def outcomes(records: Sequence[Record]) -> dict[str, Outcome]:
    """Map every arm with a full trial, as records name it, to the outcome of its search."""
    finalists = latest_config(records)["search"]["finalists"]
    runs: dict[str, list[Record]] = {}
    for record in records:
        if record.stage == "finalist":
            runs.setdefault(record.method, []).append(record)
    ended = {}
    for name, trials in full_trials(records).items():
        of_arm = runs.get(name, [])
        best, won = best_trial(trials), winner(trials, of_arm, finalists)
        if best is not None and won is not None:
            ended[name] = Outcome(best, won, of_arm)
    return ended


def confirmed_winners(records: Sequence[Record]) -> dict[str, tuple[Outcome, list[Record]]]:
    """Map each arm to its search's outcome and the complete confirmation runs of the winner's configuration.

    Arms without both are left out. In an extended sweep, the winner may be new and not yet confirmed; the confirmation
    runs of the former winner do not count for it.
    """
    confirmations: dict[str, list[Record]] = {}
    for record in records:
        if record.stage == "confirm" and record.state == "complete":
            confirmations.setdefault(record.method, []).append(record)
    confirmed = {}
    for name, outcome in outcomes(records).items():
        configuration = outcome.winner.hyperparameters
        if runs := [run for run in confirmations.get(name, []) if run.hyperparameters == configuration]:
            confirmed[name] = (outcome, runs)
    return confirmed


@dataclass(frozen=True)
class ConfirmedSearch:
    """A search of a method whose winner was confirmed, in one column of the ablation table."""

    method: str
    """The method's name in the table."""
    search: int
    recorded: str
    """The arm's name in the records."""
    objective: float
    """The objective of the winning trial."""
    val: Sequence[float]
    """Validation scores of the confirmation runs in this column, in the objective's metric."""
    test: Sequence[float]
    """Test scores of these runs."""


def confirmed_columns(records: Sequence[Record]) -> Iterator[tuple[str, list[ConfirmedSearch]]]:
    """Yield each column of the ablation table, with the searches of :func:`confirmed_winners` that have test scores.

    Columns of further instruments are left out: the search did not use them.
    """
    config = latest_config(records)
    confirmed = confirmed_winners(records)
    metric = config["objective"]["metric"]
    for column_name, column in planned_columns(records).items():
        if column.instrument:
            continue
        searches = []
        for method, names in planned_methods(config, column).items():
            for search, recorded in enumerate(names, 1):
                if recorded not in confirmed:
                    continue
                outcome, runs = confirmed[recorded]
                val, test = (scores(runs, split, column, metric) for split in ("val", "test"))
                if test:
                    objective = _value(outcome.winner)
                    searches.append(ConfirmedSearch(method, search, recorded, objective, val, test))
        yield column_name, searches


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
