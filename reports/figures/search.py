"""Figures of the search: trials over time, and the best of fewer trials.

A file of thousands of points would have megabytes and take seconds to display. So a figure draws every improvement and
some of the other trials, and says so. As everywhere, no value is dropped silently.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from reports.figures.palette import method_colour, method_dash
from reports.figures.style import (
    GREY,
    PAGE_WIDTH,
    Chart,
    Drawing,
    interactive_chart,
    legend_below,
    packed,
    panels_of,
    static_chart,
    unique,
)

__all__ = ["expected_best", "search_history"]

_STATES = {
    "complete": ("#0096FF", "circle"),
    "pruned": ("#C38700", "triangle-up"),
    "failed": ("#E1003C", "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z"),
}
"""How a trial ended -> colour and shape of its point."""
_ON_PAGE, _IN_FILES = 300, 120
"""Trials of a method, beside its improvements and its last one, that have a point on the page and in files."""
_BENDS = 40  # points of a curve of expected best objectives, equally spaced in the number's logarithm
_FLATTEN = {"flatten": ["number", "value", "state"]}


def search_history(frame: pd.DataFrame) -> Drawing:
    """Draw the value of each trial, and the best so far; on the page, the reader chooses the search.

    Args:
        frame: columns sweep, method, search, number, value and state (complete, pruned or failed).
    """
    frame = _named(frame)
    on_page, in_files = (_thinned(frame, number) for number in (_ON_PAGE, _IN_FILES))
    searches, methods = unique(frame["search"]), unique(frame["method"])
    choose = alt.param(
        "search", value=next(iter(searches), ""), bind=alt.binding_select(options=searches, name="points of: ")
    )
    title = _below("objective on validation data; points: trials of ' + search + '")
    lines = _best().encode(color=method_colour(methods, title="best so far", **legend_below()), detail="search:N")
    layers = alt.layer(
        *_points("search === datum.search", 1.5, False), lines.mark_line(interpolate="step-after", size=2)
    )
    interactive = layers.add_params(choose).properties(width="container", height=320, title=title)
    black = _best().mark_line(interpolate="step-after", size=1, color="#555555")
    panel = alt.layer(black, *_points("true", 1, True)).properties(width=PAGE_WIDTH / 4 - 32, height=75)
    notes = ["line: the best complete trial so far"]
    if frame["value"].isna().any():
        notes.append("on the lower edge: ended without a value")
    largest = int(frame.groupby("search", sort=False).size().max()) if len(frame) else 0
    if len(in_files) < len(frame):
        notes.append(f"points: every improvement, and {_IN_FILES} others of up to {largest} trials")
    return Drawing(
        interactive_chart(interactive, packed(on_page, ["search", "method"]), [_FLATTEN], {}),
        static_chart(
            panels_of(panel, "search", searches), packed(in_files, ["search", "method"]), [_FLATTEN], 4, notes
        ),
    )


def expected_best(frame: pd.DataFrame) -> Drawing:
    """Draw a line per search, coloured by method: the expected best value over the number of trials (logarithmic).

    Args:
        frame: columns sweep, method, search, n_trials and expected.
    """
    rows = frame.loc[frame["expected"].notna(), ["sweep", "method", "search", "n_trials", "expected"]]
    rows = rows[_bends(rows)]
    sweeps, methods = unique(rows["sweep"]), unique(rows["method"])
    choose = alt.param("sweep", value=next(iter(sweeps), ""), bind=alt.binding_select(options=sweeps, name="sweep: "))
    curves = alt.selection_point("curves", fields=["method"], bind="legend")
    chart = _curves(methods, legend_below(), 2).encode(opacity=alt.condition(curves, alt.value(1), alt.value(0.1)))
    interactive = chart.add_params(curves, choose).properties(
        width="container", height=320, title=_below("expected best objective on validation data")
    )
    per_row = min(2, max(1, len(sweeps)))
    panel = _curves(methods, {"symbolLimit": 0}, 1.3).properties(width=(PAGE_WIDTH - 90) / per_row - 45, height=180)
    lacking = frame[frame["expected"].isna()]
    notes = [
        f"no result of {method} ({sweep})"
        for sweep, method in lacking[["sweep", "method"]].drop_duplicates().to_numpy().tolist()
    ]
    chosen = {"filter": "datum.sweep === sweep"}
    return Drawing(
        interactive_chart(interactive, rows, [chosen], {}),
        static_chart(panels_of(panel, "sweep", sweeps), rows, [], per_row, notes),
    )


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Name each search in the column ``search`` by sweep, method and number, as far as they tell searches apart."""
    several = frame["sweep"].nunique() > 1
    names = [
        (f"{sweep}: " if several else "") + method + (f"~{number}" if number > 1 else "")
        for sweep, method, number in zip(frame["sweep"], frame["method"], frame["search"], strict=True)
    ]
    return frame.assign(search=names)[["search", "method", "number", "value", "state"]]


