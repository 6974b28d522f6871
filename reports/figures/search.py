"""Figures of the search: trials over time, trials across hyperparameters, and the best of fewer trials.

As in `reports.figures.results`, figures compute no number that a table lacks, and no value is dropped silently.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reports.figures.former_style import (
    BLACK,
    BLUE,
    COLUMN_WIDTH,
    GREY,
    IN_STYLE,
    MANY,
    ORANGE,
    PAGE_WIDTH,
    VERMILLION,
    finish,
    legend_handles,
    panels_of,
    series_style,
    unique,
)

__all__ = ["expected_best", "parallel_coordinates", "search_history"]

_MIN_DISTANCE = 0.08  # between two numbers on an axis, as a share of its length; numbers are 6 points high
_BEST, _OTHERS = 50, 150
"""Only the best 50 trials and 150 others have lines, because more lines would hide each other."""


@IN_STYLE
def search_history(frame: pd.DataFrame) -> Figure:
    """Draw a panel per sweep and method: the value of each trial, and the best so far.

    Args:
        frame: columns sweep, method, number, value and state (complete, pruned or failed).
    """
    groups = list(frame.groupby(["sweep", "method"], sort=False))
    several = frame["sweep"].nunique() > 1
    titles = [f"{sweep}: {method}" if several else str(method) for (sweep, method), _ in groups]
    figure, panels = panels_of(titles, per_row=4, height=1.5, grid="y")
    styles = {"complete": (BLUE, "o"), "pruned": (ORANGE, "^"), "failed": (VERMILLION, "X")}
    notes: dict[str, None] = {}
    for panel, ((sweep, _), trials) in zip(panels, groups, strict=True):
        for state, (colour, marker) in styles.items():
            in_state = trials[trials["state"] == state]
            valued = in_state[in_state["value"].notna()]
            missing = in_state[in_state["value"].isna()]
            style: dict[str, Any] = {
                "linestyle": "none",
                "marker": marker,
                "color": colour,
                "rasterized": len(trials) > MANY,
                **_marker_style(state, colour),
            }
            panel.plot(valued["number"], valued["value"], **style)
            if len(missing):
                # The axis transform keeps these marks on the lower edge, whatever the values are.
                panel.plot(
                    missing["number"],
                    [0.0] * len(missing),
                    transform=panel.get_xaxis_transform(),
                    clip_on=False,
                    **style,
                )
                notes["on the lower edge: ended without a value"] = None
        best = trials[(trials["state"] == "complete") & trials["value"].notna()].sort_values("number")
        panel.step(best["number"], best["value"].cummax(), where="post", color=BLACK, linewidth=1, zorder=1)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        values = frame[frame["sweep"] == sweep]["value"].dropna()
        if len(values):  # all methods of a sweep share the limits, as their objectives are comparable
            margin = 0.05 * (values.max() - values.min()) or 0.01
            panel.set_ylim(values.min() - margin, values.max() + margin)
    handles: list[Line2D | Patch] = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, label=state, **_marker_style(state, colour))
        for state, (colour, marker) in styles.items()
        if state in set(frame["state"])
    ]
    handles.append(Line2D([], [], color=BLACK, linewidth=1, label="best so far"))
    return finish(figure, panels, x="trial", y="objective on validation data", handles=handles, notes=notes)


@IN_STYLE
def parallel_coordinates(frame: pd.DataFrame, method: str) -> Figure:
    """Draw an axis per hyperparameter that varies and a line per trial, coloured by its value.

    A positive hyperparameter that spans more than two decades has a logarithmic axis. Only the best 50 trials and 150
    others have lines; the others are equally spaced in rank.

    Args:
        frame: one row per trial, with the column value and one column per hyperparameter. The columns sweep, method,
            number and state are optional.
        method: the title, and the method to draw if the frame has the column ``method``.
    """
    rows = frame[frame["method"] == method] if "method" in frame else frame
    rows = rows.sort_values("value", na_position="first")  # the best is drawn last
    names = [str(name) for name in rows.columns if name not in ("sweep", "method", "number", "state", "value")]
    varied = [name for name in names if rows[name].map(str).nunique() > 1]
    constant = [name for name in names if name not in varied and rows[name].notna().any()]
    figure = Figure(figsize=(max(PAGE_WIDTH, 0.75 * len(varied) + 1), 2.9), dpi=200, layout="constrained")
    panel = figure.subplots()
    panel.set_title(method)
    heights = np.empty((len(rows), len(varied)))
    notes: dict[str, None] = {}
    for position, name in enumerate(varied):
        heights[:, position], ticks, logarithmic = _axis(rows[name])
        panel.axvline(position, color=GREY, linewidth=0.6, zorder=1)
        for height, text in ticks:
            panel.annotate(
                text, (position, height), (3, 0), textcoords="offset points", fontsize=6, va="center", zorder=4
            ).set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5})
        if logarithmic:
            panel.annotate("log", (position, 1.06), ha="center", fontsize=6, color=GREY)
        if rows[name].isna().any():
            notes["lowest place of an axis (–): the trial had no such hyperparameter"] = None
    values = rows["value"].to_numpy(dtype=float)  # axes and colours cover all trials, lines only some
    indices = _with_lines(len(rows))
    if len(indices) < len(rows):
        others = len(indices) - _BEST
        notes[f"lines: the best {_BEST} of {len(rows)} trials, and {others} others, equally spaced in rank"] = None
    present = values[~np.isnan(values)]
    scale = Normalize(present.min(), present.max()) if len(present) else Normalize(0, 1)
    shades = colormaps["cividis"]
    lines = np.stack([np.broadcast_to(np.arange(len(varied)), heights.shape), heights], axis=-1)  # [N, axes, 2]
    lines, values = lines[indices], values[indices]
    valued = ~np.isnan(values)
    if not valued.all():
        notes["dotted grey: trials without a value"] = None
        grey = LineCollection(lines[~valued], colors="0.6", linestyles=":", linewidths=0.8, zorder=2)
        panel.add_collection(grey)
    colours = shades(scale(values[valued]))
    panel.add_collection(LineCollection(lines[valued], colors=colours, linewidths=0.9, zorder=3))
    margin = 0.05 * max(1, len(varied) - 1)
    panel.set_xlim(-margin, len(varied) - 1 + margin)
    panel.set_xticks(range(len(varied)), varied, rotation=30, ha="right", rotation_mode="anchor")
    panel.set_yticks([])
    panel.set_ylim(-0.16, 1.12)
    panel.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(scale, shades), ax=panel, fraction=0.03, aspect=30)
    bar.set_label("objective")
    if constant:
        notes[f"not shown, since equal in all trials: {', '.join(constant)}"] = None
    return finish(figure, notes=notes)


@IN_STYLE
def expected_best(frame: pd.DataFrame) -> Figure:
    """Draw a panel per sweep with a line per method: the expected best value over the number of trials.

    Args:
        frame: columns sweep, method, n_trials and expected.
    """
    sweeps, methods = unique(frame["sweep"]), unique(frame["method"])
    figure, panels = panels_of(sweeps, per_row=2, height=2.6, grid="y", min_width=COLUMN_WIDTH * 1.3)
    notes: dict[str, None] = {}
    for panel, sweep in zip(panels, sweeps, strict=True):
        for number, method in enumerate(methods):
            curve = frame[(frame["sweep"] == sweep) & (frame["method"] == method)].sort_values("n_trials")
            if curve["expected"].notna().any():
                marker_distance = max(1, len(curve) // 8)
                panel.plot(curve["n_trials"], curve["expected"], markevery=marker_distance, **series_style(number))
            else:
                notes[f"{sweep}: no result of {method}"] = None
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    handles = legend_handles(methods)
    return finish(figure, panels, x="trials", y="expected best on validation data", handles=handles, notes=notes)


def _with_lines(trials: int) -> npt.NDArray[np.intp]:
    """Return the indices of the trials that have lines, from the worst to the best, which comes last."""
    others = np.linspace(0, trials - _BEST - 1, min(_OTHERS, max(0, trials - _BEST))).round().astype(np.intp)
    return np.concatenate([others, np.arange(max(0, trials - _BEST), trials)])


def _marker_style(state: str, colour: str) -> dict[str, Any]:
    """Return the style of a marker, hollow for a pruned trial."""
    return {"markerfacecolor": "white" if state == "pruned" else colour, "markersize": 3.5, "markeredgewidth": 0.7}


def _axis(column: pd.Series) -> tuple[npt.NDArray[np.float64], list[tuple[float, str]], bool]:
    """Return the height of each value from 0 to 1 (-0.1 if missing), ticks, and whether the axis is logarithmic."""
    present = column.dropna()
    ticks = [(-0.1, "–")] if len(present) < len(column) else []
    if not present.map(lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)).all():
        texts = sorted(set(map(str, present)))
        heights = {text: place / max(1, len(texts) - 1) for place, text in enumerate(texts)}
        places = [
            -0.1 if missing else heights[str(value)] for value, missing in zip(column, column.isna(), strict=True)
        ]
        return np.array(places), [*ticks, *((height, text) for text, height in heights.items())], False
    numbers = column.to_numpy(dtype=float, na_value=np.nan)
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    logarithmic = low > 0 and high / low > 100
    ends = (math.log(low), math.log(high)) if logarithmic else (low, high)
    span = ends[1] - ends[0] or 1.0
    scaled = ((np.log(numbers) if logarithmic else numbers) - ends[0]) / span
    marks = np.unique(numbers[~np.isnan(numbers)])
    if len(marks) > 5:
        middle = math.exp(sum(ends) / 2) if logarithmic else sum(ends) / 2
        marks = np.array([low, middle, high])
    places = [((math.log(mark) if logarithmic else mark) - ends[0]) / span for mark in marks.tolist()]
    inner = [place for place in places[1:-1] if min(place, 1 - place) >= _MIN_DISTANCE]
    clear = [place for below, place in zip([0.0, *inner], inner, strict=False) if place - below >= _MIN_DISTANCE]
    visible = {places[0], places[-1], *clear}  # the ends, and marks with enough distance to them and to the mark below
    ticks += [(place, _short(mark)) for place, mark in zip(places, marks.tolist(), strict=True) if place in visible]
    return np.where(np.isnan(scaled), -0.1, scaled), ticks, logarithmic


def _short(number: float) -> str:
    """Format an integer below 100,000 exactly, and another number with three digits."""
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e5 else f"{number:.3g}"
