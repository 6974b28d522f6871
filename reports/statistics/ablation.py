"""The numbers of the ablation table, computed from ledgers; `reports.output.tables` decides how they look.

The table has one row per (dataset, method, metric). A dataset here is a column of the table. Each label budget is a
column of its own, named ``dataset@labels``. So are the scores of each further instrument: ``dataset@labels (knn)``.

Every planned cell has a row. The row of a method without a result has no mean, but it counts the method's failures.
The plan comes from the configuration that each record carries.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, NamedTuple

import pandas as pd

from sweeps.ledger import (
    REPRESENTED,
    SUMMARY_METRICS,
    TUNED_BASELINES,
    Metric,
    Predictions,
    Record,
    instruments,
    label_budgets,
    variant,
)

__all__ = [
    "Ablation",
    "PlannedColumn",
    "ablation",
    "latest_config",
    "latest_record",
    "planned_columns",
    "planned_methods",
    "run_statistics",
]

COLUMNS = (
    "dataset",
    "method",
    "metric",
    "mean",
    "std",
    "n_seeds",
    "n_trials",
    "n_pruned",
    "n_failed",
)


class PlannedColumn(NamedTuple):
    """A column of the table: a downstream set, a label budget and the instrument that scores the methods."""

    dataset: str
    """The downstream set."""
    labels: str
    """The label budget; empty for all labels."""
    instrument: str
    """The instrument; empty for the sweep's probe."""

    @classmethod
    def named(cls, name: str) -> "PlannedColumn":
        """Parse the name of a column; names of sets hold no space, at sign or parenthesis."""
        column, _, instrument = name.partition(" (")
        dataset, _, labels = column.partition("@")
        return cls(dataset, labels, instrument.rstrip(")"))

    @classmethod
    def of(cls, result: Metric | Predictions) -> "PlannedColumn":
        """Return the column that a metric, or a run's predictions, belong to."""
        return cls(result.dataset, result.labels, result.instrument)

    @property
    def name(self) -> str:
        """The heading in the table, such as ``digits@5 (knn)``."""
        column = f"{self.dataset}@{self.labels}" if self.labels else self.dataset
        return f"{column} ({self.instrument})" if self.instrument else column

    @property
    def choice(self) -> tuple[str, str]:
        """The data set and the label budget that a reader chooses to see the column, such as ``digits (knn)`` and 5."""
        return PlannedColumn(self.dataset, "", self.instrument).name, self.labels or "all"


@dataclass(frozen=True)
class Ablation:
    """The numbers of the ablation table.

    ``frame`` has the columns COLUMNS. ``mean`` and the sample standard deviation ``std`` describe test scores over
    ``n_seeds`` confirmation runs of all searches; each search counts the same in the mean. ``n_trials`` and
    ``n_pruned`` count search trials. ``n_failed`` counts failed jobs of all stages. Statistics that do not exist are
    NaN. The intervals of summary metrics are in :func:`reports.statistics.intervals.intervals`.
    """

    frame: pd.DataFrame
    planned_seeds: dict[str, int]
    """Dataset -> confirmation runs that its sweep planned for each method, over all searches."""

    @property
    def complete(self) -> bool:
        """True if every planned cell has its summary metrics; older records may lack the metrics that came later."""
        return bool((self.frame[self.frame["metric"].isin(SUMMARY_METRICS)]["n_seeds"] > 0).all())


def ablation(ledgers: Sequence[Sequence[Record]]) -> Ablation:
    """Compute one table from the records of one or more sweeps.

    Args:
        ledgers: records of each sweep; :func:`reports.statistics.shared_sets.refuse_mixing` says which may be together.
    """
    frames = [pd.DataFrame(_rows(records), columns=COLUMNS) for records in ledgers]
    frame = pd.concat(frames, ignore_index=True)
    planned = {
        dataset: budget["seeds"] * budget["searches"]
        for records in ledgers
        for budget in [latest_config(records)["budget"]]
        for dataset in planned_columns(records)
    }
    return Ablation(frame, planned)


