"""Slots: Ray Tune's trials on top of persistent Ray Train worker groups.

A slot is a Tune trainable that is reused from trial to trial and owns one TorchTrainer run. Starting a TorchTrainer
inside every trial was rejected: it costs seconds a trial (benchmarks/turnaround.py measures both). Failures are retried
at one level each: a lost worker is restarted by Train and takes the same job again; a lost slot
takes nothing along, since the search hands its job out again. A group that finds no room for its restart, because a
node was lost, gives up and takes its slot with it: waiting, it would hold a job that another slot can run.
"""

import asyncio
import threading
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.context import TrainRunContext
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.util import TrainingFramework
from ray.train.v2.api.callback import RayTrainCallback
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import ControllerError
from ray.train.v2.api.result import Result

from sweeps.mailbox import Mailbox
from sweeps.plan import SweepFolder

__all__ = ["Slot"]

_CLOSE_SECONDS = 30.0
_MEMORY = 256 * 2**20  # bytes that a slot's own processes take; its workers' resources are a group of their own
_MOST_STARTS = 3  # that may fail in a group's life, for want of room after the seconds that sweeps.nodes sets
_MOST_RESTARTS = 20  # of a group in its life; then its slot is lost, and another takes over


def _train_loop(settings: dict[str, Any]) -> None:
    from sweeps.workers import serve  # what a worker needs is not loaded into the slot's own process

    serve(settings)


def _elsewhere(avoid: Sequence[str]) -> dict[str, str]:
    """The label selector for all nodes but these."""
    return {"ray.io/node-id": f"!in({','.join(avoid)})"} if avoid else {}


class _GivenRoom(FixedScalingPolicy):
    """Asks no autoscaler for nodes: a cluster keeps one request, and Train's would replace that of `sweeps.nodes`."""

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


class _Trainer(DataParallelTrainer):
    """Ray Train's TorchTrainer, which a process can use without importing torch, and without needless helpers.

    A slot that imports torch starts seconds later, and keeps the memory for as long as it lives.

    Its controller runs in the slot's own process: an actor of its own would take seconds to start, and memory for as
    long as the slot lives. Train's cleaner of placement groups asks the dashboard, which a cluster need not have, and
    so leaves a dead slot's resources taken for ever; `sweeps.engine` frees them. Ray Data's helpers have no data to
    feed.
    """

    def _initialize_and_run_controller(self, **settings: Any) -> Result:
        settings["scaling_policy"] = _GivenRoom(self.scaling_config)  # type: ignore[arg-type]  # two classes of one name
        controller = TrainController(**settings)
        asyncio.run(controller.run())
        return controller.get_result()

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        needless = (PlacementGroupCleanerCallback, DatasetsCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, needless)]


class Slot(tune.Trainable):
    """One concurrent trial: a mailbox, and the worker group that works for it.

    Its Tune configuration has ``job`` (the job to run), ``folder`` (the sweep's), ``workers`` (of the group), ``cpus``
    and ``gpus`` (of a worker), and ``avoid`` (nodes that nothing of the slot may be placed on).
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What the slot itself takes; Tune reuses it for jobs with the same needs, the nodes to avoid included."""
        bundles: list[dict[str, int | float]] = [{"memory": _MEMORY}]
        if selector := _elsewhere(config["avoid"]):
            return tune.PlacementGroupFactory(bundles, bundle_label_selector=[selector])
        return tune.PlacementGroupFactory(bundles)

    def setup(self, config: dict[str, Any]) -> None:
        """Start the group; it comes up while the first job already waits in the mailbox."""
        actor: Any = ray.remote(num_cpus=0)(Mailbox)
        self._mailbox = actor.remote()
        trainer = _Trainer(
            _train_loop,
            backend_config=_TorchOnDemandConfig(),
            train_loop_config={"mailbox": self._mailbox, "folder": config["folder"], "cpus": config["cpus"]},
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
        ray.get(self._mailbox.assign.remote(config["job"]))

    def _train(self, trainer: _Trainer) -> None:
        reason, displaced = "the worker group ended", False
        try:
            trainer.fit()
        except Exception as error:  # whatever ended the group, the slot that waits for a report must learn of it
            reason = f"the worker group failed: {error}"
            cause = error.controller_failure if isinstance(error, ControllerError) else None
            displaced = isinstance(cause, WorkerGroupStartupTimeoutError)
        self._mailbox.break_off.remote(reason, displaced=displaced)

    def step(self) -> dict[str, Any]:
        """Let the worker go on and return its next report."""
        return {"report": ray.get(self._mailbox.advance.remote())}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next job; Tune calls this instead of starting a new actor."""
        ray.get(self._mailbox.assign.remote(new_config["job"]))
        return True

    def cleanup(self) -> None:
        """End the group."""
        ray.get(self._mailbox.close.remote())
        self._group.join(_CLOSE_SECONDS)
