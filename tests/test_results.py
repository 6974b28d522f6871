"""The scores of EMO-DB in the results are those of the report that is kept."""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "reports" / "examples" / "emodb"


def _kept(name: str) -> dict[tuple[str, str], dict[str, str]]:
    """Return (column, method) -> row of weighted F1 in a table of the report."""
    with (KEPT / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return {(row["dataset"], row["method"]): row for row in csv.DictReader(file) if row["metric"] == "weighted_f1"}


def _section(title: str) -> str:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    return page.partition(f"## {title}\n")[2].partition("\n## ")[0]


def _rounded(row: dict[str, str], *names: str) -> list[str]:
    return [f"{float(row[name]):.3f}" for name in names]


def _rows() -> list[list[str]]:
    table = [line for line in _section("EMO-DB").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1:]]


@pytest.mark.parametrize("place", [0, 1])
def test_every_score_and_interval_of_emodb_is_that_of_the_kept_report(place: int) -> None:
    column = ("emodb", "emodb@5")[place]
    scores, intervals = _kept("ablation"), _kept("intervals")
    best = max(float(row["mean"]) for (name, _), row in scores.items() if name == column)
    rows = _rows()
    assert [method for method, *_ in rows] == [method for name, method in scores if name == column]
    for method, *cells in rows:
        own = scores[column, method]
        expected = _rounded(own, "mean", "std")
        if (by_paper := scores.get((f"{column} (paper)", method))) is not None:
            expected += _rounded(by_paper, "mean")
        score, interval = cells[2 * place : 2 * place + 2]
        assert re.findall(r"\d\.\d{3}", score) == expected, method
        assert ("**" in score) == (float(own["mean"]) == best), method
        assert re.findall(r"\d\.\d{3}", interval) == _rounded(intervals[column, method], "low", "high"), method


def test_every_effect_in_the_text_is_in_the_kept_report() -> None:
    report = "".join(
        (KEPT / name).read_text(encoding="utf-8") for name in ("effects.md", "instruments.md", "findings.md")
    )
    effects = re.findall(r"[+−]\d\.\d{3}", _section("EMO-DB"))
    assert len(effects) > 8
    assert [effect for effect in effects if effect not in report] == []


def test_every_loss_subset_and_both_instruments_are_there() -> None:
    methods = {method for method, *_ in _rows()}
    assert {"Con", "Clu", "Gen", "ConClu", "ConGen", "CluGen", "ConCluGen", "raw_features", "random_head"} <= methods
    assert all("(" in cells[0] for method, *cells in _rows() if "Con" in method or "Gen" in method)


def test_the_intervals_take_the_samples_of_a_speaker_together() -> None:
    for column in ("emodb", "emodb@5"):
        rows = [row for (name, _), row in _kept("intervals").items() if name == column]
        assert {(row["n_groups"], row["grouped_by"]) for row in rows} == {("10", "speaker")}


def test_the_kept_report_names_no_folder_of_the_machine_that_made_it() -> None:
    for file in KEPT.iterdir():
        assert not re.search(r"/(tmp|home|root|work)/", file.read_text(encoding="utf-8")), file
