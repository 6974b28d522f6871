"""Confusion matrices of a data set, and their differences to the matrix of the raw features."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from reports.figures.style import (
    GREY,
    PAGE_WIDTH,
    Chart,
    Drawing,
    interactive_chart,
    panels_of,
    static_chart,
    unique,
)

__all__ = ["REFERENCE", "confusion_matrices"]

REFERENCE = "raw_features"
"""The method that the other matrices are compared with."""
_SHARE, _DIFFERENCE = "shares of the true class", f"differences to {REFERENCE}"
_LARGEST = 0.5  # difference; larger ones have the same colour
_ABSENT = -9.0  # of a cell whose classes belong to different labels of a multi-label set
_CELLS: list[dict[str, Any]] = [
    {"flatten": ["truth", "share", "difference", "count"]},
    {"flatten": ["classes", "share", "difference", "count"]},
]
"""Transforms of lists of lists into cells."""
_TEXT, _SMALL = 20, 6  # more classes have no room for numbers; fewer have room for large ones


def confusion_matrices(
    frame: pd.DataFrame, dataset: str, planned: Sequence[str], differences: bool, interactive: bool
) -> Drawing:
    """Draw a matrix per method: the share of each true class (row) that was predicted as each class (column).

    The page has one chart for all data sets, in which the reader chooses the method and may turn to the differences.

    Args:
        frame: columns as in `reports.statistics.confusion.COLUMNS`, all labels, the sweep's probe.
        dataset: the data set that files show.
        planned: methods; those without predictions are shown as such.
        differences: whether files show the shares minus those of the raw features.
        interactive: whether the page has this chart.
    """
    of_dataset = _rows(frame[frame["dataset"] == dataset])
    classes = unique(frame.loc[frame["dataset"] == dataset, "truth"])
    per_row = 4 if len(classes) <= 4 else 3 if len(classes) <= 12 else 2
    names = min(70, 4 * max(map(len, classes), default=0) + 8)
    side = (PAGE_WIDTH - names * per_row) / per_row - 8
    methods = [name for name in planned if not (differences and name == REFERENCE)]
    present = unique(of_dataset["method"])
    shown = [method for method in methods if method in present]
    lacking = [method for method in methods if method not in present]
    view = _DIFFERENCE if differences else _SHARE
    panels = panels_of(_panel(view, classes, 1).properties(width=side, height=side), "method", shown)
    notes = [f"× no result of {', '.join(lacking)}"] if lacking else []
    if differences and REFERENCE not in present:
        panels, notes = [], [f"× no result of {REFERENCE}, which the others are compared with"]
    elif (frame.loc[frame["dataset"] == dataset, "share"].isna()).any():
        notes.append("–: the class has no sample")
    static = static_chart(panels, of_dataset, _CELLS, per_row, notes)
    return Drawing(_interactive(frame) if interactive else None, static)


def _interactive(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the chart of all data sets, for one method that the reader chooses."""
    rows = _rows(frame)
    methods = unique(rows["method"])
    start = "ConCluGen" if "ConCluGen" in methods else next(iter(methods), "")
    views = [_SHARE, _DIFFERENCE] if REFERENCE in methods else [_SHARE]
    choices = [
        alt.param("method", value=start, bind=alt.binding_select(options=methods, name="method: ")),
        alt.param("cells", value=_SHARE, bind=alt.binding_radio(options=views, name="cells: ")),
    ]
    most = max((len(classes) for classes in rows["classes"]), default=0)
    layers = [_panel(view, most, 1.5).transform_filter(f"cells === '{view}'") for view in views]
    title = alt.TitleParams(
        alt.expr("method + ' on ' + dataset + ', all labels: ' + cells"),
        orient="bottom",
        fontWeight="normal",
        fontSize=12,
    )
    chart = alt.layer(*layers).resolve_scale(color="independent").add_params(*choices)
    chart = chart.properties(width="container", height=min(560, max(160, 40 * most)), title=title)
    choice = {"dataset": next(iter(unique(rows["dataset"])), "")}
    chosen = {"filter": "datum.dataset === dataset && datum.method === method"}
    return interactive_chart(chart, rows, [chosen, *_CELLS], choice)


