import math
from typing import Any

import pytest
from scipy import stats

from reports.statistics.ranking import ranking
from sweeps.ledger import Metric, Record
from tests.reports.statistics.test_ablation import CONFIG

SUBSETS = ("Con", "Clu", "Gen", "ConClu")


def record(stage: str, method: str, number: int = 0, *, nested: bool = False, **fields: Any) -> Record:
    config = CONFIG | {"subsets": list(SUBSETS), "search": {"nested": ["labels"] if nested else [], "finalists": 1}}
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
    """Return, for each method, two full trials, the better one with its objective, and a pruned trial with 1.0."""
    trials = [record("search", m, n, value=v - 0.1 * n) for m, v in OBJECTIVES.items() for n in (0, 1)]
    trials += [record("search", m, 2, value=1.0, state="pruned") for m in OBJECTIVES]
    runs = [confirm(m, n, *(x + d for x in TESTS[m])) for m in TESTS for n, d in enumerate((-0.01, 0.01))]
    return [*trials, *runs, confirm("raw_features", 0, 0.1, 0.1)]


def test_correlations_are_between_best_objectives_and_mean_test_scores() -> None:
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


def test_a_sweep_without_confirmations_has_no_rows() -> None:
    assert len(ranking([[r for r in ledger() if r.stage == "search"]])) == 0


def test_nested_searches_over_labels_give_each_column_its_own_objectives() -> None:
    values = {"all": {"Con": 0.9, "Clu": 0.6, "Gen": 0.7}, "5": {"Con": 0.5, "Clu": 0.6, "Gen": 0.4}}
    records = [
        record("search", f"{m}@{labels}", value=value, nested=True)
        for labels, by_method in values.items()
        for m, value in by_method.items()
    ]
    records += [
        confirm(f"{m}@{labels}", 0, value, value, nested=True)
        for labels, by_method in values.items()
        for m, value in by_method.items()
    ]
    frame = ranking([records]).set_index("dataset")
    assert frame.loc["digits", "objective"] == pytest.approx(sum(values["all"].values()) / 3)
    assert frame.loc["digits@5", "objective"] == pytest.approx(0.5)
    assert list(frame["spearman"]) == pytest.approx([1.0, 1.0])


def test_every_round_of_searches_has_its_own_row() -> None:
    twice = CONFIG | {"subsets": ["Con", "Gen"], "budget": {"seeds": 1, "searches": 2}}
    records = [record("search", name, value=value, config=twice) for name, value in (("Con", 0.9), ("Con~2", 0.7))]
    records += [confirm(name, 0, 0.5, 0.5, config=twice) for name in ("Con", "Con~2")]
    frame = ranking([records])
    frame = frame[frame["dataset"] == "digits"]
    assert frame[["search", "n_methods"]].to_numpy().tolist() == [[1, 1], [2, 1]]
    assert frame["objective"].tolist() == [0.9, 0.7]
