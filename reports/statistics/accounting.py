"""What became of every attempt: how many were planned, how they ended, why they failed, what they cost and ran on.

Time is the wall time that attempts say they worked, training and probing. It is summed, not the time that the sweep
took: attempts run beside each other. What a killed worker had done since its last checkpoint is not in it, as nobody is
left to tell. CPU and GPU hours are this time, multiplied by the threads and the GPUs that workers say they had: what
was configured would not tell, as a sweep may leave it to the cluster, and another cluster may take it over.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from reports.statistics.ablation import latest_config
from reports.statistics.searches import recorded_methods, searched_methods
from sweeps.ledger import Hardware, Record, Stage, State

__all__ = ["accounting", "hardware"]

STATES: tuple[State, ...] = ("complete", "pruned", "failed")
HOURS = ("hours", "cpu_hours", "gpu_hours")


def accounting(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per sweep, method (as records name it) and stage that was planned, or that there are records of.

    Columns: ``sweep, method, stage, planned, complete, pruned, failed``; then for each class of failure that occurs its
    count, under the class's name; then ``hours`` that attempts took, ``cpu_hours``, the same times the CPU threads of
    all workers, and ``gpu_hours``, times their GPUs: both NaN where an attempt has worked that does not say on what.
    ``planned`` is NA for a search whose budget is time, and 0 for what is planned no more.

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
        yield {
            "sweep": records[0].sweep,
            "method": method,
            "stage": stage,
            "planned": planned.get((method, stage), 0),
            **{state: states[state] for state in STATES},
            **Counter(_reason_class(record) for record in of if record.state == "failed"),
            "hours": math.fsum(_hours(record) for record in of),
            "cpu_hours": _hours_of(of, lambda used: used.threads * used.workers),
            "gpu_hours": _hours_of(of, lambda used: used.gpus),
        }


def _hours(record: Record) -> float:
    return record.seconds.get("total", 0.0) / 3600


def _hours_of(records: Sequence[Record], units: Callable[[Hardware], int]) -> float:
    """Hours times units; NaN where somebody worked and did not say on what."""
    return math.fsum(
        hours * (math.nan if record.hardware is None else units(record.hardware))
        for record in records
        if (hours := _hours(record))
    )


def hardware(records: Sequence[Record]) -> list[str]:
    """Return what a sweep's attempts ran on, a line for each kind: how many did, and on which hosts."""
    hosts: dict[Hardware, list[str]] = {}
    for record in records:
        if record.hardware is not None:
            hosts.setdefault(replace(record.hardware, host=""), []).append(record.hardware.host)
    return [
        f"{_attempts(len(names))} on {_kind(kind)}; {'host' if len(set(names)) == 1 else 'hosts'} "
        f"{', '.join(sorted(set(names)))}"
        for kind, names in hosts.items()
    ]


def _attempts(number: int) -> str:
    return "1 attempt" if number == 1 else f"{number} attempts"


def _kind(kind: Hardware) -> str:
    cpu = f"{kind.threads} thread{'s' if kind.threads != 1 else ''} of {kind.processor}"
    each = f"{kind.gpus // kind.workers} × {kind.device}, {cpu}" if kind.gpus else cpu
    return each if kind.workers == 1 else f"{kind.workers} workers, each {each}"


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
