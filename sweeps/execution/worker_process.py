"""A worker's process as the mailbox sees it: something to kill, and to ask why it died."""

import pickle
from dataclasses import dataclass
from typing import Self

import ray

from sweeps.execution.ray_internals.state import out_of_memory

__all__ = ["WorkerProcess"]


@dataclass(frozen=True)
class WorkerProcess:
    """A reference to an actor's process, which other processes can keep.

    The actor's handle stays pickled until it is needed, which is seldom. Unpickling a Train worker's handle imports
    whatever the signatures of the worker's methods name.
    """

    actor: str
    handle: bytes

    @classmethod
    def current(cls) -> Self:
        """Return the process of the calling actor."""
        context = ray.get_runtime_context()
        return cls(str(context.get_actor_id()), pickle.dumps(context.current_actor))

    def kill(self) -> None:
        """End the process, whatever state it is in."""
        ray.kill(pickle.loads(self.handle))  # noqa: S301  # a message within the sweep

    def starved(self) -> bool:
        """Whether Ray ended the process because its node was short of memory."""
        return out_of_memory(self.actor)
