"""The importance of hyperparameters in each search, by two of Optuna's evaluators.

The two evaluators answer different questions. fANOVA (Hutter et al. 2014) fits a forest to the objective and splits its
variance over the whole space: it shows what changes the objective anywhere. PED-ANOVA (Watanabe et al. 2023) compares
where the best trials lie with where all trials lie: it shows what the best trials need.

Both have limits. They see full trials only, so pruned and failed trials do not count. A sampler that learns has more
trials in the good regions. PED-ANOVA depends on the few best trials. In one test with 80 random trials, only one of
four hyperparameters changed the objective, but PED-ANOVA gave another one a share of 0.36.

A report reads only the ledger, so this module rebuilds the studies from it, over the space that was searched. Optuna's
fANOVA weighs each region by its width. On a log range this would give nine tenths of the weight to the highest decade,
so Optuna gets ranges of logarithms here. If the space is no longer available (see `reports.statistics.searches`), the
hyperparameters that vary replace it. Numbers then count by their rank among the tried values, which weighs these values
equally. Truth values and texts become choices among the tried values.

Optuna's default of 64 trees of unlimited depth was rejected. On a hundred trials it takes 11 s for each method; shallow
trees take 0.4 s and give the same result. More than 500 trials were rejected, too: they separate the importances no
better.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reports.processes import ALONE, Processes
from reports.statistics.searches import full_trials, method_and_search, searched_space, searches_of, varying
from search_spaces import Parameter
from sweeps.ledger import Record

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

__all__ = ["importance"]

COLUMNS = ("sweep", "method", "search", "hyperparameter", "importance", "evaluator", "n_trials")
_MIN_TRIALS = 8  # full trials; fewer say nothing about a dozen hyperparameters
_MAX_TRIALS = 500  # a larger search is represented by a random sample of this size
_SEED = 0
_TREES, _DEPTH = 16, 6  # of fANOVA's forest
_TOP = 0.1  # share of the trials that PED-ANOVA counts as the best
_MIN_TOP = 5  # at least this many trials count as the best, as the authors of PED-ANOVA recommend
_MAX_TOP = 0.5  # but never more than this share


@dataclass(frozen=True)
class _Axis:
    """A hyperparameter as Optuna sees it."""

    distribution: "BaseDistribution"
    values: Sequence[Any]
    """The value of each trial within the distribution."""


def importance(ledgers: Sequence[Sequence[Record]], processes: Processes = ALONE) -> pd.DataFrame:
    """Return one row per sweep, searched method, search, evaluator and hyperparameter, the most important first.

    ``evaluator`` is ``fanova`` or ``ped_anova``. ``importance`` sums to 1 over the hyperparameters of a search: it
    compares them, and does not say how much there is to gain. fANOVA's importance is that of each hyperparameter alone,
    without interactions. ``n_trials`` counts the trials that the evaluator saw.

    A search has no rows if it has fewer than 8 full trials, or if its objective or all its hyperparameters are
    constant. It has no rows from PED-ANOVA if the worst of its best trials is no better than the worst of all.

    Args:
        ledgers: records of one or more sweeps.
        processes: processes that share the methods.
    """
    searches = [
        (records[0].sweep, arm, _sample(trials), searched_space(by_arm[arm]))
        for records in ledgers
        for by_arm in [searches_of(records)]
        for arm, trials in full_trials(records).items()
        if len(trials) >= _MIN_TRIALS
    ]
    importances = processes.map(_importances, [search[2:] for search in searches])
    rows = [
        (sweep, *method_and_search(arm), name, share, evaluator, len(trials))
        for (sweep, arm, trials, _), by_evaluator in zip(searches, importances, strict=True)
        for evaluator, shares in by_evaluator
        for name, share in shares.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"importance": "float64", "n_trials": "int64"})


def _sample(trials: Sequence[Record]) -> Sequence[Record]:
    if len(trials) <= _MAX_TRIALS:
        return trials
    indices = np.random.default_rng(_SEED).choice(len(trials), _MAX_TRIALS, replace=False)
    return [trials[index] for index in sorted(indices)]


def _importances(
    search: tuple[Sequence[Record], Mapping[str, Parameter] | None],
) -> list[tuple[str, dict[str, float]]]:
    """Return each evaluator with the importance of each hyperparameter, the most important first.

    Args:
        search: full trials of one method, and the space they come from, if it is available.
    """
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    trials, space = search
    values = sorted((trial.value for trial in trials if trial.value is not None), reverse=True)
    if values[0] == values[-1] or not varying(trials):
        return []
    study = _study(trials, space)
    fanova = FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=_SEED)
    importances = [("fanova", get_param_importances(study, evaluator=fanova))]
    top = min(_MAX_TOP, max(_TOP, _MIN_TOP / len(values)))
    if values[math.ceil(top * len(values)) - 1] > values[-1]:
        ped_anova = PedAnovaImportanceEvaluator(target_quantile=top)
        importances.append(("ped_anova", get_param_importances(study, evaluator=ped_anova)))
    return importances


def _study(trials: Sequence[Record], space: Mapping[str, Parameter] | None) -> "optuna.Study":
    """Rebuild the trials as a study in memory, with the hyperparameters that vary."""
    import optuna

    axes = {
        name: _axis([trial.hyperparameters[name] for trial in trials], None if space is None else space[name])
        for name in varying(trials)
    }
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # Optuna would log that it created a study
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    distributions = {name: axis.distribution for name, axis in axes.items()}
    for index, trial in enumerate(trials):
        params = {name: axis.values[index] for name, axis in axes.items()}
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=trial.value))
    return study


def _axis(values: Sequence[Any], parameter: Parameter | None) -> _Axis:
    """Return the axis of a hyperparameter with these values: the parameter's range, or ranks without a parameter."""
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
