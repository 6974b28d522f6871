"""Each private name of Ray that the sweeper uses exists in the installed version and does what the sweeper expects."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.state import GlobalState, state
from ray.core.generated import gcs_pb2
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import placement_group, placement_group_table

from sweeps.execution.ray_internals.addresses import running_here
from sweeps.execution.ray_internals.state import out_of_memory, process_died, remove_orphaned_groups
from sweeps.execution.ray_internals.train import Trainer, found_no_room

_MESSAGE = f"Ray {ray.__version__} has changed; see sweeps/execution/ray_internals/__init__.py for what depends on it"


def test_ray_has_the_state_accessor() -> None:
    assert isinstance(state, GlobalState), _MESSAGE
    assert callable(state._connect_and_get_accessor), _MESSAGE
    assert next(iter(inspect.signature(state.actor_table).parameters)) == "actor_id", _MESSAGE


def test_the_protobufs_have_the_fields_that_the_sweeper_reads() -> None:
    actor = gcs_pb2.ActorTableData()
    context = actor.death_cause.actor_died_error_context
    assert context.reason is not None, _MESSAGE
    assert context.WORKER_DIED != context.NODE_DIED, _MESSAGE
    assert not actor.death_cause.HasField("oom_context"), _MESSAGE
    group = gcs_pb2.PlacementGroupTableData()
    assert (group.creator_job_id, group.creator_actor_id, group.placement_group_id) == (b"", b"", b""), _MESSAGE
    assert group.state != group.REMOVED, _MESSAGE


def test_the_sweepers_trainer_leaves_the_placement_group_cleaner_out() -> None:
    settings = {"scaling_config": ScalingConfig(num_workers=1), "run_config": RunConfig(name="x")}
    theirs = DataParallelTrainer(print, **settings)._create_default_callbacks()
    ours = Trainer(print, **settings)._create_default_callbacks()
    assert any(isinstance(callback, PlacementGroupCleanerCallback) for callback in theirs), _MESSAGE
    assert any(isinstance(callback, DatasetsCallback) for callback in theirs), _MESSAGE
    assert len(ours) == len(theirs) - 2, _MESSAGE
    assert FailureConfig(controller_failure_limit=3).controller_failure_limit == 3, _MESSAGE


def test_ray_says_which_cluster_auto_means(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)  # other clusters of this machine
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ConnectionError):
        running_here()
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.77.0.1:6379", encoding="utf-8")
    assert running_here() == "10.77.0.1:6379", _MESSAGE


def test_a_group_without_room_is_distinguished_from_one_that_failed() -> None:
    assert found_no_room(ControllerError(WorkerGroupStartupTimeoutError(num_workers=2))), _MESSAGE
    assert not found_no_room(ControllerError(ValueError("x"))), _MESSAGE
    assert not found_no_room(ValueError("x")), _MESSAGE


@ray.remote(num_cpus=0)
class Maker:
    """An actor that makes a placement group, for a test to kill."""

    def make(self) -> tuple[str, str]:
        """Return the ids of the group and of this actor."""
        return placement_group([{"CPU": 1}]).id.hex(), ray.get_runtime_context().get_actor_id()

    def alive(self) -> None:
        """Return if the process lives."""


@pytest.fixture
def local_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def call_forever(maker: Any) -> None:
    """Call an actor until a call raises: the signal that kills it may arrive after some calls."""
    while True:
        ray.get(maker.alive.remote())


@pytest.mark.slow(seconds=15)
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_ray")
def test_the_death_of_an_actor_is_recognised_and_its_placement_group_removed() -> None:
    maker = Maker.remote()
    group, actor = ray.get(maker.make.remote())
    assert not process_died(actor)
    remove_orphaned_groups()
    assert placement_group_table()[group]["state"] in ("PENDING", "CREATED")
    ray.kill(maker)
    with pytest.raises(ray.exceptions.RayActorError):
        call_forever(maker)
    assert not out_of_memory(actor)
    while placement_group_table()[group]["state"] != "REMOVED":  # the control store notices a death after a while
        remove_orphaned_groups()
