"""The jobs of a sweep as it is configured now, and the basis of their results (`sweeps.folder.comparability`).

The plan does not know which jobs have run. The search decides when a job runs, and whether a former result counts.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from conclugen.seeds import derive_seed
from sweeps.config import Arm, SweepConfig
from sweeps.folder.comparability import confirmation_basis, provenance, reports_basis
from sweeps.jobs import Job
from sweeps.ledger import Record

__all__ = ["JobPlan"]


class JobPlan:
    """Makes the jobs of a sweep.

    Args:
        config: the sweep.
    """

    def __init__(self, config: SweepConfig) -> None:
        self._seed = config.seed
        self._seeds = config.budget.seeds
        self.arms = config.arms
        """Name -> arm, for each arm that is searched."""
        confirmed = [variant for arm in self.arms.values() for variant in config.confirmed_on(arm)]
        self._confirmed = {arm.name for arm in (*confirmed, *config.untuned)}
        self.constants: dict[str, Any] = {
            "sweep": config.name,
            "config": config.model_dump(mode="json"),
            **provenance(config),
        }
        """The fields that all records of the sweep share."""

    def trial(self, arm: Arm, number: int, hyperparameters: Mapping[str, Any], origin: str) -> Job:
        """Return trial ``number`` of an arm's search."""
        return Job(
            stage="search",
            method=arm.method,
            number=number,
            seed=derive_seed(self._seed, "trial", number),
            hyperparameters=hyperparameters,
            origin=origin,
            modalities=arm.modalities,
            labels=arm.labels,
        )

    def confirmations(self, arm: Arm, hyperparameters: Mapping[str, Any]) -> Iterator[Job]:
        """Yield the confirmation runs of a configuration, one per seed; all methods have the same seeds."""
        for index in range(self._seeds):
            yield Job(
                stage="confirm",
                method=arm.method,
                number=index,
                seed=derive_seed(self._seed, "confirm", index),
                hyperparameters=hyperparameters,
                modalities=arm.modalities,
                labels=arm.labels,
            )

    def includes(self, record: Record) -> bool:
        """Whether the sweep has the job of ``record``."""
        if record.stage == "search":
            return record.method in self.arms
        return record.number < self._seeds and record.method in self._confirmed

    def confirmation_basis(self, hyperparameters: Mapping[str, Any]) -> str:
        """Return the basis of the result of a confirmation run with ``hyperparameters``."""
        return confirmation_basis(hyperparameters, self.constants["config"], self.constants["features"])

    def reports_basis(self, job: Job) -> str:
        """Return the basis of the reports of a search trial."""
        return reports_basis(job, self.constants["config"], self.constants["features"])
