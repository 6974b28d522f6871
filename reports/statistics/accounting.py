"""Accounts for every job: how many were planned, how they ended, why they failed, and what they cost.

Hours are the wall time that the records give for training and probing, summed over jobs. The sweep itself took less,
since jobs run at the same time. If a worker was killed, its work since the last checkpoint is in no record and is not
counted.

CPU and GPU hours are these hours times the threads and GPUs that the workers recorded. The configuration does not tell
their numbers: a sweep may leave them to the cluster, and may move to another cluster.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from reports.statistics.ablation import latest_config
from reports.statistics.searches import early_ends, method_and_search, recorded_methods, searched_methods
from sweeps.ledger import EarlyEnd, Hardware, Record, Stage, State, choose_finalists

__all__ = ["HOURS", "accounting"]

KEYS = ("sweep", "method", "search", "stage")
STATES: tuple[State, ...] = ("complete", "pruned", "failed")
HOURS = ("hours", "cpu_hours", "gpu_hours")


def accounting(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per sweep, method, search and stage that was planned or has records.

    The columns are, in this order:

    * ``sweep``, ``method``, ``search``, ``stage``; a method has its label budget if that has a search of its own;
    * ``planned``: jobs in the plan; NA for a search whose budget is time, 0 for a row that is no longer planned. A
      search that ended early (``search.stop_when``) has as many as it had trials. For finalists, it is the number of
      runs that the trials so far ask for, so that former finalists exceed it;
    * ``complete``, ``pruned``, ``failed``: numbers of jobs that ended so;
    * one column for each class of failure that occurs, with its count;
    * ``hours``: working time of the jobs;
    * ``cpu_hours``, ``gpu_hours``: working time times all CPU threads or all GPUs of the workers, NaN if a job worked
      and did not record its hardware.

    Args:
        ledgers: records of one or more sweeps.
    """
    rows = [row for records in ledgers for row in _rows(records)]
    reasons = sorted({name for row in rows for name in row} - {*KEYS, "planned", *STATES, *HOURS})
    frame = pd.DataFrame(rows, columns=[*KEYS, "planned", *STATES, *reasons, *HOURS])
    counts = dict.fromkeys([*STATES, *reasons], "int64")
    return frame.fillna(dict.fromkeys(reasons, 0)).astype({"planned": "Int64", **counts})


def _rows(records: Sequence[Record]) -> Iterator[dict[str, object]]:
    jobs: dict[tuple[str, Stage], list[Record]] = {}
    for record in records:
        jobs.setdefault((record.method, record.stage), []).append(record)
    planned = _planned(latest_config(records), early_ends(records), jobs)
    for arm, stage in [*planned, *(key for key in jobs if key not in planned)]:
        finished = jobs.get((arm, stage), [])
        method, search = method_and_search(arm)
        states = Counter(record.state for record in finished)
        yield {
            "sweep": records[0].sweep,
            "method": method,
            "search": search,
            "stage": stage,
            "planned": planned.get((arm, stage), 0),
            **{state: states[state] for state in STATES},
            **Counter(record.failure_class for record in finished if record.state == "failed"),
            "hours": math.fsum(_hours(record) for record in finished),
            "cpu_hours": _hours_times(finished, lambda hardware: hardware.threads * hardware.workers),
            "gpu_hours": _hours_times(finished, lambda hardware: hardware.gpus),
        }


def _hours(record: Record) -> float:
    return record.seconds.get("total", 0.0) / 3600


def _hours_times(records: Sequence[Record], units: Callable[[Hardware], int]) -> float:
    """Sum hours times units of hardware; NaN if a job worked and did not record its hardware."""
    return math.fsum(
        hours * (math.nan if record.hardware is None else units(record.hardware))
        for record in records
        if (hours := _hours(record))
    )


def _planned(
    config: Mapping[str, Any],
    ends: Mapping[str, EarlyEnd],
    jobs: Mapping[tuple[str, Stage], Sequence[Record]],
) -> dict[tuple[str, Stage], int | None]:
    """Map (arm, stage), in the order of the tables, to planned jobs; None if the budget is time."""
    budget, searched = config["budget"], searched_methods(config)
    most = config["search"]["finalists"]
    planned: dict[tuple[str, Stage], int | None] = {}
    for arm in recorded_methods(config):
        if arm in searched:
            planned[arm, "search"] = ends[arm].trials if arm in ends else budget["trials_per_subset"]
            if most > 1:
                finalists = choose_finalists(jobs.get((arm, "search"), ()), most)
                planned[arm, "finalist"] = len(finalists) * budget["seeds"] if len(finalists) > 1 else 0
        planned[arm, "confirm"] = budget["seeds"]
    return planned
