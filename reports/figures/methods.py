"""The figure of the methods: scores as points with intervals, on an axis that fits them, the best on top."""

import altair as alt
import pandas as pd

from reports.figures.palette import method_colour, method_shape
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
from reports.statistics.findings.methods import WITHOUT_PRETRAINING
from sweeps.ledger import method_of

__all__ = ["method_scores"]

_ROW = 15  # height of a method, in points
_ERRORS = ("seed_error", "sample_error", "search_error")
_COLUMNS = ("dataset", "labels", "method", "metric", "mean", "low", "high", *_ERRORS, "n_seeds", "place", "pretrained")


def method_scores(frame: pd.DataFrame, metric: str) -> Drawing:
    """Draw a row per method: its mean test score and 95 % interval, and a line at the highest without pretraining.

    Args:
        frame: columns dataset (a column of the ablation table), method, metric, mean, low, high, seed_error,
            sample_error, n_seeds, and, if known, search_error. A planned method without a result has no mean.
        metric: the metric that files show.
    """
    rows = _rows(frame)
    methods = unique(rows["method"])
    title = chosen_title("{metric}, {set}")
    interactive = _panel(methods, None, 1.6).properties(width="container", height=alt.Step(24), title=title)
    shown = main_columns(rows, metric)
    datasets = unique(shown["dataset"])
    per_row = min(3, max(1, len(datasets)))
    panel = _panel(methods, heading(metric), 1).properties(
        width=max(60.0, PAGE_WIDTH / per_row - 130), height=alt.Step(_ROW)
    )
    notes = []
    if shown["mean"].isna().any():
        notes.append("no result: planned, but no job is complete")
    if (shown["mean"].notna() & shown["low"].isna()).any():
        notes.append("point without a line: no interval, as only one seed has a result")
    return Drawing(
        interactive_chart(interactive, rows, [CHOSEN], first_choice(rows, metric)),
        static_chart(panels_of(panel, "dataset", datasets), shown, [], per_row, notes),
    )


def _rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with their place in their panel, the best first and those without a result last."""
    rows = by_choice(frame)
    place = rows.groupby(["dataset", "labels", "metric"])["mean"].rank(method="first", ascending=False)
    pretrained = ~rows["method"].map(method_of).isin(WITHOUT_PRETRAINING)
    rows = rows.assign(place=place.fillna(len(rows)).astype(int), pretrained=pretrained)
    return rows[[name for name in _COLUMNS if name in rows]]


def _panel(methods: list[str], title: str | None, size: float) -> Chart:
    """Return the layers of a panel.

    Args:
        methods: all methods.
        title: title of the horizontal axis.
        size: size of the marks, as a multiple of that in files.
    """
    order = alt.EncodingSortField("place", op="min", order="ascending")
    y = alt.Y("method:N", sort=order, title=None, axis=alt.Axis(grid=False, ticks=False, domain=False, labelPadding=6))
    scale = alt.Scale(zero=False, nice=True, padding=8)
    chart = alt.Chart()
    scored = chart.transform_filter("isValid(datum.mean)")
    colour = method_colour(methods)
    tooltip = [
        alt.Tooltip("method:N", title="method"),
        alt.Tooltip("mean:Q", title="mean", format=".4f"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".4f"),
        alt.Tooltip("high:Q", title="to", format=".4f"),
        alt.Tooltip("seed_error:Q", title="error by seeds", format=".4f"),
        alt.Tooltip("sample_error:Q", title="error by test samples", format=".4f"),
        alt.Tooltip("search_error:Q", title="error by searches", format=".4f"),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]
    best = scored.transform_filter("!datum.pretrained").transform_aggregate(best="max(mean)")
    reference = best.mark_rule(color=GREY, strokeDash=[4, 3]).encode(
        x=alt.X("best:Q", scale=scale, title=title),
        tooltip=[alt.Tooltip("best:Q", title="highest test score without pretraining", format=".4f")],
    )
    x = alt.X("mean:Q", scale=scale, title=title, axis=alt.Axis(tickCount=4))
    interval = scored.transform_filter("isValid(datum.low)").mark_rule(size=1.6 * size)
    point = scored.mark_point(filled=True, size=50 * size**2, opacity=1)
    number = scored.mark_text(align="left", dx=6)
    missing = chart.transform_filter("!isValid(datum.mean)").mark_text(align="left", color=GREY)
    name = best.mark_text(text="highest without pretraining", align="right", baseline="bottom", color=GREY, dx=2, dy=-2)
    return alt.layer(
        reference,
        name.encode(x=alt.X("best:Q"), y=alt.value(0)),
        interval.encode(x=alt.X("low:Q", scale=scale, title=title), x2="high:Q", y=y, color=colour, tooltip=tooltip),
        point.encode(x=x, y=y, color=colour, shape=method_shape(methods), tooltip=tooltip),
        number.encode(x=alt.value("width"), y=y, text=alt.Text("mean:Q", format=".3f")),
        missing.encode(x=alt.value(4), y=y, text=alt.value("× no result")),
    )
