"""Which trial of a search is confirmed."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.ledger import Record, choose_finalists, finalist_mean, run_number, seed_index, trial_of, winner


def trial(number: int, value: float | None, lr: float | None = None, **fields: Any) -> Record:
    """Return a search trial whose configuration is its own, or that of the learning rate ``lr``."""
    fields = {"origin": "tpe" if number else "default", "state": "complete", **fields}
    hyperparameters = {"lr": number / 100 if lr is None else lr}
    return Record(
        sweep="s", stage="search", method="Con", number=number, seed=1, value=value, hyperparameters=hyperparameters,
        **fields,
    )  # fmt: skip


def runs(number: int, *values: float | None) -> list[Record]:
    """Return the runs of the finalist that trial ``number`` is; None for a failed run."""
    return [
        Record(
            sweep="s", stage="finalist", method="Con", number=run_number(number, index), seed=index, value=value,
            state="failed" if value is None else "complete",
        )
        for index, value in enumerate(values)
    ]  # fmt: skip


def numbers(records: Sequence[Record]) -> list[int]:
    return [record.number for record in records]


TRIALS = [trial(0, 0.5), trial(1, 0.7), trial(2, 0.9), trial(3, 0.8), trial(4, 0.6)]


@pytest.mark.parametrize(("finalists", "chosen"), [(1, [2]), (2, [2, 0]), (3, [2, 3, 0]), (9, [2, 3, 1, 4, 0])])
def test_the_best_trials_and_the_default_configuration_are_finalists(finalists: int, chosen: list[int]) -> None:
    assert numbers(choose_finalists(TRIALS, finalists)) == chosen


def test_a_default_configuration_among_the_best_takes_no_further_place() -> None:
    trials = [trial(0, 0.85), *TRIALS[1:]]
    assert numbers(choose_finalists(trials, 3)) == [2, 0, 3]


@pytest.mark.parametrize("state", ["pruned", "failed"])
def test_a_trial_that_ended_early_is_no_finalist_whatever_its_value(state: str) -> None:
    trials = [trial(0, 0.99, state=state), trial(1, 0.7), trial(2, 0.99, state=state), trial(3, 0.8), trial(4, 0.6)]
    assert numbers(choose_finalists(trials, 2)) == [3, 1]


def test_trials_of_one_configuration_are_one_finalist() -> None:
    trials = [trial(0, 0.5), trial(1, 0.7, lr=0.3), trial(2, 0.9, lr=0.3), trial(3, 0.6, lr=0.0)]
    assert numbers(choose_finalists(trials, 3)) == [2, 3]  # trial 3 has the default's learning rate, and did better


def test_the_lower_number_comes_first_among_equal_trials() -> None:
    assert numbers(choose_finalists([trial(2, 0.9), trial(1, 0.9), trial(0, 0.9)], 3)) == [0, 1, 2]


def test_the_finalist_with_the_best_mean_wins() -> None:
    finished = [*runs(2, 0.7, 0.6), *runs(3, 0.8, 0.7), *runs(0, 0.75, 0.6)]
    assert winner(TRIALS, finished, 3) == TRIALS[3]


def test_the_default_configuration_wins_if_nothing_that_was_found_beats_it() -> None:
    finished = [*runs(2, 0.7), *runs(3, 0.7), *runs(0, 0.71)]
    assert winner(TRIALS, finished, 3) == TRIALS[0]


def test_the_better_trial_wins_among_finalists_with_equal_means() -> None:
    assert winner(TRIALS, [*runs(0, 0.7), *runs(3, 0.7), *runs(2, 0.7)], 3) == TRIALS[2]


def test_runs_of_trials_that_are_no_finalists_do_not_decide() -> None:
    assert winner(TRIALS, [*runs(1, 0.99), *runs(3, 0.8), *runs(2, 0.7)], 3) == TRIALS[3]


def test_a_finalist_whose_runs_all_failed_is_out() -> None:
    finished = [*runs(2, None, None), *runs(3, None, 0.6), *runs(0, 0.5, 0.4)]
    assert winner(TRIALS, finished, 3) == TRIALS[3]


@pytest.mark.parametrize("finished", [[], [*runs(2, None), *runs(3, None), *runs(0, None)]])
def test_the_best_of_the_search_wins_if_no_finalist_was_trained_anew(finished: list[Record]) -> None:
    assert winner(TRIALS, finished, 3) == TRIALS[2]


def test_the_best_of_the_search_wins_where_there_are_no_finalists() -> None:
    assert winner(TRIALS, [*runs(3, 0.99), *runs(2, 0.1)], 1) == TRIALS[2]


def test_a_single_configuration_wins_without_being_compared() -> None:
    assert winner([trial(0, 0.5)], runs(0, None), 3) == trial(0, 0.5)


def test_nothing_wins_a_search_without_a_full_trial() -> None:
    assert winner([trial(0, 0.9, state="pruned"), trial(1, None, state="failed")], runs(0, 0.9), 3) is None
    assert winner([], [], 3) is None


def test_a_finalist_has_the_mean_of_its_complete_runs() -> None:
    finished = [*runs(2, 0.5, None, 0.7), *runs(20, 0.1)]
    assert finalist_mean(2, finished) == pytest.approx(0.6)
    assert finalist_mean(3, finished) is None


@given(st.integers(0, 10**6), st.integers(0, 9_999))
def test_the_number_of_a_run_tells_its_trial_and_its_seed(number: int, seed: int) -> None:
    run = run_number(number, seed)
    assert (trial_of(run), seed_index(run)) == (number, seed)


values = st.sampled_from([0.1, 0.2, 0.3]) | st.floats(0, 1)


@given(st.lists(values, max_size=8), st.lists(st.lists(st.none() | values, max_size=3), max_size=8), st.integers(1, 9))
def test_no_finalist_beats_the_winner(scores: list[float], again: list[list[float | None]], finalists: int) -> None:
    trials = [trial(number, value, lr=number // 2) for number, value in enumerate(scores)]
    finished = [run for number, row in enumerate(again) for run in runs(number, *row)]
    chosen = choose_finalists(trials, finalists)
    assert len({record.hyperparameters["lr"] for record in chosen}) == len(chosen) <= finalists
    assert choose_finalists(chosen, finalists) == chosen  # what a sweep keeps suffices to choose again
    won = winner(trials, finished, finalists)
    if not trials:
        assert won is None
        return
    assert won in chosen
    means = {record.number: finalist_mean(record.number, finished) for record in chosen}
    known = [mean for mean in means.values() if mean is not None]
    if len(chosen) > 1 and known:
        assert means[won.number] == max(known)
    else:
        assert won.value == max(scores)
