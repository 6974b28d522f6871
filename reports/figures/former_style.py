"""Shared parts of all figures: style, panels, legends and files.

Figures use matplotlib's objects, not pyplot, whose global state keeps every figure alive. The same frame gives the same
SVG, byte by byte. Text in an SVG stays text, for search and for screen readers.
"""

import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.typing import RcKeyType

from conclugen.files.durable import write_whole
from reports.figures.fonts import use_fonts
from reports.figures.svg import compact

__all__ = [
    "BLACK",
    "BLUE",
    "COLUMN_WIDTH",
    "GREEN",
    "GREY",
    "IN_STYLE",
    "MANY",
    "ORANGE",
    "PAGE_WIDTH",
    "VERMILLION",
    "Figure",
    "Labels",
    "finish",
    "is_left",
    "is_lowest",
    "legend_handles",
    "luminance",
    "panels_of",
    "series_style",
    "svg",
    "unique",
    "write_at",
    "write_figure",
]

COLUMN_WIDTH, PAGE_WIDTH = 3.4, 6.9
"""Widths of one and of two columns of a paper, in inches; font sizes assume that figures are printed at this size."""
_STYLE: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titley": 1.0,  # a fixed place spares matplotlib the search for ticks above the panel
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
    "text.parse_math": False,  # the name of a class may contain a dollar sign
}
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
# Okabe and Ito's yellow is left out: a thin yellow line is invisible on white paper.
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LINES = ("-", "--", "-.", ":")
GREY = "#595959"
MANY = 500
"""Number of points in a panel above which an SVG holds them as pixels; axes and text stay vectors. Otherwise the file
would have megabytes and take seconds to display."""


