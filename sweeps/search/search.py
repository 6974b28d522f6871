"""The search: decides which job runs next and which trial stops, and records how each job ended.

One Optuna study per arm is the truth of that arm's search; the ledger is the truth of what has finished. This module
joins the two, and does not know how jobs are executed. An executor asks for the next job, passes reports on, and says
how jobs ended.

Protocol (fair by construction):

1. Search: the arms take fair turns (`sweeps.search.fair_share`), and each study prunes by its own trials. The first
   trial of every arm is the space's default configuration.
2. Finalists: each arm's K best trials among those that ran their full budget, the default configuration always among
   them, are trained again with S fresh seeds and scored on validation data. The best mean wins
   (`sweeps.ledger.winners`). K is ``search.finalists``; if it is 1, the best trial wins as it is. S is
   ``budget.seeds``; the seeds are the same for all finalists. Finalists count for no arm's budget.
3. Confirm: each arm's winner is trained again with S other seeds and scored on test. The seeds are the same for all
   arms.
4. Baselines run with the same S seeds. Baselines that have something to tune are searched like a subset. The random
   head takes the winner of the best-scoring subset. The other baselines have nothing to choose.

All of this is repeated ``budget.searches`` times. Each search of a method is an arm of its own, with other seeds of
trials, proposals, label draws, finalists and confirmations. It learns nothing from the other searches, so that the
spread of its results includes the luck of the search. A grid's order has a seed too: repeated grids visit their points
in other orders, and differ by the seeds of their trials alone if each has room for all points.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, product
from typing import Any

from conclugen.counts import counted
from sweeps.config import Arm, SweepConfig
from sweeps.folder.layout import SweepFolder
from sweeps.folder.unfinished import UnfinishedJob, UnfinishedJobs
from sweeps.jobs import MAX_ATTEMPTS, FailureReason, Job, Report
from sweeps.ledger import Ledger, Record, State, trial_of
from sweeps.search.confirmations import Confirmations
from sweeps.search.fair_share import FairShare
from sweeps.search.finalists import Best, Finalists
from sweeps.search.job_plan import JobPlan
from sweeps.search.progress import Progress, Tally
from sweeps.search.prospects import Prospects
from sweeps.search.resume import end_stale_runs, resume_trials, runs_with_lost_head, set_failed_aside
from sweeps.search.storage import open_storage
from sweeps.search.study import Study, Trial
from sweeps.search.warm_start import earlier_trials, proposals
from sweeps.terminal import log

__all__ = ["Search"]


@dataclass
class _LiveJob:
    """A job that has started, in this session or an earlier one, and not ended."""

    job: Job
    trial: Trial | None = None
    """None for a finalist's run and for a confirmation run."""
    reports: dict[int, Report] = field(default_factory=dict)
    """Epochs -> the report with the objective, for each."""
    passed: int = -1
    """Epochs of the last report that the pruner let pass."""
    started: float | None = None
    """When this session handed the job out, in seconds since 1970; None before that."""
    dead_slots: int = 0
    """How many slots died while they ran the job."""

    @property
    def values(self) -> dict[int, float]:
        """Epochs -> objective, for each report."""
        return {epochs: report.value for epochs, report in self.reports.items() if report.value is not None}


