"""How far a sweep is, from its configuration, its ledger and the keys of its running jobs.

The live table and `sweep status` both show this progress, and neither reads an Optuna study for it. Each new record is
added to the counts, because the table is redrawn at every report of every trial.
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
    """One row of the table: the search of an arm, or all confirmation runs."""

    name: str
    planned: int | None
    """Number of jobs; None for a search whose budget is time."""
    running: int
    complete: int
    pruned: int
    failed: int
    best: float | None
    """Best objective so far of a complete job."""
    seconds_per_job: float | None
    """Mean wall seconds of a finished job; None before the first."""
    share: float | None = None
    """The used part of the search's budget, from 0 to about 1; None where it is not known."""

    @property
    def done(self) -> int:
        """Number of finished jobs, however they ended."""
        return self.complete + self.pruned + self.failed

    @property
    def finished(self) -> bool:
        """Whether no further job of the row is to start, as far as is known."""
        if self.planned is not None:
            return self.done >= self.planned
        return self.share is not None and self.share >= 1


class _Count:
    """The counts of one row."""

    def __init__(self) -> None:
        self.states = {"complete": 0, "pruned": 0, "failed": 0}
        self.best: float | None = None
        self.seconds = 0.0
        self.timed = 0  # records that say how long they took

    def add(self, record: Record) -> None:
        self.states[record.state] += 1
        if record.state == "complete" and record.value is not None:
            self.best = record.value if self.best is None else max(self.best, record.value)
        if "total" in record.seconds:
            self.seconds += record.seconds["total"]
            self.timed += 1


class Tally:
    """Counts a sweep's finished jobs as they come.

    Args:
        config: the sweep.
    """

    def __init__(self, config: SweepConfig) -> None:
        self._arms = list(config.arms)
        confirmed = sum(len(config.confirmed_on(arm)) for arm in config.arms.values()) + len(config.untuned)
        self._trials = config.budget.trials_per_subset
        self._confirmations = config.budget.seeds * confirmed
        self._counts = {name: _Count() for name in (*self._arms, _CONFIRM)}

    def add(self, record: Record) -> None:
        """Count a record; records of arms that the configuration no longer has are left out."""
        name = _CONFIRM if record.stage == "confirm" else record.method
        if name in self._counts:
            self._counts[name].add(record)

    def rows(self, running: Collection[str], shares: Mapping[str, float] | None = None) -> list[Progress]:
        """Return one row per arm, then one for confirmations and baselines together.

        Args:
            running: keys of the jobs that have started and not ended.
            shares: arm -> used part of its budget; arms may be missing.
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
    """Return the rows of a sweep that another process runs, or that no process runs.

    Args:
        config: the sweep.
        records: the records of the sweep's ledger.
        running: keys of the jobs that have started and not ended.
    """
    tally = Tally(config)
    fair_share = FairShare(config.budget, list(config.arms), config.workers.per_trial)
    for record in records:
        tally.add(record)
    fair_share.restore(records)
    return tally.rows(running, {name: fair_share.share(name) for name in config.arms})
