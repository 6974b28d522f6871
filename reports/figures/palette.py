"""One colour, one shape and one line style for each method, in every figure.

Colours were searched for: people with protanopia and deuteranopia tell them apart, and each has a contrast of 3 to 1 or
more on white paper and on the dark page. Baselines without pretraining are grey. A method that needs a hue in one
figure has the same hue in all others. Shapes and dashes say the same once more, for prints without colour.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from sweeps.ledger import method_of

__all__ = ["COLOURS", "DASHES", "SHAPES", "method_colour", "method_dash", "method_shape"]

_GREY = "#777777"
COLOURS = {
    "raw_features": _GREY,
    "raw_pca": _GREY,
    "label_spreading": _GREY,
    "random_head": _GREY,
    "supervised_head": "#8796A5",
    "SimCLR": "#785A96",
    "Con": "#0096FF",
    "Clu": "#C38700",
    "Gen": "#00782D",
    "ConClu": "#8778C3",
    "ConGen": "#A50FD2",
    "CluGen": "#FF2DF0",
    "ConCluGen": "#E1003C",
}
"""Method -> colour."""
_HEXAGON = "M-.87,-.5L0,-1L.87,-.5L.87,.5L0,1L-.87,.5Z"
_STAR = "M0,-1L.26,-.36L.95,-.31L.43,.14L.59,.81L0,.45L-.59,.81L-.43,.14L-.95,-.31L-.26,-.36Z"
_X = "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z"
_HOURGLASS = "M-.8,-1L.8,-1L-.8,1L.8,1Z"
_PENTAGON = "M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z"
SHAPES = {
    "raw_features": _X,
    "raw_pca": "cross",
    "label_spreading": _HOURGLASS,
    "random_head": "triangle-left",
    "supervised_head": _PENTAGON,
    "SimCLR": _HEXAGON,
    "Con": "circle",
    "Clu": "square",
    "Gen": "triangle-up",
    "ConClu": "diamond",
    "ConGen": "triangle-down",
    "CluGen": "triangle-right",
    "ConCluGen": _STAR,
}
"""Method -> shape of its points, as Vega names it or as a path."""
DASHES: dict[str, list[int]] = {
    "raw_features": [1, 2],
    "raw_pca": [1, 4],
    "label_spreading": [4, 2, 1, 2],
    "random_head": [2, 4],
    "supervised_head": [8, 3, 1, 3],
    "SimCLR": [10, 3],
    "Con": [6, 2],
    "Clu": [3, 2],
    "Gen": [8, 2, 2, 2],
    "ConClu": [5, 1],
    "ConGen": [5, 1, 1, 1],
    "CluGen": [2, 1],
    "ConCluGen": [1, 0],
}
"""Method -> lengths of dashes and gaps of its lines."""


def method_colour(methods: Sequence[str], **legend: Any) -> alt.Color:
    """Return the encoding of the column ``method`` as a colour.

    Args:
        methods: names in tables, in the order of the legend; a variant has the colour of its method.
        legend: settings of the legend; without any, there is none.
    """
    scale = alt.Scale(domain=list(methods), range=[COLOURS.get(method_of(name), _GREY) for name in methods])
    return alt.Color("method:N", scale=scale, legend=alt.Legend(**legend) if legend else None)


def method_shape(methods: Sequence[str], **legend: Any) -> alt.Shape:
    """Return the encoding of the column ``method`` as a shape; arguments as for :func:`method_colour`."""
    scale = alt.Scale(domain=list(methods), range=[SHAPES.get(method_of(name), "circle") for name in methods])
    return alt.Shape("method:N", scale=scale, legend=alt.Legend(**legend) if legend else None)


def method_dash(methods: Sequence[str], **legend: Any) -> alt.StrokeDash:
    """Return the encoding of the column ``method`` as a line style; arguments as for :func:`method_colour`."""
    scale = alt.Scale(domain=list(methods), range=[DASHES.get(method_of(name), [1, 0]) for name in methods])
    return alt.StrokeDash("method:N", scale=scale, legend=alt.Legend(**legend) if legend else None)
