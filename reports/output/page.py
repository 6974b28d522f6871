"""A report as one HTML file that needs nothing else: no network, no second file, and no script for reading.

Style, script, figures and small downloads are part of the file. So the page can be mailed, archived with a paper and
opened years later. Its own security policy forbids it to load anything. The template is `page.html.j2`. Scripts add
only comfort: sorting and the choice of a theme. Figures are inline SVG instead of images, so that their text can be
searched and copied. Their ids get a prefix, because the ids of several figures would clash.
"""

import mimetypes
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from reports.output.markup import html_table
from reports.output.table import Table

__all__ = ["PageFigure", "Provenance", "Section", "page"]

_PLAIN = "!$()*+,-./:;=?@_~"
"""Characters that a data address may hold unquoted: a quoted table is a third shorter than one in base64."""


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page."""

    name: str
    caption: str
    """The caption, which is also the figure's text alternative."""
    svg: str
    """The static drawing, as in the figure's file."""
    interactive: Mapping[str, Any] | None = None
    """The specification in Vega-Lite of the interactive drawing; None if there is only the static one."""


@dataclass(frozen=True)
class Section:
    """A section of the page, with an entry in the table of contents."""

    title: str
    text: str = ""
    """Plain text; an empty line separates paragraphs."""
    tables: Sequence[Table] = ()
    figures: Sequence[PageFigure] = ()


@dataclass(frozen=True)
class Provenance:
    """The origin of the numbers."""

    facts: Sequence[tuple[str, str]] = ()
    """(name, value): command, versions of code and libraries, fingerprints, hardware."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """Title -> a sweep's configuration as YAML."""


def page(title: str, sections: Sequence[Section], provenance: Provenance, downloads: Mapping[str, bytes | str]) -> str:
    """Return the page as HTML.

    Args:
        title: heading of the page.
        sections: sections in their order.
        provenance: last section of the page.
        downloads: file name -> content (bytes), which becomes part of the page, or address relative to the page (str).

    Raises:
        ValueError: two tables or two figures have the same name.
    """
    names = [
        *(table.name for section in sections for table in section.tables),
        *(f"figure {figure.name}" for section in sections for figure in section.figures),
    ]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"names must differ, but these are used twice: {', '.join(repeated)}.")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("reports.output").joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        sections=[
            {
                "title": section.title,
                "paragraphs": [part.strip() for part in re.split(r"\n\s*\n", section.text) if part.strip()],
                "tables": [Markup(html_table(table)) for table in section.tables],  # noqa: S704 - html_table escapes
                "figures": [
                    (figure.caption, Markup(_inline(figure.name, figure.caption, figure.svg)))  # noqa: S704 - ours
                    for figure in section.figures
                ],
            }
            for section in sections
        ],
        provenance=provenance,
        downloads={name: _address(name, content) for name, content in downloads.items()},
    )


def _inline(name: str, caption: str, svg: str) -> str:
    """Return the SVG element with prefixed ids; screen readers see it as one picture."""
    prefix = re.sub(r"\W", "-", f"figure-{name}-", flags=re.ASCII)
    element = svg[svg.index("<svg") :]  # without the XML declaration and the document type
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r"<[^<>]*>", lambda tag: _prefixed(tag[0], prefix), element)
    opening, rest = element.split(">", 1)
    # The figure grows with the page up to a comfortable size. On a small page it scrolls and stays readable.
    width = re.search(r' width="([\d.]+)(?:pt)?" height="[\d.]+(?:pt)?"', opening)
    if width:
        limits = f' style="min-width:{width[1]}pt;max-width:{1.4 * float(width[1]):.1f}pt"'
        opening = opening.replace(width[0], limits)
    return f'{opening} role="img" aria-label="{escape(caption)}">{rest}'


def _prefixed(tag: str, prefix: str) -> str:
    """Put the prefix before the ids of a tag, and before its references to ids."""
    return re.sub(r"""( id="|href="#|url\(['"]?#)""", rf"\g<1>{prefix}", tag)


def _address(name: str, content: bytes | str) -> str:
    """Return the address of a download: a data address for content (bytes)."""
    if isinstance(content, str):
        return content
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"data:{kind},{quote(content, safe=_PLAIN)}"
