"""Slots: Ray Tune's trials on top of persistent Ray Train worker groups.

A slot is a Tune trainable that is reused from trial to trial and owns one TorchTrainer run. Its process has all that
belongs to it: Train's controller, and the mailbox, which workers call while Tune's own call waits for a report. (In an
actor of its own, a mailbox took two thirds of a second of processor to start, and 1 % of one from then on.) Starting a
TorchTrainer inside every trial was rejected: it costs seconds a trial (benchmarks/turnaround.py measures both).

Failures are retried at one level each: a lost worker is restarted by Train and takes the same job again; a lost slot
takes nothing along, since the search hands its job out again. A group that finds no room for its restart, because a
node was lost, gives up and takes its slot with it: waiting, it would hold a job that another slot can run.
"""

import asyncio
import threading
import uuid
from collections.abc import Collection, Coroutine, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, TypeVar

import ray
from ray import tune
from ray.runtime_env import RuntimeEnv
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.context import TrainRunContext, get_train_context
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import RayTrainWorker, WorkerGroup, worker_group
from ray.train.v2._internal.execution.worker_group import state as group_state
from ray.train.v2._internal.execution.worker_group.poll import WorkerStatus
from ray.train.v2._internal.util import TrainingFramework
from ray.train.v2.api.callback import RayTrainCallback
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import ControllerError
from ray.train.v2.api.result import Result

from sweeps.execution.mailbox import Group, Mailbox
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report

__all__ = ["Slot", "TrainWorker", "slot_actor"]

_CLOSE_SECONDS = 30.0
_MEMORY = 256 * 2**20  # bytes that a slot's own process takes; its workers' resources are a group of their own
_MOST_STARTS = (
    3  # that may fail in a group's life, for want of room after the seconds that sweeps.execution.cluster sets
)
_MOST_RESTARTS = 20  # of a group in its life; then its slot is lost, and another takes over
_ANSWERS_AFTER = 5.0  # seconds; whatever else Train asks of a worker, such as to shut down, waits as long
_FOR_WORKERS = "workers"  # the calls that workers make, in threads beside the one in which Tune's are made
_THREADS = 8  # a group's first worker waits in one and calls in another; one that died may still wait for a verdict

_T = TypeVar("_T")


def _train_loop(settings: dict[str, Any]) -> None:
    from sweeps.execution.worker import serve  # what a worker needs is not loaded into the slot's own process

    serve(settings)


def _elsewhere(avoid: Sequence[str]) -> dict[str, str]:
    """The label selector for all nodes but these."""
    return {"ray.io/node-id": f"!in({','.join(avoid)})"} if avoid else {}


class _GivenRoom(FixedScalingPolicy):
    """Asks no autoscaler for nodes: a cluster keeps one request, and Train's would replace the sweep's own."""

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass


