"""Proposals of the joint model: the configuration of an arm with the highest expected improvement.

A user's prior multiplies the expected improvement, with a power that falls with the number of trials (Hvarfner et al.
2022, "piBO: augmenting acquisition functions with user beliefs for Bayesian optimization"). So a wrong prior costs a
few trials, not the search.

The best score so far is the highest mean of the arm's trials, not the highest score, which is the luckiest.

A proposal follows from the observations and a seed, and from nothing else. So the length scales are fitted anew once
another trial has ended. Rejected: to keep them until a tenth more trials have ended. It spares a fifth of the time.

A proposal uses one core, whatever the machine has: the workers need the others.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr
from threadpoolctl import threadpool_limits

from search_spaces import Space
from sweeps.config import Arm
from sweeps.search.joint.encoding import Encoding, Floats
from sweeps.search.joint.observations import Observation, Target, targets
from sweeps.search.joint.surrogate import Data, Surrogate, fit_scales

__all__ = ["Forecast", "JointModel"]

_RANDOM = 1024  # candidates
_KNOWN = 32  # candidates that other arms and earlier sweeps found good
_NEIGHBOURS = 256  # of the best candidates, in each round
_ROUNDS = (0.15, 0.05)  # standard deviation of a neighbour's coordinates
_BEST = 8  # candidates that have neighbours
_MOST_TRIALS = 1000  # that the model is given; a proposal's time grows with their square or cube
_MOST_FITTED = 200  # trials that length scales are fitted to
_TRUST = 4.0  # a user's prior counts with this power over the number of the arm's trials
_KNOWN_WITHOUT_NOISE = 0.99  # part of the noise that a running trial's expected score lacks
_HIGH = 1.96  # standard deviations that a normal variable exceeds with a probability of 2.5 %
_FORETOLD = 2  # completed trials of an arm from which gains are foretold; the spread of one is not known
_DIGITS = 6  # two points that agree in so many digits are one configuration


@dataclass(frozen=True)
class Forecast:
    """What one more trial of an arm would gain, in units of the objective."""

    improvement: float
    """Expected gain over the arm's best, of the configuration that promises most."""
    high: float
    """A gain that is exceeded with a probability of 2.5 %."""


