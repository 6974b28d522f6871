import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reports.statistics.ablation import PlannedColumn, ablation, planned_methods
from sweeps.ledger import SUMMARY_METRICS, Metric, Record

CONFIG: dict[str, Any] = {
    "subsets": ["Con", "Gen"],
    "features": {"downstream": {"digits": "/somewhere"}},
    "probe": {"kind": "logistic", "also": [], "selection": "budget", "labels_per_class": [5], "label_fraction": []},
    "baselines": ["raw_features", "random_head"],
    "modality_subsets": [],
    "search": {"nested": [], "finalists": 1},
    "objective": {"metric": "weighted_f1", "dataset": None},
    "budget": {"seeds": 3, "searches": 1},
}


def search(method: str, number: int, state: str = "complete") -> Record:
    return record("search", method, number, state=state)


def record(stage: str, method: str, number: int, **fields: Any) -> Record:
    return Record(
        **{
            "sweep": "s", "stage": stage, "method": method, "number": number, "seed": number, "state": "complete",
            "config": CONFIG, "started": "2026-01-01T00:00:00+00:00", **fields,
        }
    )  # fmt: skip


def confirm(method: str, number: int, value: float, **fields: Any) -> Record:
    metrics = [
        Metric("digits", split, budget, name, value + shift)
        for split, shift in (("val", 0.3), ("test", 0.0))
        for budget in ("", "5")
        for name in (*SUMMARY_METRICS, "f1/one")
    ]
    return record("confirm", method, number, metrics=metrics, **fields)


VALUES = {
    "Con": [0.5, 0.6, 0.8],
    "Gen": [0.7, 0.7, 0.7],
    "raw_features": [0.1, 0.2, 0.3],
    "random_head": [0.2, 0.2, 0.5],
}


def full_ledger() -> list[Record]:
    searches = [search(method, n) for method in ("Con", "Gen") for n in range(2)]
    return [*searches, *(confirm(method, n, value) for method in VALUES for n, value in enumerate(VALUES[method]))]


def cell(frame: pd.DataFrame, method: str, dataset: str = "digits", metric: str = "weighted_f1") -> pd.Series:
    rows = frame[(frame["dataset"] == dataset) & (frame["method"] == method) & (frame["metric"] == metric)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_statistics_over_seeds_equal_those_of_numpy() -> None:
    table = ablation([full_ledger()])
    for method, values in VALUES.items():
        row = cell(table.frame, method)
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        assert row["n_seeds"] == 3
    assert table.complete


def test_each_dataset_method_and_metric_has_one_row() -> None:
    frame = ablation([full_ledger()]).frame
    assert not frame.duplicated(["dataset", "method", "metric"]).any()
    assert set(frame["dataset"]) == {"digits", "digits@5"}
    assert list(frame["method"].unique()) == [*CONFIG["baselines"], "Con", "Gen"]
    assert set(frame["metric"]) == {"weighted_f1", "macro_f1", "accuracy", "f1/one"}


def test_failed_and_pruned_jobs_are_counted() -> None:
    ledger = [
        *full_ledger(),
        search("Con", 2, "pruned"),
        search("Con", 3, "failed"),
        record("confirm", "Con", 3, state="failed", reason="nan_loss: x"),
    ]
    row = cell(ablation([ledger]).frame, "Con")
    assert (row["n_trials"], row["n_pruned"], row["n_failed"], row["n_seeds"]) == (4, 1, 2, 3)
    other = cell(ablation([ledger]).frame, "Gen")
    assert (other["n_trials"], other["n_pruned"], other["n_failed"]) == (2, 0, 0)


def test_a_method_without_a_result_has_a_row_that_counts_its_failures() -> None:
    ledger = [r for r in full_ledger() if not (r.stage == "confirm" and r.method == "Gen")]
    table = ablation([[*ledger, record("confirm", "Gen", 0, state="failed", reason="out_of_memory: x")]])
    row = cell(table.frame, "Gen")
    assert row["n_seeds"] == 0
    assert math.isnan(row["mean"])
    assert row["n_failed"] == 1
    assert not table.complete


def test_a_planned_subset_that_never_started_has_a_row() -> None:
    table = ablation([[r for r in full_ledger() if r.method != "Gen"]])
    assert cell(table.frame, "Gen")["n_trials"] == 0
    assert not table.complete


def test_a_single_seed_has_a_mean_and_no_spread() -> None:
    ledger = [r for r in full_ledger() if r.stage == "search" or r.number == 0]
    row = cell(ablation([ledger]).frame, "Con")
    assert row["mean"] == 0.5
    assert math.isnan(row["std"])


def test_the_plan_is_that_of_the_latest_record() -> None:
    later = {**CONFIG, "subsets": ["Con", "Gen", "Clu"]}
    ledger = [*full_ledger(), record("search", "Con", 9, config=later, started="2026-01-02T00:00:00+00:00")]
    assert "Clu" in set(ablation([ledger]).frame["method"])


def test_sweeps_on_different_datasets_form_one_table() -> None:
    other = [
        Record(
            **{
                **r.__dict__,
                "config": {**CONFIG, "features": {"downstream": {"faces": "/x"}}},
                "metrics": [Metric("faces", m.split, m.labels, m.metric, m.value) for m in r.metrics],
            }
        )
        for r in full_ledger()
    ]
    table = ablation([full_ledger(), other])
    assert set(table.frame["dataset"]) == {"digits", "digits@5", "faces", "faces@5"}
    assert set(table.planned_seeds) == set(table.frame["dataset"])


def test_the_runs_of_all_searches_make_one_row() -> None:
    """Con has seeds with 0.5 and 0.7 in its first search, and one with 0.3 in its second: a mean of 0.6 and 0.3."""
    twice = CONFIG | {"budget": {"seeds": 2, "searches": 2}}
    ledger = [
        record("search", "Con", 0, config=twice),
        record("search", "Con~2", 0, config=twice),
        record("search", "Con~2", 1, config=twice, state="failed"),
        record("finalist", "Con~2", 0, config=twice, state="failed"),
        *(
            confirm(name, n, value, config=twice)
            for name, n, value in (("Con", 0, 0.5), ("Con", 1, 0.7), ("Con~2", 0, 0.3))
        ),
    ]
    table = ablation([ledger])
    assert set(table.frame["method"]) == {"Con", "Gen", "raw_features", "random_head"}
    row = cell(table.frame, "Con")
    assert (row["mean"], row["std"], row["n_seeds"]) == (pytest.approx(0.45), pytest.approx(0.2), 3)
    assert (row["n_trials"], row["n_failed"]) == (3, 2)
    assert table.planned_seeds == {"digits": 4, "digits@5": 4}


def test_a_planned_method_has_a_name_in_the_records_for_each_search() -> None:
    config = CONFIG | {
        "budget": {"seeds": 2, "searches": 2},
        "search": {"nested": ["labels"]},
        "modality_subsets": [["video"]],
    }
    names = planned_methods(config, PlannedColumn("digits", "5", ""))
    assert names["raw_features"] == ("raw_features", "raw_features~2")
    assert names["Con[video]"] == ("Con[video]@5", "Con[video]@5~2")
