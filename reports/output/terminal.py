"""Tables of a report for a terminal."""

import rich.table
from rich.text import Text

from reports.output.choice import fixed
from reports.output.markup import numeric_columns
from reports.output.table import Cell, Mark, Table

__all__ = ["terminal_table"]

_STYLES: dict[Mark, str] = {"plain": "", "best": "bold", "tied": "underline"}


def terminal_table(table: Table) -> rich.table.Table:
    """Return a table for `sweeps.tables.Fitted`: the best bold, ties with the best underlined."""
    table = fixed(table)
    rich_table = rich.table.Table(
        title=table.title, caption=table.caption, title_justify="left", caption_justify="left"
    )
    for name, numeric in zip(table.shown.columns, numeric_columns(table.shown), strict=True):
        rich_table.add_column(str(name), justify="right" if numeric else "left")
    for row in table.shown.itertuples(index=False, name=None):
        rich_table.add_row(*map(_text, row))
    return rich_table


def _text(cell: Cell | str) -> Text:
    return Text(cell) if isinstance(cell, str) else Text(cell.text, _STYLES[cell.mark])
