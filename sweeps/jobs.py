"""Jobs: what a sweep runs one of at a time, what it reports, and why it fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from conclugen.labels import LabelBudget
from sweeps.ledger import Hardware, JobKey, Metric, Predictions, Stage, variant

__all__ = ["MAX_ATTEMPTS", "Job", "Report"]


MAX_ATTEMPTS = 3
"""How often a job is started in all before losing its process counts as the job's own fault."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One unit of work for a worker group: a search trial, a confirmation run, or a baseline's run."""

    stage: Stage
    method: str
    number: int
    """Trial number within the subset's study, or index of the confirmation seed."""
    seed: int
    hyperparameters: Mapping[str, Any]
    """Fields of Hyperparameters; empty for methods without a head."""
    origin: str = ""
    """Where the hyperparameters of a search trial come from; see Record."""
    modalities: tuple[str, ...] = ()
    """Those that it is restricted to; empty for the method's own."""
    labels: LabelBudget | None = None
    """The only label budget that it is scored at; None for the objective's, or all of the probe's in confirmation."""

    @property
    def name(self) -> str:
        """The method's name in records: with the modalities and the label budget that it is restricted to."""
        return variant(self.method, self.modalities, self.labels)

    @property
    def key(self) -> str:
        """Identity within the sweep; names the ledger record and the checkpoint folder."""
        return str(JobKey(self.stage, self.name, self.number))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a worker says of its job: where it stands, or how it ended."""

    epochs: int
    """Pretraining epochs done."""
    value: float | None = None
    """The objective at this point."""
    losses: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    state: Literal["running", "complete", "failed"] = "running"
    reason: str = ""
    metrics: Sequence[Metric] = ()
    predictions: Sequence[Predictions] = ()
    hardware: Hardware | None = None


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
