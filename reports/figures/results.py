"""Figures of the tables: every function draws a DataFrame as a matplotlib Figure and computes no number.

Drawing and computing are separate, so that each has its own tests. Figures are readable without colour: colour-blind
people can distinguish the palette of Okabe and Ito, and hatches, markers and line styles repeat what colours say. No
value is dropped silently: a missing value has a place, a mark and a note.
"""

import math
import re

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.former_style import (
    BLACK,
    BLUE,
    COLUMN_WIDTH,
    GREEN,
    GREY,
    IN_STYLE,
    PAGE_WIDTH,
    VERMILLION,
    Labels,
    finish,
    is_left,
    is_lowest,
    legend_handles,
    luminance,
    panels_of,
    series_style,
    unique,
    write_at,
)

__all__ = ["confusion_matrices", "label_efficiency", "shapley_bars"]


@IN_STYLE
def confusion_matrices(frame: pd.DataFrame, dataset: str) -> Figure:
    """Draw a panel per method: the share of each true class that was predicted as each class.

    Cells of up to five classes show the count, too.

    Args:
        frame: columns as in `reports.statistics.confusion.COLUMNS`.
        dataset: the dataset to draw.
    """
    rows = frame[frame["dataset"] == dataset]
    methods, classes = unique(rows["method"]), unique(rows["truth"])
    per_row = 4 if len(classes) <= 4 else 3 if len(classes) <= 12 else 2
    side = 0.95 * PAGE_WIDTH / per_row
    figure, panels = panels_of(methods, per_row=per_row, height=side)
    shades, scale = colormaps["magma_r"], Normalize(0, 1)
    notes: dict[str, None] = {}
    with_counts = len(classes) <= 5  # smaller cells have no room for counts
    for number, (panel, method) in enumerate(zip(panels, methods, strict=True)):
        labels = list[tuple[tuple[float, float], str, str]]()
        cells = rows[rows["method"] == method].set_index(["truth", "predicted"])[["count", "share"]].to_dict("index")
        shares = np.array(
            [[cells.get((t, p), {}).get("share", math.nan) for p in classes] for t in classes], np.float64
        )
        colours = shades(scale(np.nan_to_num(shares))).tolist()
        for row, truth in enumerate(classes):
            for column, predicted in enumerate(classes):
                cell = cells.get((truth, predicted))
                if cell is None:  # the two classes belong to different labels of a multi-label set
                    continue
                share = float(cell["share"])
                if math.isnan(share):
                    text, colour = "–", BLACK
                    notes["–: the class has no sample"] = None
                elif not with_counts and not cell["count"]:
                    continue
                else:
                    text = f"{share:.2f}\n({cell['count']:.0f})" if with_counts else f"{100 * share:.0f}"
                    colour = "white" if luminance(colours[row][column]) < 0.18 else BLACK
                labels.append(((column, row), text, colour))
        panel.imshow(np.ma.masked_invalid(shares), cmap=shades, norm=scale)
        panel.set_facecolor("0.85")
        if labels:
            Labels(panel, labels, size=6 if with_counts else 5)
        below = is_lowest(panels, number)
        left = is_left(panel)
        panel.set_xticks(range(len(classes)) if below else [])
        panel.set_yticks(range(len(classes)) if left else [])
        if below:
            panel.set_xticklabels(classes, rotation=45, ha="right", rotation_mode="anchor")
        if left:
            panel.set_yticklabels(classes)
    if panels:
        bar = figure.colorbar(ScalarMappable(scale, shades), ax=panels, fraction=0.03, aspect=30)
        bar.set_label("share of the true class")
        notes["cells: share (count)" if with_counts else "cells: share in per cent; blank: no sample"] = None
    return finish(figure, panels, x="predicted", y="true", notes=notes)


