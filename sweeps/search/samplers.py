"""Samplers: how a study proposes configurations.

Every proposal gets a sampler of its own, seeded by the trial's identity. So a proposal follows from the study's trials
and the seed, and not from what a process has drawn before. For the same reason samplers see trials through a view
(`sweeps.search.study_view`). So a trial that a crash or damage has erased is proposed again as it was.
"""

import warnings
from collections.abc import Mapping
from typing import Any, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from search_spaces import Parameter
from sweeps.config import SweepConfig
from sweeps.search.cmaes import CmaEsSampler
from sweeps.search.study_view import STARTUP_TRIALS, StudyView

__all__ = ["distributions", "sampler"]


def sampler(config: SweepConfig, storage: BaseStorage, seed: int) -> BaseSampler:
    """Return the sampler of one proposal. A grid enqueues its points, so its sampler has nothing to draw.

    Args:
        config: the sweep.
        storage: the study's storage.
        seed: the seed of the proposal.
    """
    if config.search.sampler == "tpe":
        return _RenumberingSampler(_tpe(seed), StudyView(storage))
    if config.search.sampler == "cmaes":
        return CmaEsSampler(seed, storage)
    return RandomSampler(seed=seed)


def distributions(parameters: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    """Return what Optuna samples: everything that is not fixed."""
    return {name: _distribution(parameter) for name, parameter in parameters.items() if parameter.fixed is None}


def _tpe(seed: int) -> TPESampler:
    """Return TPE with the defaults of Optuna 5, which are experimental options in Optuna 4.

    The method is then the same on both, but the draws are not: Optuna has changed its kernels in between.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True, seed=seed)


class _RenumberingSampler(BaseSampler):
    """A sampler for one proposal that sees study and trial through a view."""

    def __init__(self, inner: BaseSampler, view: StudyView) -> None:
        self._inner = inner
        self._view = view
        self._study: Study | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(*self._seen(study, trial))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(*self._seen(study, trial), search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(*self._seen(study, trial), param_name, param_distribution)

    def _seen(self, study: Study, trial: FrozenTrial) -> tuple[Study, FrozenTrial]:
        if self._study is None:  # one view for the whole proposal, so that trials are read once
            self._study = self._view.study(study, trial)
        return self._study, self._view.trial(trial)


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.choices is not None:
        return CategoricalDistribution(parameter.choices)
    low, high = parameter.extremes()
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=parameter.log, step=int(parameter.step or 1))
    return FloatDistribution(cast(float, low), cast(float, high), log=parameter.log, step=parameter.step)