class JointModel:
    """Learns from the trials of all arms, and proposes for one.

    Args:
        space: the search space.
        arms: the arms that learn from each other.
        earlier: number of earlier sweeps whose trials are read.
    """

    def __init__(self, space: Space, arms: Sequence[Arm], earlier: int = 0) -> None:
        self._encoding = Encoding(space, arms, earlier)
        self._scales: tuple[str, Floats] = ("", np.empty(0))  # what the last scales were fitted to, and they
        self._rows: dict[Any, Floats | None] = {}  # a trial's arm and values -> its row of the cube

    def propose(
        self, arm: Arm, observations: Sequence[Observation], seed: int
    ) -> tuple[dict[str, Any], Forecast | None]:
        """Return a configuration that no trial of the arm has had, and what it may gain.

        While no trial of the arm is complete, the configuration is random. What it may gain is None until two are.

        Args:
            arm: whose turn it is.
            observations: trials of all arms, in the order in which they were proposed.
            seed: of the random candidates.
        """
        with threadpool_limits(1):
            return self._propose(arm, observations, np.random.default_rng(seed))

    def _propose(
        self, arm: Arm, observations: Sequence[Observation], random: np.random.Generator
    ) -> tuple[dict[str, Any], Forecast | None]:
        encoding = self._encoding
        own = [row for o in observations if (o.arm, o.task) == (arm, 0) and (row := self._row(o)) is not None]
        tried = {_identity(point) for point in encoding.points(arm, np.array(own))} if own else set()
        candidates = _untried(encoding, arm, self._random_rows(arm, random), tried)
        learnt, levels = targets([o for o in observations if self._row(o) is not None])
        if arm not in levels or len(learnt) < 2:
            return encoding.values(arm, candidates[0]), None
        view = self._view(arm, learnt, [o for o in observations if o.state is None])
        best = float(view(np.array(own))[0].max())
        trust = _TRUST / len(own)
        candidates = _untried(encoding, arm, np.vstack([candidates, *self._good(arm, learnt)]), tried)
        mean, deviation = view(candidates)
        gains = _expected_improvement(mean, deviation, best)
        for spread in _ROUNDS:
            promise = gains * encoding.density(arm, candidates) ** trust
            centres = candidates[np.argsort(-promise, kind="stable")[:_BEST]]
            near = self._neighbours(arm, centres, spread, random)
            candidates = _untried(encoding, arm, np.vstack([centres, near]), tried)
            mean, deviation = view(candidates)
            gains = _expected_improvement(mean, deviation, best)
        chosen = int(np.argmax(gains * encoding.density(arm, candidates) ** trust))
        values, level = encoding.values(arm, candidates[chosen]), levels[arm]
        if level.trials < _FORETOLD:
            return values, None
        high = max(0.0, float(mean[chosen] + _HIGH * deviation[chosen] - best))
        return values, Forecast(float(gains[chosen]) * level.scale, high * level.scale)

    def _random_rows(self, arm: Arm, random: np.random.Generator) -> Floats:
        """Return random rows, the first one from the user's prior, by rejection; without a prior, all are uniform."""
        rows = random.random((_RANDOM, len(self._encoding.axes(arm))))
        accepted = random.random(_RANDOM) < self._encoding.density(arm, rows)
        first = int(np.argmax(accepted)) if accepted.any() else int(np.argmax(self._encoding.density(arm, rows)))
        return np.vstack([rows[first:], rows[:first]])

    def _view(
        self, arm: Arm, learnt: Sequence[Target], running: Sequence[Observation]
    ) -> Callable[[Floats], tuple[Floats, Floats]]:
        """Return the function that predicts mean and standard deviation of an arm's scores, for rows of the cube.

        Running trials count as if they had the score that the model expects, without noise. So another trial at the
        same place promises nothing.
        """
        ordered = _most_telling(arm, sorted(learnt, key=lambda target: target.position))
        numbers = {key: index for index, key in enumerate(dict.fromkeys(_group(t.observation) for t in ordered))}
        data = Data(
            np.array([self._point(target.observation) for target in ordered]),
            np.array([target.score for target in ordered]),
            np.array([target.variance for target in ordered]),
            np.array([numbers[_group(target.observation)] for target in ordered]),
        )
        theta = self._fitted_scales(data)
        model = Surrogate(theta, data)
        pending = [o for o in running if _group(o) in numbers and self._row(o) is not None]
        if pending:
            points = np.array([self._point(observation) for observation in pending])
            groups = np.array([numbers[_group(observation)] for observation in pending])
            expected, _ = model.predict(points, groups)
            known = np.full(len(points), -_KNOWN_WITHOUT_NOISE * model.noise)
            model = Surrogate(theta, data.and_more(Data(points, expected, known, groups)))

        def view(rows: Floats) -> tuple[Floats, Floats]:
            return model.predict(self._encoding.points(arm, rows), np.full(len(rows), numbers[arm, 0]))

        return view

    def _fitted_scales(self, data: Data) -> Floats:
        """Return amplitude, length scales and noise, fitted to all trials, or to many by chance."""
        chosen = data
        if len(data) > _MOST_FITTED:
            random = np.random.default_rng(len(data))
            chosen = data.take(np.sort(random.choice(len(data), _MOST_FITTED, replace=False)))
        arrays = (chosen.points, chosen.scores, chosen.variances, chosen.groups.astype(np.float64))
        digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
        if self._scales[0] != digest:
            self._scales = digest, fit_scales(chosen, self._encoding.usual_lengths)
        return self._scales[1]

    def _good(self, arm: Arm, learnt: Sequence[Target]) -> list[Floats]:
        """Return the best configurations of other arms and earlier sweeps that have all hyperparameters of this arm."""
        names = self._encoding.axes(arm).keys()
        known = [t for t in learnt if _group(t.observation) != (arm, 0) and names <= t.observation.values.keys()]
        known.sort(key=lambda target: (-target.score, target.position))
        rows = [self._encoding.row(arm, target.observation.values) for target in known[:_KNOWN]]
        return [row for row in rows if row is not None]

    def _neighbours(self, arm: Arm, centres: Floats, spread: float, random: np.random.Generator) -> Floats:
        """Return rows near ``centres``: ranges move a little, and a few choices are drawn anew."""
        rows = np.repeat(centres, _NEIGHBOURS // len(centres), axis=0)
        moved = np.clip(rows + random.normal(0.0, spread, rows.shape), 0.0, 1.0)
        drawn = np.where(random.random(rows.shape) < spread, random.random(rows.shape), rows)
        finite = np.array([axis.count is not None for axis in self._encoding.axes(arm).values()], dtype=bool)
        return np.where(finite, drawn, moved)

    def _point(self, observation: Observation) -> Floats:
        row = self._row(observation)
        if row is None:
            raise ValueError("only trials of the space have a point.")  # never raised: others are left out before
        point: Floats = self._encoding.points(observation.arm, row[None], observation.task)[0]
        return point

    def _row(self, observation: Observation) -> Floats | None:
        key = observation.arm, tuple(observation.values.items())
        if key not in self._rows:
            self._rows[key] = self._encoding.row(observation.arm, observation.values)
        return self._rows[key]


def _most_telling(arm: Arm, learnt: Sequence[Target]) -> list[Target]:
    """Return at most ``_MOST_TRIALS`` trials: the best of the arm, the best of all, and others by chance."""
    if len(learnt) <= _MOST_TRIALS:
        return list(learnt)
    best = sorted(learnt, key=lambda target: (-target.score, target.position))
    own = [target for target in best if _group(target.observation) == (arm, 0)]
    chosen = {target.position for target in (*own[: _MOST_TRIALS // 4], *best[: _MOST_TRIALS // 4])}
    others = [target.position for target in learnt if target.position not in chosen]
    random = np.random.default_rng(len(learnt))
    chosen |= set(random.choice(others, _MOST_TRIALS - len(chosen), replace=False).tolist())
    return [target for target in learnt if target.position in chosen]


def _group(observation: Observation) -> tuple[Arm, int]:
    """Return what decides on the level of a trial's score."""
    return observation.arm, observation.task


def _expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    z = (mean - best) / deviation
    gain: Floats = deviation * (z * ndtr(z) + np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))
    return gain


def _untried(encoding: Encoding, arm: Arm, rows: Floats, tried: set[bytes]) -> Floats:
    """Return the rows whose configuration no trial has had; all rows if there is none."""
    new = np.array([_identity(point) not in tried for point in encoding.points(arm, rows)])
    return rows[new] if new.any() else rows


def _identity(point: Floats) -> bytes:
    return np.round(point, _DIGITS).tobytes()
