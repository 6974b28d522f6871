"""What the search needs of Optuna beyond the interface that Optuna documents for its users.

| name | why | what breaks without it | versions |
|---|---|---|---|
| attribute `fixed_params` | tells given values from sampled ones | CMA-ES, with trials entered again | 4.0 to 5.0 |
| `get_all_trials` | shows a study without dropped trials | proposals and verdicts after a crash | 4.0 to 5.0 |
| `get_study_id_from_name` | shows a study under its arm's name | the brackets of Hyperband | 4.0 to 5.0 |
| `set_trial_user_attr`, `set_trial_state_values` | take a trial out of a study | resuming | 4.0 to 5.0 |
| `set_trial_system_attr` | keeps the generation of a trial | CMA-ES | 4.0 to 5.0 |
| `get_trial_id_from_study_id_trial_number` | finds the trial for the two rows above | resuming, CMA-ES | 4.0 to 5.0 |

`fixed_params` is the system attribute that Optuna's queue of trials leaves. The other names are methods of
``BaseStorage``. They are public, but the class "is not supposed to be directly accessed by library users".

The contract test (tests/sweeps/search/test_optuna_internals.py) asserts each row on the installed version.
"""

from collections.abc import Callable, Container, Mapping
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

__all__ = ["given_values", "note", "study_with_other_trials", "take_out"]


def given_values(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return the values with which a trial was enqueued; the sampler drew the others.

    Raises:
        KeyError: the trial was never enqueued.
    """
    values: Mapping[str, Any] = trial.system_attrs["fixed_params"]
    return values


def note(storage: BaseStorage, study: Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Keep a value with a running trial, among its system attributes."""
    storage.set_trial_system_attr(_trial_id(storage, study, trial), name, value)


def take_out(storage: BaseStorage, study: Study, trial: FrozenTrial, mark: str) -> None:
    """End a waiting or running trial as failed, and mark it.

    ``Study.tell`` ends running trials only, and marks none.

    Args:
        storage: the study's storage.
        study: the trial's study.
        trial: the trial.
        mark: the name of the user attribute that becomes true.
    """
    trial_id = _trial_id(storage, study, trial)
    storage.set_trial_user_attr(trial_id, mark, True)
    storage.set_trial_state_values(trial_id, TrialState.FAIL)


def study_with_other_trials(
    study: Study, storage: BaseStorage, name: str, choose: Callable[[list[FrozenTrial]], list[FrozenTrial]]
) -> Study:
    """Return ``study`` with another name and other trials, for a sampler or pruner to read.

    Args:
        study: the study itself.
        storage: the study's storage; what the sampler or pruner writes goes there.
        name: the name under which the study is shown.
        choose: takes all trials and returns the trials to show, or copies of them.
    """
    return optuna.load_study(
        study_name=name,
        storage=cast(BaseStorage, _OtherTrials(study, storage, choose)),
        sampler=study.sampler,
        pruner=study.pruner,
    )


class _OtherTrials:
    """A storage that shows other trials of one study, and passes every other call on.

    Rejected: a subclass of ``BaseStorage``. It would pass on some twenty methods, which differ between versions.
    """

    def __init__(
        self, study: Study, storage: BaseStorage, choose: Callable[[list[FrozenTrial]], list[FrozenTrial]]
    ) -> None:
        self._study = study
        self._storage = storage
        self._choose = choose

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._storage.get_study_id_from_name(self._study.study_name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        # The study itself reads a database through a cache, which the storage does not have.
        return self._choose(self._study.get_trials(deepcopy, states))


def _trial_id(storage: BaseStorage, study: Study, trial: FrozenTrial) -> int:
    study_id = storage.get_study_id_from_name(study.study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
