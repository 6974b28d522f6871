"""Computing the ablation table from ledgers; how it looks is decided in `reports.render`.

One row per (dataset, method, metric). A label budget is a dataset of its own, named ``dataset@labels``; so is what
another instrument than the sweep's probe reads, ``dataset@labels (knn)``. Every planned cell has a row: a method that
has no result has one without a mean, and its failures are counted in it. What was planned is read from the
configuration that each record carries.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev
from typing import Any, NamedTuple

import pandas as pd
from scipy import stats

from sweeps.ledger import (
    REPRESENTED,
    SUMMARY_METRICS,
    TUNED_BASELINES,
    LedgerError,
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
    "ReportError",
    "ablation",
    "latest_config",
    "planned_columns",
    "planned_methods",
    "seed_statistics",
]

_CONFIDENCE = 0.95
COLUMNS = (
    "dataset",
    "method",
    "metric",
    "mean",
    "std",
    "ci_low",
    "ci_high",
    "n_seeds",
    "n_trials",
    "n_pruned",
    "n_failed",
)


class ReportError(LedgerError):
    """The ledgers cannot be made into one table."""


class PlannedColumn(NamedTuple):
    """What one column of the table is about."""

    dataset: str
    """The downstream set."""
    labels: str
    """The label budget; empty for all labels."""
    instrument: str
    """What reads it; empty for the sweep's probe."""

    @classmethod
    def named(cls, name: str) -> "PlannedColumn":
        """The column of this name: names of sets hold no space, at sign or parenthesis."""
        column, _, instrument = name.partition(" (")
        dataset, _, labels = column.partition("@")
        return cls(dataset, labels, instrument.rstrip(")"))

    @classmethod
    def of(cls, result: Metric | Predictions) -> "PlannedColumn":
        """The column that a metric, or predictions, belong to."""
        return cls(result.dataset, result.labels, result.instrument)

    @property
    def name(self) -> str:
        """As the table has it."""
        column = f"{self.dataset}@{self.labels}" if self.labels else self.dataset
        return f"{column} ({self.instrument})" if self.instrument else column


@dataclass(frozen=True)
class Ablation:
    """The table.

    ``frame`` has the columns COLUMNS: ``mean``, sample standard deviation ``std`` and the 95 % Student-t interval
    ``ci_low..ci_high`` over ``n_seeds`` confirmation seeds, scored on test; ``n_trials`` and ``n_pruned`` count search
    trials, ``n_failed`` failed attempts of search and confirmation. Statistics that do not exist are NaN.
    """

    frame: pd.DataFrame
    planned_seeds: dict[str, int]
    """Dataset -> confirmation seeds that its sweep planned for each method."""

    @property
    def complete(self) -> bool:
        """True if every planned cell has a result; metrics that came later may lack one in older records."""
        return bool((self.frame[self.frame["metric"].isin(SUMMARY_METRICS)]["n_seeds"] > 0).all())


def ablation(ledgers: Sequence[Sequence[Record]]) -> Ablation:
    """Make one table from the records of one or more sweeps.

    Raises:
        ReportError: a ledger has no record, or two of them have results for the same dataset and method.
    """
    if not all(ledgers):
        raise ReportError("a sweep has no finished attempt yet; report again when `conclugen sweep status` shows some.")
    frames = [pd.DataFrame(_rows(records), columns=COLUMNS) for records in ledgers]
    frame = pd.concat(frames, ignore_index=True)
    if (twice := frame.duplicated(["dataset", "method", "metric"])).any():
        names = sorted(set(frame[twice]["dataset"] + " / " + frame[twice]["method"]))
        raise ReportError(
            f"several sweeps have results for {', '.join(names)}; report them apart, or give the datasets other names "
            "in features.downstream."
        )
    planned = {
        dataset: latest_config(records)["budget"]["seeds"]
        for records in ledgers
        for dataset in planned_columns(records)
    }
    return Ablation(frame, planned)


def _rows(records: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    config = latest_config(records)
    ends = Counter[tuple[str, str, str]]((record.method, record.stage, record.state) for record in records)
    found: dict[PlannedColumn, dict[tuple[str, str], list[float]]] = {}  # -> (method, metric) -> scores
    for record in records:
        for m in record.metrics:
            if m.split == "test":
                scores = found.setdefault(PlannedColumn.of(m), {})
                scores.setdefault((record.method, m.metric), []).append(m.value)
    for dataset, column in planned_columns(records).items():
        scores = found.get(column, {})
        metrics = dict.fromkeys([*SUMMARY_METRICS, *(metric for _, metric in scores)])
        for method, recorded in planned_methods(config, column).items():
            counts = _counts(ends, recorded)
            for metric in metrics:
                yield (dataset, method, metric, *seed_statistics(scores.get((recorded, metric), [])), *counts)


def latest_config(records: Sequence[Record]) -> dict[str, Any]:
    """The sweep's configuration as its latest record has it: an extended sweep plans more than it did at first."""
    return dict(max(records, key=lambda record: record.started).config)


def planned_methods(config: Mapping[str, Any], column: PlannedColumn) -> dict[str, str]:
    """Every planned method, each followed by its variants on fewer modalities -> its name in the records.

    Where each label budget was searched by itself, what is shown at one of them is what was searched for it. Methods
    that classify by themselves are read by nothing else.
    """
    nested = "labels" in config["search"]["nested"]
    choices = [(), *config["modality_subsets"]]
    names = {}
    for method in (*config["baselines"], *config["subsets"]):
        if column.instrument and method not in REPRESENTED:
            continue
        searched = method in config["subsets"] or method in TUNED_BASELINES
        for modalities in choices[:1] if method == "SimCLR" else choices:
            name = variant(method, modalities)
            names[name] = variant(method, modalities, column.labels) if nested and searched else name
    return names


def planned_columns(records: Sequence[Record]) -> dict[str, PlannedColumn]:
    """Name in the table -> what it is about; what the sweep's probe reads first."""
    config = latest_config(records)
    planned = [
        PlannedColumn(name, labels, instrument)
        for name in config["features"]["downstream"]
        for instrument in instruments(config["probe"])
        for labels in label_budgets(config["probe"])
    ]
    return {column.name: column for column in planned}


def seed_statistics(values: Sequence[float]) -> tuple[float, float, float, float, int]:
    """Return mean, sample standard deviation, 95 % Student-t interval (low, high) and number of ``values``.

    One for each seed; what does not exist is NaN.
    """
    n, nan = len(values), float("nan")
    if n < 2:
        return values[0] if values else nan, nan, nan, nan, n
    mean, std = fmean(values), stdev(values)
    half = std / n**0.5 * _quantile(n - 1)
    return mean, std, mean - half, mean + half, n


@lru_cache
def _quantile(degrees: int) -> float:
    """Of Student's t, at the upper end of the interval: the same for thousands of cells, and slow to compute."""
    return float(stats.t.ppf((1 + _CONFIDENCE) / 2, degrees))


def _counts(ends: Counter[tuple[str, str, str]], method: str) -> tuple[int, int, int]:
    """n_trials, n_pruned, n_failed."""
    complete, pruned, failed = (ends[method, "search", state] for state in ("complete", "pruned", "failed"))
    return complete + pruned + failed, pruned, failed + ends[method, "confirm", "failed"]
