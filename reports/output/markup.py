"""Writes a table as Markdown and LaTeX, and into files; :mod:`reports.output.html_table` writes it as HTML.

This module hides the escaping rules of both languages. Users choose the names of classes, sweeps and methods. Any name
reads the same in both, breaks no table and injects nothing. pandas' own `to_latex` was rejected: it does not know a
cell's marks, and leaves headings and captions to us anyway.

Every LaTeX engine compiles the LaTeX tables, pdfLaTeX with its default fonts included. Accents are commands. Engines
that read Unicode print a letter of another alphabet; pdfLaTeX, which has no font for it, prints its number.
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pandas as pd

from conclugen.files.durable import write_whole
from reports.output.choice import fixed
from reports.output.table import Cell, Table

__all__ = [
    "latex",
    "latex_label",
    "latex_text",
    "leading_number",
    "markdown",
    "markdown_text",
    "numeric_columns",
    "one_line",
    "rows_of",
    "write_table",
]

_ROWS_PER_FLOAT = 40
"""Rows that fit on a page of a paper in LaTeX's normal size; a longer table continues in another float."""
_MAX_FLOAT_WIDTH = 120
"""Characters of a line, gaps between columns included; more would shrink the text far below a footnote's size."""
_COLUMN_GAP = 2.4
"""Width of the gap between columns, in characters."""

