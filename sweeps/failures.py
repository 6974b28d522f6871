"""Why jobs fail: the classes of reasons that records, tables and retries tell apart."""

from enum import StrEnum

__all__ = ["FailureReason"]


class FailureReason(StrEnum):
    """The first word of a failed record's reason.

    What took a job's process may be gone the next time: after ``worker_lost``, ``slot_lost`` and ``hung`` a job goes on
    from its last checkpoint, and has failed once it was started ``MAX_ATTEMPTS`` times (`sweeps.plan`); so it is where
    the node's memory ran out and Ray killed the process. The others would come again with the same configuration and
    seed: never retried.
    """

    WORKER_LOST = "worker_lost"
    """A process of its worker group died."""
    SLOT_LOST = "slot_lost"
    """The slot that ran it died."""
    HUNG = "hung"
    """Its worker group gave no sign of life and was killed."""
    NAN_LOSS = "nan_loss"
    """The training loss is not finite."""
    OUT_OF_MEMORY = "out_of_memory"
    """It did not fit the memory of the device; or that of the node, and Ray killed its process."""
    DISK_FULL = "disk_full"
    """A file could not be written for want of space."""
    EXCEPTION = "exception"
    """Any other error that it raised."""

    def because(self, detail: str) -> str:
        """The whole reason: this class, and ``detail`` for people."""
        return f"{self}: {detail}"
