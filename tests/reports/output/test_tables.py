import math
from dataclasses import replace

import pandas as pd
import pytest

from reports.output.probe_tables import class_tables
from reports.output.published_table import published_table
from reports.output.tables import (
    ablation_tables,
    cell_sources,
    file_name,
    label_table,
    modality_table,
    pair_table,
    selection_sentence,
)
from reports.statistics.ablation import COLUMNS, Ablation, ablation
from sweeps.ledger import SUMMARY_METRICS, Metric
from tests.reports.records import record, sweep_by_instruments
from tests.reports.statistics.test_ablation import CONFIG, confirm, search

NAN = float("nan")
SELECTION = "Which labels chose the settings."
SOURCES = {("digits", "Con"): ("s: confirm-Con-00000",)}


@pytest.fixture
def table() -> Ablation:
    rows = [
        (dataset, method, metric, *values)
        for metric in (*SUMMARY_METRICS, "f1/one", "f1/two")
        for dataset, method, *values in [
            ("digits", "raw_features", 0.5, 0.01, 3, 0, 0, 0),
            ("digits", "Con", 0.75, 0.02, 3, 8, 2, 1),
            ("digits", "Gen", NAN, NAN, 0, 8, 0, 8),
            ("digits", "Clu", 0.625, NAN, 1, 8, 0, 0),
        ]
    ]
    return Ablation(pd.DataFrame(rows, columns=COLUMNS), {"digits": 3})


def with_more(table: Ablation, **changes: str) -> Ablation:
    """Return the table with a changed copy of the rows of Con."""
    copies = table.frame[table.frame["method"] == "Con"].assign(**changes)
    frame = pd.concat([table.frame, copies], ignore_index=True)
    return Ablation(frame, dict.fromkeys(frame["dataset"], 3))


def test_the_ablation_table_marks_the_best_and_ties_and_names_missing_results(table: Ablation) -> None:
    tied = {("digits", "weighted_f1", "Clu")}
    shown, *further = ablation_tables(table, tied, SOURCES, SELECTION)
    cells = shown.shown.set_index("method")["digits"]
    assert (cells["Con"].text, cells["Con"].mark) == ("0.750 ± 0.020", "best")
    assert cells["Con"].records == ("s: confirm-Con-00000",)
    assert (cells["raw_features"].text, cells["raw_features"].mark) == ("0.500 ± 0.010", "plain")
    assert cells["Gen"].text == "no result"
    assert (cells["Clu"].text, cells["Clu"].mark) == ("0.625 (1 of 3 seeds)", "tied")
    assert shown.shown.set_index("method").loc["Con", ["trials", "pruned", "failed"]].tolist() == ["8", "2", "1"]
    names = [each.name for each in (shown, *further)]
    assert names == ["ablation", "ablation-macro_f1", "ablation-accuracy"]
    pd.testing.assert_frame_equal(shown.numbers, table.frame)
    assert tuple(shown.numbers.columns) == COLUMNS


def test_an_unplanned_cell_is_not_a_missing_result(table: Ablation) -> None:
    shown, *_ = ablation_tables(with_more(table, dataset="faces"), set(), {}, SELECTION)
    gen = shown.shown.set_index("method").loc["Gen"]
    assert gen["digits"].text == "no result"
    assert gen["faces"] == "not planned"


def test_fewer_modalities_have_a_table_of_their_own(table: Ablation) -> None:
    assert modality_table(table, "weighted_f1", set(), {}) is None
    restricted = with_more(table, method="Con[video-audio]")
    ablation, *_ = ablation_tables(restricted, set(), {}, SELECTION)
    assert "Con[video-audio]" not in ablation.shown["method"].tolist()
    modalities = modality_table(restricted, "weighted_f1", set(), {})
    assert modalities is not None
    row = modalities.shown.set_index("method").loc["Con"]
    assert [row["all modalities"].text, row["video-audio"].text] == ["0.750 ± 0.020"] * 2
    assert modalities.shown.set_index("method").loc["Gen", "video-audio"] == "not planned"


