"""Writes a table as HTML for the page.

A cell with records behind it is a button that opens their list. The list is a popover, which needs no script. A tooltip
was rejected because keyboards and touch cannot reach it. A disclosure inside the cell was rejected because it tears the
row apart.

The rows of the default choice are in the table, and those of other choices in `template` elements beside it: the
browser draws none of them, and a script need not know how a cell looks.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from reports.output.choice import FIELDS, choice_in_words
from reports.output.glossary import Term, terms_in
from reports.output.markup import leading_number, numeric_columns, one_line, rows_of
from reports.output.table import Cell, Table

__all__ = ["LONG", "RecordLists", "caption", "chosen", "count", "html_table", "with_terms"]

LONG = 12
"""Rows of a table that is shown at once; a longer one is folded."""
_MANY = 60
"""Cells of a table that is shown at once; one with more is a wall of numbers, and folded."""
_PRINTED = 60
"""Rows of a folded table that paper shows; of a longer one, paper shows the summary."""

_SHORT = 200
"""Characters of a caption that is shown as a whole."""
_SENTENCE = re.compile(r"(?<=[.:]) (?=[A-Z])")
_PLAIN_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class RecordLists:
    """The lists of ledger records of a page: cells with the same records share a list."""

    def __init__(self) -> None:
        self._anchors: dict[tuple[str, ...], str] = {}

    def button(self, records: tuple[str, ...], label: str) -> str:
        """Return a button that opens the list of these records.

        Args:
            records: keys of the records.
            label: HTML inside the button.
        """
        anchor = self._anchors.setdefault(records, f"records-{len(self._anchors)}")
        title = f"Computed from {count(len(records), 'ledger record')}"
        return f'<button type="button" popovertarget="{anchor}" title="{title}">{label}</button>'

    def html(self) -> str:
        """Return the lists of all buttons."""
        return "\n".join(
            f'<div popover id="{anchor}" class="note" role="dialog" aria-label="Ledger records">'
            f"<p>Computed from {count(len(records), 'ledger record')}:</p><ul>"
            f"{''.join(f'<li><code>{html.escape(one_line(key))}</code></li>' for key in records)}</ul></div>"
            for records, anchor in self._anchors.items()
        )


def html_table(table: Table, lists: RecordLists, default: Mapping[str, str], *, unfolded: bool = False) -> str:
    """Return heading, caption and table: best ``strong``, tied ``u``.

    Headings of rows and columns have a ``scope``. A cell has its sort key in ``data-sort`` if its text is not the key
    itself; the key is empty for a cell without a number in a column of numbers. Ids start with the table's name.

    Args:
        table: the table.
        lists: takes the records of the cells.
        default: the choice that is shown first; see :mod:`reports.output.choice`.
        unfolded: show the table at once even if it is long.
    """
    groups = _groups(table)
    shown = table.shown
    if all(choice[0] for choice in groups):
        shown = shown.drop(columns="dataset", errors="ignore")  # the heading names the data set
    numeric = numeric_columns(shown)
    rows = [f"<tr>{''.join(_cells(row, numeric, lists))}</tr>" for row in rows_of(shown)]
    visible = next((choice for choice in groups if _fits(choice, default)), None)
    bodies = {choice: [rows[place] for place in places] for choice, places in groups.items()}
    body = _rows_of_choice("tbody", visible or next(iter(groups)), bodies.get(visible, []) if visible else [])
    others = [_rows_of_choice("template", choice, bodies[choice]) for choice in groups if choice != visible]
    name = _attribute(table.name)
    seen = set[Term]()
    content = (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{name}-title">\n'
        f'<table aria-labelledby="{name}-title">\n<thead><tr>{_headings(shown, numeric)}</tr></thead>\n{body}</table>\n'
        "</div>\n"
    )
    longest = max(map(len, bodies.values()))
    if not unfolded and (longest > LONG or longest * len(shown.columns) > _MANY):
        content = _folded(content, len(bodies[visible]) if visible else 0, longest, shown)
    return (
        f'<div class="table" id="{name}"{"" if visible else " hidden"}>\n'
        f'<h3 id="{name}-title">{with_terms(table.title, seen)}{chosen(next(iter(groups)), default)}</h3>\n'
        f"{caption(table.caption, seen)}{content}{''.join(others)}</div>\n"
    )


def with_terms(text: str, seen: set[Term]) -> str:
    """Return the text as HTML in which the first place of each term of the glossary opens its explanation.

    Args:
        text: plain text.
        seen: terms that were explained before; those of this text are added.
    """
    return "".join(
        f'<button type="button" class="term" popovertarget="{term.anchor}">{html.escape(piece)}</button>'
        if term
        else html.escape(piece)
        for piece, term in terms_in(one_line(text), seen)
    )


def caption(text: str, seen: set[Term]) -> str:
    """Return a caption as HTML: a long one shows its first sentence, and the others on demand.

    Args:
        text: plain text.
        seen: as for :func:`with_terms`.
    """
    first, *others = _SENTENCE.split(one_line(text), maxsplit=1) if len(text) > _SHORT else [text]
    if not others:
        return f'<p class="caption">{with_terms(first, seen)}</p>\n' if first else ""
    return (
        f'<p class="caption">{with_terms(first, seen)}</p>\n'
        f'<details class="more"><summary>How to read it</summary><p class="caption">{with_terms(others[0], seen)}</p>'
        "</details>\n"
    )


def chosen(fields: Sequence[str], default: Mapping[str, str]) -> str:
    """Return the place that says in words what the reader chose.

    Args:
        fields: a value for each of the FIELDS, which is empty if nothing depends on the field.
        default: the choice that is shown first.
    """
    names = [field for field, value in zip(FIELDS, fields, strict=True) if value]
    if not names:
        return ""
    words = choice_in_words({field: default.get(field, "") for field in names})
    return f' <span class="chosen" data-fields="{" ".join(names)}">{html.escape(words)}</span>'


def _groups(table: Table) -> dict[tuple[str, ...], list[int]]:
    """Map each choice to the places of its rows."""
    groups: dict[tuple[str, ...], list[int]] = {}
    if table.choices is not None:
        for place, choice in enumerate(table.choices[list(FIELDS)].itertuples(index=False, name=None)):
            groups.setdefault(choice, []).append(place)
    return groups or {("",) * len(FIELDS): list(range(len(table.shown)))}


def _fits(choice: Sequence[str], default: Mapping[str, str]) -> bool:
    return all(not value or value == default.get(field) for field, value in zip(FIELDS, choice, strict=True))


def _rows_of_choice(tag: str, choice: Sequence[str], rows: Sequence[str]) -> str:
    fields = "".join(
        f' data-{field}="{_attribute(value)}"' for field, value in zip(FIELDS, choice, strict=True) if value
    )
    return "\n".join([f"<{tag}{fields}>", *rows, f"</{tag}>\n"])


def _folded(content: str, rows: int, longest: int, shown: pd.DataFrame) -> str:
    printed = " printed" if longest <= _PRINTED else ""
    columns = html.escape(", ".join(one_line(str(name)) for name in shown.columns))
    return (
        f'<details class="fold{printed}"><summary><span class="count">{count(rows, "row")}</span>'
        f'<span class="names">: {columns}</span></summary>\n{content}</details>\n'
    )


def _headings(shown: pd.DataFrame, numeric: Sequence[bool]) -> str:
    return "".join(
        f'<th scope="col"{_class(right)}>{html.escape(one_line(str(column)))}</th>'
        for column, right in zip(shown.columns, numeric, strict=True)
    )


def _cells(row: Sequence[Cell], numeric: Sequence[bool], lists: RecordLists) -> Iterator[str]:
    for position, (cell, right) in enumerate(zip(row, numeric, strict=True)):
        text = one_line(cell.text)
        shown = html.escape(text)
        if shown and cell.mark != "plain":
            shown = f"<strong>{shown}</strong>" if cell.mark == "best" else f"<u>{shown}</u>"
        if cell.records:
            shown = lists.button(cell.records, shown)
        key = _sort_key(text) if right else text
        sort = "" if key == text else f' data-sort="{_attribute(key)}"'
        opening, closing = ('<th scope="row"', "</th>") if position == 0 else ("<td", "</td>")
        yield f"{opening}{_class(right)}{sort}>{shown}{closing}"


def _sort_key(text: str) -> str:
    """Return the number that a text starts with as a script reads it: the text itself if that is all; or nothing."""
    number = leading_number(text)
    return "" if number is None else text if _PLAIN_NUMBER.fullmatch(text) else repr(number)


def _class(right: bool) -> str:
    return ' class="number"' if right else ""


def count(number: int, unit: str) -> str:
    """Return a number with its unit, such as ``1 row``."""
    return f"{number} {unit}{'s' if number != 1 else ''}"


def _attribute(text: str) -> str:
    return html.escape(text, quote=True)
