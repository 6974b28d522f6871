"""What all figures share: their look, their panels, and how they become files.

Figures are made through matplotlib's objects, not through pyplot, whose global state keeps every figure alive. The same
frame gives the same SVG, byte by byte; its text is text, for search and for a screen reader.
"""

import io
import math
import textwrap
from collections.abc import Iterable, Sequence
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
    "Labels",
    "finish",
    "is_left",
    "is_lowest",
    "look",
    "luminance",
    "panels_of",
    "say_at",
    "series",
    "svg",
    "unique",
    "write_figure",
]

COLUMN_WIDTH, PAGE_WIDTH = 3.4, 6.9
"""Widths in inches of one and of two columns of a paper; fonts are sized for a figure that is printed at its size."""
_STYLE: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titley": 1.0,  # a title looks for no ticks above the panel, which have none
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
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
# Okabe and Ito's yellow is left out: a thin line of it is lost on white paper.
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LINES = ("-", "--", "-.", ":")
GREY = "#595959"
MANY = 500
"""Lines or points of a panel above which an SVG has them as pixels, beside axes and texts as they are: else it would be
of megabytes, which a reader draws for seconds."""
IN_STYLE = mpl.rc_context(_STYLE)  # as a decorator: matplotlib's settings are again as they were afterwards


@IN_STYLE
def svg(figure: Figure) -> str:
    """Return the figure as SVG, with its text as text; the same figure gives the same bytes."""
    _lay_out(figure)
    file, resolution = io.StringIO(), figure.dpi
    undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(file, metadata=undated)  # type: ignore[no-untyped-call]
    figure.dpi = resolution  # which the canvas has made 72, an SVG's points per inch
    return compact(file.getvalue())


