"""A report as one HTML file that needs nothing else: no network, no second file, and no script for reading.

Style, scripts, figures and small downloads are part of the file. So the page can be mailed, archived with a paper and
opened years later. Its own security policy forbids it to load anything, and to evaluate text as a program: Vega
interprets the expressions of its charts instead. The template is `page.html.j2`, its style `page.css` and its script
`page.js`. Without a script, the findings, the tables of the default choice and links to the figures' files stay.
"""

import json
import mimetypes
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import vl_convert
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from reports.output.choice import ALL, FIELDS, choice_names, combinations, default_choice
from reports.output.glossary import TERMS, Term
from reports.output.html_table import RecordLists, caption, chosen, count, html_table, with_terms
from reports.output.table import Table
from reports.statistics.findings import Finding

__all__ = ["PageFigure", "Provenance", "Section", "page"]

_PLAIN = "!$()*+,-./:;=?@_~"
"""Characters that a data address may hold unquoted: a quoted table is a third shorter than one in base64."""
_TOPICS = {
    "best": "Best method",
    "pretraining": "Pretraining",
    "loss": "Losses",
    "instrument": "Instruments",
    "labels": "Label budgets",
    "open": "Open",
    "doubt": "Doubts",
}
_LABELS = {"dataset": "Data set", "labels": "Label budget", "metric": "Metric"}


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page."""

    name: str
    """Name of its files, without suffix."""
    caption: str
    """The caption, which is also the figure's text alternative."""
    interactive: Mapping[str, Any]
    """The specification in Vega-Lite; its parameters dataset, labels and metric follow the reader's choice."""


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


def page(
    title: str,
    sections: Sequence[Section],
    provenance: Provenance,
    downloads: Mapping[str, bytes | str],
    findings: Sequence[Finding] = (),
    further: Sequence[Finding] = (),
    labels: str = ALL,
) -> str:
    """Return the page as HTML.

    Args:
        title: heading of the page.
        sections: sections in their order.
        provenance: last section of the page.
        downloads: file name -> content (bytes), which becomes part of the page, or address relative to the page (str).
        findings: what was found, for the top of the page.
        further: findings that are folded below these.
        labels: the label budget that the page shows first.

    Raises:
        ValueError: two tables or two figures have the same name.
    """
    tables = [table for section in sections for table in section.tables]
    names = [
        *(table.name for table in tables),
        *(f"figure {figure.name}" for section in sections for figure in section.figures),
    ]
    if repeated := [name for name, number in Counter(names).items() if number > 1]:
        raise ValueError(f"names must differ, but these are used twice: {', '.join(repeated)}.")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    choices = combinations(tables)
    default = default_choice(choices, labels)
    lists = RecordLists()
    titles = {table.name: table.title for table in tables}
    seen = set[Term]()  # by the reader of the findings
    content = {
        "findings": [_finding(finding, titles, lists, seen) for finding in findings],
        "further": [_finding(finding, titles, lists, seen) for finding in further],
        "sections": [_section(section, lists, default, tables[:1]) for section in sections],
    }
    drawn = any(section.figures for section in sections)
    return environment.from_string(_file("page.html.j2")).render(
        title=title,
        **content,
        record_lists=Markup(lists.html()),  # noqa: S704 - RecordLists escapes
        selects=[_select(name, place, choices, default) for place, name in enumerate(FIELDS) if choices],
        choices=_json(choices),
        terms=TERMS,
        provenance=provenance,
        downloads={name: _address(name, content) for name, content in downloads.items()},
        style=Markup(_file("page.css")),  # noqa: S704 - ours
        script=Markup(_file("page.js")),  # noqa: S704 - ours
        vega=Markup(_vega()) if drawn else "",  # noqa: S704 - escaped by _vega
    )


def _file(name: str) -> str:
    return files("reports.output").joinpath(name).read_text(encoding="utf-8")


@cache
def _vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as the text of a script element."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return re.sub(r"<(?=/script|!--)", r"\\x3c", bundle, flags=re.IGNORECASE)


def _finding(finding: Finding, titles: Mapping[str, str], lists: RecordLists, seen: set[Term]) -> dict[str, Any]:
    records = ""
    if finding.records:
        records = lists.button(finding.records, count(len(finding.records), "record"))
    return {
        "topic": _TOPICS[finding.topic],
        "text": Markup(with_terms(finding.text, seen)),  # noqa: S704 - with_terms escapes
        "table": finding.table if finding.table in titles else "",
        "title": titles.get(finding.table, ""),
        "records": Markup(records),  # noqa: S704 - RecordLists escapes
    }


def _section(
    section: Section, lists: RecordLists, default: Mapping[str, str], unfolded: Sequence[Table]
) -> dict[str, Any]:
    seen = set[Term]()
    paragraphs = [part for part in re.split(r"\n\s*\n", section.text) if part.strip()]
    return {
        "title": section.title,
        "paragraphs": [Markup(with_terms(part, seen)) for part in paragraphs],  # noqa: S704 - with_terms escapes
        "tables": [
            Markup(html_table(table, lists, default, unfolded=any(table is first for first in unfolded)))  # noqa: S704
            for table in section.tables
        ],
        "figures": [_figure(figure, default) for figure in section.figures],
    }


def _figure(figure: PageFigure, default: Mapping[str, str]) -> dict[str, Any]:
    parameters = {parameter["name"] for parameter in figure.interactive.get("params", [])}
    fields = [name if name in parameters else "" for name in FIELDS]
    return {
        "name": figure.name,
        "text": figure.caption,
        "caption": Markup(caption(figure.caption, set())),  # noqa: S704 - caption escapes
        "chosen": Markup(chosen(fields, default)),  # noqa: S704 - chosen escapes
        "specification": _json(figure.interactive),
        "files": {suffix.upper(): f"{quote(figure.name)}.{suffix}" for suffix in ("svg", "pdf", "png")},
    }


def _select(
    name: str, place: int, choices: Sequence[tuple[str, str, str]], default: Mapping[str, str]
) -> dict[str, Any]:
    values = list(dict.fromkeys(choice[place] for choice in choices))
    return {"name": name, "label": _LABELS[name], "options": choice_names(name, values), "default": default[name]}


def _json(value: object) -> Markup:
    """Return JSON that is safe as the text of a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - JSON without <


def _address(name: str, content: bytes | str) -> str:
    """Return the address of a download: a data address for content (bytes)."""
    if isinstance(content, str):
        return content
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"data:{kind},{quote(content, safe=_PLAIN)}"
