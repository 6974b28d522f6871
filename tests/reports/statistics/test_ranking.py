import math
from typing import Any

import pytest
from scipy import stats

from reports.statistics.ranking import ranking
from sweeps.ledger import Metric, Record
from tests.reports.statistics.test_ablation import CONFIG

SUBSETS = ("Con", "Clu", "Gen", "ConClu")


def record(stage: str, method: str, number: int = 0, *, nested: bool = False, **fields: Any) -> Record:
    config = CONFIG | {"subsets": list(SUBSETS), "search": {"nested": ["labels"] if nested else []}}
    shared = {
        "sweep": "s",
        "seed": number,
        "state": "complete",
        "config": config,
        "started": "2026-01-01T00:00:00+00:00",
    }
    return Record(stage=stage, method=method, number=number, **(shared | fields))


def confirm(method: str, number: int, all_labels: float, five: float, **fields: Any) -> Record:
    scores = {"": all_labels, "5": five}
    metrics = [
        Metric("digits", split, labels, metric, value + shift)
        for labels, value in scores.items()
        for split, shift in (("test", 0.0), ("val", 0.5))
        for metric, value in (("weighted_f1", value), ("accuracy", 1 - value))
    ]
    return record("confirm", method, number, metrics=metrics, value=0.99, **fields)


OBJECTIVES = {"Con": 0.9, "Clu": 0.6, "Gen": 0.7, "ConClu": 0.8}
TESTS = {"Con": (0.5, 0.85), "Clu": (0.6, 0.5), "Gen": (0.7, 0.55), "ConClu": (0.4, 0.6)}


def ledger() -> list[Record]:
    """Each method's best of two full trials is its objective; a pruned trial that looked better does not count."""
    searched = [record("search", m, n, value=v - 0.1 * n) for m, v in OBJECTIVES.items() for n in (0, 1)]
    searched += [record("search", m, 2, value=1.0, state="pruned") for m in OBJECTIVES]
    confirmed = [confirm(m, n, *(x + d for x in TESTS[m])) for m in TESTS for n, d in enumerate((-0.01, 0.01))]
    return [*searched, *confirmed, confirm("raw_features", 0, 0.1, 0.1)]


def test_correlations_are_those_of_best_objectives_and_mean_test_scores() -> None:
    frame = ranking([ledger()]).set_index("dataset")
    assert list(frame.index) == ["digits", "digits@5"]
    for column, place in (("digits", 0), ("digits@5", 1)):
        tests = [TESTS[m][place] for m in OBJECTIVES]
        row = frame.loc[column]
        assert row["n_methods"] == 4
        assert row["metric"] == "weighted_f1"
        assert row["spearman"] == pytest.approx(stats.spearmanr(list(OBJECTIVES.values()), tests).statistic)
        assert row["kendall"] == pytest.approx(stats.kendalltau(list(OBJECTIVES.values()), tests).statistic)
        assert row["objective"] == pytest.approx(0.75)
        assert row["test"] == pytest.approx(sum(tests) / 4)
        assert row["difference"] == pytest.approx(0.75 - sum(tests) / 4)
    assert frame.loc["digits@5", "spearman"] == pytest.approx(1.0)
    assert frame.loc["digits", "spearman"] < 0


def test_two_methods_are_too_few_for_a_correlation() -> None:
    few = [r for r in ledger() if r.method in ("Con", "Gen")]
    (row, _) = ranking([few]).to_dict("records")
    assert row["n_methods"] == 2
    assert math.isnan(row["spearman"])
    assert row["objective"] == pytest.approx(0.8)


def test_nothing_confirmed_is_no_row() -> None:
    assert len(ranking([[r for r in ledger() if r.stage == "search"]])) == 0


def test_where_label_budgets_were_searched_each_column_has_its_own_objectives() -> None:
    values = {"all": {"Con": 0.9, "Clu": 0.6, "Gen": 0.7}, "5": {"Con": 0.5, "Clu": 0.6, "Gen": 0.4}}
    records = [
        record("search", f"{m}@{labels}", value=value, nested=True)
        for labels, of in values.items()
        for m, value in of.items()
    ]
    records += [confirm(f"{m}@{labels}", 0, v, v, nested=True) for labels, of in values.items() for m, v in of.items()]
    frame = ranking([records]).set_index("dataset")
    assert frame.loc["digits", "objective"] == pytest.approx(sum(values["all"].values()) / 3)
    assert frame.loc["digits@5", "objective"] == pytest.approx(0.5)
    assert list(frame["spearman"]) == pytest.approx([1.0, 1.0])
