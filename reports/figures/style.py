"""Shared parts of all figures: what a drawing is, its data, the style of its files.

A figure has two specifications in Vega-Lite, made with Altair. The page shows the interactive one, and leaves the
colours of texts and axes to it. The files show the static one. The same frame gives the same bytes.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from altair.utils.schemapi import debug_mode

from conclugen.files.durable import write_whole
from reports.statistics.ablation import PlannedColumn
from sweeps.ledger import method_of

__all__ = [
    "CHOSEN",
    "GREY",
    "PAGE_WIDTH",
    "Chart",
    "Drawing",
    "by_choice",
    "chosen_title",
    "drawn",
    "first_choice",
    "heading",
    "interactive_chart",
    "legend_below",
    "main_columns",
    "on_all_modalities",
    "packed",
    "panels_of",
    "static_chart",
    "svg",
    "unique",
    "write_figure",
]

Chart = alt.Chart | alt.LayerChart | alt.FacetChart
"""A chart of one view; the third is there for the types of Altair only."""
PAGE_WIDTH = 497
"""Width of two columns of a paper, in points; font sizes assume that files are printed at this size."""
GREY = "#777777"
"""Lines and remarks; readable on white and on the dark page."""
CHOSEN = {"filter": "datum.dataset === dataset && datum.labels === labels && datum.metric === metric"}
"""Transform that keeps the rows that the reader chose."""
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


_PARTS = re.compile(rb"(?:[ ]+/[a-z]+\d+ \d+ 0 R\n){2,}")
_COUNTED = re.compile(r"(?<=[\"#])(clip|gradient_)\d+")


@dataclass(frozen=True)
class Drawing:
    """A figure, before any file is written."""

    interactive: dict[str, Any] | None
    """Specification in Vega-Lite for the page; None if the page shows the same in another figure.

    It has the parameters ``dataset``, ``labels`` and ``metric`` where the figure depends on the reader's choice.
    """
    static: dict[str, Any]
    """Specification in Vega-Lite for the files: all data sets side by side, the main metric."""


def drawn(draw: Callable[[], Drawing]) -> Drawing:
    """Return what ``draw`` draws, without Altair's check of every part.

    The check takes a sixth of the time of a report, and tests validate the whole of each kind of figure.
    """
    with debug_mode(False):
        return draw()


def svg(drawing: Drawing) -> str:
    """Return the static form of a figure as SVG, with its text as text; the same figure gives the same text."""
    return _renumbered(vl_convert.vegalite_to_svg(drawing.static, config=_CONFIG, allowed_base_urls=[]))


def write_figure(drawing: Drawing, name: str, out: Path) -> list[Path]:
    """Write ``NAME.svg``, ``NAME.pdf``, and ``NAME.png`` at 200 dots per inch, into the folder, created if missing."""
    out.mkdir(parents=True, exist_ok=True)
    text = svg(drawing)
    contents = {
        "svg": text.encode(),
        "pdf": _ordered(vl_convert.svg_to_pdf(text)),
        "png": vl_convert.svg_to_png(text, ppi=_PPI),
    }
    paths = {suffix: out / f"{name}.{suffix}" for suffix in contents}
    for suffix, content in contents.items():
        write_whole(paths[suffix], content)
    return list(paths.values())


def _renumbered(svg: str) -> str:
    """Return the SVG with its own numbers of clips and gradients; Vega counts those of all figures of a process."""
    numbers: dict[str, int] = {}
    return _COUNTED.sub(lambda name: f"{name[1]}{numbers.setdefault(name[0], len(numbers))}", svg)


def _ordered(pdf: bytes) -> bytes:
    """Return the PDF with the names of its parts in order; vl-convert writes them in an order by chance."""
    return _PARTS.sub(lambda names: b"".join(sorted(names[0].splitlines(keepends=True))), pdf)


def interactive_chart(
    chart: Chart, rows: pd.DataFrame, transform: Sequence[Mapping[str, Any]], choice: Mapping[str, str]
) -> dict[str, Any]:
    """Return the specification of a chart with its data inside, for the page.

    Args:
        chart: the chart, without data.
        rows: its data; numbers are rounded to six significant digits, and missing ones become null.
        transform: transforms of the data, as in Vega-Lite.
        choice: name -> value, before the reader chooses, of each parameter that the chart depends on.
    """
    document = _document(chart)
    ours = [{"name": name, "value": _clean(value)} for name, value in choice.items()]
    return {
        "$schema": alt.SCHEMA_URL,
        "autosize": {"type": "fit-x", "contains": "padding"},
        **document,
        **_data(rows, transform),
        "params": [*ours, *document.get("params", [])],
    }


def static_chart(
    panels: Sequence[Mapping[str, Any]],
    rows: pd.DataFrame,
    transform: Sequence[Mapping[str, Any]],
    per_row: int,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the specification of panels side by side with their data inside, for files.

    Args:
        panels: from :func:`panels_of`; without any, a text says that there is no result.
        rows: as in :func:`interactive_chart`.
        transform: as in :func:`interactive_chart`.
        per_row: number of panels in a row.
        notes: remarks below the panels, such as what is missing.
    """
    document: dict[str, Any] = {
        "$schema": alt.SCHEMA_URL,
        "concat": [*panels] or [_NO_RESULT],
        "columns": per_row,
        **_data(rows, transform),
    }
    if notes:
        document["title"] = {"text": [_clean(note) for note in notes], "orient": "bottom", "anchor": "start", **_NOTE}
    return document


