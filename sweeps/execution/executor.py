"""The executor: Ray Tune runs what the search decides.

Two thin adapters connect Tune to the search. The searcher hands out jobs; the scheduler passes reports on and returns
the search's verdicts. Tune keeps no state that matters, and of its trials only those that run. That is why its
controller is stepped here: ``tune.run`` and the ``Tuner`` keep every trial, and pickle them for a resume that the
search does better.

A slot that is lost loses a job, and the search counts how often that happened to each, to find those that kill their
process. It is not told of what the cluster did: a slot that went with its node, or whose workers found no room after a
node was lost. Such a job is kept here and started again.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray import tune
from ray._private.state import state as cluster_state
from ray.air.execution._internal import RayActorManager
from ray.core.generated import gcs_pb2
from ray.tune.error import TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.search_generator import SearchGenerator
from ray.util.placement_group import PlacementGroup, remove_placement_group

from sweeps.execution.capacity import Capacity, NoNodeError
from sweeps.execution.mailbox import GroupDisplacedError
from sweeps.execution.ray_internals.deaths import process_died
from sweeps.execution.slot import Slot, slot_actor
from sweeps.folder.layout import SweepFolder
from sweeps.interrupts import Interrupts
from sweeps.jobs import Job, Report
from sweeps.search import Search

__all__ = ["EngineError", "execute"]

_MOST_LOSSES = 6  # of slots in a row, without a report in between, before the sweep gives up
_ORPHANS_SECONDS = 2.0  # between two looks
_EVENT_SECONDS = 0.5  # for one, between two looks at all else
_MOST_PENDING = "10000"  # Tune's own cap on trials that wait to start; the searcher's is the one that counts


class EngineError(RuntimeError):
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
        folder: the sweep's.
        capacity: how much runs at a time.
        on_change: called whenever a job has started, reported or ended.
        trackers: told what happens.
        interrupts: end it early, between two steps.

    Raises:
        EngineError: Ray Tune ended before the search was finished.
        KeyboardInterrupt: it was interrupted.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = _MOST_PENDING  # else slots start one after another
    searcher = _Searcher(search, folder, capacity, on_change)
    experiment = Experiment(
        "tune",
        Slot,
        num_samples=sys.maxsize,  # the searcher says when it is over
        storage_path=str(folder.ray.resolve()),
        max_failures=0,  # the search hands a lost job out again, as another Tune trial
        trial_name_creator=_trial_name,
        trial_dirname_creator=_trial_name,
    )
    proposals = SearchGenerator(searcher)
    proposals.add_configurations([experiment])
    controller = _Controller(
        search_alg=proposals,
        scheduler=_Scheduler(search, searcher, on_change),
        callbacks=[*trackers, _ForgetReports(), _FreeGroups()],
        storage=experiment.storage,
        reuse_actors=True,
    )
    controller.setup_experiments([experiment], total_num_samples=sys.maxsize)
    try:
        with interrupts.deferred() as interrupted:
            while not controller.is_finished() and not interrupted():  # type: ignore[no-untyped-call]
                controller.step()
        controller.cleanup()  # type: ignore[no-untyped-call]
    except (TuneError, NoNodeError, ray.exceptions.RayError) as error:
        raise EngineError(str(error).strip().splitlines()[-1]) from error
    if not search.finished:
        raise EngineError("Ray Tune ended with jobs left to run.")


def _trial_name(trial: Trial) -> str:
    return f"{trial.config['job'].key}-{trial.trial_id}"


class _Controller(TuneController):
    """Tune's loop, without Tune's memory: a search may have many thousand trials, and its record is the ledger."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._actor_manager = _ActorManager(self._actor_manager._resource_manager)
        self._class_cache = _PlainActors()  # type: ignore[assignment]  # of one use, which it serves

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Nothing to save: the studies are the state."""

    def step(self) -> None:
        """One step of the loop, after which only trials that live are known."""
        super().step()  # type: ignore[no-untyped-call]
        ended = {trial for trial in self._trials if trial.is_finished()}.difference(self._actor_to_trial.values())
        if ended:
            self._trials = [trial for trial in self._trials if trial not in ended]
            self._stopped_trials -= ended
            self._failed_trials -= ended
            self._trials_to_cache.clear()


class _ActorManager(RayActorManager):
    """Waits longer for an event, which ends the wait, than Tune's tenth of a second: looking takes workers' time."""

    def next(self, timeout: float | None = None) -> bool:
        return super().next(_EVENT_SECONDS)


class _PlainActors:
    """Makes actors of slots, in place of Tune's cache, which gives them a runtime environment, but no threads to spare.

    A process with one starts Python twice and never comes from those that Ray keeps ready. What Tune would hand over,
    `sweeps` sets in every process.
    """

    def __init__(self) -> None:
        self._made: dict[type, Any] = {}

    def get(self, trainable: type) -> Any:
        """The actor class of ``trainable``, registered with Ray once."""
        if trainable not in self._made:
            self._made[trainable] = slot_actor(trainable)
        return self._made[trainable]


class _Searcher(Searcher):
    """Hands out the search's jobs as Tune trials, never more at a time than there is room for.

    The cap is what keeps worker groups, which Tune's own accounting does not see, from waiting for each other.
    """

    def __init__(self, search: Search, folder: SweepFolder, capacity: Capacity, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._search, self._capacity, self._on_change = search, capacity, on_change
        allocation = capacity.allocation
        self._common = {
            "folder": str(folder.root.resolve()),
            "workers": allocation.workers,
            "cpus": allocation.cpus,
            "gpus": allocation.gpus,
        }
        self._live: set[str] = set()  # Tune's trials
        self._running: set[str] = set()  # jobs
        self._displaced: list[Job] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a str
        if self._search.finished:
            return Searcher.FINISHED
        if len(self._live) >= self._capacity.slots:
            return None
        job = self._displaced.pop(0) if self._displaced else self._search.next_job()
        if job is None:
            return None
        self._live.add(trial_id)
        self._running.add(job.key)
        self._on_change()
        return {"job": job, "avoid": self._capacity.refused, **self._common}

    def ended(self, job: Job) -> None:
        """Forget a job that will not come back."""
        self._running.discard(job.key)

    def put_back(self, job: Job) -> None:
        """Start a running job again, before all others; does nothing for one that had ended when its slot was lost."""
        if job.key in self._running:
            self._running.discard(job.key)
            self._displaced.append(job)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._live.discard(trial_id)


class _Scheduler(FIFOScheduler):
    """Passes reports to the search and its verdicts to Tune."""

    def __init__(self, search: Search, searcher: _Searcher, on_change: Callable[[], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._search, self._searcher, self._on_change = search, searcher, on_change
        self._losses_in_a_row = 0

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        self._losses_in_a_row = 0
        job: Job = trial.config["job"]
        report: Report = result["report"]
        if stop := self._search.report(job.key, report):
            self._searcher.ended(job)
        self._on_change()
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        job: Job = trial.config["job"]
        if _displaced(trial.get_pickled_error()):
            self._searcher.put_back(job)
            return
        self._losses_in_a_row += 1
        if self._losses_in_a_row == _MOST_LOSSES:  # it is no single job's fault: do not fail one after the other
            raise EngineError(f"{_MOST_LOSSES} slots in a row were lost without having reported anything.")
        self._searcher.ended(job)
        self._search.lose(job.key)
        self._on_change()


def _displaced(error: Exception | None) -> bool:
    """Whether a slot ended with ``error`` because of the cluster: with its node, or for want of room."""
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    if isinstance(cause, ray.exceptions.RayActorError):  # of the slot
        return not process_died(cause.actor_id)
    return isinstance(cause, GroupDisplacedError)


class _ForgetReports(tune.Callback):
    """Drops each report once it is in the ledger; Tune would keep a trial's last one, predictions and all."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        result.pop("report", None)


class _FreeGroups(tune.Callback):
    """Frees the resources of worker groups whose slot was killed.

    A placement group outlives the actor that made it until the whole Ray job ends. A group is orphaned some time after
    its slot, and an idle slot dies without anyone being told: so they are looked for all the time.
    """

    def __init__(self) -> None:
        self._looked = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        if (now := time.monotonic()) - self._looked >= _ORPHANS_SECONDS:
            self._looked = now
            _remove_orphaned_groups()


def _remove_orphaned_groups() -> None:
    """Remove the placement groups of this Ray job that a dead actor has made.

    Ray's own mark, ``creator_actor_dead``, is not set on a group that is registered just after its maker has died.
    """
    row: Any = gcs_pb2.PlacementGroupTableData  # type: ignore[attr-defined]  # generated code
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id()).binary()
    for content in cluster_state._connect_and_get_accessor().get_placement_group_table():
        group = row.FromString(content)
        maker = ray.ActorID(group.creator_actor_id)
        if group.creator_job_id != job or group.state == row.REMOVED or maker.is_nil():  # nil: the driver's own
            continue
        if cluster_state.actor_table(maker.hex()).get("State") == "DEAD":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
