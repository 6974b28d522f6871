"""Drawing what tables hold: every function makes a matplotlib Figure of a DataFrame, and computes nothing itself.

Drawing is apart from computing, so that each is tested by itself. A figure reads without colour: the palette is that
of Okabe and Ito, which colour-blind people tell apart, and hatches, markers and line styles repeat what it says.
Nothing is dropped silently: a value that is missing has a place, a mark and a note.

Figures are made through matplotlib's objects, not through pyplot, whose global state keeps every figure alive. The same
frame gives the same SVG, byte by byte; its text is text, for search and for a screen reader.
"""

import io
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import RcKeyType

from conclugen.durable import write_whole
from sweeps.ledger import BASELINES, method_of

__all__ = [
    "ablation_bars",
    "confusion_matrices",
    "embedding",
    "expected_best",
    "label_efficiency",
    "parallel_coordinates",
    "search_history",
    "shapley_bars",
    "svg",
    "write_figure",
]

_COLUMN, _PAGE = 3.4, 6.9
"""Widths in inches of one and of two columns of a paper; fonts are sized for a figure that is printed at its size."""
_STYLE: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "conclugen",
    "text.parse_math": False,  # a class may be called $x
}
_BLUE, _VERMILLION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
# Okabe and Ito's yellow is left out: a thin line of it is lost on white paper.
_COLOURS = (_BLUE, _VERMILLION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_LINES = ("-", "--", "-.", ":")
_GREY = "#595959"
_IN_STYLE = mpl.rc_context(_STYLE)  # as a decorator: matplotlib's settings are again as they were afterwards


@_IN_STYLE
def ablation_bars(frame: pd.DataFrame, metric: str) -> Figure:
    """A panel per dataset, a bar per method: mean and interval.

    Args:
        frame: columns as in `reports.ablation.COLUMNS`.
        metric: the one to draw.
    """
    rows = frame[frame["metric"] == metric]
    methods, datasets = _unique(rows["method"]), _unique(rows["dataset"])
    figure, panels = _panels(len(datasets), per_row=3, height=0.55 + 0.19 * len(methods), sharey=True, sharex=True)
    kinds: dict[str, Patch] = {}
    notes: dict[str, None] = {}
    for panel, dataset in zip(panels, datasets, strict=True):
        drawn = rows[rows["dataset"] == dataset].set_index("method").to_dict("index")
        panel.set_title(dataset)
        panel.grid(axis="x", linewidth=0.4, color="0.85")
        for place, method in enumerate(methods):
            if method not in drawn:
                _say_at(panel, place, "not planned")
                continue
            mean, low, high = (float(drawn[method][name]) for name in ("mean", "ci_low", "ci_high"))
            if math.isnan(mean):
                _say_at(panel, place, "× no result")
                notes["× no result: planned, but no attempt was completed"] = None
                continue
            kind, colour, hatch = _kind(method)
            panel.barh(place, mean, height=0.76, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
            panel.annotate(
                f"{mean:.3f}",
                (0, place),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=6,
                color="white" if _luminance(to_rgb(colour)) < 0.18 else _BLACK,
            ).set_bbox({"facecolor": colour, "edgecolor": "none", "pad": 0.8})
            kinds[kind] = Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=kind)
            if math.isnan(low) or math.isnan(high):
                notes["without an interval: fewer than two seeds"] = None
            else:
                panel.errorbar(mean, place, xerr=[[mean - low], [high - mean]], color=_BLACK, capsize=2, linewidth=0.9)
        panel.set_yticks(range(len(methods)), methods)
        panel.set_ylim(len(methods) - 0.4, -0.6)
        panel.set_xlim(left=min(0.0, panel.get_xlim()[0]))
    _label(figure, panels, x=metric)
    _legend(figure, list(kinds.values()))
    _note(figure, notes)
    return figure


@_IN_STYLE
def confusion_matrices(frame: pd.DataFrame, dataset: str) -> Figure:
    """A panel per method: the share of each true class that was taken for each class, and, where it fits, the count.

    Args:
        frame: columns as in `reports.confusion.COLUMNS`.
        dataset: the one to draw, as it is named there.
    """
    rows = frame[frame["dataset"] == dataset]
    methods, classes = _unique(rows["method"]), _unique(rows["truth"])
    per_row = 4 if len(classes) <= 4 else 3 if len(classes) <= 12 else 2
    side = 0.95 * _PAGE / per_row
    figure, panels = _panels(len(methods), per_row=per_row, height=side, sharex=True, sharey=True)
    shades, scale = colormaps["magma_r"], Normalize(0, 1)
    notes: dict[str, None] = {}
    with_counts = len(classes) <= 5  # more cells have no room for them
    for panel, method in zip(panels, methods, strict=True):
        cells = rows[rows["method"] == method].set_index(["truth", "predicted"])[["count", "share"]].to_dict("index")
        shares = np.full((len(classes), len(classes)), np.nan)
        for row, truth in enumerate(classes):
            for column, predicted in enumerate(classes):
                cell = cells.get((truth, predicted))
                if cell is None:  # of another label, where samples have several
                    continue
                share = float(cell["share"])
                shares[row, column] = share
                if math.isnan(share):
                    text, colour = "–", _BLACK
                    notes["–: the class has no sample"] = None
                elif not with_counts and not cell["count"]:
                    continue
                else:
                    text = f"{share:.2f}\n({cell['count']:.0f})" if with_counts else f"{100 * share:.0f}"
                    colour = "white" if _luminance(shades(scale(share))) < 0.18 else _BLACK
                size = 6 if with_counts else 5
                # Not measured by the layout, which would take seconds: it is inside its cell.
                panel.text(column, row, text, ha="center", va="center", color=colour, fontsize=size, in_layout=False)
        panel.imshow(np.ma.masked_invalid(shares), cmap=shades, norm=scale)
        panel.set_facecolor("0.85")
        panel.set_title(method)
        panel.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
        panel.set_yticks(range(len(classes)), classes)
    _label(figure, panels, x="predicted", y="true")
    if panels:
        bar = figure.colorbar(ScalarMappable(scale, shades), ax=panels, fraction=0.03, aspect=30)
        bar.set_label("share of the true class")
        notes["cells: share (count)" if with_counts else "cells: share in per cent; blank: none"] = None
    _note(figure, notes)
    return figure


@_IN_STYLE
def search_history(frame: pd.DataFrame) -> Figure:
    """A panel per sweep and method: the value of each trial, and the best so far.

    Args:
        frame: columns sweep, method, number, value and state (complete, pruned or failed).
    """
    groups = list(frame.groupby(["sweep", "method"], sort=False))
    figure, panels = _panels(len(groups), per_row=4, height=1.5)
    several = frame["sweep"].nunique() > 1
    looks = {"complete": (_BLUE, "o"), "pruned": (_ORANGE, "^"), "failed": (_VERMILLION, "X")}
    notes: dict[str, None] = {}
    for panel, ((sweep, method), trials) in zip(panels, groups, strict=True):
        panel.set_title(f"{sweep}: {method}" if several else str(method))
        panel.grid(axis="y", linewidth=0.4, color="0.85")
        for state, (colour, marker) in looks.items():
            these = trials[trials["state"] == state]
            valued, missing = these[these["value"].notna()], these[these["value"].isna()]
            style: dict[str, Any] = {
                "linestyle": "none",
                "marker": marker,
                "color": colour,
                **_filled(state, colour),
            }
            panel.plot(valued["number"], valued["value"], **style)
            if len(missing):
                # On the lower edge, whatever the values are.
                panel.plot(
                    missing["number"],
                    [0.0] * len(missing),
                    transform=panel.get_xaxis_transform(),
                    clip_on=False,
                    **style,
                )
                notes["on the lower edge: ended without a value"] = None
        best = trials[(trials["state"] == "complete") & trials["value"].notna()].sort_values("number")
        panel.step(best["number"], best["value"].cummax(), where="post", color=_BLACK, linewidth=1, zorder=1)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        known = frame[frame["sweep"] == sweep]["value"].dropna()
        if len(known):  # the same limits for all methods of a sweep, whose objectives can be compared
            margin = 0.05 * (known.max() - known.min()) or 0.01
            panel.set_ylim(known.min() - margin, known.max() + margin)
    _label(figure, panels, x="trial", y="objective on validation data")
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, label=state, **_filled(state, colour))
        for state, (colour, marker) in looks.items()
        if state in set(frame["state"])
    ]
    _legend(figure, [*handles, Line2D([], [], color=_BLACK, linewidth=1, label="best so far")])
    _note(figure, notes)
    return figure


