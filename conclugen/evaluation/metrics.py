"""Downstream metrics, by scikit-learn, under the names that tables use.

Multi-class labels are class indices (n,); multi-label ones are (n, C) of 0 and 1. All classes count, in the order of
``classes``. A class that neither occurs nor is predicted has precision, recall and F1 of 0, and it counts in the macro
averages. Weighted averages weigh classes by their number of true samples, and are 0 without true samples.

Metrics of predictions are better when higher. Metrics of probabilities are errors, except for the average precision.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import sklearn.metrics

__all__ = ["classification_metrics", "probability_metrics"]

Integers = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]
_UNDEFINED = 0.0  # precision without predictions, recall without samples, F1 without either
_LEAST_PROBABILITY = 2.0**-24  # lower bound in the log loss: the least that half precision can tell from 0
_BINS = 15  # of confidence (Guo et al. 2017)


def classification_metrics(truth: Integers, predicted: Integers, classes: Sequence[str]) -> dict[str, float]:
    """Return weighted_, macro_ and per-class (/<class>) f1, precision and recall, accuracy, and balanced_accuracy.

    Multi-label accuracy is the mean over labels of each label's accuracy, and not the share of samples with every label
    right.

    Balanced accuracy is the mean recall of the classes that occur. Speech research calls it unweighted average recall
    (UAR). In a multi-label set, each label has two recalls, of samples with and without the label. Balanced accuracy is
    then the mean of both, averaged over labels. The literature on MOSEI calls that weighted accuracy.

    Args:
        truth: (n,) or (n, C).
        predicted: the same shape.
        classes: the C class names.

    Raises:
        ValueError: the shapes do not fit each other or ``classes``.
    """
    _check(truth, predicted, classes)
    if truth.ndim == 2:  # label by label, because scikit-learn does not take a single column as multi-label
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
    """Return the scores of probabilities: nll, brier and ece, and for multi-label sets average_precision.

    * ``nll``: mean negative log probability of the true class, in nats. Multi-label: binary cross-entropy, mean over
      labels. Probabilities below 2^-24 count as 2^-24.
    * ``brier``: mean over samples of the squared error, summed over classes (Brier 1950: from 0 to 2). Multi-label:
      mean over samples and labels of the squared error of a label's probability, from 0 to 1.
    * ``ece``: expected calibration error (Guo et al. 2017, equation 3). It is the difference between confidence and
      accuracy of predictions in 15 bins of equal width, mean over samples. Multi-label: the difference between a
      label's probability and its frequency, mean over labels.
    * ``average_precision/<label>`` and their mean ``average_precision``; 0 for a label that no sample has.

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
            "nll": float(-np.log(np.maximum(p[targets], _LEAST_PROBABILITY)).mean()),
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
        "nll": float(-np.log(np.maximum(likelihood, _LEAST_PROBABILITY)).mean()),
        "brier": float(np.square(p - truth).mean()),
        "ece": float(np.mean([_calibration_error(p[:, c], truth[:, c] == 1) for c in labels])),
        "average_precision": float(np.mean(precision)),
        **{f"average_precision/{label}": value for label, value in zip(classes, precision, strict=True)},
    }


def _calibration_error(confidence: Floats, right: npt.NDArray[np.bool_]) -> float:
    """Return the mean over samples (n,) of the gap between mean confidence and share of right answers in their bin."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, confidence - right, _BINS)  # sum over the samples of each bin
    return float(np.abs(gaps).sum() / len(confidence))


def _check(truth: Integers, predicted: Integers, classes: Sequence[str]) -> None:
    n = len(truth)
    if truth.shape != predicted.shape or truth.shape not in {(n,), (n, len(classes))}:
        raise ValueError(
            f"expected truth and predictions of one shape, (n,) or (n, {len(classes)}); "
            f"got {truth.shape} and {predicted.shape}."
        )


def _per_class(truth: Integers, predicted: Integers, labels: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return precision, recall, F1 and support of each label, (4, labels)."""
    return np.stack(
        sklearn.metrics.precision_recall_fscore_support(
            truth, predicted, labels=labels, average=None, zero_division=_UNDEFINED
        )
    )
