"""How a classifier's setting is chosen: a probe's strength, a number of neighbours.

The setting with the highest weighted F1 on the validation samples that may choose. The log loss was rejected: where
validation samples come from other speakers than training samples, it chose penalties so strong that F1 fell by 0.08
(LOG.md). Of settings that tie, the first is taken, and settings stand from the least to the most smoothing: with the
few samples of a small label budget most ties are chance, and then less smoothing did better by 0.001 to 0.004.

Legend: K settings, D label draws, v validation samples, C classes.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from conclugen.evaluation.draws import LabelledDraws

__all__ = ["choose", "weighted_f1"]


def choose(predicted: Tensor, data: LabelledDraws) -> Tensor:
    """Return the place of the best setting of each draw, (D,).

    Args:
        predicted: (K, D, v) classes, or (K, D, v, C) of 0 and 1, that each setting gives the validation samples.
        data: the validation samples' labels, and which of them may choose.
    """
    truth, answers = data.validation_labels.cpu().numpy(), predicted.cpu().numpy()
    best = []
    for draw in range(answers.shape[1]):
        samples = np.arange(len(truth))
        if data.selection is not None:
            samples = data.selection[draw][data.selection[draw] >= 0].numpy()
        scores = weighted_f1(truth[samples], answers[:, draw, samples], len(data.classes))
        best.append(int(np.argmax(scores)))
    return torch.tensor(best)


def weighted_f1(
    truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], classes: int
) -> npt.NDArray[np.float64]:
    """Return the weighted F1 of each setting, (K,), as :func:`conclugen.evaluation.metrics.classification_metrics`.

    Counted here, since scikit-learn, the oracle of the tests, takes longer for the 30 scores of a probe than the probe.

    Args:
        truth: (v,) classes, or (v, C) of 0 and 1.
        predicted: (K, v), or (K, v, C).
        classes: C.
    """
    if truth.ndim == 1:
        names = np.arange(classes)
        truth, predicted = truth[:, None] == names, predicted[..., None] == names
    hits = (truth & predicted).sum(axis=1)  # [K, C]
    support = truth.sum(axis=0)  # [C]
    f1 = 2 * hits / np.maximum(support + predicted.sum(axis=1), 1)
    scores: npt.NDArray[np.float64] = (f1 * support).sum(axis=1) / max(support.sum(), 1)
    return scores
