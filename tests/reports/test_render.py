import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from reports import Ablation, confusion, ranking, terminal_table, write_tables
from reports.ablation import COLUMNS

NAN = float("nan")
NOTHING = (confusion([]), ranking([]))


@pytest.fixture
def table() -> Ablation:
    rows = [
        (dataset, method, metric, *values)
        for metric in ("weighted_f1", "macro_f1", "accuracy")
        for dataset, method, *values in [
            ("digits", "raw_features", 0.5, 0.01, 0.4, 0.6, 3, 0, 0, 0),
            ("digits", "Con", 0.75, 0.02, 0.7, 0.8, 3, 8, 2, 1),
            ("digits", "Gen", NAN, NAN, NAN, NAN, 0, 8, 0, 8),
            ("digits", "Clu", 0.625, NAN, NAN, NAN, 1, 8, 0, 0),
        ]
    ]
    return Ablation(pd.DataFrame(rows, columns=COLUMNS), {"digits": 3})


def test_csv_has_the_documented_columns_and_every_number(table: Ablation, tmp_path: Path) -> None:
    csv, *_ = write_tables(table, *NOTHING, tmp_path / "out")
    header = csv.read_text().splitlines()[0]
    assert header == "dataset,method,metric,mean,std,ci_low,ci_high,n_seeds,n_trials,n_pruned,n_failed"
    pd.testing.assert_frame_equal(pd.read_csv(csv), table.frame)


def test_markdown_marks_best_and_missing_cells(table: Ablation, tmp_path: Path) -> None:
    _, markdown, *_ = write_tables(table, *NOTHING, tmp_path)
    text = markdown.read_text()
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "**0.750 ± 0.020**" in lines["Con"]
    assert "| 0.500 ± 0.010 " in lines["raw_features"]
    assert "| no result " in lines["Gen"]
    assert "| 0.625 (1 of 3 seeds) " in lines["Clu"]
    assert [cell.strip() for cell in lines["method"].split("|")[3:6]] == ["trials", "pruned", "failed"]
    assert [cell.strip() for cell in lines["Con"].split("|")[3:6]] == ["8", "2", "1"]
    for metric in ("weighted_f1", "macro_f1", "accuracy"):
        assert f"## {metric}" in text


def test_terminal_shows_one_line_per_method(table: Ablation) -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(terminal_table(table))
    lines = console.file.getvalue().splitlines()
    assert sum("±" in line for line in lines if line.startswith("│")) == 2
    assert any("Gen" in line and "no result" in line and "8" in line for line in lines)


def test_a_method_that_one_sweep_did_not_plan_is_not_a_missing_result(table: Ablation, tmp_path: Path) -> None:
    faces = table.frame[table.frame["method"] == "Con"].assign(dataset="faces")
    joined = Ablation(pd.concat([table.frame, faces], ignore_index=True), {"digits": 3, "faces": 3})
    _, markdown, *_ = write_tables(joined, *NOTHING, tmp_path)
    gen = next(line for line in markdown.read_text().splitlines() if line.startswith("| Gen"))
    assert [cell.strip() for cell in gen.split("|")[2:4]] == ["no result", "not planned"]


def test_a_narrow_terminal_hides_nothing(table: Ablation) -> None:
    frames = [table.frame.assign(dataset=f"digits@{n}") for n in (2, 5, 10, 20)]
    joined = Ablation(pd.concat([table.frame, *frames]), {"digits": 3, **{f"digits@{n}": 3 for n in (2, 5, 10, 20)}})
    console = Console(file=io.StringIO(), width=80)
    console.print(terminal_table(joined))
    text = console.file.getvalue()
    assert "…" not in text
    assert text.count("0.020") == 5


def test_names_of_variants_are_no_markup(table: Ablation) -> None:
    named = Ablation(table.frame.replace({"method": {"Con": "Con[video-audio]"}}), table.planned_seeds)
    console = Console(file=io.StringIO(), width=100)
    console.print(terminal_table(named))
    assert "Con[video-audio]" in console.file.getvalue()


def test_markdown_says_how_the_objective_ranked(table: Ablation, tmp_path: Path) -> None:
    row = ("digits", "weighted_f1", 7, 0.8125, 0.7, 0.9, 0.85, 0.05)
    ranked = pd.DataFrame([row], columns=ranking([]).columns)
    _, markdown, _, csv = write_tables(table, confusion([]), ranked, tmp_path)
    assert "## How the search's objective ranked" in markdown.read_text()
    assert "| digits    | weighted_f1 |           7 |      0.812 |" in markdown.read_text()
    pd.testing.assert_frame_equal(pd.read_csv(csv), ranked)
    write_tables(table, *NOTHING, tmp_path)
    assert "ranked" not in markdown.read_text()
