from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conclugen.features.classes import LabelCounts, class_findings, label_counts
from conclugen.features.importing import import_arrays
from conclugen.features.manifest import FeatureSetError, Manifest
from conclugen.features.verification import verify

NAMES = ("anger", "fear", "joy")


def labelled(folder: Path, parts: Mapping[str | int, Sequence[int]], **changes: Any) -> Path:
    """Write a set with this number of samples per class in each split, or in each numbered fold."""
    labels = np.concatenate([np.repeat(np.arange(len(counts)), counts) for counts in parts.values()])
    split = np.repeat(list(parts), [sum(counts) for counts in parts.values()])
    features = {"x": np.random.default_rng(0).normal(size=(len(labels), 3))}
    place = "folds" if split.dtype.kind == "i" else "split"
    options: dict[str, Any] = {"split": None, place: split, "class_names": NAMES, "labels": labels, **changes}
    import_arrays(features, folder, sources={"x": "planted"}, **options)
    return folder


def findings(folder: Path) -> tuple[list[str], list[str]]:
    found = class_findings(Manifest.read(folder), label_counts(folder))
    return found.problems, found.notes


def test_a_set_with_all_classes_everywhere_has_no_finding(tmp_path: Path) -> None:
    assert findings(labelled(tmp_path / "set", {"train": [2, 2, 2], "val": [1, 1, 1], "test": [1, 1, 1]})) == ([], [])


@pytest.mark.parametrize(
    ("parts", "problems", "notes"),
    [
        (
            {"train": [9, 9, 0], "val": [2, 2, 2], "test": [2, 2, 2]},
            [],
            ["'joy' has no sample in train: the F1 of such a class is 0, because no classifier can learn it."],
        ),
        (
            {"train": [9, 9, 1], "val": [2, 2, 0], "test": [2, 2, 0]},
            [],
            [
                "'joy' has a single sample in train.",
                "'joy' has no sample in val: no setting is chosen for such a class.",
                "'joy' has no sample in test: the F1 of such a class is 0, and counts in macro averages.",
            ],
        ),
        (
            {"train": [9, 9, 9], "val": [9, 0, 0], "test": [9, 9, 9]},
            ["val has a single class; divide the set again, so that val has several."],
            ["'fear', 'joy' have no sample in val: no setting is chosen for such a class."],
        ),
        (
            {"train": [0, 9, 0], "val": [9, 9, 9], "test": [9, 9, 9]},
            ["train has a single class; divide the set again, so that train has several."],
            [
                "'anger', 'joy' have no sample in train: the F1 of such a class is 0, because no classifier can learn "
                "it.",
            ],
        ),
        (
            {"train": [9, 9, 9], "val": [9, 9, 9], "test": [0, 0, 9]},
            [],
            [
                "test has a single class; scores on it say little.",
                "'anger', 'fear' have no sample in test: the F1 of such a class is 0, and counts in macro averages.",
            ],
        ),
        (
            {0: [2, 2, 2], 1: [2, 2, 2], 2: [2, 2, 2], 3: [2, 2, 0]},
            [],
            [
                "'joy' has no sample in val in 1 of 4 divisions into folds: no setting is chosen for such a class.",
                "'joy' has no sample in test in 1 of 4 divisions into folds: the F1 of such a class is 0, and counts "
                "in macro averages.",
            ],
        ),
        (
            {0: [2, 2, 2], 1: [2, 0, 0], 2: [2, 2, 2], 3: [2, 2, 2]},
            ["val has a single class in 1 of 4 divisions into folds; divide the set again, so that val has several."],
            [
                "'fear', 'joy' have no sample in val in 1 of 4 divisions into folds: no setting is chosen for such a "
                "class.",
                "test has a single class in 1 of 4 divisions into folds; scores on it say little.",
                "'fear', 'joy' have no sample in test in 1 of 4 divisions into folds: the F1 of such a class is 0, and "
                "counts in macro averages.",
            ],
        ),
    ],
)
def test_missing_and_single_classes_are_named(
    tmp_path: Path, parts: dict[str | int, list[int]], problems: list[str], notes: list[str]
) -> None:
    folder = labelled(tmp_path / "set", parts)
    assert findings(folder) == (problems, notes)
    verified = verify(folder)
    assert verified.problems == problems
    assert verified.notes[: len(notes)] == notes


def test_several_labels_are_counted_by_label_and_a_part_with_equal_labels_is_a_problem(tmp_path: Path) -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]] + [[0, 1, 0]] * 3 + [[1, 0, 1], [0, 1, 1]])
    split = np.array(["train"] * 3 + ["val"] * 3 + ["test"] * 2)
    features = {"x": np.random.default_rng(0).normal(size=(8, 3))}
    folder = tmp_path / "set"
    import_arrays(features, folder, labels=labels, class_names=NAMES, split=split, sources={"x": "planted"})
    (division,) = label_counts(folder)
    assert division["train"] == LabelCounts(3, (2, 1, 0))
    problems, notes = findings(folder)
    assert problems == ["val has the same labels on every sample; divide the set again, so that val has several."]
    assert "'fear' has a single sample in train." in notes


def test_a_set_for_pretraining_may_have_train_only(tmp_path: Path) -> None:
    assert findings(labelled(tmp_path / "set", {"train": [2, 2, 2]})) == ([], [])


def test_an_unlabelled_set_has_no_counts(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "set", {"train": [2, 2, 2]}, labels=None, class_names=None)
    with pytest.raises(FeatureSetError, match="has no labels"):
        label_counts(folder)
