import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from reports.statistics.accounting import accounting
from reports.statistics.searches import early_ends_in_words
from sweeps.ledger import EarlyEnd, Record
from tests.reports.records import ON_GPUS, config, confirmation, failed, pruned, record, trial, trials


def rows(records: list[Record]) -> pd.DataFrame:
    return accounting([records]).set_index(["method", "stage"])


def hours(n: float) -> dict[str, float]:
    return {"total": n * 3600, "train": n * 1800}


def ledger() -> list[Record]:
    """Return a ledger in which Con has one full, one pruned and two failed trials, and Gen has not started."""
    return [
        trial("Con", 0, 0.5, seconds=hours(1)),
        pruned("Con", 1, 0.1, seconds=hours(0.25)),
        failed("Con", 2, "nan_loss: it is not finite", seconds=hours(0.5)),
        failed("Con", 3, "out_of_memory: a batch of 4096"),
        confirmation("Con", 0, {("test", ""): 0.5}, seconds=hours(2)),
        record("confirm", "Con", 1, state="failed", reason="nan_loss: again"),
        confirmation("raw_features", 0, {("test", ""): 0.5}, seconds=hours(0.1)),
    ]


def test_every_job_is_counted_once_by_its_end() -> None:
    frame = rows(ledger())
    search, confirmation_runs = frame.loc[("Con", "search")], frame.loc[("Con", "confirm")]
    assert search[["planned", "complete", "pruned", "failed"]].tolist() == [4, 1, 1, 2]
    assert search[["nan_loss", "out_of_memory"]].tolist() == [1, 1]
    assert confirmation_runs[["planned", "complete", "pruned", "failed"]].tolist() == [2, 1, 0, 1]
    assert confirmation_runs[["nan_loss", "out_of_memory"]].tolist() == [1, 0]
    assert frame[["complete", "pruned", "failed"]].to_numpy().sum() == len(ledger())


def test_failure_classes_that_do_not_occur_have_no_column() -> None:
    assert "nan_loss" not in rows(trials("Con", [0.5]))
    assert set(rows(ledger())) - {"sweep", "search", "planned", "complete", "pruned", "failed"} == {
        "nan_loss", "out_of_memory", "hours", "cpu_hours", "gpu_hours",
    }  # fmt: skip


def test_a_failure_without_a_reason_counts_as_unknown() -> None:
    assert rows([failed("Con", 0, "")]).loc[("Con", "search"), "unknown"] == 1


def test_a_planned_method_that_never_started_has_a_row_of_zeros() -> None:
    frame = rows(ledger())
    for key in (("Gen", "search"), ("Gen", "confirm"), ("random_head", "confirm")):
        assert frame.loc[key, "planned"] == (4 if key[1] == "search" else 2)
        assert frame.loc[key].drop(["sweep", "search", "planned"]).eq(0).all()
    assert ("random_head", "search") not in frame.index
    assert len(frame) == 6


def test_cpu_and_gpu_hours_are_wall_time_times_the_hardware_of_the_workers() -> None:
    records = [trial("Con", 0, 0.5, seconds=hours(1)), trial("Con", 1, 0.5, seconds=hours(0.5), hardware=ON_GPUS)]
    row = rows(records).loc[("Con", "search")]
    assert row["hours"] == pytest.approx(1 + 0.5)
    assert row["cpu_hours"] == pytest.approx(4 * 1 + 4 * 4 * 0.5)
    assert row["gpu_hours"] == pytest.approx(4 * 0.5)  # the first trial ran without a GPU


def test_hours_on_unknown_hardware_make_cpu_and_gpu_hours_unknown() -> None:
    without_work = failed("Con", 1, "worker_lost: thrice", hardware=None)
    assert rows([trial("Con", 0, 0.5, seconds=hours(1)), without_work]).loc[("Con", "search"), "cpu_hours"] == 4
    with_work = replace(without_work, seconds=hours(1))
    row = rows([trial("Con", 0, 0.5, seconds=hours(1)), with_work]).loc[("Con", "search")]
    assert row["hours"] == 2
    assert math.isnan(row["cpu_hours"])
    assert math.isnan(row["gpu_hours"])


