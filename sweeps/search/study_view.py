"""A study as samplers and pruners see it: the trials that count, in the order of their numbers within the search.

Optuna gives a trial a new number each time it is begun, and a study's name contains the identity of its sweep.
Proposals and verdicts must follow from neither. Otherwise they would differ when the same sweep runs again, or goes on
after a crash.
"""

import copy
import math

from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeps.search.optuna_internals import study_with_other_trials

__all__ = ["DROPPED", "IDENTITY_MARK", "LATE", "NUMBER", "ORIGIN", "STARTUP_TRIALS", "StudyView"]


NUMBER = "number"  # attribute of each trial: its number within the search
ORIGIN = "origin"  # attribute of each trial: where its values come from, as in a record
LATE = "late"  # attribute of trials that were begun after trials with higher numbers
DROPPED = "dropped"  # attribute of trials that do not count; most were begun again
STARTUP_TRIALS = 4  # from so many on, a sampler can learn and a median means something
IDENTITY_MARK = "@"  # in the name of a study, before the identity of the sweep


class StudyView:
    """Shows a study and its trials to a sampler or pruner.

    One view serves one study. It keeps the copies of ended trials, because there may be thousands.

    Args:
        storage: the study's storage.
    """

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage
        self._copies: dict[int, FrozenTrial] = {}  # Optuna's number -> copy with the number within the search

    def study(self, study: Study, trial: FrozenTrial) -> Study:
        """Return the study as ``trial`` sees it: a trial that was begun late sees only trials with lower numbers."""
        last = trial.user_attrs[NUMBER] if LATE in trial.user_attrs else math.inf

        def choose(trials: list[FrozenTrial]) -> list[FrozenTrial]:
            visible = [
                other for other in trials if DROPPED not in other.user_attrs and other.user_attrs[NUMBER] <= last
            ]
            return sorted(map(self.trial, visible), key=lambda other: other.number)

        return study_with_other_trials(study, self._storage, study.study_name.partition(IDENTITY_MARK)[0], choose)

    def trial(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a trial with its number within the search."""
        if trial.number == trial.user_attrs[NUMBER]:
            return trial
        renumbered = self._copies.get(trial.number)
        if renumbered is None:
            renumbered = copy.copy(trial)
            renumbered.number = trial.user_attrs[NUMBER]
            if trial.state.is_finished():
                self._copies[trial.number] = renumbered
        return renumbered
