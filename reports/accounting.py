"""What became of every attempt: how many were planned, how they ended, why they failed, and what they cost.

Time is the wall time that attempts say they worked, training and probing. It is summed, not the time that the sweep
took: attempts run beside each other. What a killed worker had done since its last checkpoint is not in it, as nobody is
left to tell. Records do not say whether GPUs were used: their configuration does, unless it left that to the cluster.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from reports.ablation import latest_config
from reports.searches import recorded_methods, searched_methods
from sweeps.ledger import Record, Stage, State

__all__ = ["accounting"]

STATES: tuple[State, ...] = ("complete", "pruned", "failed")
HOURS = ("hours", "worker_hours", "gpu_hours")


def accounting(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per sweep, method (as records name it) and stage that was planned, or that there are records of.

    Columns: ``sweep, method, stage, planned, complete, pruned, failed``; then for each class of failure that occurs its
    count, under the class's name; then ``hours`` that attempts took, ``worker_hours``, the same times the workers of
    each, and ``gpu_hours``, worker hours with a GPU: NaN where the configuration says ``workers.gpus: auto`` and the
    budget is not in GPU hours. ``planned`` is NA for a search whose budget is time, and 0 for what is planned no more.

    Args:
        ledgers: of one or more sweeps.
    """
    rows = [row for records in ledgers for row in _rows(records)]
    reasons = sorted({name for row in rows for name in row} - {"sweep", "method", "stage", "planned", *STATES, *HOURS})
    frame = pd.DataFrame(rows, columns=["sweep", "method", "stage", "planned", *STATES, *reasons, *HOURS])
    counts = dict.fromkeys([*STATES, *reasons], "int64")
    return frame.fillna(dict.fromkeys(reasons, 0)).astype({"planned": "Int64", **counts})


def _rows(records: Sequence[Record]) -> Iterator[dict[str, object]]:
    attempts: dict[tuple[str, Stage], list[Record]] = {}
    planned = _planned(latest_config(records))
    for record in records:
        attempts.setdefault((record.method, record.stage), []).append(record)
    for method, stage in [*planned, *(key for key in attempts if key not in planned)]:
        of = attempts.get((method, stage), [])
        states = Counter(record.state for record in of)
        hours = [(record.seconds.get("total", 0.0) / 3600, record.config) for record in of]
        yield {
            "sweep": records[0].sweep,
            "method": method,
            "stage": stage,
            "planned": planned.get((method, stage), 0),
            **{state: states[state] for state in STATES},
            **Counter(_reason_class(record) for record in of if record.state == "failed"),
            "hours": math.fsum(time for time, _ in hours),
            "worker_hours": math.fsum(time * config["workers"]["per_trial"] for time, config in hours),
            "gpu_hours": math.fsum(time * config["workers"]["per_trial"] * _gpus(config) for time, config in hours),
        }


def _planned(config: Mapping[str, Any]) -> dict[tuple[str, Stage], int | None]:
    """(method, stage) -> attempts, None where time is the budget; in the order of the tables."""
    budget, searched = config["budget"], searched_methods(config)
    planned: dict[tuple[str, Stage], int | None] = {}
    for method in recorded_methods(config):
        if method in searched:
            planned[method, "search"] = budget["trials_per_subset"]
        planned[method, "confirm"] = budget["seeds"]
    return planned


def _reason_class(record: Record) -> str:
    """The first word of a failure's reason."""
    return record.reason.partition(":")[0].strip() or "unknown"


def _gpus(config: Mapping[str, Any]) -> float:
    """GPUs of one worker; NaN where the record does not say."""
    gpus = config["workers"]["gpus"]
    if gpus != "auto":
        return float(gpus)
    # Such a budget is refused where there are none.
    return 1.0 if config["budget"].get("gpu_hours") is not None else math.nan
