"""Downstream metrics, by scikit-learn, under the names that tables use."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_fscore_support

__all__ = ["classification_metrics"]

Integers = npt.NDArray[np.integer]


def classification_metrics(truth: Integers, predicted: Integers, classes: Sequence[str]) -> dict[str, float]:
    """Return weighted_f1, macro_f1, accuracy and f1/<class> of (n,) predictions against (n,) labels.

    A class that neither occurs nor is predicted has F1 0 and, like every class, counts in macro_f1.
    """
    _, _, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=range(len(classes)), average=None, zero_division=0.0
    )
    return {
        "weighted_f1": float(np.average(f1, weights=support)),
        "macro_f1": float(f1.mean()),
        "accuracy": float((truth == predicted).mean()),
        **{f"f1/{name}": float(value) for name, value in zip(classes, f1, strict=True)},
    }