class Search:
    """The state of a sweep in its folder.

    Args:
        config: the sweep.
        folder: the sweep folder, with studies and ledger.
        clock: gives the time in seconds since 1970.
        say: receives messages about searches that end early, and about damage that an earlier session left.
        retry_failed: run failed jobs again, search trials with their own hyperparameters.

    Raises:
        ConfigError: the sweep's database cannot be opened, or an earlier sweep of ``search.warm_start`` has no
            finished trial.
        LedgerError: the ledger of this or of the earlier sweep cannot be read.
        OSError: the file of an unfinished job, or a kept head, cannot be read.
    """

    def __init__(
        self,
        config: SweepConfig,
        folder: SweepFolder,
        *,
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] = log,
        retry_failed: bool = False,
    ) -> None:
        self._config, self._folder, self._clock, self._say = config, folder, clock, say
        self._ledger, self._plan = Ledger(folder.ledger), JobPlan(config)
        self._arms = config.arms
        joint = config.search.sampler == "joint"
        space = config.load_space()
        proposed = {} if joint else proposals(config.search.warm_start, self._arms.values(), space)
        storage = open_storage(config, folder)
        self._studies = {
            name: Study(arm, config, storage, folder.identity, proposed.get(arm, ()))
            for name, arm in self._arms.items()
        }
        earlier = earlier_trials(config.search.warm_start, space) if joint else []
        self._prospects = Prospects(config, folder, self._studies, earlier, say)
        self._fair_share = FairShare(config.budget, list(self._arms), config.workers.per_trial)
        for name, end in self._prospects.early_ends.items():
            self._fair_share.end_early(name, end.trials)
        self._finalists = Finalists(config)
        self._tally = Tally(config, self._finalists)
        self._winners: dict[str, Best] = {}  # arm -> its winner, once it is known
        self._confirmations = Confirmations()
        self._live: dict[str, _LiveJob] = {}
        self._lost: list[Job] = []  # live jobs without a slot
        self._unfinished = UnfinishedJobs(folder)
        if retry_failed:
            set_failed_aside(self._ledger, self._plan, self._unfinished)
        self._resume()

    # -- what an executor calls ------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """True once every planned job has ended."""
        return not self._live and self._fair_share.next() is None and self._next_run() is None

    def next_job(self) -> Job | None:
        """Start and return the next job, lost jobs first; None if a running job has to end before."""
        lost = self._lost[0] if self._lost else None
        if lost is not None and not self._gap_before(lost):
            live = self._live[self._lost.pop(0).key]
        elif (new := self._next_trial(lost) or self._next_run()) is not None:
            live = self._live[new.job.key] = new
        else:
            return None
        if live.started is None:
            self._start(live)
        return live.job

    def report(self, key: str, report: Report) -> bool:
        """Take a report of the running job ``key``; return True if the job must not go on.

        A restarted worker repeats reports. Each report counts once, and is judged once.
        """
        live = self._live[key]
        if report.state != "running":
            self._end(live, report.state, report, report.reason)
            return True
        if live.trial is None:
            raise ValueError(f"{key}: only a search trial reports more than its end.")
        if report.epochs <= live.passed:
            return False
        self._fair_share.work(live.job.name, key, report.seconds.get("total", 0.0), self._clock())
        if report.value is not None and report.epochs not in live.reports:
            live.reports[report.epochs] = report
            self._unfinished.report(key, report.epochs, report.value)
            live.trial.report(report.value, report.epochs)
        if not live.trial.should_prune():
            live.passed = report.epochs
            return False
        pruner = self._config.search.pruner
        self._end(
            live,
            "pruned",
            report,
            f"{pruner}: too low beside the other trials of its study after {counted(report.epochs, 'epoch')}",
        )
        return True

    def lose(self, key: str) -> None:
        """Take the running job ``key`` back from a dead slot; the job starts next, or has failed if lost too often.

        A slot may also die between a job's last report and the next job; then there is nothing to take back.
        """
        if (live := self._live.get(key)) is None:
            return
        live.dead_slots += 1
        if live.dead_slots < MAX_ATTEMPTS:
            self._lost.append(live.job)
            return
        last = list(live.reports.values())[-1:] or [Report(epochs=0)]
        reason = FailureReason.SLOT_LOST.because(f"the slot that ran it died {MAX_ATTEMPTS} times")
        self._end(live, "failed", last[0], reason)

    def progress(self) -> list[Progress]:
        """Return one row per arm, then those for finalists, and for confirmations and baselines together."""
        running = self._live.keys() - {job.key for job in self._lost}
        shares = {name: self._fair_share.share(name) for name in self._arms}
        return self._tally.rows(running, shares, self._prospects.early_ends, self._prospects.forecasts)

    # -- which job is next -----------------------------------------------------------------------------------------

    def _gap_before(self, lost: Job) -> bool:
        """Whether a trial before ``lost`` has left no trace; that trial is proposed again first, as it was."""
        name = lost.name
        return (
            lost.stage == "search"
            and not self._fair_share.spent(name)
            and self._studies[name].next_number < lost.number
        )

    def _next_trial(self, lost: Job | None) -> _LiveJob | None:
        """Start a new trial of the arm whose turn it is, or of the arm of ``lost``."""
        name = self._next_arm() if lost is None else lost.name
        if name is None:
            return None
        search = self._arms[name].search
        best_of_others = {
            arm: best
            for other, arm in self._arms.items()
            if other != name and arm.search == search and (best := self._winner(other) or self._studies[other].best)
        }
        propose = self._prospects.propose if self._config.search.sampler == "joint" else None
        started = self._studies[name].ask(best_of_others, propose)
        job = self._plan.trial(self._arms[name], started.number, started.hyperparameters, started.origin)
        return _LiveJob(job, started.trial)

    def _next_arm(self) -> str | None:
        """Return the arm whose next trial is to start; None if every search is over. A search may end at its turn."""
        while (name := self._turn()) is not None and (end := self._prospects.early_end(name)) is not None:
            self._fair_share.end_early(name, end.trials)
        return name

    def _turn(self) -> str | None:
        """Return the arm whose turn it is; None if every search is over."""
        turn, search = self._fair_share.next(), self._config.search
        if turn is None or (search.sampler != "joint" and search.stop_when is None):
            return turn
        # A joint proposal and an early end follow from the trials of all arms before it, so lost trials come first.
        late = [
            name
            for name, study in self._studies.items()
            if study.is_late(study.next_number) and not self._fair_share.spent(name)
        ]
        return min(late, key=lambda name: self._studies[name].next_number, default=turn)

    def _next_run(self) -> _LiveJob | None:
        """Return the next finalist's run, confirmation run or baseline; None if none can start now."""
        job = next(chain(self._open_finalists(), self._open_confirmations(), self._open_baselines()), None)
        return None if job is None else _LiveJob(job)

    def _open_finalists(self) -> Iterator[Job]:
        """Yield the finalists' runs that can start, those of an arm seed by seed."""
        for name in self._arms:
            if self._fair_share.over(name) and name not in self._winners:
                yield from (job for job in self._missing_runs(name) if job.key not in self._live)

    def _missing_runs(self, name: str) -> Iterator[Job]:
        """Yield the runs of an arm's present finalists that have not ended with the present basis."""
        bases = [(record, self._plan.finalist_basis(record.hyperparameters)) for record in self._finalists.of(name)]
        for index, (record, basis) in product(range(self._plan.seeds), bases):
            job = self._plan.finalist_run(self._arms[name], record, index)
            if self._finalists.basis(job.key) != basis:
                yield job

    def _decided(self, name: str) -> bool:
        """Whether the search of an arm is over, and all runs of its finalists have ended."""
        return name in self._winners or (self._fair_share.over(name) and next(self._missing_runs(name), None) is None)

    def _winner(self, name: str) -> Best | None:
        """Return what an arm confirms; None while that is not known, or if no trial ran its full budget."""
        if name not in self._winners and self._decided(name) and (won := self._finalists.winner(name)) is not None:
            self._winners[name] = won
        return self._winners.get(name)

    def _open_confirmations(self) -> Iterator[Job]:
        """Yield the confirmation runs that can start, first those with the arm's own modalities."""
        for name, arm in self._arms.items():
            if (winner := self._winner(name)) is not None:
                for variant in self._config.confirmed_on(arm):
                    yield from self._open_runs(variant, winner.hyperparameters)

    def _open_baselines(self) -> Iterator[Job]:
        for arm in self._config.untuned:
            hyperparameters = self._best_hyperparameters(arm.search) if arm.method == "random_head" else {}
            if hyperparameters is not None:
                yield from self._open_runs(arm, hyperparameters)

    def _open_runs(self, arm: Arm, hyperparameters: Mapping[str, Any]) -> Iterator[Job]:
        """Yield the confirmation runs that neither run nor have ended with the same basis."""
        basis = self._plan.confirmation_basis(hyperparameters)
        for job in self._plan.confirmations(arm, hyperparameters):
            if job.key not in self._live and self._confirmations.basis(job.name, job.key) != basis:
                yield job

    def _best_hyperparameters(self, search: int) -> Mapping[str, Any] | None:
        """Return what the best subset of a search confirms; None while that is not known."""
        subsets = [
            name for name, arm in self._arms.items() if arm.method in self._config.subsets and arm.search == search
        ]
        winners = [winner for name in subsets if (winner := self._winner(name)) is not None]
        if not winners or not all(map(self._decided, subsets)):
            return None
        return max(winners, key=lambda winner: winner.value).hyperparameters

    # -- how a job starts and ends ---------------------------------------------------------------------------------

    def _start(self, live: _LiveJob) -> None:
        job = live.job
        if job.stage == "confirm" and self._confirmations.basis(job.name, job.key) is not None:
            former = self._confirmations.outdated(job.name, self._plan.confirmation_basis(job.hyperparameters))
            if former:
                again = f"{counted(len(former), 'confirmation')} run again; ledger/superseded keeps the former ones"
                self._say(f"{job.name}: another configuration has won, or the scoring has changed; {again}.")
            self._supersede(former)
        elif job.stage == "finalist" and self._finalists.basis(job.key) is not None:
            basis = self._plan.finalist_basis(job.hyperparameters)
            self._supersede(self._finalists.outdated(job.name, trial_of(job.number), basis))
        self._unfinished.start(UnfinishedJob(job, live.values, self._plan.reports_basis(job)))
        live.started = self._clock()
        if job.stage == "search":
            self._fair_share.start(job.name, job.key)

    def _end(self, live: _LiveJob, state: State, report: Report, reason: str) -> None:
        job = live.job
        now = self._clock()
        history = list(live.values.items())
        if state == "complete" and report.value is not None:
            history.append((report.epochs, report.value))
        # A lost worker cannot say how long it worked, and on which hardware; its earlier reports can.
        reports = [report, *reversed(live.reports.values())]
        seconds = next((past.seconds for past in reports if past.seconds), {})
        record = Record(
            stage=job.stage,
            method=job.name,
            number=job.number,
            seed=job.seed,
            state=state,
            origin=job.origin,
            reason=reason,
            hyperparameters=job.hyperparameters,
            epochs=report.epochs,
            value=report.value,
            history=history,
            losses=report.losses,
            metrics=report.metrics,
            predictions=report.predictions,
            seconds=seconds,
            started=_iso(live.started or now),
            ended=_iso(now),
            early_ends=dict(self._prospects.early_ends),
            hardware=next((past.hardware for past in reports if past.hardware is not None), None),
            **self._plan.constants,
        )
        # The record comes first: if the driver dies right after, the study learns the result from the record.
        self._ledger.add(record)
        if state == "failed":
            log(f"{job.key} failed: {reason}")
        if live.trial is not None:
            self._studies[job.name].tell(job.number, live.trial, state, report.value, reason)
            self._fair_share.work(job.name, job.key, seconds.get("total", 0.0), now)
            self._fair_share.end(job.name, job.key, failed=state == "failed")
        del self._live[job.key]
        self._note(record)
        self._unfinished.end(job.key)
        if job.stage == "confirm":
            self._keep_best_heads(record.method)

    def _note(self, record: Record) -> None:
        """Count a finished job."""
        self._tally.add(record)
        self._finalists.add(record)
        if record.stage == "confirm":
            self._confirmations.add(record)

    def _keep_best_heads(self, method: str) -> None:
        """Delete a method's heads, except the best on validation data, so that disk use stays bounded."""
        for key in self._confirmations.superfluous_heads(method, self._config.checkpoint.heads):
            self._folder.head(key).unlink(missing_ok=True)

    def _supersede(self, keys: Collection[str]) -> None:
        """Set aside the records of runs that are to run again, and delete their heads."""
        if not keys:
            return
        for key in keys:
            self._ledger.set_aside(key, "superseded")
            self._folder.head(key).unlink(missing_ok=True)
            self._finalists.remove(key)
            self._confirmations.remove(key)
        self._tally = Tally(self._config, self._finalists)
        for record in self._ledger:
            self._tally.add(record)

    # -- what an earlier session left ------------------------------------------------------------------------------

    def _resume(self) -> None:
        """Take up the sweep where an earlier session left it."""
        records = list[Record]()
        for record in self._ledger:
            self._note(record)
            rest: dict[str, Any] = {"config": {}} if record.stage == "search" else {}
            records.append(replace(record, metrics=(), predictions=(), **rest))  # there may be many thousands
        self._fair_share.restore(records)
        for resumed in resume_trials(self._studies, records, self._plan, self._unfinished, self._say):
            job = resumed.job
            reports = {epochs: Report(epochs=epochs, value=value) for epochs, value in resumed.reported.items()}
            passed = max([-1, *sorted(reports)[:-1]])  # the last report may not have been judged
            self._live[job.key] = _LiveJob(job, resumed.trial, reports, passed)
            self._fair_share.expect(job.name, job.key)
            self._lost.append(job)
        end_stale_runs(self._unfinished, {job.key for job in self._open_finalists()})
        unusable = runs_with_lost_head(self._folder, records, self._plan, self._config.checkpoint.heads)
        for key, problem in unusable.items():
            self._say(f"{problem} {key} runs again; its record is now in {self._folder.ledger / 'superseded'}.")
        self._supersede(unusable)
        for method in self._confirmations.methods():
            self._keep_best_heads(method)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