class _TorchOnDemand(Backend):
    """Train's backend for torch where there are several workers; one needs no process group."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:
        if len(worker_group) > 1:
            backend, config = _torch_backend()
            backend.on_start(worker_group, config)

    def on_shutdown(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:
        if len(worker_group) > 1:
            backend, config = _torch_backend()
            backend.on_shutdown(worker_group, config)


def _torch_backend() -> tuple[Backend, BackendConfig]:
    from ray.train.torch import TorchConfig

    config = TorchConfig()
    return config.backend_cls(), config


def _in_worker() -> AbstractContextManager[None]:
    """What goes around the train loop."""
    context: AbstractContextManager[None] = _torch_backend()[1].train_func_context()
    return context


class _TorchOnDemandConfig(BackendConfig):
    backend_cls = _TorchOnDemand
    train_func_context = staticmethod(_in_worker)
    framework = TrainingFramework.TORCH


class _Nobody:
    """In place of the actor at which a group's workers meet when they report to Train, which ours never do.

    Its process would start before theirs, which makes a sweep's first result a second later, and take 100 MB.
    """

    def options(self, **_: Any) -> Self:
        return self

    def remote(self, **_: Any) -> Self:
        return self


class TrainWorker(RayTrainWorker):
    """Train's worker, but asked how it does, it answers when its loop has ended, or after some seconds.

    Its main thread sleeps until then. Between calls, Ray would wake it a hundred times a second, and each time it would
    take a core and Python's lock from the job. Train keeps asking for what is not answered at once, and learns of a
    worker's death meanwhile.
    """

    def poll_status(self) -> WorkerStatus:
        """Return whether the loop still runs, or how it has ended."""
        if loop := get_train_context().execution_context.training_thread_runner._thread:
            loop.join(_ANSWERS_AFTER)
        return super().poll_status()


class _WorkerGroup(WorkerGroup):
    """Train's worker group, made of processes that Ray keeps ready.

    Train would give each a runtime environment for its own settings, and so a process of its own, which starts Python
    anew. Those that a sweep needs are set in every process that imports `sweeps`.
    """

    _worker_cls = TrainWorker

    @staticmethod
    def _get_worker_runtime_env(custom_runtime_env: dict[str, Any] | RuntimeEnv) -> dict[str, Any] | RuntimeEnv:
        return custom_runtime_env


class _Controller(TrainController):
    worker_group_cls = _WorkerGroup


class _Trainer(DataParallelTrainer):
    """Ray Train's TorchTrainer, which a process can use without importing torch, and without needless helpers.

    A slot that imports torch starts seconds later, and keeps the memory for as long as it lives.

    Its controller runs in the slot's own process: an actor of its own would take seconds to start, and memory for as
    long as the slot lives. Train's cleaner of placement groups asks the dashboard, which a cluster need not have, and
    so leaves a dead slot's resources taken for ever; `sweeps.execution.executor` frees them. Ray Data's helpers have no
    data to feed.
    """

    def _initialize_and_run_controller(self, **settings: Any) -> Result:
        worker_group.SynchronizationActor = _Nobody()  # type: ignore[assignment, attr-defined]
        group_state._shutdown_sync_actor = lambda sync_actor: None
        settings["scaling_policy"] = _GivenRoom(self.scaling_config)  # type: ignore[arg-type]  # two classes of one name
        controller = _Controller(**settings)
        asyncio.run(controller.run())  # type: ignore[no-untyped-call]
        return controller.get_result()

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        needless = (PlacementGroupCleanerCallback, DatasetsCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, needless)]


class Slot(tune.Trainable):
    """One concurrent trial: a mailbox, and the worker group that works for it.

    Its Tune configuration has ``job`` (the job to run), ``folder`` (the sweep's), ``workers`` (of the group), ``cpus``
    and ``gpus`` (of a worker), and ``avoid`` (nodes that nothing of the slot may be placed on).
    """

    # -- what Tune calls -----------------------------------------------------------------------------------------

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What the slot itself takes; Tune reuses it for jobs with the same needs, the nodes to avoid included."""
        bundles: list[dict[str, int | float]] = [{"memory": _MEMORY}]
        if selector := _elsewhere(config["avoid"]):
            return tune.PlacementGroupFactory(bundles, bundle_label_selector=[selector])
        return tune.PlacementGroupFactory(bundles)

    def setup(self, config: dict[str, Any]) -> None:
        """Start the group; it comes up while the first job already waits in the mailbox."""
        self._mailbox, self._loop = Mailbox(), asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._tell(self._mailbox.assign(config["job"]))
        own_actor = ray.get_runtime_context().current_actor
        trainer = _Trainer(
            _train_loop,
            backend_config=_TorchOnDemandConfig(),
            train_loop_config={"mailbox": own_actor, "folder": config["folder"], "cpus": config["cpus"]},
            scaling_config=ScalingConfig(
                num_workers=config["workers"],
                use_gpu=config["gpus"] > 0,
                resources_per_worker={"CPU": config["cpus"], **({"GPU": config["gpus"]} if config["gpus"] else {})},
                label_selector=_elsewhere(config["avoid"]) or None,
            ),
            run_config=RunConfig(  # type: ignore[arg-type]  # two classes of one name
                name=f"group-{uuid.uuid4().hex}",  # Train's own names clash within a second
                storage_path=str(SweepFolder(Path(config["folder"])).ray),
                # The mailbox counts the attempts of each job; this is for workers that die without having one.
                failure_config=FailureConfig(max_failures=_MOST_RESTARTS, controller_failure_limit=_MOST_STARTS),
            ),
        )
        self._group = threading.Thread(target=self._train, args=(trainer,), daemon=True)
        self._group.start()

    def step(self) -> dict[str, Any]:
        """Let the worker go on and return its next report."""
        return {"report": self._tell(self._mailbox.advance())}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next job; Tune calls this instead of starting a new actor."""
        self._tell(self._mailbox.assign(new_config["job"]))
        return True

    def cleanup(self) -> None:
        """End the group."""
        self._tell(self._mailbox.close())
        self._group.join(_CLOSE_SECONDS)

    # -- what workers call ---------------------------------------------------------------------------------------

    @ray.method(concurrency_group=_FOR_WORKERS)
    def take(self, group: Group, alive: Collection[str] = ()) -> Job | None:
        """See :meth:`Mailbox.take`."""
        return self._tell(self._mailbox.take(group, alive))

    @ray.method(concurrency_group=_FOR_WORKERS)
    def alive(self) -> None:
        """See :meth:`Mailbox.alive`."""
        self._tell(self._mailbox.alive())

    @ray.method(concurrency_group=_FOR_WORKERS)
    def report(self, key: str, report: Report) -> bool:
        """See :meth:`Mailbox.report`."""
        return self._tell(self._mailbox.report(key, report))

    @ray.method(concurrency_group=_FOR_WORKERS)
    def break_off(self, reason: str) -> None:
        """See :meth:`Mailbox.break_off`."""
        self._tell(self._mailbox.break_off(reason))

    # -- within --------------------------------------------------------------------------------------------------

    def _tell(self, message: Coroutine[Any, Any, _T]) -> _T:
        """Wait for the mailbox's answer, which it gives in its own thread."""
        return asyncio.run_coroutine_threadsafe(message, self._loop).result()

    def _train(self, trainer: _Trainer) -> None:
        reason, displaced = "the worker group ended", False
        try:
            trainer.fit()
        except Exception as error:  # whatever ended the group, the slot that waits for a report must learn of it
            reason = f"the worker group failed: {error}"
            cause = error.controller_failure if isinstance(error, ControllerError) else None
            displaced = isinstance(cause, WorkerGroupStartupTimeoutError)
        self._tell(self._mailbox.break_off(reason, displaced=displaced))


def slot_actor(slot: type) -> Any:
    """The class of the actors that slots are: workers' calls have threads of their own."""
    return ray.remote(concurrency_groups={_FOR_WORKERS: _THREADS})(slot)  # type: ignore[call-overload]  # not in its stub
