"""Two reports are compared cell by cell, line by line, or as a whole."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.bundle.comparison import Comparison, Difference, compare

TABLE = "dataset,method,mean\ndigits,Con,0.5\ndigits,Gen,0.25\n"


def compared(folder: Path, first: dict[str, str], second: dict[str, str], *, exact: bool = True) -> Comparison:
    for name, files in (("first", first), ("second", second)):
        (folder / name).mkdir(parents=True)
        for file, text in files.items():
            (folder / name / file).write_text(text, encoding="utf-8", newline="")
    return compare(folder / "first", folder / "second", sorted({*first, *second}), exact=exact)


def test_equal_tables_are_counted_by_their_numbers(tmp_path: Path) -> None:
    files = {"ablation.csv": TABLE, "ablation.md": "Con 0.500"}
    assert compared(tmp_path, files, files) == Comparison(1, 2, [])


def test_a_changed_cell_is_named_by_line_texts_and_column(tmp_path: Path) -> None:
    result = compared(tmp_path, {"ablation.csv": TABLE.replace("0.25", "0.35")}, {"ablation.csv": TABLE})
    assert result.differences == [Difference("ablation.csv", "3: digits, Gen", "mean", "0.35", "0.25")]


def test_a_changed_name_is_a_difference_too(tmp_path: Path) -> None:
    result = compared(tmp_path, {"a.csv": TABLE.replace("Gen", "Clu")}, {"a.csv": TABLE}, exact=False)
    assert [(cell.column, cell.bundled, cell.computed) for cell in result.differences] == [("method", "Clu", "Gen")]


@pytest.mark.parametrize(
    ("bundled", "cells"),
    [
        (TABLE + "digits,Clu,1\n", [("dataset", "digits", "–"), ("method", "Clu", "–"), ("mean", "1", "–")]),
        (TABLE.replace("0.25", "0.25,7"), [("–", "7", "–")]),
        (TABLE.replace("0.25", "0.25,").replace(",mean", ",mean,std"), [("std / –", "std", "–"), ("std / –", "", "–")]),
    ],
)
def test_rows_and_cells_that_only_one_has_are_differences(
    tmp_path: Path, bundled: str, cells: list[tuple[str, str, str]]
) -> None:
    result = compared(tmp_path, {"a.csv": bundled}, {"a.csv": TABLE})
    assert [(cell.column, cell.bundled, cell.computed) for cell in result.differences] == cells


@pytest.mark.parametrize(
    ("number", "other", "equal"),
    [
        ("0.1234567891", "0.1234567892", True),
        ("0.1234567891", "0.1234567993", False),
        ("1e-17", "0", True),
        ("-2.2e-16", "0", True),
        ("0.001", "0", False),
        ("1e-17", "", False),
        ("", "nan", False),
    ],
)
def test_other_versions_may_differ_in_the_tenth_digit(tmp_path: Path, number: str, other: str, equal: bool) -> None:
    files = [{"a.csv": TABLE.replace("0.25", text)} for text in (number, other)]
    assert (compared(tmp_path / "other", *files, exact=False).differences == []) == equal
    assert len(compared(tmp_path / "same", *files, exact=True).differences) == 1


@given(place=st.integers(0, 9), digit=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_a_changed_digit_is_found_by_the_same_versions(
    tmp_path_factory: pytest.TempPathFactory, place: int, digit: int
) -> None:
    number = "0.7071067811"
    changed = number[: place + 2] + str(digit) + number[place + 3 :]
    files = [{"a.csv": TABLE.replace("0.25", text)} for text in (changed, number)]
    result = compared(tmp_path_factory.mktemp("digit"), *files)
    assert len(result.differences) == (changed != number)


def test_other_texts_are_compared_by_lines_where_versions_are_the_same(tmp_path: Path) -> None:
    first, second = {"a.tex": "same\n0.5\n", "b.parquet": "x"}, {"a.tex": "same\n0.6\n", "b.parquet": "y"}
    result = compared(tmp_path / "same", first, second)
    assert result.differences == [
        Difference("a.tex", "2", "", "0.5", "0.6"), Difference("b.parquet", "", "", "other bytes", "other bytes"),
    ]  # fmt: skip
    assert compared(tmp_path / "other", first, second, exact=False).differences == []


@pytest.mark.parametrize("exact", [True, False])
def test_a_table_that_one_report_lacks_is_one_difference(tmp_path: Path, exact: bool) -> None:
    result = compared(tmp_path, {"a.csv": TABLE}, {"b.csv": TABLE}, exact=exact)
    assert result == Comparison(
        0, 0, [Difference("a.csv", "", "", "there", "–"), Difference("b.csv", "", "", "–", "there")]
    )