_NUMBER = re.compile(r"[<>≤≥~]?\s*([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# A backslash makes any ASCII punctuation literal. An underscore inside a word is literal anyway and stays as it is, for
# readability. A bracket matters only if a link could follow.
_MARKDOWN = re.compile(r"[\\`*<&|~$#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=\])[(\[]")
_MARKDOWN_BLOCK = re.compile(r"^(\d{0,9})([>+=.)\-:])")

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\N{NO-BREAK SPACE}": "~",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "…": r"\ldots{}",
    "°": r"$^\circ$",
    "€": r"\texteuro{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "→": r"$\rightarrow$",
    "∞": r"$\infty$",
    "²": "$^2$",
    "³": "$^3$",
    "α": r"$\alpha$",
    "Δ": r"$\Delta$",
    "δ": r"$\delta$",
    "μ": r"$\mu$",
    "ρ": r"$\rho$",
    "τ": r"$\tau$",
    "φ": r"$\phi$",
}
_LATEX_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`",
    "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING MACRON}": "=",
    "\N{COMBINING BREVE}": "u",
    "\N{COMBINING DOT ABOVE}": ".",
    "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING RING ABOVE}": "r",
    "\N{COMBINING DOUBLE ACUTE ACCENT}": "H",
    "\N{COMBINING CARON}": "v",
    "\N{COMBINING CEDILLA}": "c",
}


def markdown(table: Table) -> str:
    """Return a heading, the caption and a pipe table for GitHub: best bold, tied underlined."""
    table = fixed(table)
    numeric = numeric_columns(table.shown)
    texts = [
        [markdown_text(str(name)) for name in table.shown.columns],
        *([_markdown_cell(cell) for cell in row] for row in rows_of(table.shown)),
    ]
    widths = [max(3, *map(len, column)) for column in zip(*texts, strict=True)]
    rule = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True)]
    lines = [
        "| "
        + " | ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        )
        + " |"
        for row in (texts[0], rule, *texts[1:])
    ]
    caption = _MARKDOWN_BLOCK.sub(r"\1\\\2", markdown_text(table.caption))
    return "\n".join([f"## {markdown_text(table.title)}", "", caption, "", *lines, ""])


def latex(table: Table, label_prefix: str = "tab:") -> str:
    r"""Return one or more floats for a document that loads booktabs and graphicx: best bold, tied underlined.

    A table that is longer or much wider than a page continues in another float of the same number. Each float repeats
    the columns that identify the rows. A table that is slightly wider than the line is scaled to the line. pdfLaTeX
    prints ``[U+4E2D]`` for a letter that it has no font for; LuaLaTeX and XeLaTeX print the letter if their font has
    it.

    Args:
        table: the table.
        label_prefix: prefix of the table's name in ``\label``.
    """
    table = fixed(table)
    label = latex_label(table.name, label_prefix)
    title, caption = latex_text(table.title), latex_text(table.caption)
    first = [rf"  \caption[{{{title}}}]{{\textbf{{{title}.}} {caption}}}", rf"  \label{{{label}}}"]
    continued = [r"  \addtocounter{table}{-1}", rf"  \caption[]{{\textbf{{{title}}} (continued)}}"]
    numeric = numeric_columns(table.shown)
    bodies = [
        _latex_tabular(table.shown.iloc[start : start + _ROWS_PER_FLOAT, columns], [numeric[c] for c in columns])
        for columns in _latex_blocks(table.shown)
        for start in range(0, max(1, len(table.shown)), _ROWS_PER_FLOAT)
    ]
    floats = [
        [
            r"\begin{table}[tp]",
            r"  \centering",
            r"  \setlength{\abovecaptionskip}{0pt}\setlength{\belowcaptionskip}{6pt}",  # for a caption above its table
            *(continued if number else first),
            *body,
            r"\end{table}",
            "",
        ]
        for number, body in enumerate(bodies)
    ]
    comment = r"% Needs \usepackage{booktabs,graphicx}. To span both columns of a page, replace table by table*."
    return "\n".join([comment, *(line for lines in floats for line in lines)])


def latex_label(name: str, prefix: str = "tab:") -> str:
    r"""Return the ``\label`` of the table with this name."""
    return re.sub(r"[^A-Za-z0-9:.-]", "-", prefix + name)


def write_table(table: Table, out: Path) -> list[Path]:
    """Write ``NAME.csv``, ``NAME.parquet``, ``NAME.md`` and ``NAME.tex`` into the folder, which is created if missing.

    A column with values of several types, such as hyperparameters, is text in the Parquet file.
    """
    out.mkdir(parents=True, exist_ok=True)
    mixed = [name for name, column in table.numbers.items() if column.dropna().map(type).nunique() > 1]
    uniform = table.numbers.assign(**{str(name): table.numbers[name].map(str, na_action="ignore") for name in mixed})
    contents = {
        # Ten digits are more than any score has, and keep 0.1 as 0.1.
        "csv": table.numbers.to_csv(index=False, float_format="%.10g").encode(),
        "parquet": uniform.to_parquet(index=False),
        "md": markdown(table).encode(),
        "tex": latex(table).encode(),
    }
    for suffix, content in contents.items():
        write_whole(out / f"{table.name}.{suffix}", content)
    return [out / f"{table.name}.{suffix}" for suffix in contents]


def rows_of(shown: pd.DataFrame) -> Iterator[tuple[Cell, ...]]:
    """Yield the cells of each row; a text becomes a cell."""
    for row in shown.itertuples(index=False, name=None):
        yield tuple(cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row)


def numeric_columns(shown: pd.DataFrame) -> list[bool]:
    """Return, for each column, whether at least half of its cells start with a number; empty cells do not count."""
    numeric: list[bool] = []
    for column in zip(*rows_of(shown), strict=True):
        numbers = [leading_number(cell.text) is not None for cell in column if cell.text not in ("", "–")]
        numeric.append(2 * sum(numbers) >= len(numbers) > 0)
    return numeric or [False] * len(shown.columns)


def leading_number(text: str) -> float | None:
    """Return the number that a text starts with: 0.75 of "0.750 ± 0.020", 0.001 of "< 0.001"."""
    match = _NUMBER.match(text.replace("−", "-"))
    return float(match[1].replace(",", "")) if match else None


def one_line(text: str) -> str:
    """Return the text in one line, with its control characters replaced."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", re.sub(r"[ \t\n\r\u2028\u2029]+", " ", text).strip(" "))


def markdown_text(text: str) -> str:
    """Return any text as one line of Markdown that reads the same."""
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text))


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    if not text or cell.mark == "plain":
        return text
    # GitHub drops <u> and underlines <ins>.
    return f"**{text}**" if cell.mark == "best" else f"<ins>{text}</ins>"


def _latex_blocks(shown: pd.DataFrame) -> list[list[int]]:
    """Return the columns of each float: the first columns, which identify the rows, and an equal part of the others.

    If every set has as many label budgets, all columns of a set stay together.
    """
    cells = list(rows_of(shown))
    widths = [
        _COLUMN_GAP + max(map(len, (str(name), *(row[column].text for row in cells))))
        for column, name in enumerate(shown.columns)
    ]
    columns = range(len(widths))
    keys = next(
        (k for k in columns[1:] if len({tuple(cell.text for cell in row[:k]) for row in cells}) == len(cells)), 1
    )
    budgets = {len(list(run)) for _, run in groupby(shown.columns[keys:], lambda name: str(name).partition("@")[0])}
    together = budgets.pop() if len(budgets) == 1 else 1
    blocks = [columns[keys:]]
    for parts in range(2, len(columns)):
        if all(sum(widths[:keys]) + sum(widths[column] for column in block) <= _MAX_FLOAT_WIDTH for block in blocks):
            break
        size = math.ceil(len(columns[keys:]) / parts)
        size -= size % together if size > together else 0
        blocks = [columns[start : start + size] for start in columns[keys::size]]
    return [[*columns[:keys], *block] for block in blocks]


def _latex_tabular(shown: pd.DataFrame, numeric: Sequence[bool]) -> list[str]:
    columns = "".join("r" if right else "l" for right in numeric)
    return [
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        _latex_row([latex_text(str(name)) for name in shown.columns]),
        r"    \midrule",
        *(_latex_row([_latex_cell(cell) for cell in row]) for row in rows_of(shown)),
        r"    \bottomrule",
        r"  \end{tabular}}",
    ]


def latex_text(text: str) -> str:
    """Return any text as one line of LaTeX that reads the same."""
    letters = [(letter, _latex_letter(letter)) for letter in unicodedata.normalize("NFC", one_line(text))]
    escaped = "".join(
        "".join(latex or "" for _, latex in run) if known else _unknown("".join(letter for letter, _ in run))
        for known, run in groupby(letters, lambda pair: pair[1] is not None)
    )
    return re.sub(r"-(?=-)", "-{}", escaped)  # TeX would make a dash of the two hyphens of an option


def _latex_letter(letter: str) -> str | None:
    """Return the LaTeX that every engine prints as ``letter``; None if there is none."""
    base, *marks = list(unicodedata.normalize("NFD", letter))
    if len(marks) == 1 and marks[0] in _LATEX_ACCENTS and base.isascii() and base.isalpha():
        return rf"\{_LATEX_ACCENTS[marks[0]]}{{{base}}}"
    return _LATEX.get(letter, letter if letter.isascii() else None)


def _unknown(letters: str) -> str:
    r"""Return LaTeX for letters that pdfLaTeX lacks: it prints their numbers, other engines the letters.

    Only engines that read Unicode define ``\Umathchar``.
    """
    numbers = " ".join(f"U+{ord(letter):04X}" for letter in letters)
    return rf"\ifdefined\Umathchar {letters}\else [{numbers}]\fi{{}}"


def _latex_cell(cell: Cell) -> str:
    text = latex_text(cell.text)
    if not text or cell.mark == "plain":
        return text
    return rf"\textbf{{{text}}}" if cell.mark == "best" else rf"\underline{{{text}}}"


def _latex_row(cells: Sequence[str]) -> str:
    row = " & ".join(cells)
    # After \\ and \midrule, LaTeX would read a bracket or a star at the row's beginning as an optional argument.
    return f"    {{{row[0]}}}{row[1:]} \\\\" if row[:1] in ("[", "*") else f"    {row} \\\\"
