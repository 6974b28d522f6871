import math
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from reports.errors import ReportError
from reports.statistics.comparison import COLUMNS, comparison
from sweeps.ledger import SUMMARY_METRICS, Metric, Record
from tests.reports.statistics.test_ablation import CONFIG, record, search
from tests.reports.statistics.test_outputs import predicted

FIRST, SECOND = [8, 9, 10], [9, 11, 12]
"""Right predictions of 16 by confirmation seed."""


def runs(
    rights: list[int], method: str = "Con", first_seed: int = 0, config: dict[str, Any] = CONFIG, **fields: Any
) -> list[Record]:
    """Return confirmation runs with so many right predictions of 16, the first samples."""
    return [
        record(
            "confirm", method, number, config=config, seed=first_seed + number,
            metrics=[Metric("digits", "test", "", metric, right / 16) for metric in (*SUMMARY_METRICS, "nll")],
            **{"predictions": [predicted([0] * 16, [0] * right + [1] * (16 - right))], **fields},
        )
        for number, right in enumerate(rights)
    ]  # fmt: skip


def row_of(first: list[Record], second: list[Record], metric: str = "accuracy", method: str = "Con") -> pd.Series:
    frame = comparison(first, second)
    assert tuple(frame.columns) == COLUMNS
    row: pd.Series = frame.set_index(["dataset", "method", "metric"]).loc["digits", method, metric]
    return row


def test_runs_with_the_same_seeds_are_pairs() -> None:
    """Differences of 1, 2 and 2 of 16; the samples of each pair of differences are one, one and two in common."""
    row = row_of(runs(FIRST), runs(SECOND))
    assert (row["mean_first"], row["mean_second"]) == pytest.approx((9 / 16, 32 / 48))
    assert (row["n_first"], row["n_second"], row["difference"]) == (3, 3, pytest.approx(5 / 48))
    of_seeds = (1 / 16) ** 2 / 3 / 3
    overlaps = {(0, 1): (0, 1, 2), (0, 2): (0, 1, 2), (1, 2): (1, 2, 2)}  # seed 0: sample 8; 1: 9, 10; 2: 10, 11
    covariances = [(common - a * b / 16) / 16**2 * 16 / 15 for common, a, b in overlaps.values()]
    shared = max(0.0, sum(covariances) / 3)
    assert row["seed_error"] ** 2 == pytest.approx(of_seeds)
    assert row["sample_error"] ** 2 == pytest.approx(shared)
    assert row["search_error"] == 0
    assert (row["paired"], row["unpaired_by"]) == (True, "")
    assert row["low"] < row["difference"] < row["high"]


def test_runs_with_other_seeds_have_the_variances_of_both_sweeps_and_the_samples_in_common() -> None:
    row = row_of(runs(FIRST), runs(SECOND, first_seed=10))
    of_seeds = stats.tvar([n / 16 for n in FIRST]) / 3 + stats.tvar([n / 16 for n in SECOND]) / 3

    def mean_covariance(ones: list[int], others: list[int]) -> float:
        pairs = [(a, b) for i, a in enumerate(ones) for j, b in enumerate(others) if ones is not others or i != j]
        return sum((min(a, b) - a * b / 16) / 16**2 * 16 / 15 for a, b in pairs) / len(pairs)

    shared = mean_covariance(FIRST, FIRST) + mean_covariance(SECOND, SECOND) - 2 * mean_covariance(FIRST, SECOND)
    assert row["seed_error"] ** 2 == pytest.approx(of_seeds)
    assert row["sample_error"] ** 2 == pytest.approx(shared)
    assert (row["paired"], row["unpaired_by"]) == (False, "other seeds")


def test_a_sweep_with_more_seeds_is_paired_by_those_in_common() -> None:
    row = row_of(runs(FIRST), runs([*SECOND, 16]))
    assert (row["n_first"], row["n_second"], row["paired"], row["n_pairs"]) == (3, 4, True, 3)
    compared = ["difference", "low", "high", "p", "seed_error"]
    assert row[compared].tolist() == row_of(runs(FIRST), runs(SECOND))[compared].tolist()
    assert row["mean_second"] == pytest.approx(48 / 64)
    row = row_of(runs(FIRST), runs([*SECOND, 16]), "nll")
    assert row["difference"] == pytest.approx(5 / 48)


def test_sweeps_with_other_numbers_of_searches_are_no_pairs() -> None:
    twice = CONFIG | {"budget": {"seeds": 2, "searches": 2}}
    row = row_of(runs([8, 9]), [*runs([9, 10], config=twice), *runs([13, 14], "Con~2", config=twice)])
    assert (row["paired"], row["n_pairs"], row["unpaired_by"]) == (False, 0, "another number of searches")


def test_runs_on_other_features_are_no_pairs() -> None:
    first, second = (runs(FIRST, features={"downstream.digits": fingerprint}) for fingerprint in ("a", "b"))
    row = row_of(first, second)
    assert (row["paired"], row["unpaired_by"]) == (False, "other features")


def test_a_sweep_that_repeats_another_has_no_difference() -> None:
    row = row_of(runs(FIRST), runs(FIRST))
    assert (row["difference"], row["low"], row["high"], row["p"], row["p_holm"]) == (0, 0, 0, 1, 1)


def test_searches_of_both_sweeps_are_paired_and_have_a_part() -> None:
    twice = CONFIG | {"budget": {"seeds": 2, "searches": 2}}
    first = [*runs([8, 9], config=twice), *runs([8, 9], "Con~2", config=twice)]
    second = [*runs([9, 10], config=twice), *runs([13, 14], "Con~2", config=twice)]
    row = row_of(first, second)
    assert (row["n_first"], row["paired"]) == (4, True)
    assert row["seed_error"] == pytest.approx(0)
    assert row["search_error"] ** 2 == pytest.approx(((5 - 1) / 16) ** 2 / 2 / 2)


def test_p_values_are_corrected_over_the_methods_of_a_data_set() -> None:
    methods = {"Con": (FIRST, SECOND), "Gen": ([8, 8, 9], [14, 14, 15])}
    sweeps = [[run for method, of in methods.items() for run in runs(of[number], method)] for number in (0, 1)]
    frame = comparison(*sweeps)
    accuracy = frame[frame["metric"] == "accuracy"].set_index("method")
    assert accuracy.loc["Gen", "p_holm"] == pytest.approx(2 * accuracy.loc["Gen", "p"])
    assert accuracy.loc["Con", "p_holm"] == pytest.approx(accuracy.loc["Con", "p"])


def test_the_order_of_runs_does_not_matter() -> None:
    pd.testing.assert_frame_equal(comparison(runs(FIRST), runs(SECOND)[::-1]), comparison(runs(FIRST), runs(SECOND)))


def test_a_single_seed_has_a_difference_and_no_interval() -> None:
    row = row_of(runs([8]), runs([10]))
    assert row["difference"] == 1 / 8
    assert math.isnan(row["low"])
    assert math.isnan(row["p_holm"])


def test_metrics_without_influences_and_runs_without_predictions_have_means_but_no_interval() -> None:
    error = row_of(runs(FIRST), runs(SECOND), "nll")
    silent = row_of(runs(FIRST, predictions=()), runs(SECOND))
    for row in (error, silent):
        assert row["difference"] == pytest.approx(5 / 48)
        assert row["std_first"] == pytest.approx(1 / 16)
        assert row[["low", "high", "p", "seed_error", "sample_error"]].isna().all()


def test_sweeps_without_a_common_score_are_refused() -> None:
    with pytest.raises(ReportError, match="no test score of the same dataset and method"):
        comparison(runs(FIRST), [search("Con", 0)])