@_IN_STYLE
def parallel_coordinates(frame: pd.DataFrame, method: str) -> Figure:
    """An axis per hyperparameter that varied, a line per trial, its value as colour.

    A positive hyperparameter that spans more than two decades has a logarithmic axis.

    Args:
        frame: a row per trial: value, and a column per hyperparameter; sweep, method, number and state may be there.
        method: the one to draw, where the frame has the column ``method``.
    """
    rows = frame[frame["method"] == method] if "method" in frame else frame
    rows = rows.sort_values("value", na_position="first")  # the best is drawn last
    names = [str(name) for name in rows.columns if name not in ("sweep", "method", "number", "state", "value")]
    varied = [name for name in names if rows[name].map(str).nunique() > 1]
    constant = [name for name in names if name not in varied and rows[name].notna().any()]
    figure = Figure(figsize=(max(_PAGE, 0.75 * len(varied) + 1), 2.9), layout="constrained")
    panel = figure.subplots()
    panel.set_title(method)
    heights = np.empty((len(rows), len(varied)))
    notes: dict[str, None] = {}
    for position, name in enumerate(varied):
        heights[:, position], ticks, logarithmic = _axis(rows[name])
        panel.axvline(position, color=_GREY, linewidth=0.6, zorder=1)
        for height, text in ticks:
            panel.annotate(
                text, (position, height), (3, 0), textcoords="offset points", fontsize=6, va="center", zorder=4
            ).set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5})
        if logarithmic:
            panel.annotate("log", (position, 1.06), ha="center", fontsize=6, color=_GREY)
        if rows[name].isna().any():
            notes["lowest place of an axis (–): the trial had no such hyperparameter"] = None
    values = rows["value"].to_numpy(dtype=float)
    known = values[~np.isnan(values)]
    scale = Normalize(known.min(), known.max()) if len(known) else Normalize(0, 1)
    shades = colormaps["cividis"]
    for value, line in zip(values, heights, strict=True):
        if math.isnan(value):
            panel.plot(line, color="0.6", linestyle=":", linewidth=0.8, zorder=2)
            notes["dotted grey: trials without a value"] = None
        else:
            panel.plot(line, color=shades(scale(value)), linewidth=0.9, zorder=3)
    panel.set_xticks(range(len(varied)), varied, rotation=30, ha="right", rotation_mode="anchor")
    panel.set_yticks([])
    panel.set_ylim(-0.16, 1.12)
    panel.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(scale, shades), ax=panel, fraction=0.03, aspect=30)
    bar.set_label("objective")
    if constant:
        notes[f"the same in every trial, not shown: {', '.join(constant)}"] = None
    _note(figure, notes)
    return figure


