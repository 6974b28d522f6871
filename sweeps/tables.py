"""Tables that fit into a terminal of any width and lose no character.

rich makes every column narrower until its table fits, and ends cells in an ellipsis. Two numbers then look alike. Here
a cell may take several lines between words. A table that is still too wide becomes several tables below each other, and
each of them repeats the columns that identify the rows.
"""

import re
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

__all__ = ["Fitted"]

_LONGEST_WORD = 24  # characters that stay together; a longer word, such as a path, may take several lines
_BORDERS = 3  # a column's line and the blanks on both sides of its cells
_NUMBER = re.compile(r"[<>~±]?[-+−]?\d")


class Fitted:
    """A renderable that shows a table in blocks of columns, each as wide as the terminal at most.

    Args:
        table: the table. Its title, caption, headings and cells are plain text, in which brackets are brackets, or
            rich's `Text`. Users choose names such as ``Con[video-audio]``, so nothing is read as markup.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, or its blocks from left to right."""
        columns = [[_text(cell) for cell in (column.header, *column.cells)] for column in self._table.columns]
        words = [max(map(_longest_word, column)) for column in columns]
        lines = [max(map(_longest_line, column)) for column in columns]
        blocks = list(_blocks(words, _keys(columns), options.max_width))
        for block in blocks:
            widths = _widths([words[index] for index in block], [lines[index] for index in block], options.max_width)
            yield self._part(dict(zip(block, widths, strict=True)), first=block is blocks[0], last=block is blocks[-1])

    def _part(self, widths: dict[int, int], *, first: bool, last: bool) -> Table:
        table = self._table
        part = Table(
            title=_text(table.title, "table.title") if first and table.title is not None else None,
            title_justify=table.title_justify,
            caption=_text(table.caption, "table.caption") if last and table.caption is not None else None,
            caption_justify=table.caption_justify,
            show_header=table.show_header,
        )
        for index, width in widths.items():
            column = table.columns[index]
            part.add_column(_text(column.header), justify=column.justify, overflow="fold", width=width)
        rows = zip(*(column.cells for column in table.columns), strict=True)
        for row, cells in zip(table.rows, rows, strict=True):
            part.add_row(*(_text(cells[index]) for index in widths), end_section=row.end_section)
        return part


def _text(content: object, style: str = "") -> Text:
    return content if isinstance(content, Text) else Text(str(content), style)


def _longest_word(text: Text) -> int:
    """Return the width that a cell needs at least, in letters of a terminal."""
    return max(map(_word_width, text.plain.split()), default=1)


def _word_width(word: str) -> int:
    width = Text(word).cell_len
    return width if _NUMBER.match(word) else min(width, _LONGEST_WORD)


def _longest_line(text: Text) -> int:
    return max((Text(line).cell_len for line in text.plain.splitlines()), default=1)


def _keys(columns: Sequence[Sequence[Text]]) -> int:
    """Return how many columns, from the left, tell the rows apart; one if all columns together do not."""
    rows = list(zip(*([cell.plain for cell in column] for column in columns), strict=True))
    return next((k for k in range(1, len(columns)) if len({row[:k] for row in rows}) == len(rows)), 1)


def _table_width(columns: Sequence[int]) -> int:
    return sum(columns) + _BORDERS * len(columns) + 1


def _blocks(words: Sequence[int], keys: int, room: int) -> Iterator[list[int]]:
    """Yield the indices of each block's columns: those that identify the rows, and as many others as there is room."""
    block = list(range(keys))
    for index in range(keys, len(words)):
        if len(block) > keys and _table_width([words[place] for place in [*block, index]]) > room:
            yield block
            block = list(range(keys))
        block.append(index)
    yield block


def _widths(words: Sequence[int], lines: Sequence[int], room: int) -> list[int]:
    """Return the width of each column: its longest word, and its longest line if there is room.

    A terminal without room for the words divides them, the longest first.
    """
    widths = list(words)
    while _table_width(widths) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    spare = max(0, room - _table_width(widths))
    by_need = sorted(range(len(widths)), key=lambda index: lines[index] - widths[index])
    for waiting, index in zip(range(len(widths), 0, -1), by_need, strict=True):
        share = min(max(0, lines[index] - widths[index]), spare // waiting)
        widths[index] += share
        spare -= share
    return widths
