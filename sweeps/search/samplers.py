"""How a study proposes configurations and stops trials: Optuna's samplers and pruners, made for a sweep's settings.

Every proposal gets a sampler of its own, seeded by the trial's identity: what is proposed follows from the study's
finished trials and the seed, not from what one process happened to have drawn before. For the same reason samplers and
pruners see trials in the order and with the numbers that they have within the search, and one that was begun late sees
only those before it: so a trial of which a crash or damage left nothing becomes what it was.
"""

import copy
from collections.abc import Mapping
from typing import Any, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from search_spaces import Parameter
from sweeps.config import SweepConfig
from sweeps.search.cmaes import CmaEsSampler
from sweeps.search.study_view import NUMBER, STARTUP_TRIALS, as_seen_by

__all__ = ["distributions", "sampler"]


def sampler(config: SweepConfig, seed: int) -> BaseSampler:
    """Return the sampler of one proposal; a grid's points are enqueued, and nothing is left to sample."""
    if config.search.sampler == "tpe":
        return _RenumberingSampler(TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed))
    if config.search.sampler == "cmaes":
        return _RenumberingSampler(CmaEsSampler(seed))
    return RandomSampler(seed=seed)


def distributions(parameters: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    """Return what Optuna samples: everything that is not fixed."""
    return {name: _distribution(parameter) for name, parameter in parameters.items() if parameter.fixed is None}


class _RenumberingSampler(BaseSampler):
    """A sampler that sees a study as the trial that it samples for, and trials with their numbers within the search.

    Optuna's own numbers say when a trial was begun, however often that was. For one proposal: the copies that have the
    other numbers are made once, as there may be thousands.
    """

    def __init__(self, inner: BaseSampler) -> None:
        self._inner = inner
        self._copies: dict[int, FrozenTrial] = {}  # of trials that have ended

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
        return as_seen_by(trial, study, self._renumbered), self._renumbered(trial)

    def _renumbered(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.number == trial.user_attrs[NUMBER]:
            return trial
        known = self._copies.get(trial._trial_id)
        if known is None:
            known = copy.copy(trial)
            known.number = trial.user_attrs[NUMBER]
            if trial.state.is_finished():
                self._copies[trial._trial_id] = known
        return known


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.choices is not None:
        return CategoricalDistribution(parameter.choices)
    low, high = parameter.extremes()
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=parameter.log, step=int(parameter.step or 1))
    return FloatDistribution(cast(float, low), cast(float, high), log=parameter.log, step=parameter.step)
