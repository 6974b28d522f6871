"""Tables of a report for a terminal."""

import rich.table
from rich.console import JustifyMethod
from rich.markup import escape

from reports.output.table import Cell, Mark, Table

__all__ = ["terminal_table"]

_STYLES: dict[Mark, str] = {"plain": "", "best": "bold", "tied": "underline"}


def terminal_table(table: Table) -> rich.table.Table:
    """Return a table for rich to print: the best bold, ties with the best underlined."""
    rich_table = rich.table.Table(
        title=table.title, caption=table.caption, title_justify="left", caption_justify="left", show_lines=False
    )
    for name, column in table.shown.items():
        # In a narrow terminal, a score takes two lines instead of losing its deviation.
        wraps = any(isinstance(cell, Cell) for cell in column)
        justify: JustifyMethod = "left" if name == "method" else "right"
        width = 7 if wraps else None
        rich_table.add_column(str(name), justify=justify, no_wrap=not wraps, overflow="fold", min_width=width)
    for row in table.shown.itertuples(index=False, name=None):
        rich_table.add_row(*map(_text, row))
    return rich_table


def _text(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return escape(cell)  # rich would read the brackets of Con[video-audio] as markup
    text, style = escape(cell.text).replace("± ", "±\N{NO-BREAK SPACE}"), _STYLES[cell.mark]
    return f"[{style}]{text}[/{style}]" if style else text
