"""The contract with Optuna: each name in the table of `sweeps.search.optuna_internals`, on the installed version."""

import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from sweeps.search.optuna_internals import given_values, note, study_with_other_trials, take_out

SPACE = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}


@pytest.fixture(params=["memory", "journal", "database"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> BaseStorage:
    if request.param == "memory":
        return InMemoryStorage()
    if request.param == "journal":
        return JournalStorage(JournalFileBackend(str(tmp_path / "journal")))
    return RDBStorage(f"sqlite:///{tmp_path / 'studies.db'}")


@pytest.fixture
def study(storage: BaseStorage) -> optuna.Study:
    """Ten complete trials, whose values and only reports are their numbers."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name="arm@identity", storage=storage, direction="maximize")
    for number in range(10):
        trial = study.ask(SPACE)
        trial.report(number, step=1)
        study.tell(trial, number)
    return study


def test_a_trial_knows_the_values_that_it_was_enqueued_with(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.25})
    study.ask(SPACE)
    study.enqueue_trial({})
    study.ask(SPACE)
    given = [given_values(trial) for trial in study.get_trials()[-2:]]
    assert given == [{"x": 0.25}, {}]


def test_a_note_stays_with_its_trial(study: optuna.Study, storage: BaseStorage) -> None:
    study.ask(SPACE)
    note(storage, study, study.get_trials()[-1], "generation", 3)
    assert [trial.system_attrs.get("generation") for trial in study.get_trials()] == [None] * 10 + [3]


@pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.RUNNING])
def test_a_trial_that_is_taken_out_has_failed_and_is_marked(
    study: optuna.Study, storage: BaseStorage, state: TrialState
) -> None:
    study.enqueue_trial({"x": 0.25})
    if state == TrialState.RUNNING:
        study.ask(SPACE)
    trial = study.get_trials()[-1]
    assert trial.state == state
    take_out(storage, study, trial, "dropped")
    *others, last = study.get_trials()
    assert (last.state, last.user_attrs["dropped"]) == (TrialState.FAIL, True)
    assert {other.state for other in others} == {TrialState.COMPLETE}


def odd(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.number % 2]


def test_a_study_with_other_trials_shows_them_under_its_other_name(study: optuna.Study, storage: BaseStorage) -> None:
    view = study_with_other_trials(study, storage, "arm", odd)
    assert view.study_name == "arm"
    assert [trial.number for trial in view.get_trials(deepcopy=False)] == [1, 3, 5, 7, 9]
    assert view.get_trials(states=[TrialState.RUNNING]) == []
    assert view.direction == study.direction


class OddSampler(BaseSampler):
    """TPE that sees odd trials only."""

    def __init__(self, storage: BaseStorage) -> None:
        self._inner = tpe()
        self._storage = storage

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        return self._inner.infer_relative_search_space(self._view(study), trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return self._inner.sample_relative(self._view(study), trial, search_space)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: Any) -> Any:
        return self._inner.sample_independent(self._view(study), trial, name, distribution)

    def _view(self, study: optuna.Study) -> optuna.Study:
        return study_with_other_trials(study, self._storage, "arm", odd)


def tpe() -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(n_startup_trials=4, multivariate=True, constant_liar=True, seed=0)


def test_a_sampler_learns_from_the_trials_that_it_sees(study: optuna.Study, storage: BaseStorage) -> None:
    """Oracle: a study that has no other trials."""
    oracle = optuna.create_study(direction="maximize", sampler=tpe())
    oracle.add_trials(odd(study.get_trials()))
    study.sampler = OddSampler(storage)
    assert study.ask(SPACE).params == oracle.ask(SPACE).params


@pytest.mark.parametrize(("visible", "low"), [((1, 2, 3), False), ((7, 8, 9), True)])
def test_a_pruner_judges_by_the_trials_that_it_sees(
    study: optuna.Study, storage: BaseStorage, visible: tuple[int, ...], low: bool
) -> None:
    """A report of 6.5, where the trials' reports are their numbers."""
    study.ask(SPACE).report(6.5, step=1)
    view = study_with_other_trials(
        study, storage, "arm", lambda trials: [trial for trial in trials if trial.number in visible]
    )
    assert MedianPruner(n_startup_trials=1).prune(view, study.get_trials()[-1]) == low


def test_the_notes_of_a_pruner_reach_the_storage(study: optuna.Study, storage: BaseStorage) -> None:
    study.ask(SPACE).report(6.5, step=1)
    view = study_with_other_trials(study, storage, "arm", odd)
    SuccessiveHalvingPruner(min_resource=1).prune(view, study.get_trials()[-1])
    assert study.get_trials()[-1].system_attrs["completed_rung_0"] == 6.5


def test_the_brackets_of_hyperband_follow_from_name_and_numbers(storage: BaseStorage) -> None:
    """Oracle: a study that has the name. Another name gives other brackets, and so other verdicts."""

    def verdicts(name: str, shown: str, storage: BaseStorage) -> list[bool]:
        study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        view = study_with_other_trials(study, storage, shown, list)
        pruner = HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3)
        verdicts = []
        for number in range(18):
            trial = study.ask(SPACE)
            trial.report(number * 7 % 18, step=3)
            verdicts.append(pruner.prune(study if shown == name else view, study.get_trials()[-1]))
            study.tell(trial, state=TrialState.PRUNED)
        return verdicts

    expected = verdicts("arm", "arm", InMemoryStorage())
    assert verdicts("arm@identity", "arm", storage) == expected
    assert verdicts("another", "another", InMemoryStorage()) != expected
