"""The figure of what the uncertainty of each score consists of: training seeds, searches, test samples."""

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
    interactive_chart,
    legend_below,
    main_columns,
    packed,
    panels_of,
    static_chart,
    unique,
)

__all__ = ["variance_parts"]

_PARTS = {
    "seed_error": ("confirmation seeds", "#0096FF"),
    "search_error": ("searches", "#C38700"),
    "sample_error": ("test samples", "#785A96"),
}
"""Column of a part of the standard error -> its name and its colour, in the order of the bar."""
_CHOICE = ["dataset", "labels", "metric"]
_FLATTEN = {"flatten": ["method", "part", "order", "error", "variance", "whole"]}
_SIZE: dict[str, Any] = {"width": PAGE_WIDTH / 2 - 100, "height": alt.Step(13)}
_MODES = {"absolute": "datum.variance", "share of the whole": "datum.variance / datum.whole"}
"""What the bars show -> its expression."""


def variance_parts(frame: pd.DataFrame, metric: str) -> Drawing:
    """Draw a bar per method: the squared standard error of its score, divided into its parts.

    Args:
        frame: columns dataset (a column of the ablation table), method, metric, seed_error, sample_error and, if known,
            search_error. They are missing for a method with a single seed, or without a result.
        metric: the metric that files show.
    """
    rows = _rows(frame)
    toggle = alt.param("bars", value="absolute", bind=alt.binding_radio(options=list(_MODES), name="bars: "))
    absolute, share = _MODES.values()
    title = chosen_title("squared standard error of {metric}, {set}")
    chart = _panel(f"bars === 'absolute' ? {absolute} : {share}", None, legend_below())
    interactive = chart.properties(width="container", height=alt.Step(20), title=title).add_params(toggle)
    shown = main_columns(rows, metric)
    datasets = unique(shown["dataset"])
    pairs = [
        panels_of(_panel(expression, title, {"orient": "top"}).properties(**_SIZE), "dataset", datasets)
        for expression, title in ((absolute, "squared standard error"), (share, "share of the whole"))
    ]
    panels = [panel for pair in zip(*pairs, strict=True) for panel in pair]
    notes = ["× unknown: fewer than two seeds have a result"] if shown["part"].isna().any() else []
    return Drawing(
        interactive_chart(interactive, packed(rows, _CHOICE), [CHOSEN, _FLATTEN], first_choice(rows, metric)),
        static_chart(panels, packed(shown, _CHOICE), [_FLATTEN], 2, notes),
    )


def _rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per part of each method's variance; a method without any has one row without a part."""
    rows = by_choice(frame)
    keys = [*_CHOICE, "method"]
    columns = [name for name in _PARTS if name in rows]
    whole = (rows[columns] ** 2).sum(axis=1, min_count=1)
    parts = [
        rows[keys].assign(part=_PARTS[name][0], order=place, error=rows[name], variance=rows[name] ** 2, whole=whole)
        for place, name in enumerate(columns)
    ]
    unknown = rows.loc[whole.isna(), keys]
    known = pd.concat(parts, ignore_index=True)
    return pd.concat([known[known["variance"] > 0], unknown], ignore_index=True)


def _panel(expression: str, title: str | None, legend: dict[str, Any]) -> Chart:
    """Return the layers of a panel.

    Args:
        expression: length of a bar.
        title: title of the horizontal axis.
        legend: settings of the legend.
    """
    y = alt.Y("method:N", title=None, sort=alt.EncodingSortField("whole", op="max", order="descending"))
    y = y.axis(ticks=False, domain=False, labelPadding=6)
    names, colours = zip(*_PARTS.values(), strict=True)
    chart = alt.Chart()
    known = chart.transform_filter("isValid(datum.part)").transform_calculate(length=expression)
    unknown = chart.transform_filter("!isValid(datum.part)").mark_text(text="× unknown", align="left", color=GREY)
    tooltip = [
        alt.Tooltip("method:N", title="method"),
        alt.Tooltip("part:N", title="chance by"),
        alt.Tooltip("error:Q", title="standard error by it", format=".4f"),
        alt.Tooltip("variance:Q", title="its square", format=".3g"),
        alt.Tooltip("whole:Q", title="sum of all squares", format=".3g"),
    ]
    bars = known.mark_bar().encode(
        x=alt.X("length:Q", title=title, axis=alt.Axis(format="~g", tickCount=4)),
        y=y,
        color=alt.Color("part:N", title="chance by", legend=alt.Legend(**legend)).scale(
            domain=list(names), range=list(colours)
        ),
        order="order:O",
        tooltip=tooltip,
    )
    return alt.layer(bars, unknown.encode(x=alt.value(4), y=y))
