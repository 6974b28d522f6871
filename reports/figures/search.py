"""Drawing the search: trials over time, across hyperparameters, and what fewer of them would have found.

As in `reports.figures.results`, nothing is computed that a table does not hold, and nothing is dropped silently.
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

from reports.figures.style import (
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
    look,
    panels_of,
    series,
    unique,
)

_APART = 0.08  # of an axis' length, between two numbers on it, which are 6 points high
_BEST, _OTHERS = 50, 150
"""Trials that have lines where there are more: the best, and others; more of them hide each other."""

__all__ = ["expected_best", "parallel_coordinates", "search_history"]


@IN_STYLE
def search_history(frame: pd.DataFrame) -> Figure:
    """A panel per sweep and method: the value of each trial, and the best so far.

    Args:
        frame: columns sweep, method, number, value and state (complete, pruned or failed).
    """
    groups = list(frame.groupby(["sweep", "method"], sort=False))
    several = frame["sweep"].nunique() > 1
    titles = [f"{sweep}: {method}" if several else str(method) for (sweep, method), _ in groups]
    figure, panels = panels_of(titles, per_row=4, height=1.5, grid="y")
    looks = {"complete": (BLUE, "o"), "pruned": (ORANGE, "^"), "failed": (VERMILLION, "X")}
    notes: dict[str, None] = {}
    for panel, ((sweep, _), trials) in zip(panels, groups, strict=True):
        for state, (colour, marker) in looks.items():
            these = trials[trials["state"] == state]
            valued, missing = these[these["value"].notna()], these[these["value"].isna()]
            style: dict[str, Any] = {
                "linestyle": "none",
                "marker": marker,
                "color": colour,
                "rasterized": len(trials) > MANY,
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
        panel.step(best["number"], best["value"].cummax(), where="post", color=BLACK, linewidth=1, zorder=1)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        known = frame[frame["sweep"] == sweep]["value"].dropna()
        if len(known):  # the same limits for all methods of a sweep, whose objectives can be compared
            margin = 0.05 * (known.max() - known.min()) or 0.01
            panel.set_ylim(known.min() - margin, known.max() + margin)
    handles: list[Line2D | Patch] = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, label=state, **_filled(state, colour))
        for state, (colour, marker) in looks.items()
        if state in set(frame["state"])
    ]
    handles.append(Line2D([], [], color=BLACK, linewidth=1, label="best so far"))
    return finish(figure, panels, x="trial", y="objective on validation data", handles=handles, notes=notes)


@IN_STYLE
def parallel_coordinates(frame: pd.DataFrame, method: str) -> Figure:
    """An axis per hyperparameter that varied, a line per trial, its value as colour.

    A positive hyperparameter that spans more than two decades has a logarithmic axis. Of many trials the best have
    lines, and others at equal distances in rank.

    Args:
        frame: a row per trial: value, and a column per hyperparameter; sweep, method, number and state may be there.
        method: the one to draw, where the frame has the column ``method``.
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
    values = rows["value"].to_numpy(dtype=float)  # axes and colours are of all trials, lines of these:
    drawn = _drawn(len(rows))
    if len(drawn) < len(rows):
        notes[f"lines: the best {_BEST} of {len(rows)} trials, and {len(drawn) - _BEST} of the others, by rank"] = None
    known = values[~np.isnan(values)]
    scale = Normalize(known.min(), known.max()) if len(known) else Normalize(0, 1)
    shades = colormaps["cividis"]
    lines = np.stack([np.broadcast_to(np.arange(len(varied)), heights.shape), heights], axis=-1)  # [N, axes, 2]
    lines, values = lines[drawn], values[drawn]
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
        notes[f"the same in every trial, not shown: {', '.join(constant)}"] = None
    return finish(figure, notes=notes)


@IN_STYLE
def expected_best(frame: pd.DataFrame) -> Figure:
    """A panel per sweep, a line per method: the best value to expect of so many trials.

    Args:
        frame: columns sweep, method, n_trials and expected.
    """
    sweeps, methods = unique(frame["sweep"]), unique(frame["method"])
    figure, panels = panels_of(sweeps, per_row=2, height=2.6, grid="y", least=COLUMN_WIDTH * 1.3)
    notes: dict[str, None] = {}
    for panel, sweep in zip(panels, sweeps, strict=True):
        for number, method in enumerate(methods):
            curve = frame[(frame["sweep"] == sweep) & (frame["method"] == method)].sort_values("n_trials")
            if curve["expected"].notna().any():
                every = max(1, len(curve) // 8)
                panel.plot(curve["n_trials"], curve["expected"], markevery=every, **look(number))
            else:
                notes[f"{sweep}: no result of {method}"] = None
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return finish(
        figure, panels, x="trials", y="expected best on validation data", handles=series(methods), notes=notes
    )


def _drawn(trials: int) -> npt.NDArray[np.intp]:
    """Which of so many, the best last, have lines."""
    others = np.linspace(0, trials - _BEST - 1, min(_OTHERS, max(0, trials - _BEST))).round().astype(np.intp)
    return np.concatenate([others, np.arange(max(0, trials - _BEST), trials)])


def _filled(state: str, colour: str) -> dict[str, Any]:
    """A pruned trial's marker is hollow."""
    return {"markerfacecolor": "white" if state == "pruned" else colour, "markersize": 3.5, "markeredgewidth": 0.7}


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
    places = [((math.log(at) if logarithmic else at) - ends[0]) / span for at in labelled.tolist()]
    inner = [place for place in places[1:-1] if min(place, 1 - place) >= _APART]
    written = [place for before, place in zip([0.0, *inner], inner, strict=False) if place - before >= _APART]
    kept = {places[0], places[-1], *written}  # the ends, and what stands clear of them and of the one below
    ticks += [(place, _short(at)) for place, at in zip(places, labelled.tolist(), strict=True) if place in kept]
    return np.where(np.isnan(heights_of), -0.1, heights_of), ticks, logarithmic


def _short(number: float) -> str:
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e5 else f"{number:.3g}"