@_IN_STYLE
def label_efficiency(frame: pd.DataFrame, metric: str) -> Figure:
    """A line per method over the label budgets, which stand at equal distances, with intervals.

    Args:
        frame: columns method, labels (per class: a number, ``inf`` for all; or a budget's name such as 5, 10% or all),
            mean, ci_low and ci_high; a panel per dataset where there is such a column, and, likewise, several metrics.
        metric: the one to draw.
    """
    rows = frame[frame["metric"] == metric] if "metric" in frame else frame
    rows = rows.assign(labels=rows["labels"].map(_budget))
    datasets = _unique(rows["dataset"]) if "dataset" in rows else [""]
    methods, budgets = _unique(rows["method"]), sorted(_unique(rows["labels"]), key=_budget_order)
    figure, panels = _panels(len(datasets), per_row=2, height=2.6, sharey=True, least=_COLUMN * 1.3)
    notes: dict[str, None] = {}
    for panel, dataset in zip(panels, datasets, strict=True):
        panel.set_title(dataset)
        panel.grid(axis="y", linewidth=0.4, color="0.85")
        here = rows[rows["dataset"] == dataset] if dataset else rows
        for number, method in enumerate(methods):
            curve = here[here["method"] == method].drop_duplicates("labels").set_index("labels").reindex(budgets)
            # Side by side, so that no interval hides another.
            places = np.arange(len(budgets)) + 0.5 * ((number + 0.5) / len(methods) - 0.5)
            mean, low, high = (curve[name].to_numpy(dtype=float) for name in ("mean", "ci_low", "ci_high"))
            look = _look(number)
            panel.plot(places, mean, **look)
            whole = ~np.isnan(mean + low + high)
            panel.errorbar(
                places[whole],
                mean[whole],
                yerr=[(mean - low)[whole], (high - mean)[whole]],
                fmt="none",
                ecolor=look["color"],
                elinewidth=0.7,
                capsize=1.5,
            )
            if (~np.isnan(mean) & ~whole).any():
                notes["without an interval: fewer than two seeds"] = None
            absent = np.isnan(mean)
            if absent.any():
                panel.plot(
                    places[absent],
                    np.zeros(absent.sum()),
                    transform=panel.get_xaxis_transform(),
                    clip_on=False,
                    **{**look, "linestyle": "none"},
                )
                notes["on the lower edge: no result"] = None
        panel.set_xticks(range(len(budgets)), budgets)
        panel.set_xlim(-0.5, len(budgets) - 0.5)
    _label(figure, panels, x="labels per class", y=metric)
    _legend(figure, [Line2D([], [], label=method, **_look(number)) for number, method in enumerate(methods)])
    _note(figure, notes)
    return figure


