import math
from typing import Any

import pandas as pd
import pytest

from reports.statistics.selection import selection
from sweeps.ledger import Metric, Record
from tests.reports.records import config, confirmation, failed, pruned, record, trial, trials


def table(records: list[Record]) -> pd.DataFrame:
    return selection([records]).set_index(["dataset", "method"])


def confirmed(number: int, shift: float = 0.0, **fields: Any) -> Record:
    scores = {("val", ""): 0.7, ("test", ""): 0.6, ("val", "5"): 0.5, ("test", "5"): 0.45}
    return confirmation("Con", number, {key: value + shift for key, value in scores.items()}, **fields)


def ledger() -> list[Record]:
    return [*trials("Con", [0.6, 0.8]), pruned("Con", 2, 0.9), confirmed(0, -0.02), confirmed(1, 0.02)]


def test_search_optimism_and_shift_lead_from_the_objective_to_the_test_score() -> None:
    row = table(ledger()).loc[("digits", "Con")]
    assert row[["objective", "confirmed", "val", "test"]].tolist() == pytest.approx([0.8, 0.7, 0.7, 0.6])
    assert row[["search_optimism", "shift"]].tolist() == pytest.approx([0.1, 0.1])
    assert row["n_seeds"] == 2


def test_search_optimism_is_the_same_at_every_label_budget() -> None:
    row = table(ledger()).loc[("digits@5", "Con")]
    assert row[["objective", "confirmed", "val", "test"]].tolist() == pytest.approx([0.8, 0.7, 0.5, 0.45])
    assert row[["search_optimism", "shift"]].tolist() == pytest.approx([0.1, 0.05])


def test_an_objective_at_few_labels_is_confirmed_at_this_label_budget() -> None:
    few = config(objective={"labels_per_class": 5})
    records = [*trials("Con", [0.6, 0.8], config=few), confirmed(0, config=few)]
    assert table(records).loc[("digits", "Con"), "confirmed"] == pytest.approx(0.5)
    unscored = config(objective={"labels_per_class": 7})
    records = [*trials("Con", [0.6, 0.8], config=unscored), confirmed(0, config=unscored)]
    assert math.isnan(table(records).loc[("digits", "Con"), "search_optimism"])


def test_an_objective_over_several_sets_is_confirmed_over_these_sets() -> None:
    several = config(features={"downstream": {"digits": "/a", "letters": "/b"}})
    metrics = [
        Metric(name, split, "", "weighted_f1", value)  # type: ignore[arg-type]
        for name, base in (("digits", 0.5), ("letters", 0.7))
        for split, value in (("val", base), ("test", base - 0.1))
    ]
    records = [*trials("Con", [0.8], config=several), record("confirm", "Con", 0, metrics=metrics, config=several)]
    frame = table(records)
    assert frame["confirmed"].tolist() == pytest.approx([0.6, 0.6])
    assert frame["val"].tolist() == pytest.approx([0.5, 0.7])


def test_failed_confirmations_and_other_sets_and_metrics_do_not_count() -> None:
    irrelevant = [Metric("digits", "test", "", "accuracy", 0.0), Metric("letters", "test", "", "weighted_f1", 0.0)]
    records = [
        *ledger(),
        record("confirm", "Con", 2, metrics=irrelevant),
        confirmed(3, -0.5, state="failed", reason="hung: no sign of life"),
    ]
    pd.testing.assert_frame_equal(table(records), table(ledger()))


def test_confirmations_of_a_former_best_configuration_do_not_count() -> None:
    old, new = {"lr": 0.1}, {"lr": 0.2}
    records = [
        trial("Con", 0, 0.6, hyperparameters=old),
        trial("Con", 1, 0.8, hyperparameters=new),
        confirmed(0, hyperparameters=old),
    ]
    assert len(table(records)) == 0
    assert table([*records, confirmed(1, hyperparameters=new)]).loc[("digits", "Con"), "n_seeds"] == 1


def test_methods_without_a_search_or_a_confirmation_have_no_row() -> None:
    records = [
        failed("Gen", 0, "hung: no sign of life"),
        confirmation("raw_features", 0, {("val", ""): 0.5, ("test", ""): 0.5}),
    ]
    assert len(table(records)) == 0
    assert len(table(trials("Con", [0.6]))) == 0


def test_nested_searches_over_labels_are_confirmed_at_their_own_label_budget() -> None:
    nested = config(search={"nested": ["labels"]})
    records = [
        *trials("Con@all", [0.8], config=nested),
        *trials("Con@5", [0.6], config=nested),
        confirmation("Con@all", 0, {("val", ""): 0.7, ("test", ""): 0.65}, config=nested),
        confirmation("Con@5", 0, {("val", "5"): 0.5, ("test", "5"): 0.45}, config=nested),
    ]
    frame = table(records)
    assert frame["objective"].tolist() == [0.8, 0.6]
    assert frame["search_optimism"].tolist() == pytest.approx([0.1, 0.1])
    assert list(frame.index) == [("digits", "Con"), ("digits@5", "Con")]


def test_finalists_show_the_luck_of_the_best_trial_and_what_another_winner_gained() -> None:
    """Trial 1 was best with 0.8, but gets 0.6 when trained again; trial 0 gets 0.7, and 0.66 when confirmed."""
    settings = config(search={"finalists": 2})
    values = {0: (0.75, (0.69, 0.71)), 1: (0.8, (0.5, 0.7))}
    records = []
    for number, (value, again) in values.items():
        fields = {"hyperparameters": {"lr": number}, "config": settings}
        records.append(trial("Con", number, value, **fields))
        records += [record("finalist", "Con", number * 10_000 + n, value=v, **fields) for n, v in enumerate(again)]
    records.append(confirmed(0, -0.04, hyperparameters={"lr": 0}, config=settings))
    row = table(records).loc[("digits", "Con")]
    steps = ["objective", "retrained", "winner", "gain", "confirmed", "search_optimism"]
    assert row[steps].tolist() == pytest.approx([0.8, 0.6, 0.7, 0.1, 0.66, 0.2])


def test_a_sweep_without_finalists_has_no_gain_from_them() -> None:
    row = table(ledger()).loc[("digits", "Con")]
    assert row[["retrained", "winner", "gain"]].isna().all()


def test_every_search_of_a_method_has_its_own_row() -> None:
    twice = config(budget={"searches": 2})
    records = [*trials("Con", [0.6, 0.8], config=twice), *trials("Con~2", [0.9], config=twice)]
    records += [confirmation(name, 0, {("val", ""): 0.7, ("test", ""): 0.6}, config=twice) for name in ("Con", "Con~2")]
    frame = selection([records]).set_index(["method", "search"])
    assert frame["objective"].to_dict() == {("Con", 1): 0.8, ("Con", 2): 0.9}
