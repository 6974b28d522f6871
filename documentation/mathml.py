"""A Markdown extension that writes formulas as MathML, which browsers draw without scripts, fonts or a network.

`pymdownx.arithmatex` finds the formulas between dollar signs. Rejected: MathJax and KaTeX, which are scripts and fonts
from another host, or of more than a megabyte.
"""

import re
from html import unescape

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.postprocessors import Postprocessor

__all__ = ["makeExtension"]

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


class _Formulas(Postprocessor):
    """Replaces each formula of a finished page."""

    def run(self, text: str) -> str:
        return _FORMULA.sub(_formula, text)


def _formula(match: re.Match[str]) -> str:
    tag, bracket, latex = match.groups()
    display = "block" if bracket == "[" else "inline"
    return f'<{tag} class="formula">{convert(unescape(latex).strip(), display=display)}</{tag}>'


class _MathML(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 (Markdown's name)
        md.postprocessors.register(_Formulas(md), "mathml", 0)  # after everything else


def makeExtension(**settings: object) -> Extension:  # noqa: N802 (the name that Markdown looks for)
    """Return the extension."""
    return _MathML(**settings)
