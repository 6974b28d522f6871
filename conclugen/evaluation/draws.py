"""Label draws: the samples that a classifier may learn from, and those that may choose its settings.

A label budget is probed on several random draws of labelled samples, the same draws for every method.

Legend: n training samples, C classes, F width, D label draws, s labelled samples per draw, V versions of a sample,
v validation samples, m of them per draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from conclugen.evaluation.classification import ClassWeights
from conclugen.labels import LabelBudget
from conclugen.seeds import derive_seed

__all__ = ["LabelledDraws", "Selection", "draw_labels", "draw_selection", "number_drawn"]

Selection = Literal["validation", "budget"]
"""Validation labels that choose a classifier's settings: all, or as many as the label budget allows for training."""


@dataclass(frozen=True, kw_only=True)
class LabelledDraws:
    """The data of D classifiers, one for each label draw.

    Attributes:
        x: (rows, F) training representations. Row i is that of sample i, unless there are ``versions``.
        labels: (n,) class of each training sample, or (n, C) of 0 and 1 for multi-label sets.
        draws: (D, s) samples that each draw may learn from; a draw with fewer ends in -1.
        validation_x: (v, F) representations of the validation samples.
        validation_labels: (v,) or (v, C).
        classes: the C class names.
        selection: (D, m) validation samples that may choose a draw's settings; a draw with fewer ends in -1. None for
            all of them.
        versions: (n, V) rows of ``x`` with the versions of each sample, the clean one first, repeated to fill V. None
            for one row per sample.
        class_weights: see :func:`conclugen.evaluation.classification.class_weights_of`.

    Raises:
        ValueError: labels (n, C) have another number of classes than ``classes``.
    """

    x: Tensor
    labels: Tensor
    draws: Tensor
    validation_x: Tensor
    validation_labels: Tensor
    classes: Sequence[str]
    selection: Tensor | None = None
    versions: Tensor | None = None
    class_weights: ClassWeights = "none"

    def __post_init__(self) -> None:
        if self.multi_label and self.labels.shape[1] != len(self.classes):
            raise ValueError(
                f"expected labels (n, {len(self.classes)}) for the classes {list(self.classes)}, "
                f"got {tuple(self.labels.shape)}."
            )

    @property
    def multi_label(self) -> bool:
        """Whether a sample may have several labels."""
        return self.labels.dim() == 2

    @property
    def present(self) -> Tensor:
        """A mask (D, s), False at the padding of short draws."""
        return self.draws >= 0

    @property
    def samples(self) -> Tensor:
        """The draws (D, s), with padding replaced by a sample of the same draw."""
        return torch.where(self.present, self.draws, self.draws[:, :1])

    @property
    def rows(self) -> Tensor:
        """The rows (D, s, V) of ``x`` with the versions of each sample of each draw."""
        return self.samples[..., None] if self.versions is None else self.versions[self.samples]


def number_drawn(samples: int, budget: LabelBudget) -> int:
    """Return how many of ``samples`` a budget draws, at least one if there is one.

    Args:
        samples: training samples of a class; for a fraction of a multi-label set, all training samples.
        budget: a budget per class, or a fraction.
    """
    wanted = budget.per_class if budget.fraction is None else max(1, round(budget.fraction * samples))
    return samples if wanted is None else min(samples, wanted)


def draw_labels(labels: Tensor, budget: LabelBudget, draws: int, seed: int) -> Tensor:
    """Choose the labelled samples of each draw.

    A budget per class draws that number of samples of each class, or all that the class has. In a multi-label set, it
    draws that number of samples with the label, and one sample may serve several classes. A multi-label sample without
    any label is then never drawn.

    A fraction draws that share of each class, rounded, and at least one sample. In a multi-label set, it draws that
    share of all samples.

    Args:
        labels: (n,) class of every training sample, or (n, C) of 0 and 1.
        budget: the label budget; all labels make a single draw, whatever ``draws`` says.
        draws: D.
        seed: identity of the draws.

    Returns:
        (D, s) indices into ``labels``. Only multi-label draws per class can differ in size; short ones end in -1.

    Raises:
        ValueError: no sample has any label, and the budget is per class.
    """
    if budget == LabelBudget():
        return torch.arange(len(labels))[None]
    chosen = []
    for draw in range(draws):
        generator = torch.Generator().manual_seed(derive_seed(seed, "labels", str(budget), draw))
        chosen.append(_draw(labels, torch.randperm(len(labels), generator=generator), budget))
    return torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=-1)


def draw_selection(labels: Tensor, budget: LabelBudget, draws: int, seed: int, selection: Selection) -> Tensor | None:
    """Choose the validation samples that may choose the settings of each draw.

    Args:
        labels: (v,) class of every validation sample, or (v, C) of 0 and 1.
        budget: the label budget of the training labels.
        draws: D.
        seed: identity of the draws; the training draws may have the same seed.
        selection: ``budget`` draws as many validation labels as training labels, by the same rule.

    Returns:
        (D, m) indices into ``labels``, short draws ending in -1; None for all samples.

    Raises:
        ValueError: no sample has any label, and the budget is per class.
    """
    if selection == "validation" or budget == LabelBudget():
        return None
    try:
        return draw_labels(labels, budget, draws, derive_seed(seed, "selection"))
    except ValueError:
        raise ValueError(
            "no validation sample has any label, so that none can choose a setting; let all of them do, by "
            "probe.selection: validation."
        ) from None


def _draw(labels: Tensor, order: Tensor, budget: LabelBudget) -> Tensor:
    """Return the samples of one draw: the first in ``order`` (n,) that the budget allows, class by class."""
    multi_label = labels.dim() == 2
    if multi_label and budget.fraction is not None:
        return order[: number_drawn(len(order), budget)]
    ordered = labels[order]
    if multi_label:
        rank = (ordered > 0).cumsum(dim=0)  # [n, C]: place of each positive among those of its class
        chosen = ((ordered > 0) & (rank <= (budget.per_class or 0))).any(dim=1)
        if not chosen.any():
            raise ValueError("labels per class cannot be drawn: no sample has any label.")
        return order[chosen]
    parts = []
    for c in labels.unique():
        members = order[ordered == c]
        parts.append(members[: number_drawn(len(members), budget)])
    return torch.cat(parts)