def test_each_choice_of_modalities_has_its_best_method(table: Ablation) -> None:
    frame = with_more(table, method="Con[video-audio]").frame
    frame["mean"] = frame["mean"].mask(frame["method"] == "Con[video-audio]", 0.8)
    modalities = modality_table(Ablation(frame, table.planned_seeds), "weighted_f1", set(), {})
    assert modalities is not None
    row = modalities.shown.set_index("method").loc["Con"]
    assert [row["all modalities"].mark, row["video-audio"].mark] == ["best", "best"]


def test_label_budgets_are_ordered_from_few_to_all_labels(table: Ablation) -> None:
    intervals = pd.DataFrame(
        [("digits@5", "Con", "weighted_f1", 0.7, 0.8)], columns=["dataset", "method", "metric", "low", "high"]
    )
    assert label_table(table, "weighted_f1", set(), {}, intervals) is None
    budgets = with_more(with_more(table, dataset="digits@10%"), dataset="digits@20")
    budgets = with_more(budgets, dataset="digits@5")
    labels = label_table(budgets, "weighted_f1", set(), {}, intervals)
    assert labels is not None
    assert labels.shown.columns.tolist() == ["method", "digits@5", "digits@20", "digits@10%", "digits"]
    assert set(labels.numbers["labels"]) == {"5", "20", "10%", "all"}
    assert set(labels.numbers["dataset"]) == {"digits"}
    bounds = labels.numbers.set_index(["labels", "method"])[["low", "high"]].dropna()
    assert bounds.drop_duplicates().to_dict("index") == {("5", "Con"): {"low": 0.7, "high": 0.8}}


def test_each_class_has_its_best_method(table: Ablation) -> None:
    frame = table.frame.copy()
    frame.loc[(frame["metric"] == "f1/two") & (frame["method"] == "Clu"), "mean"] = 0.9
    (classes,) = class_tables(replace(table, frame=frame), {})
    cells = classes.shown.set_index("method")
    assert cells.columns.tolist() == ["one", "two"]
    assert [cells.loc["Con", "one"].mark, cells.loc["Con", "two"].mark] == ["best", "plain"]
    assert cells.loc["Clu", "two"].mark == "best"


def test_published_numbers_are_compared_with_ours_if_we_have_them(table: Ablation) -> None:
    rows = [("digits", "Con", "weighted_f1", 0.7, "paper"), ("digits", "MulT", "weighted_f1", 0.6, "")]
    published = pd.DataFrame(rows, columns=("dataset", "method", "metric", "value", "source"))
    comparison = published_table(table, published, SOURCES)
    assert comparison.numbers["difference"].tolist() == pytest.approx([0.05, NAN], nan_ok=True)
    assert comparison.shown["ours − published"].tolist() == ["+0.050", "–"]
    assert [cell.text for cell in comparison.shown["ours"]] == ["0.750 ± 0.020", "–"]
    assert comparison.shown["published"].tolist() == ["0.700", "0.600"]


def test_significant_p_values_are_bold() -> None:
    row = {
        "dataset": "digits", "metric": "weighted_f1", "first": "Con", "second": "Gen", "family": "subsets",
        "difference": -0.1, "low": -0.2, "high": -0.05, "p": 0.0005, "p_holm": 0.0105, "n_seeds": 3,
        "improvement": 0.25, "verdict": "settled", "more_seeds": 0.0, "more_searches": 0.0,
    }  # fmt: skip
    shown = pair_table(pd.DataFrame([row]), "weighted_f1", 0.01).shown.iloc[0]
    assert shown["first − second"] == "−0.100"
    assert shown["95 % interval"] == "−0.200 to −0.050"
    assert shown["p"] == "< 0.001"
    assert (shown["p (Holm)"].text, shown["p (Holm)"].mark) == (
        "0.011",
        "best",
    )  # 0.0105 has no exact binary form and rounds up
    assert (shown["verdict"], shown["to settle it"]) == ("settled", "–")


