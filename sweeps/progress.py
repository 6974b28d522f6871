"""How far a sweep is, from its configuration, its ledger and the names of its running jobs.

The live table and `sweep status` show the same thing from here; neither loads an Optuna study.
"""

import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sweeps.config import SweepConfig
from sweeps.ledger import Record

__all__ = ["Progress", "sweep_progress"]


@dataclass(frozen=True)
class Progress:
    """Where one row of the table stands: the search of a subset or tuned baseline, or all confirmation runs."""

    name: str
    planned: int
    running: int
    complete: int
    pruned: int
    failed: int
    best: float | None
    """Best objective of a full-budget trial so far."""
    seconds_per_job: float | None
    """Mean wall seconds of the finished ones."""

    @property
    def done(self) -> int:
        """Finished jobs, however they ended."""
        return self.complete + self.pruned + self.failed


def sweep_progress(config: SweepConfig, records: Iterable[Record], running: Collection[str]) -> list[Progress]:
    """One row per search, then one for confirmations and baselines together.

    Args:
        config: the sweep.
        records: its ledger.
        running: keys of the jobs that have started and not ended.
    """
    records = list(records)
    methods = dict.fromkeys([*config.losses, *config.baselines])
    searches = [
        _progress(
            subset,
            config.budget.trials_per_subset,
            sum(key.startswith(f"search-{subset}-") for key in running),
            [record for record in records if record.stage == "search" and record.method == subset],
        )
        for subset in config.losses
    ]
    confirmations = _progress(
        "confirm",
        config.budget.seeds * sum(len(config.modality_choices(method)) for method in methods),
        sum(key.startswith("confirm-") for key in running),
        [record for record in records if record.stage == "confirm"],
    )
    return [*searches, confirmations]


def _progress(name: str, planned: int, running: int, records: Sequence[Record]) -> Progress:
    states = [record.state for record in records]
    full = [record.value for record in records if record.state == "complete" and record.value is not None]
    times = [record.seconds["total"] for record in records if "total" in record.seconds]
    return Progress(
        name=name,
        planned=planned,
        running=running,
        complete=states.count("complete"),
        pruned=states.count("pruned"),
        failed=states.count("failed"),
        best=max(full, default=None),
        seconds_per_job=statistics.mean(times) if times else None,
    )
