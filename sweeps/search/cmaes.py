"""CMA-ES without a memory of its own."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from cmaes import CMA
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import intersection_search_space
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sweeps.search.optuna_internals import given_values, note
from sweeps.search.study_view import ORIGIN, STARTUP_TRIALS, StudyView
from sweeps.search.unit_cube import NumericDistribution, UnitCube

__all__ = ["CmaEsSampler"]

_GENERATION = "generation"  # attribute of a trial that CMA-ES has drawn


class CmaEsSampler(BaseSampler):
    """CMA-ES as in Optuna, without its memory: each proposal repeats the evolution from the finished trials.

    A generation is the trials that were drawn from the same normal distribution. Once enough of them have ended, they
    make the next distribution. Each trial keeps the number of its generation, and nothing else. Optuna's own sampler
    keeps the pickled optimiser in the storage to save milliseconds. Loading it runs whatever code somebody has put
    there.

    Args:
        seed: the seed of the proposal.
        storage: the study's storage.
    """

    def __init__(self, seed: int, storage: BaseStorage) -> None:
        self._seed = seed
        self._storage = storage
        self._view = StudyView(storage)
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the numeric hyperparameters that all trials of the study share."""
        shared = intersection_search_space(self._view.study(study, trial).get_trials(deepcopy=False))
        return {
            name: distribution
            for name, distribution in shared.items()
            if isinstance(distribution, FloatDistribution | IntDistribution) and not distribution.single()
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw from the distribution that the completed trials give; return nothing while there are too few."""
        completed = self._view.study(study, trial).get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        if not search_space or len(completed) < STARTUP_TRIALS:
            return {}
        cube = UnitCube(cast(dict[str, NumericDistribution], search_space))
        evolution = CMA(
            mean=np.full(cube.dimensions, 0.5),
            sigma=1 / 6,
            bounds=np.array([[0.0, 1.0]] * cube.dimensions),
            n_max_resampling=10 * cube.dimensions,
            seed=self._seed % 2**32,
        )
        for generation in _generations(completed, evolution.population_size):
            evolution.tell([(cube.point(ended.params), -cast(float, ended.value)) for ended in generation])
        note(self._storage, study, trial, _GENERATION, evolution.generation)
        return cube.values(evolution.ask())

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw uniformly a choice, which CMA-ES cannot propose, or any value of the first trials."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


def _generations(completed: Sequence[FrozenTrial], size: int) -> list[list[FrozenTrial]]:
    """Return the first ``size`` trials of each full generation, from completed trials in the order of their numbers.

    A trial that was entered into its study again, from its record, has lost the number of its generation. It counts for
    the first generation that the trials before it do not fill; with one slot, that is its own. A trial that lacks the
    number and was entered once belongs to no generation: a slot began it before there was anything to learn from.
    """
    generations = defaultdict[int, list[FrozenTrial]](list)
    current = 0
    for index, trial in enumerate(completed):
        if _GENERATION in trial.system_attrs:
            generations[trial.system_attrs[_GENERATION]].append(trial)
        elif index >= STARTUP_TRIALS and trial.user_attrs[ORIGIN] == "cmaes" and given_values(trial):
            generations[current].append(trial)
        while len(generations[current]) >= size:
            current += 1
    return [generations[number][:size] for number in range(current)]
