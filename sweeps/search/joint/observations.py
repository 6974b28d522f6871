"""What the trials of all arms teach the joint model: a standardised score and its reliability, for each trial.

Scores of different arms do not compare: another loss subset, label budget or set has another level. So each arm's
scores are centred. An arm has too few trials to know their scale alone. So its scale is that of its own scores and, as
if of a few more trials, the common one of all arms. The gains of an arm whose scores are all alike are then foretold as
small, however much others gain.

A pruned trial has no final score. It counts by its last report, compared with the reports of the same arm at the same
epoch. A failed trial counts as the arm's worst, so that its region is avoided.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from conclugen.hyperparameters import Hyperparameters
from sweeps.config import Arm
from sweeps.ledger import Record, State

__all__ = ["Level", "Observation", "Target", "observation_of", "targets"]

_COMMON = 4  # trials, as which the scale of all arms counts beside an arm's own scores
_LEAST_SCALE = 1e-4  # of scores, so that equal scores are not divided by 0
_PRUNED_VARIANCE = 0.25  # of a pruned trial's standardised score
_FAILED_VARIANCE = 1.0
_LOWEST = -2.5  # a standardised score below this says no more than that the trial was bad


@dataclass(frozen=True)
class Observation:
    """A trial as the joint model sees it."""

    arm: Arm
    number: int
    values: Mapping[str, Any]
    """Its hyperparameters, those that the space fixes may be among them."""
    state: State | None
    """None while it runs."""
    value: float | None = None
    reports: Sequence[tuple[int, float]] = field(default=())
    """(epochs, objective) of each report before the end."""
    task: int = 0
    """0 for this sweep, or the number of an earlier one."""


def observation_of(record: Record, arm: Arm, task: int = 0) -> Observation:
    """Return a recorded search trial as the joint model sees it.

    The final score of a complete trial is no report: it does not compare with the scores of brief probes.

    Args:
        record: the trial's record.
        arm: the arm that it counts for.
        task: 0 for this sweep, or the number of an earlier one.
    """
    complete = record.state == "complete"
    return Observation(
        arm=arm,
        number=record.number,
        values={**asdict(Hyperparameters()), **record.hyperparameters},
        state=record.state,
        value=record.value if complete else None,
        reports=record.history[:-1] if complete else record.history,
        task=task,
    )


@dataclass(frozen=True)
class Level:
    """The mean and the scale of an arm's scores, in units of the objective, and of how many completed trials."""

    mean: float
    scale: float
    trials: int


@dataclass(frozen=True)
class Target:
    """What an ended trial teaches."""

    observation: Observation
    position: int
    """The place of the trial among all observations."""
    score: float
    """Standardised: 0 is its arm's mean, and 1 its scale."""
    variance: float
    """Added to the noise that all trials have."""


def targets(observations: Sequence[Observation]) -> tuple[list[Target], dict[Arm, Level]]:
    """Return what the ended trials teach, and the level of each arm of this sweep that has a completed trial.

    Args:
        observations: trials of this sweep and of earlier ones; those that run are ignored.
    """
    groups = defaultdict[int, dict[Arm, list[_Trial]]](lambda: defaultdict(list))
    for position, observation in enumerate(observations):
        if observation.state is not None:
            groups[observation.task][observation.arm].append((position, observation))
    results = list[Target]()
    levels = dict[Arm, Level]()
    for task, of_arm in groups.items():
        completed = {
            arm: [v for _, trial in trials if (v := _final(trial)) is not None] for arm, trials in of_arm.items()
        }
        scale = _common_scale([np.array(scores) for scores in completed.values()])
        for arm, trials in of_arm.items():
            if completed[arm]:
                level = _level(np.array(completed[arm]), scale)
                results += _of_arm(trials, level)
                if task == 0:
                    levels[arm] = level
    return results, levels


def _of_arm(trials: Sequence["_Trial"], level: Level) -> list[Target]:
    by_epoch = defaultdict[int, list[float]](list)
    for _, trial in trials:
        for epochs, value in trial.reports:
            by_epoch[epochs].append(value)
    finals = {position: final for position, trial in trials if (final := _final(trial)) is not None}
    scores = {position: max((final - level.mean) / level.scale, _LOWEST) for position, final in finals.items()}
    worst = min(scores.values())
    results = list[Target]()
    for position, trial in trials:
        if position in scores:
            results.append(Target(trial, position, scores[position], 0.0))
        elif trial.state == "pruned" and trial.reports:
            epochs, value = trial.reports[-1]
            others = by_epoch[epochs]
            score = (value - float(np.mean(others))) / max(float(np.std(others)), level.scale)
            results.append(Target(trial, position, max(score, _LOWEST), _PRUNED_VARIANCE))
        else:
            results.append(Target(trial, position, worst, _FAILED_VARIANCE))
    return results


def _final(observation: Observation) -> float | None:
    return observation.value if observation.state == "complete" else None


def _common_scale(scores: Sequence[npt.NDArray[np.float64]]) -> float:
    """Return the root of the mean variance within arms."""
    groups = [group for group in scores if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return 1.0
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return max(math.sqrt(squares / freedom), _LEAST_SCALE)


def _level(scores: npt.NDArray[np.float64], common: float) -> Level:
    """Return the level of an arm with these scores, where all arms together have the scale ``common``."""
    squares = float(((scores - scores.mean()) ** 2).sum()) + _COMMON * common**2
    scale = max(math.sqrt(squares / (len(scores) - 1 + _COMMON)), _LEAST_SCALE)
    return Level(float(scores.mean()), scale, len(scores))


_Trial = tuple[int, Observation]
"""Position among all observations, and the trial."""
