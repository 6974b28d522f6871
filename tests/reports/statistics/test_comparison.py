import math
from typing import Any

import pytest
from scipy import stats

from reports.errors import ReportError
from reports.statistics.comparison import COLUMNS, comparison
from sweeps.ledger import Record
from tests.reports.statistics.test_ablation import confirm, search

FIRST, SECOND = [0.5, 0.6, 0.8], [0.6, 0.75, 0.8]


def sweep(values: list[float], first_seed: int = 0, **fields: Any) -> list[Record]:
    runs = [confirm("Con", n, value, seed=first_seed + n, **fields) for n, value in enumerate(values)]
    return [search("Con", 0), *runs, confirm("Gen", 0, 0.7)]


def test_runs_with_the_same_seeds_are_paired() -> None:
    frame = comparison(sweep(FIRST), sweep(SECOND)).set_index(["dataset", "method", "metric"])
    assert ("dataset", "method", "metric", *frame.columns) == COLUMNS
    row = frame.loc["digits", "Con", "weighted_f1"]
    assert (row["mean_first"], row["mean_second"]) == pytest.approx((0.6333333, 0.7166667))
    assert row["difference"] == pytest.approx(0.25 / 3)
    half = stats.t.ppf(0.975, 2) * stats.tstd([0.1, 0.15, 0.0]) / math.sqrt(3)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((0.25 / 3 - half, 0.25 / 3 + half))
    assert row["paired"]


def test_runs_with_different_seeds_have_the_interval_of_welch() -> None:
    frame = comparison(sweep(FIRST), sweep(SECOND, first_seed=10))
    row = frame.set_index(["dataset", "method", "metric"]).loc["digits@5", "Con", "accuracy"]
    expected = stats.ttest_ind(SECOND, FIRST, equal_var=False).confidence_interval()
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((expected.low, expected.high))
    assert not row["paired"]


def test_the_order_of_runs_does_not_matter() -> None:
    assert comparison(sweep(FIRST), sweep(SECOND)[::-1])["ci_low"].tolist() == pytest.approx(
        comparison(sweep(FIRST), sweep(SECOND))["ci_low"].tolist(), nan_ok=True
    )


def test_a_single_seed_has_a_difference_and_no_interval() -> None:
    row = (
        comparison(sweep(FIRST), sweep(SECOND))
        .set_index(["dataset", "method", "metric"])
        .loc["digits", "Gen", "macro_f1"]
    )
    assert row["difference"] == 0
    assert math.isnan(row["ci_low"])


def test_sweeps_without_a_common_score_are_refused() -> None:
    with pytest.raises(ReportError, match="no test score of the same dataset and method"):
        comparison(sweep(FIRST), [search("Con", 0)])
