"""What Ray's control store knows: how actors died, and which placement groups dead actors have left behind."""

from typing import Any

import ray
from ray._private.state import state as cluster_state
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group

__all__ = ["out_of_memory", "process_died", "remove_orphaned_groups"]


def process_died(actor: str) -> bool:
    """Whether an actor's process died on a node that is alive.

    An actor that is out of reach for another reason may have been lost with its node.

    Args:
        actor: its id, in hexadecimal digits.
    """
    cause = _cause_of_death(actor)
    return cause is not None and bool(
        cause.actor_died_error_context.reason == cause.actor_died_error_context.WORKER_DIED
    )


def out_of_memory(actor: str) -> bool:
    """Whether Ray ended an actor because its node was short of memory.

    A process that the kernel kills for the same reason looks like any killed process.

    Args:
        actor: its id, in hexadecimal digits.
    """
    cause = _cause_of_death(actor)
    return cause is not None and bool(cause.HasField("oom_context"))


def remove_orphaned_groups() -> None:
    """Remove the placement groups of this Ray job whose maker, an actor, is dead.

    A placement group outlives the actor that made it until the whole Ray job ends. Ray's own mark,
    ``creator_actor_dead``, is not set on a group that is registered just after its maker has died.
    """
    row: Any = gcs_pb2.PlacementGroupTableData  # type: ignore[attr-defined]  # generated code
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id()).binary()
    for content in cluster_state._connect_and_get_accessor().get_placement_group_table():
        group = row.FromString(content)
        maker = ray.ActorID(group.creator_actor_id)
        made_by_driver = maker.is_nil()
        if group.creator_job_id != job or group.state == row.REMOVED or made_by_driver:
            continue
        if cluster_state.actor_table(maker.hex()).get("State") == "DEAD":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def _cause_of_death(actor: str) -> Any:
    """Return the recorded cause: empty for an actor that lives, None for an unknown actor."""
    row: Any = gcs_pb2.ActorTableData  # type: ignore[attr-defined]  # generated code
    content = cluster_state._connect_and_get_accessor().get_actor_info(ray.ActorID.from_hex(actor))
    return None if content is None else row.FromString(content).death_cause