def _thinned(frame: pd.DataFrame, number: int) -> pd.DataFrame:
    """Return all improvements, the last trial, and ``number`` other trials of each search, equally spaced."""
    kept = []
    for _, trials in frame.groupby("search", sort=False):
        ordered = trials.sort_values("number", kind="stable")
        complete = ordered["value"].where(ordered["state"] == "complete")
        best = complete.cummax()
        keep = (complete.notna() & (best > best.shift().ffill().fillna(-np.inf))).to_numpy().copy()
        keep[-1] = True
        others = np.flatnonzero(~keep)
        keep[others[np.linspace(0, len(others) - 1, min(number, len(others))).round().astype(int)]] = True
        kept.append(ordered[keep])
    return pd.concat(kept, ignore_index=True) if kept else frame


def _bends(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Return which numbers of trials are points of their curve."""
    last = rows.groupby(["sweep", "method", "search"])["n_trials"].transform("max")
    step = np.log(last.clip(lower=2)) / _BENDS
    place = (np.log(rows["n_trials"]) / step).round()
    first = ~place.groupby([rows["sweep"], rows["method"], rows["search"], place]).cumcount().astype(bool)
    kept: pd.Series[bool] = first | (rows["n_trials"] == last)
    return kept


def _best() -> alt.Chart:
    """Return a chart of the best complete trial so far."""
    complete = alt.Chart().transform_filter("datum.state === 'complete' && isValid(datum.value)")
    best = complete.transform_window(
        best="max(value)", groupby=["search"], sort=[alt.SortField("number")], frame=[None, 0]
    )
    return best.encode(
        x=alt.X("number:Q", title="trial", axis=alt.Axis(tickMinStep=1, tickCount=4, grid=False)),
        y=alt.Y("best:Q", title=None).scale(zero=False, nice=True),
        tooltip=[alt.Tooltip("search:N", title="search"), alt.Tooltip("best:Q", title="best so far", format=".4f")],
    )


def _points(test: str, size: float, coloured: bool) -> list[Chart]:
    """Return the trials that pass the test; those without a value lie on the lower edge.

    Args:
        test: expression of Vega.
        size: size of the points, as a multiple of that in files.
        coloured: whether colours show how a trial ended, too.
    """
    colours, shapes = ([style[k] for style in _STATES.values()] for k in range(2))
    legend = alt.Legend(orient="top", title="trial") if coloured else alt.Legend(**legend_below(), title="trial")
    ends: dict[str, Any] = {"shape": alt.Shape("state:N", legend=legend).scale(domain=list(_STATES), range=shapes)}
    if coloured:
        ends["color"] = alt.Color("state:N", legend=legend).scale(domain=list(_STATES), range=colours)
    trials = alt.Chart().transform_filter(test)
    mark: dict[str, Any] = {"filled": True, "size": 14 * size**2, "opacity": 1, "color": GREY}
    tooltip = [
        alt.Tooltip("search:N", title="search"),
        alt.Tooltip("number:Q", title="trial"),
        alt.Tooltip("value:Q", title="objective", format=".4f"),
        alt.Tooltip("state:N", title="end"),
    ]
    x = alt.X("number:Q", title="trial")
    valued = trials.transform_filter("isValid(datum.value)").mark_point(**mark)
    missing = trials.transform_filter("!isValid(datum.value)").mark_point(**mark)
    return [
        valued.encode(x=x, y=alt.Y("value:Q", title=None), tooltip=tooltip, **ends),
        missing.encode(x=x, y=alt.value("height"), tooltip=tooltip, **ends),
    ]


def _curves(methods: Sequence[str], legend: dict[str, Any], size: float) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart()
        .mark_line(size=size)
        .encode(
            x=alt.X("n_trials:Q", title="trials", axis=alt.Axis(format="~s", tickCount=6)).scale(
                type="log", nice=False
            ),
            y=alt.Y("expected:Q", title="expected best objective").scale(zero=False),
            color=method_colour(methods, title="method", **legend),
            strokeDash=method_dash(methods, title="method", **legend),
            detail="search:N",
            tooltip=[
                alt.Tooltip("method:N", title="method"),
                alt.Tooltip("search:N", title="search"),
                alt.Tooltip("n_trials:Q", title="trials"),
                alt.Tooltip("expected:Q", title="expected best", format=".4f"),
            ],
        )
    )
    return chart


def _below(text: str) -> alt.TitleParams:
    """Return a title below an interactive chart; the text may leave its quotes for the name of a parameter."""
    return alt.TitleParams(alt.expr(f"'{text}'"), orient="bottom", fontWeight="normal", fontSize=12)
