"""The label budget also limits which validation labels choose a classifier's setting."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from conclugen.hyperparameters import Hyperparameters
from conclugen.labels import LabelBudget
from sweeps.config import SweepConfig, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.trial import TrialRunner
from sweeps.trial.scoring import Division, Fit, Fitted, LabelChoice, Scoring, raw_features
from tests.conftest import write_planted

WIDTHS = {"video": 7, "audio": 5, "text": 4}
ROWS, SEED = 480, 5
CLASSES = np.arange(ROWS) % 3
VALIDATION = np.flatnonzero(np.arange(ROWS) // 3 % 4 == 2)
"""Rows of the validation samples."""
BUDGET = LabelBudget(per_class=3)
DRAWS = 2

METHODS: Mapping[str, Callable[[Scoring], Fit]] = {
    "probe": lambda scoring: scoring.probe(raw_features, list(WIDTHS), alone=False),
    "label_spreading": lambda scoring: scoring.label_spreading(list(WIDTHS)),
    "supervised_head": lambda scoring: scoring.supervised_head(WIDTHS, SUPERVISED),
}
SUPERVISED = Hyperparameters(representation_dim=8, warmup_epochs=1, batch_size=20, lr=0.01)


@pytest.fixture
def scoring_of(write_config: Callable[..., Path], tmp_path: Path) -> Callable[[Path, str], Scoring]:
    """Return a function that opens a set with one selection."""

    def make(folder: Path, selection: str) -> Scoring:
        config = load_config(
            write_config(
                features={"pretrain": str(folder), "downstream": {"set": str(folder)}},
                budget={"trials_per_subset": 1, "epochs": 8, "seeds": 1},
                probe={"also": ["knn", "paper"], "selection": selection, "label_draws": DRAWS},
            )
        )
        return runner(config, tmp_path).scoring

    return make


def runner(config: SweepConfig, tmp_path: Path) -> TrialRunner:
    return TrialRunner(config, SweepFolder(tmp_path / "sweep"), torch.device("cpu"))


def division_of(scoring: Scoring) -> Division:
    ((division,),) = scoring.confirm_sets.values()
    return division


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_planted(tmp_path / "sound", rows=ROWS)


def spoiled(folder: Path, choice: LabelChoice) -> Path:
    """Write the same set with wrong labels for all validation samples that choose for no draw."""
    labels = CLASSES.copy()
    assert choice.selection is not None
    outside = np.setdiff1d(np.arange(len(VALIDATION)), choice.selection.numpy())
    assert len(outside) > len(VALIDATION) / 2
    labels[VALIDATION[outside]] = (labels[VALIDATION[outside]] + 1) % 3
    return write_planted(folder, rows=ROWS, labels=labels)


def same(one: Fitted, other: Fitted) -> bool:
    """Whether both chose the same settings and predict the same on test."""
    answers = one.answer("test")
    other_answers = other.answer("test")
    return (
        torch.equal(answers.predicted, other_answers.predicted)
        and torch.equal(answers.probabilities, other_answers.probabilities)
        and list(one.chosen) == list(other.chosen)
    )


@pytest.mark.parametrize("method", METHODS)
def test_validation_labels_beyond_the_budget_choose_nothing(
    scoring_of: Callable[[Path, str], Scoring], sound: Path, tmp_path: Path, method: str
) -> None:
    scoring = scoring_of(sound, "budget")
    division = division_of(scoring)
    choice = scoring.label_choice(division, BUDGET, SEED)
    other_scoring = scoring_of(spoiled(tmp_path / "spoiled", choice), "budget")
    other_division = division_of(other_scoring)
    assert not torch.equal(division.labels("val"), other_division.labels("val"))
    assert torch.equal(division.labels("train"), other_division.labels("train"))

    fits = METHODS[method](scoring)(division, choice, SEED)
    other_fits = METHODS[method](other_scoring)(other_division, choice, SEED)
    assert list(fits) == (["", "knn", "paper"] if method == "probe" else [""])
    for name, fitted in fits.items():
        assert same(fitted, other_fits[name]), name

    every = LabelChoice(choice.draws, None)  # all validation labels choose, and these are mostly wrong
    fits = METHODS[method](scoring)(division, every, SEED)
    other_fits = METHODS[method](other_scoring)(other_division, every, SEED)
    for name, fitted in fits.items():
        assert not same(fitted, other_fits[name]), name


@pytest.mark.parametrize("budget", [BUDGET, LabelBudget(fraction=0.1)], ids=str)
def test_as_many_validation_labels_choose_as_training_labels_are_learned_from(
    scoring_of: Callable[[Path, str], Scoring], sound: Path, budget: LabelBudget
) -> None:
    scoring = scoring_of(sound, "budget")
    division = division_of(scoring)
    choice = scoring.label_choice(division, budget, SEED)
    assert choice.selection is not None
    assert len(choice.selection) == len(choice.draws) == DRAWS
    for part, draws in (("train", choice.draws), ("val", choice.selection)):
        labels = division.labels(part)
        allowed = budget.per_class or round(0.1 * len(labels) / 3)
        assert [torch.bincount(labels[draw]).tolist() for draw in draws] == [[allowed] * 3] * DRAWS
    assert len({tuple(sorted(draw)) for draw in choice.selection.tolist()}) == DRAWS
    assert torch.equal(choice.selection, scoring.label_choice(division, budget, SEED).selection)
    other_selection = scoring.label_choice(division, budget, SEED + 1).selection
    assert not torch.equal(choice.selection, other_selection)


@pytest.mark.parametrize(("selection", "budget"), [("validation", BUDGET), ("budget", LabelBudget())], ids=str)
def test_all_validation_labels_choose_without_a_limit(
    scoring_of: Callable[[Path, str], Scoring], sound: Path, selection: str, budget: LabelBudget
) -> None:
    scoring = scoring_of(sound, selection)
    assert scoring.label_choice(division_of(scoring), budget, SEED).selection is None


def test_training_draws_do_not_depend_on_the_selection(scoring_of: Callable[[Path, str], Scoring], sound: Path) -> None:
    draws = []
    for selection in ("budget", "validation"):
        scoring = scoring_of(sound, selection)
        draws.append(scoring.label_choice(division_of(scoring), BUDGET, SEED).draws)
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    ("selection", "budget", "numbers"),
    [
        ("budget", BUDGET, (9, [3, 3, 3], 9)),
        ("validation", BUDGET, (9, [3, 3, 3], 120)),
        ("budget", LabelBudget(), (240, [80, 80, 80], 120)),
        ("budget", LabelBudget(fraction=0.001), (3, [1, 1, 1], 3)),
    ],
)
def test_predictions_record_how_many_labels_were_used(
    scoring_of: Callable[[Path, str], Scoring],
    sound: Path,
    selection: str,
    budget: LabelBudget,
    numbers: tuple[int, list[int], int],
) -> None:
    scoring = scoring_of(sound, selection)
    _, _, predictions = scoring.confirm(scoring.probe(raw_features, list(WIDTHS)), SEED, budget)
    for draw in predictions:
        assert (draw.train_samples, draw.train_labels, draw.selection_samples) == numbers
