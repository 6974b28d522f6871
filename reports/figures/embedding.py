"""Representations in two dimensions: t-SNE of what heads make of test samples, a panel for each method.

t-SNE (van der Maaten & Hinton, JMLR 2008) rather than UMAP, because scikit-learn has it; of the first principal
components, as its authors do, which costs seconds rather than minutes. It shows neighbours: neither the sizes of
clusters nor the distances between them mean anything, so the caption says so, and nothing is computed from it.

Heads need torch and reports do not: whoever asks for the figure brings the arrays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from reports.figures.style import GREY, IN_STYLE, MANY, finish, look, panels_of, series, unique

__all__ = ["COLUMNS", "Represented", "embedding", "places", "seen"]

COLUMNS = ("sweep", "dataset", "method", "label", "x", "y")
_COMPONENTS = 50
_PERPLEXITY = 30.0
_FEWEST = 5  # samples that have neighbours worth showing


@dataclass(frozen=True)
class Represented:
    """What the best head of one method makes of some test samples of one set."""

    sweep: str
    dataset: str
    method: str
    vectors: npt.NDArray[np.float32]
    """(n, F)."""
    labels: Sequence[str]
    """Of the n samples."""
    samples: int
    """In the whole test split, of which the n are drawn."""


def places(represented: Sequence[Represented], seed: int) -> pd.DataFrame:
    """Return a row with the columns COLUMNS for each sample of each, placed by t-SNE; the same ones for the same seed.

    ``x`` and ``y`` are NaN where a representation is not finite, and where all of a method's are the same.
    """
    frames = [
        pd.DataFrame(
            {"sweep": one.sweep, "dataset": one.dataset, "method": one.method, "label": one.labels}
            | dict(zip("xy", _places(one.vectors, seed).T, strict=True)),
            columns=COLUMNS,
        )
        for one in represented
    ]
    return pd.concat(frames, ignore_index=True)


def _places(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float64]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    placed = np.full((len(vectors), 2), math.nan)
    finite = np.isfinite(vectors).all(axis=1)
    shown = vectors[finite].astype(np.float64)
    if len(shown) < _FEWEST or shown.shape[1] < 2 or not np.ptp(shown, axis=0).any():
        return placed
    with threadpool_limits(limits=1):  # several threads add in no fixed order, and t-SNE makes much of a last digit
        components = PCA(min(_COMPONENTS, *shown.shape), random_state=seed).fit_transform(shown)
        perplexity = min(_PERPLEXITY, (len(shown) - 1) / 3)
        placed[finite] = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(components)
    return placed


def seen(represented: Sequence[Represented]) -> str:
    """What is to be known of the figure of these, all of one set."""
    drawn, whole = len(represented[0].labels), represented[0].samples
    part = f"{drawn} of the {whole} test samples (in the classes' proportions)"
    number = part if drawn < whole else "all test samples"
    return (
        f"Representations of {number} of {represented[0].dataset} by each method's best head, placed by t-SNE "
        f"(perplexity {_PERPLEXITY:g}, of {_COMPONENTS} principal components) and coloured by class. Near points are "
        "similar; the sizes of clusters and the distances between them mean nothing."
    )


@IN_STYLE
def embedding(frame: pd.DataFrame) -> Figure:
    """A panel per method: its representations in two dimensions, by class.

    Args:
        frame: columns method, x, y and label.
    """
    methods, labels = unique(frame["method"]), sorted(unique(frame["label"]))
    figure, panels = panels_of(methods, per_row=3, height=2.2)
    notes: dict[str, None] = {}
    for panel, method in zip(panels, methods, strict=True):
        points = frame[frame["method"] == method]
        missing = int(points[["x", "y"]].isna().any(axis=1).sum())
        if missing:
            notes[f"{method}: {missing} of {len(points)} samples have no place"] = None
        if missing == len(points):
            panel.text(0.5, 0.5, "× no result", ha="center", va="center", transform=panel.transAxes, color=GREY)
        for number, label in enumerate(labels):
            these = points[points["label"].map(str) == label]
            panel.plot(
                these["x"],
                these["y"],
                **{**look(number), "linestyle": "none", "markersize": 2.5, "markeredgewidth": 0, "alpha": 0.7},
                rasterized=len(points) > MANY,
            )
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(True)
    return finish(figure, handles=series(labels, linestyle="none"), notes=notes)
