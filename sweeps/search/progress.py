"""How far a sweep is, from its configuration, its ledger and the names of its running jobs.

The live table and `sweep status` show the same thing from here; neither loads an Optuna study. Counts are kept along
rather than taken anew from all records: the table is redrawn at every report of every trial.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sweeps.config import SweepConfig
from sweeps.ledger import JobKey, Record
from sweeps.search.fair_share import FairShare

__all__ = ["Progress", "Tally", "from_records"]

_CONFIRM = "confirm"


@dataclass(frozen=True)
class Progress:
    """Where one row of the table stands: the search of a subset or tuned baseline, or all confirmation runs."""

    name: str
    planned: int | None
    """Jobs; None for a search whose budget is time."""
    running: int
    complete: int
    pruned: int
    failed: int
    best: float | None
    """Best objective of a full-budget trial so far."""
    seconds_per_job: float | None
    """Mean wall seconds of the finished ones."""
    share: float | None = None
    """How much of its search's budget is used, where that is known: 1 is all."""

    @property
    def done(self) -> int:
        """Finished jobs, however they ended."""
        return self.complete + self.pruned + self.failed

    @property
    def finished(self) -> bool:
        """True if no further job of the row is to start, as far as is known."""
        if self.planned is not None:
            return self.done >= self.planned
        return self.share is not None and self.share >= 1


class _Count:
    """What one row needs of its records."""

    def __init__(self) -> None:
        self.states = {"complete": 0, "pruned": 0, "failed": 0}
        self.best: float | None = None
        self.seconds, self.timed = 0.0, 0

    def add(self, record: Record) -> None:
        self.states[record.state] += 1
        if record.state == "complete" and record.value is not None:
            self.best = record.value if self.best is None else max(self.best, record.value)
        if "total" in record.seconds:
            self.seconds += record.seconds["total"]
            self.timed += 1


class Tally:
    """Counts a sweep's finished attempts as they come.

    Args:
        config: the sweep.
    """

    def __init__(self, config: SweepConfig) -> None:
        self._arms = list(config.arms)
        confirmed = sum(len(config.confirmed_on(arm)) for arm in config.arms.values()) + len(config.untuned)
        self._trials, self._confirmations = config.budget.trials_per_subset, config.budget.seeds * confirmed
        self._counts = {name: _Count() for name in (*self._arms, _CONFIRM)}

    def add(self, record: Record) -> None:
        """Count a record; one of an arm that the configuration has no more is left out."""
        name = _CONFIRM if record.stage == "confirm" else record.method
        if name in self._counts:
            self._counts[name].add(record)

    def rows(self, running: Collection[str], shares: Mapping[str, float] | None = None) -> list[Progress]:
        """One row per arm, then one for confirmations and baselines together.

        Args:
            running: keys of the jobs that have started and not ended.
            shares: arm -> how much of its budget is used, where it is known.
        """
        keys = map(JobKey.parse, running)
        started = Counter(_CONFIRM if key.stage == "confirm" else key.method for key in keys)
        return [
            Progress(
                name=name,
                planned=self._confirmations if name == _CONFIRM else self._trials,
                running=started[name],
                **count.states,
                best=count.best,
                seconds_per_job=count.seconds / count.timed if count.timed else None,
                share=(shares or {}).get(name),
            )
            for name, count in self._counts.items()
        ]


def from_records(config: SweepConfig, records: Sequence[Record], running: Collection[str]) -> list[Progress]:
    """The rows of a sweep that another process runs, or none.

    Args:
        config: the sweep.
        records: its ledger's.
        running: keys of the jobs that have started and not ended.
    """
    tally, turns = Tally(config), FairShare(config.budget, list(config.arms), config.workers.per_trial)
    for record in records:
        tally.add(record)
    turns.restore(records)
    return tally.rows(running, {name: turns.share(name) for name in config.arms})
