"""Mend texts that a program wrote wrongly, alike in all datasets.

Two faults of the letters are common in copies of published transcripts, and both can be told without a doubt:

* Windows-1252 punctuation became control characters, by being read as Latin-1.
* Python's bytes were written as they print: ``b"I don't know"``.

A third fault is a missing text that pandas wrote as a word, such as ``nan``. Words that people say are no such words.
"""

import ast
import re
from collections.abc import Sequence
from dataclasses import replace

from conclugen.datasets.clips import Clip

__all__ = ["PUNCTUATION", "mended"]

# 0x80 to 0x9f are control characters in Unicode and punctuation in Windows-1252, which leaves five of them out
PUNCTUATION = {
    code: bytes([code]).decode("cp1252") for code in range(0x80, 0xA0) if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
"""Control character -> punctuation, for ``str.translate``."""
_MISSING = frozenset({"nan", "NaN", "<NA>", "NaT", "#N/A"})
_BYTES = re.compile(r"""b(["']).*\1""", re.DOTALL)


def mended(clips: Sequence[Clip]) -> tuple[list[Clip], list[str]]:
    """Return the clips with mended transcripts, and a sentence with a count for each kind of fault but punctuation.

    A transcript without text becomes None.
    """
    result = []
    count = absent = 0
    for clip in clips:
        text = clip.transcript
        if text is not None:
            decoded = _decoded(text)
            count += decoded != text
            text = decoded.translate(PUNCTUATION).strip() or None
            if text in _MISSING:
                text = None
                absent += 1
        result.append(clip if text == clip.transcript else replace(clip, transcript=text))
    sentences = {
        "Transcripts written as Python's bytes (b'...') were decoded": count,
        "Transcripts that are a word for a missing value, such as nan, are left empty": absent,
    }
    return result, [f"{sentence}: {number:,}." for sentence, number in sentences.items() if number]


def _decoded(text: str) -> str:
    """Return the text that Python's bytes hold if ``text`` is such bytes as they print, or else ``text``."""
    if not _BYTES.fullmatch(text.strip()):
        return text
    try:
        content = ast.literal_eval(text.strip())
        return str(content.decode())
    except UnicodeDecodeError:
        return str(content.decode("cp1252", errors="replace"))
    except (ValueError, SyntaxError):  # words that merely begin with b', such as b'cause
        return text
