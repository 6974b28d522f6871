"""How actors died, as the cluster recorded it; their own errors leave it out."""

from typing import Any

import ray
from ray._private.state import state as cluster_state
from ray.core.generated import gcs_pb2

__all__ = ["process_died", "starved"]


def process_died(actor_id: str) -> bool:
    """Whether an actor's process has died on a node that lives on; one out of reach may have gone with its node."""
    cause = _cause(ray.ActorID.from_hex(actor_id))
    return cause is not None and bool(
        cause.actor_died_error_context.reason == cause.actor_died_error_context.WORKER_DIED
    )


def starved(actor: Any) -> bool:
    """Whether Ray ended an actor's process because its node was short of memory.

    What the kernel kills for the same reason looks like any killed process.
    """
    cause = _cause(actor._actor_id)
    return cause is not None and bool(cause.HasField("oom_context"))


def _cause(actor: ray.ActorID) -> Any:
    """The cause of death; empty for an actor that lives, None for one that is not known."""
    row: Any = gcs_pb2.ActorTableData  # type: ignore[attr-defined]  # generated code
    content = cluster_state._connect_and_get_accessor().get_actor_info(actor)
    return None if content is None else row.FromString(content).death_cause