def _rows(records: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    config = latest_config(records)
    ends = Counter[tuple[str, str, str]]((record.method, record.stage, record.state) for record in records)
    by_column: dict[PlannedColumn, dict[tuple[str, str], list[float]]] = {}  # column -> (method, metric) -> scores
    for record in records:
        for m in record.metrics:
            if m.split == "test":
                scores = by_column.setdefault(PlannedColumn.of(m), {})
                scores.setdefault((record.method, m.metric), []).append(m.value)
    for dataset, column in planned_columns(records).items():
        scores = by_column.get(column, {})
        metrics = dict.fromkeys([*SUMMARY_METRICS, *(metric for _, metric in scores)])
        for method, searches in planned_methods(config, column).items():
            counts = [sum(numbers) for numbers in zip(*(_counts(ends, recorded) for recorded in searches), strict=True)]
            for metric in metrics:
                runs = [scores.get((recorded, metric), []) for recorded in searches]
                yield (dataset, method, metric, *run_statistics(runs), *counts)


def latest_record(records: Sequence[Record]) -> Record:
    """Return the sweep's latest record: its configuration plans all that an extended sweep plans."""
    return max(records, key=lambda record: record.started)


def latest_config(records: Sequence[Record]) -> dict[str, Any]:
    """Return the configuration of the sweep's latest record."""
    return dict(latest_record(records).config)


def planned_methods(config: Mapping[str, Any], column: PlannedColumn) -> dict[str, tuple[str, ...]]:
    """Map every planned method of a column to its names in the records, one for each search.

    Each method is followed by its variants on fewer modalities. If each label budget has a search of its own, a column
    shows the result of the search at the column's label budget. Instruments other than the sweep's probe need a
    representation, so their columns leave out methods that classify by themselves.
    """
    nested = "labels" in config["search"]["nested"]
    choices = [(), *config["modality_subsets"]]
    searches = range(1, config["budget"]["searches"] + 1)
    names = {}
    for method in (*config["baselines"], *config["subsets"]):
        if column.instrument and method not in REPRESENTED:
            continue
        searched = method in config["subsets"] or method in TUNED_BASELINES
        for modalities in choices[:1] if method == "SimCLR" else choices:
            name = variant(method, modalities)
            labels = column.labels if nested and searched else None
            names[name] = tuple(variant(method, modalities, labels, search) for search in searches)
    return names


def planned_columns(records: Sequence[Record]) -> dict[str, PlannedColumn]:
    """Map the name of every planned column to the column; the columns of the sweep's probe come first."""
    config = latest_config(records)
    planned = [
        PlannedColumn(name, labels, instrument)
        for name in config["features"]["downstream"]
        for instrument in instruments(config["probe"])
        for labels in label_budgets(config["probe"])
    ]
    return {column.name: column for column in planned}


def run_statistics(searches: Sequence[Sequence[float]]) -> tuple[float, float, int]:
    """Return mean, sample standard deviation and number of the scores of runs; NaN for a statistic without enough runs.

    Args:
        searches: the scores of each search's runs. Each search counts the same in the mean, as in intervals.
    """
    values = [value for runs in searches for value in runs]
    mean = fmean(fmean(runs) for runs in searches if runs) if values else math.nan
    return mean, stdev(values) if len(values) > 1 else math.nan, len(values)


def _counts(ends: Counter[tuple[str, str, str]], method: str) -> tuple[int, int, int]:
    """Return n_trials, n_pruned and n_failed of a method as the records name it."""
    complete, pruned, failed = (ends[method, "search", state] for state in ("complete", "pruned", "failed"))
    later = ends[method, "finalist", "failed"] + ends[method, "confirm", "failed"]
    return complete + pruned + failed, pruned, failed + later