@contextmanager
def _in_style() -> Iterator[None]:
    defaults = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")}
    with mpl.rc_context({**defaults, **_STYLE}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # `letters_without_font` names them
        yield


_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # a name may contain them, an XML document not
IN_STYLE = _in_style()
"""Decorator for functions that draw: applies the style to matplotlib's defaults, and restores the settings afterwards.

A user's own settings, such as `text.usetex`, change nothing.
"""


@IN_STYLE
def svg(figure: Figure) -> str:
    """Return the figure as SVG, with its text as text; the same figure gives the same bytes."""
    use_fonts(figure)
    _lay_out(figure)
    file = io.StringIO()
    resolution = figure.dpi
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(file, metadata=no_metadata)  # type: ignore[no-untyped-call]
    figure.dpi = resolution  # the canvas has set it to 72, an SVG's points per inch
    return compact(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", file.getvalue()))


@IN_STYLE
def write_figure(figure: Figure, name: str, out: Path) -> list[Path]:
    """Write ``NAME.svg``, and ``NAME.png`` at 200 dots per inch, into the folder, which is created if missing."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}.svg", out / f"{name}.png"]
    write_whole(paths[0], svg(figure).encode())
    file = io.BytesIO()
    compression = {"compress_level": 3}  # half the time of matplotlib's level 6, for a tenth more bytes
    FigureCanvasAgg(figure).print_png(  # type: ignore[no-untyped-call]
        file, metadata={"Software": None}, pil_kwargs=compression
    )
    write_whole(paths[1], file.getvalue())
    return paths


def _lay_out(figure: Figure) -> None:
    """Compute the layout once, without drawing: `savefig` would do both once more than needed for every format."""
    engine = figure.get_layout_engine()
    if figure.axes and engine is not None:
        FigureCanvasAgg(figure)
        engine.execute(figure)
    figure.set_layout_engine("none")


def unique(column: pd.Series) -> list[str]:
    """Return the distinct values as text, in the order of their first appearance."""
    return list(dict.fromkeys(map(str, column)))


def panels_of(
    titles: Sequence[str],
    *,
    per_row: int,
    height: float,
    grid: Literal["x", "y"] | None = None,
    sharex: bool = False,
    sharey: bool = False,
    min_width: float = COLUMN_WIDTH,
) -> tuple[Figure, list[Axes]]:
    """Create a figure with one panel per title; its width follows from the panels, unused places stay blank.

    Args:
        titles: titles of the panels.
        per_row: largest number of panels in a row.
        height: height of a panel, in inches.
        grid: axis with grid lines at its ticks.
        sharex: whether the panels share the horizontal axis.
        sharey: whether they share the vertical axis.
        min_width: smallest width of the figure, in inches; a figure is at most PAGE_WIDTH wide.
    """
    number = len(titles)
    rows = max(1, math.ceil(number / per_row))
    columns = max(1, math.ceil(number / rows))
    width = PAGE_WIDTH if rows > 1 else max(min_width, PAGE_WIDTH * columns / per_row)
    figure = Figure(figsize=(width, height * rows + 0.5), dpi=200, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).flat)
    for blank in panels[number:]:
        blank.remove()
    for lowest in panels[max(0, number - columns) : number]:
        lowest.tick_params(labelbottom=True)  # the lowest panel of a column may not be in the last row
    if not number:
        figure.text(0.5, 0.5, "× no result", ha="center", va="center", color=GREY)
    for panel, title in zip(panels, titles, strict=False):
        panel.set_title(title)
        if grid is not None:
            panel.grid(axis=grid, linewidth=0.4, color="0.85")
    return figure, panels[:number]


def finish(
    figure: Figure,
    panels: Sequence[Axes] = (),
    *,
    x: str = "",
    y: str = "",
    handles: Sequence[Line2D | Patch] = (),
    notes: Iterable[str] = (),
) -> Figure:
    """Add axis labels, legend and notes; return the figure.

    Args:
        figure: the figure.
        panels: its panels, from :func:`panels_of`.
        x: label below the lowest panel of each column.
        y: label of the figure, on the left.
        handles: entries of the legend, above the panels.
        notes: remarks below the panels, such as what is missing.
    """
    for number, panel in enumerate(panels):
        if is_lowest(panels, number):
            panel.set_xlabel(x)
        for axis in (panel.xaxis, panel.yaxis):
            if not len(axis.get_ticklocs()) and not axis.get_label_text():
                axis.set_visible(False)  # matplotlib would measure an empty axis, too
    if y:
        figure.supylabel(y, fontsize=8)
    if handles:
        columns = max(1, min(len(handles), int(figure.get_figwidth() / 1.1)))
        figure.legend(handles=list(handles), loc="outside upper center", ncols=columns)
    if text := "; ".join(notes):
        figure.supxlabel(textwrap.fill(text, int(figure.get_figwidth() * 17)), fontsize=6.5, color=GREY)
    return figure


def write_at(panel: Axes, place: int, text: str) -> None:
    """Write a text at the place of a missing bar."""
    panel.text(
        0.02,
        place,
        text,
        transform=panel.get_yaxis_transform(),
        va="center",
        fontsize=6.5,
        color=GREY,
        fontstyle="italic",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )


def is_left(panel: Axes) -> bool:
    """Return whether a panel is the first of its row; others need no ticks, each of which takes milliseconds."""
    place = panel.get_subplotspec()
    return place is None or place.is_first_col()


def is_lowest(panels: Sequence[Axes], number: int) -> bool:
    """Return whether the panel of this number is the lowest of its column, which may not be in the last row."""
    place = panels[number].get_subplotspec()
    return number >= len(panels) - (place.get_gridspec().ncols if place else 1)


class Labels(Text):
    """Many short centred texts in the cells of a panel, drawn as one artist.

    They look like `Text`. Thousands of `Text` take seconds, mostly for measuring and placing each of them. The layout
    of the figure ignores the labels, as they lie inside their panel.
    """

    def __init__(self, panel: Axes, labels: Sequence[tuple[tuple[float, float], str, str]], size: float) -> None:
        """Add labels to the panel.

        Args:
            panel: the panel.
            labels: (place in the panel's data, text, colour) of each.
            size: font size in points.
        """
        super().__init__(fontsize=size, horizontalalignment="center", transform=panel.transData, in_layout=False)
        self.labels = list(labels)
        panel.add_artist(self)

    def draw(self, renderer: RendererBase) -> None:
        """Draw all labels."""
        gc, font = renderer.new_gc(), self.get_fontproperties()
        _, canvas_height = renderer.get_canvas_width_height()
        _, digit_height, _ = renderer.get_text_width_height_descent("0", font, False)
        line_height = 1.65 * digit_height
        widths: dict[str, float] = {}
        pixels = self.get_transform().transform([place for place, _, _ in self.labels]).tolist()
        for (x, y), (place, text, colour) in zip(pixels, self.labels, strict=True):
            gc.set_foreground(colour)
            self.set_position(place)  # the anchor of the text in an SVG
            lines = text.split("\n")
            for number, line in enumerate(lines):
                if line not in widths:
                    widths[line] = renderer.get_text_width_height_descent(line, font, False)[0]
                base = y + line_height * ((len(lines) - 1) / 2 - number) - digit_height / 2
                base = canvas_height - base if renderer.flipy() else base
                renderer.draw_text(gc, x - widths[line] / 2, base, line, font, 0, mtext=self)
        gc.restore()


def series_style(number: int) -> dict[str, Any]:
    """Return colour, marker and line style of a series; of 7, 9 and 4 choices, two series rarely share two."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number % len(LINES)],
    }


def legend_handles(names: Sequence[str], **changes: Any) -> list[Line2D]:
    """Return legend entries for the named series in their :func:`series_style`, with ``changes`` applied."""
    return [Line2D([], [], label=name, **{**series_style(number), **changes}) for number, name in enumerate(names)]


def luminance(colour: Sequence[float]) -> float:
    """Return the relative luminance of WCAG 2.2; below 0.18, white text has more contrast than black."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
