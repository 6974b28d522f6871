"""Choice of a classifier's setting, such as a probe's strength or a number of neighbours.

The chosen setting has the highest weighted F1 on the draw's validation samples. The log loss was rejected: when
validation and training samples had different speakers, it chose penalties so strong that F1 fell by 0.08
(docs/decisions/instrument.md). Settings are ordered from the least to the most smoothing, and the first of tied
settings is chosen. With the few samples of a small label budget, most ties are chance, and less smoothing did better by
0.001 to 0.004.

Legend: K settings, D label draws, v validation samples, C classes.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from conclugen.evaluation.draws import LabelledDraws

__all__ = ["choose", "weighted_f1"]


def choose(predicted: Tensor, data: LabelledDraws) -> Tensor:
    """Return the index of the best setting of each draw, (D,).

    Args:
        predicted: each setting's predictions for the validation samples, (K, D, v) classes or (K, D, v, C) of 0 and 1.
        data: the labels of the validation samples, and the selection of each draw.
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
    """Return the weighted F1 of each setting, (K,), equal to that of :mod:`conclugen.evaluation.metrics`.

    scikit-learn is only the oracle of the tests: for the 30 scores of a probe it takes longer than the probe itself.

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
