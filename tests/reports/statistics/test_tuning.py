import math
from itertools import combinations
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.statistics.tuning import expected_best, tuning
from sweeps.ledger import Record
from tests.reports.records import config, failed, pruned, trial, trials


def curve(records: list[Record], method: str = "Con") -> dict[int, float]:
    frame = expected_best([records])
    frame = frame[frame["method"] == method]
    return dict(zip(frame["n_trials"], frame["expected"], strict=True))


def test_gain_is_the_best_objective_minus_that_of_the_default() -> None:
    records = [*trials("Con", [0.5, 0.8, 0.6]), *trials("Gen", [0.7])]
    frame = tuning([records]).set_index("method")
    assert frame.loc["Con", ["default", "best", "gain", "n_complete"]].tolist() == pytest.approx([0.5, 0.8, 0.3, 3])
    assert frame.loc["Gen", ["default", "best", "gain", "n_complete"]].tolist() == pytest.approx([0.7, 0.7, 0.0, 1])


def test_pruned_and_failed_trials_do_not_count() -> None:
    records = [*trials("Con", [0.5]), pruned("Con", 1, 0.9), failed("Con", 2, "hung: no sign of life")]
    frame = tuning([records]).set_index("method")
    assert frame.loc["Con", ["best", "n_complete"]].tolist() == [0.5, 1]
    assert curve(records) == {1: 0.5}


def test_the_gain_is_unknown_if_the_default_failed() -> None:
    frame = tuning([[failed("Con", 0, "nan_loss: at once"), trial("Con", 1, 0.6)]]).set_index("method")
    assert math.isnan(frame.loc["Con", "default"])
    assert math.isnan(frame.loc["Con", "gain"])
    assert frame.loc["Con", "best"] == 0.6


def test_a_method_that_never_started_has_a_row_and_no_curve() -> None:
    records = trials("Con", [0.5])
    frame = tuning([records]).set_index("method")
    assert frame.loc["Gen", "n_complete"] == 0
    assert frame.loc["Gen", ["default", "best", "gain"]].isna().all()
    assert curve(records, "Gen") == {}


def test_expected_best_equals_that_computed_by_hand() -> None:
    """The values are 1, 2 and 4. Single values average 7/3; the pairs have the bests 2, 4 and 4; all three have 4."""
    assert curve(trials("Con", [2, 4, 1])) == pytest.approx({1: 7 / 3, 2: 10 / 3, 3: 4})


def test_every_point_of_the_curve_repeats_the_default() -> None:
    assert list(expected_best([trials("Con", [0.5, 0.8])])["default"]) == [0.5, 0.5]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_expected_best_is_the_mean_over_all_subsets(values: list[float]) -> None:
    oracle = {n: fmean(map(max, combinations(values, n))) for n in range(1, len(values) + 1)}
    assert curve(trials("Con", values)) == pytest.approx(oracle)


def test_thousands_of_trials_do_not_overflow() -> None:
    """The best of n of the values 1 to N, drawn without replacement, is n (N+1) / (n+1) on average."""
    size = 3000
    expected = curve(trials("Con", [float(value) for value in range(1, size + 1)]))
    for n in (1, 2, 50, 1500, size):
        assert expected[n] == pytest.approx(n * (size + 1) / (n + 1))


def test_every_search_has_its_own_gain_and_curve() -> None:
    twice = config(budget={"searches": 2})
    records = [*trials("Con", [0.5, 0.8], config=twice), *trials("Con~2", [0.6], config=twice)]
    gains = tuning([records]).set_index(["method", "search"])
    assert gains.loc["Con", "best"].to_dict() == {1: 0.8, 2: 0.6}
    curves = expected_best([records]).set_index(["method", "search"])
    assert curves["expected"].tolist() == pytest.approx([0.65, 0.8, 0.6])
    assert curves.index.tolist() == [("Con", 1), ("Con", 1), ("Con", 2)]
