"""Tables for a terminal."""

import rich.table
from rich.console import JustifyMethod
from rich.markup import escape

from reports.output.table import Cell, Mark, Table

__all__ = ["terminal_table"]

_STYLES: dict[Mark, str] = {"plain": "", "best": "bold", "tied": "underline"}


def terminal_table(table: Table) -> rich.table.Table:
    """The table as rich draws it: the best bold, what is tied with it underlined."""
    drawn = rich.table.Table(
        title=table.title, caption=table.caption, title_justify="left", caption_justify="left", show_lines=False
    )
    for name, column in table.shown.items():
        # Where the terminal is too narrow, scores take two lines rather than lose their deviations.
        wraps = any(isinstance(cell, Cell) for cell in column)
        justify: JustifyMethod = "left" if name == "method" else "right"
        drawn.add_column(str(name), justify=justify, no_wrap=not wraps, overflow="fold", min_width=7 if wraps else None)
    for row in table.shown.itertuples(index=False, name=None):
        drawn.add_row(*map(_text, row))
    return drawn


def _text(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return escape(cell)  # Con[video-audio] is no markup
    text, style = escape(cell.text).replace("± ", "±\N{NO-BREAK SPACE}"), _STYLES[cell.mark]
    return f"[{style}]{text}[/{style}]" if style else text
