"""Jobs: what a slot runs, what a worker reports of it, and why it fails."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

from conclugen.labels import LabelBudget
from conclugen.seeds import derive_seed
from sweeps.ledger import Hardware, JobKey, Metric, Predictions, Stage, variant

__all__ = ["MAX_ATTEMPTS", "FailureReason", "Job", "Report", "seed_of"]


MAX_ATTEMPTS = 3
"""How often a job may lose its process before it has failed; processes lost with their node do not count."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One unit of work for a worker group: a search trial, a finalist's run or a confirmation run."""

    stage: Stage
    method: str
    number: int
    """Trial number within the arm's study, index of the confirmation seed, or both for a finalist; see Record."""
    seed: int
    hyperparameters: Mapping[str, Any]
    """Fields of Hyperparameters; empty for methods without a head."""
    origin: str = ""
    """The source of the hyperparameters of a search trial or a finalist's run; see Record."""
    modalities: tuple[str, ...] = ()
    """The modalities that the job is restricted to; empty for the method's own."""
    labels: LabelBudget | None = None
    """The only label budget that the job is scored at.

    None for the objective's budget in a search trial or a finalist's run, and for all of the probe's budgets in a
    confirmation.
    """
    search: int = 1
    """The number of the search that the job belongs to, from 1."""

    @property
    def name(self) -> str:
        """The method's name in records."""
        return variant(self.method, self.modalities, self.labels, self.search)

    @property
    def key(self) -> str:
        """The job's identity within the sweep; it names the record and the checkpoint folder."""
        return str(JobKey(self.stage, self.name, self.number))

    def settings(self) -> dict[str, Any]:
        """Return all fields that make the job what it is; ``search`` only from 2, as versions with one search did."""
        fields = asdict(self)
        if self.search == 1:
            del fields["search"]
        return fields


def seed_of(sweep_seed: int, purpose: str, *identity: int, search: int = 1) -> int:
    """Return a seed that follows from the sweep's; the first search has those of a sweep with a single search.

    Args:
        sweep_seed: the sweep's seed.
        purpose: what the seed is for: ``trial``, ``finalist``, ``confirm`` or ``search``.
        identity: tells the seeds of one purpose apart.
        search: the number of the search, from 1.
    """
    return derive_seed(sweep_seed, purpose, *identity, *([] if search == 1 else [f"search {search}"]))


@dataclass(frozen=True, kw_only=True)
class Report:
    """A worker's report of its job: how far the job is, or how it ended."""

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

    A job that loses its process may succeed the next time. So it continues from its last checkpoint after
    ``worker_lost``, ``slot_lost`` and ``hung``, and after Ray killed the process because the node ran out of memory. A
    job that has lost its process ``MAX_ATTEMPTS`` times has failed. The other reasons would come again with the same
    configuration and seed, so those jobs are never retried.
    """

    WORKER_LOST = "worker_lost"
    """A process of the worker group died."""
    SLOT_LOST = "slot_lost"
    """The job's slot died."""
    HUNG = "hung"
    """The worker group gave no sign of life and was killed."""
    NAN_LOSS = "nan_loss"
    """The training loss is not finite."""
    OUT_OF_MEMORY = "out_of_memory"
    """The job did not fit the device's memory, or Ray killed its process because the node's memory ran out."""
    DISK_FULL = "disk_full"
    """A file could not be written for lack of space."""
    EXCEPTION = "exception"
    """The job raised any other error."""

    def because(self, detail: str) -> str:
        """Return the whole reason: this class, and ``detail`` for people."""
        return f"{self}: {detail}"