@IN_STYLE
def label_efficiency(frame: pd.DataFrame, metric: str) -> Figure:
    """Draw a line with intervals for each method over the label budgets, which stand at equal distances.

    Args:
        frame: columns method, labels, mean, ci_low and ci_high. A label budget is a number per class (``inf`` for all
            labels), or a name such as 5, 10% or all. The columns metric and dataset are optional; each dataset has a
            panel.
        metric: the metric to draw.
    """
    rows = frame[frame["metric"] == metric] if "metric" in frame else frame
    rows = rows.assign(labels=rows["labels"].map(_budget))
    datasets = unique(rows["dataset"]) if "dataset" in rows else [""]
    methods, budgets = unique(rows["method"]), sorted(unique(rows["labels"]), key=_budget_order)
    figure, panels = panels_of(datasets, per_row=2, height=2.6, grid="y", sharey=True, min_width=COLUMN_WIDTH * 1.3)
    notes: dict[str, None] = {}
    for panel, dataset in zip(panels, datasets, strict=True):
        of_dataset = rows[rows["dataset"] == dataset] if dataset else rows
        for number, method in enumerate(methods):
            of_method = of_dataset[of_dataset["method"] == method]
            curve = of_method.drop_duplicates("labels").set_index("labels").reindex(budgets)
            # Methods stand side by side, so that no interval hides another.
            places = np.arange(len(budgets)) + 0.5 * ((number + 0.5) / len(methods) - 0.5)
            mean, low, high = (curve[name].to_numpy(dtype=float) for name in ("mean", "ci_low", "ci_high"))
            style = series_style(number)
            panel.plot(places, mean, **style)
            has_interval = ~np.isnan(mean + low + high)
            panel.errorbar(
                places[has_interval],
                mean[has_interval],
                yerr=[(mean - low)[has_interval], (high - mean)[has_interval]],
                fmt="none",
                ecolor=style["color"],
                elinewidth=0.7,
                capsize=1.5,
            )
            if (~np.isnan(mean) & ~has_interval).any():
                notes["without an interval: fewer than two seeds"] = None
            absent = np.isnan(mean)
            if absent.any():
                panel.plot(
                    places[absent],
                    np.zeros(absent.sum()),
                    transform=panel.get_xaxis_transform(),
                    clip_on=False,
                    **{**style, "linestyle": "none"},
                )
                notes["on the lower edge: no result"] = None
        panel.set_xticks(range(len(budgets)), budgets)
        panel.set_xlim(-0.5, len(budgets) - 0.5)
    return finish(figure, panels, x="labels per class", y=metric, handles=legend_handles(methods), notes=notes)


@IN_STYLE
def shapley_bars(frame: pd.DataFrame, metric: str) -> Figure:
    """Draw a panel per dataset: the contribution of each loss, and the total of the contributions.

    Args:
        frame: columns dataset, metric, quantity, kind, value, low and high. The figure shows the rows of the
            kinds ``shapley`` and ``total``.
        metric: the metric to draw.
    """
    rows = frame[(frame["metric"] == metric) & frame["kind"].isin(["shapley", "total"])]
    datasets = unique(rows["dataset"])
    quantities = unique(rows.sort_values("kind", kind="stable")["quantity"])  # the total last
    figure, panels = panels_of(datasets, per_row=2, height=0.8 + 0.3 * len(quantities), grid="x", sharex=True)
    styles = dict(
        zip(
            [name for name in quantities if name in set(rows[rows["kind"] == "shapley"]["quantity"])],
            [(BLUE, ""), (VERMILLION, "///"), (GREEN, "---"), *[(GREY, "xxx")] * len(quantities)],
            strict=False,
        )
    )
    notes: dict[str, None] = {}
    for panel, dataset in zip(panels, datasets, strict=True):
        panel.axvline(0, color=BLACK, linewidth=0.8)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=5))
        of_dataset = rows[rows["dataset"] == dataset].drop_duplicates("quantity")
        by_quantity = of_dataset.set_index("quantity").to_dict("index")
        for place, quantity in enumerate(quantities):
            value, low, high = (
                float(by_quantity[quantity][name]) if quantity in by_quantity else math.nan
                for name in ("value", "low", "high")
            )
            if math.isnan(value):
                write_at(panel, place, "× no result")
                notes["× no result: a cell of the factorial is missing"] = None
                continue
            colour, hatch = styles.get(quantity, ("0.45", "\\\\"))
            panel.barh(place, value, height=0.7, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
            if math.isnan(low) or math.isnan(high):
                notes["without an interval: fewer than two seeds"] = None
            else:
                panel.errorbar(
                    value, place, xerr=[[value - low], [high - value]], color=BLACK, capsize=2.5, linewidth=0.9
                )
        panel.set_yticks(range(len(quantities)) if is_left(panel) else [], quantities if is_left(panel) else [])
        panel.set_ylim(len(quantities) - 0.4, -0.6)
    return finish(figure, panels, x=f"contribution to {metric}", notes=notes)


def _budget(labels: object) -> str:
    """Return the name of a label budget."""
    if isinstance(labels, (int, float)):
        return "all" if math.isinf(labels) else f"{labels:g}"
    return str(labels) or "all"


def _budget_order(name: str) -> tuple[int, float]:
    """Return a sort key: numbers per class, then fractions, then all labels."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", name)
    return (1 if number[2] else 0, float(number[1])) if number else (2, 0.0)
