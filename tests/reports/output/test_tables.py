from dataclasses import replace

import pandas as pd
import pytest

from reports.output.probe_tables import class_tables
from reports.output.tables import (
    ablation_tables,
    file_name,
    label_table,
    modality_table,
    pair_table,
    published_table,
    sources,
)
from reports.statistics.ablation import COLUMNS, Ablation
from sweeps.ledger import SUMMARY_METRICS
from tests.reports.statistics.test_ablation import CONFIG, confirm, search

NAN = float("nan")
SELECTION = "Chosen somehow."
FOUND = {("digits", "Con"): ("s: confirm-Con-00000",)}


@pytest.fixture
def table() -> Ablation:
    rows = [
        (dataset, method, metric, *values)
        for metric in (*SUMMARY_METRICS, "f1/one", "f1/two")
        for dataset, method, *values in [
            ("digits", "raw_features", 0.5, 0.01, 0.4, 0.6, 3, 0, 0, 0),
            ("digits", "Con", 0.75, 0.02, 0.7, 0.8, 3, 8, 2, 1),
            ("digits", "Gen", NAN, NAN, NAN, NAN, 0, 8, 0, 8),
            ("digits", "Clu", 0.625, NAN, NAN, NAN, 1, 8, 0, 0),
        ]
    ]
    return Ablation(pd.DataFrame(rows, columns=COLUMNS), {"digits": 3})


def with_more(table: Ablation, **changes: str) -> Ablation:
    more = table.frame[table.frame["method"] == "Con"].assign(**changes)
    joined = pd.concat([table.frame, more], ignore_index=True)
    return Ablation(joined, dict.fromkeys(joined["dataset"], 3))


def test_the_best_is_marked_and_missing_results_are_said(table: Ablation) -> None:
    tied = {("digits", "weighted_f1", "Clu")}
    shown, *others = ablation_tables(table, tied, FOUND, SELECTION)
    cells = shown.shown.set_index("method")["digits"]
    assert (cells["Con"].text, cells["Con"].mark) == ("0.750 ± 0.020", "best")
    assert cells["Con"].records == ("s: confirm-Con-00000",)
    assert (cells["raw_features"].text, cells["raw_features"].mark) == ("0.500 ± 0.010", "plain")
    assert cells["Gen"].text == "no result"
    assert (cells["Clu"].text, cells["Clu"].mark) == ("0.625 (1 of 3 seeds)", "tied")
    assert shown.shown.set_index("method").loc["Con", ["trials", "pruned", "failed"]].tolist() == ["8", "2", "1"]
    assert [one.name for one in (shown, *others)] == ["ablation", "ablation-macro_f1", "ablation-accuracy"]
    pd.testing.assert_frame_equal(shown.numbers, table.frame)
    assert tuple(shown.numbers.columns) == COLUMNS


def test_what_one_sweep_did_not_plan_is_not_a_missing_result(table: Ablation) -> None:
    shown, *_ = ablation_tables(with_more(table, dataset="faces"), set(), {}, SELECTION)
    gen = shown.shown.set_index("method").loc["Gen"]
    assert gen["digits"].text == "no result"
    assert gen["faces"] == "not planned"


def test_fewer_modalities_have_a_table_of_their_own(table: Ablation) -> None:
    assert modality_table(table, "weighted_f1", set(), {}) is None
    more = with_more(table, method="Con[video-audio]")
    shown, *_ = ablation_tables(more, set(), {}, SELECTION)
    assert "Con[video-audio]" not in shown.shown["method"].tolist()
    found = modality_table(more, "weighted_f1", set(), {})
    assert found is not None
    row = found.shown.set_index("method").loc["Con"]
    assert [row["all modalities"].text, row["video-audio"].text] == ["0.750 ± 0.020"] * 2
    assert found.shown.set_index("method").loc["Gen", "video-audio"] == "not planned"


def test_label_budgets_stand_from_few_to_all(table: Ablation) -> None:
    assert label_table(table, "weighted_f1", set(), {}) is None
    more = with_more(with_more(table, dataset="digits@10%"), dataset="digits@20")
    more = with_more(more, dataset="digits@5")
    found = label_table(more, "weighted_f1", set(), {})
    assert found is not None
    assert found.shown.columns.tolist() == ["method", "digits@5", "digits@20", "digits@10%", "digits"]
    assert set(found.numbers["labels"]) == {"5", "20", "10%", "all"}
    assert set(found.numbers["dataset"]) == {"digits"}


def test_each_class_has_its_best(table: Ablation) -> None:
    changed = table.frame.copy()
    changed.loc[(changed["metric"] == "f1/two") & (changed["method"] == "Clu"), "mean"] = 0.9
    (found,) = class_tables(replace(table, frame=changed), {})
    cells = found.shown.set_index("method")
    assert cells.columns.tolist() == ["one", "two"]
    assert [cells.loc["Con", "one"].mark, cells.loc["Con", "two"].mark] == ["best", "plain"]
    assert cells.loc["Clu", "two"].mark == "best"


def test_published_numbers_stand_beside_ours_where_we_have_them(table: Ablation) -> None:
    rows = [("digits", "Con", "weighted_f1", 0.7, "paper"), ("digits", "MulT", "weighted_f1", 0.6, "")]
    given = pd.DataFrame(rows, columns=("dataset", "method", "metric", "value", "source"))
    found = published_table(table, given, FOUND)
    assert found.numbers["difference"].tolist() == pytest.approx([0.05, NAN], nan_ok=True)
    assert found.shown["ours − published"].tolist() == ["+0.050", "–"]
    assert [cell.text for cell in found.shown["ours"]] == ["0.750 ± 0.020", "–"]
    assert found.shown["published"].tolist() == ["0.700", "0.600"]


def test_small_p_values_are_bold() -> None:
    row = {
        "dataset": "digits", "metric": "weighted_f1", "first": "Con", "second": "Gen", "family": "subsets",
        "difference": -0.1, "low": -0.2, "high": -0.05, "p": 0.0005, "p_holm": 0.0105, "n_seeds": 3,
    }  # fmt: skip
    shown = pair_table(pd.DataFrame([row]), "weighted_f1").shown.iloc[0]
    assert shown["first − second"] == "−0.100"
    assert shown["95 % interval"] == "−0.200 to −0.050"
    assert shown["p"] == "< 0.001"
    assert (shown["p (Holm)"].text, shown["p (Holm)"].mark) == ("0.011", "best")  # 0.0105 rounds so in binary


def test_cells_name_the_records_that_they_come_from() -> None:
    ledger = [search("Con", 0), confirm("Con", 0, 0.5), confirm("Con", 1, 0.5)]
    found = sources([ledger])
    assert found["digits", "Con"] == ("s: confirm-Con-00000", "s: confirm-Con-00001")
    assert found["digits@5", "Con"] == found["digits", "Con"]
    assert found["digits", "Gen"] == ()
    assert {dataset for dataset, _ in found} == {"digits", "digits@5"}
    assert CONFIG["baselines"][0] in {method for _, method in found}


@pytest.mark.parametrize(
    ("name", "fit"), [("digits@5", "digits-5"), ("a b/c@10%", "a-b-c-10pct"), ("Con[video-audio]", "Con-video-audio")]
)
def test_file_names(name: str, fit: str) -> None:
    assert file_name(name) == fit
