"""How a study proposes configurations and stops trials: Optuna's samplers and pruners, made for a sweep's settings.

Every proposal gets a sampler of its own, seeded by the trial's identity: what is proposed follows from the study's
finished trials and the seed, not from what one process happened to have drawn before. For the same reason samplers and
pruners see trials in the order and with the numbers that they have within the search, and one that was begun late sees
only those before it: so a trial of which a crash or damage left nothing becomes what it was.
"""

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from cmaes import CMA
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.search_space import intersection_search_space
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from conclugen.seeds import derive_seed
from search_spaces import Parameter
from sweeps.config import SweepConfig

__all__ = [
    "DROPPED",
    "LATE",
    "NUMBER",
    "ORIGIN",
    "STARTUP_TRIALS",
    "distributions",
    "grid_point",
    "pruner",
    "sampler",
]

NUMBER = "number"  # attribute of each trial: its number within the search
ORIGIN = "origin"  # attribute of each trial: where its values come from, as in a record
LATE = "late"  # attribute of trials that were begun when there were others with higher numbers
DROPPED = "dropped"  # attribute of trials that stay in a study and do not count: each was begun again
STARTUP_TRIALS = 4  # before a sampler has something to learn from, and before a median means something
_GENERATION = "generation"  # attribute of a trial that CMA-ES has drawn
_GIVEN = "fixed_params"  # Optuna's attribute of each trial from its queue, as all are here: the values it came with
_FEISTEL_ROUNDS = 4


def sampler(config: SweepConfig, seed: int) -> BaseSampler:
    """Return the sampler of one proposal; a grid's points are enqueued, and nothing is left to sample."""
    if config.search.sampler == "tpe":
        return _Informed(TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed))
    if config.search.sampler == "cmaes":
        return _Informed(_CmaEs(seed))
    return RandomSampler(seed=seed)


def pruner(config: SweepConfig) -> BasePruner:
    """Return the pruner of a study; resources are epochs, and a rung is judged at the first probe that reaches it."""
    search, rungs = config.search, config.probe_epochs
    if search.pruner == "median":
        return _Judge(MedianPruner(n_startup_trials=STARTUP_TRIALS, n_min_trials=STARTUP_TRIALS))
    if search.pruner == "successive_halving":
        return _Judge(SuccessiveHalvingPruner(min_resource=rungs[0], reduction_factor=search.reduction_factor))
    if search.pruner == "hyperband":
        return _Judge(
            _Hyperband(
                min_resource=rungs[0], max_resource=config.budget.epochs, reduction_factor=search.reduction_factor
            )
        )
    return NopPruner()


