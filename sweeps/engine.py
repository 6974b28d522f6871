"""The executor: Ray Tune runs what the search decides.

Two thin adapters connect Tune to the search. The searcher hands out jobs; the scheduler passes reports on and returns
the search's verdicts. Tune keeps no state that matters: its own experiment files lie in the sweep's ``ray`` folder and
are never read back.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray._private.state import state as cluster_state
from ray.core.generated import gcs_pb2
from ray.tune.error import TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.util.placement_group import PlacementGroup, remove_placement_group

from sweeps.config import ConfigError, SweepConfig
from sweeps.plan import Job, Report, SweepFolder
from sweeps.search import Search
from sweeps.slots import Slot

__all__ = ["Allocation", "EngineError", "allocate", "connect", "disconnect", "execute"]

_MOST_LOSSES = 6  # of slots in a row, without a report in between, before the sweep gives up
_ORPHANS_SECONDS = 2.0  # between two looks
_SLOT_MEMORY = 256 * 2**20  # bytes that a slot's own process takes; its workers' resources are a group of their own

_CLUSTER_ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a lost worker, or a group that has ended, is noticed so much later
}
_DRIVER_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # they keep every finished trial in the driver's memory
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is the command line's to handle
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's own state is never resumed from
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class Allocation:
    """How the cluster is divided: slots run at a time, each with so many workers of so many CPUs and GPUs."""

    slots: int
    workers: int
    cpus: int
    gpus: int


class EngineError(RuntimeError):
    """Ray gave up before the search was finished."""


def connect(address: str | None) -> None:
    """Connect to the Ray cluster at ``address``, or start one on this machine.

    Raises:
        ConfigError: there is no cluster at ``address``.
    """
    os.environ.update(_DRIVER_ENVIRONMENT)
    try:
        ray.init(
            address=address,
            include_dashboard=False if address is None else None,
            logging_level=logging.WARNING,
            runtime_env={"env_vars": _CLUSTER_ENVIRONMENT},
        )
    except (ConnectionError, ValueError) as error:
        raise ConfigError([f"--address {address}: no Ray cluster answers there: {error}"]) from None


def disconnect() -> None:
    """Leave the cluster, and stop it where :func:`connect` started it."""
    ray.shutdown()


def allocate(config: SweepConfig) -> Allocation:
    """Divide the cluster that this process is connected to.

    Raises:
        ConfigError: the cluster has not what the configuration asks for.
    """
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    use_gpu = gpus > 0 if config.workers.gpus == "auto" else config.workers.gpus > 0
    workers = config.workers.per_trial
    most = (min(gpus, cpus) if use_gpu else cpus) // workers
    wanted = most if config.workers.concurrent_trials == "auto" else config.workers.concurrent_trials
    if not 1 <= wanted <= most:
        need = f"{wanted or 1} trials at a time of {workers} workers need as many {'GPUs' if use_gpu else 'CPUs'}"
        raise ConfigError([f"workers: {need}, but the cluster has {cpus} CPUs and {gpus} GPUs."])
    return Allocation(slots=wanted, workers=workers, cpus=max(1, cpus // (wanted * workers)), gpus=int(use_gpu))


def execute(
    search: Search,
    folder: SweepFolder,
    allocation: Allocation,
    on_change: Callable[[], None],
    trackers: Sequence[tune.Callback] = (),
) -> None:
    """Run jobs until the search is finished.

    Args:
        search: decides what runs.
        folder: the sweep's.
        allocation: how much runs at a time.
        on_change: called whenever a job has started, reported or ended.
        trackers: told what happens.

    Raises:
        EngineError: Ray Tune ended before the search was finished.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(allocation.slots)  # else slots start one after another
    try:
        # tune.run rather than a Tuner, which pickles its parts: the adapters hold the live search.
        tune.run(
            Slot,
            name="tune",
            storage_path=str(folder.ray.resolve()),
            resources_per_trial=tune.PlacementGroupFactory([{"memory": _SLOT_MEMORY}]),
            num_samples=-1,
            search_alg=_Searcher(search, folder, allocation, on_change),
            scheduler=_Scheduler(search, on_change),
            reuse_actors=True,
            max_failures=0,  # the search hands a lost job out again, as another Tune trial
            raise_on_failed_trial=False,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[*trackers, _ForgetReports(), _FreeGroups()],
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
            verbose=0,
        )
    except (TuneError, ray.exceptions.RayError) as error:
        raise EngineError(str(error).strip().splitlines()[-1]) from error
    if not search.finished:
        raise EngineError("Ray Tune ended with jobs left to run.")


def _trial_name(trial: Trial) -> str:
    return f"{trial.config['job'].key}-{trial.trial_id}"


class _Searcher(Searcher):
    """Hands out the search's jobs as Tune trials, never more at a time than there are slots.

    The cap is what keeps worker groups, which Tune's own accounting does not see, from waiting for each other.
    """

    def __init__(
        self, search: Search, folder: SweepFolder, allocation: Allocation, on_change: Callable[[], None]
    ) -> None:
        super().__init__()
        self._search, self._allocation, self._on_change = search, allocation, on_change
        self._common = {
            "folder": str(folder.root.resolve()),
            "workers": allocation.workers,
            "cpus": allocation.cpus,
            "gpus": allocation.gpus,
        }
        self._live: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a str
        if self._search.finished:
            return Searcher.FINISHED
        if len(self._live) >= self._allocation.slots or (job := self._search.next_job()) is None:
            return None
        self._live.add(trial_id)
        self._on_change()
        return {"job": job, **self._common}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._live.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the studies are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the studies are the state."""


class _Scheduler(FIFOScheduler):
    """Passes reports to the search and its verdicts to Tune."""

    def __init__(self, search: Search, on_change: Callable[[], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._search, self._on_change = search, on_change
        self._losses_in_a_row = 0

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        self._losses_in_a_row = 0
        job: Job = trial.config["job"]
        report: Report = result["report"]
        stop = self._search.report(job.key, report)
        self._on_change()
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        job: Job = trial.config["job"]
        self._losses_in_a_row += 1
        if self._losses_in_a_row == _MOST_LOSSES:  # it is no single job's fault: do not fail one after the other
            raise EngineError(f"{_MOST_LOSSES} slots in a row were lost without having reported anything.")
        self._search.lose(job.key)
        self._on_change()


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
