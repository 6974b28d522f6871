"""What a ledger says about the search of each method: its full trials, the best of them, and the space they are from.

A trial counts as a result only where it ran its whole budget: a pruned one was judged before its end, a failed one has
nothing to show. The best trial is the one that the search itself took (`sweeps.search.study`): the earliest among
equals.

The space is not in the records, only its name or path, and what is there under that name today may be another one. It
is believed only as far as it explains what was tried; where it does not, callers fall back on the values themselves.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.statistics.ablation import PlannedColumn, latest_config, planned_columns, planned_methods
from search_spaces import Parameter, SpaceError, load_space
from sweeps.ledger import LOSSES, TUNED_BASELINES, Record, label_budgets, method_of

__all__ = [
    "Confirmed",
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
    "varying",
]


def recorded_methods(config: Mapping[str, Any]) -> list[str]:
    """Names in the records of every planned method, in the order of the tables."""
    planned = [
        planned_methods(config, PlannedColumn("", labels, "")).values() for labels in label_budgets(config["probe"])
    ]
    return list(dict.fromkeys(name for names in planned for name in names))


def searched_methods(config: Mapping[str, Any]) -> list[str]:
    """Those of them that have a search of their own, rather than only a confirmation of another's."""
    restricted = "modalities" in config["search"]["nested"]
    searched = (*config["subsets"], *(name for name in TUNED_BASELINES if name in config["baselines"]))
    return [
        name for name in recorded_methods(config) if method_of(name) in searched and (restricted or "[" not in name)
    ]


def searches_of(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Every method that was searched -> its search trials, however they ended, in the order of the records."""
    tried: dict[str, list[Record]] = {}
    for record in records:
        if record.stage == "search":
            tried.setdefault(record.method, []).append(record)
    return tried


def full_trials(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Every searched method -> its complete search trials by number; an empty list where there are none yet."""
    trials: dict[str, list[Record]] = {name: [] for name in searched_methods(latest_config(records))}
    for name, tried in searches_of(records).items():
        if full := [record for record in tried if record.state == "complete" and record.value is not None]:
            trials[name] = full
    return {name: sorted(of, key=lambda record: record.number) for name, of in trials.items()}


def best_trial(trials: Sequence[Record]) -> Record | None:
    """The best of a method's full trials, the earliest among equals; None of none."""
    return max(trials, key=lambda record: (_value(record), -record.number), default=None)


def default_value(trials: Sequence[Record]) -> float:
    """The objective of the default configuration; NaN where its trial did not run its whole budget."""
    return next((_value(record) for record in trials if record.origin == "default"), math.nan)


def confirmed_best(records: Sequence[Record]) -> dict[str, tuple[Record, list[Record]]]:
    """Searched method -> its best full trial, and the complete confirmation runs of that very configuration.

    Methods without both are left out. While an extended sweep has found something better and not yet confirmed it,
    the confirmations of what was best before are of another configuration.
    """
    confirmed: dict[str, list[Record]] = {}
    for record in records:
        if record.stage == "confirm" and record.state == "complete":
            confirmed.setdefault(record.method, []).append(record)
    found = {}
    for method, trials in full_trials(records).items():
        best = best_trial(trials)
        if best is None:
            continue
        runs = [run for run in confirmed.get(method, []) if run.hyperparameters == best.hyperparameters]
        if runs:
            found[method] = (best, runs)
    return found


@dataclass(frozen=True)
class Confirmed:
    """A searched method in one column of the ablation table."""

    shown: str
    """The method as the table names it."""
    method: str
    """The same in the records."""
    best: float
    """The objective of its best full trial."""
    val: Sequence[float]
    """Scores of the confirmations of its configuration in this column, in the objective's metric."""
    test: Sequence[float]


def confirmed_columns(records: Sequence[Record]) -> Iterator[tuple[str, list[Confirmed]]]:
    """Yield each column of the ablation table, with the methods of :func:`confirmed_best` that have test scores.

    Columns that another instrument reads are left out: the search knew nothing of them.
    """
    config, found = latest_config(records), confirmed_best(records)
    metric = config["objective"]["metric"]
    for name, column in planned_columns(records).items():
        if column.instrument:
            continue
        confirmed = []
        for shown, method in planned_methods(config, column).items():
            best, runs = found.get(method, (None, []))
            if best is None or best.value is None:
                continue
            val, test = (scores(runs, split, column, metric) for split in ("val", "test"))
            if test:
                confirmed.append(Confirmed(shown, method, best.value, val, test))
        yield name, confirmed


def scores(runs: Sequence[Record], split: str, column: PlannedColumn, metric: str) -> list[float]:
    """One metric of those runs that have it, in their order."""
    return [
        m.value
        for run in runs
        for m in run.metrics
        if (m.split, m.metric) == (split, metric) and PlannedColumn.of(m) == column
    ]


def varying(trials: Sequence[Record]) -> list[str]:
    """Names of the hyperparameters that are not the same in all trials."""
    names = {name for record in trials for name in record.hyperparameters}
    return sorted(name for name in names if len({record.hyperparameters.get(name) for record in trials}) > 1)


def searched_space(trials: Sequence[Record]) -> dict[str, Parameter] | None:
    """The parameters that a method's search chose freely, by name.

    Args:
        trials: of the method's search, one at least.

    Returns:
        None where the space that the latest record names cannot be read any more, or does not hold every value that
        was tried: then it is not the one that was searched.
    """
    try:
        space = load_space(latest_config(trials)["space"])
    except SpaceError:
        return None
    used = space.for_losses(LOSSES[method_of(trials[0].method)])
    free = {name: parameter for name, parameter in used.items() if parameter.fixed is None}
    explained = all(
        name in record.hyperparameters and _holds(parameter, record.hyperparameters[name])
        for record in trials
        for name, parameter in used.items()
    )
    return free if explained and set(varying(trials)) <= set(free) else None


def _holds(parameter: Parameter, value: Any) -> bool:
    nearest = parameter.nearest(value)
    if isinstance(nearest, float):  # a sampler's multiples of a step are not rounded as ours
        return math.isclose(nearest, value, rel_tol=1e-9, abs_tol=1e-12)
    return bool(nearest == value)


def _value(record: Record) -> float:
    return math.nan if record.value is None else record.value
