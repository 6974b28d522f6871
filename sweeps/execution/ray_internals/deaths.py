"""How actors die: ending one from elsewhere, and what the cluster recorded, which their own errors leave out."""

import pickle
from dataclasses import dataclass
from typing import Any, Self

import ray
from ray._private.state import state as cluster_state
from ray.core.generated import gcs_pb2

__all__ = ["WorkerProcess", "process_died"]


@dataclass(frozen=True)
class WorkerProcess:
    """An actor's process, for others to keep.

    Its handle stays pickled until it is needed, which is seldom: reading that of a Train worker imports whatever the
    signatures of the worker's methods name.
    """

    actor: str
    handle: bytes

    @classmethod
    def own(cls) -> Self:
        """The actor that asks."""
        here = ray.get_runtime_context()
        return cls(str(here.get_actor_id()), pickle.dumps(here.current_actor))

    def kill(self) -> None:
        """End it, whatever state it is in."""
        ray.kill(pickle.loads(self.handle))  # noqa: S301  # a message within the sweep

    def starved(self) -> bool:
        """Whether Ray ended it because its node was short of memory.

        What the kernel kills for the same reason looks like any killed process.
        """
        cause = _cause(self.actor)
        return cause is not None and bool(cause.HasField("oom_context"))


def process_died(actor: str) -> bool:
    """Whether an actor's process has died on a node that lives on; one out of reach may have gone with its node."""
    cause = _cause(actor)
    return cause is not None and bool(
        cause.actor_died_error_context.reason == cause.actor_died_error_context.WORKER_DIED
    )


def _cause(actor: str) -> Any:
    """The cause of death; empty for an actor that lives, None for one that is not known."""
    row: Any = gcs_pb2.ActorTableData  # type: ignore[attr-defined]  # generated code
    content = cluster_state._connect_and_get_accessor().get_actor_info(ray.ActorID.from_hex(actor))
    return None if content is None else row.FromString(content).death_cause
