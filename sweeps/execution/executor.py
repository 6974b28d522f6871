"""The executor: Ray Tune runs what the search decides.

Two thin adapters connect Tune to the search. The searcher hands out jobs. The scheduler passes reports on and returns
the search's verdicts. Tune keeps no state that matters: the studies and the ledger are the state. A resumed sweep
starts a new Tune run.

Tune remembers each trial until the run ends: about 30 kB of the driver's memory a trial (docs/architecture.md). Its
loop would forget trials if we drove it step by step, but that needs private parts of Tune.

A lost slot loses its job. The search counts the losses of each job, to find jobs that kill their process. Losses that
the cluster caused do not count: the slot died with its node, or its workers found no room after a node was lost. The
executor keeps such a job and starts it again.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.execution.capacity import Capacity, NoNodeError
from sweeps.execution.code import code_here, origin
from sweeps.execution.mailbox import ForeignCodeError, GroupDisplacedError
from sweeps.execution.ray_internals.state import process_died, remove_orphaned_groups
from sweeps.execution.slot import Slot
from sweeps.folder.layout import SweepFolder
from sweeps.interrupts import Interrupts
from sweeps.jobs import Job, Report
from sweeps.search import Search

__all__ = ["ExecutorError", "JobScheduler", "JobSearcher", "execute"]

_MOST_LOSSES = 6  # lost slots in a row, without a report in between, after which the sweep gives up
_ORPHANS_SECONDS = 2.0  # between two looks for orphaned placement groups


class ExecutorError(RuntimeError):
    """Ray gave up before the search was finished."""


def execute(
    search: Search,
    folder: SweepFolder,
    capacity: Capacity,
    on_change: Callable[[], None],
    trackers: Sequence[tune.Callback],
    interrupts: Interrupts,
) -> None:
    """Run jobs until the search is finished.

    Args:
        search: decides what runs.
        folder: the sweep folder.
        capacity: how many trials run at a time.
        on_change: called whenever a job has started, reported or ended.
        trackers: called back by Tune.
        interrupts: signals that ask the run to end; checked between two steps of Tune.

    Raises:
        ExecutorError: Ray Tune ended before the search was finished.
        KeyboardInterrupt: the run was interrupted.
    """
    searcher = JobSearcher(search, folder, capacity, on_change)
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)  # else it warns about files that nobody reads
    try:
        # Tune replaces our signal handlers only in the main thread.
        with interrupts.deferred() as interrupted, ThreadPoolExecutor(1, "tune") as thread:
            thread.submit(
                tune.run,
                Slot,
                name="tune",
                search_alg=searcher,
                scheduler=JobScheduler(search, searcher, on_change),
                stop=_StopWhen(interrupted),
                num_samples=-1,  # the searcher says when it is over
                callbacks=[*trackers, _ForgetReports(), _FreeGroups()],
                storage_path=str(folder.ray.resolve()),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                max_failures=0,  # the search hands a lost job out again, as another Tune trial
                raise_on_failed_trial=False,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
                verbose=0,
            ).result()
    except (TuneError, NoNodeError, ray.exceptions.RayError) as error:
        raise ExecutorError(_last_line(error)) from error
    if not search.finished:
        raise ExecutorError("Ray Tune ended with jobs left to run.")


def _last_line(error: Exception) -> str:
    """Return the last line of ``error``; Tune's errors end with the class and the text of ours."""
    return str(error).strip().splitlines()[-1].removeprefix(f"{__name__}.{ExecutorError.__name__}: ")


def _trial_name(trial: Trial) -> str:
    return f"{trial.config['job'].key}-{trial.trial_id}"


