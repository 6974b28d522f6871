"""The figure of representations in two dimensions: a panel for each method.

`reports.statistics.embedding` computes the coordinates.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from reports.figures.former_style import GREY, IN_STYLE, MANY, finish, legend_handles, panels_of, series_style, unique
from reports.statistics.embedding import COMPONENTS, PERPLEXITY, Representations

__all__ = ["embedding", "embedding_caption"]


def embedding_caption(representations: Sequence[Representations]) -> str:
    """Return the caption of the figure of these representations, all of one downstream set."""
    group = representations[0]
    samples = "all test samples"
    if len(group.labels) < group.samples:
        samples = f"{len(group.labels)} of the {group.samples} test samples (in the classes' proportions)"
    return (
        f"Representations of {samples} of {group.dataset} by each method's best head. The coordinates come from t-SNE "
        f"(perplexity {PERPLEXITY:g}) of {COMPONENTS} principal components. Colours show classes. Near points are "
        "similar; the sizes of clusters and the distances between them have no meaning."
    )


@IN_STYLE
def embedding(frame: pd.DataFrame) -> Figure:
    """Draw a panel per method: its representations in two dimensions, by class.

    Args:
        frame: columns method, x, y and label.
    """
    methods = unique(frame["method"])
    labels = sorted(unique(frame["label"]))
    figure, panels = panels_of(methods, per_row=3, height=2.2)
    notes: dict[str, None] = {}
    for panel, method in zip(panels, methods, strict=True):
        points = frame[frame["method"] == method]
        missing = int(points[["x", "y"]].isna().any(axis=1).sum())
        if missing:
            notes[f"{method}: {missing} of {len(points)} samples have no coordinates"] = None
        if missing == len(points):
            panel.text(0.5, 0.5, "× no result", ha="center", va="center", transform=panel.transAxes, color=GREY)
        for number, label in enumerate(labels):
            of_label = points[points["label"].map(str) == label]
            style = {"linestyle": "none", "markersize": 2.5, "markeredgewidth": 0, "alpha": 0.7}
            panel.plot(of_label["x"], of_label["y"], **{**series_style(number), **style}, rasterized=len(points) > MANY)
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(True)
    return finish(figure, handles=legend_handles(labels, linestyle="none"), notes=notes)
