"""Chooses fonts for the letters of a figure.

matplotlib's own font has the letters of European languages. Users name classes in other alphabets, too. Their letters
come from the fonts that are installed, if any font has them; otherwise an image shows boxes.
"""

from collections.abc import Iterable
from functools import cache, lru_cache

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

__all__ = ["letters_without_font", "use_fonts"]

_FAMILY = "DejaVu Sans"  # part of matplotlib, so every machine has it
_BOXES = "Last Resort"  # part of matplotlib, too; it has a box for every letter


def use_fonts(figure: Figure) -> None:
    """Let the texts of a figure use installed fonts for the letters that matplotlib's own font lacks."""
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            axis.get_ticklabels()  # otherwise the labels have no text before the figure is drawn
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    families, _ = _families(_foreign(text.get_text() for text in texts))
    if families:
        for text in texts:
            text.set_fontfamily([_FAMILY, *families])


def letters_without_font(texts: Iterable[str]) -> str:
    """Return the letters of the texts that no installed font has, in the order of their numbers."""
    return "".join(sorted(_families(_foreign(texts))[1]))


def _foreign(texts: Iterable[str]) -> frozenset[str]:
    """Return the letters that matplotlib's own font lacks."""
    letters = {letter for text in texts for letter in text if letter.isprintable()}
    return frozenset(letters - _letters(findfont(FontProperties(family=[_FAMILY]))))


@lru_cache
def _families(letters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Return the families of installed fonts that together have the letters, and the letters that none has."""
    families: list[str] = []
    fonts = [font for font in fontManager.ttflist if (font.style, font.weight) == ("normal", 400)]
    files = sorted({(font.name, font.fname) for font in fonts if not font.name.startswith(_BOXES)})
    while letters:
        counts = [(len(letters & _letters(file)), name, file) for name, file in files]
        most, name, file = max(counts, key=lambda entry: entry[0], default=(0, "", ""))
        if not most:
            break
        families.append(name)
        letters -= _letters(file)
    return families, letters


@cache
def _letters(file: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, get_font(file).get_charmap()))
    except (OSError, RuntimeError):  # the font was removed, or FreeType cannot read it
        return frozenset()
