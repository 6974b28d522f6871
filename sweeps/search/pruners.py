"""Pruners: which trials of a study stop early."""

from types import SimpleNamespace
from typing import Any, cast

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeps.config import SweepConfig
from sweeps.search.study_view import NUMBER, STARTUP_TRIALS, StudyView, as_seen_by

__all__ = ["pruner"]


def pruner(config: SweepConfig) -> BasePruner:
    """Return the pruner of a study; resources are epochs, and a rung is judged at the first probe that reaches it."""
    search, rungs = config.search, config.probe_epochs
    if search.pruner == "median":
        return _RenumberingPruner(MedianPruner(n_startup_trials=STARTUP_TRIALS, n_min_trials=STARTUP_TRIALS))
    if search.pruner == "successive_halving":
        return _RenumberingPruner(
            SuccessiveHalvingPruner(min_resource=rungs[0], reduction_factor=search.reduction_factor)
        )
    if search.pruner == "hyperband":
        return _RenumberingPruner(
            _Hyperband(
                min_resource=rungs[0], max_resource=config.budget.epochs, reduction_factor=search.reduction_factor
            )
        )
    return NopPruner()


class _RenumberingPruner(BasePruner):
    """A pruner that sees a study as the trial that it judges; none looks at Optuna's numbers.

    Samplers do not see through it: Optuna's learn from a Hyperband's own bracket only, these from all of an arm's
    trials, of which there are too few to be parted.
    """

    def __init__(self, inner: BasePruner) -> None:
        self._inner = inner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return self._inner.prune(as_seen_by(trial, study), trial)


class _Hyperband(HyperbandPruner):
    """Optuna's, with brackets that follow from a trial's number and its subset.

    Optuna's own follow from names and numbers that differ when the same sweep runs again, or goes on after a crash.
    """

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        arm = study.study_name.partition("@")[0]
        identity: Any = SimpleNamespace(study_name=arm), SimpleNamespace(number=trial.user_attrs[NUMBER])
        return super()._get_bracket_id(*identity)

    def _create_bracket_study(self, study: Study, bracket_id: int) -> Study:
        def choose(trials: list[FrozenTrial]) -> list[FrozenTrial]:
            return [trial for trial in trials if self._get_bracket_id(study, trial) == bracket_id]

        return cast(Study, StudyView(study, choose))
