"""Forests of effects: what each loss adds, as points with intervals around a line at zero."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from reports.figures.palette import COLOURS
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
    main_columns,
    panels_of,
    static_chart,
    unique,
)
from sweeps.ledger import SUMMARY_METRICS

__all__ = ["effect_forest", "instrument_forest"]

_KINDS = {
    "total": "total: ",
    "shapley": "Shapley value of ",
    "main": "main effect of ",
    "interaction": "interaction ",
}
"""Kind of effect, in the order of the rows -> what stands before the loss."""
_MISSING = "all effects"
_COLUMNS = ["dataset", "labels", "metric", "effect", "place", "value", "low", "high", "n_seeds"]
_COLOURS = ["#0096FF", "#C38700", "#E1003C", "#00782D", "#A50FD2"]
_SHAPES = ["circle", "square", "triangle-up", "diamond", "cross"]
_CHOSEN_PROBE = {
    "filter": "datum.dataset === split(dataset, ' (')[0] && datum.labels === labels && datum.metric === metric"
}


def effect_forest(frame: pd.DataFrame, planned: Sequence[str], metric: str, equivalent: float) -> Drawing:
    """Draw a row per effect: its value and 95 % interval, a line at zero, and a band of differences that do not matter.

    Args:
        frame: columns as in `reports.statistics.factorial.COLUMNS`.
        planned: every column of the ablation table; one without effects is shown as such.
        metric: the metric that files show.
        equivalent: half the width of the band.
    """
    rows = _rows(frame, planned)
    losses = [kind for kind in unique(rows["loss"]) if kind]
    colours = alt.Scale(domain=["", *losses], range=[GREY, *(COLOURS.get(loss, GREY) for loss in losses)])
    style = {"color": alt.Color("loss:N", scale=colours, legend=None)}
    return _forest(rows, style, metric, equivalent, CHOSEN)


def instrument_forest(frame: pd.DataFrame, metric: str, equivalent: float) -> Drawing:
    """Draw the effects as :func:`effect_forest` does, with a point for each instrument.

    Args:
        frame: columns as in `reports.statistics.instruments.COLUMNS`.
        metric: the metric that files show.
        equivalent: half the width of the band of differences that do not matter.
    """
    rows = _rows(frame, [])
    instruments = unique(rows["instrument"])
    legend = alt.Legend(orient="top", direction="horizontal")
    style = {
        "color": alt.Color("instrument:N", title="instrument", legend=legend).scale(domain=instruments, range=_COLOURS),
        "shape": alt.Shape("instrument:N", title="instrument", legend=legend).scale(domain=instruments, range=_SHAPES),
        "yOffset": alt.YOffset("instrument:N", sort=instruments),
    }
    return _forest(rows, style, metric, equivalent, _CHOSEN_PROBE)


def _rows(frame: pd.DataFrame, planned: Sequence[str]) -> pd.DataFrame:
    """Return the effects with their names, and an empty row for each planned column without effects."""
    known = frame[frame["kind"].isin(list(_KINDS))]
    kinds = {kind: place for place, kind in enumerate(_KINDS)}
    order = known["kind"].map(kinds)
    names = known["kind"].map(_KINDS) + known["quantity"].map(lambda name: str(name).replace(" x ", " × "))
    names = names.str.replace(" - random_head", " − random_head", regex=False)
    loss = known["quantity"].where(known["kind"].isin(["shapley", "main"]), "")
    loss = loss.where(known["kind"] != "total", "ConCluGen")
    rows = known.assign(effect=names, place=order, loss=loss)
    absent = [column for column in planned if column not in set(frame["dataset"])]
    missing = pd.DataFrame(
        [(column, metric, _MISSING, 0) for column in absent for metric in SUMMARY_METRICS],
        columns=["dataset", "metric", "effect", "place"],
    )
    extra = [name for name in ("instrument", "same_sign") if name in rows]
    return by_choice(pd.concat([rows, missing], ignore_index=True))[[*_COLUMNS, "loss", *extra]]


def _forest(
    rows: pd.DataFrame, style: dict[str, Any], metric: str, equivalent: float, chosen: dict[str, str]
) -> Drawing:
    """Return the drawing of these rows; ``style`` holds the encodings of the marks by loss or by instrument."""
    shown = main_columns(rows, metric)
    step: dict[str, Any] = {"step": 20.0}
    if "yOffset" in style:
        step = {"step": 11.0 * max(2, len(unique(rows["instrument"]))), "for": "position"}
    title = chosen_title("effect on {metric}, {set}")
    interactive = _panel(style, equivalent, None, 1.6).properties(width="container", height=step, title=title)
    datasets = unique(shown["dataset"])
    per_row = min(2, max(1, len(datasets)))
    panel = _panel(style, equivalent, f"effect on {heading(metric)}", 1).properties(
        width=PAGE_WIDTH / per_row - 150, height={**step, "step": 0.65 * step["step"]}
    )
    notes = []
    if (shown["effect"] == _MISSING).any():
        notes.append("× no result: the effects need a result of all seven loss subsets and of random_head")
    if (shown["value"].notna() & shown["low"].isna()).any():
        notes.append("point without a line: no interval, as only one seed has a result")
    return Drawing(
        interactive_chart(interactive, rows, [chosen], first_choice(rows, metric)),
        static_chart(panels_of(panel, "dataset", datasets), shown, [], per_row, notes),
    )


def _panel(style: dict[str, Any], equivalent: float, title: str | None, size: float) -> Chart:
    """Return the layers of a panel.

    Args:
        style: encodings of the marks by loss or by instrument.
        equivalent: half the width of the band around zero.
        title: title of the horizontal axis.
        size: size of the marks, as a multiple of that in files.
    """
    y = alt.Y("effect:N", title=None, sort=alt.EncodingSortField("place", op="min"))
    y = y.axis(grid=False, ticks=False, domain=False, labelPadding=6, labelLimit=200)
    chart = alt.Chart()
    scored = chart.transform_filter("isValid(datum.value)")
    missing = chart.transform_filter("!isValid(datum.value)").mark_text(text="× no result", align="left", color=GREY)
    band = alt.Chart(alt.sequence(1)).mark_rect(color=GREY, opacity=0.2)
    zero = alt.Chart(alt.sequence(1)).mark_rule(color=GREY)
    tooltip = [
        alt.Tooltip("effect:N", title="effect"),
        *([alt.Tooltip("instrument:N", title="instrument")] if "yOffset" in style else []),
        alt.Tooltip("value:Q", title="value", format="+.4f"),
        alt.Tooltip("low:Q", title="95 % interval from", format="+.4f"),
        alt.Tooltip("high:Q", title="to", format="+.4f"),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]
    placed = {"y": y, **{name: style[name] for name in style if name == "yOffset"}}
    x = alt.X("value:Q", title=title, axis=alt.Axis(tickCount=5, format="+"))
    return alt.layer(
        band.encode(x=alt.datum(-equivalent, type="quantitative"), x2=alt.datum(equivalent)),
        zero.encode(x=alt.datum(0, type="quantitative")),
        scored.transform_filter("isValid(datum.low)")
        .mark_rule(size=1.6 * size)
        .encode(x=alt.X("low:Q", title=title), x2="high:Q", color=style["color"], tooltip=tooltip, **placed),
        scored.mark_point(filled=True, size=45 * size**2, opacity=1).encode(x=x, y=y, tooltip=tooltip, **style),
        scored.mark_text(align="left", dx=6, fontSize=6.5 * size).encode(
            x=alt.value("width"), text=alt.Text("value:Q", format="+.3f"), **placed
        ),
        missing.encode(x=alt.value(4), y=y),
    )