def test_a_budget_of_time_plans_no_number_of_trials() -> None:
    timed = config(budget={"trials_per_subset": None, "hours": 3.0})
    frame = rows([trial("Con", 0, 0.5, config=timed)])
    assert frame.loc[("Con", "search"), "planned"] is pd.NA
    assert frame.loc[("Con", "confirm"), "planned"] == 2


def test_the_plan_of_an_extended_sweep_is_that_of_its_latest_record() -> None:
    later = {"started": "2026-02-01T00:00:00+00:00", "config": config(budget={"trials_per_subset": 9})}
    assert rows([trial("Con", 0, 0.5, **later), trial("Con", 1, 0.5)]).loc[("Con", "search"), "planned"] == 9


def test_nested_searches_over_modalities_and_labels_have_rows_of_their_own() -> None:
    sections: dict[str, Any] = {"modality_subsets": [["video", "audio"]], "baselines": ["supervised_head"]}
    plain = rows([trial("Con", 0, 0.5, config=config(**sections))])
    assert {method for method, stage in plain.index if stage == "search"} == {"Con", "Gen", "supervised_head"}
    assert ("Con[video-audio]", "confirm") in plain.index
    nested = rows([trial("Con@all", 0, 0.5, config=config(**sections, search={"nested": ["modalities", "labels"]}))])
    assert {method for method, stage in nested.index if stage == "search" and method.startswith("Con")} == {
        "Con@all", "Con@5", "Con[video-audio]@all", "Con[video-audio]@5",
    }  # fmt: skip


def test_records_of_a_method_that_is_no_longer_planned_are_counted() -> None:
    row = rows([trial("Con", 0, 0.5), trial("Clu", 0, 0.5)]).loc[("Clu", "search")]
    assert row[["planned", "complete"]].tolist() == [0, 1]


def test_every_sweep_has_its_own_rows() -> None:
    frame = accounting([ledger(), [failed("Gen", 0, "hung: no sign of life", sweep="t")]])
    assert list(frame["sweep"]) == ["s"] * 6 + ["t"] * 6
    assert frame.set_index(["sweep", "method", "stage"])["hung"].sum() == 1


def test_finalists_have_a_row_of_their_own_and_failed_ones_are_counted() -> None:
    settings = config(search={"finalists": 2})
    searched = [trial("Con", n, 0.5 + n / 10, config=settings, hyperparameters={"lr": n}) for n in range(3)]
    runs = [
        record("finalist", "Con", 20_000, value=0.6, config=settings, seconds=hours(1)),
        record("finalist", "Con", 20_001, state="failed", reason="nan_loss: x", config=settings),
        record("finalist", "Con", 0, value=0.6, config=settings),
    ]
    frame = rows([*searched, *runs])
    row = frame.loc[("Con", "finalist")]
    assert row[["planned", "complete", "failed", "nan_loss"]].tolist() == [4, 2, 1, 1]
    assert row["hours"] == 1
    assert frame.loc[("Gen", "finalist"), "planned"] == 0
    assert "finalist" not in rows(trials("Con", [0.5])).index.get_level_values("stage")


def test_every_search_has_rows_of_its_own() -> None:
    settings = config(budget={"searches": 2}, search={"finalists": 2})
    records = [trial("Con", 0, 0.5, config=settings), trial("Con~2", 0, 0.5, config=settings)]
    frame = accounting([records]).set_index(["method", "search", "stage"])
    for search in (1, 2):
        assert frame.loc[("Con", search, "search"), ["planned", "complete"]].tolist() == [4, 1]
        assert ("raw_features", search, "confirm") in frame.index


def test_a_search_that_ended_early_is_complete_with_the_trials_that_it_had() -> None:
    ends = {"Con": EarlyEnd(trials=2, improvement=0.0004, high=0.003)}
    trials = [trial(method, n, 0.5, ended=f"2026-01-0{n + 1}") for method in ("Con", "Gen") for n in range(2)]
    confirmed = confirmation("Con", 0, {}, ended="2026-01-03", early_ends=ends)
    searches = rows([*trials, confirmed])["planned"]
    assert searches["Con", "search"] == 2
    assert searches["Gen", "search"] == 4
    assert early_ends_in_words([*trials, confirmed]) == [
        "The search of Con ended after 2 of 4 trials: the next was expected to gain 0.0004 (0 to 0.003)."
    ]
    assert early_ends_in_words(trials) == []
