import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from reports.statistics.accounting import accounting, hardware
from sweeps.ledger import Record
from tests.reports.searches import ON_CPU, config, confirmation, failed, pruned, record, trial, trials


def rows(records: list[Record]) -> pd.DataFrame:
    return accounting([records]).set_index(["method", "stage"])


def hours(n: float) -> dict[str, float]:
    return {"total": n * 3600, "train": n * 1800}


def ledger() -> list[Record]:
    """Con: one full, one pruned, two failed for different reasons; Gen has not begun."""
    return [
        trial("Con", 0, 0.5, seconds=hours(1)),
        pruned("Con", 1, 0.1, seconds=hours(0.25)),
        failed("Con", 2, "nan_loss: it is not finite", seconds=hours(0.5)),
        failed("Con", 3, "out_of_memory: a batch of 4096"),
        confirmation("Con", 0, {("test", ""): 0.5}, seconds=hours(2)),
        record("confirm", "Con", 1, state="failed", reason="nan_loss: again"),
        confirmation("raw_features", 0, {("test", ""): 0.5}, seconds=hours(0.1)),
    ]


def test_every_attempt_is_counted_once_by_how_it_ended() -> None:
    frame = rows(ledger())
    searched, confirmed = frame.loc[("Con", "search")], frame.loc[("Con", "confirm")]
    assert searched[["planned", "complete", "pruned", "failed"]].tolist() == [4, 1, 1, 2]
    assert searched[["nan_loss", "out_of_memory"]].tolist() == [1, 1]
    assert confirmed[["planned", "complete", "pruned", "failed"]].tolist() == [2, 1, 0, 1]
    assert confirmed[["nan_loss", "out_of_memory"]].tolist() == [1, 0]
    assert frame[["complete", "pruned", "failed"]].to_numpy().sum() == len(ledger())


def test_classes_that_do_not_occur_have_no_column() -> None:
    assert "nan_loss" not in rows(trials("Con", [0.5]))
    assert set(rows(ledger())) - {"sweep", "planned", "complete", "pruned", "failed"} == {
        "nan_loss", "out_of_memory", "hours", "cpu_hours", "gpu_hours",
    }  # fmt: skip


def test_a_failure_without_a_reason_is_counted_all_the_same() -> None:
    assert rows([failed("Con", 0, "")]).loc[("Con", "search"), "unknown"] == 1


def test_what_never_started_has_a_row_of_zeros() -> None:
    frame = rows(ledger())
    for key in (("Gen", "search"), ("Gen", "confirm"), ("random_head", "confirm")):
        assert frame.loc[key, "planned"] == (4 if key[1] == "search" else 2)
        assert frame.loc[key].drop(["sweep", "planned"]).eq(0).all()
    assert ("random_head", "search") not in frame.index
    assert len(frame) == 6


ON_GPUS = replace(ON_CPU, device="NVIDIA H200", workers=4, gpus=4)


def test_hours_are_wall_time_summed_over_attempts_times_what_their_workers_had() -> None:
    records = [trial("Con", 0, 0.5, seconds=hours(1)), trial("Con", 1, 0.5, seconds=hours(0.5), hardware=ON_GPUS)]
    row = rows(records).loc[("Con", "search")]
    assert row["hours"] == pytest.approx(1 + 0.5)
    assert row["cpu_hours"] == pytest.approx(4 * 1 + 4 * 4 * 0.5)
    assert row["gpu_hours"] == pytest.approx(4 * 0.5)  # the first ran without


def test_hours_on_nobody_knows_what_are_not_taken_for_none() -> None:
    lost = failed("Con", 1, "worker_lost: thrice", hardware=None)
    assert rows([trial("Con", 0, 0.5, seconds=hours(1)), lost]).loc[("Con", "search"), "cpu_hours"] == 4
    worked = replace(lost, seconds=hours(1))
    row = rows([trial("Con", 0, 0.5, seconds=hours(1)), worked]).loc[("Con", "search")]
    assert row["hours"] == 2
    assert math.isnan(row["cpu_hours"])
    assert math.isnan(row["gpu_hours"])


def test_hardware_is_told_by_kind_with_its_hosts() -> None:
    elsewhere, single = replace(ON_GPUS, host="node-b"), replace(ON_CPU, threads=1)
    kinds = [ON_GPUS, elsewhere, ON_GPUS, ON_CPU, single, None]
    assert hardware([trial("Con", number, 0.5, hardware=kind) for number, kind in enumerate(kinds)]) == [
        "3 attempts on 4 workers, each 1 × NVIDIA H200, 4 threads of EPYC; hosts node-a, node-b",
        "1 attempt on 4 threads of EPYC; host node-a",
        "1 attempt on 1 thread of EPYC; host node-a",
    ]


def test_under_a_budget_of_time_no_number_of_trials_is_planned() -> None:
    timed = config(budget={"trials_per_subset": None, "hours": 3.0})
    frame = rows([trial("Con", 0, 0.5, config=timed)])
    assert frame.loc[("Con", "search"), "planned"] is pd.NA
    assert frame.loc[("Con", "confirm"), "planned"] == 2


def test_an_extended_sweep_plans_what_its_latest_record_says() -> None:
    later = {"started": "2026-02-01T00:00:00+00:00", "config": config(budget={"trials_per_subset": 9})}
    assert rows([trial("Con", 0, 0.5, **later), trial("Con", 1, 0.5)]).loc[("Con", "search"), "planned"] == 9


def test_what_is_searched_for_fewer_modalities_or_labels_by_itself_has_rows_of_its_own() -> None:
    sections: dict[str, Any] = {"modality_subsets": [["video", "audio"]], "baselines": ["supervised_head"]}
    plain = rows([trial("Con", 0, 0.5, config=config(**sections))])
    assert {method for method, stage in plain.index if stage == "search"} == {"Con", "Gen", "supervised_head"}
    assert ("Con[video-audio]", "confirm") in plain.index
    nested = config(**sections, search={"nested": ["modalities", "labels"]})
    own = rows([trial("Con@all", 0, 0.5, config=nested)])
    assert {method for method, stage in own.index if stage == "search" and method.startswith("Con")} == {
        "Con@all", "Con@5", "Con[video-audio]@all", "Con[video-audio]@5",
    }  # fmt: skip


def test_records_of_what_is_planned_no_more_are_counted() -> None:
    row = rows([trial("Con", 0, 0.5), trial("Clu", 0, 0.5)]).loc[("Clu", "search")]
    assert row[["planned", "complete"]].tolist() == [0, 1]


def test_sweeps_stand_below_each_other() -> None:
    frame = accounting([ledger(), [failed("Gen", 0, "hung: no sign of life", sweep="t")]])
    assert list(frame["sweep"]) == ["s"] * 6 + ["t"] * 6
    assert frame.set_index(["sweep", "method", "stage"])["hung"].sum() == 1