class _StopWhen(tune.Stopper):
    """Stops the whole run once ``condition`` holds; the scheduler decides which trial stops."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._condition()


class JobSearcher(Searcher):
    """Hands out the search's jobs as Tune trials, never more at a time than there is room for.

    This limit keeps worker groups from waiting for each other. Tune's own accounting does not see worker groups.

    Args:
        search: decides what runs.
        folder: the sweep folder.
        capacity: how many trials run at a time.
        on_change: called whenever a job has started.
    """

    def __init__(self, search: Search, folder: SweepFolder, capacity: Capacity, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._search = search
        self._capacity = capacity
        self._on_change = on_change
        allocation = capacity.allocation
        self._common = {
            "folder": str(folder.root.resolve()),
            "workers": allocation.workers,
            "cpus": allocation.cpus,
            "gpus": allocation.gpus,
            "code": origin(code_here()),
        }
        self._live: set[str] = set()  # ids of Tune's running trials
        self._running: set[str] = set()  # keys of jobs
        self._displaced: list[Job] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a str
        """Return the next job as a Tune configuration; None while there is no room or no job, FINISHED at the end."""
        if self._search.finished:
            return Searcher.FINISHED
        if len(self._live) >= self._capacity.slots:
            return None
        job = self._displaced.pop(0) if self._displaced else self._search.next_job()
        if job is None:  # a search that ends early may have been the last thing to do
            return Searcher.FINISHED if self._search.finished else None
        self._live.add(trial_id)
        self._running.add(job.key)
        self._on_change()
        return {"job": job, "avoid": self._capacity.refused, **self._common}

    def ended(self, job: Job) -> None:
        """Forget a job that will not come back."""
        self._running.discard(job.key)

    def put_back(self, job: Job) -> None:
        """Start a running job again before all others; do nothing if the job had ended before its slot was lost."""
        if job.key in self._running:
            self._running.discard(job.key)
            self._displaced.append(job)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Give the trial's room to another."""
        self._live.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the studies are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the studies are the state."""


class JobScheduler(FIFOScheduler):
    """Passes reports to the search and its verdicts to Tune.

    Args:
        search: judges reports.
        searcher: learns which jobs have ended.
        on_change: called whenever a job has reported or ended.
    """

    def __init__(self, search: Search, searcher: JobSearcher, on_change: Callable[[], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._search = search
        self._searcher = searcher
        self._on_change = on_change
        self._losses_in_a_row = 0

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Stop the trial if the search says so."""
        self._losses_in_a_row = 0
        job: Job = trial.config["job"]
        report: Report = result["report"]
        if stop := self._search.report(job.key, report):
            self._searcher.ended(job)
        self._on_change()
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Have the job of a lost slot started again, by the executor or by the search.

        Raises:
            ExecutorError: too many slots in a row were lost, or a worker found other code than the sweep's.
        """
        job: Job = trial.config["job"]
        cause = _cause(trial)
        if isinstance(cause, ForeignCodeError):
            raise ExecutorError(f"{cause}.")
        if _lost_with_its_node(cause):
            self._searcher.put_back(job)
            return
        self._losses_in_a_row += 1
        if self._losses_in_a_row == _MOST_LOSSES:  # no single job is to blame, so no more jobs may fail
            reason = str(cause).strip().splitlines()[-1:]
            raise ExecutorError(
                f"{_MOST_LOSSES} slots in a row were lost without having reported anything, the last one with: "
                f"{' '.join(reason)}"
            )
        self._searcher.ended(job)
        self._search.lose(job.key)
        self._on_change()


def _cause(trial: Trial) -> Exception | None:
    """Return what a slot raised, without Ray's wrapping.

    `Trial.get_pickled_error` is of no use here: it looks where Tune copies this file to, when all trials have ended.
    """
    if trial.pickled_error_file is None:
        return None
    error: Exception = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    return error.cause if isinstance(error, ray.exceptions.RayTaskError) else error


def _lost_with_its_node(cause: Exception | None) -> bool:
    """Whether the cluster ended a slot, for ``cause``: its node was lost, or there was no room."""
    if isinstance(cause, ray.exceptions.RayActorError):  # the slot's process died, or its mailbox's
        return not process_died(cause.actor_id)
    return isinstance(cause, GroupDisplacedError)


class _ForgetReports(tune.Callback):
    """Drops each report after search and trackers have it; Tune would keep a trial's last, with predictions."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        result.pop("report", None)


class _FreeGroups(tune.Callback):
    """Frees the resources of worker groups whose slot was killed.

    A dead slot may leave a group behind some time after its death, and Ray reports the death of an idle slot to nobody.
    So this callback looks for orphaned groups throughout the run.
    """

    def __init__(self) -> None:
        self._last_search = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        if (now := time.monotonic()) - self._last_search >= _ORPHANS_SECONDS:
            self._last_search = now
            remove_orphaned_groups()