@IN_STYLE
def write_figure(figure: Figure, name: str, out: Path) -> list[Path]:
    """Write ``NAME.svg``, and ``NAME.png`` at 200 dots per inch, into the folder, made where it is missing."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}.svg", out / f"{name}.png"]
    write_whole(paths[0], svg(figure).encode())
    file = io.BytesIO()
    quick = {"compress_level": 3}  # half of the time of matplotlib's 6, for a tenth more bytes
    FigureCanvasAgg(figure).print_png(  # type: ignore[no-untyped-call]
        file, metadata={"Software": None}, pil_kwargs=quick
    )
    write_whole(paths[1], file.getvalue())
    return paths


def _lay_out(figure: Figure) -> None:
    """Place everything, once, without drawing it: `savefig` does both once more than it must, for every format."""
    engine = figure.get_layout_engine()
    if figure.axes and engine is not None:
        FigureCanvasAgg(figure)
        engine.execute(figure)
    figure.set_layout_engine("none")


def unique(column: pd.Series) -> list[str]:
    """The values in the order of their first appearance."""
    return list(dict.fromkeys(map(str, column)))


def panels_of(
    titles: Sequence[str],
    *,
    per_row: int,
    height: float,
    grid: Literal["x", "y"] | None = None,
    sharex: bool = False,
    sharey: bool = False,
    least: float = COLUMN_WIDTH,
) -> tuple[Figure, list[Axes]]:
    """A figure as wide as its panels ask for, one paper column or two; unused places are left blank.

    Args:
        titles: of the panels.
        per_row: panels beside each other, at most.
        height: of a panel, in inches.
        grid: the axis whose values have lines.
        sharex: whether the panels have one horizontal axis.
        sharey: likewise.
        least: width of the figure, in inches.
    """
    number = len(titles)
    rows = max(1, math.ceil(number / per_row))
    columns = max(1, math.ceil(number / rows))
    width = PAGE_WIDTH if rows > 1 else max(least, PAGE_WIDTH * columns / per_row)
    figure = Figure(figsize=(width, height * rows + 0.5), dpi=200, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).flat)
    for blank in panels[number:]:
        blank.remove()
    for above in panels[max(0, number - columns) : number]:
        above.tick_params(labelbottom=True)  # the lowest of its column, though not in the last row
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
    """Say what the axes are, what marks mean, and what is missing; return the figure.

    Args:
        figure: the figure.
        panels: what :func:`panels_of` gave.
        x: below the lowest panel of each column.
        y: once, on the left.
        handles: explained above the panels.
        notes: below them.
    """
    for number, panel in enumerate(panels):
        if is_lowest(panels, number):
            panel.set_xlabel(x)
        for axis in (panel.xaxis, panel.yaxis):
            if not len(axis.get_ticklocs()) and not axis.get_label_text():
                axis.set_visible(False)  # there is nothing to see, but it would be measured
    if y:
        figure.supylabel(y, fontsize=8)
    if handles:
        columns = max(1, min(len(handles), int(figure.get_figwidth() / 1.1)))
        figure.legend(handles=list(handles), loc="outside upper center", ncols=columns)
    if text := "; ".join(notes):
        figure.supxlabel(textwrap.fill(text, int(figure.get_figwidth() * 17)), fontsize=6.5, color=GREY)
    return figure


def say_at(panel: Axes, place: int, text: str) -> None:
    """Write where a bar would have been."""
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
    """Whether it is the first of its row: the others need no ticks, each of which takes milliseconds, for its axis."""
    place = panel.get_subplotspec()
    return place is None or place.is_first_col()


def is_lowest(panels: Sequence[Axes], number: int) -> bool:
    """Whether the panel of this number is the lowest of its column, though not in the last row."""
    place = panels[number].get_subplotspec()
    return number >= len(panels) - (place.get_gridspec().ncols if place else 1)


class Labels(Text):
    """Many short texts in the cells of a panel, centred: drawn as `Text` is, but placed all at once.

    Thousands of `Text` take seconds, most of which it spends on measuring and placing each alone. The layout of the
    figure leaves them out of account, as they are inside their panel.
    """

    def __init__(self, panel: Axes, labels: Sequence[tuple[tuple[float, float], str, str]], size: float) -> None:
        """Add to the panel texts of ``size`` points, each given by its place in the panel's data, itself and colour."""
        super().__init__(fontsize=size, horizontalalignment="center", transform=panel.transData, in_layout=False)
        self.labels = list(labels)
        panel.add_artist(self)

    def draw(self, renderer: RendererBase) -> None:
        """Draw them."""
        gc, font = renderer.new_gc(), self.get_fontproperties()
        _, canvas_height = renderer.get_canvas_width_height()
        _, digit_height, _ = renderer.get_text_width_height_descent("0", font, False)
        line_height = 1.65 * digit_height
        widths: dict[str, float] = {}
        pixels = self.get_transform().transform([place for place, _, _ in self.labels]).tolist()
        for (x, y), (place, text, colour) in zip(pixels, self.labels, strict=True):
            gc.set_foreground(colour)
            self.set_position(place)  # where an SVG has the anchor of the text
            lines = text.split("\n")
            for number, line in enumerate(lines):
                if line not in widths:
                    widths[line] = renderer.get_text_width_height_descent(line, font, False)[0]
                base = y + line_height * ((len(lines) - 1) / 2 - number) - digit_height / 2
                base = canvas_height - base if renderer.flipy() else base
                renderer.draw_text(gc, x - widths[line] / 2, base, line, font, 0, mtext=self)
        gc.restore()


def look(number: int) -> dict[str, Any]:
    """Colour, marker and line of the series of this number: of 7, 9 and 4, so that few share two of them."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number % len(LINES)],
    }


def series(names: Sequence[str], **changes: Any) -> list[Line2D]:
    """What the legend shows of series with these names, each with its :func:`look` but for ``changes``."""
    return [Line2D([], [], label=name, **{**look(number), **changes}) for number, name in enumerate(names)]


def luminance(colour: Sequence[float]) -> float:
    """Relative luminance of WCAG 2.2; below 0.18, white text stands out more than black."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
