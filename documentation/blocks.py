"""The blocks and command lines of a Markdown page."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Block", "blocks", "command_lines", "mentioned_commands"]

_BLOCK = re.compile(r"^(?P<mark><!-- (?P<note>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_INLINE = re.compile(r"(?<!`)`(conclugen [^`]+)`(?!`)")
_PLACEHOLDERS = re.compile(r"\b[A-Z]{2,}\b|\.\.\.")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: where its text begins.
        language: what the page says that it is, such as bash.
        text: its lines.
        note: the comment in the line above, such as ``run``; empty if there is none.
    """

    line: int
    language: str
    text: str
    note: str

    @property
    def file(self) -> str | None:
        """The file that the block is, as its note says; None for any other block."""
        return self.note.removeprefix("file: ") if self.note.startswith("file: ") else None


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for match in _BLOCK.finditer(page):
        line = page.count("\n", 0, match.start("text")) + 1
        yield Block(line, match["language"], match["text"], match["note"] or "")


def command_lines(block: Block) -> Iterator[str]:
    """Yield the ``conclugen`` command lines of a block, also those that other programs are told to run."""
    for line in re.sub(r"\\\n", " ", block.text).splitlines():
        match = re.search(r"^\s*(conclugen .*)$|-- (conclugen .*)$|'(conclugen [^']*)'$", line)
        if match:
            yield next(filter(None, match.groups()))


def mentioned_commands(page: str) -> Iterator[str]:
    """Yield the ``conclugen`` commands that sentences of a page mention, up to the first placeholder."""
    for match in _INLINE.finditer(_BLOCK.sub("", page)):
        yield _PLACEHOLDERS.split(match[1])[0].strip()
