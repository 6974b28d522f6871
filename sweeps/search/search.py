"""The search: which job runs next, which trial is stopped, what is told to Optuna and written to the ledger.

One Optuna study per loss subset is the single truth of that subset's search; the ledger is the truth of what finished.
This module joins the two and knows nothing of how jobs are executed: an executor asks for the next job, passes
reports on, and says how jobs ended.

Protocol (fair by construction):

1. Search: turns are given fairly (`sweeps.search.fair_share`); each study prunes by its own trials. The first trial of
every arm is
   the space's default configuration.
2. Confirm: the best configuration of each subset that ran its full budget is retrained with S fresh seeds, the same S
   for all subsets, and scored on test.
3. Baselines run with the same S seeds: those that have something to tune are searched like a subset, the random head
   takes the configuration of the best-scoring subset, the others have nothing to choose.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from conclugen.seeds import derive_seed
from sweeps.config import Arm, SweepConfig
from sweeps.folder.comparability import confirmation_basis, provenance, reports_basis
from sweeps.folder.kept_heads import keepers, lost_heads
from sweeps.folder.layout import SweepFolder
from sweeps.folder.unfinished import UnfinishedJob, UnfinishedJobs
from sweeps.jobs import MAX_ATTEMPTS, FailureReason, Job, Report
from sweeps.ledger import JobKey, Ledger, Record, State
from sweeps.search.fair_share import FairShare
from sweeps.search.progress import Progress, Tally
from sweeps.search.storage import open_storage
from sweeps.search.study import Best, StartedTrial, Study, Trial
from sweeps.search.warm_start import proposals
from sweeps.terminal import log

__all__ = ["Search"]


class Search:
    """The state of a sweep in its folder.

    Args:
        config: the sweep.
        folder: where its studies and ledger lie.
        clock: gives the time in seconds since the epoch.
        say: told of what an earlier session left damaged, and what is done about it.
        retry_failed: run what has failed again, search trials with their own hyperparameters.

    Raises:
        ConfigError: the sweep's database cannot be opened, or there is nothing to start warm from.
        LedgerError: the ledger, or the one to start warm from, cannot be read.
        OSError: what is left of a running job cannot be read.
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
        self._ledger = Ledger(folder.ledger)
        self._arms, warm = config.arms, config.search.warm_start
        tried = {} if warm is None else proposals(warm, self._arms.values(), config.load_space())
        storage = open_storage(config, folder)
        self._studies = {
            name: Study(arm, config, storage, folder.identity, tried.get(arm, ())) for name, arm in self._arms.items()
        }
        self._fair_share = FairShare(config.budget, list(self._arms), config.workers.per_trial)
        self._tally = Tally(config)
        self._done: dict[str, str] = {}  # key -> what the result rests on
        self._values: dict[str, dict[str, float]] = {}  # method -> key of a confirmation run -> its objective
        self._live: dict[str, Job] = {}
        self._lost: list[Job] = []  # live jobs without a slot
        self._losses: Counter[str] = Counter()
        self._trials: dict[str, Trial] = {}
        self._history: dict[str, dict[int, Report]] = {}
        self._passed: dict[str, int] = {}  # epochs of the last report after which a trial was to go on
        self._started: dict[str, float] = {}
        self._constants: dict[str, Any] = {
            "sweep": config.name,
            "config": config.model_dump(mode="json"),
            **provenance(config),
        }
        self._unfinished = UnfinishedJobs(folder)
        if retry_failed:
            self._retry_failed()
        self._restore()

    # -- what an executor calls ------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """True once every planned job has ended."""
        if self._live:
            return False
        return self._fair_share.next() is None and self._confirmation() is None and self._baseline() is None

    def next_job(self) -> Job | None:
        """Start the next job, lost ones first; None while there is none to start before a running one has ended."""
        lost = self._lost[0] if self._lost else None
        if lost is not None and not self._gap_before(lost):
            job = self._lost.pop(0)
        elif (new := self._trial(lost) or self._confirmation() or self._baseline()) is not None:
            job = new
            self._live[job.key], self._history[job.key] = job, {}
        else:
            return None
        if job.key not in self._started:
            if job.key in self._done:
                self._supersede(self._outdated(job))
            reported = {e: past.value for e, past in self._history[job.key].items() if past.value is not None}
            self._unfinished.start(UnfinishedJob(job, reported, self._reports_rest_on(job)))
            self._started[job.key] = self._clock()
            if job.stage == "search":
                self._fair_share.start(job.name, job.key)
        return job

    def report(self, key: str, report: Report) -> bool:
        """Take the report of the running job ``key``; True if the job must not go on.

        A report that was given before (a worker restarted and came by again) counts once, and is judged once.
        """
        job = self._live[key]
        if report.state != "running":
            self._end(job, report.state, report, report.reason)
            return True
        if report.epochs <= self._passed.get(key, -1):
            return False
        trial = self._trials[key]
        self._fair_share.work(job.name, key, report.seconds.get("total", 0.0), self._clock())
        if report.value is not None and report.epochs not in self._history[key]:
            self._history[key][report.epochs] = report
            self._unfinished.report(key, report.epochs, report.value)
            trial.report(report.value, report.epochs)
        if not trial.should_prune():
            self._passed[key] = report.epochs
            return False
        self._end(
            job,
            "pruned",
            report,
            f"{self._config.search.pruner}: judged too low by its study after {report.epochs} epochs",
        )
        return True

    def lose(self, key: str) -> None:
        """Take the running job ``key`` back from a slot that died: it starts next, or has failed if lost too often.

        A slot may also die between its job's last report and its next job; then there is nothing to take back.
        """
        if (job := self._live.get(key)) is None:
            return
        self._losses[key] += 1
        if self._losses[key] < MAX_ATTEMPTS:
            self._lost.append(job)
            return
        last = list(self._history[key].values())[-1:] or [Report(epochs=0)]
        reason = FailureReason.SLOT_LOST.because(f"the slot that ran it died {MAX_ATTEMPTS} times")
        self._end(job, "failed", last[0], reason)

    def progress(self) -> list[Progress]:
        """One row per arm, then one for confirmations and baselines together."""
        running = self._live.keys() - {job.key for job in self._lost}
        return self._tally.rows(running, {name: self._fair_share.share(name) for name in self._arms})

    # -- which job is next -----------------------------------------------------------------------------------------

    def _gap_before(self, lost: Job) -> bool:
        """Whether a trial before a lost one has left no trace; it is searched anew first, as it was at first."""
        name = lost.name
        return (
            lost.stage == "search"
            and not self._fair_share.spent(name)
            and self._studies[name].next_number < lost.number
        )

    def _trial(self, lost: Job | None) -> Job | None:
        """The next trial of the arm whose turn it is, or of a lost one's."""
        name = self._fair_share.next() if lost is None else lost.name
        if name is None:
            return None
        others = {self._arms[n]: other.best for n, other in self._studies.items() if other.best and n != name}
        return self._asked(self._arms[name], self._studies[name].ask(others))

    def _asked(self, arm: Arm, asked: StartedTrial) -> Job:
        job = self._search_job(arm, asked.number, asked.hyperparameters, asked.origin)
        self._trials[job.key] = asked.trial
        return job

    def _search_job(self, arm: Arm, number: int, hyperparameters: Mapping[str, Any], origin: str) -> Job:
        return Job(
            stage="search",
            method=arm.method,
            number=number,
            seed=derive_seed(self._config.seed, "trial", number),
            hyperparameters=hyperparameters,
            origin=origin,
            modalities=arm.modalities,
            labels=arm.labels,
        )

    def _confirmation(self) -> Job | None:
        """The next confirmation of an arm whose search is over, first on what it was searched for."""
        for name, arm in self._arms.items():
            best = self._studies[name].best
            if best is None or not self._fair_share.over(name):
                continue
            for confirmed in self._config.confirmed_on(arm):
                if (job := self._next_seed(confirmed, best.hyperparameters)) is not None:
                    return job
        return None

    def _baseline(self) -> Job | None:
        for arm in self._config.untuned:
            hyperparameters = self._random_head_hyperparameters() if arm.method == "random_head" else {}
            if hyperparameters is not None and (job := self._next_seed(arm, hyperparameters)) is not None:
                return job
        return None

    def _next_seed(self, arm: Arm, hyperparameters: Mapping[str, Any]) -> Job | None:
        """The first confirmation seed that neither runs nor has ended like this; the seeds of all methods pair."""
        basis = confirmation_basis(hyperparameters, self._constants["config"], self._constants["features"])
        for index in range(self._config.budget.seeds):
            job = Job(
                stage="confirm",
                method=arm.method,
                number=index,
                seed=derive_seed(self._config.seed, "confirm", index),
                hyperparameters=hyperparameters,
                modalities=arm.modalities,
                labels=arm.labels,
            )
            if job.key not in self._live and self._done.get(job.key) != basis:
                return job
        return None

    def _random_head_hyperparameters(self) -> Mapping[str, Any] | None:
        """The best subset's; None while it is not known, or if there is none."""
        subsets = [name for name, arm in self._arms.items() if arm.method in self._config.subsets]
        found: list[Best] = [best for name in subsets if (best := self._studies[name].best) is not None]
        if not found or not all(self._fair_share.over(name) for name in subsets):
            return None
        return max(found, key=lambda best: best.value).hyperparameters

    # -- how a job ends --------------------------------------------------------------------------------------------

    def _end(self, job: Job, state: State, report: Report, reason: str) -> None:
        history = [(epoch, past.value) for epoch, past in self._history[job.key].items() if past.value is not None]
        if state == "complete" and report.value is not None:
            history.append((report.epochs, report.value))
        # A worker that was lost cannot say how long it worked, and on what; what it had reported can.
        told = [report, *reversed(self._history[job.key].values())]
        seconds = next((past.seconds for past in told if past.seconds), {})
        trial = self._trials.pop(job.key, None)
        now = self._clock()
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
            started=_iso(self._started.pop(job.key)),
            ended=_iso(now),
            hardware=next((past.hardware for past in told if past.hardware is not None), None),
            **self._constants,
        )
        # The record first: a driver that dies between the two lines has a finished trial to tell, not a lost one.
        self._ledger.add(record)
        if trial is not None:
            self._studies[job.name].tell(job.number, trial, state, report.value, reason)
            self._fair_share.work(job.name, job.key, seconds.get("total", 0.0), now)
            self._fair_share.end(job.name, job.key, failed=state == "failed")
        del self._live[job.key], self._history[job.key]
        self._losses.pop(job.key, None)
        self._passed.pop(job.key, None)
        self._note(record)
        self._unfinished.end(job.key)
        if job.stage == "confirm":
            self._keep_best_heads(record.method)

    def _note(self, record: Record) -> None:
        """Remember of a finished attempt what decisions need; predictions and configurations stay on disk."""
        self._done[record.key] = confirmation_basis(record.hyperparameters, record.config, record.features)
        self._tally.add(record)
        if record.stage == "confirm" and record.value is not None:
            self._values.setdefault(record.method, {})[record.key] = record.value

    def _keep_best_heads(self, method: str) -> None:
        """Delete the heads of a method's confirmation runs but for the best on validation data: disk stays bounded."""
        best = keepers(self._values.get(method, {}), self._config.checkpoint.heads)
        for key in self._confirmations(method):
            if key not in best:
                self._folder.head(key).unlink(missing_ok=True)

    # -- what an earlier session left ------------------------------------------------------------------------------

    def _retry_failed(self) -> None:
        """Set the records of failed attempts aside that the sweep, as it is configured now, would run again.

        A search trial counts as one that had started and not ended, from before its record is gone: so it keeps its
        hyperparameters even where its study has lost them, or is a new one in another storage.
        """
        for record in self._ledger:
            if record.state != "failed" or not self._planned(record):
                continue
            if record.stage == "search":
                arm = self._arms[record.method]
                job = self._search_job(arm, record.number, record.hyperparameters, record.origin)
                self._unfinished.start(UnfinishedJob(job, {}, self._reports_rest_on(job)))
            self._ledger.set_aside(record.key, "retried")

    def _planned(self, record: Record) -> bool:
        """Whether the attempt is one of the sweep as it is configured now."""
        if record.stage == "search":
            return record.method in self._arms
        searched = [confirmed for arm in self._arms.values() for confirmed in self._config.confirmed_on(arm)]
        names = {arm.name for arm in (*searched, *self._config.untuned)}
        return record.number < self._config.budget.seeds and record.method in names

    def _restore(self) -> None:
        """Take up the sweep where an earlier session left it: the ledger, the running jobs and the studies agree."""
        trials: dict[str, dict[int, Record]] = {name: {} for name in self._arms}
        confirmed = list[Record]()
        for record in self._ledger:
            self._note(record)
            if record.stage == "search" and record.method in trials:
                slim = replace(record, config={}, metrics=(), predictions=())  # there may be many thousands
                trials[record.method][record.number] = slim
            elif record.stage == "confirm":
                confirmed.append(replace(record, metrics=(), predictions=()))
        left = self._unfinished.restore(self._say)
        for key in [key for key in left if key in self._done]:  # the driver died between the record and this
            self._unfinished.end(key)
            del left[key]
        self._fair_share.restore(record for records in trials.values() for record in records.values())
        for name, study in self._studies.items():
            keys = [(JobKey.parse(key), unended) for key, unended in left.items()]
            mine = {key.number: unended for key, unended in keys if (key.stage, key.method) == ("search", name)}
            cut = {number: self._own_reports(unended) for number, unended in mine.items() if unended is not None}
            begun = {number for number, unended in mine.items() if unended is None}
            for asked in study.restore(trials[name], cut, begun):
                job = self._asked(self._arms[name], asked)
                self._live[job.key] = job
                self._history[job.key] = {e: Report(epochs=e, value=value) for e, value in asked.reported.items()}
                self._passed[job.key] = max([-1, *sorted(asked.reported)[:-1]])  # the last may not have been judged
                self._fair_share.expect(name, job.key)
                self._lost.append(job)
        self._lost.sort(key=lambda job: job.number)  # each is judged by those before it
        self._mend_heads(confirmed)
        for method in {record.method for record in confirmed}:
            self._keep_best_heads(method)

    def _mend_heads(self, confirmed: Sequence[Record]) -> None:
        """Have confirmations run again of which the head was kept and is lost."""
        lost = {
            record.key: problem
            for record, problem in lost_heads(self._folder, confirmed, self._config.checkpoint.heads)
            if self._planned(record)
        }
        for key, problem in lost.items():
            self._say(f"{problem} {key} runs again; its record is now in {self._folder.ledger / 'superseded'}.")
        self._supersede(lost)

    def _own_reports(self, cut: UnfinishedJob) -> UnfinishedJob:
        """The job, without the reports of a run that it cannot go on with, since a change was accepted."""
        return cut if cut.basis == self._reports_rest_on(cut.job) else replace(cut, reported={})

    def _reports_rest_on(self, job: Job) -> str:
        return reports_basis(job, self._constants["config"], self._constants["features"])

    def _confirmations(self, method: str) -> list[str]:
        """Keys of a method's confirmation runs that have ended."""
        keys = map(JobKey.parse, self._done)
        return [str(key) for key in keys if (key.stage, key.method) == ("confirm", method)]

    def _outdated(self, job: Job) -> list[str]:
        """Keys of the confirmations of the job's method that rest on something else than the job does.

        The search went on and found a better configuration, or the labelled sets or the probe are others.
        """
        basis = confirmation_basis(job.hyperparameters, self._constants["config"], self._constants["features"])
        return [key for key in self._confirmations(job.name) if self._done[key] != basis]

    def _supersede(self, keys: Collection[str]) -> None:
        """Set confirmations aside that are to run again."""
        if not keys:
            return
        for key in keys:
            self._ledger.set_aside(key, "superseded")
            self._folder.head(key).unlink(missing_ok=True)
            self._values.get(JobKey.parse(key).method, {}).pop(key, None)
            del self._done[key]
        self._tally = Tally(self._config)
        for record in self._ledger:
            self._tally.add(record)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
