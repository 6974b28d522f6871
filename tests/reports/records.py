"""Builders of records of a small sweep, for the tests of reports."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from reports.statistics.ablation import PlannedColumn, planned_columns, planned_methods
from reports.statistics.factorial import LOSSES, factorial
from reports.statistics.inference import Scores
from reports.statistics.instruments import instrument_effects
from sweeps.ledger import SUMMARY_METRICS, Hardware, Metric, Record, search_of

CONFIG: dict[str, Any] = {
    "features": {"downstream": {"digits": "/somewhere"}},
    "subsets": ["Con", "Gen"],
    "baselines": ["raw_features", "random_head"],
    "modality_subsets": [],
    "budget": {"trials_per_subset": 4, "hours": None, "gpu_hours": None, "epochs": 10, "seeds": 2, "searches": 1},
    "objective": {"metric": "weighted_f1", "dataset": None, "labels_per_class": None, "label_fraction": None},
    "probe": {"kind": "logistic", "also": [], "selection": "budget", "labels_per_class": [5], "label_fraction": []},
    "workers": {"per_trial": 1, "gpus": 0},
    "search": {"nested": [], "finalists": 1},
    "space": "/no/such/space.yaml",
}

ON_CPU = Hardware(host="node-a", processor="EPYC", threads=4, workers=1, device="cpu", gpus=0)
ON_GPUS = replace(ON_CPU, device="NVIDIA H200", workers=4, gpus=4)


def config(**sections: Any) -> dict[str, Any]:
    """Return CONFIG with changes: a mapping changes single settings of a section, another value replaces it."""
    return CONFIG | {
        name: {**CONFIG[name], **value} if isinstance(value, dict) else value for name, value in sections.items()
    }


def record(stage: str, method: str, number: int, **fields: Any) -> Record:
    """Return a complete job; ``fields`` change any field of the record."""
    return Record(
        **{
            "sweep": "s", "stage": stage, "method": method, "number": number, "seed": number, "state": "complete",
            "config": CONFIG, "hardware": ON_CPU, "started": "2026-01-01T00:00:00+00:00", **fields,
        }
    )  # fmt: skip


def trial(method: str, number: int, value: float | None, **fields: Any) -> Record:
    """Return a complete search trial; number 0 is the default configuration."""
    return record("search", method, number, **{"value": value, "origin": "tpe" if number else "default", **fields})


def confirmation(method: str, number: int, scores: Mapping[tuple[str, str], float], **fields: Any) -> Record:
    """Return a confirmation run with one metric on digits: (split, label budget) -> value."""
    metrics = [Metric("digits", split, labels, "weighted_f1", value) for (split, labels), value in scores.items()]  # type: ignore[arg-type]
    return record("confirm", method, number, metrics=metrics, **fields)


def failed(method: str, number: int, reason: str, **fields: Any) -> Record:
    """Return a failed search trial."""
    return trial(method, number, None, state="failed", reason=reason, **fields)


def pruned(method: str, number: int, value: float, **fields: Any) -> Record:
    """Return a pruned search trial."""
    return trial(method, number, value, state="pruned", reason="median: judged too low", **fields)


def trials(method: str, values: Sequence[float], **fields: Any) -> list[Record]:
    """Return complete search trials with these objectives."""
    return [trial(method, number, value, **fields) for number, value in enumerate(values)]


CELLS = [cell for size in range(4) for cell in combinations(LOSSES, size)]
"""All eight combinations of the losses."""
CELL_METHODS = ["".join(cell) or "random_head" for cell in CELLS]


def sweep_by_instruments(clu: Mapping[str, float], seeds: Sequence[float] = (0.0, 0.001), **probe: Any) -> list[Record]:
    """Return confirmation runs of all eight cells of the factorial design, scored by several instruments.

    Con adds 0.1 by every instrument, Gen nothing.

    Args:
        clu: instrument (empty for the probe) -> what Clu adds.
        seeds: what each confirmation seed adds.
        probe: changed settings of the probe.
    """
    settings = config(
        subsets=CELL_METHODS[1:],
        baselines=["random_head", "label_spreading"],
        probe={"also": [name for name in clu if name], "labels_per_class": [], **probe},
    )
    return [
        record(
            "confirm", method, number, config=settings, metrics=[
                Metric("digits", "test", "", metric, base + gain * ("Clu" in cell), instrument)
                for metric in SUMMARY_METRICS
                for instrument, gain in clu.items()
                for base in [0.5 + 0.1 * ("Con" in cell) + noise]
            ],
        )
        for number, noise in enumerate(seeds)
        for cell, method in zip(CELLS, CELL_METHODS, strict=True)
    ]  # fmt: skip


def effects_of(records: Sequence[Record]) -> pd.DataFrame:
    """Return the effects of the losses by each instrument."""
    return instrument_effects([records], factorial(scores_of(records)))


def scores_of(records: Sequence[Record]) -> list[Scores]:
    """Return the test scores of confirmation runs, column by column, as if test samples made no difference."""
    columns = []
    for name, column in planned_columns(records).items():
        runs = {}
        for method, searches in planned_methods(records[0].config, column).items():
            for run in records:
                if run.stage == "confirm" and run.method in searches:
                    values = {
                        m.metric: m.value for m in run.metrics if m.split == "test" and PlannedColumn.of(m) == column
                    }
                    if values:
                        key = (method, search_of(run.method), run.number)
                        runs[key] = [values[metric] for metric in SUMMARY_METRICS]
        if runs:
            covariance = np.zeros((len(SUMMARY_METRICS), len(runs), len(runs)))
            columns.append(Scores(name, tuple(runs), np.array(list(runs.values())).T, covariance, 100, 100, 100, ()))
    return columns
