"""Replays of recorded searches: what another sampler or pruner would have found with the same budget.

A recorded search is made into a function: a random forest, fitted to the trials of each arm, gives the whole curve of
scores for any configuration. A replay searches this function with the sweep's own studies, so samplers and pruners are
those of a sweep, and adds noise to each score. It takes seconds instead of hours, and knows the truth. Its regret is
how far the noise-free value of the configuration that the search would choose lies below the best there is.

A forest is smooth where the recorded trials are few. So replays rank samplers; they do not foretell scores.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from sklearn.ensemble import RandomForestRegressor

from conclugen.seeds import derive_seed
from sweeps.config import Arm, SweepConfig
from sweeps.search.joint.encoding import Encoding, Floats
from sweeps.search.joint_search import JointSearch
from sweeps.search.study import Study

__all__ = ["Landscape", "RecordedTrial", "Regret", "Strategy", "replay"]

LEAST_TRIALS = 10
"""An arm with fewer recorded trials is not replayed."""
_TREES = 100
_RANDOM = 4096  # configurations among which the best is looked for, beside the recorded ones


@dataclass(frozen=True)
class RecordedTrial:
    """A trial that ran its full budget."""

    values: Mapping[str, Any]
    curve: Mapping[int, float]
    """Epochs -> objective; the last epoch has the final score."""


@dataclass(frozen=True)
class Strategy:
    """How a search is replayed."""

    sampler: str
    """A sampler of sweeps; or gp, which is joint with a model of its own for each arm, to see what sharing gains."""
    pruner: str = "none"

    def __str__(self) -> str:
        return self.sampler if self.pruner == "none" else f"{self.sampler}, {self.pruner}"


@dataclass(frozen=True)
class Regret:
    """What one replicate of a replay found for one arm, after a number of trials."""

    strategy: Strategy
    arm: str
    replicate: int
    trials: int
    regret: float
    """In units of the objective."""
    epochs: int
    """Epochs trained so far, those of pruned trials included."""


class Landscape:
    """The scores of every configuration of every arm, learnt from recorded trials.

    Args:
        config: the recorded sweep.
        trials: arm -> its recorded trials.
        seed: of the forests.

    Raises:
        ValueError: no arm has enough trials.
    """

    def __init__(self, config: SweepConfig, trials: Mapping[Arm, Sequence[RecordedTrial]], seed: int = 0) -> None:
        self.config = config
        self.epochs = config.probe_epochs
        self._encoding = Encoding(config.load_space(), config.arms.values())
        self._forests = dict[Arm, RandomForestRegressor]()
        self.best = dict[Arm, float]()
        random = np.random.default_rng(seed)
        for arm, recorded in trials.items():
            usable = [
                (row, [trial.curve[epoch] for epoch in self.epochs])
                for trial in recorded
                if trial.curve.keys() >= set(self.epochs) and (row := self._encoding.row(arm, trial.values)) is not None
            ]
            if len(usable) < LEAST_TRIALS:
                continue
            rows = np.array([row for row, _ in usable])
            forest = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=seed, n_jobs=1)
            forest.fit(self._encoding.points(arm, rows), np.array([curve for _, curve in usable]))
            self._forests[arm] = forest
            everywhere = np.vstack([rows, random.random((_RANDOM, rows.shape[1]))])
            self.best[arm] = float(self._curves(arm, everywhere)[:, -1].max())
        if not self._forests:
            raise ValueError(f"no arm has {LEAST_TRIALS} trials that ran their full budget.")

    @property
    def arms(self) -> list[Arm]:
        """The arms that are replayed."""
        return list(self._forests)

    def curve(self, arm: Arm, values: Mapping[str, Any]) -> Floats:
        """Return the scores of a configuration without noise, one for each of ``epochs``."""
        row = self._encoding.row(arm, values)
        if row is None:
            raise ValueError(f"{arm.name}: {values} is no configuration of the space.")
        curve: Floats = self._curves(arm, row[None])[0]
        return curve

    def _curves(self, arm: Arm, rows: Floats) -> Floats:
        curves = np.empty((len(rows), len(self.epochs)))
        curves[:] = self._forests[arm].predict(self._encoding.points(arm, rows)).reshape(curves.shape)
        return curves


def replay(
    landscape: Landscape, strategy: Strategy, trials: Sequence[int], replicate: int, noise: float
) -> Iterator[Regret]:
    """Search a landscape once, and yield the regret of each arm after each number of trials.

    Args:
        landscape: what is searched.
        strategy: the sampler and the pruner.
        trials: numbers of trials of each arm.
        replicate: number of the repetition; others have other seeds of proposals and noise.
        noise: standard deviation of each score.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    recorded = landscape.config
    alone = strategy.sampler == "gp"
    config = recorded.model_copy(
        update={
            "search": recorded.search.model_copy(
                update={"sampler": "joint" if alone else strategy.sampler, "pruner": strategy.pruner, "warm_start": ()}
            ),
            "budget": recorded.budget.model_copy(update={"trials_per_subset": max(trials)}),
            "seed": derive_seed(recorded.seed, "replay", replicate),
        }
    )
    studies = {arm.name: Study(arm, config, InMemoryStorage(), "replay") for arm in landscape.arms}
    proposers: dict[str, Callable[[Arm, int], Mapping[str, Any]] | None] = dict.fromkeys(studies)
    if alone:
        proposers = {name: JointSearch(config, {name: study}).propose for name, study in studies.items()}
    elif strategy.sampler == "joint":
        proposers = dict.fromkeys(studies, JointSearch(config, studies).propose)
    random = np.random.default_rng(config.seed)
    chosen = dict.fromkeys(studies, (-math.inf, -math.inf))  # arm -> noisy and true value of its best trial
    epochs = dict.fromkeys(studies, 0)
    for number in range(max(trials)):
        for name, study in studies.items():
            started = study.ask({}, proposers[name])
            curve = landscape.curve(study.arm, started.hyperparameters)
            scores = curve + random.normal(0.0, noise, len(curve))
            state = "complete"
            for epoch, score in zip(landscape.epochs[:-1], scores[:-1].tolist(), strict=True):
                started.trial.report(score, epoch)
                if started.trial.should_prune():
                    state = "pruned"
                    epochs[name] += epoch
                    break
            if state == "complete":
                epochs[name] += landscape.epochs[-1]
                chosen[name] = max(chosen[name], (float(scores[-1]), float(curve[-1])))
                study.tell(number, started.trial, "complete", float(scores[-1]), "")
            else:
                study.tell(number, started.trial, "pruned", None, strategy.pruner)
            if number + 1 in trials:
                regret = landscape.best[study.arm] - chosen[name][1]
                yield Regret(strategy, name, replicate, number + 1, regret, epochs[name])
