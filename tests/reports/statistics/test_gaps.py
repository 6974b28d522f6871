"""How many rows had which modalities, as a report says it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.output.findings import document
from reports.output.probe_tables import gap_table
from reports.output.provenance import provenance
from reports.statistics.gaps import gap_sentences, row_counts, rows_by_modalities
from tests.reports.records import record

ROWS: dict[str, Any] = {
    "pretrain": {"train": {"video+audio+text": 70, "video+text": 20, "text": 10}},
    "downstream.digits": {"train": {"video+audio": 3, "audio": 1}, "test": {"video+audio": 4}},
}
FORMER = record("search", "Con", 0)
STORED = json.loads(json.dumps(ROWS, sort_keys=True))
"""As the ledger gives it back, which keeps no order."""
LATEST = record("search", "Con", 1, started="2026-02-01T00:00:00+00:00", rows_by_modalities=STORED)


def test_each_combination_is_a_row_with_its_share_of_the_split() -> None:
    frame = rows_by_modalities(row_counts([[LATEST, FORMER], [replace(FORMER, sweep="whole")]]))
    assert list(frame.itertuples(index=False, name=None)) == [
        ("s", "pretrain", "train", "video + audio + text", 70, 0.7),
        ("s", "pretrain", "train", "video + text", 20, 0.2),
        ("s", "pretrain", "train", "text", 10, 0.1),
        ("s", "downstream.digits", "train", "video + audio", 3, 0.75),
        ("s", "downstream.digits", "train", "audio", 1, 0.25),
        ("s", "downstream.digits", "test", "video + audio", 4, 1.0),
    ]
    table = gap_table(row_counts([[LATEST]]))
    assert table is not None
    assert list(table.shown["share"]) == ["70.0%", "20.0%", "10.0%", "75.0%", "25.0%", "100.0%"]


def test_sentences_count_the_rows_that_lack_a_modality() -> None:
    assert list(gap_sentences(row_counts([[LATEST]]))) == [
        "s: 30 of 100 rows of pretrain lack a modality",
        "s: 1 of 8 rows of downstream.digits lack a modality",
    ]


def test_a_set_without_a_complete_row_is_counted_by_all_its_modalities() -> None:
    rows = {"pretrain": {"train": {"video": 2, "audio": 3}}}
    (sentence,) = gap_sentences(row_counts([[replace(LATEST, rows_by_modalities=rows)]]))
    assert sentence == "s: 5 of 5 rows of pretrain lack a modality"


@pytest.mark.parametrize("ledgers", [[], [[FORMER]]])
def test_without_gaps_nothing_is_said(ledgers: list[Any]) -> None:
    counts = row_counts(ledgers)
    assert counts == {}
    assert gap_table(counts) is None
    assert list(gap_sentences(counts)) == []


def test_provenance_and_json_say_it() -> None:
    facts = provenance([[FORMER, LATEST]], [Path("runs/s")], "conclugen report runs/s").facts
    assert ("s: rows of pretrain train", "70 video+audio+text, 20 video+text, 10 text") in facts
    printed = json.loads(json.dumps(document([], [], Path("out"), [], complete=True, rows=row_counts([[LATEST]]))))
    assert printed["rows_by_modalities"] == {"s": ROWS}
    assert json.dumps(printed["rows_by_modalities"]) == json.dumps({"s": ROWS})  # in the same order
