"""How a sampler or pruner sees a study: the trials that count, in the order of their own numbers."""

import math
from collections.abc import Callable, Container
from typing import Any, cast

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

__all__ = ["DROPPED", "LATE", "NUMBER", "ORIGIN", "STARTUP_TRIALS", "StudyView", "as_seen_by"]


NUMBER = "number"  # attribute of each trial: its number within the search
ORIGIN = "origin"  # attribute of each trial: where its values come from, as in a record
LATE = "late"  # attribute of trials that were begun when there were others with higher numbers
DROPPED = "dropped"  # attribute of trials that stay in a study and do not count: each was begun again
STARTUP_TRIALS = 4  # before a sampler has something to learn from, and before a median means something


class StudyView:
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
        """Return the chosen trials in the given states."""
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return self._choose(self._study._get_trials(deepcopy, states, use_cache))


def as_seen_by(
    trial: FrozenTrial, study: Study, known_as: Callable[[FrozenTrial], FrozenTrial] = lambda other: other
) -> Study:
    """The study as a trial's sampler and pruner are to see it, with its trials as ``known_as`` gives them."""
    last = trial.user_attrs[NUMBER] if LATE in trial.user_attrs else math.inf

    def choose(trials: list[FrozenTrial]) -> list[FrozenTrial]:
        seen = [t for t in trials if DROPPED not in t.user_attrs and t.user_attrs[NUMBER] <= last]
        return list(map(known_as, sorted(seen, key=lambda t: t.user_attrs[NUMBER])))

    return cast(Study, StudyView(study, choose))
