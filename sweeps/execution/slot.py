"""Slots: Ray Tune's trials on top of persistent Ray Train worker groups.

A slot is a Tune trainable that is reused from trial to trial. It owns one Train run, and a mailbox through which the
run's workers take jobs and report. The mailbox is an actor of its own, because workers call it while Tune's call into
the slot waits for a report. Starting a Train run inside every trial was rejected: it costs seconds a trial
(benchmarks/turnaround.py measures both).

Each failure is retried at one level. Train restarts a lost worker, which takes the same job again. The search hands out
a lost slot's job again. After the loss of a node, a group may find no room for its restart. Then it gives up and ends
its slot, because a slot that waited would hold a job that another slot can run.
"""

import threading
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.backend import Backend, BackendConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.execution.mailbox import GroupBrokenError, GroupDisplacedError, Mailbox
from sweeps.execution.ray_internals.train import Trainer, found_no_room
from sweeps.folder.layout import SweepFolder

__all__ = ["Slot"]

_MAILBOX_ACTOR: Any = ray.remote(Mailbox)
_CLOSE_SECONDS = 30.0  # for a group to end by itself
_MEMORY = 512 * 2**20  # bytes of the slot, its mailbox and Train's controller; the workers have resources of their own
_START_RETRIES = 3  # further starts of a group that finds no room; `environment` sets the time-out of each
_MOST_RESTARTS = 20  # restarts of a group; after these its slot is lost, and a new slot replaces it


def _train_loop(settings: dict[str, Any]) -> None:
    from sweeps.execution.worker import serve  # loads torch, which the slot's own process does not need

    serve(settings)


def _node_selector(avoid: Sequence[str]) -> dict[str, str]:
    """Return the label selector for all nodes except ``avoid``."""
    return {"ray.io/node-id": f"!in({','.join(avoid)})"} if avoid else {}


class _TorchOnDemand(Backend):
    """Train's torch backend for groups of several workers; a single worker needs no process group."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        if len(worker_group) > 1:
            backend, config = _torch_backend()
            backend.on_start(worker_group, config)

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:
        if len(worker_group) > 1:
            backend, config = _torch_backend()
            backend.on_shutdown(worker_group, config)


def _torch_backend() -> tuple[Backend, BackendConfig]:
    from ray.train.torch import TorchConfig

    config = TorchConfig()
    return config.backend_cls(), config


def _in_worker() -> AbstractContextManager[None]:
    """Return the context in which Train runs the train loop."""
    context: AbstractContextManager[None] = _torch_backend()[1].train_func_context()
    return context


class _TorchOnDemandConfig(BackendConfig):
    backend_cls = _TorchOnDemand
    train_func_context = staticmethod(_in_worker)


class Slot(tune.Trainable):
    """One concurrent trial: a mailbox, and the worker group that works for it.

    Its Tune configuration has ``job`` (the job to run), ``folder`` (the sweep's), ``workers`` (of the group), ``cpus``
    and ``gpus`` (of a worker), ``avoid`` (nodes that nothing of the slot may be placed on), and ``code`` (the origin of
    the sweep's code).
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return the slot's own resources. Tune reuses a slot only for jobs with the same ones and ``avoid``."""
        bundles: list[dict[str, int | float]] = [{"memory": _MEMORY}]
        if selector := _node_selector(config["avoid"]):
            return tune.PlacementGroupFactory(bundles, bundle_label_selector=[selector])
        return tune.PlacementGroupFactory(bundles)

    def setup(self, config: dict[str, Any]) -> None:
        """Start mailbox and group; the first job waits in the mailbox while the group starts."""
        same_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox: Any = _MAILBOX_ACTOR.options(num_cpus=0, scheduling_strategy=same_node).remote()
        self._mailbox.assign.remote(config["job"])
        trainer = Trainer(
            _train_loop,
            backend_config=_TorchOnDemandConfig(),
            train_loop_config={"mailbox": self._mailbox, **{name: config[name] for name in ("folder", "cpus", "code")}},
            scaling_config=ScalingConfig(  # type: ignore[call-arg]  # mypy sees the class of Train's first version
                num_workers=config["workers"],
                use_gpu=config["gpus"] > 0,
                resources_per_worker={"CPU": config["cpus"], **({"GPU": config["gpus"]} if config["gpus"] else {})},
                label_selector=_node_selector(config["avoid"]) or None,
            ),
            run_config=RunConfig(
                name=f"group-{uuid.uuid4().hex}",  # Train's own names clash within a second
                storage_path=str(SweepFolder(Path(config["folder"])).ray),
                # The mailbox counts the attempts at each job; this limit is for workers that die between jobs.
                failure_config=FailureConfig(  # type: ignore[call-arg]  # as above
                    max_failures=_MOST_RESTARTS, controller_failure_limit=_START_RETRIES
                ),
            ),
        )
        self._group = threading.Thread(target=self._train, args=(trainer,), daemon=True)
        self._group.start()

    def step(self) -> dict[str, Any]:
        """Let the worker go on and return its next report.

        Raises:
            GroupBrokenError: the group has ended.
        """
        try:
            return {"report": ray.get(self._mailbox.advance.remote())}
        except GroupBrokenError as error:  # Ray's copy, which wraps the mailbox's error
            raise getattr(error, "cause", error) from None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next job; Tune calls this instead of starting a new actor."""
        ray.get(self._mailbox.assign.remote(new_config["job"]))
        return True

    def cleanup(self) -> None:
        """End the group."""
        self._mailbox.close.remote()
        self._group.join(_CLOSE_SECONDS)

    def _train(self, trainer: Trainer) -> None:
        broken = GroupBrokenError("the worker group ended")
        try:
            trainer.fit()
        except Exception as error:  # for any error, the slot that waits for a report must learn of it
            kind = GroupDisplacedError if found_no_room(error) else GroupBrokenError
            broken = kind(f"the worker group failed: {error}")
        self._mailbox.break_off.remote(broken)
