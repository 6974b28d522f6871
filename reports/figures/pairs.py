"""The figure of all pairs of methods: one matrix of differences, which shows what is settled."""

import math
from itertools import combinations
from typing import Any

import altair as alt
import pandas as pd

from reports.figures.style import (
    CHOSEN,
    GREY,
    PAGE_WIDTH,
    Chart,
    Drawing,
    by_choice,
    chosen_title,
    first_choice,
    heading,
    interactive_chart,
    legend_below,
    main_columns,
    on_all_modalities,
    packed,
    panels_of,
    static_chart,
    unique,
)

__all__ = ["pair_matrix"]

_KEYS = ["dataset", "metric"]
_CHOICE = ("dataset", "labels", "metric")
_COLUMNS = (
    "dataset", "labels", "metric", "first", "second", "difference", "low", "high", "p_holm", "improvement", "verdict",
    "more_seeds", "first_place", "second_place",
)  # fmt: skip
_VERDICTS = {
    "settled": "circle",
    "equal": "M-1,-.7L1,-.7L1,-.2L-1,-.2ZM-1,.2L1,.2L1,.7L-1,.7Z",
    "open": "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0ZM-.7,0A.7,.7,0,1,0,.7,0A.7,.7,0,1,0,-.7,0Z",
    "no result": "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",
}
"""Verdict -> shape of its mark: a disc, an equals sign, a ring, a cross."""
_CELLS: list[dict[str, Any]] = [
    {"flatten": [name for name in _COLUMNS if name not in _CHOICE]},
    {"calculate": "[1, -1]", "as": "sign"},
    {"flatten": ["sign"]},
    {"calculate": "datum.sign > 0 ? datum.first : datum.second", "as": "row"},
    {"calculate": "datum.sign > 0 ? datum.second : datum.first", "as": "column"},
    {"calculate": "datum.sign > 0 ? datum.first_place : datum.second_place", "as": "row_place"},
    {"calculate": "datum.sign > 0 ? datum.second_place : datum.first_place", "as": "column_place"},
    {"calculate": "isValid(datum.difference) ? datum.sign * datum.difference : null", "as": "gain"},
    {"calculate": "datum.sign > 0 ? datum.low : -datum.high", "as": "from"},
    {"calculate": "datum.sign > 0 ? datum.high : -datum.low", "as": "to"},
    {"calculate": "datum.sign > 0 ? datum.improvement : 1 - datum.improvement", "as": "better"},
    {"joinaggregate": [{"op": "max", "field": "gain", "as": "largest"}], "groupby": ["dataset"]},
    {"calculate": "datum.verdict === 'settled' && abs(datum.gain) > 0.7 * datum.largest", "as": "strong"},
]
"""Transforms of a list of pairs into cells: two for each pair, the second with the opposite sign."""
_NAMED = 9  # methods; a matrix of more takes the whole width of a page


def pair_matrix(frame: pd.DataFrame, scores: pd.DataFrame, metric: str) -> Drawing:
    """Draw a matrix of methods by methods, the best first: the score of the row minus the score of the column.

    Args:
        frame: columns as in `reports.statistics.pairs.COLUMNS`.
        scores: every planned cell of the ablation table: columns dataset, method, metric and mean.
        metric: the metric that files show.
    """
    rows = _rows(frame, scores)
    room = alt.expr("width < 27 * domain('x').length ? 0 : 1")
    title = chosen_title("{metric}, row minus column, {set}")
    interactive = _panel(1.5, room, legend_below()).properties(title=title, width="container", height=alt.Step(30))
    shown = main_columns(rows, metric)
    methods = len(unique(pd.concat([shown["first"], shown["second"]])))
    per_row = 1 if methods > _NAMED else 2
    side = min(26.0, (PAGE_WIDTH / per_row - 95) / max(1, methods))
    panel = _panel(1, 1, {"orient": "bottom"}).properties(width=alt.Step(side), height=alt.Step(19))
    note = f"{heading(metric)} of the row minus that of the column"
    return Drawing(
        interactive_chart(interactive, packed(rows, _CHOICE), [CHOSEN, *_CELLS], first_choice(rows, metric)),
        static_chart(
            panels_of(panel, "dataset", unique(shown["dataset"])), packed(shown, _CHOICE), _CELLS, per_row, [note]
        ),
    )


