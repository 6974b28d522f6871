"""Representations of test samples in two dimensions, by t-SNE.

t-SNE (van der Maaten & Hinton, JMLR 2008) was preferred to UMAP because scikit-learn has it. As in its authors' own
experiments, t-SNE gets the first principal components, which takes seconds instead of minutes. It keeps neighbours
together. The sizes of clusters and the distances between them have no meaning, so no number of the report depends on
the coordinates.

Representations come from heads, which need torch; reports load no torch. So the caller computes the representations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

__all__ = ["COLUMNS", "COMPONENTS", "PERPLEXITY", "Representations", "embedding_coordinates"]

COLUMNS = ("sweep", "dataset", "method", "label", "x", "y")
COMPONENTS = 50
"""Principal components that t-SNE gets, at most."""
PERPLEXITY = 30.0
"""Perplexity of t-SNE; fewer than 91 samples get (n - 1) / 3."""
_MIN_SAMPLES = 5  # fewer have no neighbourhoods worth a figure


@dataclass(frozen=True)
class Representations:
    """Representations of test samples of one downstream set by the best head of one method."""

    sweep: str
    dataset: str
    method: str
    vectors: npt.NDArray[np.float32]
    """(n, F): representations of n samples."""
    labels: Sequence[str]
    """Class of each of the n samples."""
    samples: int
    """Samples of the whole test split, from which the n were drawn."""


def embedding_coordinates(representations: Sequence[Representations], seed: int) -> pd.DataFrame:
    """Return one row per sample with the columns COLUMNS; the same seed gives the same coordinates.

    ``x`` and ``y`` are NaN if the representation is not finite, or if all representations of a method are equal.
    """
    frames = [
        pd.DataFrame(
            {"sweep": group.sweep, "dataset": group.dataset, "method": group.method, "label": group.labels}
            | dict(zip("xy", _coordinates(group.vectors, seed).T, strict=True)),
            columns=COLUMNS,
        )
        for group in representations
    ]
    return pd.concat(frames, ignore_index=True)


def _coordinates(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float64]:
    """Return coordinates (n, 2) of vectors (n, F)."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    coordinates = np.full((len(vectors), 2), math.nan)
    finite = np.isfinite(vectors).all(axis=1)
    samples = vectors[finite].astype(np.float64)
    if len(samples) < _MIN_SAMPLES or samples.shape[1] < 2 or not np.ptp(samples, axis=0).any():
        return coordinates
    with threadpool_limits(limits=1):  # several threads add in varying order, and t-SNE amplifies the last digit
        components = PCA(min(COMPONENTS, *samples.shape), random_state=seed).fit_transform(samples)
        perplexity = min(PERPLEXITY, (len(samples) - 1) / 3)
        coordinates[finite] = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(components)
    return coordinates
