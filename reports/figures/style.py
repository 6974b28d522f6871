"""Shared parts of all figures: what a drawing is, its data, the style of its files.

A figure has two specifications in Vega-Lite, made with Altair. The page shows the interactive one, and leaves the
colours of texts and axes to it. The files show the static one. The same frame gives the same bytes.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from conclugen.files.durable import write_whole
from reports.statistics.ablation import PlannedColumn

__all__ = [
    "CHOSEN",
    "GREY",
    "PAGE_WIDTH",
    "Chart",
    "Drawing",
    "by_choice",
    "chosen_title",
    "grid_of",
    "heading",
    "no_result",
    "specification",
    "unique",
    "write_figure",
]

Chart = alt.Chart | alt.LayerChart | alt.ConcatChart | alt.HConcatChart | alt.VConcatChart | alt.FacetChart
PAGE_WIDTH = 497
"""Width of two columns of a paper, in points; font sizes assume that files are printed at this size."""
GREY = "#777777"
"""Lines and remarks; readable on white and on the dark page."""
CHOSEN = "datum.dataset === dataset && datum.labels === labels && datum.metric === metric"
"""Filter of the rows that the reader chose."""
_PPI = 200
_CONFIG: dict[str, Any] = {
    "font": "Liberation Sans, Arial, Helvetica, sans-serif",  # vl-convert has the first, browsers one of the others
    "background": "white",
    "aria": False,  # a description of every mark would be most of the file; the caption describes the figure
    "padding": 4,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 7,
        "titleFontSize": 7.5,
        "titleFontWeight": "normal",
        "labelLimit": 130,
        "domainColor": GREY,
        "tickColor": GREY,
        "tickSize": 3,
        "gridColor": "#dddddd",
        "gridWidth": 0.5,
    },
    "legend": {"labelFontSize": 7, "titleFontSize": 7.5, "titleFontWeight": "normal", "labelLimit": 130},
    "title": {"fontSize": 9, "fontWeight": "normal", "offset": 4},  # vl-convert orders several fonts of a PDF by chance
    "text": {"fontSize": 6.5},
}
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # a name may contain them, an XML document not


@dataclass(frozen=True)
class Drawing:
    """A figure, before any file is written."""

    interactive: dict[str, Any]
    """Specification in Vega-Lite for the page.

    It has the parameters ``dataset``, ``labels`` and ``metric`` where the figure depends on the reader's choice.
    """
    static: dict[str, Any]
    """Specification in Vega-Lite for the files: all data sets side by side, the main metric."""


def write_figure(drawing: Drawing, name: str, out: Path) -> list[Path]:
    """Write ``NAME.svg``, ``NAME.pdf``, and ``NAME.png`` at 200 dots per inch, into the folder, created if missing."""
    out.mkdir(parents=True, exist_ok=True)
    svg = vl_convert.vegalite_to_svg(drawing.static, config=_CONFIG, allowed_base_urls=[])
    contents = {"svg": svg.encode(), "pdf": vl_convert.svg_to_pdf(svg), "png": vl_convert.svg_to_png(svg, ppi=_PPI)}
    paths = {suffix: out / f"{name}.{suffix}" for suffix in contents}
    for suffix, content in contents.items():
        write_whole(paths[suffix], content)
    return list(paths.values())


def specification(
    chart: Chart, data: Mapping[str, pd.DataFrame], choice: Mapping[str, str] | None = None, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the specification of a chart with its data inside.

    Args:
        chart: the chart, whose data are `alt.NamedData`.
        data: name -> its rows; numbers are rounded to four significant digits, and missing ones become null.
        choice: name -> value, before the reader chooses, of each parameter that the chart depends on.
        notes: remarks below the chart, such as what is missing.
    """
    if notes:
        chart = chart.properties(title=alt.TitleParams(list(notes), orient="bottom", anchor="start", **_NOTE))
    document = chart.to_dict()
    document["datasets"] = {name: _records(frame) for name, frame in data.items()}
    if choice is not None:
        document["params"] = [{"name": name, "value": _clean(value)} for name, value in choice.items()]
    return document


_NOTE: dict[str, Any] = {"fontSize": 6.5, "fontWeight": "normal", "color": GREY, "offset": 6}


def by_choice(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the data set and the label budget that a reader chooses, instead of the table's column.

    Args:
        frame: the column ``dataset`` names a column of the ablation table.
    """
    choices = [PlannedColumn.named(str(name)).choice for name in frame["dataset"]]
    return frame.assign(
        dataset=pd.Series([dataset for dataset, _ in choices], frame.index, dtype=object),
        labels=pd.Series([labels for _, labels in choices], frame.index, dtype=object),
    )


def chosen_title(text: str) -> alt.TitleParams:
    """Return a title below an interactive chart that follows the reader's choice.

    Args:
        text: ``{metric}`` and ``{set}`` stand for the metric, and for the data set with its label budget.
    """
    metric = "replace(replace(metric, '_', ' '), 'f1', 'F1')"
    chosen = "dataset + (labels === 'all' ? ', all labels' : ', labels: ' + labels)"
    parts = text.replace("'", "\\'").replace("{metric}", f"' + {metric} + '").replace("{set}", f"' + {chosen} + '")
    return alt.TitleParams(alt.expr(f"'{parts}'"), orient="bottom", fontWeight="normal", fontSize=12)


def grid_of(panels: Sequence[Chart], per_row: int) -> Chart:
    """Return charts side by side, ``per_row`` in a row; a text if there is none."""
    if not panels:
        return no_result()
    grid: alt.ConcatChart = alt.concat(*panels, columns=per_row)
    return grid


def no_result() -> alt.Chart:
    """Return a chart that says that nothing has a result."""
    chart = alt.Chart(alt.sequence(1)).mark_text(text="× no result", color=GREY)
    sized: alt.Chart = chart.properties(width=120, height=20)
    return sized


def heading(metric: str) -> str:
    """Return the name of a metric as the title of an axis."""
    return metric.replace("_", " ").replace("f1", "F1")


def unique(column: pd.Series) -> list[str]:
    """Return the distinct values as text, in the order of their first appearance."""
    return list(dict.fromkeys(map(str, column)))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    columns = {str(name): [_clean(value) for value in column.tolist()] for name, column in frame.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _clean(value: object) -> Any:
    """Return a value as JSON has it: a number with four significant digits, a text that XML may contain."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    if isinstance(value, bool | int) or value is None:
        return value
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", str(value))
