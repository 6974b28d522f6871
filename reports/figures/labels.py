"""The figure of label efficiency: scores over the number of labels per class, on a logarithmic axis."""

import math
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from reports.figures.palette import method_colour, method_dash, method_shape
from reports.figures.style import (
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
    on_all_modalities,
    panels_of,
    static_chart,
    unique,
)

__all__ = ["label_efficiency"]

_CHOSEN = {"filter": "datum.dataset === dataset && datum.metric === metric"}
_SPREAD = 0.16  # of the natural logarithm of the number of labels, over which the methods of a budget stand apart
_STEP = 4.0  # from the largest known number of labels per class to a budget whose number is not known, as a factor
_COLUMNS = ["dataset", "labels", "metric", "method", "mean", "low", "high", "n_seeds", "number", "place"]


def label_efficiency(frame: pd.DataFrame, per_class: Mapping[str, float], metric: str) -> Drawing:
    """Draw a line with intervals for each method on all modalities over the label budgets.

    Args:
        frame: columns dataset (a column of the ablation table), method, metric, mean, low, high and n_seeds. A planned
            method without a result has no mean.
        per_class: column of the ablation table -> mean number of labels per class. Budgets in per cent, and all
            labels, stand at the right end if their number is not known.
        metric: the metric that files show.
    """
    rows, unknown = _rows(frame, per_class)
    methods = unique(rows["method"])
    curves = alt.selection_point("curves", fields=["method"], bind="legend")
    opacity = alt.condition(curves, alt.value(1), alt.value(0.1))
    interactive = (
        _panel(methods, None, 1.5, {"opacity": opacity}, legend_below())
        .properties(width="container", height=360, title=chosen_title("{metric} over labels per class, {dataset}"))
        .add_params(curves)
    )
    shown = rows[(rows["metric"] == metric) & ~rows["dataset"].str.contains(" (", regex=False)]
    datasets = unique(shown["dataset"])
    per_row = min(2, max(1, len(datasets)))
    legend = {"symbolLimit": 0}
    panel = _panel(methods, heading(metric), 1, {}, legend).properties(
        width=(PAGE_WIDTH - 90) / per_row - 45, height=200
    )
    notes = [f"not drawn to scale, as their number per class is not known: {', '.join(unknown)}"] if unknown else []
    if (shown["mean"].notna() & shown["low"].isna()).any():
        notes.append("point without a line: no interval, as only one seed has a result")
    missing = shown[shown["mean"].isna()]
    for dataset, lacking in missing.groupby("dataset", sort=False):
        names = [f"{method} ({labels})" for method, labels in zip(lacking["method"], lacking["labels"], strict=True)]
        notes.append(f"{dataset}: no result of {', '.join(names)}")
    choice = {name: value for name, value in first_choice(rows, metric).items() if name != "labels"}
    return Drawing(
        interactive_chart(interactive, rows, [_CHOSEN], choice),
        static_chart(panels_of(panel, "dataset", datasets), shown, [], per_row, notes),
    )


def _rows(frame: pd.DataFrame, per_class: Mapping[str, float]) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows with their number of labels and their place on the axis, and the budgets of unknown number."""
    rows = on_all_modalities(frame)
    named = by_choice(rows)
    numbers = [
        float(labels) if labels.isdigit() else per_class.get(column, float("nan"))
        for column, labels in zip(rows["dataset"], named["labels"], strict=True)
    ]
    named = named.assign(number=pd.Series(numbers, named.index, dtype=float))
    place = named["number"].copy()
    unknown: dict[str, None] = {}
    for dataset, of_set in named.groupby("dataset", sort=False):
        last = of_set["number"].max()
        last = last if last > 0 else 1.0
        lacking = sorted(unique(of_set.loc[of_set["number"].isna(), "labels"]), key=_fraction)
        for step, labels in enumerate(lacking, start=1):
            place[(named["dataset"] == dataset) & (named["labels"] == labels)] = last * _STEP**step
            unknown[f"{labels} ({dataset})"] = None
    methods = unique(named["method"])
    apart = {name: _SPREAD * (k / max(1, len(methods) - 1) - 0.5) for k, name in enumerate(methods)}
    factor = named["method"].map(apart).astype(float).map(math.exp)
    return named.assign(place=place, apart=place * factor)[[*_COLUMNS, "apart"]], list(unknown)


def _fraction(labels: str) -> float:
    return float(labels.rstrip("%")) if labels.endswith("%") else 100.0


def _panel(
    methods: list[str],
    title: str | None,
    size: float,
    highlight: dict[str, Any],
    legend: dict[str, Any],
) -> Chart:
    """Return the layers of a panel.

    Args:
        methods: all methods.
        title: title of the vertical axis.
        size: size of the marks, as a multiple of that in files.
        highlight: encoding of the marks that follows a selection.
        legend: settings of the legend.
    """
    x = alt.X("apart:Q", title="labels per class (logarithmic)")
    x = x.scale(type="log", nice=False, padding=12).axis(grid=False, format="~s", tickCount=6)
    y = alt.Y("mean:Q", title=title).scale(zero=False, padding=4)
    chart = alt.Chart()
    scored = chart.transform_filter("isValid(datum.mean)")
    tooltip = [
        alt.Tooltip("method:N", title="method"),
        alt.Tooltip("labels:N", title="label budget"),
        alt.Tooltip("number:Q", title="labels per class", format=".4~g"),
        alt.Tooltip("mean:Q", title="mean", format=".4f"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".4f"),
        alt.Tooltip("high:Q", title="to", format=".4f"),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]
    dash = method_dash(methods, title="method", **legend)
    colour, shape = method_colour(methods, title="method", **legend), method_shape(methods, title="method", **legend)
    budget = chart.transform_aggregate(place="min(place)", groupby=["labels"])
    marks = budget.mark_rule(color=GREY, strokeDash=[1, 3]).encode(x=alt.X("place:Q"))
    names = budget.mark_text(color=GREY, baseline="bottom", dy=-2).encode(x="place:Q", y=alt.value(0), text="labels:N")
    return alt.layer(
        marks,
        names,
        scored.mark_line(size=1.3 * size).encode(
            x=x, y=y, color=colour, strokeDash=dash, tooltip="method:N", **highlight
        ),
        scored.transform_filter("isValid(datum.low)")
        .mark_rule(size=size)
        .encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q", color=colour, tooltip=tooltip, **highlight),
        scored.mark_point(filled=True, size=30 * size**2, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=tooltip, **highlight
        ),
    )
