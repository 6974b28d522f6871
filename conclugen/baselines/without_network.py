"""Baselines without a network: PCA whitening and label spreading.

Both see the unlabelled training rows, as pretraining does, so a table without these baselines flatters pretraining. PCA
whitening is a representation, which the probe takes like any other. Label spreading is a classifier. Labels spread
along a graph of nearest neighbours over the training rows and the rows to predict (Zhou et al. 2004, "Learning with
local and global consistency"). scikit-learn computes both on the CPU.

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

__all__ = ["ALPHAS", "NEIGHBOURS", "LabelSpreadings", "PCAWhitening", "fit_label_spreading"]

NEIGHBOURS = (5, 10, 20)
"""Grid of numbers of neighbours."""
ALPHAS = (0.8, 0.9, 0.95, 0.99)
"""Grid of alpha, the share of a label that comes from the neighbours."""
_MAX_ITERATIONS = 100


class PCAWhitening:
    """Principal components of each modality, scaled to unit variance.

    Args:
        features: modality -> (n, d_m) standardised training rows.
        explained: share of each modality's variance to keep, between 0 and 1; None keeps every component whose variance
            exceeds rounding error.

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
        """Map any rows, modality -> (n, d_m), to concatenated components (n, F), as float32 on their device."""
        parts = []
        for name, (mean, matrix) in self._maps.items():
            x = features[name]
            parts.append((x.float() - mean.to(x.device)) @ matrix.to(x.device))
        return torch.cat(parts, dim=1)


def _whitening(x: npt.NDArray[np.float64], explained: float | None) -> tuple[Tensor, Tensor]:
    """Return the mean (d,) of rows (n, d) and a matrix (d, components), such that (x - mean) @ matrix is white."""
    if not x.var(axis=0).any():  # scikit-learn divides by the total variance
        return torch.zeros(x.shape[1]), torch.zeros(x.shape[1], 0)
    pca = PCA(n_components=explained, whiten=True, random_state=0).fit(x)
    deviation = np.sqrt(pca.explained_variance_)
    varies = deviation > deviation[0] * max(x.shape) * np.finfo(np.float32).eps  # features are float32
    matrix = pca.components_[varies].T / deviation[varies]
    return torch.from_numpy(pca.mean_).float(), torch.from_numpy(matrix).float()


class LabelSpreadings:
    """Label spreading from each of D label draws; made by :func:`fit_label_spreading`.

    Args:
        data: draws whose ``x`` holds the features of all training rows, labelled or not.
        settings: the number of neighbours and alpha of each draw.
        symmetric: see :func:`fit_label_spreading`.
    """

    def __init__(self, data: LabelledDraws, settings: Sequence[tuple[int, float]], *, symmetric: bool) -> None:
        self._data = data
        self._settings = settings
        self._symmetric = symmetric
        self.chosen = [f"neighbours={k}, alpha={alpha:g}" for k, alpha in settings]

    def answer(self, x: Tensor) -> Answers:
        """Return the answers for features (n, F), which become nodes of the graph beside the training rows."""
        data = self._data
        graphs = {k: _graph(data.x, x, k, symmetric=self._symmetric) for k in {k for k, _ in self._settings}}
        spreads = [
            _spread(graphs[k], data, draw, alpha)[len(data.x) :]
            for draw, (k, alpha) in zip(data.draws, self._settings, strict=True)
        ]
        probabilities = torch.stack(spreads)
        return Answers(probabilities.argmax(dim=2), probabilities)


def fit_label_spreading(data: LabelledDraws, *, symmetric: bool = True) -> LabelSpreadings:
    """Choose the number of neighbours and alpha of each draw from a small grid, on its validation samples.

    Alpha is the share of a label that comes from the neighbours. A neighbour search over n rows costs n^2 F operations.
    It is done once per number of neighbours and shared by the draws.

    Args:
        data: the draws. Row i of ``x`` holds the standardised raw features of sample i, for all training samples. A
            draw uses only the labels of its own samples.
        symmetric: whether rows are linked if either is a neighbour of the other (half a link if only one is), as the
            method's authors require. False gives scikit-learn's ``kernel="knn"``, whose graph is directed. It is much
            weaker if labels are few.

    Raises:
        ValueError: the set is multi-label; one spreading per label and draw would cost too much.
    """
    if data.multi_label:
        raise ValueError("label spreading is not available for multi-label sets; leave this baseline out.")
    grid = list(product(NEIGHBOURS, ALPHAS))
    predicted = []
    for k in NEIGHBOURS:
        graph = _graph(data.x, data.validation_x, k, symmetric=symmetric)
        for alpha in ALPHAS:
            spreads = [_spread(graph, data, draw, alpha)[len(data.x) :] for draw in data.draws]
            predicted.append(torch.stack(spreads).argmax(dim=2))
    best = choose(torch.stack(predicted), data)
    return LabelSpreadings(data, [grid[place] for place in best.tolist()], symmetric=symmetric)


def _graph(train: Tensor, rows: Tensor, neighbours: int, *, symmetric: bool) -> csr_matrix:
    """Return the nearest-neighbour graph over all rows, (n, n), in which each row is its own first neighbour."""
    nodes = torch.cat([train, rows]).cpu().numpy()
    neighbours = min(neighbours, len(nodes))
    graph = NearestNeighbors(n_neighbors=neighbours).fit(nodes).kneighbors_graph(nodes)
    return (graph + graph.T) / 2 if symmetric else graph


def _spread(graph: csr_matrix, data: LabelledDraws, draw: Tensor, alpha: float) -> Tensor:
    """Return the probabilities (nodes, C) of the classes at every node, from the labels of the nodes in ``draw``."""
    nodes: int = graph.shape[0]
    labels = np.full(nodes, -1)
    labels[draw.cpu().numpy()] = data.labels[draw].cpu().numpy()
    model = LabelSpreading(kernel=lambda *_: graph, alpha=alpha, max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the tolerance is for a sum over all nodes
        model.fit(np.zeros((nodes, 1)), labels)
    classes = len(data.classes)
    spread = torch.zeros(nodes, classes)
    spread[:, torch.from_numpy(model.classes_)] = torch.from_numpy(model.label_distributions_).float()
    has_label = spread.sum(dim=1, keepdim=True) > 0
    return torch.where(has_label, spread, 1 / classes)  # all classes are equally probable where no label arrived
