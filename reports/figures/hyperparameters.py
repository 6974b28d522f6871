"""The figure of trials across hyperparameters: parallel coordinates, in which good trials are red."""

import math
from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.figures.style import GREY, PAGE_WIDTH, Chart, Drawing, interactive_chart, packed, panels_of, static_chart

__all__ = ["parallel_coordinates"]

_MIN_DISTANCE = 0.08  # between two numbers on an axis, as a share of its length
_BEST, _OTHERS = 50, 150
"""Lines in files: more would hide each other."""
_BEST_ON_PAGE, _OTHERS_ON_PAGE = 20, 40
"""Lines on the page, which has those of all searches."""
_COLUMNS = ["search", "axis", "height", "trial", "value", "text"]
_FLATTEN = {"flatten": ["height", "trial", "value", "text"]}
_WORST, _FINEST = "#8796A5", "#E1003C"


def parallel_coordinates(searches: Mapping[str, pd.DataFrame], interactive: bool) -> Drawing:
    """Draw an axis per hyperparameter that varies and a line per trial, coloured by its value.

    A positive hyperparameter that spans more than two decades has a logarithmic axis. Only the best trials and some
    others, equally spaced in rank, have lines.

    Args:
        searches: name of a search -> one row per trial, with the column value and one column per hyperparameter. Files
            show the first, and the page lets the reader choose.
        interactive: whether the page has this chart.
    """
    name, frame = next(iter(searches.items()))
    rows, notes = _rows(name, frame, _BEST, _OTHERS)
    width = max(PAGE_WIDTH - 90, 52 * rows["axis"].nunique())
    panel = _panel(1, halo=True).properties(width=width, height=170)
    packs = packed(rows, ["search", "axis"])
    static = static_chart(panels_of(panel, "search", [name]), packs, [_FLATTEN], 1, notes)
    if not interactive:
        return Drawing(None, static)
    every = [_rows(each, trials, _BEST_ON_PAGE, _OTHERS_ON_PAGE)[0] for each, trials in searches.items()]
    choose = alt.param("search", value=name, bind=alt.binding_select(options=list(searches), name="trials of: "))
    chart = _panel(1.5, halo=False).add_params(choose).properties(width="container", height=300)
    data = packed(pd.concat(every, ignore_index=True), ["search", "axis"])
    return Drawing(interactive_chart(chart, data, [{"filter": "datum.search === search"}, _FLATTEN], {}), static)


def _rows(name: str, frame: pd.DataFrame, best: int, others: int) -> tuple[pd.DataFrame, list[str]]:
    """Return the points of lines, and the ticks of axes, which have no trial; and remarks."""
    trials = frame.sort_values("value", na_position="first", kind="stable").reset_index(drop=True)  # the best last
    names = [str(column) for column in trials.columns if column != "value"]
    varied = [column for column in names if trials[column].map(str).nunique() > 1]
    constant = [column for column in names if column not in varied and trials[column].notna().any()]
    lines = _with_lines(len(trials), best, others)
    parts, notes = [], []
    if len(lines) < len(trials):
        notes.append(f"lines: the best {best} of {len(trials)} trials, and {len(lines) - best} others, by rank")
    for column in varied:
        heights, ticks, logarithmic = _axis(trials[column])
        axis = f"{column} (log)" if logarithmic else column
        of_lines = {"axis": axis, "height": heights[lines], "trial": lines, "value": trials["value"].to_numpy()[lines]}
        texts = [_text(value) for value in trials[column].to_numpy(dtype=object)[lines]]
        parts.append(pd.DataFrame({**of_lines, "text": texts}))
        marks = pd.DataFrame(ticks, columns=["height", "text"])
        parts.append(marks.assign(axis=axis, trial=None, value=None).astype({"trial": object, "value": object}))
        if trials[column].isna().any():
            notes.append("lowest place of an axis (–): the trial had no such hyperparameter")
    if trials["value"].isna().any():
        notes.append("dotted: trials without a value")
    if constant:
        notes.append(f"not shown, since equal in all trials: {', '.join(constant)}")
    rows = pd.concat([part.astype(object) for part in parts]) if parts else pd.DataFrame(columns=_COLUMNS)
    return rows.assign(search=name)[_COLUMNS], list(dict.fromkeys(notes))


def _panel(size: float, halo: bool) -> Chart:
    """Return the layers of the figure.

    Args:
        size: size of texts, as a multiple of that in files.
        halo: whether texts have a white margin, as on paper.
    """
    x = alt.X("axis:N", title=None, sort=None).scale(type="point", padding=0.3)
    x = x.axis(grid=True, ticks=False, domain=False, labelAngle=-30, labelFontSize=7 * size)
    y = alt.Y("height:Q", axis=None).scale(domain=[-0.12, 1.05])
    tooltip = [alt.Tooltip("axis:N", title="hyperparameter"), alt.Tooltip("text:N", title="value")]
    tooltip.append(alt.Tooltip("value:Q", title="objective", format=".4f"))
    line = alt.Chart().transform_filter("isValid(datum.trial)").encode(x=x, y=y, detail="trial:O", tooltip=tooltip)
    colour = alt.Color("value:Q", title="objective", legend=alt.Legend(orient="bottom", direction="horizontal"))
    colour = colour.scale(range=[_WORST, _FINEST], zero=False)
    ticks = alt.Chart().transform_filter("!isValid(datum.trial)").encode(x=x, y=y, text="text:N")
    mark: dict[str, Any] = {"align": "left", "dx": 3, "fontSize": 6.5 * size}
    behind = [ticks.mark_text(stroke="white", strokeWidth=2, **mark)] if halo else []
    return alt.layer(
        line.transform_filter("!isValid(datum.value)").mark_line(size=0.8 * size, strokeDash=[1, 2], color=GREY),
        line.transform_filter("isValid(datum.value)").mark_line(size=0.8 * size).encode(color=colour),
        *behind,
        ticks.mark_text(**mark),
    )


def _with_lines(trials: int, best: int, others: int) -> npt.NDArray[np.intp]:
    """Return the indices of the trials that have lines, from the worst to the best, which comes last."""
    spaced = np.linspace(0, trials - best - 1, min(others, max(0, trials - best))).round().astype(np.intp)
    return np.concatenate([spaced, np.arange(max(0, trials - best), trials)])


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
    ticks += [(place, _text(mark)) for place, mark in zip(places, marks.tolist(), strict=True) if place in visible]
    return np.where(np.isnan(scaled), -0.1, scaled), ticks, logarithmic


def _text(value: Any) -> str:
    """Format an integer below 100,000 exactly, and another number with three digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "–" if value is None else str(value)
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e5 else f"{value:.3g}"
