"""What an earlier session left: failed jobs to run again, unfinished jobs to continue, lost heads to make again.

The ledger is right about what has ended, and the folders of running jobs about what had started. Each study is brought
in line with both (:meth:`sweeps.search.study.Study.restore`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sweeps.folder.kept_heads import lost_heads
from sweeps.folder.layout import SweepFolder
from sweeps.folder.unfinished import UnfinishedJob, UnfinishedJobs
from sweeps.jobs import Job
from sweeps.ledger import JobKey, Ledger, Record, choose_finalists, trial_of
from sweeps.search.job_plan import JobPlan
from sweeps.search.study import Study, Trial

__all__ = ["ResumedTrial", "end_stale_runs", "resume_trials", "runs_with_lost_head", "set_failed_aside"]


@dataclass(frozen=True)
class ResumedTrial:
    """A trial of an earlier session that has not ended, or whose record is gone."""

    job: Job
    trial: Trial
    reported: Mapping[int, float]
    """Epochs -> objective, for each report of an earlier session that still counts."""


def set_failed_aside(ledger: Ledger, plan: JobPlan, unfinished: UnfinishedJobs) -> None:
    """Set aside, as ``retried``, the records of failed jobs that the sweep as configured now would run again.

    A search trial is noted as unfinished before its record is gone. So the trial keeps its hyperparameters even where
    its study has lost them, or is a new study in another storage.

    Args:
        ledger: the sweep's ledger.
        plan: the jobs of the sweep as it is configured now.
        unfinished: the unfinished jobs of the sweep; the failed trials are added.
    """
    records = [replace(record, metrics=(), predictions=()) for record in ledger]
    finalists = {
        (name, trial.number)
        for name in plan.arms
        for trial in choose_finalists(
            (record for record in records if (record.stage, record.method) == ("search", name)), plan.finalists
        )
    }
    for record in records:
        if record.state != "failed" or not plan.includes(record):
            continue
        if record.stage == "finalist" and (record.method, trial_of(record.number)) not in finalists:
            continue
        if record.stage == "search":
            job = plan.trial(plan.arms[record.method], record.number, record.hyperparameters, record.origin)
            unfinished.start(UnfinishedJob(job, {}, plan.reports_basis(job)))
        ledger.set_aside(record.key, "retried")


def resume_trials(
    studies: Mapping[str, Study],
    records: Sequence[Record],
    plan: JobPlan,
    unfinished: UnfinishedJobs,
    say: Callable[[str], None],
) -> list[ResumedTrial]:
    """Make studies, ledger and running jobs agree; return the trials to continue, sorted by their numbers.

    Args:
        studies: arm -> its study.
        records: the records of the ledger; metrics and predictions are not needed.
        plan: the jobs of the sweep as it is configured now.
        unfinished: the unfinished jobs of the sweep; jobs that have a record are removed.
        say: receives a message for each damaged file.

    Raises:
        OSError: the file of an unfinished job cannot be read.
    """
    finished: dict[str, dict[int, Record]] = {name: {} for name in studies}
    for record in records:
        if record.stage == "search" and record.method in finished:
            finished[record.method][record.number] = record
    remains = unfinished.restore(say)
    for record in records:
        if record.key in remains:  # the driver died after it had written the record
            unfinished.end(record.key)
            del remains[record.key]
    trials = list[ResumedTrial]()
    for name, study in studies.items():
        keys = [(JobKey.parse(text), job) for text, job in remains.items()]
        jobs = {key.number: job for key, job in keys if (key.stage, key.method) == ("search", name)}
        known = {number: _without_outdated_reports(job, plan) for number, job in jobs.items() if job is not None}
        unknown = {number for number, job in jobs.items() if job is None}
        for started in study.restore(finished[name], known, unknown):
            job = plan.trial(plan.arms[name], started.number, started.hyperparameters, started.origin)
            trials.append(ResumedTrial(job, started.trial, started.reported))
    return sorted(trials, key=lambda resumed: resumed.job.number)  # the trials before it judge each trial


def end_stale_runs(unfinished: UnfinishedJobs, finalists: Collection[str]) -> None:
    """Forget the unfinished runs of trials that are finalists no more, or may not be when their search has ended.

    Args:
        unfinished: the unfinished jobs of the sweep.
        finalists: the keys of the finalists' runs that can start now.
    """
    for key in unfinished:
        if JobKey.parse(key).stage == "finalist" and key not in finalists:
            unfinished.end(key)


def runs_with_lost_head(folder: SweepFolder, records: Sequence[Record], plan: JobPlan, most: int) -> dict[str, str]:
    """Return the confirmation runs that have to run again because their kept head is lost: key -> problem.

    Args:
        folder: the sweep folder.
        records: the records of the ledger.
        plan: the jobs of the sweep as it is configured now.
        most: how many heads a method keeps.

    Raises:
        OSError: a head cannot be read, for another reason than that it is missing.
    """
    confirmed = [record for record in records if record.stage == "confirm"]
    lost = lost_heads(folder, confirmed, most)
    return {record.key: problem for record, problem in lost if plan.includes(record)}


def _without_outdated_reports(unfinished: UnfinishedJob, plan: JobPlan) -> UnfinishedJob:
    """Drop a job's reports if the user has accepted a change after which they do not compare."""
    return unfinished if unfinished.basis == plan.reports_basis(unfinished.job) else replace(unfinished, reported={})