@_IN_STYLE
def shapley_bars(frame: pd.DataFrame, metric: str) -> Figure:
    """A panel per dataset: what each loss contributes, and the total that the contributions sum to.

    Args:
        frame: columns dataset, metric, quantity, kind, value, ci_low and ci_high; rows of kind ``shapley`` and
            ``total`` are drawn.
        metric: the one to draw.
    """
    rows = frame[(frame["metric"] == metric) & frame["kind"].isin(["shapley", "total"])]
    datasets = _unique(rows["dataset"])
    quantities = _unique(rows.sort_values("kind", kind="stable")["quantity"])  # the total last
    figure, panels = _panels(len(datasets), per_row=2, height=0.8 + 0.3 * len(quantities), sharex=True, sharey=True)
    looks = dict(
        zip(
            [name for name in quantities if name in set(rows[rows["kind"] == "shapley"]["quantity"])],
            [(_BLUE, ""), (_VERMILLION, "///"), (_GREEN, "..."), *[(_GREY, "xxx")] * len(quantities)],
            strict=False,
        )
    )
    notes: dict[str, None] = {}
    for panel, dataset in zip(panels, datasets, strict=True):
        panel.set_title(dataset)
        panel.grid(axis="x", linewidth=0.4, color="0.85")
        panel.axvline(0, color=_BLACK, linewidth=0.8)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=5))
        drawn = rows[rows["dataset"] == dataset].drop_duplicates("quantity").set_index("quantity").to_dict("index")
        for place, quantity in enumerate(quantities):
            value, low, high = (
                float(drawn[quantity][name]) if quantity in drawn else math.nan
                for name in ("value", "ci_low", "ci_high")
            )
            if math.isnan(value):
                _say_at(panel, place, "× no result")
                notes["× no result: a cell of the factorial is missing"] = None
                continue
            colour, hatch = looks.get(quantity, ("0.45", "\\\\"))
            panel.barh(place, value, height=0.7, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
            if math.isnan(low) or math.isnan(high):
                notes["without an interval: fewer than two seeds"] = None
            else:
                panel.errorbar(
                    value, place, xerr=[[value - low], [high - value]], color=_BLACK, capsize=2.5, linewidth=0.9
                )
        panel.set_yticks(range(len(quantities)), quantities)
        panel.set_ylim(len(quantities) - 0.4, -0.6)
    _label(figure, panels, x=f"contribution to {metric}")
    _note(figure, notes)
    return figure


@_IN_STYLE
def expected_best(frame: pd.DataFrame) -> Figure:
    """A panel per sweep, a line per method: the best value to expect of so many trials.

    Args:
        frame: columns sweep, method, n_trials and expected.
    """
    sweeps, methods = _unique(frame["sweep"]), _unique(frame["method"])
    figure, panels = _panels(len(sweeps), per_row=2, height=2.6, least=_COLUMN * 1.3)
    notes: dict[str, None] = {}
    for panel, sweep in zip(panels, sweeps, strict=True):
        panel.set_title(sweep)
        panel.grid(axis="y", linewidth=0.4, color="0.85")
        for number, method in enumerate(methods):
            curve = frame[(frame["sweep"] == sweep) & (frame["method"] == method)].sort_values("n_trials")
            if curve["expected"].notna().any():
                every = max(1, len(curve) // 8)
                panel.plot(curve["n_trials"], curve["expected"], markevery=every, **_look(number))
            else:
                notes[f"{sweep}: no result of {method}"] = None
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    _label(figure, panels, x="trials", y="expected best on validation data")
    _legend(figure, [Line2D([], [], label=method, **_look(number)) for number, method in enumerate(methods)])
    _note(figure, notes)
    return figure


@_IN_STYLE
def embedding(frame: pd.DataFrame) -> Figure:
    """A panel per method: its representations in two dimensions, by class.

    Args:
        frame: columns method, x, y and label.
    """
    methods, labels = _unique(frame["method"]), sorted(_unique(frame["label"]))
    figure, panels = _panels(len(methods), per_row=3, height=2.2)
    notes: dict[str, None] = {}
    for panel, method in zip(panels, methods, strict=True):
        panel.set_title(method)
        points = frame[frame["method"] == method]
        missing = int(points[["x", "y"]].isna().any(axis=1).sum())
        if missing:
            notes[f"{method}: {missing} of {len(points)} samples have no place"] = None
        if missing == len(points):
            panel.text(0.5, 0.5, "× no result", ha="center", va="center", transform=panel.transAxes, color=_GREY)
        for number, label in enumerate(labels):
            these = points[points["label"].map(str) == label]
            panel.plot(
                these["x"],
                these["y"],
                **{**_look(number), "linestyle": "none", "markersize": 2.5, "markeredgewidth": 0, "alpha": 0.7},
                rasterized=len(points) > 2000,  # else a file of megabytes, which a reader draws for seconds
            )
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(True)
    handles = [Line2D([], [], label=label, **{**_look(n), "linestyle": "none"}) for n, label in enumerate(labels)]
    _legend(figure, handles)
    _note(figure, notes)
    return figure


@_IN_STYLE
def svg(figure: Figure) -> str:
    """Return the figure as SVG, with its text as text; the same figure gives the same bytes."""
    file = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=metadata)
    return file.getvalue()


@_IN_STYLE
def write_figure(figure: Figure, name: str, out: Path) -> list[Path]:
    """Write ``NAME.svg``, and ``NAME.png`` at 200 dots per inch, into the folder, made where it is missing."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}.svg", out / f"{name}.png"]
    write_whole(paths[0], svg(figure).encode())
    figure.set_layout_engine("none")  # it is laid out, and laying it out takes longer than drawing it
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=200, metadata={"Software": None})
    write_whole(paths[1], file.getvalue())
    return paths


def _unique(column: pd.Series) -> list[str]:
    """The values in the order of their first appearance."""
    return list(dict.fromkeys(map(str, column)))


def _panels(
    number: int, *, per_row: int, height: float, sharex: bool = False, sharey: bool = False, least: float = _COLUMN
) -> tuple[Figure, list[Axes]]:
    """A figure as wide as its panels ask for, one paper column or two; unused places are left blank."""
    rows = max(1, math.ceil(number / per_row))
    columns = max(1, math.ceil(number / rows))
    width = _PAGE if rows > 1 else max(least, _PAGE * columns / per_row)
    figure = Figure(figsize=(width, height * rows + 0.5), dpi=200, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).flat)
    for blank in panels[number:]:
        blank.remove()
    for above in panels[max(0, number - columns) : number]:
        above.tick_params(labelbottom=True)  # the lowest of its column, though not in the last row
    if not number:
        figure.text(0.5, 0.5, "× no result", ha="center", va="center", color=_GREY)
    return figure, panels[:number]


def _label(figure: Figure, panels: Sequence[Axes], *, x: str, y: str = "") -> None:
    """Say what the axes are: below the lowest panel of each column, and once on the left."""
    for panel in panels:
        place = panel.get_subplotspec()
        columns = place.get_gridspec().ncols if place else 1
        if panel in panels[-columns:]:
            panel.set_xlabel(x)
    if y:
        figure.supylabel(y, fontsize=8)


def _legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    if handles:
        columns = max(1, min(len(handles), int(figure.get_figwidth() / 1.1)))
        figure.legend(handles=list(handles), loc="outside upper center", ncols=columns)


def _note(figure: Figure, notes: Iterable[str]) -> None:
    if text := "; ".join(notes):
        figure.supxlabel(textwrap.fill(text, int(figure.get_figwidth() * 17)), fontsize=6.5, color=_GREY)


def _say_at(panel: Axes, place: int, text: str) -> None:
    """Write where a bar would have been."""
    panel.text(
        0.02,
        place,
        text,
        transform=panel.get_yaxis_transform(),
        va="center",
        fontsize=6.5,
        color=_GREY,
        fontstyle="italic",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )


def _filled(state: str, colour: str) -> dict[str, Any]:
    """A pruned trial's marker is hollow."""
    return {"markerfacecolor": "white" if state == "pruned" else colour, "markersize": 3.5, "markeredgewidth": 0.7}


def _kind(method: str) -> tuple[str, str, str]:
    """What the legend calls it, colour and hatch."""
    if method_of(method) in BASELINES:
        return "baseline", "0.4", "////"
    return ("on fewer modalities", _ORANGE, "....") if "[" in method else ("loss subset", _BLUE, "")


def _look(number: int) -> dict[str, Any]:
    """Colour, marker and line of the series of this number: of 7, 9 and 4, so that few share two of them."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": _LINES[number % len(_LINES)],
    }


def _luminance(colour: Sequence[float]) -> float:
    """Relative luminance of WCAG 2.2; below 0.18, white text stands out more than black."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _axis(column: pd.Series) -> tuple[npt.NDArray[np.float64], list[tuple[float, str]], bool]:
    """Where each value stands between 0 and 1 (-0.1: there is none), ticks, and whether the axis is logarithmic."""
    present = column.dropna()
    ticks = [(-0.1, "–")] if len(present) < len(column) else []
    if not present.map(lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)).all():
        texts = sorted(set(map(str, present)))
        heights = {text: place / max(1, len(texts) - 1) for place, text in enumerate(texts)}
        places = [-0.1 if absent else heights[str(value)] for value, absent in zip(column, column.isna(), strict=True)]
        return np.array(places), [*ticks, *((height, text) for text, height in heights.items())], False
    numbers = column.to_numpy(dtype=float, na_value=np.nan)
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    logarithmic = low > 0 and high / low > 100
    ends = (math.log(low), math.log(high)) if logarithmic else (low, high)
    span = ends[1] - ends[0] or 1.0
    heights_of = ((np.log(numbers) if logarithmic else numbers) - ends[0]) / span
    labelled = np.unique(numbers[~np.isnan(numbers)])
    if len(labelled) > 5:
        middle = math.exp(sum(ends) / 2) if logarithmic else sum(ends) / 2
        labelled = np.array([low, middle, high])
    ticks += [(((math.log(at) if logarithmic else at) - ends[0]) / span, f"{at:.3g}") for at in labelled.tolist()]
    return np.where(np.isnan(heights_of), -0.1, heights_of), ticks, logarithmic


def _budget(labels: object) -> str:
    if isinstance(labels, (int, float)):
        return "all" if math.isinf(labels) else f"{labels:g}"
    return str(labels) or "all"


def _budget_order(name: str) -> tuple[int, float]:
    """Numbers per class, then fractions, then all."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", name)
    return (1 if number[2] else 0, float(number[1])) if number else (2, 0.0)
