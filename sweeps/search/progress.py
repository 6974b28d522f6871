"""How far a sweep is, from its configuration, its ledger and the keys of its running jobs.

The live table and `sweep status` both show this progress, and neither reads an Optuna study for it. Each new record is
added to the counts, because the table is redrawn at every report of every trial.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sweeps.config import SweepConfig
from sweeps.ledger import EarlyEnd, JobKey, Record, Stage
from sweeps.search.fair_share import FairShare
from sweeps.search.finalists import Finalists

__all__ = ["Progress", "Tally", "from_records"]

_CONFIRM: Stage = "confirm"
_FINALIST: Stage = "finalist"


@dataclass(frozen=True)
class Progress:
    """One row of the table: the search of an arm, all finalists' runs, or all confirmation runs."""

    name: str
    stage: Stage
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
    ended_early: bool = False
    """Whether the search ended before its budget was used (``search.stop_when``)."""
    improvement: float | None = None
    """What the search's next trial is expected to gain, in units of the objective; None where it is not known.

    For a search that ended early, it is what the decision was based on.
    """
    improvement_high: float | None = None
    """A gain that the next trial exceeds with a probability of 2.5 %."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Class of a failure's reason -> number of jobs that failed so."""

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


class Gain(Protocol):
    """What the next trial of a search may gain, in units of the objective; forecasts and early ends have it."""

    @property
    def improvement(self) -> float:
        """The expected gain."""

    @property
    def high(self) -> float:
        """A gain that is exceeded with a probability of 2.5 %."""


class _Count:
    """The counts of one row."""

    def __init__(self) -> None:
        self.states = {"complete": 0, "pruned": 0, "failed": 0}
        self.reasons = Counter[str]()
        self.best: float | None = None
        self.seconds = 0.0
        self.timed = 0  # records that say how long they took

    def add(self, record: Record) -> None:
        self.states[record.state] += 1
        if record.state == "failed":
            self.reasons[record.failure_class] += 1
        if record.state == "complete" and record.value is not None:
            self.best = record.value if self.best is None else max(self.best, record.value)
        if "total" in record.seconds:
            self.seconds += record.seconds["total"]
            self.timed += 1


class Tally:
    """Counts a sweep's finished jobs as they come.

    Args:
        config: the sweep.
        finalists: the finalists, which the caller keeps up to date; they say how many runs are planned.
    """

    def __init__(self, config: SweepConfig, finalists: Finalists) -> None:
        self._arms = list(config.arms)
        self._finalists = finalists
        confirmed = sum(len(config.confirmed_on(arm)) for arm in config.arms.values()) + len(config.untuned)
        self._trials = config.budget.trials_per_subset
        self._confirmations = config.budget.seeds * confirmed
        common = [_CONFIRM] if config.search.finalists == 1 else [_FINALIST, _CONFIRM]
        rows = [*(_row("search", name) for name in self._arms), *(_row(stage, "") for stage in common)]
        self._counts = {row: _Count() for row in rows}

    def add(self, record: Record) -> None:
        """Count a record; records of arms that the configuration no longer has are left out."""
        if (row := _row(record.stage, record.method)) in self._counts:
            self._counts[row].add(record)

    def rows(
        self,
        running: Collection[str],
        shares: Mapping[str, float],
        early_ends: Mapping[str, EarlyEnd],
        forecasts: Mapping[str, Gain],
    ) -> list[Progress]:
        """Return one row per arm, then those for finalists, and for confirmations and baselines together.

        Args:
            running: keys of the jobs that have started and not ended.
            shares: arm -> used part of its budget.
            early_ends: arm -> its early end, for each search that has ended early.
            forecasts: arm -> what its next trial may gain; arms may be missing.
        """
        started = Counter(_row(key.stage, key.method) for key in map(JobKey.parse, running))
        trials = {name: early_ends[name].trials if name in early_ends else self._trials for name in self._arms}
        over = [
            name
            for name, most in trials.items()
            if not started[row := _row("search", name)]
            and (shares[name] >= 1 or (most is not None and sum(self._counts[row].states.values()) >= most))
        ]
        gains: Mapping[str, Gain] = {**forecasts, **early_ends}
        planned: dict[Stage, int | None] = {
            _FINALIST: self._finalists.planned(over, self._trials),
            _CONFIRM: self._confirmations,
        }
        return [
            Progress(
                name=name,
                stage=stage,
                planned=trials[name] if stage == "search" else planned[stage],
                running=started[stage, name],
                **count.states,
                best=count.best,
                seconds_per_job=count.seconds / count.timed if count.timed else None,
                share=shares.get(name),
                ended_early=name in early_ends,
                improvement=gains[name].improvement if name in gains else None,
                improvement_high=gains[name].high if name in gains else None,
                reasons=dict(count.reasons),
            )
            for (stage, name), count in self._counts.items()
        ]


def from_records(
    config: SweepConfig,
    records: Sequence[Record],
    running: Collection[str],
    early_ends: Mapping[str, EarlyEnd],
    forecasts: Mapping[str, Gain],
) -> list[Progress]:
    """Return the rows of a sweep that another process runs, or that no process runs.

    Args:
        config: the sweep.
        records: the records of the sweep's ledger.
        running: keys of the jobs that have started and not ended.
        early_ends: arm -> its early end, for each search that has ended early.
        forecasts: arm -> what its next trial may gain; arms may be missing.
    """
    finalists = Finalists(config)
    tally = Tally(config, finalists)
    fair_share = FairShare(config.budget, list(config.arms), config.workers.per_trial)
    for record in records:
        tally.add(record)
        finalists.add(record)
    fair_share.restore(records)
    for name, end in early_ends.items():
        fair_share.end_early(name, end.trials)
    return tally.rows(running, {name: fair_share.share(name) for name in config.arms}, early_ends, forecasts)


def _row(stage: Stage, method: str) -> tuple[Stage, str]:
    """Return the stage and the name of the row that counts a job."""
    return stage, method if stage == "search" else stage
