"""Which hyperparameters mattered in each search, by Optuna's evaluators.

Two of them, as they answer different questions. fANOVA (Hutter et al. 2014) fits a forest to the objective and splits
its variance over the whole space: what moves the objective anywhere. PED-ANOVA (Watanabe et al. 2023) compares where
the best trials lie with where all do: what it takes to be among the best. Both see full trials only, so what pruning or
failures kept from finishing is not in them, and a sampler that learns has looked more closely where it was good.
PED-ANOVA has only the best few to go by: of 80 random trials, where one of four hyperparameters alone decided, it once
gave another a share of 0.36.

The studies are rebuilt from the ledger, which is all that a report reads, over the space that was searched. Ranges that
were searched on a log scale are given to Optuna as ranges of logarithms: its fANOVA weighs each region by its width,
and would leave nine tenths of the weight to the highest decade. Where the space cannot be had any more
(`reports.statistics.searches`), hyperparameters that vary stand in for it, numbers by their rank among the values
tried, which weighs all of those alike; other values as choices among those tried.

Optuna's own 64 trees of any depth were rejected: on a hundred trials they take 11 s for each method, where shallow ones
take 0.4 s and find the same; so were more trials than tell the importances apart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reports.processes import ALONE, Processes
from reports.statistics.searches import full_trials, searched_space, searches_of, varying
from search_spaces import Parameter
from sweeps.ledger import Record

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

__all__ = ["importance"]

COLUMNS = ("sweep", "method", "hyperparameter", "importance", "evaluator", "n_trials")
_FEWEST = 8  # full trials; fewer say nothing of a dozen hyperparameters
_MOST = 500  # of them that are looked at, drawn at random
_SEED = 0
_TREES, _DEPTH = 16, 6  # of fANOVA's forest
_TOP = 0.1  # share of the trials that PED-ANOVA takes for the best,
_FEWEST_TOP = 5  # but so many, which its authors recommend,
_MOST_TOP = 0.5  # where that is not more than this share


@dataclass(frozen=True)
class _Axis:
    """A hyperparameter as Optuna is given it."""

    distribution: "BaseDistribution"
    places: Sequence[Any]
    """Where each trial lies."""


def importance(ledgers: Sequence[Sequence[Record]], processes: Processes = ALONE) -> pd.DataFrame:
    """Return one row per sweep, searched method, evaluator and hyperparameter, the most important first.

    ``evaluator`` is ``fanova`` or ``ped_anova``. ``importance`` sums to 1 over the hyperparameters of a method, so it
    says how they compare, not how much there is to gain; fANOVA's is of each alone, without interactions. A method has
    no rows with fewer than 8 full trials, or where none of its hyperparameters or not even the objective varies, and
    none from PED-ANOVA where its best trials cannot be told from the worst. ``n_trials`` are those that were used.

    Args:
        ledgers: of one or more sweeps.
        processes: which divide the methods among them.
    """
    searches = [
        (records[0].sweep, method, _sample(trials), searched_space(tried[method]))
        for records in ledgers
        for tried in [searches_of(records)]
        for method, trials in full_trials(records).items()
        if len(trials) >= _FEWEST
    ]
    found = processes.map(_evaluated, [search[2:] for search in searches])
    rows = [
        (sweep, method, name, share, evaluator, len(trials))
        for (sweep, method, trials, _), evaluated in zip(searches, found, strict=True)
        for evaluator, shares in evaluated
        for name, share in shares.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"importance": "float64", "n_trials": "int64"})


def _sample(trials: Sequence[Record]) -> Sequence[Record]:
    if len(trials) <= _MOST:
        return trials
    chosen = np.random.default_rng(_SEED).choice(len(trials), _MOST, replace=False)
    return [trials[index] for index in sorted(chosen)]


def _evaluated(
    search: tuple[Sequence[Record], Mapping[str, Parameter] | None],
) -> list[tuple[str, dict[str, float]]]:
    """Evaluator, and the importance of each hyperparameter, the most important first, from trials and their space."""
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    trials, space = search
    values = sorted((trial.value for trial in trials if trial.value is not None), reverse=True)
    if values[0] == values[-1] or not varying(trials):
        return []
    study = _study(trials, space)
    fanova = FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=_SEED)
    found = [("fanova", get_param_importances(study, evaluator=fanova))]
    top = min(_MOST_TOP, max(_TOP, _FEWEST_TOP / len(values)))
    if values[math.ceil(top * len(values)) - 1] > values[-1]:
        ped_anova = PedAnovaImportanceEvaluator(target_quantile=top)
        found.append(("ped_anova", get_param_importances(study, evaluator=ped_anova)))
    return found


def _study(trials: Sequence[Record], space: Mapping[str, Parameter] | None) -> "optuna.Study":
    """The trials as a study in memory, of those hyperparameters that vary."""
    import optuna

    axes = {
        name: _axis([trial.hyperparameters[name] for trial in trials], None if space is None else space[name])
        for name in varying(trials)
    }
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # that a study was created is news to nobody
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    distributions = {name: axis.distribution for name, axis in axes.items()}
    for index, trial in enumerate(trials):
        places = {name: axis.places[index] for name, axis in axes.items()}
        study.add_trial(optuna.create_trial(params=places, distributions=distributions, value=trial.value))
    return study


def _axis(values: Sequence[Any], parameter: Parameter | None) -> _Axis:
    """Where values of a hyperparameter lie, in the parameter's range or, without one, among each other."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter is None:
        distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
        if any(isinstance(value, bool | str) for value in distinct):
            return _Axis(CategoricalDistribution(distinct), values)
        return _Axis(IntDistribution(0, len(distinct) - 1), [distinct.index(value) for value in values])
    if parameter.choices is not None:
        return _Axis(CategoricalDistribution(parameter.choices), values)
    low, high = (float(end) for end in parameter.extremes())
    if parameter.log:
        low, high, values = math.log(low), math.log(high), [math.log(value) for value in values]
    return _Axis(FloatDistribution(low, high), np.clip(values, low, high).tolist())
