"""Downstream metrics, by scikit-learn, under the names that tables use.

Multi-class labels are class indices (n,); multi-label ones are (n, C) of 0 and 1. The order of the classes is that of
``classes``, always all of them: a class that neither occurs nor is predicted has precision, recall and F1 of 0 and
counts in the macro averages. Averages "weighted" weigh classes by their number of true samples, and are 0 where there
is none.

Metrics of predictions are better when higher. Those of probabilities are errors, but for the average precision.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import sklearn.metrics

__all__ = ["classification_metrics", "probability_metrics"]

Integers = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]
_UNDEFINED = 0.0  # precision without predictions, recall without samples, F1 without either
_LEAST = (
    2.0**-24
)  # probability that the log loss takes any class to have: the least that half precision can tell from 0
_BINS = 15  # of confidence (Guo et al. 2017)


def classification_metrics(truth: Integers, predicted: Integers, classes: Sequence[str]) -> dict[str, float]:
    """Return weighted_, macro_ and per-class (/<class>) f1, precision and recall, accuracy, and balanced_accuracy.

    Accuracy of multi-label predictions is the mean over labels of each label's accuracy (not the share of samples with
    every label right). Balanced accuracy is the mean recall of the classes that occur, which speech research calls
    unweighted average recall (UAR); of multi-label predictions, the mean over labels of the mean recall of those that
    have the label and those that do not, which the literature on MOSEI calls weighted accuracy.

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
    recall = scores[1]
    if truth.ndim == 2:
        negative = np.concatenate([_per_class(truth[:, c], predicted[:, c], [0]) for c in range(len(classes))], axis=1)
        recall, support = np.stack([recall, negative[1]]), np.stack([support, negative[3]])
    occurs = support > 0
    means = (recall * occurs).sum(axis=0, keepdims=truth.ndim == 2) / np.maximum(occurs.sum(axis=0), 1)
    metrics["balanced_accuracy"] = float(means.mean()) if occurs.any() else _UNDEFINED
    return metrics


def probability_metrics(truth: Integers, probabilities: Floats, classes: Sequence[str]) -> dict[str, float]:
    """Return how good probabilities are: nll, brier and ece; of multi-label sets average_precision, and for each label.

    * ``nll``: mean negative log probability of the true class, in nats; multi-label: binary cross-entropy, mean over
      labels. Probabilities below 2^-24 count as that.
    * ``brier``: mean over samples of the squared error, summed over classes (Brier 1950: from 0 to 2); multi-label:
      from 0 to 1, the mean over labels of the squared error of a label's probability.
    * ``ece``: expected calibration error (Guo et al. 2017, equation 3): the difference between confidence and accuracy
      of predictions in 15 bins of equal width, mean over samples; multi-label: between the probability of a label and
      its frequency, mean over labels.
    * ``average_precision/<label>`` and its mean over labels; 0 for a label that no sample has.

    Args:
        truth: (n,) or (n, C).
        probabilities: (n, C).
        classes: the C class names.

    Raises:
        ValueError: the shapes do not fit each other or ``classes``.
    """
    n = len(truth)
    if probabilities.shape != (n, len(classes)) or truth.shape not in {(n,), probabilities.shape}:
        raise ValueError(
            f"expected probabilities (n, {len(classes)}) and as many truths; got {probabilities.shape} and "
            f"{truth.shape}."
        )
    p = probabilities.astype(np.float64)
    if truth.ndim == 1:
        targets = truth[:, None] == np.arange(len(classes))
        return {
            "nll": float(-np.log(np.maximum(p[targets], _LEAST)).mean()),
            "brier": float(np.square(p - targets).sum(axis=1).mean()),
            "ece": _calibration_error(p.max(axis=1), p.argmax(axis=1) == truth),
        }
    likelihood = np.where(truth == 1, p, 1 - p)
    labels = range(len(classes))
    precision = [
        float(sklearn.metrics.average_precision_score(truth[:, c], p[:, c])) if truth[:, c].any() else _UNDEFINED
        for c in labels
    ]
    return {
        "nll": float(-np.log(np.maximum(likelihood, _LEAST)).mean()),
        "brier": float(np.square(p - truth).mean()),
        "ece": float(np.mean([_calibration_error(p[:, c], truth[:, c] == 1) for c in labels])),
        "average_precision": float(np.mean(precision)),
        **{f"average_precision/{label}": value for label, value in zip(classes, precision, strict=True)},
    }


def _calibration_error(confidence: Floats, right: npt.NDArray[np.bool_]) -> float:
    """Mean over samples (n,) of how far the mean confidence of their bin is from the share that is right."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, confidence - right, _BINS)  # of a bin, its samples' sum
    return float(np.abs(gaps).sum() / len(confidence))


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
