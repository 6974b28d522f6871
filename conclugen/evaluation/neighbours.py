"""Nearest neighbours by cosine similarity: a second instrument, which fits nothing.

Neighbours vote for their labels with the weight exp(similarity / 0.07), as in Wu, Xiong, Yu and Lin 2018 (section 3.4).
Evaluations of self-supervised image models have followed them since. The clean version represents a sample.

Legend: n rows to classify, F width, C classes, D label draws, s labelled samples per draw, K numbers of neighbours,
k the largest of them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from conclugen.evaluation.choice import choose
from conclugen.evaluation.classification import MULTI_LABEL_THRESHOLD, Answers, class_weights_of
from conclugen.evaluation.draws import LabelledDraws

__all__ = ["NEIGHBOURS", "NearestNeighbours", "fit_nearest_neighbours"]

NEIGHBOURS = (1, 5, 10, 20, 50, 100, 200)
"""Grid of numbers of neighbours; numbers above the size of the smallest draw are left out."""
_TEMPERATURE = 0.07
_CHUNK = 1024  # rows whose neighbours are found at a time


class NearestNeighbours:
    """D classifiers by neighbours among a draw's samples, each with its number of neighbours.

    Args:
        data: the labelled samples.
        numbers: (D,) numbers of neighbours.
    """

    def __init__(self, data: LabelledDraws, numbers: Sequence[int]) -> None:
        self._data = data
        self._numbers = numbers
        self.chosen = [f"k={number}" for number in numbers]

    def answer(self, x: Tensor) -> Answers:
        """Return the answers for representations (n, F)."""
        draws = [
            _probabilities(x, self._data, draw, [number])[0] for draw, number in enumerate(self._numbers)
        ]  # [n, C] each
        return _answers(torch.stack(draws), self._data)


def fit_nearest_neighbours(data: LabelledDraws, numbers: Sequence[int] = NEIGHBOURS) -> NearestNeighbours:
    """Choose for each draw the number of neighbours that is best on its validation samples.

    Args:
        data: the draws.
        numbers: numbers of neighbours to choose from, ascending.
    """
    fewest = int(data.present.sum(dim=1).min())
    allowed = [number for number in numbers if number <= fewest] or [fewest]
    probabilities = [_probabilities(data.validation_x, data, draw, allowed) for draw in range(len(data.draws))]
    predicted = _answers(torch.stack(probabilities, dim=1), data).predicted  # [K, D, n] or [K, D, n, C]
    return NearestNeighbours(data, [allowed[place] for place in choose(predicted, data).tolist()])


def _probabilities(x: Tensor, data: LabelledDraws, draw: int, numbers: Sequence[int]) -> Tensor:
    """Return the share of the neighbours' votes for each class, (K, n, C)."""
    samples = data.draws[draw][data.draws[draw] >= 0]
    rows = samples if data.versions is None else data.versions[samples, 0]
    labelled_x = functional.normalize(data.x[rows.to(data.x.device)], dim=1)
    labels, classes = data.labels[samples], len(data.classes)
    weights = class_weights_of(labels[None], classes, data.class_weights)  # [1, C]
    ballots = labels if data.multi_label else functional.one_hot(labels, classes)
    ballots = (ballots * weights).to(x.device, x.dtype)  # [s, C]
    against = (1 - labels if data.multi_label else torch.zeros_like(ballots)).to(x.device, x.dtype)
    parts = []
    for part in functional.normalize(x, dim=1).split(_CHUNK):
        nearest = (part @ labelled_x.T).topk(numbers[-1], dim=1)  # [b, k]
        strength = ((nearest.values - nearest.values[:, :1]) / _TEMPERATURE).exp()[..., None]
        places = torch.tensor(numbers, device=x.device) - 1
        votes, votes_against = (
            (side[nearest.indices] * strength).cumsum(dim=1)[:, places] for side in (ballots, against)
        )  # [b, K, C]
        total = votes + votes_against if data.multi_label else votes.sum(dim=2, keepdim=True)
        parts.append(votes / total)
    return torch.cat(parts).transpose(0, 1)


def _answers(probabilities: Tensor, data: LabelledDraws) -> Answers:
    if data.multi_label:
        return Answers((probabilities > MULTI_LABEL_THRESHOLD).long(), probabilities)
    return Answers(probabilities.argmax(dim=-1), probabilities)
