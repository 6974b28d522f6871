"""Pruners: which trials of a study stop early."""

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeps.config import SweepConfig
from sweeps.search.study_view import STARTUP_TRIALS, StudyView

__all__ = ["pruner"]


def pruner(config: SweepConfig, storage: BaseStorage) -> BasePruner:
    """Return the pruner of one study. Its resources are epochs; it judges a rung at the first probe that reaches it.

    Before the grace period has passed, it judges nothing.

    Args:
        config: the sweep.
        storage: the study's storage.
    """
    search = config.search
    if not config.rungs:
        return NopPruner()
    first = config.rungs[0]
    if search.pruner == "median":
        inner: BasePruner = MedianPruner(
            n_startup_trials=STARTUP_TRIALS, n_min_trials=STARTUP_TRIALS, n_warmup_steps=first
        )
    elif search.pruner == "successive_halving":
        inner = SuccessiveHalvingPruner(min_resource=first, reduction_factor=search.reduction_factor)
    else:
        # A trial's bracket follows from its number and the study's name, which the view gives.
        inner = HyperbandPruner(
            min_resource=first, max_resource=config.budget.epochs, reduction_factor=search.reduction_factor
        )
    return _RenumberingPruner(inner, StudyView(storage))


class _RenumberingPruner(BasePruner):
    """A pruner that sees study and trial through a view.

    Samplers do not see the inner pruner. If they saw Hyperband, Optuna's samplers would learn from the trials of one
    bracket only. An arm has too few trials to divide them, so ours learn from all.
    """

    def __init__(self, inner: BasePruner, view: StudyView) -> None:
        self._inner = inner
        self._view = view

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return self._inner.prune(self._view.study(study, trial), self._view.trial(trial))