def _rows(frame: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each planned pair, with the places of both methods; the best has the first place."""
    planned = on_all_modalities(scores)
    pairs, places = [], []
    for (dataset, metric), column in planned.groupby(_KEYS, sort=False):
        ranked = column.sort_values("mean", ascending=False, kind="stable")["method"].tolist()
        places += [(dataset, metric, method, place) for place, method in enumerate(ranked)]
        pairs += [(dataset, metric, *pair) for pair in combinations(column["method"], 2)]
    rows = pd.DataFrame(pairs, columns=[*_KEYS, "first", "second"]).merge(
        frame, how="left", on=[*_KEYS, "first", "second"]
    )
    for side in ("first", "second"):
        of_side = pd.DataFrame(places, columns=[*_KEYS, side, f"{side}_place"])
        rows = rows.merge(of_side, how="left", on=[*_KEYS, side])
    more = [
        "no number of" if math.isinf(seeds) else f"about {seeds:.0f}" if seeds > 0 else ""
        for seeds in rows["more_seeds"].astype(float)
    ]
    rows = rows.assign(verdict=rows["verdict"].astype(object).fillna("no result"), more_seeds=more)
    return by_choice(rows)[list(_COLUMNS)]


def _panel(size: float, room: alt.ExprRef | int, legend: dict[str, Any]) -> Chart:
    """Return the layers of a matrix; each pair has two cells.

    Args:
        size: size of texts and marks, as a multiple of that in files.
        room: opacity of the numbers, 0 where cells are too narrow for them.
        legend: settings of the legend of verdicts.
    """
    cells = alt.Chart()
    axis: dict[str, Any] = {"ticks": False, "domain": False, "grid": False}
    x = alt.X("column:N", title=None, sort=alt.EncodingSortField("column_place", op="min"))
    x = x.axis(**axis, orient="top", labelAngle=-50, labelAlign="left")
    y = alt.Y("row:N", title=None, sort=alt.EncodingSortField("row_place", op="min")).axis(**axis)
    tooltip = [
        alt.Tooltip("row:N", title="method"),
        alt.Tooltip("column:N", title="minus"),
        alt.Tooltip("gain:Q", title="difference", format="+.4f"),
        alt.Tooltip("from:Q", title="95 % interval from", format="+.4f"),
        alt.Tooltip("to:Q", title="to", format="+.4f"),
        alt.Tooltip("p_holm:Q", title="p (Holm)", format=".2g"),
        alt.Tooltip("better:Q", title="probability of improvement", format=".2f"),
        alt.Tooltip("verdict:N", title="verdict"),
        alt.Tooltip("more_seeds:N", title="more seeds to settle it"),
    ]
    shape = alt.Shape(
        "verdict:N", title="verdict", legend=alt.Legend(**legend, direction="horizontal", symbolFillColor=GREY)
    ).scale(domain=list(_VERDICTS), range=list(_VERDICTS.values()))
    colour = alt.Color("gain:Q", title="difference", legend=alt.Legend(orient="top", direction="horizontal")).scale(
        scheme="blueorange", reverse=True, domainMid=0
    )
    settled, strong = "datum.verdict === 'settled'", "datum.strong"
    base = cells.encode(x=x, y=y, tooltip=tooltip)
    scored = base.transform_filter("isValid(datum.gain)")
    text: dict[str, Any] = {"fontSize": 5.5 * size, "dy": -3 * size, "opacity": room}
    point: dict[str, Any] = {"filled": True, "size": 12 * size**2, "opacity": 1, "yOffset": 5 * size}
    styles: list[tuple[str, dict[str, Any]]] = [
        (f"{settled} && !{strong}", {"fill": "#111111"}),  # a page may give texts without a fill its own
        (strong, {"fill": "#ffffff"}),
        (f"!({settled})", {}),
    ]
    return alt.layer(
        scored.mark_rect(stroke=GREY, strokeWidth=0.3).encode(
            color=colour, opacity=alt.condition(settled, alt.value(1), alt.value(0.25))
        ),
        *(
            scored.transform_filter(test).mark_text(**text, **style).encode(text=alt.Text("gain:Q", format="+.3f"))
            for test, style in styles
        ),
        *(
            base.transform_filter(test).mark_point(**point, **{"fill": GREY, **style}).encode(shape=shape)
            for test, style in styles
        ),
    )
