import pytest
import torch

from conclugen.evaluation.budgets import budget_notes, equal_budgets, takes_every_label
from conclugen.evaluation.draws import draw_labels
from conclugen.features.classes import LabelCounts
from conclugen.features.manifest import Part
from conclugen.labels import LabelBudget

BALANCED: list[dict[Part, LabelCounts]] = [{"train": LabelCounts(72, (24, 24, 24))}]
IMBALANCED: list[dict[Part, LabelCounts]] = [{"train": LabelCounts(83, (60, 20, 3))}]
SEVERAL: list[dict[Part, LabelCounts]] = [{"train": LabelCounts(50, (30, 10))}]
CLASSES = ("anger", "fear", "joy")


@pytest.mark.parametrize(
    ("budget", "balanced", "imbalanced"),
    [
        (LabelBudget(per_class=23), False, False),
        (LabelBudget(per_class=24), True, False),
        (LabelBudget(per_class=1000), True, True),
        (LabelBudget(fraction=0.5), False, False),
        (LabelBudget(fraction=0.99), True, False),
        (LabelBudget(fraction=0.999), True, True),
    ],
)
def test_a_budget_that_takes_every_label_is_recognised(budget: LabelBudget, balanced: bool, imbalanced: bool) -> None:
    assert takes_every_label(BALANCED, budget, False) == balanced
    assert takes_every_label(IMBALANCED, budget, False) == imbalanced
    for (division,), takes_all in ((BALANCED, balanced), (IMBALANCED, imbalanced)):
        labels = torch.arange(3).repeat_interleave(torch.tensor(division["train"].by_class))
        assert (draw_labels(labels, budget, 1, 0).shape[1] == len(labels)) == takes_all


def test_several_labels_take_every_label_once_no_class_has_more() -> None:
    assert not takes_every_label(SEVERAL, LabelBudget(per_class=29), True)
    assert takes_every_label(SEVERAL, LabelBudget(per_class=30), True)
    assert not takes_every_label(SEVERAL, LabelBudget(fraction=0.9), True)
    assert takes_every_label(SEVERAL, LabelBudget(fraction=0.999), True)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (LabelBudget(per_class=3), []),
        (
            LabelBudget(per_class=24),
            ["24 labels per class: smaller classes give all of their training samples: 'fear' has 20, 'joy' has 3."],
        ),
        (
            LabelBudget(per_class=60),
            ["60 labels per class: takes every training label; the largest class has 60 samples."],
        ),
        (
            LabelBudget(fraction=0.001),
            [
                "0.1% of the labels: 3 of 83 training samples are used (3.6%), since each class gives a rounded number "
                "and at least one."
            ],
        ),
        (LabelBudget(fraction=0.5), []),
    ],
)
def test_a_budget_that_a_set_cannot_meet_is_noted(budget: LabelBudget, expected: list[str]) -> None:
    assert budget_notes(IMBALANCED, CLASSES, budget, False) == expected


def test_the_division_that_meets_a_budget_least_is_noted() -> None:
    folds: list[dict[Part, LabelCounts]] = [*IMBALANCED, {"train": LabelCounts(82, (60, 20, 2))}]
    (note,) = budget_notes(folds, CLASSES, LabelBudget(per_class=3), False)
    assert note == "3 labels per class: smaller classes give all of their training samples: 'joy' has 2."


def test_budgets_that_draw_equally_many_labels_are_grouped() -> None:
    tiny, small, one, more = (
        LabelBudget(fraction=0.001), LabelBudget(fraction=0.01), LabelBudget(per_class=1), LabelBudget(per_class=2)
    )  # fmt: skip
    assert equal_budgets(BALANCED, [one, more, tiny, small], False) == [[one, tiny, small]]
