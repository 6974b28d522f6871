"""A report as one HTML file that needs nothing else: no network, no second file, and no script to be read.

Style, script, figures and small downloads are inside, so that the page can be mailed, archived with a paper and opened
years later; its own security policy forbids it to load anything. What it looks like is `page.html.j2`. Scripts add
comfort only: sorting and the choice of a theme. Figures are inlined rather than embedded as images, so that their text
can be searched and copied; their ids are prefixed, because those of several figures would clash.
"""

import mimetypes
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from reports.output.markup import html_table
from reports.output.table import Table

__all__ = ["Provenance", "Section", "page"]

_PLAIN = "!$()*+,-./:;=?@_~"
"""What a data address may hold as it is: a table in it is a third shorter than in base64."""


@dataclass(frozen=True)
class Section:
    """A part of the page, with its entry in the table of contents."""

    title: str
    text: str = ""
    """Plain; an empty line begins a paragraph."""
    tables: Sequence[Table] = ()
    figures: Sequence[tuple[str, str, str]] = ()
    """(name, what a person who cannot see it is told, SVG as `reports.figures.style.svg` makes it)."""


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from."""

    facts: Sequence[tuple[str, str]] = ()
    """(name, value): code and library versions, fingerprints, hardware, the command."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """Title -> a sweep's configuration as YAML."""


def page(title: str, sections: Sequence[Section], provenance: Provenance, downloads: Mapping[str, bytes | str]) -> str:
    """Return the page.

    Args:
        title: its heading.
        sections: in their order.
        provenance: shown last.
        downloads: file name -> its content, which goes into the page, or its address relative to the page.

    Raises:
        ValueError: two tables or two figures have one name.
    """
    names = [
        *(table.name for section in sections for table in section.tables),
        *(f"figure {name}" for section in sections for name, _, _ in section.figures),
    ]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"names must differ, but these are used twice: {', '.join(twice)}.")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("reports.output").joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        sections=[
            {
                "title": section.title,
                "paragraphs": [part.strip() for part in re.split(r"\n\s*\n", section.text) if part.strip()],
                "tables": [Markup(html_table(table)) for table in section.tables],  # noqa: S704 - escaped there
                "figures": [
                    (alternative, Markup(_inline(name, alternative, drawn)))  # noqa: S704 - drawn by reports.figures.style
                    for name, alternative, drawn in section.figures
                ],
            }
            for section in sections
        ],
        provenance=provenance,
        downloads={name: _address(name, content) for name, content in downloads.items()},
    )


def _inline(name: str, alternative: str, drawn: str) -> str:
    """The SVG element, with ids of its own, and one picture to a screen reader."""
    prefix = re.sub(r"\W", "-", f"figure-{name}-", flags=re.ASCII)
    element = drawn[drawn.index("<svg") :]  # after the XML declaration and the address of its document type
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r"<[^<>]*>", lambda tag: _prefixed(tag[0], prefix), element)
    opening, rest = element.split(">", 1)
    # It grows with the page to a comfortable size, and scrolls rather than shrinks to an unreadable one.
    width = re.search(r' width="([\d.]+)pt" height="[\d.]+pt"', opening)
    if width:
        limits = f' style="min-width:{width[1]}pt;max-width:{1.4 * float(width[1]):.1f}pt"'
        opening = opening.replace(width[0], limits)
    return f'{opening} role="img" aria-label="{escape(alternative)}">{rest}'


def _prefixed(tag: str, prefix: str) -> str:
    """A tag whose ids, and references to ids, start with the prefix."""
    return re.sub(r"""( id="|href="#|url\(['"]?#)""", rf"\g<1>{prefix}", tag)


def _address(name: str, content: bytes | str) -> str:
    if isinstance(content, str):
        return content
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"data:{kind},{quote(content, safe=_PLAIN)}"
