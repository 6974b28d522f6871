import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.statistics.inference import confirmed_scores
from reports.statistics.intervals import COLUMNS, intervals
from sweeps.ledger import Record
from tests.reports.statistics.test_outputs import confirmed, predicted


def row_of(records: list[Record], method: str = "Con", metric: str = "accuracy") -> pd.Series:
    frame = intervals(confirmed_scores([records]))
    assert list(frame.columns) == list(COLUMNS)
    return frame.set_index(["method", "metric"]).loc[(method, metric)]


def test_an_interval_covers_seeds_and_samples_and_names_both_parts() -> None:
    """Accuracies 8/16 and 12/16, the same eight samples right: B = 1/32, K = (8 - 16 (1/2)(3/4)) / 16^2 x 16/15."""
    outputs = [[0] * 8 + [1] * 8, [0] * 12 + [1] * 4]
    row = row_of([confirmed("Con", seed, predicted([0] * 16, output)) for seed, output in enumerate(outputs)])
    of_seeds, of_samples = 1 / 64, 2 / 16**2 * 16 / 15
    assert row["mean"] == pytest.approx(0.625)
    assert row["seed_error"] == pytest.approx(of_seeds**0.5)
    assert row["sample_error"] == pytest.approx(of_samples**0.5)
    assert row["error"] == pytest.approx((of_seeds + of_samples) ** 0.5)
    degrees = (of_seeds + of_samples) ** 2 / (of_seeds**2 / 1 + of_samples**2 / 15)
    half = stats.t.ppf(0.975, degrees) * row["error"]
    assert (row["low"], row["high"]) == pytest.approx((0.625 - half, 1.0))  # a score is 1 at most
    assert (row["n_seeds"], row["n_samples"], row["n_groups"], row["grouped_by"]) == (2, 16, 16, "")


def test_a_row_names_the_groups_and_counts_those_of_the_way_that_has_fewest() -> None:
    groups = {"groups": [0, 0, 1, 1, 0, 1, 2, 0], "grouped_by": ["speaker", "dialogue"]}
    row = row_of([confirmed("Con", seed, predicted([0] * 4, [0, 0, 1, 1], **groups)) for seed in range(2)])
    assert (row["n_samples"], row["n_groups"], row["grouped_by"]) == (4, 2, "speaker, dialogue")


def test_intervals_of_perfect_predictions_have_no_width() -> None:
    truth = [0, 1, 2] * 10
    row = row_of([confirmed("Con", n, predicted(truth, truth)) for n in range(3)])
    for name in ("mean", "low", "high"):
        assert row[name] == 1


def test_a_single_seed_has_a_mean_but_no_interval() -> None:
    row = row_of([confirmed("Con", 0, predicted([0, 0], [0, 1]))])
    assert row["mean"] == 0.5
    assert all(math.isnan(row[name]) for name in ("low", "high", "error", "seed_error", "sample_error"))


def test_methods_without_predictions_have_no_row() -> None:
    frame = intervals(confirmed_scores([[confirmed("Con", 0, predicted([0], [0])), confirmed("Gen", 0)]]))
    assert set(frame["method"]) == {"Con"}
    assert len(intervals(confirmed_scores([[confirmed("Gen", 0)]]))) == 0


def test_95_percent_of_intervals_cover_the_planted_accuracy() -> None:
    """There are 200 test sets of 200 samples, and three seeds; each prediction is correct with probability 0.7."""
    generator = np.random.default_rng(5)
    sets = {f"set{number}": "/somewhere" for number in range(200)}
    records = []
    for seed in range(3):
        runs = [predicted([0] * 200, (generator.random(200) > 0.7).astype(int), dataset=name) for name in sets]
        records.append(confirmed("Con", seed, *runs, config={"features": {"downstream": sets}}))
    frame = intervals(confirmed_scores([records]))
    accuracy = frame[frame["metric"] == "accuracy"]
    covered = ((accuracy["low"] <= 0.7) & (accuracy["high"] >= 0.7)).sum()
    low, high = stats.binom.interval(0.999, 200, 0.95)
    assert low <= covered <= high


def test_an_interval_over_several_searches_names_their_part() -> None:
    """Accuracies of 8/16 and 9/16 in a search, and 12/16 and 13/16 in the other: means of 17/32 and 25/32."""
    twice = {"budget": {"seeds": 2, "searches": 2}}
    rights = {("Con", 0): 8, ("Con", 1): 9, ("Con~2", 0): 12, ("Con~2", 1): 13}
    row = row_of(
        [
            confirmed(name, seed, predicted([0] * 16, [0] * right + [1] * (16 - right)), config=twice)
            for (name, seed), right in rights.items()
        ]
    )
    assert (row["n_searches"], row["n_seeds"], row["mean"]) == (2, 4, pytest.approx(21 / 32))
    between = (8 / 32) ** 2 / 2
    of_seeds = (1 / 16) ** 2 / 2 / 2
    assert row["seed_error"] ** 2 == pytest.approx(of_seeds / 2)
    assert row["search_error"] ** 2 == pytest.approx((between - of_seeds) / 2)
    assert row["error"] ** 2 == pytest.approx(between / 2 + row["sample_error"] ** 2)
    assert row["low"] < 17 / 32 < 25 / 32 < row["high"]
