"""Predictions say which test samples go together (a speaker, a dialogue), because such samples are not independent."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from conclugen.features.importing import import_arrays
from conclugen.labels import LabelBudget
from sweeps.config import load_config
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Predictions
from sweeps.trial import TrialRunner
from sweeps.trial.scoring import raw_features

N = 240
SPEAKERS = np.array([f"speaker {number}" for number in np.arange(N) // 4])


@pytest.fixture
def predictions(write_config: Callable[..., Path], tmp_path: Path) -> Callable[..., list[Predictions]]:
    """Return raw features' predictions on a set with 60 speakers of four samples each."""

    def predict(
        groups: dict[str, np.ndarray], split: np.ndarray | None = None, folds: np.ndarray | None = None
    ) -> list[Predictions]:
        labels = np.arange(N) // 4 % 2
        features = {name: np.random.default_rng(0).normal(size=(N, 4)) + labels[:, None] for name in ("video", "text")}
        folder = tmp_path / "set"
        import_arrays(
            features, folder, labels=labels, groups=groups, split=split, folds=folds, class_names=("a", "b"),
            sources=dict.fromkeys(features, "planted"),
        )  # fmt: skip
        places = {"pretrain": str(folder), "downstream": {"set": str(folder)}}
        path = write_config(features=places, modalities=["video", "text"], probe={"labels_per_class": []}, objective={})
        scoring = TrialRunner(load_config(path), SweepFolder(tmp_path / "sweep"), torch.device("cpu")).scoring
        fit = scoring.probe(raw_features, ["video", "text"], alone=True)
        _, _, answers = scoring.confirm(fit, 0, LabelBudget())
        return answers

    return predict


def test_samples_of_a_speaker_have_the_same_number(predictions: Callable[..., list[Predictions]]) -> None:
    split = np.array(["train", "val", "test"])[np.arange(N) // 4 % 3]
    (answers,) = predictions({"speaker": SPEAKERS}, split)
    assert answers.groupings == {"speaker": [number for number in range(20) for _ in range(4)]}


def test_a_speaker_has_the_same_number_in_all_folds(predictions: Callable[..., list[Predictions]]) -> None:
    """Each speaker's four samples lie in the four folds, in the same order of speakers."""
    by_fold = predictions({"speaker": SPEAKERS}, folds=np.arange(N) % 4)
    assert [list(answers.groups) for answers in by_fold] == [list(range(60))] * 4


def test_samples_may_be_in_groups_of_several_kinds(predictions: Callable[..., list[Predictions]]) -> None:
    """The test samples are every third block of four; the blocks of dialogues are twice as long."""
    split = np.array(["train", "val", "test"])[np.arange(N) // 4 % 3]
    (answers,) = predictions({"dialogue": np.arange(N) // 24, "speaker": SPEAKERS}, split)
    assert answers.groupings == {
        "speaker": [number for number in range(20) for _ in range(4)],
        "dialogue": [number for number in range(10) for _ in range(8)],
    }


def test_a_set_that_names_no_groups_has_none(predictions: Callable[..., list[Predictions]]) -> None:
    split = np.array(["train", "val", "test"])[np.arange(N) // 4 % 3]
    (answers,) = predictions({}, split)
    assert answers.groupings == {}