@pytest.mark.parametrize(
    ("seeds", "searches", "text"),
    [
        (7.0, NAN, "7 more seeds"),
        (1.0, 2.0, "1 more seed or 2 more searches"),
        (math.inf, 1.0, "1 more search"),
        (math.inf, NAN, "more test samples"),
        (math.inf, math.inf, "more test samples"),
        (NAN, NAN, "–"),
    ],
)
def test_an_open_pair_says_what_would_settle_it(seeds: float, searches: float, text: str) -> None:
    row = {
        "dataset": "digits", "metric": "weighted_f1", "first": "Con", "second": "Gen", "family": "subsets",
        "difference": -0.1, "low": -0.2, "high": 0.05, "p": 0.2, "p_holm": 0.4, "n_seeds": 3,
        "improvement": 0.25, "verdict": "open", "more_seeds": seeds, "more_searches": searches,
    }  # fmt: skip
    assert pair_table(pd.DataFrame([row]), "weighted_f1", 0.01).shown.iloc[0]["to settle it"] == text


def test_cells_name_the_records_behind_them() -> None:
    ledger = [search("Con", 0), confirm("Con", 0, 0.5), confirm("Con", 1, 0.5)]
    records = cell_sources([ledger])
    assert records["digits", "Con"] == ("s: confirm-Con-00000", "s: confirm-Con-00001")
    assert records["digits@5", "Con"] == records["digits", "Con"]
    assert records["digits", "Gen"] == ()
    assert {dataset for dataset, _ in records} == {"digits", "digits@5"}
    assert CONFIG["baselines"][0] in {method for _, method in records}


def test_the_ablation_table_shows_all_instruments_and_a_dash_for_methods_that_classify_by_themselves() -> None:
    records = sweep_by_instruments({"": 0.01, "knn": 0.02})
    metrics = [Metric("digits", "test", "", metric, 0.6) for metric in SUMMARY_METRICS]
    records.append(record("confirm", "label_spreading", 0, config=records[0].config, metrics=metrics))
    table = ablation([records])
    assert table.complete
    shown, *_ = ablation_tables(table, set(), cell_sources([records]), selection_sentence([records]))
    cells = shown.shown.set_index("method")
    assert cells.loc["label_spreading", "digits (knn)"] == "–"
    assert cells.loc["Clu", "digits (knn)"].text.startswith("0.52")
    assert cells.loc["Clu", "digits"].text.startswith("0.51")


@pytest.mark.parametrize(
    ("selection", "words"),
    [("budget", "as many validation labels as the label budget has"), ("validation", "on all validation labels")],
)
def test_the_caption_says_which_validation_labels_chose_the_settings(selection: str, words: str) -> None:
    sentence = selection_sentence([sweep_by_instruments({"": 0.0}, selection=selection)])
    assert words in sentence
    assert sentence.startswith("Scores are by the logistic probe")
    assert "The search of hyperparameters saw all validation labels." in sentence


def test_the_caption_names_the_downstream_sets_of_sweeps_that_chose_differently() -> None:
    """Several sweeps may have the same name, so the names of sweeps would not do."""
    faces = {"features": {"downstream": {"faces": "/elsewhere"}}}
    first = sweep_by_instruments({"": 0.0})
    second = [
        replace(run, config={**run.config, **faces})
        for run in sweep_by_instruments({"": 0.0}, kind="paper", selection="validation")
    ]
    sentence = selection_sentence([first, second])
    assert "digits: Scores are by the logistic probe" in sentence
    assert "faces: Scores are by the paper probe" in sentence


@pytest.mark.parametrize(
    ("name", "expected"),
    [("digits@5", "digits-5"), ("a b/c@10%", "a-b-c-10pct"), ("Con[video-audio]", "Con-video-audio")],
)
def test_file_names_have_safe_characters_only(name: str, expected: str) -> None:
    assert file_name(name) == expected
