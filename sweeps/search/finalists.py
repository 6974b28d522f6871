"""The finalists of each search: which trials they are, what their runs gave, and which one won.

`sweeps.ledger.winners` has the rule. This module keeps what the rule needs of the records, because a decision must not
read the ledger. It loads no Optuna, so that `sweep status` can count finalists too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweeps.config import SweepConfig
from sweeps.folder.comparability import finalist_basis
from sweeps.ledger import JobKey, Record, choose_finalists, finalist_mean, seed_index, trial_of, winner

__all__ = ["Best", "Finalists"]


@dataclass(frozen=True)
class Best:
    """The best configuration of an arm so far, among those that ran their full budget."""

    value: float
    """The objective of its search trial, or its mean objective as a finalist if it was trained anew."""
    number: int
    """The number of its search trial."""
    hyperparameters: Mapping[str, Any]


class Finalists:
    """The finalists of every arm, and their runs.

    Args:
        config: the sweep.
    """

    def __init__(self, config: SweepConfig) -> None:
        self._most = config.search.finalists
        self._seeds = config.budget.seeds
        self._chosen: dict[str, list[Record]] = {name: [] for name in config.arms}
        self._defaults: dict[str, list[Record]] = {name: [] for name in config.arms}  # needed to choose once more
        self._runs: dict[str, dict[str, Record]] = {name: {} for name in config.arms}
        self._bases: dict[str, str] = {}  # key of a run -> basis of its result

    def add(self, record: Record) -> None:
        """Add a job that has ended; only full trials and finalists' runs of the sweep's arms count."""
        if record.method not in self._chosen:
            return
        # Metrics, predictions and the configuration stay on disk.
        light = replace(record, metrics=(), predictions=(), config={}, history=())
        if record.stage == "search" and record.state == "complete":
            if record.origin == "default":
                self._defaults[record.method].append(light)
            former = [trial for trial in self._chosen[record.method] if trial.origin != "default"]
            candidates = [*former, *self._defaults[record.method], light]
            self._chosen[record.method] = choose_finalists(candidates, self._most)
        elif record.stage == "finalist":
            self._runs[record.method][record.key] = light
            self._bases[record.key] = finalist_basis(record.hyperparameters, record.config, record.features)

    def remove(self, key: str) -> None:
        """Forget a run that is to run again; other jobs are left alone."""
        if self._bases.pop(key, None) is not None:
            del self._runs[JobKey.parse(key).method][key]

    def of(self, arm: str) -> list[Record]:
        """Return the search trials that are trained anew, the best first; empty if there is nothing to decide."""
        chosen = self._chosen[arm]
        return chosen if len(chosen) > 1 else []

    def basis(self, key: str) -> str | None:
        """Return the basis of a run's result; None if the run has not ended."""
        return self._bases.get(key)

    def outdated(self, arm: str, trial: int, basis: str) -> list[str]:
        """Return the keys of a finalist's runs whose results have another basis than ``basis``."""
        runs = self._runs[arm].items()
        return [key for key, run in runs if trial_of(run.number) == trial and self._bases[key] != basis]

    def winner(self, arm: str) -> Best | None:
        """Return the winner among the runs that have ended; None if no trial ran its full budget."""
        runs = list(self._runs[arm].values())
        won = winner(self._chosen[arm], runs, self._most)
        if won is None or won.value is None:  # a full trial has a value
            return None
        mean = finalist_mean(won.number, runs) if self.of(arm) else None
        return Best(won.value if mean is None else mean, won.number, won.hyperparameters)

    def planned(self, over: Iterable[str], trials: int | None) -> int:
        """Return how many runs of finalists the sweep has, with those of trials that are finalists no more.

        Args:
            over: the arms whose search is over; the others are taken to have as many finalists as possible.
            trials: the trials of each arm; None if their number is not limited.
        """
        most = self._most if trials is None else min(self._most, trials)
        over = set(over)
        planned = 0
        for arm, runs in self._runs.items():
            numbers = {record.number for record in self.of(arm)}
            others = sum(not self._counts(run, numbers) for run in runs.values())
            expected = len(numbers) if arm in over else most if most > 1 else 0
            planned += others + expected * self._seeds
        return planned

    def _counts(self, run: Record, trials: set[int]) -> bool:
        return trial_of(run.number) in trials and seed_index(run.number) < self._seeds
