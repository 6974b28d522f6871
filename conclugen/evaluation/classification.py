"""Loss, class weights and decisions that all classifiers share.

Legend: D draws, n samples, s samples of a draw, b of a batch, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "MULTI_LABEL_THRESHOLD",
    "Answers",
    "ClassWeights",
    "Classifiers",
    "class_weights_of",
    "decide",
    "label_loss",
]

MULTI_LABEL_THRESHOLD = 0.5
"""A label of a multi-label set is predicted where its probability is above this."""
ClassWeights = Literal["none", "balanced"]


@dataclass(frozen=True)
class Answers:
    """Predictions of D classifiers for n samples.

    Attributes:
        predicted: classes (D, n), or 0 and 1 (D, n, C) if multi-label.
        probabilities: (D, n, C); they sum to 1 over the classes unless multi-label.
    """

    predicted: Tensor
    probabilities: Tensor

    @classmethod
    def of(cls, logits: Tensor, *, multi_label: bool) -> "Answers":
        """Return the answers that logits (D, C, n) give."""
        probabilities = logits.sigmoid() if multi_label else logits.softmax(dim=1)
        return cls(decide(logits, multi_label=multi_label), probabilities.mT)


class Classifiers(Protocol):
    """D fitted classifiers, one for each label draw."""

    @property
    def chosen(self) -> Sequence[str]:
        """The setting of each classifier that validation samples chose, in words such as ``C=0.01``."""

    def answer(self, x: Tensor) -> Answers:
        """Return the answers for representations (n, F)."""


def decide(logits: Tensor, *, multi_label: bool) -> Tensor:
    """Turn logits (D, C, n) into classes (D, n), or into 0 and 1 (D, n, C) if multi-label."""
    if multi_label:
        return (logits.sigmoid() > MULTI_LABEL_THRESHOLD).long().mT
    return logits.argmax(dim=1)


def class_weights_of(targets: Tensor, classes: int, kind: ClassWeights, counted: Tensor | None = None) -> Tensor:
    """Return the weight of each class for each draw, (D, C).

    ``none`` gives ones. ``balanced`` gives s / (C x the class's samples), whose mean over the draw is 1 if every class
    has samples. If multi-label, it gives the ratio of negatives to positives, as the weight of a positive. A class
    without samples counts as having one, so that its weight stays finite.

    Args:
        targets: (D, s) classes, or (D, s, C) of 0 and 1.
        classes: C.
        kind: ``none`` or ``balanced``.
        counted: (D, s) 1 for samples and 0 for padding; None for no padding.
    """
    if kind == "none":
        return torch.ones(len(targets), classes, device=targets.device)
    multi_label = targets.dim() == 3
    present = targets if multi_label else functional.one_hot(targets, classes)  # [D, s, C]
    sizes: Tensor | int = targets.shape[1]
    if counted is not None:
        present, sizes = present * counted[..., None], counted.sum(dim=1, keepdim=True)  # [D, 1]
    totals = present.sum(dim=1)  # [D, C]
    counts = totals.clamp(min=1)
    if multi_label:
        return (sizes - totals).clamp(min=1) / counts
    return sizes / (counts * classes)


def label_loss(logits: Tensor, targets: Tensor, class_weights: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return the loss of each draw, (D,), a mean over its samples.

    Multi-class: cross-entropy, with a mean weighted by the samples' class weights. Multi-label: binary cross-entropy,
    with weighted positives and the mean over classes.

    Args:
        logits: (D, C, b).
        targets: (D, b) classes, or (D, b, C) of 0 and 1.
        class_weights: (D, C), from :func:`class_weights_of`.
        counted: (D, b) 1 for samples and 0 for padding; None for no padding.
    """
    if targets.dim() == 3:
        losses = functional.binary_cross_entropy_with_logits(
            logits, targets.mT.to(logits.dtype), pos_weight=class_weights[..., None], reduction="none"
        ).mean(dim=1)  # [D, b]
        weights = torch.ones_like(losses)
    else:
        losses = functional.cross_entropy(logits, targets, reduction="none")  # [D, b]
        weights = class_weights.gather(1, targets)  # [D, b]
    total = weights.sum(dim=1)
    if counted is not None:
        weights = weights * counted
        total = weights.sum(dim=1)
        total = torch.where(total > 0, total, 1)  # a batch may hold only the padding of a short draw
    return (losses * weights).sum(dim=1) / total