def distributions(parameters: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    """Return what Optuna samples: everything that is not fixed."""
    return {name: _distribution(parameter) for name, parameter in parameters.items() if parameter.fixed is None}


def grid_point(parameters: Mapping[str, Parameter], number: int, seed: int) -> dict[str, Any]:
    """Return the values of trial ``number``: the default configuration first, then the grid's others in random order.

    Points are numbers of mixed radix, a digit for each parameter, so that none but the one asked for is made.

    Args:
        parameters: of a subset, each with finitely many values.
        number: below the number of points.
        seed: of the order.
    """
    free = {name: parameter for name, parameter in parameters.items() if parameter.fixed is None}
    sizes = {name: parameter.count or 0 for name, parameter in free.items()}
    default = 0
    for name, parameter in free.items():
        default = default * sizes[name] + parameter.index(parameter.start)
    point = default
    if number > 0:
        point = _shuffled(number - 1, math.prod(sizes.values()) - 1, seed)
        point += point >= default
    values = {}
    for name in reversed(free):
        point, digit = divmod(point, sizes[name])
        values[name] = free[name].value(digit)
    return values


def _shuffled(index: int, size: int, seed: int) -> int:
    """Where a random permutation of 0..size-1, which ``seed`` decides, takes ``index``; takes no time to set up.

    A Feistel network permutes a power of 4 that is at least ``size``. What falls outside is permuted again until it
    falls inside (cycle walking: Black & Rogaway 2002), 4 times on average at most.
    """
    half = (max(1, size - 1).bit_length() + 1) // 2
    while True:
        left, right = divmod(index, 1 << half)
        for turn in range(_FEISTEL_ROUNDS):
            left, right = right, left ^ derive_seed(seed, turn, right) % (1 << half)
        index = (left << half) + right
        if index < size:
            return index


class _Trials:
    """A study with other trials than it has; all else is the study's.

    Args:
        study: the whole one.
        choose: takes all trials and returns those that are to be there.
    """

    def __init__(self, study: Study, choose: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> None:
        self._study, self._choose = study, choose

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return self._choose(self._study._get_trials(deepcopy, states, use_cache))


def _as_seen_by(
    trial: FrozenTrial, study: Study, known_as: Callable[[FrozenTrial], FrozenTrial] = lambda other: other
) -> Study:
    """The study as a trial's sampler and pruner are to see it, with its trials as ``known_as`` gives them."""
    last = trial.user_attrs[NUMBER] if LATE in trial.user_attrs else math.inf

    def choose(trials: list[FrozenTrial]) -> list[FrozenTrial]:
        seen = [t for t in trials if DROPPED not in t.user_attrs and t.user_attrs[NUMBER] <= last]
        return list(map(known_as, sorted(seen, key=lambda t: t.user_attrs[NUMBER])))

    return cast(Study, _Trials(study, choose))


class _Informed(BaseSampler):
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
        return _as_seen_by(trial, study, self._renumbered), self._renumbered(trial)

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


class _Judge(BasePruner):
    """A pruner that sees a study as the trial that it judges; none looks at Optuna's numbers.

    Samplers do not see through it: Optuna's learn from a Hyperband's own bracket only, these from all of an arm's
    trials, of which there are too few to be parted.
    """

    def __init__(self, inner: BasePruner) -> None:
        self._inner = inner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return self._inner.prune(_as_seen_by(trial, study), trial)


class _CmaEs(BaseSampler):
    """CMA-ES as in Optuna, but for its memory: the evolution is told again from the finished trials at each proposal.

    A generation is the trials that were drawn from the same normal distribution; once enough of them have ended, they
    make the next. Each trial keeps the number of its generation, and nothing else is kept. Optuna's own sampler keeps
    the optimiser, pickled, in the storage, and so runs whatever somebody puts there; all of that to save milliseconds.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        shared = intersection_search_space(study.get_trials(deepcopy=False))
        return {
            name: distribution
            for name, distribution in shared.items()
            if isinstance(distribution, FloatDistribution | IntDistribution) and not distribution.single()
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        completed = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        if not search_space or len(completed) < STARTUP_TRIALS:
            return {}
        cube = _SearchSpaceTransform(search_space, transform_0_1=True)
        dimensions = len(cube.bounds)
        evolution = CMA(
            mean=np.full(dimensions, 0.5),
            sigma=1 / 6,
            bounds=cube.bounds,
            n_max_resampling=10 * dimensions,
            seed=self._seed % 2**32,
        )
        for told in _generations(completed, evolution.population_size):
            evolution.tell([(cube.transform(ended.params), -cast(float, ended.value)) for ended in told])
        study._storage.set_trial_system_attr(trial._trial_id, _GENERATION, evolution.generation)
        return cube.untransform(evolution.ask())

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


def _generations(completed: Sequence[FrozenTrial], size: int) -> list[list[FrozenTrial]]:
    """The first ``size`` trials of each generation that has so many, out of the completed ones by their numbers.

    A trial that its study was told anew has lost the number of its generation. It counts for the one that was not full
    when those before it had ended; with one slot, that is its own. One without a number that was not told anew was
    begun by another slot before there was anything to learn from, and belongs to none.
    """
    generations = defaultdict[int, list[FrozenTrial]](list)
    current = 0
    for index, trial in enumerate(completed):
        if _GENERATION in trial.system_attrs:
            generations[trial.system_attrs[_GENERATION]].append(trial)
        elif index >= STARTUP_TRIALS and trial.user_attrs[ORIGIN] == "cmaes" and trial.system_attrs[_GIVEN]:
            generations[current].append(trial)
        while len(generations[current]) >= size:
            current += 1
    return [generations[number][:size] for number in range(current)]


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

        return cast(Study, _Trials(study, choose))


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.choices is not None:
        return CategoricalDistribution(parameter.choices)
    low, high = parameter.extremes()
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=parameter.log, step=int(parameter.step or 1))
    return FloatDistribution(cast(float, low), cast(float, high), log=parameter.log, step=parameter.step)
