"""Cheap competitors of a pretrained head, without a network: PCA whitening and label spreading (data README).

Both see the unlabelled training rows, as pretraining does, so a table that leaves them out flatters pretraining. PCA
whitening is a representation, which the probe takes like any other. Label spreading is a classifier of its own: labels
flow along a graph of nearest neighbours over training rows and rows to predict (Zhou et al. 2004, "Learning with local
and global consistency"). By scikit-learn, on the CPU.

Legend: n rows, d_m width of modality m, F width of all, D label draws, s labelled samples per draw, C classes,
v validation samples, K settings.
"""

import warnings
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor

from conclugen.evaluation.choice import choose
from conclugen.evaluation.classification import Answers
from conclugen.evaluation.draws import LabelledDraws

__all__ = ["LabelSpreadings", "PCAWhitening", "fit_label_spreading"]

_NEIGHBOURS = (5, 10, 20)
_ALPHAS = (0.8, 0.9, 0.95, 0.99)
_MAX_ITERATIONS = 100


class PCAWhitening:
    """Principal components of each modality, scaled to unit variance.

    Args:
        features: modality -> (n, d_m) standardised training rows.
        explained: share of each modality's variance that is kept, between 0 and 1; None keeps every component whose
            variance is not rounding error.

    Raises:
        ValueError: ``explained`` is not between 0 and 1, or there are fewer than two rows.
    """

    def __init__(self, features: Mapping[str, Tensor], explained: float | None = 0.99) -> None:
        if explained is not None and not 0 < explained < 1:
            raise ValueError(f"the explained variance must be between 0 and 1, or None for all; got {explained}.")
        if (rows := min(map(len, features.values()))) < 2:
            raise ValueError(f"principal components need two rows at least, got {rows}.")
        self._maps = {name: _whitening(x.cpu().double().numpy(), explained) for name, x in features.items()}

    def __call__(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the concatenated components (n, F) of any rows, modality -> (n, d_m), as float32 on their device."""
        parts = []
        for name, (mean, matrix) in self._maps.items():
            x = features[name]
            parts.append((x.float() - mean.to(x.device)) @ matrix.to(x.device))
        return torch.cat(parts, dim=1)


def _whitening(x: npt.NDArray[np.float64], explained: float | None) -> tuple[Tensor, Tensor]:
    """(n, d) -> mean (d,) and matrix (d, components), so that (x - mean) @ matrix is white."""
    if not x.var(axis=0).any():  # scikit-learn would divide by the total variance
        return torch.zeros(x.shape[1]), torch.zeros(x.shape[1], 0)
    pca = PCA(n_components=explained, whiten=True, random_state=0).fit(x)
    deviation = np.sqrt(pca.explained_variance_)
    real = deviation > deviation[0] * max(x.shape) * np.finfo(np.float32).eps  # features are float32
    matrix = pca.components_[real].T / deviation[real]
    return torch.from_numpy(pca.mean_).float(), torch.from_numpy(matrix).float()


class LabelSpreadings:
    """Label spreading from each of D label draws; made by :func:`fit_label_spreading`.

    Args:
        data: with the raw features of all training rows, labelled or not, as ``x``.
        settings: the number of neighbours and alpha of each draw.
        symmetric: as for :func:`fit_label_spreading`.
    """

    def __init__(self, data: LabelledDraws, settings: Sequence[tuple[int, float]], *, symmetric: bool) -> None:
        self._data, self._settings, self._symmetric = data, settings, symmetric
        self.chosen = [f"neighbours={k}, alpha={alpha:g}" for k, alpha in settings]

    def answer(self, x: Tensor) -> Answers:
        """Answer about features (n, F), all of which are nodes of the graph beside the training rows."""
        data = self._data
        graphs = {k: _graph(data.x, x, k, symmetric=self._symmetric) for k in {k for k, _ in self._settings}}
        spreads = [
            _spread(graphs[k], data, draw, alpha)[len(data.x) :]
            for draw, (k, alpha) in zip(data.draws, self._settings, strict=True)
        ]
        probabilities = torch.stack(spreads)
        return Answers(probabilities.argmax(dim=2), probabilities)


def fit_label_spreading(data: LabelledDraws, *, symmetric: bool = True) -> LabelSpreadings:
    """Choose the number of neighbours and alpha of each draw on its validation samples, from a small grid.

    A neighbour search over n rows costs n^2 F operations and is done once per number of neighbours; draws share it.
    Alpha is the share of a label that comes from the neighbours.

    Args:
        data: what to learn from, and what chooses. ``x`` holds the standardised raw features of all training rows, row
            i those of sample i; only labels in a draw are used for it.
        symmetric: i and j are linked where either has the other as a neighbour (half a link if only one has), as the
            method's authors require. False gives scikit-learn's ``kernel="knn"``, whose graph is directed and which
            is much weaker where labels are few.

    Raises:
        ValueError: the labels are multi-label: one spreading per label and draw would cost too much.
    """
    if data.multi_label:
        raise ValueError("label spreading is not available for multi-label sets; leave this baseline out.")
    grid = list(product(_NEIGHBOURS, _ALPHAS))
    predicted = []
    for k in _NEIGHBOURS:
        graph = _graph(data.x, data.validation_x, k, symmetric=symmetric)
        for alpha in _ALPHAS:
            spreads = [_spread(graph, data, draw, alpha)[len(data.x) :] for draw in data.draws]
            predicted.append(torch.stack(spreads).argmax(dim=2))
    best = choose(torch.stack(predicted), data)
    return LabelSpreadings(data, [grid[place] for place in best.tolist()], symmetric=symmetric)


def _graph(train: Tensor, rows: Tensor, neighbours: int, *, symmetric: bool) -> csr_matrix:
    """The k-nearest-neighbour graph over both, (n, n), each row its own first neighbour."""
    nodes = torch.cat([train, rows]).cpu().numpy()
    neighbours = min(neighbours, len(nodes))
    graph = NearestNeighbors(n_neighbors=neighbours).fit(nodes).kneighbors_graph(nodes)
    return (graph + graph.T) / 2 if symmetric else graph


def _spread(graph: csr_matrix, data: LabelledDraws, draw: Tensor, alpha: float) -> Tensor:
    """(nodes, C): how probable each class is at every node, of which those in ``draw`` have their label."""
    nodes: int = graph.shape[0]
    known = np.full(nodes, -1)
    known[draw.cpu().numpy()] = data.labels[draw].cpu().numpy()
    model = LabelSpreading(kernel=lambda *_: graph, alpha=alpha, max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its tolerance is absolute: a sum over all nodes
        model.fit(np.zeros((nodes, 1)), known)
    classes = len(data.classes)
    spread = torch.zeros(nodes, classes)
    spread[:, torch.from_numpy(model.classes_)] = torch.from_numpy(model.label_distributions_).float()
    reached = spread.sum(dim=1, keepdim=True) > 0
    return torch.where(reached, spread, 1 / classes)  # no label came as far as there
