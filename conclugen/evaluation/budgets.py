"""What a label budget means on a given set, before anything is drawn: how many labels are used, and which budgets idle.

A budget is a wish. A class with fewer samples gives all that it has, and a fraction takes at least one sample of each
class. Budgets that take every label are refused: their column would repeat that of all labels under another name.
"""

from collections.abc import Mapping, Sequence

from conclugen.evaluation.draws import number_drawn
from conclugen.features.classes import LabelCounts
from conclugen.features.manifest import Part
from conclugen.labels import LabelBudget

__all__ = ["budget_notes", "budget_text", "equal_budgets", "takes_every_label"]

_TOLERANCE = 0.1  # of a fraction; a larger difference between asked and used is noted

Divisions = Sequence[Mapping[Part, LabelCounts]]
"""Counts of a set's labels, from :func:`conclugen.features.classes.label_counts`."""


def budget_text(budget: LabelBudget) -> str:
    """Return a budget in words, such as ``5 labels per class`` or ``10% of the labels``."""
    if budget.fraction is not None:
        return f"{budget} of the labels"
    return f"{budget} {'label' if budget.per_class == 1 else 'labels'} per class"


def takes_every_label(divisions: Divisions, budget: LabelBudget, multi_label: bool) -> bool:
    """Return whether a budget, not that of all labels, takes every training label of a set in every division."""
    return all(
        _drawn(counts, budget, multi_label) == _whole(counts, budget, multi_label) for counts in _train(divisions)
    )


def equal_budgets(divisions: Divisions, budgets: Sequence[LabelBudget], multi_label: bool) -> list[list[LabelBudget]]:
    """Return groups of budgets that draw equally many labels of a set."""
    groups: dict[tuple[tuple[int, ...], ...], list[LabelBudget]] = {}
    for budget in budgets:
        if not multi_label or budget.fraction is None:  # a multi-label fraction counts samples and no labels
            key = tuple(_drawn(counts, budget, multi_label) for counts in _train(divisions))
            groups.setdefault(key, []).append(budget)
    return [group for group in groups.values() if len(group) > 1]


def budget_notes(divisions: Divisions, classes: Sequence[str], budget: LabelBudget, multi_label: bool) -> list[str]:
    """Return a sentence if a set cannot meet a budget, or only roughly.

    Args:
        divisions: the set's labels.
        classes: the set's classes.
        budget: the budget, not that of all labels.
        multi_label: whether a sample may have several labels.
    """
    name = budget_text(budget)
    if takes_every_label(divisions, budget, multi_label):
        largest = max(max(counts.by_class) for counts in _train(divisions))
        return [f"{name}: takes every training label; the largest class has {largest} samples."]
    if budget.per_class is not None:
        fewest = [min(counts.by_class[c] for counts in _train(divisions)) for c in range(len(classes))]
        small = [f"{label!r} has {n}" for label, n in zip(classes, fewest, strict=True) if 0 < n < budget.per_class]
        return [f"{name}: smaller classes give all of their training samples: {', '.join(small)}."] if small else []
    worst = max(_train(divisions), key=lambda counts: abs(_used(counts, budget, multi_label) - _asked(counts, budget)))
    used, asked = _used(worst, budget, multi_label), _asked(worst, budget)
    if abs(used - asked) <= _TOLERANCE * asked:
        return []
    least = "" if multi_label else ", since each class gives a rounded number and at least one"
    return [f"{name}: {used} of {worst.samples} training samples are used ({used / worst.samples:.1%}){least}."]


def _train(divisions: Divisions) -> list[LabelCounts]:
    return [division["train"] for division in divisions]


def _drawn(counts: LabelCounts, budget: LabelBudget, multi_label: bool) -> tuple[int, ...]:
    """Return how many samples a budget draws of each class; or, of a multi-label set by a fraction, in all."""
    if multi_label and budget.fraction is not None:
        return (number_drawn(counts.samples, budget),)
    return tuple(number_drawn(number, budget) for number in counts.by_class)


def _whole(counts: LabelCounts, budget: LabelBudget, multi_label: bool) -> tuple[int, ...]:
    return (counts.samples,) if multi_label and budget.fraction is not None else counts.by_class


def _used(counts: LabelCounts, budget: LabelBudget, multi_label: bool) -> int:
    return sum(_drawn(counts, budget, multi_label))


def _asked(counts: LabelCounts, budget: LabelBudget) -> float:
    return (budget.fraction or 0) * counts.samples
