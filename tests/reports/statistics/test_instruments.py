from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from reports.output.probe_tables import instrument_table
from reports.output.tables import ablation_tables, selection_sentence, sources
from reports.statistics.ablation import PlannedColumn, ablation, planned_columns, planned_methods
from reports.statistics.factorial import LOSSES, factorial
from reports.statistics.instruments import instrument_effects, opposed, settled
from sweeps.ledger import SUMMARY_METRICS, Metric, Record
from tests.reports.searches import config, record

CELLS = [cell for size in range(4) for cell in combinations(LOSSES, size)]
NAMES = ["".join(cell) or "random_head" for cell in CELLS]


def a_sweep(clu: dict[str, float], seeds: Sequence[float] = (0.0, 0.001), **probe: Any) -> list[Record]:
    """Confirmations of all eight cells; instrument -> what Clu adds. Con adds 0.1 by every instrument."""
    settings = config(
        subsets=NAMES[1:],
        baselines=["random_head", "label_spreading"],
        probe={"also": [name for name in clu if name], "labels_per_class": [], **probe},
    )
    return [
        record(
            "confirm", name, number, config=settings, metrics=[
                Metric("digits", "test", "", metric, base + of_clu * ("Clu" in cell), instrument)
                for metric in SUMMARY_METRICS
                for instrument, of_clu in clu.items()
                for base in [0.5 + 0.1 * ("Con" in cell) + noise]
            ],
        )
        for number, noise in enumerate(seeds)
        for cell, name in zip(CELLS, NAMES, strict=True)
    ]  # fmt: skip


def test_an_effect_whose_sign_differs_is_named_with_every_instruments_value() -> None:
    frame = instrument_effects([a_sweep({"": 0.01, "paper": -0.085})])
    by = frame[(frame["metric"] == "weighted_f1") & (frame["quantity"] == "Clu") & (frame["kind"] == "main")]
    assert by.set_index("instrument")["value"].to_dict() == pytest.approx({"logistic": 0.01, "paper": -0.085})
    assert not by["same_sign"].any()
    (main, shapley) = opposed(frame, "weighted_f1")
    assert main == "digits, main Clu: +0.010 by logistic, −0.085 by paper."
    assert shapley.startswith("digits, shapley Clu: ")


def test_an_effect_of_one_sign_is_not_named() -> None:
    frame = instrument_effects([a_sweep({"": 0.01, "paper": 0.085, "knn": 0.002})])
    assert frame[frame["quantity"] == "Clu"]["same_sign"].all()
    assert set(frame["instrument"]) == {"logistic", "paper", "knn"}
    assert not [sentence for sentence in opposed(frame, "weighted_f1") if "Clu:" in sentence]


def test_a_value_that_may_be_zero_is_said_to_be() -> None:
    def unsure(one: Record) -> Record:
        noise = 0.2 * one.number * (one.method == "Clu")
        return replace(one, metrics=[replace(metric, value=metric.value + noise) for metric in one.metrics])

    records = [unsure(one) for one in a_sweep({"": 0.01, "paper": -0.2})]
    main, *_ = opposed(instrument_effects([records]), "weighted_f1")
    assert "by logistic (may be 0)" in main


def test_one_instrument_alone_has_nothing_to_compare() -> None:
    records = a_sweep({"": 0.01})
    assert len(factorial([records])) > 0
    assert instrument_effects([records]).empty


def test_the_table_has_a_column_for_each_instrument() -> None:
    table = instrument_table(instrument_effects([a_sweep({"": 0.01, "paper": -0.085})]), "weighted_f1")
    shown = table.shown.set_index(["quantity", "kind"]).loc[("Clu", "main")]
    assert shown["by logistic"].text == "+0.010"
    assert shown["by paper"].text == "−0.085"
    assert shown["by paper"].mark == "best"
    assert shown["sign"] == "differs"
    assert table.shown.set_index(["quantity", "kind"]).loc[("Con", "main"), "sign"] == "same"


def test_columns_of_other_instruments_stand_behind_those_of_the_probe() -> None:
    records = a_sweep({"": 0.01, "knn": 0.02}, labels_per_class=[5])
    assert list(planned_columns(records)) == ["digits", "digits@5", "digits (knn)", "digits@5 (knn)"]


@pytest.mark.parametrize("column", [("digits", "", ""), ("a.b-c_d", "10%", "knn"), ("x", "5", "paper")])
def test_a_columns_name_tells_what_it_is_about(column: tuple[str, str, str]) -> None:
    assert PlannedColumn.named(PlannedColumn(*column).name) == column


def test_what_classifies_by_itself_is_read_by_nothing_else() -> None:
    settings = config(
        baselines=["raw_features", "raw_pca", "label_spreading", "random_head", "supervised_head", "SimCLR"]
    )
    every = set(planned_methods(settings, PlannedColumn("digits", "", "")))
    read = set(planned_methods(settings, PlannedColumn("digits", "", "knn")))
    assert every - read == {"label_spreading", "supervised_head"}


def test_the_ablation_table_shows_all_instruments_and_a_dash_where_none_can_read() -> None:
    records = a_sweep({"": 0.01, "knn": 0.02})
    records.append(
        record("confirm", "label_spreading", 0, config=records[0].config, metrics=[
            Metric("digits", "test", "", metric, 0.6) for metric in SUMMARY_METRICS
        ])
    )  # fmt: skip
    table = ablation([records])
    assert table.complete
    shown, *_ = ablation_tables(table, set(), sources([records]), selection_sentence([records]))
    cells = shown.shown.set_index("method")
    assert cells.loc["label_spreading", "digits (knn)"] == "–"
    assert cells.loc["Clu", "digits (knn)"].text.startswith("0.52")
    assert cells.loc["Clu", "digits"].text.startswith("0.51")


@pytest.mark.parametrize(
    ("selection", "words"),
    [("budget", "as many validation labels as the label budget has"), ("validation", "on all validation labels")],
)
def test_the_caption_says_which_validation_labels_chose(selection: str, words: str) -> None:
    told = selection_sentence([a_sweep({"": 0.0}, selection=selection)])
    assert words in told
    assert told.startswith("Read by the logistic probe")
    assert "The search of hyperparameters saw all validation labels." in told


def test_sweeps_that_chose_differently_are_told_apart_by_their_sets() -> None:
    """Not by their names, which several sweeps may share."""
    first, second = a_sweep({"": 0.0}), a_sweep({"": 0.0}, kind="paper", selection="validation")
    for one in second:
        object.__setattr__(one, "config", {**one.config, "features": {"downstream": {"faces": "/elsewhere"}}})
    told = selection_sentence([first, second])
    assert "digits: Read by the logistic probe" in told
    assert "faces: Read by the paper probe" in told


@pytest.mark.parametrize(("low", "high", "certain"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False)])
def test_an_interval_that_leaves_zero_out_settles_a_sign(low: float, high: float, certain: bool) -> None:
    assert settled(low, high) is certain
    assert not settled(float("nan"), float("nan"))