def panels_of(chart: Chart, by: str, values: Sequence[str]) -> list[dict[str, Any]]:
    """Return a panel for each value of the column ``by``: the chart with the rows of that value, titled by it."""
    document = _document(chart)
    filters = [{"filter": {"field": by, "equal": _clean(value)}} for value in values]
    return [
        {**document, "transform": [own], "title": _clean(value)} for value, own in zip(values, filters, strict=True)
    ]


def _document(chart: Chart) -> dict[str, Any]:
    document = chart.to_dict(validate=False)  # tests validate the whole; here it would take more time than all else
    views = [document]
    for view in views:
        views += view.get("layer", ())
        if view.get("data") == _NO_DATA:
            del view["data"]  # the view inherits the data of the whole
    return {name: part for name, part in document.items() if name not in ("$schema", "config", "datasets")}


def _data(rows: pd.DataFrame, transform: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    data = {"data": {"name": "rows"}, "datasets": {"rows": _records(rows)}}
    return {**data, "transform": [*transform]} if transform else data


_NO_RESULT = {"data": {"values": [{}]}, "mark": {"type": "text", "text": "× no result", "color": GREY}, "width": 120}
_NO_DATA = {"name": "empty"}  # that is what Altair writes
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


def packed(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return one row per group of rows, with lists in the other columns, which a chart flattens: a fourth of the bytes.

    Args:
        frame: any frame.
        by: columns that are equal in a group.
    """
    names = [str(name) for name in frame.columns if name not in by]
    groups = frame.groupby(list(by), sort=False, dropna=False)
    rows = [(*key, *(rows[name].tolist() for name in names)) for key, rows in groups]
    return pd.DataFrame(rows, columns=[*by, *names], dtype=object)


def main_columns(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of a metric that the sweep's probe measured with all labels; arguments from :func:`by_choice`."""
    rows = frame[(frame["metric"] == metric) & (frame["labels"] == "all")]
    return rows[~rows["dataset"].str.contains(" (", regex=False)]


def on_all_modalities(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of methods that are not restricted to some modalities."""
    whole = [method_of(name) == name for name in frame["method"]]
    return frame[pd.Series(whole, frame.index, dtype=bool)]


def first_choice(frame: pd.DataFrame, metric: str) -> dict[str, str]:
    """Return the parameters of a chart before the reader chooses: the first set, all labels, the main metric."""
    return {"dataset": next(iter(unique(frame["dataset"])), ""), "labels": "all", "metric": metric}


def chosen_title(text: str) -> alt.TitleParams:
    """Return a title below an interactive chart that follows the reader's choice.

    Args:
        text: ``{metric}``, ``{dataset}`` and ``{set}`` stand for the metric, the data set, and the data set with its
            label budget.
    """
    words = {
        "metric": "replace(replace(metric, '_', ' '), 'f1', 'F1')",
        "dataset": "dataset",
        "set": "dataset + (labels === 'all' ? ', all labels' : ', labels: ' + labels)",
    }
    parts = text.format_map({name: f"' + {word} + '" for name, word in words.items()})
    return alt.TitleParams(alt.expr(f"'{parts}'"), orient="bottom", fontWeight="normal", fontSize=12)


def legend_below() -> dict[str, Any]:
    """Return the settings of a legend below an interactive chart, in as many columns as there is room for."""
    return {"orient": "bottom", "columns": alt.expr("max(1, floor(width / 120))"), "symbolLimit": 0}


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
    """Return a value as JSON has it: a number with six significant digits, a text that XML may contain.

    The page rounds numbers to three decimals. A number that six digits would round to others keeps all its digits.
    """
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        short = float(f"{value:.6g}")
        return short if f"{short:.3f}" == f"{value:.3f}" else value  # 0.7024997 would become 0.703
    if isinstance(value, bool | int) or value is None:
        return value
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", str(value))
