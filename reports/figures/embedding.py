"""The figure of representations in two dimensions: a panel for each method.

`reports.statistics.embedding` computes the coordinates.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from reports.figures.style import (
    GREY,
    PAGE_WIDTH,
    Drawing,
    interactive_chart,
    legend_below,
    packed,
    panels_of,
    static_chart,
    unique,
)
from reports.statistics.embedding import COMPONENTS, PERPLEXITY, Representations

__all__ = ["embedding", "embedding_caption"]

_MANY = 500
"""Points of a panel; a file of more would have megabytes and take seconds to display."""
_COLOURS = ["#0096FF", "#C38700", "#E1003C", "#00782D", "#A50FD2", "#8796A5", "#FF2DF0", "#785A96", "#8778C3"]
_SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right"]
_FLATTEN = {"flatten": ["x", "y"]}


def embedding_caption(representations: Sequence[Representations]) -> str:
    """Return the caption of the figure of these representations, all of one downstream set."""
    group = representations[0]
    samples = "all test samples"
    if len(group.labels) < group.samples:
        samples = f"{len(group.labels)} of the {group.samples} test samples (in the classes' proportions)"
    return (
        f"Representations of {samples} of {group.dataset} by each method's best head. The coordinates come from t-SNE "
        f"(perplexity {PERPLEXITY:g}) of {COMPONENTS} principal components. Colours and shapes show classes. Near "
        "points are similar; the sizes of clusters and the distances between them have no meaning."
    )


def embedding(frame: pd.DataFrame) -> Drawing:
    """Draw the representations of each method in two dimensions, by class; on the page, the reader chooses the method.

    Args:
        frame: columns method, x, y and label.
    """
    methods, labels = unique(frame["method"]), sorted(unique(frame["label"]))
    notes = []
    for method, points in frame.groupby("method", sort=False):
        missing = int(points[["x", "y"]].isna().any(axis=1).sum())
        if missing:
            notes.append(f"{method}: {missing} of {len(points)} samples have no coordinates")
    placed = frame.dropna(subset=["x", "y"])
    drawn = _thinned(placed)
    if len(drawn) < len(placed):
        notes.append(f"drawn: {_MANY} samples of each method")
    rows = packed(drawn[["method", "label", "x", "y"]].astype({"label": str}), ["method", "label"])
    choose = alt.param(
        "method", value=next(iter(methods), ""), bind=alt.binding_select(options=methods, name="method: ")
    )
    interactive = _panel(labels, 1.5, legend_below()).add_params(choose).properties(width="container", height=420)
    panel = _panel(labels, 1, {"symbolLimit": 0}).properties(width=(PAGE_WIDTH - 60) / 3 - 20, height=110)
    chosen = {"filter": "datum.method === method"}
    return Drawing(
        interactive_chart(interactive, rows, [chosen, _FLATTEN], {}),
        static_chart(panels_of(panel, "method", methods), rows, [_FLATTEN], 3, notes),
    )


def _thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """Return at most _MANY rows of each method, equally spaced."""
    place = frame.groupby("method", sort=False).cumcount()
    size = frame.groupby("method", sort=False)["method"].transform("size")
    return frame[(size <= _MANY) | (np.floor(place * _MANY / size) > np.floor((place - 1) * _MANY / size))]


def _panel(labels: Sequence[str], size: float, legend: dict[str, Any]) -> alt.Chart:
    """Return a chart of points by class.

    Args:
        labels: all classes.
        size: size of the points, as a multiple of that in files.
        legend: settings of the legend.
    """
    styles: dict[str, list[str]] = {
        name: [choices[k % len(choices)] for k in range(len(labels))]
        for name, choices in (("color", _COLOURS), ("shape", _SHAPES))
    }
    axis = alt.Axis(labels=False, ticks=False, grid=False, title=None, domainColor=GREY)
    points = alt.Chart().mark_point(filled=True, size=12 * size**2, opacity=1)
    shown = alt.Legend(title="class", **legend)
    chart: alt.Chart = points.encode(
        x=alt.X("x:Q", axis=axis).scale(zero=False),
        y=alt.Y("y:Q", axis=axis).scale(zero=False),
        color=alt.Color("label:N", legend=shown).scale(domain=list(labels), range=styles["color"]),
        shape=alt.Shape("label:N", legend=shown).scale(domain=list(labels), range=styles["shape"]),
        tooltip=[alt.Tooltip("label:N", title="class")],
    )
    return chart
