"""The jobs of a sweep as it is configured now, and the basis of their results (`sweeps.folder.comparability`).

The plan does not know which jobs have run. The search decides when a job runs, and whether a former result counts.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sweeps.config import Arm, SweepConfig
from sweeps.folder.comparability import confirmation_basis, finalist_basis, provenance, reports_basis
from sweeps.jobs import Job, seed_of
from sweeps.ledger import Record, run_number, seed_index

__all__ = ["JobPlan"]


class JobPlan:
    """Makes the jobs of a sweep.

    Args:
        config: the sweep.
    """

    def __init__(self, config: SweepConfig) -> None:
        self._seed = config.seed
        self.seeds = config.budget.seeds
        """The seeds of each finalist, and of each method's confirmation."""
        self.finalists = config.search.finalists
        """The most finalists of an arm."""
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
            seed=seed_of(self._seed, "trial", number, search=arm.search),
            hyperparameters=hyperparameters,
            origin=origin,
            **_restrictions(arm),
        )

    def finalist_run(self, arm: Arm, trial: Record, index: int) -> Job:
        """Return the run of a finalist with one of its seeds; all finalists of all arms have the same seeds.

        Args:
            arm: the finalist's arm.
            trial: the record of its search trial.
            index: of the seed, below ``budget.seeds``.
        """
        return Job(
            stage="finalist",
            method=arm.method,
            number=run_number(trial.number, index),
            seed=seed_of(self._seed, "finalist", index, search=arm.search),
            hyperparameters=trial.hyperparameters,
            origin=f"trial {trial.number}",
            **_restrictions(arm),
        )

    def confirmations(self, arm: Arm, hyperparameters: Mapping[str, Any]) -> Iterator[Job]:
        """Yield the confirmation runs of a configuration, one per seed; all methods of a search have the same seeds."""
        for index in range(self.seeds):
            yield Job(
                stage="confirm",
                method=arm.method,
                number=index,
                seed=seed_of(self._seed, "confirm", index, search=arm.search),
                hyperparameters=hyperparameters,
                **_restrictions(arm),
            )

    def includes(self, record: Record) -> bool:
        """Whether the sweep has the job of ``record``."""
        if record.stage == "search":
            return record.method in self.arms
        if record.stage == "finalist":
            return record.method in self.arms and seed_index(record.number) < self.seeds
        return record.number < self.seeds and record.method in self._confirmed

    def confirmation_basis(self, hyperparameters: Mapping[str, Any]) -> str:
        """Return the basis of the result of a confirmation run with ``hyperparameters``."""
        return confirmation_basis(hyperparameters, self.constants["config"], self.constants["features"])

    def finalist_basis(self, hyperparameters: Mapping[str, Any]) -> str:
        """Return the basis of the result of a finalist's run with ``hyperparameters``."""
        return finalist_basis(hyperparameters, self.constants["config"], self.constants["features"])

    def reports_basis(self, job: Job) -> str:
        """Return the basis of the reports of a search trial."""
        return reports_basis(job, self.constants["config"], self.constants["features"])


def _restrictions(arm: Arm) -> dict[str, Any]:
    return {"modalities": arm.modalities, "labels": arm.labels, "search": arm.search}
