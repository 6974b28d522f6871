import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.statistics.intervals import COLUMNS, intervals
from sweeps.ledger import Record
from tests.reports.statistics.test_resampling import confirmed, predicted


def row_of(records: list[Record], method: str = "Con", metric: str = "accuracy") -> pd.Series:
    frame = intervals([records])
    assert list(frame.columns) == list(COLUMNS)
    return frame.set_index(["method", "metric"]).loc[(method, metric)]


def test_the_interval_over_seeds_is_students_t_over_the_means_of_seeds() -> None:
    """Accuracies 1/2 and, over two draws, (1/2 + 1) / 2: mean 5/8, standard error 1/8, t(1) = 12.706."""
    truth = [0, 1]
    records = [
        confirmed("Con", 0, predicted(truth, [0, 0])),
        confirmed("Con", 3, predicted(truth, [0, 0]), predicted(truth, truth, draw=1)),
    ]
    row = row_of(records)
    assert row["mean"] == pytest.approx(0.625)
    assert row["seed_low"] == pytest.approx(0.625 - 12.7062 / 8, abs=1e-4)
    assert row["seed_high"] == pytest.approx(0.625 + 12.7062 / 8, abs=1e-4)
    assert (row["n_seeds"], row["n_samples"]) == (2, 2)


def test_the_interval_over_samples_has_the_quantiles_of_a_binomial() -> None:
    """8 of 16 samples are correct. On a resample, Binomial(16, 1/2) are; its 2.5 and 97.5 % points are 4 and 12."""
    row = row_of([confirmed("Con", 0, predicted([0] * 16, [0, 1] * 8))])
    assert [row["sample_low"] * 16, row["sample_high"] * 16] == list(stats.binom.ppf([0.025, 0.975], 16, 0.5))
    assert row["n_seeds"] == 1
    assert math.isnan(row["seed_low"])


def test_intervals_of_perfect_predictions_have_no_width() -> None:
    truth = [0, 1, 2] * 10
    row = row_of([confirmed("Con", n, predicted(truth, truth)) for n in range(3)])
    for name in ("mean", "seed_low", "seed_high", "sample_low", "sample_high"):
        assert row[name] == 1


def test_methods_without_predictions_have_no_row() -> None:
    frame = intervals([[confirmed("Con", 0, predicted([0], [0])), confirmed("Gen", 0)]])
    assert set(frame["method"]) == {"Con"}
    assert len(intervals([[confirmed("Gen", 0)]])) == 0


def test_95_percent_of_intervals_cover_the_planted_accuracy() -> None:
    """There are 100 test sets of 200 samples; each prediction is correct with probability 0.7."""
    generator = np.random.default_rng(5)
    sets = {f"set{number}": "/somewhere" for number in range(100)}
    runs = [predicted([0] * 200, (generator.random(200) > 0.7).astype(int), dataset=name) for name in sets]
    record = confirmed("Con", 0, *runs, config={"features": {"downstream": sets}})
    frame = intervals([[record]], resamples=400)
    accuracy = frame[frame["metric"] == "accuracy"]
    covered = ((accuracy["sample_low"] <= 0.7) & (accuracy["sample_high"] >= 0.7)).sum()
    low, high = stats.binom.interval(0.999, 100, 0.95)
    assert low <= covered <= high