def _rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per data set and method: lists of classes, and lists of lists of cells in per mille."""
    rows = []
    for dataset, of_dataset in frame.groupby("dataset", sort=False):
        classes = unique(of_dataset["truth"])
        shares = {
            method: {
                (str(truth), str(predicted)): (float(share), int(count))
                for truth, predicted, share, count in cells[["truth", "predicted", "share", "count"]]
                .to_numpy()
                .tolist()
            }
            for method, cells in of_dataset.groupby("method", sort=False)
        }
        reference = shares.get(REFERENCE, {})
        for method, cells in shares.items():
            rows.append((dataset, method, classes, classes, *_matrices(classes, cells, reference)))
    return pd.DataFrame(
        rows, columns=["dataset", "method", "truth", "classes", "share", "difference", "count"], dtype=object
    )


_Cells = Mapping[tuple[str, str], tuple[float, int]]


def _matrices(classes: Sequence[str], cells: _Cells, reference: _Cells) -> tuple[list[list[Any]], ...]:
    """Return the shares, their differences to the reference, and the counts, row by row."""
    absent = (_ABSENT, 0)
    pairs = [[(cells.get((t, p), absent), reference.get((t, p), absent)) for p in classes] for t in classes]
    shares = [[_per_mille(cell[0]) for cell, _ in row] for row in pairs]
    differences = [
        [_per_mille(_ABSENT if _ABSENT in (cell[0], other[0]) else cell[0] - other[0]) for cell, other in row]
        for row in pairs
    ]
    return shares, differences, [[cell[1] for cell, _ in row] for row in pairs]


def _per_mille(share: float) -> int | None:
    return None if math.isnan(share) else round(1000 * share)


def _panel(view: str, classes: Sequence[str] | int, size: float) -> Chart:
    """Return the layers of a matrix.

    Args:
        view: what the cells show.
        classes: the classes, or their largest number if the data decide.
        size: size of texts, as a multiple of that in files.
    """
    column = "share" if view == _SHARE else "difference"
    number = classes if isinstance(classes, int) else len(classes)
    domain = alt.Undefined if isinstance(classes, int) else list(classes)
    cells = (
        alt.Chart()
        .transform_filter(f"datum.{column} !== {1000 * _ABSENT:.0f}")
        .transform_calculate(cell=f"isValid(datum.{column}) ? datum.{column} / 1000 : null", part="datum.share / 1000")
    )
    axis = alt.Axis(grid=False, ticks=False, domain=False, labelOverlap=False, labelFontSize=_font(number, size))
    x = alt.X("classes:N", title="predicted", sort=None, axis=axis).scale(domain=domain).axis(labelAngle=-45)
    y = alt.Y("truth:N", title="true class", sort=None, axis=axis).scale(domain=domain)
    colour = alt.Color("cell:Q", title=view).legend(orient="bottom", gradientLength=140, direction="horizontal")
    if view == _SHARE:
        colour, strong, text = colour.scale(scheme="blues", domain=[0, 1]), "datum.cell > 0.6", ".0%"
    else:
        strong, text = f"abs(datum.cell) > {0.7 * _LARGEST:g}", "+.0%"
        colour = colour.scale(scheme="blueorange", reverse=True, domain=[-_LARGEST, _LARGEST], clamp=True)
    tooltip = [
        alt.Tooltip("truth:N", title="true class"),
        alt.Tooltip("classes:N", title="predicted"),
        alt.Tooltip("part:Q", title="share of the true class", format=".1%"),
        alt.Tooltip("count:Q", title="samples, over all seeds"),
        *([] if view == _SHARE else [alt.Tooltip("cell:Q", title=_DIFFERENCE, format="+.1%")]),
    ]
    base = cells.encode(x=x, y=y, tooltip=tooltip)
    layers = [
        *(
            [base.mark_rect(opacity=0)] if isinstance(classes, int) else []
        ),  # keeps the order; the other layers lack classes
        base.transform_filter("datum.cell !== 0").mark_rect(stroke=GREY, strokeWidth=0.2).encode(color=colour),
        base.transform_filter("!isValid(datum.cell)").mark_text(text="–", color=GREY),
    ]
    if number <= _TEXT:
        for test, ink in ((strong, "#ffffff"), (f"!({strong})", "#111111")):
            numbers = base.transform_filter(f"isValid(datum.cell) && datum.cell !== 0 && {test}")
            mark = numbers.mark_text(fill=ink, fontSize=_font(number, size))
            layers.append(mark.encode(text=alt.Text("cell:Q", format=text)))
    return alt.layer(*layers)


def _font(classes: int, size: float) -> float:
    """Return the size of texts in a matrix of so many classes."""
    return size * (7 if classes <= _SMALL else 5 if classes <= _TEXT else 3.5)
