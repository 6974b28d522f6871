"""Downstream metrics, by scikit-learn, under the names that tables use.

Multi-class labels are class indices (n,); multi-label ones are (n, C) of 0 and 1. The order of the classes is that of
``classes``, always all of them: a class that neither occurs nor is predicted has precision, recall and F1 of 0 and
counts in the macro averages. Averages "weighted" weigh classes by their number of true samples, and are 0 where there
is none.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import sklearn.metrics

__all__ = ["classification_metrics"]

Integers = npt.NDArray[np.integer]
_UNDEFINED = 0.0  # precision without predictions, recall without samples, F1 without either


def classification_metrics(truth: Integers, predicted: Integers, classes: Sequence[str]) -> dict[str, float]:
    """Return weighted_, macro_ and per-class (/<class>) f1, precision and recall, and accuracy.

    Accuracy of multi-label predictions is the mean over labels of each label's accuracy (not the share of samples with
    every label right).

    Args:
        truth: (n,) or (n, C).
        predicted: like ``truth``.
        classes: the C class names.

    Raises:
        ValueError: the shapes do not fit each other or ``classes``.
    """
    _check(truth, predicted, classes)
    if truth.ndim == 2:  # label by label, as scikit-learn takes one column for something else
        columns = [_per_class(truth[:, c], predicted[:, c], [1]) for c in range(len(classes))]
        per_class = np.concatenate(columns, axis=1)
    else:
        per_class = _per_class(truth, predicted, range(len(classes)))
    *scores, support = per_class  # [C] each
    metrics: dict[str, float] = {"accuracy": float((truth == predicted).mean())}
    for name, values in zip(("precision", "recall", "f1"), scores, strict=True):
        metrics[f"weighted_{name}"] = float(np.average(values, weights=support)) if support.any() else _UNDEFINED
        metrics[f"macro_{name}"] = float(values.mean())
        metrics |= {f"{name}/{label}": float(value) for label, value in zip(classes, values, strict=True)}
    return metrics


def _check(truth: Integers, predicted: Integers, classes: Sequence[str]) -> None:
    n = len(truth)
    if truth.shape != predicted.shape or truth.shape not in {(n,), (n, len(classes))}:
        raise ValueError(
            f"expected truth and predictions of one shape, (n,) or (n, {len(classes)}); "
            f"got {truth.shape} and {predicted.shape}."
        )


def _per_class(truth: Integers, predicted: Integers, labels: Sequence[int]) -> npt.NDArray[np.float64]:
    """(4, labels): precision, recall, F1 and support."""
    return np.stack(
        sklearn.metrics.precision_recall_fscore_support(
            truth, predicted, labels=labels, average=None, zero_division=_UNDEFINED
        )
    )
