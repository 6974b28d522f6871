from typing import Any

import pytest

from reports.output.tables import selection_sentence, usage_table
from reports.statistics.label_usage import class_gaps, label_usage, unmet_budgets
from sweeps.ledger import Predictions, Record
from tests.reports.records import config, record

CLASSES = ("anger", "fear", "joy")
SETTINGS = config(
    features={"downstream": {"digits": "/somewhere"}}, probe={"labels_per_class": [2, 1000], "label_fraction": [0.001]}
)


def drawn(labels: str, train: list[int], **changes: Any) -> Predictions:
    fields: dict[str, Any] = {
        "dataset": "digits", "labels": labels, "fold": 0, "draw": 0, "classes": CLASSES, "multi_label": False,
        "truth": [0, 1, 2], "predicted": [0, 1, 2], "train_samples": sum(train), "train_labels": train,
        "selection_samples": 6,
    }  # fmt: skip
    return Predictions(**{**fields, **changes})


def run(*predictions: Predictions, number: int = 0) -> Record:
    return record("confirm", "Con", number, config=SETTINGS, predictions=predictions)


def test_the_labels_that_each_column_used_are_counted() -> None:
    records = [
        run(drawn("", [24] * 3), drawn("2", [2, 2, 2]), drawn("1000", [24] * 3), drawn("0.1%", [1, 1, 1])),
        run(drawn("", [24] * 3), drawn("2", [2, 1, 1]), number=1),
    ]
    frame = label_usage([records])
    assert list(frame.itertuples(index=False, name=None)) == [
        ("digits", 72, 1.0, 24, 24, 6),
        ("digits@2", 5, pytest.approx(5 / 72), 1, 2, 6),
        ("digits@1000", 72, 1.0, 24, 24, 6),
        ("digits@0.1%", 3, pytest.approx(3 / 72), 1, 1, 6),
    ]
    assert unmet_budgets(frame) == [
        "digits@2: 5 labels, 6.9% of all, 1 to 2 per class",
        "digits@1000: 72 labels, 100.0% of all, 24 per class",
        "digits@0.1%: 3 labels, 4.2% of all, 1 per class",
    ]
    table = usage_table([records])
    assert table is not None
    assert list(table.shown["labels used"]) == ["72", "5", "72", "3"]
    assert list(table.shown["share"]) == ["100.0%", "6.9%", "100.0%", "4.2%"]


def test_a_caption_says_which_budgets_were_not_met_and_which_classes_have_no_samples() -> None:
    records = [run(drawn("", [24, 24, 0], truth=[0, 0, 0]), drawn("1000", [24, 24, 0]))]
    assert class_gaps([records]) == ["digits: no sample in train of joy", "digits: no sample in test of fear, joy"]
    sentence = selection_sentence([records])
    assert "Labels that were used where a budget was not met: digits@1000: 48 labels, 100.0% of all" in sentence
    assert (
        "Classes without samples, whose F1 is 0 and counts in macro F1: digits: no sample in train of joy; "
        "digits: no sample in test of fear, joy." in sentence
    )


def test_a_caption_of_budgets_that_were_met_says_nothing_more() -> None:
    records = [run(drawn("", [24] * 3), drawn("2", [2, 2, 2]))]
    assert selection_sentence([records]).endswith("saw all validation labels.")


def test_labels_of_several_per_sample_are_told_from_samples() -> None:
    several = {"multi_label": True, "truth": [1, 0, 0, 0, 1, 0], "predicted": [0] * 6}
    records = [run(drawn("", [5, 5, 5], train_samples=9, **several), drawn("2", [3, 2, 2], train_samples=5, **several))]
    assert list(label_usage([records])["labels used"]) == [9, 5]
    assert class_gaps([records]) == ["digits: no sample in test of joy"]
    assert unmet_budgets(label_usage([records])) == []


def test_records_of_an_earlier_version_have_no_table() -> None:
    records = [run(drawn("", [], train_samples=0), drawn("2", [], train_samples=0))]
    assert usage_table([records]) is None
    assert class_gaps([records]) == []
