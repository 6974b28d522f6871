"""Studies: one arm's study in Optuna, with its running totals.

A study is the single truth of its arm's search. Its totals are counted along here, since reading all trials back at
every decision would make each decision dearer than the one before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from conclugen.hyperparameters import Hyperparameters
from conclugen.seeds import derive_seed
from search_spaces import Parameter
from sweeps.config import Arm, SweepConfig
from sweeps.ledger import State
from sweeps.strategies import STARTUP_TRIALS, distributions, grid_point, pruner, sampler

__all__ = ["Best", "Study"]

_ORIGIN = "origin"


@dataclass(frozen=True)
class Best:
    """A trial that ran its full budget, and no other of its study did better."""

    value: float
    number: int
    hyperparameters: Mapping[str, Any]


class Study:
    """One arm's study.

    Args:
        arm: what it searches.
        config: the sweep.
        storage: where studies are kept.
        identity: of the sweep, which tells its studies from another sweep's in the same storage.
        proposals: (origin, hyperparameters) of configurations that are tried right after the default one.
    """

    def __init__(
        self,
        arm: Arm,
        config: SweepConfig,
        storage: BaseStorage,
        identity: str,
        proposals: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> None:
        self.arm, self._config = arm, config
        self._parameters = arm.parameters(config.load_space())
        self._distributions = distributions(self._parameters)
        self._proposals = list(proposals)
        self._study = optuna.create_study(
            study_name=f"{config.name}/{arm.name}@{identity}",
            storage=storage,
            direction="maximize",
            pruner=pruner(config),
            load_if_exists=True,
        )
        self.started = self.ended = 0
        self.best: Best | None = None
        for trial in self._study.get_trials(deepcopy=False):
            self.started += trial.state != TrialState.WAITING
            if trial.state.is_finished():
                self._count(trial)

    def ask(self, others: Mapping[Arm, Best]) -> tuple[optuna.Trial, dict[str, Any], str]:
        """Start the next trial; return it, all of its hyperparameters, and where they come from.

        Args:
            others: the other arms' best so far, for ``search.share_best``.
        """
        number = self.started
        origin, chosen = self._chosen(number, others)
        if chosen is not None:
            self._study.enqueue_trial(chosen)
        self._study.sampler = sampler(self._config, derive_seed(self._config.seed, "sampler", self.arm.name, number))
        trial = self._study.ask(self._distributions)
        trial.set_user_attr(_ORIGIN, origin)
        self.started += 1
        return trial, self._resolved(trial.params), origin

    def tell(self, trial: optuna.Trial, state: State, value: float | None, reason: str) -> None:
        """End a trial."""
        if reason:
            trial.set_user_attr("reason", reason)
        if state == "complete":
            self._count(self._study.tell(trial, value))
        else:
            self._count(self._study.tell(trial, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL))

    def _chosen(self, number: int, others: Mapping[Arm, Best]) -> tuple[str, dict[str, Any] | None]:
        """Where trial ``number`` comes from, and its values of what is not fixed unless they are to be sampled."""
        free = {name: parameter for name, parameter in self._parameters.items() if parameter.fixed is None}
        search = self._config.search
        if number == 0:
            return "default", {name: parameter.start for name, parameter in free.items()}
        if search.sampler == "grid":
            seed = derive_seed(self._config.seed, "grid", self.arm.name)
            return "grid", grid_point(self._parameters, number, seed)
        if number <= len(self._proposals):
            origin, values = self._proposals[number - 1]
            return origin, _transferred(values, free)
        if search.share_best and others and number == max(STARTUP_TRIALS, len(self._proposals) + 1):
            donor, best = max(others.items(), key=lambda entry: entry[1].value)
            shared = donor.parameters(self._config.load_space())
            values = {name: value for name, value in best.hyperparameters.items() if name in shared}
            return f"share_best: {donor.name}-{best.number:05d}", _transferred(values, free)
        return search.sampler, None

    def _count(self, trial: FrozenTrial) -> None:
        self.ended += 1
        # The earliest among equals stays the best.
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            better = self.best is None or (trial.value, -trial.number) > (self.best.value, -self.best.number)
            if better:
                self.best = Best(trial.value, trial.number, self._resolved(trial.params))

    def _resolved(self, sampled: Mapping[str, Any]) -> dict[str, Any]:
        """Every hyperparameter: what was sampled, what the space fixes, and the defaults of the rest."""
        fixed: dict[str, Any] = {name: p.fixed for name, p in self._parameters.items() if p.fixed is not None}
        return asdict(replace(Hyperparameters(), **fixed, **sampled))


def _transferred(values: Mapping[str, Any], free: Mapping[str, Parameter]) -> dict[str, Any]:
    """Another search's ``values`` as this space allows them, with its own defaults where it has nothing like them."""
    known = {name: parameter.nearest(values[name]) for name, parameter in free.items() if name in values}
    return {name: p.start if known.get(name) is None else known[name] for name, p in free.items()}
